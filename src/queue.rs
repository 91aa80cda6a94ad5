//! The queue of each cluster: one operation at a time (rule I4), and the occurrences that wait for it. An
//! operation is a run, a deletion pass or the request of a restore.
//!
//! Owns the decision which waiting occurrence starts once its cluster is free. Must not compute due times
//! (`schedule`) or know the steps of a run (`plan`).

mod addresses;
pub(crate) mod deployment;
mod manual;
mod not_ready;
mod recovery;
mod saas;
mod scheduled;
mod self_managed;
mod start;
mod upkeep;
mod waiting;

pub use manual::ManualError;

use crate::backoff::Backoff;
use crate::camunda::Saas;
use crate::context::error::Stop;
use crate::context::{Context, Spec};
use crate::domain::{Addresses, Instant, RunId, instant_text};
use crate::journal::FailureClass;
use crate::lock::lock;
use crate::pause::sweep::Sweeper;
use crate::retention::RetentionRule;
use crate::store::OccurrenceRow;
use arc_swap::ArcSwap;
use deployment::Deployment;
use saas::SaasCluster;
use self_managed::SelfManaged;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use waiting::Waiting;

/// Settings of one cluster, from the config.
#[derive(Clone, Debug)]
pub struct ClusterSettings {
    /// Addresses, version and limits of the cluster's runs.
    pub spec: Spec,
    /// One retention rule for each retention group of the cluster.
    pub rules: Vec<RetentionRule>,
    /// Enabled schedules that name the cluster. Waiting occurrences of other schedules are skipped.
    pub schedules: BTreeSet<String>,
    /// Minimum interval between the starts of manual runs.
    pub manual_min_interval: Duration,
}

/// Current operation of a cluster.
enum Busy {
    Run {
        run_id: Option<RunId>,
        /// Addresses that the run has reserved. `None` before that.
        at: Option<Box<Addresses>>,
        stop: watch::Sender<Stop>,
    },
    Upkeep {
        /// Addresses that the deletion pass has reserved. `None` before that.
        at: Option<Box<Addresses>>,
        yield_now: CancellationToken,
    },
    /// The request to restore a Camunda 8 SaaS cluster is being sent.
    Restore,
}

#[derive(Default)]
struct Slot {
    waiting: Vec<Waiting>,
    busy: Option<Busy>,
    upkeep_due: bool,
}

#[derive(Default)]
struct Inner {
    slots: BTreeMap<String, Slot>,
    /// Monotonic time at which the shutdown grace is over. `None` before the shutdown.
    going_down: Option<Duration>,
}

/// The queues of all clusters. Clones share one state.
#[derive(Clone)]
pub struct Queue {
    context: Context,
    sweeper: Sweeper,
    inner: Arc<Mutex<Inner>>,
    permits: Arc<Semaphore>,
    settings: Arc<ArcSwap<BTreeMap<String, ClusterSettings>>>,
}

/// Reason code of an occurrence that is skipped because an earlier run of the cluster has a pending resume.
pub const RESUME_PENDING: &str = "resume_pending";
/// Reason code of an occurrence that is skipped because someone else paused exporting.
pub const PAUSED_BY_OTHER: &str = "paused_by_other";
/// Skip reason of an occurrence whose cluster is no longer in the config.
const GONE: &str = "the cluster was taken out of the config";
/// Skip reason of an occurrence whose schedule no longer applies to the cluster.
const UNSCHEDULED: &str = "its schedule was taken out of the config, disabled or no longer names the cluster";

/// The operations on a cluster of the kind that its addresses describe.
pub(crate) fn deployment_of<'a>(
    context: &'a Context,
    cluster: &'a str,
    spec: &'a Spec,
) -> Box<dyn Deployment + 'a> {
    match Saas::of(&spec.addresses, &context.transport) {
        Some(saas) => Box::new(SaasCluster { context, cluster, spec, saas }),
        None => Box::new(SelfManaged { context, cluster, spec }),
    }
}

impl Queue {
    /// An empty queue that executes at most `max_parallel` runs at once.
    pub fn new(context: Context, sweeper: Sweeper, max_parallel: usize) -> Self {
        Self {
            context,
            sweeper,
            inner: Arc::default(),
            permits: Arc::new(Semaphore::new(max_parallel.clamp(1, Semaphore::MAX_PERMITS))),
            settings: Arc::new(ArcSwap::from_pointee(BTreeMap::new())),
        }
    }

