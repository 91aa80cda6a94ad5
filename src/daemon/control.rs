//! Commands of the control socket: checks each request, calls the queue, the sweeper or the store, and forms
//! the result text.
//!
//! Must not know HTTP (`api::actions`). The restore commands are in `restore`.

use super::{Daemon, apply};
use crate::api::{Act, AdoptReport, Cancelled, Control, Live, Refusal, RefusalKind, Restoring};
use crate::backup::prepare;
use crate::camunda::{ExportingState, Zeebe};
use crate::clock::within;
use crate::domain::{BackupId, BackupState, RunId};
use crate::journal::{FailureClass, Run, RunStatus, RunView};
use crate::lock::lock;
use crate::pause::OperatorResume;
use crate::queue::{ManualError, deployment_of};
use crate::store::{
    BackupFilter, ClustersToResume, PendingResume, StoreError, UnconfirmedResumes, retried_by_daemon,
    unconfirmed,
};
use crate::upkeep::adopt;
use std::time::Duration;

fn refusal(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), retry_after_seconds: None }
}

pub(super) fn refused(message: String) -> Refusal {
    refusal(RefusalKind::Refused, message)
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        let kind = match &error {
            StoreError::Busy { .. } | StoreError::RateLimited { .. } | StoreError::Refused(_) => {
                RefusalKind::Refused
            }
            StoreError::NotFound(_) => RefusalKind::NotFound,
            _ => RefusalKind::Failed,
        };
        refusal(kind, error.to_string())
    }
}

impl Daemon {
    pub(super) fn known(&self, cluster: &str) -> Result<crate::config::ClusterConfig, Refusal> {
        self.config.load().clusters.get(cluster).cloned().ok_or_else(|| {
            refusal(
                RefusalKind::NotFound,
                format!("cluster {cluster} is not in the config. `status` lists the configured clusters"),
            )
        })
    }

    /// Names under which this cluster has a pending resume. A pending resume may carry an earlier name of the
    /// cluster.
    async fn still_pending(&self, cluster: &str) -> Result<Vec<String>, Refusal> {
        let mut pending_resumes = self.pending_resumes().await?;
        // Leave out resumes that are confirmed and only not stored yet: a pause since the confirmation is
        // foreign.
        pending_resumes.retain(PendingResume::may_be_paused);
        let config = self.config.load();
        let addresses = config.clusters.get(cluster).map(|settings| &settings.addresses);
        let ours = |pending_resume: &&PendingResume| match addresses {
            Some(addresses) => ClustersToResume::by([*pending_resume]).to(cluster, addresses).is_some(),
            // The cluster is not in the config. Its pending resume contains the addresses, so a matching name
            // suffices.
            None => pending_resume.cluster == cluster,
        };
        Ok(pending_resumes.iter().filter(ours).map(|pending_resume| pending_resume.cluster.clone()).collect())
    }

    /// Sends the pending resumes with these cluster names, and waits until they are confirmed.
    async fn resume_ours(
        &self,
        cluster: &str,
        still_pending: &[String],
        wait: Duration,
    ) -> Result<String, Refusal> {
        for name in still_pending {
            self.queue.stop(
                name,
                FailureClass::Interrupted,
                "an operator resumed exporting while the run needed it paused",
            );
        }
        self.sweeper.sweep("command").await?;
        self.context.attempts.hurry();
        let still_pending = self
            .wait_until_confirmed(wait, |name| {
                still_pending.iter().any(|still_pending| still_pending == name)
            })
            .await?;
        let Some((name, why)) = still_pending.first_key_value() else {
            return Ok(format!("exporting of {cluster} is resumed; the pause was ours"));
        };
        Err(refusal(RefusalKind::Unreachable, unconfirmed(name, why, &retried_by_daemon(name))))
    }

    /// Reads the pending resumes from the store, and adds the attempts that are known only in memory.
    pub(super) async fn pending_resumes(&self) -> Result<Vec<PendingResume>, StoreError> {
        Ok(self.context.attempts.over(self.context.store.pending_resumes().await?))
    }

