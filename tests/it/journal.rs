//! The journal: one valid scenario, all invalid continuations, and a text format that parses back.

use camunda_backupd::domain::{Component, Family, PauseMode};
use camunda_backupd::journal::{Entry, Event, FailureClass, Outcome, RunStatus, RunView, Step};
use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;
use std::collections::BTreeMap;

use Component::{Operate, Records, Zeebe};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_740_794_400, 0).unwrap() + TimeDelta::seconds(second)
}

/// One event a second.
fn journal(events: impl IntoIterator<Item = Event>) -> Vec<Entry> {
    (0..).zip(events).map(|(second, event)| Entry { at: at(second), event }).collect()
}

fn after(events: impl IntoIterator<Item = Event>) -> RunView {
    RunView::replay(&journal(events)).unwrap()
}

fn started() -> Event {
    Event::Started {
        version: "8.6.0".into(),
        family: Family::V82To87,
        routes: camunda_backupd::domain::Routes::default(),
        pause: Some(PauseMode::Soft),
        components: vec![Operate, Records, Zeebe],
        steps: vec![
            Step::Guard,
            Step::Start(Operate),
            Step::Wait(Operate),
            Step::Pause,
            Step::Start(Records),
            Step::Wait(Records),
            Step::Start(Zeebe),
            Step::Wait(Zeebe),
            Step::CheckPause,
            Step::Resume,
        ],
        records_indices: vec!["zeebe-record_job".into()],
        partitions: Some(3),
        above: None,
    }
}

fn intended(step: Step) -> Event {
    Event::StepIntended { step }
}

fn done(step: Step) -> Event {
    Event::StepDone { step, ms: 250 }
}

fn step_failed(step: Step) -> Event {
    Event::StepFailed { step, reason: "503".into() }
}

fn announced() -> Event {
    Event::Announced {
        component: Operate,
        repository: Some("backups".into()),
        names: vec!["part_1".into(), "part_2".into()],
        indices: vec![],
    }
}

fn progress() -> Event {
    Event::Progress { component: Operate, state: "IN_PROGRESS".into(), done: 1, total: 2 }
}

fn pause_confirmed() -> Event {
    Event::PauseConfirmed {
        mode: PauseMode::Hard,
        positions: BTreeMap::from([(1, 4711), (3, 9_007_199_254_740_993)]),
    }
}

fn resume_intended() -> Event {
    Event::ResumeIntended { by: "run".into() }
}

fn resumed() -> Event {
    Event::Resumed { by: "run".into() }
}

fn completed() -> Event {
    Event::Ended(Outcome::Completed { attestation: json!({ "proof": { "records": { "shards": 12 } } }) })
}

fn failed() -> Event {
    Event::Ended(Outcome::Failed {
        class: FailureClass::PauseBroken,
        reason: "exporting did not stay paused".into(),
        failure_report: json!({ "responses": [{ "status": 200 }] }),
    })
}

/// A whole backup of Operate, the records and Zeebe.
fn scenario() -> Vec<Event> {
    let taken = |component| {
        [
            intended(Step::Start(component)),
            done(Step::Start(component)),
            intended(Step::Wait(component)),
            done(Step::Wait(component)),
        ]
    };
    let mut events = vec![started(), intended(Step::Guard), done(Step::Guard)];
    events.extend(taken(Operate));
    events.splice(4..4, [announced(), progress()]);
    events.extend([intended(Step::Pause), pause_confirmed(), done(Step::Pause)]);
    events.extend(taken(Records));
    events.extend(taken(Zeebe));
    events.extend([intended(Step::CheckPause), done(Step::CheckPause), intended(Step::Resume)]);
    events.extend([resume_intended(), resumed(), done(Step::Resume), completed()]);
    events
}

#[test]
fn successful_backup_journal() {
    let events = scenario();
    let view = after(events.clone());
    assert_eq!(view.status, RunStatus::Completed);
    assert_eq!((view.started_at, view.finished_at), (Some(at(0)), Some(at(events.len() as i64 - 1))));
    assert_eq!(
        (view.version.as_deref(), view.family, view.partitions),
        (Some("8.6.0"), Some(Family::V82To87), Some(3))
    );
    assert_eq!(view.steps.len(), view.done.len());
    assert_eq!((view.step, view.step_since), (None, None));
    assert_eq!(
        (view.pause.requested, view.pause.mode),
        (Some(PauseMode::Soft), Some(PauseMode::Hard)),
        "as read"
    );
    assert_eq!(view.pause.positions[&3], 9_007_199_254_740_993);
    let operate = &view.components[&Operate];
    assert_eq!((operate.state.as_str(), operate.parts_done, operate.parts_total), ("IN_PROGRESS", 1, 2));
    assert_eq!(operate.names, ["part_1", "part_2"]);
    assert!(operate.requested_at < operate.finished_at);
    assert!(!view.needs_resume());
}

