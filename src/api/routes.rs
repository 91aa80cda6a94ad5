//! Read-only routes: health, the routes shaped like Camunda 8 SaaS, and the routes of the command line.
//!
//! Owns paths and queries. Must not change anything; `shapes` builds the JSON.

use super::facts;
use super::health::{Health, Status};
use super::{Control, Live, Refusal, RefusalKind, refuse, shapes};
use crate::domain::RunId;
use crate::store::{BackupFilter, SharedStore};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;

/// State of every route handler.
#[derive(Clone)]
pub(crate) struct ApiState {
    /// Durable state, read only here.
    pub store: SharedStore,
    /// Current state and commands.
    pub control: Arc<dyn Control>,
}

/// Read-only routes; those shaped like Camunda 8 SaaS also below `/api`.
pub(crate) fn reading() -> Router<ApiState> {
    let saas = Router::new()
        .route("/clusters", get(saas_clusters))
        .route("/clusters/{uuid}", get(saas_cluster))
        .route("/clusters/{uuid}/backups", get(saas_backups));
    Router::new()
        .route("/health", get(whole_health))
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/health/backups", get(health_of_backups))
        .route("/v1/backups", get(backups))
        .route("/v1/backups/{id}", get(one_backup))
        .route("/v1/schedules", get(schedules))
        .route("/v1/pending-resumes", get(pending_resumes))
        .merge(saas.clone())
        .nest("/api", saas)
}

async fn judged(state: &ApiState) -> Health {
    facts::judged(&state.store, state.control.live()).await
}

fn response(good: bool, body: Value) -> Response {
    let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(body)).into_response()
}

async fn whole_health(State(state): State<ApiState>) -> Response {
    let health = judged(&state).await;
    response(health.status != Status::Failing, health.body())
}

async fn live(State(state): State<ApiState>) -> Response {
    let Live { since_tick, stopping, .. } = state.control.live();
    // A stopping daemon has no dispatch loop that could stall.
    let alive = stopping || since_tick < std::time::Duration::from_secs(10);
    response(alive, json!({ "since_tick_ms": since_tick.as_millis() as u64, "stopping": stopping }))
}

async fn ready(State(state): State<ApiState>) -> Response {
    // The listeners accept connections after the config is applied, so that only the store is checked.
    match state.store.pending_resumes().await {
        Ok(_) => response(true, json!({ "status": "ready" })),
        Err(error) => response(false, json!({ "status": "not ready", "reason": error.to_string() })),
    }
}

async fn health_of_backups(State(state): State<ApiState>) -> Response {
    let health = judged(&state).await;
    let mut body = health.body();
    body["backups"] = json!(health.backups);
    response(health.backups.is_empty(), body)
}

#[derive(Deserialize)]
struct BackupQuery {
    cluster: Option<String>,
    #[serde(default)]
    all: bool,
}

async fn backups(
    State(state): State<ApiState>,
    Query(query): Query<BackupQuery>,
) -> Result<Json<Value>, Refusal> {
    let filter = BackupFilter { cluster: query.cluster, existing: !query.all, limit: 0 };
    let found = state.store.backups(filter).await?;
    Ok(Json(found.iter().map(shapes::backup).collect()))
}

/// Returns one backup, found by backup id or run id.
async fn one_backup(State(state): State<ApiState>, Path(id): Path<String>) -> Result<Json<Value>, Response> {
    let wanted_run: Option<RunId> = id.parse().ok();
    let wanted_backup: Option<i64> = id.parse().ok();
    if wanted_run.is_none() && wanted_backup.is_none() {
        return Err(refuse::bad_input(format!("`{id}` is neither a backup id nor a run id")));
    }
    let read = async {
        let found = state.store.backups(BackupFilter::default()).await?;
        let found = found
            .into_iter()
            .find(|b| Some(b.run.run_id) == wanted_run || Some(b.run.backup_id.get()) == wanted_backup)
            .ok_or_else(|| Refusal {
                kind: RefusalKind::NotFound,
                message: format!("there is no backup or run {id}. `list` shows the backups"),
                retry_after_seconds: None,
            })?;
        let journal = state.store.journal(found.run.run_id).await?;
        Ok::<_, Refusal>(Json(shapes::whole(&found, &journal)))
    };
    read.await.map_err(IntoResponse::into_response)
}

async fn schedules(State(state): State<ApiState>) -> Json<Value> {
    let live = state.control.live();
    let rows: Vec<Value> = live
        .config
        .schedules
        .values()
        .map(|schedule| {
            let next: Vec<Value> = schedule
                .clusters
                .iter()
                .map(|cluster| {
                    let due = live.next_due.get(&(schedule.name.clone(), cluster.clone()));
                    json!({ "cluster": cluster, "next_due": due.map(|at| shapes::instant(*at)) })
                })
                .collect();
            json!({
                "name": schedule.name,
                "enabled": schedule.enabled,
                "timing": schedule.timing.to_string(),
                "timezone": schedule.timezone.name(),
                "keep": schedule.keep,
                "clusters": next,
            })
        })
        .collect();
    Json(json!(rows))
}

async fn pending_resumes(State(state): State<ApiState>) -> Result<Json<Value>, Refusal> {
    let pending_resumes = state.store.pending_resumes().await?;
    Ok(Json(
        state.control.live().pending_resumes(pending_resumes).iter().map(shapes::pending_resume).collect(),
    ))
}

async fn saas_clusters(State(state): State<ApiState>) -> Result<Json<Value>, Refusal> {
    let rows = state.store.clusters().await?;
    let mut shapes = Vec::new();
    for row in rows.iter().filter(|row| row.configured) {
        shapes.push(saas_shape(&state, row).await?);
    }
    Ok(Json(json!(shapes)))
}

async fn saas_shape(state: &ApiState, row: &crate::store::ClusterRow) -> Result<Value, Refusal> {
    let filter = BackupFilter { cluster: Some(row.name.clone()), existing: true, limit: 0 };
    let version = state.store.backups(filter).await?.into_iter().rev().find_map(|b| b.run.view.version);
    let live = state.control.live();
    let healthy = live.clusters.get(&row.name).is_some_and(|probe| probe.unreachable.is_none());
    Ok(shapes::saas_cluster(row, version.as_deref(), healthy))
}

async fn by_uuid(state: &ApiState, uuid: &str) -> Result<crate::store::ClusterRow, Refusal> {
    let wanted: Option<uuid::Uuid> = uuid.parse().ok();
    state.store.clusters().await?.into_iter().find(|row| Some(row.uuid) == wanted).ok_or_else(|| Refusal {
        kind: RefusalKind::NotFound,
        message: format!("there is no cluster {uuid}. GET /clusters lists the clusters"),
        retry_after_seconds: None,
    })
}

async fn saas_cluster(
    State(state): State<ApiState>,
    Path(uuid): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let row = by_uuid(&state, &uuid).await?;
    Ok(Json(saas_shape(&state, &row).await?))
}

async fn saas_backups(
    State(state): State<ApiState>,
    Path(uuid): Path<String>,
) -> Result<Json<Value>, Refusal> {
    let row = by_uuid(&state, &uuid).await?;
    let filter = BackupFilter { cluster: Some(row.name), existing: true, limit: 0 };
    let mut found = state.store.backups(filter).await?;
    found.reverse();
    Ok(Json(found.iter().map(shapes::saas_backup).collect()))
}
