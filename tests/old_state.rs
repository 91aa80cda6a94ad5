//! The real binary on an old copy of its state: ids do not go back, nothing is deleted that the copy does not know, a
//! debt that was paid since harms nobody, and `adopt` brings the rest back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods)] // a test program on the real clock

#[path = "harness/process.rs"]
mod process;

use camunda_backupd::clock::SystemClock;
use camunda_backupd::sim::{self, SharedCluster, Timing, locked};
use process::{Place, Up, command, ends};
use serde_json::Value;
use std::path::PathBuf;
use std::time::{Duration, Instant};

struct Rig {
    cluster: SharedCluster,
    config: PathBuf,
    place: Place,
    _runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let mut timing = Timing::default().faster(4.0);
        timing.backup = Duration::from_millis(600);
        let sim_config = sim::Config { timing, ..sim::Config::named("orders") };
        let clock = SystemClock::shared();
        let cluster = sim::shared(sim::Cluster::new(sim_config.clone(), clock.now()));
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let table = sim_config.daemon_table(&format!("http://{}", listener.local_addr().unwrap()));
        runtime.spawn(sim::server::serve(listener, cluster.clone(), clock, std::future::pending()));
        let place = Place::new();
        let text = format!(
            "[daemon]\nstate_dir = '{}'\nruntime_dir = '{}'\ninstance = 'old'\n[http]\nlisten = '127.0.0.1:0'\n\
             [log]\nformat = 'json'\n[defaults]\nmanual = {{ keep = 2, failed = 2, min_interval = '0s' }}\n{table}\
             [schedules.daily]\nclusters = ['orders']\ndaily = '02:00'\n",
            place.path("state").display(),
            place.path("run").display()
        );
        let config = place.path("config.toml");
        std::fs::write(&config, text).unwrap();
        Self { cluster, config, place, _runtime: runtime }
    }

    fn says(&self, words: &[&str]) -> (i32, Value, String) {
        let output = ends(command(&self.config, words));
        let json = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (output.status.code().unwrap(), json, String::from_utf8(output.stderr).unwrap())
    }

    fn backup(&self) -> i64 {
        let (code, backup, error) = self.says(&["backup", "orders", "--wait", "--json"]);
        assert_eq!((code, &backup["state"]), (0, &"completed".into()), "{backup} {error}");
        backup["backup_id"].as_i64().unwrap()
    }

    /// State of each backup that the daemon knows.
    fn known(&self) -> Vec<(i64, String)> {
        let (_, rows, _) = self.says(&["list", "orders", "--json"]);
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
        let mut cluster = locked(&self.cluster);
        cluster.advance(chrono::Utc::now());
        !cluster.pieces_of(id).is_empty()
    }

    /// A whole copy, also while the daemon runs.
    fn copy(&self, name: &str) -> PathBuf {
        let to = self.place.path(name);
        let from = rusqlite::Connection::open(self.place.path("state").join("state.db")).unwrap();
        from.execute("VACUUM INTO ?1", [to.to_str().unwrap()]).unwrap();
        to
    }

    fn put_back(&self, copy: &PathBuf) {
        let state = self.place.path("state");
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let _ = std::fs::remove_file(state.join(name));
        }
        std::fs::copy(copy, state.join("state.db")).unwrap();
    }

    fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !holds(self) {
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "not within 30 s: {what}; {:?}; {}",
                self.known(),
                self.retention()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn retention(&self) -> String {
        let (_, health, _) = self.says(&["status", "--json"]);
        let checks = health["checks"].as_array().cloned().unwrap_or_default();
        let found = checks.iter().find(|check| check["name"] == "retention");
        found.and_then(|check| check["detail"].as_str()).unwrap_or("").to_owned()
    }

    fn asked(&self, endpoint: &str) -> u64 {
        locked(&self.cluster).seen.get(endpoint).copied().unwrap_or(0)
    }
}

#[test]
fn an_old_copy_of_the_state_neither_repeats_an_id_nor_deletes_what_it_does_not_know() {
    let rig = Rig::new();
    let up = Up::new(&rig.config);
    let old = rig.backup();
    let copy = rig.copy("copy.db");
    let (unknown, newest) = (rig.backup(), rig.backup());
    rig.until("retention has deleted the oldest", |rig| !rig.in_cluster(old));
    up.stop();
    rig.put_back(&copy);

    let up = Up::new(&rig.config);
    let next = rig.backup();
    assert!(next > newest, "{next} after {newest}");
    assert!(locked(&rig.cluster).restore(next).is_whole());
    // Before anything would go, the cluster is asked what it has.
    rig.backup();
    rig.backup();
    rig.until("health says that retention has stopped", |rig| rig.retention().contains("adopt"));
    rig.backup();
    assert!(rig.in_cluster(unknown) && rig.in_cluster(newest) && rig.in_cluster(next), "{:?}", rig.known());

    let (code, _, error) = rig.says(&["adopt", "orders", "--json"]);
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

/// The copy was taken inside a pause: it says that a resume is owed which has long been sent.
#[test]
fn a_debt_that_was_paid_since_the_copy_is_paid_again_and_does_no_harm() {
    let rig = Rig::new();
    let up = Up::new(&rig.config);
    assert_eq!(rig.says(&["backup", "orders"]).0, 0);
    rig.until("a pause that is on record", |rig| {
        locked(&rig.cluster).pauses.since.is_some() && rig.asked("zeebe-post") > 0
    });
    let copy = rig.copy("copy.db");
    rig.until("the run ends", |rig| rig.known().iter().all(|(_, state)| state == "completed"));
    let (id, resumes) = (rig.known()[0].0, rig.asked("resume"));
    up.stop();
    rig.put_back(&copy);
    assert_eq!(process::owed(&rig.place.path("state")), 1);

    let up = Up::new(&rig.config);
    rig.until("the run ends again", |rig| rig.known().iter().all(|(_, state)| state == "failed"));
    assert_eq!(process::owed(&rig.place.path("state")), 0);
    assert_eq!(rig.asked("resume"), resumes + 1);
    assert!(locked(&rig.cluster).pauses.since.is_none());
    assert!(rig.backup() > id);
    up.stop();
}
