//! Responses about the common backups of Operate and Tasklist, since 8.8.
//!
//! Owns their bodies, taken from the documents; there are no recordings. Must not know the broker.

use crate::camunda::{Method, Response};
use crate::sim::model::cluster::Cluster;
use crate::sim::model::config::Storage;
use crate::sim::model::importer::App;
use crate::sim::model::indices::matches;
use crate::sim::model::snapshots::{Snapshot, SnapshotState};
use crate::sim::model::webapps::{WebAppRefusal, WebAppState};
use crate::sim::wire::{JSON, WireRequest, empty_response, json_response};
use serde_json::{Value, json};

/// Reason for a failed request about the history's backups.
pub(crate) enum HistoryRefusal {
    /// Invalid id.
    BadId(String),
    /// The id exists, or another backup is running.
    Conflict(String),
    /// No such backup.
    Unknown(String),
    /// The repository is not registered.
    NoRepository(String),
    /// The search engine does not respond.
    Unreachable(String),
}

impl HistoryRefusal {
    fn at_the_actuator(self) -> Response {
        let (status, text) = match self {
            Self::BadId(text) | Self::Conflict(text) => (400, text),
            Self::Unknown(text) | Self::NoRepository(text) => (404, text),
            Self::Unreachable(text) => (502, text),
        };
        json_response(status, JSON, &json!({"message": text}))
    }
}

impl Cluster {
    /// A request to `backupHistory`; `path` is the remaining path.
    pub(crate) fn history(&mut self, request: &WireRequest, path: &str, rest: &str) -> Response {
        let id = path.strip_prefix('/');
        let done = match (request.method, id) {
            (Method::Post, None) => match self.requested_history(request, rest) {
                Ok(id) => self.take_history(id).map(|names| {
                    let names = json!({"scheduledSnapshots": names});
                    json_response(200, JSON, &names)
                }),
                Err(response) => return response,
            },
            (Method::Get, None) => {
                let verbose = request.parameter("verbose").as_deref() != Some("false");
                let pattern = request.parameter("pattern").unwrap_or_else(|| "*".into());
                let list = self.list_history(&pattern, |c, id, parts| c.history_body(id, parts, verbose));
                list.map(|list| json_response(200, JSON, &list))
            }
            (Method::Get | Method::Delete, Some(text)) => {
                let Ok(id) = text.parse::<i64>() else { return self.spring_error(400, None, rest) };
                if request.method == Method::Delete {
                    self.drop_history(id).map(|()| empty_response(204))
                } else {
                    let body = self.one_history(id, |c, parts| c.history_body(id, parts, true));
                    body.map(|body| json_response(200, JSON, &body))
                }
            }
            _ => return self.spring_error(405, None, rest),
        };
        done.unwrap_or_else(HistoryRefusal::at_the_actuator)
    }

    fn requested_history(&self, request: &WireRequest, rest: &str) -> Result<i64, Response> {
        if !request.is_json() {
            return Err(self.spring_error(415, None, rest));
        }
        let body = serde_json::from_slice::<Value>(&request.body);
        let body = body.map_err(|_| self.spring_error(400, None, rest))?;
        match body.get("backupId").and_then(Value::as_i64) {
            Some(id) if id >= 0 => Ok(id),
            Some(id) => {
                let text = format!("BackupId must be a non-negative Long. Received value: {id}");
                Err(HistoryRefusal::BadId(text).at_the_actuator())
            }
            None => Err(HistoryRefusal::BadId("BackupId must be provided".into()).at_the_actuator()),
        }
    }

    /// Starts a backup and returns the names of its snapshots.
    pub(crate) fn take_history(&mut self, id: i64) -> Result<Vec<String>, HistoryRefusal> {
        self.begin_app_backup(App::History, id).map_err(|refusal| match refusal {
            WebAppRefusal::Exists(found) => HistoryRefusal::Conflict(format!(
                "A backup with ID [{id}] already exists. Found snapshots: [{}]",
                found.join(", ")
            )),
            WebAppRefusal::Busy => HistoryRefusal::Conflict("Another backup is running at the moment".into()),
            WebAppRefusal::SearchDown => self.history_unreachable(),
            WebAppRefusal::NoRepository | WebAppRefusal::StateUnreadable | WebAppRefusal::Absent => {
                self.history_repository_missing()
            }
        })
    }

