//! Whether a cluster is calm enough to begin: what would make the pause long, or the backup fail, and may be over soon.
//!
//! Only judges what was seen, and looks for running snapshots. Must not wait: the queue does.

use crate::camunda::exporters::unprocessed;
use crate::camunda::{Capabilities, Exporters, Search};
use crate::context::error::StepError;
use crate::journal::FailureClass;

/// Another snapshot makes ours slow, and so the pause long; one of a backup is somebody else's, or left by a failed run.
pub(crate) async fn refuse_beside_snapshots(search: &Search) -> Result<(), StepError> {
    // What cannot be told, as by an engine that shows them to nobody, keeps no backup from being taken.
    let running = search.running_snapshots().await.unwrap_or_default();
    match running.first() {
        None => Ok(()),
        Some(name) => Err(StepError::not_ready(
            FailureClass::Component,
            format!(
                "the search engine is taking snapshot {name}, and only one backup may be under way: wait for its end"
            ),
        )),
    }
}

/// Of a partition without a leader nobody can take a backup.
pub(crate) fn refuse_leaderless(capabilities: &Capabilities) -> Result<(), StepError> {
    let without = capabilities.leaderless.as_deref().unwrap_or_default();
    if without.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = without.iter().map(ToString::to_string).collect();
    Err(StepError::not_ready(
        FailureClass::Unreachable,
        format!("partition {} has no healthy leader: see the brokers' logs", names.join(", ")),
    ))
}

/// The topology learns of a lost leader only by gossip; the partitions show at once that they follow nobody we see.
pub(crate) fn refuse_unled(exporters: &Exporters) -> Result<(), StepError> {
    let unled: Vec<String> = exporters.leaders_not_seen().iter().map(ToString::to_string).collect();
    if unled.is_empty() {
        return Ok(());
    }
    Err(StepError::not_ready(
        FailureClass::Unreachable,
        format!(
            "no leader of partition {} was seen: wait until it has one, and see the brokers' logs where that lasts",
            unled.join(", ")
        ),
    ))
}

/// A backup from the middle of a change fits neither the cluster before nor the one after it; from 8.8 on brokers
/// refuse it while partitions are added.
pub(crate) fn refuse_changing(capabilities: &Capabilities) -> Result<(), StepError> {
    match &capabilities.change {
        None => Ok(()),
        Some(change) => Err(StepError::not_ready(
            FailureClass::Component,
            format!(
                "the cluster is being scaled or changed, {change} is under way: wait for its end, or cancel it"
            ),
        )),
    }
}

/// A backup is a command to each partition: where none is processed it never ends, and exporting would stay paused
/// beside a broker whose disk may be full.
pub(crate) fn refuse_unprocessed(exporters: &Exporters) -> Result<(), StepError> {
    match unprocessed(exporters) {
        None => Ok(()),
        Some(what) => Err(StepError::not_ready(
            FailureClass::Component,
            format!("{what}: see whether its broker's disk is full, or who paused processing"),
        )),
    }
}
