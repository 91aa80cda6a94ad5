//! Clients of the components of a Camunda cluster, and the single interface for all requests: `Transport`.
//!
//! Owns every fact about the wire: paths, bodies, states. Must not know plans, runs or the store.
//!
//! A `Transport` carries bytes: over HTTP in the daemon, directly into the simulated cluster in tests. Both
//! use the same parsers. Sources: the Camunda API documents, and responses recorded from real 8.6.0 and 8.5.8
//! clusters.

pub(crate) mod authenticated;
mod call;
#[cfg(test)]
mod canned;
pub(crate) mod checkpoints;
pub(crate) mod error;
pub(crate) mod exporters;
pub(crate) mod http;
pub(crate) mod part_state;
pub(crate) mod probe;
mod reading;
pub(crate) mod rejections;
pub(crate) mod response;
pub mod saas;
pub mod search;
pub(crate) mod snapshot;
pub(crate) mod webapp;
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

/// HTTP method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// `GET`: read-only.
    Get,
    /// `POST`: starts an operation.
    Post,
    /// `PUT`: creates a snapshot.
    Put,
    /// `DELETE`: deletes a backup or snapshot.
    Delete,
}

/// A request to a component. `deadline` is the timeout for connect, send and the complete response.
#[derive(Clone, Debug)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Absolute URL with query.
    pub url: String,
    /// JSON body, sent with `Content-Type: application/json`; `None` sends neither body nor type.
    pub json: Option<serde_json::Value>,
    /// Credentials, TLS and proxy settings that the component requires.
    pub access: Option<Arc<Access>>,
    /// Timeout for the complete response; fetching a token counts towards it.
    pub deadline: Duration,
}

/// A response of any status.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`, or empty.
    pub content_type: String,
    /// Body, at most `MAX_BODY` bytes.
    pub body: Vec<u8>,
    /// `Retry-After` of the response, if the header was sent.
    pub retry_after: Option<Duration>,
}

/// Maximum length of a body, in bytes. A longer body is an error; it is never truncated.
pub const MAX_BODY: usize = 16 * 1024 * 1024;

/// Reason why a request got no response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransportError {
    /// Certainly not delivered: connection refused, no route, unknown host name.
    NotSent(String),
    /// Possibly delivered and executed: timeout, reset, truncated body. Probe before the request is sent
    /// again.
    Lost(String),
    /// The response cannot come from a component: too long, or a redirect.
    Unusable(String),
    /// Certainly not delivered: a credential, a token or a trusted certificate was not available.
    NoAccess {
        /// The missing item and its remedy.
        reason: String,
        /// Whether a retry may succeed without any change by an operator.
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

/// Carries one request to a component and returns its response. Never follows redirects. Repeats a request
/// only after a 401 for an expired token.
pub trait Transport: Send + Sync + 'static {
    /// Sends `request`. Returns the response of any status, or the reason for its absence.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>>;

    /// Access settings of `component`, if this transport belongs to one cluster.
    fn access(&self, _component: &str) -> Option<Arc<Access>> {
        None
    }

    /// Copies the credentials that `access` needs, and keeps the copies while `run` has a pending resume. An operator
    /// may delete the original files meanwhile.
    fn keep(&self, _run: RunId, _access: Arc<Access>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    /// Deletes the copies of all runs except these.
    fn keep_only(&self, _runs: BTreeSet<RunId>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Deletes the copies of this run.
    fn release(&self, _run: RunId) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Records whether the component accepted the authentication of a call. `api::health` reports rejections.
    fn note(&self, _attempt: Attempt<'_>) {}

    /// Components at these addresses that rejected our latest authentication.
    fn rejections(&self, _addresses: &Addresses) -> Vec<Rejection> {
        Vec::new()
    }

    /// Checks that the credentials of `access` are readable, and records the result.
    fn examine(&self, _component: &str, _access: Arc<Access>) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

/// Shared handle of a transport.
pub type SharedTransport = Arc<dyn Transport>;

/// Source of credentials and certificates. Read for each request, so that a changed file takes effect at
/// once. Every method may block and is called off the runtime.
pub trait Secrets: Send + Sync + 'static {
    /// Text of a credential. An error names file and remedy, never the text.
    fn read(&self, name: &str) -> Result<Secret, String>;
    /// Content of a file of certificates.
    fn certificates(&self, path: &Path) -> Result<Vec<u8>, String>;
    /// Keeps copies of the credentials that `access` needs until the run is released.
    fn keep(&self, run: RunId, access: &Access) -> Result<(), String>;
    /// Removes the copies of all runs except these.
    fn keep_only(&self, runs: &BTreeSet<RunId>);
    /// Removes the copies of this run.
    fn release(&self, run: RunId);
}
