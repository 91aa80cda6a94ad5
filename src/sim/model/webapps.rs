//! Backups of the web apps: parts, one after the other, from a queue in memory.
//!
//! Owns that queue. Must not know requests.
//!
//! The state of a backup is read from the repository, as in the real web apps. A backup with a lost queue
//! therefore stays incomplete for ever, and a deleted backup exists until its parts are deleted.

use crate::sim::model::cluster::{Cluster, Timer};
use crate::sim::model::config::{Storage, Version};
use crate::sim::model::importer::App;
use crate::sim::model::indices;
use crate::sim::model::snapshots::{
    Snapshot, SnapshotOutcome, SnapshotRefusal, SnapshotRequest, SnapshotState,
};
use crate::sim::model::world::span;
use std::collections::VecDeque;
use std::time::Duration;

/// Memory of the web app.
#[derive(Clone, Debug, Default)]
pub struct WebApp {
    queue: VecDeque<(i64, u32)>,
    running: Vec<u64>,
    /// Whether the web app is unreachable now.
    pub(crate) down: bool,
    /// Effect of a fault on the part with that number.
    pub(crate) outcome: Option<(u32, SnapshotOutcome)>,
}

/// Reason for a rejected backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebAppRefusal {
    /// The repository does not exist.
    NoRepository,
    /// The search engine does not respond.
    SearchDown,
    /// Snapshots with that id exist, as `name/uuid`.
    Exists(Vec<String>),
    /// One snapshot is running, and this Operate cannot parse that state.
    StateUnreadable,
    /// Parts of another backup are waiting.
    Busy,
    /// There is no such web app.
    Absent,
}

/// State of a backup as a web app reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebAppState {
    /// A part is in progress.
    InProgress,
    /// Parts are missing.
    Incomplete,
    /// All parts are complete.
    Completed,
    /// A part lacks a shard, or there are too many parts.
    Failed,
}

impl WebAppState {
    /// State on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Incomplete => "INCOMPLETE",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
        }
    }
}

impl Cluster {
    /// Starts a web app's backup and returns the names of its snapshots.
    pub fn begin_app_backup(&mut self, app: App, id: i64) -> Result<Vec<String>, WebAppRefusal> {
        if self.search_down {
            return Err(WebAppRefusal::SearchDown);
        }
        let found = self.parts_taken(app, id).map_err(|_| WebAppRefusal::NoRepository)?;
        if self.cannot_read_running(app) && found.iter().any(|s| s.state == SnapshotState::InProgress) {
            return Err(WebAppRefusal::StateUnreadable);
        }
        if !found.is_empty() {
            let named = |s: &&Snapshot| format!("{}/{}", s.name, s.uuid);
            return Err(WebAppRefusal::Exists(found.iter().map(named).collect()));
        }
        let Some(memory) = self.apps.get_mut(&app) else { return Err(WebAppRefusal::Absent) };
        if !memory.queue.is_empty() {
            return Err(WebAppRefusal::Busy);
        }
        let parts = parts_in(self.config.version, app);
        memory.queue.extend((1..=parts).map(|number| (id, number)));
        if memory.running.is_empty() {
            self.at(self.config.timing.part_gap, Timer::NextPart(app));
        }
        Ok((1..=parts).map(|number| self.part_name(app, id, number)).collect())
    }

    /// Deletes a web app's backup later and part by part. Parts that do not exist yet are still created.
    pub fn delete_app_backup(&mut self, app: App, id: i64) -> Result<(), WebAppRefusal> {
        if self.search_down {
            return Err(WebAppRefusal::SearchDown);
        }
        let found = self.parts_taken(app, id).map_err(|_| WebAppRefusal::NoRepository)?;
        let names: Vec<String> = found.iter().map(|s| s.name.clone()).collect();
        if !names.is_empty() {
            self.at(self.config.timing.delete_begins, Timer::DeletePart(app, names));
        }
        Ok(())
    }

    /// The existing parts of one backup, oldest first.
    pub fn parts_taken(&self, app: App, id: i64) -> Result<Vec<&Snapshot>, SnapshotRefusal> {
        self.snapshots(&self.config.repository, &format!("{}{id}_*", app.snapshot_prefix()))
    }

    /// Ids of the existing backups, newest first.
    pub fn app_backup_ids(&self, app: App) -> Result<Vec<i64>, SnapshotRefusal> {
        let prefix = app.snapshot_prefix();
        let mut ids = Vec::new();
        for snapshot in self.snapshots(&self.config.repository, &format!("{prefix}*"))?.iter().rev() {
            let rest = snapshot.name.strip_prefix(prefix).unwrap_or("");
            let id = rest.split('_').next().and_then(|text| text.parse().ok());
            ids.extend(id.filter(|id| !ids.contains(id)));
        }
        Ok(ids)
    }

