//! One call to one component, and what an answer that is not the wanted one means.
//!
//! Owns the reading of error answers in all their shapes. Must not know what a successful answer looks like.

use crate::camunda::error::{ClientError, DISGUISED_FAILURE, ErrorKind, body_excerpt, one_line};
use crate::camunda::reading::{int, text};
use crate::camunda::rejections::{Attempt, Outcome};
use crate::camunda::{Method, Request, Response, SharedTransport, TransportError};
use crate::domain::{Access, Login, Oauth};
use serde_json::Value;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for an answer that only reads; a broker whose store hangs answers 504 after 15 s.
pub(crate) const READ: Duration = Duration::from_secs(30);
/// Longest wait for the start of a backup: none of them waits for it to end.
pub(crate) const START: Duration = Duration::from_secs(30);
/// Longest wait for a deletion: search engines and brokers delete before they answer.
pub(crate) const DELETE: Duration = Duration::from_mins(1);
/// Longest wait for a pause or a resume.
pub(crate) const SWITCH: Duration = Duration::from_secs(10);
/// Longest wait for one broker's exporter phases.
pub(crate) const EXPORTERS: Duration = Duration::from_secs(5);

/// Calls one component at one address.
#[derive(Clone)]
pub(crate) struct Caller {
    component: String,
    base: String,
    access: Option<Arc<Access>>,
    transport: SharedTransport,
}

/// An answer of any status but a redirect.
#[derive(Clone)]
pub(crate) struct ParsedResponse {
    component: String,
    call: String,
    access: Option<Arc<Access>>,
    response: Response,
}

impl Caller {
    /// Calls `component` below `base`.
    pub fn new(component: &str, base: &str, transport: SharedTransport) -> Self {
        let access = transport.access(component);
        Self {
            component: component.to_owned(),
            base: base.trim_end_matches('/').to_owned(),
            access,
            transport,
        }
    }

    /// The address, without user info.
    pub fn base(&self) -> String {
        one_line(&self.base, 200)
    }

    /// Sends one request; `path` begins with a slash and is already encoded.
    pub async fn call(
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
                    Err(response.unusable("which no component answers"))
                }
            }
            Err(error) => {
                let told = self.without_response(&call, &error);
                if matches!(error, TransportError::NoAccess { .. }) {
                    self.note(&call, Outcome::KeptOut(&told.message));
                }
                Err(told)
            }
        }
    }

    fn note_response(&self, response: &ParsedResponse) {
        if !matches!(response.status(), 401 | 403 | 407) {
            return self.note(&response.call, Outcome::AuthAccepted);
        }
        let why = response.denied(response.complaint().as_deref());
        let shows = self.access.as_ref().is_some_and(|access| access.login.credential().is_some());
        // Some calls are open to everybody, also where others want a login.
        let of_this_call = response.status() == 403 || !shows;
        let outcome = if of_this_call { Outcome::Forbidden(&why) } else { Outcome::KeptOut(&why) };
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
                (ErrorKind::NotSent, format!("{component} cannot be reached at {}: {reason}", self.base()))
            }
            TransportError::Lost(_) => {
                (ErrorKind::Lost, format!("{component} gave no whole answer to {call}: {reason}"))
            }
            TransportError::Unusable(_) => {
                // Who is not logged in is most often sent to where one logs in.
                let login = if reason.starts_with("a redirect") {
                    format!(", or name what a login in front of it wants under access.{component}")
                } else {
                    String::new()
                };
                let what = "with something no component answers";
                (
                    ErrorKind::Unusable,
                    format!("{component} answered {call} {what}: {reason}; check its address{login}"),
                )
            }
            TransportError::NoAccess { transient, .. } => (
                if *transient { ErrorKind::NoAccess } else { ErrorKind::AuthRejected },
                format!("{component} was not asked {call}, because {reason}"),
            ),
        };
        let evidence = format!("{call} -> no answer, {reason}");
        ClientError { component: component.clone(), kind, status: None, message, evidence, retry_after: None }
    }
}

impl ParsedResponse {
    /// HTTP status.
    pub fn status(&self) -> u16 {
        self.response.status
    }

    /// Whether there is no body.
    pub fn is_empty(&self) -> bool {
        self.response.body.is_empty()
    }

