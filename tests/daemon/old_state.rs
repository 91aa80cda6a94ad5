//! The real binary on an old copy of its state: ids do not go back, backups unknown to the copy stay, a resume confirmed
//! since then is harmless, and `adopt` registers the missing backups.

use crate::served::Served;
use camunda_backupd::sim::locked;
use harness::process::{Location, Up, command, ends};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

struct Rig {
    served: Served,
    location: Location,
}

impl Rig {
    fn new() -> Self {
        let location = Location::new();
        let more = "[defaults]\nmanual = { keep = 2, failed = 2, min_interval = '0s' }\n\
                    [schedules.daily]\nclusters = ['orders']\ndaily = '02:00'\n";
        let sim = crate::served::orders(4.0, Duration::from_millis(600));
        let served =
            Served::new(location.directory.path(), &location.path("state"), sim, "instance = 'old'\n", more);
        Self { served, location }
    }

    fn reports(&self, words: &[&str]) -> (i32, Value, String) {
        let output = ends(command(&self.served.config, words));
        let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), json, String::from_utf8(output.stderr).unwrap())
    }

    fn backup(&self) -> i64 {
        let (code, backup, error) = self.reports(&["backup", "orders", "--wait", "--json"]);
        assert_eq!((code, &backup["state"]), (0, &"completed".into()), "{backup} {error}");
        backup["backup_id"].as_i64().unwrap()
    }

    /// State of each backup in the state file.
    fn known(&self) -> Vec<(i64, String)> {
        let (_, rows, _) = self.reports(&["list", "orders", "--json"]);
        let mut known: Vec<(i64, String)> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| (row["backup_id"].as_i64().unwrap(), row["state"].as_str().unwrap().to_owned()))
            .collect();
        known.sort();
        known
    }

    fn in_cluster(&self, id: i64) -> bool {
        let mut cluster = locked(&self.served.cluster);
        cluster.advance(chrono::Utc::now());
        !cluster.pieces_of(id).is_empty()
    }

    /// A whole copy, also while the daemon runs.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.location.path(name);
        let from = rusqlite::Connection::open(self.location.path("state").join("state.db")).unwrap();
        from.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
        to
    }

    fn put_back(&self, copy: &PathBuf) {
        let state = self.location.path("state");
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(state.join(name));
        }
        std::fs::copy(copy, state.join("state.db")).unwrap();
    }

    fn until(&self, condition: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "not within 30 s: {condition}; {:?}; {}",
                self.known(),
                self.retention()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn retention(&self) -> String {
        let (_, health, _) = self.reports(&["status", "--json"]);
        let checks = health["checks"].as_array().cloned().unwrap_or_default();
        let found = checks.iter().find(|check| check["name"] == "retention");
        found.and_then(|check| check["detail"].as_str()).unwrap_or("").to_owned()
    }

    fn requested(&self, endpoint: &str) -> u64 {
        locked(&self.served.cluster).seen.get(endpoint).copied().unwrap_or(0)
    }
}

#[test]
fn old_state_copy_reuses_no_id_and_deletes_no_unknown_backup() {
    let rig = Rig::new();
    let up = Up::new(&rig.served.config);
    let old = rig.backup();
    let copy = rig.copy("copy.db");
    let (unknown, newest) = (rig.backup(), rig.backup());
    rig.until("retention has deleted the oldest", |rig| !rig.in_cluster(old));
    up.stop();
    rig.put_back(&copy);

    let up = Up::new(&rig.served.config);
    let next = rig.backup();
    assert!(next > newest, "{next} after {newest}");
    assert!(locked(&rig.served.cluster).restore(next).is_whole());
    // Before retention deletes anything, the cluster lists its backups.
    rig.backup();
    rig.backup();
    rig.until("health reports that retention has stopped", |rig| rig.retention().contains("adopt"));
    rig.backup();
    assert!(rig.in_cluster(unknown) && rig.in_cluster(newest) && rig.in_cluster(next), "{:?}", rig.known());

    let (code, _, error) = rig.reports(&["adopt", "orders", "--json"]);
    assert_eq!(code, 0, "{error}");
    let known = rig.known();
    for id in [unknown, newest] {
        assert!(known.contains(&(id, "completed".to_owned())), "{id} is not adopted: {known:?}");
    }
    // Of the adopted the newest good one is never pruned.
    rig.backup();
    rig.until("retention works again", |rig| !rig.in_cluster(next));
    assert!(rig.in_cluster(newest));
    up.stop();
}

/// The copy was taken inside a pause: its pending resume was sent and confirmed since.
#[test]
fn resume_confirmed_after_state_copy_is_sent_again() {
    let rig = Rig::new();
    let up = Up::new(&rig.served.config);
    assert_eq!(rig.reports(&["backup", "orders"]).0, 0);
    rig.until("a pause that is on record", |rig| {
        locked(&rig.served.cluster).pauses.since.is_some() && rig.requested("zeebe-post") > 0
    });
    let copy = rig.copy("copy.db");
    rig.until("the run ends", |rig| rig.known().iter().all(|(_, state)| state == "completed"));
    let (id, resumes) = (rig.known()[0].0, rig.requested("resume"));
    up.stop();
    rig.put_back(&copy);
    assert_eq!(harness::process::pending_count(&rig.location.path("state")), 1);

    let up = Up::new(&rig.served.config);
    rig.until("the run ends again", |rig| rig.known().iter().all(|(_, state)| state == "failed"));
    assert_eq!(harness::process::pending_count(&rig.location.path("state")), 0);
    assert_eq!(rig.requested("resume"), resumes + 1);
    assert!(locked(&rig.served.cluster).pauses.since.is_none());
    assert!(rig.backup() > id);
    up.stop();
}
