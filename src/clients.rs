//! Clients of the components of a Camunda cluster, and the one border they talk through: `Transport`.
//!
//! Owns every fact about the wire (paths, bodies, states). Must not know plans, runs or the store.
//! A `Transport` carries bytes: over HTTP in the daemon, or straight into the simulated cluster in tests, so
//! the same parsing is exercised by both. Sources: the Camunda API documents, and answers recorded from real
//! 8.6.0 and 8.5.8 clusters.

mod call;
#[cfg(test)]
mod canned;
pub mod checkpoints;
pub mod error;
pub mod exporters;
pub mod http;
pub mod probe;
mod reading;
pub mod search;
pub mod seen;
pub mod snapshot;
pub mod webapp;
pub mod zeebe;

pub use checkpoints::Checkpoints;
pub use error::{ClientError, ErrorKind};
pub use exporters::{ExporterOf, Exporters, ExportingState, Phase};
pub use http::HttpTransport;
pub use probe::{Capabilities, probe};
pub use search::Search;
pub use seen::{Listed, Part, Progress, Seen};
pub use snapshot::{Snapshot, SnapshotState};
pub use webapp::WebApp;
pub use zeebe::{Scheduled, Zeebe};

use futures::future::BoxFuture;
use std::fmt;
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
    /// Longest time until the whole answer is there.
    pub deadline: Duration,
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, or empty.
    pub content_type: String,
    /// Body, at most `MAX_BODY` bytes.
    pub body: Vec<u8>,
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
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(text) | Self::Lost(text) | Self::Unusable(text) => f.write_str(text),
        }
    }
}

/// Carries one request to a component and its answer back. Never retries, never follows redirects.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request` and returns the answer of any status, or why there is none.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;
}

/// A transport to pass around.
pub type SharedTransport = Arc<dyn Transport>;
