//! The daemon's own client of the search engine, against a real OpenSearch: every call that the daemon sends.
//!
//! `tests/jobs/opensearch/run` starts the engine and sets `OPENSEARCH_URL`. Without it the test prints that it did not
//! run. The test makes its own repositories and indices; the engine must be new.

#![allow(clippy::disallowed_methods)] // a test program on the real clock

use camunda_backupd::camunda::{
    ClientError, ErrorKind, HttpTransport, Method, Request, Search, SharedTransport, Snapshot, SnapshotState,
};
use camunda_backupd::clock::{SharedClock, SystemClock};
use camunda_backupd::domain::{BackupId, SearchAddress};
use serde_json::{Value, json};
use std::time::Duration;

const REPOSITORY: &str = "camunda";
/// Rate limit of the slow repository, low enough to see a running snapshot.
const SLOW: &str = "camunda-slow";
const READ_ONLY: &str = "camunda-read-only";
const RECORDS: [&str; 2] = ["zeebe-record_job_8.6.0_2026-11-23", "zeebe-record_process_8.6.0_2026-11-23"];

struct Engine {
    url: String,
    transport: SharedTransport,
    search: Search,
    clock: SharedClock,
}

impl Engine {
    fn at(url: &str) -> Self {
        let address = SearchAddress {
            url: url.to_owned(),
            repository: REPOSITORY.into(),
            webapps_repository: REPOSITORY.into(),
            records: Some("zeebe-record*".into()),
        };
        let transport = HttpTransport::shared().unwrap();
        Self {
            url: url.to_owned(),
            search: Search::new(&address, transport.clone()),
            transport,
            clock: SystemClock::shared(),
        }
    }

    /// Sends a request that prepares the engine.
    async fn send(&self, method: Method, path: &str, json: Option<Value>) -> Value {
        let url = format!("{}{path}", self.url);
        let deadline = Duration::from_secs(60);
        let response =
            self.transport.send(Request { method, url, json, access: None, deadline }).await.unwrap();
        let text = String::from_utf8_lossy(&response.body);
        assert!((200..300).contains(&response.status), "{path}: {} {text}", response.status);
        serde_json::from_str(&text).unwrap()
    }

    async fn register(&self, name: &str, settings: Value) {
        let body = json!({"type": "fs", "settings": settings});
        self.send(Method::Put, &format!("/_snapshot/{name}"), Some(body)).await;
    }

    async fn start(&self, repository: &str, name: &str, pattern: &str) -> Result<(), ClientError> {
        self.search.start_snapshot(repository, name, pattern, Value::Null).await
    }

    async fn see(&self, repository: &str, name: &str) -> Option<Snapshot> {
        self.search.see_snapshot(repository, name).await.unwrap()
    }

    /// Waits for the end of the snapshot and returns it.
    async fn ended(&self, repository: &str, name: &str) -> Snapshot {
        for _ in 0..600 {
            let snapshot = self.see(repository, name).await.unwrap();
            if snapshot.state != SnapshotState::InProgress {
                return snapshot;
            }
            self.clock.sleep(Duration::from_millis(100)).await;
        }
        panic!("{name} has not ended within a minute");
    }

