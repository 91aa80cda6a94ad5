//! A pass of retention: probes only for possible deletions, deletes surplus backups, stops if the state is behind.

use super::scenario::{ALL, Log, Scenario};
use camunda_backupd::domain::OwnershipTag;
use camunda_backupd::domain::{BackupState, Keep, RetentionGroup};
use camunda_backupd::retention::{RetentionRule, Verdict};
use camunda_backupd::store::{Backups, Clusters};
use camunda_backupd::upkeep::delete::DeletionPass;
use camunda_backupd::upkeep::retention_pass::{RetainReport, retain};
use camunda_backupd::upkeep::still_complete::still_complete;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn rules(keep: u32) -> Vec<RetentionRule> {
    let keep = Keep { successful: keep, failed: keep };
    [RetentionGroup::Schedule("daily".into()), RetentionGroup::Manual]
        .into_iter()
        .map(|group| RetentionRule { group, keep, frozen: false })
        .collect()
}

async fn pass(scenario: &Scenario, keep: u32) -> RetainReport {
    scenario.cluster.forget_requests();
    retain(&scenario.context, "orders", &rules(keep), &scenario.spec, CancellationToken::new()).await
}

fn count(scenario: &Scenario, beginning: &str) -> usize {
    scenario.cluster.inside().requests.iter().filter(|r| r.starts_with(beginning)).count()
}

async fn five(scenario: &Scenario) -> Vec<camunda_backupd::store::Backup> {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(scenario.good("daily").await);
    }
    all
}

async fn states(scenario: &Scenario) -> Vec<BackupState> {
    scenario.states().await.into_iter().map(|(_, state)| state).collect()
}

const GOOD: BackupState = BackupState::Completed;

#[tokio::test(start_paused = true)]
async fn two_oldest_of_five_are_deleted_after_probing_the_three_newest() {
    let scenario = Scenario::begin().await;
    let all = five(&scenario).await;
    let report = pass(&scenario, 3).await;
    assert_eq!(states(&scenario).await, [BackupState::Deleted, BackupState::Deleted, GOOD, GOOD, GOOD]);
    let oldest = all[0].run.backup_id;
    assert_eq!(report.deletions[0], (oldest, DeletionPass::Gone));
    assert_eq!(report.decisions.iter().filter(|d| d.verdict == Verdict::Delete).count(), 2);
    for backup in &all[2..] {
        let id = backup.run.backup_id;
        assert_eq!(count(&scenario, &format!("GET zeebe/actuator/backups/{id}")), 1, "one probe for each");
    }
    let requested = scenario.reload(oldest).await.deletion.unwrap();
    assert_eq!(requested.by, "retention");
    assert_eq!(requested.reason, "retention: schedule daily keeps 3 and has 3 newer complete backups");
    let idle = pass(&scenario, 3).await;
    assert_eq!(idle.deletions, []);
    assert_eq!(scenario.cluster.inside().requests.len(), 0, "without a deletion no request is sent");
}

#[tokio::test(start_paused = true)]
async fn failed_runs_are_deleted_without_a_probe() {
    let scenario = Scenario::begin().await;
    let good = scenario.good("daily").await;
    for _ in 0..3 {
        scenario.failed_before_records("daily").await;
    }
    pass(&scenario, 1).await;
    let gone = BackupState::Deleted;
    assert_eq!(states(&scenario).await, [GOOD, gone, gone, BackupState::Failed]);
    assert_eq!(count(&scenario, &format!("GET zeebe/actuator/backups/{}", good.run.backup_id)), 0);
}

#[tokio::test(start_paused = true)]
async fn backup_with_a_lost_part_replaces_no_other() {
    let scenario = Scenario::begin().await;
    let all = five(&scenario).await;
    scenario.cluster.remove(all[4].run.backup_id.get(), "camunda_operate");
    let report = pass(&scenario, 4).await;
    assert_eq!(states(&scenario).await, [GOOD; 5], "only three of the four newer backups are complete");
    let why = "it is no longer complete in every component".to_owned();
    assert_eq!(report.doubtful, [(all[4].run.backup_id, why)]);
    pass(&scenario, 3).await;
    assert_eq!(
        states(&scenario).await,
        [BackupState::Deleted, GOOD, GOOD, GOOD, GOOD],
        "three newer complete backups"
    );
}

