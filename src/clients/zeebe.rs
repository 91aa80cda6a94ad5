//! The brokers: pausing and resuming exporting, and their own backups.
//!
//! Owns the paths below `/actuator` of a broker or gateway. Must not know the order of a backup's steps.

use super::{ClientError, Exporters, Listed, Seen, SharedTransport};
use crate::domain::{BackupId, PauseMode};

/// A broker or gateway's management API.
#[derive(Clone)]
pub struct Zeebe {}

#[allow(clippy::unused_async, unused_variables)] // skeleton
impl Zeebe {
    /// The API at `base`; exporter phases are read from `brokers`, or from `base` where none are named.
    pub fn new(base: &str, brokers: &[String], transport: SharedTransport) -> Self {
        Self {}
    }
    /// Pauses exporting on every partition.
    pub async fn pause(&self, mode: PauseMode) -> Result<(), ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Resumes exporting on every partition; ends every pause, whoever made it.
    pub async fn resume(&self) -> Result<(), ClientError> {
        Err(ClientError::unbuilt())
    }
    /// The exporter of every partition.
    pub async fn exporters(&self) -> Result<Exporters, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Asks for a backup; `Ok` only means that it was scheduled.
    pub async fn start(&self, id: BackupId) -> Result<(), ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Looks at one backup.
    pub async fn see(&self, id: BackupId) -> Result<Seen, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Every backup in the store.
    pub async fn list(&self) -> Result<Vec<Listed>, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Asks for deletion; `Ok` does not mean it is gone, and a running backup goes on.
    pub async fn delete(&self, id: BackupId) -> Result<(), ClientError> {
        Err(ClientError::unbuilt())
    }
}
