//! The real binary, a directory for its files, and a broker that counts resumes.

use camunda_backupd::domain::{Access, Addresses, Family, PauseMode, Trigger};
use camunda_backupd::journal::{Entry, Event, Step};
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{NewRun, PendingResume, ResumeProgress, SharedStore};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

pub struct Location {
    pub directory: tempfile::TempDir,
}

impl Location {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self, listen: &str, more: &str) -> PathBuf {
        let text = format!(
            "[daemon]\nstate_dir = \"{}\"\nruntime_dir = \"{}\"\ninstance = \"test\"\nshutdown_grace = \"2s\"\n\
             [http]\nlisten = \"{listen}\"\n[log]\nformat = \"json\"\n\
             [clusters.orders.self_managed]\nzeebe = \"http://127.0.0.1:1\"\noperate = \"http://127.0.0.1:1\"\n\
             search = {{ url = \"http://127.0.0.1:1\", repository = \"camunda\" }}\n{more}",
            self.path("state").display(),
            self.path("run").display()
        );
        let file = self.path("config.toml");
        std::fs::write(&file, text).unwrap();
        file
    }

    pub fn good(&self) -> PathBuf {
        self.config("127.0.0.1:0", "[schedules.daily]\nclusters = [\"orders\"]\ndaily = \"02:00\"\n")
    }
}

/// The daemon that Cargo built for the running test program.
pub fn binary() -> PathBuf {
    // Programs of tests and benches are in `deps` below it.
    let program = std::env::current_exe().unwrap();
    let binary = program.ancestors().nth(2).unwrap().join("camunda-backupd");
    assert!(binary.exists(), "{} is not built", binary.display());
    binary
}

pub fn command(config: &Path, words: &[&str]) -> Command {
    command_of(&binary(), config, words)
}

