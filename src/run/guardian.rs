//! The guardian of debts: sends resumes until a server confirms them.
//!
//! Owns every resume the program sends. Rule I1 outranks all others: a resume waits for no lock, no lease and no
//! journal write that succeeds. Must not touch a pause that is not ours, nor the debt of a live run.

use super::Ground;
use crate::clients::Zeebe;
use crate::clock::within;
use crate::domain::{Instant, RunId};
use crate::lock::lock;
use crate::store::{Debt, StoreError};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A resume waits for its own record no longer than this.
const RECORD: Duration = Duration::from_millis(500);
/// The longest time between two tries.
const BACK_OFF: Duration = Duration::from_secs(60);

/// One debt to pay.
pub struct Payment<'a> {
    /// The run that paused.
    pub run_id: RunId,
    /// Cluster name.
    pub cluster: &'a str,
    /// Where to send it.
    pub zeebe: &'a Zeebe,
    /// `run`, `guardian` or `command`.
    pub by: &'static str,
    /// When the pause was intended.
    pub paused_since: Option<Instant>,
}

/// Resumes until the server confirms it and the record of that is durable. Returns only then.
pub async fn pay(ground: &Ground, payment: &Payment<'_>) {
    let Payment { run_id, cluster, by, .. } = payment;
    let clock = &*ground.clock;
    let mut pause = Duration::from_millis(200);
    let mut reminded = clock.monotonic();
    loop {
        // Written before it is sent, so that nobody takes the pause for unbroken afterwards; but never waited for long.
        let intent = ground.store.resume_intended(*run_id, (*by).to_owned(), clock.now());
        if !matches!(within(clock, RECORD, intent).await, Some(Ok(()))) {
            tracing::error!(event = "store.unwritable", %run_id, cluster, reason = "the intent to resume could not be recorded; resuming all the same");
        }
        match payment.zeebe.resume().await {
            Ok(()) => break,
            Err(error) => {
                tracing::error!(event = "exporting.resume_failed", %run_id, cluster, by, reason = %error);
                let _ = within(clock, RECORD, ground.store.resume_failed(*run_id, error.to_string())).await;
            }
        }
        if clock.monotonic().saturating_sub(reminded) >= Duration::from_secs(60) {
            reminded = clock.monotonic();
            let seconds = payment.paused_since.map_or(0, |since| (clock.now() - since).num_seconds());
            tracing::error!(event = "exporting.still_paused", %run_id, cluster, owner = "us", seconds);
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF);
    }
    let seconds = payment.paused_since.map(|since| (clock.now() - since).num_milliseconds());
    tracing::info!(event = "exporting.resumed", %run_id, cluster, by, duration_ms = seconds);
    let mut pause = Duration::from_millis(100);
    while let Err(error) = ground.store.debt_paid(*run_id, (*by).to_owned(), clock.now()).await {
        // The debt is not known, or the daemon ends: the resume was confirmed, and there is nothing to write it into.
        if matches!(error, StoreError::NotFound(_) | StoreError::Closed) {
            return;
        }
        tracing::error!(event = "store.unwritable", %run_id, cluster, reason = %error);
        clock.sleep(pause).await;
        pause = (pause * 2).min(BACK_OFF);
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

    /// The run has ended or gives its debt up.
    pub fn release(&self, run_id: RunId) {
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

    async fn pay_one(&self, debt: Debt, by: &'static str) {
        let zeebe = Zeebe::new(&debt.addresses.zeebe, &debt.addresses.brokers, self.ground.transport.clone());
        let payment = Payment {
            run_id: debt.run_id,
            cluster: &debt.cluster,
            zeebe: &zeebe,
            by,
            paused_since: Some(debt.intended_at),
        };
        // A forgiven debt is not tried for ever.
        let forgiven = async {
            loop {
                self.ground.clock.sleep(Duration::from_secs(5)).await;
                if let Ok(debts) = self.ground.store.debts().await
                    && !debts.iter().any(|d| d.run_id == debt.run_id)
                {
                    return;
                }
            }
        };
        tokio::select! {
            () = pay(&self.ground, &payment) => {}
            () = forgiven => {}
        }
        self.release(debt.run_id);
    }
}
