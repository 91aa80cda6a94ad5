//! One active run: its record, its journal view, and all writes to that journal.
//!
//! Owns the write policy: an entry that must not be lost is retried until it is written or the daemon stops.
//! Must not know the content or the order of steps.

use crate::backoff::Backoff;
use crate::camunda::ClientError;
use crate::context::error::{StepError, Stop};
use crate::context::evidence::Evidence;
use crate::context::pause_clock::PauseClock;
use crate::context::{Clients, Context, Spec};
use crate::domain::{BackupId, Instant};
use crate::journal::{Entry, Event, FailureClass, Run, RunView, Step};
use crate::lock::lock;
use crate::plan::Plan;
use crate::store::{PendingResume, StoreError};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// One active run.
pub(crate) struct Execution {
    pub(crate) context: Context,
    pub(crate) run: Run,
    pub(crate) spec: Spec,
    pub(crate) plan: Plan,
    pub(crate) clients: Clients,
    pub(crate) pause_clock: Mutex<Option<PauseClock>>,
    view: Mutex<Arc<RunView>>,
    pub(crate) evidence: Evidence,
    /// Resumes sent by earlier processes.
    pub(crate) attempts_before: u32,
    /// Monotonic time at which this process took over the run.
    pub(crate) began: Duration,
    pub(crate) stop: watch::Receiver<Stop>,
}

impl Execution {
    /// A run with a stored `Started` entry, which names its plan. `pending_resume` is left by an earlier
    /// process, if any.
    pub(crate) fn new(
        context: Context,
        run: Run,
        spec: Spec,
        plan: Plan,
        pending_resume: Option<&PendingResume>,
        stop: watch::Receiver<Stop>,
    ) -> Self {
        let mut spec = spec;
        spec.addresses.routes =
            if run.view.version.is_some() { run.view.routes } else { spec.addresses.routes };
        let clients = Clients::new(&spec.addresses, &context.transport);
        let since_boot = pending_resume.and_then(|pending_resume| pending_resume.intended_since_boot_ms);
        // A pause with a confirmed resume has ended. No second resume may be sent, because it could end a foreign
        // pause.
        let unfinished = run.view.pause.intended_at.filter(|_| run.view.needs_resume());
        let pause_clock = unfinished.map(|at| PauseClock::after_restart(at, since_boot, &*context.clock));
        Self {
            view: Mutex::new(Arc::new(run.view.clone())),
            pause_clock: Mutex::new(pause_clock),
            evidence: Evidence::default(),
            attempts_before: pending_resume.map_or(0, |pending_resume| pending_resume.attempts),
            began: context.clock.monotonic(),
            context,
            run,
            spec,
            plan,
            clients,
            stop,
        }
    }

    /// Journal view after the last successful write.
    pub(crate) fn view(&self) -> Arc<RunView> {
        lock(&self.view).clone()
    }

    /// Appends entries. An error means that no entry was written.
    pub(crate) async fn write(&self, events: Vec<Event>) -> Result<(), StepError> {
        match self.append(events).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.overtaken(error).await),
        }
    }

    /// Error of a rejected journal entry. The store rejects an entry if another process has resumed meanwhile, for
    /// example `resume-exporting` while the daemon hangs.
    async fn overtaken(&self, error: StoreError) -> StepError {
        if matches!(error, StoreError::Illegal(_)) {
            self.refresh().await;
            if self.view().pause.resume_intended_at.is_some() {
                return StepError::new(
                    FailureClass::PauseBroken,
                    "the pause was broken: a resume was sent from outside before the backup had all its parts",
                );
            }
        }
        error.into()
    }

    pub(crate) async fn append(&self, events: Vec<Event>) -> Result<(), StoreError> {
        let at = self.context.clock.now();
        let entries = events.into_iter().map(|event| Entry { at, event }).collect();
        let view = self.context.store.append(self.run.run_id, entries).await?;
        *lock(&self.view) = Arc::new(view);
        Ok(())
    }

    /// Writes entries that must not be lost: retries until success or shutdown.
    pub(crate) async fn persist(&self, events: Vec<Event>) {
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(60));
        let mut stop = self.stop.clone();
        loop {
            let Err(error) = self.append(events.clone()).await else { return };
            if let StoreError::Illegal(illegal) = &error {
                tracing::error!(event = "store.unwritable", run_id = %self.run.run_id, cluster = %self.run.cluster,
                    reason = %illegal);
                return;
            }
            tracing::error!(event = "store.unwritable", run_id = %self.run.run_id, cluster = %self.run.cluster,
                reason = %error);
            if matches!(*stop.borrow(), Stop::Shutdown { .. }) {
                return;
            }
            tokio::select! {
                biased;
                () = self.context.clock.sleep(backoff.delay()) => {}
                _ = stop.changed() => {}
            }
            backoff.grow();
        }
    }

    /// Reloads the run after another process wrote to its journal.
    pub(crate) async fn refresh(&self) {
        if let Ok(Some(run)) = self.context.store.run(self.run.run_id).await {
            *lock(&self.view) = Arc::new(run.view);
        }
    }

    /// Starts the pause clock and applies the entry of the pending resume to the view.
    pub(crate) async fn pause_begins(&self, intended_at: Instant) {
        *lock(&self.pause_clock) = Some(PauseClock::now(intended_at, &*self.context.clock));
        self.refresh().await;
    }

    /// Backup id: ours, or the one assigned by the cluster.
    pub(crate) fn id(&self) -> BackupId {
        lock(&self.view).identified.unwrap_or(self.run.backup_id)
    }

    /// Whether exporting stays paused during this step.
    pub(crate) fn is_paused_in(&self, step: Step) -> bool {
        self.plan.step(step).is_some_and(|planned| planned.needs_pause)
    }

    /// Stores a response for the failure report.
    pub(crate) fn remember(&self, error: &ClientError) {
        self.evidence.remember(error, self.context.clock.now());
    }

    /// Stores a fact for the attestation and the failure report.
    pub(crate) fn prove(&self, name: &str, fact: Value) {
        self.evidence.prove(name, fact);
    }

    /// All facts, including those of earlier processes.
    pub(crate) fn proof(&self) -> Value {
        let mut proof = self.view().proof.clone();
        proof.extend(self.evidence.proof());
        json!(proof)
    }

    pub(crate) fn since(&self, began: Duration) -> u64 {
        self.context.clock.monotonic().saturating_sub(began).as_millis() as u64
    }
}
