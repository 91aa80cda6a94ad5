//! Deletion of backups that are proven ours, and the passes of retention that ask for it.
//!
//! Owns the walk over the places of a backup, in the order Zeebe, web apps, records last. Must not decide what goes
//! (that is `retention`) and never deletes what is not proven ours (`retention::ownership`).

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

/// What one pass over a backup came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeletionPass {
    /// Every place answers that it is gone, and the store knows it.
    Gone,
    /// Something is left, or may be: the next pass goes on.
    Left {
        /// What, one sentence.
        what: String,
    },
    /// Not proven ours: nothing was touched.
    NotOurs {
        /// Why, one sentence.
        reason: String,
    },
    /// A due run wants the cluster: nothing is outstanding, the next pass goes on.
    Yielded,
}

/// One pass of deletion over a backup that is `deleting`, at the addresses its cluster was last known by.
pub async fn delete_backup(context: &Context, backup: &Backup, yield_now: CancellationToken) -> DeletionPass {
    match last_addresses(context, backup).await {
        Ok(addresses) => delete_at(context, &addresses, backup, &yield_now).await,
        Err(what) => settle(context, backup, context.clock.monotonic(), Err(End::Left(what))).await,
    }
}

/// The same at given addresses.
pub(crate) async fn delete_at(
    context: &Context,
    addresses: &Addresses,
    backup: &Backup,
    yield_now: &CancellationToken,
) -> DeletionPass {
    let began = context.clock.monotonic();
    if backup.state != BackupState::Deleting {
        let what =
            format!("backup {} is {}, not asked to be deleted", backup.run.backup_id, backup.state.name());
        return DeletionPass::Left { what };
    }
    let mut pass = Pass::new(context, backup, yield_now);
    let end = pass.walk(addresses).await;
    settle(context, backup, began, end).await
}

/// Writes and logs what a pass came to.
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
            Err(error) => Err(End::Left(format!("it is gone, but that could not be written: {error}"))),
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
            let said =
                format!("not proven ours, nothing was touched: {reason}; delete it by hand if it may go");
            (DeletionPass::NotOurs { reason }, said)
        }
    };
    tracing::error!(
        event = "backup.delete_failed", cluster = %run.cluster, backup_id = run.backup_id.get(), run_id = %run.run_id,
        duration_ms, reason = %reason
    );
    if let Err(error) = store.deletion_tried(run.run_id, Some(reason)).await {
        tracing::error!(event = "store.unwritable", cluster = %run.cluster, run_id = %run.run_id, reason = %error);
    }
    result
}

/// Whether a good backup is still complete in all its components. One that is gone from all of them is noted as
/// missing. `Err` says what could not be told: that is neither complete nor gone.
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
    let probed = within(&*context.clock, PASS_LIMIT, look_everywhere(context, addresses, backup)).await;
    let seen = probed.unwrap_or_else(|| {
        Err(format!("backup {} could not be looked at within {} s", run.backup_id, PASS_LIMIT.as_secs()))
    })?;
    if seen.is_empty() {
        return Err(format!("backup {} names no component that could be looked at", run.backup_id));
    }
    if seen.iter().all(|seen| *seen == PartState::Absent) {
        context.store.set_missing(run.run_id).await.map_err(|error| error.to_string())?;
        tracing::error!(
            event = "backup.missing", cluster = %run.cluster, backup_id = run.backup_id.get(), run_id = %run.run_id,
            reason = "no component has it any more, and we did not delete it"
        );
        return Ok(false);
    }
    Ok(seen.iter().all(|seen| matches!(seen, PartState::Completed(_))))
}

async fn look_everywhere(
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
        let probe =
            probe.map_err(|error| format!("{} could not be looked at: {error}", location.component))?;
        if let PartState::Unclear { reason } = &probe.seen {
            return Err(format!("{} cannot say: {reason}", location.component));
        }
        all.push(probe.seen);
    }
    Ok(all)
}

/// The same with the routes of today, which after an upgrade are others than those of the run; and those where the
/// cluster cannot tell.
async fn located(context: &Context, backup: &Backup, addresses: Addresses) -> Addresses {
    let located = camunda::probe::located(&addresses, &context.transport).await;
    located.unwrap_or(Addresses { routes: backup.run.view.routes, ..addresses })
}

/// Where the cluster was last known to be: the config's word, kept by the store, before that of the run.
async fn last_addresses(context: &Context, backup: &Backup) -> Result<Addresses, String> {
    let run = &backup.run;
    let rows = context.store.clusters().await.map_err(|error: StoreError| error.to_string())?;
    if let Some(row) = rows.into_iter().find(|row| row.name == run.cluster) {
        return Ok(row.addresses);
    }
    let spec: Result<Spec, _> = serde_json::from_value(run.spec.clone());
    spec.map(|spec| spec.addresses).map_err(|error| {
        format!("nothing says where cluster {} is: put it back into the config ({error})", run.cluster)
    })
}
