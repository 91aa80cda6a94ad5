//! A simulated cluster served over HTTP by this process, and a config for the real binary that names it.

use camunda_backupd::clock::SystemClock;
use camunda_backupd::sim::{self, SharedCluster, Timing};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) struct Served {
    pub cluster: SharedCluster,
    pub config: PathBuf,
    pub runtime: tokio::runtime::Runtime,
}

impl Served {
    /// Writes the config to `directory`; `daemon` has more keys of its first table, `more` the tables after the cluster.
    pub(crate) fn new(directory: &Path, state: &Path, sim: sim::Config, daemon: &str, more: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let (cluster, table) = runtime.block_on(served_cluster(sim));
        let config = written(directory, state, daemon, &format!("{table}{more}"));
        Self { cluster, config, runtime }
    }
}

/// A cluster called orders, so many times faster than a real one, but for Zeebe's own backup, which takes so long.
pub(crate) fn orders(faster: f64, backup: Duration) -> sim::Config {
    let timing = Timing { backup, ..Timing::default().faster(faster) };
    sim::Config { timing, ..sim::Config::named("orders") }
}

/// A cluster that responds while the runtime exists, and its table for a config.
pub(crate) async fn served_cluster(sim: sim::Config) -> (SharedCluster, String) {
    let clock = SystemClock::shared();
    let cluster = sim::shared(sim::Cluster::new(sim.clone(), clock.now()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let table = sim.daemon_table(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(sim::server::serve(listener, cluster.clone(), clock, std::future::pending()));
    (cluster, table)
}

/// A config of a daemon that keeps its state in `state` and everything else in `directory`.
pub(crate) fn written(directory: &Path, state: &Path, daemon: &str, tables: &str) -> PathBuf {
    let text = format!(
        "[daemon]\nstate_dir = '{}'\nruntime_dir = '{}'\n{daemon}[http]\nlisten = '127.0.0.1:0'\n\
         [log]\nformat = 'json'\n{tables}",
        state.display(),
        directory.join("run").display()
    );
    let config = directory.join("config.toml");
    std::fs::write(&config, text).unwrap();
    config
}