    async fn wait_until_confirmed(
        &self,
        wait: Duration,
        is_awaited: impl Fn(&str) -> bool,
    ) -> Result<UnconfirmedResumes, Refusal> {
        let clock = &self.context.clock;
        let began = clock.monotonic();
        loop {
            let mut pending_resumes = self.pending_resumes().await?;
            // Leave out resumes that are confirmed and only not stored yet: exporting runs, and `/health`
            // reports the missing record.
            pending_resumes.retain(|pending_resume| {
                pending_resume.may_be_paused() && is_awaited(&pending_resume.cluster)
            });
            let still_pending: UnconfirmedResumes = pending_resumes
                .iter()
                .map(|pending_resume| (pending_resume.cluster.clone(), pending_resume.why()))
                .collect();
            if still_pending.is_empty() || clock.monotonic().saturating_sub(began) >= wait {
                return Ok(still_pending);
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
    }
}

/// Result text for a cancelled run. Mentions the resume only if the run had paused exporting.
fn cancelled(cluster: &str, run: Option<&Run>) -> String {
    let view = run.map(|run| &run.view);
    let requested = |view: &RunView| view.part_of_provider().is_some_and(|part| part.requested_at.is_some());
    match view {
        Some(view) if view.status == RunStatus::Completed && view.pause.intended_at.is_some() => {
            format!("the run of {cluster} had only its resume left, and completed")
        }
        Some(view) if view.status == RunStatus::Completed => {
            format!("the run of {cluster} had nothing left to do, and completed")
        }
        Some(view) if view.pause.intended_at.is_some() => {
            format!("the run of {cluster} is cancelled and exporting is resumed")
        }
        Some(view) if requested(view) => {
            format!(
                "the run of {cluster} is cancelled. Camunda completes the backup that it has started, see Console"
            )
        }
        _ => format!("the run of {cluster} is cancelled"),
    }
}

impl Control for Daemon {
    fn live(&self) -> Live {
        let config = self.config.load_full();
        let mut clusters = lock(&self.probes).clone();
        for (name, cluster) in &config.clusters {
            let denied = self.context.transport.rejections(&cluster.addresses);
            if !denied.is_empty() {
                clusters.entry(name.clone()).or_default().denied = denied;
            }
        }
        Live {
            config,
            started_at: self.started_at,
            now: self.context.clock.now(),
            since_tick: self.timetable.since_tick(),
            stopping: self.queue.going_down(),
            config_refused: lock(&self.config_refused).clone(),
            store_error: self.timetable.store_error().or_else(|| lock(&self.store_probe).clone()),
            state_lost: lock(&self.state_lost).clone(),
            clock_jump: self.timetable.clock_jump(),
            next_due: self.timetable.next_due(),
            clusters,
            attempts: self.context.attempts.known(),
        }
    }

    fn backup(&self, cluster: String, note: Option<String>) -> Act<'_, RunId> {
        Box::pin(async move {
            self.queue.manual(&cluster, note).await.map_err(|error| match error {
                ManualError::UnknownCluster(_) => refusal(RefusalKind::NotFound, error.to_string()),
                ManualError::Store(StoreError::RateLimited { until, .. }) => Refusal {
                    kind: RefusalKind::Refused,
                    retry_after_seconds: Some((until - self.context.clock.now()).num_seconds().max(1) as u64),
                    message: error.to_string(),
                },
                ManualError::Store(error) => error.into(),
                other => refusal(RefusalKind::Refused, other.to_string()),
            })
        })
    }

    fn cancel(&self, cluster: String, why: String, wait: Duration) -> Act<'_, Cancelled> {
        Box::pin(async move {
            let why = format!("cancelled by an operator: {why}");
            if !self.queue.stop(&cluster, FailureClass::Cancelled, &why) {
                if !self
                    .context
                    .store
                    .pending_resumes()
                    .await?
                    .iter()
                    .any(|pending_resume| pending_resume.cluster == cluster)
                {
                    self.known(&cluster)?;
                }
                return Err(refusal(RefusalKind::Refused, format!("cluster {cluster} has no run to cancel")));
            }
            let mut run_id = self.queue.running(&cluster);
            let clock = &self.context.clock;
            let began = clock.monotonic();
            loop {
                let still_pending = self
                    .pending_resumes()
                    .await?
                    .into_iter()
                    .find(|pending_resume| pending_resume.cluster == cluster);
                run_id = run_id.or(self.queue.running(&cluster));
                let ended = match run_id {
                    Some(_) => self.queue.running(&cluster) != run_id,
                    None => !self.queue.has_run(&cluster),
                };
                if still_pending.is_none() && ended {
                    let run = match run_id {
                        Some(run_id) => self.context.store.run(run_id).await?,
                        None => None,
                    };
                    return Ok(Cancelled { done: true, message: cancelled(&cluster, run.as_ref()) });
                }
                if clock.monotonic().saturating_sub(began) >= wait {
                    let still = match still_pending {
                        Some(pending_resume) => {
                            format!("its resume is still pending and is retried: {}", pending_resume.why())
                        }
                        None => "it is still cleaning up, and no resume is pending".into(),
                    };
                    let message = format!("the run of {cluster} is being cancelled; {still}");
                    return Ok(Cancelled { done: false, message });
                }
                clock.sleep(Duration::from_millis(50)).await;
            }
        })
    }

