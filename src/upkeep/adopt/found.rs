//! State of a backup that is to be adopted, read from its components. The backup is adopted as completed only
//! if every component reports it complete.

use crate::camunda::snapshot::state_of;
use crate::camunda::{PartState, Progress, Snapshot};
use crate::context::{Clients, Spec};
use crate::domain::{BackupId, Component, Family, Instant};
use crate::journal::{ComponentView, FailureClass, Outcome, RunStatus, RunView};
use serde_json::json;
use std::collections::BTreeMap;

/// State of one backup in all components.
pub(crate) struct Found {
    seen: BTreeMap<Component, PartState>,
    records: Snapshot,
    repositories: BTreeMap<Component, String>,
}

/// Probes every configured component. `Err` if a component is still taking the backup or reports no clear
/// state.
pub(crate) async fn probe(
    clients: &Clients,
    spec: &Spec,
    id: BackupId,
    records: &Snapshot,
) -> Result<Found, String> {
    let mut seen = BTreeMap::new();
    let failed = |component: Component, error: &dyn std::fmt::Display| {
        format!("{component} could not be probed for backup {id}: {error}")
    };
    let zeebe = clients.zeebe.see(id).await.map_err(|e| failed(Component::Zeebe, &e))?;
    seen.insert(Component::Zeebe, zeebe);
    for (component, app) in &clients.apps {
        let probe = app.see(id).await.map_err(|e| failed(*component, &e))?;
        seen.insert(*component, probe);
    }
    seen.insert(Component::Records, state_of(Some(records)));
    for (component, probe) in &seen {
        if matches!(probe, PartState::Running(_) | PartState::Unclear { .. }) {
            return Err(format!(
                "{component} is still taking backup {id} or its state is unclear: {}",
                probe.describe()
            ));
        }
    }
    let mut repositories = BTreeMap::new();
    if let Some(search) = &spec.addresses.search {
        repositories.insert(Component::Records, search.repository.clone());
        for app in clients.apps.keys() {
            repositories.insert(*app, search.webapps_repository.clone());
        }
    }
    Ok(Found { seen, records: records.clone(), repositories })
}

impl Found {
    /// Start time of the backup, and a run view that is derived from the component states. `now` is used if
    /// no component reports a time.
    pub(crate) fn view(&self, now: Instant) -> (Instant, RunView) {
        let times = |seen: &PartState| -> Vec<Instant> {
            let parts = seen.progress().map(|p| p.parts.as_slice()).unwrap_or_default();
            parts.iter().flat_map(|p| [p.started_at, p.updated_at]).flatten().collect()
        };
        let all: Vec<Instant> = self.seen.values().flat_map(times).collect();
        let first = all.iter().min().copied().unwrap_or(now);
        let last = all.iter().max().copied().unwrap_or(now);
        let version = self.seen.get(&Component::Zeebe).and_then(PartState::progress);
        let version = version.and_then(|p| p.parts.iter().find_map(|part| part.broker_version.clone()));
        let (status, outcome) = self.outcome();
        let view = RunView {
            status,
            version,
            family: Some(if self.seen.contains_key(&Component::History) {
                Family::V88OnSearch
            } else {
                Family::V82To87
            }),
            records_indices: self.records.indices.clone(),
            components: self.seen.iter().map(|(c, seen)| (*c, self.component(*c, seen, first))).collect(),
            started_at: Some(first),
            finished_at: Some(last),
            outcome: Some(outcome),
            ..RunView::default()
        };
        (first, view)
    }

    fn component(&self, component: Component, seen: &PartState, first: Instant) -> ComponentView {
        let parts = seen.progress().map(|p| p.parts.as_slice()).unwrap_or_default();
        let is_snapshot = component != Component::Zeebe;
        let names = match component {
            Component::Records => vec![self.records.name.clone()],
            _ => parts.iter().filter(|_| is_snapshot).map(|p| p.name.clone()).collect(),
        };
        ComponentView {
            state: state(seen).to_owned(),
            parts_done: parts.iter().filter(|p| p.is_done()).count() as u32,
            parts_total: parts.len() as u32,
            repository: self.repositories.get(&component).cloned().filter(|_| is_snapshot),
            names,
            // Set for every component, as if this run had requested all parts. The ownership tag proves them
            // ours, so a deletion must cover every location.
            requested_at: Some(seen.progress().and_then(Progress::earliest_start).unwrap_or(first)),
            finished_at: parts.iter().filter_map(|p| p.updated_at.or(p.started_at)).max(),
            reason: (!matches!(seen, PartState::Completed(_))).then(|| seen.describe()),
        }
    }

    fn outcome(&self) -> (RunStatus, Outcome) {
        let facts = json!({ "adopted": true, "components": self.seen });
        let whole = |(_, seen): &(&Component, &PartState)| matches!(seen, PartState::Completed(_));
        if let Some((component, seen)) = self.seen.iter().find(|found| !whole(found)) {
            let class = if *component == Component::Records {
                FailureClass::Records
            } else {
                FailureClass::Component
            };
            let reason = format!("adopted, and not whole: {component} {}", seen.describe());
            return (RunStatus::Failed, Outcome::Failed { class, reason, failure_report: facts });
        }
        if self.records.indices.is_empty() || self.records.shards_total == 0 || self.records.shards_failed > 0
        {
            let reason = format!(
                "adopted, and not whole: {} holds {} indices, and {} of {} shards failed",
                self.records.name,
                self.records.indices.len(),
                self.records.shards_failed,
                self.records.shards_total
            );
            return (
                RunStatus::Failed,
                Outcome::Failed { class: FailureClass::Records, reason, failure_report: facts },
            );
        }
        (RunStatus::Completed, Outcome::Completed { attestation: facts })
    }
}

fn state(seen: &PartState) -> &'static str {
    match seen {
        PartState::Absent => "ABSENT",
        PartState::Running(_) => "IN_PROGRESS",
        PartState::Incomplete(_) => "INCOMPLETE",
        PartState::Completed(_) => "COMPLETED",
        PartState::Failed { .. } => "FAILED",
        PartState::Unclear { .. } => "UNCLEAR",
    }
}
