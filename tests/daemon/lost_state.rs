//! The real binary on an incomplete state: a missing file, a missing write-ahead log, an older copy, unreadable pending
//! resumes.

use camunda_backupd::domain::Addresses;
use camunda_backupd::store::ClusterRow;
use camunda_backupd::store::sqlite::SqliteStore;
use harness::process::{Location, broker, command, ends};
use rstest::rstest;
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;

/// Log of a daemon until it has started; then it is stopped.
fn startup_events(config: &Path) -> Vec<Value> {
    let mut child = command(config, &["serve"]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut events = Vec::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
        if event["event"] == "daemon.started" {
            harness::process::signal(child.id(), "TERM");
        }
        events.push(event);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0), "{events:?}");
    events
}

fn events_named<'a>(events: &'a [Value], event: &str) -> Vec<&'a Value> {
    events.iter().filter(|entry| entry["event"] == event).collect()
}

#[test]
fn new_state_file_is_logged_once() {
    let location = Location::new();
    let config = location.good();
    let events = startup_events(&config);
    let made = events_named(&events, "store.created");
    assert_eq!(made.len(), 1, "{events:?}");
    assert_eq!(made[0]["level"], "warn", "{made:?}");
    assert_eq!(made[0]["path"], location.path("state").join("state.db").to_str().unwrap());
    assert_eq!(
        made[0]["reason"],
        "a new state file was created. If one was expected here, stop the daemon and restore the newest copy, or run \
         `adopt` for each cluster"
    );
    assert_eq!(events_named(&startup_events(&config), "store.created"), [] as [&Value; 0]);

    std::fs::remove_dir_all(location.path("state")).unwrap();
    assert_eq!(events_named(&startup_events(&config), "store.created").len(), 1);
}

/// Enough for a table of several pages.
const CLUSTERS: usize = 60;

/// A state file with a pending resume of `CLUSTERS` clusters at `zeebe`; every second one has its addresses elsewhere, too.
fn record_many_pending_resumes(state: &Path, zeebe: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (store, _lock) = SqliteStore::open(state).unwrap();
        let addresses = Addresses { zeebe: zeebe.into(), ..Addresses::default() };
        let mut rows = Vec::new();
        for n in 0..CLUSTERS {
            let name = format!("c{n:02}");
            harness::process::killed_in_its_pause(&store, &name, addresses.clone(), chrono::Utc::now()).await;
            if n % 2 == 0 {
                let uuid = uuid::Uuid::now_v7();
                let addresses = addresses.clone();
                rows.push(ClusterRow { name, uuid, addresses, configured: true, state_behind: None });
            }
        }
        store.set_clusters(rows).await.unwrap();
        store.close().await.unwrap();
    });
}

fn sql(state: &Path, text: &str) {
    rusqlite::Connection::open(state.join("state.db")).unwrap().execute_batch(text).unwrap();
}

/// Writes nonsense over a page in the middle of a table.
fn spoil_a_page_of(state: &Path, table: &str) {
    let file = state.join("state.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    let root: u32 = connection
        .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?1", [table], |row| row.get(0))
        .unwrap();
    drop(connection);
    let root = root as usize;
    let bytes = std::fs::read(&file).unwrap();
    let page = &bytes[(root - 1) * 4096..root * 4096];
    // The root of a table of several pages points to them: two bytes for each cell, four for the page it leads to.
    let leads_to = |cell: usize| {
        let at = usize::from(u16::from_be_bytes([page[12 + 2 * cell], page[13 + 2 * cell]]));
        u32::from_be_bytes(page[at..at + 4].try_into().unwrap())
    };
    assert_eq!(page[0], 2, "{table} is too small for this");
    let cells = usize::from(u16::from_be_bytes([page[3], page[4]]));
    let damaged = u64::from(leads_to(cells / 2));
    let file = std::fs::File::options().write(true).open(&file).unwrap();
    file.write_all_at(&[0xA5; 512], (damaged - 1) * 4096).unwrap();
}

/// Readable pending resumes are sent. The command and a start report that there may be more.
fn assert_more_may_be_pending(location: &Location, is_resumed: impl Fn() -> bool) {
    let output = ends(command(&location.good(), &["resume-exporting", "--pending", "--for", "10s"]));
    let (stdout, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1), "{stdout}{error}");
    assert!(is_resumed(), "{stdout}{error}");
    assert!(!stdout.contains("no cluster needs to be resumed"), "{stdout}");
    let file = location.path("state").join("state.db").display().to_string();
    let before = format!("error: the state file {file} cannot be read in full (");
    let after = "), so more resumes may be pending than are known: stop the daemon, restore the newest copy of the file, or move \
                 it away and run `adopt`; then, if `check --online` reports that exporting is paused and nobody else paused \
                 it, `resume-exporting CLUSTER --yes` ends it\n";
    let sentence = error.lines().last().unwrap();
    assert!(sentence.starts_with(&before) && error.ends_with(after), "{error}");
    let text = harness::process::refused(command(&location.good(), &["serve"]));
    assert!(text.contains(&before) && text.contains(after), "{text}");
}

