//! A pause of a cluster with credentials can always be resumed: with a rejected config, without the directory of the
//! credentials, and by another process.

use camunda_backupd::camunda::{Request, Response, Secrets, Transport, TransportError};
use camunda_backupd::clock::{Clock, SystemClock};
use camunda_backupd::domain::{Access, BackupState, RunId};
use camunda_backupd::journal::{FailureClass, RunStatus};
use camunda_backupd::pause::credentials::Keyring;
use camunda_backupd::pause::offline::resume_from;
use camunda_backupd::pause::sweep::Sweeper;
use camunda_backupd::queue::Queue;
use camunda_backupd::store::BackupFilter;
use futures::future::BoxFuture;
use harness::keys::{self, Keys, SECRET, bearer};
use harness::lab::{Lab, class_of, reason_of};
use harness::process::{self, Location, command, ends, pending_count, record_pending_resume_with_access};
use rstest::rstest;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A broker that confirms resumes with the token only.
fn guarded_broker() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = [0; 4096];
            let length = stream.read(&mut head).unwrap();
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let (status, body) = if !head.contains(&format!("authorization: Bearer {SECRET}\r\n")) {
                ("401 Unauthorized", "")
            } else if head.starts_with("GET /actuator/partitions") {
                ("200 OK", process::EXPORTING)
            } else {
                ("204 No Content", "")
            };
            let length = body.len();
            let response = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            );
            let _ = stream.write_all(response.as_bytes());
        }
    });
    base
}

fn access() -> BTreeMap<String, Access> {
    [("zeebe".to_owned(), bearer())].into()
}

fn put(path: &Path, mode: u32) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, SECRET).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// A directory with a rejected config, and a pending resume of a cluster with credentials.
fn still_pending() -> (Location, PathBuf, RunId) {
    let location = Location::new();
    let config = location.config("127.0.0.1:0", "[schedules.daily]\nclusters = [\"nobody\"]\n");
    let run = record_pending_resume_with_access(
        &location.path("state"),
        &guarded_broker(),
        access(),
        chrono::TimeDelta::zero(),
    );
    (location, config, run)
}

#[rstest]
#[case::command(&["resume-exporting", "--pending", "--for", "10s"], 0)]
#[case::a_start_that_is_refused(&["serve"], 2)]
fn credential_copy_resumes_without_config_and_credentials(#[case] words: &[&str], #[case] code: i32) {
    let (location, config, run) = still_pending();
    let copy = location.path("run").join("pending").join(run.to_string()).join("key");
    put(&copy, 0o600);
    let output = ends(command(&config, words));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert_eq!(pending_count(&location.path("state")), 0, "{text}");
    assert!(!copy.exists(), "the copy is needed no more");
    assert!(!text.contains(SECRET), "{text}");
}

/// Confirms every resume, and takes its time to remove the copies.
#[derive(Default)]
struct Slow(Arc<Mutex<Vec<RunId>>>);

impl Transport for Slow {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let (status, body) =
            if request.url.ends_with("/partitions") { (200, process::EXPORTING) } else { (204, "") };
        Box::pin(async move {
            let content_type = "application/json".into();
            Ok(Response { status, content_type, body: body.into(), retry_after: None })
        })
    }

    fn release(&self, run: RunId) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            tokio::time::sleep(std::time::Duration::from_millis(300)).await;
            self.0.lock().unwrap().push(run);
        })
    }
}

/// The process ends right after the resume, and all its tasks with it.
#[tokio::test]
async fn credential_copies_are_removed_before_the_resume_is_reported() {
    let location = Location::new();
    let state = location.path("state");
    let record_pending_resume = move || {
        record_pending_resume_with_access(&state, "http://127.0.0.1:1", access(), chrono::TimeDelta::zero())
    };
    let run = tokio::task::spawn_blocking(record_pending_resume).await.unwrap();
    let slow = Slow::default();
    let released = slow.0.clone();
    let (clock, wait) = (SystemClock::shared(), std::time::Duration::from_secs(10));
    let resumed =
        resume_from(&location.path("state"), Arc::new(slow), clock, String::new(), wait).await.unwrap();
    assert_eq!(resumed.resumed, ["orders"]);
    assert!(released.lock().unwrap().contains(&run));
}

/// No proxy is taken from the environment.
#[test]
fn proxy_of_the_environment_is_not_used() {
    let (location, config, run) = still_pending();
    put(&location.path("run").join("pending").join(run.to_string()).join("key"), 0o600);
    let mut resume_until_confirmed = command(&config, &["resume-exporting", "--pending", "--for", "10s"]);
    for name in ["http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
        resume_until_confirmed.env(name, "http://127.0.0.1:1");
    }
    assert_eq!(ends(resume_until_confirmed).status.code(), Some(0));
    assert_eq!(pending_count(&location.path("state")), 0);
}

