//! Configuration: the public shape, and `load`, which reads it from files.
//!
//! Owns everything between a path and a checked `Config`. Must not read a clock, contact a cluster or change
//! anything outside: a config that does not load changes nothing. Its story is `tests/config_errors.rs`.

mod check;
pub mod diagnostic;
mod merge;
mod nearest;
mod raw;
pub mod schema;
pub mod secret;
mod shape;
mod source;
pub mod upcoming;

use crate::domain::{Addresses, Instant, Keep, Limits, Version};
use crate::logging::LogFormat;
use crate::schedule::cron::Timing;
pub use check::RUN_DIR;
pub use diagnostic::{Diagnostic, Level};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything the daemon was told, checked, with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The daemon itself.
    pub daemon: Daemon,
    /// Where HTTP answers.
    pub http: Http,
    /// What is logged and how.
    pub log: Log,
    /// Clusters by name.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// Schedules by name, disabled ones included.
    pub schedules: BTreeMap<String, ScheduleConfig>,
    /// The files it was read from, in order.
    pub sources: Vec<PathBuf>,
}

/// `[daemon]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Daemon {
    /// Holds the state file.
    pub state_dir: PathBuf,
    /// Holds the control socket.
    pub runtime_dir: PathBuf,
    /// Holds credential files outside systemd.
    pub credentials_dir: Option<PathBuf>,
    /// Runs that may go on at the same time.
    pub max_parallel_runs: usize,
    /// How long shutdown waits for a run to leave its pause.
    pub shutdown_grace: Duration,
    /// Marks what is ours in the clusters.
    pub instance: String,
}

impl Daemon {
    /// Where a daemon of this config listens for the CLI, likeliest first: a user who cannot write to the daemon's
    /// runtime directory resolves another one than the daemon did.
    pub fn control_sockets(&self) -> Vec<PathBuf> {
        self.runtime_dirs().into_iter().map(|dir| dir.join("control.sock")).collect()
    }

    /// Every runtime directory that a daemon of this config may have, likeliest first.
    pub fn runtime_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.runtime_dir.clone(), PathBuf::from(RUN_DIR), self.state_dir.clone()];
        dirs.dedup();
        dirs
    }
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Where to listen.
    pub listen: Listen,
    /// `Host` names that count as this machine beside the loopback names.
    pub public_hosts: Vec<String>,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A loopback address.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug`, `trace` or `off`.
    pub level: String,
    /// How lines look.
    pub format: LogFormat,
}

/// What backups by hand may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manual {
    /// Newest completed ones that stay.
    pub keep: u32,
    /// Newest failed ones that stay.
    pub failed: u32,
    /// Shortest time between two.
    pub min_interval: Duration,
}

impl Manual {
    /// How many stay, as a pool's rule.
    pub fn kept(&self) -> Keep {
        Keep { successful: self.keep, failed: self.failed }
    }
}

impl Default for Manual {
    fn default() -> Self {
        Self { keep: 3, failed: 3, min_interval: Duration::from_hours(1) }
    }
}

/// `[clusters.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterConfig {
    /// Its name in the file.
    pub name: String,
    /// Where its components are.
    pub addresses: Addresses,
    /// What the file says it is; `None` means ask the cluster.
    pub version: Option<Version>,
    /// When a run is given up.
    pub limits: Limits,
    /// Backups by hand.
    pub manual: Manual,
    /// How often it is looked at between runs.
    pub probe_interval: Duration,
}

/// `[schedules.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleConfig {
    /// Its name in the file.
    pub name: String,
    /// The clusters it serves: names and globs resolved, sorted, each once.
    pub clusters: Vec<String>,
    /// When it is due.
    pub timing: Timing,
    /// Timing and zone as text; changes when its times are edited.
    pub times_key: String,
    /// The zone of its wall clock.
    pub timezone: chrono_tz::Tz,
    /// What its pools keep.
    pub keep: Keep,
    /// What becomes of what was missed while down.
    pub catch_up: CatchUp,
    /// How long an occurrence may wait.
    pub start_within: Duration,
    /// The widest delay that spreads clusters.
    pub spread: Duration,
    /// False: never due.
    pub enabled: bool,
}

/// What becomes of occurrences missed while the daemon was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// The latest one runs.
    Once,
    /// None runs.
    Skip,
}

/// What the process was started with, as far as the config depends on it.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `$STATE_DIRECTORY`.
    pub state_directory: Option<PathBuf>,
    /// `$RUNTIME_DIRECTORY`.
    pub runtime_directory: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials_directory: Option<PathBuf>,
    /// This machine's name; empty where it cannot be read.
    pub hostname: String,
    /// The instant after which a schedule must fire.
    pub now: Instant,
}

impl Environment {
    /// What this process was started with; `now` comes from the caller's clock.
    pub fn from_process(now: Instant) -> Self {
        // systemd separates several directories by colons; the first is the unit's own.
        let dir = |name: &str| {
            let value = std::env::var_os(name)?;
            std::env::split_paths(&value).next().filter(|path| !path.as_os_str().is_empty())
        };
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::fs::read_to_string("/etc/hostname"))
            .unwrap_or_default();
        Self {
            state_directory: dir("STATE_DIRECTORY"),
            runtime_directory: dir("RUNTIME_DIRECTORY"),
            credentials_directory: dir("CREDENTIALS_DIRECTORY"),
            hostname: hostname.trim().to_owned(),
            now,
        }
    }
}

/// A config that may be used, and what its author should look at.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The config.
    pub config: Config,
    /// What does not stop the load.
    pub warnings: Vec<Diagnostic>,
}

/// Reads `path`, a file or a directory, with the `conf.d` beside it; every error at once, or a whole config.
pub fn load(path: &Path, env: &Environment) -> Result<Loaded, Vec<Diagnostic>> {
    let mut found = vec![];
    let mut sources = source::Sources::default();
    let texts = merge::read(path, &mut sources, &mut found);
    let mut tree = merge::tree(&texts, &mut sources, &mut found);
    // With a file that is not there or not TOML, what stands in it would be called missing.
    let whole = found.is_empty();
    let taken = shape::check(tree.get_mut(), &schema::value(), &sources, &mut found);
    let config = match raw::Raw::deserialize(toml::de::Deserializer::from(tree)) {
        Ok(raw) if whole => Some(check::Checker::new(&sources, env, &taken, &mut found).config(&raw)),
        Ok(_) => None,
        Err(e) => {
            let label = sources.label(e.span().unwrap_or(0..0), "");
            found.push(Diagnostic::error(e.message().to_owned()).at_location(label));
            None
        }
    };
    found.sort_by_cached_key(Diagnostic::order);
    match config {
        Some(config) if found.iter().all(|d| d.level == Level::Warning) => {
            Ok(Loaded { config, warnings: found })
        }
        _ => Err(found),
    }
}
