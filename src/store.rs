//! Durable state: the few questions the program asks of it.
//!
//! Owns the `Store` trait and its rows. Must not know SQL (that is `store/sqlite`), read a clock (every instant
//! is passed in) or assume that one process writes. Each method is one transaction: when it returns `Ok`, what it
//! did is on disk; when it returns an error, nothing of it happened, except `Unknown`, which says so.
//! `docs/state-file.md` describes the tables for operators. The conformance suite runs on every implementation.

pub mod memory;
mod pending_resumes;
mod resume_attempt;
pub mod rules;
pub mod sqlite;

pub use pending_resumes::{
    ClustersToResume, UnconfirmedResumes, is_same_cluster, retried_by_daemon, unconfirmed,
};
pub use resume_attempt::{Tried, with_attempt};

use crate::domain::{
    Addresses, BackupId, BackupState, Instant, Occurrence, OwnershipProof, RetentionGroup, RunId, Trigger,
};
use crate::journal::{Entry, IllegalEvent, Run, RunView};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Why the store did not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The disk, the file or the database says no.
    #[error(
        "the state file {path} cannot be written: {reason}; free space or mend permissions, nothing was lost"
    )]
    Unwritable {
        /// File.
        path: String,
        /// The system's word.
        reason: String,
    },
    /// The file cannot be opened or understood.
    #[error("the state file {path} cannot be used: {reason}")]
    Unusable {
        /// File.
        path: String,
        /// One clause, with the remedy.
        reason: String,
    },
    /// The disk gives an error of its own.
    #[error(
        "the state file {path} cannot be used: its disk fails ({reason}): look into the kernel's log (`dmesg`) and mend the disk"
    )]
    DiskFails {
        /// File.
        path: String,
        /// The system's word.
        reason: String,
    },
    /// An event that may not follow.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// Another run of this cluster has not ended.
    #[error("cluster {cluster} is busy with run {run_id}: wait until it has ended")]
    Busy {
        /// Cluster.
        cluster: String,
        /// The run that is under way.
        run_id: RunId,
    },
    /// The manual rate limit.
    #[error(
        "cluster {cluster} had a manual backup at {}: the next is allowed at {}, or delete a backup of it",
        last.to_rfc3339_opts(chrono::SecondsFormat::Secs, true),
        until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    )]
    RateLimited {
        /// Cluster.
        cluster: String,
        /// Start of the newest manual run.
        last: Instant,
        /// When the next is allowed.
        until: Instant,
    },
    /// The answer did not come in time. The only error after which it may have happened: look before acting again.
    #[error(
        "the state file {path} did not answer in time: what was asked may still happen; look at the disk"
    )]
    Unknown {
        /// File.
        path: String,
    },
    /// A second daemon.
    #[error("the state directory {dir} is in use by {by}: stop it or set another [daemon] state_dir")]
    InUse {
        /// Directory.
        dir: String,
        /// `process PID`, or `another process` where it left no pid.
        by: String,
    },
    /// No such row.
    #[error("the state knows no {0}")]
    NotFound(String),
    /// The row's state does not allow it.
    #[error("{0}")]
    Refused(String),
    /// The daemon is stopping and the writer has gone.
    #[error("the store is closed: the daemon is stopping")]
    Closed,
}

/// An answer of the store.
pub type StoreFuture<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A store to pass around.
pub type SharedStore = Arc<dyn Store>;

/// What is known about one (schedule, cluster) pair between restarts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimetableRow {
    /// Schedule name.
    pub schedule: String,
    /// Cluster name.
    pub cluster: String,
    /// Canonical text of times and zone; another text means the times were edited.
    pub times_key: String,
    /// When the pair appeared, its times were edited, or it was enabled again: nothing before it is missed.
    pub since: Instant,
    /// The last due instant that has been accounted for.
    pub last_due: Option<Instant>,
    /// The pair is in the config and enabled; rows that are not stay, so that pools can be shown as frozen.
    pub active: bool,
}

/// What became of an occurrence (rule I13).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OccurrenceOutcome {
    /// Claimed, waiting for its instant, its cluster or calm.
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

/// One occurrence, or a range of missed ones, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OccurrenceRow {
    /// Which; of a range, the first.
    pub occurrence: Occurrence,
    /// Of a range, the last due instant.
    pub until: Option<Instant>,
    /// How many it stands for.
    pub count: u64,
    /// When it may start: `due_at` plus spread.
    pub start_at: Instant,
    /// When waiting ends.
    pub start_until: Instant,
    /// It was missed while the daemon was down.
    pub missed: bool,
    /// What became of it.
    pub outcome: OccurrenceOutcome,
    /// Why it was skipped.
    pub reason: Option<String>,
    /// The run that served it.
    pub run_id: Option<RunId>,
}

