//! The real binary on a full disk or with a read-only state, in the cases that `tests/daemon/state_disk.rs` does not
//! cover: while nothing is due, at the first start, and with a pending resume that is only in the write-ahead log.

use crate::on_disk::Rig;
use camunda_backupd::sim::locked;
use rstest::rstest;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::process::Command;
use std::sync::atomic::Ordering;

const EVERY_3_S: &str = "cron = '*/3 * * * * *'";
const AT_NIGHT: &str = "daily = '02:00'";

/// Nothing is due before the night: only a test write finds the full disk.
#[test]
fn health_reports_full_disk_while_nothing_is_due() {
    let mut rig = Rig::up(AT_NIGHT);
    rig.until("health is well", || rig.store_is("ok"));
    rig.disk.fill(rig.pid());
    let reported = rig.until("health reports the failure", || rig.store_is("failing"));
    assert!(rig.check("store").1.contains("cannot be written"), "{:?}", rig.check("store"));
    if rig.disk.is_mounted() {
        // The limit on its files is also one on its log.
        assert_eq!(rig.events_named("store.unwritable"), 1, "reported once\n{}", rig.log());
    }
    rig.watchdog_fed();
    rig.until("the watchdog is still notified", || rig.watchdog_fed() > 0);
    rig.disk.free_space(rig.pid());
    let again = rig.until("health is well again", || rig.store_is("ok"));
    assert!(rig.is_alive(), "{}", rig.log());
    println!("nothing due: reported after {reported:?}, well again after {again:?}");
}

/// systemd restarts the service after exit code 1, and not after 2.
#[test]
fn first_start_on_full_disk_is_retried() {
    let mut rig = Rig::new(AT_NIGHT);
    rig.disk.fill(None);
    let output = rig.start_refused(true);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("cannot be written") && text.contains("free space"), "{text}");
    if rig.disk.is_mounted() {
        rig.disk.free_space(None);
    }
    rig.start();
    rig.until("health is well", || rig.store_is("ok"));
}

/// The pending resume of a killed daemon is in the write-ahead log. After a power loss the shared memory of SQLite is
/// gone, and cannot be created on a read-only file system.
#[rstest]
#[case::full("full", true)]
#[case::full_without_shared_memory("full", false)]
#[case::read_only("read-only", true)]
#[case::read_only_without_shared_memory("read-only", false)]
fn start_on_unwritable_disk_sends_the_pending_resume_of_the_wal(#[case] disk: &str, #[case] memory: bool) {
    let mut rig = Rig::up(EVERY_3_S);
    if disk == "read-only" && !rig.disk.is_mounted() {
        return println!("SKIPPED: nothing is mounted that could be read-only");
    }
    rig.until("a pause that the run has seen", || rig.has_seen_its_pause());
    rig.kill();
    let beside = |name: &str| rig.disk.state().join(name);
    assert!(std::fs::metadata(beside("state.db-wal")).unwrap().len() > 0, "the log is empty");
    if !memory {
        std::fs::remove_file(beside("state.db-shm")).unwrap();
    }
    match disk {
        "full" => rig.disk.fill(None),
        _ => rig.disk.mount_again("ro"),
    }
    assert!(rig.paused(), "exporting was resumed too early");
    let output = rig.start_refused(disk == "full");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(if disk == "full" { 1 } else { 2 }), "{text}");
    assert!(!rig.paused(), "exporting is left paused: {text}");
    assert!(!text.contains("still pending"), "the server confirmed it: {text}");

    match disk {
        "full" if rig.disk.is_mounted() => rig.disk.free_space(None),
        "full" => {}
        _ => rig.disk.mount_again("rw"),
    }
    rig.start();
    rig.until("no resume is pending", || rig.pending_count() == 0 && !rig.paused());
    rig.record_is_true();
}

