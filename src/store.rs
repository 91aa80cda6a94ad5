//! Durable state: the `Store` trait and its rows.
//!
//! Owns the trait. Must not depend on SQL (`store/sqlite`), read a clock (callers pass every instant) or
//! assume a single writing process. Each method is one transaction: `Ok` means durable, and an error means no
//! change, except `Unknown`.
//! `docs/state-file.md` describes the tables for operators. The conformance suite runs on every implementation.

mod clusters_to_resume;
pub mod memory;
mod resume_attempt;
pub(crate) mod rules;
pub mod sqlite;

pub use clusters_to_resume::{
    ClustersToResume, UnconfirmedResumes, is_same_cluster, retried_by_daemon, unconfirmed,
};
pub use resume_attempt::{ResumeAttempt, with_attempt};

use crate::domain::{
    Addresses, BackupId, BackupState, Instant, Occurrence, OwnershipProof, RetentionGroup, RunId, Trigger,
};
use crate::journal::{Entry, IllegalEvent, Run, RunView};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Error of a store method.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk, the file or the database rejected the operation.
    #[error(
        "the state file {path} cannot be written: {reason}; free space or fix permissions, nothing was lost"
    )]
    Unwritable {
        /// File.
        path: String,
        /// Error text of the system.
        reason: String,
    },
    /// The file cannot be opened or understood.
    #[error("the state file {path} cannot be used: {reason}")]
    Unusable {
        /// File.
        path: String,
        /// Cause and remedy, as a clause.
        reason: String,
    },
    /// The disk returned an error of its own.
    #[error(
        "the state file {path} cannot be used: its disk fails ({reason}): see the kernel log (`dmesg`) and repair the disk"
    )]
    DiskFails {
        /// File.
        path: String,
        /// Error text of the system.
        reason: String,
    },
    /// Illegal transition of a run.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// Another run of this cluster has not ended.
    #[error("cluster {cluster} is busy with run {run_id}: wait until it has ended")]
    Busy {
        /// Cluster.
        cluster: String,
        /// Run in progress.
        run_id: RunId,
    },
    /// The manual rate limit.
    #[error(
        "cluster {cluster} had a manual backup at {}. The next is allowed at {}; deleting a backup of it allows one at once",
        last.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    )]
    RateLimited {
        /// Cluster.
        cluster: String,
        /// Start of the newest manual run.
        last: Instant,
        /// Earliest time of the next manual run.
        until: Instant,
    },
    /// No response within the time limit. The only error after which the change may have happened: read
    /// before acting again.
    #[error(
        "the state file {path} did not respond in time: the request may still take effect; check the disk"
    )]
    Unknown {
        /// File.
        path: String,
    },
    /// Another process holds the lock of the state directory.
    #[error("the state directory {dir} is in use by {by}: stop it or set another [daemon] state_dir")]
    InUse {
        /// Directory.
        dir: String,
        /// `process PID`, or `another process` if the lock file has no pid.
        by: String,
    },
    /// No such row.
    #[error("the state has no {0}")]
    NotFound(String),
    /// The state of the row does not allow the change.
    #[error("{0}")]
    Refused(String),
    /// The daemon is stopping and the writer has gone.
    #[error("the store is closed: the daemon is stopping")]
    Closed,
}

/// Result of a store method.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Shared handle of a store.
pub type SharedStore = Arc<dyn Store>;

/// Stored state of one (schedule, cluster) pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimetableRow {
    /// Schedule name.
    pub schedule: String,
    /// Cluster name.
    pub cluster: String,
    /// Canonical text of times and zone; a change means that the times were edited.
    pub times_key: String,
    /// Time at which the pair appeared, was edited or was enabled again; earlier due times do not count as
    /// missed.
    pub since: Instant,
    /// Last due instant that was processed.
    pub last_due: Option<Instant>,
    /// Whether the pair is configured and enabled. Inactive rows stay, so that their retention groups can be
    /// shown as frozen.
    pub active: bool,
}

/// Outcome of an occurrence (rule I13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OccurrenceOutcome {
    /// Claimed; waits for its start time, its cluster or its preconditions.
    Waiting,
    /// Served by a run of its own.
    Started,
    /// Served by a run although it was missed.
    CaughtUp,
    /// Served by a run together with other occurrences.
    Coalesced,
    /// Not run, with a reason.
    Skipped,
}

