//! Answers about Zeebe backups: `backups` until 8.7, `backupRuntime` since.
//!
//! Owns their bodies and oddities, as a real 8.6.0 and 8.5.8 answered. Must not know web apps or search.

use super::backups::{BackupFate, BackupRefusal, BackupStore, PartitionBackup, PartitionState, ZeebeBackup};
use super::faults::What;
use super::model::Cluster;
use super::wire::{ACTUATOR, Acted, WireRequest, empty_answer, json_answer};
use crate::clients::{Method, Response};
use crate::domain::Instant;
use chrono::{TimeDelta, Timelike};
use serde_json::{Value, json};
use std::time::Duration;

const STORE_DOWN: &str = "software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: \
                          Connection refused: /127.0.0.1:9000";
const STORE_HUNG: &str =
    "Request from gateway to broker timed out. Request backup-api-1 to 127.0.0.1:26501 timed out in PT15S";
const STORE_NONE: &str = "Cannot process backup requests. No backup store is configured. To use this feature, \
                          configure backup in broker configuration.";

/// How long a request about backups takes when the store does not answer.
const HUNG_FOR: Duration = Duration::from_secs(15);

impl Cluster {
    /// A request about Zeebe backups; `path` is what follows the endpoint.
    pub(super) fn runtime(
        &mut self,
        request: &WireRequest,
        path: &str,
        rest: &str,
        struck: &[What],
    ) -> Acted {
        match path.strip_prefix('/') {
            None => self.backups(request, request.method, rest, struck),
            Some(id) if id.is_empty() || id.contains('/') => self.spring_error(404, None, rest).into(),
            Some(id) => self.one_backup(request.method, id, rest),
        }
    }

    /// What a broken or absent store makes of a request about backups.
    fn store_trouble(&self) -> Option<Acted> {
        let message = |status, text: &str| json_answer(status, ACTUATOR, &json!({"message": text}));
        match self.store {
            BackupStore::Up => None,
            BackupStore::Down => Some(message(500, STORE_DOWN).into()),
            BackupStore::Hung => Some(Acted::Slow(HUNG_FOR, message(504, STORE_HUNG))),
            BackupStore::Absent => Some(message(400, STORE_NONE).into()),
        }
    }

    fn backups(&mut self, request: &WireRequest, method: Method, rest: &str, struck: &[What]) -> Acted {
        match method {
            Method::Get => {
                if let Some(trouble) = self.store_trouble() {
                    return trouble;
                }
                let seen = self.backups.iter().filter(|(_, b)| exists(b, self.now));
                let list: Vec<Value> =
                    seen.map(|(id, backup)| self.backup_body(*id, backup, false)).collect();
                json_answer(200, ACTUATOR, &Value::Array(list)).into()
            }
            Method::Post => self.take_backup(request, rest, struck).into(),
            _ => self.spring_error(405, Some("Supported methods: [POST, GET]"), rest).into(),
        }
    }

    fn take_backup(&mut self, request: &WireRequest, rest: &str, struck: &[What]) -> Response {
        if !request.is_json() {
            let named = request.content_type.as_ref();
            let detail = named.map(|name| format!("Content-Type '{name}' is not supported."));
            return self.spring_error(415, detail.as_deref(), rest);
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return self.spring_error(400, Some("Failed to read HTTP message"), rest);
        };
        let id = match body.get("backupId") {
            None | Some(Value::Null) => {
                return self.spring_error(400, Some("Missing parameters: backupId"), rest);
            }
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_i64(),
        };
        let Some(id) = id else { return self.spring_error(400, Some("Parameter mapping failure"), rest) };
        let message = |status, text: String| json_answer(status, ACTUATOR, &json!({"message": text}));
        if id <= 0 {
            return message(400, "A backupId must be provided and it must be > 0".into());
        }
        if struck.contains(&What::Conflict) {
            // A stranger was faster and took a higher id.
            let _ = self.begin_zeebe_backup(id.saturating_add(7), None);
        }
        let fate = struck.iter().find_map(|what| match what {
            What::Stall(length) => Some(BackupFate::Stall(*length)),
            What::Fail => Some(BackupFate::Fail),
            _ => None,
        });
        match self.begin_zeebe_backup(id, fate) {
            Ok(()) => message(
                202,
                format!(
                    "A backup with id {id} has been scheduled. Use GET actuator/backups/{id} to monitor the status."
                ),
            ),
            Err(BackupRefusal::NoStore) => message(400, STORE_NONE.into()),
            Err(BackupRefusal::NotHigher(latest)) => message(
                409,
                format!(
                    "Requested backup has id {id}. The latest backup has id {latest}. Id of new backups must be \
                     higher than the previous one. "
                ),
            ),
        }
    }

