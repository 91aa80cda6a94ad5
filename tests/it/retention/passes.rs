//! A pass of retention: it looks where a look decides, deletes what is too much, and stops when the state is behind.

use super::story::{ALL, Log, Story};
use camunda_backupd::domain::{BackupState, Keep, Pool};
use camunda_backupd::retention::{PoolRule, Verdict};
use camunda_backupd::run::Mark;
use camunda_backupd::run::delete::{DeletionPass, RetainReport, retain, still_complete};
use camunda_backupd::store::Store as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn rules(keep: u32) -> Vec<PoolRule> {
    let keep = Keep { successful: keep, failed: keep };
    [Pool::Schedule("daily".into()), Pool::Manual]
        .into_iter()
        .map(|pool| PoolRule { pool, keep, frozen: false })
        .collect()
}

async fn pass(story: &Story, keep: u32) -> RetainReport {
    story.cluster.forget_requests();
    retain(&story.ground, "orders", &rules(keep), &story.spec, CancellationToken::new()).await
}

fn count(story: &Story, beginning: &str) -> usize {
    story.cluster.inside().requests.iter().filter(|r| r.starts_with(beginning)).count()
}

async fn five(story: &Story) -> Vec<camunda_backupd::store::Backup> {
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(story.good("daily").await);
    }
    all
}

async fn states(story: &Story) -> Vec<BackupState> {
    story.states().await.into_iter().map(|(_, state)| state).collect()
}

const GOOD: BackupState = BackupState::Completed;

#[tokio::test(start_paused = true)]
async fn the_two_oldest_of_five_go_after_a_look_at_the_three_newest() {
    let story = Story::begin().await;
    let all = five(&story).await;
    let report = pass(&story, 3).await;
    assert_eq!(states(&story).await, [BackupState::Deleted, BackupState::Deleted, GOOD, GOOD, GOOD]);
    let oldest = all[0].run.backup_id;
    assert_eq!(report.deletions[0], (oldest, DeletionPass::Gone));
    assert_eq!(report.decisions.iter().filter(|d| d.verdict == Verdict::Delete).count(), 2);
    for backup in &all[2..] {
        let id = backup.run.backup_id;
        assert_eq!(count(&story, &format!("GET zeebe/actuator/backups/{id}")), 1, "looked at once");
    }
    let asked = story.reload(oldest).await.deletion.unwrap();
    assert_eq!(asked.by, "retention");
    assert_eq!(
        asked.reason,
        "deleted: 3 newer good ones of schedule:daily were seen complete, and it keeps 3"
    );
    let calm = pass(&story, 3).await;
    assert_eq!(calm.deletions, []);
    assert_eq!(story.cluster.inside().requests.len(), 0, "with nothing to delete nobody is asked anything");
}

#[tokio::test(start_paused = true)]
async fn failures_go_without_a_look_at_good_ones() {
    let story = Story::begin().await;
    let good = story.good("daily").await;
    for _ in 0..3 {
        story.failed_before_records("daily").await;
    }
    pass(&story, 1).await;
    let gone = BackupState::Deleted;
    assert_eq!(states(&story).await, [GOOD, gone, gone, BackupState::Failed]);
    assert_eq!(count(&story, &format!("GET zeebe/actuator/backups/{}", good.run.backup_id)), 0);
}

#[tokio::test(start_paused = true)]
async fn one_that_lost_a_part_stands_in_for_nobody() {
    let story = Story::begin().await;
    let all = five(&story).await;
    story.cluster.remove(all[4].run.backup_id.get(), "camunda_operate");
    let report = pass(&story, 4).await;
    assert_eq!(states(&story).await, [GOOD; 5], "of four newer ones only three are whole");
    let why = "it is no longer complete in every component".to_owned();
    assert_eq!(report.doubtful, [(all[4].run.backup_id, why)]);
    pass(&story, 3).await;
    assert_eq!(
        states(&story).await,
        [BackupState::Deleted, GOOD, GOOD, GOOD, GOOD],
        "three whole newer ones"
    );
}