#[rstest]
#[case::addresses("addresses = 'damaged'")]
#[case::no_text("addresses = x'FF'")]
fn unreadable_pending_resume_does_not_block_the_others(#[case] damages: &str) {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_many_pending_resumes(&location.path("state"), &zeebe);
    sql(&location.path("state"), &format!("UPDATE pending_resumes SET {damages} WHERE cluster = 'c07'"));
    assert_more_may_be_pending(&location, || resumes.load(Ordering::SeqCst) >= CLUSTERS - 1);
}

#[rstest]
#[case("intended_at = 'damaged'")]
#[case("attempts = 'many'")]
#[case("resume_intended_at = 7")]
fn resumes_are_sent_with_damage_in_unneeded_columns(#[case] damages: &str) {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    harness::process::record_pending_resume(&location.path("state"), &zeebe);
    sql(&location.path("state"), &format!("UPDATE pending_resumes SET {damages}"));
    assert_more_may_be_pending(&location, || resumes.load(Ordering::SeqCst) == 1);
}

/// It is unknown whether the run observed the pause, so the resume is verified for a while.
#[test]
fn pending_resume_of_a_damaged_run_is_sent() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    harness::process::record_pending_resume(&location.path("state"), &zeebe);
    sql(&location.path("state"), "PRAGMA foreign_keys = off; UPDATE pending_resumes SET run_id = 'damaged'");
    let output = ends(command(&location.good(), &["resume-exporting", "--pending", "--for", "1s"]));
    let (stdout, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(3), "{stdout}{error}");
    assert!(resumes.load(Ordering::SeqCst) > 0, "{stdout}{error}");
    assert!(
        stdout.contains("the resume of orders is still pending") && error.contains("cannot be read in full"),
        "{stdout}{error}"
    );
}

#[test]
fn damaged_page_loses_only_pending_resumes_without_another_record() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_many_pending_resumes(&location.path("state"), &zeebe);
    spoil_a_page_of(&location.path("state"), "pending_resumes");
    // Half of those in the page have their addresses elsewhere.
    assert_more_may_be_pending(&location, || {
        (CLUSTERS * 5 / 6..CLUSTERS).contains(&resumes.load(Ordering::SeqCst))
    });
}

#[test]
fn damaged_index_loses_no_pending_resume() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_many_pending_resumes(&location.path("state"), &zeebe);
    let state = location.path("state");
    sql(
        &state,
        "PRAGMA writable_schema = on; UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE
         name = 'occurrences_by_run') WHERE name = 'pending_resumes_open'",
    );
    assert_more_may_be_pending(&location, || resumes.load(Ordering::SeqCst) == CLUSTERS);
}

/// Copies these state files of a daemon that was killed in its pause.
fn killed(location: &Location, zeebe: &str, files: &[&str]) {
    let (runtime, before) = (tokio::runtime::Runtime::new().unwrap(), location.path("before"));
    runtime.block_on(async {
        let (store, _lock) = SqliteStore::open(&before).unwrap();
        store.probe(chrono::Utc::now()).await.unwrap();
        let addresses = Addresses { zeebe: zeebe.into(), ..Addresses::default() };
        harness::process::killed_in_its_pause(&store, "orders", addresses, chrono::Utc::now()).await;
        std::fs::create_dir(location.path("state")).unwrap();
        for file in files {
            std::fs::copy(before.join(file), location.path("state").join(file)).unwrap();
        }
        store.close().await.unwrap();
    });
}

const ALL: [&str; 3] = ["state.db", "state.db-wal", "state.lock"];

/// Exit code, standard output, standard error.
fn resume_pending(location: &Location) -> (Option<i32>, String, String) {
    let output = ends(command(&location.good(), &["resume-exporting", "--pending", "--for", "10s"]));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn is_all_clear(location: &Location) {
    let (code, stdout, error) = resume_pending(location);
    let file = location.path("state").join("state.db").display().to_string();
    assert_eq!((code, error.as_str()), (Some(0), ""), "{stdout}");
    assert!(
        stdout.starts_with(&format!("no cluster needs to be resumed (state file {file}, last written 20")),
        "{stdout}"
    );
    assert!(stdout.ends_with("Z)\n"), "{stdout}");
}

#[test]
fn lost_wal_is_reported() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    killed(&location, &zeebe, &["state.db", "state.lock"]);
    let file = location.path("state").join("state.db").display().to_string();
    let lost = |reason: &str| {
        assert!(reason.contains(&format!("the state file {file} ")), "{reason}");
        assert!(reason.contains(", but a daemon wrote to it until 20"), "{reason}");
        assert!(
            reason.trim_end().ends_with(
                "Z: its write-ahead log is gone or an older copy was restored, and pending resumes since then are unknown; restore \
                 both files together, or, if `check --online` reports that exporting is paused, end that with \
                 `resume-exporting CLUSTER --yes`, and run `adopt` for each cluster"
            ),
            "{reason}"
        );
    };
    // Looking changes nothing about it.
    for _ in 0..2 {
        let (code, stdout, error) = resume_pending(&location);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{error}");
        lost(&error);
    }
    let events = startup_events(&location.good());
    let behind = events_named(&events, "store.behind");
    assert_eq!((behind.len(), behind[0]["level"].as_str()), (1, Some("error")), "{events:?}");
    lost(behind[0]["reason"].as_str().unwrap());
    assert_eq!(resumes.load(Ordering::SeqCst), 0);
}

