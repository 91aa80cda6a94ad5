//! Requests and responses, independent of their transport.
//!
//! Owns the routing of a request to its part, the counters, and the effects of faults on a response. The
//! parts have path prefixes below one address: `/zeebe /operate /tasklist /optimize /search /rest`. Uses
//! `model`. Must not open sockets.

pub(crate) mod broker;
mod clients;
mod condition;
mod control;
mod history;
mod indices;
mod rest;
mod runtime;
mod saas;
mod search;
mod state;
mod webapp;

use super::faults::Effect;
use crate::camunda::{Method, Response};
use crate::domain::Instant;
use crate::sim::model::cluster::Cluster;
use crate::sim::model::config::Storage;
use crate::sim::model::importer::App;
use serde_json::{Value, json};
use std::time::Duration;

/// `Content-Type` of Spring's actuators.
pub(super) const ACTUATOR: &str = "application/vnd.spring-boot.actuator.v3+json";
/// Plain JSON.
pub(super) const JSON: &str = "application/json";
/// Error format similar to RFC 9457.
pub(super) const PROBLEM: &str = "application/problem+json";

/// A received request.
#[derive(Clone, Debug)]
pub struct WireRequest {
    /// HTTP method.
    pub method: Method,
    /// Path, beginning with the part's prefix.
    pub path: String,
    /// Query without the question mark.
    pub query: String,
    /// `Content-Type`, if it was sent.
    pub content_type: Option<String>,
    /// `Authorization`, if it was sent; `IN_MEMORY` without a socket.
    pub authorization: Option<String>,
    /// Body, possibly empty.
    pub body: Vec<u8>,
}

/// Authorization of in-memory requests. The simulation accepts it instead of a token, because only the HTTP transport
/// fetches tokens.
pub const IN_MEMORY: &str = "in memory";

impl WireRequest {
    /// A query parameter.
    pub(super) fn parameter(&self, name: &str) -> Option<String> {
        let pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    /// Whether the content type is JSON.
    pub(super) fn is_json(&self) -> bool {
        self.content_type.as_deref().is_some_and(|t| t.split(';').next().is_some_and(|t| t.trim() == JSON))
    }
}

/// Result of a request, and its delay.
#[derive(Debug)]
pub struct Reply {
    /// Delay of the result.
    pub after: Duration,
    /// The result.
    pub carried: Carried,
}

/// Result of a request.
#[derive(Debug)]
pub enum Carried {
    /// A response.
    Response(Response),
    /// A redirect to this address.
    Redirect(String),
    /// A body that never ends.
    Endless,
    /// Connection refused.
    Refused,
    /// Connection closed without a response.
    Lost,
    /// The response is not ready. Poll it with `Cluster::probe_once_more`.
    Waiting(Waiting),
}

/// A response that waits for a snapshot.
#[derive(Debug)]
pub struct Waiting {
    key: u64,
    effects: Vec<Effect>,
}

/// Result of a request in its part.
pub(crate) enum Acted {
    /// A response.
    Done(Response),
    /// A response with an additional delay.
    Slow(Duration, Response),
    /// The response follows at the end of the snapshot.
    Waits(u64),
}

impl From<Response> for Acted {
    fn from(response: Response) -> Self {
        Self::Done(response)
    }
}

/// A response with a JSON body.
pub(super) fn json_response(status: u16, content_type: &str, body: &Value) -> Response {
    Response {
        status,
        content_type: content_type.to_owned(),
        body: body.to_string().into_bytes(),
        ..Response::default()
    }
}

/// A response without a body.
pub(super) fn empty_response(status: u16) -> Response {
    Response { status, ..Response::default() }
}

impl Cluster {
    /// Executes a request at `now` and returns its result.
    pub fn handle(&mut self, now: Instant, request: &WireRequest) -> Reply {
        self.advance(now);
        let (part, rest) = split_part(&request.path);
        let endpoint = endpoint_of(part, request.method, rest);
        *self.seen.entry(endpoint).or_default() += 1;
        // The broker's addresses also serve the history; its REST port also serves backups and exporting.
        let served = match endpoint {
            endpoint if endpoint.starts_with("history-") => App::History.name(),
            endpoint if endpoint.starts_with("zeebe-") => "zeebe",
            "pause" | "resume" => "zeebe",
            _ => part,
        };
        let effects = self.faults.take_effects(&[served, part], endpoint);
        let carried = |carried| Reply { after: Duration::ZERO, carried };
        if effects.contains(&Effect::Refuse) {
            return carried(Carried::Refused);
        }
        if effects.contains(&Effect::DropRequest) {
            return carried(Carried::Lost);
        }
        if let Some(refusal) = effects.iter().find_map(|effect| reject_access(part, *effect, rest)) {
            return deliver(self.config.timing.response, refusal, &effects);
        }
        self.apply_before(served, &effects);
        if self.is_down(part) {
            return carried(Carried::Refused);
        }
        let hosted = self.config.storage == Storage::Saas;
        let acted = match part {
            "saas" if hosted => self.administration(request, rest, &effects),
            _ if hosted => {
                json_response(404, JSON, &json!({"error": "no such part", "path": request.path})).into()
            }
            "zeebe" => self.broker(request, rest, &effects),
            "rest" => self.rest(request, rest, &effects),
            "operate" => self.web_app(App::Operate, request, rest),
            "tasklist" => self.web_app(App::Tasklist, request, rest),
            "optimize" => self.web_app(App::Optimize, request, rest),
            "search" => self.search(request, rest, &effects),
            _ => json_response(404, JSON, &json!({"error": "no such part", "path": request.path})).into(),
        };
        self.apply_after(served, &effects);
        let takes = self.config.timing.response;
        let denied = effects.iter().find_map(|effect| match effect {
            Effect::Acted(status) => Some(gateway_error(part, *status, rest)),
            _ => None,
        });
        match acted {
            Acted::Done(response) => deliver(takes, denied.unwrap_or(response), &effects),
            Acted::Slow(longer, response) => deliver(takes + longer, denied.unwrap_or(response), &effects),
            Acted::Waits(key) => self.wait_for(Waiting { key, effects }),
        }
    }