/// One occurrence, or a range of missed ones, with its outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurrenceRow {
    /// Due instant; of a range, the first one.
    pub occurrence: Occurrence,
    /// Of a range, the last due instant.
    pub until: Option<Instant>,
    /// Number of occurrences in the range.
    pub count: u64,
    /// Earliest start: `due_at` plus spread.
    pub start_at: Instant,
    /// End of waiting.
    pub start_until: Instant,
    /// Whether the occurrence was missed while the daemon was down.
    pub missed: bool,
    /// Outcome.
    pub outcome: OccurrenceOutcome,
    /// Reason for skipping.
    pub reason: Option<String>,
    /// Run that served the occurrence.
    pub run_id: Option<RunId>,
}

/// Input for a new run.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Id of the run.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: String,
    /// Trigger of the run.
    pub trigger: Trigger,
    /// Waiting occurrences to serve, each with its outcome.
    pub occurrences: Vec<(Occurrence, OccurrenceOutcome)>,
    /// Retention groups that count the run.
    pub retention_groups: Vec<RetentionGroup>,
    /// Note of the operator.
    pub note: Option<String>,
    /// Input needed to continue after a restart.
    pub spec: serde_json::Value,
    /// Scope of the high-water mark: clusters with the same search engine and repository share ids.
    pub id_scope: String,
    /// Largest id found in any component, snapshot name or earlier run; `0` if none.
    pub largest_seen: i64,
    /// Wall-clock time.
    pub now: Instant,
    /// For manual runs: shortest interval between two starts.
    pub min_interval: Option<Duration>,
}

/// Pending resume of an exporting pause; complete enough to be sent without config and daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingResume {
    /// Run that requested the pause.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: String,
    /// Addresses for the resume.
    pub addresses: Addresses,
    /// Time before the pause was requested.
    pub intended_at: Instant,
    /// Machine uptime at that moment, in milliseconds, if readable.
    pub intended_since_boot_ms: Option<u64>,
    /// Time before the first resume was sent.
    pub resume_intended_at: Option<Instant>,
    /// Number of resume attempts.
    pub attempts: u32,
    /// Error of the last attempt.
    pub last_error: Option<String>,
    /// Time of a confirmed resume. While the resume is pending, this time is known only in memory.
    pub confirmed_at: Option<Instant>,
    /// Reason of the operator who abandoned the resume.
    pub abandoned: Option<String>,
}

/// Progress of a pending resume, as its row records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumeProgress {
    /// The intent to resume, also recorded in the journal of an unfinished run. The journal gets one entry for
    /// each `by`, so that endless retries do not fill the disk.
    Intended {
        /// Sender of the resume: `run`, `sweeper` or `command`.
        by: String,
        /// Time before the resume is sent.
        at: Instant,
    },
    /// A failed resume attempt.
    Failed {
        /// Error of the attempt, or the reason to send the resume again.
        error: String,
    },
    /// A confirmed resume, also recorded in the journal of an unfinished run.
    Confirmed {
        /// Sender of the resume.
        by: String,
        /// Time of the confirmation.
        at: Instant,
    },
}

/// Deletion request and its progress.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// Time of the request.
    pub requested_at: Instant,
    /// `retention` or `command`.
    pub by: String,
    /// Reason given by retention or the operator.
    pub reason: String,
    /// Number of deletion passes.
    pub attempts: u32,
    /// Result of the last pass.
    pub last_error: Option<String>,
    /// Stored before the first DELETE; `None` while nothing was deleted.
    pub ownership_proof: Option<OwnershipProof>,
    /// Time at which every location reported the backup as gone.
    pub done_at: Option<Instant>,
}

/// Progress of a requested deletion, as its row records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletionProgress {
    /// The proof of ownership. Deletion starts only after it is recorded.
    OwnershipProven(OwnershipProof),
    /// An incomplete deletion pass.
    Attempted {
        /// Reason that the pass is incomplete.
        error: Option<String>,
    },
    /// Every location reported the backup as gone.
    Done {
        /// Time of the last report.
        at: Instant,
    },
}

