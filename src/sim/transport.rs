//! The simulated clusters in memory, without sockets.
//!
//! Owns `SimTransport`, which carries requests to clusters by host name (`http://sim-NAME/zeebe/...`), and
//! the clusters' own clock. That clock follows monotonic time, so that jumps of a daemon's wall clock do not
//! affect the clusters.

use super::wire::{Carried, IN_MEMORY, Reply, WireRequest};
use crate::camunda::{MAX_BODY, Request, Response, Transport, TransportError};
use crate::clock::{SharedClock, within};
use crate::domain::Instant;
use crate::lock::lock;
use crate::sim::model::cluster::Cluster;
use chrono::TimeDelta;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Shared handle of a cluster.
pub type SharedCluster = Arc<Mutex<Cluster>>;

/// Wraps a new cluster in a shared handle.
pub fn shared(cluster: Cluster) -> SharedCluster {
    Arc::new(Mutex::new(cluster))
}

/// Locks the cluster; the lock is never held across an await.
pub fn locked(cluster: &SharedCluster) -> MutexGuard<'_, Cluster> {
    lock(cluster)
}

/// The simulation's wall clock: starts at another clock's wall time and advances with its monotonic time.
#[derive(Clone)]
pub(crate) struct SimClock {
    clock: SharedClock,
    start: Instant,
    from: Duration,
}

impl SimClock {
    /// A clock that equals `clock` now and does not follow its jumps.
    pub(crate) fn beside(clock: SharedClock) -> Self {
        Self { start: clock.now(), from: clock.monotonic(), clock }
    }

    /// Current time of the simulation.
    pub(crate) fn now(&self) -> Instant {
        let passed = self.clock.monotonic().saturating_sub(self.from);
        self.start + TimeDelta::from_std(passed).unwrap_or_default()
    }

    /// Waits for `duration` of the simulation's time.
    pub(crate) async fn sleep(&self, duration: Duration) {
        if !duration.is_zero() {
            self.clock.sleep(duration).await;
        }
    }

    /// Passes a request to a cluster and waits for its response.
    pub(super) async fn exchange(&self, cluster: &SharedCluster, request: &WireRequest) -> Carried {
        let _outstanding = OutstandingRequest::by(cluster);
        let mut reply = locked(cluster).handle(self.now(), request);
        loop {
            let Reply { after, carried } = reply;
            self.sleep(after).await;
            match carried {
                Carried::Waiting(waiting) => reply = locked(cluster).probe_once_more(self.now(), waiting),
                carried => return carried,
            }
        }
    }
}

/// Counts a request as outstanding until its response is delivered or its client disconnects.
struct OutstandingRequest<'a>(&'a SharedCluster);

impl<'a> OutstandingRequest<'a> {
    fn by(cluster: &'a SharedCluster) -> Self {
        locked(cluster).outstanding += 1;
        Self(cluster)
    }
}

impl Drop for OutstandingRequest<'_> {
    fn drop(&mut self) {
        locked(self.0).outstanding -= 1;
    }
}

/// Carries requests to simulated clusters.
pub struct SimTransport {
    clusters: BTreeMap<String, SharedCluster>,
    clock: SimClock,
}

impl SimTransport {
    /// A transport to these clusters, each at `http://sim-NAME`.
    pub fn to(clusters: impl IntoIterator<Item = SharedCluster>, clock: SharedClock) -> Self {
        let named = |cluster: SharedCluster| (format!("sim-{}", locked(&cluster).config.name), cluster);
        Self { clusters: clusters.into_iter().map(named).collect(), clock: SimClock::beside(clock) }
    }

    /// The cluster of that name.
    pub fn cluster(&self, name: &str) -> Option<&SharedCluster> {
        self.clusters.get(&format!("sim-{name}"))
    }

    async fn carry(&self, request: Request) -> Result<Response, TransportError> {
        let url = url::Url::parse(&request.url)
            .map_err(|error| TransportError::NotSent(format!("`{}` is not a URL: {error}", request.url)))?;
        let host = url.host_str().unwrap_or("");
        let Some(cluster) = self.clusters.get(host) else {
            return Err(TransportError::NotSent(format!("{host}: no such host")));
        };
        let wire = WireRequest {
            method: request.method,
            path: url.path().to_owned(),
            query: url.query().unwrap_or("").to_owned(),
            content_type: request.json.is_some().then(|| "application/json".to_owned()),
            authorization: Some(IN_MEMORY.to_owned()),
            body: request.json.as_ref().map(|json| json.to_string().into_bytes()).unwrap_or_default(),
        };
        match self.clock.exchange(cluster, &wire).await {
            Carried::Response(response) if response.body.len() > MAX_BODY => {
                Err(TransportError::Unusable(format!("{host} returned more than {MAX_BODY} bytes")))
            }
            Carried::Response(response) => Ok(response),
            Carried::Redirect(to) => Err(TransportError::Unusable(format!("{host} redirects to {to}"))),
            Carried::Endless => {
                Err(TransportError::Unusable(format!("{host} returned more than {MAX_BODY} bytes")))
            }
            Carried::Refused => Err(TransportError::NotSent(format!("{host}: connection refused"))),
            Carried::Lost | Carried::Waiting(_) => {
                Err(TransportError::Lost(format!("{host} closed the connection without a response")))
            }
        }
    }
}

impl Transport for SimTransport {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        Box::pin(async move {
            let deadline = request.deadline;
            let late = format!("no response from {} within {deadline:?}", request.url);
            let clock = Arc::clone(&self.clock.clock);
            within(&*clock, deadline, self.carry(request)).await.unwrap_or(Err(TransportError::Lost(late)))
        })
    }
}