    /// Polls a waiting response.
    pub fn probe_once_more(&mut self, now: Instant, waiting: Waiting) -> Reply {
        self.advance(now);
        if self.search_down {
            return Reply { after: Duration::ZERO, carried: Carried::Lost };
        }
        self.wait_for(waiting)
    }

    fn wait_for(&mut self, waiting: Waiting) -> Reply {
        match self.snapshot_result(waiting.key) {
            Some(response) => deliver(self.config.timing.response, response, &waiting.effects),
            None => Reply { after: self.snapshot_left(waiting.key), carried: Carried::Waiting(waiting) },
        }
    }

    fn is_down(&self, part: &str) -> bool {
        let app_down = |app| self.apps.get(&app).is_none_or(|memory| memory.down);
        match part {
            "zeebe" | "rest" => self.broker_down,
            "search" => self.search_down,
            "operate" => app_down(App::Operate),
            "tasklist" => app_down(App::Tasklist),
            "optimize" => app_down(App::Optimize),
            _ => false,
        }
    }

    /// An error in Spring's own format; the component never received the request.
    pub(super) fn spring_error(&self, status: u16, detail: Option<&str>, path: &str) -> Response {
        let title = match status {
            400 => "Bad Request",
            405 => "Method Not Allowed",
            415 => "Unsupported Media Type",
            _ => "Not Found",
        };
        if self.config.version.minor >= 6 {
            let at = self.shown(self.now).format("%Y-%m-%dT%H:%M:%S%.3f+00:00").to_string();
            return json_response(
                status,
                JSON,
                &json!({"timestamp": at, "status": status, "error": title, "path": path}),
            );
        }
        let mut body = json!({"type": "about:blank", "title": title, "status": status, "instance": path});
        if let Some(detail) = detail {
            body["detail"] = detail.into();
        }
        json_response(status, PROBLEM, &body)
    }
}

/// The part that a path belongs to, and the remaining path.
fn split_part(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    path.find('/').map_or((path, ""), |at| path.split_at(at))
}

/// Kind of request, as counters and faults name it.
fn endpoint_of(part: &str, method: Method, rest: &str) -> &'static str {
    let actuator = rest.strip_prefix("/actuator").unwrap_or("");
    match part {
        "zeebe" => match (method, actuator) {
            (Method::Post, "/exporting/pause") => "pause",
            (Method::Post, "/exporting/resume") => "resume",
            (_, "/partitions") => "partitions",
            (_, "/info") => "info",
            (_, "/cluster") => "cluster",
            (_, "/prometheus") => "prometheus",
            (_, path) if path.starts_with("/health") => "health",
            (_, path) if path.starts_with("/backupHistory") => backups_endpoint("history", method, path),
            (_, path) => backups_endpoint("zeebe", method, path),
        },
        "operate" | "tasklist" | "optimize" => backups_endpoint(part, method, actuator),
        "saas" => {
            let path: Vec<&str> = rest.split('/').skip(1).collect();
            match (method, path.as_slice()) {
                (_, ["oauth", ..]) => "saas-token",
                (Method::Post, ["clusters", _, "backups"]) => "saas-post",
                (Method::Get, ["clusters", _, "backups"]) => "saas-list",
                (_, ["clusters", _, "backups", "schedule"]) => "saas-schedule",
                (_, ["clusters", _, "backups", _, "restore"]) => "saas-restore",
                (Method::Delete, ["clusters", _, "backups", _]) => "saas-delete",
                (Method::Get, ["clusters", _]) => "saas-cluster",
                _ => "saas-other",
            }
        }
        "rest" => match (method, rest.strip_prefix("/v2").unwrap_or(rest)) {
            (_, path) if path.ends_with("/topology") => "topology",
            (_, "/status") => "status",
            (Method::Post, "/exporting/pause") => "pause",
            (Method::Post, "/exporting/resume") => "resume",
            (_, path) if path.starts_with("/backups/runtime") => backups_endpoint("zeebe", method, path),
            (_, path) if path.starts_with("/backups/history") => backups_endpoint("history", method, path),
            _ => "rest-other",
        },
        "search" => {
            let segments: Vec<&str> = rest.split('/').skip(1).collect();
            match (method, segments.as_slice()) {
                (Method::Put | Method::Post, ["_snapshot", _, name]) if !name.starts_with('_') => {
                    "search-put"
                }
                (Method::Get, ["_snapshot", _, _, "_status"] | ["_snapshot", "_status"]) => "search-status",
                (Method::Get, ["_snapshot", _, _]) => "search-get",
                (Method::Delete, ["_snapshot", _, _]) => "search-delete",
                (_, ["_snapshot"] | ["_snapshot", ..]) => "search-repository",
                (Method::Get, ["_cat", "indices", ..]) => "search-indices",
                (_, ["" | "_cluster" | "_nodes" | "_cat", ..] | []) => "search-other",
                (Method::Get, _) => "search-indices",
                _ => "search-other",
            }
        }
        _ => "unknown",
    }
}

