//! What a pause may cost: room on the brokers' disks before it and inside it, and what the last pauses foretell.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "harness/lab.rs"]
mod lab;

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{LeastRoom, Limits};
use camunda_backupd::journal::{FailureClass, Run, RunStatus};
use camunda_backupd::run::forecast::Forecast;
use camunda_backupd::run::preflight::{Check, preflight};
use camunda_backupd::sim::{self, locked};
use lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::time::Duration;

const BROKER: &str = "http://sim-orders/zeebe";

fn limited(mib: u64) -> Lab {
    let limits = Limits { min_free_disk: Some(LeastRoom::Bytes(mib << 20)), ..Limits::default() };
    Lab::with(sim::Config::named("orders"), limits)
}

fn arm(lab: &Lab, fault: &str) {
    locked(&lab.cluster).arm(fault).unwrap();
}

async fn check(lab: &Lab, name: &str) -> Option<Check> {
    let forecast = Forecast::of(&lab.store, "orders", lab.clock.now()).await;
    let spec = &lab.settings.spec;
    let checks = preflight(&lab.ground.transport, &*lab.ground.clock, spec, Some(false), &forecast).await;
    checks.into_iter().find(|check| check.check == name)
}

fn never_paused(lab: &Lab, run: &Run) {
    assert_eq!(run.view.pause.intended_at, None);
    assert_eq!(lab.asked("pause"), 0);
}

#[tokio::test(start_paused = true)]
async fn with_room_a_backup_is_taken_and_its_certificate_tells_how_much_there_was() {
    let lab = limited(500);
    arm(&lab, "now.disk=900");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    let disk = &run.view.proof["disk"];
    let mib = disk["free_before"].as_u64().unwrap() >> 20;
    assert!((880..=900).contains(&mib), "{disk}");
    lab.nothing_owed(&run).await;
}

#[tokio::test(start_paused = true)]
async fn without_room_exporting_is_not_paused() {
    let lab = limited(500);
    arm(&lab, "now.disk=400");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Disk));
    let reason = reason_of(&run);
    assert!(reason.starts_with(&format!("the disk of broker {BROKER} has 399.")), "{reason}");
    assert!(
        reason.ends_with(
            " MiB left at /usr/local/camunda/data, less than limits.min_free_disk, 500 MiB: exporting is not paused, because the log grows meanwhile; make room there"
        ),
        "{reason}"
    );
    never_paused(&lab, &run);
    let check = check(&lab, "broker_disk").await.unwrap();
    assert!(!check.ok && check.detail.ends_with("less than limits.min_free_disk, 500 MiB"), "{check:?}");
}

/// The web apps may take hours before the pause begins.
#[tokio::test(start_paused = true)]
async fn the_disk_is_looked_at_again_right_before_the_pause() {
    let lab = limited(500);
    arm(&lab, "tasklist-post.disk=400");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Disk), "{}", reason_of(&run));
    never_paused(&lab, &run);
    lab.nothing_owed(&run).await;
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_inside_the_pause_ends_it() {
    let lab = limited(500).fault("zeebe.stall=10m,zeebe-post.disk=450");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Disk), "{}", reason_of(&run));
    assert!(
        reason_of(&run).ends_with(
            "less than limits.min_free_disk, 500 MiB: the pause was ended, because the log grew meanwhile; make room there"
        ),
        "{}",
        reason_of(&run)
    );
    let pause = run.view.pause.resume_intended_at.unwrap() - run.view.pause.intended_at.unwrap();
    assert!(pause.num_seconds() <= 10, "seen after {pause}");
    lab.nothing_owed(&run).await;
}

