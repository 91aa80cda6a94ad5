//! The way to the daemon: its control socket, or a URL for what only reads.

use super::{Failure, exit};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Environment};
use crate::pause::offline::sockets_of;
use reqwest::Method;
use serde_json::Value;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Longest wait for an answer, beyond what a command asks for.
const ANSWER: Duration = Duration::from_secs(90);
/// How long an answer is waited for before the daemon is asked beside it whether it lives, and between two such questions.
const QUIET: Duration = Duration::from_secs(5);
/// That needs neither its state nor a cluster, so that it is answered at once by a daemon that does not hang.
const LIVES: Duration = Duration::from_secs(10);

/// A daemon to talk to.
pub struct Client {
    http: reqwest::Client,
    base: String,
    location: String,
    reads_only: bool,
    clock: SharedClock,
}

impl Client {
    /// The daemon of `--url`, else the one of the config.
    pub fn find(url: Option<&str>, config: &Path) -> Result<Self, Failure> {
        match url {
            Some(url) if !(url.starts_with("http://") || url.starts_with("https://")) => Err(Failure::new(
                exit::USAGE,
                format!("--url {url} is no address of a daemon: write it with http:// or https://"),
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
    pub fn at(socket: &Path) -> Result<Self, Failure> {
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
            // Without CA certificates on the machine the control socket works all the same.
            .or_else(|_| plain().tls_certs_only([]).build())
            .map_err(|error| {
                Failure::new(exit::FAILED, format!("the HTTP client cannot be set up: {error}"))
            })?;
        Ok(Self { http, base, location, reads_only: false, clock: SystemClock::shared() })
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.request(Method::GET, path, None, ANSWER).await?.1)
    }

    /// Reads an answer of any status.
    pub async fn probe(&self, path: &str) -> Result<(u16, Value), Failure> {
        self.send(Method::GET, path, None, ANSWER).await
    }

    /// Acts; `patience` is what the act itself may take.
    pub async fn post(&self, path: &str, body: Value, patience: Duration) -> Result<Value, Failure> {
        Ok(self.request(Method::POST, path, Some(body), ANSWER.saturating_add(patience)).await?.1)
    }

    /// Acts, where nobody may be there: not waited for longer than `limit`.
    pub async fn post_within(&self, path: &str, body: Value, limit: Duration) -> Result<Value, Failure> {
        Ok(self.request(Method::POST, path, Some(body), limit).await?.1)
    }

    /// Deletes.
    pub async fn delete(&self, path: &str) -> Result<Value, Failure> {
        Ok(self.request(Method::DELETE, path, None, ANSWER).await?.1)
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
                "nothing that changes something is done over a URL: run the command on the daemon's host, without --url",
            ));
        }
        let message = response["message"]
            .as_str()
            .or(response["detail"].as_str())
            .unwrap_or("the daemon gave no reason");
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

    /// Returns when the daemon does not even answer that it lives; an act may take as long as it likes.
    async fn silence(&self) {
        loop {
            self.clock.sleep(QUIET).await;
            let probe = self.http.get(format!("{}/health/live", self.base)).timeout(LIVES);
            if probe.send().await.is_err_and(|error| error.is_timeout()) {
                return;
            }
        }
    }

    fn silent(&self, acts: bool) -> Failure {
        let more = if acts { "; what it was asked may still be done" } else { "" };
        let message = format!(
            "the daemon at {} does not answer: see its log, and restart it if it stays silent{more}",
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
            "its socket may not be opened; run the command as root, as the daemon's user or as a member of its group"
        } else {
            "no daemon answers there; start it, or name its config with --config"
        };
        Failure::new(exit::UNREACHABLE, format!("the daemon cannot be reached at {}: {why}", self.location))
    }
}

/// The control socket of the daemon that runs on this config.
pub fn socket(config: &Path) -> Result<PathBuf, Failure> {
    let environment = Environment::from_process(SystemClock::shared().now());
    let loaded = match config::load(config, &environment) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            // A daemon may run on what was there before, or on credentials that whoever asks may not read.
            if let Some(there) = sockets_of(config, &environment).into_iter().find(|path| path.exists()) {
                return Ok(there);
            }
            let text = config::diagnostic::render(&diagnostics, false);
            return Err(Failure::new(
                exit::USAGE,
                format!(
                    "the config does not load, so the daemon's socket is not known; or name the daemon with --url\n{text}"
                ),
            ));
        }
    };
    let sockets = loaded.config.daemon.control_sockets();
    let found = sockets.iter().find(|path| path.exists()).or(sockets.first());
    Ok(found.cloned().unwrap_or_else(|| PathBuf::from("control.sock")))
}
