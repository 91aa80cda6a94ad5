//! Whatever a component answers, the clients return: no panic, no wait, one bounded line of error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

use camunda_backupd::clients::saas::{Hosting, too_old};
use camunda_backupd::clients::{
    ClientError, Request, Response, Saas, Search, Seen, SharedTransport, Transport, TransportError, WebApp,
    Zeebe, probe,
};
use camunda_backupd::domain::{
    Addresses, BackupId, Component, HistoryRoute, PauseMode, Routes, RuntimeRoute, SaasAddress, SearchAddress,
};
use futures::future::BoxFuture;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Gives the same answer to everything.
struct Always(Response);

impl Transport for Always {
    fn send(&self, _: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

const KEYS: [&str; 55] = [
    "backupId",
    "state",
    "details",
    "failureReason",
    "partitionId",
    "createdAt",
    "lastUpdatedAt",
    "checkpointPosition",
    "brokerVersion",
    "snapshotName",
    "startTime",
    "failures",
    "scheduledSnapshots",
    "message",
    "status",
    "body",
    "error",
    "reason",
    "type",
    "timestamp",
    "path",
    "detailedMessage",
    "snapshots",
    "snapshot",
    "indices",
    "shards",
    "total",
    "failed",
    "successful",
    "metadata",
    "start_time_in_millis",
    "1",
    "2",
    "role",
    "exporterPhase",
    "exportedPosition",
    "build",
    "version",
    "brokers",
    "partitions",
    "partitionsCount",
    "gatewayVersion",
    "index",
    "accepted",
    "uuid",
    "name",
    "created",
    "zeebeStatus",
    "optimizeStatus",
    "generation",
    "ready",
    "schedule",
    "checkpointId",
    "ranges",
    "backupStates",
];

const WORDS: [&str; 18] = [
    "COMPLETED",
    "SUCCESS",
    "IN_PROGRESS",
    "INCOMPLETE",
    "FAILED",
    "DOES_NOT_EXIST",
    "LEADER",
    "SOFT_PAUSED",
    "EXPORTING",
    "8.6.0",
    "2026-11-23T05:59:36.475+0000",
    "The latest backup has id 99999999999999999999999",
    "Backup with id 7",
    "No repository with name [x]",
    "Exception occurred",
    "://@://a:b@c",
    "\u{0}\u{1b}[2J\u{202e}",
    "7",
];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        Just(json!(7)),
        Just(json!(204)),
        proptest::sample::select(&WORDS[..]).prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        Just(Value::from("x\n".repeat(4000))),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((proptest::sample::select(&KEYS[..]), inner), 0..6).prop_map(|pairs| {
                Value::Object(
                    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect::<Map<_, _>>(),
                )
            }),
        ]
    })
}

/// An answer about backup 7 that is right but for its parts.
fn nearly_right() -> impl Strategy<Value = Value> {
    (proptest::sample::select(&WORDS[..]), any_json(), any_json()).prop_map(|(state, reason, details)| {
        json!({"backupId": 7, "state": state, "failureReason": reason, "details": [details]})
    })
}

fn any_answer() -> impl Strategy<Value = Response> {
    let body = prop_oneof![
        3 => any_json().prop_map(|value| value.to_string().into_bytes()),
        2 => nearly_right().prop_map(|value| value.to_string().into_bytes()),
        1 => proptest::collection::vec(any::<u8>(), 0..3000),
        1 => Just("[".repeat(100_000).into_bytes()),
    ];
    let status = prop_oneof![
        4 => Just(200_u16),
        2 => proptest::sample::select(vec![202, 204, 400, 404, 409, 500, 503]),
        1 => any::<u16>(),
    ];
    let content_type = prop_oneof![
        4 => Just("application/json".to_owned()),
        1 => Just(String::new()),
        1 => Just("text/html; charset=utf-8".to_owned()),
        1 => ".{0,80}",
    ];
    (status, content_type, body).prop_map(|(status, content_type, body)| Response {
        status,
        content_type,
        body,
        retry_after: None,
    })
}

fn addresses() -> Addresses {
    Addresses {
        zeebe: "http://zeebe:9600".into(),
        operate: None,
        tasklist: None,
        optimize: None,
        rest: Some("http://zeebe:8080".into()),
        brokers: vec!["http://b0:9600".into()],
        search: Some(SearchAddress {
            url: "http://es:9200".into(),
            repository: "camunda".into(),
            webapps_repository: "camunda".into(),
            records: Some("zeebe-record*".into()),
        }),
        ..Addresses::default()
    }
}

