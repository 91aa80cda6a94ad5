//! Distinguishes a damaged state file from a file of another program, a newer version or another user.
//!
//! Owns the signs of our own file: the schema, and its text in the first bytes. Must not write.

use crate::store::StoreError;
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Remedy for the operator.
pub const REMEDY: &str =
    "stop the daemon, restore the newest copy of the file, or move it away and run `adopt`";

/// SQLite keeps the text of a schema as it was written.
const TABLE: &[u8] = b"CREATE TABLE pending_resumes (";
/// Number of bytes at the beginning that are searched for `TABLE`. The schema is written into a new file, so it lies
/// near the beginning.
const PROBED: u64 = 1 << 20;
/// Offset of the header's write version, and its largest valid number.
const WRITE_VERSION: (usize, u8) = (18, 2);

/// Names and text of tables and indexes. Views are left out, because operators may add views of their own.
pub(super) type Schema = BTreeSet<(String, Vec<u8>)>;

pub(super) fn schema(connection: &Connection) -> rusqlite::Result<Schema> {
    let mut statement = connection.prepare(
        "SELECT CAST(name AS BLOB), CAST(sql AS BLOB) FROM sqlite_schema
         WHERE type IN ('table', 'index') AND sql IS NOT NULL AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let rows = statement.query_map([], |row| Ok((text(row.get(0)?), row.get(1)?)))?;
    rows.collect()
}

/// Whether the first bytes of a file that SQLite rejects hold our schema.
pub(super) fn was_ours(file: &Path) -> bool {
    head(file, PROBED).windows(TABLE.len()).any(|text| text == TABLE)
}

/// Whether the header forbids writing, which this program never sets.
pub(super) fn forbids_writing(file: &Path) -> bool {
    let (at, largest) = WRITE_VERSION;
    head(file, 100).get(at).is_some_and(|version| *version > largest)
}

fn head(file: &Path, length: u64) -> Vec<u8> {
    let mut head = Vec::new();
    // A file that cannot be read yields an empty head, which shows no sign of our schema.
    let _ = File::open(file).map(|file| file.take(length).read_to_end(&mut head));
    head
}

/// Error for a damaged file; `what` names the damage found.
pub(super) fn damaged(file: &Path, what: &str) -> StoreError {
    let reason = format!("it is damaged ({}): {REMEDY}", clause(what));
    StoreError::Unusable { path: file.display().to_string(), reason }
}

/// Result of a check by SQLite, on one line.
pub(super) fn clause(what: &str) -> String {
    what.trim_start_matches("*** in database main ***\n").replace('\n', ", ")
}
