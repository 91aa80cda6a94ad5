//! Configuration: its types, and `load`, which reads it from files.
//!
//! Owns everything between a path and a validated `Config`. Must not read a clock, contact a cluster or change
//! anything outside: an invalid config changes nothing (rule I12). Tests: `tests/it/config`.

mod check;
pub mod diagnostic;
pub(crate) mod directories;
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
pub use crate::schedule::CatchUp;
use crate::schedule::PairTimes;
use crate::schedule::cron::Timing;
pub use check::RUN_DIR;
pub use diagnostic::{Diagnostic, Level};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The validated config, with defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Directories, limits and identity of the daemon.
    pub daemon: Daemon,
    /// HTTP listener.
    pub http: Http,
    /// Log level and format.
    pub log: Log,
    /// Clusters by name.
    pub clusters: BTreeMap<String, ClusterConfig>,
    /// Schedules by name, disabled ones included.
    pub schedules: BTreeMap<String, ScheduleConfig>,
    /// The files of the config, in reading order.
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
    /// Maximum number of concurrent runs.
    pub max_parallel_runs: usize,
    /// Maximum wait of a shutdown for a run to end its pause.
    pub shutdown_grace: Duration,
    /// Name in the ownership tags of this daemon.
    pub instance: String,
}

impl Daemon {
    /// Possible control sockets, likeliest first: a user without write access to the runtime directory resolves a
    /// different one than the daemon did.
    pub fn control_sockets(&self) -> Vec<PathBuf> {
        self.runtime_dirs().into_iter().map(|dir| dir.join("control.sock")).collect()
    }

    /// Possible runtime directories of a daemon with this config, likeliest first.
    pub fn runtime_dirs(&self) -> Vec<PathBuf> {
        let mut dirs = vec![self.runtime_dir.clone(), PathBuf::from(RUN_DIR), self.state_dir.clone()];
        dirs.dedup();
        dirs
    }
}

/// `[http]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Loopback address or Unix socket.
    pub listen: Listen,
    /// Accepted `Host` names, in addition to the loopback names.
    pub public_hosts: Vec<String>,
}

/// Address of the HTTP listener.
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
    /// Format of the lines.
    pub format: LogFormat,
}

/// Limits of manual backups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manual {
    /// Number of completed backups to keep.
    pub keep: u32,
    /// Number of failed backups to keep.
    pub failed: u32,
    /// Minimum time between two manual backups of a cluster.
    pub min_interval: Duration,
}

impl Manual {
    /// The rule of the retention group of manual backups.
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
    /// Key of the table.
    pub name: String,
    /// Addresses of its components.
    pub addresses: Addresses,
    /// Configured version; `None`: the probe before each run reads it from the cluster.
    pub version: Option<Version>,
    /// Limits that end a run.
    pub limits: Limits,
    /// Manual backups.
    pub manual: Manual,
    /// Probe interval between runs.
    pub probe_interval: Duration,
}

impl Config {
    /// One entry for each enabled schedule and each configured cluster that it serves.
    pub fn pair_times(&self) -> Vec<PairTimes> {
        let enabled = self.schedules.values().filter(|schedule| schedule.enabled);
        let pairs =
            enabled.flat_map(|schedule| schedule.clusters.iter().map(move |cluster| (schedule, cluster)));
        pairs
            .filter_map(|(schedule, cluster)| {
                Some(PairTimes {
                    pair: (schedule.name.clone(), cluster.clone()),
                    timing: schedule.timing.clone(),
                    timezone: schedule.timezone,
                    times_key: schedule.times_key.clone(),
                    spread: schedule.spread,
                    start_within: schedule.start_within,
                    catch_up: schedule.catch_up,
                    run_deadline: self.clusters.get(cluster)?.limits.run_deadline,
                })
            })
            .collect()
    }
}

/// `[schedules.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduleConfig {
    /// Key of the table.
    pub name: String,
    /// Clusters of the schedule: patterns resolved, sorted, without duplicates.
    pub clusters: Vec<String>,
    /// Due times.
    pub timing: Timing,
    /// Timing and time zone as text; differs after an edit of the due times.
    pub times_key: String,
    /// Time zone of the due times.
    pub timezone: chrono_tz::Tz,
    /// Rule of its retention groups.
    pub keep: Keep,
    /// Handling of occurrences missed while the daemon was down.
    pub catch_up: CatchUp,
    /// Maximum wait of an occurrence for its cluster.
    pub start_within: Duration,
    /// Maximum delay that spreads the clusters of one due time.
    pub spread: Duration,
    /// `false`: never due.
    pub enabled: bool,
}

/// Process environment that the config depends on.
#[derive(Clone, Debug)]
pub struct Environment {
    /// `$STATE_DIRECTORY`.
    pub state_directory: Option<PathBuf>,
    /// `$RUNTIME_DIRECTORY`.
    pub runtime_directory: Option<PathBuf>,
    /// `$CREDENTIALS_DIRECTORY`.
    pub credentials_directory: Option<PathBuf>,
    /// Host name; empty if it cannot be read.
    pub hostname: String,
    /// Validation checks that each schedule is due after this instant.
    pub now: Instant,
}

impl Environment {
    /// The environment of this process; `now` comes from the clock of the caller.
    pub fn from_process(now: Instant) -> Self {
        // systemd separates directories by colons; the first one belongs to the unit.
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

/// A valid config with its warnings.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Ready to use.
    pub config: Config,
    /// Diagnostics that do not invalidate the config.
    pub warnings: Vec<Diagnostic>,
}

/// Reads `path`, a file or a directory, and the `conf.d` beside it. Returns a whole config, or every error at once.
pub fn load(path: &Path, env: &Environment) -> Result<Loaded, Vec<Diagnostic>> {
    let mut found = vec![];
    let mut sources = source::Sources::default();
    let texts = merge::read(path, &mut sources, &mut found);
    let mut tree = merge::tree(&texts, &mut sources, &mut found);
    // After an unreadable file, its keys would be reported as missing.
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
