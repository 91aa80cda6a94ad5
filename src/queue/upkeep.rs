//! Starts the retention and deletion passes of one cluster while no run is active. A pass yields to a due
//! run.

use crate::context::Spec;
use crate::domain::BackupState;
use crate::queue::{Queue, deployment_of};
use crate::store::BackupFilter;
use crate::upkeep::delete;
use tokio_util::sync::CancellationToken;

impl Queue {
    /// Runs one pass of retention and deletion. If the cluster left the config, only requested deletions are
    /// carried out.
    pub(crate) async fn upkeep(&self, cluster: &str, yield_now: CancellationToken) {
        match self.settings.load().get(cluster).cloned() {
            Some(settings) => {
                if !self.reserve_for_deletion(cluster, &settings.spec.addresses) {
                    return;
                }
                deployment_of(&self.context, cluster, &settings.spec)
                    .retain(&settings.rules, yield_now)
                    .await;
            }
            None => self.delete_orphans(cluster, yield_now).await,
        }
    }

    /// Carries out the requested deletions of a cluster that left the config. Its other backups stay.
    async fn delete_orphans(&self, cluster: &str, yield_now: CancellationToken) {
        let filter = BackupFilter { cluster: Some(cluster.to_owned()), existing: true, limit: 0 };
        let Ok(backups) = self.context.store.backups(filter).await else { return };
        for backup in backups.iter().filter(|b| b.state == BackupState::Deleting) {
            let there =
                Spec::of(&backup.run).is_ok_and(|spec| self.reserve_for_deletion(cluster, &spec.addresses));
            if !there {
                continue;
            }
            delete::delete_backup(&self.context, backup, yield_now.clone()).await;
        }
    }
}
