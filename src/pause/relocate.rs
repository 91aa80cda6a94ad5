//! Whether the cluster of a debt is to be reached otherwise by now, as the config of today says.
//!
//! Owns the proof that it is the same cluster. Must not send anything: a pause that only looks like ours is another's.

use crate::camunda::Zeebe;
use crate::clock::within;
use crate::context::Ground;
use crate::domain::{Access, Addresses};
use crate::pause::resume::{Payment, RECORD};
use crate::pause::start;

/// The brokers at the address that the config has for this name today, where that is another one than the debt's and every
/// partition stands at the position at which our run saw it paused. The debt keeps that address from now on, written before
/// anything is sent there.
pub(crate) async fn to(ground: &Ground, payment: &Payment<'_>) -> Option<Zeebe> {
    let Payment { run_id, cluster, addresses, .. } = payment;
    let configured = today(ground, payment)?;
    if place(&configured) == place(addresses) {
        return None;
    }
    let run = within(&*ground.clock, RECORD, ground.store.run(*run_id)).await?.ok()??;
    let ours = run.view.pause.positions;
    let zeebe = Zeebe::new(&configured, &ground.transport);
    let shown = zeebe.exporters().await.ok()?;
    if ours.is_empty() || !shown.any_paused() || start::positions(&shown) != ours {
        return None;
    }
    let reason =
        "the cluster has moved: at its address of today its partitions stand where our run saw them paused";
    tracing::warn!(event = "exporting.still_paused", %run_id, cluster, owner = "us", reason);
    let _ = within(&*ground.clock, RECORD, ground.store.debt_moved(*run_id, configured)).await;
    Some(zeebe)
}

/// The debt's address with what the config shows there today, where that differs.
pub(crate) fn let_in(ground: &Ground, payment: &Payment<'_>) -> Option<Addresses> {
    let configured = today(ground, payment)?;
    let same = place(&configured) == place(payment.addresses);
    (same && access(&configured) != access(payment.addresses)).then_some(configured)
}

fn today(ground: &Ground, payment: &Payment<'_>) -> Option<Addresses> {
    let configured = ground.whereabouts.load().get(payment.cluster)?.clone();
    Some(Addresses { routes: payment.addresses.routes, ..configured })
}

/// Where a resume is sent.
fn place(addresses: &Addresses) -> (&str, Option<&str>) {
    let proxy = access(addresses).and_then(|access| access.proxy.as_deref());
    (addresses.zeebe.trim_end_matches('/'), proxy)
}

fn access(addresses: &Addresses) -> Option<&Access> {
    addresses.access.get("zeebe")
}
