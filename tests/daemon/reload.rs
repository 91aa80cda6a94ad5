//! A reload removes or renames a cluster or schedule with work in progress: an occurrence that just came due, a run, a
//! pause of this daemon.

use camunda_backupd::api::{Control, RefusalKind, facts};
use camunda_backupd::clock::{Clock, ManualClock};
use camunda_backupd::config::{self, Config, Environment};
use camunda_backupd::daemon::Daemon;
use camunda_backupd::domain::{BackupState, Exporting, Instant};
use camunda_backupd::sim::{self, SharedCluster, SimTransport, locked};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{
    BackupFilter, Backups, OccurrenceOutcome, Occurrences, PendingResumes, SharedStore,
};
use harness::process;
use std::sync::Arc;
use std::time::Duration;

fn begin() -> Instant {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn config(schedule: &str) -> Config {
    let table = sim::Config::named("orders").daemon_table("http://sim-orders");
    written(&format!("{table}{schedule}"))
}

fn written(tables: &str) -> Config {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("config.toml");
    std::fs::write(&file, format!("[daemon]\nstate_dir = 'state'\n{tables}")).unwrap();
    config::load(&file, &Environment::from_process(begin())).unwrap().config
}

const OFTEN: &str = "[schedules.often]\nclusters = ['orders']\ncron = '5,25,50 * * * * *'\n";

/// Nothing ticks for 52 seconds, as while a slow disk keeps a start or a reload waiting.
#[tokio::test(start_paused = true)]
async fn occurrence_due_before_its_schedule_was_removed_has_an_outcome() {
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
        // No run will serve them: they are skipped with a reason.
        clock.sleep(Duration::from_secs(30)).await;
        daemon.tick().await;
        clock.sleep(Duration::from_secs(5)).await;
        let rows = memory.occurrences(Some("often".into()), None, 0).await.unwrap();
        assert!(
            rows.iter().all(|row| row.outcome == OccurrenceOutcome::Skipped && row.reason.is_some()),
            "{rows:?}"
        );
    }
}

/// A daemon in memory with this config, and its clusters.
struct Bed {
    clock: Arc<ManualClock>,
    cluster: SharedCluster,
    memory: Arc<MemoryStore>,
    daemon: Arc<Daemon>,
}

impl Bed {
    async fn up(config: Config) -> Self {
        let clock = ManualClock::at(begin());
        let cluster = sim::shared(sim::Cluster::new(sim::Config::named("orders"), begin()));
        let memory = MemoryStore::shared();
        let transport = Arc::new(SimTransport::to([cluster.clone()], clock.clone()));
        let daemon = Daemon::start(config, memory.clone(), transport, clock.clone()).await.unwrap();
        daemon.start_rounds();
        clock.sleep(Duration::from_secs(5)).await;
        Self { clock, cluster, memory, daemon }
    }

    /// Exporting of `orders` is paused by an interrupted run of ours, and its resume is rejected.
    async fn record_resume(&self, config: &Config) {
        locked(&self.cluster).arm("resume.refuse@*").unwrap();
        locked(&self.cluster).arm("now.foreign-pause=0s").unwrap();
        let store: SharedStore = self.memory.clone();
        let addresses = config.clusters["orders"].addresses.clone();
        process::killed_in_its_pause(&store, "orders", addresses, self.clock.now()).await;
        self.clock.sleep(Duration::from_secs(30)).await;
        assert_eq!(self.memory.pending_resumes().await.unwrap().len(), 1, "the resume is refused");
    }

    fn heal(&self) {
        locked(&self.cluster).arm("now.heal").unwrap();
    }

    /// `exporting` of the only configured cluster in health.
    async fn exporting(&self) -> String {
        let store: SharedStore = self.memory.clone();
        let health = facts::judged(&store, self.daemon.live()).await;
        health.clusters[0]["exporting"].as_str().unwrap().to_owned()
    }
}

/// The same cluster under the name `shop`.
fn renamed(schedule: &str) -> Config {
    let table = sim::Config::named("orders").daemon_table("http://sim-orders");
    written(&format!(
        "{}{}",
        table.replace("orders.self_managed", "shop.self_managed"),
        schedule.replace("'orders'", "'shop'")
    ))
}

/// Another cluster, and not `orders`.
fn without_orders() -> Config {
    let table = sim::Config::named("other").daemon_table("http://sim-other");
    written(&table)
}

