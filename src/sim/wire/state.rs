//! Checkpoints and backups as reported by brokers since 8.9: `backupRuntime/state`.
//!
//! Owns ranges: backups of one partition with logs that join without a gap, so that any instant within can be
//! restored. Must not know the requester.

use crate::domain::Instant;
use crate::sim::model::backups::{BackupKind, PartitionBackup, PartitionState};
use crate::sim::model::cluster::Cluster;
use crate::sim::wire::runtime::RuntimeRefusal;
use serde_json::{Value, json};

/// One partition of one complete backup.
struct Kept<'a> {
    id: i64,
    kind: BackupKind,
    taken: Instant,
    partition: &'a PartitionBackup,
}

impl Cluster {
    /// Checkpoints, backups and ranges of every partition.
    pub(crate) fn runtime_state(&self) -> Result<Value, RuntimeRefusal> {
        self.list_runtime("*")?; // a broken store breaks this as well
        let (mut checkpoints, mut newest, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..self.world.partitions.len() {
            let kept = self.kept(index);
            checkpoints.extend(self.checkpoint_body(index));
            newest.extend(kept.last().map(|last| self.kept_body(last, Some(index))));
            for range in ranges_of(&kept) {
                let end = |kept: Option<&Kept>| kept.map(|kept| self.kept_body(kept, None));
                ranges.push(json!({
                    "partitionId": index + 1, "start": end(range.first()), "end": end(range.last()),
                }));
            }
        }
        Ok(json!({"checkpointStates": checkpoints, "backupStates": newest, "ranges": ranges}))
    }

    /// Number of ranges formed by the complete backups of a partition; more than one is a gap.
    pub fn ranges(&self, index: usize) -> usize {
        ranges_of(&self.kept(index)).len()
    }

    /// Complete backups of a partition, oldest first.
    fn kept(&self, index: usize) -> Vec<Kept<'_>> {
        let mut all = Vec::new();
        for (id, backup) in &self.backups {
            let found = backup.partitions.iter().find(|p| p.copy.partition == index);
            let complete = found.filter(|p| p.state(self.now()) == PartitionState::Completed);
            let (kind, taken) = (backup.kind, backup.taken);
            all.extend(complete.map(|partition| Kept { id: *id, kind, taken, partition }));
        }
        all
    }

    fn checkpoint_body(&self, index: usize) -> Option<Value> {
        let state = &self.world.partitions.get(index)?.state;
        if state.checkpoint_id == 0 {
            return None;
        }
        // Type and time come from the backup, if it still exists.
        let backup = self.backups.get(&state.checkpoint_id);
        Some(json!({
            "checkpointId": state.checkpoint_id,
            "checkpointType": backup.map_or(BackupKind::Manual, |b| b.kind).wire(),
            "partitionId": index + 1,
            "checkpointPosition": state.checkpoint_position,
            "checkpointTimestamp": self.written(backup.map_or(self.now(), |b| b.taken), 0),
        }))
    }

    fn kept_body(&self, kept: &Kept, partition: Option<usize>) -> Value {
        let mut body = json!({
            "checkpointId": kept.id,
            "checkpointType": kept.kind.wire(),
            "checkpointPosition": kept.partition.copy.checkpoint,
            "firstLogPosition": kept.partition.copy.first_position(),
            "checkpointTimestamp": self.written(kept.taken, 0),
        });
        if let Some(index) = partition {
            body["partitionId"] = (index + 1).into();
        }
        body
    }
}

fn ranges_of<'a, 'b>(kept: &'a [Kept<'b>]) -> Vec<&'a [Kept<'b>]> {
    let joins = |before: &Kept, after: &Kept| after.partition.copy.continues(&before.partition.copy);
    kept.chunk_by(joins).collect()
}
