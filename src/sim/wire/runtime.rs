//! Responses about Zeebe backups: `backups` until 8.7, `backupRuntime` since.
//!
//! Owns their bodies and peculiarities, as recorded from a real 8.6.0 and 8.5.8; later versions follow the
//! documents. `rest.rs` has the same content in the REST API's format. Must not know web apps or search.

use crate::camunda::{Method, Response};
use crate::domain::Instant;
use crate::sim::faults::Effect;
use crate::sim::model::backups::{
    BackupOutcome, BackupRefusal, BackupStore, PartitionBackup, PartitionState, ZeebeBackup,
};
use crate::sim::model::cluster::Cluster;
use crate::sim::model::indices::matches;
use crate::sim::wire::{ACTUATOR, Acted, WireRequest, empty_response, json_response};
use chrono::{TimeDelta, Timelike};
use serde_json::{Value, json};
use std::time::Duration;

const STORE_DOWN: &str = "software.amazon.awssdk.core.exception.SdkClientException: Unable to execute HTTP request: \
                          Connection refused: /127.0.0.1:9000";
const STORE_HUNG: &str =
    "Request from gateway to broker timed out. Request backup-api-1 to 127.0.0.1:26501 timed out in PT15S";
const STORE_NONE: &str = "Cannot process backup requests. No backup store is configured. To use this feature, \
                          configure backup in broker configuration.";

const ID_GENERATED: &str = "A backupId must not be provided when continuous backups or a backup schedule are enabled: it \
                            is generated";
const SCALING: &str = "Cannot take a backup while partition scaling is in progress";

/// The only physical tenant.
const TENANT: &str = "default";

/// Delay of a request about backups if the store does not respond.
const HUNG_FOR: Duration = Duration::from_secs(15);

/// Reason for a failed request about Zeebe backups.
pub(crate) struct RuntimeRefusal {
    /// Delay of the response.
    pub(crate) after: Duration,
    /// Status returned by the actuator.
    pub(crate) status: u16,
    /// Reason.
    pub(crate) text: String,
}

impl RuntimeRefusal {
    fn new(status: u16, text: impl Into<String>) -> Self {
        Self { after: Duration::ZERO, status, text: text.into() }
    }

    fn at_the_actuator(self) -> Acted {
        Acted::Slow(self.after, json_response(self.status, ACTUATOR, &json!({"message": self.text})))
    }
}

impl Cluster {
    /// A request about Zeebe backups; `path` is the remaining path.
    pub(crate) fn runtime(
        &mut self,
        request: &WireRequest,
        path: &str,
        rest: &str,
        effects: &[Effect],
    ) -> Acted {
        if let Err(refusal) = self.check_tenant(request) {
            return refusal.at_the_actuator();
        }
        let done = match (request.method, path.strip_prefix('/')) {
            (Method::Post, None) => match self.requested_backup(request, rest) {
                Ok(requested) => self.start_runtime(requested, effects).map(|id| self.started(id)),
                Err(response) => return response.into(),
            },
            (Method::Get, None) => self.list_runtime("*").map(|list| json_response(200, ACTUATOR, &list)),
            (_, None) => return self.spring_error(405, Some("Supported methods: [POST, GET]"), rest).into(),
            (_, Some(id)) if id.is_empty() || id.contains('/') => {
                return self.spring_error(404, None, rest).into();
            }
            (Method::Get, Some("state")) if self.config.version.minor >= 9 => {
                self.runtime_state().map(|state| json_response(200, ACTUATOR, &state))
            }
            (Method::Get, Some(prefix)) if self.config.version.minor >= 9 && is_prefix(prefix) => {
                self.list_runtime(prefix).map(|list| json_response(200, ACTUATOR, &list))
            }
            (Method::Get | Method::Delete, Some(id)) => {
                let Ok(id) = id.parse::<i64>() else {
                    return self.spring_error(400, Some("Parameter mapping failure"), rest).into();
                };
                if request.method == Method::Delete {
                    self.drop_runtime(id).map(|()| empty_response(204))
                } else {
                    self.one_runtime(id).map(|body| json_response(200, ACTUATOR, &body))
                }
            }
            _ => return self.spring_error(405, Some("Supported methods: [DELETE, GET]"), rest).into(),
        };
        done.map_or_else(RuntimeRefusal::at_the_actuator, Acted::Done)
    }

