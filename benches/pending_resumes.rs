//! Time from the start of the daemon to the last resume: 1,000 pending resumes, 100 of them on unreachable clusters.
//!
//! `cargo bench --bench pending_resumes`. The real binary, a state file on this disk, real sockets. Of the unreachable
//! clusters 50 refuse the connection and 50 accept it without a response. The time ends with the first resume of the
//! last of the other 900 clusters. Median of five.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
#![allow(clippy::disallowed_methods)] // a program on the real clock

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use camunda_backupd::domain::Addresses;
use camunda_backupd::store::sqlite::SqliteStore;
use harness::process::{EXPORTING, command, killed_in_its_pause};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const PENDING: usize = 1000;
const REFUSING: usize = 50;
const SILENT: usize = 50;
const RUNS: usize = 5;

type PartState = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Responds like a broker of 8.6, and records the first resume of each cluster.
async fn brokers(seen: PartState) -> String {
    let response = |State(seen): State<PartState>, uri: Uri| async move {
        if uri.path().ends_with("/actuator/exporting/resume") {
            let name = uri.path().split('/').nth(1).unwrap().to_owned();
            seen.lock().unwrap().entry(name).or_insert_with(Instant::now);
        }
        let body = if uri.path().ends_with("/actuator/partitions") {
            EXPORTING
        } else {
            r#"{"body":null,"status":204,"contentType":null}"#
        };
        ([("content-type", "application/json")], body)
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let app = Router::new().fallback(response).with_state(seen);
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    base
}

/// Accepts connections and never responds.
async fn silence() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            kept.push(stream);
        }
    });
    base
}

/// Runs that were killed inside their pause, each of a cluster of its own.
async fn record_pending_resume(state: &Path, bases: &[String]) {
    let (store, _lock) = SqliteStore::open(state).unwrap();
    let now = chrono::Utc::now();
    for (number, base) in bases.iter().enumerate() {
        let addresses = Addresses { zeebe: base.clone(), ..Addresses::default() };
        killed_in_its_pause(&store, &format!("c{number}"), addresses, now).await;
    }
    store.close().await.unwrap();
}

async fn once() -> Duration {
    let location = tempfile::tempdir().unwrap();
    let (seen, reachable) = (PartState::default(), PENDING - REFUSING - SILENT);
    let (base, silent) = (brokers(seen.clone()).await, silence().await);
    // The unreachable stand between the others, not after them.
    let bases: Vec<String> = (0..PENDING)
        .map(|number| match number % 20 {
            0 => format!("http://127.0.0.1:1/c{number}"),
            1 => format!("{silent}/c{number}"),
            _ => format!("{base}/c{number}"),
        })
        .collect();
    let state = location.path().join("state");
    record_pending_resume(&state, &bases).await;
    let config = location.path().join("config.toml");
    let text = format!(
        "[daemon]\nstate_dir = '{}'\nruntime_dir = '{}'\ninstance = 'bench'\n[http]\nlisten = '127.0.0.1:0'\n[log]\nlevel = 'off'\n\
         [clusters.other.self_managed]\nzeebe = '{base}/other'\noperate = '{base}/other'\nsearch = {{ url = '{base}', repository = 'camunda' }}\n",
        state.display(),
        location.path().join("run").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = command(&config, &["serve"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = command.spawn().unwrap();
    while seen.lock().unwrap().len() < reachable && began.elapsed() < Duration::from_secs(120) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let times = seen.lock().unwrap().clone();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(times.len(), reachable, "not every cluster that can be reached was asked to resume");
    times.values().max().unwrap().duration_since(began)
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut times: Vec<Duration> = (0..RUNS).map(|_| runtime.block_on(once())).collect();
    times.sort();
    let seconds = |time: Duration| time.as_secs_f64();
    println!(
        "{PENDING} pending resumes, {} of them on unreachable clusters: last reachable resume sent {:.2} s after the start (median of {RUNS}; {:.2} to {:.2}; goal 2 s)",
        REFUSING + SILENT,
        seconds(times[RUNS / 2]),
        seconds(times[0]),
        seconds(times[RUNS - 1])
    );
}
