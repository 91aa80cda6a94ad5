//! One snapshot in the search engine's repository.
//!
//! Owns the parsing of a snapshot's description. Must not send requests.

use crate::camunda::error::ClientError;
use crate::camunda::reading::{count, instant, int, reasons, text, word};
use crate::camunda::response::ParsedResponse;
use crate::camunda::{Part, PartState, Progress};
use crate::domain::Instant;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// One snapshot in a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// State of the snapshot.
    pub state: SnapshotState,
    /// Indices in it, sorted.
    pub indices: Vec<String>,
    /// Number of shards; `0` if a running snapshot does not report it.
    pub shards_total: u32,
    /// Shards that could not be copied.
    pub shards_failed: u32,
    /// Shards copied.
    pub shards_successful: u32,
    /// Bytes copied so far, if a running snapshot reports them.
    pub bytes_done: u64,
    /// Start time.
    pub started_at: Option<Instant>,
    /// Metadata that was sent with the request.
    pub metadata: Option<serde_json::Value>,
    /// Reason of a failed or partial snapshot.
    pub reason: Option<String>,
}

/// The id in `camunda_operate_17_8.6.0_part_1_of_6` or `camunda_zeebe_records_backup_17`.
pub fn id_in_name(name: &str) -> Option<i64> {
    let rest = name.strip_prefix("camunda_")?;
    let id = match rest.strip_prefix("zeebe_records_backup_") {
        Some(id) => id,
        None => rest.split('_').nth(1)?,
    };
    id.parse().ok().filter(|id| *id > 0)
}

/// State of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// In progress.
    InProgress,
    /// Complete for the indices that it names.
    Success,
    /// Shards are missing: a failure, although the response was 200.
    Partial,
    /// Failed.
    Failed,
    /// Any other state.
    Other(String),
}

impl std::fmt::Display for SnapshotState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::InProgress => "IN_PROGRESS",
            Self::Success => "SUCCESS",
            Self::Partial => "PARTIAL",
            Self::Failed => "FAILED",
            Self::Other(word) => word,
        })
    }
}

impl Snapshot {
    /// Hash that changes with any progress.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let shards = (self.shards_total, self.shards_failed, self.shards_successful);
        (&self.name, &self.state, shards, self.bytes_done, self.started_at).hash(&mut hasher);
        hasher.finish()
    }

    /// Adds the more precise figures of `_status`, needed only for a running snapshot.
    pub(crate) fn refine(&mut self, response: &ParsedResponse) {
        let Ok(body) = response.object() else { return };
        let status = &body["snapshots"][0];
        if text(&status["snapshot"]).as_ref() != Some(&self.name) {
            return;
        }
        let (shards, stats) = (&status["shards_stats"], &status["stats"]);
        self.shards_total = self.shards_total.max(count(&shards["total"]));
        self.shards_successful = self.shards_successful.max(count(&shards["done"]));
        self.shards_failed = self.shards_failed.max(count(&shards["failed"]));
        let bytes = int(&stats["processed"]["size_in_bytes"]).unwrap_or(0);
        self.bytes_done = u64::try_from(bytes).unwrap_or(0);
    }
}

/// Snapshots in a response 200.
pub(crate) fn snapshots(response: &ParsedResponse) -> Result<Vec<Snapshot>, ClientError> {
    let body = response.object()?;
    let all = body["snapshots"].as_array().ok_or_else(|| response.unknown_shape())?;
    all.iter().map(|one| snapshot(one).ok_or_else(|| response.unknown_shape())).collect()
}

fn snapshot(body: &Value) -> Option<Snapshot> {
    let state = match word(&body["state"])?.as_str() {
        "IN_PROGRESS" | "STARTED" => SnapshotState::InProgress,
        "SUCCESS" => SnapshotState::Success,
        "PARTIAL" => SnapshotState::Partial,
        "FAILED" => SnapshotState::Failed,
        other => SnapshotState::Other(other.to_owned()),
    };
    let mut indices: Vec<String> = match &body["indices"] {
        Value::Null => Vec::new(),
        Value::Array(all) => all.iter().map(text).collect::<Option<_>>()?,
        _ => return None,
    };
    indices.sort();
    let shards = &body["shards"];
    Some(Snapshot {
        name: text(&body["snapshot"])?,
        state,
        indices,
        shards_total: count(&shards["total"]),
        shards_failed: count(&shards["failed"]),
        shards_successful: count(&shards["successful"]),
        bytes_done: 0,
        started_at: instant(&body["start_time_in_millis"]).or_else(|| instant(&body["start_time"])),
        metadata: Some(body["metadata"].clone()).filter(|m| !m.is_null()),
        reason: reasons(&body["failures"]).or_else(|| text(&body["reason"])),
    })
}

/// Converts a snapshot to a part of a backup. The state of a running snapshot contains its figures, so that a change
/// of the figures counts as progress.
pub(crate) fn part_of(snapshot: &Snapshot) -> Part {
    let state = match snapshot.state {
        SnapshotState::InProgress => format!(
            "IN_PROGRESS, {} of {} shards, {} bytes",
            snapshot.shards_successful, snapshot.shards_total, snapshot.bytes_done
        ),
        _ => snapshot.state.to_string(),
    };
    Part {
        name: snapshot.name.clone(),
        state,
        started_at: snapshot.started_at,
        reason: snapshot.reason.clone(),
        ..Default::default()
    }
}

/// Converts the state of a snapshot to the state of a component's backup.
pub(crate) fn state_of(snapshot: Option<&Snapshot>) -> PartState {
    let Some(snapshot) = snapshot else { return PartState::Absent };
    let progress = Progress { parts: vec![part_of(snapshot)] };
    match &snapshot.state {
        SnapshotState::InProgress => PartState::Running(progress),
        SnapshotState::Success => PartState::Completed(progress),
        SnapshotState::Partial | SnapshotState::Failed => PartState::Failed {
            reason: format!(
                "snapshot {} is {}, {} of {} shards failed{}",
                snapshot.name,
                snapshot.state,
                snapshot.shards_failed,
                snapshot.shards_total,
                snapshot.reason.as_ref().map(|r| format!(" ({r})")).unwrap_or_default()
            ),
            progress,
        },
        SnapshotState::Other(state) => PartState::Unclear {
            reason: format!("snapshot {} is in the unknown state {state}", snapshot.name),
        },
    }
}

#[cfg(test)]
mod tests {
    use crate::camunda::snapshot::id_in_name;

    #[test]
    fn ids_are_read_from_snapshot_names() {
        assert_eq!(id_in_name("camunda_operate_17_8.6.0_part_1_of_6"), Some(17));
        assert_eq!(id_in_name("camunda_optimize_18_8.6.0_part_1_of_2"), Some(18));
        assert_eq!(id_in_name("camunda_zeebe_records_backup_19"), Some(19));
        assert_eq!(id_in_name("camunda_zeebe_records_backup_x"), None);
        assert_eq!(id_in_name("somebody_elses"), None);
    }
}
