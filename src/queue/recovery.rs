//! Recovery after a restart: starts, continues or ends every unfinished run.
//!
//! Collects the facts, calls `backup::recovery_decision::decide`, and carries out its decision. Pending resumes without
//! an unfinished run go to the sweeper.

use crate::backup::recovery_decision::{Known, Recovery, decide};
use crate::camunda::{Exporters, ExportingState};
use crate::clock::within;
use crate::context::error::{Left, StepError, Stop};
use crate::context::execution::Execution;
use crate::context::pause_clock::PauseClock;
use crate::context::retry::RetryTransient;
use crate::context::{Clients, Spec};
use crate::domain::Limits;
use crate::domain::{PauseMode, RunId};
use crate::journal::{Entry, Event, FailureClass, Outcome, Run};
use crate::pause::verify;
use crate::plan::{Plan, PlanInput, plan};
use crate::queue::{Busy, Queue, deployment_of};
use crate::store::{PendingResume, StoreError};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// Time limit for the retries when the partitions of a paused cluster are read. Without a result the pause
/// cannot be proven to have held.
const READ: Duration = Duration::from_secs(3);

impl Queue {
    /// Starts the recovery of each unfinished run in the background. Then lets the sweeper send the pending
    /// resumes that no unfinished run has claimed.
    pub async fn recover(&self) -> Result<(), StoreError> {
        let unfinished = self.context.store.unfinished().await?;
        let pending_resumes: BTreeMap<_, PendingResume> = self
            .context
            .store
            .pending_resumes()
            .await?
            .into_iter()
            .map(|pending_resume| (pending_resume.run_id, pending_resume))
            .collect();
        for run in unfinished {
            let (stop, stopped) = watch::channel(Stop::None);
            {
                let mut inner = self.lock();
                let at = Spec::of(&run).ok().map(|spec| Box::new(spec.addresses));
                let slot = inner.slots.entry(run.cluster.clone()).or_default();
                slot.busy = Some(Busy::Run { run_id: Some(run.run_id), at, stop });
            }
            self.sweeper.claim(run.run_id);
            let pending_resume = pending_resumes.get(&run.run_id).cloned();
            let queue = self.clone();
            self.context.tasks.spawn(async move {
                let cluster = run.cluster.clone();
                queue.recover_one(run, pending_resume, stopped).await;
                queue.free(&cluster);
            });
        }
        self.sweeper.sweep("sweeper").await?;
        Ok(())
    }

    /// Takes over an unfinished run in the store that has no executor, for example because the response to
    /// its creation was lost. The caller has reserved the cluster.
    pub(crate) async fn take_over(&self, run_id: RunId, stop: watch::Receiver<Stop>) {
        let store = &self.context.store;
        let (Ok(Some(run)), Ok(pending_resumes)) = (store.run(run_id).await, store.pending_resumes().await)
        else {
            return;
        };
        if run.view.ended() {
            return;
        }
        self.set_run_id(&run.cluster, run_id);
        self.sweeper.claim(run_id);
        let pending_resume =
            pending_resumes.into_iter().find(|pending_resume| pending_resume.run_id == run_id);
        self.recover_one(run, pending_resume, stop).await;
    }

    async fn recover_one(
        &self,
        run: Run,
        pending_resume: Option<PendingResume>,
        stop: watch::Receiver<Stop>,
    ) {
        let (run_id, cluster) = (run.run_id, run.cluster.clone());
        let (spec, unreadable) = match Spec::of(&run) {
            // Prefer the addresses of the pending resume: if the cluster moved, they contain the new address.
            Ok(spec) => (
                match &pending_resume {
                    Some(pending_resume) => Spec { addresses: pending_resume.addresses.clone(), ..spec },
                    None => spec,
                },
                None,
            ),
            Err(error) => match self.spec_elsewhere(&cluster, pending_resume.as_ref()) {
                Some(spec) => (spec, Some(error)),
                // No resume is pending and no address is known, so no request can be sent. Only the stored
                // run can be ended.
                None => return self.end_without_execution(run_id, &cluster, error).await,
            },
        };
        let (weighed, pause_cannot_act_late) = self.weigh(&run, pending_resume.as_ref(), &spec).await;
        let recovery = if let Some(StepError { class, reason, .. }) = unreadable {
            Recovery::Fail { class, reason }
        } else if self.settings.load().contains_key(&cluster) {
            weighed
        } else {
            let reason = "the cluster was taken out of the config while the daemon was down".into();
            Recovery::Fail { class: FailureClass::Removed, reason }
        };
        let (how, failed) = match &recovery {
            Recovery::Start => ("starts", None),
            Recovery::GoOn => ("goes on", None),
            Recovery::Finish => ("resumes and finishes", None),
            Recovery::Fail { class, reason } => {
                ("resumes if a resume is pending, and fails", Some(StepError::new(*class, reason.clone())))
            }
        };
        tracing::warn!(event = "run.recovered", %run_id, cluster, backup_id = run.backup_id.get(), outcome = how,
            reason = failed.as_ref().map(|e| e.reason.clone()));
        if recovery == Recovery::Start {
            let prepared = deployment_of(&self.context, &cluster, &spec).prepare().await;
            return self.carry_out(&cluster, run, spec, prepared, stop).await;
        }
        let plan = plan_of(&run, &spec);
        let entry = Entry { at: self.context.clock.now(), event: Event::Recovered { how: how.into() } };
        let _ = within(
            &*self.context.clock,
            Duration::from_secs(2),
            self.context.store.append(run_id, vec![entry]),
        )
        .await;
        let execution = Execution::new(self.context.clone(), run, spec, plan, pending_resume.as_ref(), stop);
        if pause_cannot_act_late {
            execution.evidence.note_pause_cannot_act_late();
        }
        let left: Left = match failed {
            None => execution.execute().await,
            Some(error) => execution.abandon(error).await,
        };
        self.after(&cluster, run_id, left);
    }

