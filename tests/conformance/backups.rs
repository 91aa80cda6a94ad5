//! Backups: their states, the changes that each state rejects, and lists.

use crate::bed::{
    Bed, Kind, at, completed, deletion_done, entry, failed, failed_deletion, id, refused, started,
};
use camunda_backupd::domain::{BackupState, Component, OwnershipProof, RetentionGroup, RunId};
use camunda_backupd::journal::{Run, RunView};
use camunda_backupd::store::{Adopted, Backup, BackupFilter, Deletion, DeletionProgress};
use rstest::rstest;
use uuid::Uuid;

const NOW: &str = "2025-03-01T02:00:00Z";

async fn good(bed: &Bed, cluster: &str, now: &str) -> Run {
    let run = bed.begun(cluster, now).await;
    bed.append(run.run_id, completed(now)).await.unwrap();
    run
}

async fn probe(bed: &Bed, run: &Run) -> Backup {
    bed.backup(run.cluster.clone(), run.backup_id).await.unwrap().unwrap()
}

async fn delete(bed: &Bed, run_id: RunId) -> Result<(), camunda_backupd::store::StoreError> {
    bed.request_deletion(run_id, "retention".into(), "3 newer ones".into(), at(NOW)).await
}

#[rstest]
#[tokio::test]
async fn states_follow_the_run(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = bed.begun("prod", NOW).await;
    assert_eq!(probe(&bed, &run).await.state, BackupState::Queued);
    bed.append(run.run_id, vec![entry(NOW, started())]).await.unwrap();
    assert_eq!(probe(&bed, &run).await.state, BackupState::Running);
    bed.append(run.run_id, vec![entry(NOW, failed("503"))]).await.unwrap();
    let failed = probe(&bed, &run).await;
    assert_eq!((failed.state, failed.run.view.reason()), (BackupState::Failed, Some("503")));
    assert_eq!(probe(&bed, &good(&bed, "prod", NOW).await).await.state, BackupState::Completed);
    assert_eq!(bed.backup("prod".into(), id(1)).await.unwrap(), None);
}

/// Error texts are for operators. A changed text leaves the stored proof of ownership unchanged.
#[rstest]
#[tokio::test]
async fn last_error_cannot_alter_the_proof_of_ownership(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = good(&bed, "prod", NOW).await;
    delete(&bed, run.run_id).await.unwrap();
    let proof_of = async || probe(&bed, &run).await.deletion.unwrap().ownership_proof;
    let texts = [
        "proven ours: snapshot another carries the ownership tag of run 7; still there: all",
        r#"{"tag":{"snapshot":"another","run_id":"00000000-0000-0000-0000-000000000007"}}"#,
        "",
    ];
    for text in texts {
        bed.record_deletion_progress(run.run_id, failed_deletion(text)).await.unwrap();
        assert_eq!(proof_of().await, None, "{text}");
    }
    let start_time = OwnershipProof::StartTime { component: Component::Operate, started_at: at(NOW) };
    let tag = OwnershipProof::Tag { snapshot: "camunda_zeebe_1".into(), run_id: run.run_id };
    for proof in [start_time, tag] {
        bed.record_deletion_progress(run.run_id, DeletionProgress::OwnershipProven(proof.clone()))
            .await
            .unwrap();
        for text in texts.map(|text| Some(text.to_owned())).into_iter().chain([None]) {
            bed.record_deletion_progress(run.run_id, DeletionProgress::Attempted { error: text })
                .await
                .unwrap();
            assert_eq!(proof_of().await, Some(proof.clone()));
        }
    }
}

#[rstest]
#[tokio::test]
async fn deletion_is_requested_retried_and_completed(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = good(&bed, "prod", NOW).await;
    delete(&bed, run.run_id).await.unwrap();
    let requested = Deletion {
        requested_at: at(NOW),
        by: "retention".into(),
        reason: "3 newer ones".into(),
        attempts: 0,
        last_error: None,
        ownership_proof: None,
        done_at: None,
    };
    let backup = probe(&bed, &run).await;
    assert_eq!((backup.state, backup.deletion), (BackupState::Deleting, Some(requested.clone())));

    bed.request_deletion(run.run_id, "command".into(), "impatient".into(), at(NOW)).await.unwrap();
    bed.record_deletion_progress(run.run_id, failed_deletion("operate answers 503")).await.unwrap();
    let tried = Deletion { attempts: 1, last_error: Some("operate answers 503".into()), ..requested };
    assert_eq!(probe(&bed, &run).await.deletion, Some(tried.clone()), "asking again changes nothing");

    let proof = OwnershipProof::Tag { snapshot: "camunda_zeebe_1".into(), run_id: run.run_id };
    bed.record_deletion_progress(run.run_id, DeletionProgress::OwnershipProven(proof.clone())).await.unwrap();
    bed.record_deletion_progress(run.run_id, DeletionProgress::Attempted { error: None }).await.unwrap();
    bed.record_deletion_progress(run.run_id, deletion_done("2025-03-01T03:00:00Z")).await.unwrap();
    bed.record_deletion_progress(run.run_id, deletion_done("2025-03-01T04:00:00Z")).await.unwrap();
    let backup = probe(&bed, &run).await;
    assert_eq!(backup.state, BackupState::Deleted);
    let done = Deletion {
        ownership_proof: Some(proof),
        attempts: 2,
        last_error: None,
        done_at: Some(at("2025-03-01T03:00:00Z")),
        ..tried
    };
    assert_eq!(backup.deletion, Some(done));
}

