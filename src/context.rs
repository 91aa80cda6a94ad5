//! Runs: what carries out a plan, and what sets things right after a crash.
//!
//! Owns the executor, recovery, the guardian of debts, deletion and the queue of each cluster. Must not decide
//! times (that is `schedule`), steps (`plan`) or what to keep (`retention`).

pub mod error;
pub(crate) mod evidence;
pub mod execution;
pub mod pause_clock;
pub mod resume_attempts;
pub(crate) mod retry;

use crate::camunda::{Saas, Search, SharedTransport, WebApp, Zeebe, authenticated};
use crate::clock::{SharedClock, Tasks};
use crate::context::resume_attempts::ResumeAttempts;
use crate::domain::{Addresses, Component, Limits};
use crate::store::SharedStore;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What every part of this folder stands on.
#[derive(Clone)]
pub struct Context {
    /// Durable state.
    pub store: SharedStore,
    /// The way to the components.
    pub transport: SharedTransport,
    /// Time.
    pub clock: SharedClock,
    /// Spawned work.
    pub tasks: Tasks,
    /// Marks what is ours in the clusters.
    pub instance: String,
    /// Resumes sent, as far as rows may not know of them.
    pub attempts: ResumeAttempts,
    /// Where the config of today says that each cluster is.
    pub whereabouts: Whereabouts,
}

/// By name of cluster.
pub type Whereabouts = Arc<ArcSwap<BTreeMap<String, Addresses>>>;

/// What a run needs to go on after a restart, whatever the config says by then; stored with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Where the components are.
    pub addresses: Addresses,
    /// Version from the config, or `None` to ask the cluster.
    pub version: Option<String>,
    /// Limits of the cluster.
    pub limits: Limits,
}

/// The clients of one cluster's components.
#[derive(Clone)]
pub struct Clients {
    /// Brokers.
    pub zeebe: Zeebe,
    /// Operate, Tasklist, Optimize, as far as they exist.
    pub apps: BTreeMap<Component, WebApp>,
    /// Search engine.
    pub search: Option<Search>,
    /// The Administration API, where the provider runs the cluster: then there is nothing else.
    pub saas: Option<Saas>,
}

impl Clients {
    /// Clients for these addresses.
    pub fn new(addresses: &Addresses, transport: &SharedTransport) -> Self {
        let to = authenticated(addresses, transport);
        let apps = [
            (Component::Operate, &addresses.operate),
            (Component::Tasklist, &addresses.tasklist),
            (Component::Optimize, &addresses.optimize),
        ];
        let history = WebApp::history(addresses, transport).map(|app| (Component::History, app));
        Self {
            zeebe: Zeebe::new(addresses, transport),
            apps: apps
                .into_iter()
                // Beside the common history they are addresses of before the upgrade to 8.8.
                .filter(|(component, _)| *component == Component::Optimize || history.is_none())
                .filter_map(|(component, base)| {
                    let base = base.as_ref()?;
                    Some((component, WebApp::new(component, base, to.clone())))
                })
                .chain(history.clone())
                .collect(),
            search: addresses.search.as_ref().map(|a| Search::new(a, to.clone())),
            saas: addresses.saas.as_ref().map(|a| Saas::new(a, to.clone())),
        }
    }
}
