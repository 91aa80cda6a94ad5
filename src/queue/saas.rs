//! Operations on a cluster in Camunda 8 SaaS, and its rate limit: the time from which the next backup can be
//! requested.
//!
//! The rate limit uses stored runs and the restores in progress. Must not request a backup.

use crate::backup::prepare;
use crate::camunda::probe::refused;
use crate::camunda::{ClientError, ExportingState, Saas};
use crate::context::error::StepError;
use crate::context::prepared::Prepared;
use crate::context::{Context, Spec};
use crate::domain::{BackupId, Instant, instant_text};
use crate::journal::Run;
use crate::parts::saas;
use crate::queue::deployment::Deployment;
use crate::queue::not_ready::{NotReady, Over};
use crate::retention::RetentionRule;
use crate::store::{BackupFilter, StoreError};
use crate::upkeep::{RetainReport, saas_sync};
use chrono::TimeDelta;
use futures::future::{BoxFuture, FutureExt as _};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Interval between two probes of a restore in progress.
const RESTORE_PROBE: TimeDelta = TimeDelta::seconds(30);

pub(super) struct SaasCluster<'a> {
    pub context: &'a Context,
    pub cluster: &'a str,
    pub spec: &'a Spec,
    pub saas: Saas,
}

impl Deployment for SaasCluster<'_> {
    fn prepare(&self) -> BoxFuture<'_, Result<Prepared, StepError>> {
        saas::prepare(&self.saas).boxed()
    }

    fn not_ready(&self) -> BoxFuture<'_, Result<Option<NotReady>, StoreError>> {
        async {
            let limit = rate_limit(self.context, self.cluster, &self.saas).await?;
            Ok(limit.map(|(at, reason)| NotReady { reason, over: Some(Over::At(at)) }))
        }
        .boxed()
    }

    fn retain<'a>(
        &'a self,
        rules: &'a [RetentionRule],
        yield_now: CancellationToken,
    ) -> BoxFuture<'a, RetainReport> {
        saas_sync::retain(self.context, self.cluster, rules, self.spec, &self.saas, yield_now).boxed()
    }

    /// Each periodic probe of such a cluster sends a request with its credentials anyway.
    fn probe_rejected_logins(&self) -> BoxFuture<'_, ()> {
        prepare::check_credentials(self.context, self.spec).boxed()
    }

    /// Camunda 8 SaaS does not report the state of exporting.
    fn exporting(&self) -> BoxFuture<'_, Result<ExportingState, ClientError>> {
        async {
            match saas::not_ready_reason(&self.saas).await? {
                None => Ok(ExportingState::Unknown),
                Some(reason) => Err(refused("saas", reason)),
            }
        }
        .boxed()
    }

    fn may_resume(&self) -> Result<(), String> {
        Err(format!(
            "Camunda 8 SaaS pauses and resumes exporting of {} itself: there is nothing to resume",
            self.cluster
        ))
    }

    fn may_adopt(&self) -> Result<(), String> {
        Err(format!(
            "{} is a Camunda 8 SaaS cluster, whose backups have no ownership tags: there is nothing to adopt. Console shows all its backups",
            self.cluster
        ))
    }

    fn restorer(&self, _id: BackupId) -> Result<Saas, String> {
        Ok(self.saas.clone())
    }
}

/// Returns the time before which no backup may be requested, with the reason. The reason is the `Retry-After`
/// of the last rejection, the documented rate limit, or a restore in progress.
async fn rate_limit(
    context: &Context,
    cluster: &str,
    client: &Saas,
) -> Result<Option<(Instant, String)>, StoreError> {
    let address = client.address();
    let now = context.clock.now();
    let filter = BackupFilter { cluster: Some(cluster.to_owned()), existing: true, limit: 0 };
    let backups = context.store.backups(filter).await?;
    let runs: Vec<&Run> =
        backups.iter().map(|backup| &backup.run).filter(|run| saas::is_of(run, address)).collect();
    // Whether a stored time is more than `limit` in the future. Such a time was written before the clock was
    // set back and is ignored.
    let ahead = |at: Instant, limit: Duration| (at - now).to_std().is_ok_and(|ahead| ahead > limit);
    let quiet =
        runs.iter().filter_map(|run| run.view.quiet_until).filter(|until| !ahead(*until, saas::QUIET_LIMIT));
    if let Some(until) = quiet.max().filter(|until| *until > now) {
        let reason = format!("Camunda 8 SaaS accepts no backup request until {}", instant_text(until));
        return Ok(Some((until, reason)));
    }
    // Use backups that Camunda 8 SaaS has taken, or may have taken, for us. Deleted backups do not count for
    // its rate limit.
    let taken = runs.iter().filter(|run| saas::may_have(&run.view));
    let requested = taken.filter_map(|run| run.view.part_of_provider()?.requested_at);
    let interval = TimeDelta::from_std(address.min_interval).unwrap_or_default();
    let last = requested.filter(|at| !ahead(*at, address.min_interval)).max();
    if let Some((last, until)) = last.map(|at| (at, at + interval)).filter(|(_, until)| *until > now) {
        let reason = format!(
            "Camunda 8 SaaS takes one backup in {} and the last was requested at {}. The next can start from {}",
            humantime::format_duration(address.min_interval),
            instant_text(last),
            instant_text(until)
        );
        return Ok(Some((until, reason)));
    }
    let restoring = saas_sync::restoring(context, client, &backups).await;
    Ok(restoring.map(|reason| (now + RESTORE_PROBE, reason)))
}
