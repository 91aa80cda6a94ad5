//! What becomes of our records where the provider keeps and prunes the backups.
//!
//! Deletes nothing there: backups that are gone from the provider's list are noted as missing, and failed runs that
//! left nothing there are forgotten as elsewhere.

use crate::camunda::{ClientError, Saas};
use crate::context::Context;
use crate::domain::{BackupState, SaasAddress};
use crate::parts::saas;
use crate::retention::{Decision, RetentionRule, Verdict, decide};
use crate::store::{Backup, StoreError};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between the two looks that must both lack a backup: what is noted as missing stays so. Less where backups may follow
/// each other so closely that a due run would cut it off every time.
const SURE: Duration = Duration::from_secs(30);
/// Why nothing of a time before is deleted by schedule.
const ELSEWHERE: &str =
    "its parts lie where the cluster was before it became the provider's, and cannot be looked at";
/// Why nothing is deleted by schedule.
const PROVIDER: &str = "the provider keeps and prunes its backups itself";

/// Notes what is gone, and decides about the rest. `Err` in the answer: why the list could not be read.
pub(crate) async fn retain(
    context: &Context,
    saas: &Saas,
    address: &SaasAddress,
    rules: &[RetentionRule],
    backups: &[Backup],
    yield_now: &CancellationToken,
) -> Result<(Vec<Decision>, Option<String>), StoreError> {
    // The list of one cluster tells nothing of another's.
    let of_it = |backup: &&Backup| saas::is_of(&backup.run, address);
    let sure = SURE.min(address.min_interval / 3);
    let gone = gone(context, saas, backups.iter().filter(of_it).collect(), sure, yield_now).await;
    let trouble = match gone {
        Ok(gone) => {
            note(context, &gone).await?;
            None
        }
        Err(error) => Some(format!("what the provider still keeps could not be read: {error}")),
    };
    let complete = backups.iter().map(|backup| backup.run.run_id).collect();
    let mut decisions = decide(rules, backups, &complete, None);
    leave_alone(&mut decisions, backups);
    keep(&mut decisions, backups, elsewhere, ELSEWHERE);
    Ok((decisions, trouble))
}

/// What a provider has is not deleted by schedule, wherever the cluster is by now.
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

/// Whether parts of it lie where the cluster was before it became the provider's: they cannot be looked at from here.
fn elsewhere(backup: &Backup) -> bool {
    backup.run.view.components.keys().any(|component| *component != saas::SAAS)
}

/// Whether the provider has, or may have, something of it.
fn holds_something(backup: &Backup) -> bool {
    saas::may_have(&backup.run.view)
}

/// Completed and failed ones that the list has no more; one look alone is not believed.
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
        // The next pass looks again.
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
            reason = "the provider's list has it no more, and we did not delete it"
        );
    }
    Ok(())
}
