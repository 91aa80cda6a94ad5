//! Checkpoints as reported by the brokers of 8.9 and later.
//!
//! Owns the parsing of `backupRuntime/state`. Must not send requests.

use crate::camunda::error::ClientError;
use crate::camunda::reading::{count, instant, int, word};
use crate::camunda::response::ParsedResponse;
use crate::domain::Instant;
use chrono::TimeDelta;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Maximum age of a checkpoint that shows a cluster with a backup scheduler of its own. An older checkpoint comes
/// from a setting that was changed since.
pub(crate) const OWN_LATELY: TimeDelta = TimeDelta::hours(24);

/// Remedy if a cluster with a search engine assigns ids itself.
pub(crate) const OWN_IDS: &str = "such a cluster gives every backup an id of its own, and the parts in the search engine need the same: switch off its backup schedule, checkpoint-interval and continuous mode (camunda.data.primary-storage.backup.*)";

/// The checkpoints of all partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoints {
    /// Time of the last checkpoint or backup that the cluster's own scheduler or continuous mode made.
    pub own_at: Option<Instant>,
    /// The largest id of all checkpoints.
    pub largest: i64,
    /// For each partition, the first and last checkpoint of each range that can be restored without a gap.
    pub ranges: BTreeMap<u32, Vec<(i64, i64)>>,
}

impl Checkpoints {
    pub(crate) fn read(response: &ParsedResponse) -> Result<Self, ClientError> {
        let body = response.object()?;
        let mut found = Self::default();
        for section in ["checkpointStates", "backupStates"] {
            for row in rows(response, &body[section])? {
                found.largest = found.largest.max(int(&row["checkpointId"]).unwrap_or(0));
                let own =
                    matches!(word(&row["checkpointType"]).as_deref(), Some("MARKER" | "SCHEDULED_BACKUP"));
                if own {
                    found.own_at = found.own_at.max(instant(&row["checkpointTimestamp"]));
                }
            }
        }
        for row in rows(response, &body["ranges"])? {
            let id = |end: &Value| int(&end["checkpointId"]).or_else(|| int(end));
            let (Some(start), Some(end)) = (id(&row["start"]), id(&row["end"])) else {
                return Err(response.unknown_shape());
            };
            found.ranges.entry(count(&row["partitionId"])).or_default().push((start, end));
        }
        found.ranges.values_mut().for_each(|ranges| ranges.sort_unstable());
        Ok(found)
    }

    /// Partitions with more than one range. A restore across the gap between ranges is impossible.
    pub fn gaps(&self) -> Vec<u32> {
        self.ranges.iter().filter(|(_, ranges)| ranges.len() > 1).map(|(partition, _)| *partition).collect()
    }
}

/// Rows of one section of the state, for example `backups`. A section may be empty, or absent if a tenant does not
/// respond.
fn rows(response: &ParsedResponse, section: &Value) -> Result<Vec<Value>, ClientError> {
    match section {
        Value::Null => Ok(Vec::new()),
        Value::Array(rows) => Ok(rows.clone()),
        _ => Err(response.unknown_shape()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camunda::canned::Canned;
    use crate::camunda::zeebe::Zeebe;
    use crate::domain::{Addresses, Routes, RuntimeRoute};

    async fn read(body: &str) -> Result<Checkpoints, ClientError> {
        let canned = Canned::new();
        canned.json(200, body);
        let routes = Routes { runtime: RuntimeRoute::BackupRuntime, ..Routes::default() };
        let addresses = Addresses { zeebe: "http://zeebe:9600".into(), routes, ..Addresses::default() };
        let read = Zeebe::new(&addresses, &canned.shared()).checkpoints().await;
        assert_eq!(canned.requested(), ["GET http://zeebe:9600/actuator/backupRuntime/state"]);
        read
    }

    #[tokio::test]
    async fn own_checkpoints_ranges_and_gaps_are_parsed() {
        let state = read(
            r#"{"checkpointStates":[{"checkpointId":1772011199310,"checkpointType":"MARKER","partitionId":1,"checkpointPosition":77,"checkpointTimestamp":"2026-02-25T09:19:59.310Z"}],
                "backupStates":[{"checkpointId":1772011199000,"checkpointType":"MANUAL_BACKUP","partitionId":1,"checkpointPosition":70,"firstLogPosition":1,"checkpointTimestamp":"2026-02-25T09:19:59.000Z"}],
                "ranges":[{"partitionId":1,"start":{"checkpointId":5},"end":{"checkpointId":9}},{"partitionId":1,"start":{"checkpointId":1},"end":{"checkpointId":3}},{"partitionId":2,"start":1,"end":9}]}"#,
        )
        .await
        .unwrap();
        assert_eq!(state.own_at, Some("2026-02-25T09:19:59.310Z".parse().unwrap()));
        assert_eq!((state.largest, state.gaps()), (1_772_011_199_310, vec![1]));
        assert_eq!(state.ranges[&1], [(1, 3), (5, 9)]);
    }

    #[tokio::test]
    async fn cluster_without_checkpoints_has_empty_state() {
        assert_eq!(read("{}").await.unwrap(), Checkpoints::default());
        assert!(read(r#"{"ranges":{"1":[]}}"#).await.is_err());
        assert!(read(r#"{"ranges":[{"partitionId":1}]}"#).await.is_err());
    }
}