pub fn command_of(program: &Path, config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.arg("--config").arg(config).args(words).stdin(Stdio::null());
    for name in ["STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    command
}

/// Runs to the end. A daemon that starts unexpectedly is a failure, not a hang.
pub fn ends(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if began.elapsed() > Duration::from_secs(30) {
            child.kill().unwrap();
            panic!("it still runs: {:?}", child.wait_with_output());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

pub fn refused(command: Command) -> String {
    let output = ends(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(process.to_string()).status();
    assert!(sent.unwrap().success());
}

/// A daemon that is up; its log as lines.
pub struct Up {
    pub child: Child,
    pub log: std::sync::mpsc::Receiver<String>,
    left: Vec<String>,
}

impl Up {
    pub fn new(config: &Path) -> Self {
        let mut child =
            command(config, &["serve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, log) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
        });
        let up = Self { child, log, left: Vec::new() };
        up.event("daemon.started");
        up
    }

    pub fn event(&self, name: &str) -> serde_json::Value {
        loop {
            let line = self.log.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("no {name}"));
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    /// Waits until the process has closed its log; unread lines are kept for `printed`.
    pub fn log_ended(&mut self) -> bool {
        loop {
            match self.log.try_recv() {
                Ok(line) => self.left.push(line),
                Err(error) => return error == std::sync::mpsc::TryRecvError::Disconnected,
            }
        }
    }

    /// Lines that are no events, of those that `log_ended` has seen.
    pub fn printed(&self) -> Vec<String> {
        self.left.iter().filter(|line| !line.starts_with('{')).cloned().collect()
    }

    pub fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    pub fn stop(self) {
        self.stop_with(0);
    }

    /// A daemon with a resume that stays pending exits with 1.
    pub fn stop_with_pending_resume(self) {
        self.stop_with(1);
    }

    fn stop_with(mut self, code: i32) {
        self.signal("TERM");
        self.event("daemon.stopping");
        let began = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(began.elapsed() < Duration::from_secs(10), "the daemon does not stop");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(self.child.wait().unwrap().code(), Some(code));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Response of a broker with one partition that exports.
pub const EXPORTING: &str = r#"{"1":{"role":"LEADER","processedPosition":951,"snapshotId":null,"streamProcessorPhase":"PROCESSING","exporterPhase":"EXPORTING","exportedPosition":967}}"#;

/// A broker that confirms resumes, and counts them.
pub fn broker() -> (String, Arc<AtomicUsize>) {
    broker_saying("200 OK")
}

/// A broker that counts resumes and responds to each with this status.
pub fn broker_saying(status: &'static str) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let resumes = Arc::new(AtomicUsize::new(0));
    let seen = resumes.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream: TcpStream = stream.unwrap();
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap();
            if head[..length].starts_with(b"POST /actuator/exporting/resume") {
                seen.fetch_add(1, Ordering::SeqCst);
            }
            let body = if head[..length].starts_with(b"GET /actuator/partitions") {
                EXPORTING
            } else {
                r#"{"body":null,"status":204,"contentType":null}"#
            };
            let response = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(response.as_bytes());
        }
    });
    (base, resumes)
}

/// A state file with a pending resume of a cluster at `zeebe`.
pub fn record_pending_resume(state: &Path, zeebe: &str) {
    record_pending_resume_since(state, zeebe, chrono::TimeDelta::zero());
}

/// As above, with the first resume sent this long ago.
pub fn record_pending_resume_since(state: &Path, zeebe: &str, age: chrono::TimeDelta) {
    record_pending_resume_with_access(state, zeebe, std::collections::BTreeMap::new(), age);
}

/// The same for a cluster with credentials. Returns the run.
pub fn record_pending_resume_with_access(
    state: &Path,
    zeebe: &str,
    access: std::collections::BTreeMap<String, Access>,
    age: chrono::TimeDelta,
) -> uuid::Uuid {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (store, _lock) = SqliteStore::open(state).unwrap();
        let now = chrono::Utc::now() - age;
        let addresses = Addresses { zeebe: zeebe.into(), access, ..Addresses::default() };
        let run_id = killed_in_its_pause(&store, "orders", addresses, now).await;
        if age > chrono::TimeDelta::zero() {
            let intent = ResumeProgress::Intended { by: "run".into(), at: now };
            store.record_resume_progress(run_id, intent).await.unwrap();
        }
        store.close().await.unwrap();
        run_id
    })
}

/// A run that was killed right after its pause was seen.
pub async fn killed_in_its_pause(
    store: &SharedStore,
    cluster: &str,
    addresses: Addresses,
    now: camunda_backupd::domain::Instant,
) -> uuid::Uuid {
    let run_id = uuid::Uuid::now_v7();
    let new = NewRun {
        run_id,
        cluster: cluster.into(),
        trigger: Trigger::Manual,
        occurrences: vec![],
        retention_groups: vec![],
        note: None,
        spec: serde_json::Value::Null,
        id_scope: cluster.into(),
        largest_seen: 0,
        now,
        min_interval: None,
    };
    store.begin_run(new).await.unwrap();
    let started = Event::Started {
        version: "8.6.0".into(),
        family: Family::V82To87,
        routes: camunda_backupd::domain::Routes::default(),
        pause: Some(PauseMode::Soft),
        components: vec![],
        steps: vec![Step::Pause, Step::CheckPause, Step::Resume],
        records_indices: vec![],
        partitions: None,
        above: None,
    };
    store.append(run_id, vec![Entry { at: now, event: started }]).await.unwrap();
    let pending_resume = PendingResume::new(run_id, cluster, addresses, now);
    store
        .record_pending_resume(
            pending_resume,
            Entry { at: now, event: Event::StepIntended { step: Step::Pause } },
        )
        .await
        .unwrap();
    let seen = Event::PauseConfirmed { mode: PauseMode::Soft, positions: [(1, 10)].into() };
    store.append(run_id, vec![Entry { at: now, event: seen }]).await.unwrap();
    run_id
}

pub fn pending_count(state: &Path) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        SqliteStore::open_without_lock(state).unwrap().unwrap().pending_resumes().await.unwrap().len()
    })
}

impl Location {
    /// A config with only the directories of the daemon.
    pub fn good_reader(&self) -> PathBuf {
        let daemon = std::fs::read_to_string(self.path("config.toml")).unwrap();
        let file = self.path("reader.toml");
        let good = daemon.split("[schedules").next().unwrap().to_owned();
        std::fs::write(&file, good).unwrap();
        file
    }
}
