//! A new version starts on the state file of an older one that was killed inside its pause. `ExecStopPost` of the new
//! version or its daemon sends the resume, and every backup is still there.

use crate::served::Served;
use camunda_backupd::sim::locked;
use harness::process::{Location, Up, command, ends, owed};
use std::path::Path;
use std::time::Duration;

/// Where the cluster of the kept file was.
const THEN: &str = "http://127.0.0.1:19700";

/// The state of a killed daemon of schema 1; the cluster that it left paused.
fn left_behind(location: &Location) -> Served {
    let state = location.path("state");
    let served = Served::new(
        location.directory.path(),
        &state,
        crate::served::orders(10.0, Duration::from_millis(200)),
        "instance = 'upgrade'\n",
        "[schedules.often]\nclusters = ['orders']\ndaily = '02:00'\n",
    );
    std::fs::create_dir(&state).unwrap();
    let file = state.join("state.db");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/corpus/state/schema-1.db"), &file)
        .unwrap();
    let config = std::fs::read_to_string(&served.config).unwrap();
    let now = format!(
        "http://127.0.0.1:{}",
        config.split("http://127.0.0.1:").nth(1).unwrap().split('/').next().unwrap()
    );
    let connection = rusqlite::Connection::open(&file).unwrap();
    for (table, column) in [("pending_resumes", "addresses"), ("runs", "spec")] {
        let moves = format!("UPDATE {table} SET {column} = replace({column}, ?1, ?2)");
        assert!(connection.execute(&moves, [THEN, &now]).unwrap() > 0);
    }
    locked(&served.cluster).arm("now.stranger-pause=0s").unwrap();
    served
}

fn is_paused(served: &Served) -> bool {
    let mut cluster = locked(&served.cluster);
    cluster.advance(chrono::Utc::now());
    cluster.pauses.since.is_some()
}

fn states(config: &Path) -> Vec<String> {
    let said = ends(command(config, &["--json", "list"])).stdout;
    let said: serde_json::Value = serde_json::from_slice(&said).unwrap();
    let state = |backup: &serde_json::Value| backup["state"].as_str().unwrap().to_owned();
    said.as_array().unwrap().iter().map(state).collect()
}

#[test]
fn upgrade_resumes_pending_pauses_and_keeps_backups() {
    let location = Location::new();
    let served = left_behind(&location);
    assert!(is_paused(&served));
    let up = Up::new(&served.config);
    let failed = up.event("run.failed");
    assert_eq!(failed["backup_id"], 1_795_985_100, "{failed}");
    assert!(!is_paused(&served));
    let states = states(&served.config);
    let count = |wanted: &str| states.iter().filter(|state| *state == wanted).count();
    assert_eq!((count("completed"), count("failed")), (2, 2), "{states:?}");
    up.stop();
    assert_eq!(owed(&location.path("state")), 0);
}

#[test]
fn new_exec_stop_post_resumes_from_older_state_file() {
    let location = Location::new();
    let served = left_behind(&location);
    let output = ends(command(&served.config, &["resume-exporting", "--pending", "--for", "20s"]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(!is_paused(&served));
    let up = Up::new(&served.config);
    let failed = up.event("run.failed");
    assert_eq!(failed["backup_id"], 1_795_985_100, "{failed}");
    let output = ends(command(&served.config, &["backup", "orders", "--wait"]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    up.stop();
}
