//! Control interface of a simulated cluster for test programs and demonstrations, under `/sim/`.
//!
//! Owns those routes; a real Camunda has none of them.
//!
//! - `GET state`, `GET backups`.
//! - `GET faults`; `POST faults` with the list as text or `{"spec": ...}`.
//! - `POST load` with `{"per_second": n}`: rate of instances that the simulation starts or completes by
//!   itself.
//! - `POST lose`: deletes the data of brokers and search engine.
//! - `POST restore` and `POST restore-in-place` with `{"backup_id": n}`.
//! - `POST backup-database` with a relational database.

use crate::camunda::{Method, Response};
use crate::domain::Instant;
use crate::sim::model::backups::PartitionState;
use crate::sim::model::cluster::Cluster;
use crate::sim::model::importer::App;
use crate::sim::model::snapshots::SnapshotState;
use crate::sim::model::webapps::WebAppState;
use crate::sim::wire::{JSON, WireRequest, json_response};
use chrono::TimeDelta;
use serde_json::{Value, json};
use std::collections::BTreeSet;

impl Cluster {
    /// Handles a request below `/sim/`.
    pub fn control(&mut self, now: Instant, request: &WireRequest) -> Response {
        self.advance(now);
        let refuse = |status, text: &str| json_response(status, JSON, &json!({"error": text}));
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match (request.method, request.path.as_str()) {
            (Method::Get, "/sim/state") => json_response(200, JSON, &self.state_body()),
            (Method::Get, "/sim/backups") => json_response(200, JSON, &self.backups_body()),
            (Method::Get, "/sim/faults") => json_response(200, JSON, &self.faults_body()),
            (Method::Post, "/sim/faults") => {
                let text = String::from_utf8_lossy(&request.body).into_owned();
                let spec = body.get("spec").and_then(Value::as_str).map_or(text, str::to_owned);
                match self.arm(&spec) {
                    Ok(()) => json_response(200, JSON, &self.faults_body()),
                    Err(error) => refuse(400, &error),
                }
            }
            (Method::Post, "/sim/restore" | "/sim/restore-in-place") => {
                let Some(id) = body.get("backup_id").and_then(Value::as_i64) else {
                    return refuse(400, "`backup_id` is missing: send {\"backup_id\": 1}");
                };
                if request.path == "/sim/restore-in-place" {
                    let pieces = self.pieces_of(id);
                    self.restore_in_place(&pieces);
                    return json_response(200, JSON, &self.state_body());
                }
                let restored = self.restore(id);
                let mut response = json!({
                    "backup_id": id, "lost": restored.lost(), "duplicates": restored.duplicates(),
                    "whole": restored.is_whole(), "pieces": self.pieces_of(id).len(),
                });
                response["details"] = serde_json::to_value(restored).unwrap_or_default();
                json_response(200, JSON, &response)
            }
            (Method::Post, "/sim/lose") => {
                self.lose();
                json_response(200, JSON, &self.state_body())
            }
            (Method::Post, "/sim/load") => {
                let Some(per_second) = body.get("per_second").and_then(Value::as_f64).filter(|n| *n >= 0.0)
                else {
                    return refuse(
                        400,
                        "`per_second` must be a number of at least 0: send {\"per_second\": 0}",
                    );
                };
                self.config.load.per_second = per_second;
                json_response(200, JSON, &json!({"per_second": per_second}))
            }
            (Method::Post, "/sim/backup-database") => {
                self.backup_database();
                json_response(200, JSON, &json!({"backups": self.databases.len()}))
            }
            _ => refuse(
                404,
                "no such route: see /sim/state, /sim/backups, /sim/faults, /sim/load, /sim/lose, /sim/restore",
            ),
        }
    }

    fn state_body(&self) -> Value {
        let seconds = |length: TimeDelta| length.num_milliseconds() as f64 / 1000.0;
        let open = self.pauses.since.map_or(TimeDelta::zero(), |since| self.now() - since);
        let partitions: Vec<Value> = (self.world.partitions.iter().enumerate())
            .map(|(index, p)| {
                json!({
                    "partition": index + 1,
                    "phase": p.exporter.phase.wire(),
                    "written": p.state.end,
                    "exported": p.exporter.read,
                    "acknowledged": p.exporter.acknowledged,
                    "log_from": p.log_start,
                    "live": p.state.live.len(),
                })
            })
            .collect();
        let hosted: Vec<Value> = (self.saas.backups.iter())
            .map(|b| json!({"uuid": b.uuid, "manual": b.manual, "status": b.state.wire()}))
            .collect();
        json!({
            "name": self.config.name,
            "provider": {"backups": hosted, "tokens_given": self.saas.tokens_given},
            "version": self.config.version.to_string(),
            "now": self.now().to_rfc3339(),
            "partitions": partitions,
            "paused": self.pauses.since.is_some(),
            "pauses": {
                "since": self.pauses.since.map(|at| at.to_rfc3339()),
                "open_seconds": seconds(open),
                "ended": self.pauses.ended,
                "total_seconds": seconds(self.pauses.total + open),
                "longest_seconds": seconds(self.pauses.longest.max(open)),
            },
            "instances": {"started": self.world.started, "live": self.world.live_instances()},
            "records": self.exported_records(),
            "log_bytes": self.log_bytes(),
            "requests": self.seen,
            "faults": self.faults_body(),
        })
    }

    fn faults_body(&self) -> Value {
        json!({"waiting": self.faults.waiting(), "happened": self.faults.happened})
    }

    /// Every backup id in the cluster, with its existing pieces.
    fn backups_body(&self) -> Value {
        const RECORDS: &str = "camunda_zeebe_records_backup_";
        let mut ids: BTreeSet<i64> = self.backups.keys().copied().collect();
        for app in App::ALL {
            ids.extend(self.app_backup_ids(app).unwrap_or_default());
        }
        for snapshot in self.repositories.values().flat_map(|r| &r.snapshots) {
            ids.extend(snapshot.name.strip_prefix(RECORDS).and_then(|id| id.parse::<i64>().ok()));
        }
        let body = |id: i64| {
            let mut one = json!({"backup_id": id, "pieces": self.pieces_of(id).len()});
            if let Some(backup) = self.backups.get(&id) {
                let states: Vec<&str> =
                    backup.states(self.now()).into_iter().map(PartitionState::wire).collect();
                one["zeebe"] = states.into();
            }
            for app in App::ALL {
                let parts = self.parts_taken(app, id).unwrap_or_default();
                if !parts.is_empty() {
                    one[app.name()] = json!({
                        "parts": parts.len(),
                        "complete": self.app_state(app, &parts) == WebAppState::Completed,
                    });
                }
            }
            let named = format!("{RECORDS}{id}");
            let records = self.repositories.values().flat_map(|r| &r.snapshots).find(|s| s.name == named);
            if let Some(snapshot) = records {
                one["records"] = snapshot.state.wire().into();
                one["records_whole"] =
                    (snapshot.state == SnapshotState::Success && !snapshot.indices.is_empty()).into();
                one["metadata"] = snapshot.metadata.clone().unwrap_or_default();
            }
            one
        };
        ids.into_iter().map(body).collect()
    }
}
