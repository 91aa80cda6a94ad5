//! Starts scheduled and manual runs: creates the run with its backup id, writes its first journal entry, then
//! executes it.
//!
//! Also reserves a cluster for the request of a restore. Runs of an earlier process are started in
//! `recovery`.

use crate::backup::prepare;
use crate::clock::within;
use crate::context::Spec;
use crate::context::error::{Left, StepError, Stop};
use crate::context::execution::Execution;
use crate::context::prepared::Prepared;
use crate::domain::id_scope;
use crate::domain::{Family, RetentionGroup, RunId, Trigger, instant_text};
use crate::journal::{Entry, Event, FailureClass, Run};
use crate::plan::{Plan, PlanInput, plan};
use crate::queue::not_ready::{NotReady, Over};
use crate::queue::waiting::Waiting;
use crate::queue::{Busy, ClusterSettings, GONE, Queue, UNSCHEDULED};
use crate::store::{NewRun, OccurrenceOutcome, OccurrenceRow, StoreError};
use std::time::Duration;
use tokio::sync::watch;

/// Maximum time that a manual request waits for a deletion to yield.
const MANUAL_WAIT: Duration = Duration::from_secs(60);

impl Queue {
    /// Starts one run that serves all due occurrences of a cluster.
    pub(crate) async fn run_waiting(&self, cluster: &str, stop: watch::Receiver<Stop>) {
        let Some(_permit) = self.permit(cluster).await else { return };
        let Some(settings) = self.settings.load().get(cluster).cloned() else {
            // The occurrences were submitted after their cluster left the config. A removed cluster must have
            // no waiting occurrences.
            return self.skip(self.take_all(cluster), GONE.into()).await;
        };
        let now = self.context.clock.now();
        let due: Vec<Waiting> = {
            let mut inner = self.lock();
            let Some(slot) = inner.slots.get_mut(cluster) else { return };
            slot.waiting.extract_if(.., |w| w.from <= now).collect()
        };
        let earliest = due.iter().map(|w| w.from).min();
        let (due, unwanted): (Vec<_>, Vec<_>) = due
            .into_iter()
            .map(|w| w.row)
            .partition(|row| settings.schedules.contains(&row.occurrence.schedule));
        // Skip these occurrences in the background, because the run need not wait for that.
        self.skip_later(unwanted, UNSCHEDULED.into());
        let Some(earliest) = earliest.filter(|_| !due.is_empty()) else { return };
        let late = (now - earliest).num_milliseconds();
        match self.not_ready(cluster, &settings.spec).await {
            Ok(None) => {}
            Ok(Some(not_ready)) => return self.wait_or_skip(cluster, due, not_ready).await,
            Err(error) => return self.wait_again(cluster, due, &error).await,
        }
        let prepared = prepare::prepare(&self.context, cluster, &settings.spec).await;
        let requested = stop.borrow().clone();
        match requested {
            Stop::None => {}
            // The daemon stops. The occurrences stay claimed in the store, and the next start submits them
            // again.
            Stop::Shutdown { .. } => return,
            Stop::Abort { reason, .. } => return self.skip(due, reason).await,
        }
        if let Err(StepError { transient: true, reason, .. }) = &prepared {
            let not_ready = NotReady { reason: reason.clone(), over: Some(Over::Soon) };
            return self.wait_or_skip(cluster, due, not_ready).await;
        }
        let outcome_of = |row: &OccurrenceRow, alone: bool| match (row.missed, alone) {
            (true, _) => OccurrenceOutcome::CaughtUp,
            (false, true) => OccurrenceOutcome::Started,
            (false, false) => OccurrenceOutcome::Coalesced,
        };
        let mut retention_groups: Vec<RetentionGroup> =
            due.iter().map(|r| RetentionGroup::Schedule(r.occurrence.schedule.clone())).collect();
        retention_groups.sort();
        retention_groups.dedup();
        let first_fires = |i: usize| i == 0;
        let occurrences = due
            .iter()
            .enumerate()
            .map(|(i, row)| (row.occurrence.clone(), outcome_of(row, first_fires(i))))
            .collect();
        let new = self.new_run(
            cluster,
            &settings,
            &prepared,
            Trigger::Schedule,
            occurrences,
            retention_groups,
            None,
        );
        match self.begin_run(new).await {
            Ok(run) => {
                for row in &due {
                    let event = if row.missed { "occurrence.caught_up" } else { "occurrence.due" };
                    tracing::info!(event, schedule = %row.occurrence.schedule, cluster, run_id = %run.run_id,
                        due_at = instant_text(row.occurrence.due_at), duration_ms = late);
                }
                for row in due.iter().skip(1) {
                    tracing::info!(event = "occurrence.coalesced", schedule = %row.occurrence.schedule, cluster,
                        run_id = %run.run_id, due_at = instant_text(row.occurrence.due_at));
                }
                self.carry_out(cluster, run, settings.spec, prepared, stop).await;
            }
            Err(error @ StoreError::Busy { run_id, .. }) => {
                Box::pin(self.take_over(run_id, stop)).await;
                self.wait_again(cluster, due, &error).await;
            }
            Err(error) => self.wait_again(cluster, due, &error).await,
        }
    }

