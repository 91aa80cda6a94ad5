//! The state file itself: locks, refusals, survival, group commit.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use camunda_backupd::domain::{Pool, Trigger};
use camunda_backupd::journal::{Entry, Event, FailureClass, Outcome};
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{BackupFilter, NewRun, SharedStore};
use chrono::{DateTime, Utc};
use uuid::Uuid;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn manual(cluster: &str, now: DateTime<Utc>) -> NewRun {
    NewRun {
        run_id: Uuid::now_v7(),
        cluster: cluster.into(),
        trigger: Trigger::Manual,
        occurrences: vec![],
        pools: vec![Pool::Manual],
        note: None,
        spec: serde_json::json!({}),
        id_scope: "scope".into(),
        largest_seen: 0,
        now,
        min_interval: None,
    }
}

fn failed() -> Event {
    Event::Ended(Outcome::Failed {
        class: FailureClass::Cancelled,
        reason: "cancelled".into(),
        dossier: serde_json::Value::Null,
    })
}

async fn end(store: &SharedStore, run_id: Uuid) {
    store.append(run_id, vec![Entry { at: at("2025-03-01T02:00:09Z"), event: failed() }]).await.unwrap();
}

#[tokio::test]
async fn what_was_answered_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let (store, lock) = SqliteStore::open(&dir.path().join("state")).unwrap();
    let run = store.begin_run(manual("prod", at("2025-03-01T02:00:00Z"))).await.unwrap();
    end(&store, run.run_id).await;
    let before = store.backups(BackupFilter::default()).await.unwrap();
    store.close().await.unwrap();
    drop((store, lock));

    let (store, _lock) = SqliteStore::open(&dir.path().join("state")).unwrap();
    assert_eq!(store.backups(BackupFilter::default()).await.unwrap(), before);
    assert_eq!(before.len(), 1);
}
