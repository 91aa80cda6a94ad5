//! Context of a run: store, clients, clock and settings, and the types that one run uses.
//!
//! Owns the journal writer, the evidence and the step errors of a run. Must not know a step (`backup`) or
//! decide times (`schedule`) or retention (`retention`).

pub(crate) mod error;
pub(crate) mod evidence;
pub(crate) mod execution;
pub(crate) mod pause_clock;
pub(crate) mod prepared;
pub mod resume_attempts;
pub(crate) mod retry;
pub(crate) mod start_error;

use crate::camunda::{Saas, Search, SharedTransport, WebApp, Zeebe, authenticated};
use crate::clock::{SharedClock, Tasks};
use crate::context::error::StepError;
use crate::context::resume_attempts::ResumeAttempts;
use crate::domain::{Addresses, Component, Limits};
use crate::journal::{FailureClass, Run};
use crate::store::SharedStore;
use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Shared services of the daemon.
#[derive(Clone)]
pub struct Context {
    /// Durable state.
    pub store: SharedStore,
    /// HTTP transport to the components.
    pub transport: SharedTransport,
    /// Source of time.
    pub clock: SharedClock,
    /// Task spawner.
    pub tasks: Tasks,
    /// Instance name in the ownership tags.
    pub instance: String,
    /// Attempts of pending resumes that are not stored in the `pending_resumes` table yet.
    pub attempts: ResumeAttempts,
    /// Current addresses of each cluster, from the config.
    pub current_addresses: CurrentAddresses,
}

/// Current addresses by cluster name; replaced as a whole at a reload.
pub type CurrentAddresses = Arc<ArcSwap<BTreeMap<String, Addresses>>>;

/// Settings that a run needs after a restart, independent of the config then; stored with the run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spec {
    /// Addresses of the components.
    pub addresses: Addresses,
    /// Version from the config, or `None` to read it from the cluster.
    pub version: Option<String>,
    /// Limits of the cluster.
    pub limits: Limits,
}

impl Spec {
    /// Parses the stored settings of a run. If they are unreadable, the error becomes the failure reason of the
    /// run.
    pub(crate) fn of(run: &Run) -> Result<Spec, StepError> {
        serde_json::from_value(run.spec.clone()).map_err(|error| {
            StepError::new(
                FailureClass::Interrupted,
                format!("the run's stored settings cannot be read: {error}"),
            )
        })
    }
}

/// Clients for the components of one cluster.
#[derive(Clone)]
pub struct Clients {
    /// Brokers.
    pub zeebe: Zeebe,
    /// Operate, Tasklist, Optimize, as far as they exist.
    pub apps: BTreeMap<Component, WebApp>,
    /// Search engine.
    pub search: Option<Search>,
    /// Administration API of Camunda 8 SaaS; such a cluster has no other client.
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
                // With the common history, these addresses date from before the upgrade to 8.8.
                .filter(|(component, _)| *component == Component::Optimize || history.is_none())
                .filter_map(|(component, base)| {
                    let base = base.as_ref()?;
                    Some((component, WebApp::new(component, base, to.clone())))
                })
                .chain(history.clone())
                .collect(),
            search: addresses.search.as_ref().map(|a| Search::new(a, to.clone())),
            saas: Saas::of(addresses, transport),
        }
    }
}
