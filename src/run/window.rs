//! The pause window: how long it has lasted, pausing, and showing that the pause held.
//!
//! Must not resume: that is the guardian's act, shared by runs, start-up and the command.

use super::executor::{Execution, StepError};
use crate::clients::{Exporters, ExportingState};
use crate::clock::Clock;
use crate::domain::{Instant, PauseMode};
use crate::journal::{Entry, Event, FailureClass, Step};
use crate::store::{Debt, StoreError};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long to wait for every partition to read paused.
const CONFIRM: Duration = Duration::from_secs(15);
/// How long to try to read the partitions before the resume; the resume must not wait long for evidence.
const READ: Duration = Duration::from_secs(5);

/// How long exporting has been paused: the larger of wall-clock and monotonic time, so that neither a clock set
/// back nor a suspended machine hides a part of it.
#[derive(Clone, Copy, Debug)]
pub struct PauseClock {
    intended_at: Instant,
    since_boot: Option<Duration>,
    monotonic: Duration,
}

impl PauseClock {
    /// A pause that is intended now.
    pub fn now(intended_at: Instant, clock: &dyn Clock) -> Self {
        Self { intended_at, since_boot: clock.since_boot(), monotonic: clock.monotonic() }
    }

    /// A pause that an earlier process intended: its monotonic time is gone, wall-clock time remains.
    pub fn after_restart(intended_at: Instant, clock: &dyn Clock) -> Self {
        Self { intended_at, since_boot: None, monotonic: clock.monotonic() }
    }

    /// Time since the pause was intended.
    pub fn elapsed(&self, clock: &dyn Clock) -> Duration {
        let wall = (clock.now() - self.intended_at).to_std().unwrap_or_default();
        let mono = clock.monotonic().saturating_sub(self.monotonic);
        let boot = match (self.since_boot, clock.since_boot()) {
            (Some(then), Some(now)) => now.saturating_sub(then),
            _ => Duration::ZERO,
        };
        wall.max(mono).max(boot)
    }
}

/// Pauses exporting and sees it paused. The debt is durable before the request leaves (rule I1).
pub(super) async fn pause(execution: &Execution) -> Result<(), StepError> {
    let clock = &execution.ground.clock;
    let zeebe = &execution.clients.zeebe;
    match zeebe.exporters().await {
        Ok(before) if !before.leaders_not_seen().is_empty() => {
            let unseen: Vec<String> = before.leaders_not_seen().iter().map(ToString::to_string).collect();
            return Err(StepError::new(
                FailureClass::PauseBroken,
                format!(
                    "no leader of partition {} was seen, so the pause could not be shown to hold: list every broker's management port in `brokers`",
                    unseen.join(", ")
                ),
            ));
        }
        Ok(before) => match before.state() {
            ExportingState::Running | ExportingState::Unknown => {}
            other => {
                return Err(StepError::new(
                    FailureClass::PauseBroken,
                    format!(
                        "exporting is already paused by someone else ({}): resume it or wait, then take the backup",
                        describe(&before, other)
                    ),
                ));
            }
        },
        Err(error) => {
            execution.remember(&error);
            return Err(StepError::new(
                FailureClass::Unreachable,
                format!("exporter phases could not be read before the pause: {error}"),
            ));
        }
    }

    let mode = execution.plan.pause;
    let at = clock.now();
    let debt = Debt {
        run_id: execution.run.run_id,
        cluster: execution.run.cluster.clone(),
        addresses: execution.spec.addresses.clone(),
        intended_at: at,
        intended_since_boot_ms: clock.since_boot().map(|d| d.as_millis() as u64),
        resume_intended_at: None,
        attempts: 0,
        last_error: None,
        paid_at: None,
        forgiven: None,
    };
    let entry = Entry { at, event: Event::StepIntended { step: Step::Pause } };
    match execution.ground.store.owe(debt, entry).await {
        Ok(()) => execution.pause_begins(at).await,
        Err(error) => {
            // The debt may have reached the disk all the same: then it is paid, although nothing was paused.
            if matches!(error, StoreError::Unknown { .. }) {
                execution.pause_begins(at).await;
            }
            return Err(error.into());
        }
    }

    // A lost answer may have paused all the same: the partitions tell.
    let asked = zeebe.pause(mode).await;
    if let Err(error) = &asked {
        execution.remember(error);
        if !error.may_have_acted() {
            return Err(StepError::new(
                FailureClass::Component,
                format!("exporting could not be paused: {error}"),
            ));
        }
    }
    let began = clock.monotonic();
    loop {
        let seen = zeebe.exporters().await;
        let why_not = match &seen {
            Ok(exporters) => match exporters.state() {
                ExportingState::SoftPaused => return confirmed(execution, PauseMode::Soft, exporters).await,
                ExportingState::Paused => return confirmed(execution, PauseMode::Hard, exporters).await,
                ExportingState::Unknown if asked.is_ok() => {
                    return confirmed(execution, mode, exporters).await;
                }
                other => describe(exporters, other),
            },
            Err(error) => {
                execution.remember(error);
                error.to_string()
            }
        };
        if clock.monotonic().saturating_sub(began) >= CONFIRM {
            let asked = asked.err().map(|e| format!(" (the request: {e})")).unwrap_or_default();
            return Err(StepError::new(
                FailureClass::PauseBroken,
                format!("the pause was asked for, but not every partition was seen paused: {why_not}{asked}"),
            ));
        }
        clock.sleep(Duration::from_millis(50)).await;
    }
}

