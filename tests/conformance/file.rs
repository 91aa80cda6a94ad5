//! Guarantees of the state file beyond the trait: durability, secondary processes, views for operators.

use crate::bed::{
    Bed, Kind, at, completed, confirmed_resume, deletion_done, entry, failed, occurrence, pause_intended,
    pending_resume, resume_intent, scheduled, started, waiting,
};
use camunda_backupd::domain::Component;
use camunda_backupd::journal::{Event, RunView};
use camunda_backupd::store::sqlite::{FILE, SqliteStore};
use camunda_backupd::store::{BackupFilter, NewRun, OccurrenceOutcome, SharedStore, StoreError};
use rstest::rstest;
use rusqlite::Connection;
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;
use tokio::task::JoinSet;

const NOW: &str = "2025-03-01T02:00:00Z";

/// All data that the trait returns.
async fn everything(store: &SharedStore) -> String {
    let mut journals = Vec::new();
    for backup in store.backups(BackupFilter::default()).await.unwrap() {
        journals.push(store.journal(backup.run.run_id).await.unwrap());
    }
    let backups = store.backups(BackupFilter::default()).await.unwrap();
    let occurrences = store.occurrences(None, None, 0).await.unwrap();
    let (pending_resumes, clusters) =
        (store.pending_resumes().await.unwrap(), store.clusters().await.unwrap());
    format!("{backups:#?}{journals:#?}{occurrences:#?}{pending_resumes:#?}{clusters:#?}")
}

