//! A transport for unit tests: returns prepared responses in order and records the requests.
//!
//! Must not interpret a response.

use crate::camunda::{Method, Request, Response, SharedTransport, Transport, TransportError};
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Content type of the brokers' own responses.
pub(crate) const ACTUATOR: &str = "application/vnd.spring-boot.actuator.v3+json";

#[derive(Default)]
pub(crate) struct Canned {
    responses: Mutex<VecDeque<Result<Response, TransportError>>>,
    requested: Mutex<Vec<Request>>,
}

impl Canned {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Adds the next response: status and JSON text.
    pub(super) fn json(self: &Arc<Self>, status: u16, body: &str) -> &Arc<Self> {
        self.of_type(status, ACTUATOR, body)
    }

    /// Adds the next response: status, content type and body.
    pub(super) fn of_type(self: &Arc<Self>, status: u16, content_type: &str, body: &str) -> &Arc<Self> {
        let response = Response {
            status,
            content_type: content_type.to_owned(),
            body: body.as_bytes().to_vec(),
            ..Default::default()
        };
        self.responses.lock().unwrap().push_back(Ok(response));
        self
    }

    /// Makes the next request fail with `error`.
    pub(super) fn fails(self: &Arc<Self>, error: TransportError) -> &Arc<Self> {
        self.responses.lock().unwrap().push_back(Err(error));
        self
    }

    pub(super) fn shared(self: &Arc<Self>) -> SharedTransport {
        self.clone()
    }

    /// The requests sent so far, as `METHOD url body`.
    pub(super) fn requested(&self) -> Vec<String> {
        let line = |request: &Request| {
            let method = match request.method {
                Method::Get => "GET",
                Method::Post => "POST",
                Method::Put => "PUT",
                Method::Delete => "DELETE",
            };
            match &request.json {
                Some(json) => format!("{method} {} {json}", request.url),
                None => format!("{method} {}", request.url),
            }
        };
        self.requested.lock().unwrap().iter().map(line).collect()
    }
}

impl Transport for Canned {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, TransportError>> {
        self.requested.lock().unwrap().push(request);
        let response =
            self.responses.lock().unwrap().pop_front().expect("one more call than the test has answers for");
        Box::pin(async move { response })
    }
}
