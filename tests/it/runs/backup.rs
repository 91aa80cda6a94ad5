//! Runs against the simulated cluster: every row of the plan's table of cases, and that exporting runs afterwards.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::Limits;
use camunda_backupd::domain::{Component, PauseMode};
use camunda_backupd::journal::{FailureClass, RunStatus, Step};
use camunda_backupd::queue::ManualError;
use camunda_backupd::sim::{self, locked};
use camunda_backupd::store::ResumeProgress;
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::time::Duration;

fn config() -> sim::Config {
    sim::Config::named("orders")
}

#[rstest]
#[case(config())]
#[case(sim::Config { storage: sim::Storage::Elasticsearch, ..config() })]
#[case(sim::Config { optimize: true, partitions: 3, ..config() })]
#[tokio::test(start_paused = true)]
async fn backup_under_load_restores_whole(#[case] config: sim::Config) {
    let optimize = config.optimize;
    let lab = Lab::with(config, Limits::default());
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert_eq!(run.view.components.contains_key(&Component::Optimize), optimize);
    assert_eq!(run.view.pause.mode, Some(PauseMode::Soft));
    lab.assert_nothing_pending(&run).await;
}

/// The exporter flushes its bulk until its delay after a hard pause is over. Then the position stands still.
#[tokio::test(start_paused = true)]
async fn version_without_soft_pause_gets_a_recorded_hard_pause() {
    for seed in 1..=10 {
        let timing = sim::Timing { export_every: Duration::from_secs(3), ..sim::Timing::default() };
        let version = "8.4.6".parse().unwrap();
        let lab = Lab::with(sim::Config { version, timing, seed, ..config() }, Limits::default());
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        assert_eq!(run.view.pause.requested, Some(PauseMode::Hard));
        assert_eq!(run.view.pause.mode, Some(PauseMode::Hard));
        lab.assert_nothing_pending(&run).await;
    }
}

/// An exporter that flushes after our wait may write records between our snapshot and the broker's position.
#[tokio::test(start_paused = true)]
async fn flush_after_the_drain_of_a_hard_pause_breaks_it() {
    let mut broken = 0;
    for seed in 1..=10 {
        let timing = sim::Timing { export_every: Duration::from_secs(20), ..sim::Timing::default() };
        let version = "8.4.6".parse().unwrap();
        let lab = Lab::with(sim::Config { version, timing, seed, ..config() }, Limits::default())
            .fault("search-put.stall=8s");
        let run = lab.backup().await;
        lab.assert_nothing_pending(&run).await;
        if run.view.status != RunStatus::Completed {
            assert_eq!(class_of(&run), Some(FailureClass::PauseBroken), "{}", reason_of(&run));
            broken += 1;
        }
    }
    assert!(broken > 0, "no flush fell between the drain and the resume");
}

