//! How the brokers are besides their data: whether the cluster is being changed, whether partitions process, and the
//! room on the brokers' disk.
//!
//! Owns the answers about it, as a real 8.6.0 gave them while a broker was being added and processing was paused by
//! hand. Must not end any of it by itself: timers do.

use crate::camunda::Response;
use crate::sim::model::cluster::Cluster;
use serde_json::{Value, json};

/// Bytes of the brokers' disk.
const TOTAL: u64 = 256 * 1024 * 1024 * 1024;

/// What is not as on most days.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Condition {
    /// Brokers or partitions are being added.
    pub(crate) changing: bool,
    /// No partition processes commands, as when a disk is full.
    pub(crate) stopped: bool,
    /// Bytes of the disk that the log and what is free share.
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
    /// Whether a backup is refused because the cluster changes: by the documents since 8.8; a real 8.6.0 took it.
    pub(crate) fn refuses_while_changing(&self) -> bool {
        self.condition.changing && self.config.version.is_unified()
    }

    /// `/actuator/prometheus`, of which only the disk is there.
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
