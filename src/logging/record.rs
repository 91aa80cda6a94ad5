//! One log line as data, safe for every output.
//!
//! Owns the limit of 1 KiB per field and the escaping: no response of a cluster can flood the log, forge a line or
//! control a terminal. Must not know any output format.

use crate::domain::Instant;
use std::fmt::{self, Write};
use tracing::field::{Field, Visit};

/// Maximum size of the text of one field, in bytes.
pub(super) const FIELD_LIMIT: usize = 1024;
/// Maximum number of fields of one line, fields of its spans included.
const FIELDS_LIMIT: usize = 64;
const ELLIPSIS: &str = "…";
/// Names that every format adds itself.
const RESERVED: [&str; 5] = ["timestamp", "level", "target", "priority", "syslog_identifier"];

/// One event with its time, level and fields.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) at: Instant,
    pub(super) level: tracing::Level,
    pub(super) target: String,
    pub(super) fields: Fields,
}

impl Record {
    /// Approximate memory in bytes, for the limit of the queue.
    pub(super) fn size(&self) -> usize {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        let named: usize = self.fields.others.iter().map(|(_, value)| 64 + text(value)).sum();
        128 + named
            + self.fields.event.as_ref().map_or(0, String::len)
            + self.fields.message.as_ref().map_or(0, String::len)
    }
}

/// The fields of an event or a span, in the order of the call.
#[derive(Clone, Debug, Default)]
pub(super) struct Fields {
    pub(super) event: Option<String>,
    pub(super) message: Option<String>,
    pub(super) others: Vec<(&'static str, Value)>,
    /// Target of an event from the `log` crate.
    pub(super) log_target: Option<String>,
}

/// Typed value of a field.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Text(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Flag(bool),
}

impl Fields {
    /// Adds the named fields of `outer`, an enclosing span; existing fields win.
    pub(super) fn inherit(&mut self, outer: &Fields) {
        for (name, value) in &outer.others {
            if !self.others.iter().any(|(known, _)| known == name) {
                self.put(name, value.clone());
            }
        }
    }

    fn put(&mut self, name: &'static str, value: Value) {
        if let Some((_, old)) = self.others.iter_mut().find(|(known, _)| *known == name) {
            *old = value;
        } else if self.others.len() < FIELDS_LIMIT {
            self.others.push((name, value));
        }
    }

    fn put_text(&mut self, name: &'static str, text: String) {
        match name {
            "event" => self.event = Some(text),
            "message" => self.message = Some(text),
            "log.target" => self.log_target = Some(text),
            name if name.starts_with("log.") => {}
            name => self.put(free_name(name), Value::Text(text)),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut cut = Cut::default();
        // If a `Debug` implementation fails, the line is written without the rest of that text.
        let _ = write!(cut, "{value:?}");
        self.put_text(field.name(), cut.text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put_text(field.name(), clean(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(free_name(field.name()), Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        // Leave out `log.line`, in which the `log` bridge passes the line number of the source.
        if field.name() != "log.line" {
            self.put(free_name(field.name()), Value::Unsigned(value));
        }
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(free_name(field.name()), Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(free_name(field.name()), Value::Flag(value));
    }
}

/// The name, with a prefix for reserved names.
fn free_name(name: &'static str) -> &'static str {
    match RESERVED.iter().position(|reserved| *reserved == name) {
        Some(0) => "field_timestamp",
        Some(1) => "field_level",
        Some(2) => "field_target",
        Some(3) => "field_priority",
        Some(_) => "field_syslog_identifier",
        None => name,
    }
}

/// Escapes and truncates `text`.
pub(super) fn clean(text: &str) -> String {
    let mut cut = Cut::default();
    let _ = cut.write_str(text);
    cut.text
}

/// Collects escaped text up to the limit and drops the rest. A full buffer is not an error, because some `Debug`
/// implementations panic on a failed write.
#[derive(Default)]
struct Cut {
    text: String,
    /// Longest prefix that leaves space for the ellipsis.
    fits: usize,
    full: bool,
}

impl Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.full {
                break;
            }
            if self.text.len() <= FIELD_LIMIT - ELLIPSIS.len() {
                self.fits = self.text.len();
            }
            if hostile(c) {
                self.text.extend(c.escape_default());
            } else {
                self.text.push(c);
            }
            if self.text.len() > FIELD_LIMIT {
                self.text.truncate(self.fits);
                self.text.push_str(ELLIPSIS);
                self.full = true;
            }
        }
        Ok(())
    }
}

/// Characters that end a line, control a terminal, or change the display order of text.
fn hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rstest::rstest;

    #[rstest]
    #[case("plain, with Ümlaut and 日本", "plain, with Ümlaut and 日本")]
    #[case("two\nlines\r\tand a tab", "two\\nlines\\r\\tand a tab")]
    #[case("\u{1b}[31mred\u{7}", "\\u{1b}[31mred\\u{7}")]
    #[case("safe\u{202e}txt.exe", "safe\\u{202e}txt.exe")]
    #[case("nul\0", "nul\\u{0}")]
    fn hostile_characters_are_escaped(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(clean(text), shown);
    }

    #[test]
    fn text_of_one_kibibyte_is_kept_and_longer_text_is_cut() {
        let fits = "x".repeat(FIELD_LIMIT);
        assert_eq!(clean(&fits), fits);

        let cut = clean(&"x".repeat(FIELD_LIMIT + 1));
        assert_eq!(cut, format!("{}…", "x".repeat(FIELD_LIMIT - 3)));
        assert_eq!(cut.len(), FIELD_LIMIT);
    }

    proptest! {
        #[test]
        fn cleaned_text_is_within_the_limit_and_harmless(text in r"(\PC|[\x00-\x1f]|\u{202e}|日){0,1400}") {
            let shown = clean(&text);
            prop_assert!(shown.len() <= FIELD_LIMIT);
            prop_assert!(!shown.chars().any(hostile));
            prop_assert!(shown.ends_with(ELLIPSIS) || clean(&shown) == shown);
        }
    }
}
