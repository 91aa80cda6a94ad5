//! After a restart: every unfinished run is started, goes on, or ends; debts without a live run go to the guardian.

use super::super::executor::{Execution, Left, StepError, Stop};
use super::super::recover::{Known, Recovery, decide};
use super::super::window::{self, PauseClock};
use super::super::{Clients, Spec, prepare};
use super::start::spec_of;
use super::{Busy, Queue};
use crate::clients::Exporters;
use crate::clock::within;
use crate::domain::PauseMode;
use crate::journal::{Entry, Event, FailureClass, Run};
use crate::plan::{Plan, PlanInput, plan};
use crate::store::{Debt, StoreError};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::watch;

/// How long the partitions are asked before a run inside the pause window is given up.
const READ: Duration = Duration::from_secs(3);

impl Queue {
    /// Takes over what an earlier process left; debts that no run will pay are being paid when this returns.
    pub async fn recover(&self) -> Result<(), StoreError> {
        let unfinished = self.ground.store.unfinished().await?;
        let debts: BTreeMap<_, Debt> =
            self.ground.store.debts().await?.into_iter().map(|debt| (debt.run_id, debt)).collect();
        for run in unfinished {
            let (stop, stopped) = watch::channel(Stop::None);
            {
                let mut inner = self.lock();
                let slot = inner.slots.entry(run.cluster.clone()).or_default();
                slot.busy = Some(Busy::Run { run_id: Some(run.run_id), stop });
            }
            self.guardian.claim(run.run_id);
            let debt = debts.get(&run.run_id).cloned();
            let queue = self.clone();
            self.ground.tasks.spawn(async move {
                let cluster = run.cluster.clone();
                queue.recover_one(run, debt, stopped).await;
                queue.free(&cluster);
            });
        }
        self.guardian.sweep("guardian").await?;
        Ok(())
    }

    async fn recover_one(&self, run: Run, debt: Option<Debt>, stop: watch::Receiver<Stop>) {
        let (run_id, cluster) = (run.run_id, run.cluster.clone());
        let spec = match spec_of(&run) {
            Ok(spec) => spec,
            Err(error) => {
                // The debt carries its own addresses; the run can only be ended.
                self.guardian.release(run_id);
                let _ = self.guardian.sweep("guardian").await;
                tracing::error!(event = "run.failed", %run_id, cluster, reason = %error.reason);
                return;
            }
        };
        let recovery = if self.settings.load().contains_key(&cluster) {
            self.weigh(&run, debt.as_ref(), &spec).await
        } else {
            let reason = "the cluster was taken out of the config while the daemon was down".into();
            Recovery::Fail { class: FailureClass::Removed, reason }
        };
        let (how, failed) = match &recovery {
            Recovery::Start => ("starts", None),
            Recovery::GoOn => ("goes on", None),
            Recovery::Finish => ("resumes and finishes", None),
            Recovery::Fail { class, reason } => {
                ("resumes if it owes one and fails", Some(StepError::new(*class, reason.clone())))
            }
        };
        tracing::warn!(event = "run.recovered", %run_id, cluster, backup_id = run.backup_id.get(), outcome = how,
            reason = failed.as_ref().map(|e| e.reason.clone()));
        if recovery == Recovery::Start {
            let prepared = prepare::prepare(&self.ground, &spec).await;
            return self.carry_out(&cluster, run, spec, prepared, stop).await;
        }
        let plan = plan_of(&run, &spec);
        let entry = Entry { at: self.ground.clock.now(), event: Event::Recovered { how: how.into() } };
        let _ = within(
            &*self.ground.clock,
            Duration::from_secs(2),
            self.ground.store.append(run_id, vec![entry]),
        )
        .await;
        let execution = Execution::new(self.ground.clone(), run, spec, plan, stop);
        let left: Left = match failed {
            None => execution.execute().await,
            Some(error) => execution.abandon(error).await,
        };
        self.after(&cluster, run_id, left);
    }

    async fn weigh(&self, run: &Run, debt: Option<&Debt>, spec: &Spec) -> Recovery {
        let now = self.ground.clock.now();
        let exporters: Option<Exporters> = if run.view.owes_resume() {
            let zeebe = Clients::new(&spec.addresses, &self.ground.transport).zeebe;
            within(&*self.ground.clock, READ, zeebe.exporters()).await.and_then(Result::ok)
        } else {
            None
        };
        let positions_moved = exporters
            .as_ref()
            .is_some_and(|seen| window::moved(&run.view.pause.positions, &window::positions(seen)).is_some());
        let paused_for = run
            .view
            .pause
            .intended_at
            .map(|at| PauseClock::after_restart(at, &*self.ground.clock).elapsed(&*self.ground.clock))
            .unwrap_or_default();
        decide(&Known {
            run,
            debt,
            exporting: exporters.filter(|e| e.readable).map(|e| e.state()),
            positions_moved,
            paused_for,
            limits: spec.limits,
            now,
        })
    }
}

/// The plan the run began with, from its own journal.
fn plan_of(run: &Run, spec: &Spec) -> Plan {
    let components: Vec<_> = run.view.components.keys().copied().collect();
    plan(&PlanInput {
        cluster: &run.cluster,
        family: run.view.family.unwrap_or(crate::domain::Family::V82To87),
        pause: run.view.pause.asked.unwrap_or(PauseMode::Soft),
        components: &components,
        limits: spec.limits,
    })
}
