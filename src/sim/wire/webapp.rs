//! Responses of Operate, Tasklist and Optimize.
//!
//! Owns their paths, bodies and peculiarities, as recorded from a real 8.6.0 on OpenSearch; Optimize's follow
//! its documents. Must not know the broker.

use crate::camunda::{Method, Response};
use crate::sim::model::cluster::Cluster;
use crate::sim::model::importer::App;
use crate::sim::model::snapshots::{Snapshot, SnapshotState};
use crate::sim::model::webapps::WebAppRefusal;
use crate::sim::wire::broker::links;
use crate::sim::wire::{ACTUATOR, Acted, JSON, PROBLEM, WireRequest, empty_response, json_response};
use serde_json::{Value, json};
use std::time::Duration;

/// Delay of Tasklist's health response while the search engine is down.
const HEALTH_HANGS: Duration = Duration::from_mins(2);

impl Cluster {
    /// A request to a web app's management port.
    pub(crate) fn web_app(&mut self, app: App, request: &WireRequest, rest: &str) -> Acted {
        let actuator = |body: &Value| json_response(200, ACTUATOR, body);
        let response = match (request.method, rest.strip_prefix("/actuator").unwrap_or("/")) {
            (Method::Get, "") => actuator(&links(&["health", "info", "backups"])),
            (Method::Get, "/info") => actuator(&self.build_info()),
            (Method::Get, "/health") => return self.app_health(app),
            (Method::Get, "/health/liveness") => actuator(&json!({"status": "UP"})),
            (Method::Get, "/health/readiness") => actuator(&json!({
                "status": "UP",
                "components": {health_check(app): {"status": "UP"}, "readinessState": {"status": "UP"}},
            })),
            (Method::Post, "/backups") => self.take_app_backup(app, request, rest),
            (Method::Get, "/backups") => self.list_app_backups(app),
            (_, "/backups") => self.spring_error(405, None, rest),
            (method, path) => match path.strip_prefix("/backups/") {
                Some(id) if !id.is_empty() && !id.contains('/') => match method {
                    Method::Get | Method::Delete => self.one_app_backup(app, method, id, rest),
                    _ => self.spring_error(405, None, rest),
                },
                _ => self.spring_error(404, None, rest),
            },
        };
        styled(app, response).into()
    }

    fn app_health(&self, app: App) -> Acted {
        let check = health_check(app);
        let status = if self.search_down { "DOWN" } else { "UP" };
        let body = json!({
            "status": status,
            "components": {
                check: {"status": status}, "livenessState": {"status": "UP"}, "readinessState": {"status": "UP"},
            },
            "groups": ["liveness", "readiness"],
        });
        let response = json_response(if self.search_down { 503 } else { 200 }, ACTUATOR, &body);
        if self.search_down && app == App::Tasklist {
            Acted::Slow(HEALTH_HANGS, response)
        } else {
            response.into()
        }
    }

    fn take_app_backup(&mut self, app: App, request: &WireRequest, rest: &str) -> Response {
        let id = match self.requested_id(app, request, rest) {
            Ok(id) => id,
            Err(response) => return response,
        };
        match self.begin_app_backup(app, id) {
            Ok(_) if app == App::Optimize => {
                let text = format!(
                    "Backup creation for ID {id} has been scheduled. Use the GET API to monitor completion of backup process"
                );
                json_response(202, JSON, &json!({"message": text}))
            }
            Ok(names) => json_response(200, JSON, &json!({"scheduledSnapshots": names})),
            Err(WebAppRefusal::Exists(found)) => {
                let shown: Vec<&str> = found
                    .iter()
                    .map(|s| if app == App::Operate { s.rsplit('/').next().unwrap_or(s) } else { s })
                    .collect();
                let text = format!(
                    "A backup with ID [{id}] already exists. Found snapshots: [{}]",
                    shown.join(", ")
                );
                self.app_error(app, if app == App::Optimize { 409 } else { 400 }, &text)
            }
            Err(WebAppRefusal::StateUnreadable) => self.app_error(
                app,
                400,
                &format!("Exception occurred when validating whether backup with ID [{id}] already exists."),
            ),
            Err(WebAppRefusal::Busy) => self.app_error(app, 400, "Another backup is running at the moment"),
            Err(WebAppRefusal::NoRepository) => self.repository_missing(app),
            Err(WebAppRefusal::SearchDown) => self.cannot_validate(app),
            Err(WebAppRefusal::Absent) => self.spring_error(404, None, rest),
        }
    }

