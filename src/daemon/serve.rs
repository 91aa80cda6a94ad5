//! `serve`: the process around the daemon, from the config file to the exit code.
//!
//! Owns the order of start-up and exit. If a start fails for any reason, the pending resumes are sent before
//! the exit (rule I1). Must not decide when backups run.

use super::notify::{self, Notifier};
use super::signals::{self, Signal, SignalStream};
use super::{Daemon, DaemonError};
use crate::api::listen::{self, Listeners};
use crate::camunda::{HttpTransport, SharedTransport, TransportError};
use crate::clock::{SharedClock, SystemClock};
use crate::config::directories::state_dir_of;
use crate::config::{self, ClusterConfig, Config, Diagnostic, Environment};
use crate::domain::Instant;
use crate::logging::{self, LogHandle};
use crate::pause::credentials::Keyring;
use crate::pause::offline::{OfflineResult, resume_from, transport_of};
use crate::store::sqlite::{FILE, SqliteStore, StateLock};
use crate::store::{PendingResume, SharedStore, StoreError, unconfirmed};
use futures::StreamExt;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Time limit for sending the pending resumes before a failed start exits.
const RESUME_BEFORE_EXIT: Duration = Duration::from_secs(45);
/// Remedy text if some resumes are still pending after `RESUME_BEFORE_EXIT`.
const NEXT: &str = "fix this, then run `resume-exporting --pending`, or start the daemon again";
/// Time without a tick of the dispatch loop after which the watchdog is not fed. The loop normally ticks
/// twice a second.
const STALLED: Duration = Duration::from_secs(10);

/// Transport to the clusters, or the error of its TLS set-up.
type Route = Result<SharedTransport, TransportError>;

/// Error that ends `serve`.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Text of all errors, ready to print for the operator.
    pub text: String,
    /// Whether a restart without any change may help. This holds if the state could not be written, or if a
    /// resume is pending: every start sends pending resumes.
    pub transient: bool,
}

/// Runs the daemon until a signal stops it.
pub(crate) async fn serve(path: &Path) -> Result<(), Refused> {
    // Register the signal handlers first: a signal without a handler would end the process at any point.
    let signals = signals::register().map_err(refused)?;
    let clock = SystemClock::shared();
    let environment = Environment::from_process(clock.now());
    let loaded = match config::load(path, &environment) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            // Log the pending resumes that are sent now, with the default log settings: the config is
            // invalid.
            let log = logging::init("info", logging::LogFormat::Auto).ok();
            let text = config::diagnostic::render(&diagnostics, std::io::stderr().is_terminal());
            let state_dir = state_dir_of(path, environment.state_directory.as_ref());
            let route = transport_of(None, path, &environment, &state_dir, &clock);
            return Err(Refused { text, transient: false }
                .after_resuming(&state_dir, route, &clock, log.as_ref())
                .await);
        }
    };
    let config = loaded.config;
    let daemon = &config.daemon;
    let keyring = Keyring::of(&environment, daemon.credentials_dir.clone(), daemon.runtime_dirs());
    let route =
        HttpTransport::with(keyring.clone(), clock.clone()).map(|route| Arc::new(route) as SharedTransport);
    let log = logging::init(&config.log.level, config.log.format).map_err(refused);
    let log = match log {
        Ok(log) => log,
        Err(refused) => {
            return Err(refused.after_resuming(&config.daemon.state_dir, route, &clock, None).await);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!(event = "config.loaded", reason = one_line(warning));
    }
    let state_dir = config.daemon.state_dir.clone();
    if let Some(text) = missing_credentials_dir(&config, &environment) {
        return Err(refused(text).after_resuming(&state_dir, route, &clock, Some(&log)).await);
    }
    let (store, lock) = match SqliteStore::open(&state_dir) {
        Ok(opened) => opened,
        // Another daemon uses this state file and sends its pending resumes itself.
        Err(error @ StoreError::InUse { .. }) => return Err(refused(error)),
        Err(error) => {
            let transient = matches!(error, StoreError::Unwritable { .. } | StoreError::DiskFails { .. });
            let refused = Refused { transient, ..refused(error) };
            return Err(refused.after_resuming(&state_dir, route, &clock, Some(&log)).await);
        }
    };
    log_state(&lock, &state_dir);
    match come_up(config, store, route.clone(), &clock, lock.lost()).await {
        Ok((daemon, listeners, notifier)) => {
            run(path, daemon, listeners, notifier, &keyring, &log, signals).await
        }
        Err(refused) => Err(refused.after_resuming(&state_dir, route, &clock, Some(&log)).await),
    }
}

