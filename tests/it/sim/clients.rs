//! The simulated cluster executes the commands and searches of process clients, loses its data and is
//! restored.

use super::scenario::{Scenario, body_of};
use camunda_backupd::camunda::Method;
use camunda_backupd::sim::wire::WireRequest;
use camunda_backupd::sim::{Config, Load, locked};
use serde_json::{Value, json};
use std::time::Duration;

fn quiet() -> Config {
    Config { load: Load { per_second: 0.0, initial: 0 }, ..Config::named("orders") }
}

/// A request below `/sim/`; only a socket serves these routes.
fn control(scenario: &Scenario, path: &str, body: &Value) -> (u16, Value) {
    let request = WireRequest {
        method: Method::Post,
        path: path.to_owned(),
        query: String::new(),
        content_type: None,
        authorization: None,
        body: body.to_string().into_bytes(),
    };
    let response = locked(&scenario.cluster).control(scenario.clock.now(), &request);
    (response.status, serde_json::from_slice(&response.body).unwrap())
}

async fn start(scenario: &Scenario, path: &str) -> u64 {
    let body = json!({"processDefinitionId": "order", "variables": {"path": path}});
    let (status, body) = scenario.post("/rest/v2/process-instances", Some(body)).await;
    assert_eq!(status, 200, "{body}");
    body["processInstanceKey"].as_u64().unwrap()
}

