//! Inputs under `tests/data/corpus`, and small mutations of them.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::FileFailurePersistence;
use serde_json::Value;
use std::path::{Path, PathBuf};

pub fn location(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../data/corpus").join(name)
}

pub fn lines(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(location(name)).unwrap();
    text.lines().map(str::to_owned).collect()
}

pub fn json_lines(name: &str) -> Vec<Value> {
    let read = |line: &String| serde_json::from_str(line).unwrap_or_else(|e| panic!("{name}: {e}: {line}"));
    lines(name).iter().map(read).collect()
}

/// The files of a folder, in the order of their names.
pub fn files(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(location(folder)).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "{folder} of the corpus is empty");
    files
}

/// Number of cases; a failing input is stored beside the corpus, and runs first from then on.
pub fn cases(count: u32, kept: &'static str) -> ProptestConfig {
    let failure_persistence = Some(Box::new(FileFailurePersistence::Direct(kept)) as Box<_>);
    ProptestConfig { failure_persistence, ..ProptestConfig::with_cases(count) }
}

/// Deletes, inserts or duplicates bytes at a few positions.
pub fn edits() -> impl Strategy<Value = Vec<(Index, usize, Edit)>> {
    let edit = prop_oneof![
        4 => "[ -~]{0,6}".prop_map(|text| Edit::Put(text.into_bytes())),
        1 => proptest::collection::vec(any::<u8>(), 1..4).prop_map(Edit::Put),
        1 => (2..40_usize).prop_map(Edit::Repeat),
    ];
    proptest::collection::vec((any::<Index>(), 0..12_usize, edit), 1..5)
}

#[derive(Clone, Debug)]
pub enum Edit {
    Put(Vec<u8>),
    Repeat(usize),
}

pub fn edited(mut bytes: Vec<u8>, edits: &[(Index, usize, Edit)]) -> Vec<u8> {
    for (location, length, edit) in edits {
        let first = location.index(bytes.len() + 1);
        let last = (first + length).min(bytes.len());
        let put = match edit {
            Edit::Put(put) => put.clone(),
            Edit::Repeat(times) => bytes[first..last].repeat(*times),
        };
        bytes.splice(first..last, put);
    }
    bytes
}

/// The same value with one random part replaced.
pub fn replaced(mut value: Value, location: Index, by: Value) -> Value {
    let mut left = location.index(count(&value));
    if let Some(found) = nth(&mut value, &mut left) {
        *found = by;
    }
    value
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(all) => all.iter().map(count).sum(),
        Value::Object(all) => all.values().map(count).sum(),
        _ => 0,
    }
}

fn nth<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(all) => all.iter_mut().find_map(|inner| nth(inner, left)),
        Value::Object(all) => all.values_mut().find_map(|inner| nth(inner, left)),
        _ => None,
    }
}
