//! After the state was lost: what is ours by its mark is taken over, everything else is listed and left alone.

use super::cluster;
use super::story::{ALL, Story};
use camunda_backupd::domain::{BackupId, BackupState, Component, Keep, Pool, Trigger};
use camunda_backupd::retention::PoolRule;
use camunda_backupd::run::adopt::{adopt, detect_behind};
use camunda_backupd::run::delete::retain;
use camunda_backupd::run::{Mark, id_scope};
use camunda_backupd::store::{NewRun, Store as _};
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn mark(instance: &str, cluster: &str, run: u128) -> Mark {
    Mark { instance: instance.into(), cluster: cluster.into(), run_id: Uuid::from_u128(run) }
}

fn id(number: i64) -> BackupId {
    BackupId::new(number).unwrap()
}

/// Ours are 101, 102 and the broken 103; 104 is another instance's, 105 another cluster's, 106 has no mark, 107 is
/// half a backup of somebody.
async fn after_the_loss() -> Story {
    let story = Story::begin().await;
    for (number, mark) in [
        (101, Some(mark("ops-1", "orders", 1))),
        (102, Some(mark("ops-1", "orders", 2))),
        (103, Some(mark("ops-1", "orders", 3))),
        (104, Some(mark("ops-2", "orders", 4))),
        (105, Some(mark("ops-1", "billing", 5))),
        (106, None),
    ] {
        story.cluster.put_backup(number, mark);
        story.clock.jump(TimeDelta::hours(1));
    }
    story.cluster.remove(103, "camunda_operate_103_8.6.0_part_2");
    story.cluster.put("camunda", &cluster::part_name("tasklist", 107, 1), "SUCCESS");
    story
}

