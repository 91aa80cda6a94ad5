//! Executes the plan of one run: for each step, writes the intent, acts, and writes the outcome. After a
//! failure, exporting is resumed before anything else.
//!
//! Owns a run from its first step to its last. Must not decide which runs exist (`queue`), nor interpret
//! component responses (`steps`, `poll`).

use crate::backup::finish::{RESUME_ABANDONED, ResumeEnd};
use crate::backup::steps;
use crate::clock::within;
use crate::context::error::{Left, StepError, Stop};
use crate::context::execution::Execution;
use crate::journal::{Event, FailureClass, Outcome, Step};
use crate::lock::lock;
use crate::pause::disk_space;
use crate::plan::PlannedStep;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::collections::BTreeSet;
use std::time::Duration;
use tokio::sync::watch;

/// Reason why the execution stopped before the last step of the plan.
enum Halt {
    Failed(StepError),
    Suspended,
}

impl Execution {
    /// Executes the plan to its end, or aborts the run. Returns after the last journal entry, or when the
    /// daemon stops.
    pub(crate) async fn execute(self) -> Left {
        let started = self.context.clock.monotonic();
        match self.walk().await {
            Ok(()) => match self.attest().await {
                Ok(attestation) => self.end(Outcome::Completed { attestation }, started).await,
                Err(error) => self.abort(error, started).await,
            },
            Err(Halt::Failed(error)) => self.abort(error, started).await,
            Err(Halt::Suspended) => Left::Suspended,
        }
    }

    /// Aborts the run without another step, for example a run that cannot continue after a restart.
    pub(crate) async fn abandon(self, error: StepError) -> Left {
        let started = self.context.clock.monotonic();
        self.abort(error, started).await
    }

    async fn walk(&self) -> Result<(), Halt> {
        let mut under_way = FuturesUnordered::new();
        let mut begun: BTreeSet<Step> = BTreeSet::new();
        let mut stop = self.stop.clone();
        // Create the disk check once, because its interval must continue across steps.
        let mut exhausted = std::pin::pin!(disk_space::exhausted(self));
        loop {
            let view = self.view();
            if self.plan.steps.iter().all(|s| view.done.contains(&s.step)) {
                return Ok(());
            }
            let going_down = matches!(*stop.borrow(), Stop::Shutdown { .. });
            for planned in &self.plan.steps {
                let ready = !view.done.contains(&planned.step)
                    && planned.after.iter().all(|before| view.done.contains(before))
                    && !begun.contains(&planned.step);
                if !ready {
                    continue;
                }
                if going_down && planned.step == Step::Pause {
                    return Err(Halt::Suspended);
                }
                begun.insert(planned.step);
                under_way.push(self.take(planned));
            }
            let resuming = begun.contains(&Step::Resume);
            tokio::select! {
                biased;
                halt = self.stopped(&mut stop), if !resuming => return Err(halt),
                done = under_way.next() => match done {
                    Some(Ok(())) => {}
                    Some(Err(error)) => return Err(Halt::Failed(error)),
                    None => return Err(Halt::Failed(StepError::new(
                        FailureClass::Interrupted,
                        "the plan has steps that can never start; this is a defect, please report it",
                    ))),
                },
                error = &mut exhausted, if !resuming => return Err(Halt::Failed(error)),
                error = self.out_of_time(), if !resuming => return Err(Halt::Failed(error)),
            }
        }
    }

    /// Returns when the run is aborted or must end because the daemon stops. During a pause, shutdown allows
    /// the run to continue until the shutdown grace is over.
    async fn stopped(&self, stop: &mut watch::Receiver<Stop>) -> Halt {
        loop {
            let now = stop.borrow_and_update().clone();
            match now {
                Stop::None => {}
                Stop::Abort { class, reason } => return Halt::Failed(StepError::new(class, reason)),
                Stop::Shutdown { until } => {
                    if !self.view().needs_resume() && lock(&self.pause_clock).is_none() {
                        return Halt::Suspended;
                    }
                    let left = until.saturating_sub(self.context.clock.monotonic());
                    tokio::select! {
                        biased;
                        () = self.context.clock.sleep(left) => return Halt::Failed(StepError::new(
                            FailureClass::Interrupted,
                            "the daemon was stopped inside the pause and its shutdown grace ran out",
                        )),
                        changed = stop.changed() => if changed.is_err() { futures::future::pending::<()>().await },
                    }
                    continue;
                }
            }
            if stop.changed().await.is_err() {
                futures::future::pending::<()>().await;
            }
        }
    }

