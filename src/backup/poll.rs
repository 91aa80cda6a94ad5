//! The wait step of a run: polls a component until its part is complete, then verifies the part.
//!
//! While a part is in progress, a component may return 404, INCOMPLETE, a 5xx, Operate's 400 on OpenSearch or
//! no response. A part that has failed for good may return the same: then only missing progress for
//! `stall_after` shows the failure. This module must not depend on the kind of a part (`parts`).

use crate::backup::run_part;
use crate::backup::run_part::{note, part_run};
use crate::camunda::{ErrorKind, PartState, Progress};
use crate::context::error::StepError;
use crate::context::execution::Execution;
use crate::context::retry::{RetryTransient, quiet_of};
use crate::domain::Component;
use crate::journal::{Event, FailureClass, Step};
use crate::parts::part::{Part, Verdict};
use std::time::Duration;

/// Largest accepted difference between the clock of the daemon and the clock of a component.
const CLOCK_DIFFERENCE: chrono::TimeDelta = chrono::TimeDelta::minutes(5);

/// A run fails after a component has rejected our credentials for this long during a wait.
const REJECTED: Duration = Duration::from_secs(60);

/// Time without progress after which each poll also reads `Part::second_probe`, a second source of progress.
const SECOND_PROBE: Duration = Duration::from_secs(15);

/// Time limit for the retries when a completed part is verified.
const VERIFY_LIMIT: Duration = Duration::from_secs(20);

/// Minimum poll interval outside a pause, as a multiple of the last response time.
const RESPONSE_TIMES: u32 = 10;
/// Minimum poll interval during a pause, as a multiple of the last response time. A late poll makes the pause
/// longer.
const RESPONSE_TIMES_PAUSED: u32 = 1;

/// Time until the next poll: 2 % of the time waited so far, but between 50 ms and 5 s. The interval is never
/// shorter than `factor` times the last response time.
fn poll_interval(waited: Duration, response_took: Duration, factor: u32) -> Duration {
    let two_percent = waited / 50;
    two_percent.clamp(Duration::from_millis(50), Duration::from_secs(5)).max(response_took * factor)
}

/// Waits until the component has completed its part and the part is verified.
pub(crate) async fn wait(execution: &Execution, part: &dyn Part) -> Result<(), StepError> {
    let component = part.component();
    let clock = &execution.context.clock;
    let began = clock.monotonic();
    let uncertain = execution.view().uncertain.contains(&component);
    let stall_after = execution.spec.limits.stall_after;
    let paused = execution.is_paused_in(Step::Wait(component));
    let factor = if paused { RESPONSE_TIMES_PAUSED } else { RESPONSE_TIMES };
    let mut response_took = Duration::ZERO;
    let (mut last_reported, mut last_in_repository) = (None, None);
    let mut progress_at = began;
    let mut rejected_since: Option<Duration> = None;
    let mut quiet = Duration::ZERO;
    loop {
        let waited = clock.monotonic().saturating_sub(began);
        let interval = match part.poll_intervals() {
            Some((shortest, longest)) => (waited / 10).clamp(shortest, longest).max(quiet),
            None => poll_interval(waited, response_took, factor),
        };
        clock.sleep(interval).await;
        let requested = clock.monotonic();
        let probed = run_part::probe(execution, part).await;
        let second = match &probed {
            Ok(PartState::Unclear { .. }) => true,
            Ok(_) => requested.saturating_sub(progress_at) >= SECOND_PROBE.min(stall_after / 4),
            Err(_) => false,
        };
        let in_repository = if second { part.second_probe(&part_run(execution)).await } else { None };
        response_took = clock.monotonic().saturating_sub(requested);
        let latest = match probed {
            Ok(PartState::Completed(progress)) => {
                report(execution, component, "COMPLETED", &progress).await?;
                return verify(execution, part, &progress).await;
            }
            Ok(PartState::Failed { reason, progress }) => {
                report(execution, component, "FAILED", &progress).await?;
                return Err(StepError::new(part.failure_class(), format!("{component} failed: {reason}")));
            }
            Ok(state) => {
                (rejected_since, quiet) = (None, Duration::ZERO);
                let reported = state.progress().filter(|now| is_new(now, &mut last_reported));
                let in_repository = in_repository.as_ref().filter(|now| is_new(now, &mut last_in_repository));
                if let Some(progress) = reported.or(in_repository) {
                    progress_at = clock.monotonic();
                    let name =
                        if matches!(state, PartState::Incomplete(_)) { "INCOMPLETE" } else { "IN_PROGRESS" };
                    report(execution, component, name, progress).await?;
                }
                state.describe()
            }
            Err(error) => {
                execution.remember(&error);
                quiet = quiet_of(&error);
                // A rejection may be temporary, for example until a token is renewed. The limit is short,
                // because exporting may be paused meanwhile.
                let rejected = matches!(error.kind, ErrorKind::AuthRejected);
                rejected_since = rejected.then(|| rejected_since.unwrap_or(requested));
                if rejected_since.is_some_and(|since| requested.saturating_sub(since) >= REJECTED) {
                    return Err(StepError::new(
                        FailureClass::Access,
                        format!("{component} rejected the credentials during its backup: {error}"),
                    ));
                }
                if matches!(error.kind, ErrorKind::Unusable) {
                    return Err(StepError::new(
                        FailureClass::Component,
                        format!("{component} returned no usable response: {error}"),
                    ));
                }
                error.to_string()
            }
        };
        let still = clock.monotonic().saturating_sub(progress_at);
        let nothing_seen = last_reported.or(last_in_repository).is_none();
        if uncertain && nothing_seen && still >= part.lost_start_limit().min(stall_after) {
            return Err(StepError::new(
                FailureClass::Component,
                format!(
                    "it is unknown whether {component} started its backup ({}), and the backup does not appear: {latest}",
                    execution.evidence.doubt_about(component)
                ),
            ));
        }
        if still >= stall_after {
            let text = humantime::format_duration(stall_after);
            return Err(StepError::new(
                FailureClass::Stalled,
                format!("{component} made no progress for its stall_after of {text}: {latest}"),
            ));
        }
    }
}

