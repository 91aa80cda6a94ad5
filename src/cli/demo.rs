//! `demo`: the real daemon, config loader and HTTP clients against two simulated clusters, with a backup every few
//! seconds.
//!
//! Owns the output and the verdict: every completed backup must restore whole from the simulated clusters, and exporting
//! must run.

use super::{Failure, exit, output};
use crate::api::listen;
use crate::camunda::http::HttpTransport;
use crate::clock::{SharedClock, SystemClock};
use crate::config::{self, Environment};
use crate::daemon::Daemon;
use crate::daemon::signals::{self, Signal};
use crate::domain::{BackupState, RunId};
use crate::logging::{self, LogFormat};
use crate::sim::{self, Cluster, Config, SharedCluster, Timing, locked};
use crate::store::sqlite::SqliteStore;
use crate::store::{Backup, BackupFilter, Backups, Store};
use futures::StreamExt;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpListener;

/// Poll interval of the state.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
/// The second records snapshot of `payments` lacks a shard, inside the pause.
const SEEDED: &str = "search-put.failed-shard+1";

/// Runs for `period`, or until Ctrl-C.
pub(super) async fn demo(period: Option<Duration>, listen: SocketAddr) -> Result<u8, Failure> {
    let failed = |message: String| Failure::new(exit::FAILED, message);
    let clock = SystemClock::shared();
    let directory = std::env::temp_dir().join(format!("camunda-backupd-demo-{}", std::process::id()));
    std::fs::create_dir_all(&directory)
        .map_err(|error| failed(format!("{} cannot be made: {error}; set TMPDIR", directory.display())))?;
    let result = run(period, listen, &clock, &directory).await;
    let _ = std::fs::remove_dir_all(&directory);
    result
}

async fn run(
    period: Option<Duration>,
    listen: SocketAddr,
    clock: &SharedClock,
    directory: &Path,
) -> Result<u8, Failure> {
    let failed = |message: String| Failure::new(exit::FAILED, message);
    let _log = logging::init("error", LogFormat::Text).map_err(failed)?;
    let mut clusters = BTreeMap::new();
    let mut text = text_of(directory, listen);
    for (seed, name) in ["orders", "payments"].into_iter().enumerate() {
        let (cluster, table) = simulated(name, seed as u64 + 1, clock).await?;
        text.push_str(&table);
        clusters.insert(name.to_owned(), cluster);
    }
    if let Some(payments) = clusters.get("payments") {
        locked(payments).arm(SEEDED).map_err(failed)?;
    }
    let file = directory.join("config.toml");
    std::fs::write(&file, &text)
        .map_err(|error| failed(format!("{} cannot be written: {error}", file.display())))?;
    output::print(&format!("The config of this demo:\n\n{text}"));
    output::print(
        "Injected fault: the second records snapshot of payments lacks a shard. A failed run is not retried; the next occurrence is the next attempt.\n",
    );

    let loaded = config::load(&file, &Environment::from_process(clock.now()))
        .map_err(|diagnostics| failed(config::diagnostic::render(&diagnostics, false)))?;
    let (store, _lock) =
        SqliteStore::open(&loaded.config.daemon.state_dir).map_err(|error| failed(error.to_string()))?;
    let listeners = listen::open(&loaded.config).await.map_err(|error| failed(error.to_string()))?;
    if let Some(address) = listeners.http_address() {
        output::print(&format!("Health endpoint: http://{address}/health\n"));
    }
    let transport = HttpTransport::shared().map_err(|error| failed(error.to_string()))?;
    let daemon = Daemon::start(loaded.config, store.clone(), transport, clock.clone())
        .await
        .map_err(|error| failed(error.to_string()))?;
    daemon.start_rounds();
    let shutdown = listeners.serve(store.clone(), daemon.clone(), clock, &daemon.tasks());
    watch(&*store, clock, period).await?;
    daemon.stop(|_| {}).await;
    shutdown.cancel();
    judge(&*store, &clusters).await
}

fn text_of(directory: &Path, listen: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "[daemon]\nstate_dir = \"{directory}/state\"\nruntime_dir = \"{directory}/run\"\ninstance = \"demo\"\n\
         shutdown_grace = \"10s\"\n\n\
         [http]\nlisten = \"{listen}\"\n\n\
         [defaults]\nprobe_interval = \"5s\"\n\n\
         [schedules.daily]\nclusters = [\"*\"]\ncron = \"*/4 * * * * *\"      # every four seconds\n\n\
         [schedules.weekly]\nclusters = [\"orders\"]\ncron = \"*/12 * * * * *\"\nkeep = {{ successful = 2, failed = 3 }}\n\n"
    )
}

async fn simulated(name: &str, seed: u64, clock: &SharedClock) -> Result<(SharedCluster, String), Failure> {
    let config = Config { seed, timing: Timing::default().faster(2.0), ..Config::named(name) };
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|error| Failure::new(exit::FAILED, format!("no port for a simulated cluster: {error}")))?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::new(exit::FAILED, format!("no port for a simulated cluster: {error}")))?;
    let table = format!("{}\n", config.daemon_table(&format!("http://{address}")));
    let cluster = sim::shared(Cluster::new(config, clock.now()));
    let serve = sim::server::serve(listener, cluster.clone(), clock.clone(), std::future::pending());
    crate::clock::Tasks::new().spawn(serve);
    Ok((cluster, table))
}

