//! Comparison of our records with the backup list of Camunda 8 SaaS, which keeps and prunes the backups
//! itself.
//!
//! Deletes nothing there: backups that left the list are marked missing, and failed runs without remains are
//! forgotten as for other clusters.

use crate::camunda::{ClientError, Saas};
use crate::clock::within;
use crate::context::Context;
use crate::domain::{BackupState, Component, SaasAddress};
use crate::journal::{Run, RunStatus};
use crate::parts::saas;
use crate::retention::{Decision, RetentionRule, Verdict, decide};
use crate::store::{Backup, StoreError};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval between the two probes that must both lack a backup, because missing is final. Shorter if backups
/// may follow so closely that a due run would interrupt every pass.
const SURE: Duration = Duration::from_secs(30);
/// Time limit of all probes for a restore in progress.
const RESTORES: Duration = Duration::from_secs(30);
/// Reason to keep backups from before the move to Camunda 8 SaaS.
const ELSEWHERE: &str = "its parts date from before the move to Camunda 8 SaaS and cannot be probed";
/// Reason to keep backups that Camunda 8 SaaS manages.
const PROVIDER: &str = "Camunda 8 SaaS keeps and prunes these backups itself";

/// Marks missing backups and decides about the others. `Err` in the response: the list could not be read.
pub(crate) async fn retain(
    context: &Context,
    saas: &Saas,
    address: &SaasAddress,
    rules: &[RetentionRule],
    backups: &[Backup],
    yield_now: &CancellationToken,
) -> Result<(Vec<Decision>, Option<String>), StoreError> {
    // The list of one cluster does not show the backups of another.
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

/// Keeps backups in Camunda 8 SaaS, even if the cluster is self-managed now.
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

/// Whether some parts are at addresses from before the move to Camunda 8 SaaS: these parts cannot be probed.
fn elsewhere(backup: &Backup) -> bool {
    backup.run.view.components.keys().any(|component| *component != Component::Saas)
}

/// Whether Camunda 8 SaaS has, or may have, a part of the backup.
fn holds_something(backup: &Backup) -> bool {
    saas::may_have(&backup.run.view)
}

/// Completed and failed backups that left the list. One probe alone is not sufficient.
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
        // The next pass probes again.
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

/// Reason why no backup and no deletion may begin: Camunda 8 SaaS is restoring the cluster. A restore that cannot be read
/// in time prevents nothing, because Camunda 8 SaaS rejects conflicting requests itself.
pub(crate) async fn restoring(
    context: &Context,
    client: &Saas,
    address: &SaasAddress,
    backups: &[Backup],
) -> Option<String> {
    // A backup in deletion still exists, and must not be deleted during its restore.
    let there = |backup: &&Backup| matches!(backup.state, BackupState::Completed | BackupState::Deleting);
    let of_it =
        backups.iter().filter(there).map(|backup| &backup.run).filter(|run| saas::is_of(run, address));
    // Newest first, because it is the most likely one.
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
            // The requests for the other backups would fail too.
            Err(error) if error.is_transient() => return None,
            _ => {}
        }
    }
    None
}
