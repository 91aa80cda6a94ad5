//! A minimal cluster with backups: brokers, Operate, Tasklist and a snapshot repository. It responds to the requests that
//! probe, list and delete. Durations follow the clock of the test.

use camunda_backupd::camunda::{Method, Request, Response, Transport, TransportError};
use camunda_backupd::clock::SharedClock;
use camunda_backupd::domain::Instant;
use camunda_backupd::domain::OwnershipTag;
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub(super) const PARTS: u32 = 3;

/// One backup of Zeebe or one snapshot.
#[derive(Clone, Debug)]
pub(super) struct Thing {
    /// `zeebe` or the repository.
    pub home: String,
    /// Id of a Zeebe backup, or name of a snapshot.
    pub name: String,
    /// Final state.
    pub state: String,
    pub created: Instant,
    pub metadata: Value,
    pub appears_at: Duration,
    pub ends_at: Duration,
    pub gone_at: Option<Duration>,
    /// DELETE is accepted without effect.
    pub stuck: bool,
}

#[derive(Default)]
pub(super) struct Inside {
    pub things: Vec<Thing>,
    /// `DELETE operate/actuator/backups/7`, in the order of arrival.
    pub requests: Vec<String>,
    /// Hosts that refuse connections.
    pub down: BTreeSet<String>,
    /// The client is killed after this number of requests. The last request takes effect only with `dies_after_acting`, and
    /// gets no response.
    pub dies_at: Option<usize>,
    pub dies_after_acting: bool,
    /// Hosts that never respond.
    pub silent: BTreeSet<String>,
    /// Operate responds 400 during a part.
    pub operate_on_opensearch: bool,
}

pub(super) struct Cluster {
    clock: SharedClock,
    inside: Mutex<Inside>,
}

