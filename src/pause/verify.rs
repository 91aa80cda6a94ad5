//! Evidence that the pause held: right before our resume, every partition is still paused and its position is
//! unchanged.
//!
//! Must not resume exporting, and must not wait long, because the resume follows.

use crate::camunda::{Exporters, ExportingState, Phase};
use crate::context::error::StepError;
use crate::context::execution::Execution;
use crate::domain::PauseMode;
use crate::journal::FailureClass;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Time limit for reading the partitions before the resume: evidence must not delay the resume for longer.
const READ: Duration = Duration::from_secs(5);

/// Checks right before our resume that every partition is still paused, at the position recorded when the
/// pause was confirmed.
pub(crate) async fn check(execution: &Execution) -> Result<(), StepError> {
    let clock = &execution.context.clock;
    let view = execution.view();
    if view.pause.resume_intended_at.is_some() {
        return Err(StepError::new(
            FailureClass::PauseBroken,
            "the pause was broken: a resume was sent before the backup had all its parts",
        ));
    }
    let began = clock.monotonic();
    let exporters = loop {
        match execution.clients.zeebe.exporters().await {
            Ok(exporters) => break exporters,
            Err(error) if clock.monotonic().saturating_sub(began) >= READ => {
                execution.remember(&error);
                return Err(StepError::new(
                    FailureClass::PauseBroken,
                    format!(
                        "the pause cannot be shown to have held: the exporter phases could not be read before the resume: {error}"
                    ),
                ));
            }
            Err(error) => execution.remember(&error),
        }
        clock.sleep(Duration::from_millis(100)).await;
    };
    let state = exporters.state();
    let held = match (state, view.pause.mode) {
        (ExportingState::SoftPaused, Some(PauseMode::Soft))
        | (ExportingState::Paused, Some(PauseMode::Hard)) => true,
        // The phases cannot be read now. If they could not be read at the pause either, the response to the
        // pause request is the only evidence.
        (ExportingState::Unknown, _) => view.pause.positions.is_empty(),
        _ => false,
    };
    if !held {
        let phases = exporters.describe();
        if let Some(how) = view.pause.mode.and_then(|mode| replaced(mode, &exporters)) {
            let reason = format!(
                "the pause was broken: someone else paused exporting {how} inside it ({phases}), and a cluster has only one pause, so our resume ends theirs too: keep other jobs that pause exporting apart from the backups"
            );
            tracing::error!(event = "exporting.paused_by_other", run_id = %execution.run.run_id,
                cluster = %execution.run.cluster, reason);
            return Err(StepError::new(FailureClass::PauseBroken, reason));
        }
        return Err(StepError::new(
            FailureClass::PauseBroken,
            format!(
                "the pause was broken: someone resumed exporting before the backup had all its parts ({phases})"
            ),
        ));
    }
    if let Some(what) = exporters.unseen(view.partitions).filter(|_| exporters.readable) {
        return Err(StepError::new(
            FailureClass::PauseBroken,
            format!("the pause cannot be shown to have held: {what}"),
        ));
    }
    let now = exporters.positions();
    if let Some(how) = moved(&view.pause.positions, &now) {
        return Err(StepError::new(FailureClass::PauseBroken, format!("the pause was broken: {how}")));
    }
    execution.prove("pause_held", json!({ "readable": exporters.readable, "positions": now }));
    Ok(())
}

/// Returns the kind of a foreign pause that replaced our pause in a partition, if any. A kind other than ours
/// shows a foreign pause, because brokers never change the kind by themselves.
fn replaced(ours: PauseMode, seen: &Exporters) -> Option<&'static str> {
    let (theirs, how) = match ours {
        PauseMode::Soft => (Phase::Paused, "hard"),
        PauseMode::Hard => (Phase::SoftPaused, "softly"),
    };
    seen.partitions.values().any(|partition| partition.phase == theirs).then_some(how)
}

/// Describes the first partition whose exporter position changed since the pause was confirmed. A lower
/// position counts too: after a broker restart, exporting may have run without exceeding the old position.
pub(crate) fn moved(before: &BTreeMap<u32, i64>, now: &BTreeMap<u32, i64>) -> Option<String> {
    before.iter().find_map(|(partition, before)| match now.get(partition) {
        Some(after) if after > before => Some(format!(
            "partition {partition} acknowledged exported records up to {after}, {before} when it was paused, so exporting ran in between"
        )),
        Some(after) if after < before => Some(format!(
            "the exported position of partition {partition} went back from {before} to {after}: its broker restarted or its leader changed, and exporting may have run in between"
        )),
        Some(_) => None,
        None => Some(format!("the exported position of partition {partition} can no longer be read")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_is_not_what_it_was_is_noticed() {
        let before = BTreeMap::from([(1, 10), (2, 20)]);
        let how = |now: &[(u32, i64)]| moved(&before, &now.iter().copied().collect());
        assert_eq!(how(&[(1, 10), (2, 20)]), None);
        assert!(
            how(&[(1, 10), (2, 21)])
                .unwrap()
                .contains("partition 2 acknowledged exported records up to 21, 20 when")
        );
        assert!(how(&[(1, 9), (2, 20)]).unwrap().contains("partition 1 went back from 10 to 9"));
        assert!(how(&[(1, 10)]).unwrap().contains("partition 2 can no longer be read"));
    }
}
