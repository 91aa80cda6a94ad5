//! A foreign pause across several daemons and days: its start time is reported correctly.

use camunda_backupd::api::Control;
use camunda_backupd::clock::{Clock, ManualClock};
use camunda_backupd::config::{self, Config, Environment};
use camunda_backupd::daemon::Daemon;
use camunda_backupd::domain::{Exporting, Instant};
use camunda_backupd::sim::{self, SharedCluster, SimTransport, locked};
use camunda_backupd::store::Clusters;
use camunda_backupd::store::memory::MemoryStore;
use chrono::TimeDelta;
use rstest::rstest;
use std::sync::Arc;
use std::time::Duration;

fn begin() -> Instant {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// `orders` at its address, at `there`, or absent.
fn config(there: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    let url = if there == "elsewhere" { "http://sim-elsewhere" } else { "http://sim-orders" };
    let table = sim::Config::named("orders").daemon_table(url);
    let text = format!("[daemon]\nstate_dir = 'state'\n{table}[clusters.orders]\nprobe_interval = '1m'\n");
    let text = if there == "none" { text.replace("clusters.orders", "clusters.another") } else { text };
    std::fs::write(&file, text).unwrap();
    config::load(&file, &Environment::from_process(begin())).unwrap().config
}

/// State that survives a daemon.
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

    /// A daemon that dies after `minutes`; returns the result of its last probe, and the start of the pause.
    fn daemon(&mut self, minutes: u64) -> (Exporting, Option<Instant>) {
        self.daemon_that_notes_from(0, minutes)
    }

    /// A daemon whose state file rejects writes for the first minutes.
    fn daemon_that_notes_from(&mut self, from: u64, minutes: u64) -> (Exporting, Option<Instant>) {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let seen = runtime.block_on(async {
            let clock = ManualClock::at(self.now);
            let transport = Arc::new(SimTransport::to([self.cluster.clone()], clock.clone()));
            let daemon =
                Daemon::start(config(""), self.memory.clone(), transport, clock.clone()).await.unwrap();
            self.memory.fail_all_writes(from > 0);
            daemon.start_rounds();
            clock.sleep(Duration::from_secs(60 * from + 5)).await;
            self.memory.fail_all_writes(false);
            clock.sleep(Duration::from_secs(60 * (minutes - from))).await;
            self.now = clock.now();
            seen(&daemon)
        });
        // No probe for an hour.
        self.now += TimeDelta::hours(1);
        seen
    }
}

fn seen(daemon: &Daemon) -> (Exporting, Option<Instant>) {
    let probe = daemon.live().clusters["orders"].clone();
    (probe.exporting, probe.exporting_since)
}

fn paused_since(at: Instant) -> (Exporting, Option<Instant>) {
    (Exporting::PausedByOther, Some(at))
}

#[test]
fn restart_keeps_the_start_of_a_foreign_pause() {
    let mut bed = Bed::new();
    bed.arm("now.foreign-pause=0s");
    let (exporting, since) = bed.daemon(3);
    let first = since.unwrap();
    assert!(
        exporting == Exporting::PausedByOther && first - begin() < TimeDelta::seconds(5),
        "{exporting} since {first}"
    );
    assert_eq!(bed.daemon(0), paused_since(first), "reported at the first probe");
    assert_eq!(bed.daemon(3), paused_since(first));

    // After the end of a foreign pause, observed or not, the next foreign pause has its own start.
    bed.arm("now.heal");
    bed.arm("now.foreign-resume=0s");
    let (exporting, _) = bed.daemon(3);
    assert_eq!(exporting, Exporting::Running);
    bed.arm("now.foreign-pause=0s");
    let again = bed.now;
    let (exporting, since) = bed.daemon(3);
    assert!(exporting == Exporting::PausedByOther && since.unwrap() >= again, "{exporting} since {since:?}");
}

/// A probe without a result does not end the foreign pause.
#[test]
fn foreign_pause_keeps_its_start_while_the_cluster_is_unreachable() {
    let mut bed = Bed::new();
    bed.arm("now.foreign-pause=0s");
    let (_, first) = bed.daemon(3);
    bed.arm("partitions.refuse@*");
    assert_eq!(bed.daemon(3).0, Exporting::Unknown);
    bed.arm("now.heal");
    bed.arm("now.foreign-pause=0s");
    assert_eq!(bed.daemon(3), paused_since(first.unwrap()));
}

/// A failed write is retried at the next probe.
#[test]
fn unstored_foreign_pause_is_stored_by_a_later_probe() {
    let mut bed = Bed::new();
    bed.arm("now.foreign-pause=0s");
    let (_, first) = bed.daemon_that_notes_from(2, 4);
    assert!(
        first.unwrap() - begin() < TimeDelta::seconds(5),
        "it is reported although the write failed: {first:?}"
    );
    assert_eq!(bed.daemon(0), paused_since(first.unwrap()));
}

#[test]
fn unstored_end_of_a_foreign_pause_is_stored_by_a_later_probe() {
    let mut bed = Bed::new();
    bed.arm("now.foreign-pause=0s");
    bed.daemon(3);
    bed.arm("now.foreign-resume=0s");
    assert_eq!(bed.daemon_that_notes_from(2, 4).0, Exporting::Running);
    bed.arm("now.foreign-pause=0s");
    let again = bed.now;
    let (exporting, since) = bed.daemon(0);
    assert!(exporting == Exporting::PausedByOther && since.unwrap() >= again, "{exporting} since {since:?}");
}

/// One probe happens during a leader election.
#[test]
fn lost_leader_does_not_reset_the_start_of_a_foreign_pause() {
    let mut bed = Bed::new();
    bed.arm("now.foreign-pause=0s");
    let (_, first) = bed.daemon(3);
    // Until after the hour without probes.
    bed.arm("now.no-leader=3700s");
    let (exporting, since) = bed.daemon(0);
    assert_eq!((exporting, since), (Exporting::Mixed, first));
    assert_eq!(bed.daemon(3), paused_since(first.unwrap()));
}

/// The name belongs to another cluster, or to a cluster without probes in between.
#[rstest]
#[case::pointed_elsewhere("elsewhere")]
#[case::taken_out("none")]
fn observations_are_dropped_with_the_cluster(#[case] meanwhile: &str) {
    let bed = Bed::new();
    bed.arm("now.foreign-pause=0s");
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let clock = ManualClock::at(bed.now);
        let other = sim::shared(sim::Cluster::new(sim::Config::named("elsewhere"), begin()));
        let clusters = [bed.cluster.clone(), other];
        let transport = Arc::new(SimTransport::to(clusters, clock.clone()));
        let daemon = Daemon::start(config(""), bed.memory.clone(), transport, clock.clone()).await.unwrap();
        daemon.start_rounds();
        clock.sleep(Duration::from_secs(65)).await;
        let (exporting, first) = seen(&daemon);
        assert_eq!(exporting, Exporting::PausedByOther);
        daemon.apply(config(meanwhile)).await.unwrap();
        daemon.apply(config("")).await.unwrap();
        clock.sleep(Duration::from_secs(65)).await;
        let (exporting, again) = seen(&daemon);
        assert!(
            exporting == Exporting::PausedByOther && again > first,
            "{exporting} since {again:?}, {first:?}"
        );
        let noted = bed.memory.foreign_pause("orders".into(), clock.now()).await.unwrap();
        assert_eq!(Some(noted), again);
    });
}