async fn activate(scenario: &Scenario, kind: &str) -> Vec<(u64, u64)> {
    let body = json!({"type": kind, "maxJobsToActivate": 10, "timeout": 5000});
    let (status, body) = scenario.post("/rest/v2/jobs/activation", Some(body)).await;
    assert_eq!(status, 200, "{body}");
    let key = |job: &Value, name: &str| job[name].as_u64().unwrap();
    body["jobs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|job| (key(job, "key"), key(job, "processInstanceKey")))
        .collect()
}

async fn command(scenario: &Scenario, path: &str) -> u16 {
    scenario.post(&format!("/rest/v2/{path}"), Some(json!({}))).await.0
}

/// Every matching document, as its requested fields, fetched page by page.
async fn search(
    scenario: &Scenario,
    indices: &str,
    query: Value,
    fields: &[&str],
    page: usize,
) -> Vec<Value> {
    let body = json!({"query": query, "docvalue_fields": fields});
    let (status, mut found) =
        scenario.post(&format!("/search/{indices}/_search?scroll=1m&size={page}"), Some(body)).await;
    let mut documents = Vec::new();
    loop {
        assert_eq!(status, 200, "{found}");
        let hits = found["hits"]["hits"].as_array().unwrap().clone();
        documents.extend(hits.iter().map(|hit| hit["fields"].clone()));
        if hits.len() < page {
            let (status, _) = scenario
                .send(
                    Method::Delete,
                    "/search/_search/scroll",
                    Some(json!({"scroll_id": found["_scroll_id"]})),
                )
                .await;
            assert_eq!(status, 200);
            return documents;
        }
        found =
            scenario.post("/search/_search/scroll", Some(json!({"scroll_id": found["_scroll_id"]}))).await.1;
    }
}

async fn count(scenario: &Scenario, indices: &str, query: Value) -> u64 {
    scenario.post(&format!("/search/{indices}/_count"), Some(json!({"query": query}))).await.1["count"]
        .as_u64()
        .unwrap()
}

async fn import(scenario: &Scenario) {
    scenario.clock.sleep(Duration::from_secs(2)).await;
    assert_eq!(scenario.post("/search/zeebe-record*/_refresh", None).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn client_instances_appear_exactly_once_in_documents() {
    let scenario = Scenario::of(quiet());
    let (review, parked, approve) = (
        start(&scenario, "review").await,
        start(&scenario, "parked").await,
        start(&scenario, "approve").await,
    );
    let cancelled = start(&scenario, "another").await;
    let jobs = activate(&scenario, "review").await;
    assert_eq!(jobs.iter().map(|(_, instance)| *instance).collect::<Vec<_>>(), [review]);
    assert_eq!(activate(&scenario, "review").await, [], "an activated job is not handed out again");
    scenario.clock.sleep(Duration::from_secs(6)).await;
    assert_eq!(activate(&scenario, "review").await, jobs, "until the activation has expired");
    let (job, _) = jobs[0];
    assert_eq!(
        command(&scenario, &format!("user-tasks/{job}/completion")).await,
        404,
        "the task is a job, not a user task"
    );
    assert_eq!(command(&scenario, &format!("jobs/{job}/completion")).await, 204);
    assert_eq!(command(&scenario, &format!("jobs/{job}/completion")).await, 404);
    assert_eq!(command(&scenario, &format!("process-instances/{cancelled}/cancellation")).await, 204);
    assert_eq!(command(&scenario, &format!("process-instances/{cancelled}/cancellation")).await, 404);
    import(&scenario).await;

    let tasks = search(
        &scenario,
        "tasklist-task-*",
        json!({"match_all": {}}),
        &["key", "processInstanceId", "state"],
        10,
    )
    .await;
    assert_eq!(tasks, [json!({"key": [approve + 1], "processInstanceId": [approve], "state": ["CREATED"]})]);
    assert_eq!(
        command(&scenario, &format!("jobs/{}/completion", approve + 1)).await,
        404,
        "it is a user task"
    );
    assert_eq!(command(&scenario, &format!("user-tasks/{}/completion", approve + 1)).await, 204);
    import(&scenario).await;
    assert_eq!(count(&scenario, "tasklist-task-*", json!({"term": {"state": "COMPLETED"}})).await, 1);

    let active = json!({"bool": {"filter": [{"term": {"joinRelation": "processInstance"}}, {"term": {"state": "ACTIVE"}}]}});
    let active = search(&scenario, "operate-list-view-*", active, &["key"], 1).await;
    assert_eq!(active, [json!({"key": [parked]})]);
    assert_eq!(count(&scenario, "operate-list-view-*", json!({"match_all": {}})).await, 4);
    let of_two = json!({"bool": {"filter": [
        {"terms": {"value.processInstanceKey": [review, parked]}}, {"term": {"value.bpmnElementType": "PROCESS"}},
    ]}});
    let records = search(&scenario, "zeebe-record*", of_two, &["intent", "valueType"], 2).await;
    let intents: Vec<&str> = records.iter().map(|record| record["intent"][0].as_str().unwrap()).collect();
    assert_eq!(intents.iter().filter(|intent| **intent == "ELEMENT_ACTIVATED").count(), 2, "{records:?}");
    assert_eq!(intents.iter().filter(|intent| **intent == "ELEMENT_COMPLETED").count(), 1, "{records:?}");
}

#[tokio::test(start_paused = true)]
async fn record_sequence_numbers_have_no_gap() {
    let scenario = Scenario::of(Config::named("orders"));
    import(&scenario).await;
    let fields = ["valueType", "partitionId", "sequence"];
    let records = search(&scenario, "zeebe-record*", json!({"match_all": {}}), &fields, 25).await;
    let mut numbers: std::collections::BTreeMap<(String, u64), Vec<u64>> = std::collections::BTreeMap::new();
    for record in &records {
        let partition = record["partitionId"][0].as_u64().unwrap();
        let sequence = record["sequence"][0].as_u64().unwrap() - (partition << 51);
        numbers.entry((record["valueType"][0].to_string(), partition)).or_default().push(sequence);
    }
    assert!(numbers.len() > 6 && records.len() > 100, "{}", records.len());
    for (kind, numbers) in numbers {
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "{kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn restore_after_total_loss_returns_the_backup() {
    let scenario = Scenario::of(quiet());
    let before = start(&scenario, "parked").await;
    import(&scenario).await;
    for app in ["operate", "tasklist"] {
        scenario.post(&format!("/{app}/actuator/backups"), body_of(7)).await;
        scenario.wait(&format!("/{app}/actuator/backups/7"), "COMPLETED").await;
    }
    let records = "/search/_snapshot/camunda/camunda_zeebe_records_backup_7?wait_for_completion=true";
    scenario.send(Method::Put, records, Some(json!({"indices": "zeebe-record*"}))).await;
    scenario.post("/zeebe/actuator/backups", body_of(7)).await;
    scenario.wait("/zeebe/actuator/backups/7", "COMPLETED").await;
    start(&scenario, "parked").await;

    let (status, state) = control(&scenario, "/sim/lose", &json!({}));
    assert_eq!((status, &state["instances"]["live"]), (200, &json!(0)));
    assert_eq!(activate(&scenario, "parked").await, []);
    assert_eq!(count(&scenario, "zeebe-record*,operate-*,tasklist-*", json!({"match_all": {}})).await, 0);

    assert_eq!(control(&scenario, "/sim/restore-in-place", &json!({"backup_id": 7})).0, 200);
    import(&scenario).await;
    let instances: Vec<u64> =
        activate(&scenario, "parked").await.into_iter().map(|(_, instance)| instance).collect();
    assert_eq!(instances, [before], "the restored state differs from the state at the backup");
    assert_eq!(count(&scenario, "operate-list-view-*", json!({"term": {"state": "ACTIVE"}})).await, 1);
}

#[tokio::test(start_paused = true)]
async fn background_load_is_adjustable() {
    let scenario = Scenario::of(Config::named("orders"));
    let records = || locked(&scenario.cluster).exported_records();
    assert_eq!(control(&scenario, "/sim/load", &json!({"per_second": 0})), (200, json!({"per_second": 0.0})));
    import(&scenario).await;
    let still = records();
    import(&scenario).await;
    assert_eq!(records(), still);
    for wrong in [json!({}), json!({"per_second": -1}), json!({"per_second": "x"})] {
        let error = json!({"error": "`per_second` must be a number of at least 0: send {\"per_second\": 0}"});
        assert_eq!(control(&scenario, "/sim/load", &wrong), (400, error), "{wrong}");
    }
    control(&scenario, "/sim/load", &json!({"per_second": 40}));
    import(&scenario).await;
    assert!(records() > still);
}
