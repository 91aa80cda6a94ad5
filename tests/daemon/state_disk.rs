//! The real binary when its state can no longer be written: before a pause, inside one, and at the start.
//!
//! Every write to a file fails (`RLIMIT_FSIZE`, which needs no privileges). A file system that is really full or
//! read-only is in `tests/jobs/power_loss/run`.

use crate::served::Served;
use camunda_backupd::domain::BackupState;
use camunda_backupd::sim::locked;
use camunda_backupd::store::BackupFilter;
use camunda_backupd::store::sqlite::SqliteStore;
use harness::process::{Location, command, ends};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

struct Rig {
    served: Served,
    location: Location,
    child: Child,
}

/// A daemon that survives its file size limit: writes beyond it fail.
fn serve(config: &Path, location: &Location) -> Child {
    let log = std::fs::File::options().append(true).create(true).open(location.path("log")).unwrap();
    let mut shell = Command::new("sh");
    shell.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_camunda-backupd")]);
    shell.arg("--config").arg(config).arg("serve");
    shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap()
}

impl Rig {
    fn new(every: u32) -> Self {
        let location = Location::new();
        // Long enough to be met inside.
        let sim = crate::served::orders(2.0, Duration::from_secs(1));
        let often = format!("[schedules.often]\nclusters = ['orders']\ncron = '*/{every} * * * * *'\n");
        let state = location.path("state");
        let served = Served::new(location.directory.path(), &state, sim, "instance = 'disk'\n", &often);
        let child = serve(&served.config, &location);
        let rig = Self { served, location, child };
        rig.until("the daemon comes up", || rig.status().0 != 3);
        rig
    }

    fn until(&self, condition: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "not within a minute: {condition}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    fn log(&self) -> String {
        let text = std::fs::read_to_string(self.location.path("log")).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    fn status(&self) -> (i32, String) {
        let output = ends(command(&self.served.config, &["status", "--json"]));
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    fn paused(&self) -> bool {
        locked(&self.served.cluster).pauses.since.is_some()
    }

    fn requested(&self, endpoint: &str) -> u64 {
        locked(&self.served.cluster).seen.get(endpoint).copied().unwrap_or(0)
    }

    fn disk(&self, works: bool) {
        let limit = if works { "--fsize=unlimited:unlimited" } else { "--fsize=0:unlimited" };
        let status = Command::new("prlimit").args(["--pid", &self.child.id().to_string(), limit]).status();
        assert!(status.unwrap().success(), "prlimit is part of util-linux");
    }

    /// How many runs ended so, and that each one called completed restores whole.
    fn ended(&self) -> (usize, usize) {
        let backups = self.served.runtime.block_on(async {
            let store = SqliteStore::open_without_lock(&self.location.path("state")).unwrap().unwrap();
            store.backups(BackupFilter::default()).await.unwrap()
        });
        for backup in backups.iter().filter(|b| b.state == BackupState::Completed) {
            let restored = locked(&self.served.cluster).restore(backup.run.backup_id.get());
            assert!(restored.is_whole(), "backup {} is called completed: {restored:?}", backup.run.backup_id);
        }
        let count = |wanted| backups.iter().filter(|b| b.state == wanted).count();
        (count(BackupState::Completed), count(BackupState::Failed))
    }
}

/// The state of the check `store` in the body of `/health`.
fn store_check(status: &str) -> String {
    let health: serde_json::Value = serde_json::from_str(status).unwrap_or_default();
    let checks = health["checks"].as_array().cloned().unwrap_or_default();
    let store = checks.iter().find(|check| check["name"] == "store");
    store.and_then(|check| check["status"].as_str()).unwrap_or("none").to_owned()
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn disk_failure_inside_the_pause_leaves_nothing_paused_and_no_false_record() {
    let rig = Rig::new(3);
    rig.until("a pause", || rig.paused());
    rig.disk(false);
    // The resume needs nothing on disk.
    rig.until("exporting runs again", || !rig.paused());
    let pauses = rig.requested("pause");
    rig.until("health reports the failure", || rig.status().0 == 1);
    let (_, status) = rig.status();
    assert_eq!(store_check(&status), "failing", "{status}");
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(
        rig.requested("pause"),
        pauses,
        "a pause started without a stored pending resume\n{}",
        rig.log()
    );
    assert!(!rig.paused());
    assert!(rig.location.path("state").join("state.db").exists());

    rig.disk(true);
    let before = rig.ended().0;
    rig.until("the next backup", || rig.ended().0 > before);
    rig.until("health is well again", || store_check(&rig.status().1) == "ok");
    let pending_resumes = ends(command(&rig.served.config, &["pending-resumes", "--json"]));
    rig.until("no resume is pending", || harness::process::pending_count(&rig.location.path("state")) == 0);
    assert_eq!(pending_resumes.status.code(), Some(0));
    assert!(rig.log().lines().all(|line| !line.contains("panicked")));
}

#[test]
fn failed_disk_prevents_pauses_and_daemon_stays_up() {
    let mut rig = Rig::new(2);
    rig.until("a backup", || rig.ended().0 > 0);
    rig.until("no pause", || !rig.paused());
    rig.disk(false);
    std::thread::sleep(Duration::from_secs(3));
    let pauses = rig.requested("pause");
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(rig.requested("pause"), pauses);
    assert_eq!(rig.status().0, 1);
    assert!(rig.child.try_wait().unwrap().is_none(), "it ended\n{}", rig.log());
    let before = rig.ended().0;
    rig.disk(true);
    rig.until("the next backup", || rig.ended().0 > before);
}

/// Systemd restarts the daemon after exit code 1, and not after exit code 2.
#[test]
fn start_on_full_disk_sends_pending_resumes_and_is_retried() {
    let location = Location::new();
    let (zeebe, resumes) = harness::process::broker();
    let config = location.good();
    harness::process::record_pending_resume(&location.path("state"), &zeebe);
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "trap '' XFSZ; ulimit -S -f 0; exec \"$@\"",
        "sh",
        env!("CARGO_BIN_EXE_camunda-backupd"),
    ]);
    shell.arg("--config").arg(&config).arg("serve");
    let output = ends(shell);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(resumes.load(Ordering::SeqCst) > 0, "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("state.db") || text.contains("state.lock"), "{text}");
}