#[test]
fn rejected_config_still_names_the_credentials_directory() {
    let (location, config, _) = still_pending();
    put(&location.path("credentials").join("key"), 0o600);
    let text = std::fs::read_to_string(&config).unwrap();
    let credentials_line =
        format!("[daemon]\ncredentials_dir = \"{}\"\n", location.path("credentials").display());
    std::fs::write(&config, text.replace("[daemon]\n", &credentials_line)).unwrap();
    let output = ends(command(&config, &["resume-exporting", "--pending", "--for", "10s"]));
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(pending_count(&location.path("state")), 0);
}

#[test]
fn missing_credential_keeps_resume_pending_and_is_reported() {
    let (location, config, _) = still_pending();
    let output = ends(command(&config, &["resume-exporting", "--pending", "--for", "1s"]));
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(pending_count(&location.path("state")), 1);
}

#[test]
fn daemon_without_credentials_directory_does_not_start() {
    let location = Location::new();
    let login = "[clusters.orders.self_managed.access.zeebe]\nkind = \"bearer\"\ntoken = \"key\"\n";
    let config = location.config("127.0.0.1:0", login);
    assert!(process::refused(command(&config, &["serve"])).ends_with(
        "error: cluster orders needs credentials, but no credentials directory is known. Set credentials_dir under [daemon], or run under systemd with LoadCredential\n"
    ));
    let checked = ends(command(&config, &["check"]));
    assert_eq!(checked.status.code(), Some(0), "{}", String::from_utf8_lossy(&checked.stderr));
}

#[test]
fn credential_copies_are_private_and_removed_with_the_pending_resume() {
    let keys = Keys::new();
    keys.put("other", "not copied");
    let ring = keys.keyring();
    let (first, second) = (uuid::Uuid::now_v7(), uuid::Uuid::now_v7());
    let ca = keys.file("ca.pem");
    std::fs::write(&ca, "certificates").unwrap();
    let access = Access { ca: Some(ca.clone()), ..bearer() };
    ring.keep(first, &access).unwrap();
    ring.keep(second, &access).unwrap();
    let pending = keys.dir.path().join("run/pending");
    let copies = |run: RunId| std::fs::read_dir(pending.join(run.to_string())).map_or(0, Iterator::count);
    assert_eq!((copies(first), copies(second)), (2, 2));
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let dir = pending.join(first.to_string());
    assert_eq!((mode(dir.clone()), mode(dir.join("key"))), (0o700, 0o600));

    std::fs::remove_dir_all(keys.dir.path().join("credentials")).unwrap();
    assert_eq!(ring.read("key").unwrap().expose(), SECRET);
    assert_eq!(ring.certificates(&ca).unwrap(), b"certificates");
    assert!(ring.read("other").unwrap_err().contains("does not exist"));

    ring.keep_only(&BTreeSet::from([second]));
    assert_eq!((copies(first), copies(second)), (0, 2));
    ring.release(second);
    assert_eq!(std::fs::read_dir(&pending).unwrap().count(), 0);
    ring.read("key").unwrap_err();
}

#[test]
fn credential_copy_readable_by_others_is_not_used() {
    let keys = Keys::new();
    std::fs::remove_file(keys.file("key")).unwrap();
    let copy = keys.dir.path().join("run/pending").join(uuid::Uuid::now_v7().to_string()).join("key");
    put(&copy, 0o640);
    keys.keyring().read("key").unwrap_err();
    put(&copy, 0o600);
    keys.keyring().read("key").unwrap();
}

/// Transport to the simulated cluster that checks the authentication of each request and records those around a pause.
struct Watched {
    inner: Arc<dyn Transport>,
    keyring: Arc<Keyring>,
    copies: PathBuf,
    denies: &'static str,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn note(&self, event: &str) {
        let copies = std::fs::read_dir(&self.copies).map_or(0, Iterator::count);
        self.seen.lock().unwrap().push(format!("{event} with {copies} copies"));
    }
}

