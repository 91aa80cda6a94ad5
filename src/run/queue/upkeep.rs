//! Between runs: retention and deletions of one cluster, giving way to a due run.

use super::Queue;
use crate::run::delete;
use tokio_util::sync::CancellationToken;

impl Queue {
    /// One pass of retention and deletion.
    pub(super) async fn upkeep(&self, cluster: &str, give_way: CancellationToken) {
        let Some(settings) = self.settings.load().get(cluster).cloned() else { return };
        let _report = delete::retain(&self.ground, cluster, &settings.rules, &settings.spec, give_way).await;
    }
}
