//! Confirms that a resume reached every partition, and that no delayed pause request pauses exporting again.
//!
//! Owns the probes after a resume and their time limits. If another resume must be sent, the functions return
//! only after the server confirmed it.

use crate::backoff::Backoff;
use crate::camunda::{ExportingState, Zeebe};
use crate::context::Context;
use crate::domain::Instant;
use crate::pause::resume::{LONGEST_BACKOFF, PauseKnown, ResumeTask, Route, record_failure, resume};
use std::time::Duration;

/// Time in which all partitions should export again after a confirmed resume. Partitions resume one by one.
const FOLLOW: Duration = Duration::from_secs(1);
/// Poll interval during `FOLLOW`.
const PROBE_LIMIT: Duration = Duration::from_millis(50);
/// Maximum wait for partitions whose state cannot be read. The limit leaves `ExecStopPost` enough time for
/// one more resume.
const WATCH: Duration = Duration::from_secs(30);
/// Poll interval after `FOLLOW`, and during the watch for a delayed pause.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// Time after the intent to pause during which an unconfirmed pause request may still take effect, for
/// example if a gateway hung. Until then the resume stays pending and the partitions are watched.
const LATE_PAUSE: Duration = Duration::from_secs(60);
/// Minimum further watch time after a delayed pause took effect, because partitions may pause one by one.
const LATE_PAUSE_REST: Duration = Duration::from_secs(5);

/// Sends the resume again while any partition is paused: a confirmed resume may have reached only some
/// partitions. If the cluster does not report exporter phases, the confirmation by the server suffices.
/// Returns the time of the last confirmed resume.
pub(crate) async fn reach_all(
    context: &Context,
    task: &ResumeTask<'_>,
    route: &mut Route,
    known: PauseKnown,
    confirmed_at: Instant,
) -> Instant {
    let ResumeTask { run_id, cluster, .. } = task;
    let clock = &*context.clock;
    let (mut confirmed_at, mut backoff) =
        (confirmed_at, Backoff::new(Duration::from_millis(200), LONGEST_BACKOFF));
    loop {
        match shown(context, task, &route.zeebe, known).await {
            Shown::Reached => return confirmed_at,
            // Some partitions could not be read. Their broker may be restarting, so send one more resume.
            Shown::Nothing => return resume(context, task, route).await,
            Shown::Paused => {}
        }
        let reason = "the resume was confirmed, and a partition still reads paused; resuming again";
        tracing::warn!(event = "exporting.still_paused", %run_id, cluster, owner = "us", reason);
        context.attempts.waits(*run_id, reason);
        record_failure(context, *run_id, reason).await;
        tokio::select! {
            biased;
            () = clock.sleep(backoff.delay()) => backoff.grow(),
            () = context.attempts.hurried() => {}
        }
        confirmed_at = resume(context, task, route).await;
    }
}

/// State of the partitions after a confirmed resume.
enum Shown {
    /// Every partition exports, or the cluster does not report exporter phases.
    Reached,
    /// Some partition is still paused after `FOLLOW`.
    Paused,
    /// Some partition that can report its phase did not report it within `WATCH`.
    Nothing,
}

async fn shown(context: &Context, task: &ResumeTask<'_>, zeebe: &Zeebe, known: PauseKnown) -> Shown {
    let clock = &*context.clock;
    let began = clock.monotonic();
    let mut logged = false;
    loop {
        let seen = zeebe.exporters().await;
        let passed = clock.monotonic().saturating_sub(began);
        match &seen {
            Ok(exporters) if exporters.any_paused() && passed >= FOLLOW => return Shown::Paused,
            Ok(exporters) if !exporters.readable && !known.read => return Shown::Reached,
            Ok(exporters) if exporters.partitions.is_empty() && known.partitions.is_none() => {
                return Shown::Reached;
            }
            Ok(exporters)
                if exporters.state() == ExportingState::Running
                    && exporters.unseen(known.partitions).is_none() =>
            {
                return Shown::Reached;
            }
            Err(error) if !error.is_transient() && !known.read && passed >= FOLLOW => return Shown::Reached,
            _ if passed >= WATCH => return Shown::Nothing,
            _ if passed >= FOLLOW && !logged => {
                logged = true;
                watches(context, task).await;
            }
            _ => {}
        }
        clock.sleep(if passed < FOLLOW { PROBE_LIMIT } else { WATCH_INTERVAL }).await;
    }
}

async fn watches(context: &Context, task: &ResumeTask<'_>) {
    let note =
        "the resume is confirmed, but not every partition can be read to show that it exports: watching them";
    context.attempts.waits(task.run_id, note);
    record_failure(context, task.run_id, note).await;
}

/// Watches the partitions until our unconfirmed pause request can no longer take effect, and resumes whenever
/// a partition is paused. If the last read fails, sends one more resume at the end. Returns the time of the
/// last confirmed resume.
pub(crate) async fn outlast_late_pause(
    context: &Context,
    task: &ResumeTask<'_>,
    route: &mut Route,
    confirmed_at: Instant,
) -> Instant {
    let ResumeTask { run_id, cluster, .. } = task;
    let clock = &*context.clock;
    let age = task.paused_since.and_then(|since| (clock.now() - since).to_std().ok()).unwrap_or_default();
    let mut until = clock.monotonic() + LATE_PAUSE.saturating_sub(age);
    let mut confirmed_at = confirmed_at;
    let note =
        "the resume is confirmed, but the pause was never seen and may still be carried out: watching for it";
    if clock.monotonic() < until {
        context.attempts.waits(*run_id, note);
        record_failure(context, *run_id, note).await;
    }
    let mut seen = true;
    while clock.monotonic() < until {
        clock.sleep(WATCH_INTERVAL).await;
        let exporters = route.zeebe.exporters().await.ok().filter(|exporters| exporters.readable);
        seen = exporters.is_some();
        if exporters.is_some_and(|exporters| exporters.any_paused()) {
            let reason = "the pause was carried out after its resume had been confirmed; resuming again";
            tracing::warn!(event = "exporting.still_paused", %run_id, cluster, owner = "us", reason);
            confirmed_at = resume(context, task, route).await;
            context.attempts.waits(*run_id, note);
            until = until.max(clock.monotonic() + LATE_PAUSE_REST);
        }
    }
    if !seen {
        confirmed_at = resume(context, task, route).await;
    }
    confirmed_at
}
