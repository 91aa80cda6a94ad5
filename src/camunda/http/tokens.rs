//! Tokens of OAuth 2.0 client credentials: cached until shortly before they expire, and fetched one at a
//! time.
//!
//! Owns the rate of requests to a token endpoint. Must not know the use of a token.

use crate::camunda::TransportError;
use crate::camunda::error::one_line;
use crate::camunda::http::login::mask;
use crate::camunda::http::reasons::{causes, classify, redirect};
use crate::clock::{Clock, SharedClock};
use crate::domain::{Access, Oauth, Secret};
use crate::lock::lock;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Minimum interval between two fetches from one endpoint, for all clients together.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// Backoff of an endpoint that reports too many requests without `Retry-After`.
const DEFAULT_BACKOFF: Duration = Duration::from_secs(5);
/// Longest backoff that one call waits out. With a longer backoff the call fails at once, and its caller retries
/// later.
const SHORT_BACKOFF: Duration = Duration::from_millis(1100);
/// Longest `Retry-After` that is obeyed: a resume may wait for the token.
const MAX_BACKOFF: Duration = Duration::from_mins(5);
/// Timeout of a token endpoint.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);
/// A token is renewed this long before it expires, or in its last quarter if its lifetime is short.
const RENEW_EARLY: Duration = Duration::from_secs(30);
/// Lifetime of a token without `expires_in`.
const DEFAULT_LIFETIME: Duration = Duration::from_mins(5);
/// Maximum time that a token is cached.
const MAX_LIFETIME: Duration = Duration::from_hours(24);
/// Maximum length of a token endpoint's response, in bytes.
const MAX_RESPONSE: usize = 64 * 1024;
/// Maximum number of cached tokens and of endpoints.
const MAX_ENTRIES: usize = 1024;

/// A token to use.
pub(super) struct Issued {
    pub text: Secret,
    /// Whether the token comes from the cache. `false` if it was fetched for this call.
    pub kept: bool,
}

pub(super) struct Tokens {
    clock: SharedClock,
    slots: Mutex<BTreeMap<Oauth, Shared<Slot>>>,
    gates: Mutex<BTreeMap<String, Shared<Gate>>>,
}

type Shared<T> = Arc<tokio::sync::Mutex<T>>;

/// One client's token at one endpoint. Locked during a fetch.
#[derive(Default)]
struct Slot {
    token: Option<(Secret, Duration)>,
    /// Result for the callers that waited for a failed fetch.
    failed: Option<(Duration, TransportError)>,
}

/// Earliest time of the next request to one endpoint.
#[derive(Default)]
struct Gate {
    open_at: Duration,
    /// Whether the endpoint itself reported too many requests.
    rate_limited: bool,
}

