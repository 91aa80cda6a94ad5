//! One partition of the broker: log, state, exporter, snapshot and compaction.
//!
//! Owns the data on a broker's disk. Must not know search stores, importers or backup names.
//!
//! Every change of state is a record in the log, so the state at a position is known. The exporter's
//! acknowledged position is part of the state, not of the log. After a restart or a restore the broker
//! therefore has only the acknowledgement of its last snapshot, and exports every later record again.

use crate::sim::model::content::Span;
use crate::sim::model::history::{Histories, Intent, Record, Value};
use std::collections::BTreeMap;

/// Mode of the exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Exports and acknowledges.
    Exporting,
    /// Exports, but does not advance the acknowledged position.
    SoftPaused,
    /// Sends no new records to the search store; earlier records are still written with the next flush.
    Paused,
}

impl Phase {
    /// Phase in `/actuator/partitions`.
    pub fn wire(self) -> &'static str {
        match self {
            Self::Exporting => "EXPORTING",
            Self::SoftPaused => "SOFT_PAUSED",
            Self::Paused => "PAUSED",
        }
    }
}

/// The exporter of a partition.
#[derive(Clone, Copy, Debug)]
pub struct Exporter {
    /// Mode.
    pub phase: Phase,
    /// Last position written to the search store since the broker started.
    pub read: u64,
    /// Last acknowledged position; the log up to it may be deleted.
    pub acknowledged: u64,
    /// Last position in the exporter's bulk at the time of a hard pause.
    pub handed: u64,
}

/// The broker's own snapshot: start of the log replay, and the acknowledgement after a restart.
#[derive(Clone, Copy, Debug)]
pub struct BrokerSnapshot {
    /// Last processed position in the snapshot.
    pub processed: u64,
    /// Acknowledged position in the snapshot.
    pub exported: u64,
    /// Running number, part of the snapshot's name.
    pub index: u64,
}

/// State that results from the log's records.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Live process instances, each with its pending job.
    pub live: BTreeMap<u64, u64>,
    /// Last written position, commands included.
    pub end: u64,
    /// Last processed command.
    pub processed: u64,
    /// Largest checkpoint id seen.
    pub checkpoint_id: i64,
    /// Position of that checkpoint.
    pub checkpoint_position: u64,
    next_key: u64,
    sequences: [u32; Value::ALL.len()],
}

/// Content of one partition in a Zeebe backup: the state at the checkpoint and the log after its snapshot.
#[derive(Clone, Debug)]
pub struct BrokerCopy {
    /// Partition, counted from 0.
    pub partition: usize,
    /// Timeline of the copied partition.
    pub timeline: u32,
    /// Position of the checkpoint, the last position in the copy.
    pub checkpoint: u64,
    state: State,
    snapshot: Option<BrokerSnapshot>,
    log_start: u64,
}

impl BrokerCopy {
    /// Acknowledged position at the start of a broker restored from this copy.
    pub fn exported(&self) -> u64 {
        self.snapshot.map_or(0, |s| s.exported)
    }

    /// First log position in the copy.
    pub fn first_position(&self) -> u64 {
        self.log_start
    }

    /// Whether the log in this copy continues the log of an earlier copy without a gap.
    pub fn continues(&self, before: &Self) -> bool {
        self.timeline == before.timeline && self.log_start <= before.checkpoint + 1
    }

    /// Name of the broker snapshot in the copy.
    pub fn snapshot_id(&self) -> Option<String> {
        self.snapshot.map(BrokerSnapshot::id)
    }
}

impl BrokerSnapshot {
    /// Name of the snapshot: index, term, processed and exported position, and an unused checksum.
    pub fn id(self) -> String {
        format!("{}-1-{}-{}-0", self.index, self.processed, self.exported)
    }
}

/// One partition, led by one broker.
#[derive(Clone, Debug)]
pub struct Partition {
    index: usize,
    /// Every record ever written, kept for comparison; the broker itself has only its log from `log_start`
    /// on.
    pub histories: Histories,
    /// The state.
    pub state: State,
    /// The exporter.
    pub exporter: Exporter,
    /// Its last snapshot.
    pub snapshot: Option<BrokerSnapshot>,
    /// First position still in the log.
    pub log_start: u64,
    /// Last backed-up position, if the log is kept until it is backed up.
    pub backed_up: Option<u64>,
}

impl Partition {
    /// An empty partition with one deployed process.
    pub fn new(index: usize) -> Self {
        let mut partition = Self {
            index,
            histories: Histories::default(),
            state: State::default(),
            exporter: Exporter { phase: Phase::Exporting, read: 0, acknowledged: 0, handed: 0 },
            snapshot: None,
            log_start: 1,
            backed_up: None,
        };
        partition.state.next_key = 1;
        partition.command();
        for value in [Value::Process, Value::Deployment, Value::CommandDistribution] {
            partition.write(0, value, Intent::Created);
        }
        partition
    }

