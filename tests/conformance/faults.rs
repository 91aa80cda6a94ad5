//! Faults injected into the store in memory.

use crate::bed::{at, scheduled};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{Runs, Store, StoreError};

const NOW: &str = "2025-03-01T02:00:00Z";

#[tokio::test]
async fn failed_write_changes_nothing() {
    let store = MemoryStore::shared();
    store.fail_next_writes(1);
    let response = store.begin_run(scheduled("prod", NOW)).await;
    assert!(matches!(response, Err(StoreError::Unwritable { .. })), "{response:?}");
    assert!(store.unfinished().await.unwrap().is_empty());
    store.begin_run(scheduled("prod", NOW)).await.unwrap();

    store.fail_all_writes(true);
    for _ in 0..3 {
        assert!(store.probe(at(NOW)).await.is_err());
    }
    assert_eq!(store.unfinished().await.unwrap().len(), 1, "reads do not work");
    store.fail_all_writes(false);
    store.probe(at(NOW)).await.unwrap();
}

#[tokio::test]
async fn write_with_lost_response_is_committed() {
    let store = MemoryStore::shared();
    store.lose_next_responses(1);
    let response = store.begin_run(scheduled("prod", NOW)).await;
    assert!(matches!(response, Err(StoreError::Unknown { .. })), "{response:?}");
    assert_eq!(store.unfinished().await.unwrap().len(), 1);
}
