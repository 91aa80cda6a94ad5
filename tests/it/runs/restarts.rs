//! Restart of the daemon with an unfinished run: one scenario for each rule of recovery.
//!
//! Each daemon is one async runtime. Dropping the runtime kills the daemon: only state and cluster survive.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::Limits;
use camunda_backupd::domain::{Component, Instant, RunId};
use camunda_backupd::journal::{Event, FailureClass, Outcome, Run, RunStatus, RunView, Step};
use camunda_backupd::queue::ClusterSettings;
use camunda_backupd::sim::{self, SharedCluster, locked};
use camunda_backupd::store::PendingResume;
use camunda_backupd::store::memory::MemoryStore;
use chrono::TimeDelta;
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// State that survives a daemon.
struct Remains {
    cluster: SharedCluster,
    store: Arc<MemoryStore>,
    settings: ClusterSettings,
    configured: bool,
    now: Instant,
    run_id: RunId,
}

fn daemon<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(life)
}

/// A daemon that begins a manual run and dies as soon as `moment` is true.
fn dies(faults: &str, limits: Limits, moment: impl Fn(&RunView, &[PendingResume], &Lab) -> bool) -> Remains {
    dies_on(sim::Config::named("orders"), faults, limits, moment)
}

/// As `dies`, on a cluster with this config.
fn dies_on(
    config: sim::Config,
    faults: &str,
    limits: Limits,
    moment: impl Fn(&RunView, &[PendingResume], &Lab) -> bool,
) -> Remains {
    daemon(async {
        let lab = Lab::with(config, limits);
        if lab.settings.spec.addresses.search.is_none() {
            // The operator backs up the database between two of our backups.
            completed(&lab.backup().await);
            locked(&lab.cluster).backup_database();
            lab.clock.sleep(Duration::from_secs(20)).await;
        }
        if !faults.is_empty() {
            locked(&lab.cluster).arm(faults).unwrap();
        }
        let run_id = lab.queue.manual("orders", None).await.unwrap();
        for _ in 0..1_000_000 {
            let view = lab.store.run(run_id).await.unwrap().unwrap().view;
            let pending_resumes = lab.store.pending_resumes().await.unwrap();
            if moment(&view, &pending_resumes, &lab) {
                let now = lab.clock.now();
                let Lab { cluster, memory: store, settings, .. } = lab;
                return Remains { cluster, store, settings, configured: true, now, run_id };
            }
            assert!(!view.ended(), "the moment never came: {:?} at {:?}", view.status, view.finished_at);
            lab.clock.sleep(Duration::from_millis(5)).await;
        }
        panic!("the moment never came");
    })
}

impl Remains {
    /// Time passes without a daemon.
    fn down(mut self, seconds: i64) -> Self {
        self.now += TimeDelta::seconds(seconds);
        locked(&self.cluster).advance(self.now);
        self
    }

    fn fault(self, faults: &str) -> Self {
        locked(&self.cluster).arm(faults).unwrap();
        self
    }

    /// The next daemon, until the run has ended; then another backup must be possible.
    fn restarts(self) -> (Run, Lab) {
        daemon(async move {
            let lab = Lab::daemon(self.cluster, self.store, self.settings, self.now);
            if self.configured {
                lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
            }
            lab.queue.recover().await.unwrap();
            let run = lab.ended(self.run_id).await;
            // Without a retained log for a restore, the check has no reference.
            let kept = lab.settings.spec.addresses.search.is_some() || locked(&lab.cluster).config.continuous;
            if kept {
                lab.assert_nothing_pending(&run).await;
            }
            if self.configured {
                locked(&lab.cluster).arm("now.heal").unwrap();
                lab.clock.sleep(Duration::from_mins(2)).await;
                let next = lab.backup().await;
                assert_eq!(next.view.status, RunStatus::Completed, "{}", reason_of(&next));
                assert!(next.backup_id > run.backup_id, "ids only grow");
            }
            (run, lab)
        })
    }
}

