//! Queue of a cluster: occurrences are served together, skipped with a reason, and never lost.

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::id_scope;
use camunda_backupd::domain::{BackupState, Occurrence, Trigger};
use camunda_backupd::journal::{FailureClass, RunStatus};
use camunda_backupd::queue::ManualError;
use camunda_backupd::sim::locked;
use camunda_backupd::store::{BackupFilter, NewRun, OccurrenceOutcome, OccurrenceRow, StoreError};
use chrono::TimeDelta;
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::time::Duration;

/// Claimed, as the dispatch loop does, to be started in a second.
async fn claimed(lab: &Lab, schedules: &[&str]) -> Vec<OccurrenceRow> {
    let due_at = lab.clock.now() + TimeDelta::seconds(1);
    let rows = schedules.iter().map(|schedule| OccurrenceRow {
        occurrence: Occurrence { due_at, schedule: (*schedule).into(), cluster: "orders".into() },
        until: None,
        count: 1,
        start_at: due_at,
        start_until: due_at + TimeDelta::hours(6),
        missed: false,
        outcome: OccurrenceOutcome::Waiting,
        reason: None,
        run_id: None,
    });
    lab.store.claim(rows.collect()).await.unwrap()
}

/// Outcomes as `schedule outcome reason`.
async fn outcomes(lab: &Lab) -> Vec<String> {
    let mut rows = lab.store.occurrences(None, None, 0).await.unwrap();
    rows.sort_by(|a, b| a.occurrence.cmp(&b.occurrence));
    let line = |row: &OccurrenceRow| {
        format!("{} {:?} {}", row.occurrence.schedule, row.outcome, row.reason.clone().unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    rows.iter().map(line).collect()
}

/// The cluster is renamed in the config while its run cleans up: still one operation at a time (rule I4).
#[tokio::test(start_paused = true)]
async fn renamed_cluster_waits_for_the_run_of_its_old_name() {
    let lab = Lab::new().fault("zeebe.stall=40s");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.sleep(Duration::from_secs(10)).await;
    lab.queue.configure(BTreeMap::from([("renamed".to_owned(), lab.settings.clone())]));
    lab.clock.sleep(Duration::from_secs(3)).await;
    assert!(!lab.store.run(run_id).await.unwrap().unwrap().view.ended(), "the run ended before its clean-up");
    assert!(lab.store.pending_resumes().await.unwrap().is_empty(), "its resume came first");
    let refused = lab.queue.manual("renamed", None).await.unwrap_err().to_string();
    assert_eq!(
        refused,
        format!(
            "cluster renamed cannot be backed up now: run {run_id} of cluster orders, which is at the same address as renamed, has not ended yet"
        )
    );
    let run = lab.ended(run_id).await;
    assert_eq!(class_of(&run), Some(FailureClass::Removed));
    let next = lab.queue.manual("renamed", None).await.unwrap();
    assert_eq!(lab.ended(next).await.view.reason(), None);
}

/// Two names for one cluster, from the start or since a reload: both names share one queue.
#[rstest]
#[case::named_twice("http://sim-orders:9600")]
#[case::pointed_elsewhere("http://elsewhere:9600")]
#[tokio::test(start_paused = true)]
async fn two_names_of_one_cluster_do_not_run_at_once(#[case] first_at: &str) {
    let lab = Lab::new().fault("operate.stall=40s");
    let run_id = lab.queue.manual("orders", None).await.unwrap();
    lab.clock.sleep(Duration::from_secs(5)).await;
    let mut first = lab.settings.clone();
    if first_at.contains("elsewhere") {
        first.spec.addresses.zeebe = first_at.into();
    }
    let both = [("orders".to_owned(), first), ("another".to_owned(), lab.settings.clone())];
    lab.queue.configure(BTreeMap::from(both));
    lab.clock.sleep(Duration::from_secs(1)).await;
    assert!(!lab.store.run(run_id).await.unwrap().unwrap().view.ended());
    let refused = lab.queue.manual("another", None).await.unwrap_err().to_string();
    let why =
        format!("run {run_id} of cluster orders, which is at the same address as another, has not ended yet");
    assert_eq!(refused, format!("cluster another cannot be backed up now: {why}"));
    lab.ended(run_id).await;
    let next = lab.queue.manual("another", None).await.unwrap();
    assert_eq!(lab.ended(next).await.view.reason(), None);
}

/// Remaining deletions under the old name wait while the run under the new name pauses the same brokers.
#[tokio::test(start_paused = true)]
async fn deletions_of_the_old_name_wait_for_the_run_of_the_new_name() {
    let lab = Lab::new();
    let old = lab.backup().await;
    lab.queue.configure(BTreeMap::from([("renamed".to_owned(), lab.settings.clone())]));
    let now = lab.clock.now();
    lab.store.request_deletion(old.run_id, "command".into(), "not wanted".into(), now).await.unwrap();
    locked(&lab.cluster).arm("zeebe.stall=40s").unwrap();
    let run_id = lab.queue.manual("renamed", None).await.unwrap();
    while lab.requested("pause") < 2 {
        lab.clock.sleep(Duration::from_millis(100)).await;
    }
    let deletions =
        || ["operate-delete", "tasklist-delete", "zeebe-delete"].map(|endpoint| lab.requested(endpoint));
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_secs(10)).await;
    assert!(!lab.store.run(run_id).await.unwrap().unwrap().view.ended());
    assert_eq!(deletions(), [0, 0, 0], "a deletion ran inside the pause");
    assert_eq!(lab.ended(run_id).await.view.reason(), None);
    lab.queue.request_upkeep("orders");
    lab.clock.sleep(Duration::from_mins(5)).await;
    let row = lab.store.backup("orders".into(), old.backup_id).await.unwrap().unwrap();
    assert_eq!(row.state, BackupState::Deleted);
}

#[tokio::test(start_paused = true)]
async fn occurrences_of_one_instant_are_served_by_one_run() {
    let lab = Lab::new();
    lab.queue.submit(claimed(&lab, &["daily", "weekly"]).await);
    lab.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(outcomes(&lab).await, ["daily Started", "weekly Coalesced"]);
    assert_eq!(lab.requested("pause"), 1);
}

/// A reload may remove the cluster between the claim and the submission.
#[tokio::test(start_paused = true)]
async fn occurrence_of_a_removed_cluster_is_skipped() {
    let lab = Lab::new();
    let rows = claimed(&lab, &["daily"]).await;
    lab.queue.configure(BTreeMap::new());
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(outcomes(&lab).await, ["daily Skipped the cluster was taken out of the config"]);
}

/// With a spread an occurrence waits. If its schedule is disabled meanwhile, no pause follows.
#[tokio::test(start_paused = true)]
async fn occurrence_of_a_removed_schedule_is_skipped() {
    for handed_over_late in [false, true] {
        let mut lab = Lab::new();
        let rows = claimed(&lab, &["daily", "weekly"]).await;
        lab.settings.schedules.remove("daily");
        let settings = BTreeMap::from([("orders".to_owned(), lab.settings.clone())]);
        if handed_over_late {
            lab.queue.configure(settings);
            lab.queue.submit(rows);
        } else {
            lab.queue.submit(rows);
            lab.queue.configure(settings);
        }
        lab.clock.sleep(Duration::from_secs(60)).await;
        let skipped =
            "daily Skipped its schedule was taken out of the config, disabled or no longer names the cluster";
        assert_eq!(outcomes(&lab).await, [skipped, "weekly Started"]);
    }
}

/// A schedule of seconds behind a run of hours must not pile up.
#[tokio::test(start_paused = true)]
async fn only_the_newest_of_one_schedule_waits() {
    let lab = Lab::new().fault("tasklist.stall=30s");
    let running = lab.queue.manual("orders", None).await.unwrap();
    for _ in 0..3 {
        lab.queue.submit(claimed(&lab, &["daily"]).await);
        lab.clock.sleep(Duration::from_secs(5)).await;
    }
    lab.ended(running).await;
    lab.clock.sleep(Duration::from_secs(60)).await;
    let overtaken = "daily Skipped the next one came due before its cluster was free";
    assert_eq!(outcomes(&lab).await, [overtaken, overtaken, "daily Started"]);
}

/// An occurrence waiting for a ready cluster counts like one waiting for a free cluster: two of one schedule
/// would be two runs.
#[tokio::test(start_paused = true)]
async fn only_the_newest_of_one_schedule_waits_for_a_ready_cluster() {
    let lab = Lab::new().fault("now.unassigned");
    for _ in 0..3 {
        lab.queue.submit(claimed(&lab, &["daily", "weekly"]).await);
        lab.clock.sleep(Duration::from_secs(47)).await;
    }
    locked(&lab.cluster).arm("now.heal").unwrap();
    lab.clock.sleep(Duration::from_mins(3)).await;
    let overtaken = "Skipped the next one came due while it waited: the search engine is red: some primary shard is not there, and a snapshot of it fails; bring the shard back";
    let (daily, weekly) = (format!("daily {overtaken}"), format!("weekly {overtaken}"));
    let served = ["daily Started", "weekly Coalesced"].map(String::from);
    let expected = [[daily.clone(), weekly.clone()], [daily, weekly], served].concat();
    assert_eq!(outcomes(&lab).await, expected);
    assert_eq!(lab.store.backups(BackupFilter::default()).await.unwrap().len(), 1);
}

/// The next occurrence comes due while the first is being probed on a cluster that is not ready.
#[tokio::test(start_paused = true)]
async fn occurrence_waiting_again_is_replaced_by_a_newer_one() {
    let lab = Lab::new().fault("now.unassigned,info.delay=5s");
    lab.queue.submit(claimed(&lab, &["daily"]).await);
    lab.clock.sleep(Duration::from_secs(3)).await;
    lab.queue.submit(claimed(&lab, &["daily"]).await);
    lab.clock.sleep(Duration::from_secs(10)).await;
    locked(&lab.cluster).arm("now.heal").unwrap();
    lab.clock.sleep(Duration::from_mins(3)).await;
    let outcomes = outcomes(&lab).await;
    assert!(
        outcomes[0].starts_with("daily Skipped the next one came due while it waited: the search"),
        "{outcomes:?}"
    );
    assert_eq!(outcomes[1..], ["daily Started"]);
    assert_eq!(lab.store.backups(BackupFilter::default()).await.unwrap().len(), 1);
}

/// As above, but the store fails when the run is about to begin.
#[tokio::test(start_paused = true)]
async fn occurrence_with_an_unstored_run_is_replaced_by_a_newer_one() {
    let lab = Lab::new().fault("info.delay=5s");
    lab.queue.submit(claimed(&lab, &["daily"]).await);
    lab.clock.sleep(Duration::from_secs(3)).await;
    lab.queue.submit(claimed(&lab, &["daily"]).await);
    lab.memory.fail_next_writes(1);
    lab.clock.sleep(Duration::from_mins(3)).await;
    let overtaken = "daily Skipped the next one came due while it waited: the state file (memory) cannot be written: a test injected this failure; free space or fix permissions, nothing was lost";
    assert_eq!(outcomes(&lab).await, [overtaken, "daily Started"]);
}

/// Claimed two seconds ahead, with a spread longer than the interval of the schedule: each occurrence still
/// gets its turn.
#[tokio::test(start_paused = true)]
async fn occurrence_is_not_replaced_before_its_start_time() {
    let lab = Lab::new();
    for _ in 0..3 {
        let mut rows = claimed(&lab, &["daily"]).await;
        for row in &mut rows {
            row.start_at += TimeDelta::minutes(5);
        }
        lab.queue.submit(rows);
        lab.clock.sleep(Duration::from_mins(2)).await;
    }
    lab.clock.sleep(Duration::from_mins(9)).await;
    assert_eq!(outcomes(&lab).await, ["daily Started"; 3]);
}

/// An occurrence that waited for a ready cluster at shutdown is stored as it was claimed.
#[tokio::test(start_paused = true)]
async fn only_the_newest_of_one_schedule_waits_after_a_restart() {
    let lab = Lab::new();
    let older = claimed(&lab, &["daily"]).await;
    lab.clock.sleep(Duration::from_mins(1)).await;
    let newer = claimed(&lab, &["daily"]).await;
    lab.queue.submit([older, newer].concat());
    lab.clock.sleep(Duration::from_mins(3)).await;
    let overtaken = "daily Skipped the next one came due while it waited: the daemon was down or could not write its state, or the clock jumped, until 59 s after its time";
    assert_eq!(outcomes(&lab).await, [overtaken, "daily Started"]);
}

/// The caller of a manual backup disconnects while the cluster is being probed.
#[tokio::test(start_paused = true)]
async fn disconnected_caller_leaves_no_cluster_reserved() {
    let lab = Lab::new().fault("info.delay=5s");
    let requested = tokio::time::timeout(Duration::from_secs(1), lab.queue.manual("orders", None)).await;
    assert!(requested.is_err(), "the request returned before the disconnect");
    lab.clock.sleep(Duration::from_secs(300)).await;
    assert!(!lab.queue.has_run("orders"));
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}

/// A stored run without an executor: its commit arrived after the request was abandoned.
#[tokio::test(start_paused = true)]
async fn run_without_executor_is_taken_over() {
    for manual in [true, false] {
        let lab = Lab::new();
        let orphan = lab.claimed_run(lab.spec()).await;
        if manual {
            assert!(matches!(lab.refused().await, ManualError::Store(StoreError::Busy { .. })));
        } else {
            lab.queue.submit(claimed(&lab, &["daily"]).await);
        }
        let run = lab.ended(orphan.run_id).await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        lab.clock.sleep(Duration::from_secs(60)).await;
        let expected: &[&str] = if manual { &[] } else { &["daily Started"] };
        assert_eq!(outcomes(&lab).await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn run_cancelled_before_its_start_does_not_start() {
    let lab = Lab::new().fault("info.delay=5s");
    lab.queue.submit(claimed(&lab, &["daily"]).await);
    lab.clock.sleep(Duration::from_secs(2)).await;
    assert!(lab.queue.has_run("orders"));
    assert!(lab.queue.stop("orders", FailureClass::Cancelled, "cancelled by an operator: not now"));
    lab.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(outcomes(&lab).await, ["daily Skipped cancelled by an operator: not now"]);
    assert_eq!(lab.requested("pause"), 0);
}

/// The clock goes back while the cluster is busy, after the timer of the occurrence has expired.
#[tokio::test(start_paused = true)]
async fn waiting_occurrence_starts_after_clock_changes() {
    let lab = Lab::new().fault("tasklist.stall=20s");
    let running = lab.queue.manual("orders", None).await.unwrap();
    lab.queue.submit(claimed(&lab, &["daily"]).await);
    lab.clock.sleep(Duration::from_secs(5)).await;
    lab.clock.jump(TimeDelta::minutes(-5));
    lab.ended(running).await;
    for _ in 0..400 {
        lab.queue.expire();
        lab.clock.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(outcomes(&lab).await, ["daily Started"]);
}

/// One of two occurrences was skipped by another process: the other still gets its run.
#[tokio::test(start_paused = true)]
async fn skipped_occurrence_does_not_block_the_others() {
    let lab = Lab::new();
    let rows = claimed(&lab, &["daily", "weekly"]).await;
    lab.store.skip(vec![rows[0].occurrence.clone()], "manual".into()).await.unwrap();
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(outcomes(&lab).await, ["daily Skipped manual", "weekly Started"]);
}

/// The run is on disk, the response of the commit is lost and the next reads fail: the run is still executed.
#[tokio::test(start_paused = true)]
async fn run_with_lost_commit_response_is_carried_out() {
    let lab = Lab::new();
    let rows = claimed(&lab, &["daily"]).await;
    lab.memory.lose_next_response_and_reads(5);
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_secs(120)).await;
    assert_eq!(outcomes(&lab).await, ["daily Started"]);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}

/// Two clusters that share only the repository of their web apps, at one instant.
#[tokio::test(start_paused = true)]
async fn clusters_on_one_search_engine_never_take_the_same_id() {
    let lab = Lab::new();
    let ours = lab.settings.spec.addresses.clone();
    let mut theirs = ours.clone();
    theirs.search.as_mut().unwrap().repository = "records-of-invoices".into();
    let mut ids = Vec::new();
    for (cluster, addresses) in [("orders", &ours), ("invoices", &theirs)] {
        let new = NewRun {
            run_id: uuid::Uuid::now_v7(),
            cluster: cluster.into(),
            trigger: Trigger::Manual,
            occurrences: vec![],
            retention_groups: vec![],
            note: None,
            spec: serde_json::Value::Null,
            id_scope: id_scope(cluster, addresses),
            largest_seen: 0,
            now: lab.clock.now(),
            min_interval: None,
        };
        ids.push(lab.store.begin_run(new).await.unwrap().backup_id);
    }
    assert!(ids[1] > ids[0], "{ids:?}");
}

/// A search engine without one shard for two minutes causes neither a missed backup nor a failure.
#[tokio::test(start_paused = true)]
async fn occurrence_waits_until_its_cluster_is_ready() {
    let lab = Lab::new().fault("now.unassigned");
    lab.queue.submit(claimed(&lab, &["daily"]).await);
    lab.clock.sleep(Duration::from_mins(2)).await;
    assert_eq!(outcomes(&lab).await, ["daily Waiting"]);
    locked(&lab.cluster).arm("now.heal").unwrap();
    lab.clock.sleep(Duration::from_mins(1)).await;
    assert_eq!(outcomes(&lab).await, ["daily Started"]);
    let runs = lab.store.backups(BackupFilter::default()).await.unwrap();
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].run.view.status, RunStatus::Completed, "{}", reason_of(&runs[0].run));
}

/// A foreign backup, a missing leader and a missing shard each delay the start. The skip reason names them.
#[rstest]
#[case(
    "now.unassigned",
    "the search engine is red: some primary shard is not there, and a snapshot of it fails; bring the shard back"
)]
#[case("now.no-leader=24h", "partition 1 has no healthy leader: see the brokers' logs")]
#[case(
    "now.change=24h",
    "the cluster is being scaled or changed, change 2 (BROKER_ADD, PARTITION_JOIN, PARTITION_LEAVE) is under way: wait for its end, or cancel it"
)]
#[case(
    "now.stop-processing=24h",
    "partition 1 processes nothing (PAUSED), so a backup of it would never end: check whether its broker's disk is full or processing is paused"
)]
#[tokio::test(start_paused = true)]
async fn cluster_never_ready_is_skipped_with_the_reason(#[case] fault: &str, #[case] reason: &str) {
    let lab = Lab::new();
    locked(&lab.cluster).arm(fault).unwrap();
    // The topology learns of a lost leader only by gossip.
    let now = lab.clock.now();
    locked(&lab.cluster).advance(now);
    lab.clock.sleep(Duration::from_secs(30)).await;
    let mut rows = claimed(&lab, &["daily"]).await;
    rows[0].start_until = rows[0].start_at + TimeDelta::hours(1);
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_mins(70)).await;
    assert_eq!(outcomes(&lab).await, [format!("daily Skipped {reason}")]);
    assert!(
        lab.store.backups(BackupFilter::default()).await.unwrap().is_empty(),
        "a skipped occurrence created a failed run"
    );
    // A manual request returns the reason at once, and does not count as a failure.
    let refused = lab.refused().await;
    assert_eq!(refused.to_string(), format!("cluster orders cannot be backed up now: {reason}"));
    assert!(lab.store.backups(BackupFilter::default()).await.unwrap().is_empty());
}

