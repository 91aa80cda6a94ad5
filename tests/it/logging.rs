//! The log: JSON lines, text lines, journal fields.

use camunda_backupd::clock::ManualClock;
use camunda_backupd::logging::{LogHandle, Sink, build};
use rstest::rstest;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Includes this test program, which is a separate crate.
const INFO: &str = "info,it=info";
const SOON: Duration = Duration::from_secs(20);

/// Collects written bytes.
#[derive(Clone, Default)]
struct Capture(Arc<Mutex<Vec<u8>>>);

impl Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Capture {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Runs `emit` with a subscriber at `level` that writes to `sink`.
fn log(level: &str, sink: Sink, emit: impl FnOnce(&LogHandle)) {
    let clock = ManualClock::at("2026-11-23T02:00:00.25Z".parse().unwrap());
    let (subscriber, handle) = build(level, clock, sink).unwrap();
    tracing::subscriber::with_default(subscriber, || emit(&handle));
    assert!(handle.flush(SOON));
}

fn json_lines(level: &str, emit: impl FnOnce(&LogHandle)) -> Vec<Value> {
    let capture = Capture::default();
    log(level, Sink::json(Box::new(capture.clone())), emit);
    capture.lines()
}

#[test]
fn event_is_one_flat_json_object() {
    let capture = Capture::default();
    log(INFO, Sink::json(Box::new(capture.clone())), |_| {
        tracing::error!(
            event = "run.failed",
            run_id = %"0190-7",
            cluster = "orders",
            backup_id = 1_764_000_000_i64,
            duration_ms = 1500_u64,
            late = 0.5,
            held = false,
            reason = "operate answered 500",
            schedule = Option::<&str>::None,
            "the run failed"
        );
    });

    let line = &capture.lines()[0];
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.starts_with("2026-11-23T02:00:00.25") && timestamp.ends_with('Z'), "{timestamp}");
    let mut rest = line.clone();
    rest.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(
        rest,
        json!({
            "level": "error", "event": "run.failed", "message": "the run failed", "run_id": "0190-7",
            "cluster": "orders", "backup_id": 1_764_000_000_i64, "duration_ms": 1500, "late": 0.5,
            "held": false, "reason": "operate answered 500"
        })
    );
    assert!(capture.text().starts_with("{\"timestamp\":"), "{}", capture.text());
}

#[test]
fn event_inherits_span_fields_and_keeps_its_own() {
    let lines = json_lines(INFO, |_| {
        let run =
            tracing::info_span!("run", run_id = "r1", cluster = "orders", component = tracing::field::Empty);
        let _in_run = run.enter();
        run.record("component", "operate");
        tracing::info!(event = "run.started");
        let _in_step = tracing::info_span!("step", step = "pause", cluster = "inner").entered();
        tracing::info!(event = "step.finished", step = "resume");
    });

    assert_eq!((&lines[0]["run_id"], &lines[0]["component"]), (&json!("r1"), &json!("operate")));
    assert_eq!((&lines[1]["step"], &lines[1]["cluster"]), (&json!("resume"), &json!("inner")));
    assert_eq!(lines[1]["run_id"], "r1");
}

#[test]
fn foreign_text_is_cut_and_escaped() {
    let response = format!("first\n{{\"event\":\"run.succeeded\"}}\u{1b}[2J{}", "x".repeat(100_000));
    let capture = Capture::default();
    log(INFO, Sink::json(Box::new(capture.clone())), |_| {
        tracing::info!(event = "step.finished", reason = response, outcome = ?response, "{response}");
    });

    let lines = capture.lines();
    assert_eq!(lines.len(), 1);
    for name in ["reason", "outcome", "message"] {
        let shown = lines[0][name].as_str().unwrap();
        assert!(shown.len() <= 1024 && shown.ends_with('…'), "{name}: {} bytes", shown.len());
        assert!(!shown.chars().any(char::is_control), "{name}: {shown}");
    }
    assert!(
        lines[0]["reason"].as_str().unwrap().starts_with("first\\n{\"event\":\"run.succeeded\"}\\u{1b}[2Jx")
    );
    assert!(capture.text().len() < 5000);
}

#[test]
fn reserved_field_names_get_a_prefix() {
    let lines = json_lines(INFO, |_| tracing::info!(event = "x", level = "fake", timestamp = 1_u64, "hello"));

    assert_eq!((&lines[0]["level"], &lines[0]["field_level"]), (&json!("info"), &json!("fake")));
    assert_eq!(lines[0]["field_timestamp"], 1);
}

#[test]
fn level_changes_at_runtime_and_an_invalid_level_changes_nothing() {
    let lines = json_lines(INFO, |handle| {
        let emit = |event| tracing::debug!(target: "camunda_backupd", event);
        emit("unheard");
        handle.set_level("debug").unwrap();
        emit("heard");
        assert_eq!(
            handle.set_level("loud").unwrap_err(),
            "invalid log level `loud`: write off, error, warn, info, debug or trace, \
             or a list such as `info,camunda_backupd::queue=debug`"
        );
        emit("still heard");
        handle.set_level("warn").unwrap();
        emit("unheard again");
        tracing::warn!(event = "warned");
    });

    let events: Vec<_> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["heard", "still heard", "warned"]);
}

