//! Responses of the simulated cluster have the fields, types and values of Camunda's published OpenAPI
//! documents. `openapi/*.json` hold the facts of those documents in short form: the shape for each status,
//! and the parts of each shape. These documents replace a transcript for families without a recording.

use super::scenario::{Scenario, body_of};
use camunda_backupd::camunda::Method;
use camunda_backupd::sim::{Config, Storage};
use chrono::DateTime;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

struct Document {
    facts: Value,
    base: &'static str,
    /// Responses seen, as `POST /backups/runtime 202`.
    seen: BTreeSet<String>,
}

impl Document {
    fn of(text: &str, base: &'static str) -> Self {
        Self { facts: serde_json::from_str(text).unwrap(), base, seen: BTreeSet::new() }
    }

    /// Sends a request and compares the response with the document.
    async fn request(
        &mut self,
        scenario: &Scenario,
        method: Method,
        path: &str,
        json: Option<Value>,
    ) -> (u16, Value) {
        let response = scenario.try_send(method, &format!("{}{path}", self.base), json).await.unwrap();
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
        let status = response.status.to_string();
        let Some(shape) = self.facts["answers"][&operation][&status].as_str() else {
            panic!("{operation} never answers {status}: {}", String::from_utf8_lossy(&response.body));
        };
        self.seen.insert(format!("{operation} {status}"));
        if shape.is_empty() {
            assert_eq!(response.body.len(), 0, "{operation} {status} has no body");
            return (response.status, Value::Null);
        }
        let body: Value = serde_json::from_slice(&response.body).unwrap();
        let mut found = Vec::new();
        self.check(&body, shape, "", &mut found);
        assert!(found.is_empty(), "{operation} {status}: {found:?} in {body}");
        (response.status, body)
    }

    fn check(&self, value: &Value, kind: &str, location: &str, found: &mut Vec<String>) {
        if let Some(kind) = kind.strip_suffix('?') {
            if !value.is_null() {
                self.check(value, kind, location, found);
            }
            return;
        }
        if let Some(item) = kind.strip_prefix('[').and_then(|kind| kind.strip_suffix(']')) {
            match value.as_array() {
                Some(items) => {
                    for value in items {
                        self.check(value, item, &format!("{location}[]"), found);
                    }
                }
                None => found.push(format!("{location} is no list")),
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
                            self.check(field, kind.as_str().unwrap(), &format!("{location}.{name}"), found);
                        }
                        None => found.push(format!("{location}.{name} is missing")),
                    }
                }
                return;
            }
        };
        if !good {
            found.push(format!("{location} is {value}, no {kind}"));
        }
    }
}

fn scenario(version: &str) -> Scenario {
    Scenario::of(Config { version: version.parse().unwrap(), ..Config::named("orders") })
}

const REST: &str = include_str!("../../data/openapi/rest-8.10.json");
const ACTUATOR: &str = include_str!("../../data/openapi/actuator-8.8.json");
const ADMINISTRATION: &str = include_str!("../../data/openapi/administration-1.3.3.json");

