//! Snapshot repositories of the search engine.
//!
//! Owns snapshots: the requested and the copied indices, and the state. A snapshot copies the documents at
//! one random instant between its start and its end. Must not know the requester.

use crate::domain::Instant;
use crate::sim::model::cluster::{Cluster, Timer};
use crate::sim::model::importer::{App, PartCopy};
use crate::sim::model::indices;
use crate::sim::model::indices::{Index, matches, part_of};
use crate::sim::model::restore::Piece;
use crate::sim::model::world::span;
use std::collections::BTreeSet;
use std::time::Duration;

/// Maximum duration of a snapshot without indices, for example of archives that do not exist yet.
const OF_NOTHING: Duration = Duration::from_millis(100);

/// State of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotState {
    /// In progress.
    InProgress,
    /// Complete.
    Success,
    /// Some shards are missing.
    Partial,
}

impl SnapshotState {
    /// State on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Success => "SUCCESS",
            Self::Partial => "PARTIAL",
        }
    }
}

/// One snapshot in a repository.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Unique and never reused, unlike the name.
    pub key: u64,
    /// Its name.
    pub name: String,
    /// Its uuid.
    pub uuid: String,
    /// Its indices.
    pub indices: Vec<Index>,
    /// Its state.
    pub state: SnapshotState,
    /// Start time.
    pub started: Instant,
    /// End time.
    pub ended: Option<Instant>,
    /// Indices with a shard that could not be copied.
    pub failed: Vec<String>,
    /// Metadata sent with the request.
    pub metadata: Option<serde_json::Value>,
    /// The documents, once they are copied.
    pub pieces: Vec<Piece>,
    /// Duration without faults.
    pub takes: Duration,
    doomed: bool,
}

impl Snapshot {
    /// Number of shards in all its indices.
    pub fn shards(&self) -> u64 {
        self.indices.iter().map(|i| i.shards).sum()
    }
}

/// A snapshot repository.
#[derive(Clone, Debug, Default)]
pub struct Repository {
    /// Its snapshots, in the order of their requests.
    pub snapshots: Vec<Snapshot>,
    /// Whether the repository is unregistered; its files stay.
    pub forgotten: bool,
}

/// A request for a snapshot.
#[derive(Clone, Debug, Default)]
pub struct SnapshotRequest {
    /// Patterns; empty means every index.
    pub indices: Vec<String>,
    /// Whether missing shards are permitted.
    pub partial: bool,
    /// Whether a missing index is permitted.
    pub ignore_unavailable: bool,
    /// Metadata, returned unchanged.
    pub metadata: Option<serde_json::Value>,
}

/// Effect of a fault on the next snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotOutcome {
    /// Takes longer by this duration, or never ends.
    Stall(Option<Duration>),
    /// A shard fails during the copy.
    FailedShard,
}

/// Reason for a rejected snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotRefusal {
    /// There is no such repository.
    NoRepository,
    /// The name is in use; `running` distinguishes a running snapshot.
    NameTaken {
        /// Whether the existing snapshot is still in progress.
        running: bool,
    },
    /// The name is invalid, with the engine's reason.
    BadName(&'static str),
    /// An index without wildcard does not exist.
    NoIndex(String),
    /// Indices without allocated primary shards.
    Unassigned(Vec<String>),
}

impl Cluster {
    /// Every index of the search engine.
    pub fn indices(&self) -> Vec<Index> {
        let version = self.config.version;
        let hidden = self.records_hidden;
        let mut all: Vec<Index> = (self.world.indices.iter().filter(|_| !hidden))
            .map(|(value, day)| {
                Index::healthy(format!("zeebe-record_{}_{version}_{day}", value.index_part()), value.shards())
            })
            .collect();
        for app in self.world.apps.keys() {
            for number in 1..=app.parts() {
                all.extend(indices::of_part(*app, number).iter().map(|name| Index::healthy(*name, 1)));
            }
        }
        all.extend(self.extra_indices.iter().cloned());
        all
    }

