//! The resumes that this process has sent for debts that are still open, kept in memory.
//!
//! Must not be asked whether to resume: rows decide that, and what stands here only tells more than they can.

use crate::domain::{Instant, RunId};
use crate::lock::lock;
use crate::store::{PendingResume, StoreError, Tried, with_attempt};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::sync::Notify;

/// By the run whose debt it is.
#[derive(Clone, Default)]
pub struct ResumeAttempts {
    tried: Arc<Mutex<BTreeMap<RunId, Tried>>>,
    hurried: Arc<Notify>,
}

impl ResumeAttempts {
    /// All of them, as of now.
    pub fn known(&self) -> BTreeMap<RunId, Tried> {
        lock(&self.tried).clone()
    }

    /// Open debts with what is known beyond their rows.
    pub fn over(&self, pending_resumes: Vec<PendingResume>) -> Vec<PendingResume> {
        with_attempt(&lock(&self.tried), pending_resumes)
    }

    /// Whoever waits between two tries tries now: somebody says that what kept it is mended.
    pub fn hurry(&self) {
        self.hurried.notify_waiters();
    }

    /// Returns when `hurry` is called.
    pub(crate) async fn hurried(&self) {
        self.hurried.notified().await;
    }

    /// A payment begins; so many resumes were sent by earlier processes.
    pub(crate) fn begins(&self, run: RunId, before: u32) {
        lock(&self.tried).entry(run).or_insert(Tried { attempts: before, ..Tried::default() });
    }

    pub(crate) fn intends(&self, run: RunId, at: Instant) {
        self.of(run, |tried| tried.intended_at = tried.intended_at.or(Some(at)));
    }

    /// A resume was sent, and met this.
    pub(crate) fn sent(&self, run: RunId, error: Option<String>) {
        self.of(run, |tried| {
            tried.attempts += 1;
            tried.last_error = error;
        });
    }

    /// What is waited for although a resume was confirmed.
    pub(crate) fn waits(&self, run: RunId, note: &str) {
        self.of(run, |tried| tried.last_error = Some(note.to_owned()));
    }

    /// Nothing is left but to write it down, which failed if there is an error.
    pub(crate) fn confirmed(&self, run: RunId, at: Instant, unwritten: Option<StoreError>) {
        self.of(run, |tried| {
            tried.confirmed_at = Some(at);
            tried.unwritten = unwritten;
        });
    }

    /// The debt is open no more, or another's.
    pub(crate) fn forget(&self, run: RunId) {
        lock(&self.tried).remove(&run);
    }

    fn of(&self, run: RunId, change: impl FnOnce(&mut Tried)) {
        change(lock(&self.tried).entry(run).or_default());
    }
}
