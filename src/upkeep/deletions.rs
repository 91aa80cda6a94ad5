//! Deletions of one retention pass: requested by its decisions or by an operator, carried out, and reported.
//!
//! Must not decide which backups go (`retention`).

use crate::context::{Context, Spec};
use crate::domain::{BackupId, BackupState};
use crate::retention::{Decision, Verdict};
use crate::store::{Backup, BackupFilter, StoreError};
use crate::upkeep::delete::{DeletionPass, delete_at};
use tokio_util::sync::CancellationToken;

/// Result of a retention pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetainReport {
    /// Decision and its reason, for every backup.
    pub decisions: Vec<Decision>,
    /// Good backups that could not be confirmed as complete, each with the reason.
    pub doubtful: Vec<(BackupId, String)>,
    /// Backups with a deletion pass, and the result of each pass.
    pub deletions: Vec<(BackupId, DeletionPass)>,
    /// Reason why retention requests no deletions until an operator runs `adopt`. `None` if retention is
    /// active.
    pub stopped: Option<String>,
    /// Whether the pass ended early because a due run needed the cluster.
    pub yielded: bool,
    /// Error or SaaS restore that ended the pass early or left it incomplete.
    pub trouble: Option<String>,
}

impl RetainReport {
    /// The report of a pass that ended with `result`.
    pub(crate) fn ended(mut self, cluster: &str, result: Result<(), StoreError>) -> Self {
        if let Err(error) = result {
            self.trouble = Some(error.to_string());
        }
        if let Some(reason) = &self.trouble {
            tracing::error!(event = "retention.failed", cluster, reason = %reason);
        }
        self
    }
}

/// Reason why deletions of the cluster are blocked until `adopt`.
pub(crate) async fn stopped(context: &Context, cluster: &str) -> Result<Option<String>, StoreError> {
    let row = context.store.clusters().await?.into_iter().find(|row| row.name == cluster);
    Ok(row.and_then(|row| row.state_behind))
}

/// Stores the decided deletions as requested, then carries out all requested deletions.
pub(crate) async fn delete(
    context: &Context,
    cluster: &str,
    spec: &Spec,
    yield_now: &CancellationToken,
    report: &mut RetainReport,
) -> Result<(), StoreError> {
    for decision in report.decisions.iter().filter(|d| d.verdict == Verdict::Delete) {
        let (id, reason) = (decision.backup_id, decision.reason.clone());
        let at = context.clock.now();
        match context.store.request_deletion(decision.run_id, "retention".into(), reason.clone(), at).await {
            Ok(()) => tracing::info!(
                event = "backup.deletion_requested", cluster, backup_id = id.get(), run_id = %decision.run_id, reason = %reason
            ),
            // The store refuses, for example because the backup was put on hold after it was loaded.
            Err(StoreError::Refused(why)) => {
                tracing::info!(event = "retention.kept", cluster, backup_id = id.get(), reason = %why);
            }
            Err(error) => return Err(error),
        }
    }
    carry_out(context, cluster, spec, yield_now, report).await
}

/// Carries out requested deletions. While `report.stopped` is set, only deletions requested by an operator
/// are carried out.
pub(crate) async fn carry_out(
    context: &Context,
    cluster: &str,
    spec: &Spec,
    yield_now: &CancellationToken,
    report: &mut RetainReport,
) -> Result<(), StoreError> {
    for backup in backups(context, cluster).await?.iter().filter(|b| b.state == BackupState::Deleting) {
        let manual = backup.deletion.as_ref().is_some_and(|d| d.by != "retention");
        if report.stopped.is_some() && !manual {
            continue;
        }
        if yield_now.is_cancelled() {
            report.yielded = true;
            break;
        }
        let done = delete_at(context, &spec.addresses, backup, yield_now).await;
        report.yielded |= done == DeletionPass::Yielded;
        report.deletions.push((backup.run.backup_id, done));
    }
    Ok(())
}

/// Existing backups of the cluster.
pub(crate) async fn backups(context: &Context, cluster: &str) -> Result<Vec<Backup>, StoreError> {
    let filter = BackupFilter { cluster: Some(cluster.to_owned()), existing: true, limit: 0 };
    context.store.backups(filter).await
}
