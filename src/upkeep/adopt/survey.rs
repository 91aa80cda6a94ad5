//! Survey of a cluster: the backup ids in every component, and the records snapshots with their ownership
//! tags.
//!
//! Read-only. If a list cannot be read, the whole survey fails, because an unknown list is not an empty list.

use crate::camunda::Snapshot;
use crate::camunda::id_in_name;
use crate::context::{Clients, Context, Spec};
use crate::domain::OwnershipTag;
use crate::domain::{BackupId, Component};
use std::collections::{BTreeMap, BTreeSet};

/// Backup ids and records snapshots that a survey found.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    /// Every backup id, with the components that list it.
    pub ids: BTreeMap<i64, BTreeSet<Component>>,
    /// The records snapshots, by backup id.
    pub records: BTreeMap<BackupId, Snapshot>,
}

impl Survey {
    /// Ownership tag on the records snapshot with this id. `None` without a snapshot or a readable tag.
    pub(crate) fn tag(&self, id: BackupId) -> Option<OwnershipTag> {
        self.records.get(&id)?.metadata.as_ref().and_then(OwnershipTag::read)
    }

    /// Largest id listed by any component.
    pub(crate) fn largest(&self) -> i64 {
        self.ids.keys().next_back().copied().unwrap_or(0)
    }

    fn add(&mut self, id: i64, component: Component) {
        self.ids.entry(id).or_default().insert(component);
    }
}

/// Reads the backup lists of all components and of the snapshot repositories.
pub(crate) async fn survey(context: &Context, spec: &Spec) -> Result<Survey, String> {
    let clients = Clients::new(&spec.addresses, &context.transport);
    let mut found = Survey::default();
    let listed =
        clients.zeebe.list().await.map_err(|e| format!("zeebe's backups could not be listed: {e}"))?;
    for line in listed {
        found.add(line.id, Component::Zeebe);
    }
    let mut by_name = false;
    if let (Some(search), Some(address)) = (&clients.search, &spec.addresses.search) {
        for repository in BTreeSet::from([&address.repository, &address.webapps_repository]) {
            let snapshots = search
                .snapshots(repository, "camunda_*")
                .await
                .map_err(|e| format!("the snapshots of repository {repository} could not be listed: {e}"))?;
            for snapshot in snapshots {
                let Some((id, component)) = id_in_name(&snapshot.name).zip(owner(&snapshot.name)) else {
                    continue;
                };
                found.add(id, component);
                if component == Component::Records
                    && *repository == address.repository
                    && let Some(id) = BackupId::new(id)
                {
                    found.records.insert(id, snapshot);
                }
            }
        }
        by_name = true;
    }
    for (component, app) in &clients.apps {
        match app.list().await {
            Ok(listed) => listed.iter().for_each(|line| found.add(line.id, *component)),
            // Operate on OpenSearch rejects the list request while it takes a part. The names of the
            // snapshots already gave all ids.
            Err(_) if by_name => {}
            Err(error) => return Err(format!("{component}'s backups could not be listed: {error}")),
        }
    }
    Ok(found)
}

/// Component that owns a snapshot, derived from the snapshot name.
fn owner(name: &str) -> Option<Component> {
    let rest = name.strip_prefix("camunda_")?;
    if rest.starts_with("zeebe_records_backup_") {
        return Some(Component::Records);
    }
    match rest.split('_').next()? {
        "webapps" => Some(Component::History),
        app => Component::from_name(app),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owner_of_a_snapshot_is_read_from_its_name() {
        assert_eq!(owner("camunda_operate_17_8.6.0_part_1_of_6"), Some(Component::Operate));
        assert_eq!(owner("camunda_optimize_17_8.6.0_part_1_of_2"), Some(Component::Optimize));
        assert_eq!(owner("camunda_webapps_17_8.8.0_part_1_of_6"), Some(Component::History));
        assert_eq!(owner("camunda_zeebe_records_backup_17"), Some(Component::Records));
        assert_eq!(owner("nightly_17"), None);
    }
}
