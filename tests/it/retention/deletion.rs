//! Deletion of one backup: in order, only with a proof of ownership, repeated until every component reports it absent.

use super::cluster;
use super::scenario::{ALL, Log, SECOND, Scenario, addresses};
use camunda_backupd::clock::Clock as _;
use camunda_backupd::domain::{BackupState, Component, OwnershipProof, OwnershipTag};
use camunda_backupd::journal::FailureClass;
use camunda_backupd::upkeep::delete::{DeletionPass, LOCATION_LIMIT, PASS_LIMIT, delete_backup};
use chrono::TimeDelta;
use rstest::rstest;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

fn left(pass: DeletionPass) -> String {
    match pass {
        DeletionPass::Left { what } => what,
        other => panic!("{other:?}"),
    }
}

fn not_ours(pass: DeletionPass) -> String {
    match pass {
        DeletionPass::NotOurs { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn zeebe_is_deleted_first_and_records_with_the_proof_last() {
    let scenario = Scenario::begin().await;
    let (old, new) = (scenario.good("daily").await, scenario.good("daily").await);
    let (log, _listening) = Log::listen();
    scenario.request(&old).await;
    assert_eq!(scenario.pass(&old).await, DeletionPass::Gone);
    let id = old.run.backup_id;
    let mut order = scenario.cluster.deletes();
    order.dedup();
    assert_eq!(
        order,
        [
            format!("zeebe/actuator/backups/{id}"),
            format!("operate/actuator/backups/{id}"),
            format!("tasklist/actuator/backups/{id}"),
            format!("search/_snapshot/camunda/camunda_zeebe_records_backup_{id}"),
        ]
    );
    assert_eq!(scenario.state(&old).await, BackupState::Deleted);
    assert_eq!(scenario.cluster.left(id.get()), [] as [String; 0]);
    assert_eq!(scenario.cluster.left(new.run.backup_id.get()).len(), 8, "the other backup is complete");
    assert_eq!(log.count("INFO", "backup.deleted"), 1);
    assert!(log.lines()[0].contains("by=\"retention\" reason=\"too many\""), "{:?}", log.lines());
}

#[tokio::test(start_paused = true)]
async fn backup_absent_everywhere_needs_no_delete_request() {
    let scenario = Scenario::begin().await;
    let backup = scenario.journal("daily", &ALL, None).await;
    scenario.request(&backup).await;
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
    assert_eq!(scenario.state(&backup).await, BackupState::Deleted);
}

#[tokio::test(start_paused = true)]
async fn run_without_start_requests_needs_no_deletion() {
    let scenario = Scenario::begin().await;
    let backup = scenario.journal("daily", &[], Some(FailureClass::Unreachable)).await;
    scenario.cluster.put_backup(backup.run.backup_id.get(), None);
    scenario.request(&backup).await;
    scenario.cluster.forget_requests();
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
    assert_eq!(scenario.cluster.inside().requests.len(), 0, "a foreign backup under that id is not probed");
}

#[tokio::test(start_paused = true)]
async fn accepted_delete_is_verified() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    let id = backup.run.backup_id.get();
    scenario.cluster.change(id, "camunda_tasklist", |t| t.stuck = true);
    scenario.request(&backup).await;
    let (log, _listening) = Log::listen();
    let report = left(scenario.pass(&backup).await);
    assert_eq!(report, format!("tasklist still shows backup {id} after 20 s: {}", "completed"));
    assert_eq!(log.count("ERROR", "backup.delete_failed"), 1);
    assert_eq!(
        scenario.cluster.left(id).len(),
        4,
        "Operate and Zeebe are gone; the records stay, they carry the proof"
    );
    assert_eq!(scenario.state(&backup).await, BackupState::Deleting);
    assert_eq!(scenario.note(&backup).await, report);
    let stored = scenario.reload(backup.run.backup_id).await.deletion.unwrap().ownership_proof;
    assert!(
        matches!(stored, Some(OwnershipProof::Tag { run_id, .. }) if run_id == backup.run.run_id),
        "{stored:?}"
    );

    scenario.cluster.change(id, "camunda_tasklist", |t| t.stuck = false);
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
    assert_eq!(scenario.cluster.left(id), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn running_zeebe_backup_is_deleted_again_after_its_end() {
    let scenario = Scenario::begin().await;
    let backup = scenario.journal("daily", &ALL, Some(FailureClass::Stalled)).await;
    let id = backup.run.backup_id.get();
    scenario.cluster.put_backup(id, Some(scenario.tag(&backup)));
    let end = scenario.clock.monotonic() + 7 * SECOND;
    scenario.cluster.change(id, &id.to_string(), |t| t.ends_at = end);
    scenario.request(&backup).await;
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
    let requested = scenario.cluster.deletes().iter().filter(|d| d.starts_with("zeebe")).count();
    assert_eq!(requested, 2, "one delete during the backup, without effect, and one after its end");
    assert_eq!(scenario.cluster.left(id), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn zeebe_backup_that_keeps_running_is_left_to_the_next_pass() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    let id = backup.run.backup_id.get();
    let end = scenario.clock.monotonic() + 2 * LOCATION_LIMIT;
    scenario.cluster.change(id, &id.to_string(), |t| t.ends_at = end);
    scenario.request(&backup).await;
    let report = left(scenario.pass(&backup).await);
    assert_eq!(report, format!("zeebe still shows backup {id} after 20 s: in progress, 0 of 1 parts"));
    tokio::time::advance(LOCATION_LIMIT).await;
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
}

#[rstest]
#[tokio::test(start_paused = true)]
async fn parts_created_after_the_delete_are_deleted(#[values(false, true)] on_opensearch: bool) {
    let scenario = Scenario::begin().await;
    scenario.cluster.inside().operate_on_opensearch = on_opensearch;
    let backup = scenario.journal("daily", &[Component::Operate], Some(FailureClass::Cancelled)).await;
    let id = backup.run.backup_id.get();
    let now = scenario.clock.monotonic();
    for part in 1..=3 {
        let thing = scenario.cluster.put("camunda", &cluster::part_name("operate", id, part), "SUCCESS");
        let mut inside = scenario.cluster.inside();
        inside.things[thing].appears_at = now + (part - 1) * Duration::from_millis(600);
        inside.things[thing].ends_at = now + part * Duration::from_millis(600);
    }
    scenario.request(&backup).await;
    let mut pass = scenario.pass(&backup).await;
    if on_opensearch {
        assert!(
            left(pass).contains("no component reports the start time of its part"),
            "a 400 response has no time: retried by the next pass"
        );
        tokio::time::advance(3 * SECOND).await;
        pass = scenario.pass(&backup).await;
    }
    assert_eq!(pass, DeletionPass::Gone);
    tokio::time::advance(10 * SECOND).await;
    assert_eq!(scenario.cluster.left(id), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn operate_unreadable_during_a_part_is_polled_again() {
    let scenario = Scenario::begin().await;
    scenario.cluster.inside().operate_on_opensearch = true;
    let backup = scenario.good("daily").await;
    let id = backup.run.backup_id.get();
    let end = scenario.clock.monotonic() + 30 * SECOND;
    scenario.cluster.change(id, "camunda_operate", |t| {
        t.ends_at = end;
        t.stuck = true;
    });
    scenario.request(&backup).await;
    let report = left(scenario.pass(&backup).await);
    assert!(report.contains("Exception occurred when searching for backup"), "{report}");
    tokio::time::advance(20 * SECOND).await;
    scenario.cluster.change(id, "camunda_operate", |t| t.stuck = false);
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
}

#[tokio::test(start_paused = true)]
async fn snapshots_not_listed_by_the_app_are_deleted_by_recorded_name() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    let mut without = addresses();
    without.tasklist = None;
    scenario.configure(without).await;
    scenario.request(&backup).await;
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
    assert_eq!(scenario.cluster.left(backup.run.backup_id.get()), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn component_without_address_or_response_keeps_the_backup_deleting() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    let mut without = addresses();
    without.search = None;
    scenario.configure(without).await;
    scenario.request(&backup).await;
    assert_eq!(
        left(scenario.pass(&backup).await),
        "records holds a part and cluster orders has no address for it any more: put the address back or delete the \
         part manually"
    );
    scenario.configure(addresses()).await;
    scenario.cluster.inside().down.insert("tasklist".into());
    let report = left(scenario.pass(&backup).await);
    assert!(report.starts_with("tasklist could not be probed for remains: "), "{report}");
    assert_eq!(
        scenario.cluster.deletes(),
        [] as [String; 0],
        "a part was deleted before every part was probed"
    );
    scenario.cluster.inside().down.clear();
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
}

#[tokio::test(start_paused = true)]
async fn snapshot_with_a_foreign_ownership_tag_is_not_deleted() {
    let scenario = Scenario::begin().await;
    let backup = scenario.journal("daily", &ALL, None).await;
    let id = backup.run.backup_id.get();
    let theirs =
        OwnershipTag { instance: "ops-2".into(), cluster: "orders".into(), run_id: Uuid::from_u128(9) };
    scenario.cluster.put_backup(id, Some(theirs));
    scenario.request(&backup).await;
    let (log, _listening) = Log::listen();
    assert_eq!(
        not_ours(scenario.pass(&backup).await),
        format!(
            "snapshot camunda_zeebe_records_backup_{id} has the ownership tag of instance ops-2, cluster orders, run {}",
            Uuid::from_u128(9)
        )
    );
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
    assert_eq!(log.count("ERROR", "backup.delete_failed"), 1);
    assert!(scenario.note(&backup).await.starts_with("not proven ours, nothing was touched: "));
}

#[tokio::test(start_paused = true)]
async fn without_records_snapshot_part_times_are_the_proof() {
    let scenario = Scenario::begin().await;
    let (ours, theirs) =
        (scenario.failed_before_records("daily").await, scenario.failed_before_records("daily").await);
    let id = theirs.run.backup_id.get();
    scenario.cluster.change(id, "camunda_operate", |t| t.created -= TimeDelta::minutes(6));
    for backup in [&ours, &theirs] {
        scenario.request(backup).await;
    }
    assert_eq!(scenario.pass(&ours).await, DeletionPass::Gone);
    scenario.cluster.forget_requests();
    assert_eq!(
        not_ours(scenario.pass(&theirs).await),
        "operate reports 2027-01-15T08:54:00Z as the start of its part, outside the run (2027-01-15T09:00:00Z to \
         2027-01-15T09:00:00Z)"
    );
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
    assert_eq!(scenario.cluster.left(id).len(), 6);
}

#[tokio::test(start_paused = true)]
async fn part_present_before_our_request_is_not_deleted() {
    let scenario = Scenario::begin().await;
    let backup = scenario.journal("daily", &[Component::Operate], None).await;
    // The journal after a conflict: the start of Tasklist was intended and rejected.
    let id = backup.run.backup_id.get();
    let mut run = backup.run.clone();
    run.view.outcome = Some(camunda_backupd::journal::Outcome::Failed {
        class: FailureClass::Conflict,
        reason: "tasklist already answers for the id".into(),
        failure_report: serde_json::Value::Null,
    });
    let start = camunda_backupd::journal::Step::Start(Component::Tasklist);
    run.view.intended.insert(start);
    scenario.cluster.put("camunda", &cluster::part_name("tasklist", id, 1), "SUCCESS");
    scenario.request(&backup).await;
    let backup = camunda_backupd::store::Backup { run, ..scenario.reload(backup.run.backup_id).await };
    let pass = delete_backup(&scenario.context, &backup, CancellationToken::new()).await;
    assert_eq!(
        not_ours(pass),
        format!(
            "tasklist lists id {id} but never accepted our request for it, so its part may belong to another backup"
        )
    );
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn next_pass_completes_a_deletion_killed_at_any_request() {
    let mut killed = 0;
    for acting in [false, true] {
        for at in 1.. {
            let scenario = Scenario::begin().await;
            let (old, new) = (scenario.good("daily").await, scenario.good("daily").await);
            scenario.request(&old).await;
            {
                let mut inside = scenario.cluster.inside();
                (inside.dies_at, inside.dies_after_acting) = (Some(at), acting);
            }
            let first = tokio::time::timeout(30 * SECOND, scenario.pass(&old)).await;
            if let Ok(done) = first {
                assert_eq!(done, DeletionPass::Gone);
                break;
            }
            killed += 1;
            scenario.cluster.inside().dies_at = None;
            assert_eq!(
                scenario.pass(&old).await,
                DeletionPass::Gone,
                "killed at request {at}, acting: {acting}"
            );
            assert_eq!(scenario.cluster.left(old.run.backup_id.get()), [] as [String; 0]);
            assert_eq!(scenario.cluster.left(new.run.backup_id.get()).len(), 8);
        }
    }
    assert!(killed > 30, "only {killed} places to die at");
}

#[tokio::test(start_paused = true)]
async fn started_deletion_keeps_its_proof_after_loss_of_the_evidence() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    let id = backup.run.backup_id.get();
    scenario.cluster.change(id, "camunda_tasklist", |t| t.stuck = true);
    scenario.request(&backup).await;
    left(scenario.pass(&backup).await);
    // The snapshot with the proof is removed externally; the remaining parts have another time.
    scenario.cluster.remove(id, "camunda_zeebe");
    scenario.cluster.change(id, "camunda_tasklist", |t| {
        t.stuck = false;
        t.created += TimeDelta::days(1);
    });
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
    assert_eq!(scenario.cluster.left(id), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn without_a_stored_proof_nothing_is_deleted() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    scenario.request(&backup).await;
    scenario.store.fail_all_writes(true);
    let report = left(scenario.pass(&backup).await);
    assert!(
        report.starts_with("nothing was deleted, because the proof of ownership could not be stored: "),
        "{report}"
    );
    assert_eq!(scenario.cluster.deletes(), [] as [String; 0]);
}

#[tokio::test(start_paused = true)]
async fn deletion_yields_to_a_due_run_and_continues_later() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    scenario.cluster.change(backup.run.backup_id.get(), "camunda_operate", |t| t.stuck = true);
    scenario.request(&backup).await;
    let yield_now = CancellationToken::new();
    let (log, _listening) = Log::listen();
    let requested = scenario.reload(backup.run.backup_id).await;
    let (pass, ()) = tokio::join!(delete_backup(&scenario.context, &requested, yield_now.clone()), async {
        tokio::time::advance(3 * SECOND).await;
        yield_now.cancel();
    });
    assert_eq!(pass, DeletionPass::Yielded);
    assert_eq!(log.lines(), [] as [String; 0], "giving way is not a failure");
    let count = scenario.cluster.inside().requests.len();
    assert_eq!(delete_backup(&scenario.context, &requested, yield_now).await, DeletionPass::Yielded);
    assert_eq!(scenario.cluster.inside().requests.len(), count, "not one request once a run is due");
    scenario.cluster.change(backup.run.backup_id.get(), "camunda_operate", |t| t.stuck = false);
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
}

#[tokio::test(start_paused = true)]
async fn deletion_pass_ends_without_responses() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    scenario.request(&backup).await;
    scenario.cluster.inside().silent.insert("search".into());
    let began = scenario.clock.monotonic();
    let report = left(scenario.pass(&backup).await);
    assert!(scenario.clock.monotonic() <= began + PASS_LIMIT + SECOND, "{report}");
}

#[tokio::test(start_paused = true)]
async fn only_the_requested_backup_is_deleted() {
    let scenario = Scenario::begin().await;
    let backup = scenario.good("daily").await;
    let report = left(scenario.pass(&backup).await);
    assert_eq!(report, format!("backup {} is completed, not requested to be deleted", backup.run.backup_id));
    assert_eq!(scenario.cluster.inside().requests.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn start_with_lost_response_may_appear_after_the_probe() {
    let scenario = Scenario::begin().await;
    let backup = scenario
        .journal("daily", &[Component::Operate, Component::Zeebe], Some(FailureClass::Unreachable))
        .await;
    let id = backup.run.backup_id.get();
    let thing = scenario.cluster.put("zeebe", &id.to_string(), "COMPLETED");
    scenario.cluster.inside().things[thing].appears_at =
        scenario.clock.monotonic() + Duration::from_millis(400);
    scenario.request(&backup).await;
    assert_eq!(scenario.pass(&backup).await, DeletionPass::Gone);
    tokio::time::advance(SECOND).await;
    assert_eq!(scenario.cluster.left(id), [] as [String; 0]);
}
