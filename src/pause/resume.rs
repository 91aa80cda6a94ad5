//! The guardian of debts: sends resumes until a server confirms them.
//!
//! Owns every resume the program sends. Rule I1 outranks all others: a resume waits for no lock, no lease and no
//! journal write that succeeds. Must not touch a pause that is not ours, nor the debt of a live run.

use crate::camunda::Zeebe;
use crate::clock::within;
use crate::context::Ground;
use crate::domain::{Addresses, Instant, RunId};
use crate::journal::RunView;
use crate::lock::lock;
use crate::pause::{confirm, relocate};
use crate::store::{Debt, StoreError};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A resume waits for its own record no longer than this.
pub(crate) const RECORD: Duration = Duration::from_millis(500);
/// The longest time between two tries.
pub(crate) const BACK_OFF: Duration = Duration::from_secs(60);

/// One debt to pay.
pub struct Payment<'a> {
    /// The run that paused.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: &'a str,
    /// Where to send it.
    pub addresses: &'a Addresses,
    /// `run`, `guardian` or `command`.
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
pub async fn pay(ground: &Ground, payment: &Payment<'_>) {
    let Payment { run_id, cluster, by, .. } = payment;
    let clock = &*ground.clock;
    ground.tries.begins(*run_id, payment.attempts);
    let mut way = Way { zeebe: Zeebe::new(payment.addresses, &ground.transport), moved: false, today: false };
    let mut confirmed_at = resume(ground, payment, &mut way).await;
    let known = if payment.pause.settled { payment.pause } else { written(ground, payment).await };
    if !known.settled {
        confirmed_at = confirm::outlast_late_pause(ground, payment, &mut way, confirmed_at).await;
    }
    confirmed_at = confirm::reach_all(ground, payment, &mut way, known, confirmed_at).await;
    ground.tries.confirmed(*run_id, confirmed_at, None);
    let mut pause = Duration::from_millis(100);
    while let Err(error) = ground.store.debt_paid(*run_id, (*by).to_owned(), clock.now()).await {
        // The debt is not known, or the daemon ends: the resume was confirmed, and there is nothing to write it into.
        if matches!(error, StoreError::NotFound(_) | StoreError::Closed) {
            return;
        }
        tracing::error!(event = "store.unwritable", %run_id, cluster, reason = %error);
        ground.tries.confirmed(*run_id, confirmed_at, Some(error));
        clock.sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF);
    }
    ground.transport.release(*run_id).await;
}

/// The way to the brokers of one payment.
pub(crate) struct Way {
    pub(crate) zeebe: Zeebe,
    /// It leads where the cluster was shown to have moved, for good: what proved it ends with the first resume there.
    pub(crate) moved: bool,
    /// It has the credential of today's config. The debt's own has its turn too.
    pub(crate) today: bool,
}

/// Resumes until the server confirms it; answers when it did. A cluster that has moved is resumed where it is now.
pub(crate) async fn resume(ground: &Ground, payment: &Payment<'_>, way: &mut Way) -> Instant {
    let Payment { run_id, cluster, by, .. } = payment;
    let clock = &*ground.clock;
    let mut pause = Duration::from_millis(200);
    loop {
        // Written before it is sent, so that nobody takes the pause for unbroken afterwards; but never waited for long.
        let now = clock.now();
        ground.tries.intends(*run_id, now);
        let intent = ground.store.resume_intended(*run_id, (*by).to_owned(), now);
        if !matches!(within(clock, RECORD, intent).await, Some(Ok(()))) {
            tracing::error!(event = "store.unwritable", %run_id, cluster, reason = "the intent to resume could not be recorded; resuming all the same");
        }
        match way.zeebe.resume().await {
            Ok(()) => break,
            Err(error) => {
                tracing::error!(event = "exporting.resume_failed", %run_id, cluster, by, reason = %error);
                ground.tries.sent(*run_id, Some(error.to_string()));
                let _ = within(clock, RECORD, ground.store.resume_failed(*run_id, error.to_string())).await;
            }
        }
        if !way.moved {
            if let Some(zeebe) = relocate::to(ground, payment).await {
                *way = Way { zeebe, moved: true, today: true };
                continue;
            }
            let addresses = relocate::let_in(ground, payment).filter(|_| !way.today);
            way.today = addresses.is_some();
            way.zeebe = Zeebe::new(addresses.as_ref().unwrap_or(payment.addresses), &ground.transport);
            if way.today {
                continue;
            }
        }
        tokio::select! {
            biased;
            () = clock.sleep(pause) => pause = (pause * 2).min(BACK_OFF),
            () = ground.tries.hurried() => {}
        }
    }
    let now = clock.now();
    ground.tries.sent(*run_id, None);
    let seconds = payment.paused_since.map(|since| (now - since).num_milliseconds());
    tracing::info!(event = "exporting.resumed", %run_id, cluster, by, duration_ms = seconds);
    now
}

