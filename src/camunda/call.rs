//! One call to one component: address, credentials, timeouts, and the error without a response.
//!
//! Must not interpret a response (`response`).

use crate::camunda::error::{ClientError, ErrorKind, one_line};
use crate::camunda::rejections::{Attempt, Outcome};
use crate::camunda::response::ParsedResponse;
use crate::camunda::{Method, Request, SharedTransport, TransportError};
use crate::domain::Access;
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Timeout of read-only calls. A broker with a hanging backup store responds 504 after 15 s.
pub(crate) const READ: Duration = Duration::from_secs(30);
/// Timeout of the request that starts a backup; no component delays its response until the backup ends.
pub(crate) const START: Duration = Duration::from_secs(30);
/// Timeout of a deletion: search engines and brokers delete before they respond.
pub(crate) const DELETE: Duration = Duration::from_mins(1);
/// Timeout of a pause or a resume.
pub(crate) const SWITCH: Duration = Duration::from_secs(10);
/// Timeout for the exporter phases of one broker.
pub(crate) const EXPORTERS: Duration = Duration::from_secs(5);

/// Calls one component at one address.
#[derive(Clone)]
pub(crate) struct Caller {
    component: String,
    base: String,
    access: Option<Arc<Access>>,
    transport: SharedTransport,
}

impl Caller {
    /// Creates a caller of `component`; paths are relative to `base`.
    pub(crate) fn new(component: &str, base: &str, transport: SharedTransport) -> Self {
        let access = transport.access(component);
        Self {
            component: component.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            access,
            transport,
        }
    }

    /// Base address without user info.
    pub(crate) fn base(&self) -> String {
        one_line(&self.base, 200)
    }

    /// Sends one request. `path` begins with a slash and is already encoded.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        json: Option<Value>,
        deadline: Duration,
    ) -> Result<ParsedResponse, ClientError> {
        let call = format!("{} {}{path}", verb(method), prefix(&self.base));
        let (url, access) = (format!("{}{path}", self.base), self.access.clone());
        let request = Request { method, url, json, access, deadline };
        match self.transport.send(request).await {
            Ok(response) => {
                let (component, access) = (self.component.clone(), self.access.clone());
                let response = ParsedResponse { component, call, access, response };
                self.note_response(&response);
                if (200..300).contains(&response.status()) || (400..600).contains(&response.status()) {
                    Ok(response)
                } else {
                    Err(response.unusable("which no component returns"))
                }
            }
            Err(failure) => {
                let error = self.without_response(&call, &failure);
                if matches!(failure, TransportError::NoAccess { .. }) {
                    self.note(&call, Outcome::AuthRejected(&error.message));
                }
                Err(error)
            }
        }
    }

    fn note_response(&self, response: &ParsedResponse) {
        if !matches!(response.status(), 401 | 403 | 407) {
            return self.note(&response.call, Outcome::AuthAccepted);
        }
        let why = response.authentication_error(response.complaint().as_deref());
        let shows = self.access.as_ref().is_some_and(|access| access.login.credential().is_some());
        // Some calls are public even if the component requires authentication elsewhere.
        let of_this_call = response.status() == 403 || !shows;
        let outcome = if of_this_call { Outcome::Forbidden(&why) } else { Outcome::AuthRejected(&why) };
        self.note(&response.call, outcome);
    }

    fn note(&self, call: &str, outcome: Outcome<'_>) {
        let Self { component, base, access, transport } = self;
        transport.note(Attempt { component, base, access: access.as_deref(), call, outcome });
    }

    fn without_response(&self, call: &str, error: &TransportError) -> ClientError {
        let component = &self.component;
        let reason = one_line(&error.to_string(), 300);
        let (kind, message) = match error {
            TransportError::NotSent(_) => {
                (ErrorKind::NotSent, format!("cannot connect to {component} at {}: {reason}", self.base()))
            }
            TransportError::Lost(_) => {
                (ErrorKind::Lost, format!("no complete response from {component} to {call}: {reason}"))
            }
            TransportError::Unusable(_) => {
                // An unauthenticated request is usually redirected to a login page.
                let login = if reason.starts_with("a redirect") {
                    format!(", or configure the login in front of it under access.{component}")
                } else {
                    String::new()
                };
                let what = "with a response that no component sends";
                (
                    ErrorKind::Unusable,
                    format!("{component} responded to {call} {what}: {reason}; check its address{login}"),
                )
            }
            TransportError::NoAccess { transient, .. } => (
                if *transient { ErrorKind::NoAccess } else { ErrorKind::AuthRejected },
                format!("{call} was not sent to {component}: {reason}"),
            ),
        };
        let evidence = format!("{call} -> no response, {reason}");
        ClientError { component: component.clone(), kind, status: None, message, evidence, retry_after: None }
    }
}

/// Encodes one path segment; `*` stays, because repositories accept patterns.
pub(crate) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~' | b'*') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn verb(method: Method) -> &'static str {
    match method {
        Method::Get => "GET",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
    }
}

/// Path of a base URL: a Helm context path precedes `/actuator`.
fn prefix(base: &str) -> String {
    url::Url::parse(base).map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default()
}
