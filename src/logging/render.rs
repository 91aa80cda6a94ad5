//! A record as bytes: JSON, text, or the native protocol of the journal.
//!
//! Owns the three formats. Must not truncate or escape content (`record` does) and must not write.

use super::record::{Fields, Record, Value, clean};
use chrono::SecondsFormat;
use std::fmt::Write;
use tracing::Level;

/// SYSLOG_IDENTIFIER of every line.
pub(super) const IDENTIFIER: &str = "camunda-backupd";
/// Maximum length of a field name in the journal.
const JOURNAL_NAME_LIMIT: usize = 64;

/// One JSON object, followed by a line feed.
pub(super) fn json(record: &Record) -> String {
    let mut line = String::with_capacity(256);
    let mut put = |name: &str, value: String| {
        line.push(if line.is_empty() { '{' } else { ',' });
        let _ = write!(line, "{}:{value}", quoted(name));
    };
    put("timestamp", quoted(&timestamp(record)));
    put("level", quoted(level(record.level)));
    match &record.fields.event {
        Some(event) => put("event", quoted(event)),
        None => put("target", quoted(&record.target)),
    }
    if let Some(message) = &record.fields.message {
        put("message", quoted(message));
    }
    for (name, value) in &record.fields.others {
        put(name, json_value(value));
    }
    line.push_str("}\n");
    line
}

/// Timestamp, level and summary in one line.
pub(super) fn text(record: &Record) -> String {
    format!("{} {:5} {}\n", timestamp(record), level(record.level).to_uppercase(), summary(record))
}

/// One datagram for the journal. Every field has its length, so that content cannot end a field.
pub(super) fn journal(record: &Record) -> Vec<u8> {
    let mut datagram = Vec::with_capacity(512);
    let mut put = |name: &str, value: &str| {
        datagram.extend_from_slice(name.as_bytes());
        datagram.push(b'\n');
        datagram.extend_from_slice(&(value.len() as u64).to_le_bytes());
        datagram.extend_from_slice(value.as_bytes());
        datagram.push(b'\n');
    };
    put("MESSAGE", &clean(&summary(record)));
    put("PRIORITY", priority(record.level));
    put("SYSLOG_IDENTIFIER", IDENTIFIER);
    put("TARGET", &record.target);
    if let Some(event) = &record.fields.event {
        put("EVENT", event);
    }
    for (name, value) in &record.fields.others {
        let name = journal_name(name);
        if !name.is_empty() {
            put(&name, &plain(value));
        }
    }
    datagram
}

fn timestamp(record: &Record) -> String {
    record.at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

/// Severity numbers of syslog.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    }
}

/// `run.failed: message cluster=orders reason="two words"`: the text for readers without structured fields.
fn summary(record: &Record) -> String {
    let Fields { event, message, others, .. } = &record.fields;
    let mut line = event.as_ref().unwrap_or(&record.target).clone();
    if let Some(message) = message {
        let _ = write!(line, ": {message}");
    }
    for (name, value) in others {
        let value = plain(value);
        if value.is_empty() || value.contains([' ', '"', '=']) {
            let _ = write!(line, " {name}=\"{}\"", value.replace('"', "\\\""));
        } else {
            let _ = write!(line, " {name}={value}");
        }
    }
    line
}

fn plain(value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Signed(number) => number.to_string(),
        Value::Unsigned(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Flag(flag) => flag.to_string(),
    }
}

fn json_value(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        // JSON has no numbers for infinity and NaN.
        Value::Float(number) if !number.is_finite() => quoted(&number.to_string()),
        number_or_flag => plain(number_or_flag),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Upper case, digits and underscores; names with a leading underscore are reserved by the journal.
fn journal_name(name: &str) -> String {
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    name.trim_start_matches(|c: char| c == '_' || c.is_ascii_digit())
        .chars()
        .take(JOURNAL_NAME_LIMIT)
        .collect()
}