/// A process that opens the state checkpoints the WAL and removes it: that is no loss.
#[test]
fn wal_checkpointed_by_another_process_is_not_reported_lost() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    killed(&location, &zeebe, &ALL);
    sql(&location.path("state"), "SELECT * FROM v_pending_resumes");
    assert!(!location.path("state").join("state.db-wal").exists());
    let (code, stdout, error) = resume_pending(&location);
    assert_eq!((code, stdout.as_str(), error.as_str()), (Some(0), "exporting of orders is resumed\n", ""));
    assert_eq!(resumes.load(Ordering::SeqCst), 1);
    is_all_clear(&location);
    assert_eq!(events_named(&startup_events(&location.good()), "store.behind"), [] as [&Value; 0]);
    is_all_clear(&location);
}

/// As systemd does it: killed, `ExecStopPost`, the next start.
#[test]
fn present_wal_is_not_reported_lost() {
    let location = Location::new();
    let (zeebe, _) = broker();
    killed(&location, &zeebe, &ALL);
    assert_eq!(resume_pending(&location).0, Some(0));
    is_all_clear(&location);
    assert_eq!(events_named(&startup_events(&location.good()), "store.behind"), [] as [&Value; 0]);
    is_all_clear(&location);
}

#[test]
fn missing_state_file_beside_its_lock_is_reported() {
    let location = Location::new();
    killed(&location, "http://127.0.0.1:1", &["state.lock"]);
    let mut resume_until_confirmed =
        command(&location.good(), &["resume-exporting", "--pending", "--for", "1s"]);
    // There the first start has no state yet, which is no failure.
    resume_until_confirmed.env("STATE_DIRECTORY", location.path("state"));
    let output = ends(resume_until_confirmed);
    let (stdout, error) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""), "{error}");
    assert!(error.contains("/state.db is gone, but a daemon wrote to it until 20"), "{error}");
    let events = startup_events(&location.good());
    assert_eq!(events_named(&events, "store.created").len(), 1, "{events:?}");
    assert_eq!(events_named(&events, "store.behind").len(), 1, "{events:?}");
}

#[test]
fn missing_state_file_reports_pending_resumes_unknown() {
    let location = Location::new();
    std::fs::create_dir(location.path("state")).unwrap();
    let mut resume_until_confirmed =
        command(&location.good(), &["resume-exporting", "--pending", "--for", "1s"]);
    resume_until_confirmed.env("STATE_DIRECTORY", location.path("state"));
    let output = ends(resume_until_confirmed);
    let directory = location.path("state").display().to_string();
    let expected = format!("no state file in {directory}: pending resumes are unknown\n");
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(0), expected));
    // An empty file, as left by a daemon killed at its first start, has no pending resume and stays unchanged.
    let file = location.path("state/state.db");
    std::fs::write(&file, "").unwrap();
    let mut resume_until_confirmed =
        command(&location.good(), &["resume-exporting", "--pending", "--for", "1s"]);
    resume_until_confirmed.env("STATE_DIRECTORY", location.path("state"));
    let output = ends(resume_until_confirmed);
    let expected = format!("no cluster needs to be resumed (state file {})\n", file.display());
    assert_eq!((output.status.code(), String::from_utf8(output.stdout).unwrap()), (Some(0), expected));
    assert_eq!(file.metadata().unwrap().len(), 0, "the file was written");
}

#[test]
fn older_state_copy_is_reported() {
    let location = Location::new();
    let (zeebe, _) = broker();
    killed(&location, &zeebe, &ALL);
    startup_events(&location.good());
    let old = std::fs::read(location.path("state").join("state.db")).unwrap();
    assert_eq!(events_named(&startup_events(&location.good()), "store.behind"), [] as [&Value; 0]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (store, _lock) = SqliteStore::open(&location.path("state")).unwrap();
        store.probe(chrono::Utc::now()).await.unwrap();
        store.close().await.unwrap();
    });
    is_all_clear(&location);
    for side_file in ["state.db-wal", "state.db-shm"] {
        let _ = std::fs::remove_file(location.path("state").join(side_file));
    }
    std::fs::write(location.path("state").join("state.db"), old).unwrap();
    assert_eq!(resume_pending(&location).0, Some(1));
    assert_eq!(events_named(&startup_events(&location.good()), "store.behind").len(), 1);
}

