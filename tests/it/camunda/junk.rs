//! The clients return for every response of a component: no panic, no wait, one bounded line of error.

use camunda_backupd::camunda::saas::{Hosting, too_old};
use camunda_backupd::camunda::search::Disk;
use camunda_backupd::camunda::{
    ClientError, PartState, Request, Response, Saas, Search, SharedTransport, Transport, TransportError,
    WebApp, Zeebe, probe,
};
use camunda_backupd::domain::{
    Addresses, BackupId, Component, HistoryRoute, PauseMode, Routes, RuntimeRoute, SaasAddress, SearchAddress,
};
use futures::future::BoxFuture;
use harness::corpus;
use harness::keys::{Keys, SECRET, oauth};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Returns the same response to every request.
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

/// A correct response about backup 7 with arbitrary parts.
fn nearly_correct() -> impl Strategy<Value = Value> {
    (proptest::sample::select(&WORDS[..]), any_json(), any_json()).prop_map(|(state, reason, details)| {
        json!({"backupId": 7, "state": state, "failureReason": reason, "details": [details]})
    })
}

fn any_response() -> impl Strategy<Value = Response> {
    let body = prop_oneof![
        3 => any_json().prop_map(|value| value.to_string().into_bytes()),
        2 => nearly_correct().prop_map(|value| value.to_string().into_bytes()),
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

/// Kept responses, each with its source: those of the corpus, and those recorded from real clusters.
fn kept() -> Vec<(String, Response)> {
    let mut kept = corpus::json_lines("answers.jsonl");
    for transcript in ["8.5.8-elasticsearch", "8.6.0-opensearch"] {
        let recorded = corpus::json_lines(&format!("../transcripts/{transcript}.jsonl"));
        kept.extend(recorded.into_iter().filter(|line| line["status"].is_u64()));
    }
    kept.iter().map(|line| (of(line), response(line))).collect()
}

fn of(line: &Value) -> String {
    let of = line["of"].as_str().or(line["component"].as_str()).expect("whose answer is it");
    if of == "broker" { "zeebe".into() } else { of.into() }
}

fn response(line: &Value) -> Response {
    let content_type = match line["content_type"].as_str().unwrap_or_default() {
        "actuator" => "application/vnd.spring-boot.actuator.v3+json",
        "json" => "application/json",
        other => other,
    };
    let body = match (&line["text"], &line["body"]) {
        (Value::String(text), _) => text.clone().into_bytes(),
        (_, Value::Null) if line.get("body").is_none() => vec![],
        (_, body) => body.to_string().into_bytes(),
    };
    let status = line["status"].as_u64().unwrap() as u16;
    Response { status, content_type: content_type.to_owned(), body, retry_after: None }
}

/// A kept response with another value at one position of its JSON, or with arbitrary changes.
fn changed_kept_response() -> impl Strategy<Value = Response> {
    let one = proptest::sample::select(kept()).prop_map(|(_, response)| response);
    let change = prop_oneof![
        3 => (any::<Index>(), any_json()).prop_map(|(location, by)| Change::Replace(location, by)),
        1 => corpus::edits().prop_map(Change::Edit),
    ];
    (one, change).prop_map(|(mut response, change)| {
        let json = serde_json::from_slice::<Value>(&response.body);
        match (change, json) {
            (Change::Replace(location, by), Ok(json)) => {
                response.body = corpus::replaced(json, location, by).to_string().into_bytes();
            }
            (Change::Replace(..), Err(_)) => {}
            (Change::Edit(edits), _) => response.body = corpus::edited(response.body, &edits),
        }
        response
    })
}

#[derive(Clone, Debug)]
enum Change {
    Replace(Index, Value),
    Edit(Vec<(Index, usize, corpus::Edit)>),
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

fn assert_fits_a_log_line(error: Option<ClientError>) {
    let Some(error) = error else { return };
    for text in [&error.message, &error.evidence] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
        assert!(!text.contains("a:b@"), "{text:?}");
        assert!(text.len() <= 16 * 1024, "{} bytes", text.len());
    }
    assert!(error.message.len() <= 6 * 1024, "{} bytes", error.message.len());
}

async fn call_every_api(transport: SharedTransport) {
    let id = BackupId::new(7).unwrap();
    let addresses = addresses();
    let zeebe = Zeebe::new(&addresses, &transport);
    assert_fits_a_log_line(zeebe.pause(PauseMode::Soft).await.err());
    assert_fits_a_log_line(zeebe.exporters().await.map(|exporters| exporters.state()).err());
    assert_fits_a_log_line(zeebe.start(Some(id)).await.err());
    assert_fits_a_log_line(zeebe.list().await.err());
    assert_fits_a_log_line(zeebe.delete(id).await.err());
    let mut probes = vec![zeebe.see(id).await];
    for component in [Component::Operate, Component::Tasklist, Component::Optimize] {
        let app = WebApp::new(component, "http://app:9600", transport.clone());
        assert_fits_a_log_line(app.start(id).await.err());
        assert_fits_a_log_line(app.list().await.err());
        assert_fits_a_log_line(app.delete(id).await.err());
        probes.push(app.see(id).await);
    }
    for probe in probes {
        if let Ok(PartState::Completed(progress)) = &probe {
            assert_eq!(progress.done(), progress.parts.len(), "completed with a part that is not");
            assert!(!progress.parts.is_empty(), "completed without a part");
        }
        if let Ok(Some(progress)) = probe.as_ref().map(PartState::progress) {
            let _ = (progress.fingerprint(), progress.earliest_start());
        }
        assert_fits_a_log_line(probe.err());
    }
    let search = Search::new(addresses.search.as_ref().unwrap(), transport.clone());
    assert_fits_a_log_line(search.indices("zeebe-record*").await.err());
    assert_fits_a_log_line(search.start_snapshot("camunda", "n", "zeebe-record*", Value::Null).await.err());
    assert_fits_a_log_line(
        search.see_snapshot("camunda", "n").await.map(|s| s.map(|s| s.fingerprint())).err(),
    );
    assert_fits_a_log_line(search.snapshots("camunda", "n*").await.err());
    assert_fits_a_log_line(search.delete_snapshot("camunda", "n").await.err());
    assert_fits_a_log_line(search.red().await.err());
    assert_fits_a_log_line(search.repository_exists("camunda").await.err());
    assert_fits_a_log_line(search.verify_repository("camunda").await.err());
    assert_fits_a_log_line(search.running_snapshots().await.err());
    assert_fits_a_log_line(search.disk().await.map(|disk| disk.map(Disk::percent)).err());
    for error in zeebe.brokers_disk_space().await.errors {
        assert_fits_a_log_line(Some(error));
    }
    assert_fits_a_log_line(probe(&addresses, None, &transport).await.err());
    call_later_apis(&transport).await;
}

/// Calls the APIs of 8.8, of 8.10 and of Camunda 8 SaaS.
async fn call_later_apis(transport: &SharedTransport) {
    let id = BackupId::new(7).unwrap();
    for routes in [
        Routes { runtime: RuntimeRoute::BackupRuntime, history: HistoryRoute::Actuator },
        Routes { runtime: RuntimeRoute::Rest, history: HistoryRoute::Rest },
    ] {
        let addresses = Addresses { routes, ..addresses() };
        let zeebe = Zeebe::new(&addresses, transport);
        assert_fits_a_log_line(zeebe.start(None).await.err());
        assert_fits_a_log_line(zeebe.see(id).await.err());
        assert_fits_a_log_line(zeebe.checkpoints().await.map(|checkpoints| checkpoints.gaps()).err());
        assert_fits_a_log_line(zeebe.resume(&harness::TestResume).await.err());
        let history = WebApp::history(&addresses, transport).unwrap();
        assert_fits_a_log_line(history.start(id).await.err());
        assert_fits_a_log_line(history.see(id).await.err());
        assert_fits_a_log_line(history.list().await.err());
        assert_fits_a_log_line(history.delete(id).await.err());
        assert_fits_a_log_line(zeebe.list().await.err());
        assert_fits_a_log_line(zeebe.delete(id).await.err());
    }
    let address = SaasAddress {
        api: "https://api.example".into(),
        cluster_id: "5cd2e4e1-6a0c-4d2a-9a5a-1f2f3c4d5e6f".into(),
        min_interval: std::time::Duration::from_mins(15),
        max_backups: 3,
    };
    let saas = Saas::new(&address, transport.clone());
    assert_fits_a_log_line(
        saas.cluster().await.map(|hosted| (too_old(&hosted), hosted.not_ready().is_some())).err(),
    );
    assert_fits_a_log_line(saas.list().await.map(|all| all.iter().map(Hosting::seen).count()).err());
    assert_fits_a_log_line(saas.start().await.err());
    assert_fits_a_log_line(saas.see("u-1").await.err());
    assert_fits_a_log_line(saas.delete("u-1").await.err());
    assert_fits_a_log_line(saas.schedule().await.err());
    assert_fits_a_log_line(saas.restore("u-1").await.err());
    assert_fits_a_log_line(saas.restore_state("u-1").await.err());
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// The corpus has responses of every API, and every client handles each of them.
#[test]
fn every_kept_response_is_handled() {
    let runtime = runtime();
    let of: BTreeSet<String> = kept().into_iter().map(|(of, _)| of).collect();
    for api in ["zeebe", "prometheus", "backupRuntime", "rest", "history", "operate", "tasklist", "optimize"]
    {
        assert!(of.contains(api), "no answer of {api} is kept");
    }
    assert!(["search", "saas", "token"].iter().all(|api| of.contains(*api)), "{of:?}");
    for (_, response) in kept() {
        runtime.block_on(call_every_api(Arc::new(Always(response))));
    }
}

#[test]
fn random_responses_never_panic_or_hang_a_client() {
    let runtime = runtime();
    let config = corpus::cases(256, "tests/data/corpus/regressions/answers.txt");
    let strategy = prop_oneof![1 => any_response(), 1 => changed_kept_response()];
    proptest!(config, |(response in strategy)| {
        runtime.block_on(call_every_api(Arc::new(Always(response))));
    });
}

/// A server with a settable raw response to every request for `/token`, and 200 elsewhere.
struct Endpoint {
    url: String,
    response: Arc<Mutex<Vec<u8>>>,
}

impl Endpoint {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let response: Arc<Mutex<Vec<u8>>> = Arc::default();
        let current = response.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
                let (mut request, mut piece) = (Vec::new(), [0; 4096]);
                // The form of a token request is short, and arrives with its head or right after it.
                while !(request.ends_with(b"\r\n\r\n") || request.ends_with(b"zeebe+api")) {
                    match stream.read(&mut piece) {
                        Ok(read @ 1..) => request.extend_from_slice(&piece[..read]),
                        _ => break,
                    }
                    if request.starts_with(b"POST /token") && request.ends_with(b"\r\n\r\n") {
                        let read = stream.read(&mut piece).unwrap_or_default();
                        request.extend_from_slice(&piece[..read]);
                    }
                }
                let response = if request.starts_with(b"POST /token") {
                    current.lock().unwrap().clone()
                } else {
                    b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n".to_vec()
                };
                let _ = stream.write_all(&response);
            }
        });
        Self { url, response }
    }

    /// Requests a resume that needs a token; the token endpoint returns `response`.
    fn request(&self, runtime: &tokio::runtime::Runtime, response: Vec<u8>) {
        *self.response.lock().unwrap() = response;
        let keys = Keys::new();
        let zeebe = keys.zeebe(&self.url, &oauth(&format!("{}/token", self.url)));
        let error = runtime.block_on(zeebe.resume(&harness::TestResume)).err();
        let shown = error.as_ref().map(|error| format!("{error} {error:?}")).unwrap_or_default();
        assert!(!shown.contains(SECRET), "{shown}");
        assert_fits_a_log_line(error);
    }
}

