//! A daemon is killed during a pause of its own. `ExecStopPost` or the next daemon resumes, and every backup is still known.

use crate::served::Served;
use camunda_backupd::sim::locked;
use harness::process::{Location, Up, command, ends, pending_count};
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);

/// One completed backup, and a second one whose daemon was killed while exporting was paused.
fn killed_in_pause(location: &Location) -> Served {
    let served = Served::new(
        location.directory.path(),
        &location.path("state"),
        crate::served::orders(10.0, Duration::from_secs(3)),
        "instance = 'killed'\n",
        "[defaults]\nmanual = { min_interval = '0s' }\n[schedules.often]\nclusters = ['orders']\ndaily = '02:00'\n",
    );
    let mut up = Up::new(&served.config);
    backup(&served.config, &["backup", "orders", "--wait"]);
    up.event("run.succeeded");
    backup(&served.config, &["backup", "orders"]);
    up.event("exporting.paused");
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    assert!(is_paused(&served));
    assert_eq!(pending_count(&location.path("state")), 1);
    served
}

fn backup(config: &Path, words: &[&str]) {
    let output = ends(command(config, words));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

fn is_paused(served: &Served) -> bool {
    let mut cluster = locked(&served.cluster);
    cluster.advance(chrono::Utc::now());
    cluster.pauses.since.is_some()
}

fn wait_until_resumed(served: &Served) {
    let began = Instant::now();
    while is_paused(served) {
        assert!(began.elapsed() < LIMIT, "exporting is not resumed");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// States in the order of the list.
fn states(config: &Path) -> Vec<String> {
    let listed = ends(command(config, &["--json", "list"])).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let state = |backup: &serde_json::Value| backup["state"].as_str().unwrap().to_owned();
    listed.as_array().unwrap().iter().map(state).collect()
}

#[test]
fn next_daemon_resumes_and_lists_the_backups() {
    let location = Location::new();
    let served = killed_in_pause(&location);
    let up = Up::new(&served.config);
    wait_until_resumed(&served);
    let states = states(&served.config);
    assert_eq!(states.len(), 2, "{states:?}");
    assert!(states.contains(&"completed".to_owned()), "{states:?}");
    up.stop();
    assert_eq!(pending_count(&location.path("state")), 0);
}

#[test]
fn exec_stop_post_resumes_and_the_next_daemon_goes_on() {
    let location = Location::new();
    let served = killed_in_pause(&location);
    let output = ends(command(&served.config, &["resume-exporting", "--pending", "--for", "20s"]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!is_paused(&served));
    assert_eq!(pending_count(&location.path("state")), 0);
    let up = Up::new(&served.config);
    // The run may fail before `daemon.started`, so that its event is not in the rest of the log.
    let began = Instant::now();
    loop {
        let mut states = states(&served.config);
        states.sort();
        if states == ["completed", "failed"] {
            break;
        }
        assert!(began.elapsed() < LIMIT, "the interrupted run has not failed: {states:?}");
        std::thread::sleep(Duration::from_millis(50));
    }
    backup(&served.config, &["backup", "orders", "--wait"]);
    up.stop();
}
