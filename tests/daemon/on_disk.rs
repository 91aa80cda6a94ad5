//! Rig: the real binary on a disk that can fail, with a simulated cluster in this process.

use crate::served::{self, Served};
use crate::small_disk::Disk;
use camunda_backupd::domain::BackupState;
use camunda_backupd::journal::RunView;
use camunda_backupd::sim::{SharedCluster, locked};
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{Backup, BackupFilter, SharedStore};
use harness::process::{command, ends};
use serde_json::Value;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub cluster: SharedCluster,
    pub config: PathBuf,
    pub child: Option<Child>,
    // Before its directory.
    pub disk: Disk,
    pub directory: TempDir,
    pub runtime: tokio::runtime::Runtime,
    watchdog: Arc<AtomicUsize>,
}

impl Rig {
    /// A cluster, a disk and a config with this schedule; no daemon yet.
    pub(crate) fn new(schedule: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let disk = Disk::in_directory(directory.path());
        // Long enough to be met inside.
        let sim = served::orders(2.0, Duration::from_secs(1));
        let often = format!("[schedules.often]\nclusters = ['orders']\n{schedule}\n");
        let daemon = "instance = 'disk'\nshutdown_grace = '10s'\n";
        let Served { cluster, config, runtime } =
            Served::new(directory.path(), &disk.state(), sim, daemon, &often);
        let systemd = UnixDatagram::bind(directory.path().join("notify")).unwrap();
        let watchdog = Arc::new(AtomicUsize::new(0));
        let fed = watchdog.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 512];
            while let Ok(length) = systemd.recv(&mut buffer) {
                fed.fetch_add(usize::from(buffer[..length].starts_with(b"WATCHDOG=1")), Ordering::SeqCst);
            }
        });
        Self { cluster, config, child: None, disk, directory, runtime, watchdog }
    }

    /// The same with a daemon that is up.
    pub(crate) fn up(schedule: &str) -> Self {
        let mut rig = Self::new(schedule);
        rig.start();
        rig
    }

    /// A limit on the size of its files does not kill the daemon: writes beyond it fail.
    fn daemon(&self, soft_limit: &str) -> Command {
        let mut shell = Command::new("sh");
        let script = format!("trap '' XFSZ; ulimit -S -f {soft_limit}; exec \"$@\"");
        shell.args(["-c", &script, "sh", env!("CARGO_BIN_EXE_camunda-backupd"), "--config"]);
        shell.arg(&self.config).arg("serve").stdin(Stdio::null()).stdout(Stdio::null());
        shell.env("NOTIFY_SOCKET", self.directory.path().join("notify")).env("WATCHDOG_USEC", "3000000");
        for name in ["STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY"] {
            shell.env_remove(name);
        }
        shell
    }

    pub(crate) fn start(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.directory.path().join("log"));
        self.child = Some(self.daemon("unlimited").stderr(log.unwrap()).spawn().unwrap());
        self.until("the daemon comes up", || self.status().0 != 3);
    }

    /// A start that is expected to be refused, on a full disk if so.
    pub(crate) fn start_refused(&self, full: bool) -> Output {
        let limited = full && !self.disk.is_mounted();
        ends(self.daemon(if limited { "0" } else { "unlimited" }))
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// How long it took.
    pub(crate) fn until(&self, condition: &str, holds: impl Fn() -> bool) -> Duration {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "not within a minute: {condition}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(3));
        }
        began.elapsed()
    }

    pub(crate) fn log(&self) -> String {
        let text = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(25)..].join("\n")
    }

    /// How often the log has this event.
    pub(crate) fn events_named(&self, event: &str) -> usize {
        let text = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        text.matches(&format!("\"event\":\"{event}\"")).count()
    }

    pub(crate) fn cli(&self, words: &[&str]) -> Output {
        ends(command(&self.config, words))
    }

    pub(crate) fn status(&self) -> (i32, Value) {
        let output = self.cli(&["status", "--json"]);
        (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap_or_default())
    }

    /// Status and detail of one check of health.
    pub(crate) fn check(&self, name: &str) -> (String, String) {
        let (_, health) = self.status();
        let checks = health["checks"].as_array().cloned().unwrap_or_default();
        let found = checks.iter().find(|check| check["name"] == name).cloned().unwrap_or_default();
        let word = |key: &str| found[key].as_str().unwrap_or_default().to_owned();
        (word("status"), word("detail"))
    }

    pub(crate) fn store_is(&self, status: &str) -> bool {
        self.check("store").0 == status
    }

    pub(crate) fn paused(&self) -> bool {
        locked(&self.cluster).pauses.since.is_some()
    }

    /// Number of watchdog notifications since the last call.
    pub(crate) fn watchdog_fed(&self) -> usize {
        self.watchdog.swap(0, Ordering::SeqCst)
    }

    pub(crate) fn store(&self) -> SharedStore {
        SqliteStore::open_without_lock(&self.disk.state()).unwrap().unwrap()
    }

    pub(crate) fn backups(&self) -> Vec<Backup> {
        self.runtime.block_on(self.store().backups(BackupFilter::default())).unwrap()
    }

    /// Nobody has to wait for a pause that may be carried out late.
    pub(crate) fn has_seen_its_pause(&self) -> bool {
        let store = self.store();
        let unfinished = self.runtime.block_on(store.unfinished()).unwrap();
        // The last one to close the file takes its log away: that must not come after the daemon was killed.
        self.runtime.block_on(store.close()).unwrap();
        self.paused() && unfinished.iter().any(|run| run.view.pause.confirmed_at.is_some())
    }

    pub(crate) fn pending_count(&self) -> usize {
        self.runtime.block_on(self.store().pending_resumes()).unwrap().len()
    }

    /// Checks the state: the journal equals the view, ids increase, and every completed backup exists and is whole.
    pub(crate) fn record_is_true(&self) {
        let backups = self.backups();
        for backup in &backups {
            let run = &backup.run;
            let journal = self.runtime.block_on(self.store().journal(run.run_id)).unwrap();
            // A running backup may have made progress between the two reads.
            if run.view.ended() {
                assert_eq!(RunView::replay(&journal).unwrap(), run.view);
            }
            if backup.state == BackupState::Completed {
                let restored = locked(&self.cluster).restore(run.backup_id.get());
                assert!(restored.is_whole(), "{} is called completed: {restored:?}", run.backup_id);
            }
        }
        let ids: Vec<i64> = backups.iter().map(|backup| backup.run.backup_id.get()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b), "ids do not grow: {ids:?}");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.kill();
    }
}