    /// Starts a manual run. Returns `Busy` while a run is active. An active deletion pass must yield within
    /// `MANUAL_WAIT`.
    pub async fn manual(&self, cluster: &str, note: Option<String>) -> Result<RunId, ManualError> {
        let (queue, cluster) = (self.clone(), cluster.to_owned());
        // In a task of its own, so that the cluster is released even if the caller disconnects.
        let begun = self.context.tasks.spawn(async move { queue.start_manual(&cluster, note).await });
        begun.await.unwrap_or(Err(ManualError::GoingDown))
    }

    async fn start_manual(&self, cluster: &str, note: Option<String>) -> Result<RunId, ManualError> {
        let settings = self
            .settings
            .load()
            .get(cluster)
            .cloned()
            .ok_or_else(|| ManualError::UnknownCluster(cluster.to_owned()))?;
        let (stop, stopped) = watch::channel(Stop::None);
        self.reserve(cluster, Busy::Run { run_id: None, at: None, stop }).await?;
        let stop = stopped;
        let begun = self.begin_manual(cluster, &settings, note, &stop).await;
        let (queue, name) = (self.clone(), cluster.to_owned());
        match begun {
            Ok((run, prepared)) => {
                let run_id = run.run_id;
                self.context.tasks.spawn(async move {
                    let _permit = queue.permits.acquire().await;
                    queue.carry_out(&name, run, settings.spec, prepared, stop).await;
                    queue.free(&name);
                });
                Ok(run_id)
            }
            Err(error) => {
                let orphan = match &error {
                    ManualError::Store(StoreError::Busy { run_id, .. }) => Some(*run_id),
                    _ => None,
                };
                self.context.tasks.spawn(async move {
                    if let Some(run_id) = orphan {
                        Box::pin(queue.take_over(run_id, stop)).await;
                    }
                    queue.free(&name);
                });
                Err(error)
            }
        }
    }

    async fn begin_manual(
        &self,
        cluster: &str,
        settings: &ClusterSettings,
        note: Option<String>,
        stop: &watch::Receiver<Stop>,
    ) -> Result<(Run, Result<Prepared, StepError>), ManualError> {
        if let Some(NotReady { reason, .. }) = self.not_ready(cluster, &settings.spec).await? {
            return Err(ManualError::Hindered { cluster: cluster.to_owned(), reason });
        }
        let prepared = prepare::prepare(&self.context, cluster, &settings.spec).await;
        let mut new = self.new_run(
            cluster,
            settings,
            &prepared,
            Trigger::Manual,
            vec![],
            vec![RetentionGroup::Manual],
            note,
        );
        new.min_interval = Some(settings.manual_min_interval);
        let requested = stop.borrow().clone();
        match requested {
            Stop::None => {}
            Stop::Shutdown { .. } => return Err(ManualError::GoingDown),
            Stop::Abort { reason, .. } => {
                return Err(ManualError::Hindered { cluster: cluster.to_owned(), reason });
            }
        }
        // A transient condition creates no failed run. The caller gets the reason and may retry at once.
        if let Err(StepError { transient: true, reason, .. }) = prepared {
            return Err(ManualError::Hindered { cluster: cluster.to_owned(), reason });
        }
        Ok((self.begin_run(new).await?, prepared))
    }

    /// Sends the request of a restore while the cluster has no other operation (rule I4). After that, runs
    /// and deletions are prevented by the restore's state in Camunda 8 SaaS, also after a restart of the
    /// daemon.
    pub async fn restore<T: Send + 'static>(
        &self,
        cluster: &str,
        request: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, ManualError> {
        let (queue, cluster) = (self.clone(), cluster.to_owned());
        // In a task of its own, so that the cluster is released even if the caller disconnects.
        let requested = self.context.tasks.spawn(async move {
            queue.reserve(&cluster, Busy::Restore).await?;
            let response = request.await;
            queue.free(&cluster);
            Ok(response)
        });
        requested.await.unwrap_or(Err(ManualError::GoingDown))
    }

