//! Responses of the broker: actuators and exporting.
//!
//! Owns their paths, bodies and peculiarities, as recorded from a real 8.6.0 and 8.5.8; later versions follow
//! the documents. Must not know web apps or search.

use crate::camunda::{Method, Response};
use crate::sim::faults::Effect;
use crate::sim::model::broker::Phase;
use crate::sim::model::cluster::{Cluster, Timer};
use crate::sim::model::config::Storage;
use crate::sim::model::importer::App;
use crate::sim::wire::condition::pending_change;
use crate::sim::wire::{ACTUATOR, Acted, JSON, WireRequest, empty_response, json_response};
use serde_json::{Map, Value, json};
use std::time::Duration;

impl Cluster {
    /// A request to the broker's management port.
    pub(crate) fn broker(&mut self, request: &WireRequest, rest: &str, effects: &[Effect]) -> Acted {
        let modern = self.config.version.minor >= 6;
        let Some(path) = rest.strip_prefix("/actuator") else {
            return if matches!(rest, "/ready" | "/health" | "/startup") {
                empty_response(301).into()
            } else {
                self.spring_error(404, None, rest).into()
            };
        };
        let actuator = |body: &Value| json_response(200, ACTUATOR, body);
        match (request.method, path) {
            (Method::Get, "") => actuator(&links(&self.endpoints())),
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
            (Method::Get, "/health/liveness") => empty_response(404),
            (Method::Get, "/partitions") => actuator(&self.partitions()),
            (Method::Post, "/partitions/pauseExporting") => {
                self.pause(false);
                actuator(&self.partitions())
            }
            (Method::Post, "/partitions/resumeExporting") => {
                self.resume();
                actuator(&self.partitions())
            }
            (Method::Get, "/prometheus") => self.disks(),
            (Method::Get, "/cluster") => json_response(200, JSON, &self.cluster_topology()),
            (Method::Get, "/exporters") => {
                let body: Value = self.exporters().iter().map(|id| json!({"exporterId": id, "status": "ENABLED"})).collect();
                json_response(200, JSON, &body)
            }
            (Method::Post, "/exporting/pause" | "/exporting/resume") => {
                return self.switch_exporting(request, path, effects);
            }
            (method, path) if path.starts_with("/exporting/") && !path.get(11..).unwrap_or("").contains('/') => {
                if method == Method::Post {
                    stack_trace()
                } else {
                    self.spring_error(405, Some("Supported methods: [POST]"), rest)
                }
            }
            (_, path) => {
                if let Some(path) = below(path, self.config.runtime_endpoint()) {
                    return self.runtime(request, path, rest, effects);
                }
                if let Some(path) = below(path, "backupHistory").filter(|_| self.has_history()) {
                    return self.history(request, path, rest).into();
                }
                self.spring_error(404, None, rest)
            }
        }
        .into()
    }

