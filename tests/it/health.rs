//! Findings of `/health` for every state of a daemon: the truth table of `health::judge`.

use crate::base_config::{DAILY, ORDERS, load_text};
use camunda_backupd::api::health::{Facts, Health, Status, judge};
use camunda_backupd::api::{Live, LiveCluster, ProbeError};
use camunda_backupd::camunda::Rejection;
use camunda_backupd::config::Config;
use camunda_backupd::domain::{BackupState, Exporting, Instant, Occurrence, RetentionGroup, Trigger};
use camunda_backupd::journal::{FailureClass, Outcome, PauseView, Run, RunStatus, RunView};
use camunda_backupd::store::{Backup, ClusterRow, Deletion, PendingResume, TimetableRow};
use chrono::TimeDelta;
use rstest::rstest;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn config(text: &str) -> Arc<Config> {
    Arc::new(load_text(text))
}

/// Input of `judge` without a problem: a daily schedule whose run of 02:00 this morning succeeded.
struct Scene {
    live: Live,
    backups: Vec<Backup>,
    pending_resumes: Vec<PendingResume>,
    timetable: Vec<TimetableRow>,
    clusters: Vec<ClusterRow>,
    unfinished: Vec<Run>,
    failures: BTreeMap<String, u32>,
}

impl Scene {
    fn good() -> Self {
        let seen = LiveCluster {
            exporting: Exporting::Running,
            exporting_checked_at: Some(at("2026-11-23T11:58:00Z")),
            ..LiveCluster::default()
        };
        let pair = ("daily".to_owned(), "orders".to_owned());
        let live = Live {
            config: config(&format!("{ORDERS}{DAILY}")),
            started_at: at("2026-11-20T00:00:00Z"),
            now: at("2026-11-23T12:00:00Z"),
            since_tick: Duration::from_millis(300),
            stopping: false,
            config_refused: None,
            store_error: None,
            state_lost: None,
            clock_jump: None,
            next_due: BTreeMap::from([(pair, at("2026-11-24T02:00:00Z"))]),
            clusters: BTreeMap::from([("orders".into(), seen)]),
            attempts: BTreeMap::new(),
        };
        let row = TimetableRow {
            schedule: "daily".into(),
            cluster: "orders".into(),
            times_key: String::new(),
            since: at("2026-11-20T00:00:00Z"),
            last_due: Some(at("2026-11-23T02:00:00Z")),
            active: true,
        };
        let cluster = ClusterRow {
            name: "orders".into(),
            uuid: uuid::Uuid::nil(),
            addresses: live.config.clusters["orders"].addresses.clone(),
            configured: true,
            state_behind: None,
        };
        Self {
            live,
            backups: vec![completed("2026-11-23T02:05:00Z")],
            pending_resumes: vec![],
            timetable: vec![row],
            clusters: vec![cluster],
            unfinished: vec![],
            failures: BTreeMap::new(),
        }
    }

    fn judged(&self) -> Health {
        judge(&Facts {
            live: &self.live,
            backups: &self.backups,
            pending_resumes: &self.pending_resumes,
            timetable: &self.timetable,
            clusters: &self.clusters,
            unfinished: &self.unfinished,
            failures: &self.failures,
        })
    }

    fn probe(&mut self) -> &mut LiveCluster {
        self.live.clusters.get_mut("orders").unwrap()
    }
}

fn run(finished: &str, outcome: Outcome) -> Run {
    let finished = at(finished);
    let status = match outcome {
        Outcome::Completed { .. } => RunStatus::Completed,
        Outcome::Failed { .. } => RunStatus::Failed,
    };
    let started = finished - TimeDelta::minutes(5);
    let occurrence = Occurrence { due_at: started, schedule: "daily".into(), cluster: "orders".into() };
    Run {
        run_id: uuid::Uuid::now_v7(),
        cluster: "orders".into(),
        backup_id: started.timestamp().try_into().unwrap(),
        trigger: Trigger::Schedule,
        occurrences: vec![occurrence],
        retention_groups: vec![RetentionGroup::Schedule("daily".into())],
        note: None,
        created_at: started,
        spec: Value::Null,
        view: RunView {
            status,
            started_at: Some(started),
            finished_at: Some(finished),
            outcome: Some(outcome),
            ..RunView::default()
        },
    }
}