#[rstest]
#[tokio::test]
async fn deletion_rejection_depends_on_the_state(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let name = format!("backup {} of cluster prod", at(NOW).timestamp());
    let run = bed.begun("prod", NOW).await;
    assert_eq!(
        refused(delete(&bed, run.run_id).await),
        format!("{name} has not begun: cancel the run instead of deleting it")
    );
    bed.append(run.run_id, completed(NOW)[..1].to_vec()).await.unwrap();
    assert_eq!(
        refused(delete(&bed, run.run_id).await),
        format!("{name} is being taken: cancel the run or wait until it has ended")
    );
    bed.append(run.run_id, completed(NOW)[1..].to_vec()).await.unwrap();
    bed.hold(run.run_id, true).await.unwrap();
    assert_eq!(
        refused(delete(&bed, run.run_id).await),
        format!("{name} is held: release the hold before deleting it")
    );
    assert_eq!(probe(&bed, &run).await.deletion, None);
    bed.hold(run.run_id, false).await.unwrap();
    delete(&bed, run.run_id).await.unwrap();
    bed.record_deletion_progress(run.run_id, deletion_done(NOW)).await.unwrap();
    assert_eq!(
        refused(delete(&bed, run.run_id).await),
        format!("{name} is deleted already: nothing is left to delete")
    );
}