#[tokio::test(start_paused = true)]
async fn broker_restart_during_the_pause_breaks_it() {
    let lab = Lab::new().fault("search-put.broker-restart=1s, search-put.stall=3s");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBroken), "{}", reason_of(&run));
    assert!(reason_of(&run).contains("went back from"), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// A lost response leaves the result unknown: the executed request is verified and not repeated.
#[rstest]
#[case("operate-post")]
#[case("tasklist-post")]
#[case("zeebe-post")]
#[case("search-put")]
#[case("pause")]
#[case("resume")]
#[tokio::test(start_paused = true)]
async fn lost_response_is_verified_without_repeating_the_request(#[case] endpoint: &str) {
    let lab = Lab::new().fault(&format!("{endpoint}.drop-response"));
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    let times = if endpoint == "resume" { 2 } else { 1 };
    assert_eq!(lab.requested(endpoint), times, "{endpoint}");
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn malformed_response_is_handled_like_a_lost_one() {
    let lab = Lab::new().fault("operate-post.content-type");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// The request itself is lost: no effect is visible, so the run fails. Exporting runs afterwards.
#[rstest]
#[case("operate-post", FailureClass::Component)]
#[case("search-put", FailureClass::Component)]
#[case("zeebe-post", FailureClass::Component)]
#[case("pause", FailureClass::PauseBroken)]
#[tokio::test(start_paused = true)]
async fn lost_request_fails_the_run(#[case] endpoint: &str, #[case] class: FailureClass) {
    let lab = Lab::new().fault(&format!("{endpoint}.drop-request"));
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(class), "{}", reason_of(&run));
    assert_eq!(lab.requested(endpoint), 1, "one request, not repeated");
    if endpoint != "pause" {
        let (reason, response) = (reason_of(&run), "closed the connection without a response");
        assert!(reason.contains("it is unknown whether") && reason.contains(response), "{reason}");
    }
    lab.assert_nothing_pending(&run).await;
}

#[rstest]
#[case("zeebe-post.fail", FailureClass::Component)]
#[case("zeebe-post.conflict", FailureClass::Conflict)]
#[case("operate.not-json@*", FailureClass::Unreachable)]
#[case("zeebe-get.endless+2", FailureClass::Component)]
#[case("operate-get.redirect@*", FailureClass::Unreachable)]
#[case("search-put.failed-shard", FailureClass::Records)]
#[case("search-put.empty", FailureClass::Records)]
#[case("search-put.unassigned", FailureClass::Component)]
#[case("pause.fail", FailureClass::PauseBroken)]
#[case("pause.partial", FailureClass::PauseBroken)]
#[case("pause.partial-silent", FailureClass::PauseBroken)]
#[case("search-put.foreign-resume=0s", FailureClass::PauseBroken)]
#[tokio::test(start_paused = true)]
async fn every_failure_has_a_reason_and_exporting_resumes(#[case] fault: &str, #[case] class: FailureClass) {
    let lab = Lab::new().fault(fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(class), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
    locked(&lab.cluster).arm("now.heal").unwrap();
    let next = lab.backup().await;
    assert!(next.backup_id > run.backup_id, "ids only grow");
}

#[tokio::test(start_paused = true)]
async fn foreign_resume_and_new_pause_are_detected_by_the_position() {
    let lab =
        Lab::new().fault("search-put.foreign-resume=0s, search-put.foreign-pause=300ms, search-put.stall=2s");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBroken), "{}", reason_of(&run));
    assert!(reason_of(&run).contains("acknowledged exported records"), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// Pauses do not nest: the foreign pause replaced ours, and our pending resume ends it.
#[rstest]
#[case(config(), "hard", "PAUSED")]
#[case(sim::Config { version: "8.3.9".parse().unwrap(), ..config() }, "softly", "SOFT_PAUSED")]
#[tokio::test(start_paused = true)]
async fn foreign_pause_of_another_mode_is_reported_as_foreign(
    #[case] config: sim::Config,
    #[case] how: &str,
    #[case] phase: &str,
) {
    let theirs = if how == "hard" { "foreign-hard-pause" } else { "foreign-pause" };
    let fault = format!("search-put.{theirs}=100ms, search-put.stall=2s");
    let lab = Lab::with(config, Limits::default()).fault(&fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBroken), "{}", reason_of(&run));
    let sentence = format!(
        "the pause was broken: someone else paused exporting {how} inside it (partition 1 reads {phase}, partition 2 reads {phase}), and a cluster has only one pause, so our resume ends theirs too: keep other jobs that pause exporting apart from the backups"
    );
    assert_eq!(reason_of(&run), sentence);
    lab.assert_nothing_pending(&run).await;
}

/// A broker responds COMPLETED for an id that its store already contains, and takes no backup. The probe before the
/// start detects that.
#[tokio::test(start_paused = true)]
async fn backup_id_already_used_is_skipped() {
    let lab = Lab::new().fault("operate.stall=5s");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    let id = lab.store.run(run_id).await.unwrap().unwrap().backup_id;
    lab.clock.sleep(Duration::from_secs(2)).await;
    locked(&lab.cluster).begin_zeebe_backup(id.get(), None).unwrap();
    let run = lab.ended(run_id).await;
    assert_eq!(class_of(&run), Some(FailureClass::Conflict), "{}", reason_of(&run));
    let expected =
        format!("zeebe already has a backup with id {id} (completed). The next run uses a higher id");
    assert!(reason_of(&run).starts_with(&expected), "{}", reason_of(&run));
    assert_eq!(lab.requested("zeebe-post"), 0);
    lab.assert_nothing_pending(&run).await;
    assert!(!locked(&lab.cluster).pieces_of(id.get()).is_empty(), "the foreign backup is not deleted");
    let next = lab.backup().await;
    assert_eq!(next.view.status, RunStatus::Completed, "{}", reason_of(&next));
    assert!(next.backup_id > id);
}

/// The gateway hangs with our pause, our resume takes another route and is confirmed, then the pause is executed.
#[rstest]
#[case("12s", None)]
#[case("26s", Some(FailureClass::PauseBroken))]
#[case("40s", Some(FailureClass::PauseBroken))]
#[case("54s", Some(FailureClass::PauseBroken))]
#[tokio::test(start_paused = true)]
async fn late_pause_after_our_resume_is_resumed_again(
    #[case] late: &str,
    #[case] class: Option<FailureClass>,
) {
    let lab = Lab::new().fault(&format!("pause.act-late={late}"));
    let run = lab.backup().await;
    assert_eq!(class_of(&run), class, "{}", reason_of(&run));
    lab.clock.sleep(Duration::from_mins(2)).await;
    let now = lab.clock.now();
    locked(&lab.cluster).advance(now);
    lab.assert_nothing_pending(&run).await;
    assert_eq!(locked(&lab.cluster).pauses.ended, 1, "exactly one pause was resumed");
    let next = lab.backup().await;
    assert_eq!(next.view.status, RunStatus::Completed, "{}", reason_of(&next));
}

#[tokio::test(start_paused = true)]
async fn unsent_pause_is_not_awaited() {
    let lab = Lab::new().fault("pause.refuse");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Unreachable), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
    let took = run.view.finished_at.unwrap() - run.created_at;
    assert!(took.num_seconds() < 10, "the run ended only after {took}");
}

/// Operate returns 400 while its search engine is unreachable: the backup id is neither used nor absent.
#[rstest]
#[case("operate-get.search-down=3s")]
#[case("tasklist-get.search-down=3s")]
#[case("resume.search-down=3s")]
#[tokio::test(start_paused = true)]
async fn unclear_response_is_retried(
    #[values(sim::Storage::OpenSearch, sim::Storage::Elasticsearch)] storage: sim::Storage,
    #[case] fault: &str,
) {
    let lab = Lab::with(sim::Config { storage, ..config() }, Limits::default()).fault(fault);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// The condition outlasts the retries of a probe.
#[rstest]
#[case("operate-get.search-down=60s", "could not be examined before the start: operate returned 400")]
#[case("resume.search-down=60s", "operate could not be seen complete after the resume: operate returned 400")]
#[tokio::test(start_paused = true)]
async fn persistently_unclear_response_is_unreachable(#[case] fault: &str, #[case] sentence: &str) {
    let lab = Lab::new().fault(fault);
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Unreachable), "{}", reason_of(&run));
    assert!(reason_of(&run).contains(sentence), "{}", reason_of(&run));
}

