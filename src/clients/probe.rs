//! What a cluster is: its version, partitions and components.
//!
//! Owns the ways to find that out. Must not change anything in the cluster.

use super::{ClientError, SharedTransport, Version};
use crate::domain::{Addresses, Component, Family, PauseMode};
use serde::{Deserialize, Serialize};

/// What a cluster is and can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Version of the brokers, else of the gateway.
    pub version: Version,
    /// Which procedure it takes.
    pub family: Family,
    /// How exporting is paused.
    pub pause: PauseMode,
    /// How many partitions it has, where that can be read.
    pub partitions: Option<u32>,
    /// What is backed up, in the order in which reports name it.
    pub components: Vec<Component>,
    /// Every broker's version, where that can be read.
    pub brokers: Vec<String>,
    /// Partitions without a healthy leader; `None` where that cannot be read.
    pub leaderless: Option<Vec<u32>>,
    /// What could not be read although an address for it is configured, one sentence each.
    pub notes: Vec<String>,
}

impl Capabilities {
    /// Whether every partition has a healthy leader; `None` where that cannot be read.
    pub fn healthy(&self) -> Option<bool> {
        self.leaderless.as_ref().map(Vec::is_empty)
    }
}

/// Asks a cluster what it is; `version_override` wins over what it says.
#[allow(clippy::unused_async, unused_variables)] // skeleton
pub async fn probe(
    addresses: &Addresses,
    version_override: Option<&str>,
    transport: &SharedTransport,
) -> Result<Capabilities, ClientError> {
    Err(ClientError::unbuilt())
}
