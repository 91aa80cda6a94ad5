//! After a restart: every unfinished run is started, goes on, or ends; debts without a live run go to the guardian.

use crate::backup::executor::{Execution, Left, StepError, Stop};
use crate::backup::poll::TransientLook;
use crate::backup::prepare;
use crate::backup::recover::{Known, Recovery, decide};
use crate::camunda::{Exporters, ExportingState};
use crate::clock::within;
use crate::context::{Clients, Spec};
use crate::domain::Limits;
use crate::domain::{PauseMode, RunId};
use crate::journal::{Entry, Event, FailureClass, Outcome, Run};
use crate::pause::start;
use crate::pause::start::PauseClock;
use crate::plan::{Plan, PlanInput, plan};
use crate::queue::start::spec_of;
use crate::queue::{Busy, Queue};
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
                let at = spec_of(&run).ok().map(|spec| Box::new(spec.addresses));
                let slot = inner.slots.entry(run.cluster.clone()).or_default();
                slot.busy = Some(Busy::Run { run_id: Some(run.run_id), at, stop });
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

    /// Carries out a run that the store knows and nobody else can: the answer to its beginning was lost. The slot is
    /// the caller's.
    pub(crate) async fn take_over(&self, run_id: RunId, stop: watch::Receiver<Stop>) {
        let store = &self.ground.store;
        let (Ok(Some(run)), Ok(debts)) = (store.run(run_id).await, store.debts().await) else { return };
        if run.view.ended() {
            return;
        }
        self.under_way_is(&run.cluster, run_id);
        self.guardian.claim(run_id);
        let debt = debts.into_iter().find(|debt| debt.run_id == run_id);
        self.recover_one(run, debt, stop).await;
    }

    async fn recover_one(&self, run: Run, debt: Option<Debt>, stop: watch::Receiver<Stop>) {
        let (run_id, cluster) = (run.run_id, run.cluster.clone());
        let (spec, unreadable) = match spec_of(&run) {
            // Its debt knows where the cluster has moved since.
            Ok(spec) => (
                match &debt {
                    Some(debt) => Spec { addresses: debt.addresses.clone(), ..spec },
                    None => spec,
                },
                None,
            ),
            Err(error) => match self.spec_elsewhere(&cluster, debt.as_ref()) {
                Some(spec) => (spec, Some(error)),
                // Nothing is owed and nothing can be asked: what is left is the record.
                None => return self.end_unasked(run_id, &cluster, error).await,
            },
        };
        let (weighed, pause_settled) = self.weigh(&run, debt.as_ref(), &spec).await;
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
                ("resumes if it owes one and fails", Some(StepError::new(*class, reason.clone())))
            }
        };
        tracing::warn!(event = "run.recovered", %run_id, cluster, backup_id = run.backup_id.get(), outcome = how,
            reason = failed.as_ref().map(|e| e.reason.clone()));
        if recovery == Recovery::Start {
            let prepared = prepare::prepare(&self.ground, &cluster, &spec).await;
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
        let execution = Execution::new(self.ground.clone(), run, spec, plan, debt.as_ref(), stop);
        if pause_settled {
            execution.evidence.pause_is_settled();
        }
        let left: Left = match failed {
            None => execution.execute().await,
            Some(error) => execution.abandon(error).await,
        };
        self.after(&cluster, run_id, left);
    }

    /// Where a run whose own settings cannot be read is cleaned up: its debt knows, or the config of today.
    fn spec_elsewhere(&self, cluster: &str, debt: Option<&Debt>) -> Option<Spec> {
        let configured = self.settings.load().get(cluster).map(|settings| settings.spec.clone());
        match debt {
            Some(debt) => {
                Some(Spec { addresses: debt.addresses.clone(), version: None, limits: Limits::default() })
            }
            None => configured,
        }
    }

    /// Ends a run without asking anything of its cluster.
    async fn end_unasked(&self, run_id: RunId, cluster: &str, error: StepError) {
        let StepError { class, reason, .. } = error;
        tracing::error!(event = "run.failed", %run_id, cluster, outcome = "failed", reason);
        let ended = Event::Ended(Outcome::Failed { class, reason, dossier: serde_json::Value::Null });
        let entry = Entry { at: self.ground.clock.now(), event: ended };
        if let Err(error) = self.ground.store.append(run_id, vec![entry]).await {
            tracing::error!(event = "store.unwritable", %run_id, cluster, reason = %error);
        }
    }

    /// What is done with the run; and whether its pause has been carried out on every partition, so that it cannot be
    /// carried out later.
    async fn weigh(&self, run: &Run, debt: Option<&Debt>, spec: &Spec) -> (Recovery, bool) {
        let now = self.ground.clock.now();
        let exporters: Option<Exporters> = if run.view.owes_resume() {
            let zeebe = Clients::new(&spec.addresses, &self.ground.transport).zeebe;
            let look = TransientLook::new(&*self.ground.clock, READ);
            let seen = look.look(|| zeebe.exporters(), |_| {});
            within(&*self.ground.clock, READ + READ, seen).await.and_then(Result::ok)
        } else {
            None
        };
        let positions_moved = exporters
            .as_ref()
            .is_some_and(|seen| start::moved(&run.view.pause.positions, &start::positions(seen)).is_some());
        let since_boot = debt.and_then(|debt| debt.intended_since_boot_ms);
        let paused_for = run
            .view
            .pause
            .intended_at
            .map(|at| {
                PauseClock::after_restart(at, since_boot, &*self.ground.clock).elapsed(&*self.ground.clock)
            })
            .unwrap_or_default();
        let pause_settled = exporters.as_ref().is_some_and(|seen| {
            let all = run.view.partitions.is_none_or(|expected| seen.partitions.len() >= expected as usize);
            all && matches!(seen.state(), ExportingState::SoftPaused | ExportingState::Paused)
        });
        let recovery = decide(&Known {
            run,
            debt,
            exporting: exporters.filter(|e| e.readable).map(|e| e.state()),
            positions_moved,
            paused_for,
            limits: spec.limits,
            now,
        });
        (recovery, pause_settled)
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
