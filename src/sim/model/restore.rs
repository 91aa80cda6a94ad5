//! Result of a restore from exactly these copies, counted.
//!
//! Owns the verdict that all other checks rely on. The verdict uses neither a procedure nor a rule about
//! order. It restores the copies, continues with the same exporter and importer code, and compares the stores
//! with the past of the restored broker.
//!
//! # Why some orders lose data
//!
//! A restored broker has the state at the checkpoint `C` and nothing after it. It uses the positions after
//! `C` again, for other records: another timeline. Its exporter starts after the position `A`, the
//! acknowledged position in the broker's last own snapshot before `C`, and exports `A+1..=C` again. The
//! document id is the position, so existing documents are not duplicated. Let `R` be the last position in the
//! records snapshot and `W` a web app's import position:
//!
//! - *Right*: web apps, pause, records, Zeebe. Then `W <= R <= C`. Also `A <= R`, because nothing is
//!   acknowledged during the pause and only exported records are acknowledged before it. Records up to `R`
//!   come from the snapshot, the rest up to `C` from the broker, and the web apps import the records after
//!   `W`. Nothing is missing.
//! - *Zeebe before the records*: `C < R`. Records after `C` belong to a timeline that is in no broker
//!   (ghosts). The web apps import them and show instances that no command can reach. New records overwrite
//!   the ghosts, or exist beside them with the same sequence numbers.
//! - *Web apps last*: `C < W`. Their documents are ghosts, and their import position makes them skip the
//!   first records of the new timeline: those are lost.
//! - *A resume inside the window*: the acknowledged position advances. A snapshot of the broker then makes `A
//!   > R`, and compaction drops the log before it. Records in `R+1..=A` are in neither copy: a hole.
//! - *Parts of two ids*: any of the above. With positions of the newer and documents of the older id, the
//!   records between are skipped.
//! - *No pause*: a hole if the broker takes its snapshot between records and Zeebe; otherwise none, by
//!   chance. The count shows the difference.
//! - *No records*: a hole from the beginning up to `A`.
//!
//! Since 8.8 the exporter writes the documents of Operate and Tasklist directly. There is no import position,
//! and `W` is the last position in the history's documents, each part at its own instant. Only records after
//! `A` are exported again, so `A <= W` must hold as well as `W <= C`:
//!
//! - *Right*: pause, history, Optimize, records, Zeebe. Nothing is acknowledged from before the first part
//!   on.
//! - *History before the pause*, the order until 8.7: the acknowledged position advances. Once the broker has
//!   taken its snapshot, the records in `W+1..=A` are in neither copy.
//! - *Zeebe before the history*: `C < W`, documents of instances that are in no broker.
//!
//! With a relational database (8.9+) nothing is paused. The database holds, per partition, the position `E`
//! of its last exported record, and the restored exporter starts there. The brokers' copies are joined: the
//! newest one provides the state. The log reaches back as long as each copy's log continues that of the copy
//! before. Records between `E` and the first position of that range are lost, as after a gap. A database
//! newer than the brokers has ghosts.
//!
//! After the catch-up some load runs on the restored cluster, because part of the damage appears only then.

use crate::domain::Instant;
use crate::sim::model::broker::{BrokerCopy, Partition};
use crate::sim::model::content::{Content, Span};
use crate::sim::model::history::{Intent, Value};
use crate::sim::model::importer::{App, Imported, PartCopy, PartOf, Slot};
use crate::sim::model::random::Random;
use crate::sim::model::world::World;
use serde::Serialize;
use std::collections::BTreeSet;

/// A piece of a backup in a repository or a backup store.
#[derive(Clone, Debug)]
pub enum Piece {
    /// The exported records, per partition.
    Records(Vec<Content>),
    /// One part of a web app.
    Part(App, PartCopy),
    /// One partition of the broker.
    Broker(BrokerCopy),
    /// The tables of a relational database.
    Database(Imported),
}

/// Number of records by store, for example lost or duplicated records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Live instances of partitions that are not in the backup.
    pub broker: usize,
    /// Exported records.
    pub records: usize,
    /// Updates of Operate's documents.
    pub operate: usize,
    /// Updates of Tasklist's documents.
    pub tasklist: usize,
    /// Updates of Optimize's documents.
    pub optimize: usize,
    /// Updates of the common documents of Operate and Tasklist since 8.8.
    pub history: usize,
    /// Updates of the rows of a relational database.
    pub database: usize,
}

