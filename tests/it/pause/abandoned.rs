//! A resume is abandoned while exporting is still paused: health reports the pause at once, without a stale
//! probe.

use camunda_backupd::api::Control;
use camunda_backupd::clock::{Clock, ManualClock};
use camunda_backupd::config::{self, Config, Environment};
use camunda_backupd::daemon::Daemon;
use camunda_backupd::domain::{Exporting, Instant};
use camunda_backupd::sim::{self, SimTransport, locked};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{PendingResumes, SharedStore};
use harness::process;
use std::sync::Arc;
use std::time::Duration;

fn begin() -> Instant {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn config() -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let table = sim::Config::named("orders").daemon_table("http://sim-orders");
    let often = "[clusters.orders]\nprobe_interval = '1h'\n[schedules.daily]\nclusters = ['orders']\ndaily = '02:00'\n";
    std::fs::write(&file, format!("[daemon]\nstate_dir = 'state'\n{table}{often}")).unwrap();
    config::load(&file, &Environment::from_process(begin())).unwrap().config
}

#[tokio::test(start_paused = true)]
async fn health_reports_a_pause_whose_resume_was_abandoned() {
    let clock = ManualClock::at(begin());
    let cluster = sim::shared(sim::Cluster::new(sim::Config::named("orders"), begin()));
    let memory = MemoryStore::shared();
    let store: SharedStore = memory.clone();
    let transport = Arc::new(SimTransport::to([cluster.clone()], clock.clone()));
    let config = config();
    let addresses = config.clusters["orders"].addresses.clone();
    let daemon = Daemon::start(config, memory.clone(), transport, clock.clone()).await.unwrap();
    daemon.start_rounds();
    clock.sleep(Duration::from_secs(5)).await;
    assert_eq!(daemon.live().clusters["orders"].exporting, Exporting::Running, "the probe before the pause");

    locked(&cluster).arm("resume.refuse@*").unwrap();
    locked(&cluster).arm("now.foreign-pause=0s").unwrap();
    process::killed_in_its_pause(&store, "orders", addresses, clock.now()).await;
    clock.sleep(Duration::from_secs(30)).await;
    assert_eq!(memory.pending_resumes().await.unwrap().len(), 1, "the resume is refused");

    assert_eq!(daemon.abandon_resumes("orders".into(), "torn down".into()).await.unwrap(), 1);
    assert_eq!(daemon.live().clusters["orders"].exporting, Exporting::PausedByOther);
}
