//! The search engine, Elasticsearch or OpenSearch: indices of records, and snapshots.
//!
//! Owns the paths of the search engine's API. Must not know Camunda beyond the name of the records snapshot.

mod engine;

pub use engine::Disk;

use crate::camunda::call::{Caller, DELETE, READ, START, segment};
use crate::camunda::error::{ClientError, ErrorKind, one_line};
use crate::camunda::reading::{text, word};
use crate::camunda::response::ParsedResponse;
use crate::camunda::snapshot::snapshots;
use crate::camunda::{Method, SharedTransport, Snapshot, SnapshotState};
use crate::domain::{BackupId, SearchAddress};
use serde_json::{Value, json};

/// Client of the search engine's API.
#[derive(Clone)]
pub struct Search {
    caller: Caller,
}

impl Search {
    /// Client for the engine at `address`.
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
        let response = self
            .get(&format!("/_cat/indices/{list}?format=json&h=index,status&expand_wildcards=open"))
            .await?;
        match response.status() {
            200 => {}
            404 if is(&response, "index_not_found_exception") => return Ok(Vec::new()),
            _ => return Err(response.failure()),
        }
        let mut indices = Vec::new();
        for row in response.array()? {
            let index = text(&row["index"]).ok_or_else(|| response.unknown_shape())?;
            if word(&row["status"]).is_none_or(|status| status == "OPEN") {
                indices.push(index);
            }
        }
        indices.sort();
        Ok(indices)
    }

    /// Starts a snapshot of the indices matching `pattern` and returns at once; poll `see_snapshot` for its
    /// progress.
    pub async fn start_snapshot(
        &self,
        repository: &str,
        name: &str,
        pattern: &str,
        metadata: Value,
    ) -> Result<(), ClientError> {
        let path = exact(repository, name)? + "?wait_for_completion=false";
        // `indices`, not `indexes`: the engines accept the latter and snapshot everything.
        let mut body = json!({ "indices": pattern, "feature_states": ["none"] });
        if !metadata.is_null() {
            body["metadata"] = metadata;
        }
        let response = self.caller.call(Method::Put, &path, Some(body), START).await?;
        match response.status() {
            200 | 202 => {
                let body = response.object()?;
                let taken = body["accepted"] == json!(true) || body["snapshot"].is_object();
                if taken { Ok(()) } else { Err(response.unknown_shape()) }
            }
            // The engine returns 500, but certainly no snapshot was started.
            500 if is(&response, "snapshot_exception") && reports(&response, "primary shard") => {
                let hint = "bring the cluster back from red, or take the index out of the pattern";
                Err(response.error(
                    ErrorKind::Refused,
                    response.sentence(response.complaint().as_deref(), Some(hint)),
                ))
            }
            _ => Err(response.failure()),
        }
    }

    /// Fetches the state of one snapshot; `None` if it does not exist.
    pub async fn see_snapshot(&self, repository: &str, name: &str) -> Result<Option<Snapshot>, ClientError> {
        let path = exact(repository, name)?;
        let response = self.get(&path).await?;
        let Some(mut snapshot) = listed(&response, name)?.into_iter().next() else { return Ok(None) };
        if snapshot.state == SnapshotState::InProgress
            && let Ok(response) = self.get(&format!("{path}/_status")).await
            && response.status() == 200
        {
            snapshot.refine(&response);
        }
        Ok(Some(snapshot))
    }

    /// The snapshots whose names match `pattern`.
    pub async fn snapshots(&self, repository: &str, pattern: &str) -> Result<Vec<Snapshot>, ClientError> {
        let path = format!("/_snapshot/{}/{}", segment(repository), segment(pattern));
        listed(&self.get(&path).await?, pattern)
    }

    /// Deletes one snapshot and aborts a running one; `false` if it did not exist.
    pub async fn delete_snapshot(&self, repository: &str, name: &str) -> Result<bool, ClientError> {
        let path = exact(repository, name)?;
        let response = self.caller.call(Method::Delete, &path, None, DELETE).await?;
        match response.status() {
            200 => response.object().map(|_| true),
            404 if is(&response, "snapshot_missing_exception") => Ok(false),
            _ => Err(response.failure()),
        }
    }

    async fn get(&self, path: &str) -> Result<ParsedResponse, ClientError> {
        self.caller.call(Method::Get, path, None, READ).await
    }
}