impl Tally {
    /// Total over all stores.
    pub fn total(self) -> usize {
        let shown = self.operate + self.tasklist + self.optimize + self.history + self.database;
        self.broker + self.records + shown
    }

    fn of(&mut self, app: App) -> &mut usize {
        match app {
            App::Operate => &mut self.operate,
            App::Tasklist => &mut self.tasklist,
            App::Optimize => &mut self.optimize,
            App::History => &mut self.history,
            App::Database => &mut self.database,
        }
    }
}

/// Result of a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Records of the broker's past that a store lacks.
    pub lost: Tally,
    /// Records in a store that are not in the broker's past.
    pub duplicates: Tally,
    /// Missing pieces of a complete backup. A web app's piece could be imported again from existing records,
    /// but data that exists only in the web app could not.
    pub missing_pieces: usize,
    /// Sequence numbers missing among the records, per partition and kind.
    pub sequence_gaps: usize,
    /// Duplicate sequence numbers.
    pub sequence_doubles: usize,
    /// Instances shown as active by Operate or the history, but absent from the broker: the broker lost them,
    /// or the record of their end is lost.
    pub unknown_to_broker: usize,
    /// Live instances that Operate or the history does not show as active.
    pub missing_in_operate: usize,
    /// Live instances of the restored brokers.
    pub instances: usize,
    /// Records restored only from the broker's log: those written after the copy of the records.
    pub exported_again: usize,
    /// Instances started between the copy of the first web app part and the checkpoint.
    pub started_in_window: usize,
}

impl Restored {
    /// Total number of lost records.
    pub fn lost(&self) -> usize {
        self.lost.total().max(self.sequence_gaps).max(self.missing_in_operate)
    }

    /// Total number of duplicates and ghosts.
    pub fn duplicates(&self) -> usize {
        self.duplicates.total() + self.sequence_doubles
    }

    /// No piece missing, nothing lost or duplicated, and Operate agrees with the broker.
    pub fn is_whole(&self) -> bool {
        self.lost() == 0 && self.duplicates() == 0 && self.unknown_to_broker == 0 && self.missing_pieces == 0
    }
}

/// Operations on the restored cluster before the verdict.
const LOAD_AFTER: u32 = 40;

/// Restores the pieces into an empty cluster. Of two pieces for the same destination the later one wins,
/// except that copies of brokers beside a database are joined.
pub(crate) fn rebuild(before: &World, pieces: &[Piece], now: Instant) -> World {
    let count = before.partitions.len();
    let mut records = vec![Content::default(); count];
    let mut apps: std::collections::BTreeMap<App, Imported> =
        before.apps.keys().map(|app| (*app, Imported::new(count))).collect();
    let mut brokers: Vec<Vec<&BrokerCopy>> = vec![Vec::new(); count];
    for piece in pieces {
        match piece {
            Piece::Records(copy) => records.clone_from(copy),
            Piece::Part(app, part) => {
                if let Some(imported) = apps.get_mut(app) {
                    imported.put_back(part);
                }
            }
            Piece::Broker(copy) => {
                if let Some(location) = brokers.get_mut(copy.partition) {
                    location.push(copy);
                }
            }
            Piece::Database(tables) => {
                apps.insert(App::Database, tables.clone());
            }
        }
    }
    let database = apps.get(&App::Database);
    let partitions = before.partitions.iter().zip(brokers).enumerate().map(|(index, (old, mut copies))| {
        if database.is_some() {
            copies.sort_by_key(|copy| copy.checkpoint);
        }
        let Some(newest) = copies.last() else { return Partition::empty(index, old.histories.clone()) };
        let mut partition = Partition::restored(newest, old.histories.clone());
        if let Some(database) = database {
            partition.align(database.position(index), range_start(&copies));
        }
        partition
    });
    let partitions: Vec<Partition> = partitions.collect();
    World::of(partitions, records, apps, before.exports, now)
}

