//! Commands of the real binary: output and exit code.

use harness::process::{Location, Up, command, ends};
use rstest::rstest;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// Result of a command.
struct CommandOutput {
    code: Option<i32>,
    out: String,
    err: String,
}

impl CommandOutput {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|_| panic!("not JSON: {}{}", self.out, self.err))
    }
}

fn run_command(config: &Path, words: &[&str]) -> CommandOutput {
    let output = ends(command(config, words));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    CommandOutput { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

const NIGHTLY: &str =
    "[schedules.nightly]\nclusters = [\"orders\"]\ndaily = \"02:30\"\ntimezone = \"Europe/Berlin\"\n";
const BROKEN: &str = "[schedules.nightly]\nclusters = [\"nobody\"]\ndaily = \"25:00\"\n";

#[test]
fn check_of_valid_config_lists_next_due_times() {
    let location = Location::new();
    let config = location.config("127.0.0.1:0", NIGHTLY);
    let output = run_command(&config, &["check"]);
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert!(output.out.contains("config.toml is valid: 1 cluster, 1 schedule\n"), "{}", output.out);
    let due: Vec<&str> =
        output.out.lines().filter(|line| line.contains("next: nightly of orders at")).collect();
    assert_eq!(due.len(), 5, "{}", output.out);
    assert!(due.iter().all(|line| line.ends_with("Z)")), "instants end in Z: {due:?}");
    let output = run_command(&config, &["check", "--json"]);
    assert_eq!((output.code, output.json()), (Some(0), json!({ "ok": true, "diagnostics": [] })));
    assert!(!location.path("state").exists() && !location.path("run").exists(), "a check makes nothing");
}

#[test]
fn check_of_invalid_config_reports_all_errors_with_location_and_remedy() {
    let location = Location::new();
    let config = location.config("127.0.0.1:0", BROKEN);
    let output = run_command(&config, &["check"]);
    assert_eq!(output.code, Some(2));
    for part in ["nobody", "25:00", "config.toml:15:13", "config.toml:16:9", "help"] {
        assert!(output.out.contains(part), "{part} is missing:\n{}", output.out);
    }
    let output = run_command(&config, &["--json", "check"]);
    assert_eq!((output.code, &output.json()["ok"]), (Some(2), &json!(false)));
    let found = output.json()["diagnostics"].as_array().unwrap().clone();
    let lines: Vec<_> = found.iter().map(|d| d["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [15, 16]);
    for one in &found {
        assert_eq!(one["level"], "error");
        assert!(one["file"].as_str().unwrap().ends_with("config.toml") && one["column"].is_u64());
        assert!(one["message"].is_string() && one["help"].is_string(), "{one}");
    }
}

#[test]
fn check_online_of_unreachable_cluster_exits_1() {
    let location = Location::new();
    let output = run_command(&location.good(), &["check", "--online"]);
    assert_eq!(output.code, Some(1), "{}", output.err);
    assert!(
        output.out.starts_with(
            "orders: a backup would fail now: 1 problem\n  FAIL zeebe: cannot connect to zeebe at"
        ),
        "{}",
        output.out
    );
    assert!(output.out.contains("help: start it, or correct its address"), "{}", output.out);
    let output = run_command(&location.good(), &["--json", "check", "--online"]);
    let body: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((&body["ok"], &body["preflight"][0]["check"]), (&json!(false), &json!("zeebe")));
    assert_eq!(body["preflight"][0]["cluster"], json!("orders"));
}

#[test]
fn check_online_of_invalid_config_sends_no_request() {
    let location = Location::new();
    let output =
        run_command(&location.config("127.0.0.1:0", "nonsense = 1\n"), &["--json", "check", "--online"]);
    assert_eq!(output.code, Some(2));
    let body: Value = serde_json::from_str(&output.out).unwrap();
    assert_eq!((&body["ok"], &body["preflight"]), (&json!(false), &json!([])));
}

#[test]
fn missing_config_is_a_usage_error_of_every_command() {
    let location = Location::new();
    for words in [&["check"][..], &["next"], &["plan", "orders"], &["status"], &["serve"]] {
        let output = run_command(&location.path("missing.toml"), words);
        assert_eq!(output.code, Some(2), "{words:?}: {}", output.err);
        assert!(format!("{}{}", output.out, output.err).contains("missing.toml"), "{words:?}");
    }
}

fn due(due_at: &str, local: &str) -> Value {
    json!({ "schedule": "nightly", "cluster": "orders", "due_at": due_at, "local": local })
}

#[test]
fn next_covers_both_clock_changes() {
    let location = Location::new();
    let config = location.config("127.0.0.1:0", NIGHTLY);
    let next = |from: &str| run_command(&config, &["next", "--from", from, "--count", "3", "--json"]).json();
    let spring = json!([
        due("2026-03-28T01:30:00Z", "2026-03-28 02:30:00 +01:00"),
        due("2026-03-29T01:00:00Z", "2026-03-29 03:00:00 +02:00"),
        due("2026-03-30T00:30:00Z", "2026-03-30 02:30:00 +02:00"),
    ]);
    assert_eq!(next("2026-03-28T00:00:00Z"), spring, "half past two does not exist on the 29th");
    let autumn = json!([
        due("2026-10-24T00:30:00Z", "2026-10-24 02:30:00 +02:00"),
        due("2026-10-25T00:30:00Z", "2026-10-25 02:30:00 +02:00"),
        due("2026-10-26T01:30:00Z", "2026-10-26 02:30:00 +01:00"),
    ]);
    assert_eq!(next("2026-10-24T00:00:00Z"), autumn, "half past two on the 25th is twice, and due once");
}

#[test]
fn next_of_one_schedule_as_a_table() {
    let location = Location::new();
    let config = location.config("127.0.0.1:0", &format!("{NIGHTLY}{}", NIGHTLY.replace("nightly", "other")));
    let output = run_command(&config, &["next", "other", "--from", "2026-10-24T00:00:00Z", "--count", "1"]);
    assert_eq!(output.code, Some(0));
    assert!(output.out.contains("2026-10-24T00:30:00Z") && !output.out.contains("nightly"), "{}", output.out);
}

#[test]
fn plan_pauses_only_around_records_and_zeebe() {
    let location = Location::new();
    let config = location.good();
    let plan = run_command(&config, &["plan", "orders", "--json"]).json();
    assert_eq!(
        (&plan["cluster"], &plan["pause"], &plan["family"]),
        (&json!("orders"), &json!("soft"), &json!("8.2-8.7"))
    );
    let steps = plan["steps"].as_array().unwrap();
    let order: Vec<&str> = steps.iter().map(|s| s["step"].as_str().unwrap()).collect();
    let expected = [
        "guard",
        "operate.start",
        "operate.wait",
        "pause",
        "records.start",
        "records.wait",
        "zeebe.start",
        "zeebe.wait",
        "check_pause",
        "resume",
    ];
    assert_eq!(order, expected);
    let paused: Vec<&str> =
        steps.iter().filter(|s| s["needs_pause"] == true).map(|s| s["step"].as_str().unwrap()).collect();
    assert_eq!(paused, expected[3..9]);
    assert_eq!(
        (&steps[3]["compensation"], &steps[9]["deadline"]),
        (&json!("resume_exporting"), &Value::Null)
    );
    let table = run_command(&config, &["plan", "orders"]);
    assert!(
        table.out.starts_with(
            "orders: 8.2-8.7 procedure, soft pause (assumed; the probe before a run reads the version)\n"
        ),
        "{}",
        table.out
    );
    assert!(expected.iter().all(|step| table.out.contains(step)));
}

#[test]
fn plan_of_older_version_uses_hard_pause() {
    let location = Location::new();
    let text = std::fs::read_to_string(location.good()).unwrap();
    std::fs::write(location.path("config.toml"), text.replace("operate =", "version = \"8.4.6\"\noperate ="))
        .unwrap();
    let output = run_command(&location.path("config.toml"), &["plan", "orders", "--json"]);
    assert_eq!(output.json()["pause"], "hard");
}

#[test]
fn schema_command_prints_the_shipped_schema() {
    let location = Location::new();
    let output = run_command(&location.path("no-config-needed.toml"), &["schema"]);
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/config.schema.json");
    assert_eq!((output.code, output.out), (Some(0), std::fs::read_to_string(shipped).unwrap()));
}

#[rstest]
#[case::no_command(&[], "Usage")]
#[case::unknown_command(&["frobnicate"], "unrecognized subcommand 'frobnicate'")]
#[case::no_instant(&["next", "--from", "yesterday"], "invalid instant: write RFC 3339, for example 2026-10-25T00:00:00Z")]
#[case::no_span(&["resume-exporting", "--pending", "--for", "abc"], "invalid duration: write a number with a unit, for example 45s or 2m")]
#[case::no_url(&["status", "--url", "ftp://x"], "error: --url ftp://x is not a URL: write http:// or https://, a host and a port")]
#[case::no_number(&["delete", "orders", "zero"], "`zero` is not a backup id: write a positive number")]
#[case::no_name(&["backup", "../x"], "invalid name: use letters, digits, `.`, `_` and `-`, and start with a letter or digit")]
#[case::no_query(&["list", "a&all=true"], "invalid name: use letters, digits, `.`, `_` and `-`, and start with a letter or digit")]
#[case::no_why(&["cancel", "orders"], "--why")]
#[case::no_cluster(&["plan", "nobody"], "error: cluster nobody is not in the config. `status` lists the configured clusters")]
#[case::no_schedule(&["next", "nobody"], "error: schedule nobody is not in the config. `next` without a name lists all schedules")]
#[case::no_aim(&["resume-exporting"], "error: name a cluster (`resume-exporting CLUSTER`) or write `resume-exporting --pending`")]
#[case::two_aims(&["resume-exporting", "orders", "--pending"], "cannot be used with")]
fn invalid_arguments_exit_with_2(#[case] words: &[&str], #[case] why: &str) {
    let location = Location::new();
    let output = run_command(&location.good(), words);
    assert_eq!(output.code, Some(2), "{}", output.err);
    assert!(output.err.contains(why), "{}", output.err);
}

#[rstest]
fn commands_that_need_a_daemon_exit_3_without_one(
    #[values(
        "status",
        "list",
        "show 7",
        "backup orders",
        "cancel orders --why x",
        "delete orders 7 --yes",
        "schedules",
        "pending-resumes",
        "pending-resumes abandon orders --why x",
        "adopt orders",
        "resume-exporting orders --yes"
    )]
    words: &str,
) {
    let location = Location::new();
    let output = run_command(&location.good(), &words.split(' ').collect::<Vec<_>>());
    let socket = location.path("run").join("control.sock");
    let sentence = format!(
        "error: cannot connect to the daemon at {}: no daemon listens there. Start it, or name its config with --config\n",
        socket.display()
    );
    assert_eq!((output.code, output.err, output.out), (Some(3), sentence, String::new()));
}

/// A daemon stopped by a debugger or a frozen control group: commands fail soon, independent of their own time limit.
#[test]
fn hanging_daemon_does_not_block_commands() {
    const READING: [&str; 5] = ["status", "list", "show 7", "schedules", "pending-resumes"];
    const ACTING: [&str; 8] = [
        "backup orders",
        "backup orders --wait",
        "cancel orders --why x --for 1h",
        "delete orders 7 --yes",
        "restore orders 7 --yes",
        "pending-resumes abandon orders --why x",
        "adopt orders",
        "resume-exporting orders --yes --for 1h",
    ];
    let location = Location::new();
    let up = Up::new(&location.good());
    let url = format!("http://{}", up.event("http.listening")["address"].as_str().unwrap());
    up.signal("STOP");
    let socket = location.path("run").join("control.sock").display().to_string();
    let config = location.path("config.toml");
    let rejects = |words: String, at: String, acts: bool| {
        let config = config.clone();
        std::thread::spawn(move || {
            let output = run_command(&config, &words.split(' ').collect::<Vec<_>>());
            let more = if acts { ". The request may still be carried out" } else { "" };
            let sentence = format!(
                "error: no response from the daemon at {at}. See its log, and restart it if it stays silent{more}\n"
            );
            assert_eq!((output.code, output.err, output.out), (Some(3), sentence, String::new()), "{words}");
        })
    };
    let reading = READING.map(|words| rejects(words.into(), socket.clone(), false));
    let acting = ACTING.map(|words| rejects(words.into(), socket.clone(), true));
    let over_url = rejects(format!("--url {url} status"), url.clone(), false);
    for request in reading.into_iter().chain(acting).chain([over_url]) {
        request.join().unwrap();
    }
}

#[test]
fn commands_of_a_daemon_without_backups() {
    let location = Location::new();
    let up = Up::new(&location.good());
    let config = location.path("config.toml");
    let status = run_command(&config, &["status", "--json"]);
    assert_eq!(status.code, Some(0), "degraded is no failure");
    assert_eq!(status.json()["clusters"][0]["name"], "orders");
    assert!(run_command(&config, &["status"]).out.contains("orders"));
    assert_eq!(run_command(&config, &["list", "--json"]).json(), json!([]));
    assert_eq!(run_command(&config, &["list", "orders"]).out, "no backups\n");
    assert_eq!(run_command(&config, &["pending-resumes", "--json"]).json(), json!([]));
    assert_eq!(run_command(&config, &["pending-resumes"]).out, "no resume is pending\n");
    let schedules = run_command(&config, &["schedules", "--json"]).json();
    assert_eq!((&schedules[0]["name"], &schedules[0]["enabled"]), (&json!("daily"), &json!(true)));
    assert_eq!(schedules[0]["clusters"][0]["cluster"], "orders");
    assert_eq!(
        run_command(&config, &["resume-exporting", "--pending", "--json"]).json(),
        json!({ "still_pending": [], "resumed": [], "reasons": {} })
    );
    up.stop();
}

#[rstest]
#[case::backup_unknown(&["backup", "unknown"], 1, "cluster unknown is not in the config")]
#[case::list_unknown(&["list", "unknown"], 1, "cluster unknown is not in the config and has no backups. `status` lists the configured clusters")]
#[case::cancel_unknown(&["cancel", "unknown", "--why", "x"], 1, "cluster unknown is not in the config")]
#[case::cancel_idle(&["cancel", "orders", "--why", "x"], 4, "cluster orders has no run to cancel")]
#[case::show_nothing(&["show", "7"], 1, "there is no backup or run 7. `list` shows the backups")]
#[case::show_nonsense(&["show", "x"], 2, "`x` is neither a backup id nor a run id")]
#[case::delete_without_a_terminal(&["delete", "orders", "7"], 4, "confirmation required: add --yes if there is no terminal")]
#[case::delete_nothing(&["delete", "orders", "7", "--yes"], 1, "cluster orders has no backup 7. `list orders` shows its backups")]
#[case::resume_without_a_terminal(&["resume-exporting", "orders"], 4, "confirmation required: add --yes if there is no terminal")]
#[case::resume_unreachable(&["resume-exporting", "orders", "--yes"], 3, "exporting of orders could not be resumed")]
#[case::adopt_unreachable(&["adopt", "orders"], 3, "cannot connect to zeebe at")]
fn daemon_rejection_sets_the_exit_code(#[case] words: &[&str], #[case] code: i32, #[case] why: &str) {
    let location = Location::new();
    let up = Up::new(&location.good());
    let output = run_command(&location.path("config.toml"), words);
    assert_eq!(output.code, Some(code), "{}", output.err);
    assert!(output.err.starts_with("error: ") && output.err.contains(why), "{}", output.err);
    assert_eq!(output.err.lines().count(), 1, "one sentence: {}", output.err);
    up.stop();
}

/// The directory may be the wrong one: the error must not read like an all-clear.
#[rstest]
#[case::no_config(&["resume-exporting", "--pending"])]
#[case::no_such_dir(&["resume-exporting", "--pending", "--state-dir", "/nonexistent"])]
fn without_a_state_file_pending_resumes_are_unknown(#[case] words: &[&str]) {
    let location = Location::new();
    let output = run_command(&location.path("nothing.toml"), words);
    assert_eq!((output.code, output.out.as_str()), (Some(2), ""), "{}", output.err);
    assert!(output.err.contains("error: no state file in "), "{}", output.err);
    assert!(output.err.contains(": pending resumes are unknown. Name its directory with --state-dir, or the config of the daemon with --config"), "{}", output.err);
}

#[test]
fn commands_over_url_are_read_only() {
    let location = Location::new();
    let up = Up::new(&location.good());
    let url = format!("http://{}", up.event("http.listening")["address"].as_str().unwrap());
    let elsewhere = location.path("no-config-needed.toml");
    assert_eq!(run_command(&elsewhere, &["--url", &url, "list", "--json"]).json(), json!([]));
    assert_eq!(run_command(&elsewhere, &["--url", &url, "status"]).code, Some(0));
    for words in [&["backup", "orders"][..], &["delete", "orders", "7", "--yes"], &["adopt", "orders"]] {
        let words = [&["--url", url.as_str()], words].concat();
        let output = run_command(&elsewhere, &words);
        assert_eq!(output.code, Some(4), "{words:?}: {}", output.err);
        assert!(output.err.contains("commands that change something are not allowed over --url. Run the command on the daemon's host, without --url"), "{}", output.err);
    }
    up.stop();
}

/// An unreachable cluster and a resume pending for more than five minutes make `status` exit with 1.
#[test]
fn status_of_failing_daemon_exits_1() {
    let location = Location::new();
    harness::process::record_pending_resume_since(
        &location.path("state"),
        "http://127.0.0.1:1",
        chrono::TimeDelta::minutes(10),
    );
    let up = Up::new(&location.good());
    up.event("exporting.resume_failed");
    let output = run_command(&location.path("config.toml"), &["status", "--json"]);
    assert_eq!((output.code, &output.json()["status"]), (Some(1), &json!("failing")), "{}", output.out);
    let output = run_command(&location.path("config.toml"), &["status"]);
    assert!(
        output.out.contains("failing pending_resumes: exporting of orders has a pending resume for "),
        "{}",
        output.out
    );
    let pending_resumes = run_command(&location.path("config.toml"), &["pending-resumes", "--json"]).json();
    assert_eq!(
        (&pending_resumes[0]["cluster"], &pending_resumes[0]["zeebe"]),
        (&json!("orders"), &json!("http://127.0.0.1:1"))
    );
    up.stop_with_pending_resume();
}

#[rstest]
#[case("list --json")]
#[case("next --json")]
#[case("schema")]
#[case("--help")]
#[case("check")]
#[case("status")]
#[case("frobnicate")]
fn closed_output_causes_no_panic(#[case] words: &str) {
    let location = Location::new();
    let up = Up::new(&location.good());
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut closed: Command = command(&location.path("config.toml"), &words.split(' ').collect::<Vec<_>>());
    closed.stdout(Stdio::from(writer.try_clone().unwrap())).stderr(Stdio::from(writer));
    let code = closed.status().unwrap().code();
    assert!(code == Some(0) || (words == "frobnicate" && code == Some(2)), "{words}: {code:?}");
    up.stop();
}

#[test]
fn rejection_with_closed_stderr_keeps_its_exit_code() {
    let location = Location::new();
    let config = location.config("127.0.0.1:0", BROKEN);
    for (words, code) in [(&["serve"][..], 2), (&["next"], 2), (&["plan", "orders"], 2), (&["check"], 2)] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut closed = command(&config, words);
        closed.stdout(Stdio::from(writer.try_clone().unwrap())).stderr(Stdio::from(writer));
        assert_eq!(closed.status().unwrap().code(), Some(code), "{words:?}");
    }
}
