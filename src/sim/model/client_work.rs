//! Process instances started by clients of the simulated cluster, and the current step of each.
//!
//! Owns the steps and the activated jobs. Must not know requests.

use crate::domain::Instant;
use std::collections::BTreeMap;

/// Step of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A job of type `review`.
    Review,
    /// A job of type `parked`.
    Parked,
    /// A user task.
    Approve,
}

impl Step {
    pub(crate) fn of(path: &str) -> Option<Self> {
        match path {
            "review" => Some(Self::Review),
            "parked" => Some(Self::Parked),
            "approve" => Some(Self::Approve),
            _ => None,
        }
    }

    pub(crate) fn job_type(self) -> Option<&'static str> {
        match self {
            Self::Review => Some("review"),
            Self::Parked => Some("parked"),
            Self::Approve => None,
        }
    }
}

/// State of the clients' commands. Steps represent variables: every copy of an instance has them, so a
/// restore does not change them. If a restored broker assigns a key again, the key gets the step of its new
/// instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientWork {
    pub(crate) steps: BTreeMap<u64, Step>,
    /// Activated jobs and the end of their activation.
    pub(crate) activated: BTreeMap<u64, Instant>,
}
