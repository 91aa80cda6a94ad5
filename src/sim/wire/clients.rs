//! Commands of process clients at the REST port, and searches in the documents of exporters and web apps.
//!
//! Owns the commands and searches that `tests/jobs/own_cluster` sends: start an instance, activate and
//! complete jobs, complete a user task, cancel, search, count. They exist from 8.6 on, in the versions with
//! importing web apps. Every instance has one step; the variable `path` of its creation selects it. Instances
//! of the background load have a step that no client can complete. The commands and documents of the real
//! cluster have more fields than these.

use crate::camunda::{Method, Response};
use crate::sim::model::client_work::Step;
use crate::sim::model::cluster::Cluster;
use crate::sim::model::content::Content;
use crate::sim::model::history::{Intent, Record, Value as Kind};
use crate::sim::model::importer::{App, Slot};
use crate::sim::model::indices::matches;
use crate::sim::wire::{JSON, WireRequest, empty_response, json_response, problem};
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// One document, with its fields by their dotted names.
struct Document {
    index: String,
    fields: Map<String, Value>,
}

impl Document {
    fn new(index: String, fields: Value) -> Self {
        let fields = if let Value::Object(fields) = fields { fields } else { Map::new() };
        Self { index, fields }
    }

    /// Whether it matches a query of `match_all`, `term`, `terms` and `bool.filter`; other queries match
    /// nothing.
    fn fits(&self, query: &Value) -> bool {
        let one = |clause: &Value| {
            clause.as_object().and_then(|c| c.iter().next().map(|(k, v)| (k.clone(), v.clone())))
        };
        match one(query) {
            Some((kind, _)) if kind == "match_all" => true,
            Some((kind, body)) if kind == "term" => {
                one(&body).is_some_and(|(field, wanted)| self.fields.get(&field) == Some(&wanted))
            }
            Some((kind, body)) if kind == "terms" => one(&body).is_some_and(|(field, wanted)| {
                let wanted = wanted.as_array().map_or(&[][..], Vec::as_slice);
                self.fields.get(&field).is_some_and(|value| wanted.contains(value))
            }),
            Some((kind, body)) if kind == "bool" => {
                body["filter"].as_array().is_some_and(|all| all.iter().all(|clause| self.fits(clause)))
            }
            _ => false,
        }
    }

    fn hit(&self, wanted: &[Value]) -> Value {
        let fields = wanted.iter().filter_map(Value::as_str);
        let fields: Map<String, Value> = fields
            .filter_map(|name| self.fields.get(name).map(|value| (name.to_owned(), json!([value]))))
            .collect();
        json!({"_index": self.index, "_score": null, "fields": fields})
    }
}

/// Page size if the request has none.
const PAGE: usize = 10;

