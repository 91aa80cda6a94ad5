//! Decisions shared by all stores: ids, the manual limit, states and rejections.
//!
//! Owns decisions as pure functions, so that implementations cannot differ. Must not keep state or depend on
//! the storage of rows.

use super::{Adopted, Deletion, NewRun, OccurrenceOutcome, OccurrenceRow, StoreError};
use crate::domain::{BackupId, BackupState, Instant, Occurrence, RetentionGroup, RunId, Trigger};
use crate::journal::{Run, RunStatus, RunView};
use chrono::TimeDelta;
use std::time::Duration;

/// The next backup id of a scope (rule I3).
pub(crate) fn next_id(now: Instant, largest: i64, scope: &str) -> Result<BackupId, StoreError> {
    let next = largest.checked_add(1).map(|after| after.max(now.timestamp()).max(1));
    next.and_then(BackupId::new).ok_or_else(|| {
        StoreError::Refused(format!(
            "no backup id is left above {largest} for `{scope}`: delete the backup or snapshot that carries it and \
             the highest id in the state file"
        ))
    })
}

/// Earliest time of the next manual run, given the start of the newest; `None` if allowed now.
pub(crate) fn limited_until(last: Instant, now: Instant, interval: Duration) -> Option<Instant> {
    let interval = TimeDelta::from_std(interval).unwrap_or(TimeDelta::MAX);
    let until = last.checked_add_signed(interval).unwrap_or(Instant::MAX_UTC);
    (now < until).then_some(until)
}

/// State of a backup.
pub(crate) fn state(status: RunStatus, missing: bool, deletion: Option<&Deletion>) -> BackupState {
    match (status, deletion) {
        (RunStatus::Claimed, _) => BackupState::Queued,
        (RunStatus::Running, _) => BackupState::Running,
        (_, Some(deletion)) if deletion.done_at.is_some() => BackupState::Deleted,
        (_, Some(_)) => BackupState::Deleting,
        (_, None) if missing => BackupState::Missing,
        (RunStatus::Completed, None) => BackupState::Completed,
        (RunStatus::Failed, None) => BackupState::Failed,
    }
}

/// Name of a backup in sentences.
pub(crate) fn name(cluster: &str, id: BackupId) -> String {
    format!("backup {id} of cluster {cluster}")
}

/// Whether deletion may be requested; `false` if it was requested before.
pub(crate) fn may_delete(name: &str, state: BackupState, held: bool) -> Result<bool, StoreError> {
    match state {
        BackupState::Queued => refuse(format!("{name} has not begun: cancel the run instead of deleting it")),
        BackupState::Running => {
            refuse(format!("{name} is being taken: cancel the run or wait until it has ended"))
        }
        BackupState::Deleted => refuse(format!("{name} is deleted already: nothing is left to delete")),
        BackupState::Deleting => Ok(false),
        _ if held => refuse(format!("{name} is held: release the hold before deleting it")),
        BackupState::Completed | BackupState::Failed | BackupState::Missing => Ok(true),
    }
}

/// Whether a backup may be pinned or released.
pub(crate) fn may_hold(name: &str, state: BackupState, held: bool) -> Result<(), StoreError> {
    match state {
        BackupState::Deleting if held => {
            refuse(format!("{name} is being deleted: it is too late to hold it"))
        }
        BackupState::Deleted if held => refuse(format!("{name} is deleted: hold another one")),
        BackupState::Missing if held => refuse(format!("{name} is missing in its cluster: hold another one")),
        _ => Ok(()),
    }
}

/// Whether a backup may be recorded as gone; `false` if it was recorded before.
pub(crate) fn may_be_missing(name: &str, state: BackupState) -> Result<bool, StoreError> {
    match state {
        BackupState::Completed | BackupState::Failed => Ok(true),
        BackupState::Missing => Ok(false),
        other => refuse(format!(
            "{name} is {}: only a completed or failed one can be found missing, check it again later",
            other.name()
        )),
    }
}

/// Whether an occurrence is due now and was not missed.
pub(super) fn really_due(row: &OccurrenceRow) -> bool {
    row.outcome == OccurrenceOutcome::Waiting && !row.missed
}