    /// State that results from the existing parts.
    pub fn app_state(&self, app: App, parts: &[&Snapshot]) -> WebAppState {
        let any = |state| parts.iter().any(|s| s.state == state);
        let (found, expected) = (parts.len(), parts_in(self.config.version, app) as usize);
        if any(SnapshotState::Partial) || found > expected {
            WebAppState::Failed
        } else if any(SnapshotState::InProgress) {
            WebAppState::InProgress
        } else if found < expected {
            // The common application of 8.8 waits for the next part for a while before it reports the backup as
            // incomplete.
            let waited = parts.iter().filter_map(|s| s.ended).max().map(|ended| self.now - ended);
            let patient = app == App::History
                && waited.is_none_or(|waited| waited < span(self.config.timing.incomplete_check));
            if patient { WebAppState::InProgress } else { WebAppState::Incomplete }
        } else {
            WebAppState::Completed
        }
    }

    /// Whether Operate on OpenSearch fails to parse the state of a running snapshot.
    pub fn cannot_read_running(&self, app: App) -> bool {
        app == App::Operate && self.config.storage == Storage::OpenSearch
    }

    /// Restarts a web app after `down`: its queue is lost, running snapshots continue.
    pub fn restart_app(&mut self, app: App, down: Duration) {
        if let Some(memory) = self.apps.get_mut(&app) {
            memory.down = true;
        }
        self.at(down, Timer::AppUp(app));
        self.forget_queue(app);
        if let Some(imported) = self.world.apps.get_mut(&app) {
            imported.restart();
        }
    }

    /// Drops the parts that are not started yet.
    pub(crate) fn forget_queue(&mut self, app: App) {
        if let Some(memory) = self.apps.get_mut(&app) {
            memory.queue.clear();
            memory.running.clear();
        }
        self.timers.retain(|_, timer| !matches!(timer, Timer::NextPart(other) if *other == app));
    }

    /// Injects a fault into part `number` of the next backup of `app`.
    pub fn break_part(&mut self, app: App, number: u32, outcome: SnapshotOutcome) {
        if let Some(memory) = self.apps.get_mut(&app) {
            memory.outcome = Some((number, outcome));
        }
    }

    pub(crate) fn next_part(&mut self, app: App) {
        let at_once = app == App::Optimize && self.config.storage == Storage::OpenSearch;
        let Some(memory) = self.apps.get_mut(&app) else { return };
        let Some((id, number)) = memory.queue.pop_front() else { return };
        let outcome = memory.outcome.take_if(|(part, _)| *part == number).map(|(_, outcome)| outcome);
        let request = SnapshotRequest {
            indices: indices::patterns_of_part(app, number),
            metadata: Some(serde_json::json!({
                "backupId": id, "version": self.app_version(app), "partNo": number,
                "partCount": parts_in(self.config.version, app),
            })),
            ..SnapshotRequest::default()
        };
        let (repository, name) = (self.config.repository.clone(), self.part_name(app, id, number));
        let takes = self.uneven(self.config.timing.part);
        match self.begin_snapshot(&repository, &name, &request, takes, outcome) {
            Ok(key) => {
                if app == App::Optimize {
                    // Both parts are copied at one instant. Otherwise import positions could be newer than documents
                    // if both parts start together.
                    self.copy_now(key);
                }
                if let Some(memory) = self.apps.get_mut(&app) {
                    memory.running.push(key);
                }
                if at_once {
                    self.next_part(app);
                }
            }
            Err(_) => {
                if let Some(memory) = self.apps.get_mut(&app) {
                    memory.queue.clear();
                }
            }
        }
    }

    /// A snapshot ended or was deleted: the waiting web app continues.
    pub(crate) fn part_ended(&mut self, key: u64) {
        let gap = self.config.timing.part_gap;
        let waiting: Vec<App> =
            self.apps.iter().filter(|(_, m)| m.running.contains(&key)).map(|(app, _)| *app).collect();
        for app in waiting {
            let Some(memory) = self.apps.get_mut(&app) else { continue };
            memory.running.retain(|k| *k != key);
            if memory.running.is_empty() && !memory.queue.is_empty() {
                self.at(gap, Timer::NextPart(app));
            }
        }
    }

    pub(crate) fn delete_next_part(&mut self, app: App, mut names: Vec<String>) {
        let Some(name) = names.pop() else { return };
        let repository = self.config.repository.clone();
        // A failed deletion is ignored: real web apps only log it.
        let _ = self.delete_snapshots(&repository, &name);
        if !names.is_empty() {
            self.at(self.config.timing.delete_part, Timer::DeletePart(app, names));
        }
    }

    /// The version in the names of its snapshots.
    pub fn app_version(&self, app: App) -> String {
        if app == App::Optimize { self.config.version.optimize() } else { self.config.version.to_string() }
    }

    fn part_name(&self, app: App, id: i64, number: u32) -> String {
        let parts = parts_in(self.config.version, app);
        format!("{}{id}_{}_part_{number}_of_{parts}", app.snapshot_prefix(), self.app_version(app))
    }

    fn uneven(&mut self, duration: Duration) -> Duration {
        let micros = duration.as_micros() as u64;
        Duration::from_micros(micros * 3 / 4 + self.random.below(micros / 2 + 1))
    }

    fn copy_now(&mut self, key: u64) {
        self.timers.retain(|_, timer| !matches!(timer, Timer::Copy(other) if *other == key));
        self.copy_documents(key);
    }
}

/// Number of snapshots of a backup in that version.
fn parts_in(version: Version, app: App) -> u32 {
    let without_last = app == App::History && version.minor < 9;
    app.parts() - u32::from(without_last)
}