/// First log position of the newest copy, joined with the copies that it continues.
fn range_start(copies: &[&BrokerCopy]) -> u64 {
    let mut first = u64::MAX;
    let mut later: Option<&BrokerCopy> = None;
    for copy in copies.iter().rev() {
        if later.is_some_and(|later| !later.continues(copy)) {
            break;
        }
        first = first.min(copy.first_position());
        later = Some(copy);
    }
    first
}

/// Restores the pieces of a backup into a second world, lets it run for a while, and counts the records that are lost
/// or repeated there.
pub(crate) fn judge(before: &World, pieces: &[Piece], now: Instant) -> Restored {
    let mut world = rebuild(before, pieces, now);
    let mut restored = Restored { missing_pieces: missing_pieces(before, pieces), ..Restored::default() };
    for (index, old) in before.partitions.iter().enumerate() {
        if !pieces.iter().any(|p| matches!(p, Piece::Broker(copy) if copy.partition == index)) {
            restored.lost.broker += old.state.live.len().max(1);
        }
    }
    for (index, partition) in world.partitions.iter().enumerate() {
        let copied = copied_up_to(&world, index);
        let written = first_written(&world, index).cloned().unwrap_or_default();
        for (timeline, record) in lived(partition) {
            let known = written.timeline_at(record.position) == Some(timeline);
            restored.exported_again += usize::from(!known);
            let start = record.value == Value::ProcessInstance && record.intent == Intent::Created;
            restored.started_in_window += usize::from(start && record.position > copied);
        }
    }
    catch_up(&mut world, now);
    restored.instances = world.live_instances();
    for (index, partition) in world.partitions.iter().enumerate() {
        let own = partition.lived();
        restored.duplicates.records +=
            world.records.get(index).map_or(0, |r| ghosts(partition, &own, r, |_| true));
        for (app, imported) in &world.apps {
            for slot in [Slot::Main, Slot::Details, Slot::Reference] {
                let wanted = |value| app.slot(value) == Some(slot);
                let found = imported.documents(slot, index).map_or(0, |c| ghosts(partition, &own, c, wanted));
                *restored.duplicates.of(*app) += found;
            }
        }
    }
    restored.unknown_to_broker = shown_active(&world).difference(&live(&world)).count();

    let mut random = Random::new(1);
    for _ in 0..LOAD_AFTER {
        world.operate_once(&mut random);
    }
    catch_up(&mut world, now);
    for (index, partition) in world.partitions.iter().enumerate() {
        for (timeline, record) in lived(partition) {
            let there = |content: Option<&Content>| {
                usize::from(content.and_then(|c| c.timeline_at(record.position)) != Some(timeline))
            };
            if world.exports.records {
                restored.lost.records += there(world.records.get(index));
            }
            for (app, imported) in &world.apps {
                if let Some(slot) = app.slot(record.value) {
                    *restored.lost.of(*app) += there(imported.documents(slot, index));
                }
            }
        }
    }
    restored.missing_in_operate = missing_in_operate(&world);
    if world.exports.records {
        (restored.sequence_gaps, restored.sequence_doubles) = sequences(&world);
    }
    restored
}

fn missing_pieces(before: &World, pieces: &[Piece]) -> usize {
    let no_records = !pieces.iter().any(|p| matches!(p, Piece::Records(_)));
    let no_database = !pieces.iter().any(|p| matches!(p, Piece::Database(_)));
    let needs_database = before.apps.contains_key(&App::Database);
    let mut missing = usize::from(before.exports.records && no_records);
    missing += usize::from(needs_database && no_database);
    for index in 0..before.partitions.len() {
        let there = |p: &Piece| matches!(p, Piece::Broker(copy) if copy.partition == index);
        missing += usize::from(!pieces.iter().any(there));
    }
    for app in before.apps.keys() {
        for number in 1..=app.parts() {
            let there = |p: &Piece| match (p, app.part(number)) {
                (Piece::Part(of, PartCopy::Positions(_)), PartOf::Positions) => of == app,
                (Piece::Part(of, PartCopy::Documents(slot, _)), PartOf::Documents(wanted)) => {
                    of == app && *slot == wanted
                }
                _ => false,
            };
            missing += usize::from(app.part(number) != PartOf::Nothing && !pieces.iter().any(there));
        }
    }
    missing
}