#[tokio::test(start_paused = true)]
async fn foreign_pause_is_reported_and_never_resumed() {
    let lab = Lab::new();
    locked(&lab.cluster).pause(true);
    let refused = lab.refused().await;
    let text = refused.to_string();
    assert!(matches!(refused, ManualError::NotReady { .. }));
    assert!(text.contains("paused_by_other") && text.contains("SOFT_PAUSED"), "{text}");
    assert_eq!(lab.requested("resume"), 0);
    let paused = locked(&lab.cluster).pauses.since.is_some();
    assert!(paused, "the foreign pause is unchanged");
}

/// An unknown phase of a later version is not a foreign pause.
#[tokio::test(start_paused = true)]
async fn unknown_phase_is_not_reported_as_foreign_pause() {
    let lab = Lab::new().fault("partitions.unknown-state@*");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBroken), "{}", reason_of(&run));
    assert!(reason_of(&run).contains("partition 1 reads REARRANGING"), "{}", reason_of(&run));
    assert!(!reason_of(&run).contains("someone else"), "{}", reason_of(&run));
    assert_eq!(lab.requested("pause"), 0);
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn stalled_part_fails_the_run_after_stall_after() {
    let limits = Limits { stall_after: Duration::from_secs(120), ..Limits::default() };
    let lab = Lab::with(config(), limits).fault("operate.stall");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Stalled), "{}", reason_of(&run));
    assert_eq!(lab.requested("pause"), 0, "never paused");
    lab.assert_nothing_pending(&run).await;
}

