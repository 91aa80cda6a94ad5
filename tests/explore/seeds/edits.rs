//! The config file of a scenario and its edits.

use super::scenario::begin;
use crate::violence::Keeps;
use camunda_backupd::config::{Config, ScheduleConfig};
use camunda_backupd::domain::RetentionGroup;
use camunda_backupd::schedule::cron::Timing;
use camunda_backupd::store::TimetableRow;
use std::collections::{BTreeMap, BTreeSet};

/// One change of the file. A schedule is named as it was in the beginning.
#[derive(Clone, Debug)]
pub(super) enum Edit {
    Times {
        schedule: String,
        cron: &'static str,
    },
    Disable(String),
    Enable(String),
    /// To another name, and from that back again.
    Rename(String),
    /// Out of the file, and from there back again.
    Remove(String),
    /// A cluster is taken out of the file.
    TakeOut(String),
    PutBack(String),
}

/// The file as it is now.
#[derive(Clone)]
pub(super) struct File {
    whole: Config,
    removed: BTreeSet<String>,
    absent: BTreeSet<String>,
}

/// The name that a schedule has after it was renamed.
fn renamed(name: &str) -> String {
    format!("{name}-renamed")
}

/// Pairs of schedule and cluster that are due at some time, each with its times.
pub(super) type Pairs = BTreeMap<(String, String), String>;

impl File {
    pub(super) fn new(config: &Config) -> Self {
        Self { whole: config.clone(), removed: BTreeSet::new(), absent: BTreeSet::new() }
    }

    pub(super) fn change(&mut self, edit: &Edit) {
        match edit {
            Edit::Times { schedule, cron } => {
                let timing = Timing::cron(cron, begin()).unwrap();
                self.each(schedule, |s| {
                    timing.canonical().clone_into(&mut s.times_key);
                    s.timing = timing.clone();
                });
            }
            Edit::Disable(schedule) => self.each(schedule, |s| s.enabled = false),
            Edit::Enable(schedule) => self.each(schedule, |s| s.enabled = true),
            Edit::Rename(schedule) => {
                let (from, to) = if self.whole.schedules.contains_key(schedule) {
                    (schedule.clone(), renamed(schedule))
                } else {
                    (renamed(schedule), schedule.clone())
                };
                if let Some(mut moved) = self.whole.schedules.remove(&from) {
                    moved.name.clone_from(&to);
                    self.whole.schedules.insert(to, moved);
                }
            }
            Edit::Remove(schedule) => {
                if !self.removed.remove(schedule) {
                    self.removed.insert(schedule.clone());
                }
            }
            Edit::TakeOut(cluster) => drop(self.absent.insert(cluster.clone())),
            Edit::PutBack(cluster) => drop(self.absent.remove(cluster)),
        }
    }

    fn each(&mut self, schedule: &str, change: impl Fn(&mut ScheduleConfig)) {
        for name in [schedule.to_owned(), renamed(schedule)] {
            if let Some(schedule) = self.whole.schedules.get_mut(&name) {
                change(schedule);
            }
        }
    }

    /// The config as the loader returns it.
    pub(super) fn config(&self) -> Config {
        let mut config = self.whole.clone();
        let gone = |name: &str| self.removed.iter().any(|r| name == r || name == renamed(r));
        config.schedules.retain(|name, _| !gone(name));
        config.clusters.retain(|name, _| !self.absent.contains(name));
        for schedule in config.schedules.values_mut() {
            schedule.clusters.retain(|cluster| !self.absent.contains(cluster));
        }
        config.schedules.retain(|_, schedule| !schedule.clusters.is_empty());
        config
    }
}

/// Pairs of schedule and cluster of a config.
pub(super) fn pairs(config: &Config) -> Pairs {
    let enabled = config.schedules.values().filter(|s| s.enabled);
    enabled
        .flat_map(|s| s.clusters.iter().map(|c| ((s.name.clone(), c.clone()), s.times_key.clone())))
        .collect()
}

/// The same for the rows of a store.
pub(super) fn active(rows: &[TimetableRow]) -> impl Iterator<Item = &TimetableRow> {
    rows.iter().filter(|row| row.active)
}

/// Number of newer good backups after which one is deleted, per retention group of a config.
pub(super) fn keeps(config: &Config) -> Keeps {
    let mut keeps = Keeps::new();
    for (name, cluster) in &config.clusters {
        keeps.insert((name.clone(), RetentionGroup::Manual), cluster.manual.keep);
        keeps.insert((name.clone(), RetentionGroup::Adopted), cluster.manual.keep);
    }
    for schedule in config.schedules.values() {
        for cluster in &schedule.clusters {
            let group = RetentionGroup::Schedule(schedule.name.clone());
            keeps.insert((cluster.clone(), group), schedule.keep.successful);
        }
    }
    keeps
}
