//! `adopt` after the state was lost: registers backups with our ownership tag, lists all others and leaves them alone.

use super::cluster;
use super::scenario::{ALL, Scenario};
use camunda_backupd::domain::{BackupId, BackupState, Component, Keep, RetentionGroup, Trigger};
use camunda_backupd::domain::{OwnershipTag, id_scope};
use camunda_backupd::retention::RetentionRule;
use camunda_backupd::store::{Clusters, NewRun, Runs};
use camunda_backupd::upkeep::adopt::{adopt, detect_behind};
use camunda_backupd::upkeep::retention_pass::retain;
use chrono::TimeDelta;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn tag(instance: &str, cluster: &str, run: u128) -> OwnershipTag {
    OwnershipTag { instance: instance.into(), cluster: cluster.into(), run_id: Uuid::from_u128(run) }
}

fn id(number: i64) -> BackupId {
    BackupId::new(number).unwrap()
}

/// Ours are 101, 102 and the broken 103. Others: 104 of another instance, 105 of another cluster, 106 without an ownership
/// tag, 107 an incomplete foreign backup.
async fn after_the_loss() -> Scenario {
    let scenario = Scenario::begin().await;
    for (number, tag) in [
        (101, Some(tag("ops-1", "orders", 1))),
        (102, Some(tag("ops-1", "orders", 2))),
        (103, Some(tag("ops-1", "orders", 3))),
        (104, Some(tag("ops-2", "orders", 4))),
        (105, Some(tag("ops-1", "billing", 5))),
        (106, None),
    ] {
        scenario.cluster.put_backup(number, tag);
        scenario.clock.jump(TimeDelta::hours(1));
    }
    scenario.cluster.remove(103, "camunda_operate_103_8.6.0_part_2");
    scenario.cluster.put("camunda", &cluster::part_name("tasklist", 107, 1), "SUCCESS");
    scenario
}