/// With a short `start_within` the cluster is probed again before it is over.
#[rstest]
#[case(10, 7, "daily Started")]
#[case(
    10,
    60,
    "daily Skipped no leader of partition 1 was seen: wait until it has one, and see the brokers' logs where that lasts"
)]
#[case(
    1,
    60,
    "daily Skipped no leader of partition 1 was seen: wait until it has one, and see the brokers' logs where that lasts"
)]
#[tokio::test(start_paused = true)]
async fn short_start_within_is_used_in_full(
    #[case] start_within: i64,
    #[case] away: i64,
    #[case] outcome: &str,
) {
    let lab = Lab::new().fault(&format!("now.no-leader={away}s"));
    let mut rows = claimed(&lab, &["daily"]).await;
    rows[0].start_until = rows[0].start_at + TimeDelta::seconds(start_within);
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_mins(2)).await;
    assert_eq!(outcomes(&lab).await, [outcome]);
}

/// The topology still lists the lost leader, the partitions do not: the run waits for a leader.
#[tokio::test(start_paused = true)]
async fn run_waits_for_a_recently_lost_leader() {
    let lab = Lab::new().fault("now.no-leader=12s");
    let refused = lab.refused().await;
    assert_eq!(
        refused.to_string(),
        "cluster orders cannot be backed up now: no leader of partition 1 was seen: wait until it has one, and see the brokers' logs where that lasts"
    );
    lab.queue.submit(claimed(&lab, &["daily"]).await);
    lab.clock.sleep(Duration::from_secs(5)).await;
    assert_eq!(outcomes(&lab).await, ["daily Waiting"]);
    lab.clock.sleep(Duration::from_mins(2)).await;
    assert_eq!(outcomes(&lab).await, ["daily Started"]);
    let runs = lab.store.backups(BackupFilter::default()).await.unwrap();
    assert_eq!(runs[0].run.view.status, RunStatus::Completed, "{}", reason_of(&runs[0].run));
}

/// A manual request to a cluster that is not ready may be retried: the limit counts runs, and no run was
/// created.
#[tokio::test(start_paused = true)]
async fn request_to_a_cluster_not_ready_does_not_count_as_a_run() {
    let mut lab = Lab::new().fault("now.unassigned");
    lab.settings.manual_min_interval = Duration::from_hours(1);
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    assert!(matches!(lab.refused().await, ManualError::NotReady { .. }));
    locked(&lab.cluster).arm("now.heal").unwrap();
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    assert!(matches!(lab.refused().await, ManualError::Store(StoreError::RateLimited { .. })));
}

/// A permanent error is kept as evidence and counts.
#[tokio::test(start_paused = true)]
async fn impossible_request_creates_a_failed_run() {
    let mut lab = Lab::new().fault("zeebe-list.unauthorized@*");
    lab.settings.manual_min_interval = Duration::from_hours(1);
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    assert_eq!(class_of(&lab.backup().await), Some(FailureClass::Access));
    assert!(matches!(lab.refused().await, ManualError::Store(StoreError::RateLimited { .. })));
}