    async fn prepare(&self) {
        self.register(REPOSITORY, json!({"location": "normal"})).await;
        self.register(SLOW, json!({"location": "slow", "max_snapshot_bytes_per_sec": "100kb"})).await;
        self.register(READ_ONLY, json!({"location": "normal", "readonly": true})).await;
        let one_copy = json!({"settings": {"number_of_shards": 1, "number_of_replicas": 0}});
        for index in RECORDS {
            self.send(Method::Put, &format!("/{index}"), Some(one_copy.clone())).await;
        }
        // Text that does not compress, so that the slow repository takes seconds.
        let mut state = 1_u64;
        for number in 0..40 {
            let text: String = std::iter::repeat_with(|| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                format!("{:x}", state >> 16)
            })
            .take(1000)
            .collect();
            let path = format!("/{}/_doc/{number}", RECORDS[number % 2]);
            self.send(Method::Put, &path, Some(json!({"text": text}))).await;
        }
        self.send(Method::Post, "/zeebe-record*/_flush", None).await;
    }

    async fn reads_of_the_engine(&self) {
        let search = &self.search;
        assert!(!search.red().await.unwrap());
        let disk = search.disk().await.unwrap().unwrap();
        assert!(disk.total >= disk.available && disk.available > 0, "{disk:?}");
        assert_eq!(search.indices("zeebe-record*").await.unwrap(), RECORDS);
        assert_eq!(search.indices("absent*").await.unwrap(), [""; 0]);
        assert_eq!(search.indices("absent").await.unwrap(), [""; 0]);
        for repository in [REPOSITORY, SLOW, READ_ONLY] {
            assert!(search.repository_exists(repository).await.unwrap());
            // A read-only repository passes too: verification does not write there.
            search.verify_repository(repository).await.unwrap();
        }
        assert!(!search.repository_exists("absent").await.unwrap());
        assert_eq!(search.verify_repository("absent").await.unwrap_err().kind, ErrorKind::Missing);
    }

    async fn whole_snapshot(&self) {
        let search = &self.search;
        let name = Search::records_name(BackupId::new(223).unwrap());
        assert_eq!(self.see(REPOSITORY, &name).await, None);
        let tag = json!({"camunda-backupd": {"instance": "smoke", "cluster": "orders", "run": "0"}});
        search.start_snapshot(REPOSITORY, &name, "zeebe-record*", tag.clone()).await.unwrap();
        let whole = self.ended(REPOSITORY, &name).await;
        assert_eq!((&whole.state, &whole.name), (&SnapshotState::Success, &name));
        assert_eq!((whole.shards_total, whole.shards_successful, whole.shards_failed), (2, 2, 0));
        let mut indices = whole.indices.clone();
        indices.sort();
        assert_eq!((indices, whole.metadata), (RECORDS.map(str::to_owned).to_vec(), Some(tag)));
        assert!(whole.started_at.is_some());

        let taken = self.start(REPOSITORY, &name, "zeebe-record*").await.unwrap_err();
        assert_eq!(taken.kind, ErrorKind::Conflict { highest: None }, "{taken}");
        let listed = search.snapshots(REPOSITORY, "camunda_zeebe_records_backup_*").await.unwrap();
        assert_eq!(listed.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), [name.as_str()]);
        assert_eq!(search.snapshots(REPOSITORY, "absent*").await.unwrap(), []);
        assert!(search.delete_snapshot(REPOSITORY, &name).await.unwrap());
        assert!(!search.delete_snapshot(REPOSITORY, &name).await.unwrap());
        assert_eq!(self.see(REPOSITORY, &name).await, None);
    }

    async fn running_snapshot(&self) {
        let search = &self.search;
        for (name, is_deleted) in [("running-to-its-end", false), ("running-then-deleted", true)] {
            self.start(SLOW, name, "zeebe-record*").await.unwrap();
            let running = self.see(SLOW, name).await.unwrap();
            assert_eq!(
                (&running.state, running.shards_total),
                (&SnapshotState::InProgress, 2),
                "{running:?}"
            );
            assert_eq!(search.running_snapshots().await.unwrap(), [name]);
            let twice = self.start(SLOW, name, "zeebe-record*").await.unwrap_err();
            assert_eq!(twice.kind, ErrorKind::Conflict { highest: None }, "{twice}");
            if is_deleted {
                assert!(search.delete_snapshot(SLOW, name).await.unwrap());
                assert_eq!(self.see(SLOW, name).await, None);
            } else {
                let ended = self.ended(SLOW, name).await;
                assert_eq!(ended.state, SnapshotState::Success);
                assert_ne!(ended.fingerprint(), running.fingerprint());
            }
            assert_eq!(search.running_snapshots().await.unwrap(), [""; 0]);
        }
    }

    async fn rejected_snapshots(&self) {
        let search = &self.search;
        for (repository, name, pattern, kind) in [
            ("absent", "n", "zeebe-record*", ErrorKind::Missing),
            (REPOSITORY, "UPPER", "zeebe-record*", ErrorKind::Refused),
            (REPOSITORY, "absent-index", "absent", ErrorKind::Refused),
            (READ_ONLY, "n", "zeebe-record*", ErrorKind::Server),
        ] {
            let error = self.start(repository, name, pattern).await.unwrap_err();
            assert_eq!(error.kind, kind, "{error}");
        }
        let long = json!({"tag": "x".repeat(1100)});
        let error = search.start_snapshot(REPOSITORY, "long", "zeebe-record*", long).await.unwrap_err();
        assert_eq!((error.status, error.kind), (Some(400), ErrorKind::Refused), "{}", error.message);
        assert!(error.message.contains("metadata must be smaller than 1024 bytes"), "{}", error.message);
        let error = search.delete_snapshot("absent", "n").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Missing, "{error}");

        // A pattern that matches nothing is a success with no index: the number of indices must be compared.
        self.start(REPOSITORY, "no-index", "absent*").await.unwrap();
        let empty = self.ended(REPOSITORY, "no-index").await;
        assert_eq!((empty.state, empty.indices.len()), (SnapshotState::Success, 0));

        let nowhere =
            json!({"settings": {"number_of_replicas": 0, "index.routing.allocation.require.box": "none"}});
        self.send(Method::Put, "/zeebe-record-unassigned?wait_for_active_shards=0", Some(nowhere)).await;
        assert!(search.red().await.unwrap());
        let error = self.start(REPOSITORY, "red", "zeebe-record*").await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Refused, "{error}");
        assert!(error.message.contains("bring the cluster back from red"), "{error}");
    }
}

#[tokio::test]
async fn every_search_call_of_the_daemon_works_on_opensearch() {
    let Ok(url) = std::env::var("OPENSEARCH_URL") else {
        println!("opensearch smoke test did not run: OPENSEARCH_URL is not set");
        return;
    };
    let engine = Engine::at(&url);
    let about = engine.send(Method::Get, "/", None).await;
    engine.prepare().await;
    engine.reads_of_the_engine().await;
    engine.whole_snapshot().await;
    engine.running_snapshot().await;
    engine.rejected_snapshots().await;
    let version = about["version"]["number"].as_str().unwrap();
    println!("opensearch smoke test passed against OpenSearch {version}");
}
