//! Unusable state: one sentence with the path and the remedy, and no change.

use crate::bed::{failed, scheduled};
use camunda_backupd::journal::Entry;
use camunda_backupd::store::sqlite::{FILE, SqliteStore};
use camunda_backupd::store::{BackupFilter, StoreError};
use rstest::rstest;
use rusqlite::Connection;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use tempfile::TempDir;

/// The refusal, with the directory put away.
fn refusal(dir: &Path) -> String {
    let error = SqliteStore::open(dir).err().expect("it must not open");
    error.to_string().replace(&dir.display().to_string(), "DIR")
}

/// A state file with more than a few pages, closed.
async fn used_state() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (store, lock) = SqliteStore::open(dir.path()).unwrap();
    for _ in 0..50 {
        let run = store.begin_run(scheduled("prod", "2025-03-01T02:00:00Z")).await.unwrap();
        let entry = Entry { at: run.created_at, event: failed(&"no answer ".repeat(100)) };
        store.append(run.run_id, vec![entry]).await.unwrap();
    }
    store.close().await.unwrap();
    drop(lock);
    dir
}

#[tokio::test]
async fn second_daemon_gets_the_pid_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let (store, lock) = SqliteStore::open(dir.path()).unwrap();
    let expected = format!(
        "the state directory DIR is in use by process {}: stop it or set another [daemon] state_dir",
        std::process::id()
    );
    assert_eq!(refusal(dir.path()), expected);

    fs::write(dir.path().join("state.lock"), "").unwrap();
    assert_eq!(
        refusal(dir.path()),
        "the state directory DIR is in use by another process: stop it or set another [daemon] state_dir"
    );
    store.close().await.unwrap();
    drop(lock);
    assert!(SqliteStore::open(dir.path()).is_ok(), "the lock was not released with its holder");
}

#[test]
fn stale_pid_does_not_block_the_start() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("state.lock"), "4194304000\nleft by a crash\n").unwrap();
    let (_store, _lock) = SqliteStore::open(dir.path()).unwrap();
    let pid = fs::read_to_string(dir.path().join("state.lock")).unwrap();
    assert_eq!(pid, format!("{}\n", std::process::id()));
}

#[tokio::test]
async fn newer_schema_is_rejected_and_unchanged() {
    let dir = used_state().await;
    let sql = |text: &str| Connection::open(dir.path().join(FILE)).unwrap().execute_batch(text).unwrap();
    sql("CREATE TABLE news (id INTEGER); PRAGMA user_version = 7");
    let sentence = "the state file DIR/state.db cannot be used: it was written by a newer camunda-backupd (schema 7, \
                    this one supports 1): install that version again or restore the older state file";
    assert_eq!(refusal(dir.path()), sentence);
    let read_only = SqliteStore::open_without_lock(dir.path()).err().unwrap().to_string();
    assert_eq!(read_only.replace(&dir.path().display().to_string(), "DIR"), sentence);

    sql("DROP TABLE news; PRAGMA user_version = 1");
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(store.backups(BackupFilter::default()).await.unwrap().len(), 50);
}

/// A version whose schema is this one's is no other version.
#[rstest]
#[case(-1)]
#[case(0)]
#[case(257)]
#[tokio::test]
async fn unknown_schema_version_is_damage(#[case] version: i32) {
    let dir = used_state().await;
    Connection::open(dir.path().join(FILE)).unwrap().pragma_update(None, "user_version", version).unwrap();
    let sentence = format!(
        "the state file DIR/state.db cannot be used: it is damaged (its version reads {version}): stop the daemon, \
         restore the newest copy of the file, or move it away and run `adopt`"
    );
    assert_eq!(refusal(dir.path()), sentence);
    let read_only = SqliteStore::open_without_lock(dir.path()).err().unwrap().to_string();
    assert_eq!(read_only.replace(&dir.path().display().to_string(), "DIR"), sentence);
}

#[test]
fn database_of_another_program_is_rejected_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let other = Connection::open(dir.path().join(FILE)).unwrap();
    other.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    assert_eq!(
        refusal(dir.path()),
        "the state file DIR/state.db cannot be used: it is the database of another program: move it away or set \
         another [daemon] state_dir"
    );
    let mode: String = other.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete", "not even its journal mode is changed");
}

#[test]
fn file_that_is_no_database_is_rejected_and_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let text = "this is a letter, and it is longer than a hundred bytes so that nobody takes it for an empty database";
    fs::write(dir.path().join(FILE), text).unwrap();
    assert_eq!(
        refusal(dir.path()),
        "the state file DIR/state.db cannot be used: it is not a SQLite database: move it away, restore a copy of the \
         state, or set another [daemon] state_dir"
    );
    assert_eq!(fs::read_to_string(dir.path().join(FILE)).unwrap(), text);
}

#[tokio::test]
async fn truncated_file_is_rejected() {
    let dir = used_state().await;
    let file = fs::OpenOptions::new().write(true).open(dir.path().join(FILE)).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length / 2).unwrap();
    let sentence = refusal(dir.path());
    assert!(sentence.starts_with("the state file DIR/state.db cannot be used: it is damaged"), "{sentence}");
    assert!(
        sentence.ends_with(
            "stop the daemon, restore the newest copy of the file, or move it away and run `adopt`"
        ),
        "{sentence}"
    );
}

#[tokio::test]
async fn damaged_page_is_found_before_use() {
    let dir = used_state().await;
    let mut file = fs::OpenOptions::new().write(true).open(dir.path().join(FILE)).unwrap();
    let pages = file.metadata().unwrap().len() / 4096;
    for page in 10..pages {
        file.seek(SeekFrom::Start(page * 4096)).unwrap();
        file.write_all(&[0xA5; 512]).unwrap();
    }
    let sentence = refusal(dir.path());
    assert!(sentence.starts_with("the state file DIR/state.db cannot be used: it is damaged"), "{sentence}");
}

#[test]
fn impossible_state_directories_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("plain"), "").unwrap();
    let below_a_file = dir.path().join("plain/state");
    assert_eq!(
        refusal(&below_a_file),
        "the state file DIR/state.db cannot be used: its directory cannot be made (Not a directory (os error 20)): \
         make it, owned by the daemon's user, or set another [daemon] state_dir"
    );

    let occupied = dir.path().join("occupied");
    fs::create_dir_all(occupied.join(FILE)).unwrap();
    assert_eq!(
        refusal(&occupied),
        "the state file DIR/state.db cannot be used: it cannot be opened for writing (Is a directory (os error 21)): \
         make it and its directory writable for the daemon's user, or set another [daemon] state_dir"
    );

    let locked = dir.path().join("locked");
    fs::create_dir_all(locked.join("state.lock")).unwrap();
    assert_eq!(
        refusal(&locked),
        "the state file DIR/state.lock cannot be used: it cannot be opened (Is a directory (os error 21)): make it \
         writable for the daemon's user, or set another [daemon] state_dir"
    );
}

#[test]
fn secondary_process_reports_a_file_that_it_cannot_open() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join(FILE)).unwrap();
    let error = SqliteStore::open_without_lock(dir.path()).err().unwrap();
    let StoreError::Unusable { reason, .. } = error else { panic!("{error:?}") };
    assert_eq!(
        reason,
        "it cannot be opened: make it and its directory writable for the daemon's user, or set another [daemon] \
         state_dir"
    );
}