    /// Reserves the cluster for one manual operation. An active deletion pass must yield first.
    async fn reserve(&self, cluster: &str, operation: Busy) -> Result<(), ManualError> {
        let began = self.context.clock.monotonic();
        loop {
            {
                let mut inner = self.lock();
                if inner.going_down.is_some() {
                    return Err(ManualError::GoingDown);
                }
                let slot = inner.slots.entry(cluster.to_owned()).or_default();
                match &slot.busy {
                    None => {
                        slot.busy = Some(operation);
                        return Ok(());
                    }
                    Some(Busy::Restore) => return Err(ManualError::Restoring(cluster.to_owned())),
                    Some(Busy::Run { run_id, .. }) => {
                        return Err(ManualError::Busy { cluster: cluster.to_owned(), run_id: *run_id });
                    }
                    Some(Busy::Upkeep { yield_now, .. }) => yield_now.cancel(),
                }
            }
            if self.context.clock.monotonic().saturating_sub(began) >= MANUAL_WAIT {
                return Err(ManualError::Deleting(cluster.to_owned()));
            }
            self.context.clock.sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for a permit of `max_parallel_runs`. Returns `None` if no occurrence waits any more or the
    /// daemon stops.
    async fn permit(&self, cluster: &str) -> Option<tokio::sync::OwnedSemaphorePermit> {
        loop {
            let acquire = self.permits.clone().acquire_owned();
            if let Some(permit) = within(&*self.context.clock, Duration::from_secs(1), acquire).await {
                return permit.ok();
            }
            let waits = self.lock().slots.get(cluster).is_some_and(|s| !s.waiting.is_empty());
            if !waits || self.going_down() {
                return None;
            }
        }
    }

    /// Creates the run in the store. If the result of the commit is unknown, reads whether the run was
    /// stored.
    async fn begin_run(&self, new: NewRun) -> Result<Run, StoreError> {
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

    /// Returns occurrences to the queue after a store error. They are tried again until `start_within` is
    /// over.
    async fn wait_again(&self, cluster: &str, mut due: Vec<OccurrenceRow>, error: &StoreError) {
        tracing::error!(event = "store.unwritable", cluster, reason = %error);
        self.context.clock.sleep(Duration::from_secs(1)).await;
        if let StoreError::Refused(why) = error
            && let Ok(waiting) = self.context.store.waiting().await
        {
            // The store rejects the run if one of its occurrences already has an outcome. Remove such
            // occurrences, so that the others can start.
            let before = due.len();
            due.retain(|row| waiting.iter().any(|still| still.occurrence == row.occurrence));
            if due.len() == before {
                return self.skip(due, why.clone()).await;
            }
        }
        let (now, why) = (self.context.clock.now(), error.to_string());
        self.await_turn(due.into_iter().map(|row| Waiting::until(row, now, &why)).collect());
    }

    #[allow(clippy::too_many_arguments)] // the arguments become the fields of one `NewRun`
    fn new_run(
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
        self.under_way_is(cluster, run.run_id);
        let schedules: Vec<&str> = run.occurrences.iter().map(|o| o.schedule.as_str()).collect();
        tracing::info!(event = "run.started", run_id = %run.run_id, cluster, schedule = schedules.join(","),
            backup_id = run.backup_id.get());
        let (plan, failed) = match prepared {
            Ok(prepared) => {
                let plan = plan_for(cluster, &spec, &prepared);
                match self.begin(&mut run, &plan, &prepared).await {
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

    pub(crate) fn under_way_is(&self, cluster: &str, run_id: RunId) {
        if let Some(Busy::Run { run_id: now, .. }) =
            self.lock().slots.get_mut(cluster).and_then(|s| s.busy.as_mut())
        {
            *now = Some(run_id);
        }
    }

    async fn begin(&self, run: &mut Run, plan: &Plan, prepared: &Prepared) -> Result<(), StepError> {
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

/// Reason why a manual backup does not start.
#[derive(Debug, thiserror::Error)]
pub enum ManualError {
    /// The cluster is not in the config.
    #[error("cluster {0} is not in the config. `status` lists the configured clusters")]
    UnknownCluster(String),
    /// A run of the cluster is active or about to begin.
    #[error("cluster {cluster} is busy with {}: wait until it has ended", run_id.map_or("a run that is about to begin".into(), |r| format!("run {r}")))]
    Busy {
        /// Name of the cluster.
        cluster: String,
        /// Id of the active run. `None` while the run is about to begin.
        run_id: Option<RunId>,
    },
    /// The request of a restore is being sent for the cluster.
    #[error("cluster {0} is being brought back to a backup: wait until that has ended")]
    Restoring(String),
    /// A deletion pass did not yield within a minute.
    #[error("a deletion on cluster {0} did not give way within a minute: try again")]
    Deleting(String),
    /// A foreign pause, a pending resume, the rate limit of Camunda 8 SaaS, or an unmet precondition.
    #[error("cluster {cluster} cannot be backed up now: {reason}")]
    Hindered {
        /// Name of the cluster.
        cluster: String,
        /// Reason, one sentence.
        reason: String,
    },
    /// The daemon is shutting down.
    #[error("the daemon is stopping: try again when it is back")]
    GoingDown,
    /// The store returned an error, for example because `manual.min_interval` is not over.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Parses the stored settings of a run. If they are unreadable, the error becomes the failure reason of the
/// run.
pub(crate) fn spec_of(run: &Run) -> Result<Spec, StepError> {
    serde_json::from_value(run.spec.clone()).map_err(|error| {
        StepError::new(
            FailureClass::Interrupted,
            format!("the run's stored settings cannot be read: {error}"),
        )
    })
}
