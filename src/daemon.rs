//! The daemon: wires all parts; start-up is a reload from nothing.
//!
//! Owns the life of the process: what comes first (debts), what a config change does, what stops in which order.
//! Must not know how a run, a timetable or a route works.

pub mod apply;
pub mod control;
pub mod notify;
pub mod restore;
pub mod rounds;
pub mod serve;
pub mod signals;
pub mod watch;

use crate::camunda::SharedTransport;
use crate::clock::{SharedClock, Tasks, within};
use crate::config::Config;
use crate::context::Context;
use crate::context::resume_attempts::ResumeAttempts;
use crate::domain::instant_text;
use crate::lock::lock;
use crate::pause::sweep::Sweeper;
use crate::queue::Queue;
use crate::schedule::dispatch::{Dispatch, DispatchError, Shared};
use crate::store::{PendingResume, SharedStore, StoreError};
use arc_swap::ArcSwap;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Everything that lives as long as the process.
pub struct Daemon {
    pub(crate) context: Context,
    pub(crate) queue: Queue,
    pub(crate) sweeper: Sweeper,
    pub(crate) timetable: Arc<Shared>,
    pub(crate) config: ArcSwap<Config>,
    pub(crate) started_at: crate::domain::Instant,
    pub(crate) config_refused: Mutex<Option<String>>,
    /// Why the state could not be written when that was tried last.
    pub(crate) store_probe: Mutex<Option<String>>,
    /// What the state had lost when the daemon came up; nothing that it writes since makes that good.
    pub(crate) state_lost: Mutex<Option<String>>,
    pub(crate) probes: Mutex<std::collections::BTreeMap<String, crate::api::LiveCluster>>,
    dispatch: tokio::sync::Mutex<Dispatch>,
    watch: Mutex<watch::Watch>,
}

/// Why the daemon does not come up or a config is not taken over.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dispatch loop refused.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
}

impl Daemon {
    /// Comes up on a loaded config, and is ticked by tokio-cron-scheduler from then on.
    pub async fn start(
        config: Config,
        store: SharedStore,
        transport: SharedTransport,
        clock: SharedClock,
    ) -> Result<Arc<Self>, DaemonError> {
        let daemon = Self::come_up(config, store, transport, clock).await?;
        daemon.dispatch.lock().await.start().await?;
        tracing::info!(event = "daemon.started", version = env!("CARGO_PKG_VERSION"),
            instance = %daemon.context.instance);
        Ok(daemon)
    }

    /// Everything but the ticks: first every debt that no live run will pay, then the rest. Whoever calls this ticks.
    pub async fn come_up(
        config: Config,
        store: SharedStore,
        transport: SharedTransport,
        clock: SharedClock,
    ) -> Result<Arc<Self>, DaemonError> {
        let config = Arc::new(config);
        let context = Context {
            store: store.clone(),
            transport,
            clock: clock.clone(),
            tasks: Tasks::new(),
            instance: config.daemon.instance.clone(),
            attempts: ResumeAttempts::default(),
            whereabouts: Arc::default(),
        };
        let sweeper = Sweeper::new(context.clone());
        let queue = Queue::new(context.clone(), sweeper.clone(), config.daemon.max_parallel_runs);
        queue.configure(apply::settings(&config, &[]));
        queue.recover().await?;

        let submit = {
            let queue = queue.clone();
            Arc::new(move |rows| queue.submit(rows))
        };
        let timetable = Shared::new(clock.clone(), store, submit);
        let daemon = Arc::new(Self {
            dispatch: tokio::sync::Mutex::new(Dispatch::new(timetable.clone())),
            config: ArcSwap::new(config.clone()),
            started_at: clock.now(),
            config_refused: Mutex::default(),
            store_probe: Mutex::default(),
            state_lost: Mutex::default(),
            probes: Mutex::default(),
            watch: Mutex::default(),
            context,
            queue,
            sweeper,
            timetable,
        });
        daemon.apply(config).await?;
        daemon.take_over_waiting().await?;
        Ok(daemon)
    }

    /// One tick of the timetable.
    pub async fn tick(&self) {
        self.timetable.tick().await;
    }

