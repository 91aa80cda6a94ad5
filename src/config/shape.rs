//! Check of keys and types against the schema: unknown keys, wrong types, keys that are not supported yet.
//!
//! Owns the errors that need no interpretation of a value. Removes invalid entries from the tree, so that the rest is
//! still readable and every error is reported at once. Must not know more about a key than the schema.

use crate::config::diagnostic::Diagnostic;
use crate::config::nearest::nearest;
use crate::config::source::{Sources, is_secret_like};
use serde_json::Value;
use std::collections::BTreeSet;
use std::ops::Range;
use toml::de::{DeTable, DeValue};

/// Planned keys that this version does not support, by table.
const LATER: [(&str, &[&str]); 1] = [("http", &["tokens", "clients"])];
/// Tables in which users put keys that belong under `access`.
const BESIDE_ACCESS: [&str; 3] = ["clusters.*", "clusters.*.self_managed", "clusters.*.self_managed.search"];
/// Keys that belong under `access`.
const AUTHENTICATION: &[&str] = &[
    "auth",
    "username",
    "password",
    "token",
    "token_url",
    "api_key",
    "ca",
    "client_cert",
    "client_key",
    "client_id",
    "client_secret",
    "proxy",
];

/// Prefix of the tables whose values may be secrets written by mistake.
const ACCESS: &str = "clusters.*.self_managed.access.";

const BELOW_ACCESS: &str = "write it under [clusters.NAME.self_managed.access.COMPONENT]";

/// Removes invalid entries from the tree. Returns their paths, and the paths of keys that were probably meant.
pub(super) fn check(
    tree: &mut DeTable<'_>,
    schema: &Value,
    sources: &Sources,
    found: &mut Vec<Diagnostic>,
) -> BTreeSet<String> {
    let mut walk = Walk { sources, found, taken: BTreeSet::new() };
    walk.table(tree, schema, "", "");
    walk.taken
}

struct Walk<'a> {
    sources: &'a Sources,
    found: &'a mut Vec<Diagnostic>,
    taken: BTreeSet<String>,
}

