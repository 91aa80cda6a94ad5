//! The real binary is killed between records and Zeebe; `ExecStopPost` resumes; Zeebe still completes its part.

use crate::served::Served;
use camunda_backupd::sim::{self, SharedCluster, Timing, locked};
use harness::process::{Location, Up, command, ends};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

fn until(condition: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "not within 30 s: {condition}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn requested(cluster: &SharedCluster, endpoint: &str) -> u64 {
    let mut cluster = locked(cluster);
    cluster.advance(chrono::Utc::now());
    cluster.seen.get(endpoint).copied().unwrap_or(0)
}

fn json(config: &Path, words: &[&str]) -> Value {
    serde_json::from_slice(&ends(command(config, words)).stdout).unwrap()
}

/// `pause`: a foreign change of exporting between the resume and the restart; it must stay.
fn scenario(pause: Option<&str>) {
    let sim_config = sim::Config { timing: Timing::default().faster(2.0), ..sim::Config::named("orders") };
    let location = Location::new();
    let served = Served::new(
        location.directory.path(),
        &location.path("state"),
        sim_config,
        "instance = 'stop-post'\n",
        "[schedules.daily]\nclusters = ['orders']\ndaily = '02:00'\n",
    );
    let (cluster, config) = (&served.cluster, &served.config);
    // The backup is accepted, and the response takes longer than the daemon lives.
    locked(cluster).arm("zeebe-post.delay=20s").unwrap();

    let mut up = Up::new(config);
    assert_eq!(ends(command(config, &["backup", "orders"])).status.code(), Some(0));
    until("a request to Zeebe", || requested(cluster, "zeebe-post") > 0);
    up.child.kill().unwrap();
    up.child.wait().unwrap();
    assert!(locked(cluster).pauses.since.is_some(), "the kill was not inside the pause");

    let output = ends(command(config, &["resume-exporting", "--pending", "--for", "20s"]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(locked(cluster).pauses.since.is_none(), "exporting is still paused after ExecStopPost");
    let resumes = requested(cluster, "resume");
    if let Some(fault) = pause {
        locked(cluster).arm(fault).unwrap();
    }
    until("Zeebe has completed its part", || {
        let mut cluster = locked(cluster);
        let now = chrono::Utc::now();
        cluster.advance(now);
        cluster
            .backups
            .values()
            .next()
            .is_some_and(|backup| backup.states(now).into_iter().all(|state| state.wire() == "COMPLETED"))
    });

    let up = Up::new(config);
    let ended = || json(config, &["list", "--json", "orders"])[0]["state"] != "running";
    until("the run ends", ended);
    let backup = &json(config, &["list", "--json", "orders"])[0];
    assert_eq!(backup["state"], "failed", "{backup}");
    assert_eq!(
        backup["reason"],
        "the daemon went down inside the pause and exporting was resumed before the backup had all its parts",
        "{backup}"
    );
    assert_eq!(requested(cluster, "resume"), resumes, "a second resume could have ended a foreign pause");
    assert_eq!(
        locked(cluster).pauses.since.is_some(),
        pause.is_some(),
        "a pause that is not ours is left alone"
    );
    assert_eq!(harness::process::pending_count(&location.path("state")), 0);
    up.stop();
}

#[test]
fn run_resumed_by_exec_stop_post_fails_even_with_complete_parts() {
    scenario(None);
}

#[test]
fn exec_stop_post_leaves_a_foreign_pause_alone() {
    scenario(Some("now.foreign-pause=0s"));
}
