//! The cluster: its data, its backups, and the passing of time.
//!
//! Owns what the parts share: the clock of the simulation, timers, exporting, restores. Every call is preceded by
//! `advance(now)`, which lives through what happened since the last one; the same seed and the same calls give the
//! same cluster. Must not know requests or answers.

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
use crate::sim::model::saas::Provider;
use crate::sim::model::snapshots::{Repository, SnapshotState};
use crate::sim::model::webapps::WebApp;
use crate::sim::model::world::{World, span};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that happens by itself at a known instant.
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
    /// A web app begins its next part.
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
    /// A request to switch exporting is acted upon at last.
    SwitchesLate(Phase),
    /// The provider's backup ends.
    ProviderEnds(String),
    /// The provider's restore is further.
    ProviderRestores(String, &'static str),
    /// A change of the cluster ends.
    Changed,
    /// The partitions process again.
    Processes,
    /// Somebody else resumes exporting.
    StrangerResumes,
    /// Somebody else pauses exporting, softly or not.
    StrangerPauses(bool),
}

/// A simulated Camunda cluster.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// What it was asked to be.
    pub config: Config,
    /// What it stores.
    pub world: World,
    /// Snapshot repositories by name.
    pub repositories: BTreeMap<String, Repository>,
    /// Zeebe backups by id, as the backup store holds them.
    pub backups: BTreeMap<i64, ZeebeBackup>,
    /// What its operator backed up of a relational database, oldest first.
    pub databases: Vec<DatabaseBackup>,
    /// Who runs the cluster, where that is not its operator.
    pub saas: Provider,
    /// Whether that store works.
    pub store: BackupStore,
    /// What is to go wrong.
    pub faults: Faults,
    /// How often exporting was paused, and for how long.
    pub pauses: Pauses,
    /// Requests seen, by endpoint.
    pub seen: BTreeMap<&'static str, u64>,
    /// Requests whose answer is not given yet.
    pub outstanding: u64,
    /// Steps and activated jobs of the instances that clients started.
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
    /// Since when the first partition has no leader: its broker shows a follower's row.
    pub(crate) leaderless: Option<Instant>,
    pub(crate) search_down: bool,
    pub(crate) condition: Condition,
    pub(crate) clock_error: TimeDelta,
}

/// A backup of a relational database.
#[derive(Clone, Debug)]
pub struct DatabaseBackup {
    /// When it was taken.
    pub taken: Instant,
    /// Its rows, and up to where each partition was exported into them.
    pub tables: Imported,
}

