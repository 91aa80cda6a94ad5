//! Runs of a cluster that the provider runs: what is asked of the Administration API instead of the components.
//!
//! Owns what takes the place of preparation, guard, start, look and retention there. The provider takes the backup as a
//! whole, keeps it and prunes it: nothing here pauses anything, and nothing is deleted but by an operator.

mod lost_start;

pub(crate) use lost_start::{may_have, may_have_been_sent, probe_for_lost_start};

use crate::camunda::saas::{Hosting, too_old};
use crate::camunda::{ClientError, ErrorKind, PartState, Saas, authenticated};
use crate::clock::within;
use crate::context::error::StepError;
use crate::context::error::refused;
use crate::context::execution::Execution;
use crate::context::prepared::Prepared;
use crate::context::{Context, Spec};
use crate::domain::{BackupState, Component, Family, Instant, PauseMode, Routes, SaasAddress, instant_text};
use crate::journal::{Event, FailureClass, Run, RunStatus};
use crate::store::{Backup, BackupFilter, StoreError};
use chrono::TimeDelta;
use serde_json::json;
use std::time::Duration;

/// A start whose answer was lost shows in the provider's list within this time, or was never acted upon.
pub(crate) const LOST_START: Duration = Duration::from_mins(2);
/// Between two looks at the list; one API serves every cluster of an organization, and a backup takes minutes.
pub(crate) const PROBE_INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// The longest quiet that is believed where the API asks for some.
const QUIET_LIMIT: Duration = Duration::from_hours(24);
/// How long until a restore that goes on is looked at again.
const RESTORE_PROBE: TimeDelta = TimeDelta::seconds(30);
/// How long the provider is asked, backup after backup, whether it restores one.
const RESTORES: Duration = Duration::from_secs(30);
pub(crate) const SAAS: Component = Component::Saas;

/// The client of a spec's cluster, if the provider runs it.
pub(crate) fn client(context: &Context, spec: &Spec) -> Option<Saas> {
    let address = spec.addresses.saas.as_ref()?;
    Some(Saas::new(address, authenticated(&spec.addresses, &context.transport)))
}

/// Whether the cluster can be backed up at all; ids are ours alone there, since the provider has others.
pub(crate) async fn prepare(saas: &Saas) -> Result<Prepared, StepError> {
    let hosted =
        saas.cluster().await.map_err(|error| refused("the cluster could not be examined", &error))?;
    if let Some(error) = too_old(&hosted) {
        return Err(StepError::new(FailureClass::Component, error.to_string()));
    }
    if let Some(status) = hosted.not_ready() {
        return Err(StepError::not_ready(FailureClass::Component, not_ready(status)));
    }
    let listed =
        saas.list().await.map_err(|error| refused("the provider's backups could not be listed", &error))?;
    refuse_beside_others(&listed)?;
    Ok(Prepared {
        version: hosted.generation,
        family: Family::Saas,
        routes: Routes::default(),
        pause: PauseMode::Soft,
        components: vec![SAAS],
        largest_seen: 0,
        records_indices: vec![],
        partitions: None,
    })
}

/// Why Camunda 8 SaaS does not report the cluster as ready, or `Ok(None)`; `None` for a self-managed cluster.
pub(crate) async fn not_ready_reason(
    context: &Context,
    spec: &Spec,
) -> Option<Result<Option<String>, ClientError>> {
    let hosted = client(context, spec)?.cluster().await;
    Some(hosted.map(|hosted| hosted.not_ready().map(not_ready)))
}

fn not_ready(status: &str) -> String {
    format!(
        "the provider says that the cluster is {status}: see Console, a backup is taken when it is Healthy"
    )
}

/// Which of two under way is ours could not be told. One may be an earlier run's that was given up.
fn refuse_beside_others(listed: &[Hosting]) -> Result<(), StepError> {
    match listed.iter().find(|backup| backup.in_progress()) {
        None => Ok(()),
        Some(other) => Err(StepError::not_ready(
            FailureClass::Component,
            format!(
                "the provider is taking backup {} ({}), which is not this run's: wait for its end, and keep the provider's own schedule apart from ours",
                other.name, other.uuid
            ),
        )),
    }
}

