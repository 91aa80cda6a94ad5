//! Locations of the parts of one backup: the API of a component, or snapshots in a repository. Each location
//! can be probed and deleted.
//!
//! Derives the locations from the requests in the journal of the run. Must not decide whether to delete.

use crate::camunda::snapshot::state_of;
use crate::camunda::{ClientError, Part, PartState, Progress, Search, Snapshot, SnapshotState, id_in_name};
use crate::context::Clients;
use crate::domain::OwnershipTag;
use crate::domain::{Addresses, BackupId, Component};
use crate::journal::{ComponentView, Run, Step};
use crate::parts::part::ListedPart;
use crate::parts::part_of;
use crate::retention::ownership::RecordsShown;

/// API or repository in which a component may hold parts of one backup.
pub(crate) struct Location {
    /// Component that owns the part.
    pub component: Component,
    route: Route,
}

enum Route {
    /// The component's own list.
    Listed(Box<dyn ListedPart>),
    /// Snapshots of a web app, by the names that the app announced. They include parts that the app's API
    /// does not list.
    Named {
        search: Search,
        repository: String,
        names: Vec<String>,
    },
    Records {
        search: Search,
        repository: String,
        name: String,
    },
}

/// Result of the probe of one location.
pub(crate) struct LocationState {
    pub component: Component,
    pub seen: PartState,
    /// Name and ownership tag of the records snapshot. `None` for other parts.
    pub records: Option<RecordsShown>,
}

/// Returns the locations in the order of deletion. Records are last, because their ownership tag is the
/// proof. A component without a start request holds no part of this run. `Err` names a component with a start
/// request that has no address in the config any more.
pub(crate) fn locations(
    run: &Run,
    addresses: &Addresses,
    clients: &Clients,
) -> Result<Vec<Location>, String> {
    let mut locations = Vec::new();
    let others = Component::ALL.into_iter().filter(|c| !matches!(c, Component::Zeebe | Component::Records));
    for component in std::iter::once(Component::Zeebe).chain(others) {
        let Some(view) = requested(run, component) else { continue };
        let before = locations.len();
        let part = part_of(component, addresses, clients);
        if let Some(part) = &part {
            locations
                .extend(part.listed(run)?.map(|part| Location { component, route: Route::Listed(part) }));
        }
        let names = named_after(run.view.identified.unwrap_or(run.backup_id), &view.names);
        if let (Some(search), Some(repository), false) = (&clients.search, &view.repository, names.is_empty())
        {
            let (search, repository) = (search.clone(), repository.clone());
            locations.push(Location { component, route: Route::Named { search, repository, names } });
        }
        if part.is_none() && locations.len() == before {
            return Err(out_of_reach(component, run));
        }
    }
    if let Some(view) = requested(run, Component::Records) {
        let configured = addresses.search.as_ref().map(|s| s.repository.clone());
        let (Some(search), Some(repository)) = (&clients.search, view.repository.clone().or(configured))
        else {
            return Err(out_of_reach(Component::Records, run));
        };
        let name = view.names.first().cloned().unwrap_or_else(|| Search::records_name(run.backup_id));
        locations.push(Location::records(search, repository, name));
    }
    Ok(locations)
}

/// Location of a records snapshot under the id of a run that never requested one. If this snapshot exists,
/// another instance took it and also owns the other parts under this id.
pub(crate) fn records_of_another(run: &Run, addresses: &Addresses, clients: &Clients) -> Option<Location> {
    let (search, address) = (clients.search.as_ref()?, addresses.search.as_ref()?);
    let name = Search::records_name(run.backup_id);
    requested(run, Component::Records)
        .is_none()
        .then(|| Location::records(search, address.repository.clone(), name))
}

/// Whether the run requested a start from any component. Otherwise no part of the run can exist.
pub(crate) fn has_requested(run: &Run) -> bool {
    run.view.components.keys().any(|component| requested(run, *component).is_some())
}

fn requested(run: &Run, component: Component) -> Option<&ComponentView> {
    let view = run.view.components.get(&component)?;
    (run.view.intended.contains(&Step::Start(component)) || view.requested_at.is_some()).then_some(view)
}

fn out_of_reach(component: Component, run: &Run) -> String {
    format!(
        "{component} holds a part and cluster {} has no address for it any more: put the address back or delete the \
         part manually",
        run.cluster
    )
}

impl Location {
    fn records(search: &Search, repository: String, name: String) -> Self {
        Self {
            component: Component::Records,
            route: Route::Records { search: search.clone(), repository, name },
        }
    }

