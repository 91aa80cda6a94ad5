//! Applies a config to the daemon, at start-up and on reload.
//!
//! Owns the order: the config is stored first, then used. If storing fails, the old config stays active. Must
//! not load files.

use super::{Daemon, DaemonError};
use crate::config::{ClusterConfig, Config};
use crate::context::Spec;
use crate::domain::{Keep, RetentionGroup};
use crate::lock::lock;
use crate::queue::ClusterSettings;
use crate::retention::RetentionRule;
use crate::store::{ClusterRow, TimetableRow};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

impl Daemon {
    /// Makes `new` the active config. If the config cannot be stored, the old config stays active.
    pub async fn apply(&self, new: impl Into<Arc<Config>>) -> Result<(), DaemonError> {
        let new = new.into();
        let store = &self.context.store;
        let rows = new
            .clusters
            .values()
            .map(|c| ClusterRow {
                name: c.name.clone(),
                uuid: cluster_uuid(&self.context.instance, &c.name),
                addresses: c.addresses.clone(),
                configured: true,
                state_behind: None,
            })
            .collect();
        self.timetable.settle().await?;
        let known = store.timetable().await?;
        // Store all parts of the config before using any of them: after a failed write the old config stays
        // active (rule I12).
        let timetable = self.timetable.planned(&new.pair_times(), &known);
        store.set_timetable(timetable.rows()).await?;
        store.set_clusters(rows).await?;
        self.forget_probes(&new);
        // The writes may have taken long, so claim the occurrences that came due meanwhile. None can come due
        // between this line and the change of the timetable.
        self.timetable.settle().await?;
        self.timetable.take_over(timetable);
        self.queue.configure(settings(&new, &known));
        self.dispatch.lock().await.sync().await?;
        let (clusters, schedules) = (new.clusters.len(), new.schedules.len());
        self.config.store(new);
        *lock(&self.config_refused) = None;
        tracing::info!(event = "config.loaded", clusters, schedules);
        Ok(())
    }
}

/// UUID of a cluster in the API routes that have the shape of Camunda 8 SaaS. Derived from instance and
/// cluster name (version 5), so it never changes.
pub(crate) fn cluster_uuid(instance: &str, cluster: &str) -> uuid::Uuid {
    let namespace = uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_URL, b"camunda-backupd");
    uuid::Uuid::new_v5(&namespace, format!("{instance}/{cluster}").as_bytes())
}

/// Returns the queue settings of each cluster.
pub(crate) fn settings(config: &Config, known: &[TimetableRow]) -> BTreeMap<String, ClusterSettings> {
    config
        .clusters
        .values()
        .map(|cluster| {
            let settings = ClusterSettings {
                spec: spec(cluster),
                rules: rules(config, cluster, known),
                schedules: config
                    .schedules
                    .values()
                    .filter(|s| s.enabled && s.clusters.contains(&cluster.name))
                    .map(|s| s.name.clone())
                    .collect(),
                manual_min_interval: cluster.manual.min_interval,
            };
            (cluster.name.clone(), settings)
        })
        .collect()
}

/// Returns the settings of the runs of a cluster.
pub(crate) fn spec(cluster: &ClusterConfig) -> Spec {
    Spec {
        addresses: cluster.addresses.clone(),
        version: cluster.version.as_ref().map(ToString::to_string),
        limits: cluster.limits,
    }
}

/// Returns the retention rules of a cluster. The group of a schedule that no longer names the cluster is
/// frozen: retention deletes none of its backups.
fn rules(config: &Config, cluster: &ClusterConfig, known: &[TimetableRow]) -> Vec<RetentionRule> {
    let manual = Keep { successful: cluster.manual.keep, failed: cluster.manual.failed };
    let mut rules = vec![
        RetentionRule { group: RetentionGroup::Manual, keep: manual, frozen: false },
        RetentionRule { group: RetentionGroup::Adopted, keep: manual, frozen: false },
    ];
    let mut named = BTreeSet::new();
    for schedule in config.schedules.values().filter(|s| s.clusters.contains(&cluster.name)) {
        named.insert(schedule.name.clone());
        rules.push(RetentionRule {
            group: RetentionGroup::Schedule(schedule.name.clone()),
            keep: schedule.keep,
            frozen: false,
        });
    }
    for row in known.iter().filter(|row| row.cluster == cluster.name && !named.contains(&row.schedule)) {
        rules.push(RetentionRule {
            group: RetentionGroup::Schedule(row.schedule.clone()),
            keep: Keep::default(),
            frozen: true,
        });
    }
    rules
}
