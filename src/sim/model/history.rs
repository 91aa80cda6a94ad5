//! Records of a partition, both exported and pending.
//!
//! Owns the kinds of record and the append-only histories of records.
//!
//! Commands use positions but are not exported, so positions have gaps. `sequence` counts the exported
//! records per partition and value type, without gaps. The real exporter counts during export and stores the
//! count with its acknowledged position, so that a record exported again gets the same number. The simulation
//! assigns the number once, when the record is written.

use std::sync::Arc;

/// Value type of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// A process instance was activated or completed.
    ProcessInstance,
    /// Creation of an instance was requested.
    ProcessInstanceCreation,
    /// A job was created or completed; user tasks are jobs.
    Job,
    /// A variable was set.
    Variable,
    /// A process definition was deployed.
    Process,
    /// The deployment of a process definition.
    Deployment,
    /// Distribution of a deployment to the other partitions.
    CommandDistribution,
}

impl Value {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::ProcessInstance,
        Self::ProcessInstanceCreation,
        Self::Job,
        Self::Variable,
        Self::Process,
        Self::Deployment,
        Self::CommandDistribution,
    ];

    /// Part of an index's name.
    pub fn index_part(self) -> &'static str {
        match self {
            Self::ProcessInstance => "process-instance",
            Self::ProcessInstanceCreation => "process-instance-creation",
            Self::Job => "job",
            Self::Variable => "variable",
            Self::Process => "process",
            Self::Deployment => "deployment",
            Self::CommandDistribution => "command-distribution",
        }
    }

    /// Primary shards of its index, as in the exporter's templates.
    pub fn shards(self) -> u64 {
        if matches!(self, Self::ProcessInstance | Self::Job) { 3 } else { 1 }
    }
}

/// Intent of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Created.
    Created,
    /// Completed.
    Completed,
}

/// One exported record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Position in the partition's log.
    pub position: u64,
    /// Process instance of the record; 0 for none.
    pub instance: u64,
    /// Running number among the exported records of its value type.
    pub sequence: u32,
    /// Value type.
    pub value: Value,
    /// Intent.
    pub intent: Intent,
}

/// The records of one timeline of one partition, in order of position.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The timeline that this one continues, and the last position used from it.
    pub parent: Option<(u32, u64)>,
    /// Records written by this timeline.
    pub records: Vec<Record>,
}

impl History {
    /// Its records with positions `from..=to`.
    pub(crate) fn between(&self, from: u64, to: u64) -> &[Record] {
        let start = self.records.partition_point(|r| r.position < from);
        let end = self.records.partition_point(|r| r.position <= to);
        self.records.get(start..end).unwrap_or(&[])
    }
}

/// All timelines of one partition. Shared, so that a simulated restore reads them without a copy.
#[derive(Clone, Debug)]
pub struct Histories {
    timelines: Vec<Arc<History>>,
    /// Records up to this position were dropped from memory: all stores and copies have them.
    pub base: u64,
}

impl Default for Histories {
    fn default() -> Self {
        Self { timelines: vec![Arc::default()], base: 0 }
    }
}

impl Histories {
    /// The newest timeline, the only one that grows.
    pub fn newest(&self) -> u32 {
        self.timelines.len().saturating_sub(1) as u32
    }

    /// Appends a record to the newest timeline.
    pub fn append(&mut self, record: Record) {
        if let Some(newest) = self.timelines.last_mut() {
            Arc::make_mut(newest).records.push(record);
        }
    }

    /// Starts a timeline that continues `parent` after `position`.
    pub fn fork(&mut self, parent: u32, position: u64) -> u32 {
        self.timelines.push(Arc::new(History { parent: Some((parent, position)), records: Vec::new() }));
        self.newest()
    }

    /// Records of `timeline` with positions `from..=to`, without those of its parents.
    pub fn own(&self, timeline: u32, from: u64, to: u64) -> &[Record] {
        self.timelines.get(timeline as usize).map_or(&[], |history| history.between(from, to))
    }

    /// Spans of `timeline` and its parents between two positions.
    pub fn lineage(&self, timeline: u32, from: u64, to: u64) -> Vec<crate::sim::model::content::Span> {
        let mut spans = Vec::new();
        let (mut timeline, mut to) = (timeline, to);
        while from <= to {
            let parent = self.timelines.get(timeline as usize).and_then(|h| h.parent);
            let start = parent.map_or(from, |(_, forked)| from.max(forked + 1));
            if start <= to {
                spans.push(crate::sim::model::content::Span { from: start, to, timeline });
            }
            let Some((older, forked)) = parent else { break };
            timeline = older;
            to = to.min(forked);
        }
        spans.reverse();
        spans
    }

    /// Number of records in memory.
    pub fn remembered(&self) -> usize {
        self.timelines.iter().map(|h| h.records.len()).sum()
    }

    /// Drops the records up to `base` from memory.
    pub fn forget_up_to(&mut self, base: u64) {
        if base <= self.base {
            return;
        }
        self.base = base;
        for history in &mut self.timelines {
            let history = Arc::make_mut(history);
            history.records.retain(|r| r.position > base);
            history.records.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::model::content::Span;

    #[test]
    fn lineage_contains_the_timeline_and_its_parents() {
        let mut histories = Histories::default();
        assert_eq!(histories.fork(0, 100), 1);
        assert_eq!(histories.fork(1, 150), 2);
        let span = |from, to, timeline| Span { from, to, timeline };
        assert_eq!(histories.lineage(2, 1, 200), [span(1, 100, 0), span(101, 150, 1), span(151, 200, 2)]);
        assert_eq!(histories.lineage(2, 120, 140), [span(120, 140, 1)]);
        assert_eq!(histories.lineage(2, 200, 120), []);
    }
}