    /// The body as text, whatever it says it is.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.response.body).into_owned()
    }

    /// The body as JSON, if it is JSON and says so.
    pub fn json(&self) -> Result<Value, ClientError> {
        if self.is_empty() {
            return Err(self.unusable("with an empty body instead of JSON"));
        }
        if !self.says_json() {
            if self.is_page() {
                return Err(self.page());
            }
            let kind = one_line(&self.response.content_type, 60);
            return Err(self.unusable(&format!("with `{kind}` instead of JSON")));
        }
        serde_json::from_slice(&self.response.body).map_err(|_| self.unusable("with a body that is not JSON"))
    }

    /// The body as a JSON object.
    pub fn object(&self) -> Result<Value, ClientError> {
        self.json().and_then(|value| if value.is_object() { Ok(value) } else { Err(self.unknown_shape()) })
    }

    /// The body as a JSON array.
    pub fn array(&self) -> Result<Vec<Value>, ClientError> {
        match self.json()? {
            Value::Array(all) => Ok(all),
            _ => Err(self.unknown_shape()),
        }
    }

    /// What the component says went wrong, in any of the shapes seen: `message`, problem+json, Optimize's
    /// `detailedMessage`, a search engine's `error.reason`.
    pub fn complaint(&self) -> Option<String> {
        let body: Value = self.lenient()?;
        let error = &body["error"];
        // Spring's placeholder says less than nothing.
        let said = |value: &Value| text(value).filter(|t| t != "No message available");
        said(&body["message"])
            .or_else(|| said(&body["detailedMessage"]))
            .or_else(|| said(&body["detail"]))
            .or_else(|| said(&body["errorMessage"]))
            .or_else(|| said(&error["reason"]))
            .or_else(|| said(error))
            .or_else(|| said(&body["title"]))
    }

    /// `error.type` of a search engine.
    pub fn error_type(&self) -> Option<String> {
        text(&self.lenient()?["error"]["type"])
    }

    /// Whether this 404 is the component's own word that backup `id` does not exist. Gateways and wrong paths
    /// answer 404 as well, some of them with a `message`, but none names the id.
    pub fn says_no_such_backup(&self, id: i64) -> bool {
        let names_it = |complaint: String| {
            let mut numbers = complaint.split(|c: char| !c.is_ascii_digit());
            complaint.to_ascii_lowercase().contains("backup") && numbers.any(|n| n.parse() == Ok(id))
        };
        self.status() == 404 && !self.is_springs_own() && self.complaint().is_some_and(names_it)
    }

    /// Whether the body is Spring's own error page, which names the path: no controller was reached, or an old one
    /// that leaves its 404 to Spring.
    pub fn is_springs_own(&self) -> bool {
        self.lenient().is_some_and(|body| body["timestamp"].is_string() && body["path"].is_string())
    }

    /// The error this answer is, where no success was expected of its status.
    pub fn failure(&self) -> ClientError {
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
            // A search engine's own word, about an index or a snapshot.
            404 if self.error_type().is_some() => (ErrorKind::Refused, None),
            404 | 405 => {
                let hint = "nothing answers at that path, check the component's address";
                return self.error(ErrorKind::Missing, self.sentence(complaint.as_deref(), Some(hint)));
            }
            409 if reports("scaling") => {
                (ErrorKind::Refused, Some("wait until the partitions are scaled, then back up"))
            }
            409 => (ErrorKind::Conflict { highest: complaint.as_deref().and_then(latest_id) }, None),
            // Another's may have our id, taken in the same second; while that one runs, Operate cannot even tell.
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
            401 | 403 | 407 => return self.error(ErrorKind::AuthRejected, self.denied(complaint.as_deref())),
            400..500 => (ErrorKind::Refused, None),
            500.. => (ErrorKind::Server, None),
            _ => return self.unusable("which does not fit the call"),
        };
        self.error(kind, self.sentence(complaint.as_deref(), hint))
    }

    /// The error that this answer is nothing a component gives; `what` follows "answered".
    pub fn unusable(&self, what: &str) -> ClientError {
        let Self { component, call, .. } = self;
        let message =
            format!("{component} answered {call} with {}, {what}; check its address", self.status());
        self.error(ErrorKind::Unusable, message)
    }

    /// Whether it is a page for people.
    fn is_page(&self) -> bool {
        self.response.content_type.to_ascii_lowercase().contains("html")
    }

    /// The error that this answer is a page for people.
    fn page(&self) -> ClientError {
        let Self { component, call, .. } = self;
        let message = format!(
            "{component} answered {call} with {}, with a page for people instead of JSON; check its address, or name what a login in front of it wants under access.{component}",
            self.status()
        );
        self.error(ErrorKind::Unusable, message)
    }

    /// The sentence of a 401, 403 or 407: what we showed, and what to do about it.
    fn denied(&self, complaint: Option<&str>) -> String {
        let Self { component, call, .. } = self;
        let status = self.status();
        let said = complaint.map(|c| format!(" ({})", c.trim_end_matches(['.', ' ']))).unwrap_or_default();
        let login = self.access.as_ref().map(|access| &access.login);
        let proxy = self.access.as_ref().and_then(|access| access.proxy.as_ref());
        if let (407, Some(proxy)) = (status, proxy) {
            let proxy = one_line(proxy, 200);
            return format!(
                "the proxy {proxy} refused {call} to {component} with 407{said}: it wants a login, use a proxy that lets this machine through without one"
            );
        }
        let through = proxy
            .map(|proxy| format!(", or the proxy {} before it,", one_line(proxy, 200)))
            .unwrap_or_default();
        let Some((login, credential)) = login.and_then(|login| Some((login, login.credential()?))) else {
            return format!(
                "{component}{through} answered {status} to {call}{said}: it wants credentials, name them under access.{component}"
            );
        };
        if status == 403 {
            let who = match login {
                Login::Basic { username, .. } => format!("user `{}`", one_line(username, 80)),
                Login::Oauth(Oauth { client_id, .. }) => format!("client `{}`", one_line(client_id, 80)),
                _ => format!("the credential `{credential}`"),
            };
            return format!(
                "{component}{through} knows {who} and forbade {call} with 403{said}: give it the permission for this call"
            );
        }
        let (what, remedy) = match login {
            Login::Basic { username, .. } => (
                format!("the credential `{credential}`"),
                format!(
                    "put the password of user `{}` there, which counts at once, under systemd after a restart",
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
                "put one there that is valid, which counts at once, under systemd after a restart".to_owned(),
            ),
        };
        format!("{component}{through} refused {what} with {status} to {call}{said}: {remedy}")
    }

    /// The error that this answer is JSON of a shape not known.
    pub fn unknown_shape(&self) -> ClientError {
        let Self { component, call, .. } = self;
        let message = format!(
            "{component} answered {call} with JSON of an unknown shape; check its address and version"
        );
        self.error(ErrorKind::Unusable, message)
    }

    /// An answer that was meant for another question: a cache or a gateway that mixes them up.
    pub fn of_another_backup(&self, name: &str) -> ClientError {
        let Self { component, call, .. } = self;
        let message = format!(
            "{component} answered {call} with a part of another backup, {name}: see what stands between, as a cache or a gateway"
        );
        self.error(ErrorKind::Unusable, message)
    }

    /// An error of this answer, its evidence included.
    pub fn error(&self, kind: ErrorKind, message: String) -> ClientError {
        ClientError {
            component: self.component.clone(),
            kind,
            status: Some(self.status()),
            message,
            evidence: self.evidence(),
            retry_after: self.response.retry_after.map(|quiet| quiet.as_secs().max(1)),
        }
    }

    /// `component answered 400 to CALL: reason; hint`.
    pub fn sentence(&self, complaint: Option<&str>, hint: Option<&str>) -> String {
        let Self { component, call, .. } = self;
        let mut sentence = format!("{component} answered {} to {call}", self.status());
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

    /// Component whose answer it is.
    pub fn component(&self) -> &str {
        &self.component
    }

    /// Method and path that were asked.
    pub fn call(&self) -> &str {
        &self.call
    }

    fn evidence(&self) -> String {
        let Response { status, content_type, body, .. } = &self.response;
        let kind = if self.says_json() || content_type.is_empty() {
            String::new()
        } else {
            format!(" ({})", one_line(content_type, 60))
        };
        format!("{} -> {status}{kind}, {}", self.call, body_excerpt(body))
    }

    fn says_json(&self) -> bool {
        let kind =
            self.response.content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind.is_empty() || kind.ends_with("/json") || kind.ends_with("+json")
    }

    fn lenient(&self) -> Option<Value> {
        if self.says_json() { serde_json::from_slice(&self.response.body).ok() } else { None }
    }
}

/// The highest id a broker knows, from its 409; every wording since 8.2 has these words before the number.
fn latest_id(complaint: &str) -> Option<i64> {
    let lower = complaint.to_ascii_lowercase();
    let (_, after) = lower.split_once("latest backup has id ")?;
    int(&Value::String(after.chars().take_while(char::is_ascii_digit).collect()))
}

/// One segment of a path, encoded; `*` stays, because repositories take patterns.
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

/// The path part of a base URL, which a Helm context path puts before `/actuator`.
fn prefix(base: &str) -> String {
    url::Url::parse(base).map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default()
}