/// A copy of the files as a power loss leaves them, without the shared memory.
pub(crate) fn as_after_a_crash(dir: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in [FILE.to_owned(), format!("{FILE}-wal")] {
        std::fs::copy(dir.join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

async fn a_busy_night(store: &SharedStore) {
    let due = occurrence("daily", "prod", NOW);
    store.claim(vec![waiting(&due), waiting(&occurrence("daily", "test", NOW))]).await.unwrap();
    let new = NewRun { occurrences: vec![(due, OccurrenceOutcome::Started)], ..scheduled("prod", NOW) };
    let run = store.begin_run(new).await.unwrap();
    store.append(run.run_id, vec![entry(NOW, started())]).await.unwrap();
    store.record_pending_resume(pending_resume(&run, NOW), entry(NOW, pause_intended())).await.unwrap();
    let failing = store.begin_run(scheduled("other", NOW)).await.unwrap();
    store.append(failing.run_id, vec![entry(NOW, failed("503"))]).await.unwrap();
    store.request_deletion(failing.run_id, "command".into(), "requested".into(), at(NOW)).await.unwrap();
}

/// A pending resume in a file that no start can find would never be sent.
#[tokio::test]
async fn moved_state_file_rejects_new_work() {
    let (log, index) = (&format!("{FILE}-wal"), &format!("{FILE}-shm"));
    let files =
        [(FILE, false), (FILE, true), (log, false), (log, true), (index, false), ("state.lock", false)];
    for (name, replaced) in files {
        let dir = tempfile::tempdir().unwrap();
        let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
        let run = store.begin_run(scheduled("prod", NOW)).await.unwrap();
        store.append(run.run_id, vec![entry(NOW, started())]).await.unwrap();
        let file = dir.path().join(name);
        std::fs::rename(&file, dir.path().join("elsewhere")).unwrap();
        if replaced {
            std::fs::copy(dir.path().join("elsewhere"), &file).unwrap();
        }
        let sentence = format!(
            "the state file {} cannot be used: it was moved, removed or replaced while the daemon runs, and the next start would find nothing of what is written now: put it back or restore the newest copy, and restart the daemon",
            file.display()
        );
        let refused = store
            .record_pending_resume(pending_resume(&run, NOW), entry(NOW, pause_intended()))
            .await
            .unwrap_err();
        assert_eq!(refused.to_string(), sentence);
        assert_eq!(store.probe(at(NOW)).await.unwrap_err().to_string(), sentence);
        assert!(store.begin_run(scheduled("other", NOW)).await.is_err());
        assert!(store.pending_resumes().await.unwrap().is_empty());
        // Runs in progress are still listed.
        store.append(run.run_id, vec![entry(NOW, failed("503"))]).await.unwrap();
        std::fs::rename(dir.path().join("elsewhere"), &file).unwrap();
        store.probe(at(NOW)).await.unwrap();
    }
}

/// Tools of an operator open and close the file while the daemon runs.
#[tokio::test]
async fn reading_copying_or_vacuuming_is_not_taken_for_a_moved_file() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    let run = store.begin_run(scheduled("prod", NOW)).await.unwrap();
    for work in
        ["SELECT count(*) FROM runs", "PRAGMA wal_checkpoint(TRUNCATE)", "VACUUM INTO 'copy'", "VACUUM"]
    {
        let operator = Connection::open(dir.path().join(FILE)).unwrap();
        let work = work.replace("'copy'", &format!("'{}'", dir.path().join("copy").display()));
        let _ = operator.execute_batch(&work);
        drop(operator);
        store.probe(at(NOW)).await.unwrap();
    }
    store.append(run.run_id, vec![entry(NOW, started())]).await.unwrap();
    store.record_pending_resume(pending_resume(&run, NOW), entry(NOW, pause_intended())).await.unwrap();
}

#[tokio::test]
async fn close_and_open_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (store, lock) = SqliteStore::open(dir.path()).unwrap();
    a_busy_night(&store).await;
    let before = everything(&store).await;
    store.close().await.unwrap();
    drop((store, lock));
    let side_file = dir.path().join(format!("{FILE}-wal"));
    assert!(!side_file.exists(), "closing checkpoints the WAL");

    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    assert_eq!(everything(&store).await, before);
    assert_eq!(store.unfinished().await.unwrap().len(), 1);
    assert_eq!(
        store.begin_run(scheduled("other", NOW)).await.unwrap().backup_id.get(),
        at(NOW).timestamp() + 1
    );
}

/// SQLite would treat it as new and discard the WAL with its pending resumes.
#[tokio::test]
async fn empty_file_beside_a_wal_is_rejected_and_the_wal_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    a_busy_night(&store).await;
    let crashed = as_after_a_crash(dir.path());
    std::fs::write(crashed.path().join(FILE), "").unwrap();
    let log = crashed.path().join(format!("{FILE}-wal"));
    let before = std::fs::read(&log).unwrap();
    for opened in [
        SqliteStore::open_without_lock(crashed.path()).map(drop),
        SqliteStore::open(crashed.path()).map(drop),
    ] {
        let error = opened.unwrap_err().to_string();
        assert!(error.contains("it is empty and its write-ahead log is not, so it is damaged: "), "{error}");
    }
    assert!(SqliteStore::read_pending_resumes(crashed.path()).is_none());
    assert_eq!(std::fs::read(&log).unwrap(), before);
}

