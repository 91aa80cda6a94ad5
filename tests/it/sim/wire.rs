//! The simulated cluster responds like the real one, in memory and on a socket, and fails as injected.

use super::scenario::{Scenario, body_of};
use camunda_backupd::camunda::{Method, TransportError};
use camunda_backupd::clock::{SystemClock, Tasks};
use camunda_backupd::sim::{Cluster, Config, SharedCluster, Storage, Timing, locked, server, shared};
use chrono::Utc;
use serde_json::{Value, json};
use std::time::Duration;

async fn back_up(scenario: &Scenario, id: i64) {
    let body = || body_of(id);
    for app in ["operate", "tasklist"] {
        assert_eq!(scenario.post(&format!("/{app}/actuator/backups"), body()).await.0, 200);
    }
    for app in ["operate", "tasklist"] {
        scenario.wait(&format!("/{app}/actuator/backups/{id}"), "COMPLETED").await;
    }
    scenario.post("/zeebe/actuator/exporting/pause?soft=true", None).await;
    let name =
        format!("/search/_snapshot/camunda/camunda_zeebe_records_backup_{id}?wait_for_completion=true");
    let (status, body) = scenario.send(Method::Put, &name, Some(json!({"indices": "zeebe-record*"}))).await;
    assert_eq!((status, body["snapshot"]["state"].as_str()), (200, Some("SUCCESS")));
    assert_eq!(scenario.post("/zeebe/actuator/backups", body_of(id)).await.0, 202);
    scenario.wait(&format!("/zeebe/actuator/backups/{id}"), "COMPLETED").await;
    scenario.post("/zeebe/actuator/exporting/resume", None).await;
}

fn opensearch() -> Scenario {
    Scenario::of(Config::named("orders"))
}

#[tokio::test(start_paused = true)]
async fn complete_manual_backup_restores_without_loss() {
    let scenario = opensearch();
    back_up(&scenario, 7).await;
    let restored = locked(&scenario.cluster).restore(7);
    assert!(restored.is_whole() && restored.started_in_window > 0, "{restored:?}");
    assert_eq!(scenario.phases().await, ["EXPORTING", "EXPORTING"]);
}