fn backups_endpoint(part: &str, method: Method, actuator: &str) -> &'static str {
    let path = actuator
        .strip_prefix("/backups")
        .filter(|rest| ["/runtime", "/history"].iter().any(|endpoint| rest.starts_with(endpoint)));
    let mut segments = path.unwrap_or(actuator).split('/').skip(1);
    let known = matches!(
        segments.next(),
        Some("backups" | "backupRuntime" | "backupHistory" | "runtime" | "history")
    );
    let verb = match (method, segments.next()) {
        _ if !known => "other",
        (Method::Post, None) => "post",
        (Method::Get, None) => "list",
        (_, Some("state")) if part == "zeebe" => "state",
        (Method::Get, Some(_)) => "get",
        (Method::Delete, Some(_)) => "delete",
        _ => "other",
    };
    let name = format!("{part}-{verb}");
    super::faults::ENDPOINTS.into_iter().find(|known| *known == name).unwrap_or("unknown")
}

/// Applies the delivery faults to a response.
fn deliver(after: Duration, response: Response, effects: &[Effect]) -> Reply {
    let mut reply = Reply { after, carried: Carried::Response(response) };
    for effect in effects {
        match (effect, &mut reply.carried) {
            (Effect::DropResponse, _) => reply.carried = Carried::Lost,
            (Effect::Endless, _) => reply.carried = Carried::Endless,
            (Effect::Redirect, _) => reply.carried = Carried::Redirect("http://127.0.0.1:1/login".into()),
            (Effect::Delay(longer), _) => reply.after += *longer,
            (Effect::NotJson, Carried::Response(response)) => {
                response.body = b"<html><body>upstream said something else</body></html>".to_vec();
            }
            (Effect::ContentType, Carried::Response(response)) => response.content_type = "text/html".into(),
            (Effect::UnknownState, Carried::Response(response)) => unknown_states(response),
            (Effect::NumbersAsText, Carried::Response(response)) => numbers_as_text(response),
            _ => {}
        }
    }
    reply
}

/// The response to a request that fails authentication or permission.
fn reject_access(part: &str, effect: Effect, path: &str) -> Option<Response> {
    let (status, title, detail) = match effect {
        Effect::Unauthorized => {
            (401, "Unauthorized", "An Authentication object was not found in the SecurityContext")
        }
        Effect::Forbidden => {
            (403, "FORBIDDEN", "Unauthorized to perform this operation on resource 'BACKUP'")
        }
        _ => return None,
    };
    if part == "search" {
        let cause = json!({"type": "security_exception", "reason": detail});
        return Some(json_response(status, JSON, &json!({"error": cause, "status": status})));
    }
    Some(problem(status, title, detail, path))
}