impl Tokens {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, slots: Mutex::default(), gates: Mutex::default() }
    }

    /// Returns the cached token, unless it equals `refused` or is about to expire; else fetches a new one.
    pub(super) async fn token<F>(
        &self,
        oauth: &Oauth,
        access: &Access,
        client: &reqwest::Client,
        secret: impl FnOnce() -> F,
        refused: Option<&Secret>,
        left: Duration,
    ) -> Result<Issued, TransportError>
    where
        F: Future<Output = Result<Secret, TransportError>>,
    {
        let clock = &*self.clock;
        let requested = clock.monotonic();
        let slot = one_of(&self.slots, oauth);
        let mut slot = slot.lock().await;
        slot.token.take_if(|(text, _)| Some(&*text) == refused);
        let spare = match &slot.token {
            Some((text, until)) if *until > clock.monotonic() => {
                return Ok(Issued { text: text.clone(), kept: true });
            }
            Some((text, _)) => Some(text.clone()),
            None => None,
        };
        let left = (requested + left).saturating_sub(clock.monotonic());
        // Fall back to a token that is about to expire, or has expired, if no other is available: a resume
        // may depend on it.
        let left = if spare.is_some() { left / 2 } else { left };
        match (self.renew(&mut slot, oauth, access, client, secret, requested, left).await, spare) {
            (Err(_), Some(text)) => Ok(Issued { text, kept: true }),
            (renewed, _) => renewed,
        }
    }

    #[allow(clippy::too_many_arguments)] // the rest of `token`, without a cached token
    async fn renew<F>(
        &self,
        slot: &mut Slot,
        oauth: &Oauth,
        access: &Access,
        client: &reqwest::Client,
        secret: impl FnOnce() -> F,
        requested: Duration,
        left: Duration,
    ) -> Result<Issued, TransportError>
    where
        F: Future<Output = Result<Secret, TransportError>>,
    {
        let clock = &*self.clock;
        if let Some((at, error)) = &slot.failed
            && *at >= requested
        {
            return Err(error.clone());
        }
        let deadline = clock.monotonic() + left;
        let secret = secret().await?;
        self.wait_at_gate(oauth, deadline).await?;
        let rest = || deadline.saturating_sub(clock.monotonic());
        let mut fetched = self.fetch(oauth, access, client, &secret, rest()).await;
        if fetched.is_err() && self.has_short_backoff(oauth).await {
            // Another process with this IP address used up the rate limit first, so the request is repeated once.
            fetched = match self.wait_at_gate(oauth, deadline).await {
                Ok(()) => self.fetch(oauth, access, client, &secret, rest()).await,
                Err(error) => Err(error),
            };
        }
        match fetched {
            Ok((text, good_for)) => {
                slot.failed = None;
                slot.token = Some((text.clone(), clock.monotonic() + good_for));
                Ok(Issued { text, kept: false })
            }
            Err(error) => {
                slot.failed = Some((clock.monotonic(), error.clone()));
                Err(error)
            }
        }
    }

    /// Whether the endpoint's last response was a rate limit that ends within `SHORT_BACKOFF`.
    async fn has_short_backoff(&self, oauth: &Oauth) -> bool {
        let gate = one_of(&self.gates, &oauth.token_url);
        let gate = gate.lock().await;
        gate.rate_limited && gate.open_at.saturating_sub(self.clock.monotonic()) <= SHORT_BACKOFF
    }

    /// Waits for the minimum interval between two requests to a token endpoint, or for the end of its rate limit.
    async fn wait_at_gate(&self, oauth: &Oauth, deadline: Duration) -> Result<(), TransportError> {
        let gate = one_of(&self.gates, &oauth.token_url);
        let mut gate = gate.lock().await;
        let now = self.clock.monotonic();
        if gate.rate_limited && gate.open_at >= deadline {
            let seconds = gate.open_at.saturating_sub(now).as_secs().max(1);
            let reason = format!(
                "the token endpoint {} returned 429 (too many requests): the request is sent again after {seconds} s",
                endpoint(oauth)
            );
            return Err(TransportError::NoAccess { reason, transient: true });
        }
        if gate.open_at > now {
            self.clock.sleep(gate.open_at.saturating_sub(now)).await;
        }
        *gate = Gate { open_at: self.clock.monotonic() + MIN_INTERVAL, rate_limited: false };
        Ok(())
    }

    async fn fetch(
        &self,
        oauth: &Oauth,
        access: &Access,
        client: &reqwest::Client,
        secret: &Secret,
        left: Duration,
    ) -> Result<(Secret, Duration), TransportError> {
        let deadline = left.min(FETCH_TIMEOUT);
        let url = endpoint(oauth);
        let none = |reason: String, transient| TransportError::NoAccess { reason, transient };
        let request = client
            .post(&oauth.token_url)
            .timeout(deadline)
            .header(
                reqwest::header::CONTENT_TYPE,
                if oauth.json { "application/json" } else { "application/x-www-form-urlencoded" },
            )
            .header(reqwest::header::ACCEPT, "application/json")
            .body(if oauth.json { json(oauth, secret) } else { form(oauth, secret) });
        let response = request.send().await.map_err(|error| {
            if error.is_builder() {
                return none(format!("the token endpoint {url} is not usable: {}", causes(&error)), false);
            }
            match classify(error, deadline, Some(access)) {
                TransportError::NoAccess { reason, transient } => {
                    none(format!("the token endpoint {url} cannot be used, {reason}"), transient)
                }
                other => none(format!("cannot connect to the token endpoint {url}: {other}"), true),
            }
        })?;
        let status = response.status().as_u16();
        if response.status().is_redirection() {
            let to = redirect(&response);
            return Err(none(format!("the token endpoint {url} returned {to}: correct `token_url`"), false));
        }
        if status == 429 {
            let wait = retry_after(&response, &*self.clock).unwrap_or(DEFAULT_BACKOFF).min(MAX_BACKOFF);
            let gate = one_of(&self.gates, &oauth.token_url);
            *gate.lock().await = Gate { open_at: self.clock.monotonic() + wait, rate_limited: true };
            let seconds = wait.as_secs();
            let reason = format!(
                "the token endpoint {url} returned 429 (too many requests): the request is sent again after {seconds} s"
            );
            return Err(none(reason, true));
        }
        let mut body =
            crate::camunda::http::body(response, MAX_RESPONSE, deadline, Some(access)).await.map_err(
                |error| none(format!("no complete response from the token endpoint {url}: {error}"), true),
            )?;
        if status >= 400 {
            mask(&mut body, secret);
        }
        let response: Value = serde_json::from_slice(&body).unwrap_or_default();
        match status {
            200..300 => issued(&response).ok_or_else(|| {
                none(
                    format!(
                        "the token endpoint {url} returned {status} without a token: correct `token_url`"
                    ),
                    false,
                )
            }),
            400 | 401 | 403 => Err(none(
                format!(
                    "the token endpoint {url} rejected client `{}` with {status}{}: check `client_id`, `audience`, `scope` and the credential `{}`",
                    one_line(&oauth.client_id, 80),
                    complaint(&response),
                    oauth.client_secret
                ),
                false,
            )),
            407 => {
                let proxy = access.proxy.as_deref().unwrap_or("before it");
                Err(none(
                    format!(
                        "the proxy {} requires a login (407) for the token endpoint {url}: use a proxy without one",
                        one_line(proxy, 200)
                    ),
                    false,
                ))
            }
            404 | 405 => {
                Err(none(format!("no token endpoint at {url} ({status}): correct `token_url`"), false))
            }
            _ => Err(none(
                format!("the token endpoint {url} returned {status}{}: see its log", complaint(&response)),
                true,
            )),
        }
    }
}

