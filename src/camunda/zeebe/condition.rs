//! How the brokers are: whether the cluster is being changed, and the room on their disks.
//!
//! Owns the reading of `/actuator/cluster` and of the disk in `/actuator/prometheus`, both as a real 8.6.0 answered.
//! Must not judge whether that is enough for a backup.

use crate::camunda::Method;
use crate::camunda::call::{Caller, EXPORTERS, ParsedResponse, READ};
use crate::camunda::error::ClientError;
use crate::camunda::reading::{count, text, word};
use crate::camunda::zeebe::{AT_ONCE, Zeebe};
use serde_json::Value;
use std::collections::BTreeSet;

/// The metrics that tell it; asked for by name, because all of them together are hundreds of kilobytes.
const DISKS: &str = "/actuator/prometheus?includedNames=disk_free_bytes&includedNames=disk_total_bytes";

/// Room on the disk of one path of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// The broker's address.
    pub broker: String,
    /// The path that it watches.
    pub path: String,
    /// Bytes that may still be written.
    pub free: u64,
    /// Bytes of that disk.
    pub total: u64,
}

/// What `/actuator/cluster` tells of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// How many partitions it names.
    pub partitions: Option<u32>,
    /// A change that is under way, in a few words.
    pub change: Option<String>,
}

impl Membership {
    /// Asks for it; nothing where the version or the route has none.
    pub async fn request(zeebe: &Caller) -> Self {
        let Ok(response) = zeebe.call(Method::Get, "/actuator/cluster", None, READ).await else {
            return Self::default();
        };
        match response.object() {
            Ok(body) if response.status() == 200 => Self::read(&body),
            _ => Self::default(),
        }
    }

    fn read(body: &Value) -> Self {
        let brokers = body["brokers"].as_array().into_iter().flatten();
        let rows = brokers.filter_map(|broker| broker["partitions"].as_array()).flatten();
        let ids: BTreeSet<u32> = rows.map(|row| count(&row["id"])).filter(|id| *id > 0).collect();
        Self {
            partitions: u32::try_from(ids.len()).ok().filter(|n| *n > 0),
            change: change(&body["pendingChange"]),
        }
    }
}

/// `change 2 (BROKER_ADD, PARTITION_JOIN)`.
fn change(pending: &Value) -> Option<String> {
    let over = |status: &str| matches!(status, "COMPLETED" | "CANCELLED" | "FAILED");
    if !pending.is_object() || word(&pending["status"]).is_some_and(|status| over(&status)) {
        return None;
    }
    let operations = pending["pending"].as_array().into_iter().flatten();
    let names: BTreeSet<String> = operations.filter_map(|one| text(&one["operation"])).collect();
    let names = if names.is_empty() {
        String::new()
    } else {
        format!(" ({})", names.into_iter().collect::<Vec<_>>().join(", "))
    };
    Some(format!("change {}{names}", count(&pending["id"])))
}

/// What the brokers tell of their disks.
#[derive(Debug, Default)]
pub struct BrokersDiskSpace {
    /// Every disk that is told of.
    pub told: Vec<DiskSpace>,
    /// Addresses that answer and tell of no disk.
    pub silent: Vec<String>,
    /// Those that could not be asked.
    pub errors: Vec<ClientError>,
}

impl Zeebe {
    /// Room on every disk that the brokers tell of. A gateway's disk is none of theirs. Unless told otherwise a broker
    /// watches the directory it was started in (`management.metrics.system.diskspace.paths`).
    pub async fn disk_space_of_brokers(&self) -> BrokersDiskSpace {
        let mut disk_space_of_brokers = BrokersDiskSpace::default();
        if self.unlisted {
            match self.exporters().await {
                Ok(exporters) if exporters.readable => {}
                Ok(_) => {
                    disk_space_of_brokers.silent.push(self.gateway.base());
                    return disk_space_of_brokers;
                }
                Err(error) => {
                    disk_space_of_brokers.errors.push(error);
                    return disk_space_of_brokers;
                }
            }
        }
        for some in self.brokers.chunks(AT_ONCE) {
            let calls = some.iter().map(|broker| broker.call(Method::Get, DISKS, None, EXPORTERS));
            for (broker, response) in some.iter().zip(futures::future::join_all(calls).await) {
                match response {
                    Ok(response) if response.status() == 200 => {
                        let told = read_disk_space(&broker.base(), &response);
                        if told.is_empty() {
                            disk_space_of_brokers.silent.push(broker.base());
                        }
                        disk_space_of_brokers.told.extend(told);
                    }
                    Ok(response) if matches!(response.status(), 401 | 403 | 404) => {
                        disk_space_of_brokers.silent.push(broker.base());
                    }
                    Ok(response) => disk_space_of_brokers.errors.push(response.failure()),
                    Err(error) => disk_space_of_brokers.errors.push(error),
                }
            }
        }
        disk_space_of_brokers
    }
}

fn read_disk_space(broker: &str, response: &ParsedResponse) -> Vec<DiskSpace> {
    let body = response.text();
    let of = |metric: &str| -> Vec<(String, u64)> {
        body.lines().filter_map(|line| sample(line.strip_prefix(metric)?)).collect()
    };
    let totals = of("disk_total_bytes");
    of("disk_free_bytes")
        .into_iter()
        .filter_map(|(path, free)| {
            let total = totals.iter().find(|(of, _)| *of == path)?.1;
            Some(DiskSpace { broker: broker.to_owned(), path, free, total })
        })
        .collect()
}

