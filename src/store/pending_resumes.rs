//! The trait `PendingResumes`: exporting pauses of this program that are not yet resumed.
//!
//! Owns the row of a pending resume and its progress. Foreign pauses are in `clusters.rs`. `sqlite/pending_resumes.rs`
//! has the SQL.

use super::StoreFuture;
use crate::domain::{Addresses, Exporting, Instant, RunId};
use crate::journal::Entry;
use serde::{Deserialize, Serialize};

/// Pending resume of an exporting pause; complete enough to be sent without config and daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingResume {
    /// Run that requested the pause.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: String,
    /// Addresses for the resume.
    pub addresses: Addresses,
    /// Time before the pause was requested.
    pub intended_at: Instant,
    /// Machine uptime at that moment, in milliseconds, if readable.
    pub intended_since_boot_ms: Option<u64>,
    /// Time before the first resume was sent.
    pub resume_intended_at: Option<Instant>,
    /// Number of resume attempts.
    pub attempts: u32,
    /// Error of the last attempt.
    pub last_error: Option<String>,
    /// Time of a confirmed resume. While the resume is pending, this time is known only in memory.
    pub confirmed_at: Option<Instant>,
    /// Reason of the operator who abandoned the resume.
    pub abandoned: Option<String>,
}

impl PendingResume {
    /// A pause that is about to be requested. `intended_at` is stored before the request leaves.
    pub fn new(
        run_id: RunId,
        cluster: impl Into<String>,
        addresses: Addresses,
        intended_at: Instant,
    ) -> Self {
        Self {
            run_id,
            cluster: cluster.into(),
            addresses,
            intended_at,
            intended_since_boot_ms: None,
            resume_intended_at: None,
            attempts: 0,
            last_error: None,
            confirmed_at: None,
            abandoned: None,
        }
    }

    /// Whether the cluster may still be paused. `false` once a server confirmed the resume, even if the confirmation
    /// is not stored yet.
    pub fn may_be_paused(&self) -> bool {
        self.confirmed_at.is_none()
    }

    /// Whether a probe shows that a resume took effect before a server confirmed it. The probe must be later than the
    /// first resume, and made at the address of this pause: another cluster under the same name proves nothing.
    pub fn is_seen_resumed(
        &self,
        exporting: Exporting,
        checked_at: Option<Instant>,
        probed_zeebe: &str,
    ) -> bool {
        exporting == Exporting::Running
            && probed_zeebe == self.addresses.zeebe
            && self.resume_intended_at.is_some_and(|sent| checked_at > Some(sent))
    }

    /// Reason that the resume is still pending.
    pub fn why(&self) -> String {
        self.last_error.clone().unwrap_or_else(|| "no response to it yet".into())
    }
}

/// Progress of a pending resume, as its row records it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumeProgress {
    /// The intent to resume, also recorded in the journal of an unfinished run. The journal gets one entry for
    /// each `by`, so that endless retries do not fill the disk.
    Intended {
        /// Sender of the resume: `run`, `sweeper` or `command`.
        by: String,
        /// Time before the resume is sent.
        at: Instant,
    },
    /// A failed resume attempt.
    Failed {
        /// Error of the attempt, or the reason to send the resume again.
        error: String,
    },
    /// A confirmed resume, also recorded in the journal of an unfinished run.
    Confirmed {
        /// Sender of the resume.
        by: String,
        /// Time of the confirmation.
        at: Instant,
    },
}

/// Pending resumes.
pub trait PendingResumes: Send + Sync + 'static {
    /// Writes a pending resume before the pause is requested (rule I1), with the journal entry of the intent.
    fn record_pending_resume(&self, pending_resume: PendingResume, entry: Entry) -> StoreFuture<'_, ()>;
    /// Records the progress of a pending resume.
    fn record_resume_progress(&self, run_id: RunId, progress: ResumeProgress) -> StoreFuture<'_, ()>;
    /// Records the new addresses of a pending resume whose cluster has moved; other rows keep theirs.
    fn relocate_pending_resume(&self, run_id: RunId, addresses: Addresses) -> StoreFuture<'_, ()>;
    /// Resumes that are neither confirmed nor abandoned, oldest first.
    fn pending_resumes(&self) -> StoreFuture<'_, Vec<PendingResume>>;
    /// Abandons the pending resumes of a removed cluster; the journals of its runs count them as resumed.
    fn abandon_resumes(&self, cluster: String, why: String, at: Instant) -> StoreFuture<'_, u32>;
}
