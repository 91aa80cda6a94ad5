//! Validates values and references, and applies defaults; reports all errors at once.
//!
//! Owns `[daemon]`, `[http]`, `[log]` and the checks shared by its submodules. Must not read the config files again,
//! contact a cluster or read a clock.

mod access;
mod cluster;
mod disk_space;
mod neighbours;
mod saas;
mod schedule;
mod url;

use crate::config::diagnostic::{Diagnostic, Label, Level};
use crate::config::nearest::nearest;
use crate::config::raw::{At, Raw};
use crate::config::secret::Credentials;
use crate::config::source::Sources;
use crate::config::{Config, Daemon, Environment, Http, Listen, Log, Manual, raw};
use crate::logging::LogFormat;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Default runtime directory, if it is writable.
pub const RUN_DIR: &str = "/run/camunda-backupd";
/// Maximum of durations without a smaller limit of their own.
const YEAR: Duration = Duration::from_hours(366 * 24);
/// Maximum length of the path of a Unix socket on Linux, in bytes.
const SOCKET_PATH_LIMIT: usize = 107;
/// Maximum length of a name, in bytes.
const NAME_LIMIT: usize = 63;

/// Collects diagnostics and continues after each error.
pub(super) struct Checker<'a> {
    sources: &'a Sources,
    env: &'a Environment,
    /// Paths of the keys that `shape` reported and removed. They are not reported as missing again.
    taken: &'a BTreeSet<String>,
    found: &'a mut Vec<Diagnostic>,
    credentials: Credentials,
    /// The warning about a missing credentials directory was issued.
    warned_unchecked: bool,
    /// Number of pairs of schedule and cluster so far.
    pairs: usize,
}

impl<'a> Checker<'a> {
    pub(super) fn new(
        sources: &'a Sources,
        env: &'a Environment,
        taken: &'a BTreeSet<String>,
        found: &'a mut Vec<Diagnostic>,
    ) -> Self {
        Self {
            sources,
            env,
            taken,
            found,
            credentials: Credentials::default(),
            warned_unchecked: false,
            pairs: 0,
        }
    }

    /// The validated config; usable only if `found` contains no error.
    pub(super) fn config(&mut self, raw: &Raw) -> Config {
        let daemon = self.daemon(&raw.daemon);
        self.credentials = Credentials {
            systemd: self.env.credentials_directory.clone(),
            configured: daemon.credentials_dir.clone(),
        };
        let http = self.http(&raw.http);
        let log = self.log(&raw.log);
        let defaults = self.defaults(&raw.defaults);
        let clusters = self.clusters(raw, &defaults);
        let schedules = self.schedules(raw, &defaults);
        // These checks compare schedules and clusters with each other, so they need a config without errors.
        if self.found.iter().all(|d| d.level == Level::Warning) {
            self.neighbours(raw, &schedules);
            self.saas_limits(raw, &clusters, &schedules);
        }
        Config { daemon, http, log, clusters, schedules, sources: self.sources.paths() }
    }

    fn daemon(&mut self, raw: &raw::Daemon) -> Daemon {
        let env = self.env;
        let state_dir = self
            .directory(raw.state_dir.as_ref(), "daemon.state_dir")
            .or_else(|| env.state_directory.clone())
            .unwrap_or_else(|| "./state".into());
        let runtime_dir = self
            .directory(raw.runtime_dir.as_ref(), "daemon.runtime_dir")
            .or_else(|| env.runtime_directory.clone())
            .or_else(|| can_write(Path::new(RUN_DIR)).then(|| RUN_DIR.into()))
            .unwrap_or_else(|| state_dir.clone());
        let credentials_dir = self.directory(raw.credentials_dir.as_ref(), "daemon.credentials_dir");
        if let (Some(dir), Some(at)) = (&credentials_dir, &raw.credentials_dir) {
            self.credential_files(dir, at);
        }
        let shutdown_grace = self.duration(
            raw.shutdown_grace.as_ref(),
            "daemon.shutdown_grace",
            Duration::from_secs(90),
            Duration::from_secs(1)..=Duration::from_mins(10),
        );
        let max_parallel_runs =
            self.number(raw.max_parallel_runs.as_ref(), "daemon.max_parallel_runs", 64, 1..=10_000);
        let instance = self.instance(raw.instance.as_ref());
        Daemon {
            state_dir,
            runtime_dir,
            credentials_dir,
            max_parallel_runs: max_parallel_runs as usize,
            shutdown_grace,
            instance,
        }
    }

