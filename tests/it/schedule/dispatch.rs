//! The tick: every claimed occurrence is submitted exactly once, also after a lost or late response of the store.

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
    /// Starts 1.5 s before the schedule is due.
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
        shared.take_over(shared.planned(&config(CONFIG).pair_times(), &[]));
        clock.jump(TimeDelta::hours(1));
        Self { clock, store, shared, handed }
    }

    /// Ticks twice a second for `seconds`; returns the number of submitted occurrences.
    async fn tick_for(&self, seconds: u64) -> usize {
        let before = self.handed.lock().unwrap().len();
        for _ in 0..seconds * 2 {
            self.shared.tick().await;
            tokio::time::advance(Duration::from_millis(500)).await;
        }
        self.handed.lock().unwrap().len() - before
    }

    async fn waiting(&self) -> usize {
        use camunda_backupd::store::Occurrences;
        self.store.waiting().await.unwrap().len()
    }
}

#[tokio::test(start_paused = true)]
async fn undelivered_occurrence_is_submitted_once() {
    let bed = Bed::new();
    assert_eq!(bed.tick_for(4).await, 0, "the scheduler has its time");
    assert_eq!(bed.tick_for(20).await, 1);
    assert_eq!(bed.handed.lock().unwrap()[0].outcome, OccurrenceOutcome::Waiting);
}

/// The claim is stored but its response was lost: the occurrence must not wait for the next restart.
#[tokio::test(start_paused = true)]
async fn claim_with_lost_response_is_submitted_once() {
    let bed = Bed::new();
    bed.store.lose_next_responses(1);
    assert_eq!(bed.tick_for(1).await, 0);
    assert_eq!(bed.waiting().await, 1);
    assert_eq!(bed.tick_for(20).await, 1);
}

/// After a period without ticks, as with a slow disk, every due occurrence has an outcome before a crash can lose it.
#[tokio::test(start_paused = true)]
async fn one_tick_claims_every_due_occurrence() {
    let bed = Bed::new();
    let often = CONFIG.replace("daily = \"02:00\"", "cron = \"*/20 * * * * *\"");
    bed.shared.take_over(bed.shared.planned(&config(&often).pair_times(), &[]));
    tokio::time::advance(Duration::from_secs(45)).await;
    bed.shared.tick().await;
    assert_eq!(bed.waiting().await, 3, "02:00:00, 02:00:20 and 02:00:40");
    assert_eq!(bed.tick_for(6).await, 3);
}

/// Claimed ahead, response lost, then the schedule disabled: only the tick can give the occurrence an outcome (I13).
#[tokio::test(start_paused = true)]
async fn claim_with_lost_response_is_submitted_after_removal_of_its_schedule() {
    let bed = Bed::new();
    bed.store.lose_next_responses(1);
    bed.shared.tick().await;
    assert_eq!(bed.waiting().await, 1);
    bed.shared.settle().await.unwrap();
    bed.shared
        .take_over(bed.shared.planned(&config(&format!("{CONFIG}enabled = false\n")).pair_times(), &[]));
    assert_eq!(bed.tick_for(20).await, 1);
}

/// Tick and reload find the same occurrence due while a claim is being written.
#[tokio::test]
async fn concurrent_tick_and_reload_submit_once() {
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
async fn failed_claim_is_retried() {
    let bed = Bed::new();
    bed.store.fail_next_writes(3);
    assert_eq!(bed.tick_for(1).await, 0);
    assert!(bed.shared.store_error().is_some());
    assert_eq!(bed.tick_for(20).await, 1);
    assert_eq!(bed.shared.store_error(), None);
}

/// An occurrence with a run is not submitted again after the clock was set back.
#[tokio::test(start_paused = true)]
async fn occurrence_with_a_run_is_not_submitted_after_clock_set_back() {
    use camunda_backupd::store::Occurrences;
    let bed = Bed::new();
    assert_eq!(bed.tick_for(10).await, 1);
    let served = bed.handed.lock().unwrap()[0].occurrence.clone();
    bed.store.skip(vec![served], "served".into()).await.unwrap();
    bed.clock.jump(TimeDelta::minutes(-5));
    assert_eq!(bed.tick_for(600).await, 0);
}

/// A rejected reload changes nothing (rule I12), also if the state cannot be written.
#[tokio::test(start_paused = true)]
async fn reload_that_cannot_be_stored_keeps_the_timetable() {
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
