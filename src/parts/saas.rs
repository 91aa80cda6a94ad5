//! The one part of a cluster in Camunda 8 SaaS: the provider takes, keeps and prunes the backup as a whole.
//!
//! Owns how a backup of ours is identified in the provider's list. Pauses nothing. Must not decide when a backup may be
//! requested (`queue::saas`) or which records are kept (`upkeep::saas_sync`).

use crate::camunda::saas::{Hosting, too_old};
use crate::camunda::{ClientError, ErrorKind, PartState, Progress, Saas};
use crate::context::Spec;
use crate::context::error::{StepError, refused};
use crate::context::prepared::Prepared;
use crate::domain::{BackupId, Component, Family, Instant, PauseMode, Routes, SaasAddress};
use crate::journal::{Event, FailureClass, Run, RunView, Step};
use crate::parts::part::{Guard, ListedPart, Notes, Part, PartRun, Seen, StartError, Verdict};
use chrono::TimeDelta;
use futures::future::{BoxFuture, FutureExt as _, ready};
use serde_json::json;
use std::time::Duration;

/// Time within which a start without a response appears in the list, if the request was executed.
const LOST_START: Duration = Duration::from_mins(2);
/// Time limit of the retries of the list before the start.
const GUARD_LIMIT: Duration = Duration::from_mins(1);
/// Poll intervals: one API serves every cluster of an organization, and a backup takes minutes.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// Longest `Retry-After` that is followed.
pub(crate) const QUIET_LIMIT: Duration = Duration::from_hours(24);

const SAAS: Component = Component::Saas;

pub(crate) struct SaasPart {
    pub saas: Saas,
}

impl Part for SaasPart {
    fn component(&self) -> Component {
        SAAS
    }

    /// The list before the start is stored before the request, so that our backup can be identified if the response is
    /// lost.
    fn guard<'a>(&'a self, _run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Guard, ClientError>> {
        async {
            let listed = self.saas.list().await?;
            if let Err(error) = refuse_beside_others(&listed) {
                return Ok(Guard::Refused(error));
            }
            let names = listed.into_iter().map(|backup| backup.uuid).collect();
            Ok(Guard::Free(vec![Event::Before { component: SAAS, names }]))
        }
        .boxed()
    }

    fn start<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Notes, StartError>> {
        async {
            let before = run.view.before.get(&SAAS);
            match self.saas.start().await {
                Ok(begun) if before.is_some_and(|names| names.contains(&begun.uuid)) => {
                    Err(StartError::Certain(StepError::new(
                        FailureClass::Conflict,
                        format!(
                            "Camunda 8 SaaS returned backup {}, which existed before the request: no new backup was taken",
                            begun.uuid
                        ),
                    )))
                }
                Ok(begun) => {
                    let fact = json!({ "uuid": begun.uuid, "name": begun.name, "created": begun.created });
                    Ok(Notes { events: vec![announced(begun.uuid)], facts: vec![("provider", fact)] })
                }
                Err(error) => {
                    let until = quiet_until(&error, run.now());
                    let events = until.map(|until| Event::QuietRequested { until }).into_iter().collect();
                    Err(StartError::Request(error, events))
                }
            }
        }
        .boxed()
    }

    /// Reads our backup by its uuid. If the response with the uuid was lost, the one new backup in the list is ours.
    fn probe<'a>(&'a self, run: &'a PartRun<'_>) -> BoxFuture<'a, Result<Seen, ClientError>> {
        async {
            if let Some(uuid) = uuid_of(&run.view) {
                return Ok(self.saas.see(&uuid).await?.into());
            }
            let Some(before) = run.view.before.get(&SAAS) else { return Ok(PartState::Absent.into()) };
            let listed = self.saas.list().await?;
            let new: Vec<&Hosting> =
                listed.iter().filter(|backup| !before.contains(&backup.uuid)).collect();
            Ok(match new.as_slice() {
                [] => PartState::Absent.into(),
                [ours] => Seen { state: ours.seen(), found: Some(announced(ours.uuid.clone())) },
                several => {
                    let reason = format!(
                        "{} backups are new in the list of Camunda 8 SaaS; the one of this run cannot be identified",
                        several.len()
                    );
                    PartState::Unclear { reason }.into()
                }
            })
        }
        .boxed()
    }

    /// Only the provider knows the components of the backup.
    fn verify<'a>(
        &'a self,
        _run: &'a PartRun<'_>,
        progress: &'a Progress,
    ) -> BoxFuture<'a, Result<Verdict, ClientError>> {
        let facts = vec![(SAAS.name(), json!(progress.parts))];
        ready(Ok(Verdict::Verified(Notes { events: vec![], facts }))).boxed()
    }

    /// A started backup cannot be cancelled, and only an operator deletes a finished one (`upkeep::delete`).
    fn delete<'a>(&'a self, _run: &'a PartRun<'_>) -> BoxFuture<'a, Result<(), ClientError>> {
        ready(Ok(())).boxed()
    }

    /// The list has its own name of the backup.
    fn listed(&self, run: &Run) -> Result<Option<Box<dyn ListedPart>>, String> {
        let uuid = remains(run, self.saas.address())?;
        Ok(uuid
            .map(|uuid| -> Box<dyn ListedPart> { Box::new(ListedBackup { saas: self.saas.clone(), uuid }) }))
    }

    fn guard_limit(&self) -> Duration {
        GUARD_LIMIT
    }

    fn lost_start_limit(&self) -> Duration {
        LOST_START
    }

    fn poll_intervals(&self) -> Option<(Duration, Duration)> {
        Some(POLL_INTERVALS)
    }

    fn list_may_lag(&self) -> bool {
        true
    }

    /// The wait step searches the list itself. If the wait step began, the search has been done for longer than the
    /// clean-up would.
    fn has_lost_start(&self, view: &RunView) -> bool {
        let searched = view.intended.contains(&Step::Wait(SAAS))
            && view.components.get(&SAAS).is_some_and(|saas| saas.reason.is_some());
        uuid_of(view).is_none() && may_have(view) && !searched
    }

    /// The list of earlier backups is written right before the start request. Without that entry, the request was not
    /// sent.
    fn may_have_been_sent(&self, view: &RunView) -> bool {
        view.before.contains_key(&SAAS)
    }
}

