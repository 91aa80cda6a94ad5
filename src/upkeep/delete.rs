//! Deletion of backups that are proven ours, as requested by operators or retention.
//!
//! Runs one deletion pass over a backup (`pass`) at its locations (`location`), and stores the result. Must not decide which backups are deleted (`retention`), and
//! never deletes a backup without proof of ownership (`retention::ownership`).

pub(crate) mod location;
pub(crate) mod pass;

pub use pass::{LOCATION_LIMIT, PASS_LIMIT, SETTLE};

use crate::context::Context;
use crate::domain::{Addresses, BackupState};
use crate::store::{Backup, DeletionProgress};
use crate::upkeep::addresses::last_addresses;
use pass::{End, Pass};
use tokio_util::sync::CancellationToken;

/// Result of one deletion pass over a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletionPass {
    /// Every location reports that the backup is gone, and the store has recorded the deletion.
    Gone,
    /// Parts are left or may be left. The next pass continues.
    Left {
        /// One sentence about the remaining parts.
        what: String,
    },
    /// The backup is not proven ours. Nothing was deleted.
    NotOurs {
        /// Reason, one sentence.
        reason: String,
    },
    /// A due run needs the cluster. No request is outstanding, and the next pass continues.
    Yielded,
}

/// Runs one deletion pass over a backup in state `deleting`, at the last known addresses of its cluster.
pub async fn delete_backup(context: &Context, backup: &Backup, yield_now: CancellationToken) -> DeletionPass {
    match last_addresses(context, backup).await {
        Ok(addresses) => delete_at(context, &addresses, backup, &yield_now).await,
        Err(what) => settle(context, backup, context.clock.monotonic(), Err(End::Left(what))).await,
    }
}

/// Runs one deletion pass over a backup in state `deleting`, at the given addresses.
pub(crate) async fn delete_at(
    context: &Context,
    addresses: &Addresses,
    backup: &Backup,
    yield_now: &CancellationToken,
) -> DeletionPass {
    let began = context.clock.monotonic();
    if backup.state != BackupState::Deleting {
        let what = format!(
            "backup {} is {}, not requested to be deleted",
            backup.run.backup_id,
            backup.state.name()
        );
        return DeletionPass::Left { what };
    }
    let mut pass = Pass::new(context, backup, yield_now);
    let end = pass.walk(addresses).await;
    settle(context, backup, began, end).await
}

/// Stores and logs the result of a deletion pass.
async fn settle(
    context: &Context,
    backup: &Backup,
    began: std::time::Duration,
    end: Result<(), End>,
) -> DeletionPass {
    let (run, store) = (&backup.run, &context.store);
    let end = match end {
        Ok(()) => {
            let done = DeletionProgress::Done { at: context.clock.now() };
            store.record_deletion_progress(run.run_id, done).await.map_err(|error| {
                End::Left(format!("it is gone, but its record could not be written: {error}"))
            })
        }
        end => end,
    };
    let duration_ms = context.clock.monotonic().saturating_sub(began).as_millis() as u64;
    let (result, reason) = match end {
        Ok(()) => {
            let requested = backup.deletion.as_ref();
            tracing::info!(
                event = "backup.deleted", cluster = %run.cluster, backup_id = run.backup_id.get(), run_id = %run.run_id,
                duration_ms, by = requested.map(|d| d.by.as_str()), reason = requested.map(|d| d.reason.as_str())
            );
            return DeletionPass::Gone;
        }
        Err(End::Yielded) => {
            tracing::debug!(cluster = %run.cluster, backup_id = run.backup_id.get(), "a deletion gives way to a due run");
            return DeletionPass::Yielded;
        }
        Err(End::Left(what)) => (DeletionPass::Left { what: what.clone() }, what),
        Err(End::NotOurs(reason)) => {
            let sentence = format!(
                "not proven ours, nothing was touched: {reason}; delete it manually if it is no longer needed"
            );
            (DeletionPass::NotOurs { reason }, sentence)
        }
    };
    tracing::error!(
        event = "backup.delete_failed", cluster = %run.cluster, backup_id = run.backup_id.get(), run_id = %run.run_id,
        duration_ms, reason = %reason
    );
    let attempted = DeletionProgress::Attempted { error: Some(reason) };
    if let Err(error) = store.record_deletion_progress(run.run_id, attempted).await {
        tracing::error!(event = "store.unwritable", cluster = %run.cluster, run_id = %run.run_id, reason = %error);
    }
    result
}