/// Path and value of `{path="/data",} 5.0499547136E10`.
fn sample(line: &str) -> Option<(String, u64)> {
    let (labels, value) = line.strip_prefix('{')?.rsplit_once('}')?;
    let path = labels.split("path=\"").nth(1)?.split('"').next()?;
    let value: f64 = value.trim().split(' ').next()?.parse().ok()?;
    // Not a number, or more than any disk: told by nobody in their senses.
    (value.is_finite() && (0.0..1e18).contains(&value)).then(|| (path.to_owned(), value as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camunda::canned::Canned;
    use crate::domain::Addresses;
    use rstest::rstest;
    use serde_json::json;

    const TEXT: &str = "text/plain;version=0.0.4;charset=utf-8";
    /// As a real 8.6.0 answered, with `management.metrics.system.diskspace.paths` set.
    const TOLD: &str = "# HELP disk_free_bytes Usable space for path\n# TYPE disk_free_bytes gauge\n\
        disk_free_bytes{path=\"/data/broker\",} 5.0499407872E10\n\
        # HELP disk_total_bytes Total space for path\n# TYPE disk_total_bytes gauge\n\
        disk_total_bytes{path=\"/data/broker\",} 2.70553174016E11\n";

    fn zeebe(canned: &std::sync::Arc<Canned>, brokers: &[&str]) -> Zeebe {
        let brokers = brokers.iter().map(|base| (*base).to_owned()).collect();
        let addresses = Addresses { zeebe: "http://zeebe:9600".into(), brokers, ..Addresses::default() };
        Zeebe::new(&addresses, &canned.shared())
    }

    #[tokio::test]
    async fn the_room_on_every_broker_is_told() {
        let canned = Canned::new();
        canned.of_type(200, TEXT, TOLD);
        canned.of_type(404, "", "");
        let disk_space_of_brokers =
            zeebe(&canned, &["http://a:9600", "http://b:9600"]).disk_space_of_brokers().await;
        let room = DiskSpace {
            broker: "http://a:9600".into(),
            path: "/data/broker".into(),
            free: 50_499_407_872,
            total: 270_553_174_016,
        };
        assert_eq!(
            (disk_space_of_brokers.told, disk_space_of_brokers.silent),
            (vec![room], vec!["http://b:9600".to_owned()])
        );
        assert_eq!(canned.requested()[0], format!("GET http://a:9600{DISKS}"));
    }

    #[rstest]
    #[case("disk_free_bytes{path=\"/a\"} NaN\ndisk_total_bytes{path=\"/a\"} 5\n")]
    #[case("disk_free_bytes{path=\"/a\"} -1\ndisk_total_bytes{path=\"/a\"} 5\n")]
    #[case("disk_free_bytes{path=\"/a\"} 1\n")]
    #[case("disk_free_bytes 1\ndisk_total_bytes 2\n")]
    #[case("<html>disk_free_bytes{</html>")]
    #[case("")]
    #[tokio::test]
    async fn what_is_no_room_is_none(#[case] told: &str) {
        let canned = Canned::new();
        canned.of_type(200, TEXT, told);
        let disk_space_of_brokers = zeebe(&canned, &["http://a:9600"]).disk_space_of_brokers().await;
        assert_eq!(
            (disk_space_of_brokers.told, disk_space_of_brokers.silent),
            (vec![], vec!["http://a:9600".to_owned()])
        );
    }

    /// A standalone gateway has no partitions, and tells of its own disk.
    #[tokio::test]
    async fn a_gateways_disk_is_none_of_the_brokers() {
        let canned = Canned::new();
        canned.of_type(404, "", "").of_type(200, TEXT, TOLD);
        let disk_space_of_brokers = zeebe(&canned, &[]).disk_space_of_brokers().await;
        assert_eq!(
            (disk_space_of_brokers.told, disk_space_of_brokers.silent),
            (vec![], vec!["http://zeebe:9600".to_owned()])
        );
    }

    /// A full disk is seen although another broker restarts.
    #[tokio::test]
    async fn one_broker_that_does_not_answer_hides_no_other() {
        let canned = Canned::new();
        canned.of_type(502, "", "").of_type(200, TEXT, TOLD);
        let disk_space_of_brokers =
            zeebe(&canned, &["http://a:9600", "http://b:9600"]).disk_space_of_brokers().await;
        assert_eq!((disk_space_of_brokers.told.len(), disk_space_of_brokers.errors.len()), (1, 1));
    }

    /// As a real 8.6.0 answered while a broker was being added, and after that had been cancelled.
    #[test]
    fn a_change_under_way_is_told() {
        let brokers = json!([{"id": 0, "state": "ACTIVE", "partitions": [{"id": 1}, {"id": 2}]}]);
        let pending = json!({"id": 2, "status": "IN_PROGRESS", "completed": [], "pending": [
            {"operation": "BROKER_ADD", "brokerId": 1, "brokers": []},
            {"operation": "PARTITION_JOIN", "brokerId": 1, "partitionId": 2, "priority": 1, "brokers": []},
        ]});
        let read = |pending: Value| Membership::read(&json!({"brokers": brokers, "pendingChange": pending}));
        let changing = read(pending);
        assert_eq!(changing.partitions, Some(2));
        assert_eq!(changing.change.as_deref(), Some("change 2 (BROKER_ADD, PARTITION_JOIN)"));
        assert_eq!(read(json!({"id": 3})).change.as_deref(), Some("change 3"));
        assert_eq!(read(Value::Null).change, None);
        assert_eq!(read(json!({"id": 2, "status": "CANCELLED"})).change, None);
    }
}
