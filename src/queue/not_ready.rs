//! What forbids a run before it has begun, and how long an occurrence waits for its end.
//!
//! Owns what is asked of the store and the cluster beforehand, and that one cluster under two names is one. Must not begin
//! anything (`start`).

use crate::backup::prepare;
use crate::context::Spec;
use crate::domain::{Addresses, Instant};
use crate::parts::saas;
use crate::queue::waiting::Waiting;
use crate::queue::{Busy, PAUSED_BY_OTHER, Queue, RESUME_PENDING};
use crate::store::{ClustersToResume, OccurrenceRow, StoreError, is_same_cluster};
use chrono::TimeDelta;

/// How long until a cluster that was not calm is looked at again.
const NOT_READY: TimeDelta = TimeDelta::seconds(30);
/// With less time than this left it is not looked again.
const LAST_PROBE: TimeDelta = TimeDelta::seconds(2);

/// Why no run can begin now.
pub(crate) struct NotReady {
    /// One sentence, with a word for the record before it where the contract has one.
    pub reason: String,
    /// Whether it ends by itself.
    pub over: Option<Over>,
}

/// When what forbids a run is over by itself.
#[derive(Clone, Copy)]
pub(crate) enum Over {
    /// Known.
    At(Instant),
    /// Any moment: it is looked again.
    Soon,
}

impl Over {
    /// When an occurrence is tried again, if it may wait for so long.
    fn next_try(self, row: &OccurrenceRow, now: Instant) -> Option<Instant> {
        let left = row.start_until - now;
        match self {
            Self::At(at) => (at < row.start_until).then_some(at),
            Self::Soon => (left > LAST_PROBE).then(|| now + NOT_READY.min(left / 2)),
        }
    }
}

impl Queue {
    /// What forbids a run before it has begun: a debt of ours, a pause that is not ours, a provider's limit.
    pub(crate) async fn not_ready(&self, cluster: &str, spec: &Spec) -> Result<Option<NotReady>, StoreError> {
        let until_mended = |reason| Ok(Some(NotReady { reason, over: None }));
        let pending_resumes = self.context.store.pending_resumes().await?;
        match ClustersToResume::by(&pending_resumes).to(cluster, &spec.addresses) {
            Some(owed) if owed == cluster => {
                return until_mended(format!("{RESUME_PENDING}: an earlier run's resume is not settled yet"));
            }
            Some(owed) => {
                return until_mended(format!(
                    "{RESUME_PENDING}: the resume of cluster {owed}, which is at the same address, is not settled yet"
                ));
            }
            None => {}
        }
        if let Some(reason) = self.take_place(cluster, spec) {
            return Ok(Some(NotReady { reason, over: Some(Over::Soon) }));
        }
        if let Some(address) = &spec.addresses.saas {
            let limit = saas::rate_limit(&self.context, cluster, spec, address).await?;
            return Ok(limit.map(|(at, reason)| NotReady { reason, over: Some(Over::At(at)) }));
        }
        // Beside a database nothing is paused, and nothing of ours would end somebody's pause.
        if spec.addresses.search.is_none() {
            return Ok(None);
        }
        // Unreadable is no hindrance here: the run itself will fail with the reason.
        let Ok(exporters) = prepare::exporters(&self.context, spec).await else { return Ok(None) };
        if !exporters.any_paused() {
            return Ok(None);
        }
        let phases = exporters.describe();
        tracing::error!(event = "exporting.paused_by_other", cluster, reason = phases);
        until_mended(format!("{PAUSED_BY_OTHER}: {phases}; our resume would end someone else's pause"))
    }

    /// Takes the place of this cluster for the run that holds its slot, unless another's run or deletion is at it: renamed,
    /// pointed elsewhere or named twice, it is still one cluster (rule I4).
    fn take_place(&self, cluster: &str, spec: &Spec) -> Option<String> {
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

    /// The same for a deletion, which is asked for again by and by. `false` while another's run is there.
    pub(crate) fn take_place_to_delete(&self, cluster: &str, addresses: &Addresses) -> bool {
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

    /// What is over at a known time, or may be over soon, is waited for, as long as each occurrence may wait.
    pub(crate) async fn wait_or_skip(&self, cluster: &str, due: Vec<OccurrenceRow>, not_ready: NotReady) {
        let NotReady { reason, over } = not_ready;
        let now = self.context.clock.now();
        let (mut later, mut never) = (Vec::new(), Vec::new());
        for row in due {
            match over.and_then(|over| over.next_try(&row, now)) {
                Some(from) => later.push(Waiting::until(row, from, &reason)),
                None => never.push(row),
            }
        }
        if !later.is_empty() {
            tracing::info!(event = "occurrence.waits", cluster, reason = %reason);
            self.await_turn(later);
        }
        if !never.is_empty() {
            self.skip(never, reason).await;
        }
    }
}
