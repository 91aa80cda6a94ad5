//! Retention for clusters in Camunda 8 SaaS, which keeps and prunes the backups itself. Compares our records
//! with its backup list.
//!
//! Deletes nothing in Camunda 8 SaaS. Backups that left its list are marked missing. Failed runs without a
//! backup there are deleted from our records, as for other clusters.

use crate::camunda::{ClientError, Saas};
use crate::clock::within;
use crate::context::{Context, Spec};
use crate::domain::BackupState;
use crate::journal::{Run, RunStatus};
use crate::parts::saas;
use crate::retention::{Decision, RetentionRule, Verdict, decide};
use crate::store::{Backup, StoreError};
use crate::upkeep::deletions::{self, RetainReport, carry_out, delete, stopped};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval between two reads of the backup list. A backup must be absent from both, because `missing` is a
/// final state. The interval is shorter if runs may follow so closely that a due run would interrupt every
/// pass.
const SURE: Duration = Duration::from_secs(30);
/// Time limit of all probes for a restore in progress.
const RESTORES: Duration = Duration::from_secs(30);
/// Reason to keep backups that were taken before the cluster moved to Camunda 8 SaaS.
const ELSEWHERE: &str = "its parts date from before the move to Camunda 8 SaaS and cannot be probed";
/// Reason to keep backups that Camunda 8 SaaS manages.
const PROVIDER: &str = "Camunda 8 SaaS keeps and prunes these backups itself";

/// Runs one retention pass. Work that an error or a due run leaves over is done by the next pass.
pub(crate) async fn retain(
    context: &Context,
    cluster: &str,
    rules: &[RetentionRule],
    spec: &Spec,
    saas: &Saas,
    yield_now: CancellationToken,
) -> RetainReport {
    let mut report = RetainReport::default();
    let result = pass(context, cluster, rules, spec, saas, &yield_now, &mut report).await;
    report.ended(cluster, result)
}

async fn pass(
    context: &Context,
    cluster: &str,
    rules: &[RetentionRule],
    spec: &Spec,
    saas: &Saas,
    yield_now: &CancellationToken,
    report: &mut RetainReport,
) -> Result<(), StoreError> {
    report.stopped = stopped(context, cluster).await?;
    let backups = deletions::backups(context, cluster).await?;
    if let Some(reason) = restoring(context, saas, &backups).await {
        report.trouble = Some(format!("nothing is deleted now: {reason}"));
        return Ok(());
    }
    // Carry out the requested deletions first. The search for missing backups is slow, and due runs might
    // interrupt every pass before it ends.
    carry_out(context, cluster, spec, yield_now, report).await?;
    if report.yielded {
        return Ok(());
    }
    let backups = deletions::backups(context, cluster).await?;
    let (decisions, trouble) = compare(context, saas, rules, &backups, yield_now).await?;
    (report.decisions, report.trouble) = (decisions, trouble);
    if report.decisions.iter().all(|decision| decision.verdict != Verdict::Delete) {
        return Ok(());
    }
    delete(context, cluster, spec, yield_now, report).await
}

/// Marks backups that left the list as missing, and decides about the others. The second value is the error
/// if the list could not be read.
async fn compare(
    context: &Context,
    saas: &Saas,
    rules: &[RetentionRule],
    backups: &[Backup],
    yield_now: &CancellationToken,
) -> Result<(Vec<Decision>, Option<String>), StoreError> {
    let address = saas.address();
    // Compare only the backups of this Camunda 8 SaaS cluster: its list does not contain the backups of
    // another cluster.
    let of_it = |backup: &&Backup| saas::is_of(&backup.run, address);
    let sure = SURE.min(address.min_interval / 3);
    let gone = gone(context, saas, backups.iter().filter(of_it).collect(), sure, yield_now).await;
    let trouble = match gone {
        Ok(gone) => {
            note(context, &gone).await?;
            None
        }
        Err(error) => Some(format!("the backup list of Camunda 8 SaaS could not be read: {error}")),
    };
    let complete = backups.iter().map(|backup| backup.run.run_id).collect();
    let mut decisions = decide(rules, backups, &complete, None);
    leave_alone(&mut decisions, backups);
    keep(&mut decisions, backups, elsewhere, ELSEWHERE);
    Ok((decisions, trouble))
}

