//! Journal of a run: records before and after each act, and the only function that derives the status.
//!
//! Owns `RunView` and the list of legal transitions (rule I10); `event` owns the records. Must not do IO or
//! read a clock: the store keeps the entries, the executor makes them, all others read the view.

mod event;
mod step;

use crate::domain::{BackupId, Component, Family, Instant, PauseMode, Routes};
pub use event::{Entry, Event, FailureClass, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
pub use step::Step;

/// Status of a run, derived only from its journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunStatus {
    /// The backup id is assigned; no act was done yet.
    #[default]
    Claimed,
    /// In progress.
    Running,
    /// Ended with a complete backup.
    Completed,
    /// Ended without a complete backup.
    Failed,
}

/// State of one component of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComponentView {
    /// Last reported state, as the component spells it; `requested` before the first report.
    pub state: String,
    /// Parts done.
    pub parts_done: u32,
    /// Parts expected or found.
    pub parts_total: u32,
    /// Snapshot repository.
    pub repository: Option<String>,
    /// Snapshot names.
    pub names: Vec<String>,
    /// Time of the start request.
    pub requested_at: Option<Instant>,
    /// Time of the probe that found it complete.
    pub finished_at: Option<Instant>,
    /// Reason of the failure.
    pub reason: Option<String>,
}

/// State of the pause of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct PauseView {
    /// Time before the pause was requested.
    pub intended_at: Option<Instant>,
    /// Time at which every readable partition read paused.
    pub confirmed_at: Option<Instant>,
    /// Requested mode.
    pub requested: Option<PauseMode>,
    /// Mode read from the partitions.
    pub mode: Option<PauseMode>,
    /// Exported positions at the confirmation, by partition.
    pub positions: BTreeMap<u32, i64>,
    /// Time before the first resume was sent.
    pub resume_intended_at: Option<Instant>,
    /// Time at which the server confirmed a resume, or an operator abandoned it.
    pub resumed_at: Option<Instant>,
    /// An operator abandoned the resume. No response confirmed that exporting runs again.
    pub abandoned: bool,
}

/// State derived from the journal of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunView {
    /// Status.
    pub status: RunStatus,
    /// Camunda version.
    pub version: Option<String>,
    /// Backup procedure of the version.
    pub family: Option<Family>,
    /// APIs used.
    pub routes: Routes,
    /// Largest earlier backup id, if the cluster assigns the ids.
    pub above: Option<i64>,
    /// Backup id assigned by the cluster.
    pub identified: Option<BackupId>,
    /// Step whose intent was written last and whose end is not written yet.
    pub step: Option<Step>,
    /// Time at which the intent of `step` was written.
    pub step_since: Option<Instant>,
    /// Steps planned.
    pub steps: Vec<Step>,
    /// Steps intended at least once.
    pub intended: BTreeSet<Step>,
    /// Steps done.
    pub done: BTreeSet<Step>,
    /// Components whose start request may or may not have been executed. A component is removed once a probe finds
    /// its part.
    pub uncertain: BTreeSet<Component>,
    /// Components whose start request got no response. A component stays in this set even if a probe finds its part
    /// later.
    pub without_response: BTreeSet<Component>,
    /// Names of the backups that existed right before the start request, by component that assigns names itself
    /// (Camunda 8 SaaS).
    pub before: BTreeMap<Component, Vec<String>>,
    /// Earliest time of the next request, from the `Retry-After` of a component.
    pub quiet_until: Option<Instant>,
    /// Duration of each step, in milliseconds.
    pub step_ms: BTreeMap<Step, u64>,
    /// Indices that matched the records pattern before their snapshot.
    pub records_indices: Vec<String>,
    /// Partitions that the backup of Zeebe must hold, if the topology reports them.
    pub partitions: Option<u32>,
    /// State by component.
    pub components: BTreeMap<Component, ComponentView>,
    /// State of the pause.
    pub pause: PauseView,
    /// Facts for the attestation.
    pub proof: BTreeMap<String, serde_json::Value>,
    /// Reason for ending the run early. Set when the decision is made, before the clean-up.
    pub aborting: Option<(FailureClass, String)>,
    /// Clean-up that did not finish, one sentence each.
    pub cleanup_unfinished: Vec<String>,
    /// Start of the run.
    pub started_at: Option<Instant>,
    /// End of the run.
    pub finished_at: Option<Instant>,
    /// Result of the run.
    pub outcome: Option<Outcome>,
}

/// Event that may not follow the current status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal refuses `{event}` while the run is {status}: {why}; this is a defect, please report it")]
pub struct IllegalEvent {
    /// Name of the event.
    pub event: String,
    /// Status before it.
    pub status: String,
    /// Violated rule.
    pub why: String,
}

impl RunView {
    /// Applies `entries` to an empty view.
    pub fn replay<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Result<Self, IllegalEvent> {
        let mut view = Self::default();
        for entry in entries {
            view.apply(entry)?;
        }
        Ok(view)
    }

