//! Responses of the search engine about itself, repositories and snapshots.
//!
//! Owns their paths and bodies, as recorded from OpenSearch 2.19.1 and Elasticsearch 8.17.0. Must not know
//! the content of documents.

use crate::camunda::{Method, Response};
use crate::sim::faults::Effect;
use crate::sim::model::cluster::{Cluster, Timer};
use crate::sim::model::config::Storage;
use crate::sim::model::indices::matches;
use crate::sim::model::snapshots::{
    Snapshot, SnapshotOutcome, SnapshotRefusal, SnapshotRequest, SnapshotState,
};
use crate::sim::wire::{Acted, WireRequest, decoded, json_response};
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use std::time::Duration;

impl Cluster {
    /// A request to the search engine.
    pub(crate) fn search(&mut self, request: &WireRequest, rest: &str, effects: &[Effect]) -> Acted {
        let path: Vec<String> = rest.trim_matches('/').split('/').map(decoded).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match (request.method, path.as_slice()) {
            (Method::Get, [""]) => self.engine_info(),
            (Method::Get, ["_snapshot"]) => self.see_repositories(None),
            (Method::Get, ["_snapshot", "_status"]) => self.running_status(None),
            (Method::Get, ["_snapshot", repository]) => self.see_repositories(Some(repository)),
            (Method::Put | Method::Post, ["_snapshot", repository]) => self.register(request, repository),
            (Method::Delete, ["_snapshot", repository]) => self.unregister(repository),
            (Method::Post, ["_snapshot", repository, "_verify"]) => self.verify(repository),
            (Method::Get, ["_snapshot", repository, "_status"]) => self.running_status(Some(repository)),
            (Method::Get, ["_snapshot", repository, "_current"]) => self.see_running(repository),
            (Method::Get, ["_snapshot", repository, names]) => self.see_snapshots(request, repository, names),
            (Method::Get, ["_snapshot", repository, names, "_status"]) => self.see_status(repository, names),
            (Method::Put | Method::Post, ["_snapshot", repository, name]) => {
                return self.take_snapshot(request, repository, name, effects);
            }
            (Method::Delete, ["_snapshot", repository, names]) => self.drop_snapshots(repository, names),
            (Method::Get, ["_cat", "indices"]) => self.cat_indices(request, "*"),
            (Method::Get, ["_cat", "indices", pattern]) => self.cat_indices(request, pattern),
            (Method::Get, ["_cluster", "health", ..]) => self.cluster_health(),
            (Method::Get, ["_resolve", "index", pattern]) => self.resolve_indices(pattern),
            (Method::Get, [pattern, "_count"]) => self.count(pattern),
            (Method::Post | Method::Delete, ["_search", "scroll"]) => self.scroll(request),
            (Method::Post, [pattern, verb @ ("_search" | "_count" | "_refresh")]) => {
                self.search_documents(request, pattern, verb)
            }
            (Method::Get, [pattern] | [pattern, "_settings" | "_mapping"]) if !pattern.starts_with('_') => {
                self.see_indices(pattern)
            }
            (Method::Put, [name]) if !name.starts_with('_') => self.create_index(request, name),
            (Method::Delete, [name]) if !name.starts_with('_') => self.delete_index(name),
            _ => {
                let text = format!("no handler found for uri [{rest}]");
                json_response(400, self.search_type(), &json!({"error": text}))
            }
        }
        .into()
    }