/// Changes the decision to `Keep` for backups in Camunda 8 SaaS, even if the cluster is self-managed now.
pub(crate) fn leave_alone(decisions: &mut [Decision], backups: &[Backup]) {
    keep(decisions, backups, holds_something, PROVIDER);
}

fn keep(decisions: &mut [Decision], backups: &[Backup], which: fn(&Backup) -> bool, why: &str) {
    for decision in decisions.iter_mut().filter(|decision| decision.verdict == Verdict::Delete) {
        let backup = backups.iter().find(|backup| backup.run.run_id == decision.run_id);
        if backup.is_some_and(which) {
            decision.verdict = Verdict::Keep;
            why.clone_into(&mut decision.reason);
        }
    }
}

/// Whether the backup has parts from before the move to Camunda 8 SaaS. Their old addresses cannot be probed.
fn elsewhere(backup: &Backup) -> bool {
    backup.run.view.components.keys().any(|component| component.taken_by_provider().is_none())
}

/// Whether Camunda 8 SaaS has, or may have, a part of the backup.
fn holds_something(backup: &Backup) -> bool {
    saas::may_have(&backup.run.view)
}

/// Returns the completed and failed backups that are absent from two reads of the list.
async fn gone<'a>(
    context: &Context,
    saas: &Saas,
    backups: Vec<&'a Backup>,
    sure: Duration,
    yield_now: &CancellationToken,
) -> Result<Vec<&'a Backup>, ClientError> {
    let over = |backup: &&Backup| matches!(backup.state, BackupState::Completed | BackupState::Failed);
    let known: Vec<&Backup> = backups.into_iter().filter(over).collect();
    let first = absent(saas, known).await?;
    if first.is_empty() {
        return Ok(first);
    }
    tokio::select! {
        biased;
        // A due run needs the cluster. The next pass reads the list again.
        () = yield_now.cancelled() => return Ok(vec![]),
        () = context.clock.sleep(sure) => {}
    }
    absent(saas, first).await
}

async fn absent<'a>(saas: &Saas, backups: Vec<&'a Backup>) -> Result<Vec<&'a Backup>, ClientError> {
    let listed: BTreeSet<String> = saas.list().await?.into_iter().map(|backup| backup.uuid).collect();
    let lacks =
        |backup: &&Backup| saas::uuid_of(&backup.run.view).is_some_and(|uuid| !listed.contains(&uuid));
    Ok(backups.into_iter().filter(lacks).collect())
}

async fn note(context: &Context, gone: &[&Backup]) -> Result<(), StoreError> {
    for backup in gone {
        context.store.set_missing(backup.run.run_id).await?;
        tracing::info!(
            event = "backup.missing", cluster = %backup.run.cluster, backup_id = backup.run.backup_id.get(),
            run_id = %backup.run.run_id, by = "provider",
            reason = "the backup is no longer in the list of Camunda 8 SaaS and was not deleted by this daemon"
        );
    }
    Ok(())
}

/// Returns the reason if Camunda 8 SaaS is restoring the cluster: no backup and no deletion may begin then.
/// `None` if the restores cannot be read in time, because Camunda 8 SaaS rejects conflicting requests itself.
pub(crate) async fn restoring(context: &Context, client: &Saas, backups: &[Backup]) -> Option<String> {
    let address = client.address();
    // Include backups whose deletion is requested: the cluster may be restored from such a backup.
    let there = |backup: &&Backup| matches!(backup.state, BackupState::Completed | BackupState::Deleting);
    let of_it =
        backups.iter().filter(there).map(|backup| &backup.run).filter(|run| saas::is_of(run, address));
    // Probe the newest backup first, because it is the most likely one to be restored.
    let completed = of_it.rev().filter(|run| run.view.status == RunStatus::Completed);
    let probes = restored_now(client, completed.filter_map(|run| Some((run, saas::uuid_of(&run.view)?))));
    within(&*context.clock, RESTORES, probes).await.flatten()
}

async fn restored_now(client: &Saas, backups: impl Iterator<Item = (&Run, String)>) -> Option<String> {
    for (run, uuid) in backups {
        match client.restore_state(&uuid).await {
            Ok(restore) if restore.goes_on() => {
                return Some(format!(
                    "Camunda 8 SaaS is restoring the cluster to backup {} ({}). Wait for its end; Console shows the progress",
                    run.backup_id, restore.state
                ));
            }
            // After a transient error, the requests for the other backups would fail too.
            Err(error) if error.is_transient() => return None,
            _ => {}
        }
    }
    None
}