    /// `/actuator/info`, identical in every component.
    pub(crate) fn build_info(&self) -> Value {
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
                "snapshotId": partition.snapshot.map(crate::sim::model::broker::BrokerSnapshot::id),
                "processedPositionInSnapshot": partition.snapshot.map(|s| s.processed),
                "streamProcessorPhase": if self.condition.stopped { "PAUSED" } else { "PROCESSING" },
                "exporterPhase": partition.exporter.phase.wire(),
                "exportedPosition": if acknowledged == 0 { -1 } else { acknowledged as i64 },
            });
            if self.config.version.minor >= 6 {
                let at = self.shown(self.now).format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string();
                one["clock"] = json!({"instant": at, "modificationType": "None", "modification": {}});
            }
            if index == 0 && self.leaderless.is_some() {
                one = json!({
                    "role": "FOLLOWER", "processedPosition": null, "snapshotId": null,
                    "processedPositionInSnapshot": null, "streamProcessorPhase": null, "exporterPhase": null,
                    "exportedPosition": null,
                });
            }
            all.insert((index + 1).to_string(), one);
        }
        // From 8.10 on the rows are nested by physical tenant. The simulation has one tenant.
        if self.config.version.minor >= 10 { json!({"default": all}) } else { Value::Object(all) }
    }

    fn cluster_topology(&self) -> Value {
        let partitions: Vec<Value> = (1..=self.world.partitions.len())
            .map(|id| {
                let mut one = json!({"id": id, "state": "ACTIVE", "priority": 1});
                if self.config.version.minor >= 6 {
                    let exporters: Value =
                        self.exporters().iter().map(|id| json!({"id": id, "state": "ENABLED"})).collect();
                    one["config"] = json!({"exporting": {"exporters": exporters}});
                }
                one
            })
            .collect();
        let mut topology = json!({"version": 1, "brokers": [{
            "id": 0, "state": "ACTIVE", "version": 0, "lastUpdatedAt": "0000-01-01T00:00:00Z", "partitions": partitions,
        }]});
        if self.condition.changing {
            topology["version"] = 2.into();
            topology["pendingChange"] = pending_change();
        }
        topology
    }

    fn exporters(&self) -> Vec<&'static str> {
        let records = match self.config.storage {
            Storage::OpenSearch => "opensearch",
            Storage::Elasticsearch | Storage::Saas => "elasticsearch",
            Storage::Rdbms => return vec!["rdbms"],
        };
        let exports = self.world.exports;
        let direct = exports.direct.map(|_| "camundaexporter");
        direct.into_iter().chain(exports.records.then_some(records)).collect()
    }

    /// Endpoints listed on the index page of the actuators.
    fn endpoints(&self) -> Vec<&'static str> {
        let runtime = self.config.runtime_endpoint();
        let mut names = vec!["partitions", runtime, "health", "info", "cluster", "exporting", "prometheus"];
        if self.config.version.is_unified() {
            names.push("exporters");
            names.extend(self.has_history().then_some("backupHistory"));
        }
        names
    }

    /// Whether the broker's process backs up Operate and Tasklist together.
    pub(crate) fn has_history(&self) -> bool {
        self.apps.contains_key(&App::History)
    }

    fn switch_exporting(&mut self, request: &WireRequest, path: &str, effects: &[Effect]) -> Acted {
        let Some(phase) = self.requested_phase(request, path) else {
            return self.spring_error(400, Some("Type mismatch."), &format!("/actuator{path}")).into();
        };
        let switched = json_response(200, JSON, &json!({"body": null, "status": 204, "contentType": null}));
        match self.switch(phase, effects) {
            Switched::Done => switched.into(),
            Switched::Failed => stack_trace().into(),
            Switched::Late(late) => Acted::Slow(late, switched),
        }
    }

    /// Phase that a request to pause or resume demands; `None` for an invalid request.
    pub(crate) fn requested_phase(&self, request: &WireRequest, path: &str) -> Option<Phase> {
        if path.ends_with("resume") {
            return Some(Phase::Exporting);
        }
        let soft = match request.parameter("soft").map(|text| text.to_ascii_lowercase()).as_deref() {
            None | Some("" | "false" | "no" | "off" | "0") => false,
            Some("true" | "yes" | "on" | "1") => true,
            Some(_) => return None,
        };
        let soft = soft && self.config.version.has_soft_pause();
        Some(if soft { Phase::SoftPaused } else { Phase::Paused })
    }

    /// Switches exporting, subject to the effects of faults.
    pub(crate) fn switch(&mut self, phase: Phase, effects: &[Effect]) -> Switched {
        let some = self.world.partitions.len().div_ceil(2).min(self.world.partitions.len().saturating_sub(1));
        if effects.contains(&Effect::Fail) {
            return Switched::Failed;
        }
        if effects.contains(&Effect::Partial) {
            self.set_phase(phase, some);
            return Switched::Failed;
        }
        let late = effects.iter().find_map(|what| match what {
            Effect::ActLate(late) => Some(*late),
            _ => None,
        });
        if let Some(late) = late {
            self.at(late, Timer::SwitchesLate(phase));
            return Switched::Late(late);
        }
        let count = if effects.contains(&Effect::PartialSilent) { some } else { usize::MAX };
        self.set_phase(phase, count);
        Switched::Done
    }
}

/// Result of a request to switch exporting.
pub(crate) enum Switched {
    /// Every selected partition has switched.
    Done,
    /// Not switched on every partition.
    Failed,
    /// Will be switched after this delay, followed by the response.
    Late(Duration),
}

/// A failed switch: status 200 with the error in the body.
fn stack_trace() -> Response {
    let frame = json!({
        "classLoaderName": "app", "moduleName": null, "moduleVersion": null, "methodName": "post",
        "fileName": "ExportingEndpoint.java", "lineNumber": 46,
        "className": "io.camunda.zeebe.shared.management.ExportingEndpoint", "nativeMethod": false,
    });
    let cause = json!({
        "cause": null, "stackTrace": [frame], "message": null, "suppressed": [], "localizedMessage": null,
    });
    json_response(200, JSON, &json!({"body": cause, "status": 500, "contentType": null}))
}

/// The index page of the actuators.
pub(crate) fn links(names: &[&str]) -> Value {
    let mut links = Map::new();
    links.insert("self".into(), json!({"href": "/actuator", "templated": false}));
    for name in names {
        links.insert((*name).into(), json!({"href": format!("/actuator/{name}"), "templated": false}));
    }
    json!({"_links": links})
}

/// The path below an endpoint; `""` for the endpoint itself.
fn below<'a>(path: &'a str, endpoint: &str) -> Option<&'a str> {
    let rest = path.strip_prefix('/')?.strip_prefix(endpoint)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}
