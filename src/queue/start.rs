//! Creates a run with its backup id, writes its first journal entry, and executes its plan: the common part of
//! scheduled runs (`scheduled`) and manual runs (`manual`).
//!
//! Must not decide whether a run starts.

use crate::context::Spec;
use crate::context::error::{Left, StepError, Stop};
use crate::context::execution::Execution;
use crate::context::prepared::Prepared;
use crate::domain::id_scope;
use crate::domain::{Family, RetentionGroup, RunId, Trigger};
use crate::journal::{Entry, Event, Run};
use crate::plan::{Plan, PlanInput, plan};
use crate::queue::{Busy, ClusterSettings, Queue};
use crate::store::{NewRun, OccurrenceOutcome, StoreError};
use std::time::Duration;
use tokio::sync::watch;

impl Queue {
    /// Creates the run in the store. If the result of the commit is unknown, reads whether the run was
    /// stored.
    pub(crate) async fn begin_run(&self, new: NewRun) -> Result<Run, StoreError> {
        let run_id = new.run_id;
        let error = match self.context.store.begin_run(new).await {
            Err(error @ StoreError::Unknown { .. }) => error,
            result => return result,
        };
        loop {
            // Retry until the store can be read: a stored run without an executor would block its cluster
            // until the next start.
            match self.context.store.run(run_id).await {
                Ok(Some(run)) => return Ok(run),
                Ok(None) | Err(StoreError::Closed) => return Err(error),
                Err(unread) => {
                    tracing::error!(event = "store.unwritable", %run_id, reason = %unread);
                    self.context.clock.sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    #[allow(clippy::too_many_arguments)] // the arguments become the fields of one `NewRun`
    pub(crate) fn new_run(
        &self,
        cluster: &str,
        settings: &ClusterSettings,
        prepared: &Result<Prepared, StepError>,
        trigger: Trigger,
        occurrences: Vec<(crate::domain::Occurrence, OccurrenceOutcome)>,
        retention_groups: Vec<RetentionGroup>,
        note: Option<String>,
    ) -> NewRun {
        NewRun {
            run_id: uuid::Uuid::now_v7(),
            cluster: cluster.to_owned(),
            trigger,
            occurrences,
            retention_groups,
            note,
            spec: serde_json::to_value(&settings.spec).unwrap_or_default(),
            id_scope: id_scope(cluster, &settings.spec.addresses),
            largest_seen: prepared.as_ref().map_or(0, |p| p.largest_seen),
            now: self.context.clock.now(),
            min_interval: None,
        }
    }

    /// Writes the first journal entry and executes the plan. If `prepared` is an error, the run fails with
    /// that error.
    pub(crate) async fn carry_out(
        &self,
        cluster: &str,
        mut run: Run,
        spec: Spec,
        prepared: Result<Prepared, StepError>,
        stop: watch::Receiver<Stop>,
    ) {
        self.set_run_id(cluster, run.run_id);
        let schedules: Vec<&str> = run.occurrences.iter().map(|o| o.schedule.as_str()).collect();
        tracing::info!(event = "run.started", run_id = %run.run_id, cluster, schedule = schedules.join(","),
            backup_id = run.backup_id.get());
        let (plan, failed) = match prepared {
            Ok(prepared) => {
                let plan = plan_for(cluster, &spec, &prepared);
                match self.write_first_entry(&mut run, &plan, &prepared).await {
                    Ok(()) => (plan, None),
                    Err(error) => (plan, Some(error)),
                }
            }
            Err(error) => (empty_plan(cluster), Some(error)),
        };
        let run_id = run.run_id;
        self.sweeper.claim(run_id);
        let execution = Execution::new(self.context.clone(), run, spec, plan, None, stop);
        let left = match failed {
            None => execution.execute().await,
            Some(error) => execution.abandon(error).await,
        };
        self.after(cluster, run_id, left);
    }

    pub(crate) fn after(&self, cluster: &str, run_id: RunId, left: Left) {
        if left == Left::Suspended {
            return self.sweeper.leave(run_id);
        }
        self.sweeper.release(run_id);
        if let Some(slot) = self.lock().slots.get_mut(cluster) {
            slot.upkeep_due = true;
        }
    }

    pub(crate) fn set_run_id(&self, cluster: &str, run_id: RunId) {
        if let Some(Busy::Run { run_id: now, .. }) =
            self.lock().slots.get_mut(cluster).and_then(|s| s.busy.as_mut())
        {
            *now = Some(run_id);
        }
    }

    async fn write_first_entry(
        &self,
        run: &mut Run,
        plan: &Plan,
        prepared: &Prepared,
    ) -> Result<(), StepError> {
        let event = Event::Started {
            version: prepared.version.clone(),
            family: plan.family,
            routes: prepared.routes,
            pause: plan.pause,
            components: plan.components.clone(),
            steps: plan.step_names(),
            records_indices: prepared.records_indices.clone(),
            partitions: prepared.partitions,
            above: (plan.family == Family::V89OnRdbms).then_some(prepared.largest_seen),
        };
        let entry = Entry { at: self.context.clock.now(), event };
        run.view = self.context.store.append(run.run_id, vec![entry]).await?;
        Ok(())
    }
}

fn plan_for(cluster: &str, spec: &Spec, prepared: &Prepared) -> Plan {
    plan(&PlanInput {
        cluster,
        family: prepared.family,
        pause: prepared.pause,
        components: &prepared.components,
        limits: spec.limits,
    })
}

/// Plan without steps, for a run that fails before its real plan is known.
fn empty_plan(cluster: &str) -> Plan {
    Plan {
        cluster: cluster.to_owned(),
        family: Family::V82To87,
        pause: None,
        components: vec![],
        steps: vec![],
    }
}
