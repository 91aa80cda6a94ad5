//! Resume attempts of this process for open pending resumes, kept in memory.
//!
//! Display only. The `pending_resumes` table decides whether to resume.

use crate::domain::{Instant, RunId};
use crate::lock::lock;
use crate::store::{PendingResume, ResumeAttempt, StoreError, with_attempt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// By run.
#[derive(Clone, Default)]
pub struct ResumeAttempts {
    by_run: Arc<Mutex<BTreeMap<RunId, ResumeAttempt>>>,
    hurried: Arc<Notify>,
}

impl ResumeAttempts {
    /// All attempts as of now.
    pub fn known(&self) -> BTreeMap<RunId, ResumeAttempt> {
        lock(&self.by_run).clone()
    }

    /// Pending resumes, completed with the attempts of this process.
    pub fn over(&self, pending_resumes: Vec<PendingResume>) -> Vec<PendingResume> {
        with_attempt(&lock(&self.by_run), pending_resumes)
    }

    /// Ends the backoff of every resume: an operator reports that the cause is fixed.
    pub fn hurry(&self) {
        self.hurried.notify_waiters();
    }

    /// Returns when `hurry` is called.
    pub(crate) async fn hurried(&self) {
        self.hurried.notified().await;
    }

    /// A resume begins; earlier processes sent `before` requests.
    pub(crate) fn begins(&self, run: RunId, before: u32) {
        lock(&self.by_run)
            .entry(run)
            .or_insert(ResumeAttempt { attempts: before, ..ResumeAttempt::default() });
    }

    pub(crate) fn intends(&self, run: RunId, at: Instant) {
        self.of(run, |attempt| attempt.intended_at = attempt.intended_at.or(Some(at)));
    }

    /// A resume was sent, with this result.
    pub(crate) fn sent(&self, run: RunId, error: Option<String>) {
        self.of(run, |attempt| {
            attempt.attempts += 1;
            attempt.last_error = error;
        });
    }

    /// Condition that is still awaited after a confirmed resume.
    pub(crate) fn waits(&self, run: RunId, note: &str) {
        self.of(run, |attempt| attempt.last_error = Some(note.to_owned()));
    }

    /// The resume is confirmed. Only its record is missing, whose write failed if there is an error.
    pub(crate) fn confirmed(&self, run: RunId, at: Instant, unwritten: Option<StoreError>) {
        self.of(run, |attempt| {
            attempt.confirmed_at = Some(at);
            attempt.unwritten = unwritten;
        });
    }

    /// The pending resume is closed, or another process owns it.
    pub(crate) fn forget(&self, run: RunId) {
        lock(&self.by_run).remove(&run);
    }

    fn of(&self, run: RunId, change: impl FnOnce(&mut ResumeAttempt)) {
        change(lock(&self.by_run).entry(run).or_default());
    }
}
