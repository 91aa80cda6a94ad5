//! Stop of the real binary by a signal: idle, inside its pause, with a rejected resume, twice, and while it hangs.
//!
//! A stop at every step of a run is in `tests/explore/shutdown.rs`, the part of systemd in `tests/jobs/systemd/run`.

use crate::served::{Served, orders};
use camunda_backupd::sim::{SharedCluster, locked};
use harness::process::{Location, Up, command, ends, pending_count};
use std::path::PathBuf;
use std::process::Output;
use std::time::{Duration, Instant};

/// A daemon with one simulated cluster whose Zeebe takes so long for its part, inside the pause.
struct Scene {
    location: Location,
    served: Served,
}

impl Scene {
    fn new(grace: &str, zeebe_takes: Duration) -> Self {
        let location = Location::new();
        let served = Served::new(
            location.directory.path(),
            &location.path("state"),
            orders(4.0, zeebe_takes),
            &format!("instance = 'stopping'\nshutdown_grace = '{grace}'\n"),
            "[schedules.daily]\nclusters = ['orders']\ndaily = '02:00'\n",
        );
        Self { location, served }
    }

    fn config(&self) -> &PathBuf {
        &self.served.config
    }

    fn cluster(&self) -> &SharedCluster {
        &self.served.cluster
    }

    fn reports(&self, words: &[&str]) -> Output {
        ends(command(self.config(), words))
    }

    fn backup(&self) -> serde_json::Value {
        serde_json::from_slice::<serde_json::Value>(&self.reports(&["list", "--json", "orders"]).stdout)
            .unwrap()[0]
            .take()
    }

    fn paused(&self) -> bool {
        locked(self.cluster()).pauses.since.is_some()
    }

    /// A daemon in the middle of a pause that it has seen.
    fn inside_the_pause(&self) -> Up {
        let up = Up::new(self.config());
        assert_eq!(self.reports(&["backup", "orders"]).status.code(), Some(0));
        up.event("exporting.paused");
        within("a request to Zeebe", || locked(self.cluster()).seen.contains_key("zeebe-post"));
        assert!(self.paused());
        up
    }

    /// The next daemon completes the run; returns its backup.
    fn next_daemon_makes_it(&self, state: &str) -> String {
        let up = Up::new(self.config());
        within("the run ends", || self.backup()["state"] != "running");
        let backup = self.backup();
        assert_eq!(backup["state"], state, "{backup}");
        up.stop();
        assert!(!self.paused(), "exporting is left paused");
        assert_eq!(pending_count(&self.location.path("state")), 0);
        backup["reason"].as_str().unwrap_or_default().to_owned()
    }
}