/// What the list holds; nobody else's backup may be under way.
pub(crate) async fn guard(execution: &Execution, saas: &Saas) -> Result<Vec<Hosting>, StepError> {
    let retry =
        crate::context::retry::RetryTransient::new(&*execution.context.clock, Duration::from_secs(60));
    let listed = retry.probe(|| saas.list(), |error| execution.remember(error)).await;
    let listed = listed.map_err(|error| refused("the provider's backups could not be listed", &error))?;
    refuse_beside_others(&listed)?;
    Ok(listed)
}

/// Asks for the backup. What the list shows before is written first, so that ours is told from it if the answer is lost.
pub(crate) async fn start(execution: &Execution, saas: &Saas) -> Result<(), StepError> {
    let before: Vec<String> = guard(execution, saas).await?.into_iter().map(|backup| backup.uuid).collect();
    execution.write(vec![Event::Before { component: SAAS, names: before.clone() }]).await?;
    match saas.start().await {
        Ok(begun) if before.contains(&begun.uuid) => Err(StepError::new(
            FailureClass::Conflict,
            format!(
                "the provider answered with backup {}, which was there before: it took no new one",
                begun.uuid
            ),
        )),
        Ok(begun) => {
            execution.prove(
                "provider",
                json!({ "uuid": begun.uuid, "name": begun.name, "created": begun.created }),
            );
            execution.write(vec![announced(begun.uuid)]).await
        }
        Err(error) => {
            if let Some(until) = quiet(&error, execution.context.clock.now()) {
                execution.write(vec![Event::QuietRequested { until }]).await?;
            }
            crate::context::start_error::refused_or_unknown(execution, SAAS, &error).await
        }
    }
}

fn announced(uuid: String) -> Event {
    Event::Announced { component: SAAS, repository: None, names: vec![uuid], indices: vec![] }
}

/// Until when a refusal wants us to be quiet. Without a word of it nothing is repeated before the next occurrence.
fn quiet(error: &ClientError, now: Instant) -> Option<Instant> {
    let seconds = error.retry_after.filter(|_| error.kind == ErrorKind::Refused)?;
    let quiet = Duration::from_secs(seconds).min(QUIET_LIMIT);
    Some(now + TimeDelta::from_std(quiet).unwrap_or_default())
}

/// One look at our backup: by its uuid, or, where the answer that had it was lost, at what is new in the list.
pub(crate) async fn probe(execution: &Execution, saas: &Saas) -> Result<PartState, ClientError> {
    let view = execution.view();
    if let Some(uuid) = uuid_of(&view) {
        return saas.see(&uuid).await;
    }
    let Some(before) = view.before.get(&SAAS) else { return Ok(PartState::Absent) };
    let new: Vec<Hosting> =
        saas.list().await?.into_iter().filter(|backup| !before.contains(&backup.uuid)).collect();
    match new.as_slice() {
        [] => Ok(PartState::Absent),
        [ours] => {
            // Where it cannot be written now, the next look finds it again.
            let _ = execution.append(vec![announced(ours.uuid.clone())]).await;
            Ok(ours.seen())
        }
        several => Ok(PartState::Unclear {
            reason: format!(
                "{} backups are new in the provider's list, and which of them is ours cannot be told",
                several.len()
            ),
        }),
    }
}

/// Whether a run was of that cluster of the provider's: a name in the config may stand for another by now.
pub(crate) fn is_of(run: &Run, address: &SaasAddress) -> bool {
    cluster_id_of(run).is_none_or(|id| id == address.cluster_id)
}

/// The provider's name of the cluster that a run was of.
pub(crate) fn cluster_id_of(run: &Run) -> Option<String> {
    let spec: Spec = serde_json::from_value(run.spec.clone()).ok()?;
    Some(spec.addresses.saas?.cluster_id)
}

