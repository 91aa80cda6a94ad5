//! The simulated cluster responds like the real ones. Requests recorded from 8.6.0 on OpenSearch and 8.5.8 on
//! Elasticsearch are sent again. Status, content type, JSON shape, texts and the order of states are
//! compared.
//!
//! `transcripts/*.jsonl` are trimmed selections: long arrays are cut, and later polls of one state are
//! reduced to the state, partitions to their phases. `meanwhile` repeats on the simulated cluster each change
//! made to the real cluster between two requests (a kill, a frozen store).

use camunda_backupd::camunda::{Method, Response};
use camunda_backupd::sim::model::snapshots::SnapshotOutcome;
use camunda_backupd::sim::wire::{Carried, WireRequest};
use camunda_backupd::sim::{App, Cluster, Config, Load, Piece, Storage, Timing};
use chrono::{TimeDelta, TimeZone, Utc};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

struct Line {
    scenario: String,
    /// Position within the scenario.
    nth: usize,
    entry: Value,
}

impl Line {
    fn text(&self, key: &str) -> &str {
        self.entry[key].as_str().unwrap_or("")
    }

    fn path(&self) -> String {
        let part = if self.text("component") == "broker" { "zeebe" } else { self.text("component") };
        format!("/{part}{}", self.text("path"))
    }

    /// The state in the response, or its status.
    fn token(&self) -> String {
        let kept = self.entry["token"].as_str().or_else(|| state_in(&self.entry["body"]));
        kept.map_or_else(|| self.entry["status"].to_string(), str::to_owned)
    }

    fn is_poll(&self) -> bool {
        self.entry.get("poll").is_some()
    }
}

fn state_in(body: &Value) -> Option<&str> {
    body.get("state").or_else(|| body.pointer("/snapshots/0/state")).and_then(Value::as_str)
}

fn transcript(text: &str) -> Vec<Line> {
    let (mut scenario, mut nth, mut lines) = (String::new(), 0, Vec::new());
    for text in text.lines() {
        let entry: Value = serde_json::from_str(text).unwrap();
        if let Some(name) = entry["scenario"].as_str() {
            (scenario, nth) = (name.to_owned(), 0);
            continue;
        }
        lines.push(Line { scenario: scenario.clone(), nth, entry });
        nth += 1;
    }
    lines
}

