//! Responses of the Administration API and of its token endpoint.
//!
//! Owns its paths and bodies: statuses, fields and states of the published OpenAPI document. The responses to
//! rate-limited and rejected requests are undocumented: those are guesses.

use crate::camunda::{Method, Response};
use crate::domain::{Instant, instant_text};
use crate::sim::faults::Effect;
use crate::sim::model::cluster::Cluster;
use crate::sim::model::config::{SAAS_CLIENT, SAAS_SECRET};
use crate::sim::model::saas::{Hosted, SaasRefusal};
use crate::sim::wire::{Acted, IN_MEMORY, JSON, WireRequest, empty_response, json_response};
use serde_json::{Value, json};
use std::time::Duration;

impl Cluster {
    /// Handles a request below `/saas`.
    pub(crate) fn administration(&mut self, request: &WireRequest, rest: &str, effects: &[Effect]) -> Acted {
        if rest == "/oauth/token" {
            return self.token(request).into();
        }
        let token = request.authorization.as_deref().and_then(|header| header.strip_prefix("Bearer "));
        if request.authorization.as_deref() != Some(IN_MEMORY)
            && !token.is_some_and(|t| self.saas_accepts_token(t))
        {
            return text(401, "Unauthorized").into();
        }
        let cluster = self.config.cluster_uuid();
        let segments: Vec<&str> = rest.split('/').skip(1).collect();
        if segments.first() != Some(&"clusters") {
            return text(404, "Not Found").into();
        }
        if segments.len() == 1 {
            return json_response(200, JSON, &json!([self.cluster_body()])).into();
        }
        if segments.get(1) != Some(&cluster.as_str()) {
            return text(404, "Cluster not found").into();
        }
        self.of_cluster(request, segments.get(2..).unwrap_or_default(), effects).into()
    }

    fn of_cluster(&mut self, request: &WireRequest, path: &[&str], effects: &[Effect]) -> Response {
        match (request.method, path) {
            (Method::Get, []) => json_response(200, JSON, &self.cluster_body()),
            (Method::Get, ["backups"]) => {
                let all: Vec<Value> = self.saas.backups.iter().map(|b| self.hosted_body(b)).collect();
                json_response(200, JSON, &all.into())
            }
            (Method::Post, ["backups"]) => {
                let begun = self.saas_start_backup(true, effects);
                self.response(begun)
            }
            (method, ["backups", "schedule"]) => self.schedule(method, request),
            (Method::Delete, ["backups", uuid]) => {
                let deleted = self.saas_delete_backup(uuid);
                self.response(deleted)
            }
            (Method::Post, ["backups", uuid, "restore"]) => match self.saas_start_restore(uuid) {
                Ok(()) => json_response(200, JSON, &json!({"state": "PENDING", "backupId": uuid})),
                Err(refusal) => refused(&refusal),
            },
            (Method::Get, ["backups", uuid, "restore"]) => match self.saas.restores.get(*uuid) {
                Some(state) => json_response(200, JSON, &json!({"state": state, "backupId": uuid})),
                None => text(404, "No restore of this backup"),
            },
            _ => text(404, "Not Found"),
        }
    }

    fn schedule(&mut self, method: Method, request: &WireRequest) -> Response {
        match method {
            Method::Put => {
                let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
                let cron = body["schedule"].as_str().filter(|cron| cron.split_whitespace().count() == 5);
                let Some(cron) = cron else { return text(400, "Invalid cron expression") };
                self.saas.schedule = Some(cron.to_owned());
            }
            Method::Delete => {
                self.saas.schedule = None;
                return empty_response(204);
            }
            _ => {}
        }
        match &self.saas.schedule {
            Some(cron) => json_response(200, JSON, &json!({"name": "nightly", "schedule": cron})),
            None => text(404, "No schedule"),
        }
    }

    fn token(&mut self, request: &WireRequest) -> Response {
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        // Every request counts, including failed ones.
        let token = self.saas_issue_token();
        if request.method != Method::Post || !request.is_json() || body["grant_type"] != "client_credentials"
        {
            return json_response(400, JSON, &json!({"error": "invalid_request"}));
        }
        if body["client_id"] != SAAS_CLIENT || body["client_secret"] != SAAS_SECRET {
            return json_response(
                401,
                JSON,
                &json!({"error": "access_denied", "error_description": "Unauthorized"}),
            );
        }
        if body["audience"] != "api.cloud.camunda.io" {
            return json_response(
                403,
                JSON,
                &json!({"error": "access_denied", "error_description": "Service not found"}),
            );
        }
        match token {
            Ok(token) => {
                let body = json!({"access_token": token, "expires_in": 86400, "token_type": "Bearer"});
                json_response(200, JSON, &body)
            }
            Err(refusal) => refused(&refusal),
        }
    }

    fn response(&self, done: Result<Hosted, SaasRefusal>) -> Response {
        match done {
            Ok(backup) => json_response(200, JSON, &self.hosted_body(&backup)),
            Err(refusal) => refused(&refusal),
        }
    }

    fn hosted_body(&self, backup: &Hosted) -> Value {
        let status = backup.state.wire();
        let time = |at: Option<Instant>| at.map(|at| instant_text(self.shown(at))).unwrap_or_default();
        json!({
            "uuid": backup.uuid,
            "name": if backup.manual { "manual" } else { "scheduled" },
            "created": time(Some(backup.created)),
            "completed": time(backup.completed),
            "status": status,
            "zeebeStatus": status,
            "operateStatus": status,
            "tasklistStatus": status,
            "optimizeStatus": if self.config.optimize { status } else { "-" },
            "generationName": self.config.generation(),
        })
    }

    fn cluster_body(&self) -> Value {
        let status = self.saas.status.unwrap_or("Healthy");
        json!({
            "uuid": self.config.cluster_uuid(),
            "name": self.config.name,
            "ownerId": "sim",
            "created": "2026-01-15T10:00:00.000Z",
            "autoUpdate": false,
            "planType": {"name": "Enterprise", "uuid": "sim-plan"},
            "region": {"name": "Belgium, Europe (europe-west1)", "uuid": "sim-region"},
            "generation": {"name": self.config.generation(), "uuid": "sim-generation"},
            "channel": {"name": "Stable", "uuid": "sim-channel"},
            "status": {"ready": status, "zeebeStatus": status, "operateStatus": status, "tasklistStatus": status},
            "links": {},
        })
    }
}

fn text(status: u16, message: &str) -> Response {
    json_response(status, JSON, &json!({"message": message}))
}

fn refused(refusal: &SaasRefusal) -> Response {
    match refusal {
        SaasRefusal::TooOften(left) => {
            // Whole seconds, rounded up.
            let left = Duration::from_secs(left.as_secs() + 1);
            Response { retry_after: Some(left), ..text(429, "Too many requests") }
        }
        SaasRefusal::Unknown => text(404, "Backup not found"),
        SaasRefusal::Conflict(message) => text(409, message),
    }
}
