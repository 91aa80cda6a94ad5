//! Decides how an unfinished run continues after a restart.
//!
//! `decide` is a pure function of `Known`. The first rule that applies decides:
//!
//! 1. The run is only claimed: it starts. After the `run_deadline` it fails.
//! 2. The run was being aborted: it fails with the stored reason. If an operator abandoned its resume, it
//!    fails too.
//! 3. The pause was checked, but the resume is unconfirmed: the run resumes exporting and finishes.
//! 4. The resume is confirmed: the run continues if the pause was checked. Otherwise it fails.
//! 5. All steps are done: the run continues with the last probe.
//! 6. The `run_deadline` is over: the run fails.
//! 7. The run has no pending resume: it continues with its next step.
//! 8. The run has a pending resume: it fails if a resume was requested, the pending resume is missing, the
//!    `pause_budget` is over, the pause was never confirmed, or the partitions cannot prove that the pause
//!    held. Otherwise it continues.
//!
//! Must not do IO, read a clock or send a resume: `queue/recovery.rs` collects the facts and carries out the
//! decision, and `pause` resumes.

use crate::backup::finish::RESUME_ABANDONED;
use crate::camunda::ExportingState;
use crate::domain::{Instant, Limits, PauseMode};
use crate::journal::{FailureClass, Run, RunStatus, Step};
use crate::store::PendingResume;
use std::time::Duration;

/// Decision for an unfinished run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Recovery {
    /// No step was started. The run starts like a new run.
    Start,
    /// The run continues with its next step.
    GoOn,
    /// The pause held to the end, and only the resume is unconfirmed. The run resumes exporting, then
    /// finishes.
    Finish,
    /// The run fails. If a resume is pending, exporting is resumed first.
    Fail {
        /// Failure class for metrics and the failure report.
        class: FailureClass,
        /// One sentence for the operator.
        reason: String,
    },
}

/// Facts from which `decide` chooses how a run continues.
pub(crate) struct Known<'a> {
    pub run: &'a Run,
    /// `None` if no resume is pending.
    pub pending_resume: Option<&'a PendingResume>,
    /// Exporting state of all partitions; `None` if unreadable.
    pub exporting: Option<ExportingState>,
    /// Whether an exporter position differs from the position that was stored when the pause was confirmed.
    pub positions_moved: bool,
    /// Time from the intent to pause until now.
    pub paused_for: Duration,
    pub limits: Limits,
    /// Time of the decision.
    pub now: Instant,
}

