//! The state file of a daemon that was killed during a pause, after backups that completed, failed and were deleted.

use crate::bed::{
    at, completed, confirmed_resume, deletion_done, entry, failed, occurrence, pause_intended,
    pending_resume, resume_intent, scheduled, started, waiting,
};
use crate::file::as_after_a_crash;
use camunda_backupd::store::sqlite::{FILE, SqliteStore};
use camunda_backupd::store::{BackupFilter, NewRun, OccurrenceOutcome, StoreError};
use rstest::rstest;
use rusqlite::Connection;
use rusqlite::types::Value;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

const THEN: &str = "2026-11-30T02:00:00Z";
const NOW: &str = "2026-12-01T02:00:00Z";

/// The files of a daemon that had no chance to close them.
async fn killed() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    for entries in [completed(THEN), completed(THEN), vec![entry(THEN, failed("503"))]] {
        let run = store.begin_run(scheduled("orders", THEN)).await.unwrap();
        store.append(run.run_id, entries).await.unwrap();
    }
    let oldest = store.backups(BackupFilter::default()).await.unwrap().remove(0).run.run_id;
    store.request_deletion(oldest, "retention".into(), "2 newer ones".into(), at(THEN)).await.unwrap();
    store.record_deletion_progress(oldest, deletion_done(THEN)).await.unwrap();
    let due = occurrence("daily", "orders", THEN);
    store.claim(vec![waiting(&due)]).await.unwrap();
    let served = NewRun { occurrences: vec![(due, OccurrenceOutcome::Started)], ..scheduled("orders", THEN) };
    let run = store.begin_run(served).await.unwrap();
    store.append(run.run_id, vec![entry(THEN, started())]).await.unwrap();
    store.record_pending_resume(pending_resume(&run, THEN), entry(THEN, pause_intended())).await.unwrap();
    as_after_a_crash(dir.path())
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
async fn file_of_a_killed_daemon_is_opened_with_all_that_it_holds() {
    let dir = killed().await;
    // Reading with a connection of its own checkpoints the WAL, so the rows are read from a copy.
    let before = rows(as_after_a_crash(dir.path()).path());
    let filled = ["runs", "journal", "occurrences", "pending_resumes", "deletions"];
    assert!(filled.iter().all(|table| !before[*table].is_empty()));
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(version(dir.path()), 1);
    assert_eq!(rows(dir.path()), before);

    let backups = store.backups(BackupFilter::default()).await.unwrap();
    assert_eq!(backups.len(), before["runs"].len());
    for backup in &backups {
        assert!(!store.journal(backup.run.run_id).await.unwrap().is_empty());
    }
    let pending_resume = store.pending_resumes().await.unwrap().pop().unwrap();
    store.record_resume_progress(pending_resume.run_id, resume_intent("sweeper", NOW)).await.unwrap();
    store.record_resume_progress(pending_resume.run_id, confirmed_resume("sweeper", NOW)).await.unwrap();
    assert_eq!(store.foreign_pause("orders".into(), at(NOW)).await.unwrap(), at(NOW));
    let unfinished = store.unfinished().await.unwrap().pop().unwrap();
    store.append(unfinished.run_id, vec![entry(NOW, failed("interrupted"))]).await.unwrap();
    let largest = backups.iter().map(|backup| backup.run.backup_id).max().unwrap();
    // The clock has been set back since.
    let next = store.begin_run(scheduled("orders", "2025-03-01T02:00:00Z")).await.unwrap();
    assert!(next.backup_id > largest, "{next:?}");
    store.close().await.unwrap();
}

/// `resume-exporting` runs before the next daemon. It resumes, and leaves everything else to the daemon.
#[tokio::test]
async fn read_only_connection_resumes_and_leaves_the_file_unchanged() {
    let dir = killed().await;
    let file = std::fs::read(dir.path().join(FILE)).unwrap();
    let read_only = SqliteStore::open_without_lock(dir.path()).unwrap().unwrap();
    let pending_resume = read_only.pending_resumes().await.unwrap().pop().unwrap();
    read_only.probe(at(NOW)).await.unwrap();
    read_only.record_resume_progress(pending_resume.run_id, resume_intent("command", NOW)).await.unwrap();
    read_only.record_resume_progress(pending_resume.run_id, confirmed_resume("command", NOW)).await.unwrap();
    read_only.close().await.unwrap();
    assert!(std::fs::read(dir.path().join(FILE)).unwrap() == file, "it wrote to the file beside the WAL");
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(store.pending_resumes().await.unwrap(), []);
    assert_eq!(version(dir.path()), 1);
}

/// A wrong schema number with the tables of this version is damage. The error does not send the operator to another version.
#[rstest]
#[tokio::test]
async fn spoilt_version_is_damage_and_the_pending_resume_is_still_read(#[values(-1, 0, 2, 3)] reads: i64) {
    let dir = killed().await;
    Connection::open(dir.path().join(FILE)).unwrap().pragma_update(None, "user_version", reads).unwrap();
    let Err(StoreError::Unusable { reason, .. }) = SqliteStore::open(dir.path()).map(drop) else {
        panic!("opened")
    };
    assert_eq!(
        reason,
        format!(
            "it is damaged (its version reads {reads}): stop the daemon, restore the newest copy of the file, or move it \
             away and run `adopt`"
        )
    );
    assert_eq!(SqliteStore::read_pending_resumes(dir.path()).unwrap().pending_resumes.len(), 1);
}

/// Opening does not make a lost index again.
#[tokio::test]
async fn file_without_one_of_its_indexes_is_damage() {
    let dir = killed().await;
    Connection::open(dir.path().join(FILE)).unwrap().execute_batch("DROP INDEX runs_one_unfinished").unwrap();
    let before = rows(dir.path());
    let Err(StoreError::Unusable { reason, .. }) = SqliteStore::open(dir.path()).map(drop) else {
        panic!("opened")
    };
    assert_eq!(
        reason,
        "it is damaged (its schema is not as it was made): stop the daemon, restore the newest copy of the file, or move it \
         away and run `adopt`"
    );
    assert_eq!((version(dir.path()), rows(dir.path())), (1, before));
    let found = SqliteStore::read_pending_resumes(dir.path()).unwrap();
    assert!(found.pending_resumes.len() == 1 && found.unread.is_none(), "{found:?}");
}