    fn search_type(&self) -> &'static str {
        match self.config.storage {
            Storage::Elasticsearch => "application/json",
            _ => "application/json; charset=UTF-8",
        }
    }

    pub(crate) fn found(&self, body: &Value) -> Response {
        json_response(200, self.search_type(), body)
    }

    fn search_error(&self, status: u16, kind: &str, reason: &str) -> Response {
        let cause = json!({"type": kind, "reason": reason});
        let body = json!({
            "error": {"root_cause": [cause], "type": kind, "reason": reason},
            "status": status,
        });
        json_response(status, self.search_type(), &body)
    }

    pub(crate) fn no_such_index(&self, name: &str) -> Response {
        let kind = "index_not_found_exception";
        let cause = json!({
            "type": kind, "reason": format!("no such index [{name}]"), "index": name, "index_uuid": "_na_",
            "resource.id": name, "resource.type": "index_or_alias",
        });
        let mut error = cause.clone();
        error["root_cause"] = json!([cause]);
        json_response(404, self.search_type(), &json!({"error": error, "status": 404}))
    }

    fn refused(&self, repository: &str, name: &str, refusal: &SnapshotRefusal) -> Response {
        let elastic = self.config.storage == Storage::Elasticsearch;
        match refusal {
            SnapshotRefusal::NoRepository => {
                self.search_error(404, "repository_missing_exception", &format!("[{repository}] missing"))
            }
            SnapshotRefusal::NameTaken { running } => {
                let how = if *running { "is already in-progress" } else { "already exists" };
                let kind = if elastic {
                    "snapshot_name_already_in_use_exception"
                } else {
                    "invalid_snapshot_name_exception"
                };
                let reason = format!(
                    "[{repository}:{name}] Invalid snapshot name [{name}], snapshot with the same name {how}"
                );
                self.search_error(400, kind, &reason)
            }
            SnapshotRefusal::BadName(why) => {
                let reason = format!("[{repository}:{name}] Invalid snapshot name [{name}], {why}");
                self.search_error(400, "invalid_snapshot_name_exception", &reason)
            }
            SnapshotRefusal::NoIndex(index) => self.no_such_index(index),
            SnapshotRefusal::Unassigned(indices) => {
                let indices = indices.join(", ");
                let reason = if elastic {
                    format!(
                        "[{repository}:{name}] the following indices have unassigned primary shards and cannot be \
                         included in a snapshot unless [partial] is set to [true]: [{indices}]; for help with \
                         troubleshooting unassigned shards see https://www.elastic.co/guide/en/elasticsearch/\
                         reference/8.17/red-yellow-cluster-status.html\n"
                    )
                } else {
                    format!("[{repository}:{name}] Indices don't have primary shards [{indices}]")
                };
                self.search_error(500, "snapshot_exception", &reason)
            }
        }
    }

    fn engine_info(&self) -> Response {
        let (version, tagline) = match self.config.storage {
            Storage::Elasticsearch => (
                json!({
                    "number": "8.17.0", "build_flavor": "default", "lucene_version": "9.12.0",
                    "minimum_wire_compatibility_version": "7.17.0", "minimum_index_compatibility_version": "7.0.0",
                }),
                "You Know, for Search",
            ),
            _ => (
                json!({
                    "distribution": "opensearch", "number": "2.19.1", "lucene_version": "9.12.1",
                    "minimum_wire_compatibility_version": "7.10.0", "minimum_index_compatibility_version": "7.0.0",
                }),
                "The OpenSearch Project: https://opensearch.org/",
            ),
        };
        let mut body = json!({
            "name": "Node 1", "cluster_name": self.config.name, "cluster_uuid": "WmtjwC7qTsqf9kgBb1GQ4Q",
            "version": version, "tagline": tagline,
        });
        body["version"]["build_type"] = "tar".into();
        body["version"]["build_hash"] = "2e4741fb45d1b150aaeeadf66d41445b23ff5982".into();
        body["version"]["build_date"] = "2025-02-27T01:16:47.726162386Z".into();
        body["version"]["build_snapshot"] = false.into();
        let pretty = serde_json::to_vec_pretty(&body).unwrap_or_default();
        Response { body: pretty, ..self.found(&body) }
    }

    fn see_repositories(&self, name: Option<&str>) -> Response {
        let mut all = Map::new();
        for known in self.repositories.iter().filter(|(_, r)| !r.forgotten).map(|(known, _)| known) {
            if name.is_none_or(|name| matches(name, known)) {
                let body = json!({"type": "fs", "settings": {"location": "/srv/camunda/repository"}});
                all.insert(known.clone(), body);
            }
        }
        match name {
            Some(name) if all.is_empty() => self.refused(name, "", &SnapshotRefusal::NoRepository),
            _ => self.found(&Value::Object(all)),
        }
    }

    fn register(&mut self, request: &WireRequest, name: &str) -> Response {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let kind = body.get("type").and_then(Value::as_str).unwrap_or("");
        if !matches!(kind, "fs" | "s3" | "gcs" | "azure") {
            let reason = format!("[{name}] repository type [{kind}] does not exist");
            return self.search_error(500, "repository_exception", &reason);
        }
        self.repositories.entry(name.to_owned()).or_default().forgotten = false;
        self.found(&json!({"acknowledged": true}))
    }

    fn unregister(&mut self, name: &str) -> Response {
        match self.repositories.get_mut(name).filter(|r| !r.forgotten) {
            Some(found) => {
                found.forgotten = true;
                self.found(&json!({"acknowledged": true}))
            }
            None => self.refused(name, "", &SnapshotRefusal::NoRepository),
        }
    }

    fn verify(&self, name: &str) -> Response {
        match self.repository(name) {
            Ok(_) => self.found(&json!({"nodes": {"WmtjwC7qTsqf9kgBb1GQ4Q": {"name": "Node 1"}}})),
            Err(refusal) => self.refused(name, "", &refusal),
        }
    }

    fn take_snapshot(
        &mut self,
        request: &WireRequest,
        repository: &str,
        name: &str,
        effects: &[Effect],
    ) -> Acted {
        let body: Value = match serde_json::from_slice(&request.body) {
            Ok(body) => body,
            Err(_) if request.body.is_empty() => json!({}),
            Err(_) => {
                let reason = "Unexpected end-of-input within/between Object entries";
                return self.search_error(400, "json_e_o_f_exception", reason).into();
            }
        };
        let flag =
            |key| matches!(body.get(key), Some(Value::Bool(true))) || body.get(key) == Some(&json!("true"));
        let indices = match body.get("indices") {
            Some(Value::String(list)) => list.split(',').map(str::to_owned).collect(),
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        let wanted = SnapshotRequest {
            indices,
            partial: flag("partial"),
            ignore_unavailable: flag("ignore_unavailable"),
            metadata: body.get("metadata").filter(|m| m.is_object()).cloned(),
        };
        let outcome = effects.iter().find_map(|what| match what {
            Effect::Stall(length) => Some(SnapshotOutcome::Stall(*length)),
            Effect::FailedShard => Some(SnapshotOutcome::FailedShard),
            _ => None,
        });
        self.records_hidden = effects.contains(&Effect::Empty);
        let begun = self.begin_snapshot(repository, name, &wanted, self.config.timing.snapshot, outcome);
        self.records_hidden = false;
        match begun {
            Ok(key) if request.parameter("wait_for_completion").as_deref() == Some("true") => {
                Acted::Waits(key)
            }
            Ok(_) => self.found(&json!({"accepted": true})).into(),
            Err(refusal) => self.refused(repository, name, &refusal).into(),
        }
    }

    /// The response to a request that waited for a snapshot, once the snapshot ended or was deleted.
    pub(crate) fn snapshot_result(&self, key: u64) -> Option<Response> {
        let Some(snapshot) = self.snapshot(key) else {
            return Some(self.search_error(500, "snapshot_exception", "Snapshot was aborted by deletion"));
        };
        let ended = snapshot.state != SnapshotState::InProgress;
        ended.then(|| self.found(&json!({"snapshot": self.snapshot_body(snapshot)})))
    }

    /// Remaining time of a snapshot, or the interval until the next poll.
    pub(crate) fn snapshot_left(&self, key: u64) -> Duration {
        let ends = self.timers.iter().find(|(_, timer)| matches!(timer, Timer::End(other) if *other == key));
        let left = ends.and_then(|((at, _), _)| (*at - self.now).to_std().ok());
        left.unwrap_or(Duration::from_millis(200)).min(Duration::from_secs(1))
    }

    fn see_snapshots(&self, request: &WireRequest, repository: &str, names: &str) -> Response {
        let all = match self.snapshots(repository, names) {
            Ok(found) => found,
            Err(refusal) => return self.refused(repository, names, &refusal),
        };
        let lenient = request.parameter("ignore_unavailable").as_deref() == Some("true");
        let absent = names.split(',').find(|name| {
            let pattern = name.contains('*') || *name == "_all";
            let strict = self.config.storage == Storage::OpenSearch && *name != "_all";
            (!pattern || strict) && !all.iter().any(|s| matches(name, &s.name))
        });
        match absent {
            Some(name) if !lenient => self.missing(repository, name),
            _ => self.listed(&all),
        }
    }

    fn see_running(&self, repository: &str) -> Response {
        match self.snapshots(repository, "*") {
            Ok(mut found) => {
                found.retain(|s| s.state == SnapshotState::InProgress);
                self.listed(&found)
            }
            Err(refusal) => self.refused(repository, "", &refusal),
        }
    }

    fn listed(&self, snapshots: &[&Snapshot]) -> Response {
        let bodies: Vec<Value> = snapshots.iter().map(|s| self.snapshot_body(s)).collect();
        let mut body = json!({"snapshots": bodies});
        if self.config.storage == Storage::Elasticsearch {
            body["total"] = snapshots.len().into();
            body["remaining"] = 0.into();
        }
        self.found(&body)
    }

    fn missing(&self, repository: &str, name: &str) -> Response {
        self.search_error(404, "snapshot_missing_exception", &format!("[{repository}:{name}] is missing"))
    }

    fn drop_snapshots(&mut self, repository: &str, names: &str) -> Response {
        match self.delete_snapshots(repository, names) {
            Ok(true) => self.found(&json!({"acknowledged": true})),
            Ok(false) => self.missing(repository, names),
            Err(refusal) => self.refused(repository, names, &refusal),
        }
    }

    fn snapshot_body(&self, snapshot: &Snapshot) -> Value {
        let elastic = self.config.storage == Storage::Elasticsearch;
        let time = |at: Option<crate::domain::Instant>| {
            let at = at.map_or(chrono::DateTime::UNIX_EPOCH, |at| self.shown(at));
            (at.format("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(), at.timestamp_millis())
        };
        let (start, start_millis) = time(Some(snapshot.started));
        let (end, end_millis) = time(snapshot.ended);
        let names: Vec<&str> = snapshot.indices.iter().map(|i| i.name.as_str()).collect();
        let failures: Vec<Value> = (snapshot.failed.iter().filter(|_| snapshot.ended.is_some()))
            .map(|index| {
                json!({
                    "index": index, "index_uuid": index, "shard_id": 0,
                    "reason": "primary shard is not allocated", "status": "INTERNAL_SERVER_ERROR",
                })
            })
            .collect();
        // OpenSearch counts no shards of a running snapshot.
        let total = if snapshot.ended.is_some() || elastic { snapshot.shards() } else { 0 };
        let failed = failures.len() as u64;
        let successful = if snapshot.ended.is_some() { total.saturating_sub(failed) } else { 0 };
        let mut body = json!({
            "snapshot": snapshot.name,
            "uuid": snapshot.uuid,
            "indices": names,
            "data_streams": [],
            "include_global_state": true,
            "state": snapshot.state.wire(),
            "start_time": start,
            "start_time_in_millis": start_millis,
            "end_time": end,
            "end_time_in_millis": end_millis,
            "duration_in_millis": (end_millis - start_millis).max(0),
            "failures": failures,
            "shards": {"total": total, "failed": failed, "successful": successful},
        });
        let engine = if elastic {
            json!({"version_id": 8_521_000, "version": "8.17.0", "repository": self.config.repository, "feature_states": []})
        } else {
            json!({"version_id": 136_407_927, "version": "2.19.1", "remote_store_index_shallow_copy": false})
        };
        if let (Value::Object(body), Value::Object(engine)) = (&mut body, engine) {
            body.extend(engine);
            body.extend(snapshot.metadata.clone().map(|m| ("metadata".to_owned(), m)));
        }
        body
    }

    fn see_status(&self, repository: &str, names: &str) -> Response {
        match self.snapshots(repository, names) {
            Ok(found) if found.is_empty() => self.missing(repository, names),
            Ok(found) => {
                let bodies: Vec<Value> = found.iter().map(|s| self.status_body(repository, s)).collect();
                self.found(&json!({"snapshots": bodies}))
            }
            Err(refusal) => self.refused(repository, names, &refusal),
        }
    }

    fn running_status(&self, repository: Option<&str>) -> Response {
        let mut bodies = Vec::new();
        for (name, found) in
            self.repositories.iter().filter(|(name, _)| repository.is_none_or(|r| r == *name))
        {
            let running = found.snapshots.iter().filter(|s| s.state == SnapshotState::InProgress);
            bodies.extend(running.map(|s| self.status_body(name, s)));
        }
        self.found(&json!({"snapshots": bodies}))
    }

    fn status_body(&self, repository: &str, snapshot: &Snapshot) -> Value {
        const FILES: u64 = 10;
        const FILE_BYTES: u64 = 3600;
        let nominal = crate::sim::model::world::span(snapshot.takes).max(TimeDelta::milliseconds(1));
        let lived = snapshot.ended.unwrap_or(self.now) - snapshot.started;
        // A stalled snapshot stays at this share, which makes the stall visible.
        let share = if snapshot.ended.is_some() {
            1.0
        } else {
            (lived.num_microseconds().unwrap_or(0) as f64 / nominal.num_microseconds().unwrap_or(1) as f64)
                .min(0.9)
        };
        let stats = |shards: u64| {
            let (all, done) = (shards * FILES, (shards as f64 * FILES as f64 * share) as u64);
            let count = |files: u64| json!({"file_count": files, "size_in_bytes": files * FILE_BYTES});
            let mut stats = json!({
                "incremental": count(all), "total": count(all),
                "start_time_in_millis": self.shown(snapshot.started).timestamp_millis(),
                "time_in_millis": lived.num_milliseconds().max(0),
            });
            if snapshot.ended.is_none() {
                stats["processed"] = count(done);
            }
            stats
        };
        let shards = |total: u64, failed: u64| {
            let done = if snapshot.ended.is_some() {
                total - failed.min(total)
            } else {
                (total as f64 * share) as u64
            };
            let failed = if snapshot.ended.is_some() { failed } else { 0 };
            json!({
                "initializing": 0, "started": total - done - failed, "finalizing": 0, "done": done,
                "failed": failed, "total": total,
            })
        };
        let mut indices = Map::new();
        for index in &snapshot.indices {
            let failed = u64::from(snapshot.failed.contains(&index.name));
            let body = json!({"shards_stats": shards(index.shards, failed), "stats": stats(index.shards), "shards": {}});
            indices.insert(index.name.clone(), body);
        }
        let state = if snapshot.ended.is_none() { "STARTED" } else { snapshot.state.wire() };
        json!({
            "snapshot": snapshot.name, "repository": repository, "uuid": snapshot.uuid, "state": state,
            "include_global_state": true, "shards_stats": shards(snapshot.shards(), snapshot.failed.len() as u64),
            "stats": stats(snapshot.shards()), "indices": indices,
        })
    }
}
