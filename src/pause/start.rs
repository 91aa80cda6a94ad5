//! The start of a pause: checks before pausing, the pause request, and the confirmation that every partition
//! is paused.
//!
//! Must not resume exporting; `resume` does that.

use crate::camunda::{Exporters, ExportingState};
use crate::context::error::StepError;
use crate::context::error::refused;
use crate::context::execution::Execution;
use crate::context::retry::RetryTransient;
use crate::domain::PauseMode;
use crate::journal::{Entry, Event, FailureClass, Step};
use crate::pause::disk_space;
use crate::pause::forecast::Forecast;
use crate::pause::verify::moved;
use crate::store::{PendingResume, StoreError};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Time limit for reading the partitions before the pause.
const PROBE_LIMIT: Duration = Duration::from_secs(20);
/// Time limit in which every partition must report that it is paused.
const CONFIRM: Duration = Duration::from_secs(15);
/// Time without a position change after which a hard pause is complete. Exporters stop reading at once, but
/// flush records for up to their bulk delay (default: 5 s). Records flushed after the records snapshot would
/// be missing from the backup.
const DRAIN: Duration = Duration::from_secs(6);
/// Time limit for positions to stop moving after a hard pause. A later movement shows that an exporter is
/// still active.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);

/// Pauses exporting and confirms the pause. The pending resume is on disk before the pause is requested
/// (rule I1).
pub(crate) async fn pause(execution: &Execution) -> Result<(), StepError> {
    let clock = &execution.context.clock;
    let zeebe = &execution.clients.zeebe;
    let retry = RetryTransient::new(&**clock, PROBE_LIMIT);
    let before = match retry.probe(|| zeebe.exporters(), |error| execution.remember(error)).await {
        Ok(before) => {
            all_seen(execution, &before)?;
            match before.state() {
                ExportingState::Running | ExportingState::Unknown => before,
                _ if !before.any_paused() => {
                    return Err(StepError::new(
                        FailureClass::PauseBroken,
                        format!(
                            "exporting was not paused, because its state could not be judged ({}): see the broker's log",
                            before.describe()
                        ),
                    ));
                }
                _ => {
                    return Err(StepError::new(
                        FailureClass::PauseBroken,
                        format!(
                            "exporting is already paused by someone else ({}): resume it or wait, then take the backup",
                            before.describe()
                        ),
                    ));
                }
            }
        }
        Err(error) => {
            return Err(refused("exporter phases could not be read before the pause", &error));
        }
    };
    // A partition that was readable before the pause must report that it is paused.
    let expected = execution.view().partitions.max(u32::try_from(before.partitions.len()).ok());
    let forecast = Forecast::of(&*execution.context.store, &execution.run.cluster, clock.now()).await;
    disk_space::before_pause(execution, &forecast).await?;

    // Copy the credentials before the pause: without them the resume could not be sent after a crash.
    if let Some(access) = execution.spec.addresses.access.get("zeebe") {
        let kept = execution.context.transport.keep(execution.run.run_id, Arc::new(access.clone())).await;
        kept.map_err(|why| {
            StepError::new(FailureClass::Access, format!("exporting was not paused, because {why}"))
        })?;
    }
    let mode = execution.plan.pause.unwrap_or(PauseMode::Soft);
    let at = clock.now();
    let pending_resume = PendingResume {
        intended_since_boot_ms: clock.since_boot().map(|d| d.as_millis() as u64),
        ..PendingResume::new(
            execution.run.run_id,
            execution.run.cluster.clone(),
            execution.spec.addresses.clone(),
            at,
        )
    };
    let entry = Entry { at, event: Event::StepIntended { step: Step::Pause } };
    match execution.context.store.record_pending_resume(pending_resume, entry).await {
        Ok(()) => execution.pause_begins(at).await,
        Err(error) => {
            // After an unknown result of the write, the pending resume may be stored. The run then resumes,
            // although no pause was requested.
            if matches!(error, StoreError::Unknown { .. }) {
                execution.evidence.note_pause_cannot_act_late();
                execution.pause_begins(at).await;
            }
            return Err(error.into());
        }
    }

    // A pause request that got a response, or was never sent, cannot take effect later. A request without a
    // response can, so the partitions are read below.
    let requested = zeebe.pause(mode).await;
    if requested.as_ref().err().is_none_or(|error| !error.may_have_acted()) {
        execution.evidence.note_pause_cannot_act_late();
    }
    if let Err(error) = &requested {
        execution.remember(error);
        if !error.may_have_acted() {
            return Err(refused("exporting could not be paused", error));
        }
    }
    let began = clock.monotonic();
    loop {
        let seen = zeebe.exporters().await;
        let why_not = match &seen {
            Ok(exporters) if before.readable && exporters.unseen(expected).is_some() => {
                exporters.unseen(expected).unwrap_or_default()
            }
            Ok(exporters) => match exporters.state() {
                ExportingState::SoftPaused => {
                    return confirmed(execution, PauseMode::Soft, exporters, &forecast).await;
                }
                ExportingState::Paused => {
                    let drained = drained(execution, exporters.clone()).await?;
                    return confirmed(execution, PauseMode::Hard, &drained, &forecast).await;
                }
                ExportingState::Unknown if requested.is_ok() => {
                    if mode == PauseMode::Hard {
                        clock.sleep(DRAIN).await;
                    }
                    return confirmed(execution, mode, exporters, &forecast).await;
                }
                _ => exporters.describe(),
            },
            Err(error) => {
                execution.remember(error);
                error.to_string()
            }
        };
        if clock.monotonic().saturating_sub(began) >= CONFIRM {
            let requested = requested.err().map(|e| format!(" (the request: {e})")).unwrap_or_default();
            return Err(StepError::new(
                FailureClass::PauseBroken,
                format!(
                    "the pause was requested, but not every partition was seen paused: {why_not}{requested}"
                ),
            ));
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the positions have not moved for `DRAIN` after a hard pause.
async fn drained(execution: &Execution, paused: Exporters) -> Result<Exporters, StepError> {
    let clock = &execution.context.clock;
    let began = clock.monotonic();
    let (mut last, mut still_since) = (paused, began);
    loop {
        clock.sleep(Duration::from_millis(250)).await;
        let now = clock.monotonic();
        match execution.clients.zeebe.exporters().await {
            Ok(seen) if seen.state() != ExportingState::Paused => {
                return Err(StepError::new(
                    FailureClass::PauseBroken,
                    format!(
                        "the pause was broken while the exporters flushed what they had read ({})",
                        seen.describe()
                    ),
                ));
            }
            Ok(seen) => {
                if moved(&last.positions(), &seen.positions()).is_some() {
                    still_since = now;
                }
                last = seen;
                if now.saturating_sub(still_since) >= DRAIN {
                    return Ok(last);
                }
            }
            Err(error) => execution.remember(&error),
        }
        if now.saturating_sub(began) >= DRAIN_LIMIT {
            return Err(StepError::new(
                FailureClass::PauseBroken,
                format!(
                    "the hard pause did not take hold: exported positions still move, or cannot be read, {} after it",
                    humantime::format_duration(DRAIN_LIMIT)
                ),
            ));
        }
    }
}

/// Fails if exporter phases can be read, but not from the leader of every partition.
fn all_seen(execution: &Execution, seen: &Exporters) -> Result<(), StepError> {
    let advice = "so the pause could not be shown to hold: see whether its broker is well, and list every broker's management port in `brokers`";
    match seen.unseen(execution.view().partitions).filter(|_| seen.readable) {
        Some(what) => Err(StepError::new(FailureClass::PauseBroken, format!("{what}, {advice}"))),
        None => Ok(()),
    }
}

async fn confirmed(
    execution: &Execution,
    mode: PauseMode,
    exporters: &Exporters,
    forecast: &Forecast,
) -> Result<(), StepError> {
    let positions = exporters.positions();
    execution.prove("pause_seen", json!({ "readable": exporters.readable, "positions": positions }));
    execution.write(vec![Event::PauseConfirmed { mode, positions }]).await?;
    tracing::info!(
        event = "exporting.paused", run_id = %execution.run.run_id, cluster = %execution.run.cluster,
        backup_id = execution.id().get(), mode = mode.name(), requested = execution.plan.pause.map(PauseMode::name),
        expected_ms = forecast.usual().map(|usual| usual.as_millis() as u64)
    );
    Ok(())
}
