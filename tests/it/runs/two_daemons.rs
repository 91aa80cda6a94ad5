//! Two daemons with different instance names back up one cluster at the same instant, so under the same id.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::BackupState;
use camunda_backupd::journal::FailureClass;
use camunda_backupd::sim::locked;
use camunda_backupd::store::Backups;
use camunda_backupd::store::memory::MemoryStore;
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::time::Duration;

/// Two daemons with different instance names and separate states.
fn two(fault: &str) -> (Lab, Lab) {
    let first = if fault.is_empty() { Lab::new() } else { Lab::new().fault(fault) };
    let (cluster, now) = (first.cluster.clone(), first.clock.now());
    let mut second = Lab::daemon(cluster, MemoryStore::shared(), first.settings.clone(), now);
    second.context.instance = "other".into();
    second.queue = camunda_backupd::queue::Queue::new(
        second.context.clone(),
        camunda_backupd::pause::sweep::Sweeper::new(second.context.clone()),
        8,
    );
    second.queue.configure(BTreeMap::from([("orders".to_owned(), second.settings.clone())]));
    (first, second)
}

/// A web app rejects the second daemon during the backup of the first: its clean-up must not delete the other
/// backup.
#[tokio::test(start_paused = true)]
async fn rejected_daemon_deletes_nothing_of_the_other() {
    let (first, second) = two("");
    let (one, other) = tokio::join!(first.queue.manual("orders", None), second.queue.manual("orders", None));
    let (one, other) = tokio::join!(first.ended(one.unwrap()), second.ended(other.unwrap()));
    assert_eq!(one.backup_id, other.backup_id, "the scenario needs the same id");
    let (won, lost, loser) =
        if one.view.reason().is_none() { (&one, &other, &second) } else { (&other, &one, &first) };
    assert_eq!(won.view.reason(), None, "{} and {}", reason_of(&one), reason_of(&other));
    assert!(reason_of(lost).contains("Another backup is running at the moment"), "{}", reason_of(lost));

    let at = loser.clock.now();
    loser
        .store
        .request_deletion(lost.run_id, "retention".into(), "enough newer ones".into(), at)
        .await
        .unwrap();
    loser.queue.request_upkeep("orders");
    loser.clock.sleep(Duration::from_mins(5)).await;
    let restored = locked(&first.cluster).restore(won.backup_id.get());
    assert!(restored.is_whole(), "the backup of the other daemon is gone: {restored:?}");
    let row = loser.memory.backup("orders".into(), lost.backup_id).await.unwrap().unwrap();
    assert_eq!(row.state, BackupState::Deleting, "a foreign part is reported and not counted as deleted");
    let why = row.deletion.unwrap().last_error.unwrap();
    assert!(
        why.contains("mark of instance lab")
            || why.contains("mark of instance other")
            || why.contains("never accepted our request"),
        "{why}"
    );
}

/// The later daemon, or the one whose request was lost, gets a conflict from at least one web app. It changes nothing of
/// the other backup, so no run fails for another reason.
#[rstest]
#[case::probes_are_delayed((0..4).flat_map(|a| (0..4).map(move |b| format!("operate-get.delay=200ms+{a},tasklist-get.delay=200ms+{b}"))).collect())]
#[case::start_request_is_lost(vec!["operate-post.drop-request+1".to_owned()])]
#[tokio::test(start_paused = true)]
async fn later_daemon_changes_nothing_of_the_other(#[case] scenarios: Vec<String>) {
    let mut begun = 0;
    let expected = scenarios.len();
    for scenario in scenarios {
        let (first, second) = two(&scenario);
        let (one, other) =
            tokio::join!(first.queue.manual("orders", None), second.queue.manual("orders", None));
        // A daemon whose probe finds the other backup does not begin.
        let (Ok(one), Ok(other)) = (one, other) else { continue };
        begun += 1;
        let (one, other) = tokio::join!(first.ended(one), second.ended(other));
        for run in [&one, &other] {
            if run.view.reason().is_some() {
                assert_eq!(class_of(run), Some(FailureClass::Conflict), "{scenario}: {}", reason_of(run));
            } else {
                let restored = locked(&first.cluster).restore(run.backup_id.get());
                assert!(restored.is_whole(), "{scenario}: {restored:?}");
            }
        }
    }
    assert_eq!(begun, expected, "in some scenarios only one run began");
}
