//! Resume attempts of this process for open pending resumes, kept in memory.
//!
//! Display only. The `pending_resumes` table decides whether to resume.

use crate::domain::{Instant, RunId};
use crate::lock::lock;
use crate::store::{PendingResume, ResumeAttempt, StoreError, with_attempt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// Resume attempts by run.
#[derive(Clone, Default)]
pub struct ResumeAttempts {
    by_run: Arc<Mutex<BTreeMap<RunId, ResumeAttempt>>>,
    hurried: Arc<Notify>,
}

impl ResumeAttempts {
    /// Returns a copy of all attempts.
    pub fn known(&self) -> BTreeMap<RunId, ResumeAttempt> {
        lock(&self.by_run).clone()
    }

    /// Pending resumes, completed with the attempts of this process.
    pub fn over(&self, pending_resumes: Vec<PendingResume>) -> Vec<PendingResume> {
        with_attempt(&lock(&self.by_run), pending_resumes)
    }

    /// Ends the backoff of every resume, because an operator reports that the cause is fixed (`resume-exporting`).
    pub fn hurry(&self) {
        self.hurried.notify_waiters();
    }

    /// Returns when `hurry` is called.
    pub(crate) async fn hurried(&self) {
        self.hurried.notified().await;
    }

    /// Records that this process begins to resume. Earlier processes sent `before` requests.
    pub(crate) fn begins(&self, run: RunId, before: u32) {
        lock(&self.by_run)
            .entry(run)
            .or_insert(ResumeAttempt { attempts: before, ..ResumeAttempt::default() });
    }

    pub(crate) fn intends(&self, run: RunId, at: Instant) {
        self.of(run, |attempt| attempt.intended_at = attempt.intended_at.or(Some(at)));
    }

    /// Records the result of one resume request. `error` is `None` for a confirmed resume.
    pub(crate) fn sent(&self, run: RunId, error: Option<String>) {
        self.of(run, |attempt| {
            attempt.attempts += 1;
            attempt.last_error = error;
        });
    }

    /// Records a condition that must still become true after the server confirmed the resume.
    pub(crate) fn waits(&self, run: RunId, note: &str) {
        self.of(run, |attempt| attempt.last_error = Some(note.to_owned()));
    }

    /// Records a confirmed resume that is not stored in the `pending_resumes` table yet. `unwritten` is the error of
    /// the failed write.
    pub(crate) fn confirmed(&self, run: RunId, at: Instant, unwritten: Option<StoreError>) {
        self.of(run, |attempt| {
            attempt.confirmed_at = Some(at);
            attempt.unwritten = unwritten;
        });
    }

    /// Removes the attempts of a pending resume that is closed or that another process sends.
    pub(crate) fn forget(&self, run: RunId) {
        lock(&self.by_run).remove(&run);
    }

    fn of(&self, run: RunId, change: impl FnOnce(&mut ResumeAttempt)) {
        change(lock(&self.by_run).entry(run).or_default());
    }
}
