//! Changed address or credentials of a cluster with a pending resume, from the current config.
//!
//! Owns the proof that both addresses reach the same cluster. Must not send a resume: a similar pause may be
//! foreign.

use crate::camunda::Zeebe;
use crate::clock::within;
use crate::context::Context;
use crate::domain::{Access, Addresses};
use crate::pause::resume::{RECORD, ResumeTask};

/// Brokers at the configured address of this cluster, if it differs from the address of the pending resume
/// and is proven to reach the same cluster.
/// Proof: every partition stands at the position recorded at our pause. The new address is stored with the
/// pending resume before any resume is sent there.
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

/// Address of the pending resume with the current access settings, if only these differ.
pub(crate) fn with_current_credentials(context: &Context, task: &ResumeTask<'_>) -> Option<Addresses> {
    let configured = today(context, task)?;
    let same = location(&configured) == location(task.addresses);
    (same && access(&configured) != access(task.addresses)).then_some(configured)
}

fn today(context: &Context, task: &ResumeTask<'_>) -> Option<Addresses> {
    let configured = context.current_addresses.load().get(task.cluster)?.clone();
    Some(Addresses { routes: task.addresses.routes, ..configured })
}

/// Broker URL and proxy, which identify the destination of a resume.
fn location(addresses: &Addresses) -> (&str, Option<&str>) {
    let proxy = access(addresses).and_then(|access| access.proxy.as_deref());
    (addresses.zeebe.trim_end_matches('/'), proxy)
}

fn access(addresses: &Addresses) -> Option<&Access> {
    addresses.access.get("zeebe")
}