/// Backup: a run with its later state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// Run that created the backup.
    pub run: Run,
    /// State, as all interfaces show it.
    pub state: BackupState,
    /// Pinned by an operator.
    pub held: bool,
    /// Deletion request, if any.
    pub deletion: Option<Deletion>,
}

/// Stored state of a cluster, configured or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// Name.
    pub name: String,
    /// Stable UUID for the SaaS-shaped routes: v5 of instance and name.
    pub uuid: uuid::Uuid,
    /// Last known addresses.
    pub addresses: Addresses,
    /// Whether the cluster is in the current config.
    pub configured: bool,
    /// Reason for stopping retention of this cluster until `adopt`.
    pub state_behind: Option<String>,
}

/// Backup found in a cluster, for `adopt`.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Run id from the metadata of the snapshot, so that repeated adoption changes nothing.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: String,
    /// Backup id.
    pub backup_id: BackupId,
    /// Creation time.
    pub created_at: Instant,
    /// Input that a run would have needed.
    pub spec: serde_json::Value,
    /// Names, states and outcome reported by the components.
    pub view: RunView,
}

/// Filter for lists of backups.
#[derive(Clone, Debug, Default)]
pub struct BackupFilter {
    /// Only this cluster.
    pub cluster: Option<String>,
    /// Omit backups verified as gone.
    pub existing: bool,
    /// Limit, newest first; `0` means all.
    pub limit: u32,
}

