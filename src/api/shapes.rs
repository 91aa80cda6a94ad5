//! JSON shapes of backups, runs, pending resumes and clusters.
//!
//! Pure: builds each shape from rows of the store. Must not read the store or the clock.

pub(crate) use crate::domain::instant_text as instant;
use crate::domain::{BackupState, Component, Instant};
use crate::journal::{ComponentView, Outcome, Run, RunStatus, RunView};
use crate::store::{Backup, ClusterRow, PendingResume};
use serde_json::{Map, Value, json};

fn maybe(at: Option<Instant>) -> Value {
    at.map_or(Value::Null, |at| Value::String(instant(at)))
}

/// Reason for the state: the failure of the run, or for a missing Camunda 8 SaaS backup that Camunda no longer lists it.
fn reason(backup: &Backup) -> Option<String> {
    let pruned = backup.run.view.part_of_provider().is_some();
    if backup.state == BackupState::Missing && pruned {
        return Some(
            "provider: the backup is no longer in Camunda's list and was not deleted by this daemon"
                .to_owned(),
        );
    }
    backup.run.view.reason().map(str::to_owned)
}

/// Element of `GET /v1/backups`.
pub(crate) fn backup(backup: &Backup) -> Value {
    let run = &backup.run;
    let view = &run.view;
    let components: Map<String, Value> = view
        .components
        .iter()
        .map(|(component, part)| {
            let state = json!({
                "state": part.state,
                "parts_done": part.parts_done,
                "parts_total": part.parts_total,
                "reason": part.reason,
            });
            (component.name().to_owned(), state)
        })
        .collect();
    json!({
        "cluster": run.cluster,
        "backup_id": run.backup_id,
        "state": backup.state.name(),
        "trigger": run.trigger,
        "schedules": run.occurrences.iter().map(|o| o.schedule.clone()).collect::<Vec<_>>(),
        "due_at": maybe(run.occurrences.iter().map(|o| o.due_at).min()),
        "started_at": maybe(view.started_at.or(Some(run.created_at))),
        "finished_at": maybe(view.finished_at),
        "components": components,
        "retention_groups": run.retention_groups.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "held": backup.held,
        "reason": reason(backup),
        "run_id": run.run_id,
        "note": run.note,
    })
}

/// `GET /v1/backups/{id}`: the backup with steps, parts, pause, attestation or failure report, deletion and journal.
pub(crate) fn whole(found: &Backup, journal: &[crate::journal::Entry]) -> Value {
    let mut shape = backup(found);
    let view = &found.run.view;
    let steps: Vec<Value> = view
        .steps
        .iter()
        .map(|step| {
            let state = if view.done.contains(step) {
                "done"
            } else if view.step == Some(*step) && !view.ended() {
                "running"
            } else if view.intended.contains(step) {
                "begun"
            } else {
                "not begun"
            };
            json!({ "step": step.to_string(), "state": state, "duration_ms": view.step_ms.get(step) })
        })
        .collect();
    let pause = &view.pause;
    if let Some(shape) = shape.as_object_mut() {
        shape.insert("version".into(), json!(view.version));
        shape.insert("steps".into(), json!(steps));
        shape.insert(
            "pause".into(),
            json!({
                "mode": pause.mode.or(pause.requested).map(crate::domain::PauseMode::name),
                "intended_at": maybe(pause.intended_at),
                "confirmed_at": maybe(pause.confirmed_at),
                "resume_intended_at": maybe(pause.resume_intended_at),
                "resumed_at": maybe(pause.resumed_at),
            }),
        );
        let snapshots: Map<String, Value> =
            view.components.iter().map(|(c, part)| (c.name().to_owned(), json!(part.names))).collect();
        shape.insert("snapshots".into(), Value::Object(snapshots));
        match &view.outcome {
            Some(Outcome::Completed { attestation }) => {
                shape.insert("attestation".into(), attestation.clone());
            }
            Some(Outcome::Failed { class, failure_report, .. }) => {
                shape.insert("class".into(), json!(class));
                shape.insert("failure_report".into(), failure_report.clone());
            }
            None => {}
        }
        shape.insert("cleanup_unfinished".into(), json!(view.cleanup_unfinished));
        if let Some(deletion) = &found.deletion {
            shape.insert("deletion".into(), json!(deletion));
        }
        let entries: Vec<Value> =
            journal.iter().map(|e| json!({ "at": instant(e.at), "event": e.event })).collect();
        shape.insert("journal".into(), json!(entries));
    }
    shape
}