/// Prints every change of a backup until `period` is over or a signal arrives.
async fn watch(store: &dyn Backups, clock: &SharedClock, period: Option<Duration>) -> Result<(), Failure> {
    let mut signals = signals::register().map_err(|error| Failure::new(exit::FAILED, error))?;
    let began = clock.monotonic();
    let mut printed: BTreeMap<RunId, BackupState> = BTreeMap::new();
    loop {
        for backup in all(store).await? {
            if printed.insert(backup.run.run_id, backup.state) != Some(backup.state)
                && let Some(line) = line(&backup)
            {
                output::print(&format!("{} {line}", clock.now().format("%H:%M:%S")));
            }
        }
        if period.is_some_and(|period| clock.monotonic().saturating_sub(began) >= period) {
            return Ok(());
        }
        tokio::select! {
            () = clock.sleep(POLL_INTERVAL) => {}
            signal = signals.next() => if matches!(signal, Some(Signal::Terminate) | None) { return Ok(()) },
        }
    }
}

async fn all(store: &dyn Backups) -> Result<Vec<Backup>, Failure> {
    store
        .backups(BackupFilter::default())
        .await
        .map_err(|error| Failure::new(exit::FAILED, error.to_string()))
}

fn line(backup: &Backup) -> Option<String> {
    let run = &backup.run;
    let schedules: Vec<&str> = run.occurrences.iter().map(|o| o.schedule.as_str()).collect();
    let name = format!("{:9} {} ({})", run.cluster, run.backup_id, schedules.join(" and "));
    let pause = &run.view.pause;
    let seconds = |from: Option<crate::domain::Instant>, to: Option<crate::domain::Instant>| {
        Some((to? - from?).num_milliseconds() as f64 / 1000.0)
    };
    let took = seconds(Some(run.created_at), run.view.finished_at).unwrap_or_default();
    let paused = seconds(pause.intended_at, pause.resumed_at)
        .map(|s| format!(", exporting paused {s:.1} s"))
        .unwrap_or_default();
    match backup.state {
        BackupState::Running => Some(format!("{name} started")),
        BackupState::Completed => Some(format!("{name} completed in {took:.1} s{paused}")),
        BackupState::Failed => {
            Some(format!("{name} FAILED{paused}: {}", run.view.reason().unwrap_or_default()))
        }
        BackupState::Deleted => {
            let reason = backup.deletion.as_ref().map(|d| d.reason.clone()).unwrap_or_default();
            Some(format!("{name} {reason}"))
        }
        _ => None,
    }
}

/// Checks every completed backup against the simulated clusters, and prints the verdict.
async fn judge(store: &dyn Store, clusters: &BTreeMap<String, SharedCluster>) -> Result<u8, Failure> {
    let backups = all(store).await?;
    let count = |state: BackupState| backups.iter().filter(|b| b.state == state).count();
    // Count deleted backups too: each of them was completed or failed before its deletion.
    let completed = backups.iter().filter(|b| b.run.view.ended() && b.run.view.reason().is_none()).count();
    let failed: Vec<&Backup> = backups.iter().filter(|b| b.run.view.reason().is_some()).collect();
    let mut wrong = Vec::new();
    for backup in backups.iter().filter(|b| b.state == BackupState::Completed) {
        let Some(cluster) = clusters.get(&backup.run.cluster) else { continue };
        let restored = locked(cluster).restore(backup.run.backup_id.get());
        if !restored.is_whole() {
            wrong.push(format!("backup {} would not restore whole: {restored:?}", backup.run.backup_id));
        }
    }
    for (name, cluster) in clusters {
        if locked(cluster).pauses.since.is_some() {
            wrong.push(format!("exporting of {name} is left paused"));
        }
    }
    if !store
        .pending_resumes()
        .await
        .map_err(|error| Failure::new(exit::FAILED, error.to_string()))?
        .is_empty()
    {
        wrong.push("a resume is still pending".into());
    }
    output::print(&format!(
        "\n{completed} backups completed, {} failed, {} deleted by retention; exporting {}.",
        failed.len(),
        count(BackupState::Deleted),
        if wrong.iter().any(|w| w.contains("paused")) {
            "is NOT running everywhere"
        } else {
            "runs on every cluster"
        }
    ));
    for backup in &failed {
        let next = backups.iter().filter(|b| b.run.cluster == backup.run.cluster).map(|b| b.run.created_at);
        let next = next.filter(|at| *at > backup.run.created_at).min();
        let delay = next.map(|at| {
            format!(
                "{:.1} s later, at its next occurrence",
                (at - backup.run.created_at).num_milliseconds() as f64 / 1000.0
            )
        });
        output::print(&format!(
            "The failed run of {} was not retried: the next run started {}.",
            backup.run.cluster,
            delay.unwrap_or_else(|| "not yet".into())
        ));
    }
    output::print(&format!(
        "Every backup kept restores whole from the simulated clusters: {}.",
        if wrong.is_empty() { "yes" } else { "NO" }
    ));
    if wrong.is_empty() {
        return Ok(exit::DONE);
    }
    Err(Failure::new(exit::FAILED, wrong.join("; ")))
}