/// Durable state. Lists are in time order, oldest first, unless noted otherwise.
pub trait Store: Send + Sync + 'static {
    /// All pairs, active or not.
    fn timetable(&self) -> StoreFuture<'_, Vec<TimetableRow>>;
    /// Replaces the rows of these pairs and marks every other pair inactive. Where `times_key` and `since` stay the same,
    /// `last_due` does not move back: a claim may have come between reading the rows and writing them.
    fn set_timetable(&self, rows: Vec<TimetableRow>) -> StoreFuture<'_, ()>;
    /// Writes occurrences (outcome `Waiting`, or `Skipped` ranges) and moves `last_due` of each pair of schedule and
    /// cluster forward, in one transaction. Returns the new ones: claiming twice after a crash cannot start a run twice
    /// (rule I5). Known occurrences, alone or inside a range, stay unchanged, with one exception: an occurrence that was
    /// skipped as missed while the clock was ahead, and is due now, becomes new.
    fn claim(&self, rows: Vec<OccurrenceRow>) -> StoreFuture<'_, Vec<OccurrenceRow>>;
    /// Waiting occurrences.
    fn waiting(&self) -> StoreFuture<'_, Vec<OccurrenceRow>>;
    /// Ends the waiting of occurrences that no run will serve. Those that no longer wait stay as they are.
    fn skip(&self, occurrences: Vec<Occurrence>, reason: String) -> StoreFuture<'_, ()>;
    /// Newest first, of one schedule and cluster or of all, at most `limit`; `0` means all.
    fn occurrences(
        &self,
        schedule: Option<String>,
        cluster: Option<String>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<OccurrenceRow>>;

    /// Gives the run its backup id (`max(now in s, largest + 1)` over mark, `largest_seen` and all rows of the
    /// scope), writes it and settles its occurrences. `Busy` while another run of the cluster has not ended;
    /// `RateLimited` by the start of the newest manual run, failed ones included, unless a deletion of any backup of the
    /// cluster was accepted since; a start in the future counts as now, from the first time that is noticed. `Refused`
    /// when one of its occurrences no longer waits.
    fn begin_run(&self, new: NewRun) -> StoreFuture<'_, Run>;
    /// Raises the high-water mark of a scope, e.g. after a 409 that names a higher id. Never lowers it.
    fn raise_highest_id(&self, id_scope: String, largest: i64) -> StoreFuture<'_, ()>;
    /// The high-water mark of a scope: the largest id that was given in it or raised to; `0` if none.
    fn highest_id(&self, id_scope: String) -> StoreFuture<'_, i64>;
    /// Appends to a run's journal and returns the view after it. `Illegal` writes nothing.
    fn append(&self, run_id: RunId, entries: Vec<Entry>) -> StoreFuture<'_, RunView>;
    /// One run.
    fn run(&self, run_id: RunId) -> StoreFuture<'_, Option<Run>>;
    /// A run's journal; empty for a run that is not known or was adopted.
    fn journal(&self, run_id: RunId) -> StoreFuture<'_, Vec<Entry>>;
    /// Runs that have not ended.
    fn unfinished(&self) -> StoreFuture<'_, Vec<Run>>;

    /// Writes a pending resume before the pause is requested (rule I1), with the journal entry of the intent.
    fn record_pending_resume(&self, pending_resume: PendingResume, entry: Entry) -> StoreFuture<'_, ()>;
    /// Records the progress of a pending resume.
    fn record_resume_progress(&self, run_id: RunId, progress: ResumeProgress) -> StoreFuture<'_, ()>;
    /// Records the new addresses of a pending resume whose cluster has moved; other rows keep theirs.
    fn relocate_pending_resume(&self, run_id: RunId, addresses: Addresses) -> StoreFuture<'_, ()>;
    /// Resumes that are neither confirmed nor abandoned.
    fn pending_resumes(&self) -> StoreFuture<'_, Vec<PendingResume>>;
    /// Abandons the pending resumes of a removed cluster; the journals of its runs count them as resumed.
    fn abandon_resumes(&self, cluster: String, why: String, at: Instant) -> StoreFuture<'_, u32>;

    /// Backups, oldest first.
    fn backups(&self, filter: BackupFilter) -> StoreFuture<'_, Vec<Backup>>;
    /// Number of failed runs since the last success, by cluster; clusters without any are omitted. Failed
    /// runs still count after retention has deleted them.
    fn failures_in_a_row(&self) -> StoreFuture<'_, BTreeMap<String, u32>>;
    /// One backup by cluster and id.
    fn backup(&self, cluster: String, backup_id: BackupId) -> StoreFuture<'_, Option<Backup>>;
    /// Marks a backup `deleting`. `Refused` for a held, running or deleted one, each with its own reason.
    /// Idempotent.
    fn request_deletion(&self, run_id: RunId, by: String, reason: String, at: Instant)
    -> StoreFuture<'_, ()>;
    /// Records the progress of a requested deletion.
    fn record_deletion_progress(&self, run_id: RunId, progress: DeletionProgress) -> StoreFuture<'_, ()>;
    /// A completed or failed backup was found gone. `Refused` for others.
    fn set_missing(&self, run_id: RunId) -> StoreFuture<'_, ()>;
    /// Pins or releases a backup. Pinning is `Refused` once it is missing, being deleted or deleted.
    fn hold(&self, run_id: RunId, held: bool) -> StoreFuture<'_, ()>;
    /// Adopts a backup found in a cluster into the retention group `adopted`. Idempotent. `Refused` while the
    /// backup is running, or if its id belongs to another run.
    fn adopt(&self, adopted: Adopted) -> StoreFuture<'_, ()>;

    /// All clusters ever configured.
    fn clusters(&self) -> StoreFuture<'_, Vec<ClusterRow>>;
    /// Replaces addresses of these clusters and marks all others as not configured; `state_behind` stays.
    /// Foreign pauses of the other clusters, and of changed addresses, are removed.
    fn set_clusters(&self, rows: Vec<ClusterRow>) -> StoreFuture<'_, ()>;
    /// Stops or restarts retention of a cluster.
    fn set_state_behind(&self, cluster: String, reason: Option<String>) -> StoreFuture<'_, ()>;

    /// Records a probe that found exporting `paused_by_other` or `mixed`. Keeps the time of the first such
    /// probe since exporting last ran, across restarts.
    fn foreign_pause(&self, cluster: String, at: Instant) -> StoreFuture<'_, Instant>;
    /// Records a probe that found exporting running. Idempotent.
    fn foreign_pause_over(&self, cluster: String) -> StoreFuture<'_, ()>;

    /// Commits a small row: proves that the state can be written.
    fn probe(&self, at: Instant) -> StoreFuture<'_, ()>;
    /// Finishes earlier requests; later ones return `Closed`.
    fn close(&self) -> StoreFuture<'_, ()>;
}
