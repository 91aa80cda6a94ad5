//! The daemon's transport: HTTP over reqwest.
//!
//! Owns connections, deadlines, the limit on bodies, and authentication. Must not know the meaning of a
//! request or a response.

mod login;
mod pool;
mod reasons;
mod tokens;

use crate::camunda::rejections::{Outcome, Rejections};
use crate::camunda::{
    Attempt, MAX_BODY, Method, Rejection, Request, Response, Secrets, SharedTransport, Transport,
    TransportError,
};
use crate::clock::{Clock, SharedClock, SystemClock, within};
use crate::domain::{Access, Addresses, Login, RunId, Secret};
use futures::future::{BoxFuture, FutureExt as _};
use pool::Pool;
use reasons::{classify, longer_than_the_limit, redirect};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokens::Tokens;

/// Carries requests over HTTP/1.1. Follows no redirect and uses only the configured proxy. Repeats a request
/// only after a 401 for a cached token.
pub struct HttpTransport {
    pool: Arc<Pool>,
    tokens: Tokens,
    secrets: Arc<dyn Secrets>,
    clock: SharedClock,
    rejections: Arc<Rejections>,
}

impl HttpTransport {
    /// Creates a transport with its own connection pool, for components without authentication.
    pub fn new() -> Result<Self, TransportError> {
        Self::with(Arc::new(NoSecrets), SystemClock::shared())
    }

    /// Creates a transport that reads credentials from `secrets`.
    pub fn with(secrets: Arc<dyn Secrets>, clock: SharedClock) -> Result<Self, TransportError> {
        let (pool, tokens) = (Arc::new(Pool::new()?), Tokens::new(clock.clone()));
        Ok(Self { pool, tokens, secrets, clock, rejections: Arc::default() })
    }

    /// Same as `new`, as a shared handle.
    pub fn shared() -> Result<SharedTransport, TransportError> {
        Ok(Arc::new(Self::new()?))
    }

    async fn exchange(&self, request: Request) -> Result<Response, TransportError> {
        let Some(access) = request.access.clone() else {
            return once(self.pool.plain(), &request, None, request.deadline, &*self.clock).await;
        };
        let began = self.clock.monotonic();
        let left = || request.deadline.saturating_sub(self.clock.monotonic().saturating_sub(began));
        let client = self.in_time(left(), self.client(&access)).await?;
        let Login::Oauth(oauth) = &access.login else {
            let header = self.in_time(left(), self.header(&access)).await?;
            return once(&client, &request, header.as_ref(), left(), &*self.clock).await;
        };
        let get = |unless: Option<Secret>| {
            let (access, client, left) = (access.clone(), client.clone(), left());
            let secret = || self.secret(&oauth.client_secret);
            async move {
                self.in_time(left, self.tokens.token(oauth, &access, &client, secret, unless.as_ref(), left))
                    .await
            }
        };
        let token = get(None).await?;
        let header = login::bearer(&token.text, &oauth.client_secret)?;
        let response = once(&client, &request, Some(&header), left(), &*self.clock).await?;
        if response.status != 401 || !token.kept {
            return Ok(response);
        }
        // A component that rejects a token has not acted: retry once with a new token.
        let token = get(Some(token.text)).await?;
        let header = login::bearer(&token.text, &oauth.client_secret)?;
        once(&client, &request, Some(&header), left(), &*self.clock).await
    }

    async fn client(&self, access: &Arc<Access>) -> Result<reqwest::Client, TransportError> {
        if access.ca.is_none() && access.identity.is_none() && access.proxy.is_none() {
            return Ok(self.pool.plain().clone());
        }
        let (pool, secrets, access) = (self.pool.clone(), self.secrets.clone(), access.clone());
        off_runtime(move || pool.client(&access, &*secrets)).await
    }

    async fn header(&self, access: &Access) -> Result<Option<login::Header>, TransportError> {
        match access.login.credential() {
            Some(name) => login::header(&access.login, &self.secret(name).await?),
            None => Ok(None),
        }
    }

    async fn secret(&self, name: &str) -> Result<Secret, TransportError> {
        let (secrets, name) = (self.secrets.clone(), name.to_owned());
        off_runtime(move || {
            secrets.read(&name).map_err(|reason| TransportError::NoAccess { reason, transient: false })
        })
        .await
    }

    /// Limits preparation by the request's deadline, so that time is left for the request.
    async fn in_time<T>(
        &self,
        left: Duration,
        work: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        within(&*self.clock, left, work).await.unwrap_or_else(|| {
            let reason = format!(
                "no credentials or token within {} s: check that the token endpoint responds",
                left.as_secs_f32()
            );
            Err(TransportError::NoAccess { reason, transient: true })
        })
    }
}