#[test]
fn view_shows_the_progress_of_a_run() {
    let wait = Step::Wait(Operate);
    let view = after([started(), intended(wait)]);
    assert_eq!((view.status, view.step, view.step_since), (RunStatus::Running, Some(wait), Some(at(1))));
    let view = after([started(), intended(wait), step_failed(wait), failed()]);
    assert_eq!((view.status, view.step), (RunStatus::Failed, None));
    assert_eq!(view.components[&Operate].reason.as_deref(), Some("503"));
    assert_eq!(view.reason(), Some("exporting did not stay paused"));
}

#[test]
fn resume_is_pending_from_pause_intent_until_confirmed() {
    let events = [started(), intended(Step::Pause), pause_confirmed(), resume_intended(), resumed()];
    let is_pending: Vec<bool> =
        (0..=events.len()).map(|n| after(events[..n].to_vec()).needs_resume()).collect();
    assert_eq!(is_pending, [false, false, true, true, true, false]);
}

#[test]
fn first_confirmed_resume_sets_the_time() {
    let view =
        after([started(), intended(Step::Pause), resume_intended(), resume_intended(), resumed(), resumed()]);
    assert_eq!((view.pause.resume_intended_at, view.pause.resumed_at), (Some(at(2)), Some(at(4))));
    let unannounced = after([started(), intended(Step::Pause), resumed()]);
    assert_eq!(unannounced.pause.resume_intended_at, Some(at(2)), "a confirmed resume was intended");
}

/// Events that get a run into each status.
fn into(status: RunStatus) -> Vec<Event> {
    match status {
        RunStatus::Claimed => vec![],
        RunStatus::Running => scenario()[..scenario().len() - 1].to_vec(),
        RunStatus::Completed => scenario(),
        RunStatus::Failed => vec![failed()],
    }
}

fn each_event() -> Vec<(&'static str, Event)> {
    vec![
        ("started", started()),
        ("step_intended", intended(Step::Resume)),
        ("step_done", done(Step::Resume)),
        ("step_failed", step_failed(Step::Resume)),
        ("announced", announced()),
        ("progress", progress()),
        ("pause_confirmed", pause_confirmed()),
        ("resume_intended", resume_intended()),
        ("resumed", resumed()),
        ("resume_abandoned", Event::ResumeAbandoned { reason: "the cluster is gone".into() }),
        ("aborting", Event::Aborting { class: FailureClass::Cancelled, reason: "not now".into() }),
        ("recovered", Event::Recovered { how: "goes on at zeebe.wait".into() }),
        ("cleanup_unfinished", Event::CleanupUnfinished { what: "snapshot x is still there".into() }),
        ("ended", completed()),
        ("ended", failed()),
    ]
}

#[rstest]
#[case(RunStatus::Claimed, &["started", "ended failed"])]
#[case(RunStatus::Running, &["step_intended", "step_done", "step_failed", "announced", "progress", "pause_confirmed",
    "resume_intended", "resumed", "resume_abandoned", "aborting", "recovered", "cleanup_unfinished", "ended completed", "ended failed"])]
#[case(RunStatus::Completed, &[])]
#[case(RunStatus::Failed, &[])]
fn each_status_takes_only_its_events(#[case] status: RunStatus, #[case] takes: &[&str]) {
    let before = after(into(status));
    assert_eq!(before.status, status);
    let mut taken = Vec::new();
    for (name, event) in each_event() {
        let full = match &event {
            Event::Ended(Outcome::Completed { .. }) => "ended completed",
            Event::Ended(Outcome::Failed { .. }) => "ended failed",
            _ => name,
        };
        let mut view = before.clone();
        match view.apply(&Entry { at: at(99), event }) {
            Ok(()) => taken.push(full),
            Err(error) => {
                assert_eq!((error.event.as_str(), view), (name, before.clone()), "a refusal changes nothing");
            }
        }
    }
    assert_eq!(taken, takes);
}

#[rstest]
#[case(vec![], intended(Step::Guard), "claimed: this event does not follow that status")]
#[case(vec![], completed(), "claimed: a run that never started cannot be complete")]
#[case(vec![started()], started(), "running: this event does not follow that status")]
#[case(vec![started()], done(Step::Guard), "running: a step that was never intended cannot be done")]
#[case(vec![started()], step_failed(Step::Guard), "running: a step that was never intended cannot fail")]
#[case(vec![started()], pause_confirmed(), "running: the pause was never intended")]
#[case(vec![started()], completed(), "running: step guard is not done")]
#[case(vec![started(), intended(Step::Pause)], intended(Step::Pause), "running: an act that cannot be repeated was intended before")]
#[case(vec![started(), intended(Step::Start(Zeebe))], intended(Step::Start(Zeebe)), "running: an act that cannot be repeated was intended before")]
#[case(vec![started(), intended(Step::Pause), resume_intended()], intended(Step::Start(Zeebe)), "running: nothing but the resume follows an intended resume")]
#[case(vec![started(), resumed()], intended(Step::Pause), "running: nothing but the resume follows an intended resume")]
#[case(vec![started(), intended(Step::CheckPause), resume_intended()], done(Step::CheckPause), "running: a resume was intended before the pause was seen to have held")]
#[case(vec![started(), intended(Step::Pause), intended(Step::Resume)], done(Step::Resume), "running: no resume was confirmed")]
#[case(vec![started(), intended(Step::Pause)], failed(), "running: a resume is still pending, and a run does not end before it is confirmed")]
#[case(vec![started(), intended(Step::Pause), resume_intended()], failed(), "running: a resume is still pending, and a run does not end before it is confirmed")]
fn invalid_event_order_is_rejected_with_a_reason(
    #[case] scenario: Vec<Event>,
    #[case] event: Event,
    #[case] expected: &str,
) {
    let before = after(scenario);
    let mut view = before.clone();
    let error = view.apply(&Entry { at: at(99), event: event.clone() }).unwrap_err();
    let name = serde_json::to_value(&event).unwrap().as_object().unwrap().keys().next().unwrap().clone();
    assert_eq!(
        error.to_string(),
        format!(
            "the journal refuses `{name}` while the run is {expected}; this is a defect, please report it"
        )
    );
    assert_eq!(view, before, "a refusal changes nothing");
}

