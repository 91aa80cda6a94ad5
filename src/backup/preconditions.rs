//! Preconditions of a run: transient conditions that would lengthen the pause or fail the backup.
//!
//! Judges probe results and lists running snapshots. Must not wait: the queue does.

use crate::camunda::exporters::unprocessed;
use crate::camunda::{Capabilities, Exporters, Search};
use crate::context::error::StepError;
use crate::journal::FailureClass;

/// Another snapshot slows ours down and lengthens the pause. A backup snapshot is foreign or left by a failed
/// run.
pub(crate) async fn refuse_beside_snapshots(search: &Search) -> Result<(), StepError> {
    // An unreadable list, as from an engine that denies listing, does not prevent a backup.
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

/// A partition without a leader cannot be backed up.
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

/// The topology learns of a lost leader only by gossip; the partitions report at once that they follow no
/// listed leader.
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

/// A backup taken during a change matches neither the old nor the new topology. From 8.8 on, brokers
/// reject it while partitions are added.
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

/// A backup is a command to each partition. If a partition does not process commands, the backup never ends
/// and
/// exporting stays paused beside a broker whose disk may be full.
pub(crate) fn refuse_unprocessed(exporters: &Exporters) -> Result<(), StepError> {
    match unprocessed(exporters) {
        None => Ok(()),
        Some(what) => Err(StepError::not_ready(
            FailureClass::Component,
            format!("{what}: check whether its broker's disk is full or processing is paused"),
        )),
    }
}
