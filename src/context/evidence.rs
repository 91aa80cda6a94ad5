//! Evidence of a run: error responses for the failure report, facts for the attestation, uncertain outcomes.
//!
//! Owns how much evidence is kept. Must not judge it.

use crate::camunda::ClientError;
use crate::domain::{Component, Instant};
use crate::lock::lock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Maximum number of responses in the failure report.
const RESPONSES: usize = 40;

/// Evidence of one active run; lost when the process ends.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    responses: Mutex<VecDeque<Value>>,
    last_error: Mutex<Option<String>>,
    doubts: Mutex<BTreeMap<Component, String>>,
    /// Facts not yet in the journal.
    proof: Mutex<BTreeMap<String, Value>>,
    pause_cannot_act_late: AtomicBool,
}

impl Evidence {
    /// Stores an error response; the oldest is dropped.
    pub(crate) fn remember(&self, error: &ClientError, at: Instant) {
        *lock(&self.last_error) = Some(error.to_string());
        let mut responses = lock(&self.responses);
        if responses.len() == RESPONSES {
            responses.pop_front();
        }
        responses.push_back(json!({ "at": at, "component": error.component, "response": error.evidence }));
    }

    /// The last error response, as a sentence.
    pub(crate) fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    /// Stores why it is unknown whether a component has started its backup.
    pub(crate) fn uncertain(&self, component: Component, error: &ClientError) {
        lock(&self.doubts).insert(component, error.to_string());
    }

    /// Returns the reason why it is unknown whether a component has started its backup.
    pub(crate) fn doubt_about(&self, component: Component) -> String {
        let why = lock(&self.doubts).get(&component).cloned();
        why.unwrap_or_else(|| "the daemon was stopped before the response arrived".into())
    }

    /// Records that the pause got a response or was never sent: it cannot take effect later.
    pub(crate) fn note_pause_cannot_act_late(&self) {
        self.pause_cannot_act_late.store(true, Ordering::Relaxed);
    }

    /// Whether no pause of ours can still take effect.
    pub(crate) fn pause_cannot_act_late(&self) -> bool {
        self.pause_cannot_act_late.load(Ordering::Relaxed)
    }

    /// Stores a fact for the attestation.
    pub(crate) fn prove(&self, name: &str, fact: Value) {
        lock(&self.proof).insert(name.to_owned(), fact);
    }

    /// All stored responses, oldest first.
    pub(crate) fn responses(&self) -> Value {
        json!(*lock(&self.responses))
    }

    /// Facts not yet in the journal, by name.
    pub(crate) fn proof(&self) -> BTreeMap<String, Value> {
        lock(&self.proof).clone()
    }

    /// Drops facts that the journal contains now.
    pub(crate) fn proof_is_written(&self, facts: &BTreeMap<String, Value>) {
        lock(&self.proof).retain(|name, fact| facts.get(name) != Some(fact));
    }
}