    /// The backups with a matching id, newest first.
    pub(crate) fn list_history(
        &self,
        pattern: &str,
        body: impl Fn(&Self, i64, &[&Snapshot]) -> Value,
    ) -> Result<Value, HistoryRefusal> {
        if self.search_down {
            return Err(self.history_unreachable());
        }
        let ids = self.app_backup_ids(App::History).map_err(|_| self.history_repository_missing())?;
        let wanted = ids.into_iter().filter(|id| matches(pattern, &id.to_string()));
        Ok(wanted.map(|id| body(self, id, &self.parts_taken(App::History, id).unwrap_or_default())).collect())
    }

    /// One backup.
    pub(crate) fn one_history(
        &self,
        id: i64,
        body: impl Fn(&Self, &[&Snapshot]) -> Value,
    ) -> Result<Value, HistoryRefusal> {
        Ok(body(self, &self.found_history(id)?))
    }

    /// Starts the deletion of a backup.
    pub(crate) fn drop_history(&mut self, id: i64) -> Result<(), HistoryRefusal> {
        self.found_history(id)?;
        self.delete_app_backup(App::History, id).map_err(|_| self.history_repository_missing())
    }

    fn found_history(&self, id: i64) -> Result<Vec<&Snapshot>, HistoryRefusal> {
        if self.search_down {
            return Err(self.history_unreachable());
        }
        let parts = self.parts_taken(App::History, id).map_err(|_| self.history_repository_missing())?;
        if parts.is_empty() {
            return Err(HistoryRefusal::Unknown(format!("No backup with id [{id}] found.")));
        }
        Ok(parts)
    }

    fn history_body(&self, id: i64, parts: &[&Snapshot], verbose: bool) -> Value {
        let details: Vec<Value> = (parts.iter())
            .map(|s| {
                let failures = history_failures(s);
                let failures = match (self.config.storage, failures.is_empty()) {
                    (Storage::OpenSearch, true) => Value::Null,
                    _ => failures.into(),
                };
                let time = self.shown(s.started).format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string();
                json!({
                    "snapshotName": s.name,
                    "state": verbose.then(|| s.state.wire()),
                    "startTime": verbose.then_some(time),
                    "failures": failures,
                })
            })
            .collect();
        let (state, reason) = self.history_state(parts, verbose);
        json!({"backupId": id, "state": state, "failureReason": reason, "details": details})
    }

    /// State of a backup; without `verbose` the states of its parts are unavailable.
    pub(crate) fn history_state(&self, parts: &[&Snapshot], verbose: bool) -> (&'static str, Option<String>) {
        // Without `verbose` the states of the parts are unknown, so the backup is reported as incomplete.
        let state = if verbose { self.app_state(App::History, parts) } else { WebAppState::Incomplete };
        if state != WebAppState::Failed {
            return (state.wire(), None);
        }
        let partial = parts.iter().filter(|s| s.state == SnapshotState::Partial);
        let names: Vec<&str> = partial.map(|s| s.name.as_str()).collect();
        let reason = if names.is_empty() {
            "More snapshots found than expected.".to_owned()
        } else {
            format!("There were failures with the following snapshots: {}", names.join(", "))
        };
        (state.wire(), Some(reason))
    }

    fn history_repository_missing(&self) -> HistoryRefusal {
        let name = &self.config.repository;
        HistoryRefusal::NoRepository(format!("No repository with name [{name}] could be found."))
    }

    fn history_unreachable(&self) -> HistoryRefusal {
        let name = &self.config.repository;
        HistoryRefusal::Unreachable(format!(
            "Encountered an error connecting to the secondary storage while searching for snapshots. Repository \
             name: [{name}]."
        ))
    }
}

/// Failures of a part.
pub(crate) fn history_failures(part: &Snapshot) -> Vec<String> {
    part.failed.iter().map(|index| format!("shard failed in {index}")).collect()
}