#[rstest]
#[tokio::test]
async fn hold_is_stored_but_does_not_stop_a_requested_deletion(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let run = good(&bed, "prod", NOW).await;
    assert!(!probe(&bed, &run).await.held);
    bed.hold(run.run_id, true).await.unwrap();
    assert!(probe(&bed, &run).await.held);
    bed.hold(run.run_id, false).await.unwrap();
    assert!(!probe(&bed, &run).await.held);

    delete(&bed, run.run_id).await.unwrap();
    assert_eq!(
        refused(bed.hold(run.run_id, true).await),
        format!("backup {} of cluster prod is being deleted: it is too late to hold it", run.backup_id)
    );
    bed.hold(run.run_id, false).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn only_ended_backups_can_be_set_missing(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let running = bed.started("test", NOW).await;
    assert_eq!(
        refused(bed.set_missing(running.run_id).await),
        format!(
            "backup {} of cluster test is running: only a completed or failed one can be found missing, check it again later",
            running.backup_id
        )
    );
    let run = good(&bed, "prod", NOW).await;
    bed.set_missing(run.run_id).await.unwrap();
    bed.set_missing(run.run_id).await.unwrap();
    assert_eq!(probe(&bed, &run).await.state, BackupState::Missing);
    assert!(
        refused(bed.hold(run.run_id, true).await).ends_with("is missing in its cluster: hold another one")
    );

    delete(&bed, run.run_id).await.unwrap();
    assert_eq!(probe(&bed, &run).await.state, BackupState::Deleting, "its remains can be deleted");
}

#[rstest]
#[tokio::test]
async fn unknown_run_or_deletion_is_not_found(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run = "the state has no run 00000000-0000-0000-0000-000000000000";
    for response in [
        delete(&bed, Uuid::nil()).await,
        bed.hold(Uuid::nil(), true).await,
        bed.set_missing(Uuid::nil()).await,
    ] {
        assert_eq!(response.unwrap_err().to_string(), run);
    }
    let never_requested = good(&bed, "prod", NOW).await.run_id;
    let sentence = format!("the state has no request to delete the backup of run {never_requested}");
    assert_eq!(
        bed.record_deletion_progress(never_requested, DeletionProgress::Attempted { error: None })
            .await
            .unwrap_err()
            .to_string(),
        sentence
    );
    assert_eq!(
        bed.record_deletion_progress(never_requested, deletion_done(NOW)).await.unwrap_err().to_string(),
        sentence
    );
    let proof = OwnershipProof::Tag { snapshot: "camunda_zeebe_1".into(), run_id: never_requested };
    assert_eq!(
        bed.record_deletion_progress(never_requested, DeletionProgress::OwnershipProven(proof))
            .await
            .unwrap_err()
            .to_string(),
        sentence
    );
}

#[rstest]
#[tokio::test]
async fn lists_are_oldest_first_and_a_limit_keeps_the_newest(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    let mut runs = Vec::new();
    for (cluster, now) in [
        ("prod", "2025-03-02T02:00:00Z"),
        ("test", "2025-03-01T02:00:00Z"),
        ("prod", "2025-03-03T02:00:00Z"),
        ("prod", "2025-03-04T02:00:00Z"),
    ] {
        runs.push(good(&bed, cluster, now).await);
    }
    let ids: Vec<i64> = runs.iter().map(|r| r.backup_id.get()).collect();
    let prod = BackupFilter { cluster: Some("prod".into()), ..Default::default() };
    assert_eq!(bed.ids(BackupFilter::default()).await, [ids[1], ids[0], ids[2], ids[3]]);
    assert_eq!(bed.ids(prod.clone()).await, [ids[0], ids[2], ids[3]]);
    assert_eq!(bed.ids(BackupFilter { limit: 2, ..prod }).await, [ids[2], ids[3]]);
}

#[rstest]
#[tokio::test]
async fn existing_backups_exclude_deleted_and_missing_ones(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let (kept, going, gone, missing) = (
        good(&bed, "prod", "2025-03-01T02:00:00Z").await,
        good(&bed, "prod", "2025-03-02T02:00:00Z").await,
        good(&bed, "prod", "2025-03-03T02:00:00Z").await,
        good(&bed, "prod", "2025-03-04T02:00:00Z").await,
    );
    for run in [&going, &gone] {
        delete(&bed, run.run_id).await.unwrap();
    }
    bed.record_deletion_progress(gone.run_id, deletion_done(NOW)).await.unwrap();
    bed.set_missing(missing.run_id).await.unwrap();
    let existing = bed.ids(BackupFilter { existing: true, ..Default::default() }).await;
    assert_eq!(existing, [&kept, &going, &missing].map(|run| run.backup_id.get()));
}

#[rstest]
#[tokio::test]
async fn consecutive_failures_reset_on_success_and_survive_deletion(
    #[values(Kind::Memory, Kind::Sqlite)] kind: Kind,
) {
    let bed = Bed::new(kind);
    bed.failed("prod", "2025-03-01T02:00:00Z").await;
    good(&bed, "prod", "2025-03-02T02:00:00Z").await;
    good(&bed, "well", "2025-03-02T02:00:00Z").await;
    let first = bed.failed("prod", "2025-03-03T02:00:00Z").await;
    bed.failed("prod", "2025-03-04T02:00:00Z").await;
    bed.failed("never", "2025-03-04T02:00:00Z").await;
    delete(&bed, first.run_id).await.unwrap();
    bed.record_deletion_progress(first.run_id, deletion_done(NOW)).await.unwrap();
    let failures = bed.failures_in_a_row().await.unwrap();
    assert_eq!(failures, [("never".to_owned(), 1), ("prod".to_owned(), 2)].into());
}

fn found(run_id: RunId, backup_id: i64) -> Adopted {
    Adopted {
        run_id,
        cluster: "prod".into(),
        backup_id: id(backup_id),
        created_at: at(NOW),
        spec: serde_json::json!({ "found": true }),
        view: RunView::replay(&completed(NOW)).unwrap(),
    }
}

#[rstest]
#[tokio::test]
async fn adopt_is_idempotent_in_the_store(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let run_id = Uuid::now_v7();
    bed.adopt(found(run_id, 1_740_000_000)).await.unwrap();
    bed.hold(run_id, true).await.unwrap();
    bed.adopt(found(run_id, 1_740_000_000)).await.unwrap();

    let all = bed.backups(BackupFilter::default()).await.unwrap();
    assert_eq!(all.len(), 1);
    assert_eq!((all[0].state, all[0].held), (BackupState::Completed, true));
    assert_eq!(
        (&all[0].run.retention_groups[..], all[0].run.created_at),
        (&[RetentionGroup::Adopted][..], at(NOW))
    );
    assert_eq!(bed.run(run_id).await.unwrap().unwrap().view, found(run_id, 1).view);
}

#[rstest]
#[tokio::test]
async fn adopted_backup_does_not_count_as_manual(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    bed.adopt(found(Uuid::now_v7(), 1_740_000_000)).await.unwrap();
    bed.begin_run(crate::bed::manual("prod", "2025-03-01T02:00:01Z")).await.unwrap();
}

#[rstest]
#[tokio::test]
async fn adopt_ignores_unfinished_and_known_backups(#[values(Kind::Memory, Kind::Sqlite)] kind: Kind) {
    let bed = Bed::new(kind);
    let unfinished = Adopted { view: RunView::default(), ..found(Uuid::now_v7(), 7) };
    assert_eq!(
        refused(bed.adopt(unfinished).await),
        "backup 7 of cluster prod has not ended: adopt it when no component reports it as in progress"
    );
    let ours = good(&bed, "prod", NOW).await;
    let other = found(Uuid::now_v7(), ours.backup_id.get());
    assert_eq!(
        refused(bed.adopt(other).await),
        format!(
            "backup {} of cluster prod is known as run {} already: only that run can be it",
            ours.backup_id, ours.run_id
        )
    );
    assert_eq!(bed.backups(BackupFilter::default()).await.unwrap().len(), 1);
}
