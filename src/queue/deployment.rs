//! The interface of one kind of cluster: the operations on a whole cluster that differ between self-managed clusters and
//! Camunda 8 SaaS.
//!
//! Must not know one kind: `self_managed` and `saas` do.

use crate::camunda::{ClientError, ExportingState, Saas};
use crate::context::error::StepError;
use crate::context::prepared::Prepared;
use crate::domain::BackupId;
use crate::queue::not_ready::NotReady;
use crate::retention::RetentionRule;
use crate::store::StoreError;
use crate::upkeep::RetainReport;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;

/// One cluster of one kind.
pub(crate) trait Deployment: Send + Sync {
    /// Reads all facts that a run needs.
    fn prepare(&self) -> BoxFuture<'_, Result<Prepared, StepError>>;

    /// First unmet precondition that only this kind of cluster has.
    fn not_ready(&self) -> BoxFuture<'_, Result<Option<NotReady>, StoreError>>;

    /// Runs one pass of retention. The next pass does the remaining work.
    fn retain<'a>(
        &'a self,
        rules: &'a [RetentionRule],
        yield_now: CancellationToken,
    ) -> BoxFuture<'a, RetainReport>;

    /// Checks that credentials can be read, and probes components that rejected them. The transport stores the result.
    fn probe_rejected_logins(&self) -> BoxFuture<'_, ()>;

    /// State of exporting, as far as the cluster reports it.
    fn exporting(&self) -> BoxFuture<'_, Result<ExportingState, ClientError>>;

    /// `Err` with the reason if an operator cannot resume exporting.
    fn may_resume(&self) -> Result<(), String>;

    /// `Err` with the reason if no backup of the cluster can be adopted.
    fn may_adopt(&self) -> Result<(), String>;

    /// Client that restores the cluster to a backup. `Err` with the manual procedure if there is none.
    fn restorer(&self, id: BackupId) -> Result<Saas, String>;
}
