//! The brokers: pausing and resuming exporting, and their own backups.
//!
//! Owns the paths below `/actuator` of a broker or gateway. Must not know the order of a backup's steps.

use super::call::{Caller, DELETE, EXPORTERS, READ, START, SWITCH};
use super::error::{ClientError, ErrorKind};
use super::reading::{int, text};
use super::seen::{all_backups, one_backup};
use super::{Exporters, Listed, Method, Seen, SharedTransport};
use crate::domain::{BackupId, PauseMode};
use serde_json::json;

/// How many brokers are asked at once.
const AT_ONCE: usize = 8;

/// A broker or gateway's management API.
#[derive(Clone)]
pub struct Zeebe {
    gateway: Caller,
    brokers: Vec<Caller>,
}

impl Zeebe {
    /// The API at `base`; exporter phases are read from `brokers`, or from `base` where none are named.
    pub fn new(base: &str, brokers: &[String], transport: SharedTransport) -> Self {
        let gateway = Caller::new("zeebe", base, transport.clone());
        let brokers = if brokers.is_empty() {
            vec![gateway.clone()]
        } else {
            brokers.iter().map(|broker| Caller::new("zeebe", broker, transport.clone())).collect()
        };
        Self { gateway, brokers }
    }

    /// Pauses exporting on every partition. An error may leave some of them paused.
    pub async fn pause(&self, mode: PauseMode) -> Result<(), ClientError> {
        // Only the query makes it soft; a body would be ignored and the pause be hard.
        match mode {
            PauseMode::Soft => self.switch("/actuator/exporting/pause?soft=true").await,
            PauseMode::Hard => self.switch("/actuator/exporting/pause").await,
        }
    }

    /// Resumes exporting on every partition; ends every pause, whoever made it.
    pub async fn resume(&self) -> Result<(), ClientError> {
        self.switch("/actuator/exporting/resume").await
    }

    /// The exporter of every partition, as its leader shows it.
    pub async fn exporters(&self) -> Result<Exporters, ClientError> {
        let mut exporters = Exporters { readable: true, ..Exporters::default() };
        for some in self.brokers.chunks(AT_ONCE) {
            let calls =
                some.iter().map(|broker| broker.call(Method::Get, "/actuator/partitions", None, EXPORTERS));
            for answer in futures::future::join_all(calls).await {
                let answer = answer?;
                match answer.status() {
                    200 => exporters.add(&answer)?,
                    404 => exporters.readable = false,
                    _ => return Err(answer.failure()),
                }
            }
        }
        Ok(exporters)
    }

    /// Asks for a backup; `Ok` only means that it was scheduled.
    pub async fn start(&self, id: BackupId) -> Result<(), ClientError> {
        let body = json!({ "backupId": id.get() });
        let answer = self.gateway.call(Method::Post, "/actuator/backups", Some(body), START).await?;
        match answer.status() {
            200 | 202 => answer.object().map(|_| ()),
            _ => Err(answer.failure()),
        }
    }

    /// Looks at one backup. Absent right after the start is not yet final.
    pub async fn see(&self, id: BackupId) -> Result<Seen, ClientError> {
        let answer = self.gateway.call(Method::Get, &format!("/actuator/backups/{id}"), None, READ).await?;
        match answer.status() {
            200 => one_backup(&answer, id),
            404 if answer.says_no_such_backup(id.get()) => Ok(Seen::Absent),
            _ => Err(answer.failure()),
        }
    }

    /// Every backup in the store.
    pub async fn list(&self) -> Result<Vec<Listed>, ClientError> {
        let answer = self.gateway.call(Method::Get, "/actuator/backups", None, READ).await?;
        if answer.status() == 200 { all_backups(&answer) } else { Err(answer.failure()) }
    }

    /// Asks for deletion; `Ok` does not mean it is gone, and a running backup goes on.
    pub async fn delete(&self, id: BackupId) -> Result<(), ClientError> {
        let answer =
            self.gateway.call(Method::Delete, &format!("/actuator/backups/{id}"), None, DELETE).await?;
        match answer.status() {
            204 => Ok(()),
            404 if answer.says_no_such_backup(id.get()) => Ok(()),
            _ => Err(answer.failure()),
        }
    }

    async fn switch(&self, path: &str) -> Result<(), ClientError> {
        let answer = self.gateway.call(Method::Post, path, None, SWITCH).await?;
        match answer.status() {
            204 => return Ok(()),
            200 => {}
            _ => return Err(answer.failure()),
        }
        // 200 says nothing: the truth is the status inside the body.
        let body = answer.object()?;
        match int(&body["status"]) {
            Some(204) => Ok(()),
            Some(status) => {
                let call = answer.call();
                let said = text(&body["body"]["message"]).or_else(|| text(&body["body"]));
                let said = said.unwrap_or_else(|| "it gives no reason, see the broker's log".to_owned());
                let message = format!(
                    "zeebe answered {call} with status {status} inside a 200, so some partitions may not follow: {said}"
                );
                let mut error = answer.error(ErrorKind::Server, message);
                error.status = u16::try_from(status).ok();
                Err(error)
            }
            None => Err(answer.unknown_shape()),
        }
    }
}
