//! Failed starts of the real binary: each cause is reported, and pending resumes are sent first.

use harness::process::{
    Location, Up, broker, broker_saying, command, command_of, ends, pending_count, record_pending_resume,
    refused,
};
use rstest::rstest;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::sync::atomic::Ordering;

#[test]
fn second_daemon_on_one_state_is_rejected_and_names_the_first() {
    let location = Location::new();
    let first = Up::new(&location.good());
    let text = refused(command(&location.good(), &["serve"]));
    assert!(text.contains(&format!("is in use by process {}", first.child.id())), "{text}");
    first.stop();
}

#[test]
fn port_in_use_is_rejected_after_pending_resumes() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_pending_resume(&location.path("state"), &zeebe);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let text = refused(command(&location.config(&address, ""), &["serve"]));
    assert!(
        text.contains(&format!("cannot listen on {address}: ")) && text.contains("set another [http] listen"),
        "{text}"
    );
    assert_eq!((resumes.load(Ordering::SeqCst), pending_count(&location.path("state"))), (1, 0));
}

#[test]
fn invalid_config_is_rejected_after_pending_resumes() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_pending_resume(&location.path("state"), &zeebe);
    let text = refused(command(
        &location.config("127.0.0.1:0", "[schedules.d]\nclusters = [\"nobody\"]\ndaily = \"25:00\"\n"),
        &["serve"],
    ));
    assert!(text.contains("nobody") && text.contains("25:00"), "both mistakes at once: {text}");
    assert_eq!((resumes.load(Ordering::SeqCst), pending_count(&location.path("state"))), (1, 0));
}

#[test]
fn resume_exporting_works_without_daemon_config_and_ca_certificates() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_pending_resume(&location.path("state"), &zeebe);
    let config = location.config("127.0.0.1:0", "nonsense = 1\n");
    let mut resume_until_confirmed = command(&config, &["resume-exporting", "--pending", "--for", "10s"]);
    resume_until_confirmed.env("SSL_CERT_FILE", "/nonexistent").env("SSL_CERT_DIR", "/nonexistent");
    let output = ends(resume_until_confirmed);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!((resumes.load(Ordering::SeqCst), pending_count(&location.path("state"))), (1, 0));
}

#[test]
fn unconfirmed_resume_is_reported_and_stays_pending() {
    let location = Location::new();
    record_pending_resume(&location.path("state"), "http://127.0.0.1:1");
    let output = ends(command(&location.good(), &["resume-exporting", "--pending", "--for", "1s"]));
    assert_eq!(output.status.code(), Some(3));
    let why = "the resume of orders is still pending, so exporting may be paused there: cannot connect to zeebe at \
               http://127.0.0.1:1: Connection refused (os error 111); fix this, then run the command again, or start \
               the daemon, which continues to send the resume\n";
    assert_eq!(String::from_utf8(output.stdout).unwrap(), why);
    assert_eq!(pending_count(&location.path("state")), 1);
}

/// The daemon keeps retrying; the command reports the error and the remedy.
#[test]
fn running_daemon_reports_errors_of_its_resumes() {
    let location = Location::new();
    record_pending_resume(&location.path("state"), "http://127.0.0.1:1");
    let up = Up::new(&location.good());
    up.event("exporting.resume_failed");
    let config = location.path("config.toml");
    let met = "cannot connect to zeebe at http://127.0.0.1:1: Connection refused (os error 111)";
    let sentence = format!(
        "the resume of orders is still pending, so exporting may be paused there: {met}; the daemon retries \
         at least every minute: fix the cause, or, if the cluster is gone permanently, abandon the resume with `pending-resumes \
         abandon orders --why TEXT`\n"
    );
    // Longer than the time limit for an unresponsive daemon.
    let output = ends(command(&config, &["resume-exporting", "--pending", "--for", "17s"]));
    assert_eq!(
        (output.status.code(), String::from_utf8(output.stdout).unwrap()),
        (Some(3), sentence.clone())
    );
    let output = ends(command(&config, &["--json", "resume-exporting", "--pending", "--for", "1s"]));
    let body: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let expected =
        serde_json::json!({ "still_pending": ["orders"], "resumed": [], "reasons": { "orders": met } });
    assert_eq!((output.status.code(), body), (Some(3), expected));
    let output = ends(command(&config, &["resume-exporting", "orders", "--yes", "--for", "1s"]));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), text), (Some(3), format!("error: {sentence}")));
    up.stop_with_pending_resume();
}