fn completed(run: &Run) {
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(run));
}

fn failed(run: &Run, class: FailureClass, sentence: &str) {
    assert_eq!(class_of(run), Some(class), "{}", reason_of(run));
    assert!(reason_of(run).contains(sentence), "{}", reason_of(run));
}

fn in_a_wait(view: &RunView, _: &[PendingResume], _: &Lab) -> bool {
    let wait = Step::Wait(Component::Operate);
    view.intended.contains(&wait) && !view.done.contains(&wait)
}

/// The records snapshot is under way: the pause is confirmed.
fn in_the_pause(_: &RunView, _: &[PendingResume], lab: &Lab) -> bool {
    lab.requested("search-put") == 1
}

/// As `dies`, but the daemon is stopped at that moment with `grace` seconds to leave the pause.
fn stops(faults: &str, grace: u64, moment: impl Fn(&RunView, &[PendingResume], &Lab) -> bool) -> Remains {
    daemon(async {
        let lab = Lab::new().fault(faults);
        let run_id = lab.queue.manual("orders", None).await.unwrap();
        loop {
            let view = lab.store.run(run_id).await.unwrap().unwrap().view;
            let pending_resumes = lab.store.pending_resumes().await.unwrap();
            if moment(&view, &pending_resumes, &lab) {
                break;
            }
            assert!(!view.ended(), "the moment never came");
            lab.clock.sleep(Duration::from_millis(5)).await;
        }
        lab.queue.go_down(lab.clock.monotonic() + Duration::from_secs(grace));
        let requested = lab.clock.monotonic();
        while lab.queue.under_way() > 0 {
            lab.clock.sleep(Duration::from_millis(5)).await;
        }
        let took = lab.clock.monotonic().saturating_sub(requested);
        assert!(took < Duration::from_secs(grace + 15), "stopping took {took:?}");
        assert!(locked(&lab.cluster).pauses.since.is_none(), "stopped, and exporting is left paused");
        let now = lab.clock.now();
        let Lab { cluster, memory: store, settings, .. } = lab;
        Remains { cluster, store, settings, configured: true, now, run_id }
    })
}

#[test]
fn stop_outside_the_pause_leaves_the_run_to_the_next_start() {
    let remains = stops("operate.stall=20s", 90, in_a_wait);
    assert_eq!(locked(&remains.cluster).seen.get("pause"), None, "no pause begins any more");
    let (run, lab) = remains.down(5).restarts();
    completed(&run);
    assert_eq!(lab.requested("operate-post"), 2, "one by this run and one by the next backup");
}

#[test]
fn stop_inside_the_pause_grants_the_grace_period() {
    let (run, lab) = stops("search-put.stall=20s", 90, in_the_pause).down(5).restarts();
    completed(&run);
    assert_eq!(lab.requested("pause"), 2, "one by this run and one by the next backup");
}

#[test]
fn stop_inside_the_pause_resumes_when_the_grace_is_over() {
    let (run, _) = stops("search-put.stall", 30, in_the_pause).fault("now.heal").down(5).restarts();
    failed(&run, FailureClass::Interrupted, "its shutdown grace ran out");
}

/// A run of which only the row was written.
fn claimed(change: impl FnOnce(&mut serde_json::Value)) -> Remains {
    daemon(async {
        let lab = Lab::new();
        let mut spec = lab.spec();
        change(&mut spec);
        let run_id = lab.claimed_run(spec).await.run_id;
        let now = lab.clock.now();
        let Lab { cluster, memory: store, settings, .. } = lab;
        Remains { cluster, store, settings, configured: true, now, run_id }
    })
}

#[test]
fn claimed_run_starts_after_restart() {
    let (run, lab) = claimed(|_| {}).down(60).restarts();
    completed(&run);
    assert_eq!(lab.requested("pause"), 2, "one by this run and one by the next backup");
}