    /// The id in the body, with each app's own rules for numbers.
    fn requested_id(&mut self, app: App, request: &WireRequest, rest: &str) -> Result<i64, Response> {
        let operate = app == App::Operate;
        if request.body.is_empty() {
            return Err(if operate {
                self.app_error(
                    app,
                    400,
                    "Required request body is missing: public io.camunda.operate.webapp.management.dto.\
                     TakeBackupResponseDto io.camunda.operate.webapp.management.BackupController.takeBackup(\
                     io.camunda.operate.webapp.management.dto.TakeBackupRequestDto)",
                )
            } else {
                self.spring_error(400, None, rest)
            });
        }
        if !request.is_json() {
            let named = request.content_type.as_deref().unwrap_or("application/octet-stream");
            return Err(if operate {
                self.app_error(app, 400, &format!("Content-Type '{named}' is not supported"))
            } else {
                self.spring_error(415, None, rest)
            });
        }
        let read = read_id(&request.body).map_err(|text| match text {
            None => self.app_error(app, 400, "BackupId must be provided"),
            Some(text) if operate => self.app_error(app, 400, &format!("JSON parse error: {text}")),
            Some(_) => self.spring_error(400, None, rest),
        })?;
        if read < 0 { Err(self.negative(app, read)) } else { Ok(read) }
    }

    fn list_app_backups(&mut self, app: App) -> Response {
        if self.search_down {
            return match app {
                App::Operate => self.app_error(
                    app,
                    400,
                    "Exception occurred when searching for backups: Failed to get snapshot camunda_operate_* in \
                     repository camunda",
                ),
                _ => self.unreachable(app),
            };
        }
        let Ok(ids) = self.app_backup_ids(app) else { return self.repository_missing(app) };
        let mut list = Vec::new();
        for id in ids {
            let parts = self.parts_taken(app, id).unwrap_or_default();
            if self.cannot_read_running(app) && parts.iter().any(|s| s.state == SnapshotState::InProgress) {
                return self.app_error(
                    app,
                    400,
                    "Exception occurred when searching for backups: No enum constant \
                     io.camunda.operate.store.opensearch.response.SnapshotState.IN_PROGRESS",
                );
            }
            let newest_first: Vec<&Snapshot> = parts.into_iter().rev().collect();
            list.push(self.app_backup_body(app, id, &newest_first));
        }
        json_response(200, JSON, &Value::Array(list))
    }

    fn one_app_backup(&mut self, app: App, method: Method, id: &str, rest: &str) -> Response {
        let Ok(number) = id.parse::<i64>() else {
            let text = format!(
                "Failed to convert value of type 'java.lang.String' to required type 'java.lang.Long'; For input \
                 string: \"{id}\""
            );
            return if app == App::Operate {
                self.app_error(app, 400, &text)
            } else {
                self.spring_error(400, None, rest)
            };
        };
        if number < 0 {
            return self.negative(app, number);
        }
        if method == Method::Delete {
            return match self.delete_app_backup(app, number) {
                Ok(()) => empty_response(204),
                Err(WebAppRefusal::SearchDown) => self.cannot_validate(app),
                Err(_) => self.repository_missing(app),
            };
        }
        let unreadable = format!("Exception occurred when searching for backup with ID [{number}].");
        if self.search_down {
            return if app == App::Operate {
                self.app_error(app, 400, &unreadable)
            } else {
                self.unreachable(app)
            };
        }
        let Ok(parts) = self.parts_taken(app, number) else { return self.repository_missing(app) };
        if parts.is_empty() {
            let text = match app {
                App::Optimize => format!("No Optimize backup with ID [{number}] could be found."),
                _ => format!("No backup with id [{number}] found."),
            };
            return self.app_error(app, 404, &text);
        }
        if self.cannot_read_running(app) && parts.iter().any(|s| s.state == SnapshotState::InProgress) {
            return self.app_error(app, 400, &unreadable);
        }
        let body = self.app_backup_body(app, number, &parts);
        json_response(200, JSON, &body)
    }

