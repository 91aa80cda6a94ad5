//! Preconditions of a run: each function rejects the start while a transient condition would lengthen the
//! pause or fail the backup.
//!
//! The functions evaluate probe results and list running snapshots. They must not wait: `queue` tries again
//! within `start_within`.

use crate::camunda::checkpoints::{OWN_IDS, OWN_LATELY};
use crate::camunda::exporters::unprocessed;
use crate::camunda::{Capabilities, Exporters, Search};
use crate::context::Context;
use crate::context::error::StepError;
use crate::domain::{Family, instant_text};
use crate::journal::FailureClass;

/// Rejects the start while the search engine takes another snapshot, which would slow down our snapshot and
/// lengthen the pause. Such a snapshot is foreign or was left by a failed run.
pub(crate) async fn refuse_beside_snapshots(search: &Search) -> Result<(), StepError> {
    // If the list of running snapshots cannot be read, the backup may start: some search engines deny this
    // request.
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

/// Rejects the start while the topology shows a partition without a healthy leader: such a partition cannot
/// be backed up.
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

/// Rejects the start while no broker reports itself as leader of some partition. The topology may still list
/// a lost leader, because it is updated by gossip only.
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

/// Rejects the start during a topology change: the backup would match neither the old nor the new topology.
/// From 8.8 on, brokers reject a backup while partitions are added.
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

/// Rejects the start while a partition does not process commands. A backup is a command to each partition, so
/// it would never end, and exporting would stay paused while the log grows.
pub(crate) fn refuse_unprocessed(exporters: &Exporters) -> Result<(), StepError> {
    match unprocessed(exporters) {
        None => Ok(()),
        Some(what) => Err(StepError::not_ready(
            FailureClass::Component,
            format!("{what}: check whether its broker's disk is full or processing is paused"),
        )),
    }
}

/// Rejects a cluster that recently made checkpoints or backups of its own. Such a cluster assigns the backup
/// ids itself, so the parts in the search engine cannot get the same id.
pub(crate) fn refuse_own_checkpoints(
    context: &Context,
    capabilities: &Capabilities,
) -> Result<(), StepError> {
    let own_at = capabilities.checkpoints.as_ref().and_then(|checkpoints| checkpoints.own_at);
    match own_at {
        Some(at) if capabilities.family != Family::V89OnRdbms && context.clock.now() - at < OWN_LATELY => {
            let at = instant_text(at);
            Err(StepError::new(
                FailureClass::Component,
                format!("the cluster made a checkpoint or a backup of its own at {at}: {OWN_IDS}"),
            ))
        }
        _ => Ok(()),
    }
}
