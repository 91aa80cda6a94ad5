//! Deletion of backups that are proven ours, as requested by operators or retention.
//!
//! Runs one deletion pass over a backup (`pass`) at its locations (`location`), and stores the result. Also
//! probes whether a backup is still complete. Must not decide which backups are deleted (`retention`), and
//! never deletes a backup without proof of ownership (`retention::ownership`).

pub(crate) mod location;
pub(crate) mod pass;

pub use pass::{LOCATION_LIMIT, PASS_LIMIT, SETTLE};

use crate::camunda;
use crate::camunda::PartState;
use crate::clock::within;
use crate::context::{Clients, Context, Spec};
use crate::domain::{Addresses, BackupState};
use crate::store::{Backup, StoreError};
use location::locations;
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
        Ok(()) => match store.deletion_done(run.run_id, context.clock.now()).await {
            Ok(()) => Ok(()),
            Err(error) => Err(End::Left(format!("it is gone, but its record could not be written: {error}"))),
        },
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
    if let Err(error) = store.deletion_attempted(run.run_id, Some(reason)).await {
        tracing::error!(event = "store.unwritable", cluster = %run.cluster, run_id = %run.run_id, reason = %error);
    }
    result
}

/// Whether a good backup is still complete in all its components. A backup that is gone from all of them is
/// marked missing. `Err` names the component whose state is unknown.
pub async fn still_complete(context: &Context, backup: &Backup) -> Result<bool, String> {
    let addresses = last_addresses(context, backup).await?;
    still_complete_at(context, &addresses, backup).await
}

pub(crate) async fn still_complete_at(
    context: &Context,
    addresses: &Addresses,
    backup: &Backup,
) -> Result<bool, String> {
    let run = &backup.run;
    let probed = within(&*context.clock, PASS_LIMIT, probe_everywhere(context, addresses, backup)).await;
    let seen = probed.unwrap_or_else(|| {
        Err(format!("backup {} could not be probed within {} s", run.backup_id, PASS_LIMIT.as_secs()))
    })?;
    if seen.is_empty() {
        return Err(format!("backup {} names no component that could be probed", run.backup_id));
    }
    if seen.iter().all(|seen| *seen == PartState::Absent) {
        context.store.set_missing(run.run_id).await.map_err(|error| error.to_string())?;
        tracing::error!(
            event = "backup.missing", cluster = %run.cluster, backup_id = run.backup_id.get(), run_id = %run.run_id,
            reason = "no component lists the backup, and it was not deleted by this daemon"
        );
        return Ok(false);
    }
    Ok(seen.iter().all(|seen| matches!(seen, PartState::Completed(_))))
}

async fn probe_everywhere(
    context: &Context,
    addresses: &Addresses,
    backup: &Backup,
) -> Result<Vec<PartState>, String> {
    let addresses = &located(context, backup, addresses.clone()).await;
    let clients = Clients::new(addresses, &context.transport);
    let locations = locations(&backup.run, addresses, &clients)?;
    let mut all = Vec::new();
    for location in &locations {
        if location.is_second_probe() && clients.apps.contains_key(&location.component) {
            continue;
        }
        let probe = location.probe(backup.run.backup_id).await;
        let probe = probe.map_err(|error| format!("{} could not be probed: {error}", location.component))?;
        if let PartState::Unclear { reason } = &probe.seen {
            return Err(format!("the state of {} is unclear: {reason}", location.component));
        }
        all.push(probe.seen);
    }
    Ok(all)
}

/// The given addresses with the routes that the cluster has now, which may have changed since the run by an
/// upgrade. If the cluster does not report its routes, the routes of the run are used.
async fn located(context: &Context, backup: &Backup, addresses: Addresses) -> Addresses {
    let located = camunda::probe::located(&addresses, &context.transport).await;
    located.unwrap_or(Addresses { routes: backup.run.view.routes, ..addresses })
}

/// Last known addresses of the cluster: those stored from the config or, without them, those of the run.
async fn last_addresses(context: &Context, backup: &Backup) -> Result<Addresses, String> {
    let run = &backup.run;
    let rows = context.store.clusters().await.map_err(|error: StoreError| error.to_string())?;
    if let Some(row) = rows.into_iter().find(|row| row.name == run.cluster) {
        return Ok(row.addresses);
    }
    let spec: Result<Spec, _> = serde_json::from_value(run.spec.clone());
    spec.map(|spec| spec.addresses).map_err(|error| {
        format!("the address of cluster {} is unknown: add the cluster to the config ({error})", run.cluster)
    })
}
