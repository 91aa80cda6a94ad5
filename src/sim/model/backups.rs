//! Zeebe backups: checkpoints in the log, copies in the backup store.
//!
//! Owns the backup store and the states that a broker reports. Must not know requests.
//!
//! A broker rejects ids up to the largest checkpoint in its own state, regardless of the store. After a
//! restore a broker may therefore accept an id that exists in the store: it takes no backup, then reports the
//! old backup as complete.

use crate::domain::Instant;
use crate::sim::model::broker::BrokerCopy;
use crate::sim::model::cluster::{Cluster, Timer};
use crate::sim::model::restore::Piece;
use crate::sim::model::world::span;
use chrono::TimeDelta;
use std::time::Duration;

/// Condition of the store of Zeebe backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupStore {
    /// Works.
    Up,
    /// Refuses connections.
    Down,
    /// Does not respond.
    Hung,
    /// Not configured.
    Absent,
}

/// State of one partition of a backup, as the broker reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartitionState {
    /// Not visible, either not yet or never.
    DoesNotExist,
    /// Copy in progress.
    InProgress,
    /// Copied.
    Completed,
    /// Failed permanently.
    Failed,
    /// Deleted a moment ago, from 8.9 on.
    Deleted,
}

impl PartitionState {
    /// State on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::DoesNotExist => "DOES_NOT_EXIST",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::Failed => "FAILED",
            Self::Deleted => "DELETED",
        }
    }
}

/// Requester of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupKind {
    /// A client.
    Manual,
    /// The brokers' own scheduler.
    Scheduled,
}

impl BackupKind {
    /// Kind on the wire.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Manual => "MANUAL_BACKUP",
            Self::Scheduled => "SCHEDULED_BACKUP",
        }
    }
}

/// One partition of a backup in the store.
#[derive(Clone, Debug)]
pub struct PartitionBackup {
    /// The copy.
    pub copy: BrokerCopy,
    /// Start of the copy to the store.
    pub created: Instant,
    seen: Instant,
    done: Option<Instant>,
    failed: Option<(Instant, String)>,
    deleted: bool,
    nanos: u32,
}

impl PartitionBackup {
    /// State reported at `now`.
    pub fn state(&self, now: Instant) -> PartitionState {
        if self.deleted {
            PartitionState::Deleted
        } else if now < self.seen {
            PartitionState::DoesNotExist
        } else if self.failed.as_ref().is_some_and(|(at, _)| *at <= now) {
            PartitionState::Failed
        } else if self.done.is_some_and(|done| done <= now) {
            PartitionState::Completed
        } else {
            PartitionState::InProgress
        }
    }

    /// Reason of a failure.
    pub fn failure(&self) -> Option<&str> {
        self.failed.as_ref().map(|(_, reason)| reason.as_str())
    }

    /// Time of the last change of state.
    pub fn updated(&self, now: Instant) -> Instant {
        let failed = self.failed.as_ref().map(|(at, _)| *at).filter(|at| *at <= now);
        failed.or(self.done.filter(|done| *done <= now)).unwrap_or(self.created)
    }

    /// Nanoseconds below the microsecond, for the broker's timestamp format.
    pub fn nanos(&self) -> u32 {
        self.nanos
    }
}

/// A Zeebe backup, one entry per partition.
#[derive(Clone, Debug)]
pub struct ZeebeBackup {
    /// Requester.
    pub kind: BackupKind,
    /// Time of its checkpoint.
    pub taken: Instant,
    /// One entry per partition.
    pub partitions: Vec<PartitionBackup>,
}

impl ZeebeBackup {
    /// Copies of the complete partitions, for a restore.
    pub fn pieces(&self, now: Instant) -> Vec<Piece> {
        let done = self.partitions.iter().filter(|p| p.state(now) == PartitionState::Completed);
        done.map(|p| Piece::Broker(p.copy.clone())).collect()
    }

    /// Acknowledged position at the start of a restored partition.
    pub fn exported(&self, index: usize) -> Option<u64> {
        self.partitions.iter().find(|p| p.copy.partition == index).map(|p| p.copy.exported())
    }

    /// States of the partitions.
    pub fn states(&self, now: Instant) -> Vec<PartitionState> {
        self.partitions.iter().map(|p| p.state(now)).collect()
    }
}

/// Effect of a fault on the next Zeebe backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackupOutcome {
    /// One partition takes longer by this duration, or never ends.
    Stall(Option<Duration>),
    /// One partition fails.
    Fail,
    /// One partition is never backed up, and no error is reported.
    Missing,
}

/// Reason for a rejected backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupRefusal {
    /// No store is configured.
    NoStore,
    /// The id is not higher than this one.
    NotHigher(i64),
}

/// Start time of a copy that never starts.
const NEVER: Instant = Instant::MAX_UTC;

/// Number of backups of the brokers' own scheduler that are kept.
const SCHEDULED_KEPT: usize = 100;

impl Cluster {
    /// Writes the checkpoint and starts the copies.
    pub fn begin_zeebe_backup(
        &mut self,
        id: i64,
        outcome: Option<BackupOutcome>,
    ) -> Result<(), BackupRefusal> {
        self.begin_backup(id, BackupKind::Manual, outcome)
    }

    /// Next id generated by the brokers: milliseconds.
    pub fn next_generated_id(&self) -> i64 {
        self.shown(self.now).timestamp_millis().max(self.world.checkpoint_id() + 1)
    }

