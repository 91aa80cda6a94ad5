//! Finds the current address and credentials of a cluster whose config changed while its resume was pending.
//!
//! Owns the proof that the stored and the configured address reach the same cluster. Must not send a resume:
//! a cluster that is paused at the configured address may be another one, with a foreign pause.

use crate::camunda::Zeebe;
use crate::clock::within;
use crate::context::Context;
use crate::domain::{Access, Addresses};
use crate::pause::resume::{RECORD, ResumeTask};

/// Returns the brokers at the configured address of the cluster. `None` unless that address is new and is
/// proven to reach the same cluster. The proof: a partition is paused, and every partition has the position
/// that was stored at our pause. The new address is stored with the pending resume before any resume is sent
/// there.
pub(crate) async fn to(context: &Context, task: &ResumeTask<'_>) -> Option<Zeebe> {
    let ResumeTask { run_id, cluster, addresses, .. } = task;
    let configured = current_addresses(context, task)?;
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

/// Returns the address of the pending resume with the login settings of the current config. `None` if the
/// settings are equal or the configured address is another one.
pub(crate) fn with_current_credentials(context: &Context, task: &ResumeTask<'_>) -> Option<Addresses> {
    let configured = current_addresses(context, task)?;
    let same = location(&configured) == location(task.addresses);
    (same && access(&configured) != access(task.addresses)).then_some(configured)
}

fn current_addresses(context: &Context, task: &ResumeTask<'_>) -> Option<Addresses> {
    let configured = context.current_addresses.load().get(task.cluster)?.clone();
    Some(Addresses { routes: task.addresses.routes, ..configured })
}

/// Broker URL and proxy, which together identify the destination of a resume.
fn location(addresses: &Addresses) -> (&str, Option<&str>) {
    let proxy = access(addresses).and_then(|access| access.proxy.as_deref());
    (addresses.zeebe.trim_end_matches('/'), proxy)
}

fn access(addresses: &Addresses) -> Option<&Access> {
    addresses.access.get("zeebe")
}