/// Path of one snapshot. Rejects patterns: a pattern would delete every matching snapshot.
fn exact(repository: &str, name: &str) -> Result<String, ClientError> {
    let is_pattern = |text: &str| text.is_empty() || text.starts_with('_') || text.contains(['*', ',', '?']);
    if is_pattern(repository) || is_pattern(name) {
        let (repository, name) = (one_line(repository, 100), one_line(name, 100));
        let message = format!(
            "no request was sent about the snapshot `{name}` in `{repository}`: one of the names contains a pattern or separator"
        );
        return Err(ClientError {
            component: "search".to_owned(),
            kind: ErrorKind::Refused,
            status: None,
            evidence: message.clone(),
            message,
            retry_after: None,
        });
    }
    Ok(format!("/_snapshot/{}/{}", segment(repository), segment(name)))
}

/// Snapshots in a response. If nothing matches, OpenSearch returns 404 and Elasticsearch an empty list. A
/// response about other snapshots belongs to another request and is no proof of absence.
fn listed(response: &ParsedResponse, pattern: &str) -> Result<Vec<Snapshot>, ClientError> {
    let fits = |name: &str| match pattern.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    match response.status() {
        200 => {
            let all = snapshots(response)?;
            match all.iter().find(|snapshot| !fits(&snapshot.name)) {
                Some(other) => Err(response.another_backup_error(&other.name)),
                None => Ok(all),
            }
        }
        404 if is(response, "snapshot_missing_exception") => Ok(Vec::new()),
        _ => Err(response.failure()),
    }
}

fn is(response: &ParsedResponse, error_type: &str) -> bool {
    response.error_type().as_deref() == Some(error_type)
}

