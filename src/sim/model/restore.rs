//! What a restore from exactly these copies would bring back, counted.
//!
//! Owns the verdict that everything else relies on. It knows no procedure and no rule about order: it puts the
//! copies back, lets the same exporter and importer code live on from there, and compares what the stores then hold
//! with what the restored broker has lived.
//!
//! # Why some orders lose data
//!
//! A restored broker is its state at the checkpoint `C`. It never knows anything after `C`, and what it writes next
//! takes the positions after `C` again, for other records: another timeline. Its exporter begins after the position
//! `A` that was acknowledged in the broker's last own snapshot before `C`, and exports `A+1..=C` again; the document
//! id is the position, so what is already there is not doubled. With `R` as the last position in the records
//! snapshot and `W` as a web app's import position:
//!
//! - *Right*: web apps, pause, records, Zeebe. Then `W <= R <= C`, and `A <= R` because nothing is acknowledged
//!   during the pause and only exported records are acknowledged before it. Records up to `R` come from the
//!   snapshot, the rest up to `C` from the broker, and the web apps import what lies after `W`. Nothing is missing.
//! - *Zeebe before the records*: `C < R`. Records after `C` are of a timeline that no broker remembers (ghosts), the
//!   web apps import them and show instances that no command can reach, and new records overwrite them or stand
//!   beside them with the same sequence numbers.
//! - *Web apps last*: `C < W`. Their documents are ghosts, and their import position makes them skip the first
//!   records of the new timeline: those are lost.
//! - *A resume inside the window*: the acknowledgement moves on; a snapshot of the broker then makes `A > R`, and
//!   compaction drops the log before it. Records in `R+1..=A` are in neither copy: a hole.
//! - *Parts of two ids*: any of the above; positions from the newer and documents from the older id skip the
//!   records between.
//! - *No pause*: a hole if the broker takes its snapshot between records and Zeebe, else luck; the count says which.
//! - *No records*: a hole from the beginning up to `A`.
//!
//! Since 8.8 the exporter writes what Operate and Tasklist show straight away, so there is no import position, and `W`
//! is what the history's documents have got to, each part at its own instant. Only what lies after `A` is exported
//! again, so `A <= W` must hold as well as `W <= C`:
//!
//! - *Right*: pause, history, Optimize, records, Zeebe. Nothing is acknowledged from before the first part on.
//! - *History before the pause*, the order until 8.7: the acknowledgement moves on, and once the broker has taken its
//!   snapshot, what lies in `W+1..=A` is in neither copy.
//! - *Zeebe before the history*: `C < W`, documents of instances that no broker remembers.
//!
//! With a relational database (8.9+) nothing is paused. The database holds, per partition, the position `E` that was
//! exported into it, and the restored exporter begins there. The brokers' copies are joined: the newest gives the
//! state, and the log reaches back as long as each copy's log continues that of the copy before. Records between `E`
//! and the first position of that range are lost, as after a gap; a database newer than the brokers has ghosts.
//!
//! After the catch-up some load runs on the restored cluster, since part of the damage only shows then.

use crate::domain::Instant;
use crate::sim::model::broker::{BrokerCopy, Partition};
use crate::sim::model::content::{Content, Span};
use crate::sim::model::history::{Intent, Value};
use crate::sim::model::importer::{App, Imported, PartCopy, PartOf, Slot};
use crate::sim::model::random::Random;
use crate::sim::model::world::World;
use serde::Serialize;
use std::collections::BTreeSet;

/// A piece of a backup, as it lies in a repository or a backup store.
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

/// A count per store.
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
    /// Updates of what Operate and Tasklist show since 8.8.
    pub history: usize,
    /// Updates of the rows of a relational database.
    pub database: usize,
}

impl Tally {
    /// The sum.
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

/// What a restore brought back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Records the broker has lived that a store lacks.
    pub lost: Tally,
    /// Records in a store that no broker remembers.
    pub duplicates: Tally,
    /// Pieces that a whole backup has and this one lacks. A web app's could be imported again from the records, as
    /// long as those are there; what only lives in the web app could not.
    pub missing_pieces: usize,
    /// Sequence numbers missing among the records, per partition and kind.
    pub sequence_gaps: usize,
    /// Sequence numbers there twice.
    pub sequence_doubles: usize,
    /// Instances that Operate, or the history, shows active and the broker does not know, because it forgot them or because the
    /// record of their end is lost.
    pub unknown_to_broker: usize,
    /// Live instances that they do not show active.
    pub missing_in_operate: usize,
    /// Live instances of the restored brokers.
    pub instances: usize,
    /// Records that only the broker's log brought back: those written after the records were copied.
    pub exported_again: usize,
    /// Instances started after the first web app part was copied and up to the checkpoint.
    pub started_in_window: usize,
}

impl Restored {
    /// Everything lost.
    pub fn lost(&self) -> usize {
        self.lost.total().max(self.sequence_gaps).max(self.missing_in_operate)
    }

    /// Everything there twice, or from a past that is not the broker's.
    pub fn duplicates(&self) -> usize {
        self.duplicates.total() + self.sequence_doubles
    }

    /// No piece missing, nothing lost, nothing doubled, and Operate shows what the broker knows.
    pub fn is_whole(&self) -> bool {
        self.lost() == 0 && self.duplicates() == 0 && self.unknown_to_broker == 0 && self.missing_pieces == 0
    }
}

/// Operations that run on the restored cluster before it is judged.
const LOAD_AFTER: u32 = 40;

/// Puts the pieces back into an empty cluster; of two pieces for one place the later wins, but for copies of brokers
/// beside a database, which are joined.
pub fn rebuild(before: &World, pieces: &[Piece], now: Instant) -> World {
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

/// The first position of the log that the newest copy and those it continues have together.
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

/// Restores the pieces beside the cluster, lives on, and counts.
pub fn judge(before: &World, pieces: &[Piece], now: Instant) -> Restored {
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

/// The records a broker has lived, as far as they are remembered, each with its timeline.
fn lived(partition: &Partition) -> impl Iterator<Item = (u32, &crate::sim::model::history::Record)> {
    partition.lived().into_iter().flat_map(|span| {
        partition.histories.own(span.timeline, span.from, span.to).iter().map(move |r| (span.timeline, r))
    })
}

/// Wanted records in `content` that are not of the partition's own past.
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

/// What the exporters of a partition write first: the records, or what the web apps show.
fn first_written(world: &World, index: usize) -> Option<&Content> {
    if world.exports.records {
        return world.records.get(index);
    }
    world.exports.direct.and_then(|app| world.apps.get(&app)?.documents(Slot::Main, index))
}

/// The last position that every web app had got to when it was copied.
fn copied_up_to(world: &World, index: usize) -> u64 {
    let copied = world.apps.iter().map(|(app, imported)| {
        if world.exports.direct == Some(*app) { imported.end(index) } else { imported.position(index) }
    });
    copied.min().unwrap_or(0)
}

/// The web app whose lists are looked at.
fn lists(world: &World) -> Option<&Imported> {
    [App::Operate, App::History, App::Database].iter().find_map(|app| world.apps.get(app))
}

/// Instances that its lists show active.
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

/// Gaps and doubles in the sequence numbers of the records, per partition and kind.
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
