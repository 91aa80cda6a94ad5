//! The data of a cluster and its flow: brokers write, exporters copy to the search store, importers read it.
//!
//! Owns partitions, exported records and the web apps' documents. Must not know requests, backup ids or
//! snapshot names. A simulated restore continues on copies with this same code. Since 8.8 the exporter also
//! writes the web apps' documents, and only Optimize reads the records.

use crate::domain::Instant;
use crate::sim::model::broker::{Partition, Phase};
use crate::sim::model::content::Content;
use crate::sim::model::history::Value;
use crate::sim::model::importer::{App, Imported};
use crate::sim::model::random::Random;
use crate::sim::model::timing::{BURST, Load, Timing};
use chrono::{NaiveDate, TimeDelta};
use std::collections::{BTreeMap, BTreeSet};

/// Records in memory above which records present in every copy are dropped.
const REMEMBERED: usize = 20_000;

/// Maximum number of time slices between two requests.
const SLICES: i64 = 32;

/// Destinations of the exporters. They share one acknowledged position here.
#[derive(Clone, Copy, Debug)]
pub struct Exports {
    /// The records, for import by web apps.
    pub records: bool,
    /// The documents of this web app.
    pub direct: Option<App>,
}

/// All data of a cluster outside its backups.
#[derive(Clone, Debug)]
pub struct World {
    /// The partitions.
    pub partitions: Vec<Partition>,
    /// Exported records, per partition.
    pub records: Vec<Content>,
    /// Their indices: one per value type and day.
    pub indices: BTreeSet<(Value, NaiveDate)>,
    /// Records in the search store that another timeline replaced.
    pub replaced: usize,
    /// Data of the web apps.
    pub apps: BTreeMap<App, Imported>,
    /// Number of instances started so far.
    pub started: u64,
    /// Destinations of the exporters.
    pub exports: Exports,
    arrivals: f64,
    due: Due,
}

/// Next occurrence of each recurring event.
#[derive(Clone, Copy, Debug)]
struct Due {
    export: Instant,
    import: Instant,
    store_positions: Instant,
    snapshot: Instant,
}

impl World {
    /// A cluster with some instances, already exported, imported and compacted.
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

    /// Simulates the time from `from` to `to`. Without a broker only importers work.
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
        // Random jitter lets exporters and importers run in different orders.
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

    /// One operation of a user: starts or completes an instance.
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

    /// Exports records as far as the phases permit.
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

    /// Imports the exported records.
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

    /// Sets every partition's exporter phase; after a resume the next export acknowledges.
    pub fn set_phase(&mut self, phase: Phase) {
        for partition in &mut self.partitions {
            partition.set_phase(phase);
        }
    }

    /// Largest checkpoint id of all partitions.
    pub fn checkpoint_id(&self) -> i64 {
        self.partitions.iter().map(|p| p.state.checkpoint_id).max().unwrap_or(0)
    }

    /// Number of live instances in the brokers.
    pub fn live_instances(&self) -> usize {
        self.partitions.iter().map(|p| p.state.live.len()).sum()
    }

    /// Whether enough records are in memory to drop some.
    pub fn should_drop_records(&self) -> bool {
        self.partitions.iter().any(|p| p.histories.remembered() >= REMEMBERED)
    }

    /// Drops records that every store and every copy has. `needed` returns the lowest position that a copy
    /// may lack.
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

/// Converts a duration for chrono.
pub(crate) fn span(duration: std::time::Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