    fn one_backup(&mut self, method: Method, id: &str, rest: &str) -> Acted {
        if !matches!(method, Method::Get | Method::Delete) {
            return self.spring_error(405, Some("Supported methods: [DELETE, GET]"), rest).into();
        }
        let Ok(id) = id.parse::<i64>() else {
            return self.spring_error(400, Some("Parameter mapping failure"), rest).into();
        };
        if let Some(trouble) = self.store_trouble() {
            return trouble;
        }
        if method == Method::Delete {
            self.delete_zeebe_backup(id);
            return empty_answer(204).into();
        }
        if let Some(backup) = self.backups.get(&id).filter(|b| exists(b, self.now)) {
            return json_answer(200, ACTUATOR, &self.backup_body(id, backup, true)).into();
        }
        let text = format!("Backup with id {id} does not exist");
        json_answer(404, ACTUATOR, &json!({"message": text})).into()
    }

    fn backup_body(&self, id: i64, backup: &ZeebeBackup, single: bool) -> Value {
        let states = backup.states(self.now);
        let any = |state| states.contains(&state);
        let state = if any(PartitionState::Failed) {
            "FAILED"
        } else if any(PartitionState::DoesNotExist) {
            "INCOMPLETE"
        } else if any(PartitionState::InProgress) {
            "IN_PROGRESS"
        } else {
            "COMPLETED"
        };
        let details: Vec<Value> = backup.partitions.iter().map(|p| self.partition_body(p, single)).collect();
        let mut body = json!({"backupId": id, "state": state, "details": details});
        if state == "FAILED" {
            let failed = backup.partitions.iter().filter(|p| p.state(self.now) == PartitionState::Failed);
            let reasons: Vec<String> = failed
                .map(|p| {
                    let reason = p.failure().unwrap_or("");
                    format!("Backup on partition {} failed due to {reason}. ", p.copy.partition + 1)
                })
                .collect();
            body["failureReason"] = reasons.concat().into();
        }
        body
    }

    fn partition_body(&self, partition: &PartitionBackup, single: bool) -> Value {
        let state = partition.state(self.now);
        let mut body = json!({"partitionId": partition.copy.partition + 1, "state": state.wire()});
        if state == PartitionState::DoesNotExist {
            return body;
        }
        if state == PartitionState::Failed {
            body["failureReason"] = partition.failure().into();
        }
        let written = |at: Instant| {
            let whole = at.with_nanosecond(at.nanosecond() / 1000 * 1000).unwrap_or(at);
            let at = self.shown(whole) + TimeDelta::nanoseconds(i64::from(partition.nanos()));
            at.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
        };
        body["createdAt"] = written(partition.created).into();
        body["brokerVersion"] = self.config.version.to_string().into();
        if single {
            body["lastUpdatedAt"] = written(partition.updated(self.now)).into();
            body["checkpointPosition"] = partition.copy.checkpoint.into();
            if let Some(id) = partition.copy.snapshot_id() {
                body["snapshotId"] = id.into();
            }
        }
        body
    }
}

/// Whether anything can be seen of a backup.
fn exists(backup: &ZeebeBackup, now: Instant) -> bool {
    backup.states(now).iter().any(|state| *state != PartitionState::DoesNotExist)
}
