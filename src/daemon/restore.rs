//! Bringing a cluster of the provider's back to a backup: asked of the provider, and looked at.
//!
//! Owns what must hold before. Must not touch a self-managed cluster: those are brought back by hand (docs/restore.md).

use super::{Daemon, apply};
use crate::api::{Refusal, RefusalKind};
use crate::camunda::saas::Restoring;
use crate::camunda::{ClientError, ErrorKind, Saas};
use crate::domain::{BackupId, BackupState};
use crate::parts::saas;

impl Daemon {
    /// Asks the provider to bring `cluster` back to that backup.
    pub(super) async fn begin_restore(&self, cluster: &str, id: BackupId) -> Result<Restoring, Refusal> {
        let (saas, uuid) = self.hosted_backup(cluster, id).await?;
        let name = cluster.to_owned();
        let request = async move {
            tracing::warn!(event = "restore.asked", cluster = name, backup_id = id.get(), uuid);
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
            let hint = if lost { "; it may have begun all the same: Console shows it, and asking again is refused while it lasts" } else { "" };
            without_response(&error, format!("the restore of {cluster} could not be begun: {error}{hint}"))
        })
    }

    /// How far that restore is.
    pub(super) async fn restore_state(&self, cluster: &str, id: BackupId) -> Result<Restoring, Refusal> {
        let (saas, uuid) = self.hosted_backup(cluster, id).await?;
        let state = saas.restore_state(&uuid).await;
        state.map_err(|error| {
            without_response(
                &error,
                format!("how far the restore of {cluster} is could not be read: {error}"),
            )
        })
    }

    async fn hosted_backup(&self, cluster: &str, id: BackupId) -> Result<(Saas, String), Refusal> {
        let spec = apply::spec(&self.known(cluster)?);
        let Some(saas) = saas::client(&self.context, &spec) else {
            return Err(refused(format!(
                "cluster {cluster} is self-managed and is brought back by hand: docs/restore.md says how, `show {id}` names the parts"
            )));
        };
        let backup = self.context.store.backup(cluster.to_owned(), id).await?.ok_or_else(|| Refusal {
            kind: RefusalKind::NotFound,
            message: format!("cluster {cluster} has no backup {id} of ours: `list {cluster}` shows them"),
            retry_after_seconds: None,
        })?;
        let uuid = saas::uuid_of(&backup.run.view).filter(|_| backup.state == BackupState::Completed);
        let uuid = uuid.ok_or_else(|| {
            let state = backup.state.name();
            refused(format!("backup {id} of {cluster} is {state}: only a completed one brings it back"))
        })?;
        let stands_for = spec.addresses.saas.map(|address| address.cluster_id);
        if let (Some(of), Some(now)) = (saas::cluster_id_of(&backup.run), stands_for)
            && of != now
        {
            return Err(refused(format!(
                "backup {id} is of the provider's cluster {of}, and {cluster} stands for {now} by now: put its `cluster_id` back or restore it in Console"
            )));
        }
        Ok((saas, uuid))
    }
}

fn refused(message: String) -> Refusal {
    Refusal { kind: RefusalKind::Refused, message, retry_after_seconds: None }
}

fn without_response(error: &ClientError, message: String) -> Refusal {
    let kind = match error.kind {
        ErrorKind::Refused | ErrorKind::AuthRejected | ErrorKind::Conflict { .. } => RefusalKind::Refused,
        _ => RefusalKind::Unreachable,
    };
    Refusal { kind, message, retry_after_seconds: error.retry_after }
}
