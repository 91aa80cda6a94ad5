//! Sends the resume of one pending resume until the server confirms it.
//!
//! Rule I1 outranks all others: a resume waits for no lock and no lease, and does not depend on a successful
//! journal write. Must not touch a foreign pause, nor the pending resume of another active run.

mod confirm;
mod relocate;

use crate::backoff::Backoff;
use crate::camunda::Zeebe;
use crate::clock::within;
use crate::context::Context;
use crate::domain::{Addresses, Instant, RunId};
use crate::journal::RunView;
use crate::pause::permit::ResumePermit;
use crate::store::{ResumeProgress, StoreError};
use std::time::Duration;

/// Maximum wait until the store has recorded a resume attempt. After this time the resume is sent without the
/// record.
pub(crate) const RECORD: Duration = Duration::from_millis(500);
/// Maximum backoff between two resume attempts.
pub(crate) const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// Input of the task that resumes one pending resume.
pub(crate) struct ResumeTask<'a> {
    /// Run that requested the pause.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: &'a str,
    /// Addresses of the cluster when it was paused.
    pub addresses: &'a Addresses,
    /// Name of the task that resumes, for journal and log: `run`, `sweeper` or `command`.
    pub by: &'static str,
    /// Time of the intent to pause, which is stored before the pause request. `None` if unknown.
    pub paused_since: Option<Instant>,
    /// Number of resume attempts by earlier processes.
    pub attempts: u32,
    /// Facts about the pause that are known without reading the store.
    pub pause: PauseKnown,
}

/// Facts about a pause that decide how its resume is confirmed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PauseKnown {
    /// The pause request was carried out or rejected, so it cannot take effect later.
    pub settled: bool,
    /// Every partition was read when the pause was confirmed, so the cluster reports exporter phases.
    pub read: bool,
    /// Number of partitions, if known.
    pub partitions: Option<u32>,
}

impl PauseKnown {
    /// Takes the facts from the journal of the run that paused exporting.
    pub(crate) fn of(view: &RunView) -> Self {
        let pause = &view.pause;
        let read = u32::try_from(pause.positions.len()).ok().filter(|count| *count > 0);
        Self {
            settled: pause.confirmed_at.is_some(),
            read: read.is_some(),
            partitions: view.partitions.max(read),
        }
    }
}

/// Sends resumes until the server confirms one and every partition exports again, then stores the
/// confirmation. Retries each of these without limit.
pub(crate) async fn resume_until_confirmed(context: &Context, task: &ResumeTask<'_>) {
    let ResumeTask { run_id, cluster, by, .. } = task;
    let clock = &*context.clock;
    context.attempts.begins(*run_id, task.attempts);
    let mut route =
        Route { zeebe: Zeebe::new(task.addresses, &context.transport), moved: false, today: false };
    let mut confirmed_at = resume(context, task, &mut route).await;
    let known = if task.pause.settled { task.pause } else { written(context, task).await };
    if !known.settled {
        confirmed_at = confirm::outlast_late_pause(context, task, &mut route, confirmed_at).await;
    }
    confirmed_at = confirm::reach_all(context, task, &mut route, known, confirmed_at).await;
    context.attempts.confirmed(*run_id, confirmed_at, None);
    let mut backoff = Backoff::new(Duration::from_millis(100), LONGEST_BACKOFF);
    let confirmed = || ResumeProgress::Confirmed { by: (*by).to_owned(), at: clock.now() };
    while let Err(error) = context.store.record_resume_progress(*run_id, confirmed()).await {
        // The resume is confirmed. The store has no pending resume to update or is closed, so a retry of the
        // write is useless.
        if matches!(error, StoreError::NotFound(_) | StoreError::Closed) {
            return;
        }
        tracing::error!(event = "store.unwritable", %run_id, cluster, reason = %error);
        context.attempts.confirmed(*run_id, confirmed_at, Some(error));
        clock.sleep(backoff.delay()).await;
        backoff.grow();
    }
    context.transport.release(*run_id).await;
}