    /// A restored partition: the log ends at the checkpoint, and later records belong to another timeline.
    pub fn restored(copy: &BrokerCopy, mut histories: Histories) -> Self {
        histories.fork(copy.timeline, copy.checkpoint);
        let acknowledged = copy.snapshot.map_or(0, |s| s.exported);
        Self {
            index: copy.partition,
            histories,
            state: copy.state.clone(),
            exporter: Exporter { phase: Phase::Exporting, read: acknowledged, acknowledged, handed: 0 },
            snapshot: copy.snapshot,
            log_start: copy.log_start,
            backed_up: None,
        }
    }

    /// Continues exporting after the last record in the database, with a log that starts at `first`.
    pub fn align(&mut self, exported: u64, first: u64) {
        self.exporter.read = exported;
        self.exporter.acknowledged = exported;
        self.log_start = self.log_start.min(first);
    }

    /// Creates the restored state of a partition that the backup does not contain: an empty partition.
    pub fn empty(index: usize, mut histories: Histories) -> Self {
        histories.fork(0, 0);
        Self { histories, state: State { next_key: 1, ..State::default() }, ..Self::new(index) }
    }

    /// Creates a process instance with a pending job and returns its key.
    pub fn create(&mut self) -> u64 {
        self.command();
        let instance = self.key();
        let job = self.key();
        self.write(instance, Value::ProcessInstanceCreation, Intent::Created);
        self.write(instance, Value::ProcessInstance, Intent::Created);
        self.write(instance, Value::Variable, Intent::Created);
        self.write(instance, Value::Job, Intent::Created);
        self.state.live.insert(instance, job);
        instance
    }

    /// Completes the job of an instance and thereby the instance; false if it is not live.
    pub fn complete(&mut self, instance: u64) -> bool {
        self.command();
        if self.state.live.remove(&instance).is_none() {
            return false;
        }
        self.write(instance, Value::Job, Intent::Completed);
        self.command();
        self.write(instance, Value::ProcessInstance, Intent::Completed);
        true
    }

    /// Writes the checkpoint `id` and copies the partition; `None` if the id is not higher than the last one.
    pub fn checkpoint(&mut self, id: i64) -> Option<BrokerCopy> {
        self.command();
        if id <= self.state.checkpoint_id {
            return None;
        }
        self.state.checkpoint_id = id;
        self.state.end += 1; // the record of the checkpoint itself is not exported
        self.state.checkpoint_position = self.state.end;
        Some(BrokerCopy {
            partition: self.index,
            timeline: self.histories.newest(),
            checkpoint: self.state.end,
            state: self.state.clone(),
            snapshot: self.snapshot,
            log_start: self.log_start,
        })
    }

    /// Switches the exporter. A hard pause stops reading, not the flush of records already read: these are
    /// written and acknowledged up to the exporter's bulk delay later.
    pub fn set_phase(&mut self, phase: Phase) {
        if phase == Phase::Paused {
            self.exporter.handed = match self.exporter.phase {
                Phase::Exporting => self.state.end,
                Phase::SoftPaused => self.exporter.read,
                Phase::Paused => self.exporter.handed,
            };
        }
        self.exporter.phase = phase;
    }

    /// Exports new records and acknowledges them, within the limits of the phase.
    pub fn export(&mut self) -> Vec<Span> {
        let mut exported = Vec::new();
        let until = if self.exporter.phase == Phase::Paused { self.exporter.handed } else { self.state.end };
        let flushes = self.exporter.read < until;
        if flushes {
            // Log before `log_start` was compacted, so it cannot be exported any more.
            let from = (self.exporter.read + 1).max(self.log_start);
            exported = self.histories.lineage(self.histories.newest(), from, until);
            self.exporter.read = until;
        }
        if self.exporter.phase == Phase::Exporting || (self.exporter.phase == Phase::Paused && flushes) {
            self.exporter.acknowledged = self.exporter.acknowledged.max(self.exporter.read);
        }
        exported
    }

    /// Takes a snapshot and drops log that neither the snapshot nor the exporter needs.
    pub fn take_snapshot(&mut self) {
        let (processed, exported) = (self.state.processed, self.exporter.acknowledged);
        let index = self.snapshot.map_or(100, |s| s.index + 3);
        if self.snapshot.is_some_and(|s| s.processed == processed && s.exported == exported) {
            return;
        }
        self.snapshot = Some(BrokerSnapshot { processed, exported, index });
        let needed = processed.min(exported).min(self.backed_up.unwrap_or(u64::MAX));
        self.log_start = self.log_start.max(needed + 1);
    }