    /// Whether a component accepted our request: a backup that it reports under our id is then ours.
    pub fn was_taken(&self, component: Component) -> bool {
        self.done.contains(&Step::Start(component)) && !self.without_response.contains(&component)
    }

    /// The part that the provider takes, completes and prunes as a whole, if the run has one.
    pub fn part_of_provider(&self) -> Option<&ComponentView> {
        let mut parts = self.components.iter();
        parts.find_map(|(component, part)| component.taken_by_provider().map(|_| part))
    }

    /// Applies one event; the only function that decides which event may follow which.
    pub fn apply(&mut self, entry: &Entry) -> Result<(), IllegalEvent> {
        let at = entry.at;
        match (&self.status, &entry.event) {
            (
                RunStatus::Claimed,
                Event::Started {
                    version,
                    family,
                    routes,
                    pause,
                    components,
                    steps,
                    records_indices,
                    partitions,
                    above,
                },
            ) => {
                self.pause.requested = *pause;
                self.routes = *routes;
                self.above = *above;
                self.partitions = *partitions;
                self.status = RunStatus::Running;
                self.version = Some(version.clone());
                self.family = Some(*family);
                self.steps.clone_from(steps);
                self.records_indices.clone_from(records_indices);
                self.components = components.iter().map(|c| (*c, ComponentView::default())).collect();
                self.started_at = Some(at);
            }
            (RunStatus::Running, Event::StepIntended { step }) => self.intend(*step, at)?,
            (RunStatus::Running, Event::StepDone { step, ms }) => {
                if !self.intended.contains(step) {
                    return self.illegal(&entry.event, "a step that was never intended cannot be done");
                }
                if *step == Step::Resume && (self.pause.resumed_at.is_none() || self.pause.abandoned) {
                    return self.illegal(&entry.event, "no resume was confirmed");
                }
                if *step == Step::CheckPause && self.pause.resume_intended_at.is_some() {
                    return self.illegal(
                        &entry.event,
                        "a resume was intended before the pause was seen to have held",
                    );
                }
                self.done.insert(*step);
                self.step_ms.insert(*step, *ms);
                if let Step::Wait(component) = step {
                    self.components.entry(*component).or_default().finished_at = Some(at);
                }
                self.leave(*step);
            }
            (RunStatus::Running, Event::StepFailed { step, reason }) => {
                if !self.intended.contains(step) {
                    return self.illegal(&entry.event, "a step that was never intended cannot fail");
                }
                if let Step::Start(component) | Step::Wait(component) = step {
                    self.components.entry(*component).or_default().reason = Some(reason.clone());
                }
                self.leave(*step);
            }
            (RunStatus::Running, Event::Identified { backup_id }) => {
                if self.above.is_none_or(|above| backup_id.get() <= above) {
                    return self
                        .illegal(&entry.event, "the cluster gives no ids, or this one was there before");
                }
                if self.identified.is_some_and(|known| known != *backup_id) {
                    return self.illegal(&entry.event, "the backup has another id already");
                }
                self.identified = Some(*backup_id);
            }
            (RunStatus::Running, Event::Announced { component, repository, names, indices }) => {
                if !indices.is_empty() {
                    self.records_indices.clone_from(indices);
                }
                let view = self.components.entry(*component).or_default();
                view.repository.clone_from(repository);
                view.names.clone_from(names);
                view.parts_total = view.parts_total.max(names.len() as u32);
            }
            (RunStatus::Running, Event::StartUncertain { component }) => {
                self.uncertain.insert(*component);
                self.without_response.insert(*component);
            }
            (RunStatus::Running, Event::Before { component, names }) => {
                self.before.insert(*component, names.clone());
                // The probe that reported them may have taken a while.
                self.components.entry(*component).or_default().requested_at = Some(entry.at);
            }
            (RunStatus::Running, Event::QuietRequested { until }) => {
                self.quiet_until = self.quiet_until.max(Some(*until));
            }
            (RunStatus::Running, Event::Progress { component, state, done, total }) => {
                self.uncertain.remove(component);
                let view = self.components.entry(*component).or_default();
                view.state.clone_from(state);
                view.parts_done = *done;
                view.parts_total = view.parts_total.max(*total);
            }
            (RunStatus::Running, Event::PauseConfirmed { mode, positions }) => {
                if self.pause.intended_at.is_none() {
                    return self.illegal(&entry.event, "the pause was never intended");
                }
                self.pause.confirmed_at = Some(at);
                self.pause.mode = Some(*mode);
                self.pause.positions.clone_from(positions);
            }
            (RunStatus::Running, Event::ResumeIntended { .. }) => {
                self.pause.resume_intended_at.get_or_insert(at);
                // The resume becomes the current step until it is confirmed, also if another step has not ended.
                self.intended.insert(Step::Resume);
                self.step = Some(Step::Resume);
                self.step_since = self.pause.resume_intended_at;
            }
            (RunStatus::Running, Event::Resumed { .. }) => self.end_pause(at),
            (RunStatus::Running, Event::ResumeAbandoned { .. }) => {
                self.pause.abandoned |= self.pause.resumed_at.is_none();
                self.end_pause(at);
            }
            (RunStatus::Running, Event::Aborting { class, reason }) => {
                self.aborting.get_or_insert((*class, reason.clone()));
            }
            (RunStatus::Running, Event::Recovered { .. }) => {}
            (RunStatus::Running, Event::Proved(facts)) => self.proof.extend(facts.clone()),
            (RunStatus::Running, Event::CleanupUnfinished { what }) => {
                self.cleanup_unfinished.push(what.clone());
            }
            (RunStatus::Claimed | RunStatus::Running, Event::Ended(outcome)) => self.end(outcome, at)?,
            _ => return self.illegal(&entry.event, "this event does not follow that status"),
        }
        Ok(())
    }