#[tokio::test(start_paused = true)]
async fn what_carries_our_mark_is_taken_over_as_it_is() {
    let story = after_the_loss().await;
    let report = adopt(&story.ground, "orders", &story.spec).await.unwrap();
    assert_eq!(report.adopted, [id(101), id(102), id(103)]);
    assert_eq!(report.other_instances, ["ops-2"]);
    let listed: Vec<String> = report.not_ours.iter().map(|(id, why)| format!("{id}: {why}")).collect();
    insta::assert_snapshot!(listed.join("\n"), @r"
    104: its records snapshot carries the mark of instance ops-2, cluster orders
    105: its records snapshot carries the mark of instance ops-1, cluster billing
    106: its records snapshot carries no mark
    107: it has no records snapshot that could prove it ours, only tasklist
    ");
    let states = story.states().await;
    let (good, bad) = (BackupState::Completed, BackupState::Failed);
    assert_eq!(states, [(101, good), (102, good), (103, bad)]);
    let broken = story.reload(id(103)).await.run;
    assert_eq!(broken.view.reason(), Some("adopted, and not whole: operate incomplete, 2 of 2 parts"));
    let whole = story.reload(id(101)).await.run;
    assert_eq!(whole.pools, [Pool::Adopted]);
    assert_eq!(whole.run_id, Uuid::from_u128(1));
    assert_eq!(whole.view.components.keys().copied().collect::<Vec<_>>().len(), ALL.len());
    assert_eq!(whole.view.components[&Component::Operate].names.len(), 3);
    assert_eq!(whole.view.components[&Component::Records].names, ["camunda_zeebe_records_backup_101"]);
}

#[tokio::test(start_paused = true)]
async fn adopting_twice_is_adopting_once() {
    let story = after_the_loss().await;
    adopt(&story.ground, "orders", &story.spec).await.unwrap();
    let before = story.states().await;
    let again = adopt(&story.ground, "orders", &story.spec).await.unwrap();
    assert_eq!((again.adopted, again.known), (Vec::new(), vec![id(101), id(102), id(103)]));
    assert_eq!(story.states().await, before);
}

#[tokio::test(start_paused = true)]
async fn the_next_id_is_above_everything_seen_and_retention_goes_on() {
    let story = after_the_loss().await;
    story.cluster.put("zeebe", "4000000000", "COMPLETED");
    story.store.set_state_behind("orders".into(), Some("lost".into())).await.unwrap();
    adopt(&story.ground, "orders", &story.spec).await.unwrap();
    assert_eq!(story.store.clusters().await.unwrap()[0].state_behind, None);
    assert_eq!(
        detect_behind(&story.ground, "orders", &story.spec).await,
        Ok(None),
        "adopting ends it for good"
    );
    let new = NewRun {
        run_id: Uuid::from_u128(99),
        cluster: "orders".into(),
        trigger: Trigger::Manual,
        occurrences: Vec::new(),
        pools: vec![Pool::Manual],
        note: None,
        spec: serde_json::Value::Null,
        id_scope: id_scope("orders", &story.spec.addresses),
        largest_seen: 0,
        now: story.ground.clock.now(),
        min_interval: None,
    };
    assert_eq!(story.store.begin_run(new).await.unwrap().backup_id, id(4_000_000_001));
}

#[tokio::test(start_paused = true)]
async fn a_failed_adopted_one_is_deleted_like_our_own_and_a_good_one_stands_in_for_none() {
    let story = after_the_loss().await;
    adopt(&story.ground, "orders", &story.spec).await.unwrap();
    let keep = Keep { successful: 1, failed: 0 };
    let rules = [PoolRule { pool: Pool::Manual, keep, frozen: false }];
    retain(&story.ground, "orders", &rules, &story.spec, CancellationToken::new()).await;
    let gone = BackupState::Deleted;
    let good = BackupState::Completed;
    assert_eq!(story.states().await, [(101, good), (102, good), (103, gone)]);
    assert_eq!(story.cluster.left(103), [] as [String; 0]);
    for theirs in [104, 105, 106] {
        assert_eq!(story.cluster.left(theirs).len(), 8, "{theirs} is not ours");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_told_adopts_nothing_and_leaves_retention_stopped() {
    let story = after_the_loss().await;
    story.store.set_state_behind("orders".into(), Some("lost".into())).await.unwrap();
    story.cluster.inside().down.insert("search".into());
    let why = adopt(&story.ground, "orders", &story.spec).await.unwrap_err();
    assert!(why.starts_with("the snapshots of repository camunda could not be listed: "), "{why}");
    assert!(why.ends_with("; nothing more was adopted for orders, adopt it again later"), "{why}");
    assert_eq!(story.states().await, []);

    story.cluster.inside().down.clear();
    let end = std::time::Duration::from_hours(1);
    story.cluster.change(102, "camunda_tasklist", |t| t.ends_at = end);
    let why = adopt(&story.ground, "orders", &story.spec).await.unwrap_err();
    assert!(why.starts_with("tasklist is still taking backup 102 or cannot say: in progress"), "{why}");
    assert_eq!(story.store.clusters().await.unwrap()[0].state_behind.as_deref(), Some("lost"));
}

#[tokio::test(start_paused = true)]
async fn a_state_that_is_behind_is_noticed() {
    let story = Story::begin().await;
    let ours = story.good("daily").await.run.backup_id.get();
    let behind = || detect_behind(&story.ground, "orders", &story.spec);
    assert_eq!(behind().await, Ok(None));
    story.cluster.put_backup(ours + 5, Some(mark("ops-9", "billing", 5)));
    assert_eq!(behind().await, Ok(None), "another cluster in the same repository explains its own ids");
    story.cluster.put("camunda", &cluster::part_name("operate", ours + 7, 1), "SUCCESS");
    assert_eq!(
        behind().await.unwrap().unwrap(),
        format!(
            "operate of orders shows backup {}, above the largest id the state knows, {ours}: the state was lost or is \
             old, or another takes backups; run `adopt orders`",
            ours + 7
        )
    );
    story.cluster.inside().down.insert("zeebe".into());
    assert!(behind().await.is_err(), "what cannot be listed is not empty");
}
