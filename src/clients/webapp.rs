//! Operate, Tasklist and Optimize: their backups in the search engine.
//!
//! Owns `/actuator/backups` of a web app and how the three differ. Must not know the search engine.

use super::call::{Answer, Caller, DELETE, READ, START};
use super::error::{ClientError, ErrorKind};
use super::reading::text;
use super::seen::{all_backups, one_backup};
use super::{Listed, Method, Seen, SharedTransport};
use crate::domain::{BackupId, Component};
use serde_json::{Value, json};

const BACKUPS: &str = "/actuator/backups";

/// A web app's management API.
#[derive(Clone)]
pub struct WebApp {
    component: Component,
    caller: Caller,
}

impl WebApp {
    /// The API of `component` at `base`.
    pub fn new(component: Component, base: &str, transport: SharedTransport) -> Self {
        Self { component, caller: Caller::new(component.name(), base, transport) }
    }

    /// Asks for a backup; returns the names of the snapshots to come, none where the app does not tell.
    pub async fn start(&self, id: BackupId) -> Result<Vec<String>, ClientError> {
        let body = json!({ "backupId": id.get() });
        let answer = self.caller.call(Method::Post, BACKUPS, Some(body), START).await?;
        match answer.status() {
            200 | 202 => self.scheduled(&answer),
            _ => Err(answer.failure()),
        }
    }

    /// Looks at one backup. Absent right after the start is not yet final, and incomplete may never be.
    pub async fn see(&self, id: BackupId) -> Result<Seen, ClientError> {
        let answer = self.caller.call(Method::Get, &one(id), None, READ).await?;
        match answer.status() {
            200 => one_backup(&answer, id),
            404 => self.missing(&answer, id).await.map(|()| Seen::Absent),
            400 => {
                let error = answer.failure();
                // Operate on OpenSearch cannot read IN_PROGRESS and says so with 400.
                if error.kind == ErrorKind::Server {
                    Ok(Seen::Unclear { reason: error.message })
                } else {
                    Err(error)
                }
            }
            _ => Err(answer.failure()),
        }
    }

    /// Every backup of this app in its repository. Operate on OpenSearch cannot list while one is running.
    pub async fn list(&self) -> Result<Vec<Listed>, ClientError> {
        let answer = self.caller.call(Method::Get, BACKUPS, None, READ).await?;
        if answer.status() == 200 { all_backups(&answer) } else { Err(answer.failure()) }
    }

    /// Asks for deletion; it works later, and only on the parts there are now.
    pub async fn delete(&self, id: BackupId) -> Result<(), ClientError> {
        let answer = self.caller.call(Method::Delete, &one(id), None, DELETE).await?;
        match answer.status() {
            204 => Ok(()),
            404 => self.missing(&answer, id).await,
            _ => Err(answer.failure()),
        }
    }

    /// `Ok` when this 404 means that there is no such backup. Early 8.2 leaves it to Spring, whose page says the same
    /// for a wrong path; whether the list answers tells the two apart.
    async fn missing(&self, answer: &Answer, id: BackupId) -> Result<(), ClientError> {
        if answer.says_no_such_backup(id.get()) {
            return Ok(());
        }
        if answer.is_springs_own() {
            let list = self.caller.call(Method::Get, BACKUPS, None, READ).await?;
            if list.status() == 200 && all_backups(&list)?.iter().all(|listed| listed.id != id.get()) {
                return Ok(());
            }
        }
        Err(answer.failure())
    }

    fn scheduled(&self, answer: &Answer) -> Result<Vec<String>, ClientError> {
        let body = answer.object()?;
        match &body["scheduledSnapshots"] {
            Value::Array(names) => {
                names.iter().map(text).collect::<Option<_>>().ok_or_else(|| answer.unknown_shape())
            }
            Value::Null if self.component == Component::Optimize => Ok(Vec::new()),
            _ => Err(answer.unknown_shape()),
        }
    }
}

fn one(id: BackupId) -> String {
    format!("{BACKUPS}/{id}")
}
