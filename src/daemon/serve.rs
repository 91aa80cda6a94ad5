//! `serve`: the process around the daemon, from the config file to the exit code.
//!
//! Whatever keeps the daemon from coming up, the debts are paid first (rule I1).

use super::notify::{self, Notifier};
use super::signals::{self, Signal, SignalStream};
use super::{Daemon, DaemonError};
use crate::api::listen::{self, Listeners};
use crate::camunda::{HttpTransport, SharedTransport, TransportError};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, ClusterConfig, Config, Diagnostic, Environment};
use crate::domain::Instant;
use crate::logging::{self, LogHandle};
use crate::pause::credentials::Keyring;
use crate::pause::offline::{OfflineResult, resume_from, state_dir_of, transport_of};
use crate::store::sqlite::{FILE, SqliteStore, StateLock};
use crate::store::{PendingResume, SharedStore, StoreError, unconfirmed};
use futures::StreamExt;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a daemon that cannot come up goes on paying debts.
const PAY: Duration = Duration::from_secs(45);
/// What is left to do where that did not pay all of them.
const NEXT: &str = "mend that, then run `resume-exporting --pending`, or start the daemon again";
/// The dispatch loop ticks twice a second; when it has not for so long, the watchdog is not fed.
const STALLED: Duration = Duration::from_secs(10);

/// The way to the clusters, or why TLS cannot be set up.
type Route = Result<SharedTransport, TransportError>;

/// Why `serve` ended before its time. The text is for the operator, ready to print.
#[derive(Debug)]
pub struct Refused {
    /// Everything that is wrong.
    pub text: String,
    /// Starting again may help without anybody's doing: the state could not be written just now, or a resume is owed,
    /// which a start sends whatever else keeps it from coming up.
    pub transient: bool,
}