/// Repeats the change made to the real cluster just before this request.
fn meanwhile(cluster: &mut Cluster, scenario: &str, nth: usize) {
    let hour = Duration::from_hours(1);
    match (scenario, nth) {
        ("two operate backups at once", 0) => {
            cluster.break_part(App::Operate, 1, SnapshotOutcome::Stall(Some(Duration::from_secs(5))));
            cluster.break_part(App::Tasklist, 1, SnapshotOutcome::Stall(Some(Duration::from_secs(5))));
        }
        ("s3 down during zeebe backup", 0) => cluster.arm("now.store-down").unwrap(),
        ("broker killed during soft pause", 2) => cluster.restart_broker(hour),
        ("broker with backup store NONE", 0) => cluster.arm("now.store-none").unwrap(),
        ("snapshot repository missing", 0) => cluster.pass(Duration::from_secs(10)),
        ("tasklist killed mid-backup", 0) => {
            cluster.break_part(App::Tasklist, 2, SnapshotOutcome::Stall(Some(Duration::from_secs(4))));
        }
        ("operate killed mid-backup", 0) => {
            cluster.break_part(App::Operate, 2, SnapshotOutcome::Stall(Some(Duration::from_secs(4))));
        }
        // The search engine was busy deleting during the recording, so this request waited.
        ("reuse of a deleted id", 2) => cluster.pass(Duration::from_secs(1)),
        ("tasklist killed mid-backup", 5) => cluster.restart_app(App::Tasklist, hour),
        ("operate killed mid-backup", 4) => cluster.restart_app(App::Operate, hour),
        ("opensearch down", 0) => cluster.stop_search(hour),
        ("zeebe backup newer than the restored one", 4) => {
            let older = *cluster.backups.keys().rev().nth(1).unwrap();
            let pieces: Vec<Piece> = cluster.pieces_of(older);
            cluster.restore_in_place(&pieces);
        }
        // The first requests after an outage.
        ("s3 back after failed zeebe backup" | "backup after the store is back" | "opensearch back", 0)
        | ("broker killed during soft pause" | "tasklist killed mid-backup", 6)
        | ("operate killed mid-backup", 5) => cluster.arm("now.heal").unwrap(),
        ("search snapshot api", 0) => {
            let again = request(Method::Put, "/search/_snapshot/camunda", Some(r#"{"type":"fs"}"#));
            assert_eq!(send(cluster, &again).unwrap().status, 200);
        }
        _ => {}
    }
}

/// The same for the shorter recording of 8.5.8.
fn meanwhile_8_5(cluster: &mut Cluster, scenario: &str, nth: usize) {
    let hour = Duration::from_hours(1);
    match (scenario, nth) {
        ("s3 down during zeebe backup", 0) => cluster.arm("now.store-down").unwrap(),
        ("broker killed during soft pause", 1) => cluster.restart_broker(hour),
        ("broker with backup store NONE", 0) => cluster.arm("now.store-none").unwrap(),
        ("elasticsearch down", 0) => cluster.stop_search(hour),
        ("s3 down during zeebe backup", 3)
        | ("broker killed during soft pause", 2)
        | ("search snapshot api", 0) => {
            cluster.arm("now.heal").unwrap();
        }
        _ => {}
    }
}

fn request(method: Method, path: &str, json: Option<&str>) -> WireRequest {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    WireRequest {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        content_type: json.map(|_| "application/json".to_owned()),
        authorization: None,
        body: json.unwrap_or("").as_bytes().to_vec(),
    }
}

fn recorded_request(line: &Line) -> WireRequest {
    let method = match line.text("method") {
        "" => Method::Get,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "DELETE" => Method::Delete,
        other => panic!("{other}"),
    };
    let content_type = line.entry["request_content_type"].as_str().map(str::to_owned);
    let body = line.text("request_body").as_bytes().to_vec();
    WireRequest { content_type, body, ..request(method, &line.path(), None) }
}

/// Sends a request; `None` if the connection is refused.
fn send(cluster: &mut Cluster, request: &WireRequest) -> Option<Response> {
    let mut reply = cluster.handle(cluster.now(), request);
    loop {
        match reply.carried {
            // The recording timed out, too.
            Carried::Response(_) if reply.after > Duration::from_mins(1) => return None,
            Carried::Response(response) => return Some(response),
            Carried::Waiting(waiting) => {
                cluster.pass(reply.after);
                reply = cluster.probe_once_more(cluster.now(), waiting);
            }
            _ => return None,
        }
    }
}

fn content_type(short: &str) -> &str {
    match short {
        "actuator" => "application/vnd.spring-boot.actuator.v3+json",
        "json" => "application/json",
        "problem" => "application/problem+json",
        "search" => "application/json; charset=UTF-8",
        other => other,
    }
}

/// Keys whose presence or null value depends on the cluster's past.
const COMES_AND_GOES: [&str; 5] =
    ["snapshotId", "processedPositionInSnapshot", "failureReason", "processed", "resource.id"];

/// Differences in shape: keys, and types of values. Values may differ.
fn compare(real: &Value, simulated: &Value, location: &str, found: &mut Vec<String>) {
    match (real, simulated) {
        (Value::Object(real), Value::Object(simulated)) => {
            // Keys named after ids, indices and links differ.
            if location.ends_with("_links")
                || (location.ends_with("indices") || location.ends_with("shards"))
                    && !real.contains_key("total")
            {
                if let (Some(real), Some(simulated)) = (real.values().next(), simulated.values().next()) {
                    compare(real, simulated, &format!("{location}.*"), found);
                }
                return;
            }
            for key in real.keys().chain(simulated.keys()).collect::<BTreeSet<_>>() {
                let location = format!("{location}.{key}");
                match (real.get(key), simulated.get(key)) {
                    (Some(real), Some(simulated)) => compare(real, simulated, &location, found),
                    _ if COMES_AND_GOES.contains(&key.as_str()) => {}
                    (Some(_), None) => found.push(format!("{location} is missing")),
                    _ => found.push(format!("{location} is too much")),
                }
            }
        }
        (Value::Array(real), Value::Array(simulated)) => {
            if let (Some(real), Some(simulated)) = (real.first(), simulated.first()) {
                compare(real, simulated, &format!("{location}[]"), found);
            }
        }
        (Value::String(_), Value::String(_))
        | (Value::Number(_), Value::Number(_))
        | (Value::Bool(_), Value::Bool(_))
        | (Value::Null, Value::Null) => {}
        _ if COMES_AND_GOES.iter().any(|key| location.ends_with(key)) => {}
        _ => found.push(format!("{location} is {simulated}, not {real}")),
    }
}

/// A text without the variable parts: numbers, uuids and lists.
fn normalized(text: &str) -> String {
    let text = text.split(" Found snapshots: ").next().unwrap_or(text);
    // Jackson's errors about invalid JSON differ in wording only.
    for start in ["JSON parse error", "Required request body is missing", "Unexpected end-of-input"] {
        if text.starts_with(start) {
            return start.to_owned();
        }
    }
    // OpenSearch appends a uuid to the snapshot's name in one kind of error.
    let mut normalized = String::new();
    let mut in_uuid = false;
    for c in text.chars() {
        in_uuid = (in_uuid || c == '/') && c != ']' && c != ' ';
        if !in_uuid && !c.is_ascii_digit() {
            normalized.push(c);
        }
    }
    normalized
}

fn compare_texts(real: &Value, simulated: &Value, found: &mut Vec<String>) {
    for pointer in ["/message", "/error/reason", "/error/type", "/state", "/status", "/failureReason"] {
        let text = |value: &Value| value.pointer(pointer).and_then(Value::as_str).map(normalized);
        let (real, simulated) = (text(real), text(simulated));
        if real != simulated {
            found.push(format!("{pointer} is {simulated:?}, not {real:?}"));
        }
    }
    let phases = |value: &Value| -> Option<Vec<Value>> {
        value.as_object()?.values().map(|p| p.get("exporterPhase").cloned()).collect()
    };
    if phases(real) != phases(simulated) {
        found.push(format!("phases are {:?}, not {:?}", phases(simulated), phases(real)));
    }
}

fn compare_response(line: &Line, response: Option<&Response>) -> Vec<String> {
    let mut found = Vec::new();
    let Some(response) = response else {
        return if line.entry["status"].is_null() { found } else { vec!["refused".into()] };
    };
    if line.entry["status"] != response.status {
        return vec![format!("status {}, not {}", response.status, line.entry["status"])];
    }
    if let Some(phases) = line.entry.get("phases") {
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        let shown: Vec<&Value> = body.as_object().unwrap().values().map(|p| &p["exporterPhase"]).collect();
        if phases.as_array().unwrap().iter().ne(shown.iter().copied()) {
            found.push(format!("phases are {shown:?}, not {phases}"));
        }
    }
    let Some(real) = line.entry.get("body") else { return found };
    if content_type(line.text("content_type")) != response.content_type {
        found.push(format!("content type {}, not {}", response.content_type, line.text("content_type")));
    }
    let text = String::from_utf8_lossy(&response.body);
    if line.entry["pretty"] == true && !text.contains('\n') {
        found.push("not pretty".into());
    }
    let simulated: Value = serde_json::from_str(&text).unwrap();
    compare(real, &simulated, "", &mut found);
    compare_texts(real, &simulated, &mut found);
    if let Some(parts) = line.entry["parts"].as_u64() {
        let simulated = simulated["details"].as_array().unwrap().len() as u64;
        if simulated != parts {
            found.push(format!("{simulated} parts, not {parts}"));
        }
    }
    found
}

fn token_of(response: &Response) -> String {
    let body: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    state_in(&body).map_or_else(|| response.status.to_string(), str::to_owned)
}

/// Polls until the last state of the recording. Returns the states seen, and the differences of the first
/// response with each state.
fn poll(cluster: &mut Cluster, lines: &[&Line]) -> (Vec<String>, Vec<String>) {
    let last = lines.last().unwrap().token();
    let all: BTreeSet<String> = lines.iter().map(|l| l.token()).collect();
    let request = recorded_request(lines[0]);
    let (mut seen, mut found): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for _ in 0..20_000 {
        let response = send(cluster, &request).unwrap();
        let token = token_of(&response);
        if seen.last() != Some(&token) {
            if let Some(line) = lines.iter().find(|l| l.token() == token && l.entry.get("body").is_some()) {
                let ends = |text: &String| text.ends_with("parts, not 1") || text.contains(" parts, not ");
                found.extend(compare_response(line, Some(&response)).into_iter().filter(|text| !ends(text)));
            }
            seen.push(token.clone());
        }
        if token == last && all.iter().all(|token| seen.contains(token)) {
            return (seen, found);
        }
        cluster.pass(Duration::from_millis(5));
    }
    found.push(format!("never became {last}: {seen:?}"));
    (seen, found)
}

fn steps(states: &[String]) -> BTreeSet<(String, String)> {
    states
        .windows(2)
        .filter(|pair| pair[0] != pair[1])
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect()
}

#[test]
fn responses_match_the_recording_of_8_6_0_on_opensearch() {
    replay(
        include_str!("../../data/transcripts/8.6.0-opensearch.jsonl"),
        Config::named("recorded"),
        meanwhile,
        400,
    );
}

#[test]
fn responses_match_the_recording_of_8_5_8_on_elasticsearch() {
    let config = Config {
        version: "8.5.8".parse().unwrap(),
        storage: Storage::Elasticsearch,
        ..Config::named("recorded")
    };
    replay(include_str!("../../data/transcripts/8.5.8-elasticsearch.jsonl"), config, meanwhile_8_5, 90);
}

fn replay(text: &str, config: Config, meanwhile: fn(&mut Cluster, &str, usize), at_least: usize) {
    let config = Config {
        timing: Timing { part_gap: Duration::from_millis(33), ..Timing::default() },
        load: Load { per_second: 5.0, initial: 20 },
        ..config
    };
    let mut cluster = Cluster::new(config, Utc.with_ymd_and_hms(2026, 11, 23, 5, 59, 0).unwrap());
    // The recording begins with an existing backup 100 and an empty archive of Tasklist.
    for app in [App::Operate, App::Tasklist] {
        cluster.begin_app_backup(app, 100).unwrap();
    }
    cluster.begin_zeebe_backup(100, None).unwrap();
    cluster.pass(Duration::from_secs(30));

    let lines = transcript(text);
    // The recorded successions of states, over all polls of one component.
    let mut recorded_steps: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    let mut polls: BTreeMap<(String, String, usize), Vec<&Line>> = BTreeMap::new();
    let mut series: BTreeMap<(String, String), (usize, i64)> = BTreeMap::new();
    let mut series_of = Vec::new();
    for line in &lines {
        let number = line.entry["poll"].as_i64().unwrap_or(0);
        let (current, last) = series.entry((line.scenario.clone(), line.path())).or_default();
        if line.is_poll() {
            *current += usize::from(number <= *last);
            *last = number;
            polls.entry((line.scenario.clone(), line.path(), *current)).or_default().push(line);
        }
        series_of.push(*current);
    }
    for lines in polls.values() {
        let tokens: Vec<String> = lines.iter().map(|l| l.token()).collect();
        recorded_steps.entry(lines[0].text("component").into()).or_default().extend(steps(&tokens));
    }

    // Also recorded, in "zeebe delete while running", but not by polls.
    let broker = recorded_steps.entry("broker".into()).or_default();
    broker.insert(("404".into(), "INCOMPLETE".into()));
    broker.insert(("INCOMPLETE".into(), "IN_PROGRESS".into()));
    // Its beginning is in one request, its end in another.
    recorded_steps.entry("search".into()).or_default().insert(("IN_PROGRESS".into(), "SUCCESS".into()));

    let (mut found, mut compared, mut polled) = (Vec::new(), 0, BTreeSet::new());
    let mut last_ms = 0;
    for (line, series) in lines.iter().zip(series_of) {
        let ms = line.entry["ms"].as_i64().unwrap();
        if !line.is_poll() {
            let passed =
                TimeDelta::milliseconds(ms - last_ms).clamp(TimeDelta::zero(), TimeDelta::seconds(10));
            cluster.advance(cluster.now() + passed);
        }
        last_ms = ms;
        meanwhile(&mut cluster, &line.scenario, line.nth);
        let exchange = format!("{} #{}: {} {}", line.scenario, line.nth, line.text("method"), line.path());
        if line.is_poll() {
            let series = (line.scenario.clone(), line.path(), series);
            if polled.insert(series.clone()) {
                let of_path = &polls[&series];
                let (seen, differences) = poll(&mut cluster, of_path);
                found.extend(differences.into_iter().map(|text| format!("{exchange}: {text}")));
                let known = &recorded_steps[line.text("component")];
                let unheard: Vec<_> = steps(&seen).into_iter().filter(|step| !known.contains(step)).collect();
                if !unheard.is_empty() {
                    found.push(format!("{exchange}: never recorded: {unheard:?} in {seen:?}"));
                }
                compared += of_path.len();
            }
            continue;
        }
        let response = send(&mut cluster, &recorded_request(line));
        found.extend(
            compare_response(line, response.as_ref()).into_iter().map(|text| format!("{exchange}: {text}")),
        );
        compared += 1;
    }
    assert!(found.is_empty(), "{} differences in {compared}:\n{}", found.len(), found.join("\n"));
    assert!(compared > at_least, "only {compared} were compared");
}