fn completed(finished: &str) -> Backup {
    let run = run(finished, Outcome::Completed { attestation: Value::Null });
    Backup { run, state: BackupState::Completed, held: false, deletion: None }
}

fn failed(finished: &str) -> Backup {
    let outcome = Outcome::Failed {
        class: FailureClass::Stalled,
        reason: "operate made no progress".into(),
        failure_report: Value::Null,
    };
    Backup { run: run(finished, outcome), state: BackupState::Failed, held: false, deletion: None }
}

/// A run inside its pause window.
fn pausing(since: &str) -> Run {
    let mut run = run(since, Outcome::Completed { attestation: Value::Null });
    run.view = RunView {
        status: RunStatus::Running,
        started_at: Some(at(since)),
        pause: PauseView { intended_at: Some(at(since)), ..PauseView::default() },
        ..RunView::default()
    };
    run
}

fn pending_resume(run: &Run, intended: &str, resume_intended: Option<&str>) -> PendingResume {
    PendingResume {
        resume_intended_at: resume_intended.map(at),
        attempts: 3,
        last_error: Some("connection refused".into()),
        ..PendingResume::new(
            run.run_id,
            run.cluster.clone(),
            Scene::good().clusters[0].addresses.clone(),
            at(intended),
        )
    }
}

fn record_pending_resume(scene: &mut Scene, intended: &str) {
    let dead = failed("2026-11-23T11:30:00Z").run;
    scene.pending_resumes = vec![pending_resume(&dead, intended, Some(intended))];
}

fn rejection(since: &str, why: &str) -> Rejection {
    Rejection { since: at(since), why: why.into() }
}

/// All findings that are not `ok`, as `status name: detail`.
fn findings(health: &Health) -> Vec<String> {
    let bad = health.checks.iter().filter(|c| c.status != Status::Ok);
    bad.map(|c| {
        let status = if c.status == Status::Failing { "failing" } else { "degraded" };
        format!("{status} {}: {}", c.name, c.detail.clone().unwrap_or_default())
    })
    .collect()
}

#[test]
fn healthy_daemon_has_no_findings() {
    let health = Scene::good().judged();
    assert_eq!(findings(&health), Vec::<String>::new());
    assert_eq!((health.status, health.backups.len()), (Status::Ok, 0));
    let names: Vec<_> = health.checks.iter().map(|c| c.name).collect();
    let expected = "store dispatch config clock pending_resumes schedules exporting credentials retention";
    assert_eq!(names.join(" "), expected);
    let cluster = &health.clusters[0];
    assert_eq!(cluster["exporting"], "running");
    assert_eq!(cluster["last_success"]["age_seconds"], 35_700);
    assert_eq!(cluster["next_due"], "2026-11-24T02:00:00.000Z");
    assert_eq!((&cluster["last_failure"], &cluster["overdue"]), (&Value::Null, &Value::Bool(false)));
}

