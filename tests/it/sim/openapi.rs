//! What the simulated cluster answers has the fields, types and words that Camunda's published OpenAPI documents ask
//! for. `openapi/*.json` are the facts of those documents, in short: which status has which shape, and what the
//! shapes are made of. For families that could not be recorded this stands in for a transcript.

use super::story::{Story, body_of};
use camunda_backupd::clients::Method;
use camunda_backupd::sim::{Config, Storage};
use chrono::DateTime;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

struct Document {
    facts: Value,
    base: &'static str,
    /// Which answers were seen, as `POST /backups/runtime 202`.
    seen: BTreeSet<String>,
}

impl Document {
    fn of(text: &str, base: &'static str) -> Self {
        Self { facts: serde_json::from_str(text).unwrap(), base, seen: BTreeSet::new() }
    }

    /// Sends a request and holds the answer against the document.
    async fn ask(&mut self, story: &Story, method: Method, path: &str, json: Option<Value>) -> (u16, Value) {
        let answer = story.try_send(method, &format!("{}{path}", self.base), json).await.unwrap();
        let verb = format!("{method:?}").to_uppercase();
        let path = path.split('?').next().unwrap();
        let template: Vec<&str> = path
            .split('/')
            .map(|segment| match segment {
                id if id.parse::<i64>().is_ok() => "{id}",
                uuid if uuid.len() == 36 => "{uuid}",
                other => other,
            })
            .collect();
        let operation = format!("{verb} {}", template.join("/"));
        let status = answer.status.to_string();
        let Some(shape) = self.facts["answers"][&operation][&status].as_str() else {
            panic!("{operation} never answers {status}: {}", String::from_utf8_lossy(&answer.body));
        };
        self.seen.insert(format!("{operation} {status}"));
        if shape.is_empty() {
            assert_eq!(answer.body.len(), 0, "{operation} {status} has no body");
            return (answer.status, Value::Null);
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        let mut found = Vec::new();
        self.check(&body, shape, "", &mut found);
        assert!(found.is_empty(), "{operation} {status}: {found:?} in {body}");
        (answer.status, body)
    }

    fn check(&self, value: &Value, kind: &str, place: &str, found: &mut Vec<String>) {
        if let Some(kind) = kind.strip_suffix('?') {
            if !value.is_null() {
                self.check(value, kind, place, found);
            }
            return;
        }
        if let Some(item) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
            match value.as_array() {
                Some(items) => {
                    for value in items {
                        self.check(value, item, &format!("{place}[]"), found);
                    }
                }
                None => found.push(format!("{place} is no list")),
            }
            return;
        }
        let good = match kind {
            "id" => value.as_i64().is_some_and(|id| id > 0),
            "int" => value.is_i64() || value.is_u64(),
            "text" => value.is_string(),
            "time" => value.as_str().is_some_and(|text| DateTime::parse_from_rfc3339(text).is_ok()),
            word if self.facts["words"].get(word).is_some() => {
                self.facts["words"][word].as_array().unwrap().contains(value)
            }
            shape => {
                let fields = self.facts["shapes"][shape].as_object().unwrap_or_else(|| panic!("{shape}"));
                for (name, kind) in fields {
                    match value.get(name) {
                        Some(field) => {
                            self.check(field, kind.as_str().unwrap(), &format!("{place}.{name}"), found);
                        }
                        None => found.push(format!("{place}.{name} is missing")),
                    }
                }
                return;
            }
        };
        if !good {
            found.push(format!("{place} is {value}, no {kind}"));
        }
    }
}

fn story(version: &str) -> Story {
    Story::of(Config { version: version.parse().unwrap(), ..Config::named("orders") })
}

const REST: &str = include_str!("../../data/openapi/rest-8.10.json");
const ACTUATOR: &str = include_str!("../../data/openapi/actuator-8.8.json");
const ADMINISTRATION: &str = include_str!("../../data/openapi/administration-1.3.3.json");

