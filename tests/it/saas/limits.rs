//! Limits of Camunda 8 SaaS: restores, the rate limit, and backup requests without a response.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{BackupState, Component, Limits};
use camunda_backupd::journal::{FailureClass, Run, RunStatus};
use camunda_backupd::sim::{self, Storage, locked};
use camunda_backupd::store::{Backup, BackupFilter};
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::time::Duration;

fn lab() -> Lab {
    let limits = Limits { stall_after: Limits::default().run_deadline, ..Limits::default() };
    Lab::with(sim::Config { storage: Storage::Saas, ..sim::Config::named("orders") }, limits)
}

/// Backups in Camunda 8 SaaS, by name.
fn at_the_provider(lab: &Lab) -> Vec<String> {
    locked(&lab.cluster).saas.backups.iter().map(|backup| backup.uuid.clone()).collect()
}

fn names(run: &Run) -> &[String] {
    &run.view.components[&Component::Saas].names
}

/// Requests a manual backup; returns while the request is in flight.
async fn request_in_flight(lab: &Lab) -> uuid::Uuid {
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    while lab.requested("saas-post") == 0 {
        lab.clock.sleep(Duration::from_millis(10)).await;
    }
    run_id
}

async fn backups(lab: &Lab) -> Vec<Backup> {
    lab.store.backups(BackupFilter::default()).await.unwrap()
}

/// Advances the clock past the rate limit of Camunda 8 SaaS.
async fn a_while(lab: &Lab) {
    lab.clock.sleep(Duration::from_mins(16)).await;
}

/// A pruned backup cannot be restored, so its restores are not queried, however long the daemon has run.
#[tokio::test(start_paused = true)]
async fn only_existing_backups_are_queried_for_restores() {
    let lab = lab();
    for _ in 0..6 {
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        a_while(&lab).await;
    }
    let there = backups(&lab).await.iter().filter(|backup| backup.state == BackupState::Completed).count();
    assert_eq!(there, 3, "Camunda 8 SaaS keeps three");
    let requested = lab.requested("saas-restore");
    lab.queue.manual("orders", None).await.unwrap();
    assert_eq!(lab.requested("saas-restore") - requested, 3);
}

/// Sequential queries would take a minute. Camunda 8 SaaS itself rejects conflicting operations.
#[tokio::test(start_paused = true)]
async fn slow_saas_restore_query_does_not_block_other_operations() {
    let lab = lab();
    for _ in 0..3 {
        lab.backup().await;
        a_while(&lab).await;
    }
    let lab = lab.fault("saas-restore.delay=20s@*");
    let began = lab.clock.monotonic();
    lab.queue.manual("orders", None).await.unwrap();
    let took = lab.clock.monotonic().saturating_sub(began);
    assert!(took < Duration::from_secs(35), "{took:?}");
}

/// A transient condition is no failure and leaves no evidence: the caller gets the reason.
#[rstest]
#[case("saas-list.foreign-backup", "Camunda 8 SaaS is taking backup scheduled (")]
#[case(
    "now.suspend",
    "Camunda 8 SaaS reports the cluster as Suspended. A backup is taken once it is Healthy; see Console"
)]
#[tokio::test(start_paused = true)]
async fn manual_request_to_a_cluster_not_ready_leaves_no_failure(#[case] fault: &str, #[case] begins: &str) {
    let lab = lab().fault(fault);
    let reason = lab.not_ready_reason().await;
    assert!(reason.starts_with(begins), "{reason}");
    assert!(backups(&lab).await.is_empty());
    assert_eq!(lab.requested("saas-post"), 0);
}

const LIMIT: &str = "Camunda 8 SaaS takes one backup in 15m and the last was requested at 2026-03-01T12:0";

/// The response is no longer awaited: the result of the request is still determined, and the limit kept.
#[tokio::test(start_paused = true)]
async fn run_cancelled_inside_its_request_finds_its_backup() {
    let lab = lab().fault("saas-post.delay=20s");
    let run_id = request_in_flight(&lab).await;
    assert!(lab.queue.stop("orders", FailureClass::Cancelled, "not now"));
    let run = lab.ended(run_id).await;
    assert_eq!(class_of(&run), Some(FailureClass::Cancelled));
    assert_eq!(names(&run), at_the_provider(&lab));
    assert!(run.view.cleanup_unfinished.is_empty(), "{:?}", run.view.cleanup_unfinished);
    lab.clock.sleep(Duration::from_mins(5)).await;
    let reason = lab.not_ready_reason().await;
    assert!(reason.starts_with(LIMIT), "{reason}");
    assert_eq!(lab.requested("saas-post"), 1);
}

