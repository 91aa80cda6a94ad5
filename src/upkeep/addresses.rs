//! Addresses at which an existing backup is probed or deleted.
//!
//! Must not change anything in the cluster or the store.

use crate::camunda;
use crate::context::{Context, Spec};
use crate::domain::Addresses;
use crate::store::{Backup, StoreError};

/// The given addresses with the routes that the cluster has now, which may have changed since the run by an
/// upgrade. If the cluster does not report its routes, the routes of the run are used.
pub(crate) async fn located(context: &Context, backup: &Backup, addresses: Addresses) -> Addresses {
    let located = camunda::probe::located(&addresses, &context.transport).await;
    located.unwrap_or(Addresses { routes: backup.run.view.routes, ..addresses })
}

/// Last known addresses of the cluster: those stored from the config or, without them, those of the run.
pub(crate) async fn last_addresses(context: &Context, backup: &Backup) -> Result<Addresses, String> {
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