#[rstest]
#[case::commits_lost(|s: &mut Scene| s.live.state_lost = Some("commits are lost".into()), "degraded store: commits are lost")]
#[case::store_error(|s: &mut Scene| s.live.store_error = Some("disk full".into()), "failing store: disk full")]
#[case::stalled(
    |s: &mut Scene| s.live.since_tick = Duration::from_secs(11),
    "failing dispatch: the dispatch loop has not ticked for 11 s"
)]
#[case::stopping(
    |s: &mut Scene| (s.live.since_tick, s.live.stopping) = (Duration::from_secs(60), true),
    "degraded dispatch: the daemon is stopping: no run starts, and paused clusters are resumed"
)]
#[case::refused_reload(
    |s: &mut Scene| s.live.config_refused = Some("no such zone".into()),
    "degraded config: the last reload was refused and the old config is active: no such zone"
)]
#[case::clock(|s: &mut Scene| s.live.clock_jump = Some("back by 1 h".into()), "degraded clock: back by 1 h")]
#[case::young_pending_resume(
    |s: &mut Scene| record_pending_resume(s, "2026-11-23T11:56:00Z"),
    "degraded pending_resumes: exporting of orders has a pending resume for 240 s: connection refused"
)]
#[case::old_pending_resume(
    |s: &mut Scene| record_pending_resume(s, "2026-11-23T11:54:00Z"),
    "failing pending_resumes: exporting of orders has a pending resume for 360 s: connection refused"
)]
#[case::paused_by_other_since(
    |s: &mut Scene| {
        s.probe().exporting = Exporting::PausedByOther;
        s.probe().exporting_since = Some(at("2026-11-23T09:30:00Z"));
    },
    "degraded exporting: paused_by_other since 2026-11-23T09:30:00.000Z"
)]
#[case::paused_by_other(
    |s: &mut Scene| s.probe().exporting = Exporting::PausedByOther, "degraded exporting: paused_by_other"
)]
#[case::mixed(|s: &mut Scene| s.probe().exporting = Exporting::Mixed, "degraded exporting: mixed")]
#[case::unreachable(
    |s: &mut Scene| s.probe().unreachable = Some(ProbeError::Unreachable("operate cannot be reached".into())),
    "degraded probes: operate cannot be reached"
)]
#[case::authentication_rejected(
    |s: &mut Scene| {
        s.probe().denied = vec![rejection("2026-11-23T02:00:00Z", "operate rejected the credential `key`: renew it")];
        s.probe().unreachable = Some(ProbeError::Auth("operate rejected the credential `key`: renew it".into()));
    },
    "degraded credentials: since 2026-11-23T02:00:00.000Z: operate rejected the credential `key`: renew it"
)]
#[case::authentication_rejected_by_many(
    |s: &mut Scene| s.probe().denied = ["a", "b", "c", "d", "e"].map(|why| rejection("2026-11-23T02:00:00Z", why)).into(),
    "degraded credentials: since 2026-11-23T02:00:00.000Z: a; since 2026-11-23T02:00:00.000Z: b; since 2026-11-23T02:00:00.000Z: c; and 2 more"
)]
#[case::state_behind(
    |s: &mut Scene| s.clusters[0].state_behind = Some("id 7 is not known".into()),
    "degraded retention: state_behind: id 7 is not known. Run `adopt orders`"
)]
#[case::no_schedule(
    |s: &mut Scene| { s.live.config = config(ORDERS); s.backups.clear(); },
    "degraded schedules: no enabled schedule names this cluster"
)]
#[case::disabled_schedule(
    |s: &mut Scene| s.live.config = config(&format!("{ORDERS}{DAILY}enabled = false\n")),
    "degraded schedules: no enabled schedule names this cluster"
)]
#[case::deletion_behind(
    |s: &mut Scene| {
        let mut old = completed("2026-11-20T02:05:00Z");
        old.state = BackupState::Deleting;
        old.deletion = Some(Deletion {
            requested_at: at("2026-11-23T02:05:00Z"), by: "retention".into(), reason: "beyond 3".into(),
            attempts: 4, last_error: Some("operate says 500".into()), ownership_proof: None, done_at: None,
        });
        s.backups.insert(0, old);
    },
    "degraded retention: deletion of backup 1795140000 is behind: operate says 500"
)]
#[case::cleanup_unfinished(
    |s: &mut Scene| {
        let mut old = failed("2026-11-22T02:05:00Z");
        old.run.view.cleanup_unfinished = vec!["the snapshot of records".into()];
        s.backups.insert(0, old);
    },
    "degraded retention: the snapshot of records"
)]
#[case::manual_run_failed(
    |s: &mut Scene| {
        let mut manual = failed("2026-11-23T09:05:00Z");
        (manual.run.trigger, manual.run.occurrences) = (Trigger::Manual, vec![]);
        s.backups.push(manual);
    },
    "degraded schedules: the last manual backup failed: operate made no progress"
)]
#[case::last_run_failed(
    |s: &mut Scene| s.backups.push(failed("2026-11-23T03:05:00Z")),
    "degraded schedules: the last run of schedule daily failed: operate made no progress"
)]
#[case::overdue(
    |s: &mut Scene| s.backups = vec![completed("2026-11-22T07:55:00Z")],
    "failing schedules: schedule daily has no completed backup since 2026-11-22T07:55:00.000Z"
)]
#[case::overdue_and_failed(
    |s: &mut Scene| s.backups = vec![completed("2026-11-22T02:05:00Z"), failed("2026-11-23T02:05:00Z")],
    "failing schedules: schedule daily has no completed backup since 2026-11-22T02:05:00.000Z"
)]
#[case::never(
    |s: &mut Scene| s.backups.clear(),
    "failing schedules: schedule daily has had no completed backup since it was added at 2026-11-20T00:00:00.000Z"
)]
fn each_problem_is_one_finding(#[case] spoil: fn(&mut Scene), #[case] expected: &str) {
    let mut scene = Scene::good();
    spoil(&mut scene);
    let health = scene.judged();
    assert_eq!(findings(&health), [expected]);
    let worst = if expected.starts_with("failing") { Status::Failing } else { Status::Degraded };
    assert_eq!(health.status, worst);
    // `/health/backups` is about backups alone: a store or a cluster in trouble does not make it 503.
    let of_backups = expected.contains(": schedule daily") || expected.contains("the last run of schedule");
    assert_eq!(!health.backups.is_empty(), of_backups, "{:?}", health.backups);
}

