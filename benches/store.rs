//! Journalled transitions per second of the state file, each on disk before its call returns.
//!
//! `cargo bench --bench store [-- SECONDS]`; the directory is `$BENCH_DIR`, by default the one for temporary files.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs
)]

use camunda_backupd::domain::{Component, Family, PauseMode, RetentionGroup, RunId, Trigger};
use camunda_backupd::journal::{Entry, Event, Step};
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{BackupFilter, NewRun, SharedStore};
use chrono::Utc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

fn new_run(cluster: String) -> NewRun {
    NewRun {
        run_id: uuid::Uuid::now_v7(),
        id_scope: cluster.clone(),
        cluster,
        trigger: Trigger::Schedule,
        occurrences: vec![],
        retention_groups: vec![RetentionGroup::Schedule("daily".into())],
        note: None,
        spec: serde_json::json!({ "limits": { "run_deadline": "4h" } }),
        largest_seen: 0,
        now: Utc::now(),
        min_interval: None,
    }
}

fn started() -> Event {
    let components = vec![Component::Operate, Component::Tasklist, Component::Records, Component::Zeebe];
    let mut steps: Vec<Step> = components.iter().flat_map(|c| [Step::Start(*c), Step::Wait(*c)]).collect();
    steps.extend([Step::Guard, Step::Pause, Step::CheckPause, Step::Resume]);
    Event::Started {
        version: "8.6.0".into(),
        family: Family::V82To87,
        routes: camunda_backupd::domain::Routes::default(),
        pause: Some(PauseMode::Soft),
        components,
        steps,
        records_indices: (0..30)
            .map(|n| format!("zeebe-record_process-instance_8.6.0_2025-03-{n:02}"))
            .collect(),
        partitions: Some(3),
        above: None,
    }
}

/// Writes the journal of one run repeatedly: intent, progress, outcome, each awaited.
async fn write_until(stop: &AtomicBool, store: &SharedStore, run_id: RunId, latencies: &mut Vec<Duration>) {
    let step = Step::Wait(Component::Zeebe);
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let event = match n % 3 {
            0 => Event::StepIntended { step },
            1 => Event::Progress {
                component: Component::Zeebe,
                state: "IN_PROGRESS".into(),
                done: n,
                total: n + 1,
            },
            _ => Event::StepDone { step, ms: 5 },
        };
        let began = Instant::now();
        store.append(run_id, vec![Entry { at: Utc::now(), event }]).await.unwrap();
        latencies.push(began.elapsed());
    }
}

async fn measure(writers: usize, length: Duration) {
    let dir = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
    let mut runs = Vec::new();
    for n in 0..writers {
        let run = store.begin_run(new_run(format!("cluster-{n}"))).await.unwrap();
        store.append(run.run_id, vec![Entry { at: Utc::now(), event: started() }]).await.unwrap();
        runs.push(run.run_id);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut writing = JoinSet::new();
    let began = Instant::now();
    for run_id in runs {
        let (stop, store) = (Arc::clone(&stop), store.clone());
        writing.spawn(async move {
            let mut latencies = Vec::new();
            write_until(&stop, &store, run_id, &mut latencies).await;
            latencies
        });
    }
    let reading = {
        let (stop, store) = (Arc::clone(&stop), store.clone());
        tokio::spawn(async move {
            let mut slowest = Duration::ZERO;
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                store.backups(BackupFilter { limit: 100, ..Default::default() }).await.unwrap();
                slowest = slowest.max(began.elapsed());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            slowest
        })
    };
    tokio::time::sleep(length).await;
    stop.store(true, Ordering::Relaxed);
    let mut latencies: Vec<Duration> = writing.join_all().await.into_iter().flatten().collect();
    let took = began.elapsed();
    let slowest_list = reading.await.unwrap();
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    println!(
        "{writers:>6} writers: {:>7.0} transitions/s, answered p50 {:>8.2?}, p99 {:>8.2?}; slowest list of 100 backups {:.2?}",
        latencies.len() as f64 / took.as_secs_f64(),
        at(0.5),
        at(0.99),
        slowest_list
    );
    store.close().await.unwrap();
}

/// Upper limit of the disk: grows a file by a page and syncs it, one after the other.
fn syncs_per_second(length: Duration) -> f64 {
    use std::io::Write;
    let mut file = match std::env::var_os("BENCH_DIR") {
        Some(dir) => tempfile::tempfile_in(dir).unwrap(),
        None => tempfile::tempfile().unwrap(),
    };
    let began = Instant::now();
    let mut count = 0_u32;
    while began.elapsed() < length {
        file.write_all(&[7; 4096]).unwrap();
        file.sync_data().unwrap();
        count += 1;
    }
    f64::from(count) / began.elapsed().as_secs_f64()
}

fn main() {
    let seconds = std::env::args().find_map(|a| a.parse().ok()).unwrap_or(5);
    let length = Duration::from_secs(seconds);
    println!(
        "Each transition is one `append` of one journal entry (intent, progress, outcome in turn) to a run of its own,\n\
         answered after its commit was synced (WAL, synchronous=FULL, group commit); {seconds} s each, beside a reader.\n\
         The disk alone: {:.0} syncs of one page a second.",
        syncs_per_second(Duration::from_secs(1))
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for writers in [1, 16, 256, 1024] {
        runtime.block_on(measure(writers, length));
    }
}
