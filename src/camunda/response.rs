//! A response of a component, and the meaning of an error response.
//!
//! Owns the parsing of error responses in all their shapes. Must not know the shape of a successful response, nor send a
//! request (`call`).

use crate::camunda::Response;
use crate::camunda::error::{ClientError, DISGUISED_FAILURE, ErrorKind, body_excerpt, one_line};
use crate::camunda::reading::{int, text};
use crate::domain::{Access, Login, Oauth};
use serde_json::Value;
use std::sync::Arc;

/// A response of any status except a redirect.
#[derive(Clone)]
pub(crate) struct ParsedResponse {
    pub(super) component: String,
    pub(super) call: String,
    pub(super) access: Option<Arc<Access>>,
    pub(super) response: Response,
}

impl ParsedResponse {
    /// HTTP status.
    pub(crate) fn status(&self) -> u16 {
        self.response.status
    }

    /// Whether the body is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.response.body.is_empty()
    }

    /// Body as text, regardless of its content type.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.response.body).into_owned()
    }

    /// Body as JSON; an error unless both content type and body are JSON.
    pub(crate) fn json(&self) -> Result<Value, ClientError> {
        if self.is_empty() {
            return Err(self.unusable("with an empty body instead of JSON"));
        }
        if !self.is_json_response() {
            if self.is_page() {
                return Err(self.page());
            }
            let kind = one_line(&self.response.content_type, 60);
            return Err(self.unusable(&format!("with `{kind}` instead of JSON")));
        }
        serde_json::from_slice(&self.response.body).map_err(|_| self.unusable("with a body that is not JSON"))
    }

    /// Body as a JSON object.
    pub(crate) fn object(&self) -> Result<Value, ClientError> {
        self.json().and_then(|value| if value.is_object() { Ok(value) } else { Err(self.unknown_shape()) })
    }

    /// Body as a JSON array.
    pub(crate) fn array(&self) -> Result<Vec<Value>, ClientError> {
        match self.json()? {
            Value::Array(all) => Ok(all),
            _ => Err(self.unknown_shape()),
        }
    }

    /// Error text of the component, in any of the recorded shapes: `message`, problem+json, Optimize's
    /// `detailedMessage`, a search engine's `error.reason`.
    pub(crate) fn complaint(&self) -> Option<String> {
        let body: Value = self.lenient()?;
        let error = &body["error"];
        // Spring's placeholder carries no information.
        let message = |value: &Value| text(value).filter(|t| t != "No message available");
        message(&body["message"])
            .or_else(|| message(&body["detailedMessage"]))
            .or_else(|| message(&body["detail"]))
            .or_else(|| message(&body["errorMessage"]))
            .or_else(|| message(&error["reason"]))
            .or_else(|| message(error))
            .or_else(|| message(&body["title"]))
    }

    /// `error.type` of a search engine.
    pub(crate) fn error_type(&self) -> Option<String> {
        text(&self.lenient()?["error"]["type"])
    }

    /// Whether this 404 is the component's own statement that backup `id` does not exist. Gateways and wrong
    /// paths also return 404, some with a `message`, but none names the id.
    pub(crate) fn reports_no_such_backup(&self, id: i64) -> bool {
        let names_it = |complaint: String| {
            let mut numbers = complaint.split(|c: char| !c.is_ascii_digit());
            complaint.to_ascii_lowercase().contains("backup") && numbers.any(|n| n.parse() == Ok(id))
        };
        self.status() == 404 && !self.is_spring_error_page() && self.complaint().is_some_and(names_it)
    }

    /// Whether the body is Spring's own error page, which names the path: either no controller was reached,
    /// or an old controller leaves its 404 to Spring.
    pub(crate) fn is_spring_error_page(&self) -> bool {
        self.lenient().is_some_and(|body| body["timestamp"].is_string() && body["path"].is_string())
    }

    /// Builds the error for a response whose status is not a success of this call.
    pub(crate) fn failure(&self) -> ClientError {
        let complaint = self.complaint();
        let reports = |part: &str| complaint.as_ref().is_some_and(|c| c.contains(part));
        let no_repository = reports("No repository with name")
            || self.error_type().as_deref() == Some("repository_missing_exception")
            || (self.status() == 404 && reports("epository"));
        if no_repository {
            let hint = "register it in the search engine, or correct the repository name";
            return self.error(ErrorKind::Missing, self.sentence(complaint.as_deref(), Some(hint)));
        }
        let (kind, hint) = match self.status() {
            // The search engine's own error about an index or a snapshot.
            404 if self.error_type().is_some() => (ErrorKind::Refused, None),
            404 | 405 => {
                let hint = "no API at that path, check the component's address";
                return self.error(ErrorKind::Missing, self.sentence(complaint.as_deref(), Some(hint)));
            }
            409 if reports("scaling") => {
                (ErrorKind::Refused, Some("wait until the partitions are scaled, then back up"))
            }
            409 => (ErrorKind::Conflict { highest: complaint.as_deref().and_then(latest_id) }, None),
            // Another client may have taken our id in the same second. Operate cannot report it while that
            // backup runs.
            400 if reports("validating whether backup") => (
                ErrorKind::Conflict { highest: None },
                Some("another backup with this id runs there, or its search engine failed: see its log"),
            ),
            400 if reports(DISGUISED_FAILURE) => (ErrorKind::Refused, None),
            400 if reports("already exists")
                || reports("already in-progress")
                || reports("Another backup is running") =>
            {
                (ErrorKind::Conflict { highest: None }, None)
            }
            401 | 403 | 407 => {
                return self.error(ErrorKind::AuthRejected, self.authentication_error(complaint.as_deref()));
            }
            400..500 => (ErrorKind::Refused, None),
            500.. => (ErrorKind::Server, None),
            _ => return self.unusable("which is unexpected for this call"),
        };
        self.error(kind, self.sentence(complaint.as_deref(), hint))
    }

    /// The error for a response that no component sends. `what` follows the status in the sentence.
    pub(crate) fn unusable(&self, what: &str) -> ClientError {
        let Self { component, call, .. } = self;
        let message =
            format!("{component} responded to {call} with {}, {what}; check its address", self.status());
        self.error(ErrorKind::Unusable, message)
    }

    /// Whether the body is HTML.
    fn is_page(&self) -> bool {
        self.response.content_type.to_ascii_lowercase().contains("html")
    }

    /// The error for an HTML response.
    fn page(&self) -> ClientError {
        let Self { component, call, .. } = self;
        let message = format!(
            "{component} responded to {call} with {}, with an HTML page instead of JSON; check its address, or configure the login in front of it under access.{component}",
            self.status()
        );
        self.error(ErrorKind::Unusable, message)
    }

    /// Sentence for a 401, 403 or 407: the credentials sent, and the remedy.
    pub(super) fn authentication_error(&self, complaint: Option<&str>) -> String {
        let Self { component, call, .. } = self;
        let status = self.status();
        let detail = complaint.map(|c| format!(" ({})", c.trim_end_matches(['.', ' ']))).unwrap_or_default();
        let login = self.access.as_ref().map(|access| &access.login);
        let proxy = self.access.as_ref().and_then(|access| access.proxy.as_ref());
        if let (407, Some(proxy)) = (status, proxy) {
            let proxy = one_line(proxy, 200);
            return format!(
                "the proxy {proxy} rejected {call} to {component} with 407{detail}: it requires a login, use a proxy without one"
            );
        }
        let through = proxy
            .map(|proxy| format!(", or the proxy {} before it,", one_line(proxy, 200)))
            .unwrap_or_default();
        let Some((login, credential)) = login.and_then(|login| Some((login, login.credential()?))) else {
            let problem = if status == 403 { "access denied" } else { "authentication rejected" };
            return format!(
                "{component}{through} returned {status} to {call}{detail}: {problem}, configure access.{component}"
            );
        };
        if status == 403 {
            let login_name = match login {
                Login::Basic { username, .. } => format!("user `{}`", one_line(username, 80)),
                Login::Oauth(Oauth { client_id, .. }) => format!("client `{}`", one_line(client_id, 80)),
                _ => format!("the credential `{credential}`"),
            };
            return format!(
                "{component}{through} returned 403 to {call}{detail}: {login_name} lacks the permission for this call, grant it"
            );
        }
        let (what, remedy) = match login {
            Login::Basic { username, .. } => (
                format!("the credential `{credential}`"),
                format!(
                    "store the password of user `{}` there; it takes effect at once, under systemd after a restart",
                    one_line(username, 80)
                ),
            ),
            Login::Oauth(Oauth { client_id, .. }) => (
                format!(
                    "the token that client `{}` got with the credential `{credential}`",
                    one_line(client_id, 80)
                ),
                "check `audience` and `scope`, and that it trusts this token endpoint".to_owned(),
            ),
            _ => (
                format!("the credential `{credential}`"),
                "store a valid one there; it takes effect at once, under systemd after a restart".to_owned(),
            ),
        };
        format!("{component}{through} rejected {what} with {status} to {call}{detail}: {remedy}")
    }

    /// The error for JSON of an unknown shape.
    pub(crate) fn unknown_shape(&self) -> ClientError {
        let Self { component, call, .. } = self;
        let message = format!(
            "{component} responded to {call} with JSON of an unknown shape; check its address and version"
        );
        self.error(ErrorKind::Unusable, message)
    }

    /// The error for a response to another request, for example from a cache or gateway that mixes them up.
    pub(crate) fn another_backup_error(&self, name: &str) -> ClientError {
        let Self { component, call, .. } = self;
        let message = format!(
            "{component} responded to {call} with a part of another backup, {name}: check for a cache or a gateway between"
        );
        self.error(ErrorKind::Unusable, message)
    }

    /// Builds an error from this response, evidence included.
    pub(crate) fn error(&self, kind: ErrorKind, message: String) -> ClientError {
        ClientError {
            component: self.component.clone(),
            kind,
            status: Some(self.status()),
            message,
            evidence: self.evidence(),
            retry_after: self.response.retry_after.map(|quiet| quiet.as_secs().max(1)),
        }
    }

    /// `component returned 400 to CALL: reason; hint`.
    pub(crate) fn sentence(&self, complaint: Option<&str>, hint: Option<&str>) -> String {
        let Self { component, call, .. } = self;
        let mut sentence = format!("{component} returned {} to {call}", self.status());
        match complaint {
            Some(complaint) => {
                sentence.push_str(": ");
                sentence.push_str(complaint.trim_end_matches(['.', ' ']));
            }
            None => sentence.push_str(" without a reason"),
        }
        if let Some(hint) = hint {
            sentence.push_str("; ");
            sentence.push_str(hint);
        }
        sentence
    }

    /// Component that returned this response.
    pub(crate) fn component(&self) -> &str {
        &self.component
    }

    /// Method and path of the request.
    pub(crate) fn call(&self) -> &str {
        &self.call
    }

    fn evidence(&self) -> String {
        let Response { status, content_type, body, .. } = &self.response;
        let kind = if self.is_json_response() || content_type.is_empty() {
            String::new()
        } else {
            format!(" ({})", one_line(content_type, 60))
        };
        format!("{} -> {status}{kind}, {}", self.call, body_excerpt(body))
    }

    fn is_json_response(&self) -> bool {
        let kind =
            self.response.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind.is_empty() || kind.ends_with("/json") || kind.ends_with("+json")
    }

    fn lenient(&self) -> Option<Value> {
        if self.is_json_response() { serde_json::from_slice(&self.response.body).ok() } else { None }
    }
}

/// The highest id known to a broker, parsed from its 409. Every wording since 8.2 has these words before the
/// number.
fn latest_id(complaint: &str) -> Option<i64> {
    let lower = complaint.to_ascii_lowercase();
    let (_, after) = lower.split_once("latest backup has id ")?;
    int(&Value::String(after.chars().take_while(char::is_ascii_digit).collect()))
}
