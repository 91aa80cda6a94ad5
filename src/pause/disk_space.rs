//! Disk space of the brokers, whose logs grow while exporting is paused.
//!
//! Owns `limits.min_free_disk`, before and during the pause. Must not resume: it only reports that a run must
//! end.

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

/// Rejects a pause if too little disk space is left, now or after a pause like the last ones. Also rejects it
/// if fewer than `brokers` brokers report their disk space.
/// Returns the disk nearest to the limit.
pub(crate) async fn enough(
    zeebe: &Zeebe,
    clock: &dyn Clock,
    least: MinDiskSpace,
    forecast: &Forecast,
    brokers: usize,
) -> Result<DiskSpace, StepError> {
    let began = clock.monotonic();
    let disk_space_of_brokers = loop {
        let disk_space_of_brokers = zeebe.disk_space_of_brokers().await;
        if disk_space_of_brokers.errors.is_empty() || clock.monotonic().saturating_sub(began) >= PROBE_LIMIT {
            break disk_space_of_brokers;
        }
        clock.sleep(Duration::from_millis(500)).await;
    };
    let not_ready = |reason: String| Err(StepError::not_ready(FailureClass::Disk, reason));
    let room = tightest(&disk_space_of_brokers.told, least);
    if let Some(what) = room.and_then(|room| lacking(room, least)) {
        return not_ready(format!(
            "{what}: exporting is not paused, because the log grows meanwhile; make room there"
        ));
    }
    if let Some(error) = disk_space_of_brokers.errors.first() {
        let what = "limits.min_free_disk is set, and the room on the brokers' disks could not be read";
        return Err(StepError { transient: true, ..refused(what, error) });
    }
    if let Some(what) = untold(&disk_space_of_brokers, brokers) {
        return not_ready(what);
    }
    let Some(room) = room else { return not_ready(NOBODY.to_owned()) };
    if let Some((growth, until)) = forecast.growth()
        && room.free.saturating_sub(growth) < least.of(room.total)
    {
        return not_ready(format!(
            "{}, and a pause like the last ones would take {} of it, so that less than limits.min_free_disk, {least}, would be left: exporting is not paused; make room there, or wait until {}, when it is tried again",
            has(room),
            bytes_text(growth),
            instant_text(until)
        ));
    }
    Ok(room.clone())
}

/// Reason if no broker reports its disk space.
const NOBODY: &str = "limits.min_free_disk is set, and no broker tells how much room its disk has: expose `prometheus` at every broker's management port and list them in `brokers`, or leave the limit out";

/// Reason if a broker does not report its disk space; `brokers` is 0 if their number is unknown.
pub(crate) fn untold(disk_space_of_brokers: &BrokersDiskSpace, brokers: usize) -> Option<String> {
    let told: BTreeSet<&str> = disk_space_of_brokers.told.iter().map(|room| room.broker.as_str()).collect();
    if told.is_empty() {
        return Some(NOBODY.to_owned());
    }
    if let Some(silent) = disk_space_of_brokers.silent.first() {
        return Some(format!(
            "limits.min_free_disk is set, and {silent} does not tell how much room its disk has: expose `prometheus` at its management port, or leave the limit out"
        ));
    }
    (told.len() < brokers).then(|| {
        format!(
            "limits.min_free_disk is set, and only {} of {brokers} brokers tell how much room their disks have: list every broker's management port in `brokers`, or leave the limit out",
            told.len()
        )
    })
}

/// Sentence about a disk: `the disk of broker http://broker:9600 has 3 GiB left at /data`.
pub(crate) fn has(room: &DiskSpace) -> String {
    format!("the disk of broker {} has {} left at {}", room.broker, bytes_text(room.free), room.path)
}

/// Disk nearest to the limit.
pub(crate) fn tightest(disk_space_of_brokers: &[DiskSpace], least: MinDiskSpace) -> Option<&DiskSpace> {
    disk_space_of_brokers.iter().min_by_key(|room| i128::from(room.free) - i128::from(least.of(room.total)))
}

/// Reason if the disk has less free space than the limit.
pub(crate) fn lacking(room: &DiskSpace, least: MinDiskSpace) -> Option<String> {
    (room.free < least.of(room.total))
        .then(|| format!("{}, less than limits.min_free_disk, {least}", has(room)))
}

/// Checks again right before the pause, because backups of the web apps may have taken hours. Adds the disk
/// to the attestation.
pub(crate) async fn before_pause(execution: &Execution, forecast: &Forecast) -> Result<(), StepError> {
    let Some(least) = execution.spec.limits.min_free_disk else { return Ok(()) };
    let clock = &execution.context.clock;
    let room = enough(&execution.clients.zeebe, &**clock, least, forecast, 0).await?;
    execution.prove(DISK, json!({ "broker": room.broker, "path": room.path, "free_before": room.free }));
    Ok(())
}

/// Returns once a disk has too little free space during our pause; never returns without a limit.
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
        let disk_space_of_brokers = execution.clients.zeebe.disk_space_of_brokers().await;
        // Unreadable disks do not end the pause here: the pause budget does.
        disk_space_of_brokers.errors.iter().for_each(|error| execution.remember(error));
        let Some(room) = tightest(&disk_space_of_brokers.told, least) else { continue };
        if let Some(what) = lacking(room, least) {
            let reason =
                format!("{what}: the pause was ended, because the log grew meanwhile; make room there");
            return StepError::new(FailureClass::Disk, reason);
        }
        remember(execution, room, paused);
    }
}

/// Records disk space lost during the pause, for the next forecast.
fn remember(execution: &Execution, room: &DiskSpace, paused: Duration) {
    let mut disk = execution.proof()[DISK].clone();
    if disk["broker"] == room.broker.as_str() && disk["path"] == room.path.as_str() {
        disk["free_inside"] = room.free.into();
        disk["after_seconds"] = paused.as_secs_f64().into();
        execution.prove(DISK, disk);
    }
}
