//! Routes that change something, on the control socket only.
//!
//! Owns the permission check: root and the daemon's own user are admin; other members of the socket's group may back
//! up, cancel and resume. Must not decide the result of a command: `Control` does.

use crate::api::routes::ApiState;
use crate::api::{Refusal, RefusalKind, refuse, shapes};
use crate::domain::BackupId;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, post};
use axum::{Extension, Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Permissions of the peer of a control-socket connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Take and cancel backups, resume exporting for pending resumes.
    Operate,
    /// All commands.
    Admin,
}

/// Routes of the commands; merged into the router of the control socket.
pub(crate) fn acting() -> Router<ApiState> {
    Router::new()
        .route("/v1/clusters/{name}/backups", post(backup))
        .route("/v1/clusters/{name}/backups/{id}", delete(delete_backup))
        .route("/v1/clusters/{name}/backups/{id}/restore", post(restore).get(restoring))
        .route("/v1/clusters/{name}/cancel", post(cancel))
        .route("/v1/clusters/{name}/resume-exporting", post(resume_exporting))
        .route("/v1/clusters/{name}/adopt", post(adopt))
        .route("/v1/pending-resumes/{name}/abandon", post(abandon_resumes))
        .route("/v1/pending-resumes/resume", post(resume_until_confirmed))
}

fn admin(role: Role) -> Result<(), Response> {
    if role == Role::Admin {
        return Ok(());
    }
    tracing::warn!(event = "auth.failed", reason = "the command needs admin");
    let message = "this command needs admin. Run it as root or as the user of the daemon";
    Err((StatusCode::FORBIDDEN, Json(json!({ "message": message }))).into_response())
}

fn id_of(text: &str) -> Result<BackupId, Response> {
    text.parse().map_err(refuse::bad_input)
}

#[derive(Deserialize)]
struct Note {
    note: Option<String>,
}

async fn backup(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    Json(note): Json<Note>,
) -> Result<Json<Value>, Refusal> {
    let run_id = state.control.backup(name, note.note).await?;
    let run = state.store.run(run_id).await?.ok_or_else(|| Refusal {
        kind: RefusalKind::Failed,
        message: format!("run {run_id} disappeared from the state right after its start"),
        retry_after_seconds: None,
    })?;
    Ok(Json(
        json!({ "run_id": run_id, "backup_id": run.backup_id, "cluster": run.cluster, "created_at": shapes::instant(run.created_at) }),
    ))
}

#[derive(Deserialize)]
struct Confirmed {
    #[serde(default)]
    confirmed: bool,
}

async fn delete_backup(
    State(state): State<ApiState>,
    Extension(role): Extension<Role>,
    Path((name, id)): Path<(String, String)>,
    Query(query): Query<Confirmed>,
) -> Result<Json<Value>, Response> {
    admin(role)?;
    let id = id_of(&id)?;
    state.control.delete(name, id, query.confirmed).await.map_err(IntoResponse::into_response)?;
    Ok(Json(json!({ "backup_id": id, "state": "deleting" })))
}

async fn restore(
    State(state): State<ApiState>,
    Extension(role): Extension<Role>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, Response> {
    admin(role)?;
    let id = id_of(&id)?;
    let begun = state.control.restore(name, id).await.map_err(IntoResponse::into_response)?;
    Ok(Json(json!(begun)))
}

async fn restoring(
    State(state): State<ApiState>,
    Path((name, id)): Path<(String, String)>,
) -> Result<Json<Value>, Response> {
    let id = id_of(&id)?;
    let now = state.control.restoring(name, id).await.map_err(IntoResponse::into_response)?;
    Ok(Json(json!(now)))
}

#[derive(Deserialize)]
struct Why {
    why: String,
    wait_seconds: Option<u64>,
}

async fn cancel(
    State(state): State<ApiState>,
    Path(name): Path<String>,
    Json(why): Json<Why>,
) -> Result<Json<Value>, Refusal> {
    let wait = Duration::from_secs(why.wait_seconds.unwrap_or(60));
    let cancelled = state.control.cancel(name, why.why, wait).await?;
    Ok(Json(json!({ "message": cancelled.message, "done": cancelled.done })))
}

async fn resume_exporting(
    State(state): State<ApiState>,
    Extension(role): Extension<Role>,
    Path(name): Path<String>,
    Json(wait): Json<Wait>,
) -> Result<Json<Value>, Response> {
    admin(role)?;
    let wait = Duration::from_secs(wait.wait_seconds.unwrap_or(60));
    let text = state.control.resume_exporting(name, wait).await.map_err(IntoResponse::into_response)?;
    Ok(Json(json!({ "message": text })))
}

async fn adopt(
    State(state): State<ApiState>,
    Extension(role): Extension<Role>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Response> {
    admin(role)?;
    let report = state.control.adopt(name).await.map_err(IntoResponse::into_response)?;
    Ok(Json(json!(report)))
}

async fn abandon_resumes(
    State(state): State<ApiState>,
    Extension(role): Extension<Role>,
    Path(name): Path<String>,
    Json(why): Json<Why>,
) -> Result<Json<Value>, Response> {
    admin(role)?;
    let count = state.control.abandon_resumes(name, why.why).await.map_err(IntoResponse::into_response)?;
    Ok(Json(json!({ "abandoned": count })))
}

#[derive(Deserialize)]
struct Wait {
    wait_seconds: Option<u64>,
}

async fn resume_until_confirmed(
    State(state): State<ApiState>,
    Json(wait): Json<Wait>,
) -> Result<Json<Value>, Refusal> {
    let wait = Duration::from_secs(wait.wait_seconds.unwrap_or(60));
    let unconfirmed = state.control.resume_pending(wait).await?;
    let mut response =
        json!({ "still_pending": unconfirmed.keys().collect::<Vec<_>>(), "reasons": unconfirmed });
    if let Some(lost) = state.control.live().state_lost {
        response["unread"] = lost.into();
    }
    Ok(Json(response))
}
