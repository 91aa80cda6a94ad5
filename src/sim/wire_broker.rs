//! Answers of the broker: actuators, exporting, Zeebe backups, topology.
//!
//! Owns their paths, bodies and oddities, as a real 8.6.0 and 8.5.8 answered. Must not know web apps or search.

use super::backups::{BackupFate, BackupRefusal, BackupStore, PartitionBackup, PartitionState, ZeebeBackup};
use super::broker::Phase;
use super::faults::What;
use super::model::{Cluster, Timer};
use super::wire::{ACTUATOR, Acted, JSON, WireRequest, empty_answer, json_answer};
use crate::clients::{Method, Response};
use crate::domain::Instant;
use chrono::{TimeDelta, Timelike};
use serde_json::{Map, Value, json};
use std::time::Duration;

const STORE_DOWN: &str = "software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: \
                          Connection refused: /127.0.0.1:9000";
const STORE_HUNG: &str =
    "Request from gateway to broker timed out. Request backup-api-1 to 127.0.0.1:26501 timed out in PT15S";
const STORE_NONE: &str = "Cannot process backup requests. No backup store is configured. To use this feature, \
                          configure backup in broker configuration.";

/// How long a request about backups takes when the store does not answer.
const HUNG_FOR: Duration = Duration::from_secs(15);

impl Cluster {
    /// A request to the broker's management port.
    pub(super) fn broker(&mut self, request: &WireRequest, rest: &str, struck: &[What]) -> Acted {
        let modern = self.config.version.minor >= 6;
        let Some(path) = rest.strip_prefix("/actuator") else {
            return if matches!(rest, "/ready" | "/health" | "/startup") {
                empty_answer(301).into()
            } else {
                self.spring_error(404, None, rest).into()
            };
        };
        let actuator = |body: &Value| json_answer(200, ACTUATOR, body);
        match (request.method, path) {
            (Method::Get, "") => actuator(&links(&["partitions", "backups", "health", "info", "cluster", "exporting"])),
            (Method::Get, "/info") => actuator(&self.build_info()),
            (Method::Get, "/health") if modern => actuator(&json!({
                "status": "UP",
                "components": {
                    "brokerReady": {"status": "UP"}, "brokerStartup": {"status": "UP"}, "brokerStatus": {"status": "UP"},
                },
                "groups": ["readiness", "startup", "status"],
            })),
            (Method::Get, "/health") => {
                actuator(&json!({"status": "UP", "groups": ["readiness", "startup", "status"]}))
            }
            (Method::Get, "/health/readiness") if modern => {
                actuator(&json!({"status": "UP", "components": {"brokerReady": {"status": "UP"}}}))
            }
            (Method::Get, "/health/readiness") => actuator(&json!({"status": "UP"})),
            (Method::Get, "/health/liveness") => empty_answer(404),
            (Method::Get, "/partitions") => actuator(&self.partitions()),
            (Method::Post, "/partitions/pauseExporting") => {
                self.pause(false);
                actuator(&self.partitions())
            }
            (Method::Post, "/partitions/resumeExporting") => {
                self.resume();
                actuator(&self.partitions())
            }
            (Method::Get, "/cluster") => json_answer(200, JSON, &self.cluster_topology()),
            (Method::Get, "/exporters") => json_answer(200, JSON, &json!([{"exporterId": self.exporter_id(), "status": "ENABLED"}])),
            (Method::Post, "/exporting/pause" | "/exporting/resume") => {
                return self.switch_exporting(request, path, struck);
            }
            (method, path) if path.starts_with("/exporting/") && !path.get(11..).unwrap_or("").contains('/') => {
                if method == Method::Post {
                    stack_trace()
                } else {
                    self.spring_error(405, Some("Supported methods: [POST]"), rest)
                }
            }
            (method, "/backups") => return self.backups(request, method, rest, struck),
            (method, path) => {
                let Some(id) = path.strip_prefix("/backups/").filter(|id| !id.is_empty() && !id.contains('/')) else {
                    return self.spring_error(404, None, rest).into();
                };
                return self.one_backup(method, id, rest);
            }
        }
        .into()
    }

