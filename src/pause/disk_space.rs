//! Free disk space of the brokers, whose logs grow while exporting is paused.
//!
//! Owns the checks of `limits.min_free_disk` before and during the pause. Must not resume exporting: a failed
//! check only returns the reason, and the caller ends the run.

use crate::camunda::{BrokersDiskSpace, DiskSpace, Zeebe};
use crate::clock::Clock;
use crate::context::error::StepError;
use crate::context::error::refused;
use crate::context::execution::Execution;
use crate::domain::{MinDiskSpace, bytes_text, instant_text};
use crate::journal::FailureClass;
use crate::lock::lock;
use crate::pause::forecast::{DISK, Forecast};
use serde_json::json;
use std::collections::BTreeSet;
use std::time::Duration;

/// Time limit for reading disk space before the pause.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// Interval between two reads of disk space during the pause.
const EVERY: Duration = Duration::from_secs(5);

/// Rejects a pause if free disk space is below the limit, or would be after a pause like the last ones. Also
/// rejects the pause if fewer than `brokers` brokers report their disk space. Returns the disk nearest to the
/// limit.
pub(crate) async fn enough(
    zeebe: &Zeebe,
    clock: &dyn Clock,
    least: MinDiskSpace,
    forecast: &Forecast,
    brokers: usize,
) -> Result<DiskSpace, StepError> {
    let began = clock.monotonic();
    let brokers_disk_space = loop {
        let brokers_disk_space = zeebe.brokers_disk_space().await;
        if brokers_disk_space.errors.is_empty() || clock.monotonic().saturating_sub(began) >= PROBE_LIMIT {
            break brokers_disk_space;
        }
        clock.sleep(Duration::from_millis(500)).await;
    };
    let not_ready = |reason: String| Err(StepError::not_ready(FailureClass::Disk, reason));
    let disk_space = tightest(&brokers_disk_space.reported, least);
    if let Some(what) = disk_space.and_then(|disk_space| lacking(disk_space, least)) {
        return not_ready(format!(
            "{what}: exporting is not paused, because the log would grow meanwhile. Free disk space there"
        ));
    }
    if let Some(error) = brokers_disk_space.errors.first() {
        let what = "limits.min_free_disk is set, and the brokers' disk space could not be read";
        return Err(StepError { transient: true, ..refused(what, error) });
    }
    if let Some(what) = not_reported(&brokers_disk_space, brokers) {
        return not_ready(what);
    }
    let Some(disk_space) = disk_space else { return not_ready(NONE_REPORTED.to_owned()) };
    if let Some((growth, until)) = forecast.growth()
        && disk_space.free.saturating_sub(growth) < least.of(disk_space.total)
    {
        return not_ready(format!(
            "{}, and a pause like the last ones would use {} of it, leaving less than limits.min_free_disk, {least}: exporting is not paused. Free disk space, or wait until {}, when a pause is attempted again",
            has(disk_space),
            bytes_text(growth),
            instant_text(until)
        ));
    }
    Ok(disk_space.clone())
}

/// Reason text if no broker reports its disk space.
const NONE_REPORTED: &str = "limits.min_free_disk is set, and no broker reports its disk space: expose `prometheus` at every broker's management port and list them in `brokers`, or leave the limit out";

/// Returns the reason if a broker does not report its disk space. `brokers` is 0 if the number of brokers is
/// unknown.
pub(crate) fn not_reported(brokers_disk_space: &BrokersDiskSpace, brokers: usize) -> Option<String> {
    let reported: BTreeSet<&str> =
        brokers_disk_space.reported.iter().map(|disk_space| disk_space.broker.as_str()).collect();
    if reported.is_empty() {
        return Some(NONE_REPORTED.to_owned());
    }
    if let Some(silent) = brokers_disk_space.silent.first() {
        return Some(format!(
            "limits.min_free_disk is set, and {silent} does not report its disk space: expose `prometheus` at its management port, or leave the limit out"
        ));
    }
    (reported.len() < brokers).then(|| {
        format!(
            "limits.min_free_disk is set, and only {} of {brokers} brokers report their disk space: list every broker's management port in `brokers`, or leave the limit out",
            reported.len()
        )
    })
}

/// Sentence about a disk, for example `the disk of broker http://broker:9600 has 3 GiB left at /data`.
pub(crate) fn has(disk_space: &DiskSpace) -> String {
    format!(
        "the disk of broker {} has {} left at {}",
        disk_space.broker,
        bytes_text(disk_space.free),
        disk_space.path
    )
}

/// The disk whose free space is nearest to the limit or furthest below it.
pub(crate) fn tightest(brokers_disk_space: &[DiskSpace], least: MinDiskSpace) -> Option<&DiskSpace> {
    brokers_disk_space
        .iter()
        .min_by_key(|disk_space| i128::from(disk_space.free) - i128::from(least.of(disk_space.total)))
}

/// Returns the reason if the disk has less free space than the limit.
pub(crate) fn lacking(disk_space: &DiskSpace, least: MinDiskSpace) -> Option<String> {
    (disk_space.free < least.of(disk_space.total))
        .then(|| format!("{}, less than limits.min_free_disk, {least}", has(disk_space)))
}

/// Checks disk space again right before the pause: the backups of the web apps may have taken hours since the
/// first check. Adds the disk to the proof of the run.
pub(crate) async fn before_pause(execution: &Execution, forecast: &Forecast) -> Result<(), StepError> {
    let Some(least) = execution.spec.limits.min_free_disk else { return Ok(()) };
    let clock = &execution.context.clock;
    let disk_space = enough(&execution.clients.zeebe, &**clock, least, forecast, 0).await?;
    execution.prove(
        DISK,
        json!({ "broker": disk_space.broker, "path": disk_space.path, "free_before": disk_space.free }),
    );
    Ok(())
}

/// Returns when a disk has too little free space during our pause. Never returns if `limits.min_free_disk` is
/// not set.
pub(crate) async fn exhausted(execution: &Execution) -> StepError {
    let Some(least) = execution.spec.limits.min_free_disk else {
        return futures::future::pending().await;
    };
    let clock = &execution.context.clock;
    loop {
        clock.sleep(EVERY).await;
        let Some(paused) = lock(&execution.pause_clock).as_ref().map(|pause| pause.elapsed(&**clock)) else {
            continue;
        };
        let brokers_disk_space = execution.clients.zeebe.brokers_disk_space().await;
        // If disk space cannot be read, the pause continues. The pause budget still limits it.
        brokers_disk_space.errors.iter().for_each(|error| execution.remember(error));
        let Some(disk_space) = tightest(&brokers_disk_space.reported, least) else { continue };
        if let Some(what) = lacking(disk_space, least) {
            let reason =
                format!("{what}: the pause was ended, because the log grew meanwhile. Free disk space there");
            return StepError::new(FailureClass::Disk, reason);
        }
        remember(execution, disk_space, paused);
    }
}

/// Adds the free space during the pause to the proof of the run. Later forecasts compute the growth of the
/// log from it.
fn remember(execution: &Execution, disk_space: &DiskSpace, paused: Duration) {
    let mut disk = execution.proof()[DISK].clone();
    if disk["broker"] == disk_space.broker.as_str() && disk["path"] == disk_space.path.as_str() {
        disk["free_inside"] = disk_space.free.into();
        disk["after_seconds"] = paused.as_secs_f64().into();
        execution.prove(DISK, disk);
    }
}
