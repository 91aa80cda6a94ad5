//! State of one backup id in one component, as its API reports it.
//!
//! Owns the states of a component's backup and the list of its parts. Must not decide how long to wait.

use crate::camunda::error::ClientError;
use crate::camunda::reading::{count, instant, int, reasons, text, word};
use crate::camunda::response::ParsedResponse;
use crate::camunda::snapshot::id_in_name;
use crate::domain::{BackupId, Instant};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// State of one backup id in one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartState {
    /// The component reports that there is no such backup.
    Absent,
    /// In progress.
    Running(Progress),
    /// Parts are missing, either temporarily during the backup or permanently.
    Incomplete(Progress),
    /// Every part is complete.
    Completed(Progress),
    /// The component reports a failure.
    Failed {
        /// Reason given by the component.
        reason: String,
        /// Parts completed before the failure.
        progress: Progress,
    },
    /// A response that shows neither progress nor an end.
    Unclear {
        /// Text of the response.
        reason: String,
    },
}

impl PartState {
    /// The parts seen, if any.
    pub fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Running(progress)
            | Self::Incomplete(progress)
            | Self::Completed(progress)
            | Self::Failed { progress, .. } => Some(progress),
            Self::Absent | Self::Unclear { .. } => None,
        }
    }
}

/// The parts of one backup: snapshots of a web app, partitions of Zeebe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// In the component's order.
    pub parts: Vec<Part>,
}

/// One part of a backup.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// Snapshot name, or `partition-1`.
    pub name: String,
    /// State as the component names it, in upper case.
    pub state: String,
    /// `createdAt` or `startTime`.
    pub started_at: Option<Instant>,
    /// `lastUpdatedAt`, Zeebe only.
    pub updated_at: Option<Instant>,
    /// Position of the checkpoint, Zeebe only.
    pub checkpoint_position: Option<i64>,
    /// Reason of a failure.
    pub reason: Option<String>,
    /// Version of the broker that took the part, Zeebe only.
    pub broker_version: Option<String>,
}

impl Progress {
    /// Hash that changes with any progress.
    pub fn fingerprint(&self) -> u64 {
        let mut parts: Vec<_> =
            self.parts.iter().map(|p| (&p.name, &p.state, p.started_at, p.updated_at)).collect();
        parts.sort();
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        hasher.finish()
    }

    /// Start of the earliest part.
    pub fn earliest_start(&self) -> Option<Instant> {
        self.parts.iter().filter_map(|p| p.started_at).min()
    }

    /// Number of parts stated in the snapshot names (`…_part_1_of_6`).
    pub fn total_in_names(&self) -> Option<u32> {
        self.parts.iter().find_map(|part| part.name.rsplit_once("_of_")?.1.parse().ok())
    }

    /// Number of completed parts.
    pub fn done(&self) -> usize {
        self.parts.iter().filter(|p| p.is_done()).count()
    }
}

impl Part {
    /// Whether this part is complete.
    pub fn is_done(&self) -> bool {
        matches!(self.state.as_str(), "SUCCESS" | "COMPLETED" | "COMPLETE")
    }
}

/// One entry of a component's list of backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Backup id; web apps may report `0`.
    pub id: i64,
    /// State as the component names it, in upper case.
    pub state: String,
    /// Start of the first part.
    pub started_at: Option<Instant>,
}

/// Parses the response 200 for one backup id. Web apps and brokers use the same format.
pub(crate) fn one_backup(response: &ParsedResponse, id: BackupId) -> Result<PartState, ClientError> {
    let body = response.object()?;
    if int(&body["backupId"]) != Some(id.get()) {
        return Err(response.unknown_shape());
    }
    let state = word(&body["state"]).ok_or_else(|| response.unknown_shape())?;
    let progress = Progress { parts: parts(response, &body["details"])? };
    let strange = |part: &&Part| id_in_name(&part.name).is_some_and(|other| other != id.get());
    if let Some(part) = progress.parts.iter().find(strange) {
        return Err(response.another_backup_error(&part.name));
    }
    let component = response.component();
    Ok(match state.as_str() {
        "IN_PROGRESS" => PartState::Running(progress),
        "INCOMPLETE" => PartState::Incomplete(progress),
        // Optimize's reference page has COMPLETE, its walkthrough has COMPLETED.
        "COMPLETED" | "COMPLETE" => match progress.parts.iter().find(|part| !part.is_done()) {
            Some(part) => PartState::Unclear {
                reason: format!("{component} reports {state}, but its part {} is {}", part.name, part.state),
            },
            None if progress.parts.is_empty() => {
                PartState::Unclear { reason: format!("{component} reports {state}, but lists no part") }
            }
            None => PartState::Completed(progress),
        },
        "FAILED" | "INCOMPATIBLE" => {
            let part = || progress.parts.iter().find_map(|part| part.reason.clone());
            let reason = text(&body["failureReason"])
                .or_else(part)
                .unwrap_or_else(|| format!("{component} reports {state} and gives no reason"));
            PartState::Failed { reason, progress }
        }
        "DOES_NOT_EXIST" | "DELETED" => PartState::Absent,
        _ => PartState::Unclear { reason: format!("{component} reports {state}, an unknown state") },
    })
}

/// Parses the response 200 with the list of backups.
pub(crate) fn all_backups(response: &ParsedResponse) -> Result<Vec<Listed>, ClientError> {
    let row = |row: &Value| {
        let id = int(&row["backupId"]).ok_or_else(|| response.unknown_shape())?;
        let state = word(&row["state"]).ok_or_else(|| response.unknown_shape())?;
        let progress = Progress { parts: parts(response, &row["details"])? };
        Ok(Listed { id, state, started_at: progress.earliest_start() })
    };
    response.array()?.iter().map(row).collect()
}

fn parts(response: &ParsedResponse, details: &Value) -> Result<Vec<Part>, ClientError> {
    let part = |detail: &Value| {
        let partition =
            || Some(count(&detail["partitionId"])).filter(|id| *id > 0).map(|id| format!("partition-{id}"));
        let name =
            text(&detail["snapshotName"]).or_else(partition).ok_or_else(|| response.unknown_shape())?;
        Ok(Part {
            name,
            state: word(&detail["state"]).ok_or_else(|| response.unknown_shape())?,
            started_at: instant(&detail["createdAt"]).or_else(|| instant(&detail["startTime"])),
            updated_at: instant(&detail["lastUpdatedAt"]),
            checkpoint_position: int(&detail["checkpointPosition"]),
            reason: reasons(&detail["failureReason"]).or_else(|| reasons(&detail["failures"])),
            broker_version: text(&detail["brokerVersion"]),
        })
    };
    match details {
        Value::Null => Ok(Vec::new()),
        Value::Array(all) => all.iter().map(part).collect(),
        _ => Err(response.unknown_shape()),
    }
}

impl PartState {
    /// Describes the state in a few words, to be used inside a sentence.
    pub(crate) fn describe(&self) -> String {
        match self {
            PartState::Absent => "does not exist".into(),
            PartState::Running(p) => format!("in progress, {} of {} parts", p.done(), p.parts.len()),
            PartState::Incomplete(p) => format!("incomplete, {} of {} parts", p.done(), p.parts.len()),
            PartState::Completed(_) => "completed".into(),
            PartState::Failed { reason, .. } => format!("failed: {reason}"),
            PartState::Unclear { reason } => reason.clone(),
        }
    }
}
