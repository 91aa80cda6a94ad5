//! Rules of evidence for the ownership of a backup, and the text of each missing proof.

use camunda_backupd::domain::{
    BackupId, Component, Instant, OwnershipProof, OwnershipTag, RetentionGroup, Trigger,
};
use camunda_backupd::journal::{FailureClass, Outcome, Run, RunView, Step};
use camunda_backupd::retention::ownership::{RecordsShown, Shown, prove};
use chrono::{DateTime, TimeDelta};
use rstest::rstest;
use uuid::Uuid;

fn noon() -> Instant {
    DateTime::parse_from_rfc3339("2026-11-23T12:00:00Z").unwrap().to_utc()
}

/// A run from 12:00 to 12:10.
fn run() -> Run {
    let view = RunView {
        started_at: Some(noon()),
        finished_at: Some(noon() + TimeDelta::minutes(10)),
        done: [Step::Guard, Step::Start(Component::Operate)].into(),
        ..RunView::default()
    };
    Run {
        run_id: Uuid::from_u128(7),
        cluster: "orders".into(),
        backup_id: BackupId::new(17).unwrap(),
        trigger: Trigger::Schedule,
        occurrences: Vec::new(),
        retention_groups: vec![RetentionGroup::Schedule("daily".into())],
        note: None,
        created_at: noon(),
        spec: serde_json::Value::Null,
        view,
    }
}

fn tagged(instance: &str, cluster: &str, run: u128) -> Shown {
    let tag =
        OwnershipTag { instance: instance.into(), cluster: cluster.into(), run_id: Uuid::from_u128(run) };
    Shown { records: Some(RecordsShown { name: "records_17".into(), tag: Some(tag) }), parts: Vec::new() }
}

fn started(component: Component, seconds: i64) -> Shown {
    Shown { records: None, parts: vec![(component, Some(noon() + TimeDelta::seconds(seconds)))] }
}

fn proof_text(run: &Run, shown: &Shown) -> Result<String, String> {
    prove("ops-1", run, shown).map(|proof| proof.to_string()).map_err(|why| why.to_string())
}

const RUN_7: &str = "00000000-0000-0000-0000-000000000007";
const RUN_8: &str = "00000000-0000-0000-0000-000000000008";

#[test]
fn ownership_tag_is_the_proof() {
    let ours = proof_text(&run(), &tagged("ops-1", "orders", 7));
    assert_eq!(ours.unwrap(), format!("snapshot records_17 has the ownership tag of run {RUN_7}"));
    for (instance, cluster, number, id) in
        [("ops-2", "orders", 7, RUN_7), ("ops-1", "billing", 7, RUN_7), ("ops-1", "orders", 8, RUN_8)]
    {
        assert_eq!(
            proof_text(&run(), &tagged(instance, cluster, number)).unwrap_err(),
            format!(
                "snapshot records_17 has the ownership tag of instance {instance}, cluster {cluster}, run {id}"
            )
        );
    }
    let mut untagged = tagged("ops-1", "orders", 7);
    untagged.records.as_mut().unwrap().tag = None;
    untagged.parts = started(Component::Operate, 5).parts;
    assert_eq!(
        proof_text(&run(), &untagged).unwrap_err(),
        "snapshot records_17 has no ownership tag, so it was not taken by this daemon",
        "matching times do not replace a missing ownership tag"
    );
}

#[rstest]
#[case::before_the_tolerance(-301, false)]
#[case::at_its_edge(-300, true)]
#[case::within(60, true)]
#[case::at_its_other_edge(900, true)]
#[case::after_it(901, false)]
fn without_ownership_tag_the_start_time_decides(#[case] seconds: i64, #[case] ours: bool) {
    assert_eq!(proof_text(&run(), &started(Component::Operate, seconds)).is_ok(), ours);
}

#[test]
fn every_reported_start_time_must_be_within_the_run() {
    let mut shown = started(Component::Operate, 60);
    shown.parts.push((Component::Tasklist, None));
    assert_eq!(
        proof_text(&run(), &shown).unwrap(),
        "operate started its part during the run, at 2026-11-23T12:01:00Z, and the id was unused before"
    );
    shown.parts.push((Component::Zeebe, Some(noon() - TimeDelta::days(2))));
    assert_eq!(
        proof_text(&run(), &shown).unwrap_err(),
        "zeebe reports 2026-11-21T12:00:00Z as the start of its part, outside the run (2026-11-23T12:00:00Z to \
         2026-11-23T12:10:00Z)"
    );
}

#[test]
fn without_times_there_is_no_proof() {
    let without_times = Shown { records: None, parts: vec![(Component::Zeebe, None)] };
    assert_eq!(
        proof_text(&run(), &without_times).unwrap_err(),
        "no component reports the start time of its part of backup 17, so the part may belong to another backup"
    );
    let mut endless = run();
    endless.view.finished_at = None;
    assert_eq!(
        proof_text(&endless, &started(Component::Zeebe, 5)).unwrap_err(),
        format!("run {RUN_7} has no start and end to compare with the times of the components")
    );
}

#[test]
fn missing_probe_before_the_run_excludes_a_proof() {
    let mut blind = run();
    blind.view.done.clear();
    assert_eq!(
        proof_text(&blind, &tagged("ops-1", "orders", 7)).unwrap_err(),
        "no probe before the run found id 17 unused in every component, so its parts may belong to another backup"
    );
}

#[test]
fn adopted_backup_needs_its_ownership_tag_instead_of_a_probe() {
    let mut adopted = run();
    adopted.view.done.clear();
    adopted.retention_groups = vec![RetentionGroup::Adopted];
    assert!(proof_text(&adopted, &tagged("ops-1", "orders", 7)).is_ok());
    assert_eq!(
        proof_text(&adopted, &started(Component::Operate, 5)).unwrap_err(),
        "the records snapshot of adopted backup 17 is gone, and only its ownership tag proved the backup ours"
    );
}

#[test]
fn after_a_conflict_only_accepted_requests_are_a_proof() {
    let mut conflict = run();
    conflict.view.outcome = Some(Outcome::Failed {
        class: FailureClass::Conflict,
        reason: "tasklist knows the id".into(),
        failure_report: serde_json::Value::Null,
    });
    assert!(proof_text(&conflict, &started(Component::Operate, 5)).is_ok());
    assert_eq!(
        proof_text(&conflict, &started(Component::Tasklist, 5)).unwrap_err(),
        "tasklist lists id 17 but never accepted our request for it, so its part may belong to another backup"
    );
}

#[rstest]
#[case(tagged("ops-1", "orders", 7))]
#[case(started(Component::Operate, 5))]
fn proof_of_ownership_is_stored_and_read_back(#[case] shown: Shown) {
    let proof = prove("ops-1", &run(), &shown).unwrap();
    let stored = serde_json::to_string(&proof).unwrap();
    assert_eq!(serde_json::from_str::<OwnershipProof>(&stored).unwrap(), proof);
}
