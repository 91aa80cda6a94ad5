//! Whether the cluster of a debt is to be reached otherwise by now, as the config of today says.
//!
//! Owns the proof that it is the same cluster. Must not send anything: a pause that only looks like ours is another's.

use crate::camunda::Zeebe;
use crate::clock::within;
use crate::context::Context;
use crate::domain::{Access, Addresses};
use crate::pause::resume::{RECORD, ResumeTask};

/// The brokers at the address that the config has for this name today, where that is another one than the debt's and every
/// partition stands at the position at which our run saw it paused. The debt keeps that address from now on, written before
/// anything is sent there.
pub(crate) async fn to(context: &Context, task: &ResumeTask<'_>) -> Option<Zeebe> {
    let ResumeTask { run_id, cluster, addresses, .. } = task;
    let configured = today(context, task)?;
    if location(&configured) == location(addresses) {
        return None;
    }
    let run = within(&*context.clock, RECORD, context.store.run(*run_id)).await?.ok()??;
    let ours = run.view.pause.positions;
    let zeebe = Zeebe::new(&configured, &context.transport);
    let shown = zeebe.exporters().await.ok()?;
    if ours.is_empty() || !shown.any_paused() || shown.positions() != ours {
        return None;
    }
    let reason =
        "the cluster has moved: at its address of today its partitions stand where our run saw them paused";
    tracing::warn!(event = "exporting.still_paused", %run_id, cluster, owner = "us", reason);
    let _ = within(&*context.clock, RECORD, context.store.relocate_pending_resume(*run_id, configured)).await;
    Some(zeebe)
}

/// The debt's address with what the config shows there today, where that differs.
pub(crate) fn with_current_credentials(context: &Context, task: &ResumeTask<'_>) -> Option<Addresses> {
    let configured = today(context, task)?;
    let same = location(&configured) == location(task.addresses);
    (same && access(&configured) != access(task.addresses)).then_some(configured)
}

fn today(context: &Context, task: &ResumeTask<'_>) -> Option<Addresses> {
    let configured = context.whereabouts.load().get(task.cluster)?.clone();
    Some(Addresses { routes: task.addresses.routes, ..configured })
}

/// Where a resume is sent.
fn location(addresses: &Addresses) -> (&str, Option<&str>) {
    let proxy = access(addresses).and_then(|access| access.proxy.as_deref());
    (addresses.zeebe.trim_end_matches('/'), proxy)
}

fn access(addresses: &Addresses) -> Option<&Access> {
    addresses.access.get("zeebe")
}
