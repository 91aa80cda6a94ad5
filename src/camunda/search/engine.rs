//! State of the search engine: health, disks, repositories and running snapshots.
//!
//! Must not know the content of a snapshot.

use crate::camunda::Method;
use crate::camunda::call::{DELETE, READ, segment};
use crate::camunda::error::ClientError;
use crate::camunda::reading::{int, text, word};
use crate::camunda::search::{Search, is};

/// Disk space on the search engine's fullest node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Size of its disks, in bytes.
    pub total: u64,
    /// Bytes still available for writing.
    pub available: u64,
}

impl Disk {
    /// Available share in whole percent.
    pub fn percent(self) -> u64 {
        self.available.saturating_mul(100) / self.total.max(1)
    }
}

impl Search {
    /// Whether a primary shard is unassigned.
    pub async fn red(&self) -> Result<bool, ClientError> {
        let response = self.get("/_cluster/health").await?;
        // A cluster that waits for its state may respond 408 with the usual body.
        if !matches!(response.status(), 200 | 408) {
            return Err(response.failure());
        }
        match word(&response.object()?["status"]).as_deref() {
            Some("RED") => Ok(true),
            Some("GREEN" | "YELLOW") => Ok(false),
            _ => Err(response.unknown_shape()),
        }
    }

    /// Whether the repository is registered.
    pub async fn repository_exists(&self, repository: &str) -> Result<bool, ClientError> {
        let response = self.get(&format!("/_snapshot/{}", segment(repository))).await?;
        match response.status() {
            200 => Ok(response.object()?[repository].is_object()),
            404 if is(&response, "repository_missing_exception") => Ok(false),
            _ => Err(response.failure()),
        }
    }

    /// Verifies that every node can write to the repository: each node writes a small file and deletes it
    /// again.
    pub async fn verify_repository(&self, repository: &str) -> Result<(), ClientError> {
        let path = format!("/_snapshot/{}/_verify", segment(repository));
        let response = self.caller.call(Method::Post, &path, None, DELETE).await?;
        match response.status() {
            200 => response.object().map(|_| ()),
            _ => Err(response.failure()),
        }
    }

    /// Names of all running snapshots, regardless of the requester.
    pub async fn running_snapshots(&self) -> Result<Vec<String>, ClientError> {
        let response = self.get("/_snapshot/_status").await?;
        if response.status() != 200 {
            return Err(response.failure());
        }
        let body = response.object()?;
        let rows = body["snapshots"].as_array().ok_or_else(|| response.unknown_shape())?;
        Ok(rows.iter().filter_map(|row| text(&row["snapshot"])).collect())
    }

    /// Disk space on the fullest node; `None` if the engine does not report it.
    pub async fn disk(&self) -> Result<Option<Disk>, ClientError> {
        let response = self.caller.call(Method::Get, "/_nodes/stats/fs", None, READ).await?;
        if response.status() != 200 {
            return Err(response.failure());
        }
        let body = response.object()?;
        let disks = body["nodes"].as_object().into_iter().flatten().filter_map(|(_, node)| {
            let bytes =
                |key: &str| int(&node["fs"]["total"][key]).and_then(|bytes| u64::try_from(bytes).ok());
            Some(Disk { total: bytes("total_in_bytes")?, available: bytes("available_in_bytes")? })
        });
        Ok(disks.min_by_key(|disk| disk.percent()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::camunda::canned::Canned;
    use crate::domain::SearchAddress;
    use serde_json::json;
    use std::sync::Arc;

    fn search(canned: &Arc<Canned>) -> Search {
        let address = SearchAddress {
            url: "http://es:9200".into(),
            repository: "camunda".into(),
            webapps_repository: "camunda".into(),
            records: None,
        };
        Search::new(&address, canned.shared())
    }

    #[tokio::test]
    async fn disk_returns_the_fullest_node() {
        let canned = Canned::new();
        let node = |available: u64| json!({"fs": {"total": {"total_in_bytes": 1000, "available_in_bytes": available}}});
        canned.json(200, &json!({"nodes": {"a": node(400), "b": node(90), "c": {"fs": {}}}}).to_string());
        let disk = search(&canned).disk().await.unwrap().unwrap();
        assert_eq!((disk, disk.percent()), (Disk { total: 1000, available: 90 }, 9));
        canned.json(200, r#"{"nodes":{}}"#);
        assert_eq!(search(&canned).disk().await.unwrap(), None);
    }

    #[tokio::test]
    async fn repository_is_verified_and_running_snapshots_are_listed() {
        let canned = Canned::new();
        canned.json(200, r#"{"nodes":{"x":{"name":"n"}}}"#);
        canned.json(500, r#"{"error":{"type":"repository_verification_exception","reason":"[camunda] path  is not accessible on master node"},"status":500}"#);
        canned.json(200, r#"{"snapshots":[{"snapshot":"nightly","repository":"other","state":"STARTED"}]}"#);
        let search = search(&canned);
        search.verify_repository("camunda").await.unwrap();
        let error = search.verify_repository("camunda").await.unwrap_err().to_string();
        assert!(error.contains("is not accessible on master node"), "{error}");
        assert_eq!(search.running_snapshots().await.unwrap(), ["nightly"]);
        assert_eq!(canned.requested()[0], "POST http://es:9200/_snapshot/camunda/_verify");
    }
}
