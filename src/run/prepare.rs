//! What must be known before a run begins: version, components, ids in use, what the records pattern matches.
//!
//! Only looks; changes nothing in the cluster.

use super::executor::StepError;
use super::steps::OWN_IDS;
use super::{Clients, Ground, Spec};
use crate::clients::probe::routes;
use crate::clients::{Capabilities, ClientError, ErrorKind, Exporters, probe};
use crate::domain::{Addresses, Component, Family, instant_text};
use crate::journal::FailureClass;
use chrono::TimeDelta;

/// A checkpoint of the cluster's own that is older tells of a setting that has been changed since.
pub(super) const OWN_LATELY: TimeDelta = TimeDelta::hours(24);

/// What a look at the cluster showed.
pub struct Prepared {
    /// Version, family, pause, components.
    pub capabilities: Capabilities,
    /// The largest id any component or snapshot name shows.
    pub largest_seen: i64,
    /// Indices that match the records pattern.
    pub records_indices: Vec<String>,
    /// Partitions a whole Zeebe backup holds.
    pub partitions: Option<u32>,
}

/// Looks at everything a run needs.
pub async fn prepare(ground: &Ground, spec: &Spec) -> Result<Prepared, StepError> {
    let capabilities = probe(&spec.addresses, spec.version.as_deref(), &ground.transport)
        .await
        .map_err(|error| refused("the cluster could not be examined", &error))?;
    let mut capabilities = capabilities;
    refuse_own_checkpoints(ground, &capabilities)?;
    refuse_leaderless(&capabilities)?;
    let addresses = Addresses { routes: capabilities.routes, ..spec.addresses.clone() };
    let clients = Clients::new(&addresses, &ground.transport);
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
            return Err(StepError::new(
                FailureClass::Component,
                "the search engine is red: some primary shard is not there, and a snapshot of it fails; bring the shard back",
            ));
        }
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
                // Since 8.8 only Optimize reads them, and without it no exporter need write them.
                capabilities.components.retain(|component| *component != Component::Records);
            } else if records_indices.is_empty() && capabilities.components.contains(&Component::Records) {
                return Err(StepError::new(
                    FailureClass::Records,
                    format!(
                        "no index matches {pattern}: the records snapshot would be empty; check `search.records` and the exporter"
                    ),
                ));
            }
        }
    }
    for (component, app) in &clients.apps {
        match app.list().await {
            Ok(listed) => largest = listed.iter().map(|l| l.id).fold(largest, i64::max),
            // Operate on OpenSearch cannot list while any part runs; the snapshot names have told the ids already.
            Err(error) if by_name && matches!(error.kind, ErrorKind::Refused) => {}
            Err(error) => return Err(refused(&format!("{component}'s backups could not be listed"), &error)),
        }
    }
    let partitions = match capabilities.partitions {
        Some(count) => Some(count),
        None => {
            clients.zeebe.exporters().await.ok().filter(|e| e.readable).map(|e| e.partitions.len() as u32)
        }
    };
    Ok(Prepared { capabilities, largest_seen: largest, records_indices, partitions })
}

/// A cluster that lately made checkpoints or backups of its own gives the ids itself, so that the parts in the search
/// engine cannot have the same.
fn refuse_own_checkpoints(ground: &Ground, capabilities: &Capabilities) -> Result<(), StepError> {
    let own_at = capabilities.checkpoints.as_ref().and_then(|checkpoints| checkpoints.own_at);
    match own_at {
        Some(at) if capabilities.family != Family::V89OnRdbms && ground.clock.now() - at < OWN_LATELY => {
            let at = instant_text(at);
            Err(StepError::new(
                FailureClass::Component,
                format!("the cluster made a checkpoint or a backup of its own at {at}: {OWN_IDS}"),
            ))
        }
        _ => Ok(()),
    }
}

/// Of a partition without a leader nobody can take a backup.
fn refuse_leaderless(capabilities: &Capabilities) -> Result<(), StepError> {
    let without = capabilities.leaderless.as_deref().unwrap_or_default();
    if without.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = without.iter().map(ToString::to_string).collect();
    Err(StepError::new(
        FailureClass::Unreachable,
        format!("partition {} has no healthy leader: see the brokers' logs", names.join(", ")),
    ))
}

/// The same addresses with the routes by which the cluster takes backups today.
pub async fn located(ground: &Ground, addresses: &Addresses) -> Result<Addresses, ClientError> {
    let routes = routes(addresses, &ground.transport).await?;
    Ok(Addresses { routes, ..addresses.clone() })
}

/// What the partitions say, if they can be read at all.
pub async fn exporters(ground: &Ground, spec: &Spec) -> Result<Exporters, ClientError> {
    Clients::new(&spec.addresses, &ground.transport).zeebe.exporters().await
}

fn refused(what: &str, error: &ClientError) -> StepError {
    let class = match error.kind {
        ErrorKind::NotSent | ErrorKind::Lost | ErrorKind::Server => FailureClass::Unreachable,
        ErrorKind::Denied => FailureClass::Access,
        _ => FailureClass::Component,
    };
    StepError::new(class, format!("{what}: {error}"))
}

/// The id in `camunda_operate_17_8.6.0_part_1_of_6` or `camunda_zeebe_records_backup_17`.
pub fn id_in_name(name: &str) -> Option<i64> {
    let rest = name.strip_prefix("camunda_")?;
    let id = match rest.strip_prefix("zeebe_records_backup_") {
        Some(id) => id,
        None => rest.split('_').nth(1)?,
    };
    id.parse().ok().filter(|id| *id > 0)
}

#[cfg(test)]
mod tests {
    use super::id_in_name;

    #[test]
    fn ids_are_read_from_snapshot_names() {
        assert_eq!(id_in_name("camunda_operate_17_8.6.0_part_1_of_6"), Some(17));
        assert_eq!(id_in_name("camunda_optimize_18_8.6.0_part_1_of_2"), Some(18));
        assert_eq!(id_in_name("camunda_zeebe_records_backup_19"), Some(19));
        assert_eq!(id_in_name("camunda_zeebe_records_backup_x"), None);
        assert_eq!(id_in_name("somebody_elses"), None);
    }
}
