//! One retention pass over a self-managed cluster: probes the good backups that justify deletions, decides, stores the
//! deletions as requested, and carries them out.
//!
//! The decision itself is in `retention`, and the deletion of one backup in `delete`.

use crate::context::{Context, Spec};
use crate::retention::{RetentionRule, Verdict, decide, needs_probe};
use crate::store::{Backup, StoreError};
use crate::upkeep::adopt::detect_behind;
pub use crate::upkeep::deletions::RetainReport;
use crate::upkeep::deletions::{self, carry_out, delete, stopped};
use crate::upkeep::saas_sync;
use crate::upkeep::still_complete::still_complete_at;
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;

/// Runs one retention pass. Work that an error or a due run leaves over is done by the next pass.
pub async fn retain(
    context: &Context,
    cluster: &str,
    rules: &[RetentionRule],
    spec: &Spec,
    yield_now: CancellationToken,
) -> RetainReport {
    let mut report = RetainReport::default();
    let result = pass(context, cluster, rules, spec, &yield_now, &mut report).await;
    report.ended(cluster, result)
}

async fn pass(
    context: &Context,
    cluster: &str,
    rules: &[RetentionRule],
    spec: &Spec,
    yield_now: &CancellationToken,
    report: &mut RetainReport,
) -> Result<(), StoreError> {
    report.stopped = stopped(context, cluster).await?;
    let backups = deletions::backups(context, cluster).await?;
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
    let backups = deletions::backups(context, cluster).await?;
    report.decisions = decide(rules, &backups, &complete, report.stopped.as_deref());
    saas_sync::leave_alone(&mut report.decisions, &backups);
    delete(context, cluster, spec, yield_now, report).await
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
