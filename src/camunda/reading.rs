//! Lenient readers for single JSON values: numbers as text, three spellings of a time, states in any case.
//!
//! Owns the leniency for single values. Must not know a complete response.

use crate::camunda::error::one_line;
use crate::domain::Instant;
use chrono::DateTime;
use serde_json::Value;

/// Maximum length of a text taken from a response, in characters.
const TEXT: usize = 500;

/// A whole number, also one written as text: Tasklist has sent ids as strings.
pub(crate) fn int(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// A count: a whole number that is not negative and fits.
pub(crate) fn count(value: &Value) -> u32 {
    int(value).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
}

/// Text on one line and of limited length; `None` for null, empty text and other types.
pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().map(|t| one_line(t, TEXT)).filter(|t| !t.is_empty())
}

/// A state: text converted to upper case.
pub(crate) fn word(value: &Value) -> Option<String> {
    text(value).map(|t| t.to_ascii_uppercase())
}

/// A time: RFC 3339, the web apps' `+0000` without a colon, or milliseconds since 1970 (zero means none).
pub(crate) fn instant(value: &Value) -> Option<Instant> {
    match value {
        Value::String(text) => {
            let text = text.trim();
            DateTime::parse_from_rfc3339(text)
                .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z"))
                .ok()
                .map(|time| time.to_utc())
        }
        Value::Number(number) => {
            number.as_i64().filter(|ms| *ms > 0).and_then(DateTime::from_timestamp_millis)
        }
        _ => None,
    }
}

/// Reasons from a string, an array of strings or objects with a `reason`, joined; `None` for null, `[]` and the like.
pub(crate) fn reasons(value: &Value) -> Option<String> {
    let one =
        |value: &Value| text(value).or_else(|| text(&value["reason"])).or_else(|| text(&value["message"]));
    let joined = match value {
        Value::Array(all) => all.iter().take(5).filter_map(one).collect::<Vec<_>>().join("; "),
        other => one(other)?,
    };
    (!joined.is_empty()).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;
    use serde_json::json;

    #[rstest]
    #[case(json!("2026-11-23T05:59:36.475+0000"), "2026-11-23T05:59:36.475Z")]
    #[case(json!("2026-11-23T07:59:36.475+02:00"), "2026-11-23T05:59:36.475Z")]
    #[case(json!("2026-11-23T05:59:43.210390629Z"), "2026-11-23T05:59:43.210390629Z")]
    #[case(json!("2026-11-23T05:59:36Z"), "2026-11-23T05:59:36Z")]
    #[case(json!(1_795_413_576_475_i64), "2026-11-23T05:59:36.475Z")]
    fn times_come_in_three_spellings(#[case] value: Value, #[case] expected: &str) {
        let expected: Instant = expected.parse().unwrap();
        assert_eq!(instant(&value), Some(expected));
    }

    #[rstest]
    #[case(json!(null))]
    #[case(json!(0))]
    #[case(json!(""))]
    #[case(json!("yesterday"))]
    #[case(json!(i64::MAX))]
    #[case(json!({"seconds": 1}))]
    fn anything_else_is_no_time(#[case] value: Value) {
        assert_eq!(instant(&value), None);
    }

    #[test]
    fn id_may_be_text_but_not_a_fraction() {
        assert_eq!(int(&json!("1679431820")), Some(1_679_431_820));
        assert_eq!(int(&json!(1.5)), None);
        assert_eq!(int(&json!("abc")), None);
        assert_eq!(int(&json!(9_223_372_036_854_775_808_u64)), None);
    }

    #[test]
    fn null_or_empty_failures_mean_no_failure() {
        assert_eq!(reasons(&json!(null)), None);
        assert_eq!(reasons(&json!([])), None);
        assert_eq!(reasons(&json!(["one", {"reason": "two"}, 3])), Some("one; two".to_owned()));
    }
}
