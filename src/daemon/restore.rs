//! Restore of a Camunda 8 SaaS cluster through its API: the request and the progress.
//!
//! Owns the checks before the request. Must not touch a self-managed cluster, which is restored manually
//! (docs/restore.md).

use super::control::refused;
use super::{Daemon, apply};
use crate::api::{Refusal, RefusalKind};
use crate::camunda::saas::Restoring;
use crate::camunda::{ClientError, ErrorKind, Saas};
use crate::domain::{BackupId, BackupState};
use crate::parts::saas;
use crate::queue::deployment_of;

impl Daemon {
    /// Requests the restore of `cluster` to backup `id`. The cluster must have no other operation.
    pub(super) async fn begin_restore(&self, cluster: &str, id: BackupId) -> Result<Restoring, Refusal> {
        let (saas, uuid) = self.hosted_backup(cluster, id).await?;
        let name = cluster.to_owned();
        let request = async move {
            tracing::warn!(event = "restore.requested", cluster = name, backup_id = id.get(), uuid);
            saas.restore(&uuid).await
        };
        let requested = self.queue.restore(cluster, request).await;
        let response = requested.map_err(|error| refused(error.to_string()))?;
        match &response {
            Ok(restoring) => {
                tracing::warn!(
                    event = "restore.started",
                    cluster,
                    backup_id = id.get(),
                    state = restoring.state
                );
            }
            Err(error) => {
                tracing::error!(event = "restore.failed", cluster, backup_id = id.get(), reason = %error);
            }
        }
        response.map_err(|error| {
            let lost = error.may_have_acted();
            let hint = if lost { ". It may have started all the same: Console shows it, and a second request is rejected while it lasts" } else { "" };
            without_response(&error, format!("the restore of {cluster} did not start: {error}{hint}"))
        })
    }

    /// Reads the progress of the restore, as Camunda 8 SaaS reports it.
    pub(super) async fn restore_state(&self, cluster: &str, id: BackupId) -> Result<Restoring, Refusal> {
        let (saas, uuid) = self.hosted_backup(cluster, id).await?;
        let state = saas.restore_state(&uuid).await;
        state.map_err(|error| {
            without_response(&error, format!("cannot read the progress of the restore of {cluster}: {error}"))
        })
    }

    async fn hosted_backup(&self, cluster: &str, id: BackupId) -> Result<(Saas, String), Refusal> {
        let spec = apply::spec(&self.known(cluster)?);
        let saas = deployment_of(&self.context, cluster, &spec).restorer(id).map_err(refused)?;
        let backup = self.context.store.backup(cluster.to_owned(), id).await?.ok_or_else(|| Refusal {
            kind: RefusalKind::NotFound,
            message: format!("cluster {cluster} has no backup {id}. `list {cluster}` shows its backups"),
            retry_after_seconds: None,
        })?;
        let uuid = saas::uuid_of(&backup.run.view).filter(|_| backup.state == BackupState::Completed);
        let uuid = uuid.ok_or_else(|| {
            let state = backup.state.name();
            refused(format!("backup {id} of {cluster} is {state}. Only a completed backup can be restored"))
        })?;
        let now = &saas.address().cluster_id;
        if let Some(of) = saas::cluster_id_of(&backup.run).filter(|of| of != now) {
            return Err(refused(format!(
                "backup {id} belongs to the Camunda 8 SaaS cluster {of}, but {cluster} now has cluster_id {now}. Restore the old `cluster_id` in the config, or restore the backup in Console"
            )));
        }
        Ok((saas, uuid))
    }
}

fn without_response(error: &ClientError, message: String) -> Refusal {
    let kind = match error.kind {
        ErrorKind::Refused | ErrorKind::AuthRejected | ErrorKind::Conflict { .. } => RefusalKind::Refused,
        _ => RefusalKind::Unreachable,
    };
    Refusal { kind, message, retry_after_seconds: error.retry_after }
}