#[rstest]
#[case::just_in_time("2026-11-22T08:00:00Z", false)]
#[case::a_second_late("2026-11-22T07:59:59Z", true)]
fn overdue_after_longest_gap_plus_run_deadline(#[case] last: &str, #[case] overdue: bool) {
    let mut scene = Scene::good();
    scene.backups = vec![completed(last)];
    let health = scene.judged();
    assert_eq!(health.clusters[0]["overdue"], overdue);
    assert_eq!(health.backups.is_empty(), !overdue);
}

/// A weekly schedule for Tuesdays at 02:00 is added on Monday noon, and its first run is skipped.
#[rstest]
#[case::before_it_is_due("2026-11-24T01:59:00Z", true)]
#[case::while_it_may_run("2026-11-24T06:00:00Z", true)]
#[case::past_due_and_deadline("2026-11-24T06:00:01Z", false)]
fn health_backups_fails_after_first_due_time_without_a_completed_backup(
    #[case] now: &str,
    #[case] good: bool,
) {
    let mut scene = Scene::good();
    scene.live.config =
        config(&format!("{ORDERS}[schedules.daily]\nclusters = ['orders']\nweekly = 'tuesday 02:00'\n"));
    scene.timetable[0].since = at("2026-11-23T12:00:00Z");
    scene.backups.clear();
    scene.live.now = at(now);
    let health = scene.judged();
    assert_eq!(health.backups.is_empty(), good, "{:?}", health.backups);
    assert_eq!(health.status, Status::Ok, "it is not overdue before a whole week is over");
}

#[test]
fn failed_run_before_a_completed_backup_is_no_finding() {
    let mut scene = Scene::good();
    scene.backups.insert(0, failed("2026-11-22T02:05:00Z"));
    let health = scene.judged();
    assert_eq!(findings(&health), Vec::<String>::new());
    assert_eq!(health.clusters[0]["last_failure"]["finished_at"], "2026-11-22T02:05:00.000Z");
    assert_eq!(health.clusters[0]["consecutive_failures"], 0);
}

#[test]
fn consecutive_failures_are_listed() {
    let mut scene = Scene::good();
    scene.failures = BTreeMap::from([("orders".into(), 2)]);
    assert_eq!(scene.judged().clusters[0]["consecutive_failures"], 2);
}

#[test]
fn run_inside_its_pause_window_is_no_finding() {
    let mut scene = Scene::good();
    let live = pausing("2026-11-23T11:30:00Z");
    scene.pending_resumes = vec![pending_resume(&live, "2026-11-23T11:30:00Z", None)];
    scene.unfinished = vec![live];
    let health = scene.judged();
    assert_eq!(findings(&health), Vec::<String>::new());
    assert_eq!(health.clusters[0]["exporting"], "paused_by_us");
    assert_eq!(health.clusters[0]["running"]["paused_since"], "2026-11-23T11:30:00.000Z");
}

