//! What can stand in a journal: events, their outcomes, and why a run failed.
//!
//! Owns the words; which of them may follow which is the journal's.

use super::Step;
use crate::domain::{BackupId, Component, Family, Instant, PauseMode, Routes};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Why a run failed, in a word that can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// A component or the search engine said no, or said that its part failed.
    Component,
    /// The id was already known somewhere.
    Conflict,
    /// No progress for `stall_after`.
    Stalled,
    /// `run_deadline` passed.
    Deadline,
    /// `pause_budget` passed.
    PauseBudget,
    /// A broker's disk had less room than `min_free_disk`.
    Disk,
    /// Exporting did not stay paused.
    PauseBroken,
    /// The records snapshot is partial, empty or lacks indices.
    Records,
    /// The daemon was stopped or died, and the run could not lawfully go on.
    Interrupted,
    /// An operator cancelled it.
    Cancelled,
    /// The cluster left the configuration.
    Removed,
    /// The state file could not be written.
    Store,
    /// A component could not be reached or gave no usable answer.
    Unreachable,
    /// A component, or what guards it, refused whoever we say we are: credentials, permissions, certificates.
    Access,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Rule I6 holds; the certificate says by what evidence.
    Completed {
        /// Evidence: per component what was seen, pause times, indices.
        attestation: serde_json::Value,
    },
    /// Anything else.
    Failed {
        /// Countable reason.
        class: FailureClass,
        /// One sentence for the operator.
        reason: String,
        /// Evidence: the answers that led to it.
        failure_report: serde_json::Value,
    },
}

/// What is written. Serialised into the state file: fields may be added with defaults, none renamed.
/// Externally tagged, because the other forms cannot read maps with numeric keys back.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The plan is fixed and the id is ours.
    Started {
        /// Camunda version found.
        version: String,
        /// Procedure chosen.
        family: Family,
        /// By which APIs.
        #[serde(default)]
        routes: Routes,
        /// Pause asked for; none where the procedure has none.
        pause: Option<PauseMode>,
        /// Everything this backup consists of.
        components: Vec<Component>,
        /// Steps that a completed run has done, in order.
        steps: Vec<Step>,
        /// Indices that matched the records pattern before.
        records_indices: Vec<String>,
        /// Partitions that Zeebe's part must hold, where the topology tells.
        partitions: Option<u32>,
        /// The largest id that was there before, where the cluster gives the ids itself: ours will be above.
        #[serde(default)]
        above: Option<i64>,
    },
    /// The cluster gave the backup its id.
    Identified {
        /// The id, which is the backup's from now on.
        backup_id: BackupId,
    },
    /// About to act.
    StepIntended {
        /// Which.
        step: Step,
    },
    /// Acted, and it went well.
    StepDone {
        /// Which.
        step: Step,
        /// How long it took, in milliseconds.
        ms: u64,
    },
    /// Acted or tried to, and it went wrong.
    StepFailed {
        /// Which.
        step: Step,
        /// One sentence.
        reason: String,
    },
    /// Whether a component has begun is not known: the answer was lost, or the daemon died before it came. The wait
    /// that follows looks, and gives it less time to show (rule I9).
    StartUncertain {
        /// Whose.
        component: Component,
    },
    /// A component said what it will write; deletion later goes by these names.
    Announced {
        /// Whose.
        component: Component,
        /// Snapshot repository, if it writes snapshots.
        repository: Option<String>,
        /// Snapshot names.
        names: Vec<String>,
        /// Of the records: the indices that matched when their snapshot was about to be asked for.
        #[serde(default)]
        indices: Vec<String>,
    },
    /// What a component held right before it was asked, where it names its backups itself: what is new later is ours.
    Before {
        /// Whose.
        component: Component,
        /// Its names of them.
        names: Vec<String>,
    },
    /// A component refused and said how long it wants to be left alone.
    QuietRequested {
        /// No sooner is it asked again.
        until: Instant,
    },
    /// A component's part moved.
    Progress {
        /// Whose.
        component: Component,
        /// What it last said.
        state: String,
        /// Parts done.
        done: u32,
        /// Parts known or announced.
        total: u32,
    },
    /// Facts for the certificate, by name: a later process has not seen them.
    Proved(BTreeMap<String, serde_json::Value>),
    /// Every readable partition reads paused.
    PauseConfirmed {
        /// As read, which may differ from what was asked.
        mode: PauseMode,
        /// Exported position per partition at that moment, where it can be read.
        positions: BTreeMap<u32, i64>,
    },
    /// Somebody of ours is about to send a resume.
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
    /// The run is being ended: only resume and clean-up follow, also in the next process.
    Aborting {
        /// Countable reason.
        class: FailureClass,
        /// One sentence.
        reason: String,
    },
    /// The daemon came back and goes on with the run.
    Recovered {
        /// What is done with it.
        how: String,
    },
    /// Clean-up that could not be done within its deadline.
    CleanupUnfinished {
        /// One sentence.
        what: String,
    },
    /// The end.
    Ended(Outcome),
}

/// An event and when it was written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Wall-clock time of writing.
    pub at: Instant,
    /// What happened.
    pub event: Event,
}
