//! Cost of a pause: disk space of the brokers before and inside it, and the forecast from the last pauses.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{Limits, MinDiskSpace, instant_text};
use camunda_backupd::journal::{FailureClass, Run, RunStatus};
use camunda_backupd::pause::forecast::Forecast;
use camunda_backupd::preflight::{Check, preflight};
use camunda_backupd::sim::{self, locked};
use chrono::TimeDelta;
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::time::Duration;

const BROKER: &str = "http://sim-orders/zeebe";

fn limited(mib: u64) -> Lab {
    let limits = Limits { min_free_disk: Some(MinDiskSpace::Bytes(mib << 20)), ..Limits::default() };
    Lab::with(sim::Config::named("orders"), limits)
}

fn arm(lab: &Lab, fault: &str) {
    locked(&lab.cluster).arm(fault).unwrap();
}

async fn check(lab: &Lab, name: &str) -> Option<Check> {
    let forecast = Forecast::of(&*lab.store, "orders", lab.clock.now()).await;
    let spec = &lab.settings.spec;
    let checks = preflight(&lab.context.transport, &*lab.context.clock, spec, Some(false), &forecast).await;
    checks.into_iter().find(|check| check.check == name)
}

fn never_paused(lab: &Lab, run: &Run, before: u64) {
    assert_eq!(run.view.pause.intended_at, None);
    assert_eq!(lab.requested("pause"), before);
}

#[tokio::test(start_paused = true)]
async fn attestation_contains_the_free_disk_space() {
    let lab = limited(500);
    arm(&lab, "now.disk=900");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    let disk = &run.view.proof["disk"];
    let mib = disk["free_before"].as_u64().unwrap() >> 20;
    assert!((880..=900).contains(&mib), "{disk}");
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn too_little_disk_space_prevents_the_pause() {
    let lab = limited(500);
    arm(&lab, "now.disk=400");
    let reason = lab.not_ready_reason().await;
    assert!(reason.starts_with(&format!("the disk of broker {BROKER} has 399.")), "{reason}");
    assert!(
        reason.ends_with(
            " MiB left at /usr/local/camunda/data, less than limits.min_free_disk, 500 MiB: exporting is not paused, because the log would grow meanwhile. Free disk space there"
        ),
        "{reason}"
    );
    assert_eq!(lab.requested("pause"), 0);
    let check = check(&lab, "broker_disk").await.unwrap();
    assert!(!check.ok && check.detail.ends_with("less than limits.min_free_disk, 500 MiB"), "{check:?}");
}

/// The web apps may take hours before the pause begins.
#[tokio::test(start_paused = true)]
async fn disk_space_is_probed_again_right_before_the_pause() {
    let lab = limited(500);
    arm(&lab, "tasklist-post.disk=400");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Disk), "{}", reason_of(&run));
    never_paused(&lab, &run, 0);
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn disk_that_fills_during_the_pause_ends_it() {
    let lab = limited(500).fault("zeebe.stall=10m,zeebe-post.disk=450");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Disk), "{}", reason_of(&run));
    assert!(
        reason_of(&run).ends_with(
            "less than limits.min_free_disk, 500 MiB: the pause was ended, because the log grew meanwhile. Free disk space there"
        ),
        "{}",
        reason_of(&run)
    );
    let pause = run.view.pause.resume_intended_at.unwrap() - run.view.pause.intended_at.unwrap();
    assert!(pause.num_seconds() <= 10, "seen after {pause}");
    lab.assert_nothing_pending(&run).await;
}