/// The pending resume has all that is needed to send it, and the operator names its cluster.
#[tokio::test(start_paused = true)]
async fn resume_of_removed_cluster_can_be_requested_by_name() {
    let before = config("");
    let bed = Bed::up(config("")).await;
    bed.record_resume(&before).await;
    bed.daemon.apply(without_orders()).await.unwrap();
    let resume =
        |name: &str, seconds| bed.daemon.resume_exporting(name.to_owned(), Duration::from_secs(seconds));
    let refused = resume("orders", 1).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unreachable, "{refused}");
    let idle = bed.daemon.cancel("orders".into(), "x".into(), Duration::ZERO).await.unwrap_err();
    assert_eq!(idle.message, "cluster orders has no run to cancel");
    bed.heal();
    let result = resume("orders", 90).await.unwrap();
    assert_eq!(result, "exporting of orders is resumed; the pause was ours");
    assert_eq!(bed.memory.pending_resumes().await.unwrap().len(), 0);
    assert!(locked(&bed.cluster).pauses.since.is_none(), "exporting is left paused");

    let unknown = "cluster orders is not in the config. `status` lists the configured clusters";
    let refused = resume("orders", 1).await.unwrap_err();
    assert_eq!((refused.kind, refused.message.as_str()), (RefusalKind::NotFound, unknown));
    let refused = bed.daemon.cancel("orders".into(), "x".into(), Duration::ZERO).await.unwrap_err();
    assert_eq!((refused.kind, refused.message.as_str()), (RefusalKind::NotFound, unknown));
}

#[tokio::test(start_paused = true)]
async fn run_of_removed_cluster_can_be_cancelled_by_name() {
    let bed = Bed::up(config("")).await;
    locked(&bed.cluster).arm("resume.refuse@*").unwrap();
    bed.daemon.backup("orders".into(), None).await.unwrap();
    while bed
        .memory
        .pending_resumes()
        .await
        .unwrap()
        .iter()
        .all(|pending_resume| pending_resume.resume_intended_at.is_none())
    {
        bed.clock.sleep(Duration::from_millis(100)).await;
    }
    bed.daemon.apply(without_orders()).await.unwrap();
    let cancel =
        |seconds| bed.daemon.cancel("orders".into(), "it is gone".into(), Duration::from_secs(seconds));
    let result = cancel(1).await.unwrap();
    let still = "the run of orders is being cancelled; its resume is still pending and is retried: cannot connect to zeebe ";
    assert_eq!((result.done, result.message.starts_with(still)), (false, true), "{}", result.message);
    bed.heal();
    assert!(cancel(120).await.unwrap().done);
    assert_eq!(cancel(1).await.unwrap_err().kind, RefusalKind::NotFound);
}

/// The pending resume has the old name, and the pause is still ours.
#[tokio::test(start_paused = true)]
async fn own_pause_is_recognised_under_the_new_cluster_name() {
    let before = config("");
    let bed = Bed::up(config("")).await;
    bed.record_resume(&before).await;
    bed.daemon.apply(renamed(OFTEN)).await.unwrap();
    bed.clock.sleep(Duration::from_secs(320)).await;
    assert_eq!(bed.daemon.live().clusters["shop"].exporting, Exporting::PausedByUs);
    assert_eq!(bed.exporting().await, "paused_by_us");
    let pending =
        "resume_pending: the resume of cluster orders, which is at the same address, is still pending";
    let rows = bed.memory.occurrences(None, Some("shop".into()), 0).await.unwrap();
    assert!(!rows.is_empty() && rows.iter().all(|row| row.reason.as_deref() == Some(pending)), "{rows:?}");
    let refused = bed.daemon.backup("shop".into(), None).await.unwrap_err();
    assert_eq!(refused.message, format!("cluster shop cannot be backed up now: {pending}"));

    bed.heal();
    let result = bed.daemon.resume_exporting("shop".into(), Duration::from_secs(90)).await.unwrap();
    assert_eq!(result, "exporting of shop is resumed; the pause was ours");
    assert_eq!(bed.memory.pending_resumes().await.unwrap().len(), 0);
    bed.clock.sleep(Duration::from_secs(320)).await;
    let last = bed.memory.backups(BackupFilter::default()).await.unwrap().pop().unwrap();
    assert_eq!((last.run.cluster.as_str(), last.state), ("shop", BackupState::Completed));
}

/// The owner of a pause is unknown once its resume was abandoned.
#[tokio::test(start_paused = true)]
async fn pause_abandoned_under_the_old_name_is_foreign_at_once() {
    let before = config("");
    let bed = Bed::up(config("")).await;
    bed.record_resume(&before).await;
    bed.daemon.apply(renamed("")).await.unwrap();
    bed.clock.sleep(Duration::from_secs(320)).await;
    assert_eq!(bed.exporting().await, "paused_by_us");
    bed.daemon.abandon_resumes("orders".into(), "torn down".into()).await.unwrap();
    assert_eq!(bed.exporting().await, "paused_by_other");
}