    /// A request to the REST port.
    pub(super) fn rest(&self, request: &WireRequest, rest: &str) -> Response {
        if rest != self.config.version.topology_path() {
            return self.spring_error(404, None, rest);
        }
        if request.method != Method::Get {
            return self.spring_error(405, Some("Supported methods: [GET]"), rest);
        }
        let version = self.config.version.to_string();
        let count = self.world.partitions.len();
        let partitions: Vec<Value> =
            (1..=count).map(|id| json!({"partitionId": id, "role": "leader", "health": "healthy"})).collect();
        let body = json!({
            "brokers": [{
                "nodeId": 0, "host": "127.0.0.1", "port": 26501, "partitions": partitions, "version": version,
            }],
            "clusterSize": 1, "partitionsCount": count, "replicationFactor": 1, "gatewayVersion": version,
        });
        json_answer(200, JSON, &body)
    }

    /// `/actuator/info`, the same in every component.
    pub(super) fn build_info(&self) -> Value {
        json!({"build": {
            "artifact": "camunda-zeebe", "java": {"version": "21.0.4"}, "name": "Zeebe Distribution",
            "description": "Zeebe Distribution", "time": "2024-10-02T11:04:00.970Z",
            "version": self.config.version.to_string(), "group": "io.camunda",
        }})
    }

    fn partitions(&self) -> Value {
        let mut all = Map::new();
        for (index, partition) in self.world.partitions.iter().enumerate() {
            let acknowledged = partition.exporter.acknowledged;
            let mut one = json!({
                "role": "LEADER",
                "processedPosition": partition.state.processed,
                "snapshotId": partition.snapshot.map(super::broker::BrokerSnapshot::id),
                "processedPositionInSnapshot": partition.snapshot.map(|s| s.processed),
                "streamProcessorPhase": "PROCESSING",
                "exporterPhase": partition.exporter.phase.wire(),
                "exportedPosition": if acknowledged == 0 { -1 } else { acknowledged as i64 },
            });
            if self.config.version.minor >= 6 {
                let at = self.shown(self.now).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
                one["clock"] = json!({"instant": at, "modificationType": "None", "modification": {}});
            }
            if index == 0 && self.leaderless {
                one = json!({
                    "role": "FOLLOWER", "processedPosition": null, "snapshotId": null,
                    "processedPositionInSnapshot": null, "streamProcessorPhase": null, "exporterPhase": null,
                    "exportedPosition": null,
                });
            }
            all.insert((index + 1).to_string(), one);
        }
        Value::Object(all)
    }

    fn cluster_topology(&self) -> Value {
        let partitions: Vec<Value> = (1..=self.world.partitions.len())
            .map(|id| {
                let mut one = json!({"id": id, "state": "ACTIVE", "priority": 1});
                if self.config.version.minor >= 6 {
                    let exporters = json!([{"id": self.exporter_id(), "state": "ENABLED"}]);
                    one["config"] = json!({"exporting": {"exporters": exporters}});
                }
                one
            })
            .collect();
        json!({"version": 1, "brokers": [{
            "id": 0, "state": "ACTIVE", "version": 0, "lastUpdatedAt": "0000-01-01T00:00:00Z", "partitions": partitions,
        }]})
    }