/// Each of the last three pauses took 1,500 MiB of the disk.
#[tokio::test(start_paused = true)]
async fn a_pause_that_would_take_too_much_room_is_not_begun() {
    let lab = limited(500);
    for _ in 0..3 {
        arm(&lab, "now.disk=3000,zeebe.stall=20s,zeebe-post.disk=1500");
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        let disk = &run.view.proof["disk"];
        assert!(disk["free_inside"].as_u64() < disk["free_before"].as_u64(), "{disk}");
    }
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Disk), "{}", reason_of(&run));
    let reason = reason_of(&run);
    assert!(
        reason.contains(" GiB left at /usr/local/camunda/data, and a pause like the last ones would take 1."),
        "{reason}"
    );
    assert_eq!(lab.asked("pause"), 3);
    arm(&lab, "now.disk=9000");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}

/// What forbids a backup must not do so for ever: after a week it is tried again.
#[tokio::test(start_paused = true)]
async fn what_was_foretold_is_forgotten_after_a_week() {
    let lab = limited(500);
    for _ in 0..3 {
        arm(&lab, "now.disk=3000,zeebe.stall=20s,zeebe-post.disk=1500");
        assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    }
    assert_eq!(class_of(&lab.backup().await), Some(FailureClass::Disk));
    lab.clock.sleep(Duration::from_hours(24 * 7)).await;
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}

#[rstest]
#[case(
    "prometheus.refuse@*",
    "limits.min_free_disk is set, and the room on the brokers' disks could not be read: "
)]
#[case(
    "prometheus.unauthorized@*",
    "limits.min_free_disk is set, and no broker tells how much room its disk has: "
)]
#[tokio::test(start_paused = true)]
async fn a_limit_that_cannot_be_kept_is_not_taken_for_kept(#[case] fault: &str, #[case] begins: &str) {
    let lab = limited(500).fault(fault);
    let run = lab.backup().await;
    assert!(reason_of(&run).starts_with(begins), "{}", reason_of(&run));
    never_paused(&lab, &run);
    assert!(!check(&lab, "broker_disk").await.unwrap().ok);
    // Where nobody asked for it, it hinders nothing.
    let lab = Lab::new().fault(fault);
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    assert_eq!(check(&lab, "broker_disk").await, None);
}

/// Looked at inside the pause as well: one answer that does not come ends nothing.
#[tokio::test(start_paused = true)]
async fn a_disk_that_cannot_be_read_for_a_moment_ends_no_pause() {
    let lab = limited(500).fault("zeebe.stall=1m,prometheus.refuse@3+2");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert!(lab.asked("prometheus") > 6, "{}", lab.asked("prometheus"));
}

#[tokio::test(start_paused = true)]
async fn pauses_that_never_were_within_the_budget_are_not_begun() {
    let lab = Lab::new().fault("zeebe.stall=30s@*");
    for _ in 0..3 {
        assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    }
    let forecast = Forecast::of(&lab.store, "orders", lab.clock.now()).await;
    let usual = forecast.usual().unwrap();
    assert!((30..45).contains(&usual.as_secs()), "{usual:?}");
    let told = check(&lab, "pause").await.unwrap();
    assert!(told.ok, "{told:?}");
    assert!(
        told.detail.starts_with("the last 3 pauses took 3")
            && told.detail.ends_with("; the pause_budget is 45m")
    );

    let mut settings = lab.settings.clone();
    settings.spec.limits.pause_budget = Duration::from_secs(20);
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), settings)]));
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBudget));
    let reason = reason_of(&run);
    assert!(
        reason.ends_with(
            ", and none of them was within the pause_budget of 20s: exporting is not paused; write a longer pause_budget, or see what made them so long"
        ),
        "{reason}"
    );
    assert_eq!(lab.asked("pause"), 3);
}

/// Where there were fewer, or one was short enough, nothing is forbidden.
#[tokio::test(start_paused = true)]
async fn one_slow_day_forbids_nothing() {
    let lab = Lab::new().fault("zeebe.stall=30s@2");
    for _ in 0..3 {
        assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
        lab.clock.sleep(Duration::from_mins(1)).await;
    }
    let mut settings = lab.settings.clone();
    settings.spec.limits.pause_budget = Duration::from_secs(20);
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), settings)]));
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
}