/// The confirmation is in memory only, not in the row of the pending resume.
#[test]
fn confirmed_resume_that_cannot_be_stored_is_reported() {
    let rig = Rig::up(EVERY_3_S);
    // Nobody resumes before the disk is full.
    locked(&rig.cluster).arm("resume.refuse@*").unwrap();
    rig.until("a pause that the run has seen", || rig.has_seen_its_pause());
    rig.disk.fill(rig.pid());
    let pending_resumes = || -> serde_json::Value {
        serde_json::from_slice(&rig.cli(&["pending-resumes", "--json"]).stdout).unwrap_or_default()
    };
    let is_confirmed = |pending_resume: &serde_json::Value| {
        let why = pending_resume["last_error"].as_str().unwrap_or_default();
        why.starts_with("the resume was confirmed at 2") && why.contains("cannot be written")
    };
    let met = |pending_resume: &serde_json::Value| {
        pending_resume["last_error"]
            .as_str()
            .is_some_and(|why| why.starts_with("no complete response from zeebe"))
    };
    rig.until("the pending resume has the error", || met(&pending_resumes()[0]));
    locked(&rig.cluster).arm("now.heal").unwrap();
    rig.until("exporting runs again", || !rig.paused());
    rig.until("the pending resume has the confirmation", || is_confirmed(&pending_resumes()[0]));
    let pending_resume = &pending_resumes()[0];
    assert!(
        pending_resume["attempts"].as_u64() >= Some(1) && pending_resume["resume_intended_at"].is_string(),
        "{pending_resume}"
    );
    assert!(pending_resume["confirmed_at"].is_string(), "{pending_resume}");
    let table = String::from_utf8(rig.cli(&["pending-resumes"]).stdout).unwrap();
    assert!(table.contains("confirmed"), "{table}");
    let (status, detail) = rig.check("pending_resumes");
    let still = "the resume of orders is confirmed but still pending in the state file: the resume was confirmed at 2";
    assert!(status == "degraded" && detail.starts_with(still), "{status}: {detail}");
    assert_ne!(rig.status().1["clusters"][0]["exporting"], "paused_by_us");
    rig.disk.free_space(rig.pid());
    rig.until("the confirmation is stored", || pending_resumes()[0].is_null());
    rig.until("health is well", || rig.store_is("ok"));
}

/// A state file that fails the check of SQLite is rejected; its readable pending resumes are sent before.
#[test]
fn damaged_state_file_is_rejected_after_pending_resumes() {
    let location = harness::process::Location::new();
    let (zeebe, resumes) = harness::process::broker();
    harness::process::record_pending_resume(&location.path("state"), &zeebe);
    let path = location.path("state").join("state.db");
    let page: u32 = rusqlite::Connection::open(&path)
        .unwrap()
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = 'occurrences'", [], |row| row.get(0))
        .unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.write_all_at(&[0xA5; 512], u64::from(page - 1) * 4096).unwrap();
    let text = harness::process::refused(harness::process::command(&location.good(), &["serve"]));
    assert!(text.contains("it is damaged") && text.contains("restore the newest copy"), "{text}");
    assert_eq!(resumes.load(Ordering::SeqCst), 1, "{text}");
}

/// The command of `docs/state-file.md`, word for word, while backups are being taken.
#[test]
fn documented_state_copy_is_complete_while_daemon_writes() {
    let document = include_str!("../../docs/state-file.md");
    let written = document.split("```sh\n").find(|block| block.contains(".backup")).unwrap();
    let written = written.split("```").next().unwrap();
    if Command::new("sqlite3").arg("--version").output().is_err() {
        return println!("SKIPPED: there is no sqlite3 here");
    }
    let rig = Rig::up(EVERY_3_S);
    rig.until("a pause that the run has seen", || rig.has_seen_its_pause());
    let copies = tempfile::tempdir().unwrap();
    let copy = copies.path().join("state.db");
    let state = rig.disk.state().join("state.db");
    let script = written
        .replace("/var/lib/camunda-backupd/state.db", state.to_str().unwrap())
        .replace("/somewhere/else/state.db", copy.to_str().unwrap());
    let output = Command::new("sh").args(["-ec", &script]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(copy.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::read_dir(copies.path()).unwrap().count(), 1, "one whole file");
    let connection = rusqlite::Connection::open(&copy).unwrap();
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    drop(connection);
    assert_eq!(
        harness::process::pending_count(copies.path()),
        1,
        "the pending resume of the pause during the copy is missing in the copy"
    );
}
