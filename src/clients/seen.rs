//! What a look at one backup id of one component shows.
//!
//! Owns the states of a component's backup and the parts it consists of. Must not decide how long to wait for it.

use crate::domain::Instant;
use serde::{Deserialize, Serialize};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

/// What a look at one backup id of one component showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Seen {
    /// The component says there is no such backup.
    Absent,
    /// Being taken.
    Running(Progress),
    /// Parts are missing: passed through on the way, or for ever.
    Incomplete(Progress),
    /// Every part was taken.
    Completed(Progress),
    /// It says itself that it failed.
    Failed {
        /// In the component's words.
        reason: String,
        /// How far it had come.
        progress: Progress,
    },
    /// An answer that tells neither progress nor an end.
    Unclear {
        /// What was answered.
        reason: String,
    },
}

impl Seen {
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
    /// The component's word, in upper case.
    pub state: String,
    /// `createdAt` or `startTime`.
    pub started_at: Option<Instant>,
    /// `lastUpdatedAt`, Zeebe only.
    pub updated_at: Option<Instant>,
    /// Position of the checkpoint, Zeebe only.
    pub checkpoint_position: Option<i64>,
    /// Why it failed.
    pub reason: Option<String>,
    /// Version of the broker that took it, Zeebe only.
    pub broker_version: Option<String>,
}

impl Progress {
    /// Changes whenever anything moved.
    pub fn fingerprint(&self) -> u64 {
        let mut parts: Vec<_> =
            self.parts.iter().map(|p| (&p.name, &p.state, p.started_at, p.updated_at)).collect();
        parts.sort();
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        hasher.finish()
    }

    /// When the first part was started.
    pub fn earliest_start(&self) -> Option<Instant> {
        self.parts.iter().filter_map(|p| p.started_at).min()
    }

    /// How many parts are taken.
    pub fn done(&self) -> usize {
        self.parts.iter().filter(|p| p.is_done()).count()
    }
}

impl Part {
    /// Whether this part is taken and whole.
    pub fn is_done(&self) -> bool {
        matches!(self.state.as_str(), "SUCCESS" | "COMPLETED" | "COMPLETE")
    }
}

/// One line of a component's list of backups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// Its id; web apps may hold `0`.
    pub id: i64,
    /// The component's word, in upper case.
    pub state: String,
    /// When its first part was started.
    pub started_at: Option<Instant>,
}