#[test]
fn claimed_run_past_its_deadline_fails() {
    let (run, _) = claimed(|_| {}).down(5 * 3600).restarts();
    failed(&run, FailureClass::Interrupted, "from before the first step until the run_deadline was over");
}

#[test]
fn run_continues_its_step_after_restart() {
    let (run, lab) = dies("", Limits::default(), in_a_wait).down(60).restarts();
    completed(&run);
    assert_eq!(lab.requested("operate-post"), 2, "one by this run and one by the next backup");
}

#[test]
fn run_fails_if_its_deadline_is_over_after_restart() {
    let (run, _) =
        dies("operate.stall", Limits::default(), in_a_wait).down(5 * 3600).fault("now.heal").restarts();
    failed(&run, FailureClass::Deadline, "the daemon was down until the run_deadline was over");
}

/// The request was sent, its response was not received: its result is verified, and it is not repeated.
#[rstest]
#[case("operate-post")]
#[case("search-put")]
#[case("zeebe-post")]
fn start_request_in_flight_at_the_crash_is_not_repeated(#[case] endpoint: &str) {
    let name = endpoint.to_owned();
    let outstanding = move |_: &RunView, _: &[PendingResume], lab: &Lab| lab.requested(&name) == 1;
    let (run, lab) = dies(&format!("{endpoint}.delay=5s"), Limits::default(), outstanding).down(8).restarts();
    completed(&run);
    assert_eq!(lab.requested(endpoint), 2, "one by this run and one by the next backup");
}

#[test]
fn run_continues_if_every_partition_is_still_paused() {
    let (run, lab) = dies("", Limits::default(), in_the_pause).down(20).restarts();
    completed(&run);
    assert_eq!(
        (lab.requested("pause"), lab.requested("search-put")),
        (2, 2),
        "its own, and those of the next backup"
    );
}

#[test]
fn one_refused_connection_does_not_fail_a_paused_run() {
    let (run, _) = dies("", Limits::default(), in_the_pause).down(20).fault("partitions.refuse@3").restarts();
    completed(&run);
}

#[rstest]
#[case::resumed("now.foreign-resume=1s", "not every partition can be shown to have stayed paused")]
#[case::resumed_and_paused("now.foreign-resume=1s, now.foreign-pause=3s", "not every partition can be shown")]
#[case::unreadable("partitions.refuse@*", "not every partition can be shown to have stayed paused")]
fn run_resumes_and_fails_if_the_pause_is_unproven(#[case] faults: &str, #[case] sentence: &str) {
    let (run, _) = dies("", Limits::default(), in_the_pause).fault(faults).down(20).restarts();
    failed(&run, FailureClass::Interrupted, sentence);
}

#[test]
fn run_resumes_and_fails_if_its_pause_budget_is_over() {
    let (run, _) = dies("", Limits::default(), in_the_pause).down(3600).restarts();
    failed(&run, FailureClass::PauseBudget, "the pause_budget is over");
}

#[test]
fn unconfirmed_pause_is_resumed_and_the_run_fails() {
    let requested = |view: &RunView, pending_resumes: &[PendingResume], _: &Lab| {
        !pending_resumes.is_empty() && view.pause.confirmed_at.is_none()
    };
    let (run, _) = dies("pause.delay=5s", Limits::default(), requested).down(8).restarts();
    failed(&run, FailureClass::Interrupted, "before the pause was confirmed");
}

/// The next daemon resumes at once. Only then does a hanging gateway execute the pause.
#[rstest]
#[case("8s")]
#[case("20s")]
#[case("35s")]
fn pause_executed_after_the_resume_of_the_next_daemon_is_resumed_again(#[case] late: &str) {
    let requested = |_: &RunView, _: &[PendingResume], lab: &Lab| lab.requested("pause") == 1;
    let faults = format!("pause.act-late={late}");
    let (run, lab) = dies(&faults, Limits::default(), requested).down(5).restarts();
    failed(&run, FailureClass::Interrupted, "before the pause was confirmed");
    assert_eq!(locked(&lab.cluster).pauses.ended, 2, "that pause, and the next backup's");
}

