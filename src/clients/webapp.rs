//! Operate, Tasklist and Optimize: their backups in the search engine.
//!
//! Owns `/actuator/backups` of a web app and how the three differ. Must not know the search engine.

use super::{ClientError, Listed, Seen, SharedTransport};
use crate::domain::{BackupId, Component};

/// A web app's management API.
#[derive(Clone)]
pub struct WebApp {}

#[allow(clippy::unused_async, unused_variables)] // skeleton
impl WebApp {
    /// The API of `component` at `base`.
    pub fn new(component: Component, base: &str, transport: SharedTransport) -> Self {
        Self {}
    }
    /// Asks for a backup; returns the names of the snapshots to come, none where the app does not tell.
    pub async fn start(&self, id: BackupId) -> Result<Vec<String>, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Looks at one backup.
    pub async fn see(&self, id: BackupId) -> Result<Seen, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Every backup of this app in its repository.
    pub async fn list(&self) -> Result<Vec<Listed>, ClientError> {
        Err(ClientError::unbuilt())
    }
    /// Asks for deletion; it works later, and only on the parts there are now.
    pub async fn delete(&self, id: BackupId) -> Result<(), ClientError> {
        Err(ClientError::unbuilt())
    }
}
