//! Exporting state of a cluster as health and the log report it.
//!
//! Owns the five names of the state. Must not read partitions: `camunda::ExportingState` has their report, without
//! the owner of a pause.

use crate::domain::Instant;
use serde::{Deserialize, Serialize};
use std::fmt;

/// State of exporting over all partitions of a cluster, with the owner of a pause.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exporting {
    /// Every partition exports.
    Running,
    /// Every partition is paused, and this daemon has a run in its pause window or a pending resume.
    PausedByUs,
    /// Every partition is paused by somebody else.
    PausedByOther,
    /// The partitions differ, or one of them reports an unknown phase.
    Mixed,
    /// Not probed yet, not readable, or a Camunda 8 SaaS cluster.
    #[default]
    Unknown,
}

impl Exporting {
    /// Name in JSON and log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::PausedByUs => "paused_by_us",
            Self::PausedByOther => "paused_by_other",
            Self::Mixed => "mixed",
            Self::Unknown => "unknown",
        }
    }

    /// Whether exporting of at least one partition is paused without a pause of this daemon.
    pub fn is_foreign_pause(self) -> bool {
        matches!(self, Self::PausedByOther | Self::Mixed)
    }
}

impl fmt::Display for Exporting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Exporting state of one cluster at its last probe.
#[derive(Clone, Copy, Debug, Default)]
pub struct ExportingProbe {
    /// The state.
    pub exporting: Exporting,
    /// Time of the probe.
    pub checked_at: Option<Instant>,
    /// Time of the first probe with the same state.
    pub since: Option<Instant>,
}