    /// Drops log that is not backed up yet. Simulates a broker that breaks its promise in continuous mode.
    pub fn drop_log(&mut self) {
        self.backed_up = self.backed_up.map(|_| self.exporter.acknowledged);
        self.take_snapshot();
        self.log_start = self.log_start.max(self.state.processed.min(self.exporter.acknowledged) + 1);
    }

    /// Restarts the exporter after the acknowledgement in the snapshot. The phase is on disk and survives.
    pub fn restart_exporter(&mut self) {
        let exported = self.snapshot.map_or(0, |s| s.exported);
        self.exporter.read = exported;
        self.exporter.acknowledged = exported;
        self.exporter.handed = exported;
    }

    /// Number of positions in the log.
    pub fn log_length(&self) -> u64 {
        (self.state.end + 1).saturating_sub(self.log_start)
    }

    /// Returns the spans of records that the broker has written or restored. Records dropped from memory are not
    /// included.
    pub fn lived(&self) -> Vec<Span> {
        self.histories.lineage(self.histories.newest(), self.histories.base + 1, self.state.end)
    }

    fn key(&mut self) -> u64 {
        let key = ((self.index as u64 + 1) << 51) + self.state.next_key;
        self.state.next_key += 1;
        key
    }

    fn command(&mut self) {
        self.state.end += 1;
        self.state.processed = self.state.end;
    }

    fn write(&mut self, instance: u64, value: Value, intent: Intent) {
        self.state.end += 1;
        let count = &mut self.state.sequences[value as usize];
        *count += 1;
        let record = Record { position: self.state.end, instance, sequence: *count, value, intent };
        self.histories.append(record);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::model::content::Content;

    fn export(partition: &mut Partition, store: &mut Content) {
        for span in partition.export() {
            store.insert(span);
        }
    }

    #[test]
    fn soft_pause_exports_without_acknowledging_and_resume_catches_up() {
        let (mut partition, mut store) = (Partition::new(0), Content::default());
        export(&mut partition, &mut store);
        let before = partition.exporter.acknowledged;
        partition.exporter.phase = Phase::SoftPaused;
        partition.create();
        export(&mut partition, &mut store);
        assert_eq!(store.end(), partition.state.end);
        assert_eq!(partition.exporter.acknowledged, before);
        partition.exporter.phase = Phase::Exporting;
        export(&mut partition, &mut store);
        assert_eq!(partition.exporter.acknowledged, partition.state.end);
    }

    /// As measured on 8.6.0: the position may still advance within the exporter's bulk delay after the pause
    /// is confirmed.
    #[test]
    fn hard_pause_flushes_read_records_and_then_exports_nothing() {
        let (mut partition, mut store) = (Partition::new(0), Content::default());
        partition.create();
        let read = partition.state.end;
        partition.set_phase(Phase::Paused);
        partition.create();
        for _ in 0..2 {
            export(&mut partition, &mut store);
            assert_eq!((store.end(), partition.exporter.acknowledged), (read, read));
        }
    }

    #[test]
    fn hard_pause_after_soft_pause_acknowledges_nothing() {
        let (mut partition, mut store) = (Partition::new(0), Content::default());
        partition.set_phase(Phase::SoftPaused);
        partition.create();
        export(&mut partition, &mut store);
        partition.set_phase(Phase::Paused);
        export(&mut partition, &mut store);
        assert_eq!(partition.exporter.acknowledged, 0);
    }

    #[test]
    fn log_keeps_unacknowledged_records() {
        let (mut partition, mut store) = (Partition::new(0), Content::default());
        partition.create();
        export(&mut partition, &mut store);
        let acknowledged = partition.exporter.acknowledged;
        partition.exporter.phase = Phase::SoftPaused;
        partition.create();
        export(&mut partition, &mut store);
        partition.take_snapshot();
        assert!(partition.log_start <= acknowledged + 1);
        let paused = partition.log_length();
        partition.exporter.phase = Phase::Exporting;
        export(&mut partition, &mut store);
        partition.take_snapshot();
        assert!(partition.log_length() < paused);
    }

    #[test]
    fn restart_returns_to_the_acknowledged_position_of_the_snapshot() {
        let (mut partition, mut store) = (Partition::new(0), Content::default());
        export(&mut partition, &mut store);
        partition.take_snapshot();
        let exported = partition.exporter.acknowledged;
        partition.create();
        export(&mut partition, &mut store);
        partition.restart_exporter();
        assert_eq!(partition.exporter.acknowledged, exported);
        let documents = store.clone();
        export(&mut partition, &mut store);
        assert_eq!(store, documents, "exported again under the same ids");
    }

    #[test]
    fn checkpoint_id_must_increase() {
        let mut partition = Partition::new(0);
        assert!(partition.checkpoint(7).is_some());
        assert!(partition.checkpoint(7).is_none());
        assert!(partition.checkpoint(6).is_none());
        assert!(partition.checkpoint(8).is_some());
    }
}
