//! Zeebe backups of 8.9 and later: generated ids, ranges, deleted backups, and their failures.

use super::scenario::{Scenario, body_of};
use camunda_backupd::camunda::{Method, TransportError};
use camunda_backupd::sim::{Config, Storage, locked};
use serde_json::{Value, json};
use std::time::Duration;

const RUNTIME: &str = "/zeebe/actuator/backupRuntime";

fn config(version: &str) -> Config {
    Config { version: version.parse().unwrap(), ..Config::named("orders") }
}

fn scenario(version: &str) -> Scenario {
    Scenario::of(config(version))
}

fn ids(list: &Value) -> Vec<i64> {
    list.as_array().unwrap().iter().map(|backup| backup["backupId"].as_i64().unwrap()).collect()
}

async fn taken(scenario: &Scenario, id: i64) {
    assert_eq!(scenario.post(RUNTIME, body_of(id)).await.0, 202);
    scenario.wait(&format!("{RUNTIME}/{id}"), "COMPLETED").await;
}

#[tokio::test(start_paused = true)]
async fn brokers_with_generated_ids_use_milliseconds_and_reject_a_requested_id() {
    for (storage, continuous, scheduler) in [
        (Storage::Rdbms, true, None),
        (Storage::Elasticsearch, true, None),
        (Storage::OpenSearch, false, Some(Duration::from_hours(1))),
    ] {
        let scenario = Scenario::of(Config { storage, continuous, scheduler, ..config("8.9.0") });
        let (status, body) = scenario.post(RUNTIME, body_of(1_900_000_000)).await;
        assert_eq!(status, 400);
        assert!(body["message"].as_str().unwrap().contains("must not be provided"), "{body}");
        let requested = scenario.clock.now().timestamp_millis();
        let (status, body) = scenario.post(RUNTIME, None).await;
        let id = body["backupId"].as_i64().unwrap();
        assert_eq!((status, id), (202, requested));
        scenario.wait(&format!("{RUNTIME}/{id}"), "COMPLETED").await;
    }
}

#[tokio::test(start_paused = true)]
async fn brokers_without_generated_ids_require_an_id() {
    let scenario = scenario("8.9.0");
    let (status, body) = scenario.post(RUNTIME, None).await;
    assert_eq!(
        (status, body["message"].as_str()),
        (400, Some("A backupId must be provided and it must be > 0"))
    );
    let (status, body) = scenario.post(RUNTIME, body_of(7)).await;
    assert_eq!((status, body["backupId"].as_i64()), (202, Some(7)));
}