/// Element of `GET /v1/pending-resumes`.
pub(crate) fn pending_resume(pending_resume: &PendingResume) -> Value {
    json!({
        "cluster": pending_resume.cluster,
        "run_id": pending_resume.run_id,
        "zeebe": pending_resume.addresses.zeebe,
        "intended_at": instant(pending_resume.intended_at),
        "resume_intended_at": maybe(pending_resume.resume_intended_at),
        "attempts": pending_resume.attempts,
        "confirmed_at": maybe(pending_resume.confirmed_at),
        "last_error": pending_resume.last_error,
    })
}

/// `running` of a cluster in `GET /health`.
pub(crate) fn running(run: &Run) -> Value {
    let view = &run.view;
    json!({
        "run_id": run.run_id,
        "step": view.step.map(|s| s.to_string()),
        "since": maybe(view.step_since.or(Some(run.created_at))),
        "paused_since": if view.needs_resume() { maybe(view.pause.intended_at) } else { Value::Null },
    })
}

/// `Cluster` of the SaaS Administration API, as far as our clusters have its fields.
pub(crate) fn saas_cluster(row: &ClusterRow, version: Option<&str>, healthy: bool) -> Value {
    let status = if healthy { "Healthy" } else { "Unhealthy" };
    let profile = row.addresses.profile();
    let by = profile.deployment;
    let generation = match version {
        None => "Camunda 8".to_owned(),
        // A version that does not begin with a digit is a generation name reported by Camunda 8 SaaS.
        Some(version) if !version.starts_with(|c: char| c.is_ascii_digit()) => version.to_owned(),
        Some(version) => format!("Camunda {version}"),
    };
    json!({
        "uuid": row.uuid,
        "name": row.name,
        "ownerId": "",
        "created": "",
        "autoUpdate": false,
        "planType": { "name": by, "uuid": "" },
        "region": { "name": by, "uuid": "" },
        "generation": { "name": generation, "uuid": "" },
        "channel": { "name": by, "uuid": "" },
        "status": { "ready": status, "zeebeStatus": status },
        "links": profile.management.map_or(json!({}), |url| json!({ "zeebe": url })),
    })
}

/// The part of a component, or the part of the provider that contains it. A Camunda 8 SaaS backup has one state for all
/// components.
fn part_with(view: &RunView, component: Component) -> Option<&ComponentView> {
    let contains = |part: &Component| part.taken_by_provider().is_some_and(|all| all.contains(&component));
    let own = view.components.get(&component);
    own.or_else(|| view.components.iter().find(|(part, _)| contains(part)).map(|(_, part)| part))
}

/// `BackupDto` of the SaaS Administration API.
pub(crate) fn saas_backup(backup: &Backup) -> Value {
    let run = &backup.run;
    let view = &run.view;
    let status = match backup.state {
        BackupState::Queued | BackupState::Running => "In progress",
        BackupState::Completed => "Complete",
        BackupState::Failed => "Failed",
        BackupState::Deleting | BackupState::Deleted | BackupState::Missing => "-",
    };
    let of = |component: Component| match part_with(view, component) {
        None => "-",
        Some(part) if part.finished_at.is_some() => "Complete",
        Some(_) if matches!(view.status, RunStatus::Failed) => "Failed",
        Some(_) => "In progress",
    };
    json!({
        "uuid": run.run_id,
        "name": run.backup_id.to_string(),
        "created": instant(run.created_at),
        "completed": view.finished_at.map(instant).unwrap_or_default(),
        "status": status,
        "zeebeStatus": of(Component::Zeebe),
        "operateStatus": of(Component::Operate),
        "tasklistStatus": of(Component::Tasklist),
        "optimizeStatus": of(Component::Optimize),
        "generationName": view.version,
    })
}