    /// Starts a snapshot and returns its key.
    pub fn begin_snapshot(
        &mut self,
        repository: &str,
        name: &str,
        request: &SnapshotRequest,
        takes: Duration,
        outcome: Option<SnapshotOutcome>,
    ) -> Result<u64, SnapshotRefusal> {
        let found = self.repository(repository)?;
        if let Some(old) = found.snapshots.iter().find(|s| s.name == name) {
            return Err(SnapshotRefusal::NameTaken { running: old.state == SnapshotState::InProgress });
        }
        if name.chars().any(char::is_uppercase) {
            return Err(SnapshotRefusal::BadName("must be lowercase"));
        }
        if name.starts_with('_') {
            return Err(SnapshotRefusal::BadName("must not start with '_'"));
        }
        if name.chars().any(char::is_whitespace) {
            return Err(SnapshotRefusal::BadName("must not contain whitespace"));
        }
        let indices = self.resolve(request)?;
        let unassigned: Vec<String> =
            indices.iter().filter(|i| !i.assigned).map(|i| i.name.clone()).collect();
        if !unassigned.is_empty() && !request.partial {
            return Err(SnapshotRefusal::Unassigned(unassigned));
        }
        let mut failed = unassigned;
        if outcome == Some(SnapshotOutcome::FailedShard) {
            failed.extend(indices.iter().find(|i| i.assigned).map(|i| i.name.clone()));
        }
        let takes = if indices.is_empty() { takes.min(OF_NOTHING) } else { takes };
        self.last_key += 1;
        let key = self.last_key;
        let snapshot = Snapshot {
            key,
            name: name.to_owned(),
            uuid: self.random.engine_uuid(),
            indices,
            state: SnapshotState::InProgress,
            started: self.now,
            ended: None,
            failed,
            metadata: request.metadata.clone(),
            pieces: Vec::new(),
            takes,
            doomed: outcome == Some(SnapshotOutcome::FailedShard),
        };
        if let Some(found) = self.repositories.get_mut(repository) {
            found.snapshots.push(snapshot);
        }
        let takes = match outcome {
            Some(SnapshotOutcome::Stall(None)) => None,
            Some(SnapshotOutcome::Stall(Some(longer))) => Some(takes + longer),
            Some(SnapshotOutcome::FailedShard) | None => Some(takes),
        };
        let within = takes.unwrap_or(self.config.timing.snapshot);
        let copied = self.random.below(within.as_micros() as u64 + 1);
        self.at(Duration::from_micros(copied), Timer::Copy(key));
        if let Some(takes) = takes {
            self.at(takes, Timer::End(key));
        }
        Ok(key)
    }

    /// Deletes snapshots by pattern, running ones included; false if none matched.
    pub fn delete_snapshots(&mut self, repository: &str, pattern: &str) -> Result<bool, SnapshotRefusal> {
        let found = self.repositories.get_mut(repository).filter(|r| !r.forgotten);
        let found = found.ok_or(SnapshotRefusal::NoRepository)?;
        let gone: BTreeSet<u64> = (found.snapshots.iter())
            .filter(|s| pattern.split(',').any(|p| matches(p, &s.name)))
            .map(|s| s.key)
            .collect();
        found.snapshots.retain(|s| !gone.contains(&s.key));
        for key in &gone {
            self.part_ended(*key);
        }
        Ok(!gone.is_empty())
    }

    /// A registered repository.
    pub fn repository(&self, name: &str) -> Result<&Repository, SnapshotRefusal> {
        self.repositories.get(name).filter(|r| !r.forgotten).ok_or(SnapshotRefusal::NoRepository)
    }

    /// Snapshots of a repository that match a pattern, oldest first.
    pub fn snapshots(&self, repository: &str, pattern: &str) -> Result<Vec<&Snapshot>, SnapshotRefusal> {
        let found = self.repository(repository)?;
        let wanted = |s: &&Snapshot| pattern.split(',').any(|p| p == "_all" || matches(p, &s.name));
        Ok(found.snapshots.iter().filter(wanted).collect())
    }

