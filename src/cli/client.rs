//! HTTP client of the daemon: over its control socket, or read-only over a URL.
//!
//! Owns timeouts and the mapping from a response to an exit code. Must not print.

use super::{Failure, exit};
use crate::clock::{SharedClock, SystemClock};
use crate::config::directories::sockets_of;
use crate::config::{self, Environment};
use reqwest::Method;
use serde_json::Value;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Timeout of a response, added to the duration of the command itself.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(90);
/// Interval of liveness probes while a response is outstanding.
const LIVENESS_INTERVAL: Duration = Duration::from_secs(5);
/// Timeout of a liveness probe. `/health/live` needs no state and no cluster, so only a hung daemon exceeds it.
const LIVENESS_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to one daemon.
pub(super) struct Client {
    http: reqwest::Client,
    base: String,
    location: String,
    reads_only: bool,
    clock: SharedClock,
}

impl Client {
    /// The daemon at `--url`, else the one of the config.
    pub(super) fn find(url: Option<&str>, config: &Path) -> Result<Self, Failure> {
        match url {
            Some(url) if !(url.starts_with("http://") || url.starts_with("https://")) => Err(Failure::new(
                exit::USAGE,
                format!("--url {url} is not a URL: write http:// or https://, a host and a port"),
            )),
            Some(url) => {
                let client = Self::over(
                    reqwest::Client::builder,
                    url.trim_end_matches('/').to_owned(),
                    url.to_owned(),
                )?;
                Ok(Self { reads_only: true, ..client })
            }
            None => Self::at(&socket(config)?),
        }
    }

    /// The daemon behind one control socket.
    pub(super) fn at(socket: &Path) -> Result<Self, Failure> {
        let builder = || reqwest::Client::builder().unix_socket(socket);
        Self::over(builder, "http://localhost".into(), socket.display().to_string())
    }

    fn over(
        builder: impl Fn() -> reqwest::ClientBuilder,
        base: String,
        location: String,
    ) -> Result<Self, Failure> {
        let plain = || builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let http = plain()
            .build()
            // The control socket needs no CA certificates, so a machine without any is fine.
            .or_else(|_| plain().tls_certs_only([]).build())
            .map_err(|error| Failure::new(exit::FAILED, format!("cannot set up the HTTP client: {error}")))?;
        Ok(Self { http, base, location, reads_only: false, clock: SystemClock::shared() })
    }

    /// Sends a GET. Returns the body, or a failure for any status above 399.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.request(Method::GET, path, None, RESPONSE_TIMEOUT).await?.1)
    }

    /// Sends a GET. Returns status and body, whatever the status is.
    pub(super) async fn probe(&self, path: &str) -> Result<(u16, Value), Failure> {
        self.send(Method::GET, path, None, RESPONSE_TIMEOUT).await
    }

    /// Sends a POST. `patience`: duration that the action itself may take, added to the timeout of the response.
    pub(super) async fn post(&self, path: &str, body: Value, patience: Duration) -> Result<Value, Failure> {
        Ok(self.request(Method::POST, path, Some(body), RESPONSE_TIMEOUT.saturating_add(patience)).await?.1)
    }

    /// Like `post`, with `limit` as the whole timeout, because the daemon may be down.
    pub(super) async fn post_within(
        &self,
        path: &str,
        body: Value,
        limit: Duration,
    ) -> Result<Value, Failure> {
        Ok(self.request(Method::POST, path, Some(body), limit).await?.1)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.request(Method::DELETE, path, None, RESPONSE_TIMEOUT).await?.1)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        limit: Duration,
    ) -> Result<(u16, Value), Failure> {
        let (status, response) = self.send(method.clone(), path, body, limit).await?;
        if status < 400 {
            return Ok((status, response));
        }
        if self.reads_only && matches!(status, 404 | 405) && method != Method::GET {
            return Err(Failure::new(
                exit::REFUSED,
                "commands that change something are not allowed over --url. Run the command on the daemon's host, without --url",
            ));
        }
        let message =
            response["message"].as_str().or(response["detail"].as_str()).unwrap_or("no reason given");
        let code = match status {
            400 => exit::USAGE,
            403 | 409 => exit::REFUSED,
            502 => exit::UNREACHABLE,
            _ => exit::FAILED,
        };
        Err(Failure::new(code, message))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        limit: Duration,
    ) -> Result<(u16, Value), Failure> {
        let acts = method != Method::GET;
        let mut request = self.http.request(method, format!("{}{path}", self.base)).timeout(limit);
        if let Some(body) = body {
            request = request.json(&body);
        }
        let requested = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            Ok::<_, reqwest::Error>((status, response.text().await?))
        };
        tokio::select! {
            biased;
            response = requested => match response {
                Ok((status, text)) => Ok((status, serde_json::from_str(&text).unwrap_or(Value::Null))),
                Err(error) if error.is_timeout() => Err(self.silent(acts)),
                Err(error) => Err(self.absent(&error)),
            },
            () = self.silence() => Err(self.silent(acts)),
        }
    }

    /// Returns once a liveness probe times out, which shows that the daemon hangs. Otherwise an action may take any
    /// time.
    async fn silence(&self) {
        loop {
            self.clock.sleep(LIVENESS_INTERVAL).await;
            let probe = self.http.get(format!("{}/health/live", self.base)).timeout(LIVENESS_TIMEOUT);
            if probe.send().await.is_err_and(|error| error.is_timeout()) {
                return;
            }
        }
    }

    fn silent(&self, acts: bool) -> Failure {
        let more = if acts { ". The request may still be carried out" } else { "" };
        let message = format!(
            "no response from the daemon at {}. See its log, and restart it if it stays silent{more}",
            self.location
        );
        Failure::new(exit::UNREACHABLE, message)
    }

    fn absent(&self, error: &reqwest::Error) -> Failure {
        let mut causes =
            std::iter::successors(error.source(), |cause: &&(dyn Error + 'static)| (*cause).source());
        let denied = causes.any(|cause| {
            let io = cause.downcast_ref::<std::io::Error>();
            io.is_some_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
        });
        let why = if denied {
            "permission denied on its socket. Run the command as root, as the user of the daemon, or as a member of its group"
        } else {
            "no daemon listens there. Start it, or name its config with --config"
        };
        Failure::new(exit::UNREACHABLE, format!("cannot connect to the daemon at {}: {why}", self.location))
    }
}

/// The control socket of the daemon that runs on this config.
pub(super) fn socket(config: &Path) -> Result<PathBuf, Failure> {
    let environment = Environment::from_process(SystemClock::shared().now());
    let loaded = match config::load(config, &environment) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            // A daemon may still run on an earlier config, or on credentials that this user cannot read.
            if let Some(socket) = sockets_of(config, &environment).into_iter().find(|path| path.exists()) {
                return Ok(socket);
            }
            let text = config::diagnostic::render(&diagnostics, false);
            return Err(Failure::new(
                exit::USAGE,
                format!(
                    "the config is invalid, so the socket of the daemon is unknown. Fix the config, or name the daemon with --url\n{text}"
                ),
            ));
        }
    };
    let sockets = loaded.config.daemon.control_sockets();
    let found = sockets.iter().find(|path| path.exists()).or(sockets.first());
    Ok(found.cloned().unwrap_or_else(|| PathBuf::from("control.sock")))
}
