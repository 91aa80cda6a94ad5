//! The daemon: wires all modules; start-up is a reload from an empty config.
//!
//! Owns the order of start-up (pending resumes first), config changes and shutdown. Must not know how a run, a
//! timetable or a route works.

pub(crate) mod apply;
pub(crate) mod control;
pub(crate) mod notify;
pub(crate) mod restore;
pub(crate) mod rounds;
pub(crate) mod serve;
pub(crate) mod signals;
pub(crate) mod watch;

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

/// State with the lifetime of the process.
pub struct Daemon {
    pub(crate) context: Context,
    pub(crate) queue: Queue,
    pub(crate) sweeper: Sweeper,
    pub(crate) timetable: Arc<Shared>,
    pub(crate) config: ArcSwap<Config>,
    pub(crate) started_at: crate::domain::Instant,
    pub(crate) config_refused: Mutex<Option<String>>,
    /// Error of the last test write to the store, if it failed.
    pub(crate) store_probe: Mutex<Option<String>>,
    /// Loss of commits found at start-up; stays until the next start.
    pub(crate) state_lost: Mutex<Option<String>>,
    pub(crate) probes: Mutex<std::collections::BTreeMap<String, crate::api::LiveCluster>>,
    dispatch: tokio::sync::Mutex<Dispatch>,
    watch: Mutex<watch::Watch>,
}

/// Failure of a start or of a config change.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dispatch loop did not start or change.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
}

impl Daemon {
    /// Starts on a loaded config; tokio-cron-scheduler ticks it from then on.
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

    /// Starts without a timer: first every pending resume without a live run, then the rest. The caller ticks.
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
            current_addresses: Arc::default(),
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

    /// Submits claimed occurrences that never started and are still inside `start_within`; skips the others.
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

    /// Stops: no run starts, and runs in their pause window have `shutdown_grace` to leave it. Returns when no run is in
    /// progress, or 15 s after the grace. The next start continues the rest and sends its pending resumes.
    pub async fn stop(&self, extend: impl Fn(Duration)) {
        let grace = self.config.load().daemon.shutdown_grace;
        let clock = &self.context.clock;
        let until = clock.monotonic() + grace;
        // First of all: no run may start while the store is read.
        self.queue.go_down(until);
        extend(grace + Duration::from_secs(30));
        self.log_stopping().await;
        self.dispatch.lock().await.stop().await;
        // A few seconds past the grace let an aborted run send its resume and write its last entry.
        while self.queue.under_way() > 0 && clock.monotonic() < until + Duration::from_secs(15) {
            clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Logs the start of the shutdown. A second signal ends the process in the signal handler, which cannot log.
    async fn log_stopping(&self) {
        let under_way = self.queue.under_way();
        let pending = match self.pending_resumes_at_exit().await {
            Ok(pending) => pending,
            Err(error) => {
                let reason = format!("the pending resumes could not be read: {error}");
                return tracing::warn!(event = "daemon.stopping", under_way, reason);
            }
        };
        let paused: BTreeSet<&str> = pending
            .iter()
            .filter(|pending_resume| pending_resume.may_be_paused())
            .map(|pending_resume| pending_resume.cluster.as_str())
            .collect();
        if paused.is_empty() {
            return tracing::info!(event = "daemon.stopping", under_way, pending_resumes = pending.len());
        }
        let paused = paused.into_iter().collect::<Vec<_>>().join(", ");
        tracing::warn!(
            event = "daemon.stopping",
            under_way,
            pending_resumes = pending.len(),
            reason = format!(
                "exporting of {paused} is paused by this daemon and is resumed first. A second signal ends the daemon at once; then ExecStopPost, `resume-exporting --pending` or the next start resumes it"
            )
        );
    }

    /// Pending resumes, read within 2 s: a store that hangs must not block the shutdown.
    pub(crate) async fn pending_resumes_at_exit(&self) -> Result<Vec<PendingResume>, String> {
        match within(&*self.context.clock, Duration::from_secs(2), self.pending_resumes()).await {
            Some(pending) => pending.map_err(|error| error.to_string()),
            None => Err("the store did not respond within 2s".into()),
        }
    }

    /// Handle to the background tasks of the daemon.
    pub fn tasks(&self) -> Tasks {
        self.context.tasks.clone()
    }

    /// Records that a reload was rejected; the active config stays (rule I12).
    pub fn refuse_config(&self, why: String) {
        // Before the event: /health has the reason when the event is read.
        *lock(&self.config_refused) = Some(why.clone());
        tracing::error!(event = "config.rejected", reason = why);
    }
}