#[tokio::test(start_paused = true)]
async fn one_that_is_gone_everywhere_is_missing_and_counts_no_more() {
    let story = Story::begin().await;
    let all = five(&story).await;
    let id = all[3].run.backup_id.get();
    story.cluster.remove(id, "camunda_");
    story.cluster.remove(id, &id.to_string());
    let (log, _listening) = Log::listen();
    pass(&story, 3).await;
    assert_eq!(states(&story).await, [BackupState::Deleted, GOOD, GOOD, BackupState::Missing, GOOD]);
    assert_eq!(log.count("ERROR", "backup.missing"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_component_that_cannot_be_asked_keeps_every_good_one() {
    let story = Story::begin().await;
    five(&story).await;
    story.cluster.inside().down.insert("operate".into());
    let report = pass(&story, 3).await;
    assert_eq!(states(&story).await, [GOOD; 5]);
    assert_eq!(report.doubtful.len(), 1, "what does not answer for one is not asked for the others");
    assert!(report.doubtful[0].1.starts_with("operate could not be looked at: "), "{:?}", report.doubtful);
    assert_eq!(story.cluster.deletes(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_held_one_stays() {
    let story = Story::begin().await;
    let all = five(&story).await;
    story.store.hold(all[0].run.run_id, true).await.unwrap();
    pass(&story, 3).await;
    assert_eq!(states(&story).await, [GOOD, BackupState::Deleted, GOOD, GOOD, GOOD]);
}

#[tokio::test(start_paused = true)]
async fn a_backup_of_ours_that_the_state_does_not_know_stops_retention() {
    let story = Story::begin().await;
    let all = five(&story).await;
    let lost = Mark { run_id: Uuid::from_u128(77), ..story.mark(&all[0]) };
    story.cluster.put_backup(17, Some(lost));
    let report = pass(&story, 3).await;
    let why = "backup 17 of orders is ours by its mark and unknown to the state: the state was lost or is old, run \
               `adopt orders`";
    assert_eq!(report.stopped.as_deref(), Some(why));
    assert_eq!(states(&story).await, [GOOD; 5]);
    assert_eq!(story.cluster.deletes(), [] as [String; 0]);
    assert_eq!(story.store.clusters().await.unwrap()[0].state_behind.as_deref(), Some(why));
    assert!(report.decisions.iter().all(|d| d.reason.ends_with(why)));

    // What an operator asks for is done all the same.
    let at = story.ground.clock.now();
    story.store.ask_deletion(all[0].run.run_id, "command".into(), "by hand".into(), at).await.unwrap();
    pass(&story, 3).await;
    assert_eq!(states(&story).await, [BackupState::Deleted, GOOD, GOOD, GOOD, GOOD]);
}

#[tokio::test(start_paused = true)]
async fn a_due_run_is_let_through_and_the_rest_done_later() {
    let story = Story::begin().await;
    five(&story).await;
    let due = CancellationToken::new();
    due.cancel();
    let report = retain(&story.ground, "orders", &rules(3), &story.spec, due).await;
    assert!(report.gave_way);
    assert_eq!(story.cluster.deletes(), [] as [String; 0]);
    pass(&story, 3).await;
    assert_eq!(states(&story).await.iter().filter(|s| **s == BackupState::Deleted).count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_written_is_said_and_deletes_nothing() {
    let story = Story::begin().await;
    five(&story).await;
    story.store.fail_all_writes(true);
    let (log, _listening) = Log::listen();
    let report = pass(&story, 3).await;
    assert!(report.trouble.unwrap().contains("cannot be written"));
    assert_eq!(log.count("ERROR", "retention.failed"), 1);
    assert_eq!(story.cluster.deletes(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn unknown_is_neither_complete_nor_gone() {
    let story = Story::begin().await;
    let backup = story.good("daily").await;
    assert_eq!(still_complete(&story.ground, &backup).await, Ok(true));
    story.cluster.inside().down.insert("search".into());
    assert!(still_complete(&story.ground, &backup).await.is_err());
    story.cluster.inside().down.clear();
    story.cluster.change(backup.run.backup_id.get(), "camunda_zeebe", |t| t.state = "PARTIAL".into());
    assert_eq!(still_complete(&story.ground, &backup).await, Ok(false));
    assert_eq!(story.state(&backup).await, GOOD, "damaged is not missing");
    let gone = story.journal("daily", &ALL, None).await;
    assert_eq!(still_complete(&story.ground, &gone).await, Ok(false));
    assert_eq!(story.state(&gone).await, BackupState::Missing);
}
