//! Requests to one simulated cluster in memory, on virtual time.

use camunda_backupd::camunda::{Method, Request, Response, Transport, TransportError};
use camunda_backupd::clock::{ManualClock, SharedClock};
use camunda_backupd::sim::{Cluster, Config, SharedCluster, SimTransport, locked, shared};
use chrono::{TimeZone, Utc};
use serde_json::{Value, json};
use std::time::Duration;

/// A cluster that receives requests.
pub(super) struct Scenario {
    transport: SimTransport,
    pub cluster: SharedCluster,
    pub clock: SharedClock,
}

impl Scenario {
    pub(super) fn of(config: Config) -> Self {
        let clock: SharedClock = ManualClock::at(Utc.with_ymd_and_hms(2026, 11, 23, 6, 0, 0).unwrap());
        let cluster = shared(Cluster::new(config, clock.now()));
        let transport = SimTransport::to([cluster.clone()], clock.clone());
        Self { transport, cluster, clock }
    }

    pub(super) async fn try_send(
        &self,
        method: Method,
        path: &str,
        json: Option<Value>,
    ) -> Result<Response, TransportError> {
        let url = format!("http://sim-orders{path}");
        self.transport
            .send(Request { method, url, json, access: None, deadline: Duration::from_secs(30) })
            .await
    }

    pub(super) async fn send(&self, method: Method, path: &str, json: Option<Value>) -> (u16, Value) {
        let response = self.try_send(method, path, json).await.unwrap();
        (response.status, serde_json::from_slice(&response.body).unwrap_or_default())
    }

    pub(super) async fn get(&self, path: &str) -> (u16, Value) {
        self.send(Method::Get, path, None).await
    }

    pub(super) async fn post(&self, path: &str, json: Option<Value>) -> (u16, Value) {
        self.send(Method::Post, path, json).await
    }

    pub(super) fn arm(&self, spec: &str) {
        locked(&self.cluster).arm(spec).unwrap();
    }

    /// Polls until the body has this state; returns the states seen, without repetition.
    pub(super) async fn wait(&self, path: &str, state: &str) -> Vec<String> {
        let mut seen: Vec<String> = Vec::new();
        for _ in 0..3000 {
            let (status, body) = self.get(path).await;
            let now = body.get("state").and_then(Value::as_str).map_or(status.to_string(), str::to_owned);
            if seen.last() != Some(&now) {
                seen.push(now.clone());
            }
            if now == state {
                return seen;
            }
            self.clock.sleep(Duration::from_millis(20)).await;
        }
        panic!("{path} never became {state}: {seen:?}");
    }

    pub(super) async fn phases(&self) -> Vec<String> {
        let (_, body) = self.get("/zeebe/actuator/partitions").await;
        let partitions = body.as_object().unwrap().values();
        partitions.map(|p| p["exporterPhase"].as_str().unwrap().to_owned()).collect()
    }
}

#[allow(clippy::unnecessary_wraps)] // matches the type of optional bodies
pub(super) fn body_of(id: i64) -> Option<Value> {
    Some(json!({"backupId": id}))
}
