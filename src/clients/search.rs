//! The search engine, Elasticsearch or OpenSearch: indices of records, and snapshots.
//!
//! Owns the paths of the search engine's API. Must not know Camunda beyond the name of the records snapshot.

use super::{ClientError, SharedTransport, Snapshot};
use crate::domain::{BackupId, SearchAddress};

/// The search engine's API.
#[derive(Clone)]
pub struct Search {}

#[allow(clippy::unused_async, unused_variables)] // skeleton
impl Search {
    /// The engine at `address`.
    pub fn new(address: &SearchAddress, transport: SharedTransport) -> Self {
        Self {}
    }
    /// Name of the records snapshot of one backup.
    pub fn records_name(id: BackupId) -> String {
        format!("camunda_zeebe_records_backup_{id}")
    }
    /// Open indices that match `pattern`, sorted.
    pub async fn indices(&self, pattern: &str) -> Result<Vec<String>, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Starts a snapshot of the indices matching `pattern` and returns at once.
    pub async fn start_snapshot(
        &self,
        repository: &str,
        name: &str,
        pattern: &str,
        metadata: serde_json::Value,
    ) -> Result<(), ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Looks at one snapshot; `None` when it does not exist.
    pub async fn see_snapshot(&self, repository: &str, name: &str) -> Result<Option<Snapshot>, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// The snapshots whose names match `pattern`.
    pub async fn snapshots(&self, repository: &str, pattern: &str) -> Result<Vec<Snapshot>, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Deletes one snapshot, aborting it if it runs; `false` when it was not there.
    pub async fn delete_snapshot(&self, repository: &str, name: &str) -> Result<bool, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Whether some primary shard is unassigned.
    pub async fn red(&self) -> Result<bool, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Whether the repository is registered.
    pub async fn repository_exists(&self, repository: &str) -> Result<bool, ClientError> {
        Err(ClientError::unbuilt())
    }
}
