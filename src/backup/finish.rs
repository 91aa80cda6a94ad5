//! The end of a run: resumes exporting first, then stops running parts, collects evidence and writes the last
//! journal entry.
//!
//! Owns the order of these actions and their time limits. The walk through the plan is in `executor`.

use crate::backup::{clean_up, steps};
use crate::clock::within;
use crate::context::Context;
use crate::context::error::{Left, StepError, Stop};
use crate::context::execution::Execution;
use crate::domain::Family;
use crate::journal::{Event, FailureClass, Outcome, RunStatus, Step};
use crate::lock::lock;
use crate::pause::resume;
use crate::plan::DATABASE;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::watch;

/// Time limit of the clean-up after an abort. After a timeout, retention deletes the remaining parts.
const CLEAN_UP_DEADLINE: Duration = Duration::from_secs(60);

/// Minimum time for a resume during shutdown, even if the shutdown grace is already over. `Daemon::stop`
/// waits 15 s past the grace for this resume.
const LAST_RESUME: Duration = Duration::from_secs(5);

/// Result of `Execution::resume_until_confirmed`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResumeEnd {
    /// The server confirmed the resume.
    Resumed,
    /// An operator abandoned the pending resume.
    Abandoned,
    /// The daemon stopped before the server confirmed the resume. The next start of the daemon sends the
    /// resume again.
    StillPending,
}

/// Failure reason of a run whose resume was abandoned.
pub(crate) const RESUME_ABANDONED: &str = "an operator abandoned its resume (`pending-resumes abandon`), so exporting was never confirmed as running again";