    /// Rejects every tenant except the only one.
    fn check_tenant(&self, request: &WireRequest) -> Result<(), RuntimeRefusal> {
        match request.parameter("physicalTenant") {
            Some(tenant) if self.config.version.minor >= 10 && !matches!(tenant.as_str(), "" | TENANT) => {
                Err(RuntimeRefusal::new(400, format!("Physical tenant '{tenant}' does not exist")))
            }
            _ => Ok(()),
        }
    }

    /// The id in a request to the actuator, if any.
    fn requested_backup(&self, request: &WireRequest, rest: &str) -> Result<Option<i64>, Response> {
        let bare = request.content_type.is_none() && request.body.is_empty();
        if bare && self.config.version.minor >= 9 {
            return Ok(None);
        }
        if !request.is_json() {
            let named = request.content_type.as_ref();
            let detail = named.map(|name| format!("Content-Type '{name}' is not supported."));
            return Err(self.spring_error(415, detail.as_deref(), rest));
        }
        let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
            return Err(self.spring_error(400, Some("Failed to read HTTP message"), rest));
        };
        let id = match body.get("backupId") {
            None | Some(Value::Null) => {
                return Err(self.spring_error(400, Some("Missing parameters: backupId"), rest));
            }
            Some(Value::String(text)) => text.parse().ok(),
            Some(value) => value.as_i64(),
        };
        id.map(Some).ok_or_else(|| self.spring_error(400, Some("Parameter mapping failure"), rest))
    }

    fn started(&self, id: i64) -> Response {
        let text = format!(
            "A backup with id {id} has been scheduled. Use GET actuator/backups/{id} to monitor the status."
        );
        let mut body = json!({"message": text});
        if self.config.version.minor >= 9 {
            body["backupId"] = id.into();
        }
        if self.config.version.minor >= 10 {
            body["backupIds"] = json!({TENANT: id});
        }
        json_response(202, ACTUATOR, &body)
    }

    /// The error caused by a broken or absent store.
    fn store_error(&self) -> Result<(), RuntimeRefusal> {
        match self.store {
            BackupStore::Up => Ok(()),
            BackupStore::Down => Err(RuntimeRefusal::new(500, STORE_DOWN)),
            BackupStore::Hung => {
                Err(RuntimeRefusal { after: HUNG_FOR, ..RuntimeRefusal::new(504, STORE_HUNG) })
            }
            BackupStore::Absent => Err(RuntimeRefusal::new(400, STORE_NONE)),
        }
    }

    /// Starts a backup and returns its id.
    pub(crate) fn start_runtime(
        &mut self,
        requested: Option<i64>,
        effects: &[Effect],
    ) -> Result<i64, RuntimeRefusal> {
        let id = match requested {
            Some(_) if self.config.generates_ids() => return Err(RuntimeRefusal::new(400, ID_GENERATED)),
            None if self.config.generates_ids() => self.next_generated_id(),
            Some(id) if id > 0 => id,
            _ => return Err(RuntimeRefusal::new(400, "A backupId must be provided and it must be > 0")),
        };
        if effects.contains(&Effect::Scaling) || self.refuses_while_changing() {
            return Err(RuntimeRefusal::new(409, SCALING));
        }
        if effects.contains(&Effect::Conflict) {
            // A foreign backup came first, with a higher id.
            let _ = self.begin_zeebe_backup(id.saturating_add(7), None);
        }
        // The checkpoint is a command, and no partition processes it.
        let unprocessed = self.condition.stopped.then_some(BackupOutcome::Stall(None));
        let outcome = effects.iter().find_map(|what| match what {
            Effect::Stall(length) => Some(BackupOutcome::Stall(*length)),
            Effect::Fail => Some(BackupOutcome::Fail),
            Effect::MissingPartition => Some(BackupOutcome::Missing),
            _ => None,
        });
        let outcome = unprocessed.or(outcome);
        match self.begin_zeebe_backup(id, outcome) {
            Ok(()) => Ok(id),
            Err(BackupRefusal::NoStore) => Err(RuntimeRefusal::new(400, STORE_NONE)),
            Err(BackupRefusal::NotHigher(latest)) => Err(RuntimeRefusal::new(
                409,
                format!(
                    "Requested backup has id {id}. The latest backup has id {latest}. Id of new backups must be \
                     higher than the previous one. "
                ),
            )),
        }
    }

    /// The backups with a matching id, newest first.
    pub(crate) fn list_runtime(&self, pattern: &str) -> Result<Value, RuntimeRefusal> {
        self.store_error()?;
        let seen = self.backups.iter().rev().filter(|(_, b)| exists(b, self.now));
        let wanted = seen.filter(|(id, _)| matches(pattern, &id.to_string()));
        Ok(wanted.map(|(id, backup)| self.backup_body(*id, backup, false)).collect())
    }

    /// One backup.
    pub(crate) fn one_runtime(&self, id: i64) -> Result<Value, RuntimeRefusal> {
        self.store_error()?;
        let backup = self.backups.get(&id).filter(|b| exists(b, self.now));
        let backup =
            backup.ok_or_else(|| RuntimeRefusal::new(404, format!("Backup with id {id} does not exist")))?;
        Ok(self.backup_body(id, backup, true))
    }

    /// Deletes a backup, if it exists.
    pub(crate) fn drop_runtime(&mut self, id: i64) -> Result<(), RuntimeRefusal> {
        self.store_error()?;
        self.delete_zeebe_backup(id);
        Ok(())
    }

    fn backup_body(&self, id: i64, backup: &ZeebeBackup, single: bool) -> Value {
        let states = backup.states(self.now);
        let any = |state| states.contains(&state);
        let state = if any(PartitionState::Failed) {
            "FAILED"
        } else if any(PartitionState::Deleted) {
            "DELETED"
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
        if self.config.version.minor >= 10 {
            body["physicalTenants"] = json!([{"physicalTenantId": TENANT, "state": state}]);
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
        let written = |at: Instant| self.written(at, partition.nanos());
        body["createdAt"] = written(partition.created).into();
        body["brokerVersion"] = self.config.version.to_string().into();
        if single {
            body["lastUpdatedAt"] = written(partition.updated(self.now)).into();
            body["checkpointPosition"] = partition.copy.checkpoint.into();
            if self.config.version.minor >= 9 {
                body["firstLogPosition"] = partition.copy.first_position().into();
                body["brokerId"] = 0.into();
            }
            if let Some(id) = partition.copy.snapshot_id() {
                body["snapshotId"] = id.into();
            }
        }
        body
    }

    /// An instant in the brokers' format, with nanoseconds.
    pub(crate) fn written(&self, at: Instant, nanos: u32) -> String {
        let whole = at.with_nanosecond(at.nanosecond() / 1000 * 1000).unwrap_or(at);
        let at = self.shown(whole) + TimeDelta::nanoseconds(i64::from(nanos));
        at.format("%Y-%m-%dT%H:%M:%S%.9fZ").to_string()
    }
}

/// Whether a text is a prefix pattern for ids.
pub(crate) fn is_prefix(text: &str) -> bool {
    text.strip_suffix('*').is_some_and(|digits| digits.chars().all(|c| c.is_ascii_digit()))
}

/// Whether the backup is visible.
fn exists(backup: &ZeebeBackup, now: Instant) -> bool {
    backup.states(now).iter().any(|state| *state != PartitionState::DoesNotExist)
}
