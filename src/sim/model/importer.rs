//! A web app's documents and their import.
//!
//! Owns, per web app, the imported records by index and the stored import position. Must not know the broker.
//!
//! Until 8.7 every web app imports exported records. Since 8.8 the exporter writes the documents of Operate
//! and Tasklist (`App::History`) itself, and only Optimize imports.
//!
//! Documents are written first and the import position later, so after a restart some records are imported
//! again. The writes are upserts, so no duplicates result. The importer skips every record up to its import
//! position unread: records of a restored cluster can be lost that way.

use crate::sim::model::content::{Content, Span};
use crate::sim::model::history::Value;

/// A web app that presents the brokers' records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum App {
    /// Operate.
    Operate,
    /// Tasklist.
    Tasklist,
    /// Optimize.
    Optimize,
    /// Operate and Tasklist since 8.8: one set of indices, one backup.
    History,
    /// The same data in tables of a relational database, backed up by its operator.
    Database,
}

impl App {
    /// Every web app with its own backup.
    pub const ALL: [Self; 4] = [Self::Operate, Self::Tasklist, Self::Optimize, Self::History];

    /// Name in paths, counters and faults.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operate => "operate",
            Self::Tasklist => "tasklist",
            Self::Optimize => "optimize",
            Self::History => "history",
            Self::Database => "database",
        }
    }

    /// Prefix of its snapshot names; the backup id follows.
    pub fn snapshot_prefix(self) -> &'static str {
        match self {
            Self::Operate => "camunda_operate_",
            Self::Tasklist => "camunda_tasklist_",
            Self::Optimize => "camunda_optimize_",
            Self::History => "camunda_webapps_",
            Self::Database => "",
        }
    }

    /// Maximum number of snapshots in its backup. The last one of the history holds archives and does not
    /// exist in every version.
    pub fn parts(self) -> u32 {
        match self {
            Self::Operate | Self::Tasklist => 6,
            Self::Optimize => 2,
            Self::History => 7,
            Self::Database => 0,
        }
    }

    /// The indices of its documents about `value`, if it imports them.
    pub fn slot(self, value: Value) -> Option<Slot> {
        match (self, value) {
            (_, Value::ProcessInstance)
            | (Self::Tasklist | Self::History | Self::Database, Value::Job)
            | (Self::Optimize, Value::Variable | Value::Process) => Some(Slot::Main),
            (Self::Operate, Value::Job | Value::Variable)
            | (Self::Tasklist | Self::History | Self::Database, Value::Variable) => Some(Slot::Details),
            (Self::Operate | Self::Tasklist | Self::History | Self::Database, Value::Process) => {
                Some(Slot::Reference)
            }
            _ => None,
        }
    }

    /// Content of part `number` of its backup. Positions come first, so that a copied position never exceeds
    /// the copied documents. The history has no positions: its position is in the broker. Some parts hold
    /// archives; the simulation has none.
    pub fn part(self, number: u32) -> PartOf {
        match (self, number) {
            (Self::Operate | Self::Tasklist | Self::Optimize, 1) => PartOf::Positions,
            (_, 2) => PartOf::Documents(Slot::Main),
            (Self::Operate | Self::Tasklist | Self::History, 4) => PartOf::Documents(Slot::Details),
            (Self::Operate | Self::Tasklist | Self::History, 6) => PartOf::Documents(Slot::Reference),
            _ => PartOf::Nothing,
        }
    }
}

/// Group of indices that one snapshot contains.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Documents of lists: instances and tasks.
    Main,
    /// Their details.
    Details,
    /// Definitions.
    Reference,
}

/// Content of one part of a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartOf {
    /// Import positions.
    Positions,
    /// Documents.
    Documents(Slot),
    /// No index.
    Nothing,
}

/// Copy of a part; one entry per partition.
#[derive(Clone, Debug)]
pub enum PartCopy {
    /// Import positions.
    Positions(Vec<u64>),
    /// Documents.
    Documents(Slot, Vec<Content>),
    /// No index.
    Nothing,
}

