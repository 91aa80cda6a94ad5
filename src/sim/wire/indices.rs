//! Responses of the search engine about indices.
//!
//! Owns listing, counting and creation of indices. Must not know snapshots.

use crate::camunda::Response;
use crate::sim::model::cluster::Cluster;
use crate::sim::model::indices::{Index, matches};
use crate::sim::wire::WireRequest;
use serde_json::{Value, json};

impl Cluster {
    /// Indices that match a pattern; a name without wildcard that matches none is an error.
    fn indices_matching(&self, pattern: &str) -> Result<Vec<Index>, Response> {
        let all = self.indices();
        let patterns: Vec<&str> = pattern.split(',').collect();
        let hit = |name: &str, index: &Index| name == "_all" || matches(name, &index.name);
        if let Some(name) = patterns.iter().find(|p| !p.contains('*') && !all.iter().any(|i| hit(p, i))) {
            return Err(self.no_such_index(name));
        }
        Ok(all.into_iter().filter(|i| patterns.iter().any(|p| hit(p, i))).collect())
    }

    pub(crate) fn cat_indices(&self, request: &WireRequest, pattern: &str) -> Response {
        let found = match self.indices_matching(pattern) {
            Ok(found) => found,
            Err(response) => return response,
        };
        let columns = request.parameter("h").unwrap_or_else(|| "health,status,index,uuid,pri,rep".into());
        let cell = |index: &Index, column: &str| match column {
            "health" | "h" => if index.assigned { "green" } else { "red" }.to_owned(),
            "status" | "s" => "open".to_owned(),
            "index" | "i" | "idx" | "uuid" | "id" => index.name.clone(),
            "pri" | "p" => index.shards.to_string(),
            "rep" | "r" => "0".to_owned(),
            _ => String::new(),
        };
        if request.parameter("format").as_deref() == Some("json") {
            let row = |index: &Index| {
                let cells = columns.split(',').map(|c| (c.to_owned(), Value::String(cell(index, c))));
                Value::Object(cells.collect())
            };
            return self.found(&found.iter().map(row).collect());
        }
        let row =
            |index: &Index| columns.split(',').map(|c| cell(index, c)).collect::<Vec<_>>().join(" ") + "\n";
        let body = found.iter().map(row).collect::<String>().into_bytes();
        Response { status: 200, content_type: "text/plain; charset=UTF-8".into(), body, ..Default::default() }
    }

    pub(crate) fn cluster_health(&self) -> Response {
        let status = if self.indices().iter().all(|i| i.assigned) { "green" } else { "red" };
        self.found(&json!({"cluster_name": self.config.name, "status": status, "timed_out": false, "number_of_nodes": 1}))
    }

    pub(crate) fn resolve_indices(&self, pattern: &str) -> Response {
        match self.indices_matching(pattern) {
            Ok(found) => {
                let indices: Vec<Value> =
                    found.iter().map(|i| json!({"name": i.name, "attributes": ["open"]})).collect();
                self.found(&json!({"indices": indices, "aliases": [], "data_streams": []}))
            }
            Err(response) => response,
        }
    }

    pub(crate) fn count(&self, pattern: &str) -> Response {
        match self.indices_matching(pattern) {
            Ok(found) => {
                let shards: u64 = found.iter().map(|i| i.shards).sum();
                let records = found.iter().any(|i| i.name.starts_with("zeebe-record"));
                let count = if records { self.exported_records() } else { 0 };
                let shards = json!({"total": shards, "successful": shards, "skipped": 0, "failed": 0});
                self.found(&json!({"count": count, "_shards": shards}))
            }
            Err(response) => response,
        }
    }

    pub(crate) fn see_indices(&self, pattern: &str) -> Response {
        match self.indices_matching(pattern) {
            Ok(found) => {
                let body = |i: &Index| {
                    let settings = json!({"index": {"number_of_shards": i.shards.to_string()}});
                    (i.name.clone(), json!({"aliases": {}, "mappings": {}, "settings": settings}))
                };
                self.found(&Value::Object(found.iter().map(body).collect()))
            }
            Err(response) => response,
        }
    }

    pub(crate) fn create_index(&mut self, request: &WireRequest, name: &str) -> Response {
        // An allocation rule that no node meets leaves the primary unassigned.
        let nowhere = String::from_utf8_lossy(&request.body).contains("routing.allocation.require");
        self.extra_indices.push(Index { assigned: !nowhere, ..Index::healthy(name, 1) });
        self.found(&json!({"acknowledged": true, "shards_acknowledged": true, "index": name}))
    }

    pub(crate) fn delete_index(&mut self, name: &str) -> Response {
        let before = self.extra_indices.len();
        self.extra_indices.retain(|i| !matches(name, &i.name));
        if self.extra_indices.len() == before {
            return self.no_such_index(name);
        }
        self.found(&json!({"acknowledged": true}))
    }
}