#[tokio::test(start_paused = true)]
async fn adopt_registers_backups_with_our_ownership_tag() {
    let scenario = after_the_loss().await;
    let report = adopt(&scenario.context, "orders", &scenario.spec).await.unwrap();
    assert_eq!(report.adopted, [id(101), id(102), id(103)]);
    assert_eq!(report.other_instances, ["ops-2"]);
    let listed: Vec<String> = report.not_ours.iter().map(|(id, why)| format!("{id}: {why}")).collect();
    insta::assert_snapshot!(listed.join("\n"), @r"
    104: its records snapshot has the ownership tag of instance ops-2, cluster orders
    105: its records snapshot has the ownership tag of instance ops-1, cluster billing
    106: its records snapshot has no ownership tag
    107: it has no records snapshot that could prove it ours, only tasklist
    ");
    let states = scenario.states().await;
    let (good, bad) = (BackupState::Completed, BackupState::Failed);
    assert_eq!(states, [(101, good), (102, good), (103, bad)]);
    let broken = scenario.reload(id(103)).await.run;
    assert_eq!(broken.view.reason(), Some("adopted, and not whole: operate incomplete, 2 of 2 parts"));
    let complete = scenario.reload(id(101)).await.run;
    assert_eq!(complete.retention_groups, [RetentionGroup::Adopted]);
    assert_eq!(complete.run_id, Uuid::from_u128(1));
    assert_eq!(complete.view.components.keys().copied().collect::<Vec<_>>().len(), ALL.len());
    assert_eq!(complete.view.components[&Component::Operate].names.len(), 3);
    assert_eq!(complete.view.components[&Component::Records].names, ["camunda_zeebe_records_backup_101"]);
}

#[tokio::test(start_paused = true)]
async fn adopt_is_idempotent() {
    let scenario = after_the_loss().await;
    adopt(&scenario.context, "orders", &scenario.spec).await.unwrap();
    let before = scenario.states().await;
    let again = adopt(&scenario.context, "orders", &scenario.spec).await.unwrap();
    assert_eq!((again.adopted, again.known), (Vec::new(), vec![id(101), id(102), id(103)]));
    assert_eq!(scenario.states().await, before);
}

#[tokio::test(start_paused = true)]
async fn after_adopt_the_next_id_is_larger_and_retention_continues() {
    let scenario = after_the_loss().await;
    scenario.cluster.put("zeebe", "4000000000", "COMPLETED");
    scenario.store.set_state_behind("orders".into(), Some("lost".into())).await.unwrap();
    adopt(&scenario.context, "orders", &scenario.spec).await.unwrap();
    assert_eq!(scenario.store.clusters().await.unwrap()[0].state_behind, None);
    assert_eq!(
        detect_behind(&scenario.context, "orders", &scenario.spec).await,
        Ok(None),
        "adopting ends it for good"
    );
    let new = NewRun {
        run_id: Uuid::from_u128(99),
        cluster: "orders".into(),
        trigger: Trigger::Manual,
        occurrences: Vec::new(),
        retention_groups: vec![RetentionGroup::Manual],
        note: None,
        spec: serde_json::Value::Null,
        id_scope: id_scope("orders", &scenario.spec.addresses),
        largest_seen: 0,
        now: scenario.context.clock.now(),
        min_interval: None,
    };
    assert_eq!(scenario.store.begin_run(new).await.unwrap().backup_id, id(4_000_000_001));
}

#[tokio::test(start_paused = true)]
async fn failed_adopted_backup_is_deleted_and_complete_one_replaces_no_other() {
    let scenario = after_the_loss().await;
    adopt(&scenario.context, "orders", &scenario.spec).await.unwrap();
    let keep = Keep { successful: 1, failed: 0 };
    let rules = [RetentionRule { group: RetentionGroup::Manual, keep, frozen: false }];
    retain(&scenario.context, "orders", &rules, &scenario.spec, CancellationToken::new()).await;
    let gone = BackupState::Deleted;
    let good = BackupState::Completed;
    assert_eq!(scenario.states().await, [(101, good), (102, good), (103, gone)]);
    assert_eq!(scenario.cluster.left(103), [] as [String; 0]);
    for theirs in [104, 105, 106] {
        assert_eq!(scenario.cluster.left(theirs).len(), 8, "{theirs} is not ours");
    }
}

#[tokio::test(start_paused = true)]
async fn unreachable_component_prevents_adopt_and_keeps_retention_stopped() {
    let scenario = after_the_loss().await;
    scenario.store.set_state_behind("orders".into(), Some("lost".into())).await.unwrap();
    scenario.cluster.inside().down.insert("search".into());
    let why = adopt(&scenario.context, "orders", &scenario.spec).await.unwrap_err();
    assert!(why.starts_with("the snapshots of repository camunda could not be listed: "), "{why}");
    assert!(why.ends_with("; nothing more was adopted for orders, adopt it again later"), "{why}");
    assert_eq!(scenario.states().await, []);

    scenario.cluster.inside().down.clear();
    let end = std::time::Duration::from_hours(1);
    scenario.cluster.change(102, "camunda_tasklist", |t| t.ends_at = end);
    let why = adopt(&scenario.context, "orders", &scenario.spec).await.unwrap_err();
    assert!(
        why.starts_with("tasklist is still taking backup 102 or its state is unclear: in progress"),
        "{why}"
    );
    assert_eq!(scenario.store.clusters().await.unwrap()[0].state_behind.as_deref(), Some("lost"));
}

#[tokio::test(start_paused = true)]
async fn state_behind_the_cluster_is_detected() {
    let scenario = Scenario::begin().await;
    let ours = scenario.good("daily").await.run.backup_id.get();
    let behind = || detect_behind(&scenario.context, "orders", &scenario.spec);
    assert_eq!(behind().await, Ok(None));
    scenario.cluster.put_backup(ours + 5, Some(tag("ops-9", "billing", 5)));
    assert_eq!(behind().await, Ok(None), "another cluster in the same repository explains its own ids");
    scenario.cluster.put("camunda", &cluster::part_name("operate", ours + 7, 1), "SUCCESS");
    assert_eq!(
        behind().await.unwrap().unwrap(),
        format!(
            "operate of orders shows backup {}, above the largest id in the state, {ours}: the state was lost or is \
             old, or another takes backups; run `adopt orders`",
            ours + 7
        )
    );
    scenario.cluster.inside().down.insert("zeebe".into());
    assert!(behind().await.is_err(), "a failed listing is not an empty list");
}
