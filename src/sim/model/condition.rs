//! Condition of the brokers apart from their data: cluster changes in progress, processing, and disk space.
//!
//! Owns the deviations from the normal condition. Must not end a condition by itself: timers do. `wire/condition.rs`
//! has the responses about it.

use crate::sim::model::cluster::Cluster;

/// Size of the brokers' disk, in bytes.
pub(crate) const TOTAL: u64 = 256 * 1024 * 1024 * 1024;

/// Condition of the brokers; the default is the normal condition.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    /// Brokers or partitions are being added.
    pub(crate) changing: bool,
    /// No partition processes commands, as with a full disk.
    pub(crate) stopped: bool,
    /// Bytes shared by the log and free space.
    pub(crate) disk: u64,
}

impl Default for Condition {
    fn default() -> Self {
        Self { changing: false, stopped: false, disk: TOTAL / 2 }
    }
}

impl Cluster {
    /// Whether a backup is rejected during a cluster change: documented since 8.8; a real 8.6.0 accepted it.
    pub(crate) fn refuses_while_changing(&self) -> bool {
        self.condition.changing && self.config.version.is_unified()
    }
}
