//! One pass of retention over a cluster: probe the backups that matter, decide, request deletions, carry them
//! out.

use crate::camunda::Saas;
use crate::context::{Context, Spec};
use crate::domain::{BackupId, BackupState};
use crate::retention::{Decision, RetentionRule, Verdict, decide, needs_probe};
use crate::store::{Backup, BackupFilter, StoreError};
use crate::upkeep::adopt::detect_behind;
use crate::upkeep::delete::{DeletionPass, delete_at, still_complete_at};
use crate::upkeep::saas_sync;
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// Result of a retention pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetainReport {
    /// Decision and reason for every backup.
    pub decisions: Vec<Decision>,
    /// Good backups that could not be confirmed complete, each with the reason.
    pub doubtful: Vec<(BackupId, String)>,
    /// Deletion passes and their results.
    pub deletions: Vec<(BackupId, DeletionPass)>,
    /// Reason why deletions are blocked until `adopt`.
    pub stopped: Option<String>,
    /// A due run needed the cluster before the pass was complete.
    pub yielded: bool,
    /// Error that ended the pass.
    pub trouble: Option<String>,
}

/// Runs one pass. The next pass does the remaining work.
pub async fn retain(
    context: &Context,
    cluster: &str,
    rules: &[RetentionRule],
    spec: &Spec,
    yield_now: CancellationToken,
) -> RetainReport {
    let mut report = RetainReport::default();
    if let Err(error) = pass(context, cluster, rules, spec, &yield_now, &mut report).await {
        report.trouble = Some(error.to_string());
    }
    if let Some(reason) = &report.trouble {
        tracing::error!(event = "retention.failed", cluster, reason = %reason);
    }
    report
}

async fn pass(
    context: &Context,
    cluster: &str,
    rules: &[RetentionRule],
    spec: &Spec,
    yield_now: &CancellationToken,
    report: &mut RetainReport,
) -> Result<(), StoreError> {
    let row = context.store.clusters().await?.into_iter().find(|row| row.name == cluster);
    report.stopped = row.and_then(|row| row.state_behind);
    let backups = backups(context, cluster).await?;
    if let (Some(saas), Some(address)) = (Saas::of(&spec.addresses, &context.transport), &spec.addresses.saas)
    {
        if let Some(reason) = saas_sync::restoring(context, &saas, address, &backups).await {
            report.trouble = Some(format!("nothing is deleted now: {reason}"));
            return Ok(());
        }
        // Requested deletions go first: the search for missing backups is slow, and a due run would interrupt
        // it every time.
        carry_out(context, cluster, spec, yield_now, report).await?;
        if report.yielded {
            return Ok(());
        }
        let backups = self::backups(context, cluster).await?;
        let (decisions, trouble) =
            saas_sync::retain(context, &saas, address, rules, &backups, yield_now).await?;
        (report.decisions, report.trouble) = (decisions, trouble);
        if report.decisions.iter().all(|decision| decision.verdict != Verdict::Delete) {
            return Ok(());
        }
        return delete(context, cluster, spec, yield_now, report).await;
    }
    if report.stopped.is_none() && would_delete(rules, &backups) {
        match detect_behind(context, cluster, spec).await {
            Ok(None) => {}
            Ok(Some(reason)) => {
                tracing::error!(event = "cluster.state_behind", cluster, reason = %reason);
                context.store.set_state_behind(cluster.to_owned(), Some(reason.clone())).await?;
                report.stopped = Some(reason);
            }
            Err(reason) => {
                report.trouble = Some(format!("nothing more is pruned in this pass: {reason}"));
                return carry_out(context, cluster, spec, yield_now, report).await;
            }
        }
    }
    let Some(complete) = probe(context, rules, &backups, spec, yield_now, report).await else {
        report.yielded = true;
        return Ok(());
    };
    // Backups found missing no longer count.
    let backups = self::backups(context, cluster).await?;
    report.decisions = decide(rules, &backups, &complete, report.stopped.as_deref());
    saas_sync::leave_alone(&mut report.decisions, &backups);
    delete(context, cluster, spec, yield_now, report).await
}

/// Requests the deletions that were decided, and carries them out.
async fn delete(
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
            // Held since it was loaded.
            Err(StoreError::Refused(why)) => {
                tracing::info!(event = "retention.kept", cluster, backup_id = id.get(), reason = %why);
            }
            Err(error) => return Err(error),
        }
    }
    carry_out(context, cluster, spec, yield_now, report).await
}

/// Whether any backup would be deleted if every good one were complete.
fn would_delete(rules: &[RetentionRule], backups: &[Backup]) -> bool {
    let all = backups.iter().map(|b| b.run.run_id).collect();
    decide(rules, backups, &all, None).iter().any(|d| d.verdict == Verdict::Delete)
}

/// Probes the good backups that justify a deletion. `None` if a due run needs the cluster.
async fn probe(
    context: &Context,
    rules: &[RetentionRule],
    backups: &[Backup],
    spec: &Spec,
    yield_now: &CancellationToken,
    report: &mut RetainReport,
) -> Option<BTreeSet<uuid::Uuid>> {
    let (mut complete, mut doubtful) = (BTreeSet::new(), BTreeSet::new());
    loop {
        let wanted = needs_probe(rules, backups, &complete, &doubtful, report.stopped.as_deref());
        let Some(backup) = wanted.first().and_then(|id| backups.iter().find(|b| b.run.run_id == *id)) else {
            return Some(complete);
        };
        if yield_now.is_cancelled() {
            return None;
        }
        let id = backup.run.backup_id;
        match still_complete_at(context, &spec.addresses, backup).await {
            Ok(true) => {
                complete.insert(backup.run.run_id);
            }
            Ok(false) => {
                doubtful.insert(backup.run.run_id);
                let why = "it is no longer complete in every component";
                tracing::warn!(event = "backup.damaged", cluster = %backup.run.cluster, backup_id = id.get(), reason = why);
                report.doubtful.push((id, why.to_owned()));
            }
            // A component that fails for this backup also fails for the others.
            Err(why) => {
                tracing::warn!(event = "retention.unsure", cluster = %backup.run.cluster, backup_id = id.get(), reason = %why);
                report.doubtful.push((id, why));
                return Some(complete);
            }
        }
    }
}

/// Carries out requested deletions. While the state is behind, only those requested by an operator.
async fn carry_out(
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

async fn backups(context: &Context, cluster: &str) -> Result<Vec<Backup>, StoreError> {
    let filter = BackupFilter { cluster: Some(cluster.to_owned()), existing: true, limit: 0 };
    context.store.backups(filter).await
}
