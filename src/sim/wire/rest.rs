//! Responses of the REST port: topology, status, and since 8.10 exporting and backups.
//!
//! Owns its paths and bodies. The topology is as recorded from a real 8.6.0 and 8.5.8; the rest follows the
//! published OpenAPI document (`tests/it/sim/openapi.rs` compares them). Must not act differently from the
//! actuators.

use crate::camunda::{Method, Response};
use crate::sim::faults::Effect;
use crate::sim::model::cluster::Cluster;
use crate::sim::model::snapshots::Snapshot;
use crate::sim::wire::broker::Switched;
use crate::sim::wire::history::{HistoryRefusal, history_failures};
use crate::sim::wire::runtime::{RuntimeRefusal, is_prefix};
use crate::sim::wire::{Acted, JSON, WireRequest, empty_response, json_response, problem};
use chrono::TimeDelta;
use serde_json::{Value, json};

/// Reason for a failed request to the REST port.
enum Refusal {
    Runtime(RuntimeRefusal),
    History(HistoryRefusal),
    /// Invalid request.
    Invalid(&'static str),
}

impl From<RuntimeRefusal> for Refusal {
    fn from(refusal: RuntimeRefusal) -> Self {
        Self::Runtime(refusal)
    }
}

impl From<HistoryRefusal> for Refusal {
    fn from(refusal: HistoryRefusal) -> Self {
        Self::History(refusal)
    }
}

impl Refusal {
    fn response(self, method: Method, path: &str) -> Acted {
        let (status, text) = match self {
            Self::Invalid(text) => return problem(400, "INVALID_ARGUMENT", text, path).into(),
            Self::Runtime(RuntimeRefusal { after, status, text }) => {
                // According to the OpenAPI document only a start may time out, and only a start or a list may report
                // a missing store.
                let about_one = path.contains("/runtime/");
                let status = match status {
                    504 if method != Method::Post => 503,
                    400 if about_one => 500,
                    status => status,
                };
                return Acted::Slow(after, problem(status, title(status), &text, path));
            }
            Self::History(refusal) => match refusal {
                HistoryRefusal::BadId(text) => (400, text),
                HistoryRefusal::Conflict(text) => (409, text),
                HistoryRefusal::Unknown(text) => (404, text),
                HistoryRefusal::NoRepository(text) => (500, text),
                HistoryRefusal::Unreachable(text) => (503, text),
            },
        };
        problem(status, title(status), &text, path).into()
    }
}

fn title(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        403 => "FORBIDDEN",
        404 => "NOT_FOUND",
        409 => "ALREADY_EXISTS",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "INTERNAL",
    }
}

/// Time for which a gateway still reports a lost leader.
const GOSSIP: TimeDelta = TimeDelta::seconds(10);

const WRONG_ID: &str = "The backup id must be an integer of at least 1";
const WRONG_PREFIX: &str = "The prefix must be digits followed by a single '*'";

