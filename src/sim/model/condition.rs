//! Condition of the brokers apart from their data: cluster changes in progress, processing, and disk space.
//!
//! Owns the responses about it, as recorded from a real 8.6.0 while a broker was being added and processing
//! was paused manually. Must not end a condition by itself: timers do.

use crate::camunda::Response;
use crate::sim::model::cluster::Cluster;
use serde_json::{Value, json};

/// Size of the brokers' disk, in bytes.
const TOTAL: u64 = 256 * 1024 * 1024 * 1024;

/// Deviations from the normal condition.
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

/// `pendingChange` of `/actuator/cluster`.
pub(crate) fn pending_change() -> Value {
    json!({"id": 2, "status": "IN_PROGRESS", "completed": [], "pending": [
        {"operation": "BROKER_ADD", "brokerId": 1, "brokers": []},
        {"operation": "PARTITION_JOIN", "brokerId": 1, "partitionId": 2, "priority": 1, "brokers": []},
        {"operation": "PARTITION_LEAVE", "brokerId": 0, "partitionId": 2, "brokers": []},
    ]})
}

impl Cluster {
    /// Whether a backup is rejected during a cluster change: documented since 8.8; a real 8.6.0 accepted it.
    pub(crate) fn refuses_while_changing(&self) -> bool {
        self.condition.changing && self.config.version.is_unified()
    }

    /// `/actuator/prometheus`, reduced to the disk metrics.
    pub(crate) fn disks(&self) -> Response {
        let free = self.condition.disk.saturating_sub(self.log_bytes()) as f64;
        let path = "/usr/local/camunda/data";
        let text = format!(
            "# HELP disk_free_bytes Usable space for path\n# TYPE disk_free_bytes gauge\n\
             disk_free_bytes{{path=\"{path}\",}} {free:E}\n\
             # HELP disk_total_bytes Total space for path\n# TYPE disk_total_bytes gauge\n\
             disk_total_bytes{{path=\"{path}\",}} {:E}\n",
            TOTAL as f64
        );
        Response {
            status: 200,
            content_type: "text/plain;version=0.0.4;charset=utf-8".into(),
            body: text.into_bytes(),
            retry_after: None,
        }
    }
}
