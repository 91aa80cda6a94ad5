//! Facts about a cluster that a run needs before it begins.
//!
//! Pure data: `backup::prepare` and `parts::saas` fill it in.

use crate::domain::{Component, Family, PauseMode, Routes};

/// Result of the probe before a run.
pub struct Prepared {
    /// Version as the cluster or the config reports it.
    pub version: String,
    /// Camunda family, which selects the procedure.
    pub family: Family,
    /// API routes of the components.
    pub routes: Routes,
    /// Pause mode; `None` if the procedure does not pause exporting.
    pub pause: PauseMode,
    /// Components to back up.
    pub components: Vec<Component>,
    /// Largest id listed by a component or contained in a snapshot name.
    pub largest_seen: i64,
    /// Indices that match the records pattern.
    pub records_indices: Vec<String>,
    /// Partitions that a complete Zeebe backup contains.
    pub partitions: Option<u32>,
}
