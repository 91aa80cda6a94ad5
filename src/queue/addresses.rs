//! Reserves the addresses of a cluster for its run or deletion pass (rule I4).
//!
//! Detects that two cluster names refer to one cluster, which must not have two operations at the same time.

use crate::context::Spec;
use crate::domain::Addresses;
use crate::queue::{Busy, Queue};
use crate::store::is_same_cluster;

impl Queue {
    /// Reserves the addresses of this cluster for the run in its slot. Returns the reason if another run or
    /// deletion uses the addresses. A cluster that was renamed, moved or configured twice is still one
    /// cluster (rule I4).
    pub(crate) fn reserve_addresses(&self, cluster: &str, spec: &Spec) -> Option<String> {
        let mut inner = self.lock();
        let others = inner.slots.iter().filter(|(name, _)| *name != cluster);
        for (name, busy) in others.filter_map(|(name, slot)| Some((name, slot.busy.as_ref()?))) {
            let (at, what) = match busy {
                Busy::Run { run_id, at: Some(at), .. } => (
                    at,
                    run_id.map_or("a run that is about to begin".into(), |run_id| format!("run {run_id}")),
                ),
                Busy::Upkeep { at: Some(at), .. } => (at, "a deletion".to_owned()),
                _ => continue,
            };
            if !is_same_cluster(at, &spec.addresses) {
                continue;
            }
            if let Busy::Upkeep { yield_now, .. } = busy {
                yield_now.cancel();
            }
            return Some(format!(
                "{what} of cluster {name}, which is at the same address as {cluster}, has not ended yet"
            ));
        }
        if let Some(Busy::Run { at, .. }) = inner.slots.get_mut(cluster).and_then(|slot| slot.busy.as_mut()) {
            *at = Some(Box::new(spec.addresses.clone()));
        }
        None
    }

    /// Reserves the addresses of this cluster for a deletion pass. Returns `false` if a run of another name
    /// uses them. The deletion is then requested again later.
    pub(crate) fn reserve_for_deletion(&self, cluster: &str, addresses: &Addresses) -> bool {
        let mut inner = self.lock();
        let others = inner.slots.iter().filter(|(name, _)| *name != cluster);
        let mut runs = others.filter_map(|(_, slot)| match &slot.busy {
            Some(Busy::Run { at, .. }) => at.as_deref(),
            _ => None,
        });
        if runs.any(|at| is_same_cluster(at, addresses)) {
            return false;
        }
        if let Some(Busy::Upkeep { at, .. }) =
            inner.slots.get_mut(cluster).and_then(|slot| slot.busy.as_mut())
        {
            *at = Some(Box::new(addresses.clone()));
        }
        true
    }
}