/// Logs that the state file is new or has lost commits. A lost or unmounted state directory looks like a
/// first start.
fn log_state(lock: &StateLock, state_dir: &Path) {
    if lock.made() {
        tracing::warn!(event = "store.created", path = %state_dir.join(FILE).display(),
            reason = "a new state file was created. If one was expected here, stop the daemon and restore the newest copy, or run `adopt` for each cluster");
    }
    if let Some(lost) = lock.lost() {
        tracing::error!(event = "store.behind", path = %state_dir.join(FILE).display(), reason = lost);
    }
}

async fn come_up(
    config: Config,
    store: SharedStore,
    route: Route,
    clock: &SharedClock,
    lost: Option<&str>,
) -> Result<(Arc<Daemon>, Listeners, Arc<Notifier>), Refused> {
    let notifier = Arc::new(Notifier::from_env().map_err(refused)?);
    let listeners = listen::open(&config).await.map_err(refused)?;
    let transport = route.map_err(refused)?;
    let daemon = Daemon::start(config, store, transport, clock.clone()).await.map_err(|error| {
        let transient = matches!(
            error,
            DaemonError::Store(
                StoreError::Unwritable { .. } | StoreError::DiskFails { .. } | StoreError::Unknown { .. }
            )
        );
        Refused { transient, ..refused(error) }
    })?;
    *crate::lock::lock(&daemon.state_lost) = lost.map(str::to_owned);
    daemon.start_rounds();
    Ok((daemon, listeners, notifier))
}

async fn run(
    path: &Path,
    daemon: Arc<Daemon>,
    listeners: Listeners,
    notifier: Arc<Notifier>,
    keyring: &Keyring,
    log: &LogHandle,
    mut signals: SignalStream,
) -> Result<(), Refused> {
    if let Some(address) = listeners.http_address() {
        tracing::info!(event = "http.listening", address = %address);
    }
    let shutdown = listeners.serve(
        daemon.context.store.clone(),
        daemon.clone(),
        &daemon.context.clock,
        &daemon.context.tasks,
    );
    feed_watchdog(&daemon, &notifier);
    log_failure(notifier.ready("running"));
    while let Some(signal) = signals.next().await {
        match signal {
            Signal::Terminate => break,
            Signal::Reload => {
                log_failure(notifier.reloading());
                reload(path, &daemon, keyring, log).await;
                log_failure(notifier.ready("running"));
            }
            Signal::Status => {
                tracing::info!(
                    event = "daemon.heartbeat",
                    running = daemon.queue.under_way(),
                    requested_by = "signal"
                );
            }
        }
    }
    log_failure(notifier.stopping("stopping: runs leave their pause windows"));
    daemon.stop(|needed| log_failure(notifier.extend_timeout(needed))).await;
    let left = still_pending_at_exit(daemon.pending_resumes_at_exit().await, daemon.context.clock.now());
    shutdown.cancel();
    let _ = daemon.context.store.close().await;
    log.flush(Duration::from_secs(2));
    left
}

/// Reports resumes that are still pending at the exit, in the log and by the exit code.
fn still_pending_at_exit(pending: Result<Vec<PendingResume>, String>, now: Instant) -> Result<(), Refused> {
    let pending = pending.map_err(|error| Refused {
        transient: true,
        ..refused(format!("the pending resumes cannot be read ({error}). Run `resume-exporting --pending`"))
    })?;
    for PendingResume { cluster, run_id, intended_at, .. } in
        pending.iter().filter(|pending_resume| pending_resume.may_be_paused())
    {
        tracing::error!(event = "exporting.still_paused", cluster, %run_id, owner = "us",
            seconds = (now - *intended_at).num_seconds(), reason = "the daemon stopped before the resume was confirmed");
    }
    let texts = pending.iter().map(|pending_resume| {
        if pending_resume.may_be_paused() {
            return unconfirmed(&pending_resume.cluster, &pending_resume.why(), NEXT);
        }
        format!(
            "cluster {}: {}; the next start sends it once more",
            pending_resume.cluster,
            pending_resume.why()
        )
    });
    let text = texts.collect::<Vec<_>>().join("\nerror: ");
    if text.is_empty() { Ok(()) } else { Err(Refused { transient: true, ..refused(text) }) }
}

