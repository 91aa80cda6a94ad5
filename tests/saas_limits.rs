//! When a provider is asked for a backup and when it is left alone: its restores, its limit, starts without an answer.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "harness/lab.rs"]
mod lab;

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{BackupState, Limits};
use camunda_backupd::journal::RunStatus;
use camunda_backupd::sim::{self, Storage};
use camunda_backupd::store::{Backup, BackupFilter};
use lab::{Lab, reason_of};
use rstest::rstest;
use std::time::Duration;

fn lab() -> Lab {
    let limits = Limits { stall_after: Limits::default().run_deadline, ..Limits::default() };
    Lab::with(sim::Config { storage: Storage::Saas, ..sim::Config::named("orders") }, limits)
}

async fn backups(lab: &Lab) -> Vec<Backup> {
    lab.store.backups(BackupFilter::default()).await.unwrap()
}

/// Past the provider's limit.
async fn a_while(lab: &Lab) {
    lab.clock.sleep(Duration::from_mins(16)).await;
}

/// What the provider pruned can be restored no more, and nobody is asked about it, however long the daemon has run.
#[tokio::test(start_paused = true)]
async fn only_backups_that_are_still_there_are_asked_about_their_restore() {
    let lab = lab();
    for _ in 0..6 {
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        a_while(&lab).await;
    }
    let there = backups(&lab).await.iter().filter(|backup| backup.state == BackupState::Completed).count();
    assert_eq!(there, 3, "the provider keeps three");
    let asked = lab.asked("saas-restore");
    lab.queue.manual("orders", None).await.unwrap();
    assert_eq!(lab.asked("saas-restore") - asked, 3);
}

/// One after the other they would take a minute: the provider refuses itself what may not be.
#[tokio::test(start_paused = true)]
async fn a_provider_that_is_slow_to_tell_of_restores_keeps_nothing_from_beginning() {
    let lab = lab();
    for _ in 0..3 {
        lab.backup().await;
        a_while(&lab).await;
    }
    let lab = lab.fault("saas-restore.delay=20s@*");
    let began = lab.clock.monotonic();
    lab.queue.manual("orders", None).await.unwrap();
    let took = lab.clock.monotonic() - began;
    assert!(took < Duration::from_secs(35), "{took:?}");
}

/// What passes by itself is no failure, and no evidence of one is left: whoever asked is told.
#[rstest]
#[case("saas-list.stranger-backup", "the provider is taking backup scheduled (")]
#[case(
    "now.suspend",
    "the provider says that the cluster is Suspended: see Console, a backup is taken when it is Healthy"
)]
#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_not_ready_costs_a_request_by_hand_nothing(
    #[case] fault: &str,
    #[case] begins: &str,
) {
    let lab = lab().fault(fault);
    let reason = lab.hindered().await;
    assert!(reason.starts_with(begins), "{reason}");
    assert!(backups(&lab).await.is_empty());
    assert_eq!(lab.asked("saas-post"), 0);
}
