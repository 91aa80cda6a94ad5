//! What a run has been told: answers for the dossier, facts for the certificate, doubts for its sentences.
//!
//! Owns how much of it is kept. Must not judge it.

use crate::camunda::ClientError;
use crate::domain::{Component, Instant};
use crate::lock::lock;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Answers kept for the dossier.
const RESPONSES: usize = 40;

/// Everything kept of one run under way; gone with the process.
#[derive(Debug, Default)]
pub struct Evidence {
    responses: Mutex<VecDeque<Value>>,
    last_error: Mutex<Option<String>>,
    doubts: Mutex<BTreeMap<Component, String>>,
    /// Facts that are not in the journal yet.
    proof: Mutex<BTreeMap<String, Value>>,
    pause_cannot_act_late: AtomicBool,
}

impl Evidence {
    /// Keeps an answer that was no good one; the oldest goes.
    pub fn remember(&self, error: &ClientError, at: Instant) {
        *lock(&self.last_error) = Some(error.to_string());
        let mut responses = lock(&self.responses);
        if responses.len() == RESPONSES {
            responses.pop_front();
        }
        responses.push_back(json!({ "at": at, "component": error.component, "answer": error.evidence }));
    }

    /// The last answer that was no good one, in a sentence.
    pub fn last_error(&self) -> Option<String> {
        lock(&self.last_error).clone()
    }

    /// Keeps why it is not known whether a component has begun.
    pub fn uncertain(&self, component: Component, error: &ClientError) {
        lock(&self.doubts).insert(component, error.to_string());
    }

    /// Why it is not known whether a component has begun.
    pub fn doubt_about(&self, component: Component) -> String {
        let why = lock(&self.doubts).get(&component).cloned();
        why.unwrap_or_else(|| "the daemon was stopped before it was answered".into())
    }

    /// Keeps that the pause was answered, or never sent: it is not carried out later than that.
    pub fn note_pause_cannot_act_late(&self) {
        self.pause_cannot_act_late.store(true, Ordering::Relaxed);
    }

    /// Whether it is known that no pause of ours is still on its way.
    pub fn pause_cannot_act_late(&self) -> bool {
        self.pause_cannot_act_late.load(Ordering::Relaxed)
    }

    /// Keeps a fact.
    pub fn prove(&self, name: &str, fact: Value) {
        lock(&self.proof).insert(name.to_owned(), fact);
    }

    /// All answers kept, oldest first.
    pub fn responses(&self) -> Value {
        json!(*lock(&self.responses))
    }

    /// The facts that are not in the journal yet, by name.
    pub fn proof(&self) -> BTreeMap<String, Value> {
        lock(&self.proof).clone()
    }

    /// What is in the journal now need not be kept here.
    pub fn proof_is_written(&self, facts: &BTreeMap<String, Value>) {
        lock(&self.proof).retain(|name, fact| facts.get(name) != Some(fact));
    }
}