/// Feeds the watchdog while the dispatch loop ticks. Errors of the store are ignored: a full disk must not
/// cause restart after restart.
fn feed_watchdog(daemon: &Arc<Daemon>, notifier: &Arc<Notifier>) {
    let Some(interval) = notify::watchdog_interval() else { return };
    let (daemon, notifier) = (daemon.clone(), notifier.clone());
    let tasks = daemon.context.tasks.clone();
    tasks.spawn(async move {
        loop {
            if daemon.timetable.since_tick() < STALLED {
                log_failure(notifier.watchdog());
            }
            daemon.context.clock.sleep(interval).await;
        }
    });
}

/// Reads the config file again and applies it. A rejected file changes nothing (rule I12).
async fn reload(path: &Path, daemon: &Daemon, keyring: &Keyring, log: &LogHandle) {
    let environment = Environment::from_process(daemon.context.clock.now());
    let new = match config::load(path, &environment) {
        Ok(loaded) => loaded.config,
        Err(diagnostics) => {
            return daemon.refuse_config(diagnostics.iter().map(one_line).collect::<Vec<_>>().join("; "));
        }
    };
    if let Some(why) = missing_credentials_dir(&new, &environment) {
        return daemon.refuse_config(why);
    }
    let running = daemon.config.load_full();
    if let Some(key) = needs_restart(&running, &new) {
        return daemon
            .refuse_config(format!("a reload cannot change {key}. Restart the daemon to change it"));
    }
    let (level, credentials_dir) = (new.log.level.clone(), new.daemon.credentials_dir.clone());
    if let Err(error) = daemon.apply(new).await {
        return daemon.refuse_config(error.to_string());
    }
    keyring.move_to(credentials_dir);
    if let Err(error) = log.set_level(&level) {
        daemon.refuse_config(error);
    }
}

/// Error if a cluster needs credentials and no directory for them is known. Not part of `config::load`,
/// because some commands load the config without needing credentials.
fn missing_credentials_dir(config: &Config, environment: &Environment) -> Option<String> {
    if environment.credentials_directory.is_some() || config.daemon.credentials_dir.is_some() {
        return None;
    }
    let needs_credentials = |cluster: &&ClusterConfig| {
        cluster.addresses.access.values().any(|access| access.credentials().next().is_some())
    };
    let name = &config.clusters.values().find(needs_credentials)?.name;
    Some(format!(
        "cluster {name} needs credentials, but no credentials directory is known. Set credentials_dir under [daemon], or run under systemd with LoadCredential"
    ))
}

fn needs_restart(running: &Config, new: &Config) -> Option<&'static str> {
    let pairs = [
        ("[daemon] state_dir", running.daemon.state_dir != new.daemon.state_dir),
        ("[daemon] runtime_dir", running.daemon.runtime_dir != new.daemon.runtime_dir),
        ("[daemon] instance", running.daemon.instance != new.daemon.instance),
        ("[daemon] max_parallel_runs", running.daemon.max_parallel_runs != new.daemon.max_parallel_runs),
        ("[http] listen", running.http.listen != new.http.listen),
        ("[log] format", running.log.format != new.log.format),
    ];
    pairs.into_iter().find(|(_, differs)| *differs).map(|(name, _)| name)
}

impl Refused {
    /// Sends the pending resumes of the state file before the exit (rule I1). Adds those that stay pending to
    /// the text.
    async fn after_resuming(
        self,
        state_dir: &Path,
        route: Route,
        clock: &SharedClock,
        log: Option<&LogHandle>,
    ) -> Self {
        let refused = self.and(resume_until_confirmed(state_dir, route, clock).await);
        if let Some(log) = log {
            log.flush(Duration::from_secs(2));
        }
        refused
    }