#[tokio::test(start_paused = true)]
async fn the_rest_api_of_8_10_answers_as_published() {
    let (story, mut api) = (story("8.10.0"), Document::of(REST, "/rest/v2"));
    for waited in [0, 15] {
        story.arm("now.no-leader=15s");
        story.clock.sleep(Duration::from_secs(waited)).await;
        assert_eq!(api.ask(&story, Method::Get, "/topology", None).await.0, 200);
        assert_eq!(api.ask(&story, Method::Get, "/status", None).await.0, 204);
    }
    let runtime = "/backups/runtime";
    assert_eq!(api.ask(&story, Method::Post, runtime, body_of(7)).await, (202, json!({"backupId": 7})));
    for _ in 0..40 {
        // Whatever state it is in.
        api.ask(&story, Method::Get, runtime, None).await;
        api.ask(&story, Method::Get, &format!("{runtime}/7"), None).await;
        story.clock.sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(api.ask(&story, Method::Get, &format!("{runtime}/7"), None).await.1["state"], "COMPLETED");
    assert_eq!(api.ask(&story, Method::Post, runtime, body_of(7)).await.0, 409);
    assert_eq!(api.ask(&story, Method::Post, runtime, None).await.0, 400, "an id is needed");
    story.arm("zeebe.fail, zeebe.scaling+1");
    assert_eq!(api.ask(&story, Method::Post, runtime, body_of(8)).await.0, 202);
    let (_, refused) = api.ask(&story, Method::Post, runtime, body_of(9)).await;
    assert!(refused["detail"].as_str().unwrap().contains("scaling"), "{refused}");
    story.wait(&format!("/rest/v2{runtime}/8"), "FAILED").await;
    api.ask(&story, Method::Get, &format!("{runtime}/8"), None).await;
    let (_, state) = api.ask(&story, Method::Get, &format!("{runtime}/state"), None).await;
    assert_eq!(state["backupStates"][0]["checkpointId"], 7);
    assert_eq!(state["checkpointStates"][0]["checkpointId"], 8);
    api.ask(&story, Method::Post, &format!("{runtime}/state/sync"), None).await;
    assert_eq!(
        api.ask(&story, Method::Get, &format!("{runtime}?prefix=8*"), None).await.1.as_array().unwrap().len(),
        1
    );
    assert_eq!(api.ask(&story, Method::Get, &format!("{runtime}?prefix=eight"), None).await.0, 400);
    assert_eq!(api.ask(&story, Method::Delete, &format!("{runtime}/7"), None).await.0, 204);
    assert_eq!(api.ask(&story, Method::Get, &format!("{runtime}/7"), None).await.1["state"], "DELETED");
    story.wait(&format!("/rest/v2{runtime}/7"), "404").await;
    assert_eq!(api.ask(&story, Method::Get, &format!("{runtime}/7"), None).await.0, 404);

    let history = "/backups/history";
    assert_eq!(api.ask(&story, Method::Post, history, body_of(7)).await.0, 202);
    assert_eq!(api.ask(&story, Method::Post, history, body_of(8)).await.0, 409, "one is running");
    for _ in 0..60 {
        api.ask(&story, Method::Get, history, None).await;
        api.ask(&story, Method::Get, &format!("{history}?verbose=false&prefix=7*"), None).await;
        api.ask(&story, Method::Get, &format!("{history}/7"), None).await;
        story.clock.sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(api.ask(&story, Method::Get, &format!("{history}/7"), None).await.1["state"], "COMPLETED");
    assert_eq!(api.ask(&story, Method::Post, history, body_of(7)).await.0, 409, "it is there");
    assert_eq!(api.ask(&story, Method::Post, history, Some(json!({}))).await.0, 400);
    assert_eq!(api.ask(&story, Method::Delete, &format!("{history}/7"), None).await.0, 204);
    assert_eq!(api.ask(&story, Method::Delete, &format!("{history}/9"), None).await.0, 404);

    for (verb, phase) in [("pause?soft=true", "SOFT_PAUSED"), ("resume", "EXPORTING"), ("pause", "PAUSED")] {
        assert_eq!(api.ask(&story, Method::Post, &format!("/exporting/{verb}"), None).await.0, 204);
        let (_, partitions) = story.get("/zeebe/actuator/partitions").await;
        assert_eq!(partitions["default"]["1"]["exporterPhase"], phase);
    }
    story.arm("pause.fail");
    assert_eq!(api.ask(&story, Method::Post, "/exporting/pause", None).await.0, 500);
    assert!(api.seen.len() > 20, "{:?}", api.seen);
}

#[tokio::test(start_paused = true)]
async fn whoever_may_not_ask_is_told_so_in_the_published_form_and_nothing_is_done() {
    let (story, mut api) = (story("8.10.0"), Document::of(REST, "/rest/v2"));
    for (fault, status) in [("rest.unauthorized", 401), ("rest.forbidden", 403)] {
        story.arm(fault);
        assert_eq!(api.ask(&story, Method::Post, "/exporting/pause", None).await.0, status);
        let (_, partitions) = story.get("/zeebe/actuator/partitions").await;
        assert_eq!(partitions["default"]["1"]["exporterPhase"], "EXPORTING");
        story.arm(fault);
        assert_eq!(api.ask(&story, Method::Post, "/backups/runtime", body_of(7)).await.0, status);
        story.arm(fault);
        assert_eq!(api.ask(&story, Method::Get, "/backups/history", None).await.0, status);
    }
    assert_eq!(api.ask(&story, Method::Get, "/backups/runtime", None).await.1, json!([]));
}

#[tokio::test(start_paused = true)]
async fn a_broken_store_and_an_absent_engine_have_published_answers_too() {
    let (story, mut api) = (story("8.10.0"), Document::of(REST, "/rest/v2"));
    for spec in ["now.store-down", "now.store-hung", "now.store-none"] {
        story.arm(spec);
        for (method, path) in [
            (Method::Get, "/backups/runtime"),
            (Method::Get, "/backups/runtime/state"),
            (Method::Delete, "/backups/runtime/7"),
        ] {
            let (status, _) = api.ask(&story, method, path, None).await;
            assert!(status >= 400, "{spec} {path}: {status}");
        }
    }
    assert_eq!(api.ask(&story, Method::Post, "/backups/runtime", body_of(7)).await.0, 400);
    story.arm("now.search-down=1h");
    assert_eq!(api.ask(&story, Method::Get, "/backups/history", None).await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn without_a_search_engine_the_history_is_forbidden() {
    let config = Config { storage: Storage::Rdbms, ..Config::named("orders") };
    let story = Story::of(Config { version: "8.10.0".parse().unwrap(), ..config });
    let mut api = Document::of(REST, "/rest/v2");
    let (status, body) = api.ask(&story, Method::Post, "/backups/history", body_of(7)).await;
    assert_eq!(status, 403);
    assert!(body["detail"].as_str().unwrap().contains("secondary storage"), "{body}");
    assert_eq!(story.get("/zeebe/actuator/backupHistory").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn the_actuators_since_8_8_answer_as_published() {
    for version in ["8.8.0", "8.9.0", "8.10.0"] {
        let (story, mut api) = (story(version), Document::of(ACTUATOR, "/zeebe/actuator"));
        for endpoint in ["/backupRuntime", "/backupHistory"] {
            assert!(api.ask(&story, Method::Post, endpoint, body_of(7)).await.0 < 300);
            for _ in 0..60 {
                api.ask(&story, Method::Get, endpoint, None).await;
                api.ask(&story, Method::Get, &format!("{endpoint}/7"), None).await;
                story.clock.sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(
                api.ask(&story, Method::Get, &format!("{endpoint}/7"), None).await.1["state"],
                "COMPLETED"
            );
            assert!(api.ask(&story, Method::Post, endpoint, body_of(7)).await.0 >= 400);
            assert_eq!(api.ask(&story, Method::Delete, &format!("{endpoint}/7"), None).await.0, 204);
        }
        assert!(api.seen.len() > 10, "{:?}", api.seen);
    }
}

#[tokio::test(start_paused = true)]
async fn the_administration_api_of_the_cloud_answers_as_published() {
    let config = Config { storage: Storage::Saas, ..Config::named("orders") };
    let cluster = format!("/clusters/{}", config.cluster_uuid());
    let (story, mut api) = (Story::of(config), Document::of(ADMINISTRATION, "/saas"));
    let backups = format!("{cluster}/backups");
    let unknown = "/clusters/00000000-0000-0000-0000-000000000000";
    for path in ["/clusters", &cluster] {
        assert_eq!(api.ask(&story, Method::Get, path, None).await.0, 200);
    }
    assert_eq!(api.ask(&story, Method::Get, unknown, None).await.0, 404);
    assert_eq!(api.ask(&story, Method::Post, &format!("{unknown}/backups"), None).await.0, 404);
    let (_, begun) = api.ask(&story, Method::Post, &backups, None).await;
    assert_eq!(
        (begun["status"].as_str(), begun["optimizeStatus"].as_str()),
        (Some("In progress"), Some("-"))
    );
    let one = format!("{backups}/{}", begun["uuid"].as_str().unwrap());
    let restore = format!("{one}/restore");
    assert_eq!(api.ask(&story, Method::Get, &restore, None).await.0, 404);
    assert_eq!(api.ask(&story, Method::Post, &restore, None).await.0, 409, "it is not complete");
    story.clock.sleep(Duration::from_mins(1)).await;
    let (_, listed) = api.ask(&story, Method::Get, &backups, None).await;
    assert_eq!(listed[0]["status"], "Complete");
    assert_eq!(api.ask(&story, Method::Post, &restore, None).await.1["state"], "PENDING");
    let mut states = BTreeSet::new();
    for _ in 0..60 {
        let (_, now) = api.ask(&story, Method::Get, &restore, None).await;
        states.insert(now["state"].as_str().unwrap().to_owned());
        story.clock.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(
        states.iter().map(String::as_str).collect::<Vec<_>>(),
        ["COMPLETED", "IN_PROGRESS", "PENDING", "VALIDATING"]
    );
    let schedule = format!("{backups}/schedule");
    assert_eq!(api.ask(&story, Method::Get, &schedule, None).await.0, 404);
    assert_eq!(api.ask(&story, Method::Put, &schedule, Some(json!({"schedule": "often"}))).await.0, 400);
    let (_, put) = api.ask(&story, Method::Put, &schedule, Some(json!({"schedule": "0 2 * * *"}))).await;
    assert_eq!(put["schedule"], "0 2 * * *");
    assert_eq!(api.ask(&story, Method::Get, &schedule, None).await.0, 200);
    for _ in 0..2 {
        assert_eq!(api.ask(&story, Method::Delete, &schedule, None).await.0, 204, "as often as one likes");
    }
    assert_eq!(api.ask(&story, Method::Delete, &one, None).await.0, 200);
    assert_eq!(api.ask(&story, Method::Delete, &one, None).await.0, 404);
    assert!(api.seen.len() > 14, "{:?}", api.seen);
}