/// On a large cluster one part, and the records, take longer than `stall_after`. Progress of shards or bytes prevents
/// a stall, whatever state the web app reports.
#[rstest]
#[tokio::test(start_paused = true)]
async fn long_part_with_progress_is_no_stall(
    #[values(sim::Storage::OpenSearch, sim::Storage::Elasticsearch)] storage: sim::Storage,
) {
    let long = Duration::from_mins(4);
    let timing = sim::Timing { part: long, snapshot: long, ..sim::Timing::default() };
    let limits = Limits { stall_after: Duration::from_mins(3), ..Limits::default() };
    let lab = Lab::with(sim::Config { storage, timing, ..config() }, limits);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn pause_budget_ends_a_long_pause() {
    let limits = Limits { pause_budget: Duration::from_secs(60), ..Limits::default() };
    let lab = Lab::with(config(), limits).fault("zeebe-post.stall");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBudget), "{}", reason_of(&run));
    let longest = locked(&lab.cluster).pauses.longest;
    assert!(longest < chrono::TimeDelta::seconds(63), "resumed right after the budget: {longest}");
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn unseen_pause_is_not_reported_as_over_budget() {
    let limits = Limits { pause_budget: Duration::from_secs(8), ..Limits::default() };
    let lab = Lab::with(config(), limits).fault("pause.drop-request");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBudget), "{}", reason_of(&run));
    assert!(
        reason_of(&run).contains("the pause was requested but not confirmed within the pause_budget of 8s"),
        "{}",
        reason_of(&run)
    );
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn run_deadline_ends_a_long_run() {
    let limits = Limits { run_deadline: Duration::from_secs(600), ..Limits::default() };
    let lab = Lab::with(config(), limits).fault("tasklist.stall");
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Deadline), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// The resume is retried without a limit. The run stays in that step even after its deadline.
#[tokio::test(start_paused = true)]
async fn run_stays_in_step_resume_until_confirmed() {
    let limits = Limits { run_deadline: Duration::from_secs(600), ..Limits::default() };
    let lab = Lab::with(config(), limits).fault("resume.refuse@60");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.sleep(Duration::from_secs(1800)).await;
    let run = lab.store.run(run_id).await.unwrap().unwrap();
    assert_eq!((run.view.status, run.view.step), (RunStatus::Running, Some(Step::Resume)));
    assert_eq!(lab.store.pending_resumes().await.unwrap().len(), 1);
    assert!(matches!(lab.refused().await, ManualError::Busy { .. }));
    let run = lab.ended(run_id).await;
    assert_eq!(run.view.status, RunStatus::Completed, "the run meets every condition: {}", reason_of(&run));
    assert!(lab.requested("resume") >= 60);
    lab.assert_nothing_pending(&run).await;
}

