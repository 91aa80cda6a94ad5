//! Clients of the components of a Camunda cluster, and the one border they talk through: `Transport`.
//!
//! Owns every fact about the wire (paths, bodies, states). Must not know plans, runs or the store.
//! A `Transport` carries bytes: over HTTP in the daemon, or straight into the simulated cluster in tests, so
//! the same parsing is exercised by both. Sources: the Camunda API documents, and answers recorded from real
//! 8.6.0 and 8.5.8 clusters.

pub mod authenticated;
mod call;
#[cfg(test)]
mod canned;
pub mod checkpoints;
pub mod error;
pub mod exporters;
pub mod http;
pub mod part_state;
pub mod probe;
mod reading;
pub mod rejections;
pub mod saas;
pub mod search;
pub mod snapshot;
pub mod webapp;
pub mod zeebe;

pub use authenticated::authenticated;
pub use checkpoints::Checkpoints;
pub use error::{ClientError, ErrorKind};
pub use exporters::{ExporterOf, Exporters, ExportingState, Phase};
pub use http::HttpTransport;
pub use part_state::{Listed, Part, PartState, Progress};
pub use probe::{Capabilities, probe};
pub use rejections::{Attempt, Rejection};
pub use saas::Saas;
pub use search::Search;
pub use snapshot::{Snapshot, SnapshotState, id_in_name};
pub use webapp::WebApp;
pub use zeebe::condition::{BrokersDiskSpace, DiskSpace};
pub use zeebe::{Scheduled, Zeebe};

use crate::domain::{Access, Addresses, RunId, Secret};
use futures::future::BoxFuture;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// HTTP verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Starts an operation.
    Post,
    /// Creates a snapshot.
    Put,
    /// Deletes.
    Delete,
}

/// A request to a component. `deadline` bounds connect, send and the whole answer.
#[derive(Clone, Debug)]
pub struct Request {
    /// Verb.
    pub method: Method,
    /// Absolute URL with query.
    pub url: String,
    /// JSON body, sent with `Content-Type: application/json`; `None` sends neither body nor type.
    pub json: Option<serde_json::Value>,
    /// What the component wants of those who reach it.
    pub access: Option<Arc<Access>>,
    /// Longest time until the whole answer is there, a token for it included.
    pub deadline: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, or empty.
    pub content_type: String,
    /// Body, at most `MAX_BODY` bytes.
    pub body: Vec<u8>,
    /// How long it wants to be left alone (`Retry-After`), where it says so.
    pub retry_after: Option<Duration>,
}

/// Longest body that is read; a longer one is an error, not a truncation.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// Certainly not delivered: refused, no route, name unknown.
    NotSent(String),
    /// Perhaps delivered and acted upon: timeout, reset, body cut off. Look before acting again.
    Lost(String),
    /// Answered with something no component answers: too long, a redirect.
    Unusable(String),
    /// Certainly not delivered, because what the component wants of us was not to be had: a credential, a token, a
    /// certificate it believes.
    NoAccess {
        /// What was not to be had, and what to do.
        reason: String,
        /// Whether it may be had later without anybody changing anything.
        transient: bool,
    },
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(text)
            | Self::Lost(text)
            | Self::Unusable(text)
            | Self::NoAccess { reason: text, .. } => f.write_str(text),
        }
    }
}

/// Carries one request to a component and its answer back. Never follows redirects, and repeats a request only where
/// the first was refused for a token that had run out.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and returns the answer of any status, or why there is none.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;

    /// What `component` wants of those who reach it, where this transport is one cluster's.
    fn access(&self, _component: &str) -> Option<Arc<Access>> {
        None
    }

    /// Keeps what `access` needs for as long as `run` owes a resume, whatever becomes of where it came from.
    fn keep(&self, _run: RunId, _access: Arc<Access>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Ends what `keep` began for every run but these.
    fn keep_only(&self, _runs: BTreeSet<RunId>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Ends what `keep` began for this run.
    fn release(&self, _run: RunId) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Remembers whether a call was let in.
    fn note(&self, _attempt: Attempt<'_>) {}

    /// Who of these addresses did not let us in when last asked.
    fn rejections(&self, _addresses: &Addresses) -> Vec<Rejection> {
        Vec::new()
    }

    /// Looks whether what `access` needs can be read, and remembers it.
    fn examine(&self, _component: &str, _access: Arc<Access>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// A transport to pass around.
pub type SharedTransport = Arc<dyn Transport>;

/// Where credentials and certificates are. Read anew for each request, so that a changed file counts at once. Every
/// call may block, and is made off the runtime.
pub trait Secrets: Send + Sync + 'static {
    /// The text of a credential; an error names file and remedy, never the text.
    fn read(&self, name: &str) -> Result<Secret, String>;
    /// A file of certificates.
    fn certificates(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// Keeps copies of what `access` needs until the run is released.
    fn keep(&self, run: RunId, access: &Access) -> Result<(), String>;
    /// Removes the copies of every run but these.
    fn keep_only(&self, runs: &BTreeSet<RunId>);
    /// Removes the copies of this run.
    fn release(&self, run: RunId);
}
