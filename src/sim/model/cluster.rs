//! The cluster: its data, its backups, and the passage of time.
//!
//! Owns the state shared by the parts: the simulation's clock, timers, exporting, restores. Must not know
//! requests or responses.
//!
//! `advance(now)` precedes every call and simulates the time since the previous one. The same seed and the
//! same calls result in the same cluster.

use crate::domain::Instant;
use crate::sim::faults::Faults;
use crate::sim::model::backups::{BackupStore, ZeebeBackup};
use crate::sim::model::broker::Phase;
use crate::sim::model::client_work::ClientWork;
use crate::sim::model::condition::Condition;
use crate::sim::model::config::Config;
use crate::sim::model::importer::{App, Imported, PartCopy};
use crate::sim::model::indices::Index;
use crate::sim::model::random::Random;
use crate::sim::model::restore;
use crate::sim::model::restore::{Piece, Restored};
use crate::sim::model::saas::SaasCluster;
use crate::sim::model::snapshots::{Repository, SnapshotState};
use crate::sim::model::webapps::WebApp;
use crate::sim::model::world::{World, span};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::time::Duration;

/// A future event of the simulation, with a known instant.
#[derive(Clone, Debug)]
pub(crate) enum Timer {
    /// A snapshot copies its documents.
    Copy(u64),
    /// A snapshot ends.
    End(u64),
    /// The brokers' own scheduler takes a backup.
    Scheduled,
    /// A deleted Zeebe backup is gone from the store.
    BackupGone(i64),
    /// A web app starts its next part.
    NextPart(App),
    /// A web app deletes the next of these snapshots.
    DeletePart(App, Vec<String>),
    /// The broker is reachable again.
    BrokerUp,
    /// The first partition has a leader again.
    LeaderElected,
    /// The search engine is reachable again.
    SearchUp,
    /// A web app is reachable again.
    AppUp(App),
    /// The backup store works again.
    StoreUp,
    /// A delayed request to switch exporting is executed.
    SwitchesLate(Phase),
    /// A SaaS backup ends.
    SaasBackupEnds(String),
    /// A SaaS restore reaches its next state.
    SaasRestoreAdvances(String, &'static str),
    /// A change of the cluster ends.
    Changed,
    /// The partitions process commands again.
    Processes,
    /// A foreign resume of exporting.
    ForeignResume,
    /// A foreign pause of exporting; `true` for a soft pause.
    ForeignPause(bool),
}

/// A simulated Camunda cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Configuration.
    pub config: Config,
    /// Stored data.
    pub world: World,
    /// Snapshot repositories by name.
    pub repositories: BTreeMap<String, Repository>,
    /// Content of the backup store: Zeebe backups by id.
    pub backups: BTreeMap<i64, ZeebeBackup>,
    /// The operator's backups of a relational database, oldest first.
    pub databases: Vec<DatabaseBackup>,
    /// State of the cluster in Camunda 8 SaaS.
    pub saas: SaasCluster,
    /// Condition of the backup store.
    pub store: BackupStore,
    /// Injected faults.
    pub faults: Faults,
    /// Number and duration of exporting pauses.
    pub pauses: Pauses,
    /// Requests received, by endpoint.
    pub seen: BTreeMap<&'static str, u64>,
    /// Requests without a response so far.
    pub outstanding: u64,
    /// Steps and activated jobs of the instances started by clients.
    pub(crate) client_work: ClientWork,
    pub(crate) apps: BTreeMap<App, WebApp>,
    pub(crate) now: Instant,
    pub(crate) random: Random,
    pub(crate) timers: BTreeMap<(Instant, u64), Timer>,
    pub(crate) last_timer: u64,
    pub(crate) last_key: u64,
    pub(crate) extra_indices: Vec<Index>,
    pub(crate) records_hidden: bool,
    pub(crate) broker_down: bool,
    /// Start of the time without a leader in the first partition; its broker reports a follower's row.
    pub(crate) leaderless: Option<Instant>,
    pub(crate) search_down: bool,
    pub(crate) condition: Condition,
    pub(crate) clock_error: TimeDelta,
}