/// The resume of an unobserved pause of any age is confirmed only after every partition exports.
#[rstest]
#[case(10)]
#[case(120)]
fn resume_of_an_unobserved_pause_is_verified(#[case] down: i64) {
    let requested = |_: &RunView, pending_resumes: &[PendingResume], lab: &Lab| {
        !pending_resumes.is_empty() && lab.requested("pause") == 1
    };
    let (run, _) = dies("pause.delay=2s", Limits::default(), requested)
        .down(down)
        .fault("partitions.no-leader=4s,resume.partial-silent")
        .restarts();
    failed(&run, FailureClass::Interrupted, "before the pause was confirmed");
}

/// The backup had all its parts and the pause had held: only the resume was missing.
#[test]
fn run_with_only_a_pending_resume_resumes_and_completes() {
    let is_pending = |_: &RunView, pending_resumes: &[PendingResume], _: &Lab| {
        pending_resumes.iter().any(|d| d.resume_intended_at.is_some())
    };
    let (run, _) =
        dies("resume.refuse@*", Limits::default(), is_pending).down(2 * 3600).fault("now.heal").restarts();
    completed(&run);
}

/// The resume may have been sent already. The reason of the abort is kept.
#[test]
fn interrupted_abort_keeps_its_reason() {
    let remains = daemon(async {
        let lab = Lab::new().fault("search-put.stall, resume.drop-request@*");
        let run_id = lab.queue.manual("orders", None).await.unwrap();
        while lab.requested("search-put") == 0 {
            lab.clock.sleep(Duration::from_millis(5)).await;
        }
        assert!(lab.queue.stop("orders", FailureClass::Cancelled, "cancelled by an operator"));
        while lab.requested("resume") == 0 {
            lab.clock.sleep(Duration::from_millis(5)).await;
        }
        let now = lab.clock.now();
        let Lab { cluster, memory: store, settings, .. } = lab;
        Remains { cluster, store, settings, configured: true, now, run_id }
    });
    let (run, _) = remains.down(5).fault("now.heal").restarts();
    failed(&run, FailureClass::Cancelled, "cancelled by an operator");
}

#[test]
fn restart_after_the_resume_sends_no_second_resume() {
    let resumed = |view: &RunView, _: &[PendingResume], _: &Lab| view.pause.resumed_at.is_some();
    let (run, lab) = dies("", Limits::default(), resumed).down(3600).restarts();
    completed(&run);
    assert_eq!(lab.requested("resume"), 2, "one by this run and one by the next backup");
}

/// A second resume could end a foreign pause.
#[test]
fn failure_after_the_resume_sends_no_second_resume() {
    let resumed = |view: &RunView, _: &[PendingResume], _: &Lab| view.pause.resumed_at.is_some();
    let (run, lab) = dies("", Limits::default(), resumed).fault("operate-get.not-json@1").down(30).restarts();
    failed(&run, FailureClass::Unreachable, "operate could not be seen complete after the resume");
    assert_eq!(lab.requested("resume"), 2, "one by this run and one by the next backup");
}

#[test]
fn cluster_removed_from_config_is_still_resumed() {
    let mut remains = dies("", Limits::default(), in_the_pause).down(20);
    remains.configured = false;
    let (run, _) = remains.restarts();
    failed(&run, FailureClass::Removed, "taken out of the config while the daemon was down");
}