    /// Applies the settings of a new config. Active runs keep their old settings, but the run of a removed
    /// cluster is aborted.
    pub fn configure(&self, settings: BTreeMap<String, ClusterSettings>) {
        let removed: Vec<String> =
            self.settings.load().keys().filter(|name| !settings.contains_key(*name)).cloned().collect();
        let unwanted = self.take_waiting(|cluster, waiting| {
            settings.get(cluster).is_some_and(|s| !s.schedules.contains(&waiting.row.occurrence.schedule))
        });
        let locations = settings.iter().map(|(name, s)| (name.clone(), s.spec.addresses.clone()));
        self.context.current_addresses.store(Arc::new(locations.collect()));
        self.settings.store(Arc::new(settings));
        self.skip_later(unwanted, UNSCHEDULED.into());
        for cluster in removed {
            self.stop(
                &cluster,
                FailureClass::Removed,
                "the cluster was taken out of the config while it ran",
            );
            if let Some(Busy::Upkeep { yield_now, .. }) =
                self.lock().slots.get(&cluster).and_then(|s| s.busy.as_ref())
            {
                yield_now.cancel();
            }
            self.skip_later(self.take_all(&cluster), GONE.into());
        }
    }

    /// Adds claimed occurrences. Each starts at its `start_at`, or as soon as its cluster is free after that.
    /// An occurrence that still waits when the next one of its schedule is due is skipped. So at most one due
    /// occurrence of each schedule waits.
    pub fn submit(&self, rows: Vec<OccurrenceRow>) {
        let now = self.context.clock.now();
        self.await_turn(rows.into_iter().map(|row| Waiting::new(row, now)).collect());
    }

    /// Adds occurrences to those that wait: new ones, and ones whose start was not possible yet.
    fn await_turn(&self, arrived: Vec<Waiting>) {
        let now = self.context.clock.now();
        let mut starts: BTreeSet<(Instant, String)> = BTreeSet::new();
        let mut overtaken = Vec::new();
        {
            let mut inner = self.lock();
            for one in arrived {
                let cluster = one.row.occurrence.cluster.clone();
                let slot = inner.slots.entry(cluster.clone()).or_default();
                if slot.waiting.iter().any(|w| w.row.occurrence == one.row.occurrence) {
                    continue;
                }
                starts.insert((one.from, cluster));
                slot.waiting.push(one);
                overtaken.extend(waiting::overtaken(&mut slot.waiting, now));
            }
        }
        for (reason, rows) in overtaken {
            self.skip_later(rows, reason);
        }
        for (start_at, cluster) in starts {
            let queue = self.clone();
            self.context.tasks.spawn(async move {
                queue.sleep_until(start_at, &cluster).await;
                queue.kick(&cluster);
            });
        }
    }

    /// Sleeps until the wall clock reads `instant`, even if the clock is set meanwhile. Returns early at
    /// shutdown.
    async fn sleep_until(&self, instant: Instant, cluster: &str) {
        loop {
            let left = (instant - self.context.clock.now()).to_std().unwrap_or_default();
            if left.is_zero() || self.going_down() || !self.lock().slots.contains_key(cluster) {
                return;
            }
            self.context.clock.sleep(left.min(Duration::from_secs(1))).await;
        }
    }

    /// Starts a due run or a requested deletion pass if the cluster is free. A due run makes an active
    /// deletion pass yield.
    pub fn kick(&self, cluster: &str) {
        let now = self.context.clock.now();
        let mut inner = self.lock();
        if inner.going_down.is_some() {
            return;
        }
        let Some(slot) = inner.slots.get_mut(cluster) else { return };
        let due = slot.waiting.iter().any(|w| w.from <= now);
        match &slot.busy {
            Some(Busy::Upkeep { yield_now, .. }) if due => yield_now.cancel(),
            None if due => {
                let (stop, stopped) = watch::channel(Stop::None);
                slot.busy = Some(Busy::Run { run_id: None, at: None, stop });
                drop(inner);
                let (queue, cluster) = (self.clone(), cluster.to_owned());
                self.context.tasks.spawn(async move {
                    Box::pin(queue.run_waiting(&cluster, stopped)).await;
                    queue.free(&cluster);
                });
            }
            None if slot.upkeep_due => {
                slot.upkeep_due = false;
                let yield_now = CancellationToken::new();
                slot.busy = Some(Busy::Upkeep { at: None, yield_now: yield_now.clone() });
                drop(inner);
                let (queue, cluster) = (self.clone(), cluster.to_owned());
                self.context.tasks.spawn(async move {
                    queue.upkeep(&cluster, yield_now).await;
                    queue.free(&cluster);
                });
            }
            _ => {}
        }
    }

    /// Marks a cluster as free after its operation, and starts the next one.
    fn free(&self, cluster: &str) {
        if let Some(slot) = self.lock().slots.get_mut(cluster) {
            slot.busy = None;
        }
        self.kick(cluster);
    }

    /// Requests a pass of retention and deletion, which starts as soon as the cluster is free.
    pub fn request_upkeep(&self, cluster: &str) {
        self.lock().slots.entry(cluster.to_owned()).or_default().upkeep_due = true;
        self.kick(cluster);
    }

