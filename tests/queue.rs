//! What becomes of occurrences that wait for their cluster: served together, skipped with a reason, never forgotten.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "harness/lab.rs"]
mod lab;

use camunda_backupd::clock::Clock;
use camunda_backupd::domain::Occurrence;
use camunda_backupd::journal::RunStatus;
use camunda_backupd::store::{Fate, OccurrenceRow};
use chrono::TimeDelta;
use lab::{Lab, reason_of};
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
        fate: Fate::Waiting,
        reason: None,
        run_id: None,
    });
    lab.store.claim(rows.collect()).await.unwrap()
}

/// What has become of them, as `schedule fate reason`.
async fn told(lab: &Lab) -> Vec<String> {
    let mut rows = lab.store.occurrences(None, None, 0).await.unwrap();
    rows.sort_by(|a, b| a.occurrence.cmp(&b.occurrence));
    let line = |row: &OccurrenceRow| {
        format!("{} {:?} {}", row.occurrence.schedule, row.fate, row.reason.clone().unwrap_or_default())
            .trim_end()
            .to_owned()
    };
    rows.iter().map(line).collect()
}

#[tokio::test(start_paused = true)]
async fn occurrences_of_one_instant_are_served_by_one_run() {
    let lab = Lab::new();
    lab.queue.submit(claimed(&lab, &["daily", "weekly"]).await);
    lab.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(told(&lab).await, ["daily Fired", "weekly Coalesced"]);
    assert_eq!(lab.asked("pause"), 1);
}

/// A reload may take the cluster out between the claim and the hand-over.
#[tokio::test(start_paused = true)]
async fn what_is_handed_over_for_a_cluster_that_is_gone_is_skipped() {
    let lab = Lab::new();
    let rows = claimed(&lab, &["daily"]).await;
    lab.queue.configure(BTreeMap::new());
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(told(&lab).await, ["daily Skipped the cluster was taken out of the config"]);
}

/// One of two was settled elsewhere: the other still gets its run.
#[tokio::test(start_paused = true)]
async fn an_occurrence_that_no_longer_waits_does_not_hold_up_the_others() {
    let lab = Lab::new();
    let rows = claimed(&lab, &["daily", "weekly"]).await;
    lab.store.skip(vec![rows[0].occurrence.clone()], "by hand".into()).await.unwrap();
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_secs(60)).await;
    assert_eq!(told(&lab).await, ["daily Skipped by hand", "weekly Fired"]);
}

/// The run is on disk, its answer is lost and the next reads fail too: it is carried out all the same.
#[tokio::test(start_paused = true)]
async fn a_run_whose_commit_was_not_answered_is_carried_out() {
    let lab = Lab::new();
    let rows = claimed(&lab, &["daily"]).await;
    lab.memory.lose_next_answer_and_reads(5);
    lab.queue.submit(rows);
    lab.clock.sleep(Duration::from_secs(120)).await;
    assert_eq!(told(&lab).await, ["daily Fired"]);
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
}
