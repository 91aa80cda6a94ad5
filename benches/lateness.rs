//! Start lateness of occurrences: 10,000 schedules spread over a minute, and 10,000 due at one instant.
//!
//! `cargo bench --bench lateness [-- COUNT]`. The whole daemon except its sockets: config loader, dispatch loop, queue,
//! SQLite state on disk, executor. As many clusters as schedules, simulated in memory. `late` is the time from the due
//! instant to the log event `occurrence.due`; `durable` is the time until the run has its id on disk.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use camunda_backupd::clock::SystemClock;
use camunda_backupd::config::{Environment, load};
use camunda_backupd::daemon::Daemon;
use camunda_backupd::domain::Instant;
use camunda_backupd::sim::{self, SimTransport, Timing};
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{BackupFilter, OccurrenceOutcome, SharedStore};
use chrono::{TimeDelta, Timelike, Utc};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Collects `duration_ms` of every `occurrence.due`.
#[derive(Clone, Default)]
struct Lateness(Arc<Mutex<Vec<u64>>>);

#[derive(Default)]
struct Line {
    due: bool,
    late: u64,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.due |= field.name() == "event" && value == "occurrence.due";
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        if field.name() == "duration_ms" {
            self.late = value.max(0) as u64;
        }
    }
    fn record_debug(&mut self, _: &Field, _: &dyn std::fmt::Debug) {}
}

impl<S: tracing::Subscriber> Layer<S> for Lateness {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        if line.due {
            self.0.lock().unwrap().push(line.late);
        }
    }
}

fn name(index: usize) -> String {
    format!("c{index:05}")
}

fn config_text(count: usize, second_of: impl Fn(usize) -> usize, minute: u32) -> String {
    let mut text = "[daemon]\nmax_parallel_runs = 10000\n".to_owned();
    for index in 0..count {
        let name = name(index);
        let base = sim::Config::named(&name).memory_url();
        let second = second_of(index);
        write!(
            text,
            "[clusters.{name}.self_managed]\nversion = \"8.6\"\nzeebe = \"{base}/zeebe\"\n\
             search = {{ url = \"{base}/search\", repository = \"camunda\", records = \"zeebe-record*\" }}\n\
             [schedules.{name}]\nclusters = [\"{name}\"]\ncron = \"{second} {minute} * * * *\"\n",
        )
        .unwrap();
    }
    text
}

fn told(what: &str, mut values: Vec<u64>) {
    values.sort_unstable();
    let at = |share: f64| values[((values.len() - 1) as f64 * share) as usize];
    println!("  {what:8} p50 {} ms, p99 {} ms, max {} ms", at(0.5), at(0.99), at(1.0));
}

async fn scenario(
    title: &str,
    count: usize,
    lateness: &Lateness,
    second_of: impl Fn(usize) -> usize,
    span: u64,
) {
    lateness.0.lock().unwrap().clear();
    let dir = tempfile::tempdir().unwrap();
    // The first due instant lies far enough ahead for loading.
    let first = (Utc::now() + TimeDelta::seconds(100)).with_second(0).unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, config_text(count, second_of, first.minute())).unwrap();
    let environment =
        Environment { state_directory: Some(dir.path().into()), ..Environment::from_process(Utc::now()) };
    let config = load(&file, &environment).map_err(|e| format!("{:?}", e.first())).unwrap().config;
    let clock = SystemClock::shared();
    let clusters = (0..count).map(|index| {
        // Without load of their own: the users of ten thousand clusters would dominate the measurement.
        let load = sim::Load { per_second: 0.0, initial: 10 };
        let config =
            sim::Config { timing: Timing::tiny(), load, partitions: 1, ..sim::Config::named(&name(index)) };
        sim::shared(sim::Cluster::new(config, clock.now()))
    });
    let transport = Arc::new(SimTransport::to(clusters, clock.clone()));
    let (store, _lock): (SharedStore, _) = SqliteStore::open(dir.path()).unwrap();
    let daemon = Daemon::start(config, store.clone(), transport, clock.clone()).await.unwrap();
    let spare = (first - Utc::now()).num_seconds();
    assert!(spare > 1, "loading took until the first due instant");
    let end = first + TimeDelta::seconds(span as i64 + 1);
    let mut fired: Vec<(Instant, uuid::Uuid)>;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if Utc::now() < end {
            continue;
        }
        let rows = store.occurrences(None, None, 0).await.unwrap();
        fired = rows
            .iter()
            .filter(|r| r.outcome == OccurrenceOutcome::Started)
            .filter_map(|r| Some((r.occurrence.due_at, r.run_id?)))
            .collect();
        let late = Utc::now() > end + TimeDelta::seconds(120);
        if fired.len() >= count || late {
            break;
        }
    }
    let runs = store.backups(BackupFilter::default()).await.unwrap();
    let created: std::collections::HashMap<_, _> =
        runs.iter().map(|b| (b.run.run_id, b.run.created_at)).collect();
    let durable = fired
        .iter()
        .filter_map(|(due, run)| Some((*created.get(run)? - *due).num_milliseconds().max(0) as u64));
    println!("{title}: {} of {count} started", fired.len());
    told("late", lateness.0.lock().unwrap().clone());
    told("durable", durable.collect());
    daemon.stop(|_| {}).await;
}

#[tokio::main]
async fn main() {
    let count = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(10_000);
    let lateness = Lateness::default();
    tracing_subscriber::registry().with(lateness.clone()).init();
    scenario("spread over a minute", count, &lateness, |index| index * 60 / count, 60).await;
    scenario("at one instant", count, &lateness, |_| 0, 1).await;
}