/// The gateway responds 204, but one partition did not receive the resume.
#[rstest]
#[case(config())]
#[case(sim::Config { version: "8.3.9".parse().unwrap(), ..config() })]
#[case(sim::Config { version: "8.8.0".parse().unwrap(), ..config() })]
#[tokio::test(start_paused = true)]
async fn partial_resume_is_sent_again(#[case] config: sim::Config) {
    let lab = Lab::with(config, Limits::default()).fault("resume.partial-silent@2");
    let run = lab.backup().await;
    assert_eq!(lab.requested("resume"), 3);
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// The unreached partition is unreadable for a while: unreadable does not count as exporting.
#[rstest]
#[case("no-leader=5s")]
#[case("no-leader=50s")]
#[tokio::test(start_paused = true)]
async fn resume_is_unconfirmed_while_a_partition_is_unreadable(#[case] hidden: &str) {
    let config = sim::Config { partitions: 1, ..config() };
    let lab = Lab::with(config, Limits::default()).fault(&format!("resume.partial-silent,resume.{hidden}"));
    let run = lab.backup().await;
    assert_eq!(lab.requested("resume"), 2);
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// The pending resume shows that the resume was confirmed, and the condition still awaited.
#[tokio::test(start_paused = true)]
async fn unreadable_partitions_after_resume_are_shown_in_the_pending_resume() {
    let lab = Lab::new().fault("resume.broker-restart=40s");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    while lab.requested("resume") == 0 {
        lab.clock.sleep(Duration::from_millis(100)).await;
    }
    lab.clock.sleep(Duration::from_secs(20)).await;
    let pending_resumes = lab.context.attempts.over(lab.store.pending_resumes().await.unwrap());
    let why: Vec<String> = pending_resumes.iter().map(camunda_backupd::store::PendingResume::why).collect();
    assert!(
        why[0]
            .contains("the resume is confirmed, but not every partition can be read to show that it exports"),
        "{why:?}"
    );
    let run = lab.ended(run_id).await;
    lab.assert_nothing_pending(&run).await;
}

/// The backoff grows to a minute; after a repair an operator need not wait for it.
#[tokio::test(start_paused = true)]
async fn resume_is_retried_at_once_on_request() {
    let lab = Lab::new().fault("resume.refuse@*");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.sleep(Duration::from_mins(10)).await;
    locked(&lab.cluster).faults.disarm();
    let (began, tried) = (lab.clock.monotonic(), lab.requested("resume"));
    lab.clock.sleep(Duration::from_millis(1)).await;
    lab.context.attempts.hurry();
    let run = lab.ended(run_id).await;
    assert_eq!(lab.requested("resume"), tried + 1);
    assert!(
        lab.clock.monotonic().saturating_sub(began) < Duration::from_secs(2),
        "it waited for the next try"
    );
    lab.assert_nothing_pending(&run).await;
}

/// The cluster was removed while its run retried the resume: the operator abandons the resume, and no request
/// follows.
#[tokio::test(start_paused = true)]
async fn abandoned_resume_fails_its_run() {
    let lab = Lab::new().fault("resume.refuse@*");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.sleep(Duration::from_mins(10)).await;
    assert_eq!(lab.store.run(run_id).await.unwrap().unwrap().view.step, Some(Step::Resume));
    let now = lab.clock.now();
    assert_eq!(lab.store.abandon_resumes("orders".into(), "torn down".into(), now).await.unwrap(), 1);
    lab.clock.sleep(Duration::from_mins(1)).await;
    let run = lab.store.run(run_id).await.unwrap().unwrap();
    assert_eq!(class_of(&run), Some(FailureClass::Cancelled), "{:?}", run.view);
    assert!(reason_of(&run).contains("an operator abandoned its resume"), "{}", reason_of(&run));
    assert!(lab.store.pending_resumes().await.unwrap().is_empty());
    let requested = lab.requested("resume");
    lab.clock.sleep(Duration::from_mins(10)).await;
    assert_eq!(lab.requested("resume"), requested, "no resume is tried any longer");
}

/// `resume-exporting` from the state file beside a daemon that hung: no defect, a broken pause.
#[tokio::test(start_paused = true)]
async fn resume_by_another_process_breaks_the_pause() {
    let lab = Lab::new().fault("search-put.stall=5s");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    while lab.requested("search-put") == 0 {
        lab.clock.sleep(Duration::from_millis(5)).await;
    }
    let intent = ResumeProgress::Intended { by: "command".into(), at: lab.clock.now() };
    lab.store.record_resume_progress(run_id, intent).await.unwrap();
    let run = lab.ended(run_id).await;
    assert_eq!(class_of(&run), Some(FailureClass::PauseBroken), "{}", reason_of(&run));
    assert!(reason_of(&run).contains("a resume was sent from outside"), "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
}

/// The lifecycle deletes an old index during the backup of the web apps: its absence is no failure.
#[tokio::test(start_paused = true)]
async fn records_snapshot_contains_every_index_present_at_its_start() {
    let lab = Lab::new().fault("operate.stall=5s");
    let old = "zeebe-record_job_8.6.0_2020-01-01";
    locked(&lab.cluster).add_index(old);
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.sleep(Duration::from_secs(2)).await;
    let began = lab.store.run(run_id).await.unwrap().unwrap().view.records_indices;
    assert!(began.iter().any(|index| index == old), "{began:?}");
    locked(&lab.cluster).drop_index(old);
    let run = lab.ended(run_id).await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert!(!run.view.records_indices.iter().any(|index| index == old));
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn clock_set_back_does_not_extend_the_run_deadline() {
    let limits = Limits { run_deadline: Duration::from_secs(600), ..Limits::default() };
    let lab = Lab::with(config(), limits).fault("tasklist.stall");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.jump(chrono::TimeDelta::minutes(-4));
    lab.clock.sleep(Duration::from_secs(640)).await;
    let run = lab.store.run(run_id).await.unwrap().unwrap();
    assert_eq!(class_of(&run), Some(FailureClass::Deadline), "{:?}", run.view.status);
}

#[tokio::test(start_paused = true)]
async fn cancel_resumes_first_and_fails_the_run() {
    let lab = Lab::new().fault("zeebe-post.stall");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    while lab.store.pending_resumes().await.unwrap().is_empty() {
        lab.clock.sleep(Duration::from_millis(20)).await;
    }
    lab.clock.sleep(Duration::from_millis(500)).await;
    assert!(lab.queue.stop("orders", FailureClass::Cancelled, "cancelled by an operator: maintenance"));
    lab.clock.sleep(Duration::from_millis(500)).await;
    let running = locked(&lab.cluster).pauses.since.is_none();
    assert!(running, "the resume does not wait for clean-up");
    let run = lab.ended(run_id).await;
    assert_eq!(class_of(&run), Some(FailureClass::Cancelled));
    lab.assert_nothing_pending(&run).await;
}

#[tokio::test(start_paused = true)]
async fn unsupported_cluster_gets_no_request() {
    for (version, sentence) in [("8.2.3", "too old"), ("8.11.0", "not yet supported")] {
        let mut lab = Lab::new();
        lab.settings.spec.version = Some(version.into());
        lab.queue.configure([("orders".to_owned(), lab.settings.clone())].into());
        let run = lab.backup().await;
        assert!(reason_of(&run).contains(sentence), "{}", reason_of(&run));
        assert_eq!(lab.requested("operate-post") + lab.requested("pause"), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn manual_backups_keep_the_newest_three_and_delete_the_oldest_everywhere() {
    let lab = Lab::new();
    lab.keeps_the_newest_three().await;
}