impl Walk<'_> {
    /// `path` as in the file; `pattern` has `*` in place of user-defined names.
    fn table(&mut self, table: &mut DeTable<'_>, schema: &Value, path: &str, pattern: &str) {
        let known = schema.get("properties").and_then(Value::as_object);
        let any = schema.get("additionalProperties").filter(|any| any.is_object());
        for (key, mut value) in std::mem::replace(table, DeTable::new()) {
            let name = key.get_ref().as_ref();
            let path = join(path, name);
            let step = if any.is_some() { "*" } else { name };
            let usable = if let Some(schema) = known.and_then(|known| known.get(name)).or(any) {
                {
                    let at = if value.get_ref().is_table() { key.span() } else { value.span() };
                    self.value(value.get_mut(), schema, &path, &join(pattern, step), at)
                }
            } else {
                let names = known.into_iter().flat_map(|known| known.keys().map(String::as_str));
                self.unknown(name, names, &path, pattern, key.span());
                false
            };
            if usable {
                table.insert(key, value);
            }
        }
    }

    fn value(
        &mut self,
        value: &mut DeValue<'_>,
        schema: &Value,
        path: &str,
        pattern: &str,
        at: Range<usize>,
    ) -> bool {
        let expected = schema.get("type").and_then(Value::as_str).unwrap_or_default();
        match (expected, value) {
            ("object", DeValue::Table(table)) => self.table(table, schema, path, pattern),
            ("array", DeValue::Array(items)) => {
                let item = schema.get("items").unwrap_or(&Value::Null);
                let all = items.iter_mut().fold(true, |all, value| {
                    let at = value.span();
                    self.value(value.get_mut(), item, path, pattern, at) && all
                });
                return all;
            }
            ("string", DeValue::String(_)) | ("boolean", DeValue::Boolean(_)) => {}
            ("integer", DeValue::Integer(number))
                if i64::from_str_radix(number.as_str(), number.radix()).is_ok() => {}
            (_, value) => {
                let message =
                    format!("`{}` must be {}, but is {}", shown(path), type_name(expected), given(value));
                let help = remedy(expected, value, pattern);
                self.report(Diagnostic::error(message).help(help), at);
                self.taken.insert(path.to_owned());
                return false;
            }
        }
        true
    }

    fn unknown<'n>(
        &mut self,
        name: &str,
        known: impl Iterator<Item = &'n str>,
        path: &str,
        pattern: &str,
        at: Range<usize>,
    ) {
        let known: Vec<&str> = known.collect();
        let later = LATER.iter().any(|(table, keys)| *table == pattern && keys.contains(&name));
        let in_access = pattern.starts_with(ACCESS);
        let secret = is_secret_like(name) && !later && !in_access;
        let misplaced = BESIDE_ACCESS.contains(&pattern) && AUTHENTICATION.contains(&name);
        let shown = shown(path);
        self.taken.insert(path.to_owned());
        let diagnostic = if misplaced && secret {
            Diagnostic::error(format!(
                "`{shown}` does not belong here, and this file must not contain secrets"
            ))
            .help(format!("{BELOW_ACCESS} with the name of a credential; if this was the secret itself, change it, because readers of this file know it"))
        } else if misplaced {
            Diagnostic::error(format!("`{shown}` does not belong here")).help(BELOW_ACCESS)
        } else if secret {
            Diagnostic::error(format!(
                "`{shown}` looks like a secret, and this file must not contain secrets"
            ))
            .help("remove it, and change the secret, because readers of this file know it")
        } else if later {
            Diagnostic::error(format!("`{shown}` is not supported yet")).help(later_help(name))
        } else {
            let diagnostic = Diagnostic::error(format!("`{shown}` is not a known key"));
            if let Some(meant) = nearest(name, known.iter().copied()) {
                let table = path.strip_suffix(name).unwrap_or_default();
                self.taken.insert(format!("{table}{meant}"));
                diagnostic.help(format!("did you mean `{meant}`?"))
            } else {
                diagnostic.help(format!("known here: {}", known.join(", ")))
            }
        };
        let label = self.sources.label(at, "").map(|mut label| {
            if in_access {
                // Cut the excerpt before the value: users may have written a secret under an unknown key.
                label.excerpt.truncate(label.span.end);
            }
            label
        });
        self.found.push(diagnostic.at_location(label));
    }

    fn report(&mut self, diagnostic: Diagnostic, at: Range<usize>) {
        self.found.push(diagnostic.at_location(self.sources.label(at, "")));
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A path for output: without control characters, at most 200 characters.
fn shown(path: &str) -> String {
    path.escape_debug().to_string().chars().take(200).collect()
}

fn later_help(name: &str) -> &'static str {
    match name {
        "tokens" | "clients" => {
            "remove it: HTTP listens on loopback addresses and Unix sockets only, and reading needs no token there"
        }
        _ => "remove it",
    }
}

fn type_name(expected: &str) -> &'static str {
    match expected {
        "object" => "a table",
        "array" => "a list",
        "integer" => "a whole number",
        "boolean" => "true or false",
        _ => "text",
    }
}

fn given(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "text",
        DeValue::Integer(number) if i64::from_str_radix(number.as_str(), number.radix()).is_err() => {
            "a number that is too large"
        }
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date or time without quotes",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn remedy(expected: &str, value: &DeValue<'_>, pattern: &str) -> &'static str {
    match (expected, value) {
        ("string", _) if pattern.starts_with(ACCESS) => "write one text in quotes",
        ("string", DeValue::Table(_)) if pattern.starts_with("clusters.*.self_managed") => {
            "write only the URL, and put its login under [clusters.NAME.self_managed.access.COMPONENT]"
        }
        ("string", DeValue::Datetime(_)) => "put it in quotes, as in \"02:00\"",
        ("string", DeValue::Integer(_)) => "put it in quotes, and give durations a unit, as in \"90s\"",
        ("string", _) => "put it in quotes",
        ("array", _) => "put it in brackets, as in [\"a\", \"b\"]",
        ("integer", DeValue::String(_)) => "write it without quotes",
        ("integer", DeValue::Integer(_)) => "write a smaller number",
        ("integer", _) => "write a number such as 3",
        ("boolean", _) => "write true or false without quotes",
        _ => "write it as a table, with one key for each setting",
    }
}