fn fit_for_a_log_line(error: Option<ClientError>) {
    let Some(error) = error else { return };
    for text in [&error.message, &error.evidence] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains("a:b@"), "{text:?}");
        assert!(text.len() <= 16 * 1024, "{} bytes", text.len());
    }
    assert!(error.message.len() <= 6 * 1024, "{} bytes", error.message.len());
}

async fn ask_everything(transport: SharedTransport) {
    let id = BackupId::new(7).unwrap();
    let addresses = addresses();
    let zeebe = Zeebe::new(&addresses, &transport);
    fit_for_a_log_line(zeebe.pause(PauseMode::Soft).await.err());
    fit_for_a_log_line(zeebe.exporters().await.map(|exporters| exporters.state()).err());
    fit_for_a_log_line(zeebe.start(Some(id)).await.err());
    fit_for_a_log_line(zeebe.list().await.err());
    fit_for_a_log_line(zeebe.delete(id).await.err());
    let mut looks = vec![zeebe.see(id).await];
    for component in [Component::Operate, Component::Tasklist, Component::Optimize] {
        let app = WebApp::new(component, "http://app:9600", transport.clone());
        fit_for_a_log_line(app.start(id).await.err());
        fit_for_a_log_line(app.list().await.err());
        fit_for_a_log_line(app.delete(id).await.err());
        looks.push(app.see(id).await);
    }
    for look in looks {
        if let Ok(Seen::Completed(progress)) = &look {
            assert_eq!(progress.done(), progress.parts.len(), "completed with a part that is not");
            assert!(!progress.parts.is_empty(), "completed without a part");
        }
        if let Ok(Some(progress)) = look.as_ref().map(Seen::progress) {
            let _ = (progress.fingerprint(), progress.earliest_start());
        }
        fit_for_a_log_line(look.err());
    }
    let search = Search::new(addresses.search.as_ref().unwrap(), transport.clone());
    fit_for_a_log_line(search.indices("zeebe-record*").await.err());
    fit_for_a_log_line(search.start_snapshot("camunda", "n", "zeebe-record*", Value::Null).await.err());
    fit_for_a_log_line(search.see_snapshot("camunda", "n").await.map(|s| s.map(|s| s.fingerprint())).err());
    fit_for_a_log_line(search.snapshots("camunda", "n*").await.err());
    fit_for_a_log_line(search.delete_snapshot("camunda", "n").await.err());
    fit_for_a_log_line(search.red().await.err());
    fit_for_a_log_line(search.repository_exists("camunda").await.err());
    fit_for_a_log_line(probe(&addresses, None, &transport).await.err());
    ask_the_later_apis(&transport).await;
}

/// What came with 8.8, with 8.10 and with the cloud.
async fn ask_the_later_apis(transport: &SharedTransport) {
    let id = BackupId::new(7).unwrap();
    for routes in [
        Routes { runtime: RuntimeRoute::BackupRuntime, history: HistoryRoute::Actuator },
        Routes { runtime: RuntimeRoute::Rest, history: HistoryRoute::Rest },
    ] {
        let addresses = Addresses { routes, ..addresses() };
        let zeebe = Zeebe::new(&addresses, transport);
        fit_for_a_log_line(zeebe.start(None).await.err());
        fit_for_a_log_line(zeebe.see(id).await.err());
        fit_for_a_log_line(zeebe.checkpoints().await.map(|checkpoints| checkpoints.gaps()).err());
        fit_for_a_log_line(zeebe.resume().await.err());
        let history = WebApp::history(&addresses, transport).unwrap();
        fit_for_a_log_line(history.start(id).await.err());
        fit_for_a_log_line(history.see(id).await.err());
        fit_for_a_log_line(history.list().await.err());
    }
    let address = SaasAddress {
        api: "https://api.example".into(),
        cluster_id: "5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f".into(),
        min_interval: std::time::Duration::from_mins(15),
        max_backups: 3,
    };
    let saas = Saas::new(&address, transport.clone());
    fit_for_a_log_line(
        saas.cluster().await.map(|hosted| (too_old(&hosted), hosted.not_ready().is_some())).err(),
    );
    fit_for_a_log_line(saas.list().await.map(|all| all.iter().map(Hosting::seen).count()).err());
    fit_for_a_log_line(saas.start().await.err());
    fit_for_a_log_line(saas.see("u-1").await.err());
    fit_for_a_log_line(saas.delete("u-1").await.err());
    fit_for_a_log_line(saas.schedule().await.err());
    fit_for_a_log_line(saas.restore("u-1").await.err());
    fit_for_a_log_line(saas.restore_state("u-1").await.err());
}

#[test]
fn no_answer_is_too_strange() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(answer in any_answer())| {
        runtime.block_on(ask_everything(Arc::new(Always(answer))));
    });
}
