//! The trait `Clusters`: clusters configured now or earlier, and the foreign pauses seen there.
//!
//! Owns the row of a cluster. `sqlite/clusters.rs` has the SQL.

use super::StoreFuture;
use crate::domain::{Addresses, Instant};
use serde::{Deserialize, Serialize};

/// Stored state of a cluster, configured or not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterRow {
    /// Name.
    pub name: String,
    /// Stable UUID for the SaaS-shaped routes: v5 of instance and name.
    pub uuid: uuid::Uuid,
    /// Last known addresses.
    pub addresses: Addresses,
    /// Whether the cluster is in the current config.
    pub configured: bool,
    /// Reason for stopping retention of this cluster until `adopt`.
    pub state_behind: Option<String>,
}

/// Clusters and their foreign pauses.
pub trait Clusters: Send + Sync + 'static {
    /// All clusters ever configured.
    fn clusters(&self) -> StoreFuture<'_, Vec<ClusterRow>>;
    /// Replaces addresses of these clusters and marks all others as not configured; `state_behind` stays.
    /// Foreign pauses of the other clusters, and of changed addresses, are removed.
    fn set_clusters(&self, rows: Vec<ClusterRow>) -> StoreFuture<'_, ()>;
    /// Stops or restarts retention of a cluster.
    fn set_state_behind(&self, cluster: String, reason: Option<String>) -> StoreFuture<'_, ()>;
    /// Records a probe that found exporting `paused_by_other` or `mixed`. Keeps the time of the first such
    /// probe since exporting last ran, across restarts.
    fn foreign_pause(&self, cluster: String, at: Instant) -> StoreFuture<'_, Instant>;
    /// Records a probe that found exporting running. Idempotent.
    fn foreign_pause_over(&self, cluster: String) -> StoreFuture<'_, ()>;
}
