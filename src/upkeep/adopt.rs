//! Adoption: detects that the state file was lost or restored from an old copy, and registers our backups
//! again by their ownership tags.
//!
//! Adopts only backups whose records snapshot has the ownership tag of our instance and cluster. Must not
//! delete anything.

mod found;
mod survey;

use crate::camunda;
use crate::context::{Clients, Context, Spec};
use crate::domain::{BackupId, Component, RunId};
use crate::domain::{OwnershipTag, id_scope};
use crate::store::{Adopted, Backup, BackupFilter};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use survey::{Survey, survey};

/// Result of `adopt`, for the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptReport {
    /// Ids of the backups that this call registered.
    pub adopted: Vec<BackupId>,
    /// Ids of backups that the state file already contains.
    pub known: Vec<BackupId>,
    /// Ids of backups that are not proven ours, each with the reason.
    pub not_ours: Vec<(i64, String)>,
    /// Other instances whose ownership tag is on snapshots of this cluster.
    pub other_instances: Vec<String>,
}

/// Adopts every backup of `cluster` whose records snapshot has the ownership tag of our instance and cluster.
/// Also raises the stored largest id and enables retention again. Idempotent. `Err` names the unreadable
/// part: backups adopted before the error stay adopted, and retention stays stopped.
pub async fn adopt(context: &Context, cluster: &str, spec: &Spec) -> Result<AdoptReport, String> {
    let again = |why: String| format!("{why}; nothing more was adopted for {cluster}, adopt it again later");
    let spec = &located(context, spec).await.map_err(again)?;
    let survey = survey(context, spec).await.map_err(again)?;
    let known = known(context, cluster).await?;
    let clients = Clients::new(&spec.addresses, &context.transport);
    let mut report =
        AdoptReport { other_instances: other_instances(context, cluster, &survey), ..Default::default() };
    for (number, components) in &survey.ids {
        let Some(id) = BackupId::new(*number) else {
            report.not_ours.push((*number, "its id is not a positive number".to_owned()));
            continue;
        };
        let tag = survey.tag(id);
        if let Some(run_id) = known.get(&id) {
            match &tag {
                Some(tag) if tag.run_id != *run_id => {
                    report.not_ours.push((
                        *number,
                        format!(
                            "the state has it as run {run_id}, its ownership tag names run {}",
                            tag.run_id
                        ),
                    ));
                }
                _ => report.known.push(id),
            }
            continue;
        }
        let (snapshot, tag) = match (survey.records.get(&id), tag) {
            (Some(snapshot), Some(tag)) if tag.instance == context.instance && tag.cluster == cluster => {
                (snapshot, tag)
            }
            (_, tag) => {
                report.not_ours.push((*number, not_ours(components, tag.as_ref())));
                continue;
            }
        };
        let probe = found::probe(&clients, spec, id, snapshot).await.map_err(again)?;
        let (created_at, view) = probe.view(context.clock.now());
        let adopted = Adopted {
            run_id: tag.run_id,
            cluster: cluster.to_owned(),
            backup_id: id,
            created_at,
            spec: serde_json::to_value(spec).unwrap_or_default(),
            view,
        };
        context.store.adopt(adopted).await.map_err(|error| again(error.to_string()))?;
        tracing::info!(event = "backup.adopted", cluster, backup_id = id.get(), run_id = %tag.run_id);
        report.adopted.push(id);
    }
    let store = &context.store;
    store
        .raise_highest_id(id_scope(cluster, &spec.addresses), survey.largest())
        .await
        .map_err(|e| again(e.to_string()))?;
    store.set_state_behind(cluster.to_owned(), None).await.map_err(|e| again(e.to_string()))?;
    Ok(report)
}