/// A backup of a relational database.
#[derive(Clone, Debug)]
pub struct DatabaseBackup {
    /// Time of the backup.
    pub taken: Instant,
    /// Its rows, and the last position exported to them for each partition.
    pub tables: Imported,
}

/// Exporting pauses, regardless of the requester.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    /// Start of the current pause: at least one partition is paused.
    pub since: Option<Instant>,
    /// Number of ended pauses.
    pub ended: u64,
    /// Total duration of the ended pauses.
    pub total: TimeDelta,
    /// Duration of the longest pause.
    pub longest: TimeDelta,
}

impl Cluster {
    /// A cluster that has been running for a while.
    pub fn new(config: Config, now: Instant) -> Self {
        let mut random = Random::new(config.seed);
        let (partitions, exports) = (config.partitions.max(1), config.exports());
        let mut apps = config.apps();
        apps.extend(exports.direct.filter(|app| *app == App::Database));
        let world = World::new(now, partitions, &apps, exports, config.load, &mut random);
        let scheduler = config.scheduler;
        let mut cluster = Self {
            world,
            repositories: [(config.repository.clone(), Repository::default())].into(),
            backups: BTreeMap::new(),
            databases: Vec::new(),
            saas: SaasCluster::default(),
            store: BackupStore::Up,
            faults: Faults::default(),
            pauses: Pauses::default(),
            seen: BTreeMap::new(),
            outstanding: 0,
            client_work: ClientWork::default(),
            apps: config.apps().into_iter().map(|app| (app, WebApp::default())).collect(),
            now,
            random,
            timers: BTreeMap::new(),
            last_timer: 0,
            last_key: 0,
            extra_indices: Vec::new(),
            records_hidden: false,
            broker_down: false,
            leaderless: None,
            search_down: false,
            condition: Condition::default(),
            clock_error: TimeDelta::zero(),
            config,
        };
        if let Some(every) = scheduler {
            cluster.at(every, Timer::Scheduled);
        }
        cluster
    }

    /// Simulates everything up to `now`. An instant before the last one counts as the last one.
    pub fn advance(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry().filter(|e| e.key().0 <= now) {
            let at = entry.key().0;
            let timer = entry.remove();
            self.live_until(at);
            self.fire(timer);
        }
        self.live_until(now);
        if !self.world.should_drop_records() {
            return;
        }
        let needed: Vec<u64> =
            (0..self.world.partitions.len()).map(|index| self.lowest_copied(index)).collect();
        self.world.forget(|index| needed.get(index).copied().unwrap_or(0));
    }

