//! The data of a cluster and how it flows: brokers write, exporters copy to the search store, importers read it.
//! Since 8.8 the exporter writes what the web apps show as well, and nothing reads the records but Optimize.
//!
//! Owns partitions, exported records and what the web apps made of them. Must not know requests, backup ids or
//! snapshot names; restored copies are lived on by this same code.

use crate::domain::Instant;
use crate::sim::model::broker::{Partition, Phase};
use crate::sim::model::content::Content;
use crate::sim::model::history::Value;
use crate::sim::model::importer::{App, Imported};
use crate::sim::model::random::Random;
use crate::sim::model::timing::{BURST, Load, Timing};
use chrono::{NaiveDate, TimeDelta};
use std::collections::{BTreeMap, BTreeSet};

/// Records held in memory before the ones that every copy has are forgotten.
const REMEMBERED: usize = 20_000;

/// Slices a silence between two requests is lived through in, at most.
const SLICES: i64 = 32;

/// Where the exporters write. They are one here: what one acknowledged, all have.
#[derive(Clone, Copy, Debug)]
pub struct Exports {
    /// To the records, for web apps to import.
    pub records: bool,
    /// Straight into what this one shows.
    pub direct: Option<App>,
}

/// Everything a cluster stores outside its backups.
#[derive(Clone, Debug)]
pub struct World {
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// Exported records, per partition.
    pub records: Vec<Content>,
    /// Indices that hold them: one per kind and day.
    pub indices: BTreeSet<(Value, NaiveDate)>,
    /// Records in the search store that another timeline replaced.
    pub replaced: usize,
    /// What the web apps imported.
    pub apps: BTreeMap<App, Imported>,
    /// Instances started so far.
    pub started: u64,
    /// Where the exporters write.
    pub exports: Exports,
    arrivals: f64,
    due: Due,
}

/// When each recurring thing happens next.
#[derive(Clone, Copy, Debug)]
struct Due {
    export: Instant,
    import: Instant,
    store_positions: Instant,
    snapshot: Instant,
}

impl World {
    /// A cluster that has lived a little: some instances, exported, imported, and compacted away.
    pub fn new(
        now: Instant,
        partitions: usize,
        apps: &[App],
        exports: Exports,
        load: Load,
        random: &mut Random,
    ) -> Self {
        let mut world = Self {
            partitions: (0..partitions).map(Partition::new).collect(),
            records: vec![Content::default(); partitions],
            indices: BTreeSet::new(),
            replaced: 0,
            apps: apps.iter().map(|app| (*app, Imported::new(partitions))).collect(),
            started: 0,
            exports,
            arrivals: 0.0,
            due: Due { export: now, import: now, store_positions: now, snapshot: now },
        };
        for _ in 0..load.initial {
            world.operate_once(random);
        }
        world.export(now);
        world.import();
        world.store_positions();
        world.partitions.iter_mut().for_each(Partition::take_snapshot);
        world
    }

    /// A world made of restored pieces.
    pub fn of(
        partitions: Vec<Partition>,
        records: Vec<Content>,
        apps: BTreeMap<App, Imported>,
        exports: Exports,
        now: Instant,
    ) -> Self {
        Self {
            partitions,
            records,
            indices: BTreeSet::new(),
            replaced: 0,
            apps,
            started: 0,
            exports,
            arrivals: 0.0,
            due: Due { export: now, import: now, store_positions: now, snapshot: now },
        }
    }

    /// Lives from `from` to `to`. Without a broker only importers work.
    pub fn live(
        &mut self,
        from: Instant,
        to: Instant,
        broker: bool,
        load: Load,
        timing: &Timing,
        random: &mut Random,
    ) {
        let gap = to - from;
        if gap <= TimeDelta::zero() {
            return;
        }
        let step = span(timing.export_every).max(TimeDelta::milliseconds(1));
        let slices = (gap.num_microseconds().unwrap_or(i64::MAX)
            / step.num_microseconds().unwrap_or(1).max(1))
        .clamp(1, SLICES);
        let wanted = load.per_second * gap.num_milliseconds() as f64 / 1000.0;
        let per_slice = wanted.min(BURST) / slices as f64;
        for slice in 1..=slices {
            let at = from + gap / slices as i32 * slice as i32;
            if broker {
                self.arrivals += per_slice;
                while self.arrivals >= 1.0 {
                    self.arrivals -= 1.0;
                    self.operate_once(random);
                }
            }
            self.tick(at, broker, timing, random);
        }
    }