/// Returns the reason if the state file is older than the cluster. Signs are an unknown records snapshot of
/// ours, or an id above the stored largest id that no foreign tag explains. Logs a warning if a second
/// instance backs up the cluster.
pub async fn detect_behind(context: &Context, cluster: &str, spec: &Spec) -> Result<Option<String>, String> {
    let spec = &located(context, spec).await?;
    let survey = survey(context, spec).await?;
    for instance in other_instances(context, cluster, &survey) {
        tracing::warn!(
            event = "cluster.second_instance", cluster, instance = %instance,
            reason = "another daemon takes backups of this cluster: give each its own [daemon] instance and stop one"
        );
    }
    // Read the stored largest id after the survey. Ids that were assigned meanwhile to clusters of the same
    // id scope are then not larger.
    let tag = context
        .store
        .highest_id(id_scope(cluster, &spec.addresses))
        .await
        .map_err(|error| error.to_string())?;
    let runs: BTreeSet<RunId> = known(context, cluster).await?.into_values().collect();
    let gives_ids = gives_ids(context, cluster).await?;
    for (number, components) in survey.ids.iter().rev() {
        let theirs = BackupId::new(*number).and_then(|id| survey.tag(id));
        match theirs {
            Some(m)
                if m.instance == context.instance && m.cluster == cluster && !runs.contains(&m.run_id) =>
            {
                return Ok(Some(format!(
                    "backup {number} of {cluster} has our ownership tag and is not in the state: the state was lost or \
                     is old, run `adopt {cluster}`"
                )));
            }
            None if *number > tag && !gives_ids => {
                return Ok(Some(format!(
                    "{} of {cluster} shows backup {number}, above the largest id in the state, {tag}: the state was \
                     lost or is old, or another takes backups; run `adopt {cluster}`",
                    names(components)
                )));
            }
            // No sign of an old state file: the backup is known, its id is not above the largest, or a
            // foreign tag explains it.
            _ => {}
        }
    }
    Ok(None)
}

/// The given settings with the routes that the cluster has now.
async fn located(context: &Context, spec: &Spec) -> Result<Spec, String> {
    let addresses = camunda::probe::located(&spec.addresses, &context.transport)
        .await
        .map_err(|error| format!("the cluster could not be probed for its backup APIs: {error}"))?;
    Ok(Spec { addresses, ..spec.clone() })
}

/// Whether the cluster has assigned ids to our backups. Such a cluster also assigns ids to its own backups.
/// These exceed our largest id although no state was lost.
async fn gives_ids(context: &Context, cluster: &str) -> Result<bool, String> {
    let filter = BackupFilter { cluster: Some(cluster.to_owned()), existing: false, limit: 0 };
    let backups = context.store.backups(filter).await.map_err(|error| error.to_string())?;
    Ok(backups.iter().any(|backup| backup.run.view.identified.is_some()))
}

async fn known(context: &Context, cluster: &str) -> Result<BTreeMap<BackupId, RunId>, String> {
    let filter = BackupFilter { cluster: Some(cluster.to_owned()), existing: false, limit: 0 };
    let backups = context.store.backups(filter).await.map_err(|error| error.to_string())?;
    Ok(backups.into_iter().map(|Backup { run, .. }| (run.backup_id, run.run_id)).collect())
}

/// Other instances whose ownership tag is on a records snapshot of this cluster.
fn other_instances(context: &Context, cluster: &str, survey: &Survey) -> Vec<String> {
    let marks = survey.records.keys().filter_map(|id| survey.tag(*id));
    let others = marks.filter(|m| m.cluster == cluster && m.instance != context.instance).map(|m| m.instance);
    others.collect::<BTreeSet<_>>().into_iter().collect()
}

fn not_ours(components: &BTreeSet<Component>, tag: Option<&OwnershipTag>) -> String {
    match tag {
        Some(tag) => format!(
            "its records snapshot has the ownership tag of instance {}, cluster {}",
            tag.instance, tag.cluster
        ),
        None if components.contains(&Component::Records) => {
            "its records snapshot has no ownership tag".to_owned()
        }
        None => format!("it has no records snapshot that could prove it ours, only {}", names(components)),
    }
}

fn names(components: &BTreeSet<Component>) -> String {
    components.iter().map(|c| c.name()).collect::<Vec<_>>().join(", ")
}