fn catch_up(world: &mut World, now: Instant) {
    world.export(now);
    world.import();
    world.store_positions();
}

/// Records in a broker's past that are still in memory, each with its timeline.
fn lived(partition: &Partition) -> impl Iterator<Item = (u32, &crate::sim::model::history::Record)> {
    partition.lived().into_iter().flat_map(|span| {
        partition.histories.own(span.timeline, span.from, span.to).iter().map(move |r| (span.timeline, r))
    })
}

/// Selected records in `content` that are not in the partition's own past.
fn ghosts(partition: &Partition, own: &[Span], content: &Content, wanted: impl Fn(Value) -> bool) -> usize {
    let is_own = |timeline, position| {
        own.iter().any(|s| s.timeline == timeline && s.from <= position && position <= s.to)
    };
    let found = content.spans().iter().flat_map(|span| {
        partition.histories.own(span.timeline, span.from, span.to).iter().map(|r| (span.timeline, r))
    });
    let base = partition.histories.base;
    found.filter(|(t, r)| r.position > base && wanted(r.value) && !is_own(*t, r.position)).count()
}

fn live(world: &World) -> BTreeSet<u64> {
    world.partitions.iter().flat_map(|p| p.state.live.keys().copied()).collect()
}

/// First destination of a partition's exporters: the records, or the documents of the web apps.
fn first_written(world: &World, index: usize) -> Option<&Content> {
    if world.exports.records {
        return world.records.get(index);
    }
    world.exports.direct.and_then(|app| world.apps.get(&app)?.documents(Slot::Main, index))
}

/// Last position present in the copies of all web apps.
fn copied_up_to(world: &World, index: usize) -> u64 {
    let copied = world.apps.iter().map(|(app, imported)| {
        if world.exports.direct == Some(*app) { imported.end(index) } else { imported.position(index) }
    });
    copied.min().unwrap_or(0)
}

/// The web app with the lists of instances.
fn lists(world: &World) -> Option<&Imported> {
    [App::Operate, App::History, App::Database].iter().find_map(|app| world.apps.get(app))
}

/// Instances shown as active in those lists.
fn shown_active(world: &World) -> BTreeSet<u64> {
    let mut active = BTreeSet::new();
    let Some(operate) = lists(world) else { return active };
    for (index, partition) in world.partitions.iter().enumerate() {
        let spans = operate.documents(Slot::Main, index).map_or(&[][..], Content::spans);
        for record in spans.iter().flat_map(|s| partition.histories.own(s.timeline, s.from, s.to)) {
            match (record.value, record.intent) {
                (Value::ProcessInstance, Intent::Created) => active.insert(record.instance),
                (Value::ProcessInstance, Intent::Completed) => active.remove(&record.instance),
                _ => false,
            };
        }
    }
    active
}

fn missing_in_operate(world: &World) -> usize {
    if lists(world).is_none() {
        return 0;
    }
    let shown = shown_active(world);
    let started = world.partitions.iter().flat_map(lived);
    let remembered =
        started.filter(|(_, r)| r.value == Value::ProcessInstance && r.intent == Intent::Created);
    let live = live(world);
    remembered.filter(|(_, r)| live.contains(&r.instance) && !shown.contains(&r.instance)).count()
}

/// Gaps and duplicates in the sequence numbers of the records, per partition and value type.
fn sequences(world: &World) -> (usize, usize) {
    let (mut gaps, mut doubles) = (0, 0);
    for (partition, records) in world.partitions.iter().zip(&world.records) {
        let mut last = [None; Value::ALL.len()];
        if partition.histories.base == 0 {
            last = [Some(0); Value::ALL.len()];
        }
        for span in records.spans() {
            for record in partition.histories.own(span.timeline, span.from, span.to) {
                let before: &mut Option<u32> = &mut last[record.value as usize];
                if let Some(before) = *before {
                    gaps += record.sequence.saturating_sub(before + 1) as usize;
                    doubles += usize::from(record.sequence <= before);
                }
                *before = Some(before.unwrap_or(0).max(record.sequence));
            }
        }
    }
    (gaps, doubles)
}