#[test]
fn backup_without_one_step_is_not_complete() {
    let whole = scenario();
    let steps: Vec<Step> = whole
        .iter()
        .filter_map(|event| if let Event::StepDone { step, .. } = event { Some(*step) } else { None })
        .collect();
    assert_eq!(steps.len(), 10);
    for step in steps {
        let without: Vec<Event> = whole.iter().filter(|event| **event != done(step)).cloned().collect();
        let error = RunView::replay(&journal(without)).unwrap_err();
        assert_eq!((error.event.as_str(), error.why), ("ended", format!("step {step} is not done")));
    }
}

#[test]
fn only_probe_and_resume_steps_may_be_repeated() {
    let all = Component::ALL.into_iter().flat_map(|c| [Step::Start(c), Step::Wait(c)]);
    for step in all.chain([Step::Guard, Step::Pause, Step::CheckPause, Step::Resume]) {
        let twice = RunView::replay(&journal([started(), intended(step), intended(step)]));
        assert_eq!(twice.is_ok(), !matches!(step, Step::Start(_) | Step::Pause), "{step}");
    }
}

#[test]
fn every_event_reads_back_from_its_text() {
    for (name, event) in each_event() {
        let text = serde_json::to_string(&Entry { at: at(0), event: event.clone() }).unwrap();
        assert!(text.contains(&format!("\"{name}\"")), "{text}");
        let back: Entry = serde_json::from_str(&text).unwrap();
        assert_eq!(back.event, event);
        let value = serde_json::to_value(&event).unwrap();
        assert_eq!(serde_json::from_value::<Event>(value).unwrap(), event);
    }
}

#[test]
fn every_step_and_every_view_reads_back_from_its_text() {
    let all = Component::ALL.into_iter().flat_map(|c| [Step::Start(c), Step::Wait(c)]);
    for step in all.chain([Step::Guard, Step::Pause, Step::CheckPause, Step::Resume]) {
        let text = serde_json::to_string(&step).unwrap();
        assert_eq!(text, format!("\"{step}\""));
        assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step);
    }
    for nonsense in ["\"zeebe\"", "\"zeebe.stop\"", "\"moon.start\"", "\"\""] {
        assert!(serde_json::from_str::<Step>(nonsense).unwrap_err().to_string().contains("is not a step"));
    }
    for n in 0..=scenario().len() {
        let view = after(scenario()[..n].to_vec());
        let text = serde_json::to_string(&view).unwrap();
        assert_eq!(serde_json::from_str::<RunView>(&text).unwrap(), view);
    }
}

#[test]
fn view_without_newer_fields_is_readable() {
    let view: RunView =
        serde_json::from_str(r#"{ "status": "running", "pause": {}, "components": { "zeebe": {} } }"#)
            .unwrap();
    assert_eq!(view.status, RunStatus::Running);
    assert!(view.components.contains_key(&Zeebe));
}

fn any_event() -> impl Strategy<Value = Event> {
    let mut events = scenario();
    events.extend(each_event().into_iter().map(|(_, event)| event));
    events.extend([step_failed(Step::Guard), step_failed(Step::Wait(Zeebe)), intended(Step::Wait(Zeebe))]);
    proptest::sample::select(events)
}

proptest! {
    /// In any order of events, the view keeps its rules, and the accepted entries alone
    /// lead to the same view.
    #[test]
    fn any_event_order_keeps_the_view_rules(tried in proptest::collection::vec(any_event(), 0..120)) {
        let mut view = RunView::default();
        let mut accepted = Vec::new();
        for entry in journal(tried) {
            let before = view.clone();
            if view.apply(&entry).is_ok() {
                accepted.push(entry);
            } else {
                prop_assert_eq!(&view, &before);
            }
            if before.ended() {
                prop_assert_eq!(&view, &before, "an end is final");
            }
            if view.ended() {
                prop_assert!(!view.needs_resume());
            }
            if view.status == RunStatus::Completed {
                prop_assert!(view.steps.iter().all(|step| view.done.contains(step)));
            }
        }
        prop_assert_eq!(RunView::replay(&accepted).unwrap(), view);
    }
}