    fn app_backup_body(&self, app: App, id: i64, parts: &[&Snapshot]) -> Value {
        let state = self.app_state(app, parts).wire();
        let reason = (state == "FAILED").then(|| {
            let named = parts.iter().filter(|s| s.state == SnapshotState::Partial).map(|s| s.name.as_str());
            format!(
                "There were failures with the following snapshots: {}",
                named.collect::<Vec<_>>().join(", ")
            )
        });
        let details: Vec<Value> = (parts.iter())
            .map(|s| {
                let failures: Vec<String> =
                    s.failed.iter().map(|index| format!("shard failed in {index}")).collect();
                let failures = match (app, failures.is_empty()) {
                    (App::Operate, true) => Value::Null,
                    _ => failures.into(),
                };
                json!({
                    "snapshotName": s.name,
                    "state": s.state.wire(),
                    "startTime": self.shown(s.started).format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string(),
                    "failures": failures,
                })
            })
            .collect();
        json!({"backupId": id, "state": state, "failureReason": reason, "details": details})
    }

    /// An error written by the web app itself.
    fn app_error(&mut self, app: App, status: u16, text: &str) -> Response {
        let instance = self.random.uuid();
        match app {
            App::Operate => {
                let kind = if status == 404 { "Requested resource not found" } else { "Invalid request" };
                let body = json!({"status": status, "message": text, "instance": instance, "type": kind});
                json_response(status, PROBLEM, &body)
            }
            App::Tasklist => {
                let instance = if status >= 500 { Value::Null } else { instance.into() };
                json_response(
                    status,
                    PROBLEM,
                    &json!({"status": status, "message": text, "instance": instance}),
                )
            }
            App::History | App::Database => json_response(status, JSON, &json!({"message": text})),
            App::Optimize => {
                let code = match status {
                    404 => "notFoundError",
                    409 => "conflictError",
                    500.. => "serverError",
                    _ => "badRequestError",
                };
                let body = json!({"errorCode": code, "errorMessage": text, "detailedMessage": text});
                json_response(status, JSON, &body)
            }
        }
    }

    fn negative(&mut self, app: App, id: i64) -> Response {
        let kind = if app == App::Operate { "Integer" } else { "Long" };
        self.app_error(app, 400, &format!("BackupId must be a non-negative {kind}. Received value: {id}"))
    }

    fn repository_missing(&mut self, app: App) -> Response {
        let text = format!("No repository with name [{}] could be found.", self.config.repository);
        self.app_error(app, if app == App::Operate { 400 } else { 500 }, &text)
    }

    fn cannot_validate(&mut self, app: App) -> Response {
        let name = &self.config.repository;
        let text = format!("Exception occurred when validating existence of repository with name [{name}].");
        self.app_error(app, if app == App::Operate { 400 } else { 500 }, &text)
    }

    fn unreachable(&mut self, app: App) -> Response {
        let name = &self.config.repository;
        // The text names Elasticsearch on OpenSearch too.
        let text = format!(
            "Encountered an error connecting to Elasticsearch while searching for snapshots. Repository name: [{name}]."
        );
        self.app_error(app, 502, &text)
    }
}

fn health_check(app: App) -> &'static str {
    if app == App::Operate { "indicesCheck" } else { "searchEngineCheck" }
}

/// The id in a body; `Err(None)` if there is none, otherwise Jackson's error.
fn read_id(body: &[u8]) -> Result<i64, Option<String>> {
    let body: Value = serde_json::from_slice(body)
        .map_err(|_| Some("Unexpected character: was expecting double-quote to start field name".into()))?;
    if !body.is_object() {
        return Err(Some("Cannot deserialize value of type `TakeBackupRequestDto` from Array value".into()));
    }
    match body.get("backupId") {
        None | Some(Value::Null) => Err(None),
        Some(Value::String(text)) => text.parse().map_err(|_| {
            Some(format!(
                "Cannot deserialize value of type `java.lang.Long` from String \"{text}\": not a valid \
                 `java.lang.Long` value"
            ))
        }),
        Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
            (Some(id), _) => Ok(id),
            // A fraction is silently truncated.
            (None, Some(cut)) if cut.abs() < 9.2e18 => Ok(cut as i64),
            _ => Err(Some(format!("Numeric value ({number}) out of range of long"))),
        },
        Some(_) => Err(Some("Cannot deserialize value of type `java.lang.Long`".into())),
    }
}

/// Tasklist writes its JSON with line breaks, except for the actuators' own pages.
fn styled(app: App, mut response: Response) -> Response {
    if app == App::Tasklist
        && response.content_type != ACTUATOR
        && let Ok(body) = serde_json::from_slice::<Value>(&response.body)
    {
        response.body = serde_json::to_vec_pretty(&body).unwrap_or(response.body);
    }
    response
}