    pub(crate) fn is_records(&self) -> bool {
        self.component == Component::Records
    }

    /// Whether the location only lists parts that another location of the same component may have missed.
    pub(crate) fn is_second_probe(&self) -> bool {
        matches!(self.route, Route::Named { .. })
    }

    pub(crate) async fn probe(&self, id: BackupId) -> Result<LocationState, ClientError> {
        let mut records = None;
        let seen = match &self.route {
            Route::Listed(part) => part.see(id).await?,
            Route::Named { search, repository, names } => named(search, repository, names).await?,
            Route::Records { search, repository, name } => {
                let snapshot = search.see_snapshot(repository, name).await?;
                records = snapshot.as_ref().map(|snapshot| RecordsShown {
                    name: snapshot.name.clone(),
                    tag: snapshot.metadata.as_ref().and_then(OwnershipTag::read),
                });
                state_of(snapshot.as_ref())
            }
        };
        Ok(LocationState { component: self.component, seen, records })
    }

    /// Requests deletion of the parts that the probe found. An accepted request may take effect later or not
    /// at all, so the caller must probe again.
    pub(crate) async fn delete(&self, id: BackupId, seen: &PartState) -> Result<(), ClientError> {
        match &self.route {
            Route::Listed(part) => part.delete(id).await,
            Route::Named { search, repository, .. } => {
                for part in seen.progress().map(|p| p.parts.as_slice()).unwrap_or_default() {
                    search.delete_snapshot(repository, &part.name).await?;
                }
                Ok(())
            }
            Route::Records { search, repository, name } => {
                search.delete_snapshot(repository, name).await.map(|_| ())
            }
        }
    }
}

async fn named(search: &Search, repository: &str, names: &[String]) -> Result<PartState, ClientError> {
    let listed = search.snapshots(repository, &format!("{}*", common_beginning(names))).await?;
    let ours: Vec<_> = listed.iter().filter(|snapshot| names.contains(&snapshot.name)).collect();
    let part = |s: &&Snapshot| Part { name: s.name.clone(), started_at: s.started_at, ..Part::default() };
    let parts: Vec<Part> = ours.iter().map(part).collect();
    Ok(match ours.iter().any(|s| s.state == SnapshotState::InProgress) {
        _ if ours.is_empty() => PartState::Absent,
        true => PartState::Running(Progress { parts }),
        false if ours.len() == names.len() && ours.iter().all(|s| s.state == SnapshotState::Success) => {
            PartState::Completed(Progress { parts })
        }
        false => PartState::Incomplete(Progress { parts }),
    })
}

/// Snapshot names with the id of this backup, or without an id. A web app may have announced snapshots of
/// another backup, which are not deleted with this one (rule I8).
fn named_after(id: BackupId, names: &[String]) -> Vec<String> {
    names.iter().filter(|name| id_in_name(name).is_none_or(|of| of == id.get())).cloned().collect()
}

/// Common prefix of all names, so that one list request finds all snapshots.
fn common_beginning(names: &[String]) -> &str {
    let Some((first, rest)) = names.split_first() else { return "" };
    let mut length = first.len();
    for name in rest {
        let same = first.bytes().zip(name.bytes()).take_while(|(a, b)| a == b).count();
        length = length.min(same);
    }
    first.get(..length).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use crate::domain::BackupId;
    use crate::upkeep::delete::location::{common_beginning, named_after};

    #[test]
    fn the_names_of_a_backups_parts_share_their_beginning() {
        let names = |all: &[&str]| all.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        let parts = names(&["camunda_operate_7_8.6.0_part_1_of_6", "camunda_operate_7_8.6.0_part_2_of_6"]);
        assert_eq!(common_beginning(&parts), "camunda_operate_7_8.6.0_part_");
        assert_eq!(common_beginning(&names(&["one"])), "one");
        assert_eq!(common_beginning(&names(&["one", "two"])), "");
        assert_eq!(common_beginning(&[]), "");
    }

    /// The journal may contain snapshot names of another backup, for example if a gateway mixed up two
    /// responses.
    #[test]
    fn parts_of_another_backup_are_not_deleted_with_this_one() {
        let names = [
            "camunda_operate_7_8.6.0_part_1_of_6",
            "camunda_operate_17_8.6.0_part_1_of_6",
            "named_otherwise",
        ];
        let names: Vec<String> = names.map(String::from).into();
        let id = BackupId::new(17).unwrap();
        assert_eq!(named_after(id, &names), names[1..]);
    }
}
