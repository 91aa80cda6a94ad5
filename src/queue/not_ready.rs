//! Preconditions in the store and the cluster that prevent the start of a run, and the time that an
//! occurrence waits for them.
//!
//! Must not start a run (`scheduled`, `manual`).

use crate::context::Spec;
use crate::domain::Instant;
use crate::queue::waiting::Waiting;
use crate::queue::{Queue, RESUME_PENDING, deployment_of};
use crate::store::{ClustersToResume, OccurrenceRow, StoreError};
use chrono::TimeDelta;

/// Maximum interval between two probes of a cluster that is not ready.
const NOT_READY: TimeDelta = TimeDelta::seconds(30);
/// Minimum remaining time of `start_within` for another probe. With less time the occurrence is skipped.
const LAST_PROBE: TimeDelta = TimeDelta::seconds(2);

/// Reason why no run of the cluster can begin now.
pub(crate) struct NotReady {
    /// One sentence. It begins with `RESUME_PENDING` or `PAUSED_BY_OTHER` if one of these is the cause.
    pub reason: String,
    /// Time at which the reason should have passed. `None` if an operator must act.
    pub over: Option<Over>,
}

/// Time at which a transient reason should have passed.
#[derive(Clone, Copy)]
pub(crate) enum Over {
    /// The time is known.
    At(Instant),
    /// The time is unknown, so the cluster is probed again.
    Soon,
}

impl Over {
    /// Time of the next attempt to start. `None` if the occurrence may not wait that long.
    fn next_try(self, row: &OccurrenceRow, now: Instant) -> Option<Instant> {
        let left = row.start_until - now;
        match self {
            Self::At(at) => (at < row.start_until).then_some(at),
            Self::Soon => (left > LAST_PROBE).then(|| now + NOT_READY.min(left / 2)),
        }
    }
}

impl Queue {
    /// Returns the first unmet precondition of a run. It is a pending resume, another operation at the
    /// address, a foreign pause, or the rate limit of Camunda 8 SaaS.
    pub(crate) async fn not_ready(&self, cluster: &str, spec: &Spec) -> Result<Option<NotReady>, StoreError> {
        let until_mended = |reason| Ok(Some(NotReady { reason, over: None }));
        let pending_resumes = self.context.store.pending_resumes().await?;
        match ClustersToResume::by(&pending_resumes).to(cluster, &spec.addresses) {
            Some(pending) if pending == cluster => {
                return until_mended(format!("{RESUME_PENDING}: an earlier run's resume is still pending"));
            }
            Some(pending) => {
                return until_mended(format!(
                    "{RESUME_PENDING}: the resume of cluster {pending}, which is at the same address, is still pending"
                ));
            }
            None => {}
        }
        if let Some(reason) = self.reserve_addresses(cluster, spec) {
            return Ok(Some(NotReady { reason, over: Some(Over::Soon) }));
        }
        deployment_of(&self.context, cluster, spec).not_ready().await
    }

    /// Lets occurrences wait for the end of a transient reason, until their `start_within` is over. Skips all
    /// other occurrences in `due`.
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
