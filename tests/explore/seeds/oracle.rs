//! Oracle: checks a scenario by the rules of the design, from store and clusters.

use super::edits::{Pairs, keeps, pairs};
use super::people::People;
use super::scenario::Scenario;
use super::times::Times;
use crate::violence::Keeps;
use camunda_backupd::api::Live;
use camunda_backupd::config::Config;
use camunda_backupd::domain::{BackupState, Instant, RetentionGroup, RunId};
use camunda_backupd::journal::{Outcome, Run, RunView};
use camunda_backupd::sim::{SharedCluster, Storage, locked};
use camunda_backupd::store::{Backup, BackupFilter, OccurrenceOutcome, SharedStore};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(super) struct Oracle {
    pub wrong: Vec<String>,
    /// Runs that had not ended at the last check.
    unfinished: BTreeSet<RunId>,
    times: Times,
}

impl Oracle {
    pub(super) fn new(scenario: &Scenario) -> Self {
        Self { times: Times::new(scenario.jumps()), ..Self::default() }
    }

    fn report(&mut self, violation: String) {
        if self.wrong.len() < 20 && !self.wrong.contains(&violation) {
            self.wrong.push(violation);
        }
    }

    /// The file was edited.
    pub(super) fn edited(&mut self, before: &Pairs, after: &Pairs) {
        self.times.edited(before, after);
    }

    /// A reload failed.
    pub(super) fn half_reloaded(&mut self, before: &Pairs, after: &Pairs) {
        self.times.half_reloaded(before, after);
    }

    /// A rejected config changes nothing, and is shown (rule I12).
    pub(super) fn unchanged(&mut self, running: &Config, live: &Live) {
        if pairs(running) != pairs(&live.config) || !running.clusters.keys().eq(live.config.clusters.keys()) {
            self.report("I12: a refused config has changed the running config".into());
        }
        if live.config_refused.is_none() {
            self.report("I12: a refused config is not shown".into());
        }
    }

    /// Rows of the timetable after a tick; and the active config, if its claims can be written.
    pub(super) async fn follow(&mut self, memory: &SharedStore, running: Option<&Config>, now: Instant) {
        let rows = memory.timetable().await.unwrap_or_default();
        for wrong in self.times.follow(&rows, running, now) {
            self.report(wrong);
        }
    }

    /// Rules for every moment.
    pub(super) async fn probe(&mut self, memory: &SharedStore, clusters: &[SharedCluster]) {
        let pending_resumes = memory.pending_resumes().await.unwrap_or_default();
        for cluster in clusters {
            let (name, paused) = {
                let cluster = locked(cluster);
                (cluster.config.name.clone(), cluster.pauses.since.is_some())
            };
            if paused && !pending_resumes.iter().any(|pending_resume| pending_resume.cluster == name) {
                self.report(format!("I1: exporting of {name} is paused without a pending resume"));
            }
        }
        let unfinished = memory.unfinished().await.unwrap_or_default();
        let unfinished: BTreeSet<RunId> = unfinished.into_iter().map(|run| run.run_id).collect();
        let ended: Vec<RunId> = self.unfinished.difference(&unfinished).copied().collect();
        self.unfinished = unfinished;
        for run_id in ended {
            let Ok(Some(run)) = memory.run(run_id).await else { continue };
            // An operator may have deleted it before this check.
            let backup = memory.backup(run.cluster.clone(), run.backup_id).await.ok().flatten();
            let goes = backup.is_some_and(|backup| backup.deletion.is_some_and(|d| d.by == "command"));
            if matches!(run.view.outcome, Some(Outcome::Completed { .. })) && !goes {
                self.whole(&run, clusters, "when it was called completed");
            }
        }
    }