    fn instance(&mut self, raw: Option<&At<String>>) -> String {
        let Some(at) = raw else {
            if self.env.hostname.is_empty() && !self.taken.contains("daemon.instance") {
                let message =
                    "`daemon.instance` is missing, and this machine has no host name as its default";
                let help =
                    "write instance = \"NAME\" under [daemon]; it must differ between daemons on one cluster";
                self.found.push(Diagnostic::error(message).help(help));
            }
            return self.env.hostname.clone();
        };
        self.name(at, "instance");
        at.value().clone()
    }

    fn credential_files(&mut self, dir: &Path, at: &At<String>) {
        for (message, help) in super::secret::refused_in(dir) {
            self.error(at.span(), message, help);
        }
    }

    fn http(&mut self, raw: &raw::Http) -> Http {
        let default = Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 9610)));
        let listen = raw.listen.as_ref().and_then(|at| self.listen(at)).unwrap_or(default);
        let hosts = raw.public_hosts.as_deref().unwrap_or_default();
        for at in hosts {
            let host = at.value();
            let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
            if host.is_empty() || !host.chars().all(plain) {
                let message = format!("{} is not a host name", quoted(host));
                self.error(at.span(), message, "write the host of the URL, without scheme and path");
            }
        }
        Http { listen, public_hosts: hosts.iter().map(|at| at.value().to_ascii_lowercase()).collect() }
    }

    fn listen(&mut self, at: &At<String>) -> Option<Listen> {
        const HELP: &str = "write an address and a port, as in \"127.0.0.1:9610\", or a socket, as in \"unix:/run/camunda-backupd/http.sock\"";
        let text = at.value();
        if let Some(path) = text.strip_prefix("unix:") {
            if !path.starts_with('/') || path.len() > SOCKET_PATH_LIMIT || path.contains('\0') {
                let message =
                    format!("{} is not an absolute path of at most {SOCKET_PATH_LIMIT} bytes", quoted(path));
                self.error(at.span(), message, HELP);
                return None;
            }
            return Some(Listen::Unix(path.into()));
        }
        let Ok(address) = text.parse::<SocketAddr>() else {
            self.error(at.span(), format!("{} is not an address to listen on", quoted(text)), HELP);
            return None;
        };
        if !address.ip().is_loopback() {
            let message = format!(
                "`http.listen` is {address}, which other machines can reach, and tokens are not supported yet"
            );
            let help = "listen on 127.0.0.1, [::1] or a Unix socket, and put a proxy with its own authentication in front";
            self.error(at.span(), message, help);
            return None;
        }
        Some(Listen::Tcp(address))
    }

    fn log(&mut self, raw: &raw::Log) -> Log {
        let level = ["off", "error", "warn", "info", "debug", "trace"].map(|level| (level, level));
        let level = self.one_of(raw.level.as_ref(), "log.level", &level, "info");
        let formats = [
            ("auto", LogFormat::Auto),
            ("json", LogFormat::Json),
            ("text", LogFormat::Text),
            ("journald", LogFormat::Journald),
        ];
        let format = self.one_of(raw.format.as_ref(), "log.format", &formats, LogFormat::Auto);
        Log { level: level.into(), format }
    }

    fn manual(&mut self, raw: &raw::Manual, path: &str, default: Manual) -> Manual {
        Manual {
            keep: self.kept(raw.keep.as_ref(), &format!("{path}.keep"), default.keep),
            failed: self.kept(raw.failed.as_ref(), &format!("{path}.failed"), default.failed),
            min_interval: self.duration(
                raw.min_interval.as_ref(),
                &format!("{path}.min_interval"),
                default.min_interval,
                Duration::ZERO..=YEAR,
            ),
        }
    }

    fn kept(&mut self, raw: Option<&At<i64>>, path: &str, default: u32) -> u32 {
        self.number(raw, path, i64::from(default), 1..=1000) as u32
    }

    fn number(
        &mut self,
        raw: Option<&At<i64>>,
        path: &str,
        default: i64,
        allowed: std::ops::RangeInclusive<i64>,
    ) -> i64 {
        let Some(at) = raw else { return default };
        if !allowed.contains(at.value()) {
            let message = format!("`{path}` is {}", at.value());
            let help = format!("write a number from {} to {}", allowed.start(), allowed.end());
            self.error(
                at.span(),
                format!("{message}, outside the range {} to {}", allowed.start(), allowed.end()),
                help,
            );
            return default;
        }
        *at.value()
    }

    fn duration(
        &mut self,
        raw: Option<&At<String>>,
        path: &str,
        default: Duration,
        allowed: std::ops::RangeInclusive<Duration>,
    ) -> Duration {
        let Some(at) = raw else { return default };
        let Ok(duration) = humantime::parse_duration(at.value().trim()) else {
            let message = format!("{} is not a duration", quoted(at.value()));
            self.error(
                at.span(),
                message,
                "write a number and a unit, as in \"90s\", \"45m\", \"6h\" or \"2d\"",
            );
            return default;
        };
        if !allowed.contains(&duration) {
            let (least, most) = (in_text(*allowed.start()), in_text(*allowed.end()));
            let message = format!("`{path}` is {}, outside the range {least} to {most}", in_text(duration));
            self.error(at.span(), message, format!("write a duration from {least} to {most}"));
            return default;
        }
        duration
    }

    fn one_of<T: Copy>(
        &mut self,
        raw: Option<&At<String>>,
        path: &str,
        known: &[(&str, T)],
        default: T,
    ) -> T {
        let Some(at) = raw else { return default };
        if let Some((_, value)) = known.iter().find(|(name, _)| name == at.value()) {
            return *value;
        }
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        let help = match nearest(at.value(), names.iter().copied()) {
            Some(meant) => format!("did you mean \"{meant}\"?"),
            None => format!("write one of \"{}\"", names.join("\", \"")),
        };
        self.error(at.span(), format!("invalid value {} for `{path}`", quoted(at.value())), help);
        default
    }

    fn directory(&mut self, raw: Option<&At<String>>, path: &str) -> Option<PathBuf> {
        let at = raw?;
        if at.value().trim().is_empty() || at.value().contains(char::is_control) {
            self.error(at.span(), format!("`{path}` is not a path"), "write the path of a directory");
            return None;
        }
        Some(at.value().into())
    }

    /// Checks the characters of a name. Names occur in URLs, logs, metrics and the state file, so few characters are
    /// allowed.
    fn name(&mut self, at: &At<String>, kind: &str) {
        let name = at.value();
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        let valid_start = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !valid_start || name.len() > NAME_LIMIT || !name.chars().all(plain) {
            let message = format!("{} is not a valid name of {}", quoted(name), with_article(kind));
            let help = format!(
                "use at most {NAME_LIMIT} letters, digits, `.`, `_` and `-`, and start with a letter or digit"
            );
            self.error(at.span(), message, help);
        }
    }

    fn error(&mut self, at: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let label = self.label(at, "");
        self.found.push(Diagnostic::error(message).help(help).at_location(label));
    }

    fn warning(&mut self, at: Range<usize>, message: impl Into<String>, help: impl Into<String>) {
        let label = self.label(at, "");
        self.found.push(Diagnostic::warning(message).help(help).at_location(label));
    }

    fn label(&self, at: Range<usize>, text: &str) -> Option<Label> {
        self.sources.label(at, text)
    }

    fn missing(&mut self, path: &str, at: Range<usize>, reason: &str, help: &str) {
        if !self.taken.contains(path) {
            self.error(at, format!("`{path}` is missing{reason}"), help);
        }
    }
}

