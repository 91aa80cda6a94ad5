//! The guardian of debts: sends resumes until a server confirms them.
//!
//! Owns every resume the program sends. Rule I1 outranks all others: a resume waits for no lock, no lease and no
//! journal write that succeeds. Must not touch a pause that is not ours, nor the debt of a live run.

mod confirm;
mod relocate;

use crate::camunda::Zeebe;
use crate::clock::within;
use crate::context::Context;
use crate::domain::{Addresses, Instant, RunId};
use crate::journal::RunView;
use crate::pause::permit::ResumePermit;
use crate::store::StoreError;
use std::time::Duration;

/// A resume waits for its own record no longer than this.
pub(crate) const RECORD: Duration = Duration::from_millis(500);
/// The longest time between two tries.
pub(crate) const BACK_OFF: Duration = Duration::from_secs(60);

/// One debt to pay.
pub struct ResumeTask<'a> {
    /// The run that paused.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: &'a str,
    /// Where to send it.
    pub addresses: &'a Addresses,
    /// `run`, `sweeper` or `command`.
    pub by: &'static str,
    /// When the pause was intended.
    pub paused_since: Option<Instant>,
    /// Resumes that earlier processes have sent.
    pub attempts: u32,
    /// What is known of the pause without asking the store.
    pub pause: PauseKnown,
}

/// What is known of a pause that is to be ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct PauseKnown {
    /// It was carried out or refused, and cannot be carried out later.
    pub settled: bool,
    /// Every partition was read when it was confirmed, so that they can be read.
    pub read: bool,
    /// How many partitions there are, where that is known.
    pub partitions: Option<u32>,
}

impl PauseKnown {
    /// As the journal has it.
    pub fn of(view: &RunView) -> Self {
        let pause = &view.pause;
        let read = u32::try_from(pause.positions.len()).ok().filter(|count| *count > 0);
        Self {
            settled: pause.confirmed_at.is_some(),
            read: read.is_some(),
            partitions: view.partitions.max(read),
        }
    }
}

/// Resumes until the server confirms it and the record of that is durable. Returns only then.
pub async fn resume_until_confirmed(context: &Context, task: &ResumeTask<'_>) {
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
    let mut pause = Duration::from_millis(100);
    while let Err(error) = context.store.resume_confirmed(*run_id, (*by).to_owned(), clock.now()).await {
        // The debt is not known, or the daemon ends: the resume was confirmed, and there is nothing to write it into.
        if matches!(error, StoreError::NotFound(_) | StoreError::Closed) {
            return;
        }
        tracing::error!(event = "store.unwritable", %run_id, cluster, reason = %error);
        context.attempts.confirmed(*run_id, confirmed_at, Some(error));
        clock.sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF);
    }
    context.transport.release(*run_id).await;
}

/// The way to the brokers of one payment.
pub(crate) struct Route {
    pub(crate) zeebe: Zeebe,
    /// It leads where the cluster was shown to have moved, for good: what proved it ends with the first resume there.
    pub(crate) moved: bool,
    /// It has the credential of today's config. The debt's own has its turn too.
    pub(crate) today: bool,
}

/// Resumes until the server confirms it; answers when it did. A cluster that has moved is resumed where it is now.
pub(crate) async fn resume(context: &Context, task: &ResumeTask<'_>, route: &mut Route) -> Instant {
    let ResumeTask { run_id, cluster, by, .. } = task;
    let clock = &*context.clock;
    let mut pause = Duration::from_millis(200);
    loop {
        // Written before it is sent, so that nobody takes the pause for unbroken afterwards; but never waited for long.
        let now = clock.now();
        context.attempts.intends(*run_id, now);
        let intent = context.store.resume_intended(*run_id, (*by).to_owned(), now);
        if !matches!(within(clock, RECORD, intent).await, Some(Ok(()))) {
            tracing::error!(event = "store.unwritable", %run_id, cluster, reason = "the intent to resume could not be recorded; resuming all the same");
        }
        match route.zeebe.resume(&ResumePermit::issue()).await {
            Ok(()) => break,
            Err(error) => {
                tracing::error!(event = "exporting.resume_failed", %run_id, cluster, by, reason = %error);
                context.attempts.sent(*run_id, Some(error.to_string()));
                let _ = within(clock, RECORD, context.store.resume_failed(*run_id, error.to_string())).await;
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
            () = clock.sleep(pause) => pause = (pause * 2).min(BACK_OFF),
            () = context.attempts.hurried() => {}
        }
    }
    let now = clock.now();
    context.attempts.sent(*run_id, None);
    let seconds = task.paused_since.map(|since| (now - since).num_milliseconds());
    tracing::info!(event = "exporting.resumed", %run_id, cluster, by, duration_ms = seconds);
    now
}

/// What the journal knows of the pause, if it can be read at once.
async fn written(context: &Context, task: &ResumeTask<'_>) -> PauseKnown {
    match within(&*context.clock, RECORD, context.store.run(task.run_id)).await {
        Some(Ok(Some(run))) => PauseKnown::of(&run.view),
        _ => task.pause,
    }
}

/// Returns when the debt of a run is open no more: paid, or forgiven by an operator.
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
