//! Probes whether a finished backup is still complete in all its components, and marks a vanished backup as
//! missing.
//!
//! Must not delete anything.

use crate::camunda::PartState;
use crate::clock::within;
use crate::context::{Clients, Context};
use crate::domain::Addresses;
use crate::store::Backup;
use crate::upkeep::addresses::{last_addresses, located};
use crate::upkeep::delete::location::locations;
use crate::upkeep::delete::pass::PASS_LIMIT;

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