#[tokio::test(start_paused = true)]
async fn rest_api_of_8_10_matches_the_openapi_document() {
    let (scenario, mut api) = (scenario("8.10.0"), Document::of(REST, "/rest/v2"));
    for waited in [0, 15] {
        scenario.arm("now.no-leader=15s");
        scenario.clock.sleep(Duration::from_secs(waited)).await;
        assert_eq!(api.request(&scenario, Method::Get, "/topology", None).await.0, 200);
        assert_eq!(api.request(&scenario, Method::Get, "/status", None).await.0, 204);
    }
    let runtime = "/backups/runtime";
    assert_eq!(
        api.request(&scenario, Method::Post, runtime, body_of(7)).await,
        (202, json!({"backupId": 7}))
    );
    for _ in 0..40 {
        // Any state is valid.
        api.request(&scenario, Method::Get, runtime, None).await;
        api.request(&scenario, Method::Get, &format!("{runtime}/7"), None).await;
        scenario.clock.sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        api.request(&scenario, Method::Get, &format!("{runtime}/7"), None).await.1["state"],
        "COMPLETED"
    );
    assert_eq!(api.request(&scenario, Method::Post, runtime, body_of(7)).await.0, 409);
    assert_eq!(api.request(&scenario, Method::Post, runtime, None).await.0, 400, "an id is needed");
    scenario.arm("zeebe.fail, zeebe.scaling+1");
    assert_eq!(api.request(&scenario, Method::Post, runtime, body_of(8)).await.0, 202);
    let (_, refused) = api.request(&scenario, Method::Post, runtime, body_of(9)).await;
    assert!(refused["detail"].as_str().unwrap().contains("scaling"), "{refused}");
    scenario.wait(&format!("/rest/v2{runtime}/8"), "FAILED").await;
    api.request(&scenario, Method::Get, &format!("{runtime}/8"), None).await;
    let (_, state) = api.request(&scenario, Method::Get, &format!("{runtime}/state"), None).await;
    assert_eq!(state["backupStates"][0]["checkpointId"], 7);
    assert_eq!(state["checkpointStates"][0]["checkpointId"], 8);
    api.request(&scenario, Method::Post, &format!("{runtime}/state/sync"), None).await;
    assert_eq!(
        api.request(&scenario, Method::Get, &format!("{runtime}?prefix=8*"), None)
            .await
            .1
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(api.request(&scenario, Method::Get, &format!("{runtime}?prefix=eight"), None).await.0, 400);
    assert_eq!(api.request(&scenario, Method::Delete, &format!("{runtime}/7"), None).await.0, 204);
    assert_eq!(
        api.request(&scenario, Method::Get, &format!("{runtime}/7"), None).await.1["state"],
        "DELETED"
    );
    scenario.wait(&format!("/rest/v2{runtime}/7"), "404").await;
    assert_eq!(api.request(&scenario, Method::Get, &format!("{runtime}/7"), None).await.0, 404);

    let history = "/backups/history";
    assert_eq!(api.request(&scenario, Method::Post, history, body_of(7)).await.0, 202);
    assert_eq!(api.request(&scenario, Method::Post, history, body_of(8)).await.0, 409, "one is running");
    for _ in 0..60 {
        api.request(&scenario, Method::Get, history, None).await;
        api.request(&scenario, Method::Get, &format!("{history}?verbose=false&prefix=7*"), None).await;
        api.request(&scenario, Method::Get, &format!("{history}/7"), None).await;
        scenario.clock.sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        api.request(&scenario, Method::Get, &format!("{history}/7"), None).await.1["state"],
        "COMPLETED"
    );
    assert_eq!(
        api.request(&scenario, Method::Post, history, body_of(7)).await.0,
        409,
        "the backup exists already"
    );
    assert_eq!(api.request(&scenario, Method::Post, history, Some(json!({}))).await.0, 400);
    assert_eq!(api.request(&scenario, Method::Delete, &format!("{history}/7"), None).await.0, 204);
    assert_eq!(api.request(&scenario, Method::Delete, &format!("{history}/9"), None).await.0, 404);

    for (verb, phase) in [("pause?soft=true", "SOFT_PAUSED"), ("resume", "EXPORTING"), ("pause", "PAUSED")] {
        assert_eq!(api.request(&scenario, Method::Post, &format!("/exporting/{verb}"), None).await.0, 204);
        let (_, partitions) = scenario.get("/zeebe/actuator/partitions").await;
        assert_eq!(partitions["default"]["1"]["exporterPhase"], phase);
    }
    scenario.arm("pause.fail");
    assert_eq!(api.request(&scenario, Method::Post, "/exporting/pause", None).await.0, 500);
    assert!(api.seen.len() > 20, "{:?}", api.seen);
}

#[tokio::test(start_paused = true)]
async fn unauthorized_request_returns_the_published_error_and_changes_nothing() {
    let (scenario, mut api) = (scenario("8.10.0"), Document::of(REST, "/rest/v2"));
    for (fault, status) in [("rest.unauthorized", 401), ("rest.forbidden", 403)] {
        scenario.arm(fault);
        assert_eq!(api.request(&scenario, Method::Post, "/exporting/pause", None).await.0, status);
        let (_, partitions) = scenario.get("/zeebe/actuator/partitions").await;
        assert_eq!(partitions["default"]["1"]["exporterPhase"], "EXPORTING");
        scenario.arm(fault);
        assert_eq!(api.request(&scenario, Method::Post, "/backups/runtime", body_of(7)).await.0, status);
        scenario.arm(fault);
        assert_eq!(api.request(&scenario, Method::Get, "/backups/history", None).await.0, status);
    }
    assert_eq!(api.request(&scenario, Method::Get, "/backups/runtime", None).await.1, json!([]));
}

#[tokio::test(start_paused = true)]
async fn broken_store_and_unreachable_engine_match_the_openapi_document() {
    let (scenario, mut api) = (scenario("8.10.0"), Document::of(REST, "/rest/v2"));
    for spec in ["now.store-down", "now.store-hung", "now.store-none"] {
        scenario.arm(spec);
        for (method, path) in [
            (Method::Get, "/backups/runtime"),
            (Method::Get, "/backups/runtime/state"),
            (Method::Delete, "/backups/runtime/7"),
        ] {
            let (status, _) = api.request(&scenario, method, path, None).await;
            assert!(status >= 400, "{spec} {path}: {status}");
        }
    }
    assert_eq!(api.request(&scenario, Method::Post, "/backups/runtime", body_of(7)).await.0, 400);
    scenario.arm("now.search-down=1h");
    assert_eq!(api.request(&scenario, Method::Get, "/backups/history", None).await.0, 503);
}

#[tokio::test(start_paused = true)]
async fn history_is_forbidden_without_a_search_engine() {
    let config = Config { storage: Storage::Rdbms, ..Config::named("orders") };
    let scenario = Scenario::of(Config { version: "8.10.0".parse().unwrap(), ..config });
    let mut api = Document::of(REST, "/rest/v2");
    let (status, body) = api.request(&scenario, Method::Post, "/backups/history", body_of(7)).await;
    assert_eq!(status, 403);
    assert!(body["detail"].as_str().unwrap().contains("secondary storage"), "{body}");
    assert_eq!(scenario.get("/zeebe/actuator/backupHistory").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn actuators_since_8_8_match_the_openapi_document() {
    for version in ["8.8.0", "8.9.0", "8.10.0"] {
        let (scenario, mut api) = (scenario(version), Document::of(ACTUATOR, "/zeebe/actuator"));
        for endpoint in ["/backupRuntime", "/backupHistory"] {
            assert!(api.request(&scenario, Method::Post, endpoint, body_of(7)).await.0 < 300);
            for _ in 0..60 {
                api.request(&scenario, Method::Get, endpoint, None).await;
                api.request(&scenario, Method::Get, &format!("{endpoint}/7"), None).await;
                scenario.clock.sleep(Duration::from_millis(20)).await;
            }
            assert_eq!(
                api.request(&scenario, Method::Get, &format!("{endpoint}/7"), None).await.1["state"],
                "COMPLETED"
            );
            assert!(api.request(&scenario, Method::Post, endpoint, body_of(7)).await.0 >= 400);
            assert_eq!(api.request(&scenario, Method::Delete, &format!("{endpoint}/7"), None).await.0, 204);
        }
        assert!(api.seen.len() > 10, "{:?}", api.seen);
    }
}

#[tokio::test(start_paused = true)]
async fn saas_administration_api_matches_the_openapi_document() {
    let config = Config { storage: Storage::Saas, ..Config::named("orders") };
    let cluster = format!("/clusters/{}", config.cluster_uuid());
    let (scenario, mut api) = (Scenario::of(config), Document::of(ADMINISTRATION, "/saas"));
    let backups = format!("{cluster}/backups");
    let unknown = "/clusters/00000000-0000-0000-0000-000000000000";
    for path in ["/clusters", &cluster] {
        assert_eq!(api.request(&scenario, Method::Get, path, None).await.0, 200);
    }
    assert_eq!(api.request(&scenario, Method::Get, unknown, None).await.0, 404);
    assert_eq!(api.request(&scenario, Method::Post, &format!("{unknown}/backups"), None).await.0, 404);
    let (_, begun) = api.request(&scenario, Method::Post, &backups, None).await;
    assert_eq!(
        (begun["status"].as_str(), begun["optimizeStatus"].as_str()),
        (Some("In progress"), Some("-"))
    );
    let one = format!("{backups}/{}", begun["uuid"].as_str().unwrap());
    let restore = format!("{one}/restore");
    assert_eq!(api.request(&scenario, Method::Get, &restore, None).await.0, 404);
    assert_eq!(
        api.request(&scenario, Method::Post, &restore, None).await.0,
        409,
        "the backup is not complete"
    );
    scenario.clock.sleep(Duration::from_mins(1)).await;
    let (_, listed) = api.request(&scenario, Method::Get, &backups, None).await;
    assert_eq!(listed[0]["status"], "Complete");
    assert_eq!(api.request(&scenario, Method::Post, &restore, None).await.1["state"], "PENDING");
    let mut states = BTreeSet::new();
    for _ in 0..60 {
        let (_, now) = api.request(&scenario, Method::Get, &restore, None).await;
        states.insert(now["state"].as_str().unwrap().to_owned());
        scenario.clock.sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(
        states.iter().map(String::as_str).collect::<Vec<_>>(),
        ["COMPLETED", "IN_PROGRESS", "PENDING", "VALIDATING"]
    );
    let schedule = format!("{backups}/schedule");
    assert_eq!(api.request(&scenario, Method::Get, &schedule, None).await.0, 404);
    assert_eq!(
        api.request(&scenario, Method::Put, &schedule, Some(json!({"schedule": "often"}))).await.0,
        400
    );
    let (_, put) =
        api.request(&scenario, Method::Put, &schedule, Some(json!({"schedule": "0 2 * * *"}))).await;
    assert_eq!(put["schedule"], "0 2 * * *");
    assert_eq!(api.request(&scenario, Method::Get, &schedule, None).await.0, 200);
    for _ in 0..2 {
        assert_eq!(
            api.request(&scenario, Method::Delete, &schedule, None).await.0,
            204,
            "as often as one likes"
        );
    }
    assert_eq!(api.request(&scenario, Method::Delete, &one, None).await.0, 200);
    assert_eq!(api.request(&scenario, Method::Delete, &one, None).await.0, 404);
    assert!(api.seen.len() > 14, "{:?}", api.seen);
}