/// Applies the rules in the order of the module header.
pub(crate) fn decide(known: &Known<'_>) -> Recovery {
    let fail = |class, reason: &str| Recovery::Fail { class, reason: reason.to_owned() };
    let view = &known.run.view;
    let pause = &view.pause;
    let age = (known.now - known.run.created_at).to_std().unwrap_or_default();
    let checked = view.done.contains(&Step::CheckPause);
    if view.status == RunStatus::Claimed {
        return if age >= known.limits.run_deadline {
            fail(
                FailureClass::Interrupted,
                "the daemon was down from before the first step until the run_deadline was over",
            )
        } else {
            Recovery::Start
        };
    }
    if let Some((class, reason)) = &view.aborting {
        return fail(*class, reason);
    }
    if pause.abandoned {
        return fail(FailureClass::Cancelled, RESUME_ABANDONED);
    }
    if checked && view.needs_resume() {
        return Recovery::Finish;
    }
    if pause.resumed_at.is_some() {
        return if checked {
            // Only the last probe of the components is left. Failing at the run_deadline would discard a
            // complete backup.
            Recovery::GoOn
        } else {
            fail(
                FailureClass::Interrupted,
                "the daemon went down inside the pause and exporting was resumed before the backup had all its parts",
            )
        };
    }
    let all_done = !view.steps.is_empty() && view.steps.iter().all(|step| view.done.contains(step));
    if all_done {
        return Recovery::GoOn;
    }
    if age >= known.limits.run_deadline {
        return fail(FailureClass::Deadline, "the daemon was down until the run_deadline was over");
    }
    if !view.needs_resume() {
        return Recovery::GoOn;
    }
    if pause.resume_intended_at.is_some()
        || known.pending_resume.is_none_or(|d| d.resume_intended_at.is_some())
    {
        return fail(
            FailureClass::Interrupted,
            "the daemon went down inside the pause and a resume may have been sent before the backup had all its parts",
        );
    }
    if known.paused_for >= known.limits.pause_budget {
        return fail(
            FailureClass::PauseBudget,
            "the daemon went down inside the pause and the pause_budget is over",
        );
    }
    if pause.confirmed_at.is_none() {
        return fail(FailureClass::Interrupted, "the daemon went down before the pause was confirmed");
    }
    let held = matches!(
        (known.exporting, pause.mode),
        (Some(ExportingState::SoftPaused), Some(PauseMode::Soft))
            | (Some(ExportingState::Paused), Some(PauseMode::Hard))
    );
    if !held || known.positions_moved {
        return fail(
            FailureClass::Interrupted,
            "the daemon went down inside the pause and not every partition can be shown to have stayed paused",
        );
    }
    Recovery::GoOn
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Addresses, BackupId, Trigger};
    use crate::journal::{Entry, Event, RunView};
    use chrono::TimeDelta;
    use std::collections::BTreeMap;

    fn at(seconds: i64) -> Instant {
        chrono::DateTime::UNIX_EPOCH + TimeDelta::seconds(seconds)
    }

    fn run(events: Vec<Event>) -> Run {
        let entries: Vec<Entry> =
            events.into_iter().enumerate().map(|(i, event)| Entry { at: at(i as i64), event }).collect();
        Run {
            run_id: uuid::Uuid::nil(),
            cluster: "orders".into(),
            backup_id: BackupId::new(1).unwrap(),
            trigger: Trigger::Schedule,
            occurrences: vec![],
            retention_groups: vec![],
            note: None,
            created_at: at(0),
            spec: serde_json::Value::Null,
            view: RunView::replay(&entries).unwrap(),
        }
    }

    fn started() -> Event {
        Event::Started {
            version: "8.6.0".into(),
            family: crate::domain::Family::V82To87,
            routes: crate::domain::Routes::default(),
            pause: Some(PauseMode::Soft),
            components: vec![],
            steps: vec![Step::Pause, Step::CheckPause, Step::Resume],
            records_indices: vec![],
            partitions: Some(1),
            above: None,
        }
    }

    fn paused() -> Vec<Event> {
        vec![
            started(),
            Event::StepIntended { step: Step::Pause },
            Event::PauseConfirmed { mode: PauseMode::Soft, positions: BTreeMap::new() },
            Event::StepDone { step: Step::Pause, ms: 1 },
        ]
    }

    fn pending_resume(resume_intended: bool) -> PendingResume {
        PendingResume {
            resume_intended_at: resume_intended.then(|| at(3)),
            ..PendingResume::new(
                uuid::Uuid::nil(),
                "orders",
                Addresses { zeebe: "http://z".into(), ..Addresses::default() },
                at(1),
            )
        }
    }

    fn check(events: Vec<Event>, change: impl FnOnce(&mut Known<'_>), expected: &str) {
        let run = run(events);
        let unfinished = pending_resume(false);
        let mut known = Known {
            run: &run,
            pending_resume: run.view.needs_resume().then_some(&unfinished),
            exporting: Some(ExportingState::SoftPaused),
            positions_moved: false,
            paused_for: Duration::from_secs(5),
            limits: Limits::default(),
            now: at(10),
        };
        change(&mut known);
        let text = match decide(&known) {
            Recovery::Start => "start".into(),
            Recovery::GoOn => "go on".into(),
            Recovery::Finish => "finish".into(),
            Recovery::Fail { class, .. } => format!("{class:?}"),
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn claimed_run_starts_and_run_outside_the_window_continues() {
        check(vec![], |_| {}, "start");
        check(vec![started()], |_| {}, "go on");
        check(vec![started()], |k| k.now = at(5 * 3600), "Deadline");
        check(vec![], |k| k.now = at(5 * 3600), "Interrupted");
    }

    #[test]
    fn aborting_run_fails_with_its_stored_reason() {
        let aborting = Event::Aborting { class: FailureClass::Cancelled, reason: "not now".into() };
        check(vec![started(), aborting.clone()], |_| {}, "Cancelled");
        check([paused(), vec![aborting]].concat(), |k| k.now = at(5 * 3600), "Cancelled");
    }

    #[test]
    fn run_inside_the_window_continues_only_if_the_pause_held() {
        check(paused(), |_| {}, "go on");
        check(paused(), |k| k.exporting = None, "Interrupted");
        check(paused(), |k| k.exporting = Some(ExportingState::Running), "Interrupted");
        check(paused(), |k| k.exporting = Some(ExportingState::Mixed), "Interrupted");
        check(paused(), |k| k.exporting = Some(ExportingState::Paused), "Interrupted");
        check(paused(), |k| k.positions_moved = true, "Interrupted");
        check(paused(), |k| k.paused_for = Duration::from_secs(46 * 60), "PauseBudget");
        check(paused()[..2].to_vec(), |_| {}, "Interrupted");
        let intended = pending_resume(true);
        let run = run(paused());
        let known = Known {
            run: &run,
            pending_resume: Some(&intended),
            exporting: Some(ExportingState::SoftPaused),
            positions_moved: false,
            paused_for: Duration::ZERO,
            limits: Limits::default(),
            now: at(10),
        };
        assert!(matches!(decide(&known), Recovery::Fail { class: FailureClass::Interrupted, .. }));
    }

    #[test]
    fn external_resume_fails_the_run_unless_the_pause_was_checked() {
        let mut events = paused();
        events.push(Event::Resumed { by: "command".into() });
        check(events, |_| {}, "Interrupted");
        let mut checked = paused();
        checked.push(Event::StepIntended { step: Step::CheckPause });
        checked.push(Event::StepDone { step: Step::CheckPause, ms: 1 });
        check(checked.clone(), |_| {}, "finish");
        let abandoned = Event::ResumeAbandoned { reason: "the cluster is gone".into() };
        check([checked.clone(), vec![abandoned]].concat(), |_| {}, "Cancelled");
        checked.push(Event::Resumed { by: "command".into() });
        check(checked.clone(), |_| {}, "go on");
        check(checked, |k| k.now = at(5 * 3600), "go on");
    }
}