    fn intend(&mut self, step: Step, at: Instant) -> Result<(), IllegalEvent> {
        let event = Event::StepIntended { step };
        if self.intended.contains(&step) && !step.repeatable() {
            return self.illegal(&event, "an act that cannot be repeated was intended before");
        }
        if self.pause.resume_intended_at.is_some() && !matches!(step, Step::Resume) {
            return self.illegal(&event, "nothing but the resume follows an intended resume");
        }
        if step == Step::Pause {
            self.pause.intended_at = Some(at);
        }
        if let Step::Start(component) = step {
            let view = self.components.entry(component).or_default();
            view.requested_at = Some(at);
            view.state = "requested".into();
        }
        self.intended.insert(step);
        self.step = Some(step);
        self.step_since = Some(at);
        Ok(())
    }

    /// The first confirmed or abandoned resume ends the pause of the run.
    fn end_pause(&mut self, at: Instant) {
        self.pause.resume_intended_at.get_or_insert(at);
        self.pause.resumed_at.get_or_insert(at);
        self.leave(Step::Resume);
    }

    fn leave(&mut self, step: Step) {
        if self.step == Some(step) {
            self.step = None;
            self.step_since = None;
        }
    }

    fn end(&mut self, outcome: &Outcome, at: Instant) -> Result<(), IllegalEvent> {
        let event = Event::Ended(outcome.clone());
        if self.needs_resume() {
            return self
                .illegal(&event, "a resume is still pending, and a run does not end before it is confirmed");
        }
        self.status = match outcome {
            Outcome::Completed { .. } => {
                if let Some(missing) = self.steps.iter().find(|s| !self.done.contains(s)) {
                    return self.illegal(&event, &format!("step {missing} is not done"));
                }
                if self.aborting.is_some() {
                    return self.illegal(&event, "the run was being ended for a reason");
                }
                if self.status != RunStatus::Running {
                    return self.illegal(&event, "a run that never started cannot be complete");
                }
                RunStatus::Completed
            }
            Outcome::Failed { .. } => RunStatus::Failed,
        };
        self.outcome = Some(outcome.clone());
        self.finished_at = Some(at);
        self.step = None;
        self.step_since = None;
        Ok(())
    }

    /// Whether a pause was intended and no resume was confirmed since.
    pub fn needs_resume(&self) -> bool {
        self.pause.intended_at.is_some() && self.pause.resumed_at.is_none()
    }

    /// Whether the run has ended.
    pub fn ended(&self) -> bool {
        matches!(self.status, RunStatus::Completed | RunStatus::Failed)
    }

    /// Reason of a failed run, as a sentence for the operator.
    pub fn reason(&self) -> Option<&str> {
        match &self.outcome {
            Some(Outcome::Failed { reason, .. }) => Some(reason),
            _ => None,
        }
    }

    fn illegal<T>(&self, event: &Event, why: &str) -> Result<T, IllegalEvent> {
        let name = serde_json::to_value(event)
            .ok()
            .and_then(|v| v.as_object().and_then(|o| o.keys().next().cloned()))
            .unwrap_or_default();
        let status = match self.status {
            RunStatus::Claimed => "claimed",
            RunStatus::Running => "running",
            RunStatus::Completed => "completed",
            RunStatus::Failed => "failed",
        };
        Err(IllegalEvent { event: name, status: status.into(), why: why.into() })
    }
}

/// Fixed facts of a run and its derived view, as returned by the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Id of the run.
    pub run_id: crate::domain::RunId,
    /// Cluster name.
    pub cluster: String,
    /// Backup id, assigned in the transaction that created the run.
    pub backup_id: BackupId,
    /// Trigger of the run.
    pub trigger: crate::domain::Trigger,
    /// Occurrences served; empty for a manual run.
    pub occurrences: Vec<crate::domain::Occurrence>,
    /// Retention groups that count the run.
    pub retention_groups: Vec<crate::domain::RetentionGroup>,
    /// Note of the operator.
    pub note: Option<String>,
    /// Creation time.
    pub created_at: Instant,
    /// Input needed to continue after a restart, independent of the current config.
    pub spec: serde_json::Value,
    /// Derived from the journal.
    pub view: RunView,
}
