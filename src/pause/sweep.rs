//! Starts a resume task for every pending resume without an active run, for example after a crash or restart.
//!
//! Must not touch the pending resume of an active run.

use crate::clock::within;
use crate::context::Context;
use crate::domain::RunId;
use crate::lock::lock;
use crate::pause::resume::{PauseKnown, RECORD, ResumeTask, resume_until_confirmed, settled};
use crate::store::{PendingResume, StoreError};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Resumes exporting for pending resumes without an active run.
#[derive(Clone)]
pub struct Sweeper {
    context: Context,
    /// Runs whose pending resume is already handled: by the run, which has claimed it, or by a task of this
    /// sweeper.
    taken: Arc<Mutex<BTreeSet<RunId>>>,
}

impl Sweeper {
    /// Creates a sweeper without claims. No resume is sent before the first `sweep`.
    pub fn new(context: Context) -> Self {
        Self { context, taken: Arc::default() }
    }

    /// Reserves the pending resume of an active run. The sweeper leaves it alone until `release` or `leave`.
    pub fn claim(&self, run_id: RunId) {
        lock(&self.taken).insert(run_id);
    }

    /// Ends the reservation after the run has ended, or after its pending resume was confirmed or abandoned.
    pub fn release(&self, run_id: RunId) {
        self.leave(run_id);
        self.context.attempts.forget(run_id);
    }

    /// Ends the reservation if the daemon stops before the run has ended. The results of its resume attempts
    /// stay, for display.
    pub fn leave(&self, run_id: RunId) {
        lock(&self.taken).remove(&run_id);
    }

    /// Starts a resume task for every unclaimed pending resume. Returns the number of all pending resumes,
    /// claimed or not.
    pub async fn sweep(&self, by: &'static str) -> Result<usize, StoreError> {
        let pending_resumes = self.context.store.pending_resumes().await?;
        let open = pending_resumes.len();
        for pending_resume in pending_resumes {
            if lock(&self.taken).insert(pending_resume.run_id) {
                let sweeper = self.clone();
                self.context.tasks.spawn(async move { sweeper.resume_one(pending_resume, by).await });
            }
        }
        Ok(open)
    }

    /// Removes copies of credentials that no pending resume needs, left by a crash or by an abandoned resume.
    pub async fn tidy_copies(&self) {
        // Read the pending resumes first and the claims afterwards. A run claims its pending resume before it
        // stores it, so every copy in use is found in one of the two.
        let Ok(pending_resumes) = self.context.store.pending_resumes().await else { return };
        let mut needed: BTreeSet<RunId> =
            pending_resumes.into_iter().map(|pending_resume| pending_resume.run_id).collect();
        needed.extend(lock(&self.taken).iter().copied());
        self.context.transport.keep_only(needed).await;
    }

    async fn resume_one(&self, pending_resume: PendingResume, by: &'static str) {
        let task = ResumeTask {
            run_id: pending_resume.run_id,
            cluster: &pending_resume.cluster,
            addresses: &pending_resume.addresses,
            by,
            paused_since: Some(pending_resume.intended_at),
            attempts: pending_resume.attempts,
            pause: PauseKnown::default(),
        };
        // A restart may have emptied the runtime directory, so copy the credentials again. `RECORD` limits
        // the wait, because the resume must not be delayed.
        if let Some(access) = pending_resume.addresses.access.get("zeebe") {
            let kept = self.context.transport.keep(pending_resume.run_id, Arc::new(access.clone()));
            let _ = within(&*self.context.clock, RECORD, kept).await;
        }
        tokio::select! {
            biased;
            () = resume_until_confirmed(&self.context, &task) => {}
            // Stop retrying once an operator has abandoned the pending resume.
            () = settled(&self.context, pending_resume.run_id) => {}
        }
        self.release(pending_resume.run_id);
    }
}