/// Entry for `key`. Drops an unused entry if there are too many.
fn one_of<K: Ord + Clone, T: Default>(all: &Mutex<BTreeMap<K, Shared<T>>>, key: &K) -> Shared<T> {
    let mut all = lock(all);
    if all.len() >= MAX_ENTRIES && !all.contains_key(key) {
        let unused = all.iter().find(|(_, entry)| Arc::strong_count(entry) == 1);
        if let Some(unused) = unused.map(|(key, _)| key.clone()) {
            all.remove(&unused);
        }
    }
    all.entry(key.clone()).or_default().clone()
}

fn endpoint(oauth: &Oauth) -> String {
    one_line(&oauth.token_url, 200)
}

fn form(oauth: &Oauth, secret: &Secret) -> String {
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "client_credentials")
        .append_pair("client_id", &oauth.client_id)
        .append_pair("client_secret", secret.expose());
    for (key, value) in [("audience", &oauth.audience), ("scope", &oauth.scope)] {
        if let Some(value) = value {
            form.append_pair(key, value);
        }
    }
    form.finish()
}

fn json(oauth: &Oauth, secret: &Secret) -> String {
    let mut body = serde_json::json!({
        "grant_type": "client_credentials",
        "client_id": oauth.client_id,
        "client_secret": secret.expose(),
    });
    for (key, value) in [("audience", &oauth.audience), ("scope", &oauth.scope)] {
        if let Some(value) = value {
            body[key] = value.as_str().into();
        }
    }
    body.to_string()
}

/// The token and its lifetime.
fn issued(response: &Value) -> Option<(Secret, Duration)> {
    let text = response["access_token"].as_str().filter(|text| !text.is_empty())?;
    let seconds = &response["expires_in"];
    let seconds = seconds.as_f64().or_else(|| seconds.as_str()?.trim().parse().ok());
    let life = seconds
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .unwrap_or(DEFAULT_LIFETIME)
        .min(MAX_LIFETIME);
    Some((Secret::new(text), life.saturating_sub(RENEW_EARLY.min(life / 4))))
}

/// Error text as specified in RFC 6749 section 5.2.
fn complaint(response: &Value) -> String {
    let field = |key: &str| response[key].as_str().map(|text| one_line(text, 200));
    match (field("error"), field("error_description").or_else(|| field("message"))) {
        (Some(error), Some(more)) => format!(" ({error}: {})", more.trim_end_matches(['.', ' '])),
        (Some(error), None) => format!(" ({error})"),
        (None, Some(more)) => format!(" ({})", more.trim_end_matches(['.', ' '])),
        (None, None) => String::new(),
    }
}

/// `Retry-After`: seconds, or an instant on the server's clock.
pub(super) fn retry_after(response: &reqwest::Response, clock: &dyn Clock) -> Option<Duration> {
    let text = response.headers().get(reqwest::header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    Some((at.to_utc() - clock.now()).to_std().unwrap_or_default())
}
