//! The search engine, Elasticsearch or OpenSearch: indices of records, and snapshots.
//!
//! Owns the paths of the search engine's API. Must not know Camunda beyond the name of the records snapshot.

use super::call::{Answer, Caller, DELETE, READ, START, segment};
use super::error::{ClientError, ErrorKind, one_line};
use super::reading::{text, word};
use super::snapshot::snapshots;
use super::{Method, SharedTransport, Snapshot, SnapshotState};
use crate::domain::{BackupId, SearchAddress};
use serde_json::{Value, json};

/// The search engine's API.
#[derive(Clone)]
pub struct Search {
    caller: Caller,
}

impl Search {
    /// The engine at `address`.
    pub fn new(address: &SearchAddress, transport: SharedTransport) -> Self {
        Self { caller: Caller::new("search", &address.url, transport) }
    }

    /// Name of the records snapshot of one backup.
    pub fn records_name(id: BackupId) -> String {
        format!("camunda_zeebe_records_backup_{id}")
    }

    /// Open indices that match `pattern`, sorted.
    pub async fn indices(&self, pattern: &str) -> Result<Vec<String>, ClientError> {
        let list = pattern.split(',').map(segment).collect::<Vec<_>>().join(",");
        let answer = self
            .get(&format!("/_cat/indices/{list}?format=json&h=index,status&expand_wildcards=open"))
            .await?;
        match answer.status() {
            200 => {}
            404 if is(&answer, "index_not_found_exception") => return Ok(Vec::new()),
            _ => return Err(answer.failure()),
        }
        let mut indices = Vec::new();
        for row in answer.array()? {
            let index = text(&row["index"]).ok_or_else(|| answer.unknown_shape())?;
            if word(&row["status"]).is_none_or(|status| status == "OPEN") {
                indices.push(index);
            }
        }
        indices.sort();
        Ok(indices)
    }

    /// Starts a snapshot of the indices matching `pattern` and returns at once; `see_snapshot` tells the rest.
    pub async fn start_snapshot(
        &self,
        repository: &str,
        name: &str,
        pattern: &str,
        metadata: Value,
    ) -> Result<(), ClientError> {
        let path = exact(repository, name)? + "?wait_for_completion=false";
        // `indices`, not `indexes`: the engines take the latter and snapshot everything.
        let mut body = json!({ "indices": pattern, "feature_states": ["none"] });
        if !metadata.is_null() {
            body["metadata"] = metadata;
        }
        let answer = self.caller.call(Method::Put, &path, Some(body), START).await?;
        match answer.status() {
            200 | 202 => {
                let body = answer.object()?;
                let taken = body["accepted"] == json!(true) || body["snapshot"].is_object();
                if taken { Ok(()) } else { Err(answer.unknown_shape()) }
            }
            // Answered as a failure of the engine, but certainly no snapshot was begun.
            500 if is(&answer, "snapshot_exception") && says(&answer, "primary shard") => {
                let hint = "bring the cluster back from red, or take the index out of the pattern";
                Err(answer
                    .error(ErrorKind::Refused, answer.sentence(answer.complaint().as_deref(), Some(hint))))
            }
            _ => Err(answer.failure()),
        }
    }

    /// Looks at one snapshot; `None` when it does not exist.
    pub async fn see_snapshot(&self, repository: &str, name: &str) -> Result<Option<Snapshot>, ClientError> {
        let path = exact(repository, name)?;
        let answer = self.get(&path).await?;
        let found = listed(&answer)?.into_iter().find(|snapshot| snapshot.name == name);
        let Some(mut snapshot) = found else { return Ok(None) };
        if snapshot.state == SnapshotState::InProgress
            && let Ok(answer) = self.get(&format!("{path}/_status")).await
            && answer.status() == 200
        {
            snapshot.refine(&answer);
        }
        Ok(Some(snapshot))
    }

    /// The snapshots whose names match `pattern`.
    pub async fn snapshots(&self, repository: &str, pattern: &str) -> Result<Vec<Snapshot>, ClientError> {
        listed(&self.get(&format!("/_snapshot/{}/{}", segment(repository), segment(pattern))).await?)
    }

    /// Deletes one snapshot, aborting it if it runs; `false` when it was not there.
    pub async fn delete_snapshot(&self, repository: &str, name: &str) -> Result<bool, ClientError> {
        let path = exact(repository, name)?;
        let answer = self.caller.call(Method::Delete, &path, None, DELETE).await?;
        match answer.status() {
            200 => answer.object().map(|_| true),
            404 if is(&answer, "snapshot_missing_exception") => Ok(false),
            _ => Err(answer.failure()),
        }
    }

    /// Whether some primary shard is unassigned.
    pub async fn red(&self) -> Result<bool, ClientError> {
        let answer = self.get("/_cluster/health").await?;
        // A cluster that waits for its state may say so with 408 and the usual body.
        if !matches!(answer.status(), 200 | 408) {
            return Err(answer.failure());
        }
        match word(&answer.object()?["status"]).as_deref() {
            Some("RED") => Ok(true),
            Some("GREEN" | "YELLOW") => Ok(false),
            _ => Err(answer.unknown_shape()),
        }
    }

    /// Whether the repository is registered.
    pub async fn repository_exists(&self, repository: &str) -> Result<bool, ClientError> {
        let answer = self.get(&format!("/_snapshot/{}", segment(repository))).await?;
        match answer.status() {
            200 => Ok(answer.object()?[repository].is_object()),
            404 if is(&answer, "repository_missing_exception") => Ok(false),
            _ => Err(answer.failure()),
        }
    }

    async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.caller.call(Method::Get, path, None, READ).await
    }
}

/// Path of one snapshot. A pattern where a name belongs would delete every snapshot it matches.
fn exact(repository: &str, name: &str) -> Result<String, ClientError> {
    let is_pattern = |text: &str| text.is_empty() || text.starts_with('_') || text.contains(['*', ',', '?']);
    if is_pattern(repository) || is_pattern(name) {
        let (repository, name) = (one_line(repository, 100), one_line(name, 100));
        let message = format!(
            "search was not asked about the snapshot `{name}` in `{repository}`: one of them is not a plain name"
        );
        return Err(ClientError {
            component: "search".to_owned(),
            kind: ErrorKind::Refused,
            status: None,
            evidence: message.clone(),
            message,
        });
    }
    Ok(format!("/_snapshot/{}/{}", segment(repository), segment(name)))
}

/// The snapshots an answer names: OpenSearch has 404 where nothing matches, Elasticsearch an empty list.
fn listed(answer: &Answer) -> Result<Vec<Snapshot>, ClientError> {
    match answer.status() {
        200 => snapshots(answer),
        404 if is(answer, "snapshot_missing_exception") => Ok(Vec::new()),
        _ => Err(answer.failure()),
    }
}

fn is(answer: &Answer, error_type: &str) -> bool {
    answer.error_type().as_deref() == Some(error_type)
}

fn says(answer: &Answer, part: &str) -> bool {
    answer.complaint().is_some_and(|complaint| complaint.contains(part))
}
