//! A cluster is at another address before its resume is confirmed: the debt is paid where it is now.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "harness/lab.rs"]
mod lab;

use camunda_backupd::clients::{Request, Response, Transport, TransportError};
use camunda_backupd::clock::Clock;
use camunda_backupd::journal::FailureClass;
use camunda_backupd::run::guardian::Guardian;
use camunda_backupd::run::queue::{ClusterSettings, Queue};
use camunda_backupd::sim::{self, SharedCluster, SimTransport, locked};
use futures::future::BoxFuture;
use lab::Lab;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Names by which hosts of the simulation are reached, as a DNS would have them.
struct Names {
    to: SimTransport,
    known: Arc<Mutex<BTreeMap<&'static str, &'static str>>>,
}

impl Transport for Names {
    fn send(&self, mut request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        let known = self.known.lock().unwrap().clone();
        for (name, host) in known {
            if request.url.contains(&format!("//{name}/")) {
                request.url = request.url.replace(&format!("//{name}/"), &format!("//{host}/"));
                return self.to.send(request);
            }
        }
        Box::pin(async { Err(TransportError::NotSent("no such host".into())) })
    }
}

struct Town {
    lab: Lab,
    other: SharedCluster,
    known: Arc<Mutex<BTreeMap<&'static str, &'static str>>>,
}

/// The same settings with every address at `host`.
fn at(settings: &ClusterSettings, host: &str) -> ClusterSettings {
    let text = serde_json::to_string(&settings.spec).unwrap().replace("sim-orders", host);
    ClusterSettings { spec: serde_json::from_str(&text).unwrap(), ..settings.clone() }
}

impl Town {
    /// The cluster is at `old`, and its daemon has paused it.
    async fn paused() -> Self {
        let mut lab = Lab::new().fault("zeebe.stall");
        let other = sim::shared(sim::Cluster::new(sim::Config::named("pay"), lab.clock.now()));
        let known = Arc::new(Mutex::new(BTreeMap::from([("old", "sim-orders")])));
        let to = SimTransport::to([lab.cluster.clone(), other.clone()], lab.clock.clone());
        lab.ground.transport = Arc::new(Names { to, known: known.clone() });
        lab.queue = Queue::new(lab.ground.clone(), Guardian::new(lab.ground.clone()), 8);
        lab.queue.configure(BTreeMap::from([("orders".to_owned(), at(&lab.settings, "old"))]));
        let town = Self { lab, other, known };
        town.lab.queue.manual("orders", None).await.unwrap();
        town.lab.clock.sleep(Duration::from_secs(30)).await;
        assert!(town.is_paused(), "the story begins inside the pause");
        town
    }

    /// The name is gone, and the config says another, behind which `host` is.
    async fn moves(&self, host: &'static str) {
        *self.known.lock().unwrap() = BTreeMap::from([("new", host)]);
        let moved = at(&self.lab.settings, "new");
        self.lab.queue.configure(BTreeMap::from([("orders".to_owned(), moved)]));
        assert!(self.lab.queue.stop("orders", FailureClass::Cancelled, "it has moved"));
        self.lab.clock.sleep(Duration::from_mins(3)).await;
    }

    fn is_paused(&self) -> bool {
        locked(&self.lab.cluster).pauses.since.is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_has_moved_is_resumed_where_it_is() {
    let town = Town::paused().await;
    town.moves("sim-orders").await;
    assert!(!town.is_paused(), "exporting is left paused");
    assert!(town.lab.store.debts().await.unwrap().is_empty());
}

/// Positions tell that it is not the cluster that was paused: whoever paused it wants it so.
#[tokio::test(start_paused = true)]
async fn another_cluster_at_the_new_address_is_left_alone_and_the_debt_stays() {
    let town = Town::paused().await;
    locked(&town.other).pause(true);
    town.moves("sim-pay").await;
    assert!(locked(&town.other).pauses.since.is_some(), "their pause is ended");
    assert_eq!(town.lab.store.debts().await.unwrap().len(), 1);
    // It was away for a while only.
    *town.known.lock().unwrap() = BTreeMap::from([("old", "sim-orders")]);
    town.lab.clock.sleep(Duration::from_mins(2)).await;
    assert!(!town.is_paused() && town.lab.store.debts().await.unwrap().is_empty());
}
