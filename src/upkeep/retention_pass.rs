//! One retention pass over a cluster: probes the good backups that justify deletions, decides, stores the
//! deletions as requested, and carries them out.
//!
//! The decision itself is in `retention`, and the deletion of one backup in `delete`.

use crate::camunda::Saas;
use crate::context::{Context, Spec};
use crate::domain::{BackupId, BackupState};
use crate::retention::{Decision, RetentionRule, Verdict, decide, needs_probe};
use crate::store::{Backup, BackupFilter, StoreError};
use crate::upkeep::adopt::detect_behind;
use crate::upkeep::delete::{DeletionPass, delete_at};
use crate::upkeep::saas_sync;
use crate::upkeep::still_complete::still_complete_at;
use std::collections::BTreeSet;
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

/// Runs one retention pass. Work that an error or a due run leaves over is done by the next pass.
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
        // Carry out the requested deletions first. The search for missing backups is slow, and due runs might
        // interrupt every pass before it ends.
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
    // Load the backups again: the probe may have marked some as missing, and retention does not count those.
    let backups = self::backups(context, cluster).await?;
    report.decisions = decide(rules, &backups, &complete, report.stopped.as_deref());
    saas_sync::leave_alone(&mut report.decisions, &backups);
    delete(context, cluster, spec, yield_now, report).await
}

/// Stores the decided deletions as requested, then carries out all requested deletions.
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
            // The store refuses, for example because the backup was put on hold after it was loaded.
            Err(StoreError::Refused(why)) => {
                tracing::info!(event = "retention.kept", cluster, backup_id = id.get(), reason = %why);
            }
            Err(error) => return Err(error),
        }
    }
    carry_out(context, cluster, spec, yield_now, report).await
}

/// Whether retention would delete any backup if every good backup were complete.
fn would_delete(rules: &[RetentionRule], backups: &[Backup]) -> bool {
    let all = backups.iter().map(|b| b.run.run_id).collect();
    decide(rules, backups, &all, None).iter().any(|d| d.verdict == Verdict::Delete)
}

/// Probes the good backups that justify a deletion, and returns the complete ones. `None` if a due run needs
/// the cluster.
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
            // The state of a component is unknown. The component would fail for the other backups too, so the
            // probing ends.
            Err(why) => {
                tracing::warn!(event = "retention.unsure", cluster = %backup.run.cluster, backup_id = id.get(), reason = %why);
                report.doubtful.push((id, why));
                return Some(complete);
            }
        }
    }
}

/// Carries out requested deletions. While `report.stopped` is set, only deletions requested by an operator
/// are carried out.
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