    fn exporter_id(&self) -> &'static str {
        match self.config.engine {
            super::config::Engine::OpenSearch => "opensearch",
            super::config::Engine::Elasticsearch => "elasticsearch",
        }
    }

    fn switch_exporting(&mut self, request: &WireRequest, path: &str, struck: &[What]) -> Acted {
        let phase = if path.ends_with("resume") {
            Phase::Exporting
        } else {
            let soft = match request.parameter("soft").map(|text| text.to_ascii_lowercase()).as_deref() {
                None | Some("" | "false" | "no" | "off" | "0") => false,
                Some("true" | "yes" | "on" | "1") => true,
                Some(_) => {
                    return self
                        .spring_error(400, Some("Type mismatch."), &format!("/actuator{path}"))
                        .into();
                }
            };
            if soft && self.config.version.has_soft_pause() { Phase::SoftPaused } else { Phase::Paused }
        };
        let some = self.world.partitions.len().div_ceil(2).min(self.world.partitions.len().saturating_sub(1));
        if struck.contains(&What::Fail) {
            return stack_trace().into();
        }
        if struck.contains(&What::Partial) {
            self.set_phase(phase, some);
            return stack_trace().into();
        }
        let switched = json_answer(200, JSON, &json!({"body": null, "status": 204, "contentType": null}));
        let late = struck.iter().find_map(|what| match what {
            What::ActLate(late) => Some(*late),
            _ => None,
        });
        if let Some(late) = late {
            self.at(late, Timer::SwitchesLate(phase));
            return Acted::Slow(late, switched);
        }
        let count = if struck.contains(&What::PartialSilent) { some } else { usize::MAX };
        self.set_phase(phase, count);
        switched.into()
    }

    /// What a broken or absent store makes of a request about backups.
    fn store_trouble(&self) -> Option<Acted> {
        let message = |status, text: &str| json_answer(status, ACTUATOR, &json!({"message": text}));
        match self.store {
            BackupStore::Up => None,
            BackupStore::Down => Some(message(500, STORE_DOWN).into()),
            BackupStore::Hung => Some(Acted::Slow(HUNG_FOR, message(504, STORE_HUNG))),
            BackupStore::Absent => Some(message(400, STORE_NONE).into()),
        }
    }

    fn backups(&mut self, request: &WireRequest, method: Method, rest: &str, struck: &[What]) -> Acted {
        match method {
            Method::Get => {
                if let Some(trouble) = self.store_trouble() {
                    return trouble;
                }
                let seen = self.backups.iter().filter(|(_, b)| exists(b, self.now));
                let list: Vec<Value> =
                    seen.map(|(id, backup)| self.backup_body(*id, backup, false)).collect();
                json_answer(200, ACTUATOR, &Value::Array(list)).into()
            }
            Method::Post => self.take_backup(request, rest, struck).into(),
            _ => self.spring_error(405, Some("Supported methods: [POST, GET]"), rest).into(),
        }
    }

    fn take_backup(&mut self, request: &WireRequest, rest: &str, struck: &[What]) -> Response {
        if !request.is_json() {
            let named = request.content_type.as_ref();
            let detail = named.map(|name| format!("Content-Type '{name}' is not supported."));
            return self.spring_error(415, detail.as_deref(), rest);
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return self.spring_error(400, Some("Failed to read HTTP message"), rest);
        };
        let id = match body.get("backupId") {
            None | Some(Value::Null) => {
                return self.spring_error(400, Some("Missing parameters: backupId"), rest);
            }
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_i64(),
        };
        let Some(id) = id else { return self.spring_error(400, Some("Parameter mapping failure"), rest) };
        let message = |status, text: String| json_answer(status, ACTUATOR, &json!({"message": text}));
        if id <= 0 {
            return message(400, "A backupId must be provided and it must be > 0".into());
        }
        if struck.contains(&What::Conflict) {
            // A stranger was faster and took a higher id.
            let _ = self.begin_zeebe_backup(id.saturating_add(7), None);
        }
        let fate = struck.iter().find_map(|what| match what {
            What::Stall(length) => Some(BackupFate::Stall(*length)),
            What::Fail => Some(BackupFate::Fail),
            _ => None,
        });
        match self.begin_zeebe_backup(id, fate) {
            Ok(()) => message(
                202,
                format!(
                    "A backup with id {id} has been scheduled. Use GET actuator/backups/{id} to monitor the status."
                ),
            ),
            Err(BackupRefusal::NoStore) => message(400, STORE_NONE.into()),
            Err(BackupRefusal::NotHigher(latest)) => message(
                409,
                format!(
                    "Requested backup has id {id}. The latest backup has id {latest}. Id of new backups must be \
                     higher than the previous one. "
                ),
            ),
        }
    }

    fn one_backup(&mut self, method: Method, id: &str, rest: &str) -> Acted {
        if !matches!(method, Method::Get | Method::Delete) {
            return self.spring_error(405, Some("Supported methods: [DELETE, GET]"), rest).into();
        }
        let Ok(id) = id.parse::<i64>() else {
            return self.spring_error(400, Some("Parameter mapping failure"), rest).into();
        };
        if let Some(trouble) = self.store_trouble() {
            return trouble;
        }
        if method == Method::Delete {
            self.delete_zeebe_backup(id);
            return empty_answer(204).into();
        }
        if let Some(backup) = self.backups.get(&id).filter(|b| exists(b, self.now)) {
            return json_answer(200, ACTUATOR, &self.backup_body(id, backup, true)).into();
        }
        let text = format!("Backup with id {id} does not exist");
        json_answer(404, ACTUATOR, &json!({"message": text})).into()
    }

    fn backup_body(&self, id: i64, backup: &ZeebeBackup, single: bool) -> Value {
        let states = backup.states(self.now);
        let any = |state| states.contains(&state);
        let state = if any(PartitionState::Failed) {
            "FAILED"
        } else if any(PartitionState::DoesNotExist) {
            "INCOMPLETE"
        } else if any(PartitionState::InProgress) {
            "IN_PROGRESS"
        } else {
            "COMPLETED"
        };
        let details: Vec<Value> = backup.partitions.iter().map(|p| self.partition_body(p, single)).collect();
        let mut body = json!({"backupId": id, "state": state, "details": details});
        if state == "FAILED" {
            let failed = backup.partitions.iter().filter(|p| p.state(self.now) == PartitionState::Failed);
            let reasons: Vec<String> = failed
                .map(|p| {
                    let reason = p.failure().unwrap_or("");
                    format!("Backup on partition {} failed due to {reason}. ", p.copy.partition + 1)
                })
                .collect();
            body["failureReason"] = reasons.concat().into();
        }
        body
    }

    fn partition_body(&self, partition: &PartitionBackup, single: bool) -> Value {
        let state = partition.state(self.now);
        let mut body = json!({"partitionId": partition.copy.partition + 1, "state": state.wire()});
        if state == PartitionState::DoesNotExist {
            return body;
        }
        if state == PartitionState::Failed {
            body["failureReason"] = partition.failure().into();
        }
        let written = |at: Instant| {
            let whole = at.with_nanosecond(at.nanosecond() / 1000 * 1000).unwrap_or(at);
            let at = self.shown(whole) + TimeDelta::nanoseconds(i64::from(partition.nanos()));
            at.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
        };
        body["createdAt"] = written(partition.created).into();
        body["brokerVersion"] = self.config.version.to_string().into();
        if single {
            body["lastUpdatedAt"] = written(partition.updated(self.now)).into();
            body["checkpointPosition"] = partition.copy.checkpoint.into();
            if let Some(id) = partition.copy.snapshot_id() {
                body["snapshotId"] = id.into();
            }
        }
        body
    }
}

/// Whether anything can be seen of a backup.
fn exists(backup: &ZeebeBackup, now: Instant) -> bool {
    backup.states(now).iter().any(|state| *state != PartitionState::DoesNotExist)
}

/// A failed switch: 200, and the truth in the body.
fn stack_trace() -> Response {
    let frame = json!({
        "classLoaderName": "app", "moduleName": null, "moduleVersion": null, "methodName": "post",
        "fileName": "ExportingEndpoint.java", "lineNumber": 46,
        "className": "io.camunda.zeebe.shared.management.ExportingEndpoint", "nativeMethod": false,
    });
    let cause = json!({
        "cause": null, "stackTrace": [frame], "message": null, "suppressed": [], "localizedMessage": null,
    });
    json_answer(200, JSON, &json!({"body": cause, "status": 500, "contentType": null}))
}

/// The index page of the actuators.
pub(super) fn links(names: &[&str]) -> Value {
    let mut links = Map::new();
    links.insert("self".into(), json!({"href": "/actuator", "templated": false}));
    for name in names {
        links.insert((*name).into(), json!({"href": format!("/actuator/{name}"), "templated": false}));
    }
    json!({"_links": links})
}