/// Whether the fields of an occurrence row fit its outcome. Otherwise the claim is rejected.
pub(crate) fn may_claim(row: &OccurrenceRow) -> Result<(), StoreError> {
    let fits = match row.outcome {
        OccurrenceOutcome::Waiting => row.reason.is_none() && row.until.is_none() && row.count == 1,
        OccurrenceOutcome::Skipped => row.reason.is_some() && row.count >= 1,
        OccurrenceOutcome::Started | OccurrenceOutcome::CaughtUp | OccurrenceOutcome::Coalesced => false,
    };
    if fits && row.run_id.is_none() {
        return Ok(());
    }
    refuse(format!(
        "{} can be claimed as waiting or as skipped with a reason only",
        occurrence_name(&row.occurrence)
    ))
}

/// Whether a new run may serve an occurrence that has `outcome` now. Only waiting occurrences may be served.
pub(crate) fn may_serve(
    occurrence: &Occurrence,
    outcome: Option<OccurrenceOutcome>,
    becomes: OccurrenceOutcome,
) -> Result<(), StoreError> {
    let name = occurrence_name(occurrence);
    if matches!(becomes, OccurrenceOutcome::Waiting | OccurrenceOutcome::Skipped) {
        return refuse(format!("{name} is served by the run and can become neither waiting nor skipped"));
    }
    match outcome {
        None => Err(StoreError::NotFound(name)),
        Some(OccurrenceOutcome::Waiting) => Ok(()),
        Some(_) => refuse(format!("{name} does not wait any more: an occurrence leads to at most one run")),
    }
}

/// Whether a found backup may be adopted.
pub(crate) fn may_adopt(adopted: &Adopted, same_id: Option<RunId>) -> Result<(), StoreError> {
    let name = name(&adopted.cluster, adopted.backup_id);
    if !adopted.view.ended() {
        return refuse(format!("{name} has not ended: adopt it when no component reports it as in progress"));
    }
    match same_id {
        Some(other) => refuse(format!("{name} is known as run {other} already: only that run can be it")),
        None => Ok(()),
    }
}

/// Name of an occurrence in sentences.
pub(crate) fn occurrence_name(occurrence: &Occurrence) -> String {
    let due_at = occurrence.due_at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    format!("occurrence {due_at} of schedule {} for cluster {}", occurrence.schedule, occurrence.cluster)
}

/// Name of a run in sentences.
pub(crate) fn run_name(run_id: RunId) -> String {
    format!("run {run_id}")
}

/// Name of a pending resume in sentences.
pub(crate) fn pending_resume_name(run_id: RunId) -> String {
    format!("pending resume of run {run_id}")
}

/// Name of a deletion request in sentences.
pub(crate) fn deletion_name(run_id: RunId) -> String {
    format!("request to delete the backup of run {run_id}")
}

/// Name of a cluster in sentences.
pub(crate) fn cluster_name(name: &str) -> String {
    format!("cluster {name}")
}

/// Error for a second pending resume of one run.
pub(crate) fn second_pending_resume(run_id: RunId) -> StoreError {
    StoreError::Refused(format!(
        "{} exists already: a run pauses exporting at most once",
        pending_resume_name(run_id)
    ))
}

/// Error for a run whose id exists already.
pub(crate) fn second_run(run_id: RunId) -> StoreError {
    StoreError::Refused(format!("{} exists already: check it instead of starting it", run_name(run_id)))
}

/// Builds the row of a new run.
pub(crate) fn new_run(new: NewRun, backup_id: BackupId) -> Run {
    Run {
        run_id: new.run_id,
        cluster: new.cluster,
        backup_id,
        trigger: new.trigger,
        occurrences: new.occurrences.into_iter().map(|(occurrence, _)| occurrence).collect(),
        retention_groups: new.retention_groups,
        note: new.note,
        created_at: new.now,
        spec: new.spec,
        view: RunView::default(),
    }
}

/// Builds the row of an adopted backup, as a run that has ended.
pub(crate) fn adopted_run(adopted: Adopted) -> Run {
    Run {
        run_id: adopted.run_id,
        cluster: adopted.cluster,
        backup_id: adopted.backup_id,
        trigger: Trigger::Manual,
        occurrences: Vec::new(),
        retention_groups: vec![RetentionGroup::Adopted],
        note: None,
        created_at: adopted.created_at,
        spec: adopted.spec,
        view: adopted.view,
    }
}

/// Whether the journal of a run still records changes of its pending resume.
pub(crate) fn journal_open(view: &RunView) -> bool {
    view.status == RunStatus::Running
}

fn refuse<T>(sentence: String) -> Result<T, StoreError> {
    Err(StoreError::Refused(sentence))
}
