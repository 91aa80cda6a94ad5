//! A pause that is not ours, seen over days by one daemon after the other: since when it lasts is told truly.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use camunda_backupd::api::Control;
use camunda_backupd::clock::{Clock, ManualClock};
use camunda_backupd::config::{self, Config, Environment};
use camunda_backupd::daemon::Daemon;
use camunda_backupd::domain::Instant;
use camunda_backupd::sim::{self, SharedCluster, SimTransport, locked};
use camunda_backupd::store::memory::MemoryStore;
use chrono::TimeDelta;
use rstest::rstest;
use std::sync::Arc;
use std::time::Duration;

fn begin() -> Instant {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn config() -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let table = sim::Config::named("orders").daemon_table("http://sim-orders");
    let often = "[clusters.orders]\nprobe_interval = '1m'\n";
    std::fs::write(&file, format!("[daemon]\nstate_dir = 'state'\n{table}{often}")).unwrap();
    config::load(&file, &Environment::from_process(begin())).unwrap().config
}

/// What outlives a daemon.
struct Bed {
    cluster: SharedCluster,
    memory: Arc<MemoryStore>,
    now: Instant,
}

impl Bed {
    fn new() -> Self {
        let cluster = sim::shared(sim::Cluster::new(sim::Config::named("orders"), begin()));
        Self { cluster, memory: MemoryStore::shared(), now: begin() }
    }

    fn arm(&self, fault: &str) {
        locked(&self.cluster).arm(fault).unwrap();
    }

    /// A daemon that dies after so many minutes; what its last look showed, and since when.
    fn daemon(&mut self, minutes: u64) -> (String, Option<Instant>) {
        self.daemon_with(minutes, true)
    }

    /// Once it is up, its state takes no more, unless it `notes`.
    fn daemon_with(&mut self, minutes: u64, notes: bool) -> (String, Option<Instant>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let seen = runtime.block_on(async {
            let clock = ManualClock::at(self.now);
            let transport = Arc::new(SimTransport::to([self.cluster.clone()], clock.clone()));
            let daemon =
                Daemon::start(config(), self.memory.clone(), transport, clock.clone()).await.unwrap();
            self.memory.fail_all_writes(!notes);
            daemon.start_rounds();
            clock.sleep(Duration::from_secs(60 * minutes + 5)).await;
            self.memory.fail_all_writes(false);
            self.now = clock.now();
            let look = daemon.live().clusters["orders"].clone();
            (look.exporting, look.exporting_since)
        });
        // Nobody looks for an hour.
        self.now += TimeDelta::hours(1);
        seen
    }
}

fn paused_since(at: Instant) -> (String, Option<Instant>) {
    ("paused_by_other".to_owned(), Some(at))
}

#[test]
fn a_restart_does_not_make_an_old_pause_young() {
    let mut bed = Bed::new();
    bed.arm("now.stranger-pause=0s");
    let (exporting, since) = bed.daemon(3);
    let first = since.unwrap();
    assert!(
        exporting == "paused_by_other" && first - begin() < TimeDelta::seconds(5),
        "{exporting} since {first}"
    );
    assert_eq!(bed.daemon(0), paused_since(first), "told at its first look");
    assert_eq!(bed.daemon(3), paused_since(first));

    // Its end, seen or not in the look that was due, makes the next one another.
    bed.arm("now.heal");
    bed.arm("now.stranger-resume=0s");
    let (exporting, _) = bed.daemon(3);
    assert_eq!(exporting, "running");
    bed.arm("now.stranger-pause=0s");
    let again = bed.now;
    let (exporting, since) = bed.daemon(3);
    assert!(exporting == "paused_by_other" && since.unwrap() >= again, "{exporting} since {since:?}");
}

/// A look that shows nothing shows no end of it.
#[test]
fn a_cluster_that_cannot_be_reached_for_a_while_is_paused_as_long_as_before() {
    let mut bed = Bed::new();
    bed.arm("now.stranger-pause=0s");
    let (_, first) = bed.daemon(3);
    bed.arm("partitions.refuse@*");
    assert_eq!(bed.daemon(3).0, "unknown");
    bed.arm("now.heal");
    bed.arm("now.stranger-pause=0s");
    assert_eq!(bed.daemon(3), paused_since(first.unwrap()));
}

/// The state takes no note, and takes it when it can.
#[rstest]
#[case::of_a_pause(false)]
#[case::of_its_end(true)]
fn what_could_not_be_noted_is_noted_later(#[case] known: bool) {
    let mut bed = Bed::new();
    bed.arm("now.stranger-pause=0s");
    let mut first = None;
    if known {
        first = bed.daemon(3).1;
        bed.arm("now.heal");
        bed.arm("now.stranger-resume=0s");
    }
    let (exporting, since) = bed.daemon_with(3, false);
    assert_eq!(exporting, if known { "running" } else { "paused_by_other" });
    let (_, noted) = bed.daemon(3);
    if known {
        bed.arm("now.stranger-pause=0s");
        let (exporting, again) = bed.daemon(3);
        assert!(exporting == "paused_by_other" && again > noted && again > first, "{again:?}");
    } else {
        assert!(since < noted, "the first daemon's look was not noted");
        assert_eq!(bed.daemon(3).1, noted);
    }
}