#[tokio::test(start_paused = true)]
async fn id_in_seconds_is_rejected_after_an_id_in_milliseconds() {
    let scenario = scenario("8.9.0");
    taken(&scenario, 1_772_011_199_310).await;
    let (status, body) = scenario.post(RUNTIME, body_of(1_772_011_200)).await;
    assert_eq!(status, 409);
    assert!(body["message"].as_str().unwrap().contains("1772011199310"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn broker_scheduler_takes_backups_without_requests() {
    let hour = Duration::from_hours(1);
    let scenario = Scenario::of(Config { scheduler: Some(hour), ..config("8.9.0") });
    scenario.clock.sleep(hour * 3 + Duration::from_mins(1)).await;
    let (_, list) = scenario.get(RUNTIME).await;
    assert_eq!(ids(&list).len(), 3);
    let (_, state) = scenario.get(&format!("{RUNTIME}/state")).await;
    assert_eq!(state["checkpointStates"][0]["checkpointType"], "SCHEDULED_BACKUP");
}

#[tokio::test(start_paused = true)]
async fn list_filters_by_id_prefix_since_8_9() {
    let (new, old) = (scenario("8.9.0"), scenario("8.8.0"));
    for id in [99, 101, 102] {
        taken(&new, id).await;
        taken(&old, id).await;
    }
    assert_eq!(ids(&new.get(RUNTIME).await.1), [102, 101, 99]);
    assert_eq!(ids(&new.get(&format!("{RUNTIME}/10*")).await.1), [102, 101]);
    assert_eq!(old.get(&format!("{RUNTIME}/10*")).await.0, 400);
}

#[tokio::test(start_paused = true)]
async fn deleted_backup_is_listed_as_deleted_then_disappears_since_8_9() {
    for (version, seen) in [("8.8.0", vec!["404"]), ("8.9.0", vec!["DELETED", "404"])] {
        let scenario = scenario(version);
        taken(&scenario, 7).await;
        assert_eq!(scenario.send(Method::Delete, &format!("{RUNTIME}/7"), None).await.0, 204);
        assert_eq!(scenario.wait(&format!("{RUNTIME}/7"), "404").await, seen, "{version}");
        assert_eq!(scenario.post(RUNTIME, body_of(7)).await.0, 409, "its id stays spent");
    }
}

#[tokio::test(start_paused = true)]
async fn ranges_join_contiguous_logs_and_a_gap_starts_a_new_range() {
    let scenario = Scenario::of(Config { storage: Storage::Rdbms, continuous: true, ..config("8.9.0") });
    let take = async || {
        let (_, body) = scenario.post(RUNTIME, None).await;
        let id = body["backupId"].as_i64().unwrap();
        scenario.wait(&format!("{RUNTIME}/{id}"), "COMPLETED").await;
        scenario.clock.sleep(Duration::from_mins(20)).await;
        id
    };
    let first = take().await;
    let second = take().await;
    let (_, state) = scenario.get(&format!("{RUNTIME}/state")).await;
    let ranges = state["ranges"].as_array().unwrap();
    assert_eq!(ranges.len(), 2, "one per partition: {state}");
    assert_eq!(
        (&ranges[0]["start"]["checkpointId"], &ranges[0]["end"]["checkpointId"]),
        (&json!(first), &json!(second))
    );
    scenario.arm("now.range-gap");
    let third = take().await;
    let (_, state) = scenario.get(&format!("{RUNTIME}/state")).await;
    let ranges = state["ranges"].as_array().unwrap();
    assert_eq!(ranges.len(), 4, "{state}");
    assert_eq!(ranges[1]["start"]["checkpointId"], third);
    assert_eq!(locked(&scenario.cluster).ranges(0), 2);
}

#[tokio::test(start_paused = true)]
async fn topology_has_more_fields_in_later_versions() {
    for (version, change, cluster) in [("8.7.0", false, false), ("8.8.0", true, false), ("8.9.0", true, true)]
    {
        let scenario = scenario(version);
        let (_, body) = scenario.get("/rest/v2/topology").await;
        let has = |key: &str| body.get(key).is_some_and(Value::is_string);
        assert_eq!((has("lastCompletedChangeId"), has("clusterId")), (change, cluster), "{version}");
        assert_eq!(scenario.get("/rest/v2/status").await.0, if change { 204 } else { 404 }, "{version}");
    }
    for (partitions, status) in [(1, 503), (2, 204)] {
        let scenario = Scenario::of(Config { partitions, ..config("8.9.0") });
        scenario.arm("now.no-leader=1m");
        assert_eq!(
            scenario.get("/rest/v2/status").await.0,
            204,
            "the gateway does not yet have the lost leader"
        );
        scenario.clock.sleep(Duration::from_secs(15)).await;
        assert_eq!(scenario.get("/rest/v2/status").await.0, status, "one leader is enough");
        let (_, body) = scenario.get("/rest/v2/topology").await;
        assert_eq!(body["brokers"][0]["partitions"][0]["role"], "follower");
    }
}

#[tokio::test(start_paused = true)]
async fn physical_tenants_are_listed_since_8_10() {
    let scenario = scenario("8.10.0");
    let (_, body) = scenario.post(&format!("{RUNTIME}?physicalTenant=default"), body_of(7)).await;
    assert_eq!(body["backupIds"], json!({"default": 7}));
    scenario.wait(&format!("{RUNTIME}/7"), "COMPLETED").await;
    let (_, body) = scenario.get(&format!("{RUNTIME}/7")).await;
    assert_eq!(body["physicalTenants"][0]["physicalTenantId"], "default");
    assert_eq!(scenario.get(&format!("{RUNTIME}?physicalTenant=other")).await.0, 400);
    let (_, partitions) = scenario.get("/zeebe/actuator/partitions").await;
    assert_eq!(partitions["default"]["2"]["exporterPhase"], "EXPORTING");
}

#[tokio::test(start_paused = true)]
async fn rest_api_and_actuators_report_the_same_backups() {
    let scenario = scenario("8.10.0");
    assert_eq!(scenario.post("/rest/v2/exporting/pause?soft=true", None).await.0, 204);
    let (_, partitions) = scenario.get("/zeebe/actuator/partitions").await;
    assert_eq!(partitions["default"]["1"]["exporterPhase"], "SOFT_PAUSED");
    assert_eq!(scenario.post("/rest/v2/backups/runtime", body_of(7)).await.0, 202);
    scenario.wait(&format!("{RUNTIME}/7"), "COMPLETED").await;
    assert_eq!(scenario.post("/rest/v2/backups/history", body_of(7)).await.0, 202);
    scenario.wait("/zeebe/actuator/backupHistory/7", "COMPLETED").await;
    scenario.post("/zeebe/actuator/exporting/resume", None).await;
    let seen = locked(&scenario.cluster).seen.clone();
    assert_eq!((seen["pause"], seen["zeebe-post"], seen["history-post"]), (1, 1, 1));
    for version in ["8.9.0", "8.8.0"] {
        let old = Scenario::of(config(version));
        assert_eq!(old.get("/rest/v2/backups/runtime").await.0, 404, "{version}");
    }
}

// Faults

#[tokio::test(start_paused = true)]
async fn gateway_returns_an_error_although_the_broker_executed_the_request() {
    let scenario = scenario("8.8.0");
    for (id, status) in [(7, 502), (8, 503), (9, 504)] {
        scenario.arm(&format!("zeebe-post.acted-{status}"));
        assert_eq!(scenario.post(RUNTIME, body_of(id)).await.0, status);
        scenario.wait(&format!("{RUNTIME}/{id}"), "COMPLETED").await;
    }
    scenario.arm("history-post.acted-504");
    assert_eq!(scenario.post("/zeebe/actuator/backupHistory", body_of(7)).await.0, 504);
    scenario.wait("/zeebe/actuator/backupHistory/7", "COMPLETED").await;
}

#[tokio::test(start_paused = true)]
async fn conflict_409_during_scaling_does_not_use_up_the_id() {
    let scenario = scenario("8.8.0");
    scenario.arm("zeebe-post.scaling");
    let (status, body) = scenario.post(RUNTIME, body_of(7)).await;
    assert_eq!(status, 409);
    assert!(body["message"].as_str().unwrap().contains("scaling"), "{body}");
    taken(&scenario, 7).await;
}

#[tokio::test(start_paused = true)]
async fn missing_partition_keeps_the_backup_incomplete() {
    for (version, runtime) in [("8.6.0", "/zeebe/actuator/backups"), ("8.9.0", RUNTIME)] {
        let scenario = scenario(version);
        scenario.arm("zeebe.missing-partition");
        assert_eq!(scenario.post(runtime, body_of(7)).await.0, 202);
        scenario.clock.sleep(Duration::from_hours(24)).await;
        let (_, body) = scenario.get(&format!("{runtime}/7")).await;
        assert_eq!(
            (&body["state"], &body["details"][0]["state"]),
            (&json!("INCOMPLETE"), &json!("DOES_NOT_EXIST"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_as_text_fault_turns_numbers_into_strings() {
    let scenario = scenario("8.8.0");
    taken(&scenario, 7).await;
    scenario.arm("*.numbers-as-text@*");
    let (_, body) = scenario.get(&format!("{RUNTIME}/7")).await;
    assert_eq!((&body["backupId"], &body["details"][1]["partitionId"]), (&json!("7"), &json!("2")));
    let (_, body) = scenario.post("/zeebe/actuator/exporting/resume", None).await;
    assert_eq!(body["status"], "204");
}

#[tokio::test(start_paused = true)]
async fn foreign_backup_fault_starts_a_backup_before_the_request() {
    let scenario = scenario("8.8.0");
    scenario.arm("history-post.foreign-backup");
    let (status, body) = scenario.post("/zeebe/actuator/backupHistory", body_of(7)).await;
    assert_eq!((status, body["message"].as_str()), (400, Some("Another backup is running at the moment")));
    taken(&scenario, 5).await;
    scenario.arm("zeebe-list.foreign-backup");
    let (_, list) = scenario.get(RUNTIME).await;
    assert_eq!(ids(&list), [5], "the foreign backup is not listed yet");
    scenario.wait(&format!("{RUNTIME}/6"), "IN_PROGRESS").await;
}

#[tokio::test(start_paused = true)]
async fn broker_restart_takes_down_its_history() {
    let scenario = scenario("8.8.0");
    scenario.arm("history-list.kill=2s");
    scenario.get("/zeebe/actuator/backupHistory").await;
    for path in ["/zeebe/actuator/backupHistory", RUNTIME, "/rest/v2/topology"] {
        let down = scenario.try_send(Method::Get, path, None).await;
        assert!(matches!(down, Err(TransportError::NotSent(_))), "{path}: {down:?}");
    }
}