/// Runs the daemon until it is told to stop.
pub async fn serve(path: &Path) -> Result<(), Refused> {
    // First of all: a signal without a handler would end the process wherever it is.
    let signals = signals::register().map_err(refused)?;
    let clock = SystemClock::shared();
    let environment = Environment::from_process(clock.now());
    let loaded = match config::load(path, &environment) {
        Ok(loaded) => loaded,
        Err(diagnostics) => {
            // What is paid now must stand in the log too.
            let log = logging::init("info", logging::LogFormat::Auto).ok();
            let text = config::diagnostic::render(&diagnostics, std::io::stderr().is_terminal());
            let state_dir = state_dir_of(path, environment.state_directory.as_ref());
            let route = transport_of(None, path, &environment, &state_dir, &clock);
            return Err(Refused { text, transient: false }
                .after_paying(&state_dir, route, &clock, log.as_ref())
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
            return Err(refused.after_paying(&config.daemon.state_dir, route, &clock, None).await);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!(event = "config.loaded", reason = one_line(warning));
    }
    let state_dir = config.daemon.state_dir.clone();
    if let Some(text) = nowhere_to_look(&config, &environment) {
        return Err(refused(text).after_paying(&state_dir, route, &clock, Some(&log)).await);
    }
    let (store, lock) = match SqliteStore::open(&state_dir) {
        Ok(opened) => opened,
        // The daemon that has it pays its own debts.
        Err(error @ StoreError::InUse { .. }) => return Err(refused(error)),
        Err(error) => {
            let transient = matches!(error, StoreError::Unwritable { .. } | StoreError::DiskFails { .. });
            let refused = Refused { transient, ..refused(error) };
            return Err(refused.after_paying(&state_dir, route, &clock, Some(&log)).await);
        }
    };
    tell_of_the_state(&lock, &state_dir);
    match come_up(config, store, route.clone(), &clock, lock.lost()).await {
        Ok((daemon, listeners, notifier)) => {
            run(path, daemon, listeners, notifier, &keyring, &log, signals).await
        }
        Err(refused) => Err(refused.after_paying(&state_dir, route, &clock, Some(&log)).await),
    }
}

/// A state directory that was lost or not mounted looks like a first start, and only the operator knows which it is.
fn tell_of_the_state(lock: &StateLock, state_dir: &Path) {
    if lock.made() {
        tracing::warn!(event = "store.created", path = %state_dir.join(FILE).display(),
            reason = "a new state file was made: if one was expected here, stop the daemon and restore the newest copy, or run `adopt` for each cluster");
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
    tell(notifier.ready("running"));
    while let Some(signal) = signals.next().await {
        match signal {
            Signal::Terminate => break,
            Signal::Reload => {
                tell(notifier.reloading());
                reload(path, &daemon, keyring, log).await;
                tell(notifier.ready("running"));
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
    tell(notifier.stopping("stopping: runs leave their pause windows"));
    daemon.stop(|needed| tell(notifier.extend_timeout(needed))).await;
    let left = left_owing(daemon.owed().await, daemon.context.clock.now());
    shutdown.cancel();
    let _ = daemon.context.store.close().await;
    log.flush(Duration::from_secs(2));
    left
}

/// A daemon that stops while it owes has not done what it is there for, and says so with its exit code too.
fn left_owing(owed: Result<Vec<PendingResume>, String>, now: Instant) -> Result<(), Refused> {
    let owed = owed.map_err(|error| Refused {
        transient: true,
        ..refused(format!(
            "whether a resume is owed cannot be told ({error}): run `resume-exporting --pending`"
        ))
    })?;
    for PendingResume { cluster, run_id, intended_at, .. } in
        owed.iter().filter(|pending_resume| pending_resume.may_be_paused())
    {
        tracing::error!(event = "exporting.still_paused", cluster, %run_id, owner = "us",
            seconds = (now - *intended_at).num_seconds(), reason = "the daemon has stopped before its resume was confirmed");
    }
    let said = owed.iter().map(|pending_resume| {
        if pending_resume.may_be_paused() {
            return unconfirmed(&pending_resume.cluster, &pending_resume.why(), NEXT);
        }
        format!(
            "of cluster {}: {}; the next start sends it once more",
            pending_resume.cluster,
            pending_resume.why()
        )
    });
    let text = said.collect::<Vec<_>>().join("\nerror: ");
    if text.is_empty() { Ok(()) } else { Err(Refused { transient: true, ..refused(text) }) }
}

/// The watchdog is fed by the dispatch loop, not by the store: a full disk must not become a restart loop.
fn feed_watchdog(daemon: &Arc<Daemon>, notifier: &Arc<Notifier>) {
    let Some(interval) = notify::watchdog_interval() else { return };
    let (daemon, notifier) = (daemon.clone(), notifier.clone());
    let tasks = daemon.context.tasks.clone();
    tasks.spawn(async move {
        loop {
            if daemon.timetable.since_tick() < STALLED {
                tell(notifier.watchdog());
            }
            daemon.context.clock.sleep(interval).await;
        }
    });
}

/// The file is read again, as it is now; a refused one changes nothing (rule I12).
async fn reload(path: &Path, daemon: &Daemon, keyring: &Keyring, log: &LogHandle) {
    let environment = Environment::from_process(daemon.context.clock.now());
    let new = match config::load(path, &environment) {
        Ok(loaded) => loaded.config,
        Err(diagnostics) => {
            return daemon.refuse_config(diagnostics.iter().map(one_line).collect::<Vec<_>>().join("; "));
        }
    };
    if let Some(why) = nowhere_to_look(&new, &environment) {
        return daemon.refuse_config(why);
    }
    let running = daemon.config.load_full();
    if let Some(what) = needs_restart(&running, &new) {
        return daemon
            .refuse_config(format!("{what} cannot be changed by a reload: restart the daemon to change it"));
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

/// A daemon must be able to read what its clusters want, which a command that only loads the config need not.
fn nowhere_to_look(config: &Config, environment: &Environment) -> Option<String> {
    if environment.credentials_directory.is_some() || config.daemon.credentials_dir.is_some() {
        return None;
    }
    let wants = |cluster: &&ClusterConfig| {
        cluster.addresses.access.values().any(|access| access.credentials().next().is_some())
    };
    let name = &config.clusters.values().find(wants)?.name;
    Some(format!(
        "cluster {name} wants credentials, and there is no directory in which to look for them: write credentials_dir under [daemon], or run under systemd with LoadCredential"
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
    /// Whatever keeps the daemon from coming up, what the state file says we owe is paid before the exit (rule I1).
    /// What stays owed is told.
    async fn after_paying(
        self,
        state_dir: &Path,
        route: Route,
        clock: &SharedClock,
        log: Option<&LogHandle>,
    ) -> Self {
        let told = self.and(resume_until_confirmed(state_dir, route, clock).await);
        if let Some(log) = log {
            log.flush(Duration::from_secs(2));
        }
        told
    }

    /// With what paying came to.
    fn and(mut self, paid: Result<OfflineResult, String>) -> Self {
        // The next start sends them once more, whatever keeps it from coming up.
        self.transient |= paid.as_ref().is_ok_and(|paid| !paid.still_pending.is_empty());
        for still in still_pending_text(paid, &self.text) {
            self.text.push_str("error: ");
            self.text.push_str(&still);
            self.text.push('\n');
        }
        self
    }
}

/// What is left, a sentence for each cluster; `told` is what the operator reads anyway.
fn still_pending_text(paid: Result<OfflineResult, String>, told: &str) -> Vec<String> {
    match paid {
        Ok(OfflineResult { still_pending, unread, .. }) => {
            let still_pending = still_pending.iter().map(|(cluster, why)| unconfirmed(cluster, why, NEXT));
            still_pending.chain(unread).collect()
        }
        // Of a state file that cannot be used, the refusal tells already.
        Err(error) if told.contains(&error) => vec![],
        Err(error) => vec![format!("debts could not be paid: {error}")],
    }
}

async fn resume_until_confirmed(
    state_dir: &Path,
    route: Route,
    clock: &SharedClock,
) -> Result<OfflineResult, String> {
    let transport = route.map_err(|error| error.to_string())?;
    resume_from(state_dir, transport, clock.clone(), String::new(), PAY)
        .await
        .map_err(|error| error.to_string())
}

/// A diagnostic as one line of the log: place, sentence, remedy.
fn one_line(diagnostic: &Diagnostic) -> String {
    let location =
        diagnostic.labels.first().map(|l| format!("{}:{}: ", l.file.display(), l.line)).unwrap_or_default();
    let help = diagnostic.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
    format!("{location}{}{help}", diagnostic.message)
}

fn refused(error: impl std::fmt::Display) -> Refused {
    Refused { text: format!("error: {error}\n"), transient: false }
}

fn tell(result: Result<(), String>) {
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
    fn a_start_that_is_refused_tells_of_each_debt_why_it_is_not_paid() {
        let still_pending = [("orders", "zeebe answered 503"), ("shop", "nobody listens")];
        let still_pending = still_pending.map(|(cluster, why)| (cluster.to_owned(), why.to_owned())).into();
        let said = still_pending_text(
            Ok(OfflineResult { still_pending, ..OfflineResult::default() }),
            "error: the port is taken\n",
        );
        let expected = [
            "the resume of orders is not settled yet, so that exporting may be paused there: zeebe answered 503; mend \
             that, then run `resume-exporting --pending`, or start the daemon again",
            "the resume of shop is not settled yet, so that exporting may be paused there: nobody listens; mend that, \
             then run `resume-exporting --pending`, or start the daemon again",
        ];
        assert_eq!(said, expected);
        assert_eq!(still_pending_text(Ok(OfflineResult::default()), ""), Vec::<String>::new());
        assert_eq!(
            still_pending_text(Err("it is damaged".into()), "error: it is damaged\n"),
            Vec::<String>::new()
        );
    }

    /// systemd leaves status 2 alone: whoever still owes must not end with it.
    #[test]
    fn whoever_is_refused_while_a_resume_is_owed_is_started_again() {
        let still_pending = [("orders".to_owned(), "it is not up yet".to_owned())].into();
        let again = refused("the config is refused")
            .and(Ok(OfflineResult { still_pending, ..OfflineResult::default() }));
        assert!(
            again.transient && again.text.contains("the resume of orders is not settled yet"),
            "{}",
            again.text
        );
        for paid in [Ok(OfflineResult::default()), Err("it is damaged".to_owned())] {
            assert!(!refused("the config is refused").and(paid).transient);
        }
    }
}