#[test]
fn rejected_resume_is_retried_until_the_time_limit() {
    let location = Location::new();
    let (zeebe, resumes) = broker_saying("500 Internal Server Error");
    record_pending_resume(&location.path("state"), &zeebe);
    let config = location.config("127.0.0.1:0", "nonsense = 1\n");
    let began = std::time::Instant::now();
    let output = ends(command(&config, &["--json", "resume-exporting", "--pending", "--for", "2s"]));
    let took = began.elapsed().as_secs();
    assert_eq!(output.status.code(), Some(3));
    let body: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&body["still_pending"], &body["resumed"]),
        (&serde_json::json!(["orders"]), &serde_json::json!([]))
    );
    let why = body["reasons"]["orders"].as_str().unwrap();
    assert!(why.starts_with("zeebe returned 500 to POST /actuator/exporting/resume"), "{why}");
    assert!((2..10).contains(&took), "it took {took} s");
    assert!(resumes.load(Ordering::SeqCst) > 2);
    assert_eq!(pending_count(&location.path("state")), 1);
}

#[test]
fn state_directory_that_is_a_file_is_rejected() {
    let location = Location::new();
    std::fs::write(location.path("state"), "a file").unwrap();
    let text = refused(command(&location.good(), &["serve"]));
    assert!(text.contains("/state/state.db cannot be used"), "{text}");
    assert!(text.contains("or set another [daemon] state_dir"), "{text}");
    assert_eq!(text.matches("error:").count(), 1, "reported once: {text}");
    assert_eq!(std::fs::read_to_string(location.path("state")).unwrap(), "a file");
}

#[test]
fn newer_schema_is_rejected_unchanged_after_pending_resumes() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_pending_resume(&location.path("state"), &zeebe);
    let file = location.path("state").join("state.db");
    let newer = "CREATE TABLE news (id INTEGER); PRAGMA user_version = 99";
    rusqlite::Connection::open(&file).unwrap().execute_batch(newer).unwrap();
    let before = std::fs::read(&file).unwrap();
    let text = refused(command(&location.good(), &["serve"]));
    assert!(text.contains("was written by a newer camunda-backupd (schema 99"), "{text}");
    assert!(text.contains("install that version again"), "{text}");
    assert_eq!(resumes.load(Ordering::SeqCst), 1);
    assert_eq!(std::fs::read(&file).unwrap(), before, "the file was changed");

    let output = ends(command(&location.good(), &["resume-exporting", "--pending", "--for", "5s"]));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("every resume is confirmed, but the confirmation could not be stored: "), "{text}");
    assert_eq!(resumes.load(Ordering::SeqCst), 2);
}

/// Root may write everywhere: if the test runs as root, the daemon runs as another user.
#[test]
fn read_only_state_directory_is_rejected_after_pending_resumes() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
    use std::os::unix::process::CommandExt;
    const NOBODY: u32 = 65_534;
    let location = Location::new();
    let (zeebe, resumes) = broker();
    let state = location.path("state");
    record_pending_resume(&state, &zeebe);
    let config = location.good();
    let mut serve = command(&config, &["serve"]);
    let mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        let program = location.path("camunda-backupd");
        // Another process copies the file: a child forked by a concurrent test would hold our copy open for writing, and
        // a program that is open for writing cannot be started.
        let copied = std::process::Command::new("cp")
            .args([std::path::Path::new(env!("CARGO_BIN_EXE_camunda-backupd")), &program])
            .status();
        assert!(copied.unwrap().success());
        serve = command_of(&program, &config, &["serve"]);
        mode(location.directory.path(), 0o755);
        for entry in std::fs::read_dir(&state).unwrap() {
            chown(entry.unwrap().path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
        serve.uid(NOBODY).gid(NOBODY);
    }
    for entry in std::fs::read_dir(&state).unwrap() {
        mode(&entry.unwrap().path(), 0o400);
    }
    mode(&state, 0o500);
    let text = refused(serve);
    mode(&state, 0o700);
    assert!(text.contains("Permission denied") && text.contains("[daemon] state_dir"), "{text}");
    assert_eq!(resumes.load(Ordering::SeqCst), 1, "{text}");
}

#[test]
fn control_socket_in_use_is_rejected_after_pending_resumes() {
    let first = Location::new();
    let up = Up::new(&first.good());
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_pending_resume(&location.path("state"), &zeebe);
    let config = location.good();
    let text = std::fs::read_to_string(&config).unwrap();
    let run = |location: &Location| format!("runtime_dir = \"{}\"", location.path("run").display());
    std::fs::write(&config, text.replace(&run(&location), &run(&first))).unwrap();
    let text = refused(command(&config, &["serve"]));
    assert!(text.contains("another daemon listens on") && text.contains("[daemon] runtime_dir"), "{text}");
    assert_eq!((resumes.load(Ordering::SeqCst), pending_count(&location.path("state"))), (1, 0));
    let output = ends(command(&first.good(), &["status"]));
    assert_eq!(output.status.code(), Some(0), "the first one answers as before");
    up.stop();
}

