//! Output: tables that fit the terminal, JSON for scripts. A closed pipe is not an error.

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use std::io::Write;

/// Writes to standard output; a closed pipe ends the output without an error.
pub(super) fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// Writes a line to standard error; a closed pipe is ignored.
pub(super) fn complain(text: &str) {
    let mut out = std::io::stderr().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
}

/// Prints indented JSON.
pub(super) fn json(value: &Value) {
    print(&serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Prints an aligned table.
pub(super) fn table(header: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row);
    }
    print(&table.to_string());
}

/// One row per object of a JSON list, with the values of `keys`.
pub(super) fn rows<const N: usize>(list: &Value, keys: [&str; N]) -> Vec<Vec<String>> {
    let objects = list.as_array().into_iter().flatten();
    objects.map(|object| keys.map(|key| cell(&object[key])).to_vec()).collect()
}

/// A JSON value as text: `-` for null, lists joined by commas.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".into(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}