    /// Returns when the run deadline is reached or, during our pause, when the pause budget is used up.
    async fn out_of_time(&self) -> StepError {
        let limits = self.spec.limits;
        loop {
            let now = self.context.clock.now();
            // Use the larger age of wall clock and monotonic clock: setting the wall clock back must not
            // extend the run.
            let lived = self.context.clock.monotonic().saturating_sub(self.began);
            let age = (now - self.run.created_at).to_std().unwrap_or_default().max(lived);
            if age >= limits.run_deadline {
                let text = humantime::format_duration(limits.run_deadline);
                return StepError::new(
                    FailureClass::Deadline,
                    format!("the run took longer than its run_deadline of {text}"),
                );
            }
            let mut left = limits.run_deadline.saturating_sub(age);
            let paused = lock(&self.pause_clock).as_ref().map(|p| p.elapsed(&*self.context.clock));
            if let Some(paused) = paused {
                if paused >= limits.pause_budget {
                    let text = humantime::format_duration(limits.pause_budget);
                    let reason = if self.view().pause.confirmed_at.is_some() {
                        format!("exporting was paused longer than the pause_budget of {text}")
                    } else {
                        format!(
                            "the pause was requested but not confirmed within the pause_budget of {text}{}",
                            self.evidence
                                .last_error()
                                .map(|response| format!(": {response}"))
                                .unwrap_or_default()
                        )
                    };
                    return StepError::new(FailureClass::PauseBudget, reason);
                }
                left = left.min(limits.pause_budget.saturating_sub(paused));
            }
            // Sleep for at most one second, because the wall clock or the state of the pause may change.
            self.context.clock.sleep(left.clamp(Duration::from_millis(10), Duration::from_secs(1))).await;
        }
    }

    /// Executes one step: writes the intent, acts, writes the outcome.
    async fn take(&self, planned: &PlannedStep) -> Result<(), StepError> {
        let step = planned.step;
        let began = self.context.clock.monotonic();
        if step == Step::Resume {
            return self.take_resume(began).await;
        }
        // Write no intent for the pause step: `pause` stores the intent together with the pending resume. A
        // start that was intended before a restart is not sent again: the next poll shows whether the
        // component received the request.
        let begun_before = matches!(step, Step::Start(_)) && self.view().intended.contains(&step);
        match step {
            Step::Pause => {}
            Step::Start(component) if begun_before => {
                self.write(vec![Event::StartUncertain { component }]).await?;
            }
            _ => self.write(vec![Event::StepIntended { step }]).await?,
        }
        let act = steps::act(self, step, begun_before);
        let mut uncertain = None;
        let result = match planned.deadline {
            Some(limit) => within(&*self.context.clock, limit, act).await.unwrap_or_else(|| {
                uncertain = steps::without_response(self, step);
                let text = humantime::format_duration(limit);
                Err(StepError::new(FailureClass::Deadline, format!("step {step} took longer than {text}")))
            }),
            None => act.await,
        };
        let ms = self.since(began);
        match &result {
            Ok(()) => {
                tracing::info!(
                    event = "step.finished", run_id = %self.run.run_id, cluster = %self.run.cluster,
                    backup_id = self.id().get(), step = %step, duration_ms = ms, outcome = "done"
                );
                let facts = self.evidence.proof();
                let proved = (!facts.is_empty()).then(|| Event::Proved(facts.clone()));
                self.write(proved.into_iter().chain([Event::StepDone { step, ms }]).collect()).await?;
                self.evidence.proof_is_written(&facts);
            }
            Err(error) => {
                // The response could not be stored, so the start is recorded as uncertain: the component may
                // have started the part.
                if error.class == FailureClass::Store {
                    uncertain = steps::without_response(self, step);
                }
                tracing::warn!(
                    event = "step.finished", run_id = %self.run.run_id, cluster = %self.run.cluster,
                    backup_id = self.id().get(), step = %step, duration_ms = ms, outcome = "failed",
                    reason = %error.reason
                );
                if !self.view().needs_resume() {
                    // While a resume is pending, write nothing here: the resume must come first. The last
                    // entry of the run has the reason.
                    let failed = Event::StepFailed { step, reason: error.reason.clone() };
                    let events = uncertain.into_iter().chain([failed]).collect();
                    let _ = within(&*self.context.clock, Duration::from_secs(5), self.write(events)).await;
                }
            }
        }
        result
    }

    async fn take_resume(&self, began: Duration) -> Result<(), StepError> {
        if self.view().pause.resumed_at.is_none() {
            match self.resume_until_confirmed().await {
                ResumeEnd::Resumed => {}
                ResumeEnd::Abandoned => {
                    return Err(StepError::new(FailureClass::Cancelled, RESUME_ABANDONED));
                }
                ResumeEnd::StillPending => {
                    return Err(StepError::new(
                        FailureClass::Interrupted,
                        "the daemon was stopped before the resume was confirmed",
                    ));
                }
            }
        }
        let mut events = vec![Event::StepDone { step: Step::Resume, ms: self.since(began) }];
        if !self.view().intended.contains(&Step::Resume) {
            events.insert(0, Event::StepIntended { step: Step::Resume });
        }
        self.persist(events).await;
        Ok(())
    }
}
