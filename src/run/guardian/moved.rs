//! Whether the cluster of a debt answers elsewhere by now.
//!
//! Owns the proof that it is the same cluster. Must not send anything: a pause that only looks like ours is another's.

use super::{Payment, RECORD};
use crate::clients::Zeebe;
use crate::clock::within;
use crate::domain::Addresses;
use crate::run::{Ground, window};
use crate::store::is_same_place;

/// The brokers at the address that the config has for this name today, where that is another one than the debt's and
/// they are the ones that were paused: every partition stands at the position at which our run saw it paused.
pub(super) async fn to(ground: &Ground, payment: &Payment<'_>) -> Option<Zeebe> {
    let Payment { run_id, cluster, addresses, .. } = payment;
    let configured = ground.whereabouts.load().get(*cluster)?.clone();
    if is_same_place(&configured, addresses) {
        return None;
    }
    let run = within(&*ground.clock, RECORD, ground.store.run(*run_id)).await?.ok()??;
    let ours = run.view.pause.positions;
    let zeebe = Zeebe::new(&Addresses { routes: addresses.routes, ..configured }, &ground.transport);
    let shown = zeebe.exporters().await.ok()?;
    if ours.is_empty() || !shown.any_paused() || window::positions(&shown) != ours {
        return None;
    }
    let reason = "the cluster has moved: its partitions stand where our run saw them paused";
    tracing::warn!(event = "exporting.still_paused", %run_id, cluster, owner = "us", reason);
    Some(zeebe)
}
