//! Rate limit of Camunda 8 SaaS: computes the time from which the next backup of a cluster can be requested.
//!
//! Uses stored runs and the restores in progress. Must not request a backup.

use crate::camunda::Saas;
use crate::context::{Context, Spec};
use crate::domain::{Component, Instant, SaasAddress, instant_text};
use crate::journal::Run;
use crate::parts::saas;
use crate::store::{BackupFilter, StoreError};
use crate::upkeep::saas_sync;
use chrono::TimeDelta;
use std::time::Duration;

/// Interval between two probes of a restore in progress.
const RESTORE_PROBE: TimeDelta = TimeDelta::seconds(30);

/// Returns the time before which no backup may be requested, with the reason. The reason is the `Retry-After`
/// of the last rejection, the documented rate limit, or a restore in progress.
pub(crate) async fn rate_limit(
    context: &Context,
    cluster: &str,
    spec: &Spec,
    address: &SaasAddress,
) -> Result<Option<(Instant, String)>, StoreError> {
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
    let requested = taken.filter_map(|run| run.view.components.get(&Component::Saas)?.requested_at);
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
    let Some(client) = Saas::of(&spec.addresses, &context.transport) else { return Ok(None) };
    let restoring = saas_sync::restoring(context, &client, address, &backups).await;
    Ok(restoring.map(|reason| (now + RESTORE_PROBE, reason)))
}
