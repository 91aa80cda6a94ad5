//! The texts of all config files as one range of bytes, so that a span alone identifies file and position.
//!
//! Owns the conversion of spans to positions. Must not show a secret: excerpts contain stars instead.

use crate::config::diagnostic::Label;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Maximum length of an excerpt in bytes; longer lines are cut.
const EXCERPT_LIMIT: usize = 400;
/// Words in a key that indicate a secret value.
const SECRET_WORDS: [&str; 9] =
    ["pass", "pwd", "secret", "token", "api_key", "apikey", "client_key", "bearer", "authorization"];

/// All files, concatenated.
#[derive(Default)]
pub(super) struct Sources {
    files: Vec<File>,
}

struct File {
    path: PathBuf,
    base: usize,
    text: String,
    line_starts: Vec<usize>,
}

impl Sources {
    /// Adds a file and returns the offset of its first byte.
    pub(super) fn add(&mut self, path: &Path, text: &str) -> usize {
        // One byte between two files separates the end of one from the start of the next.
        let base = self.files.last().map_or(0, |last| last.base + last.text.len() + 1);
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        self.files.push(File { path: path.to_owned(), base, text: mask(text), line_starts });
        base
    }

    /// Paths in reading order.
    pub(super) fn paths(&self) -> Vec<PathBuf> {
        self.files.iter().map(|file| file.path.clone()).collect()
    }

    /// The position of a span; `None` for a span outside every file.
    pub(super) fn label(&self, span: Range<usize>, text: impl Into<String>) -> Option<Label> {
        let file = self.files.iter().rev().find(|file| file.base <= span.start)?;
        let clip = |at: usize| floor_char(&file.text, (at - file.base).min(file.text.len()));
        let (start, end) = (clip(span.start), clip(span.end.max(span.start)));
        let line = file.line_starts.partition_point(|line_start| *line_start <= start);
        let line_start = line.checked_sub(1).and_then(|at| file.line_starts.get(at)).copied()?;
        // A label marks the first line of the span only, because a table may have many lines.
        let line_end = file.text[start..].find('\n').map_or(file.text.len(), |newline| start + newline);
        let line_end = floor_char(&file.text, line_end.min(line_start + EXCERPT_LIMIT)).max(start);
        let excerpt = file.text[line_start..line_end].trim_end_matches('\r').to_owned();
        let shown = |at: usize| (at - line_start).min(excerpt.len());
        Some(Label {
            file: file.path.clone(),
            line,
            column: file.text[line_start..start].chars().count() + 1,
            span: shown(start)..shown(end),
            excerpt,
            text: text.into(),
        })
    }
}

