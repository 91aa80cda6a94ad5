//! A reload takes a schedule out just after one of its occurrences came due: that one has its fate all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use camunda_backupd::clock::{Clock, ManualClock};
use camunda_backupd::config::{self, Config, Environment};
use camunda_backupd::daemon::Daemon;
use camunda_backupd::domain::Instant;
use camunda_backupd::sim::{self, SimTransport};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{Fate, Store};
use std::sync::Arc;
use std::time::Duration;

fn begin() -> Instant {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn config(schedule: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let table = sim::Config::named("orders").daemon_table("http://sim-orders");
    let text = format!("[daemon]\nstate_dir = 'state'\n{table}{schedule}");
    std::fs::write(&file, text).unwrap();
    config::load(&file, &Environment::from_process(begin())).unwrap().config
}

const OFTEN: &str = "[schedules.often]\nclusters = ['orders']\ncron = '5,25,50 * * * * *'\n";

/// Nothing ticks for 52 seconds, as while a slow disk keeps a start or a reload waiting.
#[tokio::test(start_paused = true)]
async fn what_came_due_before_its_schedule_was_taken_out_has_a_fate() {
    let off = format!("{OFTEN}enabled = false\n");
    let other = OFTEN.replace("often", "renamed");
    for after in [off.as_str(), other.as_str()] {
        let clock = ManualClock::at(begin());
        let cluster = sim::shared(sim::Cluster::new(sim::Config::named("orders"), begin()));
        let memory = MemoryStore::shared();
        let transport = Arc::new(SimTransport::to([cluster], clock.clone()));
        let daemon = Daemon::come_up(config(OFTEN), memory.clone(), transport, clock.clone()).await.unwrap();
        clock.sleep(Duration::from_secs(52)).await;
        daemon.apply(config(after)).await.unwrap();
        daemon.tick().await;
        let rows = memory.occurrences(Some("often".into()), None, 0).await.unwrap();
        let accounted: u64 = rows.iter().map(|row| row.count).sum();
        assert_eq!(accounted, 3, "{rows:?}");
        // Nobody will serve them any more: they are skipped, and say why.
        clock.sleep(Duration::from_secs(30)).await;
        daemon.tick().await;
        clock.sleep(Duration::from_secs(5)).await;
        let rows = memory.occurrences(Some("often".into()), None, 0).await.unwrap();
        assert!(rows.iter().all(|row| row.fate == Fate::Skipped && row.reason.is_some()), "{rows:?}");
    }
}