fn within(condition: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(30), "not within 30 s: {condition}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Exit code, and the lines printed after the log.
fn end_of(mut up: Up) -> (Option<i32>, Vec<String>) {
    within("it ends", || up.log_ended());
    let code = up.child.wait().unwrap().code();
    (code, up.printed())
}

#[test]
fn idle_daemon_stops_at_once() {
    let scene = Scene::new("90s", Duration::from_millis(100));
    let up = Up::new(scene.config());
    up.signal("TERM");
    let stopping = up.event("daemon.stopping");
    assert_eq!((&stopping["under_way"], &stopping["pending_resumes"]), (&0.into(), &0.into()));
    assert_eq!(end_of(up), (Some(0), vec![]));
}

#[test]
fn enough_grace_resumes_and_next_daemon_completes_backup() {
    let scene = Scene::new("20s", Duration::from_secs(2));
    let up = scene.inside_the_pause();
    up.signal("TERM");
    let stopping = up.event("daemon.stopping");
    let reason = "exporting of orders is paused by this daemon and is resumed first. A second signal ends the daemon at once; then ExecStopPost, `resume-exporting --pending` or the next start resumes it";
    assert_eq!((&stopping["pending_resumes"], &stopping["reason"]), (&1.into(), &reason.into()));
    assert_eq!(end_of(up), (Some(0), vec![]));
    assert!(!scene.paused(), "it stopped and left exporting paused");
    assert_eq!(scene.next_daemon_makes_it("completed"), "");
}

/// No server confirms the resume: log and exit code report it, and `ExecStopPost` retries.
#[test]
fn resume_rejected_until_end_of_grace_is_reported() {
    let scene = Scene::new("1s", Duration::from_secs(12));
    let up = scene.inside_the_pause();
    locked(scene.cluster()).arm("resume.refuse@*").unwrap();
    up.signal("TERM");
    up.event("daemon.stopping");
    let health: serde_json::Value =
        serde_json::from_slice(&scene.reports(&["--json", "status"]).stdout).unwrap();
    let dispatch =
        health["checks"].as_array().unwrap().iter().find(|check| check["name"] == "dispatch").unwrap();
    assert_eq!(dispatch["detail"], "the daemon is stopping: no run starts, and paused clusters are resumed");
    let paused = up.event("exporting.still_paused");
    assert_eq!((&paused["cluster"], &paused["owner"]), (&"orders".into(), &"us".into()));
    assert_eq!(paused["reason"], "the daemon stopped before the resume was confirmed");
    let (code, stderr) = end_of(up);
    let met = stderr[0]
        .strip_prefix("error: the resume of orders is still pending, so exporting may be paused there: ");
    let met = met.and_then(|rest| {
        rest.strip_suffix("; fix this, then run `resume-exporting --pending`, or start the daemon again")
    });
    assert!(met.is_some_and(|met| met.contains("/exporting/resume")), "{stderr:?}");
    assert_eq!((code, stderr.len()), (Some(1), 1));
    assert!(scene.paused());

    locked(scene.cluster()).arm("now.heal").unwrap();
    let output = scene.reports(&["resume-exporting", "--pending", "--for", "20s"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!scene.paused(), "exporting is still paused after ExecStopPost");
    let reason = scene.next_daemon_makes_it("failed");
    assert_eq!(reason, "the daemon was stopped inside the pause and its shutdown grace ran out");
}

#[test]
fn second_signal_exits_at_once_and_exec_stop_post_resumes() {
    let scene = Scene::new("60s", Duration::from_secs(12));
    let up = scene.inside_the_pause();
    up.signal("TERM");
    up.event("daemon.stopping");
    let began = Instant::now();
    up.signal("TERM");
    assert_eq!(end_of(up).0, Some(130));
    assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    assert!(scene.paused(), "the daemon resumed before the second signal, so the test proves nothing");

    let output = scene.reports(&["resume-exporting", "--pending", "--for", "20s"]);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!scene.paused(), "exporting is still paused after ExecStopPost");
    let reason = scene.next_daemon_makes_it("failed");
    assert!(reason.starts_with("the daemon went down inside the pause and"), "{reason}");
}

/// For a hanging daemon the state file is read; when it continues, it finds its pause broken.
#[test]
fn exec_stop_post_resumes_while_daemon_hangs() {
    let scene = Scene::new("20s", Duration::from_secs(6));
    let up = scene.inside_the_pause();
    up.signal("STOP");
    let output = scene.reports(&["resume-exporting", "--pending", "--for", "2s"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    // The daemon may have been stopped during a write and still hold the write lock.
    let unrecorded = stderr.contains("every resume is confirmed, but the confirmation could not be stored: ");
    assert_eq!(output.status.code(), Some(i32::from(unrecorded)), "{stderr}");
    assert!(!scene.paused(), "exporting is still paused after ExecStopPost");
    up.signal("CONT");
    let failed = up.event("run.failed");
    let reason = failed["reason"].as_str().unwrap();
    // It may still receive the first request.
    let requested = "`resume-exporting --pending` was requested while the run had paused exporting";
    assert!(reason.starts_with("the pause was broken: ") || reason == requested, "{reason}");
    up.stop();
    assert!(!scene.paused());
    assert_eq!(pending_count(&scene.location.path("state")), 0);
}
