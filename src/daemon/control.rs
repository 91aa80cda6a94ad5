//! The acts that the control socket asks for.

use super::{Daemon, apply};
use crate::api::{Act, AdoptReport, Cancelled, Control, Live, Refusal, RefusalKind, Restoring};
use crate::backup::prepare;
use crate::camunda::{ExportingState, Zeebe};
use crate::clock::within;
use crate::domain::{BackupId, BackupState, Family, RunId};
use crate::journal::{FailureClass, Run, RunStatus, RunView};
use crate::lock::lock;
use crate::queue::ManualError;
use crate::store::{BackupFilter, Debt, Owed, StoreError, Unsettled, tried_on, unsettled};
use crate::upkeep::adopt;
use std::time::Duration;

fn refusal(kind: RefusalKind, message: impl Into<String>) -> Refusal {
    Refusal { kind, message: message.into(), retry_after_seconds: None }
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
                format!("cluster {cluster} is not in the config: `check` lists the clusters that are"),
            )
        })
    }

    /// The names under which a resume of this cluster is owed, in the config or not.
    async fn owing(&self, cluster: &str) -> Result<Vec<String>, Refusal> {
        let mut debts = self.debts().await?;
        // Of one that lacks only its record no resume is sent any more: whoever paused since is another.
        debts.retain(Debt::may_be_paused);
        let config = self.config.load();
        let addresses = config.clusters.get(cluster).map(|settings| &settings.addresses);
        let ours = |debt: &&Debt| match addresses {
            Some(addresses) => Owed::by([*debt]).to(cluster, addresses).is_some(),
            // Its debt has all that is needed to pay it.
            None => debt.cluster == cluster,
        };
        Ok(debts.iter().filter(ours).map(|debt| debt.cluster.clone()).collect())
    }

    /// Sends what we owe a cluster, under these names.
    async fn resume_ours(&self, cluster: &str, owing: &[String], wait: Duration) -> Result<String, Refusal> {
        for name in owing {
            self.queue.stop(
                name,
                FailureClass::Interrupted,
                "an operator resumed exporting while the run needed it paused",
            );
        }
        self.guardian.sweep("command").await?;
        self.ground.tries.hurry();
        let owing = self.wait_until_paid(wait, |name| owing.iter().any(|owing| owing == name)).await?;
        let Some((name, why)) = owing.first_key_value() else {
            return Ok(format!("exporting of {cluster} is resumed; the pause was ours"));
        };
        Err(refusal(RefusalKind::Unreachable, unsettled(name, why, &tried_on(name))))
    }

    /// Open debts, with what is known beyond their rows.
    pub(super) async fn debts(&self) -> Result<Vec<Debt>, StoreError> {
        Ok(self.ground.tries.over(self.ground.store.debts().await?))
    }

    async fn wait_until_paid(
        &self,
        wait: Duration,
        owes: impl Fn(&str) -> bool,
    ) -> Result<Unsettled, Refusal> {
        let clock = &self.ground.clock;
        let began = clock.monotonic();
        loop {
            let mut debts = self.debts().await?;
            // Of one that lacks only its record health tells; exporting runs.
            debts.retain(|debt| debt.may_be_paused() && owes(&debt.cluster));
            let owing: Unsettled = debts.iter().map(|debt| (debt.cluster.clone(), debt.why())).collect();
            if owing.is_empty() || clock.monotonic().saturating_sub(began) >= wait {
                return Ok(owing);
            }
            clock.sleep(Duration::from_millis(50)).await;
        }
    }
}

/// What a cancelled run came to; exporting is resumed only where it was paused.
fn cancelled(cluster: &str, run: Option<&Run>) -> String {
    let view = run.map(|run| &run.view);
    let asked = |view: &RunView| view.components.values().any(|component| component.asked_at.is_some());
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
        Some(view) if view.family == Some(Family::Saas) && asked(view) => {
            format!(
                "the run of {cluster} is cancelled; what the provider has begun it ends itself, see Console"
            )
        }
        _ => format!("the run of {cluster} is cancelled"),
    }
}

impl Control for Daemon {
    fn live(&self) -> Live {
        let config = self.config.load_full();
        let mut clusters = lock(&self.looks).clone();
        for (name, cluster) in &config.clusters {
            let denied = self.ground.transport.denials(&cluster.addresses);
            if !denied.is_empty() {
                clusters.entry(name.clone()).or_default().denied = denied;
            }
        }
        Live {
            config,
            started_at: self.started_at,
            now: self.ground.clock.now(),
            since_tick: self.timetable.since_tick(),
            stopping: self.queue.going_down(),
            config_refused: lock(&self.config_refused).clone(),
            store_error: self.timetable.store_error().or_else(|| lock(&self.store_probe).clone()),
            state_lost: lock(&self.state_lost).clone(),
            clock_jump: self.timetable.clock_jump(),
            next_due: self.timetable.next_due(),
            clusters,
            tried: self.ground.tries.known(),
        }
    }

