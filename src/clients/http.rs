//! The transport of the daemon: HTTP over reqwest.
//!
//! Owns connections, deadlines and the limit on bodies. Must not know what is sent or what an answer means.

use super::error::one_line;
use super::{MAX_BODY, Method, Request, Response, SharedTransport, Transport, TransportError};
use futures::future::{BoxFuture, FutureExt as _};
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an idle connection is kept: shorter than the servers' own limit, so that none is used as it closes.
const IDLE: Duration = Duration::from_secs(10);
/// How many idle connections are kept per host.
const IDLE_PER_HOST: usize = 2;

/// Carries requests over HTTP/1.1 or HTTP/2; follows no redirect, uses no proxy, never retries.
pub struct HttpTransport {
    client: reqwest::Client,
}

impl HttpTransport {
    /// A transport with its own pool of connections.
    pub fn new() -> Result<Self, TransportError> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("camunda-backupd/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .build()
            .map_err(|error| TransportError::NotSent(format!("TLS cannot be set up: {}", causes(&error))))?;
        Ok(Self { client })
    }

    /// The same, to pass around.
    pub fn shared() -> Result<SharedTransport, TransportError> {
        Ok(Arc::new(Self::new()?))
    }

    async fn exchange(&self, request: Request) -> Result<Response, TransportError> {
        let deadline = request.deadline;
        let method = match request.method {
            Method::Get => reqwest::Method::GET,
            Method::Post => reqwest::Method::POST,
            Method::Put => reqwest::Method::PUT,
            Method::Delete => reqwest::Method::DELETE,
        };
        let mut builder = self.client.request(method, &request.url).timeout(deadline);
        if let Some(json) = &request.json {
            builder = builder.json(json);
        } else if request.method == Method::Post {
            // Some proxies answer 411 to a POST that does not say how long it is.
            builder = builder.header(reqwest::header::CONTENT_LENGTH, 0);
        }
        let mut answer = builder.send().await.map_err(|error| classify(error, deadline))?;
        let status = answer.status();
        if status.is_redirection() {
            return Err(TransportError::Unusable(redirect(&answer)));
        }
        let content_type = answer.headers().get(reqwest::header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let too_long = |length: u64| length > MAX_BODY as u64;
        if answer.content_length().is_some_and(too_long) {
            return Err(longer_than_the_limit());
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| classify(error, deadline))? {
            if too_long((body.len() + chunk.len()) as u64) {
                return Err(longer_than_the_limit());
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Response { status: status.as_u16(), content_type, body })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        self.exchange(request).boxed()
    }
}

fn longer_than_the_limit() -> TransportError {
    TransportError::Unusable(format!("the body is longer than {} MiB", MAX_BODY / (1024 * 1024)))
}

/// Only a failure to connect is certain to have delivered nothing.
fn classify(error: reqwest::Error, deadline: Duration) -> TransportError {
    if error.is_builder() {
        return TransportError::NotSent(format!("the address is not usable: {}", causes(&error)));
    }
    if error.is_connect() {
        let reason = if error.is_timeout() {
            format!("no connection within {} s", CONNECT.min(deadline).as_secs_f32())
        } else {
            causes(&error)
        };
        return TransportError::NotSent(reason);
    }
    if error.is_timeout() {
        return TransportError::Lost(format!("no whole answer within {} s", deadline.as_secs_f32()));
    }
    TransportError::Lost(format!("the connection broke: {}", causes(&error)))
}

/// The innermost cause, which names what happened; the outer ones repeat the URL.
fn causes(error: &reqwest::Error) -> String {
    let mut innermost: Option<&dyn std::error::Error> = error.source();
    while let Some(next) = innermost.and_then(std::error::Error::source) {
        innermost = Some(next);
    }
    innermost.map_or_else(|| "no reason given".to_owned(), |cause| one_line(&cause.to_string(), 300))
}

fn redirect(answer: &reqwest::Response) -> String {
    let status = answer.status().as_u16();
    let location = answer.headers().get(reqwest::header::LOCATION).and_then(|value| value.to_str().ok());
    // The query may hold a token of a login page.
    match location.map(|to| to.split(['?', '#']).next().unwrap_or_default()) {
        Some(to) => format!("a redirect ({status}) to {}", one_line(to, 200)),
        None => format!("a redirect ({status})"),
    }
}