impl Cluster {
    /// A request to the REST port.
    pub(crate) fn rest(&mut self, request: &WireRequest, rest: &str, effects: &[Effect]) -> Acted {
        if rest == self.config.version.topology_path() {
            if request.method != Method::Get {
                return self.spring_error(405, Some("Supported methods: [GET]"), rest).into();
            }
            return json_response(200, JSON, &self.topology()).into();
        }
        let minor = self.config.version.minor;
        if rest == "/v2/status" && minor >= 8 && request.method == Method::Get {
            // The status is healthy if one partition has a healthy leader.
            let down = self.is_known_leaderless() && self.world.partitions.len() == 1;
            return empty_response(if down { 503 } else { 204 }).into();
        }
        if let Some(response) = self.client_command(request, rest) {
            return response.into();
        }
        let Some(path) = rest.strip_prefix("/v2").filter(|_| minor >= 10) else {
            return self.spring_error(404, None, rest).into();
        };
        let done = match path.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["exporting", verb @ ("pause" | "resume")] if request.method == Method::Post => {
                return self.rest_exporting(request, verb, rest, effects);
            }
            ["backups", "runtime", below @ ..] => self.rest_runtime(request, below, effects),
            ["backups", "history", below @ ..] if self.has_history() => self.rest_history(request, below),
            ["backups", "history", ..] => {
                let text = "History backups need Elasticsearch or OpenSearch as secondary storage";
                return problem(403, title(403), text, rest).into();
            }
            _ => return problem(404, title(404), "No such resource", rest).into(),
        };
        match done {
            Ok(Some(response)) => response.into(),
            Ok(None) => problem(405, "METHOD_NOT_ALLOWED", "Method not allowed", rest).into(),
            Err(refusal) => refusal.response(request.method, rest),
        }
    }

    /// Whether the gateway has noticed that the first partition has no leader.
    fn is_known_leaderless(&self) -> bool {
        self.leaderless.is_some_and(|since| self.now() - since >= GOSSIP)
    }

    fn topology(&self) -> Value {
        let version = self.config.version.to_string();
        let count = self.world.partitions.len();
        let partition = |id: usize| {
            let lost = id == 1 && self.is_known_leaderless();
            let (role, health) = if lost { ("follower", "unhealthy") } else { ("leader", "healthy") };
            let mut one = json!({"partitionId": id, "role": role, "health": health});
            if self.config.version.minor >= 10 {
                one["state"] = "active".into();
            }
            one
        };
        let partitions: Vec<Value> = (1..=count).map(partition).collect();
        let mut body = json!({
            "brokers": [{
                "nodeId": 0, "host": "127.0.0.1", "port": 26501, "partitions": partitions, "version": version,
            }],
            "clusterSize": 1, "partitionsCount": count, "replicationFactor": 1, "gatewayVersion": version,
        });
        if self.config.version.minor >= 8 {
            body["lastCompletedChangeId"] = "1".into();
        }
        if self.config.version.minor >= 9 {
            body["clusterId"] = uuid::Uuid::from_u128(u128::from(self.config.seed)).to_string().into();
        }
        if self.config.version.minor >= 10 {
            body["brokers"][0]["brokerId"] = "0".into();
        }
        body
    }

    fn rest_exporting(&mut self, request: &WireRequest, verb: &str, rest: &str, effects: &[Effect]) -> Acted {
        let Some(phase) = self.requested_phase(request, verb) else {
            return problem(400, title(400), "The parameter 'soft' is not a boolean", rest).into();
        };
        match self.switch(phase, effects) {
            Switched::Done => empty_response(204).into(),
            Switched::Failed => problem(500, title(500), "Not every partition was switched", rest).into(),
            Switched::Late(late) => Acted::Slow(late, empty_response(204)),
        }
    }

    fn rest_runtime(
        &mut self,
        request: &WireRequest,
        below: &[&str],
        effects: &[Effect],
    ) -> Result<Option<Response>, Refusal> {
        Ok(Some(match (request.method, below) {
            (Method::Post, []) => {
                let id = self.start_runtime(requested_id(request)?, effects)?;
                json_response(202, JSON, &json!({"backupId": id}))
            }
            (Method::Get, []) => {
                let list = self.list_runtime(&prefix(request)?)?;
                let list = list.as_array().into_iter().flatten().map(runtime_info).collect();
                json_response(200, JSON, &Value::Array(list))
            }
            (Method::Get, ["state"]) | (Method::Post, ["state", "sync"]) => {
                json_response(200, JSON, &self.runtime_state()?)
            }
            (Method::Delete, ["state"]) => {
                self.reset_checkpoints();
                empty_response(204)
            }
            (Method::Get, [id]) => json_response(200, JSON, &runtime_info(&self.one_runtime(path_id(id)?)?)),
            (Method::Delete, [id]) => {
                self.drop_runtime(path_id(id)?)?;
                empty_response(204)
            }
            _ => return Ok(None),
        }))
    }

    fn rest_history(&mut self, request: &WireRequest, below: &[&str]) -> Result<Option<Response>, Refusal> {
        Ok(Some(match (request.method, below) {
            (Method::Post, []) => {
                let id = requested_id(request)?.filter(|id| *id > 0).ok_or(Refusal::Invalid(WRONG_ID))?;
                let names = self.take_history(id)?;
                json_response(202, JSON, &json!({"backupId": id, "scheduledSnapshots": names}))
            }
            (Method::Get, []) => {
                let verbose = request.parameter("verbose").as_deref() != Some("false");
                let body = |c: &Self, id, parts: &[&Snapshot]| c.history_info(id, parts, verbose);
                json_response(200, JSON, &self.list_history(&prefix(request)?, body)?)
            }
            (Method::Get, [id]) => {
                let id = path_id(id)?;
                json_response(200, JSON, &self.one_history(id, |c, parts| c.history_info(id, parts, true))?)
            }
            (Method::Delete, [id]) => {
                self.drop_history(path_id(id)?)?;
                empty_response(204)
            }
            _ => return Ok(None),
        }))
    }

    fn history_info(&self, id: i64, parts: &[&Snapshot], verbose: bool) -> Value {
        let details: Vec<Value> = (parts.iter())
            .map(|s| {
                json!({
                    "snapshotName": s.name,
                    "state": verbose.then(|| s.state.wire()),
                    "startTime": verbose.then(|| self.written(s.started, 0)),
                    "failures": history_failures(s),
                })
            })
            .collect();
        let (state, reason) = self.history_state(parts, verbose);
        json!({"backupId": id, "state": state, "failureReason": reason, "details": details})
    }
}

/// The id in a body; a start is valid without id and without body.
fn requested_id(request: &WireRequest) -> Result<Option<i64>, Refusal> {
    if request.body.is_empty() {
        return Ok(None);
    }
    let body: Value =
        serde_json::from_slice(&request.body).map_err(|_| Refusal::Invalid("The body is not JSON"))?;
    match body.get("backupId") {
        None | Some(Value::Null) => Ok(None),
        Some(id) => id.as_i64().map(Some).ok_or(Refusal::Invalid(WRONG_ID)),
    }
}

fn path_id(text: &str) -> Result<i64, Refusal> {
    text.parse().ok().filter(|id| *id > 0).ok_or(Refusal::Invalid(WRONG_ID))
}

fn prefix(request: &WireRequest) -> Result<String, Refusal> {
    match request.parameter("prefix") {
        None => Ok("*".into()),
        Some(prefix) if is_prefix(&prefix) => Ok(prefix),
        Some(_) => Err(Refusal::Invalid(WRONG_PREFIX)),
    }
}

/// A Zeebe backup in the format of the REST API: every field is present, null if unknown.
fn runtime_info(actuator: &Value) -> Value {
    const OF_PARTITION: [&str; 10] = [
        "partitionId",
        "state",
        "failureReason",
        "createdAt",
        "lastUpdatedAt",
        "snapshotId",
        "firstLogPosition",
        "checkpointPosition",
        "brokerId",
        "brokerVersion",
    ];
    let all = |from: &Value, keys: &[&str]| -> Value {
        keys.iter().map(|key| ((*key).to_owned(), from.get(key).cloned().unwrap_or_default())).collect()
    };
    let mut info = all(actuator, &["backupId", "state", "failureReason"]);
    let details = actuator.get("details").and_then(Value::as_array);
    info["details"] = details.into_iter().flatten().map(|p| all(p, &OF_PARTITION)).collect();
    info
}