/// A foreign state file: the settings of the run cannot be parsed, and the cluster must not stay busy for
/// ever.
#[rstest]
fn run_with_unreadable_settings_is_resumed_and_ended(
    #[values(true, false)] is_pending: bool,
    #[values(true, false)] configured: bool,
) {
    let mut remains = claimed(|spec| *spec = "not what it was".into());
    remains.configured = configured;
    if is_pending {
        let Remains { cluster, store, settings, now, .. } = remains;
        remains = daemon(async move {
            let lab = Lab::daemon(cluster, store, settings, now);
            let run = lab.store.unfinished().await.unwrap().remove(0);
            record_pending_resume(&lab, &run).await;
            let Lab { cluster, memory: store, settings, .. } = lab;
            Remains { cluster, store, settings, configured, now, run_id: run.run_id }
        });
    }
    let (run, _) = remains.down(20).restarts();
    failed(&run, FailureClass::Interrupted, "the run's stored settings cannot be read");
}

/// Pauses as a run would.
async fn record_pending_resume(lab: &Lab, run: &Run) {
    let at = lab.clock.now();
    let entry = |event| camunda_backupd::journal::Entry { at, event };
    let started = Event::Started {
        version: "8.6.0".into(),
        family: camunda_backupd::domain::Family::V82To87,
        routes: camunda_backupd::domain::Routes::default(),
        pause: Some(camunda_backupd::domain::PauseMode::Soft),
        components: vec![],
        steps: vec![Step::Pause, Step::CheckPause, Step::Resume],
        records_indices: vec![],
        partitions: Some(1),
        above: None,
    };
    lab.store.append(run.run_id, vec![entry(started)]).await.unwrap();
    let pending_resume = PendingResume::new(run.run_id, "orders", lab.settings.spec.addresses.clone(), at);
    lab.store
        .record_pending_resume(pending_resume, entry(Event::StepIntended { step: Step::Pause }))
        .await
        .unwrap();
    locked(&lab.cluster).pause(true);
}

fn version(version: &str) -> sim::Config {
    sim::Config { version: version.parse().unwrap(), ..sim::Config::named("orders") }
}

/// Since 8.8 the pause covers every part. The run continues only if the pause is proven.
#[rstest]
#[case::history("history-post")]
#[case::optimize("optimize-post")]
#[case::records("search-put")]
#[case::zeebe("zeebe-post")]
fn run_continues_if_every_partition_is_still_paused_since_8_8(#[case] endpoint: &str) {
    let config = sim::Config { optimize: true, ..version("8.8.0") };
    let begun = |_: &RunView, _: &[PendingResume], lab: &Lab| lab.requested(endpoint) == 1;
    let (run, lab) = dies_on(config, "", Limits::default(), begun).down(20).restarts();
    completed(&run);
    assert_eq!(
        (lab.requested("pause"), lab.requested(endpoint)),
        (2, 2),
        "its own, and those of the next backup"
    );
}

#[rstest]
#[case::resumed("now.foreign-resume=1s", FailureClass::Interrupted, "to have stayed paused")]
#[case::resumed_and_paused(
    "now.foreign-resume=1s, now.foreign-pause=3s",
    FailureClass::Interrupted,
    "to have stayed paused"
)]
#[case::restarted("now.broker-restart=1s", FailureClass::Component, "the backup does not appear")]
#[case::unreadable("partitions.refuse@*", FailureClass::Interrupted, "to have stayed paused")]
fn run_resumes_and_fails_if_the_pause_is_unproven_since_8_8(
    #[case] faults: &str,
    #[case] class: FailureClass,
    #[case] sentence: &str,
) {
    let begun = |_: &RunView, _: &[PendingResume], lab: &Lab| lab.requested("history-post") == 1;
    let (run, _) = dies_on(version("8.8.0"), "", Limits::default(), begun).fault(faults).down(20).restarts();
    failed(&run, class, sentence);
}