impl Transport for Watched {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let component = request.url.split('/').nth(3).unwrap().to_owned();
        let credential = request.access.as_ref().and_then(|access| access.login.credential());
        assert_eq!(credential, Some(component.as_str()), "{}", request.url);
        for act in ["pause", "resume"] {
            if request.url.contains(&format!("/exporting/{act}")) {
                self.note(act);
            }
        }
        if !self.denies.is_empty() && format!("{:?} {}", request.method, request.url).contains(self.denies) {
            let denied = Response { status: 401, ..Response::default() };
            return Box::pin(async move { Ok(denied) });
        }
        self.inner.send(request)
    }

    fn keep(&self, run: RunId, access: Arc<Access>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move { self.keyring.keep(run, &access) })
    }

    fn release(&self, run: RunId) -> BoxFuture<'_, ()> {
        self.keyring.release(run);
        self.note("released");
        Box::pin(async {})
    }
}

/// A lab with a different credential for each component.
fn lab(keys: &Keys, denies: &'static str) -> (Lab, Arc<Mutex<Vec<String>>>) {
    let mut lab = Lab::new();
    let seen = Arc::<Mutex<Vec<String>>>::default();
    lab.context.transport = Arc::new(Watched {
        inner: lab.context.transport.clone(),
        keyring: keys.keyring(),
        copies: keys.dir.path().join("run/pending"),
        denies,
        seen: seen.clone(),
    });
    lab.queue = Queue::new(lab.context.clone(), Sweeper::new(lab.context.clone()), 8);
    for name in ["zeebe", "operate", "tasklist", "rest", "search"] {
        let login = camunda_backupd::domain::Login::Bearer { token: name.into() };
        keys.put(name, SECRET);
        lab.settings.spec.addresses.access.insert(name.into(), keys::login(login));
    }
    lab.queue.configure(BTreeMap::from([("orders".to_owned(), lab.settings.clone())]));
    (lab, seen)
}

#[tokio::test(start_paused = true)]
async fn every_call_of_a_run_is_authenticated_and_copy_lasts_until_resumed() {
    let keys = Keys::new();
    let (lab, seen) = lab(&keys, "");
    let run = lab.backup().await;
    assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
    lab.assert_nothing_pending(&run).await;
    assert_eq!(
        *seen.lock().unwrap(),
        ["pause with 1 copies", "resume with 1 copies", "released with 0 copies"]
    );
}

#[tokio::test(start_paused = true)]
async fn every_call_of_a_deletion_is_authenticated() {
    let keys = Keys::new();
    let (lab, _) = lab(&keys, "");
    let first = lab.backup().await;
    for _ in 0..3 {
        lab.backup().await;
    }
    for _ in 0..600 {
        let backups = lab.store.backups(BackupFilter::default()).await.unwrap();
        let oldest = backups.iter().find(|b| b.run.run_id == first.run_id).unwrap();
        if oldest.state == BackupState::Deleted {
            return;
        }
        lab.clock.sleep(std::time::Duration::from_secs(1)).await;
    }
    panic!("retention did not delete the oldest of four");
}

#[tokio::test(start_paused = true)]
async fn no_pause_without_credentials_for_its_resume() {
    let keys = Keys::new();
    let (lab, seen) = lab(&keys, "");
    std::fs::remove_file(keys.file("zeebe")).unwrap();
    let run = lab.backup().await;
    assert_eq!(class_of(&run), Some(FailureClass::Access));
    let expected = format!(
        "exporting was not paused, because credential `zeebe` does not exist: create `{}` with mode 0600",
        keys.file("zeebe").display()
    );
    assert_eq!(reason_of(&run), expected);
    assert!(seen.lock().unwrap().iter().all(|line| !line.starts_with("pause")));
    lab.assert_nothing_pending(&run).await;
}

#[rstest]
#[case(
    "exporting/pause",
    "exporting could not be paused: zeebe rejected the credential `zeebe` with 401 to POST /zeebe/actuator/exporting/pause?soft=true: store a valid one there; it takes effect at once, under systemd after a restart"
)]
#[case(
    "Post http://sim-orders/operate/actuator/backups",
    "operate did not start the backup: operate rejected the credential `operate` with 401 to POST /operate/actuator/backups: store a valid one there; it takes effect at once, under systemd after a restart"
)]
#[case(
    "search/_cat",
    "the indices of zeebe-record* could not be listed: search rejected the credential `search` with 401 to GET /search/_cat/indices/zeebe-record*?format=json&h=index,status&expand_wildcards=open: store a valid one there; it takes effect at once, under systemd after a restart"
)]
#[tokio::test(start_paused = true)]
async fn rejected_login_has_failure_class_access(#[case] denies: &'static str, #[case] reason: &str) {
    let keys = Keys::new();
    let (lab, _) = lab(&keys, denies);
    let run = lab.backup().await;
    assert_eq!((class_of(&run), reason_of(&run).as_str()), (Some(FailureClass::Access), reason));
    lab.assert_nothing_pending(&run).await;
}