impl Transport for HttpTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        self.exchange(request).boxed()
    }

    fn keep(&self, run: RunId, access: Arc<Access>) -> BoxFuture<'_, Result<(), String>> {
        let secrets = self.secrets.clone();
        Box::pin(async move {
            let kept = tokio::task::spawn_blocking(move || secrets.keep(run, &access)).await;
            kept.unwrap_or_else(|error| Err(error.to_string()))
        })
    }

    fn keep_only(&self, runs: BTreeSet<RunId>) -> BoxFuture<'_, ()> {
        let secrets = self.secrets.clone();
        tokio::task::spawn_blocking(move || secrets.keep_only(&runs)).map(|_| ()).boxed()
    }

    fn release(&self, run: RunId) -> BoxFuture<'_, ()> {
        let secrets = self.secrets.clone();
        tokio::task::spawn_blocking(move || secrets.release(run)).map(|_| ()).boxed()
    }

    fn note(&self, attempt: Attempt<'_>) {
        self.rejections.note(&attempt, self.clock.now());
    }

    fn rejections(&self, addresses: &Addresses) -> Vec<Rejection> {
        self.rejections.of(addresses)
    }

    fn examine(&self, component: &str, access: Arc<Access>) -> BoxFuture<'_, ()> {
        let (pool, secrets, component) = (self.pool.clone(), self.secrets.clone(), component.to_owned());
        let examined = access.clone();
        let read = tokio::task::spawn_blocking(move || {
            examined.login.credential().map_or(Ok(()), |name| secrets.read(name).map(|_| ()))?;
            pool.examine(&examined, &*secrets)
        });
        Box::pin(async move {
            let why = match read.await {
                Ok(read) => {
                    read.err().map(|why| format!("the credentials for {component} are not available: {why}"))
                }
                Err(_) => return,
            };
            let outcome = why.as_deref().map_or(Outcome::AuthAccepted, Outcome::AuthRejected);
            self.note(Attempt { component: &component, base: "", access: Some(&access), call: "", outcome });
        })
    }
}

/// Sends the request once, unchanged.
async fn once(
    client: &reqwest::Client,
    request: &Request,
    login: Option<&login::Header>,
    deadline: Duration,
    clock: &dyn Clock,
) -> Result<Response, TransportError> {
    let method = match request.method {
        Method::Get => reqwest::Method::GET,
        Method::Post => reqwest::Method::POST,
        Method::Put => reqwest::Method::PUT,
        Method::Delete => reqwest::Method::DELETE,
    };
    let mut builder = client.request(method, &request.url).timeout(deadline);
    if let Some(json) = &request.json {
        builder = builder.json(json);
    } else if request.method == Method::Post {
        // Some proxies respond 411 to a POST without `Content-Length`.
        builder = builder.header(reqwest::header::CONTENT_LENGTH, 0);
    }
    if let Some(login) = login {
        builder = builder.header(reqwest::header::AUTHORIZATION, login.value.clone());
    }
    let access = request.access.as_deref();
    let response = builder.send().await.map_err(|error| classify(error, deadline, access))?;
    let status = response.status();
    if status.is_redirection() {
        return Err(TransportError::Unusable(redirect(&response)));
    }
    let content_type = response.headers().get(reqwest::header::CONTENT_TYPE);
    let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let retry_after = tokens::retry_after(&response, clock);
    let mut body = body(response, MAX_BODY, deadline, access).await?;
    if let Some(login) = login {
        login.mask(&mut body, status.is_success());
    }
    Ok(Response { status: status.as_u16(), content_type, body, retry_after })
}

/// Reads the whole body; an error if the body is longer than `limit` bytes.
async fn body(
    mut response: reqwest::Response,
    limit: usize,
    deadline: Duration,
    access: Option<&Access>,
) -> Result<Vec<u8>, TransportError> {
    let too_long = |length: u64| length > limit as u64;
    if response.content_length().is_some_and(too_long) {
        return Err(longer_than_the_limit(limit));
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| classify(error, deadline, access))? {
        if too_long((body.len() + chunk.len()) as u64) {
            return Err(longer_than_the_limit(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Runs blocking file access off the runtime.
async fn off_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, TransportError> + Send + 'static,
) -> Result<T, TransportError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
        Err(TransportError::NoAccess {
            reason: format!("reading credentials failed: {error}"),
            transient: true,
        })
    })
}

/// Credential source of a transport for components without authentication: every read fails.
struct NoSecrets;

impl Secrets for NoSecrets {
    fn read(&self, name: &str) -> Result<Secret, String> {
        Err(format!(
            "credential `{name}` cannot be looked for, because no directory of credentials is known here"
        ))
    }

    fn certificates(&self, path: &Path) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
    }

    fn keep(&self, _: RunId, _: &Access) -> Result<(), String> {
        Ok(())
    }

    fn keep_only(&self, _: &BTreeSet<RunId>) {}

    fn release(&self, _: RunId) {}
}