    fn backup(&self, cluster: String, note: Option<String>) -> Act<'_, RunId> {
        Box::pin(async move {
            self.queue.manual(&cluster, note).await.map_err(|error| match error {
                ManualError::UnknownCluster(_) => refusal(RefusalKind::NotFound, error.to_string()),
                ManualError::Store(StoreError::RateLimited { until, .. }) => Refusal {
                    kind: RefusalKind::Refused,
                    retry_after_seconds: Some((until - self.ground.clock.now()).num_seconds().max(1) as u64),
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
                if !self.ground.store.debts().await?.iter().any(|debt| debt.cluster == cluster) {
                    self.known(&cluster)?;
                }
                return Err(refusal(RefusalKind::Refused, format!("cluster {cluster} has no run to cancel")));
            }
            let mut run_id = self.queue.running(&cluster);
            let clock = &self.ground.clock;
            let began = clock.monotonic();
            loop {
                let owing = self.debts().await?.into_iter().find(|debt| debt.cluster == cluster);
                run_id = run_id.or(self.queue.running(&cluster));
                let ended = match run_id {
                    Some(_) => self.queue.running(&cluster) != run_id,
                    None => !self.queue.has_run(&cluster),
                };
                if owing.is_none() && ended {
                    let run = match run_id {
                        Some(run_id) => self.ground.store.run(run_id).await?,
                        None => None,
                    };
                    return Ok(Cancelled { done: true, message: cancelled(&cluster, run.as_ref()) });
                }
                if clock.monotonic().saturating_sub(began) >= wait {
                    let still = match owing {
                        Some(debt) => {
                            format!("its resume is not settled yet and is tried on: {}", debt.why())
                        }
                        None => "it is still cleaning up, and owes no resume".into(),
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
            let store = &self.ground.store;
            let backup = store.backup(cluster.clone(), backup_id).await?.ok_or_else(|| {
                refusal(
                    RefusalKind::NotFound,
                    format!(
                        "cluster {cluster} has no backup {backup_id} of ours: `list {cluster}` shows them"
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
                        "backup {backup_id} is the last good one of {cluster}: say --yes to delete it all the same"
                    ),
                ));
            }
            let at = self.ground.clock.now();
            store
                .ask_deletion(backup.run.run_id, "command".into(), "asked for by an operator".into(), at)
                .await?;
            self.queue.ask_upkeep(&cluster);
            Ok(())
        })
    }

    fn pay_debts(&self, wait: Duration) -> Act<'_, Unsettled> {
        Box::pin(async move {
            let owing: Vec<String> =
                self.ground.store.debts().await?.into_iter().map(|d| d.cluster).collect();
            self.queue.stop_indebted(
                &owing,
                "`resume-exporting --if-ours` was asked for while the run had paused exporting",
            );
            self.guardian.sweep("command").await?;
            self.ground.tries.hurry();
            self.wait_until_paid(wait, |_| true).await
        })
    }

    fn resume_exporting(&self, cluster: String, wait: Duration) -> Act<'_, String> {
        Box::pin(async move {
            let owing = self.owing(&cluster).await?;
            if !owing.is_empty() {
                return self.resume_ours(&cluster, &owing, wait).await;
            }
            let settings = self.known(&cluster)?;
            if settings.addresses.saas.is_some() {
                return Err(refusal(
                    RefusalKind::Refused,
                    format!(
                        "exporting of {cluster} is the provider's business: nothing of ours pauses or resumes it"
                    ),
                ));
            }
            let spec = apply::spec(&settings);
            let zeebe = Zeebe::new(&spec.addresses, &self.ground.transport);
            let asked = within(&*self.ground.clock, wait, zeebe.resume()).await;
            let asked = asked.ok_or_else(|| {
                refusal(
                    RefusalKind::Unreachable,
                    format!("exporting of {cluster} could not be resumed: nothing was answered in time"),
                )
            })?;
            asked.map_err(|error| {
                refusal(
                    RefusalKind::Unreachable,
                    format!("exporting of {cluster} could not be resumed: {error}"),
                )
            })?;
            tracing::warn!(event = "exporting.resumed", cluster, by = "command", owner = "other");
            let now = prepare::exporters(&self.ground, &spec).await.map(|e| e.state());
            Ok(match now {
                Ok(ExportingState::Running) => format!("exporting of {cluster} is resumed"),
                _ => format!(
                    "the resume of {cluster} was confirmed, but its partitions could not be seen exporting"
                ),
            })
        })
    }

    fn adopt(&self, cluster: String) -> Act<'_, AdoptReport> {
        Box::pin(async move {
            let settings = self.known(&cluster)?;
            if settings.addresses.saas.is_some() {
                return Err(refusal(
                    RefusalKind::Refused,
                    format!(
                        "{cluster} is run by the provider, which keeps its backups and tells nobody's apart: there is nothing to adopt, Console shows them all"
                    ),
                ));
            }
            adopt::adopt(&self.ground, &cluster, &apply::spec(&settings))
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

    fn forgive(&self, cluster: String, why: String) -> Act<'_, u32> {
        Box::pin(async move {
            let debts = self.ground.store.debts().await?;
            let debts: Vec<Debt> = debts.into_iter().filter(|debt| debt.cluster == cluster).collect();
            let Some(debt) = debts.first() else {
                return Err(refusal(
                    RefusalKind::NotFound,
                    format!(
                        "no resume of cluster {cluster} is owed: `debts` lists the clusters that are owed one"
                    ),
                ));
            };
            // A run that only waits for its resume has nothing left to be cancelled.
            if debt.resume_intended_at.is_none() && self.queue.running(&cluster) == Some(debt.run_id) {
                return Err(refusal(
                    RefusalKind::Refused,
                    format!("cluster {cluster} has a live run: cancel it first"),
                ));
            }
            let count =
                self.ground.store.forgive(cluster.clone(), why.clone(), self.ground.clock.now()).await?;
            if count > 0 {
                tracing::warn!(event = "debt.forgiven", cluster, count, reason = why);
                self.look_anew(&debts).await;
            }
            Ok(count)
        })
    }
}