    fn tick(&mut self, at: Instant, broker: bool, timing: &Timing, random: &mut Random) {
        // A little unevenness, so that exporters and importers meet in every order.
        let jitter = |random: &mut Random, every: std::time::Duration| {
            let micros = every.as_micros() as u64;
            TimeDelta::microseconds((micros / 2 + random.below(micros + 1)) as i64)
        };
        if broker && at >= self.due.export {
            self.export(at);
            self.due.export = at + jitter(random, timing.export_every);
        }
        if at >= self.due.import {
            self.import();
            self.due.import = at + jitter(random, timing.import_every);
        }
        if at >= self.due.store_positions {
            self.store_positions();
            self.due.store_positions = at + jitter(random, timing.store_position_every);
        }
        if broker && at >= self.due.snapshot {
            self.partitions.iter_mut().for_each(Partition::take_snapshot);
            self.due.snapshot = at + jitter(random, timing.snapshot_every);
        }
    }

    /// One user's act: starts an instance, or completes one.
    pub fn operate_once(&mut self, random: &mut Random) -> Option<u64> {
        let index = random.below(self.partitions.len() as u64) as usize;
        let partition = self.partitions.get_mut(index)?;
        let live = partition.state.live.len() as u64;
        let complete = live > 100 || (live > 0 && random.below(100) < 45);
        if !complete {
            self.started += 1;
            return Some(partition.create());
        }
        let nth = random.below(live) as usize;
        let instance = *partition.state.live.keys().nth(nth)?;
        partition.complete(instance);
        None
    }

    /// Exports what the exporters may.
    pub fn export(&mut self, at: Instant) {
        for (index, (partition, records)) in self.partitions.iter_mut().zip(&mut self.records).enumerate() {
            let from = records.end();
            for exported in partition.export() {
                if let Some(shown) = self.exports.direct.and_then(|app| self.apps.get_mut(&app)) {
                    shown.write(index, exported);
                }
                let replaced = if self.exports.records { records.insert(exported) } else { Vec::new() };
                for span in replaced {
                    self.replaced += partition.histories.own(span.timeline, span.from, span.to).len();
                }
            }
            for span in records.after(from) {
                for record in partition.histories.own(span.timeline, span.from, span.to) {
                    self.indices.insert((record.value, at.date_naive()));
                }
            }
        }
    }

    /// Imports what was exported.
    pub fn import(&mut self) {
        for imported in Self::importing(&mut self.apps, self.exports) {
            for (partition, records) in self.records.iter().enumerate() {
                imported.import(partition, records);
            }
        }
    }

    /// Stores the import positions.
    pub fn store_positions(&mut self) {
        Self::importing(&mut self.apps, self.exports).for_each(Imported::store_positions);
    }

    /// Web apps that read the records.
    fn importing(
        apps: &mut BTreeMap<App, Imported>,
        exports: Exports,
    ) -> impl Iterator<Item = &mut Imported> {
        let reads = move |app: &App| exports.direct != Some(*app);
        apps.iter_mut().filter(move |(app, _)| reads(app)).map(|(_, imported)| imported)
    }

    /// Sets every partition's exporter phase; a resume acknowledges at the next export.
    pub fn set_phase(&mut self, phase: Phase) {
        for partition in &mut self.partitions {
            partition.set_phase(phase);
        }
    }

    /// Largest checkpoint id any partition has seen.
    pub fn checkpoint_id(&self) -> i64 {
        self.partitions.iter().map(|p| p.state.checkpoint_id).max().unwrap_or(0)
    }

    /// Live instances known to the brokers.
    pub fn live_instances(&self) -> usize {
        self.partitions.iter().map(|p| p.state.live.len()).sum()
    }

    /// Whether it is time to forget something.
    pub fn remembers_much(&self) -> bool {
        self.partitions.iter().any(|p| p.histories.remembered() >= REMEMBERED)
    }

    /// Forgets records that every store and every copy has; `needed` gives the lowest position a copy may lack.
    pub fn forget(&mut self, needed: impl Fn(usize) -> u64) {
        for (index, partition) in self.partitions.iter_mut().enumerate() {
            if partition.histories.remembered() < REMEMBERED {
                continue;
            }
            let base = partition.histories.base;
            let imported =
                self.apps.values().map(|app| app.whole_up_to(index, base)).min().unwrap_or(u64::MAX);
            let records = self.records.get(index).filter(|_| self.exports.records);
            let exported = records.map_or(u64::MAX, |r| r.whole_up_to(base));
            let base = needed(index).min(imported).min(exported).min(partition.log_start.saturating_sub(1));
            partition.histories.forget_up_to(base);
        }
    }
}

/// A duration as chrono has it.
pub(crate) fn span(duration: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