impl Cluster {
    pub(super) fn new(clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { clock, inside: Mutex::default() })
    }

    pub(super) fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap()
    }

    /// Adds a backup or snapshot that exists and has ended.
    pub(super) fn put(&self, home: &str, name: &str, state: &str) -> usize {
        let now = self.clock.monotonic();
        let mut inside = self.inside();
        inside.things.push(Thing {
            home: home.into(),
            name: name.into(),
            state: state.into(),
            created: self.clock.now(),
            metadata: Value::Null,
            appears_at: now,
            ends_at: now,
            gone_at: None,
            stuck: false,
        });
        inside.things.len() - 1
    }

    /// Adds a complete backup; parts of apps and records are snapshots in repository `camunda`.
    pub(super) fn put_backup(&self, id: i64, tag: Option<OwnershipTag>) {
        self.put("zeebe", &id.to_string(), "COMPLETED");
        for app in ["operate", "tasklist"] {
            for part in 1..=PARTS {
                self.put("camunda", &part_name(app, id, part), "SUCCESS");
            }
        }
        let records = self.put("camunda", &records_name(id), "SUCCESS");
        self.inside().things[records].metadata = tag.map_or(Value::Null, |tag| tag.metadata());
    }

    /// Applies `change` to every entry with `id` in its name and the prefix `beginning`.
    pub(super) fn change(&self, id: i64, beginning: &str, change: impl Fn(&mut Thing)) {
        let mut changed = 0;
        for thing in &mut self.inside().things {
            if numbers(&thing.name).contains(&id) && thing.name.starts_with(beginning) {
                change(thing);
                changed += 1;
            }
        }
        assert!(changed > 0, "nothing named {beginning}…{id}");
    }

    pub(super) fn remove(&self, id: i64, beginning: &str) {
        let now = self.clock.monotonic();
        self.change(id, beginning, |thing| thing.gone_at = Some(now));
    }

    /// Names of all entries of this id that exist or will exist.
    pub(super) fn left(&self, id: i64) -> Vec<String> {
        let now = self.clock.monotonic();
        let inside = self.inside();
        let of = inside.things.iter().filter(|t| numbers(&t.name).contains(&id));
        of.filter(|t| t.gone_at.is_none_or(|at| at > now)).map(|t| t.name.clone()).collect()
    }

    pub(super) fn deletes(&self) -> Vec<String> {
        self.inside().requests.iter().filter_map(|r| r.strip_prefix("DELETE ")).map(str::to_owned).collect()
    }

    pub(super) fn forget_requests(&self) {
        self.inside().requests.clear();
    }

    fn response(&self, host: &str, method: Method, path: &str) -> (u16, Value) {
        let now = self.clock.monotonic();
        let mut inside = self.inside();
        let on_opensearch = inside.operate_on_opensearch;
        let things = &mut inside.things;
        let path = path.split('?').next().unwrap_or_default();
        let last = path.rsplit('/').next().unwrap_or_default();
        match (host, method) {
            ("zeebe" | "operate" | "tasklist", Method::Get) if path == "/actuator/backups" => {
                let ids: BTreeSet<i64> =
                    things.iter().filter(|t| t.is_of(host)).filter_map(Thing::id).collect();
                let shown = |id: i64| show(things, host, id, now, on_opensearch);
                let all: Vec<(u16, Value)> =
                    ids.into_iter().map(shown).filter(|(status, _)| *status != 404).collect();
                match all.iter().find(|(status, _)| *status != 200) {
                    Some(unclear) => unclear.clone(),
                    None => (200, all.into_iter().map(|(_, body)| body).collect()),
                }
            }
            ("zeebe", Method::Get) if path == "/actuator" => (
                200,
                json!({ "_links": { "self": { "href": "/actuator" }, "backups": { "href": "/actuator/backups" } } }),
            ),
            ("zeebe" | "operate" | "tasklist", Method::Get) => {
                show(things, host, last.parse().unwrap(), now, on_opensearch)
            }
            ("zeebe", Method::Delete) => {
                for thing in things.iter_mut().filter(|t| t.is_of(host) && t.name == last && t.ends_at <= now)
                {
                    thing.delete(now);
                }
                (204, Value::Null)
            }
            ("operate" | "tasklist", Method::Delete) => {
                let id: i64 = last.parse().unwrap();
                for thing in
                    things.iter_mut().filter(|t| t.is_of(host) && t.id() == Some(id) && t.exists(now))
                {
                    thing.delete(now + Duration::from_millis(300));
                }
                (204, Value::Null)
            }
            ("search", Method::Get) => {
                let repository = path.split('/').nth(2).unwrap();
                let fits = |t: &&Thing| match last.strip_suffix('*') {
                    Some(beginning) => t.name.starts_with(beginning),
                    None => t.name == last,
                };
                let found: Vec<Value> = things
                    .iter()
                    .filter(|t| t.home == repository && t.exists(now))
                    .filter(fits)
                    .map(|t| t.snapshot(now))
                    .collect();
                if found.is_empty() { missing(last) } else { (200, json!({ "snapshots": found })) }
            }
            ("search", Method::Delete) => {
                let found = things.iter_mut().find(|t| t.home != "zeebe" && t.name == last && t.exists(now));
                let Some(thing) = found else { return missing(last) };
                thing.delete(now);
                (200, json!({ "acknowledged": true }))
            }
            _ => panic!("nobody answers {method:?} {host}{path}"),
        }
    }
}

impl Thing {
    fn exists(&self, now: Duration) -> bool {
        self.appears_at <= now && self.gone_at.is_none_or(|at| at > now)
    }

    fn is_of(&self, host: &str) -> bool {
        if host == "zeebe" { self.home == host } else { self.name.starts_with(&format!("camunda_{host}_")) }
    }

    fn id(&self) -> Option<i64> {
        numbers(&self.name).first().copied()
    }

    fn state(&self, now: Duration) -> &str {
        if self.ends_at > now { "IN_PROGRESS" } else { &self.state }
    }

    fn delete(&mut self, at: Duration) {
        if !self.stuck && self.gone_at.is_none_or(|gone| gone > at) {
            self.gone_at = Some(at);
        }
    }

