//! The rules of evidence, one by one: what proves that a backup is ours, and the sentence for each that does not.

use camunda_backupd::domain::OwnershipTag;
use camunda_backupd::domain::{BackupId, Component, Instant, RetentionGroup, Trigger};
use camunda_backupd::journal::{FailureClass, Outcome, Run, RunView, Step};
use camunda_backupd::retention::ownership::{Proof, RecordsShown, Shown, prove};
use chrono::{DateTime, TimeDelta};
use rstest::rstest;
use uuid::Uuid;

fn noon() -> Instant {
    DateTime::parse_from_rfc3339("2026-11-23T12:00:00Z").unwrap().to_utc()
}

/// Took from noon to ten past.
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

fn marked(instance: &str, cluster: &str, run: u128) -> Shown {
    let tag =
        OwnershipTag { instance: instance.into(), cluster: cluster.into(), run_id: Uuid::from_u128(run) };
    Shown { records: Some(RecordsShown { name: "records_17".into(), tag: Some(tag) }), parts: Vec::new() }
}

fn begun(component: Component, seconds: i64) -> Shown {
    Shown { records: None, parts: vec![(component, Some(noon() + TimeDelta::seconds(seconds)))] }
}

fn said(run: &Run, shown: &Shown) -> Result<String, String> {
    prove("ops-1", run, shown).map(|proof| proof.to_string()).map_err(|why| why.to_string())
}

const RUN_7: &str = "00000000-0000-0000-0000-000000000007";
const RUN_8: &str = "00000000-0000-0000-0000-000000000008";

#[test]
fn the_mark_is_the_proof_where_there_is_one() {
    let ours = said(&run(), &marked("ops-1", "orders", 7));
    assert_eq!(ours.unwrap(), format!("snapshot records_17 carries the mark of run {RUN_7}"));
    for (instance, cluster, number, id) in
        [("ops-2", "orders", 7, RUN_7), ("ops-1", "billing", 7, RUN_7), ("ops-1", "orders", 8, RUN_8)]
    {
        assert_eq!(
            said(&run(), &marked(instance, cluster, number)).unwrap_err(),
            format!(
                "snapshot records_17 carries the mark of instance {instance}, cluster {cluster}, run {id}"
            )
        );
    }
    let mut unmarked = marked("ops-1", "orders", 7);
    unmarked.records.as_mut().unwrap().tag = None;
    unmarked.parts = begun(Component::Operate, 5).parts;
    assert_eq!(
        said(&run(), &unmarked).unwrap_err(),
        "snapshot records_17 carries no mark in its metadata, so another took it",
        "fitting times do not make up for a mark that is not there"
    );
}

#[rstest]
#[case::before_the_tolerance(-301, false)]
#[case::at_its_edge(-300, true)]
#[case::within(60, true)]
#[case::at_its_other_edge(900, true)]
#[case::after_it(901, false)]
fn without_a_mark_the_time_decides(#[case] seconds: i64, #[case] ours: bool) {
    assert_eq!(said(&run(), &begun(Component::Operate, seconds)).is_ok(), ours);
}

#[test]
fn every_time_that_is_shown_has_to_fit() {
    let mut shown = begun(Component::Operate, 60);
    shown.parts.push((Component::Tasklist, None));
    assert_eq!(
        said(&run(), &shown).unwrap(),
        "operate began its part within the run, at 2026-11-23T12:01:00Z, and the id was free before"
    );
    shown.parts.push((Component::Zeebe, Some(noon() - TimeDelta::days(2))));
    assert_eq!(
        said(&run(), &shown).unwrap_err(),
        "zeebe shows 2026-11-21T12:00:00Z as the beginning of its part, outside of the run (2026-11-23T12:00:00Z to \
         2026-11-23T12:10:00Z)"
    );
}

#[test]
fn what_says_nothing_proves_nothing() {
    let silent = Shown { records: None, parts: vec![(Component::Zeebe, None)] };
    assert_eq!(
        said(&run(), &silent).unwrap_err(),
        "no component shows when its part of backup 17 was begun, so it cannot be told from another's"
    );
    let mut endless = run();
    endless.view.finished_at = None;
    assert_eq!(
        said(&endless, &begun(Component::Zeebe, 5)).unwrap_err(),
        format!("run {RUN_7} has no beginning and end to compare the components' times with")
    );
}

#[test]
fn the_look_before_the_run_cannot_be_made_up_for() {
    let mut blind = run();
    blind.view.done.clear();
    assert_eq!(
        said(&blind, &marked("ops-1", "orders", 7)).unwrap_err(),
        "id 17 was not seen free in every component before the run, so its parts may be another's"
    );
}

#[test]
fn for_an_adopted_one_the_mark_stands_for_the_look_and_nothing_stands_for_the_mark() {
    let mut adopted = run();
    adopted.view.done.clear();
    adopted.retention_groups = vec![RetentionGroup::Adopted];
    assert!(said(&adopted, &marked("ops-1", "orders", 7)).is_ok());
    assert_eq!(
        said(&adopted, &begun(Component::Operate, 5)).unwrap_err(),
        "the records snapshot of adopted backup 17 is gone, and only its mark proved the backup ours"
    );
}

#[test]
fn after_a_conflict_only_what_took_our_request_is_ours() {
    let mut conflict = run();
    conflict.view.outcome = Some(Outcome::Failed {
        class: FailureClass::Conflict,
        reason: "tasklist knows the id".into(),
        failure_report: serde_json::Value::Null,
    });
    assert!(said(&conflict, &begun(Component::Operate, 5)).is_ok());
    assert_eq!(
        said(&conflict, &begun(Component::Tasklist, 5)).unwrap_err(),
        "tasklist shows id 17 and never said that it takes our request for it, so its part may be another's"
    );
}

#[test]
fn a_noted_proof_is_read_back_and_nothing_else_is() {
    let proof = prove("ops-1", &run(), &marked("ops-1", "orders", 7)).unwrap();
    let note = proof.note("tasklist still shows it; zeebe too");
    assert_eq!(Proof::noted(&note), Some(proof));
    assert_eq!(Proof::noted("not proven ours, nothing was touched: no time; still there: all"), None);
    assert_eq!(Proof::noted("zeebe could not be asked what is left: refused"), None);
}
