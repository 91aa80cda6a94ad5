//! Whether a confirmed resume has reached every partition, and outlasts a pause that is still on its way.
//!
//! Owns the looks after a resume and how long they may take. Must not end before a resume is confirmed again, once it
//! has sent one.

use crate::camunda::{ExportingState, Zeebe};
use crate::clock::within;
use crate::context::Context;
use crate::domain::Instant;
use crate::pause::resume::{BACK_OFF, PauseKnown, RECORD, ResumeTask, Route, resume};
use std::time::Duration;

/// Partitions follow a resume one by one, within this time.
const FOLLOW: Duration = Duration::from_secs(1);
/// Between two looks at them.
const PROBE_LIMIT: Duration = Duration::from_millis(50);
/// Whoever shows nothing of its partitions is looked at for so long: `ExecStopPost` has time for it, and for a resume more.
const WATCH: Duration = Duration::from_secs(30);
/// Between two looks meanwhile.
const WATCH_INTERVAL: Duration = Duration::from_millis(500);
/// A pause that was asked for and never seen may be carried out after our resume, by a gateway that hung meanwhile:
/// its debt stays open, and the partitions are watched, until so long after the pause was intended.
const LATE_PAUSE: Duration = Duration::from_secs(60);
/// The same after one that was carried out late: the partitions follow one by one.
const LATE_PAUSE_REST: Duration = Duration::from_secs(5);

/// A resume may be confirmed although it reached some partitions only: it is sent again as long as one reads paused.
/// Where phases cannot be read at all, the confirmation is all there is. Answers when the last resume was confirmed.
pub(crate) async fn reach_all(
    context: &Context,
    task: &ResumeTask<'_>,
    route: &mut Route,
    known: PauseKnown,
    confirmed_at: Instant,
) -> Instant {
    let ResumeTask { run_id, cluster, .. } = task;
    let clock = &*context.clock;
    let (mut confirmed_at, mut pause) = (confirmed_at, Duration::from_millis(200));
    loop {
        match shown(context, task, &route.zeebe, known).await {
            Shown::Reached => return confirmed_at,
            // As by a broker that restarts: what it does afterwards is told to it once more.
            Shown::Nothing => return resume(context, task, route).await,
            Shown::Paused => {}
        }
        let reason = "the resume was confirmed, and a partition still reads paused; resuming again";
        tracing::warn!(event = "exporting.still_paused", %run_id, cluster, owner = "us", reason);
        context.attempts.waits(*run_id, reason);
        let _ = within(clock, RECORD, context.store.resume_failed(*run_id, reason.to_owned())).await;
        tokio::select! {
            biased;
            () = clock.sleep(pause) => pause = (pause * 2).min(BACK_OFF),
            () = context.attempts.hurried() => {}
        }
        confirmed_at = resume(context, task, route).await;
    }
}

/// What the partitions show after a confirmed resume.
enum Shown {
    /// All of them export, or there is no way to read them.
    Reached,
    /// Some read paused although they had a second to follow.
    Paused,
    /// Not everybody who could tell has answered for long.
    Nothing,
}

async fn shown(context: &Context, task: &ResumeTask<'_>, zeebe: &Zeebe, known: PauseKnown) -> Shown {
    let clock = &*context.clock;
    let began = clock.monotonic();
    let mut told = false;
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
            _ if passed >= FOLLOW && !told => {
                told = true;
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
    let _ = within(&*context.clock, RECORD, context.store.resume_failed(task.run_id, note.to_owned())).await;
}

/// Resumes again whenever the partitions read paused, until that can be no pause of ours any more. Where phases cannot
/// be read, another resume at the end stands for the look. Answers when the last resume was confirmed.
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
        let _ = within(clock, RECORD, context.store.resume_failed(*run_id, note.to_owned())).await;
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
