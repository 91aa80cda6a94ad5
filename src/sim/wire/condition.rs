//! Responses of the brokers about their condition: cluster changes in progress, and disk space.
//!
//! Owns their bodies, as recorded from a real 8.6.0 while a broker was being added and processing was paused
//! manually. Must not change the condition.

use crate::camunda::Response;
use crate::sim::model::cluster::Cluster;
use crate::sim::model::condition::TOTAL;
use serde_json::{Value, json};

/// `pendingChange` of `/actuator/cluster`.
pub(crate) fn pending_change() -> Value {
    json!({"id": 2, "status": "IN_PROGRESS", "completed": [], "pending": [
        {"operation": "BROKER_ADD", "brokerId": 1, "brokers": []},
        {"operation": "PARTITION_JOIN", "brokerId": 1, "partitionId": 2, "priority": 1, "brokers": []},
        {"operation": "PARTITION_LEAVE", "brokerId": 0, "partitionId": 2, "brokers": []},
    ]})
}

impl Cluster {
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