    /// The snapshot with that key.
    pub fn snapshot(&self, key: u64) -> Option<&Snapshot> {
        self.repositories.values().flat_map(|r| &r.snapshots).find(|s| s.key == key)
    }

    fn snapshot_mut(&mut self, key: u64) -> Option<&mut Snapshot> {
        self.repositories.values_mut().flat_map(|r| &mut r.snapshots).find(|s| s.key == key)
    }

    /// Copies the current documents of a snapshot's indices.
    pub(crate) fn copy_documents(&mut self, key: u64) {
        let Some(snapshot) = self.snapshot(key) else { return };
        let names: Vec<&str> = snapshot
            .indices
            .iter()
            .filter(|i| !snapshot.failed.contains(&i.name))
            .map(|i| i.name.as_str())
            .collect();
        let doomed = snapshot.doomed;
        let mut pieces = Vec::new();
        if names.iter().any(|name| name.starts_with("zeebe-record")) {
            let mut records = self.world.records.clone();
            if doomed {
                // A failed shard is simulated as missing records of the first partition.
                records
                    .first_mut()
                    .into_iter()
                    .for_each(|r| *r = crate::sim::model::content::Content::default());
            }
            pieces.push(Piece::Records(records));
        }
        let apps = || self.world.apps.keys().copied();
        let parts: BTreeSet<(App, u32)> = names.iter().filter_map(|name| part_of(name, apps())).collect();
        for (app, number) in parts {
            if let Some(imported) = self.world.apps.get(&app) {
                let part = if doomed { PartCopy::Nothing } else { imported.copy(app.part(number)) };
                pieces.push(Piece::Part(app, part));
            }
        }
        if let Some(snapshot) = self.snapshot_mut(key) {
            snapshot.pieces = pieces;
        }
    }

    /// Ends a snapshot.
    pub(crate) fn end_snapshot(&mut self, key: u64) {
        let now = self.now;
        let Some(snapshot) = self.snapshot_mut(key) else { return };
        snapshot.state =
            if snapshot.failed.is_empty() { SnapshotState::Success } else { SnapshotState::Partial };
        snapshot.ended = Some(now);
        self.part_ended(key);
    }

    fn resolve(&self, request: &SnapshotRequest) -> Result<Vec<Index>, SnapshotRefusal> {
        let all = self.indices();
        if request.indices.is_empty() {
            return Ok(all);
        }
        let mut found: Vec<Index> = Vec::new();
        for pattern in &request.indices {
            if let Some(without) = pattern.strip_prefix('-') {
                found.retain(|i| !matches(without, &i.name));
                continue;
            }
            let hits = all.iter().filter(|i| pattern == "_all" || matches(pattern, &i.name));
            let new: Vec<Index> = hits.filter(|i| !found.contains(i)).cloned().collect();
            if new.is_empty()
                && !pattern.contains('*')
                && !request.ignore_unavailable
                && !found.iter().any(|i| &i.name == pattern)
            {
                return Err(SnapshotRefusal::NoIndex(pattern.clone()));
            }
            found.extend(new);
        }
        Ok(found)
    }

    /// Number of records in the search store.
    pub fn exported_records(&self) -> u64 {
        let count = |(partition, content): (
            &crate::sim::model::broker::Partition,
            &crate::sim::model::content::Content,
        )|
         -> u64 {
            let spans = content.spans().iter();
            spans.map(|s| partition.histories.own(s.timeline, s.from, s.to).len() as u64).sum()
        };
        self.world.partitions.iter().zip(&self.world.records).map(count).sum()
    }

    /// Schedules `timer` to happen after `delay`.
    pub(crate) fn at(&mut self, delay: Duration, timer: Timer) {
        self.last_timer += 1;
        self.timers.insert((self.now + span(delay), self.last_timer), timer);
    }
}