    fn whole(&mut self, run: &Run, clusters: &[SharedCluster], when: &str) {
        let Some(cluster) = clusters.iter().find(|c| locked(c).config.name == run.cluster) else { return };
        let cluster = locked(cluster);
        let id = run.backup_id.get();
        let wrong = match cluster.config.storage {
            Storage::Saas => {
                let uuid = run.view.components.values().next().and_then(|c| c.names.first());
                let there = cluster.saas.backups.iter().any(|b| Some(&b.uuid) == uuid);
                // Camunda 8 SaaS deletes backups on its own.
                (!there && when.starts_with("when")).then(|| "the provider has none".to_owned())
            }
            Storage::Rdbms => {
                (!cluster.backups.contains_key(&id)).then(|| "the brokers have none".to_owned())
            }
            _ => {
                let restored = cluster.restore(id);
                (!restored.is_whole())
                    .then(|| format!("{} records lost, {} doubled", restored.lost(), restored.duplicates()))
            }
        };
        drop(cluster);
        if let Some(reason) = wrong {
            self.report(format!("I6: backup {id} of {} was not whole {when}: {reason}", run.cluster));
        }
    }

    /// Rules for the end. Returns the number of runs and of completed runs.
    pub(super) async fn conclude(
        &mut self,
        config: &Config,
        people: &People,
        memory: &SharedStore,
        clusters: &[SharedCluster],
    ) -> (usize, usize) {
        self.probe(memory, clusters).await;
        for pending_resume in memory.pending_resumes().await.unwrap() {
            self.report(format!(
                "I1: a resume of {} is still pending: {:?}",
                pending_resume.cluster, pending_resume.last_error
            ));
        }
        for cluster in clusters {
            if locked(cluster).pauses.since.is_some() {
                self.report("I1: exporting is left paused".into());
            }
        }
        let backups = memory.backups(BackupFilter::default()).await.unwrap();
        self.journals(memory, &backups).await;
        self.ids(&backups);
        self.occurrences(memory, &backups).await;
        self.retention(&keeps(config), people, &backups, clusters);
        if std::env::var_os("JOURNALS").is_some() {
            for backup in &backups {
                let run = &backup.run;
                println!(
                    "backup {} of {}, {}, {:?}",
                    run.backup_id,
                    run.cluster,
                    backup.state.name(),
                    backup.deletion
                );
                for entry in memory.journal(run.run_id).await.unwrap() {
                    println!("  {} {:?}", entry.at, entry.event);
                }
            }
        }
        let completed = backups.iter().filter(|b| b.run.view.reason().is_none()).count();
        (backups.len(), completed)
    }

    async fn journals(&mut self, memory: &SharedStore, backups: &[Backup]) {
        for backup in backups {
            let journal = memory.journal(backup.run.run_id).await.unwrap();
            match RunView::replay(&journal) {
                Ok(view) if view == backup.run.view => {}
                Ok(_) => self.report("I10: a journal does not give the view".into()),
                Err(error) => self.report(format!("I10: {error}")),
            }
            if !backup.run.view.ended() {
                self.report(format!("a run did not end: in {:?}", backup.run.view.step));
            }
        }
    }

    fn ids(&mut self, backups: &[Backup]) {
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        let mut by_creation: Vec<&Backup> = backups.iter().collect();
        by_creation.sort_by_key(|b| b.run.run_id);
        for backup in by_creation {
            let id = backup.run.backup_id.get();
            if let Some(before) = last.insert(&backup.run.cluster, id).filter(|before| *before >= id) {
                self.report(format!("I3: id {id} after {before}"));
            }
        }
    }

    /// Each due instant has exactly one outcome, and none is left waiting (rules I5, I13).
    async fn occurrences(&mut self, memory: &SharedStore, backups: &[Backup]) {
        let rows = memory.occurrences(None, None, 0).await.unwrap();
        if std::env::var_os("JOURNALS").is_some() {
            for row in rows.iter().rev() {
                println!(
                    "{}, {} of them, {:?}: {}",
                    of(row),
                    row.count,
                    row.outcome,
                    row.reason.as_deref().unwrap_or("-")
                );
            }
        }
        for row in rows.iter().filter(|row| row.outcome == OccurrenceOutcome::Waiting) {
            self.report(format!("I13: {} still waits", of(row)));
        }
        for row in rows.iter().filter(|row| row.outcome == OccurrenceOutcome::Skipped && row.reason.is_none())
        {
            self.report(format!("I13: {} is skipped without a reason", of(row)));
        }
        let mut served: BTreeMap<_, usize> = BTreeMap::new();
        for occurrence in backups.iter().flat_map(|b| &b.run.occurrences) {
            *served.entry(occurrence).or_default() += 1;
        }
        if let Some((occurrence, times)) = served.iter().find(|(_, times)| **times > 1) {
            self.report(format!("I5: {} of {} ran {times} times", occurrence.schedule, occurrence.due_at));
        }
        for wrong in self.times.judge(&rows) {
            self.report(wrong);
        }
    }

