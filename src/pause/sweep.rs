//! Resumes every pending resume that no live run answers for.
//!
//! Must not touch the pending resume of a live run.

use crate::clock::within;
use crate::context::Context;
use crate::domain::RunId;
use crate::lock::lock;
use crate::pause::resume::{PauseKnown, RECORD, ResumeTask, resume_until_confirmed, settled};
use crate::store::{PendingResume, StoreError};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Pays the debts that no live run will pay.
#[derive(Clone)]
pub struct Sweeper {
    context: Context,
    /// Debts somebody is on: a live run's own, or one being paid.
    taken: Arc<Mutex<BTreeSet<RunId>>>,
}

impl Sweeper {
    /// Knows of no debt yet.
    pub fn new(context: Context) -> Self {
        Self { context, taken: Arc::default() }
    }

    /// A live run answers for its own debt until `release`.
    pub fn claim(&self, run_id: RunId) {
        lock(&self.taken).insert(run_id);
    }

    /// The run has ended, or the debt is paid or forgiven.
    pub fn release(&self, run_id: RunId) {
        self.leave(run_id);
        self.context.attempts.forget(run_id);
    }

    /// The run goes no further in this process, which is still to tell what its resume met.
    pub fn leave(&self, run_id: RunId) {
        lock(&self.taken).remove(&run_id);
    }

    /// Starts a payment for every debt that nobody is on. Returns how many debts are open.
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

    /// Removes the copies of credentials that no debt needs, left by a crash or a debt that was forgiven.
    pub async fn tidy_copies(&self) {
        // Debts first: whoever owes later has claimed its debt before.
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
        // After a restart the copies are gone with the runtime directory; made anew, where that takes no time.
        if let Some(access) = pending_resume.addresses.access.get("zeebe") {
            let kept = self.context.transport.keep(pending_resume.run_id, Arc::new(access.clone()));
            let _ = within(&*self.context.clock, RECORD, kept).await;
        }
        tokio::select! {
            biased;
            () = resume_until_confirmed(&self.context, &task) => {}
            // A forgiven debt is not tried for ever.
            () = settled(&self.context, pending_resume.run_id) => {}
        }
        self.release(pending_resume.run_id);
    }
}