#[test]
fn long_downtime_during_the_pause_ends_it_since_8_8() {
    let begun = |_: &RunView, _: &[PendingResume], lab: &Lab| lab.requested("history-post") == 1;
    let (run, _) = dies_on(version("8.8.0"), "", Limits::default(), begun).down(3600).restarts();
    failed(&run, FailureClass::PauseBudget, "the pause_budget is over");
}

/// Brokers that generate ids, with a database.
fn given() -> sim::Config {
    sim::Config { storage: sim::Storage::Rdbms, continuous: true, ..version("8.10.0") }
}

/// Only the response contained the id: no id is guessed, and existing backups are reported.
#[rstest]
fn generated_id_lost_in_a_crash_is_not_guessed(#[values("8.9.0", "8.10.0")] of: &str) {
    let config = sim::Config { version: of.parse().unwrap(), ..given() };
    let outstanding = |_: &RunView, _: &[PendingResume], lab: &Lab| lab.requested("zeebe-post") == 2;
    let remains = dies_on(config, "zeebe-post.delay=5s+1", Limits::default(), outstanding);
    let (run, lab) = remains.down(8).restarts();
    failed(&run, FailureClass::Component, "it is unknown whether zeebe started its backup");
    assert_eq!(lab.requested("zeebe-post"), 3, "one each by the previous, this and the next backup");
    let reported = run.view.cleanup_unfinished.join(" ");
    assert!(reported.contains("under an id that was never received"), "{reported}");
}

/// After the response the id is in the journal, and later steps use it.
#[test]
fn assigned_id_survives_a_restart() {
    let responded = |view: &RunView, _: &[PendingResume], _: &Lab| view.identified.is_some();
    let remains = dies_on(given(), "zeebe-post.stall=30s+1", Limits::default(), responded);
    let (run, lab) = remains.down(60).restarts();
    completed(&run);
    assert_eq!(run.view.identified, Some(run.backup_id));
    assert_eq!(lab.requested("zeebe-post"), 3, "one each by the previous, this and the next backup");
}

#[test]
fn rdbms_run_continues_its_wait() {
    let wait = Step::Wait(Component::Zeebe);
    let waits = move |view: &RunView, _: &[PendingResume], _: &Lab| view.intended.contains(&wait);
    let remains = dies_on(given(), "zeebe-post.stall=30s+1", Limits::default(), waits);
    let (run, lab) = remains.down(5).restarts();
    completed(&run);
    assert_eq!(lab.requested("zeebe-post"), 3, "one each by the previous, this and the next backup");
}

/// Only the final verification is left: a deadline would fail a whole backup.
#[test]
fn rdbms_run_with_all_steps_done_completes_after_its_deadline() {
    let wait = Step::Wait(Component::Zeebe);
    let waited = move |view: &RunView, _: &[PendingResume], _: &Lab| view.done.contains(&wait);
    let (run, _) =
        dies_on(given(), "zeebe-get.delay=1s@*", Limits::default(), waited).down(5 * 3600).restarts();
    completed(&run);
}

/// One version restores all parts of a backup. Parts from before and after an upgrade do not fit together.
#[test]
fn upgrade_during_a_run_fails_it() {
    let remains = dies("", Limits::default(), in_a_wait).down(60);
    locked(&remains.cluster).config.version = "8.7.3".parse().unwrap();
    let (run, _) = remains.restarts();
    failed(&run, FailureClass::Component, "8.7.3");
}

/// Evidence from an earlier process is kept.
#[test]
fn attestation_contains_facts_from_before_the_restart() {
    let (run, _) = dies("", Limits::default(), in_the_pause).down(20).restarts();
    completed(&run);
    let Some(Outcome::Completed { attestation }) = &run.view.outcome else { panic!("not completed") };
    let proof = attestation["proof"].as_object().unwrap();
    for fact in ["operate", "tasklist", "pause_seen", "records_snapshot", "zeebe", "pause_held"] {
        assert!(proof.contains_key(fact), "{fact} is not among {:?}", proof.keys().collect::<Vec<_>>());
    }
}