    fn delete(&self, cluster: String, backup_id: BackupId, confirmed: bool) -> Act<'_, ()> {
        Box::pin(async move {
            let store = &self.context.store;
            let backup = store.backup(cluster.clone(), backup_id).await?.ok_or_else(|| {
                refusal(
                    RefusalKind::NotFound,
                    format!(
                        "cluster {cluster} has no backup {backup_id}. `list {cluster}` shows its backups"
                    ),
                )
            })?;
            let filter = BackupFilter { cluster: Some(cluster.clone()), existing: true, limit: 0 };
            let good = store
                .backups(filter)
                .await?
                .into_iter()
                .filter(|b| b.state == BackupState::Completed)
                .count();
            if backup.state == BackupState::Completed && good == 1 && !confirmed {
                return Err(refusal(
                    RefusalKind::NeedsConfirmation,
                    format!(
                        "backup {backup_id} is the last good backup of {cluster}. Add --yes to delete it anyway"
                    ),
                ));
            }
            let at = self.context.clock.now();
            store
                .request_deletion(backup.run.run_id, "command".into(), "requested by an operator".into(), at)
                .await?;
            self.queue.request_upkeep(&cluster);
            Ok(())
        })
    }

    fn resume_pending(&self, wait: Duration) -> Act<'_, UnconfirmedResumes> {
        Box::pin(async move {
            let still_pending: Vec<String> =
                self.context.store.pending_resumes().await?.into_iter().map(|d| d.cluster).collect();
            self.queue.stop_with_pending_resume(
                &still_pending,
                "`resume-exporting --pending` was requested while the run had paused exporting",
            );
            self.sweeper.sweep("command").await?;
            self.context.attempts.hurry();
            self.wait_until_confirmed(wait, |_| true).await
        })
    }

    fn resume_exporting(&self, cluster: String, wait: Duration) -> Act<'_, String> {
        Box::pin(async move {
            let still_pending = self.still_pending(&cluster).await?;
            if !still_pending.is_empty() {
                return self.resume_ours(&cluster, &still_pending, wait).await;
            }
            let settings = self.known(&cluster)?;
            let spec = apply::spec(&settings);
            deployment_of(&self.context, &cluster, &spec).may_resume().map_err(refused)?;
            let zeebe = Zeebe::new(&spec.addresses, &self.context.transport);
            let requested =
                within(&*self.context.clock, wait, OperatorResume::confirmed().send(&zeebe)).await;
            let requested = requested.ok_or_else(|| {
                refusal(
                    RefusalKind::Unreachable,
                    format!("exporting of {cluster} could not be resumed: no response in time"),
                )
            })?;
            requested.map_err(|error| {
                refusal(
                    RefusalKind::Unreachable,
                    format!("exporting of {cluster} could not be resumed: {error}"),
                )
            })?;
            tracing::warn!(event = "exporting.resumed", cluster, by = "command", owner = "other");
            let now = prepare::exporters(&self.context, &spec).await.map(|e| e.state());
            Ok(match now {
                Ok(ExportingState::Running) => format!("exporting of {cluster} is resumed"),
                _ => format!(
                    "the resume of {cluster} is confirmed, but its partitions are not seen exporting yet"
                ),
            })
        })
    }

    fn adopt(&self, cluster: String) -> Act<'_, AdoptReport> {
        Box::pin(async move {
            let settings = self.known(&cluster)?;
            let spec = apply::spec(&settings);
            deployment_of(&self.context, &cluster, &spec).may_adopt().map_err(refused)?;
            adopt::adopt(&self.context, &cluster, &spec)
                .await
                .map_err(|error| refusal(RefusalKind::Unreachable, error))
        })
    }

    fn restore(&self, cluster: String, backup_id: BackupId) -> Act<'_, Restoring> {
        Box::pin(async move { self.begin_restore(&cluster, backup_id).await })
    }

    fn restoring(&self, cluster: String, backup_id: BackupId) -> Act<'_, Restoring> {
        Box::pin(async move { self.restore_state(&cluster, backup_id).await })
    }

    fn abandon_resumes(&self, cluster: String, why: String) -> Act<'_, u32> {
        Box::pin(async move {
            let pending_resumes = self.context.store.pending_resumes().await?;
            let pending_resumes: Vec<PendingResume> = pending_resumes
                .into_iter()
                .filter(|pending_resume| pending_resume.cluster == cluster)
                .collect();
            let Some(pending_resume) = pending_resumes.first() else {
                return Err(refusal(
                    RefusalKind::NotFound,
                    format!(
                        "cluster {cluster} has no pending resume. `pending-resumes` lists the clusters that have one"
                    ),
                ));
            };
            // A run that only waits for its resume cannot be cancelled further, so its resume may be
            // abandoned. Any other active run must be cancelled first.
            if pending_resume.resume_intended_at.is_none()
                && self.queue.running(&cluster) == Some(pending_resume.run_id)
            {
                return Err(refusal(
                    RefusalKind::Refused,
                    format!("cluster {cluster} has a live run. Cancel it first"),
                ));
            }
            let count = self
                .context
                .store
                .abandon_resumes(cluster.clone(), why.clone(), self.context.clock.now())
                .await?;
            if count > 0 {
                tracing::warn!(event = "resume.abandoned", cluster, count, reason = why);
                self.probe_again(&pending_resumes).await;
            }
            Ok(count)
        })
    }
}
