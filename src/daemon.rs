//! The daemon: connects all modules, and owns the order of start-up, config changes and shutdown.
//!
//! Start-up handles pending resumes and unfinished runs first, then applies the config like a reload. Must
//! not know how a run, a timetable or a route works.
//!
//! | task | file |
//! |---|---|
//! | Run the process: config file, signals, exit code | `serve` |
//! | Apply a config at start-up and on reload | `apply` |
//! | Run the periodic tasks | `rounds` |
//! | Log changes of health | `watch` |
//! | Carry out the commands of the control socket | `control`, `restore` |
//! | Receive signals, notify systemd | `signals`, `notify` |

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

/// State of the daemon that exists until the process ends.
pub struct Daemon {
    pub(crate) context: Context,
    pub(crate) queue: Queue,
    pub(crate) sweeper: Sweeper,
    pub(crate) timetable: Arc<Shared>,
    pub(crate) config: ArcSwap<Config>,
    pub(crate) started_at: crate::domain::Instant,
    pub(crate) config_refused: Mutex<Option<String>>,
    /// Error of the last test write to the store. `None` if the write succeeded.
    pub(crate) store_probe: Mutex<Option<String>>,
    /// Text about commits that the state file had lost at start-up. Kept until the next start.
    pub(crate) state_lost: Mutex<Option<String>>,
    pub(crate) probes: Mutex<std::collections::BTreeMap<String, crate::api::LiveCluster>>,
    dispatch: tokio::sync::Mutex<Dispatch>,
    watch: Mutex<watch::Watch>,
}

/// Error of a start or of a config change.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The dispatch loop could not be started or updated.
    #[error(transparent)]
    Dispatch(#[from] DispatchError),
}

impl Daemon {
    /// Starts the daemon with a loaded config. From then on, the timer of tokio-cron-scheduler ticks the
    /// timetable.
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

    /// Starts the daemon without the timer: the caller starts the timer or calls `tick`. Pending resumes and
    /// unfinished runs are handled before the config is applied.
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

    /// Claims and submits the occurrences that are due.
    pub async fn tick(&self) {
        self.timetable.tick().await;
    }

    /// Submits the claimed occurrences that an earlier process did not start, if `start_within` is not over.
    /// Skips the others.
    async fn take_over_waiting(&self) -> Result<(), DaemonError> {
        let now = self.context.clock.now();
        let config = self.config.load();
        let waiting = self.context.store.waiting().await?;
        let (mut inside, mut over, mut of_removed_clusters) = (vec![], vec![], vec![]);
        for row in waiting {
            if !config.clusters.contains_key(&row.occurrence.cluster) {
                of_removed_clusters.push(row.occurrence);
            } else if row.start_until <= now {
                over.push(row.occurrence);
            } else {
                inside.push(row);
            }
        }
        self.skip(over, "the daemon was down until start_within was over").await?;
        self.skip(of_removed_clusters, "the cluster was taken out of the config while the daemon was down")
            .await?;
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

    /// Stops the daemon: no new run starts, and runs that have paused exporting have `shutdown_grace` to
    /// resume. Returns when no run is in progress, or 15 s after the grace. Unfinished runs and pending
    /// resumes are left to the next start. `extend` requests more time from systemd.
    pub async fn stop(&self, extend: impl Fn(Duration)) {
        let grace = self.config.load().daemon.shutdown_grace;
        let clock = &self.context.clock;
        let until = clock.monotonic() + grace;
        // Begin the shutdown of the queue first: no run may start while the store is read.
        self.queue.go_down(until);
        extend(grace + Duration::from_secs(30));
        self.log_stopping().await;
        self.dispatch.lock().await.stop().await;
        // Wait up to 15 s past the grace, so that an aborted run can send its resume and write its last
        // entry.
        while self.queue.under_way() > 0 && clock.monotonic() < until + Duration::from_secs(15) {
            clock.sleep(Duration::from_millis(50)).await;
        }
    }

    /// Logs the start of the shutdown and the paused clusters now: a second signal ends the process in the
    /// signal handler, which cannot log.
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

    /// Reads the pending resumes within 2 s: a store that hangs must not block the shutdown.
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

    /// Records that a config was rejected on reload. The active config stays (rule I12).
    pub fn refuse_config(&self, why: String) {
        // Store the reason before the event is logged: a reader of the event must find the reason at
        // `/health`.
        *lock(&self.config_refused) = Some(why.clone());
        tracing::error!(event = "config.rejected", reason = why);
    }
}