    fn retention(&mut self, keeps: &Keeps, people: &People, backups: &[Backup], clusters: &[SharedCluster]) {
        let hosted = |cluster: &str| {
            let named = |c: &&SharedCluster| locked(c).config.name == cluster;
            clusters.iter().find(named).is_some_and(|c| locked(c).config.storage == Storage::Saas)
        };
        for backup in backups {
            let (id, requested) = (backup.run.backup_id, people.deleted.contains(&backup.run.run_id));
            if people.pinned.contains(&backup.run.run_id) && !backup.held {
                self.report(format!("backup {id} is not held, although the command confirmed the hold"));
            }
            match backup.state {
                BackupState::Deleted | BackupState::Missing => {}
                BackupState::Deleting => {
                    let why = backup.deletion.as_ref().and_then(|d| d.last_error.clone()).unwrap_or_default();
                    // Zeebe deletes no backup that a stalled partition still takes; a report of it is enough.
                    // A request delivered twice creates an apparently foreign backup: it is reported and not deleted.
                    if !why.contains("in progress") && !why.contains("never accepted our request") {
                        self.report(format!("the deletion of backup {id} does not end: {why}"));
                    }
                }
                other if requested => {
                    self.report(format!("backup {id} was to be deleted, and is {}", other.name()));
                }
                _ => {}
            }
        }
        let good: Vec<&Backup> =
            backups.iter().filter(|b| b.run.view.reason().is_none() && b.run.view.ended()).collect();
        for backup in &good {
            let run = &backup.run;
            let keep = |group: &RetentionGroup| {
                keeps.get(&(run.cluster.clone(), group.clone())).map(|keep| *keep as usize)
            };
            let newer = |group: &RetentionGroup| {
                let of = good
                    .iter()
                    .filter(|b| b.run.cluster == run.cluster && b.run.retention_groups.contains(group));
                of.filter(|b| b.run.backup_id > run.backup_id && b.state == BackupState::Completed).count()
            };
            let enough = |group: &RetentionGroup| keep(group).is_some_and(|keep| newer(group) >= keep);
            match backup.state {
                // The check ran when the deletion was requested.
                BackupState::Deleted | BackupState::Deleting => {}
                // The provider keeps and prunes as it likes.
                BackupState::Completed | BackupState::Missing if hosted(&run.cluster) => {}
                BackupState::Completed => {
                    self.whole(run, clusters, "in the end");
                    if !backup.held && run.retention_groups.iter().all(enough) {
                        self.report(format!(
                            "backup {} is kept although every pool has enough newer ones",
                            run.backup_id
                        ));
                    }
                }
                other => self.report(format!("a good backup is {}", other.name())),
            }
        }
        for backup in backups.iter().filter(|b| b.state == BackupState::Deleted && !hosted(&b.run.cluster)) {
            let Some(cluster) = clusters.iter().find(|c| locked(c).config.name == backup.run.cluster) else {
                continue;
            };
            let cluster = locked(cluster);
            let id = backup.run.backup_id.get();
            let rdbms = cluster.config.storage == Storage::Rdbms;
            let left = if rdbms {
                usize::from(cluster.backups.contains_key(&id))
            } else {
                cluster.pieces_of(id).len()
            };
            drop(cluster);
            if left > 0 {
                self.report(format!("backup {id} is called deleted, and {left} of its pieces are there"));
            }
        }
    }
}

fn of(row: &camunda_backupd::store::OccurrenceRow) -> String {
    let o = &row.occurrence;
    format!("{} of {} at {}", o.schedule, o.cluster, o.due_at)
}