fn reports(response: &ParsedResponse, part: &str) -> bool {
    response.complaint().is_some_and(|complaint| complaint.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camunda::canned::Canned;
    use rstest::rstest;
    use std::sync::Arc;

    const NO_SNAPSHOT: &str = r#"{"error":{"root_cause":[{"type":"snapshot_missing_exception","reason":"[camunda:n] is missing"}],"type":"snapshot_missing_exception","reason":"[camunda:n] is missing"},"status":404}"#;
    const NO_REPOSITORY: &str = r#"{"error":{"root_cause":[{"type":"repository_missing_exception","reason":"[camunda] missing"}],"type":"repository_missing_exception","reason":"[camunda] missing"},"status":404}"#;

    fn search(canned: &Arc<Canned>) -> Search {
        let address = SearchAddress {
            url: "http://es:9200".into(),
            repository: "camunda".into(),
            webapps_repository: "camunda".into(),
            records: Some("zeebe-record*".into()),
        };
        Search::new(&address, canned.shared())
    }

    fn snapshot(state: &str, rest: &str) -> String {
        format!(
            r#"{{"snapshots":[{{"snapshot":"n","uuid":"zDPlgfOURHK6gIPsmFdNAg","version":"2.19.1","indices":["zeebe-record_job_8.6.0_2026-11-23","zeebe-record_deployment_8.6.0_2026-11-23"],"data_streams":[],"include_global_state":true,"state":"{state}","start_time":"2026-11-23T06:11:10.128Z","start_time_in_millis":1795414270128,{rest}}}]}}"#
        )
    }

    #[tokio::test]
    async fn snapshot_start_does_not_wait_for_completion() {
        let canned = Canned::new();
        canned.json(200, r#"{"accepted":true}"#);
        let name = Search::records_name(BackupId::new(223).unwrap());
        let tag = json!({"owner": "camunda-backupd"});
        search(&canned).start_snapshot("camunda", &name, "zeebe-record*", tag).await.unwrap();
        assert_eq!(
            canned.requested(),
            [
                r#"PUT http://es:9200/_snapshot/camunda/camunda_zeebe_records_backup_223?wait_for_completion=false {"feature_states":["none"],"indices":"zeebe-record*","metadata":{"owner":"camunda-backupd"}}"#
            ]
        );
    }

    #[rstest]
    #[case(400, r#"{"error":{"type":"invalid_snapshot_name_exception","reason":"[camunda:n] Invalid snapshot name [n], snapshot with the same name is already in-progress"},"status":400}"#, ErrorKind::Conflict { highest: None }, false)]
    #[case(400, r#"{"error":{"type":"snapshot_name_already_in_use_exception","reason":"[camunda:n] Invalid snapshot name [n], snapshot with the same name already exists"},"status":400}"#, ErrorKind::Conflict { highest: None }, false)]
    #[case(400, r#"{"error":{"type":"invalid_snapshot_name_exception","reason":"[camunda:UPPER] Invalid snapshot name [UPPER], must be lowercase"},"status":400}"#, ErrorKind::Refused, false)]
    #[case(404, NO_REPOSITORY, ErrorKind::Missing, false)]
    #[case(404, r#"{"error":{"type":"index_not_found_exception","reason":"no such index [nothing-here]"},"status":404}"#, ErrorKind::Refused, false)]
    #[case(500, r#"{"error":{"type":"snapshot_exception","reason":"[camunda:part_false/D4nr4NLfTgauLpWncTf4Iw] Indices don't have primary shards [zeebe-record-unassigned]"},"status":500}"#, ErrorKind::Refused, false)]
    #[case(500, r#"{"error":{"type":"snapshot_exception","reason":"[camunda:part_false/vSFf2N9KT02P53HRpHo0sA] the following indices have unassigned primary shards and cannot be included in a snapshot unless [partial] is set to [true]: [zeebe-record-unassigned]"},"status":500}"#, ErrorKind::Refused, false)]
    #[case(500, r#"{"error":"boom","status":500}"#, ErrorKind::Server, true)]
    #[case(
        503,
        r#"{"error":{"type":"cluster_manager_not_discovered_exception","reason":null},"status":503}"#,
        ErrorKind::Server,
        true
    )]
    #[case(200, r#"{"hello":"world"}"#, ErrorKind::Unusable, true)]
    #[tokio::test]
    async fn rejected_snapshot_returns_a_definite_error(
        #[case] status: u16,
        #[case] body: &str,
        #[case] kind: ErrorKind,
        #[case] acted: bool,
    ) {
        let canned = Canned::new();
        canned.json(status, body);
        let error =
            search(&canned).start_snapshot("camunda", "n", "zeebe-record*", Value::Null).await.unwrap_err();
        assert_eq!((error.kind.clone(), error.may_have_acted()), (kind, acted), "{error}");
    }

    #[tokio::test]
    async fn red_index_is_named_with_a_remedy() {
        let canned = Canned::new();
        canned.json(500, r#"{"error":{"type":"snapshot_exception","reason":"[camunda:n/D4] Indices don't have primary shards [zeebe-record-unassigned]"},"status":500}"#);
        let error =
            search(&canned).start_snapshot("camunda", "n", "zeebe-record*", Value::Null).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "search returned 500 to PUT /_snapshot/camunda/n?wait_for_completion=false: [camunda:n/D4] Indices don't \
             have primary shards [zeebe-record-unassigned]; bring the cluster back from red, or take the index out of \
             the pattern"
        );
    }

    /// OpenSearch lists no shards of a running snapshot; `_status` does.
    #[tokio::test]
    async fn running_snapshot_reports_progress() {
        let canned = Canned::new();
        let running =
            snapshot("IN_PROGRESS", r#""failures":[],"shards":{"total":0,"failed":0,"successful":0}"#);
        let status = |done: u32, bytes: u32| {
            format!(
                r#"{{"snapshots":[{{"snapshot":"n","repository":"camunda","state":"STARTED","shards_stats":{{"initializing":9,"started":2,"finalizing":0,"done":{done},"failed":0,"total":11}},"stats":{{"processed":{{"file_count":0,"size_in_bytes":{bytes}}}}}}}]}}"#
            )
        };
        canned.json(200, &running).json(200, &status(0, 100));
        canned.json(200, &running).json(200, &status(0, 900));
        canned.json(200, &running).json(500, "{}");
        let search = search(&canned);
        let first = search.see_snapshot("camunda", "n").await.unwrap().unwrap();
        let second = search.see_snapshot("camunda", "n").await.unwrap().unwrap();
        let third = search.see_snapshot("camunda", "n").await.unwrap().unwrap();
        assert_eq!(
            (&first.state, first.shards_total, first.bytes_done),
            (&SnapshotState::InProgress, 11, 100)
        );
        assert_ne!(first.fingerprint(), second.fingerprint());
        assert_eq!((third.shards_total, third.bytes_done), (0, 0));
        assert_eq!(canned.requested()[1], "GET http://es:9200/_snapshot/camunda/n/_status");
    }

    #[tokio::test]
    async fn complete_and_partial_snapshots_are_distinguished() {
        let canned = Canned::new();
        canned.json(
            200,
            &snapshot(
                "SUCCESS",
                r#""failures":[],"metadata":{"owner":"x"},"shards":{"total":11,"failed":0,"successful":11}"#,
            ),
        );
        canned.json(200, &snapshot("PARTIAL", r#""failures":[{"index":"zeebe-record-unassigned","shard_id":0,"reason":"primary shard is not allocated","status":"INTERNAL_SERVER_ERROR"}],"shards":{"total":12,"failed":1,"successful":11}"#));
        canned.json(200, &snapshot("DREAMING", r#""shards":null"#));
        let search = search(&canned);
        let whole = search.see_snapshot("camunda", "n").await.unwrap().unwrap();
        assert_eq!(whole.state, SnapshotState::Success);
        assert_eq!(whole.indices[0], "zeebe-record_deployment_8.6.0_2026-11-23");
        assert_eq!((whole.shards_total, whole.shards_failed, whole.shards_successful), (11, 0, 11));
        assert_eq!(whole.metadata, Some(json!({"owner": "x"})));
        assert_eq!(whole.started_at, Some("2026-11-23T06:11:10.128Z".parse().unwrap()));
        let partial = search.see_snapshot("camunda", "n").await.unwrap().unwrap();
        assert_eq!((partial.state, partial.shards_failed), (SnapshotState::Partial, 1));
        assert_eq!(partial.reason.as_deref(), Some("primary shard is not allocated"));
        let other = search.see_snapshot("camunda", "n").await.unwrap().unwrap();
        assert_eq!(other.state, SnapshotState::Other("DREAMING".to_owned()));
    }

    #[rstest]
    #[case(404, NO_SNAPSHOT)]
    #[case(200, r#"{"snapshots":[]}"#)]
    #[case(200, r#"{"snapshots":[],"total":0,"remaining":0}"#)]
    #[tokio::test]
    async fn absent_snapshot_is_recognized_on_both_engines(#[case] status: u16, #[case] body: &str) {
        let canned = Canned::new();
        canned.json(status, body).json(status, body);
        let search = search(&canned);
        assert_eq!(search.see_snapshot("camunda", "n").await.unwrap(), None);
        assert!(search.snapshots("camunda", "n*").await.unwrap().is_empty());
        assert_eq!(canned.requested()[1], "GET http://es:9200/_snapshot/camunda/n*");
    }

    /// A cache or gateway that mixes responses up must not make a snapshot appear deleted.
    #[tokio::test]
    async fn response_about_other_snapshots_is_no_proof_of_absence() {
        let canned = Canned::new();
        let other = snapshot("SUCCESS", r#""shards":{"total":1,"failed":0,"successful":1}"#);
        canned.json(200, &other).json(200, &other);
        let search = search(&canned);
        let exactly = search.see_snapshot("camunda", "camunda_zeebe_records_backup_7").await.unwrap_err();
        let listed = search.snapshots("camunda", "camunda_operate_7_*").await.unwrap_err();
        for error in [exactly, listed] {
            assert_eq!(error.kind, ErrorKind::Unusable);
            assert!(
                error
                    .to_string()
                    .contains("with a part of another backup, n: check for a cache or a gateway between"),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn delete_returns_whether_the_snapshot_existed() {
        let canned = Canned::new();
        canned.json(200, r#"{"acknowledged":true}"#).json(404, NO_SNAPSHOT).json(404, NO_REPOSITORY);
        canned.of_type(404, "text/html", "<html>nginx</html>");
        let search = search(&canned);
        assert!(search.delete_snapshot("camunda", "n").await.unwrap());
        assert!(!search.delete_snapshot("camunda", "n").await.unwrap());
        for _ in 0..2 {
            assert_eq!(search.delete_snapshot("camunda", "n").await.unwrap_err().kind, ErrorKind::Missing);
        }
    }

    #[rstest]
    #[case("camunda", "*")]
    #[case("camunda", "a,b")]
    #[case("camunda", "")]
    #[case("*", "n")]
    #[case("camunda", "_all")]
    #[tokio::test]
    async fn delete_rejects_patterns(#[case] repository: &str, #[case] name: &str) {
        let canned = Canned::new();
        let error = search(&canned).delete_snapshot(repository, name).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "no request was sent about the snapshot `{name}` in `{repository}`: one of the names contains a pattern or separator"
            )
        );
        assert!(canned.requested().is_empty());
    }

    #[tokio::test]
    async fn names_are_encoded_in_the_path() {
        let canned = Canned::new();
        canned.json(404, NO_SNAPSHOT);
        search(&canned).see_snapshot("my repo/x", "a%b").await.unwrap();
        assert_eq!(canned.requested(), ["GET http://es:9200/_snapshot/my%20repo%2Fx/a%25b"]);
    }

    #[tokio::test]
    async fn open_indices_are_listed_sorted() {
        let canned = Canned::new();
        canned.json(200, r#"[{"index":"zeebe-record_process","status":"open"},{"index":"zeebe-record_old","status":"close"},{"index":"zeebe-record_job"}]"#);
        canned.json(200, "[]");
        canned.json(
            404,
            r#"{"error":{"type":"index_not_found_exception","reason":"no such index [x]"},"status":404}"#,
        );
        canned.of_type(200, "text/plain; charset=UTF-8", "zeebe-record_job open\n");
        let search = search(&canned);
        assert_eq!(
            search.indices("zeebe-record*").await.unwrap(),
            ["zeebe-record_job", "zeebe-record_process"]
        );
        assert!(search.indices("zeebe-record*").await.unwrap().is_empty());
        assert!(search.indices("a*,x").await.unwrap().is_empty());
        assert_eq!(search.indices("x").await.unwrap_err().kind, ErrorKind::Unusable);
        assert_eq!(
            canned.requested()[2],
            "GET http://es:9200/_cat/indices/a*,x?format=json&h=index,status&expand_wildcards=open"
        );
    }

    #[tokio::test]
    async fn red_health_and_missing_repository_are_reported() {
        let canned = Canned::new();
        canned.json(200, r#"{"cluster_name":"search","status":"red"}"#).json(200, r#"{"status":"yellow"}"#);
        canned.json(200, r#"{"status":"purple"}"#);
        canned
            .json(200, r#"{"camunda":{"type":"fs","settings":{}}}"#)
            .json(404, NO_REPOSITORY)
            .json(500, "{}");
        let search = search(&canned);
        assert!(search.red().await.unwrap());
        assert!(!search.red().await.unwrap());
        assert_eq!(search.red().await.unwrap_err().kind, ErrorKind::Unusable);
        assert!(search.repository_exists("camunda").await.unwrap());
        assert!(!search.repository_exists("camunda").await.unwrap());
        assert_eq!(search.repository_exists("camunda").await.unwrap_err().kind, ErrorKind::Server);
    }
}