impl Cluster {
    /// Executes a client's command; `None` if the path is not a command.
    pub(crate) fn client_command(&mut self, request: &WireRequest, rest: &str) -> Option<Response> {
        let imports = self.world.apps.contains_key(&App::Operate);
        if request.method != Method::Post || self.config.version.minor < 6 || !imports {
            return None;
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let found = match rest.split('/').skip(1).collect::<Vec<_>>().as_slice() {
            ["v2", "deployments"] => return Some(json_response(200, JSON, &json!({"deployments": []}))),
            ["v2", "process-instances"] => {
                let instance = self.start_instance(body["variables"]["path"].as_str().unwrap_or_default());
                return Some(json_response(
                    200,
                    JSON,
                    &json!({
                        "processDefinitionId": body["processDefinitionId"], "processDefinitionVersion": 1,
                        "processInstanceKey": instance, "tenantId": "<default>",
                    }),
                ));
            }
            ["v2", "jobs", "activation"] => {
                let jobs = self.activate_jobs(&body);
                return Some(json_response(200, JSON, &json!({"jobs": jobs})));
            }
            ["v2", "jobs", key, "completion"] => self.complete_job(key, |step| step.job_type().is_some()),
            ["v2", "user-tasks", key, "completion"] => self.complete_job(key, |step| step == Step::Approve),
            ["v2", "process-instances", key, "cancellation"] => {
                key.parse().is_ok_and(|instance| self.complete_instance(instance))
            }
            _ => return None,
        };
        let missing = "Command rejected with code 'NOT_FOUND': no such key";
        Some(if found { empty_response(204) } else { problem(404, "NOT_FOUND", missing, rest) })
    }

    /// Deletes the data of brokers and search engine; repositories, the backup store and the names of indices
    /// stay.
    pub(crate) fn lose(&mut self) {
        self.restore_in_place(&[]);
        self.client_work.activated.clear();
    }

    fn start_instance(&mut self, path: &str) -> u64 {
        let index = self.random.below(self.world.partitions.len() as u64) as usize;
        let Some(partition) = self.world.partitions.get_mut(index) else { return 0 };
        self.world.started += 1;
        let instance = partition.create();
        match Step::of(path) {
            Some(step) => self.client_work.steps.insert(instance, step),
            None => self.client_work.steps.remove(&instance),
        };
        instance
    }

    fn activate_jobs(&mut self, body: &Value) -> Vec<Value> {
        let wanted = body["type"].as_str();
        let most = body["maxJobsToActivate"].as_u64().unwrap_or(1) as usize;
        let until = self.now + TimeDelta::milliseconds(body["timeout"].as_i64().unwrap_or(0));
        let live = self.world.partitions.iter().flat_map(|partition| &partition.state.live);
        let steps = &self.client_work.steps;
        let free = live.filter(|(instance, job)| {
            let of_type =
                steps.get(instance).and_then(|step| step.job_type()).is_some_and(|t| Some(t) == wanted);
            of_type && self.client_work.activated.get(job).is_none_or(|end| *end <= self.now)
        });
        let jobs: Vec<(u64, u64)> = free.take(most).map(|(instance, job)| (*instance, *job)).collect();
        self.client_work.activated.extend(jobs.iter().map(|(_, job)| (*job, until)));
        let body = |(instance, job): &(u64, u64)| json!({"jobKey": job, "key": job, "processInstanceKey": instance, "type": wanted});
        jobs.iter().map(body).collect()
    }

    fn complete_job(&mut self, key: &str, fits: impl Fn(Step) -> bool) -> bool {
        let Ok(job) = key.parse::<u64>() else { return false };
        let live = self.world.partitions.iter().flat_map(|partition| &partition.state.live);
        let waiting = live.filter(|(_, other)| **other == job).map(|(instance, _)| *instance).next();
        let fits = |instance: &u64| self.client_work.steps.get(instance).is_some_and(|step| fits(*step));
        waiting.filter(fits).is_some_and(|instance| self.complete_instance(instance))
    }

    /// `_search`, `_count` and `_refresh` of the matching indices.
    pub(crate) fn search_documents(&self, request: &WireRequest, pattern: &str, verb: &str) -> Response {
        let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let shards = json!({"total": 1, "successful": 1, "skipped": 0, "failed": 0});
        match verb {
            "_refresh" => self.found(&json!({"_shards": shards})),
            "_count" => {
                let count = self.documents(pattern).iter().filter(|d| d.fits(&body["query"])).count();
                self.found(&json!({"count": count, "_shards": shards}))
            }
            _ => {
                let size = request.parameter("size").and_then(|size| size.parse::<usize>().ok());
                body["size"] = body["size"].as_u64().unwrap_or(size.unwrap_or(PAGE) as u64).into();
                body["pattern"] = pattern.into();
                self.page(&body, 0)
            }
        }
    }

    /// The next page of a search; its scroll id contains the whole search.
    pub(crate) fn scroll(&self, request: &WireRequest) -> Response {
        if request.method == Method::Delete {
            return self.found(&json!({"succeeded": true, "num_freed": 1}));
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let search: Value =
            body["scroll_id"].as_str().and_then(|id| serde_json::from_str(id).ok()).unwrap_or_default();
        self.page(&search, search["from"].as_u64().unwrap_or(0) as usize)
    }

    fn page(&self, search: &Value, from: usize) -> Response {
        let fields = search["docvalue_fields"].as_array().map_or(&[][..], Vec::as_slice);
        let size = search["size"].as_u64().unwrap_or(0) as usize;
        let all = self.documents(search["pattern"].as_str().unwrap_or_default());
        let fits: Vec<&Document> = all.iter().filter(|d| d.fits(&search["query"])).collect();
        let hits: Vec<Value> = fits.iter().skip(from).take(size).map(|d| d.hit(fields)).collect();
        let mut next = search.clone();
        next["from"] = (from + hits.len()).into();
        self.found(&json!({
            "_scroll_id": next.to_string(), "timed_out": false,
            "hits": {"total": {"value": fits.len(), "relation": "eq"}, "hits": hits},
        }))
    }

    fn documents(&self, pattern: &str) -> Vec<Document> {
        let wanted = |index: &str| pattern.split(',').any(|pattern| matches(pattern, index));
        let mut documents = self.record_documents();
        documents.extend(self.instance_documents());
        documents.extend(self.task_documents());
        documents.retain(|document| wanted(&document.index));
        documents
    }

    fn record_documents(&self) -> Vec<Document> {
        let mut documents = Vec::new();
        let day = self.now.date_naive().format("%Y-%m-%d");
        for (index, content) in self.world.records.iter().enumerate() {
            let partition = index as u64 + 1;
            documents.extend(self.written_records(index, content).map(|record| {
                let name = record.value.index_part();
                let process = record.value == Kind::ProcessInstance;
                let intent = match (process, record.intent) {
                    (true, Intent::Created) => "ELEMENT_ACTIVATED",
                    (true, Intent::Completed) => "ELEMENT_COMPLETED",
                    (false, Intent::Created) => "CREATED",
                    (false, Intent::Completed) => "COMPLETED",
                };
                let mut fields = json!({
                    "position": record.position, "partitionId": partition, "intent": intent,
                    "valueType": name.replace('-', "_").to_uppercase(),
                    "sequence": (partition << 51) + u64::from(record.sequence),
                    "value.processInstanceKey": record.instance,
                });
                if process {
                    fields["value.bpmnElementType"] = "PROCESS".into();
                }
                Document::new(format!("zeebe-record_{name}_{}_{day}", self.config.version), fields)
            }));
        }
        documents
    }

    /// Process instances as Operate lists them.
    fn instance_documents(&self) -> Vec<Document> {
        let listed = self.shown_by(App::Operate, Kind::ProcessInstance);
        let document = |(instance, ended): (u64, bool)| {
            let state = if ended { "COMPLETED" } else { "ACTIVE" };
            let fields = json!({"joinRelation": "processInstance", "key": instance, "state": state});
            Document::new("operate-list-view-8.3.0_".to_owned(), fields)
        };
        listed.into_iter().map(document).collect()
    }

    /// User tasks as Tasklist lists them.
    fn task_documents(&self) -> Vec<Document> {
        let mut listed = self.shown_by(App::Tasklist, Kind::Job);
        listed.retain(|instance, _| self.client_work.steps.get(instance) == Some(&Step::Approve));
        let document = |(instance, ended): (u64, bool)| {
            let state = if ended { "COMPLETED" } else { "CREATED" };
            // An instance and its job have consecutive keys.
            let fields = json!({
                "key": instance + 1, "processInstanceId": instance, "flowNodeBpmnId": "approve", "state": state,
            });
            Document::new("tasklist-task-8.5.0_".to_owned(), fields)
        };
        listed.into_iter().map(document).collect()
    }

    /// Instances in the documents of a web app; true if the element of this kind has ended.
    fn shown_by(&self, app: App, kind: Kind) -> BTreeMap<u64, bool> {
        let mut listed = BTreeMap::new();
        let Some(imported) = self.world.apps.get(&app) else { return listed };
        for index in 0..self.world.partitions.len() {
            let Some(content) = imported.documents(Slot::Main, index) else { continue };
            for record in self.written_records(index, content).filter(|record| record.value == kind) {
                let ended = listed.entry(record.instance).or_default();
                *ended |= record.intent == Intent::Completed;
            }
        }
        listed
    }

    fn written_records<'a>(&'a self, index: usize, content: &'a Content) -> impl Iterator<Item = &'a Record> {
        let histories = self.world.partitions.get(index).map(|partition| &partition.histories);
        content.spans().iter().flat_map(move |span| {
            histories.map_or(&[][..], |histories| histories.own(span.timeline, span.from, span.to))
        })
    }
}