/// What a new run needs.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Identity.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: String,
    /// Why.
    pub trigger: Trigger,
    /// Waiting occurrences it serves, each with what they become.
    pub occurrences: Vec<(Occurrence, OccurrenceOutcome)>,
    /// Pools it counts in.
    pub retention_groups: Vec<RetentionGroup>,
    /// An operator's note.
    pub note: Option<String>,
    /// What the run needs after a restart.
    pub spec: serde_json::Value,
    /// Clusters that share a search engine and repository share ids: the scope of the high-water mark.
    pub id_scope: String,
    /// The largest id any component, snapshot name or earlier run showed; `0` if none.
    pub largest_seen: i64,
    /// Wall-clock time.
    pub now: Instant,
    /// For manual runs: the shortest interval between their starts.
    pub min_interval: Option<Duration>,
}

/// An exporting pause that we owe a resume; complete enough to be paid without config and without the daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingResume {
    /// The run that paused.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: String,
    /// Where to send the resume.
    pub addresses: Addresses,
    /// Before the pause was asked for.
    pub intended_at: Instant,
    /// Machine uptime at that moment, in milliseconds, where it can be read.
    pub intended_since_boot_ms: Option<u64>,
    /// First resume that was about to be sent.
    pub resume_intended_at: Option<Instant>,
    /// Resumes tried.
    pub attempts: u32,
    /// What the last one met.
    pub last_error: Option<String>,
    /// When a server confirmed a resume; of an open debt, where only memory knows.
    pub confirmed_at: Option<Instant>,
    /// Given up by an operator, with the reason.
    pub abandoned: Option<String>,
}

/// A request to delete and how far it got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deletion {
    /// When it was asked for.
    pub requested_at: Instant,
    /// `retention` or `command`.
    pub by: String,
    /// Retention's or the operator's reason.
    pub reason: String,
    /// Passes tried.
    pub attempts: u32,
    /// Result of the last pass.
    pub last_error: Option<String>,
    /// Stored before the first DELETE; `None` while nothing was deleted.
    pub ownership_proof: Option<OwnershipProof>,
    /// When every place answered that it is gone.
    pub done_at: Option<Instant>,
}

/// A backup: its run and what has become of it since.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// The run that made it.
    pub run: Run,
    /// As every surface shows it.
    pub state: BackupState,
    /// Pinned by an operator.
    pub held: bool,
    /// If deletion was asked for.
    pub deletion: Option<Deletion>,
}

/// What the store remembers of a cluster, in the config or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// Name.
    pub name: String,
    /// Stable UUID for the SaaS-shaped routes: v5 of instance and name.
    pub uuid: uuid::Uuid,
    /// Last known addresses.
    pub addresses: Addresses,
    /// It is in the config that runs.
    pub configured: bool,
    /// Why retention of this cluster has stopped until `adopt`.
    pub state_behind: Option<String>,
}

/// A backup found in a cluster and taken over by `adopt`.
#[derive(Clone, Debug)]
pub struct Adopted {
    /// Identity; the one in the snapshot's metadata, so that adopting twice changes nothing.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: String,
    /// Its id.
    pub backup_id: BackupId,
    /// When it was taken.
    pub created_at: Instant,
    /// What the run would have needed.
    pub spec: serde_json::Value,
    /// What the components show: names, states, outcome.
    pub view: RunView,
}

/// Which backups to list.
#[derive(Clone, Debug, Default)]
pub struct BackupFilter {
    /// Only this cluster.
    pub cluster: Option<String>,
    /// Leave out those verified gone.
    pub existing: bool,
    /// At most so many, the newest ones; `0` means all.
    pub limit: u32,
}

