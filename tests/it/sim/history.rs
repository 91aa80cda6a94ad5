//! A simulated cluster of 8.8 and later responds as documented: one process, one history, no Operate, no
//! Tasklist.

use super::scenario::{Scenario, body_of};
use camunda_backupd::camunda::{Method, TransportError};
use camunda_backupd::sim::{Config, Storage, locked};
use serde_json::{Value, json};
use std::time::Duration;

fn scenario(version: &str) -> Scenario {
    Scenario::of(config(version))
}

fn config(version: &str) -> Config {
    Config { version: version.parse().unwrap(), ..Config::named("orders") }
}

const HISTORY: &str = "/zeebe/actuator/backupHistory";
const RUNTIME: &str = "/zeebe/actuator/backupRuntime";

#[tokio::test(start_paused = true)]
async fn complete_manual_backup_restores_without_loss() {
    for version in ["8.8.0", "8.9.0", "8.10.0"] {
        let scenario = scenario(version);
        scenario.post("/zeebe/actuator/exporting/pause?soft=true", None).await;
        let (status, body) = scenario.post(HISTORY, body_of(7)).await;
        let parts = if version == "8.8.0" { 6 } else { 7 };
        assert_eq!((status, body["scheduledSnapshots"].as_array().map(Vec::len)), (200, Some(parts)));
        assert_eq!(body["scheduledSnapshots"][0], format!("camunda_webapps_7_{version}_part_1_of_{parts}"));
        assert_eq!(
            scenario.wait(&format!("{HISTORY}/7"), "COMPLETED").await,
            ["404", "IN_PROGRESS", "COMPLETED"]
        );
        assert_eq!(scenario.post(RUNTIME, body_of(7)).await.0, 202);
        scenario.wait(&format!("{RUNTIME}/7"), "COMPLETED").await;
        scenario.post("/zeebe/actuator/exporting/resume", None).await;
        let restored = locked(&scenario.cluster).restore(7);
        assert!(restored.is_whole() && restored.started_in_window > 0, "{version}: {restored:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn actuator_index_lists_exactly_the_existing_endpoints() {
    let links =
        |body: &Value| -> Vec<String> { body["_links"].as_object().unwrap().keys().cloned().collect() };
    let new = scenario("8.8.0");
    let listed = links(&new.get("/zeebe/actuator").await.1);
    assert!(
        listed.contains(&"backupRuntime".into()) && listed.contains(&"backupHistory".into()),
        "{listed:?}"
    );
    assert!(!listed.contains(&"backups".into()), "{listed:?}");
    assert_eq!(new.get("/zeebe/actuator/backups").await.0, 404);
    let old = scenario("8.7.0");
    let listed = links(&old.get("/zeebe/actuator").await.1);
    assert!(listed.contains(&"backups".into()) && !listed.contains(&"backupRuntime".into()), "{listed:?}");
    assert_eq!((old.get(RUNTIME).await.0, old.get(HISTORY).await.0), (404, 404));
}

#[tokio::test(start_paused = true)]
async fn operate_and_tasklist_have_no_own_address_since_8_8() {
    let scenario = scenario("8.8.0");
    for part in ["operate", "tasklist", "optimize"] {
        let refused = scenario.try_send(Method::Get, &format!("/{part}/actuator/backups"), None).await;
        assert!(matches!(refused, Err(TransportError::NotSent(_))), "{part}: {refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn existing_id_or_running_backup_is_rejected() {
    let scenario = scenario("8.8.0");
    scenario.post(HISTORY, body_of(7)).await;
    let (status, body) = scenario.post(HISTORY, body_of(8)).await;
    assert_eq!((status, body["message"].as_str()), (400, Some("Another backup is running at the moment")));
    scenario.wait(&format!("{HISTORY}/7"), "COMPLETED").await;
    let (status, body) = scenario.post(HISTORY, body_of(7)).await;
    assert_eq!(status, 400);
    assert!(body["message"].as_str().unwrap().starts_with("A backup with ID [7] already exists."), "{body}");
    assert_eq!(scenario.post(HISTORY, Some(json!({}))).await.0, 400);
    assert_eq!(scenario.get(&format!("{HISTORY}/99")).await.0, 404);
    assert_eq!(scenario.send(Method::Delete, &format!("{HISTORY}/99"), None).await.0, 404);
    assert_eq!(scenario.send(Method::Delete, &format!("{HISTORY}/7"), None).await.0, 204);
    assert_eq!(
        scenario.get(&format!("{HISTORY}/7")).await.1["state"],
        "COMPLETED",
        "the deletion is asynchronous"
    );
    scenario.wait(&format!("{HISTORY}/7"), "404").await;
}

#[tokio::test(start_paused = true)]
async fn list_filters_by_pattern_and_omits_details_unless_verbose() {
    let scenario = scenario("8.8.0");
    for id in [171, 172, 18] {
        scenario.post(HISTORY, body_of(id)).await;
        scenario.wait(&format!("{HISTORY}/{id}"), "COMPLETED").await;
    }
    let ids = |body: &Value| -> Vec<i64> {
        body.as_array().unwrap().iter().map(|b| b["backupId"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids(&scenario.get(HISTORY).await.1), [18, 172, 171]);
    let (_, body) = scenario.get(&format!("{HISTORY}?pattern=17*&verbose=false")).await;
    assert_eq!(ids(&body), [172, 171]);
    assert_ne!(body[0]["state"], "COMPLETED");
    assert_eq!(body[0]["details"][0]["state"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn failures_are_null_on_one_engine_and_time_offsets_have_no_colon() {
    for (storage, failures) in [(Storage::OpenSearch, Value::Null), (Storage::Elasticsearch, json!([]))] {
        let scenario = Scenario::of(Config { storage, ..config("8.8.0") });
        scenario.post(HISTORY, body_of(7)).await;
        scenario.wait(&format!("{HISTORY}/7"), "COMPLETED").await;
        let (_, body) = scenario.get(&format!("{HISTORY}/7")).await;
        assert_eq!(body["details"][0]["failures"], failures);
        assert!(body["details"][0]["startTime"].as_str().unwrap().ends_with("+0000"), "{body}");
    }
}

#[tokio::test(start_paused = true)]
async fn history_with_lost_queue_is_in_progress_then_incomplete() {
    let scenario = scenario("8.8.0");
    scenario.post(HISTORY, body_of(7)).await;
    scenario.wait(&format!("{HISTORY}/7"), "IN_PROGRESS").await;
    scenario.arm("now.broker-restart=1s");
    scenario.clock.sleep(Duration::from_mins(2)).await;
    let (_, body) = scenario.get(&format!("{HISTORY}/7")).await;
    assert_eq!(body["state"], "IN_PROGRESS", "{body}");
    assert!(body["details"].as_array().unwrap().len() < 6);
    scenario.clock.sleep(Duration::from_mins(4)).await;
    assert_eq!(scenario.get(&format!("{HISTORY}/7")).await.1["state"], "INCOMPLETE");
    scenario.clock.sleep(Duration::from_hours(24)).await;
    assert_eq!(scenario.get(&format!("{HISTORY}/7")).await.1["state"], "INCOMPLETE");
}

#[tokio::test(start_paused = true)]
async fn part_without_a_shard_fails_the_backup() {
    let scenario = scenario("8.8.0");
    scenario.arm("history.failed-shard");
    scenario.post(HISTORY, body_of(7)).await;
    scenario.wait(&format!("{HISTORY}/7"), "FAILED").await;
    let (_, body) = scenario.get(&format!("{HISTORY}/7")).await;
    assert!(body["failureReason"].as_str().unwrap().contains("part_4_of_6"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn missing_repository_and_unreachable_engine_return_distinct_errors() {
    let scenario = scenario("8.8.0");
    scenario.send(Method::Delete, "/search/_snapshot/camunda", None).await;
    assert_eq!((scenario.post(HISTORY, body_of(7)).await.0, scenario.get(HISTORY).await.0), (404, 404));
    scenario.arm("now.search-down=1h");
    assert_eq!((scenario.post(HISTORY, body_of(7)).await.0, scenario.get(HISTORY).await.0), (502, 502));
}