    fn snapshot(&self, now: Duration) -> Value {
        json!({
            "snapshot": self.name,
            "state": self.state(now),
            "indices": ["zeebe-record_process-instance_8.6.0_2026-11-23"],
            "shards": { "total": 4, "failed": 0, "successful": 4 },
            "failures": [],
            "start_time_in_millis": self.created.timestamp_millis(),
            "metadata": self.metadata,
        })
    }
}

fn show(things: &[Thing], host: &str, id: i64, now: Duration, on_opensearch: bool) -> (u16, Value) {
    let parts: Vec<&Thing> =
        things.iter().filter(|t| t.is_of(host) && t.id() == Some(id) && t.exists(now)).collect();
    if parts.is_empty() {
        let text = if host == "zeebe" {
            "Backup with id {} does not exist"
        } else {
            "No backup with id [{}] found."
        };
        return (404, json!({ "message": text.replace("{}", &id.to_string()) }));
    }
    let running = parts.iter().any(|t| t.state(now) == "IN_PROGRESS");
    if host == "zeebe" {
        let part = |t: &Thing| json!({ "partitionId": 1, "state": t.state(now), "createdAt": t.created });
        let details: Vec<Value> = parts.iter().map(|t| part(t)).collect();
        return (200, json!({ "backupId": id, "state": parts[0].state(now), "details": details }));
    }
    if host == "operate" && on_opensearch && running {
        let text = format!("Exception occurred when searching for backup with ID [{id}].");
        return (400, json!({ "status": 400, "message": text }));
    }
    let state = match parts.len() as u32 {
        _ if running => "IN_PROGRESS",
        PARTS if parts.iter().all(|t| t.state == "SUCCESS") => "COMPLETED",
        _ => "INCOMPLETE",
    };
    let part = |t: &Thing| {
        let started = t.created.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string();
        json!({ "snapshotName": t.name, "state": t.state(now), "startTime": started, "failures": null })
    };
    let details: Vec<Value> = parts.iter().map(|t| part(t)).collect();
    (200, json!({ "backupId": id, "state": state, "failureReason": null, "details": details }))
}

fn missing(name: &str) -> (u16, Value) {
    let error =
        json!({ "type": "snapshot_missing_exception", "reason": format!("[camunda:{name}] is missing") });
    (404, json!({ "error": error, "status": 404 }))
}

fn numbers(name: &str) -> Vec<i64> {
    name.split('_').filter_map(|word| word.parse().ok()).collect()
}

pub(super) fn part_name(app: &str, id: i64, part: u32) -> String {
    format!("camunda_{app}_{id}_8.6.0_part_{part}_of_{PARTS}")
}

pub(super) fn records_name(id: i64) -> String {
    format!("camunda_zeebe_records_backup_{id}")
}

impl Transport for Cluster {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let url = request.url.strip_prefix("http://").unwrap().to_owned();
        let (host, path) = url.split_once('/').unwrap();
        let (host, path) = (host.to_owned(), format!("/{path}"));
        let (count, dies_at, acting, down, silent) = {
            let mut inside = self.inside();
            inside.requests.push(format!("{} {url}", format!("{:?}", request.method).to_uppercase()));
            let (down, silent) = (inside.down.contains(&host), inside.silent.contains(&host));
            (inside.requests.len(), inside.dies_at, inside.dies_after_acting, down, silent)
        };
        Box::pin(async move {
            if down {
                return Err(TransportError::NotSent(format!("connection to {host} refused")));
            }
            if silent {
                return futures::future::pending().await;
            }
            if dies_at.is_some_and(|at| count >= at) {
                if acting && dies_at == Some(count) {
                    self.response(&host, request.method, &path);
                }
                return futures::future::pending().await;
            }
            let (status, body) = self.response(&host, request.method, &path);
            let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
            Ok(Response { status, content_type: "application/json".into(), body, ..Response::default() })
        })
    }
}