    /// Occurrences that were claimed and never begun start if they are still inside their window (design 4).
    async fn take_over_waiting(&self) -> Result<(), DaemonError> {
        let now = self.context.clock.now();
        let config = self.config.load();
        let waiting = self.context.store.waiting().await?;
        let (mut inside, mut over, mut homeless) = (vec![], vec![], vec![]);
        for row in waiting {
            if !config.clusters.contains_key(&row.occurrence.cluster) {
                homeless.push(row.occurrence);
            } else if row.start_until <= now {
                over.push(row.occurrence);
            } else {
                inside.push(row);
            }
        }
        self.skip(over, "the daemon was down until start_within was over").await?;
        self.skip(homeless, "the cluster was taken out of the config while the daemon was down").await?;
        self.queue.submit(inside);
        Ok(())
    }

    async fn skip(
        &self,
        occurrences: Vec<crate::domain::Occurrence>,
        reason: &str,
    ) -> Result<(), StoreError> {
        if occurrences.is_empty() {
            return Ok(());
        }
        for o in &occurrences {
            tracing::warn!(event = "occurrence.skipped", schedule = %o.schedule, cluster = %o.cluster,
                due_at = instant_text(o.due_at), reason);
        }
        self.context.store.skip(occurrences, reason.to_owned()).await
    }

    /// Stops: no new run; runs in their pause window have `shutdown_grace` to leave it. Returns when nothing is under
    /// way or the grace and a little more is over; what is left is re-entered, and paid for, by the next start.
    pub async fn stop(&self, tell: impl Fn(Duration)) {
        let grace = self.config.load().daemon.shutdown_grace;
        let clock = &self.context.clock;
        let until = clock.monotonic() + grace;
        // First of all: nothing may begin while the state is asked.
        self.queue.go_down(until);
        tell(grace + Duration::from_secs(30));
        self.say_stopping().await;
        self.dispatch.lock().await.stop().await;
        // A few seconds past the grace let an aborted run send its resume and write its last entry.
        while self.queue.under_way() > 0 && clock.monotonic() < until + Duration::from_secs(15) {
            clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Whoever signals twice ends the process in the signal's handler, which can tell nothing: it is told before.
    async fn say_stopping(&self) {
        let under_way = self.queue.under_way();
        let owed = match self.owed().await {
            Ok(owed) => owed,
            Err(error) => {
                let reason = format!("what is owed could not be read: {error}");
                return tracing::warn!(event = "daemon.stopping", under_way, reason);
            }
        };
        let paused: BTreeSet<&str> = owed
            .iter()
            .filter(|pending_resume| pending_resume.may_be_paused())
            .map(|pending_resume| pending_resume.cluster.as_str())
            .collect();
        if paused.is_empty() {
            return tracing::info!(event = "daemon.stopping", under_way, pending_resumes = owed.len());
        }
        let paused = paused.into_iter().collect::<Vec<_>>().join(", ");
        tracing::warn!(
            event = "daemon.stopping",
            under_way,
            pending_resumes = owed.len(),
            reason = format!(
                "exporting of {paused} is paused by us and is resumed first; a second signal ends the daemon at once and leaves that to ExecStopPost, `resume-exporting --pending` or the next start"
            )
        );
    }

    /// What is owed; a store that hangs keeps nobody from stopping.
    pub(crate) async fn owed(&self) -> Result<Vec<PendingResume>, String> {
        match within(&*self.context.clock, Duration::from_secs(2), self.pending_resumes()).await {
            Some(owed) => owed.map_err(|error| error.to_string()),
            None => Err("the state did not answer within 2s".into()),
        }
    }

    /// Where its work is tracked.
    pub fn tasks(&self) -> Tasks {
        self.context.tasks.clone()
    }

    /// Notes that a reload was refused; the running config goes on (rule I12).
    pub fn refuse_config(&self, why: String) {
        // Whoever reads the event finds it on /health.
        *lock(&self.config_refused) = Some(why.clone());
        tracing::error!(event = "config.rejected", reason = why);
    }
}
