//! SIGTERM at every operation of a backup, of every family, with a short and with a long grace period.
//!
//! Guarantees of a stop: no run starts; outside the pause the daemon waits for nothing; inside the pause the run has the
//! grace period to leave it. After the stop exporting runs. Then the daemon starts again, and one oracle checks the
//! rest. The signals are in `tests/daemon/shutdown_signals.rs`, the part of systemd in `tests/jobs/systemd/run`.

use crate::matrix::{chosen, daemon, family, injected, next_daemon};
use crate::violence::Script;
use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{Instant, Limits};
use camunda_backupd::journal::FailureClass;
use camunda_backupd::sim::{self, locked};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{PendingResumes, Runs};
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::time::Duration;

#[derive(Default)]
struct Report {
    operations: Vec<String>,
    wrong: Vec<String>,
    completed: bool,
    /// From the signal until the daemon had stopped, in milliseconds.
    took: u128,
    /// The signal came while exporting was paused.
    paused: bool,
}

/// A backup with a stop of the daemon at this operation, and the next daemon.
fn scenario(config: &sim::Config, operation: Option<usize>, grace: Duration, faults: &str) -> Report {
    let begin: Instant = "2026-03-01T12:00:00Z".parse().unwrap();
    let cluster = sim::shared(sim::Cluster::new(config.clone(), begin));
    locked(&cluster).arm(faults).unwrap();
    let memory = MemoryStore::shared();
    let script = Script::new([]);
    let template = daemon(async { Lab::with(config.clone(), Limits::default()) });
    let settings = template.settings.clone();
    let all = || BTreeMap::from([("orders".to_owned(), settings.clone())]);
    let mut report = Report::default();
    let now = daemon(async {
        let lab = injected(&cluster, &memory, &settings, begin, &script);
        lab.queue.configure(all());
        let queue = lab.queue.clone();
        let run = lab.context.tasks.spawn(async move { queue.manual("orders", None).await });
        let ended = async || memory.unfinished().await.unwrap().is_empty() && run.is_finished();
        while script.operations().len() <= operation.unwrap_or(usize::MAX) && !ended().await {
            lab.clock.sleep(Duration::from_millis(1)).await;
        }
        let began = lab.clock.monotonic();
        report.paused = locked(&cluster).pauses.since.is_some();
        let until = began + grace;
        lab.queue.go_down(until);
        // As `Daemon::stop` does.
        while lab.queue.under_way() > 0 && lab.clock.monotonic() < until + Duration::from_secs(15) {
            lab.clock.sleep(Duration::from_millis(50)).await;
        }
        report.took = lab.clock.monotonic().saturating_sub(began).as_millis();
        lab.clock.now()
    });
    report.operations = script.operations();
    report.wrong = script.wrong();
    let now_paused = locked(&cluster).pauses.since.is_some();
    if now_paused && !faults.contains("resume") {
        report.wrong.push("I1: the daemon has stopped and exporting is paused".into());
    }
    // A pause that was never seen may take effect late: its resume stays pending although it was sent (docs/adr/0008).
    let seen = daemon(async {
        let pending_resumes = memory.pending_resumes().await.unwrap();
        let runs = memory.unfinished().await.unwrap();
        !pending_resumes.is_empty() && runs.iter().any(|run| run.view.pause.confirmed_at.is_some())
    });
    if seen && !faults.contains("resume") {
        report.wrong.push("I1: the daemon has stopped without a resume of a pause that it had seen".into());
    }
    report.completed = next_daemon(&cluster, &memory, &settings, now, &mut report.wrong);
    report
}