/// The raw HTTP response.
fn raw_response(response: &Response) -> Vec<u8> {
    let content_type: String = response.content_type.chars().filter(|c| !c.is_control()).collect();
    let head = format!(
        "HTTP/1.1 {} Answer\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        response.status,
        response.body.len()
    );
    [head.into_bytes(), response.body.clone()].concat()
}

#[test]
fn random_token_responses_never_panic_or_hang() {
    let (runtime, endpoint) = (runtime(), Endpoint::new());
    for (_, response) in kept().into_iter().filter(|(of, _)| matches!(of.as_str(), "token" | "anybody")) {
        endpoint.request(&runtime, raw_response(&response));
    }
    let config = corpus::cases(64, "tests/data/corpus/regressions/tokens.txt");
    let tokens: Vec<Response> = kept().into_iter().filter(|(of, _)| of == "token").map(|(_, a)| a).collect();
    let token = (proptest::sample::select(tokens), any::<Index>(), any_json()).prop_map(
        |(mut response, location, by)| {
            if let Ok(json) = serde_json::from_slice(&response.body) {
                response.body = corpus::replaced(json, location, by).to_string().into_bytes();
            }
            response
        },
    );
    let whole = prop_oneof![3 => token, 1 => any_response()]
        // A status below 200 is not a final response, and a 429 makes the client wait.
        .prop_filter("an answer", |response| response.status >= 200 && response.status != 429)
        .prop_map(|response| raw_response(&response));
    let torn = (whole, proptest::option::weighted(0.3, corpus::edits()))
        .prop_map(|(bytes, edits)| edits.map_or(bytes.clone(), |edits| corpus::edited(bytes, &edits)));
    proptest!(config, |(response in torn)| {
        endpoint.request(&runtime, response);
    });
}