#[tokio::test(start_paused = true)]
async fn backup_absent_everywhere_is_missing_and_not_counted() {
    let scenario = Scenario::begin().await;
    let all = five(&scenario).await;
    let id = all[3].run.backup_id.get();
    scenario.cluster.remove(id, "camunda_");
    scenario.cluster.remove(id, &id.to_string());
    let (log, _listening) = Log::listen();
    pass(&scenario, 3).await;
    assert_eq!(states(&scenario).await, [BackupState::Deleted, GOOD, GOOD, BackupState::Missing, GOOD]);
    assert_eq!(log.count("ERROR", "backup.missing"), 1);
}

#[tokio::test(start_paused = true)]
async fn unreachable_component_keeps_every_completed_backup() {
    let scenario = Scenario::begin().await;
    five(&scenario).await;
    scenario.cluster.inside().down.insert("operate".into());
    let report = pass(&scenario, 3).await;
    assert_eq!(states(&scenario).await, [GOOD; 5]);
    assert_eq!(report.doubtful.len(), 1, "a component without a response gets no further requests");
    assert!(report.doubtful[0].1.starts_with("operate could not be probed: "), "{:?}", report.doubtful);
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn held_backup_stays() {
    let scenario = Scenario::begin().await;
    let all = five(&scenario).await;
    scenario.store.hold(all[0].run.run_id, true).await.unwrap();
    pass(&scenario, 3).await;
    assert_eq!(states(&scenario).await, [GOOD, BackupState::Deleted, GOOD, GOOD, GOOD]);
}

#[tokio::test(start_paused = true)]
async fn own_backup_unknown_to_the_state_stops_retention() {
    let scenario = Scenario::begin().await;
    let all = five(&scenario).await;
    let lost = OwnershipTag { run_id: Uuid::from_u128(77), ..scenario.tag(&all[0]) };
    scenario.cluster.put_backup(17, Some(lost));
    let report = pass(&scenario, 3).await;
    let why = "backup 17 of orders has our ownership tag and is not in the state: the state was lost or is old, run \
               `adopt orders`";
    assert_eq!(report.stopped.as_deref(), Some(why));
    assert_eq!(states(&scenario).await, [GOOD; 5]);
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
    assert_eq!(scenario.store.clusters().await.unwrap()[0].state_behind.as_deref(), Some(why));
    assert!(report.decisions.iter().all(|d| d.reason.ends_with(why)));

    // Deletions requested by an operator are still executed.
    let at = scenario.context.clock.now();
    scenario.store.request_deletion(all[0].run.run_id, "command".into(), "manual".into(), at).await.unwrap();
    pass(&scenario, 3).await;
    assert_eq!(states(&scenario).await, [BackupState::Deleted, GOOD, GOOD, GOOD, GOOD]);
}

#[tokio::test(start_paused = true)]
async fn retention_yields_to_a_due_run_and_continues_later() {
    let scenario = Scenario::begin().await;
    five(&scenario).await;
    let due = CancellationToken::new();
    due.cancel();
    let report = retain(&scenario.context, "orders", &rules(3), &scenario.spec, due).await;
    assert!(report.yielded);
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
    pass(&scenario, 3).await;
    assert_eq!(states(&scenario).await.iter().filter(|s| **s == BackupState::Deleted).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn unwritable_state_is_reported_and_nothing_is_deleted() {
    let scenario = Scenario::begin().await;
    five(&scenario).await;
    scenario.store.fail_all_writes(true);
    let (log, _listening) = Log::listen();
    let report = pass(&scenario, 3).await;
    assert!(report.trouble.unwrap().contains("cannot be written"));
    assert_eq!(log.count("ERROR", "retention.failed"), 1);
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn unknown_part_is_neither_complete_nor_absent() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    assert_eq!(still_complete(&scenario.context, &backup).await, Ok(true));
    scenario.cluster.inside().down.insert("search".into());
    assert!(still_complete(&scenario.context, &backup).await.is_err());
    scenario.cluster.inside().down.clear();
    scenario.cluster.change(backup.run.backup_id.get(), "camunda_zeebe", |t| t.state = "PARTIAL".into());
    assert_eq!(still_complete(&scenario.context, &backup).await, Ok(false));
    assert_eq!(scenario.state(&backup).await, GOOD, "damaged is not missing");
    let gone = scenario.journal("daily", &ALL, None).await;
    assert_eq!(still_complete(&scenario.context, &gone).await, Ok(false));
    assert_eq!(scenario.state(&gone).await, BackupState::Missing);
}