#[test]
fn stale_control_socket_is_replaced() {
    let location = Location::new();
    let mut killed = Up::new(&location.good());
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert!(location.path("run").join("control.sock").exists());
    Up::new(&location.good()).stop();
}

#[test]
fn invalid_toml_still_names_the_state_directory() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_pending_resume(&location.path("state"), &zeebe);
    let config = location.config("127.0.0.1:0", "[schedules.d\nclusters = \n");
    let text = refused(command(&config, &["serve"]));
    assert!(text.contains("config.toml"), "{text}");
    assert_eq!((resumes.load(Ordering::SeqCst), pending_count(&location.path("state"))), (1, 0));
}

#[test]
fn state_directory_can_be_given_beside_a_broken_config() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_pending_resume(&location.path("state"), &zeebe);
    std::fs::write(location.path("config.toml"), "[schedules.d]\nclusters = [\"nobody\"]\n").unwrap();
    std::fs::create_dir(location.path("conf.d")).unwrap();
    let daemon = format!("[daemon]\nstate_dir = \"{}\"\n", location.path("state").display());
    std::fs::write(location.path("conf.d").join("daemon.toml"), daemon).unwrap();
    refused(command(&location.path("config.toml"), &["serve"]));
    assert_eq!((resumes.load(Ordering::SeqCst), pending_count(&location.path("state"))), (1, 0));
}

#[test]
fn running_daemon_is_found_with_a_broken_config() {
    let location = Location::new();
    let up = Up::new(&location.good());
    let config = location.config("127.0.0.1:0", "nonsense = 1\n");
    let output = ends(command(&config, &["resume-exporting", "--pending", "--for", "5s"]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"no cluster needs to be resumed\n");
    up.signal("STOP");
    let began = std::time::Instant::now();
    let output = ends(command(&config, &["resume-exporting", "--pending", "--for", "1s"]));
    assert_eq!(
        output.status.code(),
        Some(0),
        "a daemon that hangs does not keep the state file from being read"
    );
    assert!(began.elapsed() < std::time::Duration::from_secs(15));
    up.signal("CONT");
    up.stop();
}

/// A running daemon that returns an error: the command reads the state file instead.
#[rstest]
#[case("500 Internal Server Error", 0, 1)]
#[case("503 Service Unavailable", 0, 1)]
#[case("403 Forbidden", 4, 0)]
fn command_works_without_a_usable_daemon(
    #[case] status: &'static str,
    #[case] code: i32,
    #[case] confirmed: usize,
) {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_pending_resume(&location.path("state"), &zeebe);
    std::fs::create_dir(location.path("run")).unwrap();
    let control = UnixListener::bind(location.path("run").join("control.sock")).unwrap();
    let daemon = std::thread::spawn(move || {
        let (mut stream, _) = control.accept().unwrap();
        let mut request = [0; 4096];
        let length = stream.read(&mut request).unwrap();
        let body = r#"{"message":"the state file cannot be written","kind":"failed"}"#;
        let length_of_it = body.len();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length_of_it}\r\n\r\n{body}"
        )
        .unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    let output = ends(command(&location.good(), &["resume-exporting", "--pending", "--for", "10s"]));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(stderr.contains("the state file cannot be written"), "the daemon's error is reported: {stderr}");
    assert!(daemon.join().unwrap().starts_with("POST /v1/pending-resumes/resume "));
    assert_eq!(
        (resumes.load(Ordering::SeqCst), pending_count(&location.path("state"))),
        (confirmed, 1 - confirmed)
    );
}

#[test]
fn reload_applies_good_config_and_bad_config_changes_nothing() {
    let location = Location::new();
    let up = Up::new(&location.good());
    let shown = || {
        let output = ends(command(&location.good_reader(), &["--json", "schedules"]));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let two = "[schedules.daily]\nclusters = [\"orders\"]\ndaily = \"02:00\"\n[schedules.weekly]\nclusters = [\"orders\"]\nweekly = \"sunday 03:00\"\n";
    location.config("127.0.0.1:0", two);
    up.signal("HUP");
    assert_eq!(up.event("config.loaded")["schedules"], 2);
    assert_eq!(shown().as_array().unwrap().len(), 2);
    location.config("127.0.0.1:0", "[schedules.bad]\nclusters = [\"orders\"]\ndaily = \"99:00\"\n");
    up.signal("HUP");
    let why = up.event("config.rejected")["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("99:00"), "{why}");
    assert_eq!(shown().as_array().unwrap().len(), 2, "the old config runs on");
    location.config("127.0.0.1:1", two);
    up.signal("HUP");
    let why = up.event("config.rejected")["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("a reload cannot change [http] listen. Restart the daemon to change it"), "{why}");
    up.stop();
}