fn floor_char(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// Whether a key of this name usually holds a secret.
pub(super) fn is_secret_like(key: &str) -> bool {
    let key = key.to_ascii_lowercase().replace('-', "_");
    SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Replaces every likely secret by stars and keeps the length in bytes. Works on plain text, not on parsed values,
/// because excerpts also come from files that cannot be parsed.
fn mask(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    mask_values(text, &mut bytes);
    mask_user_info(text, &mut bytes);
    String::from_utf8(bytes).unwrap_or_default()
}

fn mask_values(text: &str, bytes: &mut [u8]) {
    let lower = text.to_ascii_lowercase();
    for word in SECRET_WORDS.iter().chain(&["api-key", "username"]) {
        for (at, _) in lower.match_indices(word) {
            let rest = &text[at + word.len()..];
            let key_rest =
                rest.find(|c: char| !(c.is_alphanumeric() || "_-\"'".contains(c))).unwrap_or(rest.len());
            let after_key = &rest[key_rest..];
            let value = after_key.trim_start_matches([' ', '\t']);
            let Some(value) = value.strip_prefix('=') else { continue };
            let value = value.trim_start_matches([' ', '\t']);
            let end = value_end(value);
            let start = text.len() - value.len();
            stars(&mut bytes[start..start + end]);
        }
    }
}

/// End of a TOML value: its closing quotes, or the end of the line without any.
fn value_end(value: &str) -> usize {
    for quotes in ["\"\"\"", "'''", "\"", "'"] {
        if let Some(inner) = value.strip_prefix(quotes) {
            let mut from = 0;
            while let Some(found) = inner[from..].find(quotes) {
                let at = from + found;
                let escaped = quotes.starts_with('"') && inner[..at].ends_with('\\');
                if !escaped {
                    return quotes.len() + at + quotes.len();
                }
                from = at + quotes.len();
            }
            if quotes.len() == 3 {
                return value.len();
            }
            break;
        }
    }
    value.find('\n').unwrap_or(value.len())
}

fn mask_user_info(text: &str, bytes: &mut [u8]) {
    let mut start = 0;
    for word in text.split(['"', '\'', '\n', ' ']) {
        let scheme = word.find("://").map(|at| at + 3);
        let rest = &word[scheme.unwrap_or(0)..];
        let from = start + scheme.unwrap_or(0);
        start += word.len() + 1;
        // User info before the `@`, of a URL and of a text that resembles one.
        let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        if let Some(at) = rest.rfind('@')
            && ((scheme.is_some() && at < authority) || rest[..at].contains(':'))
        {
            stars(&mut bytes[from..from + at]);
        }
        if let Some(query) = rest.find('?').filter(|_| scheme.is_some()) {
            stars(&mut bytes[from + query + 1..from + rest.len()]);
        }
    }
}

fn stars(bytes: &mut [u8]) {
    for byte in bytes {
        // Line ends stay, so that line numbers stay correct.
        if *byte != b'\n' && *byte != b'\r' {
            *byte = b'*';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("password = \"geheim\"", "password = ********")]
    #[case("PassWord='x y' # why", "PassWord=***** # why")]
    #[case("a = { client_secret = \"s\\\"t\", b = 1 }", "a = { client_secret = ******, b = 1 }")]
    #[case("token = unquoted\nnext = 1", "token = ********\nnext = 1")]
    #[case("\"my-token\" = \"\"\"a\nb\"\"\"\nc = 1", "\"my-token\" = ****\n****\nc = 1")]
    #[case("password = \"left open\nnext = 1", "password = **********\nnext = 1")]
    #[case("url = \"http://joe:pass@host/x\"", "url = \"http://********@host/x\"")]
    #[case("url = \"u:geheim@host\"", "url = \"********@host\"")]
    #[case("url = \"http://tok/en:geheim@host\"", "url = \"http://*************@host\"")]
    #[case("url = \"http://host/x?key=geheim\"", "url = \"http://host/x?**********\"")]
    #[case(
        "headers = { Authorization = \"Bearer geheim\" }",
        "headers = { Authorization = *************** }"
    )]
    #[case("pwd = 'geheim'", "pwd = ********")]
    #[case("all = { passwort = 'geheim', kind = 'x' }", "all = { passwort = ********, kind = 'x' }")]
    #[case("url = \"http://host/a@b\"", "url = \"http://host/a@b\"")]
    #[case("password = \"geheimß\"", "password = **********")]
    #[case("[http.tokens.grafana]", "[http.tokens.grafana]")]
    fn secrets_are_masked_and_offsets_stay(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(mask(text), shown);
        assert_eq!(mask(text).len(), text.len());
    }

    #[test]
    fn span_has_file_line_and_column() {
        let mut sources = Sources::default();
        sources.add(Path::new("a.toml"), "x = 1\n");
        let base = sources.add(Path::new("b.toml"), "y = 1\nß = 2\r\n");
        let label = sources.label(base + 9..base + 12, "here").unwrap();
        assert_eq!((label.file.to_str(), label.line, label.column), (Some("b.toml"), 2, 3));
        assert_eq!((label.excerpt.as_str(), label.span), ("ß = 2", 3..6));
    }
}
