//! HTTP API: routes over TCP, Unix socket and control socket, and health.
//!
//! Owns routing, permissions and the JSON shapes. Reads the store. Every change goes through `Control`, which the
//! daemon implements, so that this module needs no knowledge of runs or timetables. Must not call a cluster.

pub(crate) mod actions;
mod connections;
pub mod facts;
pub mod health;
pub(crate) mod listen;
pub(crate) mod refuse;
pub(crate) mod routes;
pub(crate) mod shapes;

pub use crate::camunda::saas::Restoring;
use crate::camunda::{ClientError, ErrorKind, Rejection};
use crate::config::Config;
use crate::domain::{BackupId, Exporting, ExportingProbe, Instant, RunId};
use crate::store::{PendingResume, ResumeAttempt, UnconfirmedResumes, with_attempt};
pub use crate::upkeep::adopt::AdoptReport;
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Rejection of a command; the kind decides HTTP status and exit code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Class of the rejection. It decides HTTP status and exit code.
    pub kind: RefusalKind,
    /// Cause and remedy, one sentence each.
    pub message: String,
    /// Value of `Retry-After`, if known.
    pub retry_after_seconds: Option<u64>,
}

/// Classes of rejection, each with its HTTP status and exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// No such cluster, backup or schedule: 404, exit 1.
    NotFound,
    /// Busy, rate limited, held, running, not ours: 409, exit 4.
    Refused,
    /// A needed confirmation is missing: 409, exit 4.
    NeedsConfirmation,
    /// No connection to the cluster: 502, exit 3.
    Unreachable,
    /// Failure of the daemon or its disk: 500, exit 1.
    Failed,
}

/// Future response of a command.
pub type Act<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

/// Result of a request to cancel a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// The run has ended and exporting is resumed.
    pub done: bool,
    /// State of the run in one sentence.
    pub message: String,
}

/// Commands; implemented by the daemon, called over the control socket.
pub trait Control: Send + Sync + 'static {
    /// Current state that is not in the store.
    fn live(&self) -> Live;
    /// Starts a manual backup; waits up to 60 s for a deletion of that cluster, rejects while a run is in progress.
    fn backup(&self, cluster: String, note: Option<String>) -> Act<'_, RunId>;
    /// Cancels the run of a cluster: resume, clean up, fail `cancelled`. Returns when the resume is confirmed or after
    /// `wait`; `Cancelled::done` is true in the first case.
    fn cancel(&self, cluster: String, why: String, wait: Duration) -> Act<'_, Cancelled>;
    /// Requests the deletion of a backup. The last good one of a cluster needs `confirmed`.
    fn delete(&self, cluster: String, backup_id: BackupId, confirmed: bool) -> Act<'_, ()>;
    /// Sends every pending resume now and ends live runs that have one. Returns the clusters still pending after `wait`.
    fn resume_pending(&self, wait: Duration) -> Act<'_, UnconfirmedResumes>;
    /// Resumes one cluster for an operator, a foreign pause included.
    fn resume_exporting(&self, cluster: String, wait: Duration) -> Act<'_, String>;
    /// Rebuilds the state of a cluster from the backups that its components list.
    fn adopt(&self, cluster: String) -> Act<'_, AdoptReport>;
    /// Requests the restore of a Camunda 8 SaaS cluster; rejected for a self-managed one.
    fn restore(&self, cluster: String, backup_id: BackupId) -> Act<'_, Restoring>;
    /// Returns the progress of the restore to this backup.
    fn restoring(&self, cluster: String, backup_id: BackupId) -> Act<'_, Restoring>;
    /// Abandons the pending resumes of a cluster that no longer exists. Returns their number.
    fn abandon_resumes(&self, cluster: String, why: String) -> Act<'_, u32>;
}

/// Current state that is not in the store.
#[derive(Clone, Debug)]
pub struct Live {
    /// Active config.
    pub config: Arc<Config>,
    /// Start of the daemon.
    pub started_at: Instant,
    /// Wall-clock time now.
    pub now: Instant,
    /// Time since the last tick of the dispatch loop.
    pub since_tick: Duration,
    /// The daemon is stopping: no run starts.
    pub stopping: bool,
    /// Reason why the last reload was rejected, if it was.
    pub config_refused: Option<String>,
    /// The last store failure, until a write succeeds again.
    pub store_error: Option<String>,
    /// Loss of commits found at start-up, in one sentence.
    pub state_lost: Option<String>,
    /// Jump of the wall clock in the last hour.
    pub clock_jump: Option<String>,
    /// Next due instant per (schedule, cluster).
    pub next_due: BTreeMap<(String, String), Instant>,
    /// Last probe of each cluster.
    pub clusters: BTreeMap<String, LiveCluster>,
    /// Resume attempts per run that the store does not have yet.
    pub attempts: BTreeMap<RunId, ResumeAttempt>,
}

impl Live {
    /// Pending resumes from the store, completed with the attempts held in memory.
    pub fn pending_resumes(&self, rows: Vec<PendingResume>) -> Vec<PendingResume> {
        with_attempt(&self.attempts, rows)
    }
}

/// Failure of the last probe of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// A component rejected our credentials, permissions or certificates. `LiveCluster::denied` names the component.
    #[error("{0}")]
    Auth(String),
    /// Any other failure, in one sentence.
    #[error("{0}")]
    Unreachable(String),
}

impl From<ClientError> for ProbeError {
    fn from(error: ClientError) -> Self {
        match error.kind {
            ErrorKind::AuthRejected | ErrorKind::NoAccess => Self::Auth(error.message),
            _ => Self::Unreachable(error.message),
        }
    }
}

/// Result of the last probe of a cluster.
#[derive(Clone, Debug, Default)]
pub struct LiveCluster {
    /// State of exporting at the last probe.
    pub exporting: Exporting,
    /// Time of the probe that read it.
    pub exporting_checked_at: Option<Instant>,
    /// Time of the first probe with the same result. For a foreign pause it may be a probe of an earlier process; every
    /// later probe failed or found exporting stopped.
    pub exporting_since: Option<Instant>,
    /// Whether `exporting_since` is stored, so that a restart keeps it.
    pub noted: bool,
    /// The reason if the last probe failed.
    pub unreachable: Option<ProbeError>,
    /// Components that rejected the last authentication.
    pub denied: Vec<Rejection>,
    /// Deletions that did not finish in several passes, as a sentence. `None` if there are none.
    pub retention_behind: Option<String>,
}

impl LiveCluster {
    /// Returns the exporting state of the probe with its times.
    pub fn exporting_probe(&self) -> ExportingProbe {
        ExportingProbe {
            exporting: self.exporting,
            checked_at: self.exporting_checked_at,
            since: self.exporting_since,
        }
    }
}