    /// The brokers' own scheduler takes a backup and schedules the next one.
    pub(crate) fn scheduled_backup(&mut self) {
        let Some(every) = self.config.scheduler else { return };
        self.at(every, Timer::Scheduled);
        if self.broker_down {
            return;
        }
        // After a rejection the next attempt may succeed.
        let _ = self.begin_backup(self.next_generated_id(), BackupKind::Scheduled, None);
        let scheduled = self.backups.iter().filter(|(_, b)| b.kind == BackupKind::Scheduled);
        let ids: Vec<i64> = scheduled.map(|(id, _)| *id).collect();
        for id in ids.iter().rev().skip(SCHEDULED_KEPT) {
            self.backups.remove(id);
        }
    }

    fn begin_backup(
        &mut self,
        id: i64,
        kind: BackupKind,
        outcome: Option<BackupOutcome>,
    ) -> Result<(), BackupRefusal> {
        if self.store == BackupStore::Absent {
            return Err(BackupRefusal::NoStore);
        }
        let highest = self.world.checkpoint_id();
        let copies: Vec<BrokerCopy> =
            self.world.partitions.iter_mut().filter_map(|p| p.checkpoint(id)).collect();
        if copies.is_empty() {
            return Err(BackupRefusal::NotHigher(highest));
        }
        if self.backups.contains_key(&id) || self.store == BackupStore::Down {
            // The store already has that id, or nothing can be stored: the response is 202 in both cases.
            return Ok(());
        }
        let timing = self.config.timing.clone();
        let hung = self.store == BackupStore::Hung;
        let mut partitions = Vec::new();
        for (index, copy) in copies.into_iter().enumerate() {
            let skew = timing.backup_skew * index as u32;
            let seen = self.now + span(timing.backup_seen + skew);
            let uneven = self.random.below(timing.backup.as_micros() as u64 / 4 + 1);
            let takes = span(timing.backup + Duration::from_micros(uneven));
            let spoiled = outcome.filter(|_| index == 0);
            let done = match spoiled {
                Some(BackupOutcome::Stall(None)) => None,
                Some(BackupOutcome::Stall(Some(longer))) => Some(seen + takes + span(longer)),
                Some(BackupOutcome::Fail | BackupOutcome::Missing) | None => Some(seen + takes),
            };
            let failed =
                (spoiled == Some(BackupOutcome::Fail)).then(|| (seen + takes, "Simulated I/O error".into()));
            let created = self.now + TimeDelta::microseconds(900 + self.random.below(4000) as i64);
            let nanos = self.random.below(1000) as u32;
            let (seen, done) = match spoiled {
                Some(BackupOutcome::Missing) => (NEVER - TimeDelta::days(1), None),
                _ if hung => (NEVER, None),
                _ => (seen, done),
            };
            partitions.push(PartitionBackup { copy, created, seen, done, failed, deleted: false, nanos });
        }
        self.backups.insert(id, ZeebeBackup { kind, taken: self.now, partitions });
        Ok(())
    }

    /// Deletes a backup from the store. Until 8.8 a running backup continues regardless. From 8.9 on every
    /// deleted backup is reported as deleted for a moment and then disappears.
    pub fn delete_zeebe_backup(&mut self, id: i64) {
        if self.config.version.minor >= 9 {
            if let Some(backup) = self.backups.get_mut(&id) {
                backup.partitions.iter_mut().for_each(|p| p.deleted = true);
                self.at(self.config.timing.delete_begins, Timer::BackupGone(id));
            }
            return;
        }
        let now = self.now;
        let running = |b: &ZeebeBackup| {
            b.partitions
                .iter()
                .any(|p| matches!(p.state(now), PartitionState::InProgress | PartitionState::DoesNotExist))
        };
        if self.backups.get(&id).is_some_and(|b| !running(b)) {
            self.backups.remove(&id);
        }
    }

    /// Changes the condition of the backup store; with a duration the store recovers afterwards.
    pub fn break_store(&mut self, store: BackupStore, for_a_while: Option<Duration>) {
        self.set_store(store);
        if let Some(duration) = for_a_while {
            self.at(duration, Timer::StoreUp);
        }
    }

    pub(crate) fn set_store(&mut self, store: BackupStore) {
        self.store = store;
        if store != BackupStore::Up {
            return;
        }
        // Copies that waited for a hung store start now.
        let (now, timing) = (self.now, self.config.timing.clone());
        for partition in self.backups.values_mut().flat_map(|b| &mut b.partitions) {
            if partition.seen == NEVER {
                partition.created = now;
                partition.seen = now + span(timing.backup_seen);
                partition.done = Some(partition.seen + span(timing.backup));
            }
        }
    }

    /// Clears the known checkpoints, so that any next id is accepted.
    pub(crate) fn reset_checkpoints(&mut self) {
        for partition in &mut self.world.partitions {
            partition.state.checkpoint_id = 0;
            partition.state.checkpoint_position = 0;
        }
    }

    /// Passes to every partition the end of its backed-up log, if the brokers keep log until it is backed up.
    pub(crate) fn announce_backed_up_position(&mut self) {
        if !self.config.continuous {
            return;
        }
        let now = self.now;
        for (index, partition) in self.world.partitions.iter_mut().enumerate() {
            let done = self.backups.values().flat_map(|b| &b.partitions).filter(|p| {
                p.copy.partition == index
                    && matches!(p.state(now), PartitionState::Completed | PartitionState::Deleted)
            });
            let before = partition.backed_up.unwrap_or(0);
            partition.backed_up = Some(done.map(|p| p.copy.checkpoint).max().unwrap_or(0).max(before));
        }
    }

    pub(crate) fn fail_running_backups(&mut self) {
        let now = self.now;
        for partition in self.backups.values_mut().flat_map(|b| &mut b.partitions) {
            if matches!(partition.state(now), PartitionState::InProgress | PartitionState::DoesNotExist) {
                partition.seen = partition.seen.min(now);
                partition.failed = Some((now, "Backup is cancelled due to leader change.".into()));
            }
        }
    }
}
