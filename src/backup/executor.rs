//! Walks one plan: writes the intent, acts, writes the outcome; whatever happens, exporting is resumed first.
//!
//! Owns a run from its first journal entry to its last. Must not decide which runs exist (`queue`), nor what an
//! answer of a component means beyond the clients' words (`steps`, `wait`).

use crate::backup::finish::{GIVEN_UP, ResumeEnd};
use crate::backup::steps;
use crate::camunda::ClientError;
use crate::clock::within;
use crate::context::evidence::Evidence;
use crate::context::{Clients, Context, Spec};
use crate::domain::{BackupId, Instant};
use crate::journal::{Entry, Event, FailureClass, Outcome, Run, RunView, Step};
use crate::lock::lock;
use crate::pause::disk_space;
use crate::pause::start::PauseClock;
use crate::plan::{Plan, PlannedStep};
use crate::store::{PendingResume, StoreError};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Why a run must end, or pause, before its plan is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing asks it to.
    None,
    /// The daemon goes down: outside the pause window the run is left to re-entry, inside it has until then
    /// (monotonic time of the clock) to leave the window.
    Shutdown {
        /// Monotonic time at which the grace is over.
        until: Duration,
    },
    /// Abort with this reason.
    Abort {
        /// Countable reason.
        class: FailureClass,
        /// One sentence.
        reason: String,
    },
}

/// How the executor left the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The journal has its last entry.
    Ended,
    /// The daemon goes down; the run is re-entered after the restart.
    Suspended,
}

/// A step that went wrong.
#[derive(Clone, Debug)]
pub struct StepError {
    /// Countable reason.
    pub class: FailureClass,
    /// One sentence for the operator.
    pub reason: String,
    /// Before a run: it may be over soon, so that an occurrence waits for it as long as it may.
    pub transient: bool,
}

impl StepError {
    /// A step error.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), transient: false }
    }

    /// The cluster is not calm enough to begin.
    pub fn not_ready(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { transient: true, ..Self::new(class, reason) }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::new(FailureClass::Store, error.to_string())
    }
}

/// Why the walk stopped short.
enum Halt {
    Failed(StepError),
    Suspended,
}

/// One run under way.
pub struct Execution {
    pub(crate) context: Context,
    pub(crate) run: Run,
    pub(crate) spec: Spec,
    pub(crate) plan: Plan,
    pub(crate) clients: Clients,
    pub(crate) pause_clock: Mutex<Option<PauseClock>>,
    view: Mutex<Arc<RunView>>,
    pub(crate) evidence: Evidence,
    /// Resumes that earlier processes have sent for it.
    pub(crate) attempts_before: u32,
    /// Monotonic time at which this process took it up.
    began: Duration,
    pub(crate) stop: watch::Receiver<Stop>,
}