    /// Current time of the simulation.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Time of the next event.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    fn live_until(&mut self, to: Instant) {
        if to > self.now {
            self.announce_backed_up_position();
            let config = &self.config;
            self.world.live(self.now, to, !self.broker_down, config.load, &config.timing, &mut self.random);
            self.now = to;
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Copy(key) => self.copy_documents(key),
            Timer::End(key) => self.end_snapshot(key),
            Timer::Scheduled => self.scheduled_backup(),
            Timer::BackupGone(id) => {
                self.backups.remove(&id);
            }
            Timer::NextPart(app) => self.next_part(app),
            Timer::DeletePart(app, names) => self.delete_next_part(app, names),
            Timer::BrokerUp => self.broker_down = false,
            Timer::LeaderElected => self.leaderless = None,
            Timer::SearchUp => self.search_down = false,
            Timer::AppUp(app) => {
                if let Some(memory) = self.apps.get_mut(&app) {
                    memory.down = false;
                }
            }
            Timer::Changed => self.condition.changing = false,
            Timer::Processes => self.condition.stopped = false,
            Timer::StoreUp => self.set_store(BackupStore::Up),
            Timer::SwitchesLate(phase) => self.set_phase(phase, usize::MAX),
            Timer::SaasBackupEnds(uuid) => self.saas_end_backup(&uuid),
            Timer::SaasRestoreAdvances(uuid, state) => self.saas_advance_restore(&uuid, state),
            Timer::ForeignResume => self.set_phase(Phase::Exporting, usize::MAX),
            Timer::ForeignPause(soft) => {
                self.set_phase(if soft { Phase::SoftPaused } else { Phase::Paused }, usize::MAX);
            }
        }
    }

    /// Pauses exporting on every partition: softly if `soft` is set and the version supports it.
    pub fn pause(&mut self, soft: bool) {
        let phase =
            if soft && self.config.version.has_soft_pause() { Phase::SoftPaused } else { Phase::Paused };
        self.set_phase(phase, usize::MAX);
    }

    /// Resumes exporting on every partition.
    pub fn resume(&mut self) {
        self.set_phase(Phase::Exporting, usize::MAX);
    }

    /// Switches the first `count` partitions.
    pub(crate) fn set_phase(&mut self, phase: Phase, count: usize) {
        for partition in self.world.partitions.iter_mut().take(count) {
            partition.set_phase(phase);
        }
        let paused = self.world.partitions.iter().any(|p| p.exporter.phase != Phase::Exporting);
        if paused {
            self.pauses.since.get_or_insert(self.now);
        } else if let Some(since) = self.pauses.since.take() {
            let length = self.now - since;
            self.pauses.ended += 1;
            self.pauses.total += length;
            self.pauses.longest = self.pauses.longest.max(length);
        }
    }

    /// Restarts the broker after `down`. Pauses survive, running backups do not.
    pub fn restart_broker(&mut self, down: Duration) {
        self.broker_down = true;
        self.change_leader();
        // Since 8.8 the common application runs in the broker's process, so a restart of the broker loses its queue.
        self.forget_queue(App::History);
        self.at(down, Timer::BrokerUp);
    }

    /// A new leader starts from the snapshot and marks its predecessor's running backups as failed.
    pub fn change_leader(&mut self) {
        self.world.partitions.iter_mut().for_each(crate::sim::model::broker::Partition::restart_exporter);
        self.fail_running_backups();
    }

    /// Makes the search engine unreachable for a while.
    pub fn stop_search(&mut self, down: Duration) {
        self.search_down = true;
        self.at(down, Timer::SearchUp);
    }

    /// Exports pending records as far as the phase permits, then takes a broker snapshot and compacts the
    /// log.
    pub fn snapshot_broker_now(&mut self) {
        self.announce_backed_up_position();
        self.world.export(self.now);
        self.world.partitions.iter_mut().for_each(crate::sim::model::broker::Partition::take_snapshot);
    }

    /// Adds an index to which nothing is written.
    pub fn add_index(&mut self, name: &str) {
        self.extra_indices.push(Index::healthy(name, 1));
    }

    /// Deletes an index added by `add_index`.
    pub fn drop_index(&mut self, name: &str) {
        self.extra_indices.retain(|index| index.name != name);
    }

    /// Starts one instance in the first partition and returns its key.
    pub fn create_instance(&mut self) -> u64 {
        self.world.started += 1;
        self.world.partitions.first_mut().map_or(0, crate::sim::model::broker::Partition::create)
    }

    /// Completes an instance; false if it is in no partition.
    pub fn complete_instance(&mut self, instance: u64) -> bool {
        let has_backup = |p: &&mut crate::sim::model::broker::Partition| p.state.live.contains_key(&instance);
        self.world.partitions.iter_mut().find(has_backup).is_some_and(|p| p.complete(instance))
    }

    /// Bytes of log in all partitions; they grow during a pause of exporting.
    pub fn log_bytes(&self) -> u64 {
        const RECORD: u64 = 400;
        self.world.partitions.iter().map(|p| p.log_length() * RECORD).sum()
    }

    /// Backs up a relational database, as its operator would with the database's tools. No effect for other
    /// storage.
    pub fn backup_database(&mut self) {
        if let Some(tables) = self.world.apps.get(&App::Database) {
            self.databases.push(DatabaseBackup { taken: self.now, tables: tables.clone() });
        }
    }

    /// The newest database backup before a Zeebe backup, and every Zeebe backup up to that one.
    fn pieces_with_database(&self, id: i64) -> Vec<Piece> {
        let Some(taken) = self.backups.get(&id).map(|b| b.taken) else { return Vec::new() };
        let database = self.databases.iter().rev().find(|d| d.taken <= taken);
        let brokers = self.backups.range(..=id).flat_map(|(_, backup)| backup.pieces(self.now));
        database.map(|d| Piece::Database(d.tables.clone())).into_iter().chain(brokers).collect()
    }

    /// Every ended piece named after `id` in the repository and the backup store. With a relational database:
    /// every piece that a restore to `id` uses.
    pub fn pieces_of(&self, id: i64) -> Vec<Piece> {
        if self.world.apps.contains_key(&App::Database) {
            return self.pieces_with_database(id);
        }
        let belongs = |name: &str| {
            name == format!("camunda_zeebe_records_backup_{id}")
                || App::ALL.iter().any(|app| name.starts_with(&format!("{}{id}_", app.snapshot_prefix())))
        };
        let snapshots = self.repositories.values().flat_map(|r| &r.snapshots);
        let ended = snapshots.filter(|s| s.state != SnapshotState::InProgress && belongs(&s.name));
        let mut pieces: Vec<Piece> = ended.flat_map(|s| s.pieces.iter().cloned()).collect();
        if let Some(backup) = self.backups.get(&id) {
            pieces.extend(backup.pieces(self.now));
        }
        pieces
    }

    /// Result of a restore of the backup `id`.
    pub fn restore(&self, id: i64) -> Restored {
        self.restore_pieces(&self.pieces_of(id))
    }

    /// Result of a restore of exactly these pieces.
    pub fn restore_pieces(&self, pieces: &[Piece]) -> Restored {
        restore::judge(&self.world, pieces, self.now)
    }

    /// Deletes the cluster's data and restores the pieces; repositories and the backup store stay.
    pub fn restore_in_place(&mut self, pieces: &[Piece]) {
        let (indices, started) = (std::mem::take(&mut self.world.indices), self.world.started);
        self.world = restore::rebuild(&self.world, pieces, self.now);
        self.world.indices = indices;
        self.world.started = started;
        self.set_phase(Phase::Exporting, usize::MAX);
    }

    /// The instant on the cluster's own clocks.
    pub(crate) fn shown(&self, at: Instant) -> Instant {
        at.checked_add_signed(self.clock_error).unwrap_or(at)
    }

    /// Log position of a partition up to which every snapshot and every web app holds its records.
    fn lowest_copied(&self, index: usize) -> u64 {
        let base = self.world.partitions.get(index).map_or(0, |p| p.histories.base);
        let snapshots = self.repositories.values().flat_map(|r| &r.snapshots).flat_map(|s| &s.pieces);
        let in_snapshots = snapshots.filter_map(|piece| match piece {
            Piece::Records(records) => records.get(index).map(|c| c.whole_up_to(base)),
            Piece::Part(_, PartCopy::Positions(positions)) => positions.get(index).copied(),
            Piece::Part(_, PartCopy::Documents(_, contents)) => {
                contents.get(index).map(|c| c.whole_up_to(base))
            }
            Piece::Part(_, PartCopy::Nothing) | Piece::Broker(_) | Piece::Database(_) => None,
        });
        let in_databases = self.databases.iter().map(|d| d.tables.whole_up_to(index, base));
        let in_backups = self.backups.values().filter_map(|b| b.exported(index));
        in_snapshots.chain(in_databases).chain(in_backups).min().unwrap_or(u64::MAX)
    }

    /// Advances the time by `duration`.
    pub fn pass(&mut self, duration: Duration) {
        self.advance(self.now + span(duration));
    }
}
