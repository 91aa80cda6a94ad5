//! What the outside may ask: routes over TCP, Unix socket and control socket, and health.
//!
//! Owns routing, who may what, and the shapes of contract section 4. Reads the store; every act goes through
//! `Control`, which the daemon implements, so that nothing here knows runs or timetables. Must not touch a cluster.

pub mod actions;
mod connections;
pub mod facts;
pub mod health;
pub mod listen;
pub mod refuse;
pub mod routes;
pub mod shapes;

pub use crate::camunda::saas::Restoring;
use crate::camunda::{ClientError, ErrorKind, Rejection};
use crate::config::Config;
use crate::domain::{BackupId, Exporting, Instant, RunId};
use crate::store::{PendingResume, Tried, UnconfirmedResumes, with_attempt};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Why an act was not done; the kind decides HTTP status and exit code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What kind.
    pub kind: RefusalKind,
    /// One sentence.
    pub message: String,
    /// When to come back, if that is known.
    pub retry_after_seconds: Option<u64>,
}

/// Kinds of refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalKind {
    /// No such cluster, backup or schedule: 404, exit 1.
    NotFound,
    /// Busy, rate limited, held, running, not ours: 409, exit 4.
    Refused,
    /// A needed confirmation is missing: 409, exit 4.
    NeedsConfirmation,
    /// The cluster cannot be reached: 502, exit 3.
    Unreachable,
    /// Our own fault or the disk's: 500, exit 1.
    Failed,
}

/// An answer of an act.
pub type Act<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

/// What became of a request to cancel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// The run has ended and exporting is resumed.
    pub done: bool,
    /// One sentence.
    pub message: String,
}

/// The acts; implemented by the daemon, called over the control socket.
pub trait Control: Send + Sync + 'static {
    /// What is true right now and not in the store.
    fn live(&self) -> Live;
    /// Starts a manual backup; waits up to 60 s for a deletion of that cluster, refuses while a run is under way.
    fn backup(&self, cluster: String, note: Option<String>) -> Act<'_, RunId>;
    /// Ends the run of a cluster: resume, clean up, fail `cancelled`. Answers when the resume is confirmed or `wait` is
    /// over; the text says which.
    fn cancel(&self, cluster: String, why: String, wait: Duration) -> Act<'_, Cancelled>;
    /// Asks for a deletion. The last good one needs `confirmed`.
    fn delete(&self, cluster: String, backup_id: BackupId, confirmed: bool) -> Act<'_, ()>;
    /// Pays all debts now; a live run that owes one is ended. Answers with the clusters still owing after `wait`.
    fn resume_pending(&self, wait: Duration) -> Act<'_, UnconfirmedResumes>;
    /// A human's resume of one cluster, also of a foreign pause.
    fn resume_exporting(&self, cluster: String, wait: Duration) -> Act<'_, String>;
    /// Rebuilds the state of a cluster from what it lists.
    fn adopt(&self, cluster: String) -> Act<'_, AdoptReport>;
    /// Asks the provider to bring one of its clusters back to a backup; refused for a self-managed one.
    fn restore(&self, cluster: String, backup_id: BackupId) -> Act<'_, Restoring>;
    /// How far that is.
    fn restoring(&self, cluster: String, backup_id: BackupId) -> Act<'_, Restoring>;
    /// Gives up the debts of a cluster that no longer exists.
    fn abandon_resumes(&self, cluster: String, why: String) -> Act<'_, u32>;
}

/// What `adopt` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdoptReport {
    /// Ids taken over.
    pub adopted: Vec<BackupId>,
    /// Ids that are known already.
    pub known: Vec<BackupId>,
    /// Ids that are not ours, each with the reason.
    pub not_ours: Vec<(i64, String)>,
    /// Other instances whose mark was seen in this cluster.
    pub other_instances: Vec<String>,
}

/// What is true right now and not in the store.
#[derive(Clone, Debug)]
pub struct Live {
    /// The config that runs.
    pub config: Arc<Config>,
    /// When the daemon came up.
    pub started_at: Instant,
    /// Wall-clock time now.
    pub now: Instant,
    /// Time since the dispatch loop last ticked.
    pub since_tick: Duration,
    /// The daemon was told to stop: nothing is begun any more.
    pub stopping: bool,
    /// The refusal of the last reload, if it was refused.
    pub config_refused: Option<String>,
    /// The last store failure, until a write succeeds again.
    pub store_error: Option<String>,
    /// What the state had lost when the daemon came up, in a sentence.
    pub state_lost: Option<String>,
    /// A jump of the wall clock seen in the last hour.
    pub clock_jump: Option<String>,
    /// Next due instant per (schedule, cluster).
    pub next_due: BTreeMap<(String, String), Instant>,
    /// Per cluster, what the last look showed.
    pub clusters: BTreeMap<String, LiveCluster>,
    /// By run, the resumes sent for its debt.
    pub tried: BTreeMap<RunId, Tried>,
}

impl Live {
    /// Open debts with what is known beyond their rows.
    pub fn pending_resumes(&self, rows: Vec<PendingResume>) -> Vec<PendingResume> {
        with_attempt(&self.tried, rows)
    }
}

/// Failure of the last probe of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// Credentials, permissions or certificates: `LiveCluster::denied` has the finding.
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
    /// When that was read.
    pub exporting_checked_at: Option<Instant>,
    /// The first look that showed the same; of a pause that is not ours it may be an earlier daemon's, and all looks since
    /// then showed exporting stopped or nothing.
    pub exporting_since: Option<Instant>,
    /// Whether the state knows that.
    pub noted: bool,
    /// The reason if the last probe failed.
    pub unreachable: Option<ProbeError>,
    /// Who did not let us in when last asked.
    pub denied: Vec<Rejection>,
    /// Deletions that are behind.
    pub retention_behind: Option<String>,
}
