//! Records of a journal: events, their outcomes, and the failure classes of a run.
//!
//! Owns the spelling of events in the state file. `journal` owns the legal order of events.

use super::Step;
use crate::domain::{BackupId, Component, Family, Instant, PauseMode, Routes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Class of a failure, used as a label in metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// A component or the search engine rejected a request, or reported that its part failed.
    Component,
    /// Backup id already used.
    Conflict,
    /// No progress for `stall_after`.
    Stalled,
    /// `run_deadline` passed.
    Deadline,
    /// `pause_budget` passed.
    PauseBudget,
    /// Free space of a broker's disk was below `min_free_disk`.
    Disk,
    /// Exporting did not stay paused.
    PauseBroken,
    /// The records snapshot is partial, empty or lacks indices.
    Records,
    /// The daemon stopped or crashed, and the run could not legally continue.
    Interrupted,
    /// An operator cancelled it.
    Cancelled,
    /// The cluster left the configuration.
    Removed,
    /// The state file could not be written.
    Store,
    /// A component was unreachable or returned no usable response.
    Unreachable,
    /// A component or its proxy rejected our credentials, permissions or TLS certificates.
    Access,
}

/// Result of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The backup is whole (rule I6). The attestation lists the evidence.
    Completed {
        /// Evidence by component, pause times and indices.
        attestation: serde_json::Value,
    },
    /// Any other end.
    Failed {
        /// Countable class.
        class: FailureClass,
        /// One sentence for the operator.
        reason: String,
        /// Evidence: the responses that led to the failure.
        failure_report: serde_json::Value,
    },
}

/// Content of an entry. Serialised into the state file: fields may be added with defaults, none renamed.
/// Externally tagged: other representations cannot deserialise maps with numeric keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The plan is fixed and the backup id is assigned.
    Started {
        /// Camunda version found.
        version: String,
        /// Procedure chosen.
        family: Family,
        /// APIs used.
        #[serde(default)]
        routes: Routes,
        /// Requested pause mode; `None` if the procedure does not pause.
        pause: Option<PauseMode>,
        /// Components of the backup.
        components: Vec<Component>,
        /// Steps of a completed run, in order.
        steps: Vec<Step>,
        /// Indices that matched the records pattern before the snapshot.
        records_indices: Vec<String>,
        /// Partitions that the backup of Zeebe must hold, if the topology reports them.
        partitions: Option<u32>,
        /// Largest earlier backup id, if the cluster assigns the ids: the new id will be greater.
        #[serde(default)]
        above: Option<i64>,
    },
    /// The cluster assigned the backup id.
    Identified {
        /// Assigned id, which replaces the earlier one.
        backup_id: BackupId,
    },
    /// A step is about to start.
    StepIntended {
        /// Intended step.
        step: Step,
    },
    /// A step succeeded.
    StepDone {
        /// Completed step.
        step: Step,
        /// Duration in milliseconds.
        ms: u64,
    },
    /// A step failed.
    StepFailed {
        /// Failed step.
        step: Step,
        /// Reason, as a sentence.
        reason: String,
    },
    /// A start is uncertain: its response was lost, or the daemon crashed before the response. The wait step
    /// that follows probes the component, with a shorter time limit (rule I9).
    StartUncertain {
        /// Component.
        component: Component,
    },
    /// A component reported the names it will write; deletion later uses these names.
    Announced {
        /// Component.
        component: Component,
        /// Snapshot repository, if it writes snapshots.
        repository: Option<String>,
        /// Snapshot names.
        names: Vec<String>,
        /// For the records: indices that matched right before the snapshot request.
        #[serde(default)]
        indices: Vec<String>,
    },
    /// Backups that existed in a component right before the start request. A component that assigns names itself then
    /// has our backup under a new name.
    Before {
        /// Component.
        component: Component,
        /// Names of these backups.
        names: Vec<String>,
    },
    /// A component rejected a request and sent `Retry-After`.
    QuietRequested {
        /// Earliest time of the next request.
        until: Instant,
    },
    /// The part of a component progressed.
    Progress {
        /// Component.
        component: Component,
        /// Last reported state.
        state: String,
        /// Parts done.
        done: u32,
        /// Parts expected or found.
        total: u32,
    },
    /// Facts for the attestation, by name, for a later process.
    Proved(BTreeMap<String, serde_json::Value>),
    /// Every readable partition reads paused.
    PauseConfirmed {
        /// Mode read from the partitions; may differ from the requested mode.
        mode: PauseMode,
        /// Exported position by partition at that moment, if readable.
        positions: BTreeMap<u32, i64>,
    },
    /// This program is about to send a resume.
    ResumeIntended {
        /// `run`, `sweeper` or `command`.
        by: String,
    },
    /// The server confirmed a resume.
    Resumed {
        /// `run`, `sweeper` or `command`.
        by: String,
    },
    /// An operator abandoned the resume: no response confirmed that exporting runs again.
    ResumeAbandoned {
        /// Reason given by the operator.
        reason: String,
    },
    /// The run is ending: only resume and clean-up follow, also in a later process.
    Aborting {
        /// Countable class.
        class: FailureClass,
        /// Reason, as a sentence.
        reason: String,
    },
    /// The daemon restarted and continues the run.
    Recovered {
        /// Chosen recovery.
        how: String,
    },
    /// Clean-up that exceeded its deadline.
    CleanupUnfinished {
        /// Remaining clean-up, as a sentence.
        what: String,
    },
    /// The run ended.
    Ended(Outcome),
}

/// Event with the time of its entry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Wall-clock time of the entry.
    pub at: Instant,
    /// Recorded event.
    pub event: Event,
}