/// The provider's name of our backup.
pub(crate) fn uuid_of(view: &crate::journal::RunView) -> Option<String> {
    view.components.get(&SAAS)?.names.first().cloned()
}

/// Why no backup may be asked for now, and from when on: the provider's limit, as it said it or as it is documented.
pub(crate) async fn rate_limit(
    context: &Context,
    cluster: &str,
    spec: &Spec,
    address: &SaasAddress,
) -> Result<Option<(Instant, String)>, StoreError> {
    let now = context.clock.now();
    let filter = BackupFilter { cluster: Some(cluster.to_owned()), existing: true, limit: 0 };
    let backups = context.store.backups(filter).await?;
    let runs: Vec<&Run> =
        backups.iter().map(|backup| &backup.run).filter(|run| is_of(run, address)).collect();
    // What lies further ahead was written by a clock that was set back since, and tells nothing.
    let ahead = |at: Instant, limit: Duration| (at - now).to_std().is_ok_and(|ahead| ahead > limit);
    let quiet =
        runs.iter().filter_map(|run| run.view.quiet_until).filter(|until| !ahead(*until, QUIET_LIMIT));
    if let Some(until) = quiet.max().filter(|until| *until > now) {
        let reason = format!("the provider asked to be left alone until {}", instant_text(until));
        return Ok(Some((until, reason)));
    }
    // Our own ones that the provider took, or may have; one deleted since frees the limit, as it does there.
    let taken = runs.iter().filter(|run| may_have(&run.view));
    let requested = taken.filter_map(|run| run.view.components.get(&SAAS)?.requested_at);
    let interval = TimeDelta::from_std(address.min_interval).unwrap_or_default();
    let last = requested.filter(|at| !ahead(*at, address.min_interval)).max();
    if let Some((last, until)) = last.map(|at| (at, at + interval)).filter(|(_, until)| *until > now) {
        let reason = format!(
            "the provider takes one backup in {}, and the last was asked for at {}: the next may be from {}",
            humantime::format_duration(address.min_interval),
            instant_text(last),
            instant_text(until)
        );
        return Ok(Some((until, reason)));
    }
    let Some(saas) = client(context, spec) else { return Ok(None) };
    let restoring = restoring(context, &saas, address, &backups).await;
    Ok(restoring.map(|reason| (now + RESTORE_PROBE, reason)))
}

/// Why nothing may begin: the provider brings the cluster back, to whichever of its backups that are still there. One
/// that cannot be asked about, or not in time, keeps nothing from beginning: the provider refuses itself.
pub(crate) async fn restoring(
    context: &Context,
    saas: &Saas,
    address: &SaasAddress,
    backups: &[Backup],
) -> Option<String> {
    // One that is to be deleted is there until it is gone, and must not be deleted meanwhile.
    let there = |backup: &&Backup| matches!(backup.state, BackupState::Completed | BackupState::Deleting);
    let of_it = backups.iter().filter(there).map(|backup| &backup.run).filter(|run| is_of(run, address));
    // The newest first: it is the likeliest.
    let completed = of_it.rev().filter(|run| run.view.status == RunStatus::Completed);
    let asking = restored_now(saas, completed.filter_map(|run| Some((run, uuid_of(&run.view)?))));
    within(&*context.clock, RESTORES, asking).await.flatten()
}

async fn restored_now(saas: &Saas, backups: impl Iterator<Item = (&Run, String)>) -> Option<String> {
    for (run, uuid) in backups {
        match saas.restore_state(&uuid).await {
            Ok(restore) if restore.goes_on() => {
                return Some(format!(
                    "the provider is bringing the cluster back to backup {} ({}): wait for its end, Console shows how far it is",
                    run.backup_id, restore.state
                ));
            }
            // Who does not answer for one does not answer for the others.
            Err(error) if error.is_transient() => return None,
            _ => {}
        }
    }
    None
}
