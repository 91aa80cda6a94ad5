//! The tick's story: what was claimed is handed over exactly once, also when the store's answer is lost or late.

use camunda_backupd::clock::ManualClock;
use camunda_backupd::config::{Config, Environment, load};
use camunda_backupd::domain::Instant;
use camunda_backupd::schedule::dispatch::Shared;
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{OccurrenceOutcome, OccurrenceRow, SharedStore};
use chrono::TimeDelta;
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Bed {
    clock: Arc<ManualClock>,
    store: Arc<MemoryStore>,
    shared: Arc<Shared>,
    handed: Arc<Mutex<Vec<OccurrenceRow>>>,
}

fn now() -> Instant {
    "2026-03-01T01:59:58.5Z".parse().unwrap()
}

fn config(text: &str) -> Config {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).unwrap();
    let environment =
        Environment { state_directory: Some(dir.path().into()), ..Environment::from_process(now()) };
    load(&file, &environment).unwrap().config
}

const CONFIG: &str = r#"
[clusters.orders.self_managed]
zeebe = "http://127.0.0.1:1"
search = { url = "http://127.0.0.1:2", repository = "camunda", records = "zeebe-record*" }
[schedules.daily]
clusters = ["orders"]
daily = "02:00"
"#;

impl Bed {
    /// A second and a half before the schedule is due.
    fn new() -> Self {
        let store = MemoryStore::shared();
        Self::on(store.clone(), store)
    }

    fn on(state: SharedStore, store: Arc<MemoryStore>) -> Self {
        let clock = ManualClock::at(now() - TimeDelta::hours(1));
        let handed: Arc<Mutex<Vec<OccurrenceRow>>> = Arc::default();
        let submit = handed.clone();
        let shared =
            Shared::new(clock.clone(), state, Arc::new(move |rows| submit.lock().unwrap().extend(rows)));
        shared.take_over(shared.planned(&config(CONFIG), &[]));
        clock.jump(TimeDelta::hours(1));
        Self { clock, store, shared, handed }
    }

    /// Ticks for so long, twice a second, and counts what was handed over meanwhile.
    async fn tick_for(&self, seconds: u64) -> usize {
        let before = self.handed.lock().unwrap().len();
        for _ in 0..seconds * 2 {
            self.shared.tick().await;
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        self.handed.lock().unwrap().len() - before
    }

    async fn waiting(&self) -> usize {
        use camunda_backupd::store::Store;
        self.store.waiting().await.unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_scheduler_does_not_deliver_is_handed_over_once() {
    let bed = Bed::new();
    assert_eq!(bed.tick_for(4).await, 0, "the scheduler has its time");
    assert_eq!(bed.tick_for(20).await, 1);
    assert_eq!(bed.handed.lock().unwrap()[0].outcome, OccurrenceOutcome::Waiting);
}

/// The claim is on disk, but nobody was told: the occurrence must not wait for the next restart.
#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_handed_over_once() {
    let bed = Bed::new();
    bed.store.lose_next_responses(1);
    assert_eq!(bed.tick_for(1).await, 0);
    assert_eq!(bed.waiting().await, 1);
    assert_eq!(bed.tick_for(20).await, 1);
}

/// Nobody ticked for a while, as on a disk that is slow: whoever dies before the next tick has said what became of all.
#[tokio::test(start_paused = true)]
async fn one_tick_claims_everything_that_is_due() {
    let bed = Bed::new();
    let often = CONFIG.replace("daily = \"02:00\"", "cron = \"*/20 * * * * *\"");
    bed.shared.take_over(bed.shared.planned(&config(&often), &[]));
    tokio::time::advance(Duration::from_secs(45)).await;
    bed.shared.tick().await;
    assert_eq!(bed.waiting().await, 3, "02:00:00, 02:00:20 and 02:00:40");
    assert_eq!(bed.tick_for(6).await, 3);
}

/// Claimed ahead, the answer lost, and then the schedule is switched off: nobody but the tick would give it a fate (I13).
#[tokio::test(start_paused = true)]
async fn a_claim_whose_answer_was_lost_is_handed_over_though_its_schedule_is_gone() {
    let bed = Bed::new();
    bed.store.lose_next_responses(1);
    bed.shared.tick().await;
    assert_eq!(bed.waiting().await, 1);
    bed.shared.settle().await.unwrap();
    bed.shared.take_over(bed.shared.planned(&config(&format!("{CONFIG}enabled = false\n")), &[]));
    assert_eq!(bed.tick_for(20).await, 1);
}

/// Both find it due while the other's claim is on its way to the disk.
#[tokio::test]
async fn a_tick_and_a_reload_at_once_hand_over_once() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _lock) = SqliteStore::open(dir.path()).unwrap();
    let bed = Bed::on(state, MemoryStore::shared());
    bed.clock.jump(TimeDelta::seconds(5));
    let (schedules, settled) = tokio::join!(bed.shared.tick(), bed.shared.settle());
    settled.unwrap();
    assert_eq!(schedules.len(), 1);
    tokio::time::pause();
    assert_eq!(bed.tick_for(20).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_claim_that_failed_is_made_again() {
    let bed = Bed::new();
    bed.store.fail_next_writes(3);
    assert_eq!(bed.tick_for(1).await, 0);
    assert!(bed.shared.store_error().is_some());
    assert_eq!(bed.tick_for(20).await, 1);
    assert_eq!(bed.shared.store_error(), None);
}

/// What has had its run is not handed over when the clock is set back over its instant.
#[tokio::test(start_paused = true)]
async fn what_no_longer_waits_is_not_handed_over_again() {
    use camunda_backupd::store::Store;
    let bed = Bed::new();
    assert_eq!(bed.tick_for(10).await, 1);
    let served = bed.handed.lock().unwrap()[0].occurrence.clone();
    bed.store.skip(vec![served], "served".into()).await.unwrap();
    bed.clock.jump(TimeDelta::minutes(-5));
    assert_eq!(bed.tick_for(600).await, 0);
}

/// A refused reload changes nothing (rule I12), also when it is the state that cannot be written.
#[tokio::test(start_paused = true)]
async fn a_reload_that_cannot_be_written_leaves_the_timetable_as_it_was() {
    use camunda_backupd::api::Control;
    let (clock, store) = (ManualClock::at(now()), MemoryStore::shared());
    let nowhere = Arc::new(camunda_backupd::sim::SimTransport::to([], clock.clone()));
    let daemon =
        camunda_backupd::daemon::Daemon::start(config(CONFIG), store.clone(), nowhere, clock).await.unwrap();
    let before = daemon.live().next_due;
    assert_eq!(before.len(), 1);
    let weekly = CONFIG.replace("[schedules.daily]", "[schedules.other]");
    store.fail_all_writes(true);
    assert!(daemon.apply(config(&weekly)).await.is_err());
    assert_eq!(daemon.live().next_due, before);
    store.fail_all_writes(false);
    daemon.apply(config(&weekly)).await.unwrap();
    assert_ne!(daemon.live().next_due, before);
}
