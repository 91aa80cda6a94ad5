//! A state file that an earlier version left behind: `tests/data/corpus/state/schema-N.db` is the file of a daemon of that
//! version which was killed inside a pause, with backups completed, failed and deleted before.

use crate::bed::{at, entry, failed, scheduled};
use camunda_backupd::store::sqlite::{FILE, SqliteStore};
use camunda_backupd::store::{BackupFilter, StoreError};
use rstest::rstest;
use rusqlite::Connection;
use rusqlite::types::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const NOW: &str = "2026-12-01T02:00:00Z";

fn kept() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/corpus/state/schema-1.db")
}

fn older() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(kept(), dir.path().join(FILE)).unwrap();
    dir
}

fn version(dir: &Path) -> i64 {
    let connection = Connection::open(dir.join(FILE)).unwrap();
    connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap()
}

/// Every row of every table.
fn rows(dir: &Path) -> BTreeMap<String, Vec<Vec<Value>>> {
    let connection = Connection::open(dir.join(FILE)).unwrap();
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'").unwrap();
    let tables: Vec<String> = tables.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let rows_of = |table: &String| {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table} ORDER BY 1")).unwrap();
        let width = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..width).map(|n| row.get(n)).collect();
        statement.query_map([], row).unwrap().map(Result::unwrap).collect()
    };
    tables.iter().map(|table| (table.clone(), rows_of(table))).collect()
}

#[tokio::test]
async fn an_older_file_is_brought_up_to_date_with_all_that_it_holds() {
    let dir = older();
    let before = rows(dir.path());
    assert!(
        ["runs", "journal", "occurrences", "debts", "deletions"]
            .iter()
            .all(|table| !before[*table].is_empty())
    );
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(version(dir.path()), 2);
    let mut after = rows(dir.path());
    assert_eq!(after.remove("foreign_pauses"), Some(Vec::new()));
    assert_eq!(after, before);

    // It is used as one that was made today.
    let backups = store.backups(BackupFilter::default()).await.unwrap();
    assert_eq!(backups.len(), before["runs"].len());
    for backup in &backups {
        assert!(!store.journal(backup.run.run_id).await.unwrap().is_empty());
    }
    let pending_resume = store.pending_resumes().await.unwrap().pop().unwrap();
    store.resume_intended(pending_resume.run_id, "guardian".into(), at(NOW)).await.unwrap();
    store.resume_confirmed(pending_resume.run_id, "guardian".into(), at(NOW)).await.unwrap();
    assert_eq!(store.foreign_pause("orders".into(), at(NOW)).await.unwrap(), at(NOW));
    let unfinished = store.unfinished().await.unwrap().pop().unwrap();
    store.append(unfinished.run_id, vec![entry(NOW, failed("interrupted"))]).await.unwrap();
    let largest = backups.iter().map(|backup| backup.run.backup_id).max().unwrap();
    // By a clock that is behind.
    let next = store.begin_run(scheduled("orders", "2025-03-01T02:00:00Z")).await.unwrap();
    assert!(next.backup_id > largest, "{next:?}");
    store.close().await.unwrap();
}

/// `resume-exporting` is the first to run after a new version was installed: it pays, and leaves the rest to the daemon.
#[tokio::test]
async fn a_guest_pays_what_an_older_file_owes_and_leaves_its_schema() {
    let dir = older();
    let read_only = SqliteStore::open_without_lock(dir.path()).unwrap().unwrap();
    let pending_resume = read_only.pending_resumes().await.unwrap().pop().unwrap();
    read_only.probe(at(NOW)).await.unwrap();
    read_only.resume_intended(pending_resume.run_id, "command".into(), at(NOW)).await.unwrap();
    read_only.resume_confirmed(pending_resume.run_id, "command".into(), at(NOW)).await.unwrap();
    read_only.close().await.unwrap();
    assert_eq!(version(dir.path()), 1);
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(store.pending_resumes().await.unwrap(), []);
    assert_eq!(version(dir.path()), 2);
}

/// Whatever keeps it from being brought up to date, nothing of it is changed, and its debts can be read.
#[test]
fn an_upgrade_that_fails_leaves_the_older_file_as_it_was() {
    let dir = older();
    let operator = Connection::open(dir.path().join(FILE)).unwrap();
    operator.execute_batch("CREATE TABLE foreign_pauses (mine TEXT)").unwrap();
    drop(operator);
    let before = rows(dir.path());
    let Err(StoreError::Unusable { path, reason }) = SqliteStore::open(dir.path()).map(drop) else {
        panic!("opened")
    };
    assert_eq!(path, dir.path().join(FILE).display().to_string());
    assert_eq!(
        reason,
        "its schema cannot be brought up to date (table foreign_pauses already exists): it is left as it was, so go on with \
         the version that wrote it, and report this"
    );
    assert_eq!((version(dir.path()), rows(dir.path())), (1, before));
    let owed = SqliteStore::read_debts(dir.path()).unwrap();
    assert!(owed.pending_resumes.len() == 1 && owed.unread.is_none(), "{owed:?}");
}

/// The number of the schema and the tables do not belong together: nobody is sent to install another version.
#[rstest]
fn a_spoilt_version_of_an_older_file_is_damage(#[values(-1, 0, 2, 3)] reads: i64) {
    let dir = older();
    Connection::open(dir.path().join(FILE)).unwrap().pragma_update(None, "user_version", reads).unwrap();
    let Err(StoreError::Unusable { reason, .. }) = SqliteStore::open(dir.path()).map(drop) else {
        panic!("opened")
    };
    assert!(reason.starts_with("it is damaged (") && reason.ends_with("run `adopt`"), "{reason}");
    assert_eq!(SqliteStore::read_debts(dir.path()).unwrap().pending_resumes.len(), 1);
}

/// An index that is gone from an older file is not made again by an upgrade.
#[test]
fn an_older_file_whose_schema_is_not_as_it_was_made_is_damage() {
    let dir = older();
    Connection::open(dir.path().join(FILE)).unwrap().execute_batch("DROP INDEX runs_one_unfinished").unwrap();
    let Err(StoreError::Unusable { reason, .. }) = SqliteStore::open(dir.path()).map(drop) else {
        panic!("opened")
    };
    assert!(reason.starts_with("it is damaged (its schema is not as it was made)"), "{reason}");
}