    /// Settings for the clean-up of a run whose own settings are unreadable. They come from its pending
    /// resume or the current config.
    fn spec_elsewhere(&self, cluster: &str, pending_resume: Option<&PendingResume>) -> Option<Spec> {
        let configured = self.settings.load().get(cluster).map(|settings| settings.spec.clone());
        match pending_resume {
            Some(pending_resume) => Some(Spec {
                addresses: pending_resume.addresses.clone(),
                version: None,
                limits: Limits::default(),
            }),
            None => configured,
        }
    }

    /// Ends a run as failed without a request to its cluster.
    async fn end_without_execution(&self, run_id: RunId, cluster: &str, error: StepError) {
        let StepError { class, reason, .. } = error;
        tracing::error!(event = "run.failed", %run_id, cluster, outcome = "failed", reason);
        let ended = Event::Ended(Outcome::Failed { class, reason, failure_report: serde_json::Value::Null });
        let entry = Entry { at: self.context.clock.now(), event: ended };
        if let Err(error) = self.context.store.append(run_id, vec![entry]).await {
            tracing::error!(event = "store.unwritable", %run_id, cluster, reason = %error);
        }
    }

    /// Decides how the run continues. The second value is true if every partition is seen paused: the pause
    /// request was then carried out and cannot take effect later.
    async fn weigh(
        &self,
        run: &Run,
        pending_resume: Option<&PendingResume>,
        spec: &Spec,
    ) -> (Recovery, bool) {
        let now = self.context.clock.now();
        let exporters: Option<Exporters> = if run.view.needs_resume() {
            let zeebe = Clients::new(&spec.addresses, &self.context.transport).zeebe;
            let probe = RetryTransient::new(&*self.context.clock, READ);
            let seen = probe.probe(|| zeebe.exporters(), |_| {});
            within(&*self.context.clock, READ + READ, seen).await.and_then(Result::ok)
        } else {
            None
        };
        let positions_moved = exporters
            .as_ref()
            .is_some_and(|seen| verify::moved(&run.view.pause.positions, &seen.positions()).is_some());
        let since_boot = pending_resume.and_then(|pending_resume| pending_resume.intended_since_boot_ms);
        let paused_for = run
            .view
            .pause
            .intended_at
            .map(|at| {
                PauseClock::after_restart(at, since_boot, &*self.context.clock).elapsed(&*self.context.clock)
            })
            .unwrap_or_default();
        let pause_cannot_act_late = exporters.as_ref().is_some_and(|seen| {
            let all = run.view.partitions.is_none_or(|expected| seen.partitions.len() >= expected as usize);
            all && matches!(seen.state(), ExportingState::SoftPaused | ExportingState::Paused)
        });
        let recovery = decide(&Known {
            run,
            pending_resume,
            exporting: exporters.filter(|e| e.readable).map(|e| e.state()),
            positions_moved,
            paused_for,
            limits: spec.limits,
            now,
        });
        (recovery, pause_cannot_act_late)
    }
}

/// Rebuilds the plan with which the run started, from its journal.
fn plan_of(run: &Run, spec: &Spec) -> Plan {
    let components: Vec<_> = run.view.components.keys().copied().collect();
    plan(&PlanInput {
        cluster: &run.cluster,
        family: run.view.family.unwrap_or(crate::domain::Family::V82To87),
        pause: run.view.pause.requested.unwrap_or(PauseMode::Soft),
        components: &components,
        limits: spec.limits,
    })
}