async fn confirmed(execution: &Execution, mode: PauseMode, exporters: &Exporters) -> Result<(), StepError> {
    let positions = positions(exporters);
    execution.prove("pause_seen", json!({ "readable": exporters.readable, "positions": positions }));
    execution.write(vec![Event::PauseConfirmed { mode, positions }]).await?;
    tracing::info!(
        event = "exporting.paused", run_id = %execution.run.run_id, cluster = %execution.run.cluster,
        backup_id = execution.run.backup_id.get(), mode = mode.name(), asked = execution.plan.pause.name()
    );
    Ok(())
}

/// Sees every partition still paused right before our resume, at the positions it was paused at.
pub(super) async fn check(execution: &Execution) -> Result<(), StepError> {
    let clock = &execution.ground.clock;
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
        // Never readable: the pause's confirmation is all the evidence there can be.
        (ExportingState::Unknown, _) => view.pause.positions.is_empty(),
        _ => false,
    };
    if !held {
        return Err(StepError::new(
            FailureClass::PauseBroken,
            format!(
                "the pause was broken: someone resumed exporting before the backup had all its parts ({})",
                describe(&exporters, state)
            ),
        ));
    }
    let now = positions(&exporters);
    if let Some((partition, before, after)) = moved(&view.pause.positions, &now) {
        return Err(StepError::new(
            FailureClass::PauseBroken,
            format!(
                "the pause was broken: partition {partition} acknowledged exported records up to {after}, {before} when it was paused, \
                 so exporting ran in between"
            ),
        ));
    }
    execution.prove("pause_held", json!({ "readable": exporters.readable, "positions": now }));
    Ok(())
}

/// The first partition whose acknowledged position grew, with both positions.
fn moved(before: &BTreeMap<u32, i64>, now: &BTreeMap<u32, i64>) -> Option<(u32, i64, i64)> {
    before.iter().find_map(|(partition, position)| {
        let later = now.get(partition)?;
        (later > position).then_some((*partition, *position, *later))
    })
}

fn positions(exporters: &Exporters) -> BTreeMap<u32, i64> {
    exporters.partitions.iter().filter_map(|(id, p)| Some((*id, p.exported_position?))).collect()
}

/// The partitions and their phases, for a sentence.
pub(super) fn describe(exporters: &Exporters, state: ExportingState) -> String {
    if exporters.partitions.is_empty() {
        return format!("{state:?}").to_lowercase();
    }
    let phases: Vec<String> =
        exporters.partitions.iter().map(|(id, p)| format!("partition {id} reads {}", p.phase)).collect();
    phases.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_that_grew_while_paused_is_noticed() {
        let before = BTreeMap::from([(1, 10), (2, 20)]);
        assert_eq!(moved(&before, &BTreeMap::from([(1, 10), (2, 20)])), None);
        assert_eq!(moved(&before, &BTreeMap::from([(1, 10), (2, 21)])), Some((2, 20, 21)));
    }

    #[tokio::test(start_paused = true)]
    async fn the_pause_clock_takes_the_larger_of_both_clocks() {
        let clock = crate::clock::ManualClock::at(chrono::DateTime::UNIX_EPOCH);
        let pause = PauseClock::now(clock.now(), &*clock);
        tokio::time::advance(Duration::from_secs(10)).await;
        clock.jump(chrono::TimeDelta::hours(-1));
        assert_eq!(pause.elapsed(&*clock), Duration::from_secs(10), "a clock set back does not shorten it");
        clock.jump(chrono::TimeDelta::hours(2));
        assert_eq!(pause.elapsed(&*clock), Duration::from_secs(3610), "a clock set forward lengthens it");
    }
}
