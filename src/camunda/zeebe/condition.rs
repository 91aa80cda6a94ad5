//! Condition of the brokers: cluster changes in progress, and disk space.
//!
//! Owns the parsing of `/actuator/cluster` and of the disk metrics in `/actuator/prometheus`, both as
//! recorded from a real 8.6.0. Must not judge whether the condition allows a backup.

use crate::camunda::Method;
use crate::camunda::call::{Caller, EXPORTERS, READ};
use crate::camunda::error::ClientError;
use crate::camunda::reading::{count, text, word};
use crate::camunda::response::ParsedResponse;
use crate::camunda::zeebe::{AT_ONCE, Zeebe};
use serde_json::Value;
use std::collections::BTreeSet;

/// Disk metrics, selected by name: the complete list has hundreds of kilobytes.
const DISKS: &str = "/actuator/prometheus?includedNames=disk_free_bytes&includedNames=disk_total_bytes";

/// Disk space of one path of one broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSpace {
    /// The broker's address.
    pub broker: String,
    /// Path that the broker monitors.
    pub path: String,
    /// Bytes still available for writing.
    pub free: u64,
    /// Size of the disk, in bytes.
    pub total: u64,
}

/// Cluster state from `/actuator/cluster`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Number of partitions listed.
    pub partitions: Option<u32>,
    /// Short description of a change in progress.
    pub change: Option<String>,
}

impl Membership {
    /// Requests the state; empty if the version or the route does not offer it.
    pub(crate) async fn request(zeebe: &Caller) -> Self {
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

/// Disk metrics of all brokers.
#[derive(Debug, Default)]
pub struct BrokersDiskSpace {
    /// All reported disks.
    pub reported: Vec<DiskSpace>,
    /// Addresses that respond without disk metrics.
    pub silent: Vec<String>,
    /// Failed requests.
    pub errors: Vec<ClientError>,
}

impl Zeebe {
    /// Disk space of every disk that the brokers report; a gateway's disk is ignored. By default a broker
    /// monitors its working directory (`management.metrics.system.diskspace.paths`).
    pub async fn brokers_disk_space(&self) -> BrokersDiskSpace {
        let mut brokers_disk_space = BrokersDiskSpace::default();
        if self.unlisted {
            match self.exporters().await {
                Ok(exporters) if exporters.readable => {}
                Ok(_) => {
                    brokers_disk_space.silent.push(self.gateway.base());
                    return brokers_disk_space;
                }
                Err(error) => {
                    brokers_disk_space.errors.push(error);
                    return brokers_disk_space;
                }
            }
        }
        for some in self.brokers.chunks(AT_ONCE) {
            let calls = some.iter().map(|broker| broker.call(Method::Get, DISKS, None, EXPORTERS));
            for (broker, response) in some.iter().zip(futures::future::join_all(calls).await) {
                match response {
                    Ok(response) if response.status() == 200 => {
                        let disks = read_disk_space(&broker.base(), &response);
                        if disks.is_empty() {
                            brokers_disk_space.silent.push(broker.base());
                        }
                        brokers_disk_space.reported.extend(disks);
                    }
                    Ok(response) if matches!(response.status(), 401 | 403 | 404) => {
                        brokers_disk_space.silent.push(broker.base());
                    }
                    Ok(response) => brokers_disk_space.errors.push(response.failure()),
                    Err(error) => brokers_disk_space.errors.push(error),
                }
            }
        }
        brokers_disk_space
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
    // Not a number, or larger than any disk: an implausible figure.
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
    /// Recorded from a real 8.6.0 with `management.metrics.system.diskspace.paths` set.
    const RECORDED: &str = "# HELP disk_free_bytes Usable space for path\n# TYPE disk_free_bytes gauge\n\
        disk_free_bytes{path=\"/data/broker\",} 5.0499407872E10\n\
        # HELP disk_total_bytes Total space for path\n# TYPE disk_total_bytes gauge\n\
        disk_total_bytes{path=\"/data/broker\",} 2.70553174016E11\n";

    fn zeebe(canned: &std::sync::Arc<Canned>, brokers: &[&str]) -> Zeebe {
        let brokers = brokers.iter().map(|base| (*base).to_owned()).collect();
        let addresses = Addresses { zeebe: "http://zeebe:9600".into(), brokers, ..Addresses::default() };
        Zeebe::new(&addresses, &canned.shared())
    }

    #[tokio::test]
    async fn disk_space_of_every_broker_is_reported() {
        let canned = Canned::new();
        canned.of_type(200, TEXT, RECORDED);
        canned.of_type(404, "", "");
        let brokers_disk_space =
            zeebe(&canned, &["http://a:9600", "http://b:9600"]).brokers_disk_space().await;
        let disk_space = DiskSpace {
            broker: "http://a:9600".into(),
            path: "/data/broker".into(),
            free: 50_499_407_872,
            total: 270_553_174_016,
        };
        assert_eq!(
            (brokers_disk_space.reported, brokers_disk_space.silent),
            (vec![disk_space], vec!["http://b:9600".to_owned()])
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
    async fn implausible_disk_metrics_are_ignored(#[case] metrics: &str) {
        let canned = Canned::new();
        canned.of_type(200, TEXT, metrics);
        let brokers_disk_space = zeebe(&canned, &["http://a:9600"]).brokers_disk_space().await;
        assert_eq!(
            (brokers_disk_space.reported, brokers_disk_space.silent),
            (vec![], vec!["http://a:9600".to_owned()])
        );
    }

    /// A standalone gateway has no partitions and reports its own disk.
    #[tokio::test]
    async fn disk_of_a_gateway_is_ignored() {
        let canned = Canned::new();
        canned.of_type(404, "", "").of_type(200, TEXT, RECORDED);
        let brokers_disk_space = zeebe(&canned, &[]).brokers_disk_space().await;
        assert_eq!(
            (brokers_disk_space.reported, brokers_disk_space.silent),
            (vec![], vec!["http://zeebe:9600".to_owned()])
        );
    }

    /// A full disk is reported although another broker restarts.
    #[tokio::test]
    async fn unreachable_broker_does_not_hide_the_others() {
        let canned = Canned::new();
        canned.of_type(502, "", "").of_type(200, TEXT, RECORDED);
        let brokers_disk_space =
            zeebe(&canned, &["http://a:9600", "http://b:9600"]).brokers_disk_space().await;
        assert_eq!((brokers_disk_space.reported.len(), brokers_disk_space.errors.len()), (1, 1));
    }

    /// Recorded from a real 8.6.0 while a broker was being added, and after the change was cancelled.
    #[test]
    fn cluster_change_in_progress_is_reported() {
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