/// What the journal knows of the pause, if it can be read at once.
async fn written(ground: &Ground, payment: &Payment<'_>) -> PauseKnown {
    match within(&*ground.clock, RECORD, ground.store.run(payment.run_id)).await {
        Some(Ok(Some(run))) => PauseKnown::of(&run.view),
        _ => payment.pause,
    }
}

/// Returns when the debt of a run is open no more: paid, or forgiven by an operator.
pub(crate) async fn settled(ground: &Ground, run_id: RunId) {
    loop {
        ground.clock.sleep(Duration::from_secs(5)).await;
        if let Ok(debts) = ground.store.debts().await
            && !debts.iter().any(|debt| debt.run_id == run_id)
        {
            return;
        }
    }
}

/// Pays the debts that no live run will pay.
#[derive(Clone)]
pub struct Guardian {
    ground: Ground,
    /// Debts somebody is on: a live run's own, or one being paid.
    taken: Arc<Mutex<BTreeSet<RunId>>>,
}

impl Guardian {
    /// Knows of no debt yet.
    pub fn new(ground: Ground) -> Self {
        Self { ground, taken: Arc::default() }
    }

    /// A live run answers for its own debt until `release`.
    pub fn claim(&self, run_id: RunId) {
        lock(&self.taken).insert(run_id);
    }

    /// The run has ended, or the debt is paid or forgiven.
    pub fn release(&self, run_id: RunId) {
        self.leave(run_id);
        self.ground.tries.forget(run_id);
    }

    /// The run goes no further in this process, which is still to tell what its resume met.
    pub fn leave(&self, run_id: RunId) {
        lock(&self.taken).remove(&run_id);
    }

    /// Starts a payment for every debt that nobody is on. Returns how many debts are open.
    pub async fn sweep(&self, by: &'static str) -> Result<usize, StoreError> {
        let debts = self.ground.store.debts().await?;
        let open = debts.len();
        for debt in debts {
            if lock(&self.taken).insert(debt.run_id) {
                let guardian = self.clone();
                self.ground.tasks.spawn(async move { guardian.pay_one(debt, by).await });
            }
        }
        Ok(open)
    }

    /// Removes the copies of credentials that no debt needs, left by a crash or a debt that was forgiven.
    pub async fn tidy_copies(&self) {
        // Debts first: whoever owes later has claimed its debt before.
        let Ok(debts) = self.ground.store.debts().await else { return };
        let mut needed: BTreeSet<RunId> = debts.into_iter().map(|debt| debt.run_id).collect();
        needed.extend(lock(&self.taken).iter().copied());
        self.ground.transport.keep_only(needed).await;
    }

    async fn pay_one(&self, debt: Debt, by: &'static str) {
        let payment = Payment {
            run_id: debt.run_id,
            cluster: &debt.cluster,
            addresses: &debt.addresses,
            by,
            paused_since: Some(debt.intended_at),
            attempts: debt.attempts,
            pause: PauseKnown::default(),
        };
        // After a restart the copies are gone with the runtime directory; made anew, where that takes no time.
        if let Some(access) = debt.addresses.access.get("zeebe") {
            let kept = self.ground.transport.keep(debt.run_id, Arc::new(access.clone()));
            let _ = within(&*self.ground.clock, RECORD, kept).await;
        }
        tokio::select! {
            biased;
            () = pay(&self.ground, &payment) => {}
            // A forgiven debt is not tried for ever.
            () = settled(&self.ground, debt.run_id) => {}
        }
        self.release(debt.run_id);
    }
}