#[rstest]
fn stop_at_any_step_resumes_and_next_start_continues(
    #[values(
        "hard pause",
        "web apps first",
        "with Optimize",
        "pause first",
        "database",
        "given ids",
        "cloud",
        "REST alone"
    )]
    name: &str,
) {
    let config = family(name);
    let faultless = scenario(&config, None, Duration::from_secs(90), "");
    assert_eq!(faultless.wrong, Vec::<String>::new());
    let (mut stops, mut paused, mut completed, mut longest, mut wrong) = (0, 0, 0, 0, Vec::new());
    let full = std::env::var("MATRIX").as_deref() == Ok("full");
    let operations = chosen(&faultless.operations, full);
    for operation in operations.into_iter().step_by(if full { 1 } else { 3 }) {
        for grace in [0, 1, 90] {
            let report = scenario(&config, Some(operation), Duration::from_secs(grace), "");
            stops += 1;
            paused += usize::from(report.paused);
            completed += usize::from(report.completed);
            longest = longest.max(report.took);
            if !report.wrong.is_empty() {
                let operation = format!("{operation} ({})", faultless.operations[operation]);
                wrong.push(format!("grace {grace} s at operation {operation}: {}", report.wrong.join("; ")));
            }
        }
    }
    println!(
        "{name}: {stops} stops, {paused} of them in the pause, {completed} completed; the longest took {longest} ms"
    );
    assert!(wrong.is_empty(), "{} of {stops} stops are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(completed > 0, "no run is continued after a stop");
    assert!(longest < 105_000, "a stop took {longest} ms");
}

/// With grace enough a run inside its pause is brought to its resume, and then completed by the next daemon.
#[test]
fn enough_grace_completes_the_run_and_no_grace_fails_it() {
    let config = family("web apps first");
    let faultless = scenario(&config, None, Duration::from_secs(90), "");
    let put = faultless.operations.iter().position(|operation| operation.starts_with("Put")).unwrap();
    for (grace, completed) in [(90, true), (0, false)] {
        let report = scenario(&config, Some(put), Duration::from_secs(grace), "");
        assert_eq!((report.completed, report.wrong), (completed, vec![]), "grace {grace} s");
        assert!(report.paused);
    }
}

/// A resume that is not confirmed within the grace is left to ExecStopPost and to the next start.
#[test]
fn unconfirmed_resume_is_sent_by_the_next_start() {
    let config = family("pause first");
    let faultless = scenario(&config, None, Duration::from_secs(90), "");
    let put = faultless.operations.iter().position(|operation| operation.starts_with("Put")).unwrap();
    let report = scenario(&config, Some(put), Duration::from_secs(2), "resume.refuse@40");
    assert_eq!(report.wrong, Vec::<String>::new());
    assert!(report.paused && !report.completed);
    assert!(report.took < 20_000, "it waited {} ms", report.took);
}

/// An idle daemon stops at once, and one that is stopping begins nothing.
#[tokio::test(start_paused = true)]
async fn stopping_daemon_starts_no_run() {
    let lab = Lab::new();
    lab.queue.go_down(lab.clock.monotonic() + Duration::from_secs(90));
    assert_eq!(lab.queue.under_way(), 0);
    let refused = lab.refused().await;
    assert_eq!(refused.to_string(), "the daemon is stopping: try again when it is back");
}

/// The stop interrupts a deletion, and the next daemon continues it.
#[tokio::test(start_paused = true)]
async fn deletion_does_not_block_the_shutdown() {
    let lab = Lab::new();
    let run = lab.backup().await;
    assert_eq!(class_of(&run), None, "{}", reason_of(&run));
    locked(&lab.cluster).arm("zeebe-delete.delay=20s@*").unwrap();
    let at = lab.clock.now();
    lab.store.request_deletion(run.run_id, "command".into(), "requested".into(), at).await.unwrap();
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_secs(2)).await;
    let began = lab.clock.monotonic();
    lab.queue.go_down(began + Duration::from_secs(90));
    while lab.queue.under_way() > 0 {
        lab.clock.sleep(Duration::from_millis(50)).await;
    }
    let took = lab.clock.monotonic().saturating_sub(began);
    assert!(took < Duration::from_secs(65), "{took:?}");
    let next = Lab::daemon(lab.cluster.clone(), lab.memory.clone(), lab.settings.clone(), lab.clock.now());
    locked(&next.cluster).arm("now.heal").unwrap();
    next.queue.configure(BTreeMap::from([("orders".to_owned(), next.settings.clone())]));
    next.queue.recover().await.unwrap();
    next.queue.request_upkeep("orders");
    next.clock.sleep(Duration::from_mins(2)).await;
    assert!(locked(&next.cluster).pieces_of(run.backup_id.get()).is_empty(), "parts of the backup are left");
    assert_ne!(class_of(&run), Some(FailureClass::Interrupted));
}
