//! Reasons that end a run before its plan is done.
//!
//! Rules: a step returns a `StepError` with one sentence for the operator; the function that knows what was attempted
//! adds that to the sentence; `finish` logs the error, once, where the run ends. Nothing here is retried or logged.

use crate::camunda::{ClientError, ErrorKind};
use crate::journal::FailureClass;
use crate::store::StoreError;
use std::time::Duration;

/// Why a run must end, or pause, before its plan is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Nothing asks it to.
    None,
    /// The daemon goes down: outside the pause window the run is left to re-entry, inside it has until then
    /// (monotonic time of the clock) to leave the window.
    Shutdown {
        /// Monotonic time at which the grace is over.
        until: Duration,
    },
    /// Abort with this reason.
    Abort {
        /// Countable reason.
        class: FailureClass,
        /// One sentence.
        reason: String,
    },
}

/// How the executor left the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// The journal has its last entry.
    Ended,
    /// The daemon goes down; the run is re-entered after the restart.
    Suspended,
}

/// A step that went wrong.
#[derive(Clone, Debug)]
pub struct StepError {
    /// Countable reason.
    pub class: FailureClass,
    /// One sentence for the operator.
    pub reason: String,
    /// Before a run: it may be over soon, so that an occurrence waits for it as long as it may.
    pub transient: bool,
}

impl StepError {
    /// A step error.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), transient: false }
    }

    /// The cluster is not calm enough to begin.
    pub fn not_ready(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { transient: true, ..Self::new(class, reason) }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::new(FailureClass::Store, error.to_string())
    }
}

/// The step error for a request that failed; `attempt` names what could not be done.
pub(crate) fn refused(attempt: &str, error: &ClientError) -> StepError {
    let class = match error.kind {
        ErrorKind::NotSent
        | ErrorKind::NoAccess
        | ErrorKind::Lost
        | ErrorKind::Server
        | ErrorKind::Unusable => FailureClass::Unreachable,
        ErrorKind::AuthRejected => FailureClass::Access,
        _ => FailureClass::Component,
    };
    StepError::new(class, format!("{attempt}: {error}"))
}
