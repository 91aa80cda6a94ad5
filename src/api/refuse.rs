//! Rejections over HTTP: problem+json for bad input, `{"message"}` for the rest.
//!
//! Owns the status of each rejection, request ids and the check for requests of this machine. Must not know routes.

use super::{Refusal, RefusalKind};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use std::sync::Arc;

/// Response header with the request id.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match self.kind {
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Refused | RefusalKind::NeedsConfirmation => StatusCode::CONFLICT,
            RefusalKind::Unreachable => StatusCode::BAD_GATEWAY,
            RefusalKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        };
        let mut body = json!({ "message": self.message, "kind": self.kind });
        // The response and the log line get the same id, so that an operator finds the log line.
        let id = status.is_server_error().then(uuid::Uuid::now_v7);
        if let Some(id) = id {
            tracing::error!(event = "request.failed", request_id = %id, status = status.as_u16(), reason = %self.message);
            body["request_id"] = json!(id);
        }
        let mut response = (status, Json(body)).into_response();
        if let Some(id) = id {
            name(&mut response, id);
        }
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

fn name(response: &mut Response, id: uuid::Uuid) {
    if let Ok(id) = HeaderValue::from_str(&id.to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}

/// Adds a request id to every response, and logs it for a 5xx.
pub(crate) async fn with_request_id(request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    if response.headers().contains_key(REQUEST_ID) {
        return response;
    }
    let id = uuid::Uuid::now_v7();
    let status = response.status();
    if status.is_server_error() {
        // A failing health check is logged as a warning: its body has the findings.
        tracing::warn!(event = "request.failed", request_id = %id, status = status.as_u16(), path);
    }
    name(&mut response, id);
    response
}

/// 400 with a problem document.
pub(crate) fn bad_input(detail: impl Into<String>) -> Response {
    problem(StatusCode::BAD_REQUEST, &detail.into())
}

/// A problem document.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "detail": detail,
    });
    let mut response = (status, Json(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// 404 for a path that does not exist.
pub(crate) async fn no_such_path() -> Response {
    (StatusCode::NOT_FOUND, Json(json!({ "message": "unknown path" }))).into_response()
}

/// Replaces plain-text errors of axum: problem+json for unreadable input, `{"message"}` for 405.
pub(crate) async fn as_json(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let plain = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !response.status().is_client_error() || !plain {
        return response;
    }
    match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let (mut head, _) = response.into_parts();
            head.headers.remove(header::CONTENT_LENGTH);
            let body = json!({ "message": "method not allowed for this path. `Allow` lists the methods" });
            (head.status, head.headers, Json(body)).into_response()
        }
        StatusCode::BAD_REQUEST | StatusCode::UNSUPPORTED_MEDIA_TYPE | StatusCode::UNPROCESSABLE_ENTITY => {
            let detail = axum::body::to_bytes(response.into_body(), 4096).await.unwrap_or_default();
            bad_input(String::from_utf8_lossy(&detail))
        }
        _ => response,
    }
}

/// Rejects requests of other machines, except for `/health*`.
pub(crate) async fn local_only(
    State(hosts): State<Arc<Vec<String>>>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(query) = request.uri().query()
        && query
            .split('&')
            .any(|pair| matches!(pair.split('=').next(), Some("token" | "access_token" | "bearer")))
    {
        return bad_input(
            "a token in a query string is not accepted, because it ends up in logs. Send it as a header",
        );
    }
    if request.uri().path().starts_with("/health") {
        return next.run(request).await;
    }
    match foreign(request.headers(), &hosts) {
        None => next.run(request).await,
        Some(why) => {
            tracing::warn!(event = "auth.failed", reason = why);
            let message = format!("{why}. Without tokens, only requests from this machine are accepted");
            (StatusCode::FORBIDDEN, Json(json!({ "message": message }))).into_response()
        }
    }
}

/// Reason why the headers do not look like a request from this machine.
fn foreign(headers: &HeaderMap, public_hosts: &[String]) -> Option<&'static str> {
    if headers.keys().any(|name| name == "forwarded" || name.as_str().starts_with("x-forwarded-")) {
        return Some("the request was forwarded");
    }
    let host = headers.get(header::HOST).and_then(|h| h.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let ours = name.is_empty()
        || name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
        || public_hosts.iter().any(|public| public.eq_ignore_ascii_case(name));
    (!ours).then_some("the Host of the request is not a name of this machine")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pairs: &[(&'static str, &'static str)], expected: bool) {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(*name, HeaderValue::from_static(value));
        }
        let local = foreign(&headers, &["backup.example".to_owned()]).is_none();
        assert_eq!(local, expected, "{pairs:?}");
    }

    #[test]
    fn only_loopback_names_and_public_hosts_count_as_this_machine() {
        check(&[("host", "127.0.0.1:9610")], true);
        check(&[("host", "[::1]:9610")], true);
        check(&[("host", "localhost")], true);
        check(&[("host", "backup.example")], true);
        check(&[("host", "evil.example:9610")], false);
        check(&[("host", "localhost"), ("x-forwarded-for", "10.0.0.1")], false);
        check(&[("host", "localhost"), ("forwarded", "for=10.0.0.1")], false);
    }
}
