//! The trait `Backups`: backups after their runs have ended, with their deletion, holds and adoption.
//!
//! Owns the row of a backup and the progress of its deletion. `sqlite/backups.rs` has the SQL, except that
//! `sqlite/runs.rs` inserts an adopted backup.

use super::StoreFuture;
use crate::domain::{BackupId, BackupState, Instant, OwnershipProof, RunId};
use crate::journal::{Run, RunView};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

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

/// Backups, with their deletion, holds and adoption.
pub trait Backups: Send + Sync + 'static {
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
}