#[test]
fn unconfirmed_resume_of_a_live_run_is_a_finding() {
    let mut scene = Scene::good();
    let live = pausing("2026-11-23T11:00:00Z");
    scene.pending_resumes = vec![pending_resume(&live, "2026-11-23T11:00:00Z", Some("2026-11-23T11:50:00Z"))];
    scene.unfinished = vec![live];
    let expected =
        "failing pending_resumes: exporting of orders has a pending resume for 600 s: connection refused";
    assert_eq!(findings(&scene.judged()), [expected]);
}

/// A full disk prevents the record, which is a finding of `store`; exporting runs.
#[test]
fn confirmed_resume_that_could_not_be_stored_is_a_finding() {
    let mut scene = Scene::good();
    let live = pausing("2026-11-23T11:00:00Z");
    scene.pending_resumes = vec![pending_resume(&live, "2026-11-23T11:00:00Z", Some("2026-11-23T11:50:00Z"))];
    scene.unfinished = vec![live];
    let why =
        "the resume was confirmed at 2026-11-23T11:50:00.000Z, and this is not stored yet: the disk is full";
    scene.pending_resumes[0].confirmed_at = Some(at("2026-11-23T11:50:00Z"));
    scene.pending_resumes[0].last_error = Some(why.into());
    let health = scene.judged();
    assert_eq!(
        findings(&health),
        [format!(
            "degraded pending_resumes: the resume of orders is confirmed but still pending in the state file: {why}"
        )]
    );
    assert_eq!(health.clusters[0]["exporting"], "running");
}

/// A resume that took effect without a response stays pending; `exporting` follows the probes after it.
#[rstest]
#[case::since("2026-11-23T11:55:00Z", "running")]
#[case::before("2026-11-23T11:45:00Z", "paused_by_us")]
fn exporting_follows_probes_made_after_an_unconfirmed_resume(#[case] probed: &str, #[case] expected: &str) {
    let mut scene = Scene::good();
    record_pending_resume(&mut scene, "2026-11-23T11:50:00Z");
    scene.probe().exporting_checked_at = Some(at(probed));
    let health = scene.judged();
    assert_eq!(health.clusters[0]["exporting"], expected);
    assert!(
        findings(&health)[0].starts_with("failing pending_resumes: "),
        "the pending resume is a finding all the same"
    );
}

/// The downtime of the daemon counts, because exporting stayed paused.
#[test]
fn pending_resume_of_an_earlier_process_is_as_old_as_its_pause() {
    let mut scene = Scene::good();
    scene.live.started_at = at("2026-11-23T11:59:00Z");
    let dead = failed("2026-11-23T11:30:00Z").run;
    scene.pending_resumes = vec![pending_resume(&dead, "2026-11-23T11:50:00Z", Some("2026-11-23T11:59:00Z"))];
    let expected =
        "failing pending_resumes: exporting of orders has a pending resume for 600 s: connection refused";
    assert_eq!(findings(&scene.judged()), [expected]);
}

#[rstest]
#[case::not_probed_yet(Exporting::default())]
#[case::probed_during_a_pause_of_ours_that_is_resumed(Exporting::PausedByUs)]
#[case::not_readable(Exporting::Unknown)]
fn exporting_is_unknown_without_a_valid_probe(#[case] probed: Exporting) {
    let mut scene = Scene::good();
    scene.probe().exporting = probed;
    assert_eq!(scene.judged().clusters[0]["exporting"], "unknown");
    scene.live.clusters.clear();
    assert_eq!(scene.judged().clusters[0]["exporting"], "unknown");
}

#[test]
fn backups_of_a_removed_cluster_are_a_finding() {
    let mut scene = Scene::good();
    scene.live.config = config(&ORDERS.replace("orders", "other"));
    let expected = findings(&scene.judged());
    assert_eq!(
        expected[1],
        "degraded retention: the cluster was removed from the config; its backups stay until you delete them"
    );
}

#[test]
fn retention_group_without_a_schedule_is_a_finding() {
    let mut scene = Scene::good();
    scene.live.config = config(&format!("{ORDERS}{}", DAILY.replace("daily]", "other]")));
    scene.timetable[0].schedule = "other".into();
    scene.timetable[0].since = scene.live.now;
    let expected = findings(&scene.judged());
    assert_eq!(
        expected,
        [
            "degraded retention: no schedule has these retention groups, so retention keeps their backups: daily of orders. Delete them with `delete CLUSTER ID`"
        ]
    );
}