/// Records why a resume is still pending. Waits at most `RECORD` and ignores an error, because a resume waits for no
/// record.
pub(crate) async fn record_failure(context: &Context, run_id: RunId, error: &str) {
    let failed = ResumeProgress::Failed { error: error.to_owned() };
    let _ = within(&*context.clock, RECORD, context.store.record_resume_progress(run_id, failed)).await;
}

/// Connection to the brokers for the resumes of one pending resume.
pub(crate) struct Route {
    pub(crate) zeebe: Zeebe,
    /// Set once the cluster is proven to be at a new address, and never reset. The first resume at the new
    /// address destroys the proof, because positions then move.
    pub(crate) moved: bool,
    /// Whether `zeebe` uses the credentials of the current config. Failed attempts alternate between these
    /// and the credentials of the pending resume.
    pub(crate) today: bool,
}

/// Sends resumes with backoff until the server confirms one. Returns the time of the confirmation. If the
/// cluster has moved, continues at its new address.
pub(crate) async fn resume(context: &Context, task: &ResumeTask<'_>, route: &mut Route) -> Instant {
    let ResumeTask { run_id, cluster, by, .. } = task;
    let clock = &*context.clock;
    let mut backoff = Backoff::new(Duration::from_millis(200), LONGEST_BACKOFF);
    loop {
        // Record the intent before sending, so that the run can no longer treat its pause as unbroken.
        // `RECORD` limits the wait.
        let now = clock.now();
        context.attempts.intends(*run_id, now);
        let intent = ResumeProgress::Intended { by: (*by).to_owned(), at: now };
        let intent = context.store.record_resume_progress(*run_id, intent);
        if !matches!(within(clock, RECORD, intent).await, Some(Ok(()))) {
            tracing::error!(event = "store.unwritable", %run_id, cluster, reason = "the intent to resume could not be recorded; resuming all the same");
        }
        match route.zeebe.resume(&ResumePermit::issue()).await {
            Ok(()) => break,
            Err(error) => {
                tracing::error!(event = "exporting.resume_failed", %run_id, cluster, by, reason = %error);
                context.attempts.sent(*run_id, Some(error.to_string()));
                record_failure(context, *run_id, &error.to_string()).await;
            }
        }
        if !route.moved {
            if let Some(zeebe) = relocate::to(context, task).await {
                *route = Route { zeebe, moved: true, today: true };
                continue;
            }
            let addresses = relocate::with_current_credentials(context, task).filter(|_| !route.today);
            route.today = addresses.is_some();
            route.zeebe = Zeebe::new(addresses.as_ref().unwrap_or(task.addresses), &context.transport);
            if route.today {
                continue;
            }
        }
        tokio::select! {
            biased;
            () = clock.sleep(backoff.delay()) => backoff.grow(),
            () = context.attempts.hurried() => {}
        }
    }
    let now = clock.now();
    context.attempts.sent(*run_id, None);
    let seconds = task.paused_since.map(|since| (now - since).num_milliseconds());
    tracing::info!(event = "exporting.resumed", %run_id, cluster, by, duration_ms = seconds);
    now
}

/// Reads the facts about the pause from the journal. If that takes longer than `RECORD`, returns the facts of
/// the task.
async fn written(context: &Context, task: &ResumeTask<'_>) -> PauseKnown {
    match within(&*context.clock, RECORD, context.store.run(task.run_id)).await {
        Some(Ok(Some(run))) => PauseKnown::of(&run.view),
        _ => task.pause,
    }
}

/// Returns once the run has no pending resume: it was confirmed, or an operator abandoned it.
pub(crate) async fn settled(context: &Context, run_id: RunId) {
    loop {
        context.clock.sleep(Duration::from_secs(5)).await;
        if let Ok(pending_resumes) = context.store.pending_resumes().await
            && !pending_resumes.iter().any(|pending_resume| pending_resume.run_id == run_id)
        {
            return;
        }
    }
}
