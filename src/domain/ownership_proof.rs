//! Evidence that a backup is ours, as it is stored with its deletion.
//!
//! Pure data. Must not decide whether the evidence is enough: `retention` does.

use super::{Component, Instant, RunId};
use chrono::SecondsFormat;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Evidence that a backup is ours (rule I8). Stored with the deletion before the first DELETE, which may remove the evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OwnershipProof {
    /// The records snapshot carries the ownership tag of the run.
    Tag {
        /// Name of the snapshot.
        snapshot: String,
        /// Run in the tag.
        run_id: RunId,
    },
    /// The start time of a part lies within the run, and the guard found the id unused before the run.
    StartTime {
        /// First component whose start was compared.
        component: Component,
        /// Start of its part, as the component reports it.
        started_at: Instant,
    },
}

impl fmt::Display for OwnershipProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag { snapshot, run_id } => {
                write!(f, "snapshot {snapshot} has the ownership tag of run {run_id}")
            }
            Self::StartTime { component, started_at } => write!(
                f,
                "{component} started its part during the run, at {}, and the id was unused before",
                started_at.to_rfc3339_opts(SecondsFormat::Secs, true)
            ),
        }
    }
}
