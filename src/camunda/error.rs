//! Failures of calls to components, each as one sentence with its remedy.
//!
//! Owns `ClientError` and the sanitizing of foreign text for log lines. Must not decide how a run reacts.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// Maximum length of a body excerpt kept as evidence, in bytes.
const EVIDENCE_BODY: usize = 1024;
/// Length of the part of the excerpt that is taken from the end: the `status` of an exporting response
/// follows a stack trace.
const EVIDENCE_TAIL: usize = 160;

/// Prefix of a 400 that Operate returns for a failure of its own or of the search engine. The operation was
/// not started, and a retry may succeed.
pub(crate) const DISGUISED_FAILURE: &str = "Exception occurred";

/// Failure of a call to a component. Display is one sentence without secrets and user info.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientError {
    /// Component: `zeebe`, `operate`, `tasklist`, `optimize`, `search` or `rest`.
    pub component: String,
    /// Category of the failure.
    pub kind: ErrorKind,
    /// HTTP status, or the status inside the body where that is the true one; `None` without a response.
    pub status: Option<u16>,
    /// The complete sentence.
    pub message: String,
    /// `METHOD path -> status, body`; the body is cut and its control characters are escaped.
    pub evidence: String,
    /// `Retry-After` in seconds, if the component sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// Category of a failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Never reached the component.
    NotSent,
    /// Not sent, because a credential, a token or a trusted certificate was not available; may be available later.
    NoAccess,
    /// No response, or a truncated one; the component may have acted.
    Lost,
    /// The id or name is in use, or may be: another backup is running.
    Conflict {
        /// Highest id known to the component, if reported.
        highest: Option<i64>,
    },
    /// The repository or the endpoint does not exist.
    Missing,
    /// The component definitely rejected the request.
    Refused,
    /// Authentication rejected: credentials, permissions or certificates.
    AuthRejected,
    /// Server error; the component may have acted.
    Server,
    /// A response that no component sends: not JSON, HTML, a redirect, too long, an unknown shape.
    Unusable,
}

impl ClientError {
    /// Whether the component may have acted on the request. If so, probe before the request is sent again.
    pub fn may_have_acted(&self) -> bool {
        matches!(self.kind, ErrorKind::Lost | ErrorKind::Server | ErrorKind::Unusable)
    }

    /// Whether a retry may succeed without any change by an operator.
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ErrorKind::NotSent | ErrorKind::NoAccess | ErrorKind::Lost | ErrorKind::Server => true,
            ErrorKind::Refused => {
                matches!(self.status, Some(408 | 425 | 429)) || self.message.contains(DISGUISED_FAILURE)
            }
            ErrorKind::Conflict { .. }
            | ErrorKind::Missing
            | ErrorKind::AuthRejected
            | ErrorKind::Unusable => false,
        }
    }
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ClientError {}

/// Foreign text on one line: control characters escaped, user info in URLs masked, cut after `limit`
/// characters.
pub(crate) fn one_line(text: &str, limit: usize) -> String {
    let masked = without_user_info(text);
    let mut line = String::new();
    for c in masked.trim().chars().take(limit) {
        push_escaped(&mut line, c);
    }
    if masked.trim().chars().nth(limit).is_some() {
        line.push('…');
    }
    line
}

/// Excerpt of a body as evidence: beginning and end, on one line.
pub(crate) fn body_excerpt(body: &[u8]) -> String {
    // User info is masked before the cut: a URL without its beginning would not be recognized.
    let body = without_user_info(&String::from_utf8_lossy(body));
    let (head, tail) = if body.len() <= EVIDENCE_BODY {
        (&body[..], None)
    } else {
        let (head, tail) = (EVIDENCE_BODY - EVIDENCE_TAIL, body.len() - EVIDENCE_TAIL);
        (&body[..body.floor_char_boundary(head)], Some(&body[body.ceil_char_boundary(tail)..]))
    };
    let mut text = String::new();
    for c in head.chars() {
        push_escaped(&mut text, c);
    }
    if let Some(tail) = tail {
        text.push_str(" … ");
        for c in tail.chars() {
            push_escaped(&mut text, c);
        }
    }
    text
}

fn push_escaped(line: &mut String, c: char) {
    match c {
        '\n' => line.push_str("\\n"),
        '\t' => line.push_str("\\t"),
        '\r' => line.push_str("\\r"),
        // Bidirectional overrides would let a body reorder the line that shows it.
        c if c.is_control()
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
        {
            let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
        }
        c => line.push(c),
    }
}

/// `scheme://user:password@host` becomes `scheme://***@host`.
fn without_user_info(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = authority(rest) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let end = after
            .find(|c: char| {
                c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>' | '\\' | ',')
            })
            .unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rfind('@') {
            Some(host) => {
                out.push_str("***");
                out.push_str(&authority[host..]);
            }
            None => out.push_str(authority),
        }
        rest = &after[end..];
    }
    out.push_str(rest);
    out
}

/// Start of the next authority of a URL: after two or more slashes, plain or escaped as in JSON.
fn authority(text: &str) -> Option<usize> {
    text.match_indices('/').find_map(|(at, _)| {
        let (mut rest, mut slashes) = (&text[at..], 0);
        while let Some(after) = rest.strip_prefix('/').or_else(|| rest.strip_prefix("\\/")) {
            (rest, slashes) = (after, slashes + 1);
        }
        (slashes > 1).then(|| text.len() - rest.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_info_is_masked_in_every_url() {
        let text = "cannot reach http://bob:s3cret@es:9200/x, nor https://a@b nor s3://plain";
        assert_eq!(
            one_line(text, 200),
            "cannot reach http://***@es:9200/x, nor https://***@b nor s3://plain"
        );
        assert_eq!(one_line("http:///bob:s3cret@es/ and ////a:b@c//", 99), "http:///***@es/ and ////***@c//");
        assert_eq!(one_line(r"https:\/\/bob:s3cret@es\/x a/b:c@d", 99), r"https:\/\/***@es\/x a/b:c@d");
    }

    #[test]
    fn user_info_is_masked_in_a_truncated_url() {
        assert_eq!(one_line("see http://bob:s3cret@es:9200", 15), "see http://***@…");
        for from in 0..40 {
            let filler = "x".repeat(from);
            let body = format!("{filler}http://bob:s3cret@es/{}", "y".repeat(EVIDENCE_BODY));
            assert!(!body_excerpt(body.as_bytes()).contains("s3c"));
            for end in 0..EVIDENCE_TAIL + 40 {
                let body = format!("{}http://bob:s3cret@es{}", "x".repeat(EVIDENCE_BODY), "y".repeat(end));
                let text = body_excerpt(body.as_bytes());
                assert!(!text.contains("cret@") && !text.contains("bob"), "{end}: {text}");
            }
        }
    }

    #[test]
    fn evidence_keeps_the_end_of_a_long_body_on_one_line() {
        let mut body = b"{\"body\":{\"stackTrace\":[".to_vec();
        body.extend(std::iter::repeat_n(b'\n', 8000));
        body.extend_from_slice(b"]},\"status\":500,\"contentType\":null}");
        let text = body_excerpt(&body);
        assert!(text.starts_with("{\"body\":"));
        assert!(text.ends_with("\"status\":500,\"contentType\":null}"));
        assert!(!text.contains('\n'));
        assert!(text.len() < 3 * EVIDENCE_BODY);
    }

    #[test]
    fn control_and_bidi_characters_are_escaped() {
        assert_eq!(one_line("a\u{1b}[2Jb\u{202e}c", 99), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(one_line("abcdef", 3), "abc…");
    }
}
