//! Operations on a self-managed cluster.
//!
//! Owns the check for a foreign pause before a run. Must not resume exporting.

use crate::backup::prepare;
use crate::camunda::{ClientError, ExportingState, Saas};
use crate::context::error::StepError;
use crate::context::prepared::Prepared;
use crate::context::{Context, Spec};
use crate::domain::BackupId;
use crate::queue::PAUSED_BY_OTHER;
use crate::queue::deployment::Deployment;
use crate::queue::not_ready::NotReady;
use crate::retention::RetentionRule;
use crate::store::StoreError;
use crate::upkeep::{RetainReport, retention_pass};
use futures::future::{BoxFuture, FutureExt as _, ready};
use tokio_util::sync::CancellationToken;

pub(super) struct SelfManaged<'a> {
    pub context: &'a Context,
    pub cluster: &'a str,
    pub spec: &'a Spec,
}

impl Deployment for SelfManaged<'_> {
    fn prepare(&self) -> BoxFuture<'_, Result<Prepared, StepError>> {
        prepare::prepare(self.context, self.cluster, self.spec).boxed()
    }

    fn not_ready(&self) -> BoxFuture<'_, Result<Option<NotReady>, StoreError>> {
        // A cluster with a relational database is backed up without a pause, so a foreign pause does not
        // prevent its backup.
        if self.spec.addresses.search.is_none() {
            return ready(Ok(None)).boxed();
        }
        async { Ok(self.foreign_pause().await) }.boxed()
    }

    fn retain<'a>(
        &'a self,
        rules: &'a [RetentionRule],
        yield_now: CancellationToken,
    ) -> BoxFuture<'a, RetainReport> {
        retention_pass::retain(self.context, self.cluster, rules, self.spec, yield_now).boxed()
    }

    fn probe_rejected_logins(&self) -> BoxFuture<'_, ()> {
        prepare::probe_rejected_logins(self.context, self.spec).boxed()
    }

    fn exporting(&self) -> BoxFuture<'_, Result<ExportingState, ClientError>> {
        async { Ok(prepare::exporters(self.context, self.spec).await?.state()) }.boxed()
    }

    fn may_resume(&self) -> Result<(), String> {
        Ok(())
    }

    fn may_adopt(&self) -> Result<(), String> {
        Ok(())
    }

    fn restorer(&self, id: BackupId) -> Result<Saas, String> {
        Err(format!(
            "cluster {} is self-managed and is restored manually. Follow docs/restore.md; `--json show {id}` lists the snapshots",
            self.cluster
        ))
    }
}

impl SelfManaged<'_> {
    async fn foreign_pause(&self) -> Option<NotReady> {
        // If the exporter state cannot be read, the run may start. The run then fails with the reason.
        let exporters = prepare::exporters(self.context, self.spec).await.ok()?;
        if !exporters.any_paused() {
            return None;
        }
        let phases = exporters.describe();
        tracing::error!(event = "exporting.paused_by_other", cluster = self.cluster, reason = phases);
        let reason = format!("{PAUSED_BY_OTHER}: {phases}; our resume would end someone else's pause");
        Some(NotReady { reason, over: None })
    }
}
