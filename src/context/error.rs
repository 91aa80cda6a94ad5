//! Error types of a run: failure of a step, and requests to stop the run.
//!
//! Rules: a step returns a `StepError` with one sentence for the operator; the function that knows what was attempted
//! adds that to the sentence; `finish` logs the error, once, where the run ends. Nothing here is retried or logged.

use crate::camunda::{ClientError, ErrorKind};
use crate::journal::FailureClass;
use crate::store::StoreError;
use std::time::Duration;

/// Request to end a run before its plan is complete, or to leave it to the next start of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// No stop is requested.
    None,
    /// The daemon stops: outside the pause window the next start continues the run; inside it the run has until then
    /// (monotonic time of the clock) to leave the window.
    Shutdown {
        /// Monotonic time at which the grace is over.
        until: Duration,
    },
    /// Abort with this reason.
    Abort {
        /// Failure class for metrics.
        class: FailureClass,
        /// One sentence.
        reason: String,
    },
}

/// State in which the executor left the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The journal has its last entry.
    Ended,
    /// The daemon stops; the next start continues the run.
    Suspended,
}

/// Error of a step.
#[derive(Clone, Debug)]
pub struct StepError {
    /// Failure class for metrics.
    pub class: FailureClass,
    /// One sentence for the operator.
    pub reason: String,
    /// Whether the condition is transient. Before a run begins, its occurrences then wait within `start_within`.
    pub transient: bool,
}

impl StepError {
    /// A permanent step error.
    pub fn new(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into(), transient: false }
    }

    /// A transient step error: a precondition does not hold.
    pub fn not_ready(class: FailureClass, reason: impl Into<String>) -> Self {
        Self { transient: true, ..Self::new(class, reason) }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        Self::new(FailureClass::Store, error.to_string())
    }
}

/// Builds the step error for a failed request. `attempt` names the action that failed.
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
