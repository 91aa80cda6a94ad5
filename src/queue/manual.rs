//! Starts manual runs, and reserves a cluster for one manual operation: a backup, or the request of a restore.
//!
//! The caller gets the reason at once if the operation cannot begin. Must not wait for another run.

use crate::context::error::{StepError, Stop};
use crate::context::prepared::Prepared;
use crate::domain::{RetentionGroup, RunId, Trigger};
use crate::journal::Run;
use crate::queue::not_ready::NotReady;
use crate::queue::{Busy, ClusterSettings, Queue, deployment_of};
use crate::store::StoreError;
use std::time::Duration;
use tokio::sync::watch;

/// Maximum time that a manual request waits for a deletion to yield.
const MANUAL_WAIT: Duration = Duration::from_secs(60);

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
    NotReady {
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

impl Queue {
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
            return Err(ManualError::NotReady { cluster: cluster.to_owned(), reason });
        }
        let prepared = deployment_of(&self.context, cluster, &settings.spec).prepare().await;
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
                return Err(ManualError::NotReady { cluster: cluster.to_owned(), reason });
            }
        }
        // A transient condition creates no failed run. The caller gets the reason and may retry at once.
        if let Err(StepError { transient: true, reason, .. }) = prepared {
            return Err(ManualError::NotReady { cluster: cluster.to_owned(), reason });
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
}