/// Whether `progress` differs from `last`, the fingerprint of the previous progress from the same source.
/// Updates `last`.
fn is_new(progress: &Progress, last: &mut Option<u64>) -> bool {
    let now = Some(progress.fingerprint());
    let differs = *last != now;
    *last = now;
    differs
}

async fn report(
    execution: &Execution,
    component: Component,
    state: &str,
    progress: &Progress,
) -> Result<(), StepError> {
    let known = execution.view().components.get(&component).cloned().unwrap_or_default();
    let done = progress.done() as u32;
    let total =
        known.parts_total.max(progress.parts.len() as u32).max(progress.total_in_names().unwrap_or(0));
    // Write an entry only if the state or the number of parts has changed. Finer progress, such as bytes, can
    // change every few seconds for hours.
    if (known.state.as_str(), known.parts_done, known.parts_total) == (state, done, total) {
        return Ok(());
    }
    execution.write(vec![Event::Progress { component, state: state.to_owned(), done, total }]).await
}

/// Verifies a part that the component reports as COMPLETED. The part must also have been started during this
/// run. After a restore from an older backup, a broker reports COMPLETED at once for an id that its backup
/// store already holds.
async fn verify(execution: &Execution, part: &dyn Part, progress: &Progress) -> Result<(), StepError> {
    let component = part.component();
    let now = execution.context.clock.now();
    let earliest = execution.run.created_at - CLOCK_DIFFERENCE;
    for one in &progress.parts {
        if let Some(at) = one.started_at
            && (at < earliest || at > now + CLOCK_DIFFERENCE)
        {
            return Err(StepError::new(
                FailureClass::Component,
                format!(
                    "{component} reports COMPLETED, but {} is from {}, outside this run: it is another backup under the same id",
                    one.name,
                    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
                ),
            ));
        }
    }
    let run = part_run(execution);
    let retry = RetryTransient::new(&*execution.context.clock, VERIFY_LIMIT);
    let verdict =
        retry.probe(|| part.verify(&run, progress), |error| run.remember(error)).await.map_err(|error| {
            StepError::new(
                part.failure_class(),
                format!("{component} reports COMPLETED, but the part could not be read: {error}"),
            )
        })?;
    match verdict {
        Verdict::Verified(notes) => note(execution, notes).await,
        Verdict::Rejected(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poll_interval_grows_with_wait_and_response_time() {
        let ms = Duration::from_millis;
        let outside = |waited, took| poll_interval(waited, took, RESPONSE_TIMES);
        assert_eq!(outside(Duration::ZERO, Duration::ZERO), ms(50));
        assert_eq!(outside(ms(500), ms(1)), ms(50));
        assert_eq!(outside(Duration::from_secs(60), ms(1)), ms(1200));
        assert_eq!(outside(Duration::from_secs(3600), ms(1)), Duration::from_secs(5));
        assert_eq!(outside(Duration::ZERO, ms(40)), ms(400), "at least ten response times");
        assert_eq!(outside(Duration::ZERO, Duration::from_secs(1)), Duration::from_secs(10));
        assert_eq!(
            poll_interval(Duration::ZERO, ms(40), RESPONSE_TIMES_PAUSED),
            ms(50),
            "a late poll would make the pause longer"
        );
    }
}
