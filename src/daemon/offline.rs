//! Paying debts without the daemon: `resume-exporting --if-ours`, and a start-up whose config is refused.
//!
//! Reads the state file alone; the debt's row holds every address that is needed.

use crate::clients::SharedTransport;
use crate::clock::{SharedClock, Tasks, within};
use crate::run::Ground;
use crate::run::guardian::Guardian;
use crate::store::{SharedStore, StoreError};
use std::collections::BTreeSet;
use std::time::Duration;

/// Sends a resume for every open debt until it is confirmed, for at most `wait`. Returns the clusters still owing.
pub async fn pay_debts_offline(
    store: SharedStore,
    transport: SharedTransport,
    clock: SharedClock,
    instance: String,
    wait: Duration,
) -> Result<Vec<String>, StoreError> {
    let ground =
        Ground { store: store.clone(), transport, clock: clock.clone(), tasks: Tasks::new(), instance };
    let guardian = Guardian::new(ground);
    let began = clock.monotonic();
    guardian.sweep("command").await?;
    loop {
        let owing: BTreeSet<String> = store.debts().await?.into_iter().map(|d| d.cluster).collect();
        let left = wait.saturating_sub(clock.monotonic().saturating_sub(began));
        if owing.is_empty() || left.is_zero() {
            return Ok(owing.into_iter().collect());
        }
        within(&*clock, left, clock.sleep(Duration::from_millis(50))).await;
    }
}
