//! Arguments of every command.
//!
//! Owns names, placeholders, help texts and the check of each value. Must not read a file.

use crate::domain::BackupId;
use chrono::{DateTime, Utc};
use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::time::Duration;

/// Scheduled, consistent backups for Camunda 8
#[derive(Debug, Parser)]
#[command(name = "camunda-backupd", version, about, max_term_width = 110)]
pub(crate) struct Arguments {
    /// Config file, or a directory with *.toml files
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/camunda-backupd/config.toml")]
    pub config: PathBuf,
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// Read from the daemon at this URL, not from its control socket
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    #[command(subcommand)]
    pub command: Command,
}

/// The doc comments are the help texts.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon
    Serve,
    #[cfg(feature = "sim")]
    /// Run the daemon against two simulated clusters, with a backup every few seconds
    Demo {
        /// Stop after this time; default: run until Ctrl-C
        #[arg(long = "for", value_name = "TIME", value_parser = span)]
        period: Option<Duration>,
        /// Listen address of the HTTP API
        #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
        listen: std::net::SocketAddr,
    },
    #[cfg(feature = "sim")]
    /// Run a simulated cluster and print a config for it
    Sim(SimOptions),
    /// Validate the config and report all errors
    Check {
        /// Also check whether a backup of each cluster would work now
        #[arg(long)]
        online: bool,
    },
    /// Print the steps of a backup of this cluster
    Plan {
        /// Cluster name from the config
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: String,
    },
    /// List upcoming backups from the config file
    Next {
        /// Only this schedule
        #[arg(value_name = "SCHEDULE")]
        schedule: Option<String>,
        /// Start of the list (RFC 3339); default: now
        #[arg(long, value_name = "TIME", value_parser = instant)]
        from: Option<DateTime<Utc>>,
        /// Number of entries
        #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=10_000))]
        count: u16,
    },
    /// Take a backup now
    Backup {
        /// Cluster name from the config
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: String,
        /// Wait for completion; exits 1 if the backup failed
        #[arg(long)]
        wait: bool,
        /// Note to store with the backup
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Cancel the running backup of a cluster and resume exporting
    Cancel {
        /// Cluster name from the config
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: String,
        /// Reason, stored with the run
        #[arg(long, value_name = "TEXT")]
        why: String,
        /// Maximum wait for the resume
        #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = span)]
        patience: Duration,
    },
    /// List backups
    List {
        /// Only backups of this cluster
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: Option<String>,
    },
    /// Show the details of a backup or run
    Show {
        /// Backup ID or run ID
        #[arg(value_name = "ID", value_parser = name)]
        id: String,
    },
    /// Delete a backup from every component
    Delete {
        /// Cluster name from the config
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: String,
        /// Backup ID
        #[arg(value_name = "ID")]
        backup_id: BackupId,
        /// Skip the confirmation prompt
        #[arg(long)]
        yes: bool,
    },
    /// Restore a Camunda 8 SaaS cluster from a backup
    Restore {
        /// Cluster name from the config
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: String,
        /// Backup ID
        #[arg(value_name = "ID")]
        backup_id: BackupId,
        /// Skip the confirmation prompt
        #[arg(long)]
        yes: bool,
        /// Wait for completion; exits 1 if the restore failed
        #[arg(long)]
        wait: bool,
    },
    /// Show daemon and cluster health
    Status,
    /// List schedules of the running daemon
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
        #[arg(long = "for", value_name = "TIME", default_value = "60s", value_parser = span)]
        patience: Duration,
        /// Directory of the state file, if the config cannot be read
        #[arg(long, value_name = "DIR")]
        state_dir: Option<PathBuf>,
        /// Skip the confirmation prompt
        #[arg(long)]
        yes: bool,
    },
    /// Re-register existing backups after the state file was lost
    Adopt {
        /// Cluster name from the config
        #[arg(value_name = "CLUSTER", value_parser = name)]
        cluster: String,
    },
    /// Print the JSON schema of the config
    Schema,
}

/// Accepts the characters of cluster names and ids, so that every value is safe in a URL path.
fn name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("invalid name: use letters, digits, `.`, `_` and `-`, and start with a letter or digit".into())
}

fn span(text: &str) -> Result<std::time::Duration, String> {
    humantime::parse_duration(text)
        .map_err(|_| "invalid duration: write a number with a unit, for example 45s or 2m".into())
}

fn instant(text: &str) -> Result<DateTime<Utc>, String> {
    text.parse().map_err(|_| "invalid instant: write RFC 3339, for example 2026-10-25T00:00:00Z".into())
}

/// `pending-resumes abandon`.
#[derive(Debug, Subcommand)]
pub(crate) enum PendingResumeAction {
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

/// Options of `sim`.
#[cfg(feature = "sim")]
#[derive(Debug, clap::Args)]
pub(crate) struct SimOptions {
    /// Camunda version to simulate, 8.2.4 to 8.10
    #[arg(long, value_name = "VERSION", default_value = "8.6.0")]
    pub cluster_version: String,
    /// Listen address
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9700")]
    pub listen: std::net::SocketAddr,
    /// Secondary storage: elasticsearch, opensearch, rdbms (8.9 and later), or saas
    #[arg(long, value_name = "STORAGE", default_value = "opensearch")]
    pub storage: String,
    /// Speed factor of the simulated backup
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub speed: f64,
    /// Faults to inject, e.g. `operate.stall,zeebe.drop-response@2`
    #[arg(long, value_name = "SPEC")]
    pub faults: Option<String>,
}