/// Each of the last three pauses took 1,500 MiB of the disk.
#[tokio::test(start_paused = true)]
async fn pause_needing_too_much_disk_space_does_not_start() {
    let lab = limited(500);
    for _ in 0..3 {
        arm(&lab, "now.disk=3000,zeebe.stall=20s,zeebe-post.disk=1500");
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        let disk = &run.view.proof["disk"];
        assert!(disk["free_inside"].as_u64() < disk["free_before"].as_u64(), "{disk}");
    }
    let reason = lab.not_ready_reason().await;
    assert!(
        reason.contains(" GiB left at /usr/local/camunda/data, and a pause like the last ones would use 1."),
        "{reason}"
    );
    assert_eq!(lab.requested("pause"), 3);
    arm(&lab, "now.disk=9000");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}

/// A blocked pause yields no new measurement, so the block expires a day after the last pause.
#[tokio::test(start_paused = true)]
async fn blocked_pause_is_retried_after_a_day() {
    let lab = limited(500);
    let mut resumed = lab.clock.now();
    for _ in 0..3 {
        arm(&lab, "now.disk=3000,zeebe.stall=20s,zeebe-post.disk=1500");
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        resumed = run.view.pause.resume_intended_at.unwrap();
    }
    let refused = lab.not_ready_reason().await;
    let again = format!(
        ", leaving less than limits.min_free_disk, 500 MiB: exporting is not paused. Free disk space, or wait until {}, when a pause is attempted again",
        instant_text(resumed + TimeDelta::hours(24))
    );
    assert!(refused.ends_with(&again), "{refused}");
    lab.clock.sleep(Duration::from_hours(24)).await;
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    // The last pause was within the limit, but the forecast of the last pauses is still above it.
    let refused = lab.not_ready_reason().await;
    assert!(refused.contains("a pause like the last ones would use"), "{refused}");
}

/// One day with a hanging backup store and a growing log does not block the next backup.
#[tokio::test(start_paused = true)]
async fn one_pause_with_log_growth_does_not_block_the_next() {
    let lab = limited(500);
    for pause in ["zeebe.stall=20s", "zeebe.stall=20s,zeebe-post.disk=1500", "zeebe.stall=20s"] {
        arm(&lab, &format!("now.disk=3000,{pause}"));
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    }
    arm(&lab, "now.disk=1500");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}

#[rstest]
#[case("prometheus.refuse@*", "limits.min_free_disk is set, and the brokers' disk space could not be read: ")]
#[case("prometheus.unauthorized@*", "limits.min_free_disk is set, and no broker reports its disk space: ")]
#[tokio::test(start_paused = true)]
async fn unreadable_disk_space_blocks_the_pause_if_a_limit_is_set(#[case] fault: &str, #[case] begins: &str) {
    let lab = limited(500).fault(fault);
    let reason = lab.not_ready_reason().await;
    assert!(reason.starts_with(begins), "{reason}");
    assert_eq!(lab.requested("pause"), 0);
    assert!(!check(&lab, "broker_disk").await.unwrap().ok);
    // Without a configured limit the forecast blocks nothing.
    let lab = Lab::new().fault(fault);
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    assert_eq!(check(&lab, "broker_disk").await, None);
}

/// The disk is also probed during the pause: one missing response does not end the pause.
#[tokio::test(start_paused = true)]
async fn one_unreadable_disk_probe_does_not_end_the_pause() {
    let lab = limited(500).fault("zeebe.stall=1m,prometheus.refuse@3+2");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert!(lab.requested("prometheus") > 6, "{}", lab.requested("prometheus"));
}

#[tokio::test(start_paused = true)]
async fn pause_is_not_started_if_none_was_within_the_budget() {
    let mut lab = Lab::new().fault("zeebe.stall=30s@*");
    for _ in 0..3 {
        assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    }
    let forecast = Forecast::of(&*lab.store, "orders", lab.clock.now()).await;
    let usual = forecast.usual().unwrap();
    assert!((30..45).contains(&usual.as_secs()), "{usual:?}");
    let pause_check = check(&lab, "pause").await.unwrap();
    assert!(pause_check.ok, "{pause_check:?}");
    assert!(
        pause_check.detail.starts_with("the last 3 pauses took 3")
            && pause_check.detail.ends_with("; the pause_budget is 45m")
    );

    budget(&mut lab, Duration::from_secs(20));
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBudget));
    let reason = reason_of(&run);
    assert!(
        reason.contains(
            ", and none of them was within the pause_budget of 20s: exporting is not paused. Set a longer pause_budget, or find the cause of the long pauses. A pause is attempted again from "
        ),
        "{reason}"
    );
    assert_eq!(lab.requested("pause"), 3);
}

