//! Reads the facts that a run needs before its first step: version, components, ids in use, and the indices
//! that match the records pattern.
//!
//! Rejects a cluster that is not ready, with the checks of `preconditions`. Must not change anything in the
//! cluster.

use crate::backup::preconditions::{
    refuse_beside_snapshots, refuse_changing, refuse_leaderless, refuse_own_checkpoints, refuse_unled,
    refuse_unprocessed,
};
use crate::camunda::id_in_name;
use crate::camunda::{ClientError, ErrorKind, Exporters, probe};
use crate::context::error::StepError;
use crate::context::error::refused;
use crate::context::prepared::Prepared;
use crate::context::{Clients, Context, Spec};
use crate::domain::{Addresses, Component, Family, instant_text};
use crate::journal::FailureClass;
use crate::parts::no_index;
use crate::pause::disk_space;
use crate::pause::forecast::Forecast;
use std::sync::Arc;

/// Reads all facts that a run of this self-managed cluster needs, and checks its preconditions. A transient
/// error means that the cluster is not ready.
pub async fn prepare(context: &Context, cluster: &str, spec: &Spec) -> Result<Prepared, StepError> {
    let capabilities = probe(&spec.addresses, spec.version.as_deref(), &context.transport)
        .await
        .map_err(|error| refused("the cluster could not be examined", &error))?;
    let mut capabilities = capabilities;
    refuse_own_checkpoints(context, &capabilities)?;
    refuse_leaderless(&capabilities)?;
    refuse_changing(&capabilities)?;
    let addresses = Addresses { routes: capabilities.routes, ..spec.addresses.clone() };
    let clients = Clients::new(&addresses, &context.transport);
    // If the exporter state cannot be read, the run starts all the same. A run that must pause exporting then
    // fails with the reason.
    let exporters = clients.zeebe.exporters().await.ok().filter(|exporters| exporters.readable);
    if let Some(exporters) = &exporters {
        refuse_unprocessed(exporters)?;
        // If the config lists only some brokers, a leader may always be on an unlisted broker. The run
        // reports this at its pause, so waiting for a leader is skipped here.
        let all_requested = addresses.brokers.len().max(1) >= capabilities.brokers.len();
        if capabilities.family != Family::V89OnRdbms && all_requested {
            refuse_unled(exporters)?;
        }
    }
    if capabilities.family != Family::V89OnRdbms {
        let forecast = Forecast::of(&*context.store, cluster, context.clock.now()).await;
        if let Some((why, until)) = forecast.hopeless(spec.limits.pause_budget) {
            let reason = format!(
                "{why}: exporting is not paused. Set a longer pause_budget, or find the cause of the long pauses. A pause is attempted again from {}",
                instant_text(until)
            );
            return Err(StepError::new(FailureClass::PauseBudget, reason));
        }
        if let Some(least) = spec.limits.min_free_disk {
            let brokers = capabilities.brokers.len();
            disk_space::enough(&clients.zeebe, &*context.clock, least, &forecast, brokers).await?;
        }
    }
    let mut largest = capabilities.checkpoints.as_ref().map_or(0, |checkpoints| checkpoints.largest);
    let listed =
        clients.zeebe.list().await.map_err(|error| refused("zeebe's backups could not be listed", &error))?;
    largest = listed.iter().map(|l| l.id).fold(largest, i64::max);
    let mut records_indices = Vec::new();
    let mut by_name = false;
    if let (Some(search), Some(address)) = (&clients.search, &spec.addresses.search) {
        if search
            .red()
            .await
            .map_err(|error| refused("the search engine's health could not be read", &error))?
        {
            return Err(StepError::not_ready(
                FailureClass::Component,
                "the search engine is red: some primary shard is not there, and a snapshot of it fails; bring the shard back",
            ));
        }
        refuse_beside_snapshots(search).await?;
        let mut repositories = vec![&address.repository];
        if address.webapps_repository != address.repository {
            repositories.push(&address.webapps_repository);
        }
        for repository in repositories {
            let snapshots = search.snapshots(repository, "camunda_*").await.map_err(|error| {
                refused(&format!("the snapshots of repository {repository} could not be listed"), &error)
            })?;
            largest = snapshots.iter().filter_map(|s| id_in_name(&s.name)).fold(largest, i64::max);
        }
        by_name = true;
        if let Some(pattern) = &address.records {
            records_indices = search
                .indices(pattern)
                .await
                .map_err(|error| refused(&format!("the indices of {pattern} could not be listed"), &error))?;
            let optional = capabilities.family == Family::V88OnSearch
                && !capabilities.components.contains(&Component::Optimize);
            if records_indices.is_empty() && optional {
                // From 8.8 on, only Optimize reads the records indices. Without Optimize these indices may
                // not exist, so the run has no records part.
                capabilities.components.retain(|component| *component != Component::Records);
            } else if records_indices.is_empty() && capabilities.components.contains(&Component::Records) {
                return Err(StepError::new(FailureClass::Records, no_index(pattern)));
            }
        }
    }
    for (component, app) in &clients.apps {
        match app.list().await {
            Ok(listed) => largest = listed.iter().map(|l| l.id).fold(largest, i64::max),
            // Operate on OpenSearch rejects the list request while it takes a part. The names of the
            // snapshots already gave all ids.
            Err(error) if by_name && matches!(error.kind, ErrorKind::Refused) => {}
            Err(error) => return Err(refused(&format!("{component}'s backups could not be listed"), &error)),
        }
    }
    let partitions = capabilities.partitions.or(exporters.map(|seen| seen.partitions.len() as u32));
    Ok(Prepared {
        version: capabilities.version.to_string(),
        family: capabilities.family,
        routes: capabilities.routes,
        pause: capabilities.pause,
        components: capabilities.components,
        largest_seen: largest,
        records_indices,
        partitions,
    })
}

/// Reads the exporter state of every partition.
pub async fn exporters(context: &Context, spec: &Spec) -> Result<Exporters, ClientError> {
    Clients::new(&spec.addresses, &context.transport).zeebe.exporters().await
}

/// Checks that all credentials of a cluster can be read. The transport stores the result for health.
pub(crate) async fn check_credentials(context: &Context, spec: &Spec) {
    for (component, access) in &spec.addresses.access {
        context.transport.examine(component, Arc::new(access.clone())).await;
    }
}

/// Probes a cluster again after one of its components rejected our credentials, and checks that all
/// credentials can be read. The transport stores both results for health.
pub async fn probe_rejected_logins(context: &Context, spec: &Spec) {
    check_credentials(context, spec).await;
    if context.transport.rejections(&spec.addresses).is_empty() {
        return;
    }
    let found = probe(&spec.addresses, spec.version.as_deref(), &context.transport).await;
    let routes = found.map_or(spec.addresses.routes, |found| found.routes);
    let clients = Clients::new(&Addresses { routes, ..spec.addresses.clone() }, &context.transport);
    let _ = clients.zeebe.list().await;
    for app in clients.apps.values() {
        let _ = app.list().await;
    }
    if let (Some(search), Some(address)) = (&clients.search, &spec.addresses.search) {
        let _ = search.red().await;
        let _ = search.repository_exists(&address.repository).await;
    }
}