/// Events of another crate at every level, and those that are written.
#[rstest]
#[case("info", &["error", "warn"])]
#[case("trace", &["error", "warn"])]
#[case("error", &["error"])]
#[case("off", &[])]
#[case("info,hyper=info", &["error", "warn", "info"])]
#[case("warn,hyper::proto=info", &["error", "warn", "info"])]
#[case("info,hyper=error", &["error"])]
#[case("camunda_backupd=info", &[])]
// Below `info`, HTTP crates log requests with their headers.
#[case("trace,hyper=trace", &["error", "warn", "info"])]
fn events_of_other_crates_are_logged_from_warn_and_never_below_info(
    #[case] level: &str,
    #[case] written: &[&str],
) {
    let lines = json_lines(level, |_| {
        tracing::error!(target: "hyper::proto", "broken");
        tracing::warn!(target: "hyper::proto", "strange");
        tracing::info!(target: "hyper::proto", "listening");
        tracing::debug!(target: "hyper::proto", "authorization: Bearer 123");
        tracing::trace!(target: "hyper::proto", "authorization: Bearer 123");
    });
    let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, written);
}

#[test]
fn target_with_our_name_as_prefix_is_another_crate() {
    let lines = json_lines("trace", |_| {
        tracing::debug!(target: "camunda_backupd_other", "not ours");
        tracing::trace!(target: "camunda_backupd::context", event = "poll");
    });
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!((&lines[0]["event"], lines[0].get("target")), (&json!("poll"), None));
}

#[test]
fn text_format_is_one_readable_line() {
    let capture = Capture::default();
    log(INFO, Sink::text(Box::new(capture.clone())), |_| {
        tracing::warn!(
            event = "backup.missing",
            cluster = "orders",
            reason = "it returned \"gone\"",
            "check it"
        );
    });

    let text = capture.text();
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.starts_with("2026-11-23T02:00:00."), "{time}");
    assert_eq!(rest, "WARN  backup.missing: check it cluster=orders reason=\"it returned \\\"gone\\\"\"\n");
}

/// Fields of one datagram in the native protocol of the journal.
fn fields(mut datagram: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    while !datagram.is_empty() {
        let name_end = datagram.iter().position(|b| *b == b'\n').unwrap();
        let (name, rest) = datagram.split_at(name_end);
        let (length, rest) = rest[1..].split_at(8);
        let length = usize::try_from(u64::from_le_bytes(length.try_into().unwrap())).unwrap();
        let (value, rest) = rest.split_at(length);
        let value = String::from_utf8(value.to_vec()).unwrap();
        assert_eq!(fields.insert(String::from_utf8(name.to_vec()).unwrap(), value), None);
        datagram = rest.strip_prefix(b"\n").unwrap();
    }
    fields
}

#[test]
fn journal_gets_searchable_fields() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    let journal = UnixDatagram::bind(&path).unwrap();
    journal.set_read_timeout(Some(SOON)).unwrap();
    log(INFO, Sink::journal(&path).unwrap(), |_| {
        tracing::error!(
            event = "run.failed",
            run_id = "r1",
            duration_ms = 12_u64,
            reason = format!("500\nPRIORITY=7\n{}", "y".repeat(3000)),
            priority = 7,
            _private.name = "kept for itself",
        );
    });

    let mut buffer = vec![0; 1 << 16];
    let length = journal.recv(&mut buffer).unwrap();
    let fields = fields(&buffer[..length]);
    let names: Vec<_> = fields.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "DURATION_MS",
            "EVENT",
            "FIELD_PRIORITY",
            "MESSAGE",
            "PRIORITY",
            "PRIVATE_NAME",
            "REASON",
            "RUN_ID",
            "SYSLOG_IDENTIFIER",
            "TARGET"
        ]
    );
    assert_eq!((fields["PRIORITY"].as_str(), fields["EVENT"].as_str()), ("3", "run.failed"));
    assert_eq!((fields["SYSLOG_IDENTIFIER"].as_str(), fields["RUN_ID"].as_str()), ("camunda-backupd", "r1"));
    assert!(
        fields["MESSAGE"].starts_with("run.failed run_id=r1 duration_ms=12 reason=\"500\\nPRIORITY=7\\nyyy")
    );
    assert!(fields.values().all(|value| value.len() <= 1024 && !value.contains('\n')), "{fields:?}");
}

#[test]
fn missing_journal_is_reported_with_remedy() {
    assert_eq!(
        Sink::journal("/nowhere/socket".as_ref()).err().unwrap(),
        "cannot connect to the journal at /nowhere/socket (No such file or directory (os error 2)): \
         write `format = \"json\"` under [log]"
    );
}

/// A sink that accepts one line, signals `took`, and blocks until `go_on`.
struct Hanging {
    took: Sender<()>,
    go_on: Receiver<()>,
    capture: Capture,
}

impl Write for Hanging {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.took.send(());
        let _ = self.go_on.recv();
        self.capture.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn hanging_log_reader_costs_counted_lines_and_never_blocks() {
    let capture = Capture::default();
    let (took, taken) = channel();
    let (let_go, go_on) = channel();
    let sink = Sink::json(Box::new(Hanging { took, go_on, capture: capture.clone() }));
    let emitted = 20_000;
    log(INFO, sink, |handle| {
        let long = "z".repeat(1000);
        tracing::info!(event = "first");
        taken.recv_timeout(SOON).unwrap();
        for _ in 0..emitted {
            tracing::info!(event = "step.finished", reason = long);
        }
        assert!(!handle.flush(Duration::from_millis(10)), "nothing can have been written yet");
        drop(let_go);
    });

    let lines = capture.lines();
    let lost = lines.last().unwrap();
    assert_eq!((&lost["event"], &lost["level"]), (&json!("log.dropped"), &json!("warn")));
    let written = lines.len() - 2;
    assert_eq!(lost["lines"], emitted - written);
    assert!((1000..10_000).contains(&written), "{written} lines waited");
}