fn budget(lab: &mut Lab, pause_budget: Duration) {
    lab.settings.spec.limits.pause_budget = pause_budget;
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
}

/// A budget reduced below the last pauses blocks backups for a day, not as long as those pauses are
/// remembered. If the next pause is too long again, it blocks another day.
#[tokio::test(start_paused = true)]
async fn pause_forecast_over_budget_is_retried_once_a_day() {
    let mut lab = Lab::new().fault("zeebe.stall=30s@4");
    let mut resumed = lab.clock.now();
    for _ in 0..3 {
        resumed = lab.backup().await.view.pause.resume_intended_at.unwrap();
    }
    budget(&mut lab, Duration::from_secs(20));
    let again = format!(". A pause is attempted again from {}", instant_text(resumed + TimeDelta::hours(24)));
    for hour in 0..24 {
        let refused = lab.backup().await;
        assert!(reason_of(&refused).ends_with(&again), "hour {hour}: {}", reason_of(&refused));
        lab.clock.sleep(Duration::from_hours(1)).await;
    }
    let pause_check = check(&lab, "pause").await.unwrap();
    assert!(
        !pause_check.ok && pause_check.detail.ends_with("none of them was within the pause_budget of 20s"),
        "{pause_check:?}"
    );
    let tried = lab.backup().await;
    assert_eq!(reason_of(&tried), "exporting was paused longer than the pause_budget of 20s");
    assert_eq!(lab.requested("pause"), 4);
    lab.clock.sleep(Duration::from_hours(1)).await;
    never_paused(&lab, &lab.backup().await, 4);
    lab.clock.sleep(Duration::from_hours(23)).await;
    for _ in 0..2 {
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    }
}

/// A pause that ended for another reason is no measurement: it does not extend the block.
#[tokio::test(start_paused = true)]
async fn pause_failed_for_another_reason_does_not_extend_the_block() {
    let mut lab = Lab::new().fault("zeebe.stall=30s@3");
    for _ in 0..3 {
        assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    }
    budget(&mut lab, Duration::from_secs(20));
    lab.clock.sleep(Duration::from_hours(24)).await;
    arm(&lab, "zeebe.fail");
    assert_eq!(class_of(&lab.backup().await), Some(FailureClass::Component));
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}

/// Pauses recorded while the clock was ahead block nothing.
#[tokio::test(start_paused = true)]
async fn pauses_recorded_by_a_fast_clock_do_not_block() {
    let lab = Lab::new().fault("zeebe.stall=30s@3");
    for _ in 0..3 {
        assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
    }
    let (now, budget) = (lab.clock.now(), Duration::from_secs(20));
    let hopeless = |now| {
        let store = lab.store.clone();
        async move { Forecast::of(&*store, "orders", now).await.hopeless(budget) }
    };
    assert!(hopeless(now).await.is_some());
    assert_eq!(hopeless(now - TimeDelta::days(30)).await, None);
}

/// Fewer pauses, or one short pause, block nothing.
#[tokio::test(start_paused = true)]
async fn one_slow_pause_does_not_block_the_next() {
    let mut lab = Lab::new().fault("zeebe.stall=30s@2");
    for _ in 0..3 {
        assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
        lab.clock.sleep(Duration::from_mins(1)).await;
    }
    budget(&mut lab, Duration::from_secs(20));
    assert_eq!(lab.backup().await.view.status, RunStatus::Completed);
}