#[tokio::test]
async fn confirmed_writes_survive_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    a_busy_night(&store).await;
    let copy = as_after_a_crash(dir.path());

    let (survivor, _lock) = SqliteStore::open(copy.path()).unwrap();
    assert_eq!(everything(&survivor).await, everything(&store).await);
    assert_eq!(survivor.pending_resumes().await.unwrap().len(), 1);
    let busy = survivor.begin_run(scheduled("prod", NOW)).await;
    assert!(matches!(busy, Err(StoreError::Busy { .. })), "{busy:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_are_all_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    let mut runs = Vec::new();
    for n in 0..50 {
        let run = store.begin_run(scheduled(&format!("c{n}"), NOW)).await.unwrap();
        store.append(run.run_id, vec![entry(NOW, started())]).await.unwrap();
        runs.push(run.run_id);
    }
    let mut writing = JoinSet::new();
    for n in 0..1000_u32 {
        let (store, run_id) = (store.clone(), runs[n as usize % runs.len()]);
        let event = Event::Progress {
            component: Component::Zeebe,
            state: "IN_PROGRESS".into(),
            done: n,
            total: 1000,
        };
        writing.spawn(async move { store.append(run_id, vec![entry(NOW, event)]).await.unwrap() });
    }
    assert_eq!(writing.join_all().await.len(), 1000);

    let copy = as_after_a_crash(dir.path());
    let (survivor, _lock) = SqliteStore::open(copy.path()).unwrap();
    let mut seen = Vec::new();
    for run_id in runs {
        let journal = survivor.journal(run_id).await.unwrap();
        assert_eq!(RunView::replay(&journal).unwrap(), survivor.run(run_id).await.unwrap().unwrap().view);
        seen.extend(journal.into_iter().filter_map(|entry| match entry.event {
            Event::Progress { done, .. } => Some(done),
            _ => None,
        }));
    }
    seen.sort_unstable();
    assert_eq!(seen, (0..1000).collect::<Vec<_>>());
}

/// Only the daemon fills a file that it has just created: if a secondary process filled it, the daemon could
/// not start.
#[rstest]
#[case::not_yet_a_database("")]
#[case::no_tables_yet("PRAGMA journal_mode = WAL")]
fn secondary_process_does_not_fill_a_new_file(#[case] made_so_far: &str) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join(FILE);
    std::fs::write(&file, "").unwrap();
    let daemon = Connection::open(&file).unwrap();
    daemon.execute_batch(made_so_far).unwrap();
    let before = std::fs::read(&file).unwrap();
    assert!(SqliteStore::open_without_lock(dir.path()).unwrap().is_none(), "no pending resume yet");
    assert!(std::fs::read(&file).unwrap() == before, "the secondary process wrote to it");
    let tables: i64 = daemon.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
    assert_eq!(tables, 0);
    drop(daemon);
    let (_, lock) = SqliteStore::open(dir.path()).unwrap();
    assert!(lock.made(), "the creation of the state file is not reported");
}

#[tokio::test]
async fn secondary_process_confirms_a_resume_beside_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    assert!(SqliteStore::open_without_lock(dir.path()).unwrap().is_none(), "no state, no pending resume");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "and no file is created");

    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    a_busy_night(&store).await;
    let read_only = SqliteStore::open_without_lock(dir.path()).unwrap().unwrap();
    let pending = read_only.pending_resumes().await.unwrap();
    assert_eq!(pending, store.pending_resumes().await.unwrap());
    read_only.record_resume_progress(pending[0].run_id, resume_intent("command", NOW)).await.unwrap();
    read_only.record_resume_progress(pending[0].run_id, confirmed_resume("command", NOW)).await.unwrap();
    read_only.close().await.unwrap();

    assert_eq!(store.pending_resumes().await.unwrap(), []);
    let pause = store.run(pending[0].run_id).await.unwrap().unwrap().view.pause;
    assert_eq!(pause.resumed_at, Some(at(NOW)));
    store.append(pending[0].run_id, vec![entry(NOW, failed("interrupted"))]).await.unwrap();
}

#[tokio::test]
async fn resume_of_a_run_with_an_unreadable_row_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    a_busy_night(&store).await;
    let run_id = store.pending_resumes().await.unwrap()[0].run_id;
    let operator = Connection::open(dir.path().join(FILE)).unwrap();
    operator.execute("UPDATE runs SET view = 'damaged' WHERE cluster = 'prod'", []).unwrap();

    let file = dir.path().join(FILE).display().to_string();
    assert_eq!(
        store.run(run_id).await.unwrap_err().to_string(),
        format!(
            "the state file {file} cannot be used: a row cannot be understood (Conversion error from type Text at \
             index: 9, expected value at line 1 column 1): stop the daemon, restore the newest copy of the file, or \
             move it away and run `adopt`"
        )
    );
    store.record_resume_progress(run_id, resume_intent("sweeper", NOW)).await.unwrap();
    store.record_resume_progress(run_id, confirmed_resume("sweeper", NOW)).await.unwrap();
    assert_eq!(store.pending_resumes().await.unwrap(), []);
}