/// The error of a gateway after the broker executed the request.
fn gateway_error(part: &str, status: u16, path: &str) -> Response {
    let text = match status {
        502 => "Failed to send request to broker",
        503 => "Expected to handle request, but the broker is overloaded",
        _ => "Request from gateway to broker timed out",
    };
    if part == "rest" {
        return problem(status, "UNAVAILABLE", text, path);
    }
    json_response(status, ACTUATOR, &json!({"message": text}))
}

/// An error in the format of the REST API.
pub(super) fn problem(status: u16, title: &str, detail: &str, path: &str) -> Response {
    let body =
        json!({"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": path});
    json_response(status, PROBLEM, &body)
}

/// Writes every number in a response as a text.
fn numbers_as_text(response: &mut Response) {
    fn walk(value: &mut Value) {
        match value {
            Value::Number(number) => *value = number.to_string().into(),
            Value::Object(fields) => fields.values_mut().for_each(walk),
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    if let Ok(mut body) = serde_json::from_slice(&response.body) {
        walk(&mut body);
        response.body = body.to_string().into_bytes();
    }
}

/// Replaces every state in a response by one unknown to all versions.
fn unknown_states(response: &mut Response) {
    fn walk(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (key, field) in fields {
                    if matches!(key.as_str(), "state" | "exporterPhase" | "status") && field.is_string() {
                        *field = "REARRANGING".into();
                    } else {
                        walk(field);
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(walk),
            _ => {}
        }
    }
    if let Ok(mut body) = serde_json::from_slice(&response.body) {
        walk(&mut body);
        response.body = body.to_string().into_bytes();
    }
}

/// Decodes a percent-encoded path segment.
pub(super) fn decoded(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = |byte: u8| char::from(byte).to_digit(16);
        match (first, after) {
            (b'%', [high, low, after @ ..]) if hex(*high).is_some() && hex(*low).is_some() => {
                bytes.push((hex(*high).unwrap_or(0) * 16 + hex(*low).unwrap_or(0)) as u8);
                rest = after;
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_endpoint_has_a_name() {
        for (method, path, expected) in [
            (Method::Post, "/zeebe/actuator/exporting/pause", "pause"),
            (Method::Get, "/zeebe/actuator/backups/7", "zeebe-get"),
            (Method::Get, "/tasklist/actuator/backups", "tasklist-list"),
            (Method::Post, "/zeebe/actuator/backupRuntime", "zeebe-post"),
            (Method::Get, "/zeebe/actuator/backupRuntime/7", "zeebe-get"),
            (Method::Delete, "/zeebe/actuator/backupHistory/7", "history-delete"),
            (Method::Get, "/zeebe/actuator/backupHistory", "history-list"),
            (Method::Put, "/search/_snapshot/camunda/camunda_zeebe_records_backup_1", "search-put"),
            (
                Method::Get,
                "/search/_snapshot/camunda/camunda_zeebe_records_backup_1/_status",
                "search-status",
            ),
            (Method::Get, "/search/_snapshot/camunda", "search-repository"),
            (Method::Get, "/search/_cat/indices/zeebe-record*", "search-indices"),
            (Method::Get, "/search/", "search-other"),
            (Method::Get, "/rest/v2/topology", "topology"),
            (Method::Get, "/rest/v2/status", "status"),
            (Method::Post, "/rest/v2/exporting/pause", "pause"),
            (Method::Post, "/rest/v2/backups/runtime", "zeebe-post"),
            (Method::Delete, "/rest/v2/backups/runtime/7", "zeebe-delete"),
            (Method::Get, "/rest/v2/backups/runtime/state", "zeebe-state"),
            (Method::Get, "/zeebe/actuator/backupRuntime/state", "zeebe-state"),
            (Method::Get, "/rest/v2/backups/history", "history-list"),
            (Method::Get, "/rest/v2/license", "rest-other"),
            (Method::Get, "/elsewhere", "unknown"),
        ] {
            let (part, rest) = split_part(path);
            assert_eq!(endpoint_of(part, method, rest), expected, "{path}");
            assert!(super::super::faults::ENDPOINTS.contains(&expected));
        }
    }

    #[test]
    fn percent_encoding_is_decoded() {
        assert_eq!(decoded("a%20b%2A"), "a b*");
        assert_eq!(decoded("100%"), "100%");
    }
}