/// Imported data of one web app; one entry per partition everywhere.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Last position with written documents.
    reached: Vec<u64>,
    /// The stored import position.
    stored: Vec<u64>,
    slots: [Vec<Content>; 3],
}

impl Imported {
    /// Creates the state before any import.
    pub fn new(partitions: usize) -> Self {
        let slot = || vec![Content::default(); partitions];
        Self { reached: vec![0; partitions], stored: vec![0; partitions], slots: [slot(), slot(), slot()] }
    }

    /// Imports the records of a partition after the import position.
    pub fn import(&mut self, partition: usize, records: &Content) {
        let Some(reached) = self.reached.get_mut(partition) else { return };
        for span in records.after(*reached) {
            for slot in &mut self.slots {
                if let Some(content) = slot.get_mut(partition) {
                    content.insert(span);
                }
            }
        }
        *reached = (*reached).max(records.end());
    }

    /// Writes records directly, as the exporter does.
    pub fn write(&mut self, partition: usize, span: Span) {
        for content in self.slots.iter_mut().filter_map(|slot| slot.get_mut(partition)) {
            content.insert(span);
        }
        for position in [&mut self.reached, &mut self.stored] {
            if let Some(position) = position.get_mut(partition) {
                *position = (*position).max(span.to);
            }
        }
    }

    /// Last position that is complete in every slot of a partition.
    pub fn end(&self, partition: usize) -> u64 {
        self.slots.iter().filter_map(|slot| slot.get(partition)).map(Content::end).min().unwrap_or(0)
    }

    /// Stores the import positions.
    pub fn store_positions(&mut self) {
        self.stored.clone_from(&self.reached);
    }

    /// Restarts the importer at the stored positions.
    pub fn restart(&mut self) {
        self.reached.clone_from(&self.stored);
    }

    /// The documents in one slot of one partition.
    pub fn documents(&self, slot: Slot, partition: usize) -> Option<&Content> {
        self.slots[slot as usize].get(partition)
    }

    /// The stored import position of a partition.
    pub fn position(&self, partition: usize) -> u64 {
        self.stored.get(partition).copied().unwrap_or(0)
    }

    /// End of the sequence after `base` without gaps in positions and documents.
    pub fn whole_up_to(&self, partition: usize, base: u64) -> u64 {
        let documents = self.slots.iter().filter_map(|slot| slot.get(partition)).map(|c| c.whole_up_to(base));
        documents.min().unwrap_or(0).min(self.position(partition))
    }

    /// Copies the current content of one part.
    pub fn copy(&self, part: PartOf) -> PartCopy {
        match part {
            PartOf::Positions => PartCopy::Positions(self.stored.clone()),
            PartOf::Documents(slot) => PartCopy::Documents(slot, self.slots[slot as usize].clone()),
            PartOf::Nothing => PartCopy::Nothing,
        }
    }

    /// Restores a copied part.
    pub fn put_back(&mut self, part: &PartCopy) {
        match part {
            PartCopy::Positions(positions) => {
                self.stored.clone_from(positions);
                self.reached.clone_from(positions);
            }
            PartCopy::Documents(slot, contents) => self.slots[*slot as usize].clone_from(contents),
            PartCopy::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_import_adds_no_duplicates_and_skips_records_before_the_position() {
        let mut records = Content::default();
        records.insert(Span { from: 1, to: 10, timeline: 0 });
        let mut operate = Imported::new(1);
        operate.import(0, &records);
        operate.restart(); // the position was not stored yet
        operate.import(0, &records);
        assert_eq!(operate.documents(Slot::Main, 0).map(Content::spans), Some(records.spans()));
        operate.store_positions();
        records.insert(Span { from: 8, to: 10, timeline: 1 });
        operate.import(0, &records);
        assert_eq!(operate.documents(Slot::Main, 0).and_then(|c| c.timeline_at(9)), Some(0));
    }
}