#[tokio::test(start_paused = true)]
async fn operate_reports_a_running_backup_on_elasticsearch_but_not_on_opensearch() {
    let scenario = opensearch();
    scenario.post("/operate/actuator/backups", body_of(7)).await;
    let seen = scenario.wait("/operate/actuator/backups/7", "COMPLETED").await;
    assert_eq!(seen[..4], ["404", "400", "INCOMPLETE", "400"], "{seen:?}");
    let scenario = Scenario::of(Config { storage: Storage::Elasticsearch, ..Config::named("orders") });
    scenario.post("/operate/actuator/backups", body_of(7)).await;
    let seen = scenario.wait("/operate/actuator/backups/7", "COMPLETED").await;
    assert_eq!(seen[..4], ["404", "IN_PROGRESS", "INCOMPLETE", "IN_PROGRESS"], "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn soft_pause_is_a_hard_pause_before_8_4_7() {
    for (version, phase) in [("8.4.6", "PAUSED"), ("8.4.7", "SOFT_PAUSED"), ("8.3.0", "PAUSED")] {
        let scenario = Scenario::of(Config { version: version.parse().unwrap(), ..Config::named("orders") });
        scenario.post("/zeebe/actuator/exporting/pause?soft=true", None).await;
        assert_eq!(scenario.phases().await, [phase, phase], "{version}");
    }
}

#[tokio::test(start_paused = true)]
async fn topology_path_depends_on_the_version() {
    for (version, there, absent) in [("8.5.8", "v1", "v2"), ("8.6.0", "v2", "v1")] {
        let scenario = Scenario::of(Config { version: version.parse().unwrap(), ..Config::named("orders") });
        let (status, body) = scenario.get(&format!("/rest/{there}/topology")).await;
        assert_eq!((status, body["gatewayVersion"].as_str()), (200, Some(version)));
        assert_eq!(scenario.get(&format!("/rest/{absent}/topology")).await.0, 404);
    }
}

#[tokio::test(start_paused = true)]
async fn optimize_backup_has_two_parts_on_both_engines() {
    for (storage, version, name) in [
        (Storage::OpenSearch, "8.6.0", "camunda_optimize_7_8.6.0_part_1_of_2"),
        (Storage::Elasticsearch, "8.5.0", "camunda_optimize_7_3.13.0_part_1_of_2"),
    ] {
        let config =
            Config { optimize: true, storage, version: version.parse().unwrap(), ..Config::named("orders") };
        let scenario = Scenario::of(config);
        assert_eq!(scenario.post("/optimize/actuator/backups", body_of(7)).await.0, 202);
        scenario.wait("/optimize/actuator/backups/7", "COMPLETED").await;
        let (_, body) = scenario.get("/optimize/actuator/backups/7").await;
        assert_eq!(body["details"][0]["snapshotName"].as_str(), Some(name));
        assert_eq!(scenario.post("/optimize/actuator/backups", body_of(7)).await.0, 409);
    }
}

#[tokio::test(start_paused = true)]
async fn snapshot_metadata_is_returned_unchanged() {
    let scenario = opensearch();
    let metadata = json!({"camunda_backupd": {"instance": "here", "cluster": "orders"}});
    let body = json!({"indices": "zeebe-record*", "metadata": metadata});
    assert_eq!(scenario.send(Method::Put, "/search/_snapshot/camunda/mine", Some(body)).await.0, 200);
    let (_, seen) = scenario.get("/search/_snapshot/camunda/mine").await;
    assert_eq!(seen["snapshots"][0]["metadata"], metadata);
    assert_eq!(seen["snapshots"][0]["state"], "IN_PROGRESS");
}

#[tokio::test(start_paused = true)]
async fn engines_differ_as_recorded() {
    let opensearch = opensearch();
    let elastic = Scenario::of(Config { storage: Storage::Elasticsearch, ..Config::named("orders") });
    assert_eq!(opensearch.get("/search/_snapshot/camunda/nosuch*").await.0, 404);
    let (status, body) = elastic.get("/search/_snapshot/camunda/nosuch*").await;
    assert_eq!((status, body["total"].as_i64()), (200, Some(0)));
    for (scenario, kind) in [
        (&opensearch, "invalid_snapshot_name_exception"),
        (&elastic, "snapshot_name_already_in_use_exception"),
    ] {
        let path = "/search/_snapshot/camunda/twice";
        scenario.send(Method::Put, path, Some(json!({"indices": "zeebe-record*"}))).await;
        let (status, body) =
            scenario.send(Method::Put, path, Some(json!({"indices": "zeebe-record*"}))).await;
        assert_eq!((status, body["error"]["type"].as_str()), (400, Some(kind)));
    }
}

#[tokio::test(start_paused = true)]
async fn indices_are_listed_by_pattern() {
    let scenario = opensearch();
    let (status, body) = scenario
        .get("/search/_cat/indices/zeebe-record%2A?format=json&h=index,status&expand_wildcards=open")
        .await;
    assert_eq!((status, body.as_array().unwrap().len()), (200, 7));
    assert_eq!(body[0]["status"], "open");
    assert_eq!(scenario.get("/search/_cat/indices/nothing*?format=json").await, (200, json!([])));
    assert_eq!(scenario.get("/search/_cat/indices/nothing?format=json").await.0, 404);
}

// Faults

#[tokio::test(start_paused = true)]
async fn request_with_dropped_response_is_executed_and_refused_request_is_not() {
    let scenario = opensearch();
    scenario.arm("zeebe-post.drop-response");
    let lost = scenario.try_send(Method::Post, "/zeebe/actuator/backups", body_of(7)).await;
    assert!(matches!(lost, Err(TransportError::Lost(_))), "{lost:?}");
    scenario.wait("/zeebe/actuator/backups/7", "COMPLETED").await;

    scenario.arm("zeebe-post.refuse");
    let refused = scenario.try_send(Method::Post, "/zeebe/actuator/backups", body_of(8)).await;
    assert!(matches!(refused, Err(TransportError::NotSent(_))), "{refused:?}");
    scenario.arm("zeebe-post.drop-request");
    let lost = scenario.try_send(Method::Post, "/zeebe/actuator/backups", body_of(8)).await;
    assert!(matches!(lost, Err(TransportError::Lost(_))), "{lost:?}");
    scenario.clock.sleep(Duration::from_secs(5)).await;
    assert_eq!(scenario.get("/zeebe/actuator/backups/8").await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn late_response_times_out_at_the_deadline() {
    let scenario = opensearch();
    scenario.arm("resume.delay=60s");
    let late = scenario.try_send(Method::Post, "/zeebe/actuator/exporting/resume", None).await;
    assert!(matches!(late, Err(TransportError::Lost(_))), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn pause_faults_fail_or_reach_one_partition_with_or_without_error() {
    let scenario = opensearch();
    for (fault, status, phases) in [
        ("fail", 500, ["EXPORTING", "EXPORTING"]),
        ("partial", 500, ["SOFT_PAUSED", "EXPORTING"]),
        ("partial-silent", 204, ["SOFT_PAUSED", "EXPORTING"]),
    ] {
        scenario.arm(&format!("pause.{fault}"));
        let (http, body) = scenario.post("/zeebe/actuator/exporting/pause?soft=true", None).await;
        assert_eq!((http, body["status"].as_i64()), (200, Some(status)), "{fault}");
        assert_eq!(scenario.phases().await, phases, "{fault}");
        scenario.post("/zeebe/actuator/exporting/resume", None).await;
    }
}

#[tokio::test(start_paused = true)]
async fn stalled_part_blocks_later_parts() {
    let scenario = opensearch();
    scenario.arm("tasklist.stall");
    scenario.post("/tasklist/actuator/backups", body_of(7)).await;
    scenario.clock.sleep(Duration::from_hours(1)).await;
    let (_, body) = scenario.get("/tasklist/actuator/backups/7").await;
    assert_eq!((body["state"].as_str(), body["details"].as_array().unwrap().len()), (Some("IN_PROGRESS"), 3));
    let (status, body) = scenario.post("/tasklist/actuator/backups", body_of(8)).await;
    assert_eq!((status, body["message"].as_str()), (400, Some("Another backup is running at the moment")));
}

#[tokio::test(start_paused = true)]
async fn records_faults_make_the_snapshot_partial_or_empty() {
    let scenario = opensearch();
    let take = |name: &str| {
        let path = format!("/search/_snapshot/camunda/{name}?wait_for_completion=true");
        let scenario = &scenario;
        async move { scenario.send(Method::Put, &path, Some(json!({"indices": "zeebe-record*"}))).await }
    };
    scenario.arm("records.failed-shard");
    let (status, body) = take("a").await;
    assert_eq!((status, body["snapshot"]["state"].as_str()), (200, Some("PARTIAL")));
    assert_eq!(body["snapshot"]["shards"]["failed"], 1);
    scenario.arm("records.empty");
    let (status, body) = take("b").await;
    assert_eq!((status, body["snapshot"]["state"].as_str()), (200, Some("SUCCESS")));
    assert_eq!(body["snapshot"]["indices"], json!([]));
    scenario.arm("records.unassigned");
    assert_eq!(take("c").await.0, 500);
    scenario.arm("now.heal");
    assert_eq!(take("d").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn broker_restart_fails_the_running_backup_and_keeps_the_pause() {
    let scenario = opensearch();
    scenario.post("/zeebe/actuator/exporting/pause?soft=true", None).await;
    scenario.arm("zeebe-post.broker-restart=2s");
    scenario.post("/zeebe/actuator/backups", body_of(7)).await;
    let down = scenario.try_send(Method::Get, "/zeebe/actuator/backups/7", None).await;
    assert!(matches!(down, Err(TransportError::NotSent(_))), "{down:?}");
    scenario.clock.sleep(Duration::from_secs(3)).await;
    let (_, body) = scenario.get("/zeebe/actuator/backups/7").await;
    assert_eq!(body["state"], "FAILED");
    assert_eq!(body["details"][0]["failureReason"], "Backup is cancelled due to leader change.");
    assert_eq!(scenario.phases().await, ["SOFT_PAUSED", "SOFT_PAUSED"]);
}

#[tokio::test(start_paused = true)]
async fn foreign_client_faults_resume_pause_or_use_an_id() {
    let scenario = opensearch();
    scenario.arm("pause.foreign-resume=200ms, zeebe-post.conflict");
    scenario.post("/zeebe/actuator/exporting/pause?soft=true", None).await;
    assert_eq!(scenario.phases().await, ["SOFT_PAUSED", "SOFT_PAUSED"]);
    scenario.clock.sleep(Duration::from_millis(300)).await;
    assert_eq!(scenario.phases().await, ["EXPORTING", "EXPORTING"]);
    let (status, body) = scenario.post("/zeebe/actuator/backups", body_of(7)).await;
    assert_eq!(status, 409);
    assert!(body["message"].as_str().unwrap().contains("The latest backup has id 14."), "{body}");
    scenario.arm("now.foreign-hard-pause=0s");
    assert_eq!(scenario.phases().await, ["PAUSED", "PAUSED"]);
}

#[tokio::test(start_paused = true)]
async fn delivery_faults_change_the_response() {
    let scenario = opensearch();
    scenario.post("/tasklist/actuator/backups", body_of(7)).await;
    scenario.wait("/tasklist/actuator/backups/7", "COMPLETED").await;
    let path = "/tasklist/actuator/backups/7";
    scenario.arm("tasklist-get.unknown-state");
    assert_eq!(scenario.get(path).await.1["state"], "REARRANGING");
    scenario.arm("tasklist-get.content-type");
    let response = scenario.try_send(Method::Get, path, None).await.unwrap();
    assert_eq!(response.content_type, "text/html");
    scenario.arm("tasklist-get.not-json");
    assert_eq!(scenario.get(path).await, (200, Value::Null));
    for fault in ["redirect", "endless"] {
        scenario.arm(&format!("tasklist-get.{fault}"));
        let unusable = scenario.try_send(Method::Get, path, None).await;
        assert!(matches!(unusable, Err(TransportError::Unusable(_))), "{fault}: {unusable:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn clock_fault_changes_only_response_timestamps() {
    let scenario = opensearch();
    scenario.arm("now.clock=-10m");
    scenario.post("/zeebe/actuator/backups", body_of(7)).await;
    scenario.wait("/zeebe/actuator/backups/7", "COMPLETED").await;
    let (_, body) = scenario.get("/zeebe/actuator/backups/7").await;
    let created: chrono::DateTime<Utc> = body["details"][0]["createdAt"].as_str().unwrap().parse().unwrap();
    let behind = scenario.clock.now() - created;
    assert!((590..620).contains(&behind.num_seconds()), "{behind}");
}

#[tokio::test(start_paused = true)]
async fn resume_and_compaction_in_the_window_make_the_backup_incomplete() {
    let scenario = opensearch();
    scenario.clock.sleep(Duration::from_secs(10)).await;
    scenario.arm("search-put.foreign-resume=20ms, zeebe-post.delay=1ms, zeebe-post.compact");
    back_up(&scenario, 7).await;
    assert!(locked(&scenario.cluster).restore(7).lost() > 0, "{:?}", locked(&scenario.cluster).restore(7));
}

#[tokio::test(start_paused = true)]
async fn log_grows_while_exporting_is_paused() {
    let scenario = opensearch();
    scenario.post("/zeebe/actuator/exporting/pause?soft=true", None).await;
    scenario.clock.sleep(Duration::from_secs(1)).await;
    let before = locked(&scenario.cluster).log_bytes();
    for _ in 0..20 {
        scenario.clock.sleep(Duration::from_mins(1)).await;
        scenario.get("/zeebe/actuator/partitions").await;
    }
    assert!(locked(&scenario.cluster).log_bytes() > before * 2);
    let paused = locked(&scenario.cluster).pauses.since.unwrap();
    assert!((scenario.clock.now() - paused).num_seconds() > 1200);
}

// On a socket

struct Served {
    base: String,
    cluster: SharedCluster,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    tasks: Tasks,
}

impl Served {
    async fn start() -> Self {
        let clock = SystemClock::shared();
        let config = Config { timing: Timing::tiny(), ..Config::named("orders") };
        let cluster = shared(Cluster::new(config, clock.now()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let tasks = Tasks::new();
        let shutdown = async move { drop(stopped.await) };
        tasks.spawn(server::serve(listener, cluster.clone(), clock, shutdown));
        Self { base, cluster, stop: Some(stop), tasks }
    }

    async fn get(&self, path: &str) -> Value {
        reqwest::get(format!("{}{path}", self.base)).await.unwrap().json().await.unwrap()
    }

    async fn post(&self, path: &str, body: Value) -> reqwest::Result<reqwest::Response> {
        reqwest::Client::new().post(format!("{}{path}", self.base)).json(&body).send().await
    }

    async fn end(mut self) {
        self.stop.take();
        self.tasks.finish().await;
    }
}

#[tokio::test]
async fn http_dropped_response_closes_the_connection_without_a_byte() {
    let served = Served::start().await;
    locked(&served.cluster).arm("zeebe-post.drop-response").unwrap();
    // Sent as raw bytes, to see the raw response.
    let address = served.base.strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let body = r#"{"backupId":7}"#;
    let request = format!(
        "POST /zeebe/actuator/backups HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    let mut response = Vec::new();
    drop(tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut response).await);
    assert_eq!(String::from_utf8_lossy(&response), "");
    assert_eq!(locked(&served.cluster).world.checkpoint_id(), 7, "the request was not executed");
    let again = served.post("/zeebe/actuator/backups", json!({"backupId": 8})).await.unwrap();
    assert_eq!(again.status(), 202);
    served.end().await;
}

#[tokio::test]
async fn http_control_routes_arm_faults_and_judge_backups() {
    let served = Served::start().await;
    let armed = served.post("/sim/faults", json!({"spec": "resume.fail@2"})).await.unwrap();
    assert_eq!(armed.json::<Value>().await.unwrap()["waiting"], 1);
    let wrong = served.post("/sim/faults", json!({"spec": "resume"})).await.unwrap();
    assert_eq!(wrong.status(), 400);
    served.post("/zeebe/actuator/exporting/pause?soft=true", json!({})).await.unwrap();
    served.post("/zeebe/actuator/backups", json!({"backupId": 7})).await.unwrap();
    let state = served.get("/sim/state").await;
    assert_eq!(state["paused"], true);
    assert_eq!(state["partitions"][0]["phase"], "SOFT_PAUSED");
    assert_eq!(state["requests"]["zeebe-post"], 1);
    let judged =
        served.post("/sim/restore", json!({"backup_id": 7})).await.unwrap().json::<Value>().await.unwrap();
    assert_eq!(judged["whole"], false, "a backup without records is judged whole: {judged}");
    assert_eq!(served.get("/sim/backups").await[0]["backup_id"], 7);
    served.end().await;
}

#[tokio::test]
async fn http_endless_body_and_redirect_faults() {
    let served = Served::start().await;
    locked(&served.cluster).arm("info.endless, health.redirect").unwrap();
    let mut endless = reqwest::get(format!("{}/zeebe/actuator/info", served.base)).await.unwrap();
    let mut size = 0;
    while size < 20 * 1024 * 1024 {
        size += endless.chunk().await.unwrap().expect("more").len();
    }
    drop(endless);
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let response = client.get(format!("{}/zeebe/actuator/health", served.base)).send().await.unwrap();
    assert_eq!(response.status(), 302);
    served.end().await;
}

#[tokio::test]
async fn server_shuts_down_with_a_response_pending() {
    let served = Served::start().await;
    locked(&served.cluster).arm("search-put.stall").unwrap();
    let url = format!("{}/search/_snapshot/camunda/x?wait_for_completion=true", served.base);
    let tasks = Tasks::new();
    let pending = tasks.spawn(async move { reqwest::Client::new().put(url).send().await.is_err() });
    while !locked(&served.cluster).seen.contains_key("search-put") {
        tokio::task::yield_now().await;
    }
    served.end().await;
    assert!(pending.await.unwrap(), "the outstanding response is dropped");
}