#[tokio::test]
async fn writes_are_atomic_while_another_program_holds_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    let run = store.begin_run(scheduled("prod", NOW)).await.unwrap();
    let operator = Connection::open(dir.path().join(FILE)).unwrap();
    operator.execute_batch("BEGIN IMMEDIATE").unwrap();

    let ended = store.append(run.run_id, vec![entry(NOW, failed("503"))]).await;
    let file = dir.path().join(FILE).display().to_string();
    assert_eq!(
        ended.unwrap_err().to_string(),
        format!(
            "the state file {file} cannot be written: another program holds a lock on it; free space or fix \
             permissions, nothing was lost"
        )
    );
    assert_eq!(store.unfinished().await.unwrap(), std::slice::from_ref(&run), "reads do not work");

    operator.execute_batch("COMMIT").unwrap();
    store.append(run.run_id, vec![entry(NOW, failed("503"))]).await.unwrap();
    assert_eq!(store.journal(run.run_id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn documented_views_show_the_states_of_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    let mut runs = BTreeMap::new();
    for state in ["queued", "running", "completed", "failed", "deleting", "deleted", "missing"] {
        let run = store.begin_run(scheduled(state, NOW)).await.unwrap();
        let steps = match state {
            "queued" => vec![],
            "running" => vec![entry(NOW, started())],
            "failed" => vec![entry(NOW, failed("503"))],
            _ => completed(NOW),
        };
        store.append(run.run_id, steps).await.unwrap();
        runs.insert(state, run.run_id);
    }
    for state in ["deleting", "deleted"] {
        store.request_deletion(runs[state], "command".into(), "requested".into(), at(NOW)).await.unwrap();
    }
    store.record_deletion_progress(runs["deleted"], deletion_done(NOW)).await.unwrap();
    store.set_missing(runs["missing"]).await.unwrap();

    let backups = store.backups(BackupFilter::default()).await.unwrap();
    assert_eq!(backups.len(), runs.len());
    let operator = Connection::open(dir.path().join(FILE)).unwrap();
    for backup in backups {
        let shown: String = operator
            .query_row("SELECT state FROM v_backups WHERE cluster = ?1", [&backup.run.cluster], |row| {
                row.get(0)
            })
            .unwrap();
        assert_eq!(
            (shown.as_str(), backup.state.name()),
            (backup.run.cluster.as_str(), backup.run.cluster.as_str())
        );
    }
    let good: Vec<String> = operator
        .prepare("SELECT cluster FROM v_last_good ORDER BY cluster")
        .unwrap()
        .query_map([], |row| row.get(0))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(good, ["completed"]);
}

#[tokio::test]
async fn instants_sort_as_text() {
    let bed = Bed::new(Kind::Sqlite);
    for now in [
        "2025-03-01T02:00:00.5Z",
        "2025-03-01T02:00:00Z",
        "2025-03-01T02:00:00.25Z",
        "2025-03-01T01:59:59.999999999Z",
    ] {
        bed.failed("prod", now).await;
    }
    let order: Vec<_> = bed
        .backups(BackupFilter::default())
        .await
        .unwrap()
        .iter()
        .map(|b| b.run.created_at.timestamp_subsec_nanos())
        .collect();
    assert_eq!(order, [999_999_999, 0, 250_000_000, 500_000_000]);
}

#[tokio::test]
async fn only_the_owner_can_read_the_state() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("new/state");
    let (store, _lock) = SqliteStore::open(&dir).unwrap();
    store.probe(at(NOW)).await.unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for name in ["state.db", "state.db-wal", "state.lock"] {
        assert_eq!(mode(&dir.join(name)), 0o600, "{name}");
    }
}