    /// Adds the result of the resumes to the error. A resume that is still pending makes the error transient.
    fn and(mut self, resumed: Result<OfflineResult, String>) -> Self {
        // A restart helps if a resume is pending: even a start that fails for the same reason sends the
        // resume again.
        self.transient |= resumed.as_ref().is_ok_and(|result| !result.still_pending.is_empty());
        for still in still_pending_text(resumed, &self.text) {
            self.text.push_str("error: ");
            self.text.push_str(&still);
            self.text.push('\n');
        }
        self
    }
}

/// One sentence for each cluster whose resume is still pending. `printed` is the error text that is printed
/// as well.
fn still_pending_text(resumed: Result<OfflineResult, String>, printed: &str) -> Vec<String> {
    match resumed {
        Ok(OfflineResult { still_pending, unread, .. }) => {
            let still_pending = still_pending.iter().map(|(cluster, why)| unconfirmed(cluster, why, NEXT));
            still_pending.chain(unread).collect()
        }
        // The printed text already contains this error, for example if the state file cannot be used.
        Err(error) if printed.contains(&error) => vec![],
        Err(error) => vec![format!("the pending resumes could not be sent: {error}")],
    }
}

async fn resume_until_confirmed(
    state_dir: &Path,
    route: Route,
    clock: &SharedClock,
) -> Result<OfflineResult, String> {
    let transport = route.map_err(|error| error.to_string())?;
    resume_from(state_dir, transport, clock.clone(), String::new(), RESUME_BEFORE_EXIT)
        .await
        .map_err(|error| error.to_string())
}

/// Formats a config diagnostic as one line of the log: location, message, remedy.
fn one_line(diagnostic: &Diagnostic) -> String {
    let location =
        diagnostic.labels.first().map(|l| format!("{}:{}: ", l.file.display(), l.line)).unwrap_or_default();
    let help = diagnostic.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
    format!("{location}{}{help}", diagnostic.message)
}

fn refused(error: impl std::fmt::Display) -> Refused {
    Refused { text: format!("error: {error}\n"), transient: false }
}

fn log_failure(result: Result<(), String>) {
    if let Err(error) = result {
        tracing::warn!(event = "notify.failed", reason = error);
    }
}

impl From<DaemonError> for Refused {
    fn from(error: DaemonError) -> Self {
        refused(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failed_start_lists_each_resume_that_is_still_pending() {
        let still_pending = [("orders", "zeebe answered 503"), ("shop", "nobody listens")];
        let still_pending = still_pending.map(|(cluster, why)| (cluster.to_owned(), why.to_owned())).into();
        let texts = still_pending_text(
            Ok(OfflineResult { still_pending, ..OfflineResult::default() }),
            "error: the port is taken\n",
        );
        let expected = [
            "the resume of orders is still pending, so exporting may be paused there: zeebe answered 503; fix \
             this, then run `resume-exporting --pending`, or start the daemon again",
            "the resume of shop is still pending, so exporting may be paused there: nobody listens; fix this, \
             then run `resume-exporting --pending`, or start the daemon again",
        ];
        assert_eq!(texts, expected);
        assert_eq!(still_pending_text(Ok(OfflineResult::default()), ""), Vec::<String>::new());
        assert_eq!(
            still_pending_text(Err("it is damaged".into()), "error: it is damaged\n"),
            Vec::<String>::new()
        );
    }

    /// systemd does not restart a service after exit status 2. A failed start with a pending resume must be
    /// transient, which gives another status.
    #[test]
    fn failed_start_with_a_pending_resume_is_transient() {
        let still_pending = [("orders".to_owned(), "it is not up yet".to_owned())].into();
        let again = refused("the config is refused")
            .and(Ok(OfflineResult { still_pending, ..OfflineResult::default() }));
        assert!(
            again.transient && again.text.contains("the resume of orders is still pending"),
            "{}",
            again.text
        );
        for resumed in [Ok(OfflineResult::default()), Err("it is damaged".to_owned())] {
            assert!(!refused("the config is refused").and(resumed).transient);
        }
    }
}
