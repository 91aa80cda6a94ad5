//! The real binary from the outside: what keeps it from coming up, and that debts are paid all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(clippy::disallowed_methods)] // a test program on the real clock

use camunda_backupd::domain::{Addresses, Family, PauseMode, Trigger};
use camunda_backupd::journal::{Entry, Event, Step};
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{Debt, NewRun};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, listen: &str, more: &str) -> PathBuf {
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

    fn good(&self) -> PathBuf {
        self.config("127.0.0.1:0", "[schedules.daily]\nclusters = [\"orders\"]\ndaily = \"02:00\"\n")
    }
}

fn command(config: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_camunda-backupd"));
    command.arg("--config").arg(config).args(words).stdin(Stdio::null());
    for name in ["STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET"] {
        command.env_remove(name);
    }
    command
}

/// Runs to the end; a daemon that comes up although it should not is a failure, not a hang.
fn ends(mut command: Command) -> Output {
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

fn refused(command: Command) -> String {
    let output = ends(command);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    text
}

/// A daemon that is up; its log as lines.
struct Up {
    child: Child,
    log: std::sync::mpsc::Receiver<String>,
}

impl Up {
    fn new(config: &Path) -> Self {
        let mut child =
            command(config, &["serve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (send, log) = std::sync::mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
        });
        let up = Self { child, log };
        up.event("daemon.started");
        up
    }

    fn event(&self, name: &str) -> serde_json::Value {
        loop {
            let line = self.log.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("no {name}"));
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if event["event"] == name {
                return event;
            }
        }
    }

    fn signal(&self, name: &str) {
        assert!(
            Command::new("kill")
                .arg(format!("-{name}"))
                .arg(self.child.id().to_string())
                .status()
                .unwrap()
                .success()
        );
    }

    fn stop(mut self) {
        self.signal("TERM");
        self.event("daemon.stopping");
        assert_eq!(self.child.wait().unwrap().code(), Some(0));
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A broker that confirms resumes, and counts them.
fn broker() -> (String, Arc<AtomicUsize>) {
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
            let body = r#"{"body":null,"status":204,"contentType":null}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (base, resumes)
}

/// A state file in which a run of a cluster at `zeebe` owes a resume.
fn owe(state: &Path, zeebe: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (store, _lock) = SqliteStore::open(state).unwrap();
        let now = chrono::Utc::now();
        let addresses = Addresses {
            zeebe: zeebe.into(),
            operate: None,
            tasklist: None,
            optimize: None,
            rest: None,
            brokers: vec![],
            search: None,
        };
        let run_id = uuid::Uuid::now_v7();
        let new = NewRun {
            run_id,
            cluster: "orders".into(),
            trigger: Trigger::Manual,
            occurrences: vec![],
            pools: vec![],
            note: None,
            spec: serde_json::Value::Null,
            id_scope: "test".into(),
            largest_seen: 0,
            now,
            min_interval: None,
        };
        store.begin_run(new).await.unwrap();
        let started = Event::Started {
            version: "8.6.0".into(),
            family: Family::V82To87,
            pause: PauseMode::Soft,
            components: vec![],
            steps: vec![Step::Pause, Step::CheckPause, Step::Resume],
            records_indices: vec![],
            partitions: None,
        };
        store.append(run_id, vec![Entry { at: now, event: started }]).await.unwrap();
        let debt = Debt {
            run_id,
            cluster: "orders".into(),
            addresses,
            intended_at: now,
            intended_since_boot_ms: None,
            resume_intended_at: None,
            attempts: 0,
            last_error: None,
            paid_at: None,
            forgiven: None,
        };
        store.owe(debt, Entry { at: now, event: Event::StepIntended { step: Step::Pause } }).await.unwrap();
        store.close().await.unwrap();
    });
}

fn owed(state: &Path) -> usize {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        SqliteStore::open_without_lock(state).unwrap().unwrap().debts().await.unwrap().len()
    })
}

#[test]
fn a_second_daemon_on_one_state_is_refused_and_names_the_first() {
    let place = Place::new();
    let first = Up::new(&place.good());
    let text = refused(command(&place.good(), &["serve"]));
    assert!(text.contains(&format!("is in use by process {}", first.child.id())), "{text}");
    first.stop();
}

#[test]
fn a_taken_port_is_refused_and_debts_are_paid_before() {
    let place = Place::new();
    let (zeebe, resumes) = broker();
    owe(&place.path("state"), &zeebe);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = refused(command(&place.config(&address, ""), &["serve"]));
    assert!(
        text.contains(&format!("{address} cannot be listened on"))
            && text.contains("set another [http] listen"),
        "{text}"
    );
    assert_eq!((resumes.load(Ordering::SeqCst), owed(&place.path("state"))), (1, 0));
}

#[test]
fn a_config_that_does_not_load_is_refused_and_debts_are_paid_before() {
    let place = Place::new();
    let (zeebe, resumes) = broker();
    owe(&place.path("state"), &zeebe);
    let text = refused(command(
        &place.config("127.0.0.1:0", "[schedules.d]\nclusters = [\"nobody\"]\ndaily = \"25:00\"\n"),
        &["serve"],
    ));
    assert!(text.contains("nobody") && text.contains("25:00"), "both mistakes at once: {text}");
    assert_eq!((resumes.load(Ordering::SeqCst), owed(&place.path("state"))), (1, 0));
}