impl Execution {
    /// Retries the resume until the server confirms it, an operator abandons it or the daemon stops.
    pub(crate) async fn resume_until_confirmed(&self) -> ResumeEnd {
        let view = self.view();
        let mut pause = resume::PauseKnown::of(&view);
        pause.settled |= self.evidence.pause_cannot_act_late();
        let task = resume::ResumeTask {
            run_id: self.run.run_id,
            cluster: &self.run.cluster,
            addresses: &self.spec.addresses,
            by: "run",
            paused_since: view.pause.intended_at,
            attempts: self.attempts_before,
            pause,
        };
        let began = self.context.clock.monotonic();
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            () = resume::resume_until_confirmed(&self.context, &task) => {}
            () = resume::settled(&self.context, self.run.run_id) => {}
            () = grace_over(&mut stop, &self.context, began) => return ResumeEnd::StillPending,
        }
        *lock(&self.pause_clock) = None;
        self.refresh().await;
        if self.view().pause.abandoned { ResumeEnd::Abandoned } else { ResumeEnd::Resumed }
    }

    pub(crate) async fn abort(&self, error: StepError, started: Duration) -> Left {
        self.settle_pause().await;
        // The resume must not wait for a write, so the `Aborting` entry is written in parallel. After a
        // crash, recovery reads the reason of the abort from this entry.
        let noted = async {
            let event = Event::Aborting { class: error.class, reason: error.reason.clone() };
            if self.view().status == RunStatus::Running {
                let _ = within(&*self.context.clock, Duration::from_secs(5), self.append(vec![event])).await;
            }
        };
        if self.view().needs_resume() || lock(&self.pause_clock).is_some() {
            let (end, ()) = futures::join!(self.resume_until_confirmed(), noted);
            if end == ResumeEnd::StillPending {
                return Left::Suspended;
            }
            // Reload the view: the resume and the `Aborting` entry were written in parallel, so the view in
            // memory may be the older of both.
            self.refresh().await;
        } else {
            noted.await;
        }
        let clean_up = clean_up::clean_up(self, error.class);
        match within(&*self.context.clock, CLEAN_UP_DEADLINE, clean_up).await {
            Some(unfinished) => {
                for what in unfinished {
                    self.clean_up_unfinished(what).await;
                }
            }
            None => {
                self.clean_up_unfinished(
                    "the clean-up timed out; retention deletes the remaining parts".into(),
                )
                .await;
            }
        }
        let failure_report = json!({
            "class": error.class,
            "reason": error.reason,
            "responses": self.evidence.responses(),
            "proof": self.proof(),
        });
        let outcome = Outcome::Failed { class: error.class, reason: error.reason, failure_report };
        self.end(outcome, started).await
    }

    /// Waits until a pending resume is stored that an interrupted pause step may have left in the write queue
    /// of the store. The store writes in order, so the test write returns after the pending resume.
    async fn settle_pause(&self) {
        let view = self.view();
        if view.needs_resume() || view.pause.resumed_at.is_some() || self.plan.step(Step::Pause).is_none() {
            return;
        }
        let clock = &*self.context.clock;
        let _ = within(clock, Duration::from_secs(1), self.context.store.probe(clock.now())).await;
        self.refresh().await;
    }

    async fn clean_up_unfinished(&self, what: String) {
        tracing::warn!(event = "step.finished", run_id = %self.run.run_id, cluster = %self.run.cluster,
            step = "clean_up", outcome = "unfinished", reason = %what);
        self.persist(vec![Event::CleanupUnfinished { what }]).await;
    }

    pub(crate) async fn end(&self, outcome: Outcome, started: Duration) -> Left {
        self.persist(vec![Event::Ended(outcome.clone())]).await;
        if !self.view().ended() {
            // The store did not confirm the last entry, but may have stored it. A pending resume may also
            // have been stored late: exporting is then resumed before the last entry is written again.
            self.refresh().await;
            if self.view().needs_resume() {
                if self.resume_until_confirmed().await == ResumeEnd::StillPending {
                    return Left::Suspended;
                }
                self.persist(vec![Event::Ended(outcome.clone())]).await;
            }
            if !self.view().ended() {
                return Left::Suspended;
            }
        }
        let ms = self.since(started);
        let schedules: Vec<&str> = self.run.occurrences.iter().map(|o| o.schedule.as_str()).collect();
        let schedule = schedules.join(",");
        match outcome {
            Outcome::Completed { .. } => tracing::info!(
                event = "run.succeeded", run_id = %self.run.run_id, cluster = %self.run.cluster, schedule,
                backup_id = self.id().get(), duration_ms = ms, outcome = "completed"
            ),
            Outcome::Failed { class, reason, .. } => {
                if class == FailureClass::Cancelled {
                    tracing::warn!(event = "run.cancelled", run_id = %self.run.run_id, cluster = %self.run.cluster, reason);
                }
                tracing::error!(
                    event = "run.failed", run_id = %self.run.run_id, cluster = %self.run.cluster, schedule,
                    backup_id = self.id().get(), duration_ms = ms, outcome = "failed", reason
                );
            }
        }
        Left::Ended
    }

    /// Probes every part once more after the resume. Returns the attestation, the evidence that the backup is
    /// whole (rule I6).
    pub(crate) async fn attest(&self) -> Result<Value, StepError> {
        let components = steps::probe_all(self).await?;
        let view = self.view();
        let rdbms = self.plan.family == Family::V89OnRdbms;
        Ok(json!({
            "reminder": rdbms.then_some(DATABASE),
            "backup_id": self.id(),
            "run_id": self.run.run_id,
            "cluster": self.run.cluster,
            "instance": self.context.instance,
            "version": view.version,
            "family": view.family,
            "components": components,
            "pause": {
                "mode": view.pause.mode,
                "intended_at": view.pause.intended_at,
                "confirmed_at": view.pause.confirmed_at,
                "resume_intended_at": view.pause.resume_intended_at,
                "resumed_at": view.pause.resumed_at,
                "exported_positions": view.pause.positions,
            },
            "proof": self.proof(),
        }))
    }
}

/// Returns when a shutdown must no longer wait for the resume that began at `began`. The shutdown grace is
/// then over, and the resume had at least `LAST_RESUME`.
async fn grace_over(stop: &mut watch::Receiver<Stop>, context: &Context, began: Duration) {
    loop {
        let until = match *stop.borrow_and_update() {
            Stop::Shutdown { until } => Some(until),
            _ => None,
        };
        if let Some(until) = until {
            let last = until.max(began + LAST_RESUME);
            context.clock.sleep(last.saturating_sub(context.clock.monotonic())).await;
            return;
        }
        if stop.changed().await.is_err() {
            futures::future::pending::<()>().await;
        }
    }
}
