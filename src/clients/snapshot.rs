//! One snapshot in the search engine's repository.
//!
//! Owns the reading of a snapshot's description. Must not talk to anybody.

use crate::domain::Instant;
use serde::{Deserialize, Serialize};

/// One snapshot in a repository.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub state: SnapshotState,
    /// Indices in it, sorted.
    pub indices: Vec<String>,
    /// Shards to copy; `0` where a running snapshot does not say.
    pub shards_total: u32,
    /// Shards that could not be copied.
    pub shards_failed: u32,
    /// Shards copied.
    pub shards_successful: u32,
    /// Bytes copied so far, while it runs and the engine says so.
    pub bytes_done: u64,
    /// When it was started.
    pub started_at: Option<Instant>,
    /// What was sent with it.
    pub metadata: Option<serde_json::Value>,
    /// Why it is not whole.
    pub reason: Option<String>,
}

/// How a snapshot stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Being taken.
    InProgress,
    /// Whole, of the indices it names.
    Success,
    /// Shards are missing: a failure, although it was answered with 200.
    Partial,
    /// Failed.
    Failed,
    /// Another word.
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
