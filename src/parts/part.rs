//! The interface of one kind of part: the requests that guard, start, probe, verify and delete it.
//!
//! Owns the types that a part returns: events for the journal, facts for the attestation, states and sentences. A part
//! must not write to the journal, wait, retry or know the order of steps: `backup` does all of that.

use crate::camunda::{ClientError, PartState, Progress};
use crate::clock::Clock;
use crate::context::error::StepError;
use crate::context::evidence::Evidence;
use crate::domain::{BackupId, Component, Instant, OwnershipTag};
use crate::journal::{Event, FailureClass, Run, RunView};
use futures::future::{BoxFuture, FutureExt as _, ready};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Time limit of the retries of a probe before the start.
const GUARD_LIMIT: Duration = Duration::from_secs(20);
/// A start without a response shows its effect within this time, or never.
const LOST_START: Duration = Duration::from_secs(10);

/// Facts about the run whose part is requested.
pub(crate) struct PartRun<'a> {
    pub run: &'a Run,
    /// Journal view as of the last successful write.
    pub view: Arc<RunView>,
    /// Id of the backup: ours, or the one assigned by the cluster.
    pub id: BackupId,
    /// Instance name for the ownership tag.
    pub instance: &'a str,
    /// Whether the config states a version. That version may differ from the version that the brokers report.
    pub version_in_config: bool,
    pub evidence: &'a Evidence,
    pub clock: &'a dyn Clock,
}

impl PartRun<'_> {
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Keeps a response for the failure report.
    pub(crate) fn remember(&self, error: &ClientError) {
        self.evidence.remember(error, self.now());
    }

    /// Ownership tag of this run's snapshots.
    pub(crate) fn tag(&self) -> OwnershipTag {
        OwnershipTag {
            instance: self.instance.to_owned(),
            cluster: self.run.cluster.clone(),
            run_id: self.run.run_id,
        }
    }
}

/// Result of the guard: whether a backup with this id can start.
pub(crate) enum Guard {
    /// The id is unused. The events are written before the start request.
    Free(Vec<Event>),
    /// The response does not show whether the id is used. The guard is retried.
    Unclear(String),
    /// The backup must not start.
    Refused(StepError),
}

impl Guard {
    /// A component that already has a backup with the id would report that older backup as ours.
    pub(crate) fn of_state(component: Component, id: BackupId, state: PartState) -> Self {
        match state {
            PartState::Absent => Self::Free(vec![]),
            PartState::Unclear { reason } => Self::Unclear(reason),
            other => Self::Refused(StepError::new(
                FailureClass::Conflict,
                format!(
                    "{component} already has a backup with id {id} ({}). The next run uses a higher id",
                    other.describe()
                ),
            )),
        }
    }
}

/// Data to write before the start request, or after its response.
#[derive(Default)]
pub(crate) struct Notes {
    pub events: Vec<Event>,
    /// Facts for the attestation, by name.
    pub facts: Vec<(&'static str, Value)>,
}

impl Notes {
    pub(crate) fn event(event: Event) -> Self {
        Self { events: vec![event], facts: vec![] }
    }
}

/// Reason why a start request did not succeed.
pub(crate) enum StartError {
    /// The request failed; the kind of the error decides whether the backup may have started (rule I9). The events are
    /// written first.
    Request(ClientError, Vec<Event>),
    /// The part did not start for certain.
    Certain(StepError),
}

impl From<ClientError> for StartError {
    fn from(error: ClientError) -> Self {
        Self::Request(error, vec![])
    }
}

/// Result of one probe.
pub(crate) struct Seen {
    pub state: PartState,
    /// Journal event with the id that this probe found. A failed write is ignored, because the next probe finds the
    /// id again.
    pub found: Option<Event>,
}

impl From<PartState> for Seen {
    fn from(state: PartState) -> Self {
        Self { state, found: None }
    }
}

/// Result of the verification of a part that is reported as completed.
pub(crate) enum Verdict {
    Verified(Notes),
    Rejected(StepError),
}

impl Verdict {
    /// Rejects a part that is reported as COMPLETED but lacks something that the run requires.
    pub(crate) fn doubt(component: Component, why: &str) -> Self {
        Self::Rejected(StepError::new(
            FailureClass::Component,
            format!("{component} reports COMPLETED, but {why}"),
        ))
    }
}

/// Backups that may be ours: they appeared after a start request whose response, with the assigned id, was lost.
pub(crate) struct Unidentified {
    /// Largest id of these backups. Ids of later runs must be higher.
    pub largest: i64,
    /// One sentence for the operator.
    pub sentence: String,
}

/// The part of a finished run in the backup list of its component.
pub(crate) trait ListedPart: Send + Sync {
    /// Reads the state of the part.
    fn see(&self, id: BackupId) -> BoxFuture<'_, Result<PartState, ClientError>>;

    /// Requests its deletion, which may take effect later, or not at all.
    fn delete(&self, id: BackupId) -> BoxFuture<'_, Result<(), ClientError>>;
}

/// One kind of part of a backup.
pub(crate) trait Part: Send + Sync {
    /// Component that takes the part.
    fn component(&self) -> Component;

    /// Reads whether a backup can start under the id.
    fn guard<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Guard, ClientError>>;

    /// Reads the facts that are written to the journal before the start request.
    fn announce<'a>(&'a self, _run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Notes, StepError>> {
        ready(Ok(Notes::default())).boxed()
    }

    /// Requests the backup, once.
    fn start<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Notes, StartError>>;

    /// Reads the state of this run's backup, once.
    fn probe<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Seen, ClientError>>;

    /// Progress from another source, for a component that reports none for a long time.
    fn second_probe<'a>(&'a self, _run: &'a PartRun<'_>) -> BoxFuture<'a, Option<Progress>> {
        ready(None).boxed()
    }

    /// Verifies a part that the component reports as completed: all of it is present, and it is of this run.
    fn verify<'a>(
        &'a self,
        run: &'a PartRun<'_>,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Verdict, ClientError>>;

    /// Requests deletion of this run's backup, to end it while it is in progress.
    fn delete<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<(), ClientError>>;

    /// The part of a finished run in the component's own list. `Ok(None)` if the list does not identify it; `Err` if the part
    /// is of another cluster than the addresses now.
    fn listed(&self, _run: &Run) -> Result<Option<Box<dyn ListedPart>>, String> {
        Ok(None)
    }

    /// Searches for backups that may be ours after a start without a response, if the component assigns ids itself.
    fn unidentified<'a>(&'a self, _run: &'a PartRun<'_>) -> BoxFuture<'a, Option<Unidentified>> {
        ready(None).boxed()
    }

    /// Whether a backup may exist whose start got no response and whose identity is unknown.
    fn has_lost_start(&self, _view: &RunView) -> bool {
        false
    }

    /// Class of a failure of this part.
    fn failure_class(&self) -> FailureClass {
        FailureClass::Component
    }

    /// Time limit of the guard's retries.
    fn guard_limit(&self) -> Duration {
        GUARD_LIMIT
    }

    /// A start without a response shows its effect within this time, or never.
    fn lost_start_limit(&self) -> Duration {
        LOST_START
    }

    /// Shortest and longest poll interval; `None` for a component whose response times decide.
    fn poll_intervals(&self) -> Option<(Duration, Duration)> {
        None
    }

    /// Whether a completed backup may be absent from the component's list for a while.
    fn list_may_lag(&self) -> bool {
        false
    }

    /// Whether the start request may have been sent, once the start step has begun.
    fn may_have_been_sent(&self, _view: &RunView) -> bool {
        true
    }
}
