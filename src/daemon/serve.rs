//! `serve`: the process around the daemon, from the config file to the exit code.
//!
//! Whatever keeps the daemon from coming up, the debts are paid first (rule I1).

use super::notify::{self, Notifier};
use super::offline::state_dir_of;
use super::signals::{self, Signal, SignalStream};
use super::{Daemon, DaemonError, pay_debts_offline};
use crate::api::listen::{self, Doors};
use crate::clients::http::HttpTransport;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Config, Diagnostic, Environment};
use crate::logging::{self, LogHandle};
use crate::store::SharedStore;
use crate::store::sqlite::SqliteStore;
use futures::StreamExt;
use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long a daemon that cannot come up goes on paying debts.
const PAY: Duration = Duration::from_secs(45);
/// The dispatch loop ticks twice a second; when it has not for so long, the watchdog is not fed.
const STALLED: Duration = Duration::from_secs(10);

/// Why `serve` ended before its time. The text is for the operator, ready to print.
#[derive(Debug)]
pub struct Refused {
    /// Everything that is wrong.
    pub text: String,
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
            let text = config::diagnostic::render(&diagnostics, std::io::stderr().is_terminal());
            let state_dir = state_dir_of(path, environment.state_directory.as_ref());
            let debts = pay_before_exit(&state_dir, &clock).await;
            return Err(Refused { text: format!("{text}{debts}") });
        }
    };
    let config = loaded.config;
    let log = logging::init(&config.log.level, format(config.log.format)).map_err(refused)?;
    for warning in &loaded.warnings {
        tracing::warn!(event = "config.loaded", reason = one_line(warning));
    }
    let (store, _lock) = SqliteStore::open(&config.daemon.state_dir).map_err(refused)?;
    let doors = match listen::open(&config).await {
        Ok(doors) => doors,
        Err(error) => {
            let debts = pay(store, &clock, config.daemon.instance.clone()).await;
            return Err(Refused { text: format!("error: {error}\n{debts}") });
        }
    };
    let transport = HttpTransport::shared().map_err(refused)?;
    let daemon = Daemon::start(config, store, transport, clock.clone()).await.map_err(refused)?;
    daemon.start_rounds();
    run(path, daemon, doors, &log, signals).await
}

async fn run(
    path: &Path,
    daemon: Arc<Daemon>,
    doors: Doors,
    log: &LogHandle,
    mut signals: SignalStream,
) -> Result<(), Refused> {
    let notifier = Arc::new(Notifier::from_env().map_err(refused)?);
    let shutdown = doors.serve(daemon.ground.store.clone(), daemon.clone(), &daemon.ground.tasks);
    feed_watchdog(&daemon, &notifier);
    tell(notifier.ready("running"));
    while let Some(signal) = signals.next().await {
        match signal {
            Signal::Terminate => break,
            Signal::Reload => {
                tell(notifier.reloading());
                reload(path, &daemon, log).await;
                tell(notifier.ready("running"));
            }
            Signal::Status => {
                tracing::info!(
                    event = "daemon.heartbeat",
                    running = daemon.queue.under_way(),
                    asked_by = "signal"
                );
            }
        }
    }
    tell(notifier.stopping("stopping: runs leave their pause windows"));
    daemon.stop(|needed| tell(notifier.extend_timeout(needed))).await;
    shutdown.cancel();
    let _ = daemon.ground.store.close().await;
    log.flush(Duration::from_secs(2));
    Ok(())
}

/// The watchdog is fed by the dispatch loop, not by the store: a full disk must not become a restart loop.
fn feed_watchdog(daemon: &Arc<Daemon>, notifier: &Arc<Notifier>) {
    let Some(interval) = notify::watchdog_interval() else { return };
    let (daemon, notifier) = (daemon.clone(), notifier.clone());
    let tasks = daemon.ground.tasks.clone();
    tasks.spawn(async move {
        loop {
            if daemon.timetable.since_tick() < STALLED {
                tell(notifier.watchdog());
            }
            daemon.ground.clock.sleep(interval).await;
        }
    });
}

/// The file is read again, as it is now; a refused one changes nothing (rule I12).
async fn reload(path: &Path, daemon: &Daemon, log: &LogHandle) {
    let environment = Environment::from_process(daemon.ground.clock.now());
    let new = match config::load(path, &environment) {
        Ok(loaded) => loaded.config,
        Err(diagnostics) => {
            return daemon.refuse_config(diagnostics.iter().map(one_line).collect::<Vec<_>>().join("; "));
        }
    };
    let running = daemon.config.load_full();
    if let Some(what) = needs_restart(&running, &new) {
        return daemon
            .refuse_config(format!("{what} cannot be changed by a reload: restart the daemon to change it"));
    }
    let level = new.log.level.clone();
    if let Err(error) = daemon.apply(new).await {
        return daemon.refuse_config(error.to_string());
    }
    if let Err(error) = log.set_level(&level) {
        daemon.refuse_config(error);
    }
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

/// Pays what the state file says we owe, before an exit with code 2. Returns a sentence if something stays owed.
async fn pay_before_exit(state_dir: &Path, clock: &SharedClock) -> String {
    match SqliteStore::open_without_lock(state_dir) {
        Ok(Some(store)) => pay(store, clock, String::new()).await,
        Ok(None) => String::new(),
        Err(error) => format!("error: debts could not be looked up: {error}\n"),
    }
}

async fn pay(store: SharedStore, clock: &SharedClock, instance: String) -> String {
    let Ok(transport) = HttpTransport::shared() else { return String::new() };
    match pay_debts_offline(store, transport, clock.clone(), instance, PAY).await {
        Ok(owing) if owing.is_empty() => String::new(),
        Ok(owing) => format!(
            "error: exporting of {} is still paused by us and could not be resumed: run `resume-exporting --if-ours`\n",
            owing.join(", ")
        ),
        Err(error) => format!("error: debts could not be paid: {error}\n"),
    }
}

/// A diagnostic as one line of the log: place, sentence, remedy.
fn one_line(diagnostic: &Diagnostic) -> String {
    let place =
        diagnostic.labels.first().map(|l| format!("{}:{}: ", l.file.display(), l.line)).unwrap_or_default();
    let help = diagnostic.help.as_ref().map(|h| format!(" ({h})")).unwrap_or_default();
    format!("{place}{}{help}", diagnostic.message)
}

fn format(format: config::LogFormat) -> logging::LogFormat {
    match format {
        config::LogFormat::Auto => logging::LogFormat::Auto,
        config::LogFormat::Json => logging::LogFormat::Json,
        config::LogFormat::Text => logging::LogFormat::Text,
        config::LogFormat::Journald => logging::LogFormat::Journald,
    }
}

fn refused(error: impl std::fmt::Display) -> Refused {
    Refused { text: format!("error: {error}\n") }
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