/// Reading a pipe without a writer never ends.
#[test]
fn resume_is_sent_before_the_file_is_checked() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    harness::process::record_pending_resume(&location.path("state"), &zeebe);
    let lock = location.path("state").join("state.lock");
    std::fs::remove_file(&lock).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&lock).status().unwrap().success());
    let mut resume_until_confirmed =
        command(&location.good(), &["resume-exporting", "--pending", "--for", "3s"]);
    let mut resume_until_confirmed =
        resume_until_confirmed.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = std::time::Instant::now();
    while resume_until_confirmed.try_wait().unwrap().is_none() && began.elapsed().as_secs() < 30 {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let _ = resume_until_confirmed.kill();
    let output = resume_until_confirmed.wait_with_output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), resumes.load(Ordering::SeqCst)), (Some(1), 1), "{error}");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "exporting of orders is resumed\n");
    let file = location.path("state").join("state.db").display().to_string();
    assert_eq!(
        error,
        format!(
            "error: the state file {file} was not read to its end in time, so more resumes may be pending than are \
             known: run `resume-exporting --pending` with a longer `--for`\n"
        )
    );
    assert_eq!(
        harness::process::pending_count(&location.path("state")),
        0,
        "the confirmation was not recorded"
    );
}

/// The list of pending resumes is complete, and the damage is found while they are sent.
#[test]
fn damaged_file_stays_unchanged_and_wal_takes_confirmations() {
    let location = Location::new();
    let (zeebe, resumes) = broker();
    record_many_pending_resumes(&location.path("state"), &zeebe);
    sql(&location.path("state"), "UPDATE pending_resumes SET confirmed_at = 'damaged' WHERE cluster = 'c07'");
    let file = location.path("state").join("state.db");
    let before = std::fs::read(&file).unwrap();
    let (code, stdout, error) = resume_pending(&location);
    assert_eq!((code, resumes.load(Ordering::SeqCst)), (Some(1), CLUSTERS), "{stdout}{error}");
    assert!(error.contains("cannot be read in full ("), "{error}");
    assert!(stdout.contains("c07"), "{stdout}");
    assert!(std::fs::read(&file).unwrap() == before, "the damaged file was written to");
    assert_eq!(
        harness::process::pending_count(&location.path("state")),
        0,
        "the confirmation was not recorded"
    );
}

/// The last process that closes a state file checkpoints the WAL, unless that is switched off.
#[test]
fn start_on_damaged_file_keeps_the_wal() {
    let location = Location::new();
    let (zeebe, _) = broker();
    harness::process::record_pending_resume(&location.path("state"), &zeebe);
    let file = location.path("state").join("state.db");
    let connection = rusqlite::Connection::open(&file).unwrap();
    let keeps_its_log = rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    connection.set_db_config(keeps_its_log, true).unwrap();
    connection.execute_batch("DROP INDEX pending_resumes_open").unwrap();
    connection.close().unwrap();
    let before = std::fs::read(&file).unwrap();
    let text = harness::process::refused(command(&location.good(), &["serve"]));
    assert!(text.contains("it is damaged (its schema is not as it was made)"), "{text}");
    assert!(std::fs::read(&file).unwrap() == before, "the damaged file was written to");
}

/// A file that is sound is left as one whole file.
#[test]
fn confirmations_are_checkpointed_into_an_intact_file() {
    let location = Location::new();
    let (zeebe, _) = broker();
    harness::process::record_pending_resume(&location.path("state"), &zeebe);
    assert_eq!(resume_pending(&location).0, Some(0));
    assert!(!location.path("state").join("state.db-wal").exists());
}

/// The first probe makes the note in `state.lock` agree with the file again; the daemon that found the loss keeps it.
#[test]
fn daemon_with_lost_commits_reports_them() {
    let location = Location::new();
    let (zeebe, _) = broker();
    killed(&location, &zeebe, &["state.db", "state.lock"]);
    let up = harness::process::Up::new(&location.good());
    for as_json in [false, true] {
        let words = ["resume-exporting", "--pending", "--for", "10s", "--json"];
        let output = ends(command(&location.good(), &words[..if as_json { 5 } else { 4 }]));
        let (stdout, error) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert_eq!(output.status.code(), Some(1), "{stdout}{error}");
        assert!(error.contains(", but a daemon wrote to it until 20"), "{error}");
        assert!(!stdout.contains("no cluster needs to be resumed"), "{stdout}");
    }
    up.stop();
}