impl Execution {
    /// A run whose `Started` entry is written; its plan is the one that entry names. `pending_resume` is what an earlier process
    /// left of it.
    pub fn new(
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
        // A pause whose resume was confirmed is over: another resume could end somebody else's.
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

    /// Walks the plan to its end, or aborts; returns when the journal has its last entry or the daemon goes down.
    pub async fn execute(self) -> Left {
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

    /// Ends the run without another step, e.g. when it could not go on after a restart.
    pub async fn abandon(self, error: StepError) -> Left {
        let started = self.context.clock.monotonic();
        self.abort(error, started).await
    }

    async fn walk(&self) -> Result<(), Halt> {
        let mut under_way = FuturesUnordered::new();
        let mut begun: BTreeSet<Step> = BTreeSet::new();
        let mut stop = self.stop.clone();
        // Kept across steps: it has its own rhythm.
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

    /// Returns when something asks the run to end or to be left.
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

    /// Returns when the run deadline or, while exporting is paused by us, the pause budget is over.
    async fn out_of_time(&self) -> StepError {
        let limits = self.spec.limits;
        loop {
            let now = self.context.clock.now();
            // The larger of both clocks: one set back must not give the run more time.
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
                            "the pause was asked for and not seen to hold within the pause_budget of {text}{}",
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
            // Wall clock and pause state may change under a long sleep.
            self.context.clock.sleep(left.clamp(Duration::from_millis(10), Duration::from_secs(1))).await;
        }
    }

    /// One step: intent, act, outcome.
    async fn take(&self, planned: &PlannedStep) -> Result<(), StepError> {
        let step = planned.step;
        let began = self.context.clock.monotonic();
        if step == Step::Resume {
            return self.take_resume(began).await;
        }
        // The pause writes its intent together with the debt. A start that was intended before a restart is not
        // repeated: the wait that follows looks what became of it.
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
                // An answer that could not be written down is lost as well.
                if error.class == FailureClass::Store {
                    uncertain = steps::without_response(self, step);
                }
                tracing::warn!(
                    event = "step.finished", run_id = %self.run.run_id, cluster = %self.run.cluster,
                    backup_id = self.id().get(), step = %step, duration_ms = ms, outcome = "failed",
                    reason = %error.reason
                );
                if !self.view().needs_resume() {
                    // Inside the window the resume comes first; the end of the run carries the reason.
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
                ResumeEnd::Abandoned => return Err(StepError::new(FailureClass::Cancelled, GIVEN_UP)),
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

    /// The view as of the last successful write.
    pub(crate) fn view(&self) -> Arc<RunView> {
        lock(&self.view).clone()
    }

    /// Appends entries; an error means that nothing was written.
    pub(crate) async fn write(&self, events: Vec<Event>) -> Result<(), StepError> {
        match self.append(events).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.overtaken(error).await),
        }
    }

    /// An entry is refused where somebody else has resumed meanwhile, as `resume-exporting` beside a daemon that hung.
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

    /// Writes what must be written, for as long as it takes, unless the daemon goes down.
    pub(crate) async fn persist(&self, events: Vec<Event>) {
        let mut pause = Duration::from_millis(200);
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
                () = self.context.clock.sleep(pause) => {}
                _ = stop.changed() => {}
            }
            pause = (pause * 2).min(Duration::from_secs(60));
        }
    }

    /// Reads the run again after somebody else wrote into its journal.
    pub(crate) async fn refresh(&self) {
        if let Ok(Some(run)) = self.context.store.run(self.run.run_id).await {
            *lock(&self.view) = Arc::new(run.view);
        }
    }

    /// Sets the pause clock and takes over what the debt's entry did to the view.
    pub(crate) async fn pause_begins(&self, intended_at: Instant) {
        *lock(&self.pause_clock) = Some(PauseClock::now(intended_at, &*self.context.clock));
        self.refresh().await;
    }

    /// The backup's id: ours, or the one that the cluster gave.
    pub(crate) fn id(&self) -> BackupId {
        lock(&self.view).identified.unwrap_or(self.run.backup_id)
    }

    /// Whether exporting stays paused while this step is done.
    pub(crate) fn is_paused_in(&self, step: Step) -> bool {
        self.plan.step(step).is_some_and(|planned| planned.needs_pause)
    }

    /// Keeps an answer for the dossier.
    pub(crate) fn remember(&self, error: &ClientError) {
        self.evidence.remember(error, self.context.clock.now());
    }

    /// Keeps a fact for certificate and dossier.
    pub(crate) fn prove(&self, name: &str, fact: Value) {
        self.evidence.prove(name, fact);
    }

    /// All facts, an earlier process's as well.
    pub(crate) fn proof(&self) -> Value {
        let mut proof = self.view().proof.clone();
        proof.extend(self.evidence.proof());
        json!(proof)
    }

    pub(crate) fn since(&self, began: Duration) -> u64 {
        self.context.clock.monotonic().saturating_sub(began).as_millis() as u64
    }
}
