//! Identity of our backups: the ownership tag in a snapshot, and the scope of backup ids.
//!
//! Pure. Must not read a snapshot itself.

use crate::domain::Addresses;
use serde::{Deserialize, Serialize};

/// The `metadata` of our records snapshots: the proof that a backup is ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipTag {
    /// `[daemon] instance`.
    pub instance: String,
    /// Key of the cluster in the config.
    pub cluster: String,
    /// Run that took the snapshot.
    pub run_id: uuid::Uuid,
}

impl OwnershipTag {
    /// Key of the ownership tag in the metadata of a snapshot.
    pub const KEY: &'static str = "camunda_backupd";

    /// Reads the ownership tag; `None` for metadata without a valid one.
    pub fn read(metadata: &serde_json::Value) -> Option<Self> {
        serde_json::from_value(metadata.get(Self::KEY)?.clone()).ok()
    }

    /// The metadata to send with a snapshot.
    pub fn metadata(&self) -> serde_json::Value {
        serde_json::json!({ Self::KEY: self })
    }
}

/// Scope of unique backup ids (rule I3). Clusters with one search engine share a scope: a repository of it may contain
/// records of one cluster and web apps of another, and parts of two backups with equal ids would be indistinguishable.
/// A cluster without a search engine has its own scope.
pub fn id_scope(cluster: &str, addresses: &Addresses) -> String {
    match &addresses.search {
        Some(search) => search.url.trim_end_matches('/').to_owned(),
        None => format!("cluster:{cluster}"),
    }
}
