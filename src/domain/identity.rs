//! What identifies a backup of ours: the ownership tag in a snapshot, and the clusters that share ids.
//!
//! Pure. Must not read a snapshot itself.

use crate::domain::Addresses;
use serde::{Deserialize, Serialize};

/// The `metadata` of our records snapshots: the proof that a backup is ours (design 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnershipTag {
    /// `[daemon] instance`.
    pub instance: String,
    /// Cluster name.
    pub cluster: String,
    /// The run.
    pub run_id: uuid::Uuid,
}

impl OwnershipTag {
    /// The key under which the mark lies in the snapshot's metadata.
    pub const KEY: &'static str = "camunda_backupd";

    /// The mark in a snapshot's metadata, if there is one.
    pub fn read(metadata: &serde_json::Value) -> Option<Self> {
        serde_json::from_value(metadata.get(Self::KEY)?.clone()).ok()
    }

    /// The metadata to send with a snapshot.
    pub fn metadata(&self) -> serde_json::Value {
        serde_json::json!({ Self::KEY: self })
    }
}

/// Clusters that share a search engine share ids (rule I3), since any repository of it may be one's for records and
/// another's for web apps, and the parts of two backups under one id could not be told apart there. A cluster without
/// a search engine has its own scope.
pub fn id_scope(cluster: &str, addresses: &Addresses) -> String {
    match &addresses.search {
        Some(search) => search.url.trim_end_matches('/').to_owned(),
        None => format!("cluster:{cluster}"),
    }
}
