//! Why a call to a component failed, in one sentence an operator can act on.
//!
//! Owns `ClientError` and how foreign text is made fit for a log line. Must not decide what a run does about it.

use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// Longest piece of a body that is kept as evidence.
const EVIDENCE_BODY: usize = 1024;
/// How much of that is taken from the end: the `status` of an exporting answer comes after a stack trace.
const EVIDENCE_TAIL: usize = 160;

/// How Operate's 400 begins where the failure is its own or the search engine's, and not the caller's: nothing was
/// done, and it may be over later.
pub(crate) const DISGUISED_FAILURE: &str = "Exception occurred";

/// Why a call to a component failed. Display is one sentence; it never holds secrets or user info.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientError {
    /// Who was asked: `zeebe`, `operate`, `tasklist`, `optimize`, `search` or `rest`.
    pub component: String,
    /// What sort of failure it is.
    pub kind: ErrorKind,
    /// Status of the answer, or the one inside its body where that is the true one; `None` without an answer.
    pub status: Option<u16>,
    /// The whole sentence.
    pub message: String,
    /// `METHOD path -> status, body`, the body cut and with control characters escaped.
    pub evidence: String,
    /// For how many seconds it wants to be left alone, where it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
}

/// What sort of failure it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Never reached the component.
    NotSent,
    /// Not sent, because a credential, a token or a trusted certificate was not available; may be available later.
    NoAccess,
    /// No answer, or only half of one; the component may have acted.
    Lost,
    /// The id or name is taken, or may be: another backup is being taken.
    Conflict {
        /// Highest id the component knows, where it says so.
        highest: Option<i64>,
    },
    /// The repository or the endpoint itself does not exist.
    Missing,
    /// A definite no.
    Refused,
    /// A definite no to whoever we say we are: credentials, permissions, certificates.
    AuthRejected,
    /// The component failed; some of it may have acted.
    Server,
    /// An answer that no component gives: not JSON, HTML, a redirect, too long, an unknown shape.
    Unusable,
}

impl ClientError {
    /// Whether the component may have done what was asked: look before acting again.
    pub fn may_have_acted(&self) -> bool {
        matches!(self.kind, ErrorKind::Lost | ErrorKind::Server | ErrorKind::Unusable)
    }

    /// Whether the same call may succeed later without anybody changing anything.
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

/// Foreign text as one line: control characters escaped, user info in URLs masked, cut after `limit` characters.
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

/// A body as evidence: its beginning and its end, on one line.
pub(crate) fn body_excerpt(body: &[u8]) -> String {
    // Masked as a whole: of a URL that is cut, the rest would no longer look like one.
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
        // Bidirectional overrides would let a body reorder the line it is shown in.
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

/// Where the next authority of a URL begins: behind two slashes or more, each as it stands in text or escaped as in JSON.
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
    fn user_info_is_masked_wherever_a_url_stands() {
        let text = "cannot reach http://bob:s3cret@es:9200/x, nor https://a@b nor s3://plain";
        assert_eq!(
            one_line(text, 200),
            "cannot reach http://***@es:9200/x, nor https://***@b nor s3://plain"
        );
        assert_eq!(one_line("http:///bob:s3cret@es/ and ////a:b@c//", 99), "http:///***@es/ and ////***@c//");
        assert_eq!(one_line(r"https:\/\/bob:s3cret@es\/x a/b:c@d", 99), r"https:\/\/***@es\/x a/b:c@d");
    }

    #[test]
    fn user_info_is_masked_where_the_text_is_cut_inside_a_url() {
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
    fn evidence_keeps_the_end_of_a_long_body_and_stays_on_one_line() {
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
    fn text_that_would_move_the_cursor_is_escaped() {
        assert_eq!(one_line("a\u{1b}[2Jb\u{202e}c", 99), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(one_line("abcdef", 3), "abc…");
    }
}