/// A backup in the list of Camunda 8 SaaS.
struct ListedBackup {
    saas: Saas,
    uuid: String,
}

impl ListedPart for ListedBackup {
    fn see(&self, _id: BackupId) -> BoxFuture<'_, Result<PartState, ClientError>> {
        self.saas.see(&self.uuid).boxed()
    }

    fn delete(&self, _id: BackupId) -> BoxFuture<'_, Result<(), ClientError>> {
        self.saas.delete(&self.uuid).boxed()
    }
}

fn announced(uuid: String) -> Event {
    Event::Announced { component: SAAS, repository: None, names: vec![uuid], indices: vec![] }
}

/// End of the `Retry-After` of a rejection. Without one, nothing is repeated before the next occurrence.
fn quiet_until(error: &ClientError, now: Instant) -> Option<Instant> {
    let seconds = error.retry_after.filter(|_| error.kind == ErrorKind::Refused)?;
    let quiet = Duration::from_secs(seconds).min(QUIET_LIMIT);
    Some(now + TimeDelta::from_std(quiet).unwrap_or_default())
}

/// Two backups in progress could not be told apart. One may be of an earlier run that was aborted.
fn refuse_beside_others(listed: &[Hosting]) -> Result<(), StepError> {
    match listed.iter().find(|backup| backup.in_progress()) {
        None => Ok(()),
        Some(other) => Err(StepError::not_ready(
            FailureClass::Component,
            format!(
                "Camunda 8 SaaS is taking backup {} ({}), which this run did not request. Wait for its end, and keep the schedule in Console apart from this one",
                other.name, other.uuid
            ),
        )),
    }
}

/// Facts for a run; fails if the cluster cannot be backed up now.
pub(crate) async fn prepare(saas: &Saas) -> Result<Prepared, StepError> {
    let hosted =
        saas.cluster().await.map_err(|error| refused("the cluster could not be examined", &error))?;
    if let Some(error) = too_old(&hosted) {
        return Err(StepError::new(FailureClass::Component, error.to_string()));
    }
    if let Some(status) = hosted.not_ready() {
        return Err(StepError::not_ready(FailureClass::Component, not_ready(status)));
    }
    let listed = saas
        .list()
        .await
        .map_err(|error| refused("the backups in Camunda 8 SaaS could not be listed", &error))?;
    refuse_beside_others(&listed)?;
    Ok(Prepared {
        version: hosted.generation,
        family: Family::Saas,
        routes: Routes::default(),
        pause: PauseMode::Soft,
        components: vec![SAAS],
        // The provider assigns ids of its own, so ours only need to be unique here.
        largest_seen: 0,
        records_indices: vec![],
        partitions: None,
    })
}

/// Reason why Camunda 8 SaaS does not report the cluster as ready.
pub(crate) async fn not_ready_reason(saas: &Saas) -> Result<Option<String>, ClientError> {
    Ok(saas.cluster().await?.not_ready().map(not_ready))
}

fn not_ready(status: &str) -> String {
    format!(
        "Camunda 8 SaaS reports the cluster as {status}. A backup is taken once it is Healthy; see Console"
    )
}

/// Whether the run backed up the SaaS cluster at `address`. The same cluster name may refer to another SaaS cluster
/// now.
pub(crate) fn is_of(run: &Run, address: &SaasAddress) -> bool {
    cluster_id_of(run).is_none_or(|id| id == address.cluster_id)
}

/// Cluster id in Camunda 8 SaaS, from the stored settings of a run.
pub(crate) fn cluster_id_of(run: &Run) -> Option<String> {
    let spec: Spec = serde_json::from_value(run.spec.clone()).ok()?;
    Some(spec.addresses.saas?.cluster_id)
}

/// Uuid of our backup in Camunda 8 SaaS.
pub(crate) fn uuid_of(view: &RunView) -> Option<String> {
    view.components.get(&SAAS)?.names.first().cloned()
}

/// Whether Camunda 8 SaaS has, or may have, a backup of a run.
pub(crate) fn may_have(view: &RunView) -> bool {
    uuid_of(view).is_some() || view.uncertain.contains(&SAAS) || without_response(view)
}

/// Whether the start request was sent and neither a response nor a rejection ended the step.
fn without_response(view: &RunView) -> bool {
    let ended = view.done.contains(&Step::Start(SAAS))
        || view.components.get(&SAAS).is_some_and(|saas| saas.reason.is_some());
    view.before.contains_key(&SAAS) && !ended
}

/// Uuid of the backup that a run left in the hosted cluster at `address`. `Ok(None)` for a backup whose uuid was never
/// received: it cannot be told from others, and Camunda 8 SaaS prunes it. `Err` if the cluster name stands for another
/// hosted cluster now.
fn remains(run: &Run, address: &SaasAddress) -> Result<Option<String>, String> {
    if is_of(run, address) {
        return Ok(uuid_of(&run.view));
    }
    Err(format!(
        "backup {} belongs to the Camunda 8 SaaS cluster {}, but {} now has cluster_id {}. Restore the old `cluster_id` in the config, or delete the backup in Console",
        run.backup_id,
        cluster_id_of(run).unwrap_or_default(),
        run.cluster,
        address.cluster_id
    ))
}
