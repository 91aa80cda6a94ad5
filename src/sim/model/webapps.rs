//! Backups of the web apps: parts, one after the other, from a queue in memory.
//!
//! Owns that queue. What a backup has become is read from the repository, as the real ones do, so a backup whose
//! queue was lost stays incomplete for ever, and a deleted one is still there until its parts are gone. Must not
//! know requests.

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

/// The web app's own memory.
#[derive(Clone, Debug, Default)]
pub struct WebApp {
    queue: VecDeque<(i64, u32)>,
    running: Vec<u64>,
    /// Not reachable just now.
    pub(crate) down: bool,
    /// What is to go wrong with the part of that number.
    pub(crate) outcome: Option<(u32, SnapshotOutcome)>,
}

/// Why a web app did not begin a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebAppRefusal {
    /// Its repository is not there.
    NoRepository,
    /// The search engine does not answer.
    SearchDown,
    /// Snapshots with that id are there, as `name/uuid`.
    Exists(Vec<String>),
    /// One of them is running, and this Operate cannot read that state.
    CannotTell,
    /// Parts of another backup are waiting.
    Busy,
    /// There is no such web app.
    Absent,
}

/// What a web app says of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebAppState {
    /// A part is being taken.
    InProgress,
    /// Parts are missing.
    Incomplete,
    /// All parts are whole.
    Completed,
    /// A part lacks a shard, or there are too many.
    Failed,
}

impl WebAppState {
    /// The web apps' word.
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
    /// Begins a web app's backup and returns the names of the snapshots to come.
    pub fn begin_app_backup(&mut self, app: App, id: i64) -> Result<Vec<String>, WebAppRefusal> {
        if self.search_down {
            return Err(WebAppRefusal::SearchDown);
        }
        let found = self.parts_taken(app, id).map_err(|_| WebAppRefusal::NoRepository)?;
        if self.cannot_read_running(app) && found.iter().any(|s| s.state == SnapshotState::InProgress) {
            return Err(WebAppRefusal::CannotTell);
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

    /// Deletes a web app's backup, part by part and later; parts that are not taken yet will be.
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

    /// The parts there are of one backup, oldest first.
    pub fn parts_taken(&self, app: App, id: i64) -> Result<Vec<&Snapshot>, SnapshotRefusal> {
        self.snapshots(&self.config.repository, &format!("{}{id}_*", app.snapshot_prefix()))
    }

    /// Ids of the backups a web app finds, newest first.
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

    /// What the parts there are add up to.
    pub fn app_state(&self, app: App, parts: &[&Snapshot]) -> WebAppState {
        let any = |state| parts.iter().any(|s| s.state == state);
        let (found, expected) = (parts.len(), parts_in(self.config.version, app) as usize);
        if any(SnapshotState::Partial) || found > expected {
            WebAppState::Failed
        } else if any(SnapshotState::InProgress) {
            WebAppState::InProgress
        } else if found < expected {
            // The history waits a while for the next part before it says that none will come.
            let waited = parts.iter().filter_map(|s| s.ended).max().map(|ended| self.now - ended);
            let patient = app == App::History
                && waited.is_none_or(|waited| waited < span(self.config.timing.incomplete_check));
            if patient { WebAppState::InProgress } else { WebAppState::Incomplete }
        } else {
            WebAppState::Completed
        }
    }

    /// Operate on OpenSearch does not know the state of a running snapshot.
    pub fn cannot_read_running(&self, app: App) -> bool {
        app == App::Operate && self.config.storage == Storage::OpenSearch
    }

    /// Kills a web app and starts it again after `down`: its queue is gone, what the search engine has begun
    /// goes on.
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

    /// The parts that are not begun yet never will be.
    pub(crate) fn forget_queue(&mut self, app: App) {
        if let Some(memory) = self.apps.get_mut(&app) {
            memory.queue.clear();
            memory.running.clear();
        }
        self.timers.retain(|_, timer| !matches!(timer, Timer::NextPart(other) if *other == app));
    }

    /// Something is to go wrong with part `number` of the next backup of `app`.
    pub fn spoil_part(&mut self, app: App, number: u32, outcome: SnapshotOutcome) {
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
                    // Both at one instant, or positions could be newer than documents where both start at once.
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

    /// A snapshot ended or was deleted; the web app that waits for it goes on.
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
        // The web apps only log what goes wrong here.
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

/// How many snapshots a backup has in that version.
fn parts_in(version: Version, app: App) -> u32 {
    let without_last = app == App::History && version.minor < 9;
    app.parts() - u32::from(without_last)
}