#[test]
fn resume_exporting_needs_neither_daemon_nor_config_nor_ca_certificates() {
    let place = Place::new();
    let (zeebe, resumes) = broker();
    owe(&place.path("state"), &zeebe);
    let config = place.config("127.0.0.1:0", "nonsense = 1\n");
    let mut pay = command(&config, &["resume-exporting", "--if-ours", "--for", "10s"]);
    pay.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let output = ends(pay);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((resumes.load(Ordering::SeqCst), owed(&place.path("state"))), (1, 0));
}

#[test]
fn a_resume_that_nobody_confirms_is_told_and_stays_owed() {
    let place = Place::new();
    owe(&place.path("state"), "http://127.0.0.1:1");
    let output = ends(command(&place.good(), &["resume-exporting", "--if-ours", "--for", "1s"]));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "the resume is not confirmed yet for orders\n");
    assert_eq!(owed(&place.path("state")), 1);
}

#[test]
fn a_state_that_cannot_be_used_is_refused() {
    let place = Place::new();
    std::fs::write(place.path("state"), "a file").unwrap();
    let text = refused(command(&place.good(), &["serve"]));
    assert!(text.contains("state"), "{text}");

    let newer = Place::new();
    owe(&newer.path("state"), "http://127.0.0.1:1");
    let file = rusqlite::Connection::open(newer.path("state").join("state.db")).unwrap();
    file.pragma_update(None, "user_version", 99).unwrap();
    drop(file);
    let text = refused(command(&newer.good(), &["serve"]));
    assert!(text.contains("was written by a newer camunda-backupd"), "{text}");
}

#[test]
fn a_reload_takes_a_good_file_over_and_a_bad_one_changes_nothing() {
    let place = Place::new();
    let up = Up::new(&place.good());
    let shown = || {
        let output = ends(command(&place.good_reader(), &["--json", "schedules"]));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let two = "[schedules.daily]\nclusters = [\"orders\"]\ndaily = \"02:00\"\n[schedules.weekly]\nclusters = [\"orders\"]\nweekly = \"sunday 03:00\"\n";
    place.config("127.0.0.1:0", two);
    up.signal("HUP");
    assert_eq!(up.event("config.loaded")["schedules"], 2);
    assert_eq!(shown().as_array().unwrap().len(), 2);
    place.config("127.0.0.1:0", "[schedules.bad]\nclusters = [\"orders\"]\ndaily = \"99:00\"\n");
    up.signal("HUP");
    let why = up.event("config.rejected")["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("99:00"), "{why}");
    assert_eq!(shown().as_array().unwrap().len(), 2, "the old config runs on");
    place.config("127.0.0.1:1", two);
    up.signal("HUP");
    let why = up.event("config.rejected")["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("[http] listen cannot be changed by a reload"), "{why}");
    up.stop();
}

impl Place {
    /// A config that only says where the daemon is.
    fn good_reader(&self) -> PathBuf {
        let daemon = std::fs::read_to_string(self.path("config.toml")).unwrap();
        let file = self.path("reader.toml");
        let good = daemon.split("[schedules").next().unwrap().to_owned();
        std::fs::write(&file, good).unwrap();
        file
    }
}

#[test]
fn commands_without_a_daemon_say_so() {
    let place = Place::new();
    for words in [&["status"][..], &["list"], &["backup", "orders"], &["debts"]] {
        let output = ends(command(&place.good(), words));
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{words:?}: {text}");
        assert!(text.contains("the daemon cannot be reached at") && text.contains("start it"), "{text}");
    }
}

#[test]
fn nothing_over_tcp_changes_anything_and_nobody_from_outside_reads() {
    let place = Place::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let up = Up::new(&place.config(&free.to_string(), ""));
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(free).unwrap();
        write!(stream, "{head}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    assert!(ask("GET /health HTTP/1.1\r\nHost: localhost").starts_with("HTTP/1.1 200"));
    assert!(ask("GET /v1/backups HTTP/1.1\r\nHost: localhost").starts_with("HTTP/1.1 200"));
    assert!(ask("GET /clusters HTTP/1.1\r\nHost: localhost").contains("\"name\":\"orders\""));
    assert!(ask("GET /v1/backups HTTP/1.1\r\nHost: evil.example").starts_with("HTTP/1.1 403"));
    assert!(
        ask("GET /v1/backups HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 1.2.3.4")
            .starts_with("HTTP/1.1 403")
    );
    assert!(ask("GET /v1/backups?token=x HTTP/1.1\r\nHost: localhost").starts_with("HTTP/1.1 400"));
    assert!(ask("GET /nothing HTTP/1.1\r\nHost: localhost").starts_with("HTTP/1.1 404"));
    assert!(ask("GET /v1/backups/nonsense HTTP/1.1\r\nHost: localhost").contains("application/problem+json"));
    let wrong = ask("DELETE /health HTTP/1.1\r\nHost: localhost");
    assert!(wrong.starts_with("HTTP/1.1 405") && wrong.to_lowercase().contains("allow: get"), "{wrong}");
    for act in [
        "POST /v1/clusters/orders/backups",
        "POST /v1/debts/pay",
        "DELETE /v1/clusters/orders/backups/1",
        "POST /v1/clusters/orders/adopt",
    ] {
        let answer = ask(&format!("{act} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0"));
        assert!(answer.starts_with("HTTP/1.1 404") || answer.starts_with("HTTP/1.1 405"), "{act}: {answer}");
    }
    up.stop();
}
