//! Starts scheduled runs: one run for all due occurrences of a cluster.
//!
//! An occurrence that cannot start yet returns to the queue. Runs of an earlier process are started in
//! `recovery`, and manual runs in `manual`.

use crate::clock::within;
use crate::context::error::{StepError, Stop};
use crate::domain::{RetentionGroup, Trigger, instant_text};
use crate::queue::not_ready::{NotReady, Over};
use crate::queue::waiting::Waiting;
use crate::queue::{GONE, Queue, UNSCHEDULED, deployment_of};
use crate::store::{OccurrenceOutcome, OccurrenceRow, StoreError};
use std::time::Duration;
use tokio::sync::watch;

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
        let prepared = deployment_of(&self.context, cluster, &settings.spec).prepare().await;
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
}
