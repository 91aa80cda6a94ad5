//! The transport of one cluster: the shared transport plus the access settings of each component.
//!
//! Must not know how authentication is done.

use crate::camunda::{Attempt, Rejection, Request, Response, SharedTransport, Transport, TransportError};
use crate::domain::{Access, Addresses, RunId};
use futures::future::BoxFuture;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Returns the transport for clients of the cluster at `addresses`. Every client of a cluster uses this
/// transport; the bare one sends no credentials.
pub fn authenticated(addresses: &Addresses, transport: &SharedTransport) -> SharedTransport {
    if addresses.access.is_empty() {
        return transport.clone();
    }
    let access = addresses.access.iter().map(|(name, access)| (name.clone(), Arc::new(access.clone())));
    Arc::new(Authenticated { transport: transport.clone(), access: access.collect() })
}

struct Authenticated {
    transport: SharedTransport,
    access: BTreeMap<String, Arc<Access>>,
}

impl Transport for Authenticated {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        self.transport.send(request)
    }

    fn access(&self, component: &str) -> Option<Arc<Access>> {
        self.access.get(component).cloned()
    }

    fn keep(&self, run: RunId, access: Arc<Access>) -> BoxFuture<'_, Result<(), String>> {
        self.transport.keep(run, access)
    }

    fn keep_only(&self, runs: BTreeSet<RunId>) -> BoxFuture<'_, ()> {
        self.transport.keep_only(runs)
    }

    fn release(&self, run: RunId) -> BoxFuture<'_, ()> {
        self.transport.release(run)
    }

    fn note(&self, attempt: Attempt<'_>) {
        self.transport.note(attempt);
    }

    fn rejections(&self, addresses: &Addresses) -> Vec<Rejection> {
        self.transport.rejections(addresses)
    }

    fn examine(&self, component: &str, access: Arc<Access>) -> BoxFuture<'_, ()> {
        self.transport.examine(component, access)
    }
}