/// The backup may still appear in the list: its state is unknown.
#[tokio::test(start_paused = true)]
async fn abandoned_request_is_reported_and_counts() {
    let lab = lab().fault("saas-post.delay=20s");
    let run_id = request_in_flight(&lab).await;
    locked(&lab.cluster).saas.backups.clear();
    assert!(lab.queue.stop("orders", FailureClass::Cancelled, "not now"));
    let run = lab.ended(run_id).await;
    assert_eq!(
        run.view.cleanup_unfinished,
        [
            "Camunda 8 SaaS may have started this backup although no response arrived (its list shows no new backup). Check Console: if the backup is listed, delete it there, then delete this record with `delete CLUSTER ID`"
        ]
    );
    assert!(run.view.uncertain.contains(&Component::Saas));
    lab.clock.sleep(Duration::from_mins(5)).await;
    let reason = lab.not_ready_reason().await;
    assert!(reason.starts_with(LIMIT), "{reason}");
    a_while(&lab).await;
    let next = lab.backup().await;
    assert_eq!(next.view.status, RunStatus::Completed, "{}", reason_of(&next));
    // Its record stays until an operator deletes it.
    let lost = &backups(&lab).await[0];
    assert_eq!(lost.state, BackupState::Failed);
    let at = lab.clock.now();
    lab.store.request_deletion(lost.run.run_id, "command".into(), "manual".into(), at).await.unwrap();
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_mins(2)).await;
    assert_eq!(backups(&lab).await[0].state, BackupState::Deleted);
}

/// The probe before the request was so slow that the deadline of the step ended the request.
#[tokio::test(start_paused = true)]
async fn request_cut_off_by_its_deadline_is_searched_in_the_list() {
    let faults = "saas-list.delay=31s+2,saas-list.delay=29900ms+3,saas-post.delay=31s";
    let lab = lab().fault(faults);
    let run = lab.backup().await;
    assert_eq!(reason_of(&run), "step saas.start took longer than 1m 30s");
    assert_eq!(lab.requested("saas-post"), 1);
    assert_eq!(names(&run), at_the_provider(&lab));
    let reason = lab.not_ready_reason().await;
    assert!(reason.starts_with(LIMIT), "{reason}");
}

/// The response was received but could not be stored.
#[tokio::test(start_paused = true)]
async fn backup_of_an_unstored_response_is_searched_in_the_list() {
    let lab = lab().fault("saas-post.delay=2s");
    let run_id = request_in_flight(&lab).await;
    lab.memory.fail_next_writes(1);
    let run = lab.ended(run_id).await;
    assert_eq!(class_of(&run), Some(FailureClass::Store));
    assert_eq!(names(&run), at_the_provider(&lab));
    lab.clock.sleep(Duration::from_mins(5)).await;
    let reason = lab.not_ready_reason().await;
    assert!(reason.starts_with(LIMIT), "{reason}");
}

/// A request that was not sent cannot have started a backup.
#[tokio::test(start_paused = true)]
async fn run_cancelled_before_its_request_does_not_use_the_rate_limit() {
    let lab = lab().fault("saas-list.delay=20s+2");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    while lab.requested("saas-list") < 3 {
        lab.clock.sleep(Duration::from_millis(10)).await;
    }
    assert!(lab.queue.stop("orders", FailureClass::Cancelled, "not now"));
    let run = lab.ended(run_id).await;
    assert_eq!((class_of(&run), lab.requested("saas-post")), (Some(FailureClass::Cancelled), 0));
    assert!(run.view.cleanup_unfinished.is_empty(), "{:?}", run.view.cleanup_unfinished);
    let next = lab.backup().await;
    assert_eq!(next.view.status, RunStatus::Completed, "{}", reason_of(&next));
}

/// The daemon died inside the request and came back when the run's time was over.
#[tokio::test(start_paused = true)]
async fn request_interrupted_by_a_crash_is_searched_at_any_time() {
    let dying = lab().fault("saas-post.delay=20s");
    let run_id = request_in_flight(&dying).await;
    let later = dying.clock.now() + dying.settings.spec.limits.run_deadline;
    let Lab { cluster, memory, settings, queue, .. } = dying;
    // The daemon leaves the run unfinished, like a killed daemon.
    queue.go_down(Duration::ZERO);
    let lab = Lab::daemon(cluster, memory, settings, later);
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    lab.queue.recover().await.unwrap();
    let run = lab.ended(run_id).await;
    assert_eq!(class_of(&run), Some(FailureClass::Deadline), "{}", reason_of(&run));
    assert_eq!(lab.requested("saas-post"), 1);
    assert_eq!(names(&run), at_the_provider(&lab));
}