/// Text from the config file for output: in backquotes, control characters escaped, at most 80 characters.
fn quoted(text: &str) -> String {
    const SHOWN: usize = 80;
    let escaped = text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
    let cut: String = escaped.chars().take(SHOWN).collect();
    let dots = if cut.len() < escaped.len() { "…" } else { "" };
    format!("`{cut}{dots}`")
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {noun}")
}

/// A duration in the syntax of the config file.
fn in_text(duration: Duration) -> String {
    const DAY: u64 = 86_400;
    match duration.as_secs() {
        seconds if seconds >= DAY && seconds % DAY == 0 => format!("{}d", seconds / DAY),
        _ => humantime::format_duration(duration).to_string(),
    }
}

/// The path of a named table for output.
fn path_of(table: &str, name: &At<String>) -> String {
    format!("{table}.{}", name.value().escape_debug())
}

/// Creates and removes a file, because permissions alone do not decide (read-only mounts, capabilities).
fn can_write(dir: &Path) -> bool {
    let probe = dir.join(format!(".probe-{}", std::process::id()));
    let written = std::fs::File::create_new(&probe).is_ok();
    written && std::fs::remove_file(&probe).is_ok()
}

/// Returns the position of each named table, for diagnostics that refer to the table.
fn spans<T>(named: &BTreeMap<At<String>, T>) -> BTreeMap<&str, Range<usize>> {
    named.keys().map(|at| (at.value().as_str(), at.span())).collect()
}
