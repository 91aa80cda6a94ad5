//! A web app's documents and how they come about.
//!
//! Until 8.7 every web app imports exported records; since 8.8 the exporter writes the documents of Operate and
//! Tasklist (`App::History`) itself, and only Optimize imports. Owns, per web app, which records went into which of its indices and the import position it has stored. Documents
//! are written first and the import position later, so after a restart some records are imported again; the writes
//! are upserts, so that is no double. It skips every record at or before its import position without looking at
//! it: that is how records of a restored cluster can vanish. Must not know the broker.

use crate::sim::model::content::{Content, Span};
use crate::sim::model::history::Value;

/// A web app that shows what the brokers did.
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
    /// The same in the tables of a relational database, which its operator backs up.
    Database,
}

impl App {
    /// Every web app that backs itself up.
    pub const ALL: [Self; 4] = [Self::Operate, Self::Tasklist, Self::Optimize, Self::History];

    /// Its name in paths, counters and faults.
    pub fn name(self) -> &'static str {
        match self {
            Self::Operate => "operate",
            Self::Tasklist => "tasklist",
            Self::Optimize => "optimize",
            Self::History => "history",
            Self::Database => "database",
        }
    }

    /// What the names of its snapshots begin with; the backup id follows.
    pub fn snapshot_prefix(self) -> &'static str {
        match self {
            Self::Operate => "camunda_operate_",
            Self::Tasklist => "camunda_tasklist_",
            Self::Optimize => "camunda_optimize_",
            Self::History => "camunda_webapps_",
            Self::Database => "",
        }
    }

    /// How many snapshots its backup has at most; the last of the history is of archives, and not in every version.
    pub fn parts(self) -> u32 {
        match self {
            Self::Operate | Self::Tasklist => 6,
            Self::Optimize => 2,
            Self::History => 7,
            Self::Database => 0,
        }
    }

    /// The indices its documents about `value` lie in, if it imports them.
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

    /// What part `number` of its backup holds. Positions come first, so that a copy never claims to have imported
    /// more than its documents show; the history has none, its position lies in the broker. Some parts hold archives,
    /// of which the simulation has none.
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

/// Indices that are snapshot together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Lists: instances, tasks.
    Main,
    /// Their details.
    Details,
    /// Definitions.
    Reference,
}

/// What one part of a backup is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartOf {
    /// Import positions.
    Positions,
    /// Documents.
    Documents(Slot),
    /// No index at all.
    Nothing,
}

/// A part as it was copied; one entry per partition.
#[derive(Clone, Debug)]
pub enum PartCopy {
    /// Import positions.
    Positions(Vec<u64>),
    /// Documents.
    Documents(Slot, Vec<Content>),
    /// No index at all.
    Nothing,
}

/// What one web app has imported; one entry per partition everywhere.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    /// Up to where documents are written.
    reached: Vec<u64>,
    /// The import position it has stored.
    stored: Vec<u64>,
    slots: [Vec<Content>; 3],
}

impl Imported {
    /// Nothing imported yet.
    pub fn new(partitions: usize) -> Self {
        let slot = || vec![Content::default(); partitions];
        Self { reached: vec![0; partitions], stored: vec![0; partitions], slots: [slot(), slot(), slot()] }
    }

    /// Reads what the store has beyond the import position of a partition.
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

    /// Takes what the exporter writes straight into it.
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

    /// Last position that every slot of a partition has got to.
    pub fn end(&self, partition: usize) -> u64 {
        self.slots.iter().filter_map(|slot| slot.get(partition)).map(Content::end).min().unwrap_or(0)
    }

    /// Stores how far it got.
    pub fn store_positions(&mut self) {
        self.stored.clone_from(&self.reached);
    }

    /// What a restart does: begin again after the stored position.
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

    /// Up to where neither positions nor documents lack anything after `base`.
    pub fn whole_up_to(&self, partition: usize, base: u64) -> u64 {
        let documents = self.slots.iter().filter_map(|slot| slot.get(partition)).map(|c| c.whole_up_to(base));
        documents.min().unwrap_or(0).min(self.position(partition))
    }

    /// A copy of one part as it is now.
    pub fn copy(&self, part: PartOf) -> PartCopy {
        match part {
            PartOf::Positions => PartCopy::Positions(self.stored.clone()),
            PartOf::Documents(slot) => PartCopy::Documents(slot, self.slots[slot as usize].clone()),
            PartOf::Nothing => PartCopy::Nothing,
        }
    }

    /// Puts a copied part back.
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
    fn what_is_imported_twice_is_there_once_and_what_lies_behind_the_position_is_skipped() {
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