/// Pauses of exporting, by whomever.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pauses {
    /// Since when at least one partition is paused.
    pub since: Option<Instant>,
    /// Pauses that ended.
    pub ended: u64,
    /// Their sum.
    pub total: TimeDelta,
    /// The longest of them.
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
            saas: Provider::default(),
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

    /// Lives through everything up to `now`; earlier instants than the last are taken for the last.
    pub fn advance(&mut self, now: Instant) {
        while let Some(entry) = self.timers.first_entry().filter(|e| e.key().0 <= now) {
            let at = entry.key().0;
            let timer = entry.remove();
            self.live_until(at);
            self.fire(timer);
        }
        self.live_until(now);
        if !self.world.remembers_much() {
            return;
        }
        let needed: Vec<u64> =
            (0..self.world.partitions.len()).map(|index| self.lowest_copied(index)).collect();
        self.world.forget(|index| needed.get(index).copied().unwrap_or(0));
    }

    /// The simulation's time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// When something next happens by itself.
    pub fn next_timer(&self) -> Option<Instant> {
        self.timers.first_key_value().map(|((at, _), _)| *at)
    }

    fn live_until(&mut self, to: Instant) {
        if to > self.now {
            self.tell_what_is_backed_up();
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
            Timer::ProviderEnds(uuid) => self.provider_ends(&uuid),
            Timer::ProviderRestores(uuid, state) => self.provider_restored(&uuid, state),
            Timer::StrangerResumes => self.set_phase(Phase::Exporting, usize::MAX),
            Timer::StrangerPauses(soft) => {
                self.set_phase(if soft { Phase::SoftPaused } else { Phase::Paused }, usize::MAX);
            }
        }
    }

    /// Pauses exporting on every partition, softly where asked for and understood.
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

    /// Stops the broker and starts it again after `down`; pauses survive, running backups do not.
    pub fn restart_broker(&mut self, down: Duration) {
        self.broker_down = true;
        self.change_leader();
        // Since 8.8 the history's queue lies in the memory of the same process.
        self.forget_queue(App::History);
        self.at(down, Timer::BrokerUp);
    }

    /// A new leader begins from the snapshot and marks its predecessor's running backups failed.
    pub fn change_leader(&mut self) {
        self.world.partitions.iter_mut().for_each(crate::sim::model::broker::Partition::restart_exporter);
        self.fail_running_backups();
    }

    /// Makes the search engine unreachable for a while.
    pub fn stop_search(&mut self, down: Duration) {
        self.search_down = true;
        self.at(down, Timer::SearchUp);
    }

    /// The broker snapshots and compacts now, after exporting what it may.
    pub fn snapshot_broker_now(&mut self) {
        self.tell_what_is_backed_up();
        self.world.export(self.now);
        self.world.partitions.iter_mut().for_each(crate::sim::model::broker::Partition::take_snapshot);
    }

    /// An index that nothing writes to any more.
    pub fn add_index(&mut self, name: &str) {
        self.extra_indices.push(Index::healthy(name, 1));
    }

    /// Deletes one of those.
    pub fn drop_index(&mut self, name: &str) {
        self.extra_indices.retain(|index| index.name != name);
    }

    /// Starts one instance in the first partition and returns its key.
    pub fn create_instance(&mut self) -> u64 {
        self.world.started += 1;
        self.world.partitions.first_mut().map_or(0, crate::sim::model::broker::Partition::create)
    }

    /// Completes an instance; false when no partition knows it.
    pub fn complete_instance(&mut self, instance: u64) -> bool {
        let knows = |p: &&mut crate::sim::model::broker::Partition| p.state.live.contains_key(&instance);
        self.world.partitions.iter_mut().find(knows).is_some_and(|p| p.complete(instance))
    }

    /// Bytes of log that the partitions keep, which grow while exporting is paused.
    pub fn log_bytes(&self) -> u64 {
        const RECORD: u64 = 400;
        self.world.partitions.iter().map(|p| p.log_length() * RECORD).sum()
    }

    /// What the operator of a relational database does with its own tools; nothing elsewhere.
    pub fn backup_database(&mut self) {
        if let Some(tables) = self.world.apps.get(&App::Database) {
            self.databases.push(DatabaseBackup { taken: self.now, tables: tables.clone() });
        }
    }

    /// The newest database backup from before a Zeebe backup, and every Zeebe backup up to that one.
    fn pieces_with_database(&self, id: i64) -> Vec<Piece> {
        let Some(taken) = self.backups.get(&id).map(|b| b.taken) else { return Vec::new() };
        let database = self.databases.iter().rev().find(|d| d.taken <= taken);
        let brokers = self.backups.range(..=id).flat_map(|(_, backup)| backup.pieces(self.now));
        database.map(|d| Piece::Database(d.tables.clone())).into_iter().chain(brokers).collect()
    }

    /// Every ended piece named after `id` in the repository and the backup store; with a relational database
    /// everything that a restore to `id` would take.
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

    /// What a restore of the backup `id` would bring back.
    pub fn restore(&self, id: i64) -> Restored {
        self.restore_pieces(&self.pieces_of(id))
    }

    /// What a restore of exactly these pieces would bring back.
    pub fn restore_pieces(&self, pieces: &[Piece]) -> Restored {
        restore::judge(&self.world, pieces, self.now)
    }

    /// Wipes the cluster and puts the pieces back; repositories and the backup store stay.
    pub fn restore_in_place(&mut self, pieces: &[Piece]) {
        let (indices, started) = (std::mem::take(&mut self.world.indices), self.world.started);
        self.world = restore::rebuild(&self.world, pieces, self.now);
        self.world.indices = indices;
        self.world.started = started;
        self.set_phase(Phase::Exporting, usize::MAX);
    }

    /// The instant as this cluster's clocks show it.
    pub(crate) fn shown(&self, at: Instant) -> Instant {
        at.checked_add_signed(self.clock_error).unwrap_or(at)
    }

    /// The lowest position in a partition that some copy may lack.
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

    /// Lets `duration` pass.
    pub fn pass(&mut self, duration: Duration) {
        self.advance(self.now + span(duration));
    }
}
