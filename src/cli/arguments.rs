//! The arguments of every command, as contract section 3 fixes them.

use crate::domain::BackupId;
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Whole, consistent, zero-downtime backups of Camunda 8 clusters.
#[derive(Debug, Parser)]
#[command(name = "camunda-backupd", version, about, max_term_width = 110)]
pub struct Arguments {
    /// Config file, or a directory with config.toml in it
    #[arg(long, global = true, value_name = "F", default_value = "/etc/camunda-backupd/config.toml")]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Read from the daemon at this URL instead of its control socket
    #[arg(long, global = true, value_name = "U")]
    pub url: Option<String>,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
}

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    Serve,
    #[cfg(feature = "sim")]
    /// Run the real daemon against two simulated clusters, schedules seconds apart
    Demo {
        /// End after this time; without it, on Ctrl-C
        #[arg(long = "for", value_name = "T", value_parser = span)]
        period: Option<Duration>,
        /// Where the daemon's health answers
        #[arg(long, value_name = "A", default_value = "127.0.0.1:0")]
        listen: std::net::SocketAddr,
    },
    #[cfg(feature = "sim")]
    /// Run one simulated cluster and print a config for it
    Sim(SimOptions),
    /// Check the config: all errors at once
    Check {
        /// Also look at the clusters
        #[arg(long)]
        online: bool,
    },
    /// Print the steps a backup of this cluster takes
    Plan {
        /// Cluster
        #[arg(value_parser = name)]
        cluster: String,
    },
    /// Print when schedules fire
    Next {
        /// Only this schedule
        schedule: Option<String>,
        /// From this instant (RFC 3339); without it, from now
        #[arg(long, value_name = "T", value_parser = instant)]
        from: Option<DateTime<Utc>>,
        /// How many
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        count: u16,
    },
    /// Take a backup now
    Backup {
        /// Cluster
        #[arg(value_parser = name)]
        cluster: String,
        /// Wait until it has ended; the exit code tells how
        #[arg(long)]
        wait: bool,
        /// A note that stays with it
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// End the run of a cluster: resume, clean up, fail `cancelled`
    Cancel {
        /// Cluster
        #[arg(value_parser = name)]
        cluster: String,
        /// Why; stays with the run
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// How long to wait for the resume
        #[arg(long = "for", value_name = "T", default_value = "60s", value_parser = span)]
        patience: Duration,
    },
    /// List backups
    List {
        /// Only of this cluster
        #[arg(value_parser = name)]
        cluster: Option<String>,
    },
    /// Show everything about a backup or run
    Show {
        /// Backup id or run id
        #[arg(value_parser = name)]
        id: String,
    },
    /// Delete a backup everywhere
    Delete {
        /// Cluster
        #[arg(value_parser = name)]
        cluster: String,
        /// Its id
        backup_id: BackupId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Bring a cluster of Camunda's cloud back to a backup; the provider does it
    Restore {
        /// Cluster
        #[arg(value_parser = name)]
        cluster: String,
        /// The backup's id
        backup_id: BackupId,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        /// Wait until it has ended; the exit code tells how
        #[arg(long)]
        wait: bool,
    },
    /// How things are: the health of the daemon
    Status,
    /// Schedules and when they are next due
    Schedules,
    /// List exporting pauses still to be resumed
    PendingResumes {
        #[command(subcommand)]
        action: Option<PendingResumeAction>,
    },
    /// Resume exporting on a cluster
    ResumeExporting {
        /// Cluster name from the config
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: Option<String>,
        /// Resume every cluster this daemon left paused; works without the daemon
        #[arg(long, conflicts_with = "cluster")]
        pending: bool,
        /// Maximum time for the resumes
        #[arg(long = "for", value_name = "T", default_value = "60s", value_parser = span)]
        patience: Duration,
        /// Where the state file lies, when the config cannot tell
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Rebuild the state of a cluster from what it lists, after the state was lost
    Adopt {
        /// Cluster
        #[arg(value_parser = name)]
        cluster: String,
    },
    /// Print the JSON schema of the config
    Schema,
}

/// What a cluster, backup or run may be called; nothing else belongs into a path.
fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("write letters, digits, `.`, `_` and `-`, beginning with a letter or digit".into())
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a number with its unit, like 45s or 2m".into())
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| "write an instant as RFC 3339, like 2026-10-25T00:00:00Z".into())
}

/// `pending-resumes abandon`.
#[derive(Debug, Subcommand)]
pub enum PendingResumeAction {
    /// Stop trying to resume a cluster that no longer exists
    Abandon {
        /// Cluster name from the config
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: String,
        /// Reason, stored in the log
        #[arg(long, value_name = "TEXT")]
        why: String,
    },
}

/// One simulated cluster.
#[cfg(feature = "sim")]
#[derive(Debug, clap::Args)]
pub struct SimOptions {
    /// Camunda version it answers as, 8.2.4 to 8.10
    #[arg(long, value_name = "V", default_value = "8.6.0")]
    pub cluster_version: String,
    /// Where it answers
    #[arg(long, value_name = "A", default_value = "127.0.0.1:9700")]
    pub listen: std::net::SocketAddr,
    /// Secondary storage: elasticsearch, opensearch, rdbms from 8.9 on, or saas: the provider's
    #[arg(long, value_name = "S", default_value = "opensearch")]
    pub storage: String,
    /// How much faster than a real one its parts are taken
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
    /// Faults, e.g. `operate.stall,zeebe.drop-answer@2`
    #[arg(long, value_name = "SPEC")]
    pub faults: Option<String>,
}