    /// Skips occurrences whose `start_within` is over. Called once a second.
    pub fn expire(&self) {
        let now = self.context.clock.now();
        let expired = self.take_waiting(|_, waiting| waiting.row.start_until <= now);
        let reason = "its cluster was busy, or max_parallel_runs were under way, until start_within was over";
        self.skip_later(expired, reason.into());
        // Start due occurrences whose task no longer waits for their time, for example after the clock was
        // set back and forth.
        let idle = |slot: &Slot| slot.busy.is_none() && slot.waiting.iter().any(|w| w.from <= now);
        let asleep: Vec<String> =
            self.lock().slots.iter().filter(|(_, slot)| idle(slot)).map(|(name, _)| name.clone()).collect();
        for cluster in asleep {
            self.kick(&cluster);
        }
    }

    /// Skips due occurrences of clusters with a pending resume: no run can begin before that resume is
    /// confirmed.
    pub fn skip_resume_pending(&self, still_pending: &BTreeSet<String>) {
        let now = self.context.clock.now();
        let due =
            self.take_waiting(|cluster, waiting| waiting.from <= now && still_pending.contains(cluster));
        self.skip_later(due, format!("{RESUME_PENDING}: an earlier run's resume is still pending"));
    }

    fn take_waiting(&self, goes: impl Fn(&str, &Waiting) -> bool) -> Vec<OccurrenceRow> {
        let mut taken = Vec::new();
        for (cluster, slot) in &mut self.lock().slots {
            taken.extend(slot.waiting.extract_if(.., |w| goes(cluster, w)).map(|w| w.row));
        }
        taken
    }

    fn take_all(&self, cluster: &str) -> Vec<OccurrenceRow> {
        let waiting = self.lock().slots.get_mut(cluster).map(|slot| std::mem::take(&mut slot.waiting));
        waiting.unwrap_or_default().into_iter().map(|w| w.row).collect()
    }

    /// Stores the skips in a background task. If the store is unavailable, retries until the daemon stops.
    fn skip_later(&self, rows: Vec<OccurrenceRow>, reason: String) {
        if rows.is_empty() {
            return;
        }
        let queue = self.clone();
        self.context.tasks.spawn(async move { queue.skip(rows, reason).await });
    }

    async fn skip(&self, rows: Vec<OccurrenceRow>, reason: String) {
        for row in &rows {
            tracing::warn!(
                event = "occurrence.skipped", schedule = %row.occurrence.schedule, cluster = %row.occurrence.cluster,
                due_at = instant_text(row.occurrence.due_at), reason
            );
        }
        let occurrences: Vec<_> = rows.into_iter().map(|r| r.occurrence).collect();
        let mut backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(30));
        while let Err(error) = self.context.store.skip(occurrences.clone(), reason.clone()).await {
            tracing::error!(event = "store.unwritable", reason = %error);
            if self.going_down() {
                return;
            }
            self.context.clock.sleep(backoff.delay()).await;
            backoff.grow();
        }
    }

    /// Aborts the active run of a cluster with this reason. Returns `false` if no run is active.
    pub fn stop(&self, cluster: &str, class: FailureClass, reason: &str) -> bool {
        let inner = self.lock();
        match inner.slots.get(cluster).and_then(|s| s.busy.as_ref()) {
            Some(Busy::Run { stop, .. }) => {
                stop.send_replace(Stop::Abort { class, reason: reason.to_owned() });
                true
            }
            _ => false,
        }
    }

    /// Aborts the runs of these clusters, because `resume-exporting --pending` ends their pauses.
    pub fn stop_with_pending_resume(&self, clusters: &[String], reason: &str) {
        for cluster in clusters {
            self.stop(cluster, FailureClass::Interrupted, reason);
        }
    }

    /// Id of the active run of a cluster. `None` without a run, or while a new run has no id yet.
    pub fn running(&self, cluster: &str) -> Option<RunId> {
        match self.lock().slots.get(cluster)?.busy.as_ref()? {
            Busy::Run { run_id, .. } => *run_id,
            Busy::Upkeep { .. } | Busy::Restore => None,
        }
    }

    /// Whether a run is active or about to begin on a cluster.
    pub fn has_run(&self, cluster: &str) -> bool {
        matches!(self.lock().slots.get(cluster).and_then(|s| s.busy.as_ref()), Some(Busy::Run { .. }))
    }

    /// Begins the shutdown: no new run starts. A run that has paused exporting has until `until` (monotonic
    /// time) to resume.
    pub fn go_down(&self, until: Duration) {
        let mut inner = self.lock();
        inner.going_down = Some(until);
        for slot in inner.slots.values() {
            match &slot.busy {
                Some(Busy::Run { stop, .. }) => {
                    stop.send_replace(Stop::Shutdown { until });
                }
                Some(Busy::Upkeep { yield_now, .. }) => yield_now.cancel(),
                Some(Busy::Restore) | None => {}
            }
        }
    }

    /// Number of clusters with a run that is active or about to begin.
    pub fn under_way(&self) -> usize {
        self.lock().slots.values().filter(|s| matches!(s.busy, Some(Busy::Run { .. }))).count()
    }

    /// Whether shutdown has begun.
    pub fn going_down(&self) -> bool {
        self.lock().going_down.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.inner)
    }
}
