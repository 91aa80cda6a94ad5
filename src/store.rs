//! Durable state: the trait `Store`, which joins one trait for each group of rows.
//!
//! Owns the error and the promises of every method. The files `occurrences`, `runs`, `pending_resumes`, `backups` and
//! `clusters` have the traits and their rows; the files of these names in `store/sqlite` have the SQL.
//! Must not depend on SQL (`store/sqlite`), read a clock (callers pass every instant) or
//! assume a single writing process. Each method is one transaction: `Ok` means durable, and an error means no
//! change, except `Unknown`.
//! `docs/state-file.md` describes the tables for operators. The conformance suite runs on every implementation.

mod backups;
mod clusters;
mod clusters_to_resume;
pub mod memory;
mod occurrences;
mod pending_resumes;
mod resume_attempt;
pub(crate) mod rules;
mod runs;
pub mod sqlite;

pub use backups::{Adopted, Backup, BackupFilter, Backups, Deletion, DeletionProgress};
pub use clusters::{ClusterRow, Clusters};
pub use clusters_to_resume::{
    ClustersToResume, UnconfirmedResumes, is_same_cluster, retried_by_daemon, unconfirmed,
};
pub use occurrences::{OccurrenceOutcome, OccurrenceRow, Occurrences, TimetableRow};
pub use pending_resumes::{PendingResume, PendingResumes, ResumeProgress};
pub use resume_attempt::{ResumeAttempt, with_attempt};
pub use runs::{NewRun, Runs};

use crate::domain::{Instant, RunId};
use crate::journal::IllegalEvent;
use futures::future::BoxFuture;
use std::sync::Arc;

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

/// Durable state: all groups of rows in one store.
pub trait Store: Backups + Clusters + Occurrences + PendingResumes + Runs {
    /// Commits a small row: proves that the state can be written.
    fn probe(&self, at: Instant) -> StoreFuture<'_, ()>;
    /// Finishes earlier requests; later ones return `Closed`.
    fn close(&self) -> StoreFuture<'_, ()>;
}