/// Durable state. All lists are in time order, oldest first, unless said otherwise.
pub trait Store: Send + Sync + 'static {
    /// All pairs, active or not.
    fn timetable(&self) -> StoreFuture<'_, Vec<TimetableRow>>;
    /// Replaces the rows of these pairs and marks every other pair inactive. Where `times_key` and `since` stay the same,
    /// `last_due` does not move back: a claim may have come between reading the rows and writing them.
    fn set_timetable(&self, rows: Vec<TimetableRow>) -> StoreFuture<'_, ()>;
    /// Writes occurrences (fate `Waiting`, or `Skipped` ranges) and moves `last_due` of their pairs forward, in one
    /// transaction. An occurrence that is already known, by itself or inside a range, stays as it is, unless it was
    /// skipped as missed by a clock that was ahead and comes due now. Returns those that
    /// were new: claiming twice after a crash cannot fire twice (rule I5).
    fn claim(&self, rows: Vec<OccurrenceRow>) -> StoreFuture<'_, Vec<OccurrenceRow>>;
    /// Occurrences that wait.
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

    /// Writes a debt before the pause is asked for (rule I1), together with the journal entry of that intent.
    fn record_pending_resume(&self, pending_resume: PendingResume, entry: Entry) -> StoreFuture<'_, ()>;
    /// Notes that a resume is about to be sent, on the debt and, while the run lasts, in its journal: there once for each
    /// `by`, so that trying for ever does not fill the disk.
    fn resume_intended(&self, run_id: RunId, by: String, at: Instant) -> StoreFuture<'_, ()>;
    /// Notes a resume that failed.
    fn resume_failed(&self, run_id: RunId, error: String) -> StoreFuture<'_, ()>;
    /// Notes that a debt's cluster was shown to be at other addresses now; only its own copy of them changes.
    fn relocate_pending_resume(&self, run_id: RunId, addresses: Addresses) -> StoreFuture<'_, ()>;
    /// Notes that the server confirmed a resume, on the debt and, while the run lasts, in its journal.
    fn resume_confirmed(&self, run_id: RunId, by: String, at: Instant) -> StoreFuture<'_, ()>;
    /// Debts neither paid nor forgiven.
    fn pending_resumes(&self) -> StoreFuture<'_, Vec<PendingResume>>;
    /// Gives up the debts of a cluster that no longer exists; also counts as resumed in the runs' journals.
    fn abandon_resumes(&self, cluster: String, why: String, at: Instant) -> StoreFuture<'_, u32>;

    /// Backups, oldest first.
    fn backups(&self, filter: BackupFilter) -> StoreFuture<'_, Vec<Backup>>;
    /// Per cluster, how many runs have failed since its last success; clusters without any are left out. Failed runs
    /// count when retention has deleted them.
    fn failures_in_a_row(&self) -> StoreFuture<'_, BTreeMap<String, u32>>;
    /// One backup by cluster and id.
    fn backup(&self, cluster: String, backup_id: BackupId) -> StoreFuture<'_, Option<Backup>>;
    /// Marks a backup `deleting`. `Refused` for a held, running or deleted one, each with its own sentence; asking twice
    /// is asking once.
    fn request_deletion(&self, run_id: RunId, by: String, reason: String, at: Instant)
    -> StoreFuture<'_, ()>;
    /// Stores the proof that the backup of a requested deletion is ours. Nothing of the backup is deleted before this returns.
    fn ownership_proven(&self, run_id: RunId, proof: OwnershipProof) -> StoreFuture<'_, ()>;
    /// Notes a deletion pass that left something.
    fn deletion_tried(&self, run_id: RunId, error: Option<String>) -> StoreFuture<'_, ()>;
    /// Every place answers that it is gone.
    fn deletion_done(&self, run_id: RunId, at: Instant) -> StoreFuture<'_, ()>;
    /// A completed or failed backup was found gone. `Refused` for others.
    fn set_missing(&self, run_id: RunId) -> StoreFuture<'_, ()>;
    /// Pins or releases a backup. Pinning is `Refused` once it is missing, being deleted or deleted.
    fn hold(&self, run_id: RunId, held: bool) -> StoreFuture<'_, ()>;
    /// Takes over a backup found in a cluster; the pool is `adopted`. Twice is once. `Refused` when it has not ended, or
    /// when its id is known as another run's.
    fn adopt(&self, adopted: Adopted) -> StoreFuture<'_, ()>;

    /// All clusters ever configured.
    fn clusters(&self) -> StoreFuture<'_, Vec<ClusterRow>>;
    /// Replaces addresses of these clusters and marks every other cluster as not configured; `state_behind` stays. Foreign
    /// pauses are forgotten of the others, and where the addresses are not what they were.
    fn set_clusters(&self, rows: Vec<ClusterRow>) -> StoreFuture<'_, ()>;
    /// Stops or restarts retention of a cluster.
    fn set_state_behind(&self, cluster: String, reason: Option<String>) -> StoreFuture<'_, ()>;

    /// A look showed exporting of a configured cluster `paused_by_other` or `mixed`: the first look of any daemon that did,
    /// without one in between that showed it to run.
    fn foreign_pause(&self, cluster: String, at: Instant) -> StoreFuture<'_, Instant>;
    /// A look showed it to run; twice is once.
    fn foreign_pause_over(&self, cluster: String) -> StoreFuture<'_, ()>;

    /// Commits a small row: proves that the state can be written.
    fn probe(&self, at: Instant) -> StoreFuture<'_, ()>;
    /// Finishes what was asked for before; everything after it is `Closed`.
    fn close(&self) -> StoreFuture<'_, ()>;
}
