//! Connections: limits on their number and on the time a request may take to arrive, and their shutdown.
//!
//! Owns the protection against many, slow or silent clients. Must not know routes.

use super::refuse;
use crate::clock::{SharedClock, Tasks, within};
use crate::lock::lock;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use axum::serve::Listener;
use futures::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Longest request body, in bytes.
const BODY: usize = 64 * 1024;
/// Longest request head and read-ahead buffer, in bytes.
const HEAD: usize = 32 * 1024;
/// Timeout of a request head, from the connection or from the previous response.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Timeout of a request body.
const BODY_TIME: Duration = Duration::from_secs(10);
/// Timeout of the last response on a connection that is being closed.
const LAST_RESPONSE: Duration = Duration::from_secs(10);
/// Interval of the log line of a listener that stays full.
const REPEAT_LOG: Duration = Duration::from_secs(600);

/// Limits of a listener.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Name in the log.
    pub listener: &'static str,
    /// Maximum of open connections.
    pub open: usize,
    /// Maximum age of a connection; `None` if a response may take any time.
    pub stay: Option<Duration>,
}

/// Accepts connections until `stop`. `peer` identifies the client; handlers find it as a request extension.
pub(super) async fn accept<L, P>(
    mut listener: L,
    routes: Router,
    bounds: Bounds,
    peer: fn(&L::Io) -> P,
    (clock, tasks): (SharedClock, Tasks),
    stop: CancellationToken,
) where
    L: Listener,
    P: Clone + Send + Sync + 'static,
{
    let slots = Arc::new(Slots { bounds, clock: clock.clone(), row: Mutex::default() });
    loop {
        let io = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            (io, _) = listener.accept() => io,
        };
        // Without a free slot the connection is closed by dropping it.
        let Some(slot) = slots.take() else { continue };
        let peer = peer(&io);
        let (routes, slots, clock, stop) = (routes.clone(), slots.clone(), clock.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = slot.given_up.cancelled() => {}
                () = converse(io, routes, (slot.clone(), peer), bounds.stay, &clock, &stop) => {}
            }
            slots.leave(&slot);
        });
    }
}

async fn converse<I, P>(
    io: I,
    routes: Router,
    known: (Slot, P),
    stay: Option<Duration>,
    clock: &SharedClock,
    stop: &CancellationToken,
) where
    I: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    P: Clone + Send + Sync + 'static,
{
    let routes = TowerToHyperService::new(routes);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        let (slot, peer) = known.clone();
        request.extensions_mut().insert(slot);
        request.extensions_mut().insert(peer);
        routes.call(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(io), service);
    let mut connection = pin!(connection);
    let long_enough = async {
        match stay {
            Some(stay) => clock.sleep(stay).await,
            None => std::future::pending().await,
        }
    };
    // A client that hangs up or sends no HTTP is not an error.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.cancelled() => {}
        () = long_enough => {}
    }
    connection.as_mut().graceful_shutdown();
    match stay {
        Some(_) => drop(within(&**clock, LAST_RESPONSE, connection).await),
        None => drop(connection.await),
    }
}

/// Reads the whole body before the handler runs, within its timeout and maximum length.
pub(super) async fn whole_body(State(clock): State<SharedClock>, request: Request, next: Next) -> Response {
    let (head, body) = request.into_parts();
    let body = match within(&*clock, BODY_TIME, read(body)).await {
        Some(Ok(body)) => body,
        Some(Err(refusal)) => return refusal,
        None => {
            let why = format!("the body did not arrive within {} s", BODY_TIME.as_secs());
            let mut response = refuse::problem(StatusCode::REQUEST_TIMEOUT, &why);
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let working = match head.extensions.get::<Slot>() {
        None => None,
        Some(slot) => match slot.work() {
            Some(working) => Some(working),
            // The body did not arrive before the connection was closed. Reject the request, so that no command starts
            // from a partial body.
            None => {
                return refuse::problem(StatusCode::SERVICE_UNAVAILABLE, "the connection is being closed");
            }
        },
    };
    let response = next.run(Request::from_parts(head, Body::from(body))).await;
    drop(working);
    response
}

async fn read(body: Body) -> Result<Bytes, Response> {
    let mut whole = Vec::new();
    let mut parts = body.into_data_stream();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| refuse::bad_input("the body ended early"))?;
        if whole.len() + part.len() > BODY {
            return Err(refuse::problem(StatusCode::PAYLOAD_TOO_LARGE, "the body is longer than 64 KiB"));
        }
        whole.extend_from_slice(&part);
    }
    Ok(whole.into())
}

/// Connection slots of one listener, oldest first.
struct Slots {
    bounds: Bounds,
    clock: SharedClock,
    row: Mutex<Row>,
}

#[derive(Default)]
struct Row {
    taken: VecDeque<Slot>,
    logged_at: Option<Duration>,
}

/// Slot of one open connection.
#[derive(Clone)]
struct Slot {
    use_of: Arc<Mutex<Use>>,
    given_up: CancellationToken,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Waiting for a request, or for the client to read the response.
    Idle,
    Working,
    GivenUp,
}

impl Slots {
    /// Takes a slot. If all are taken, the oldest idle connection is closed, so that silent clients cannot block health
    /// checks. `None` if every connection is working.
    fn take(&self) -> Option<Slot> {
        let mut row = lock(&self.row);
        if row.taken.len() >= self.bounds.open {
            self.log_crowded(&mut row.logged_at);
            let idle = row.taken.iter().position(Slot::give_up)?;
            row.taken.remove(idle);
        }
        let slot = Slot { use_of: Arc::new(Mutex::new(Use::Idle)), given_up: CancellationToken::new() };
        row.taken.push_back(slot.clone());
        Some(slot)
    }

    fn leave(&self, slot: &Slot) {
        lock(&self.row).taken.retain(|other| !Arc::ptr_eq(&other.use_of, &slot.use_of));
    }

    fn log_crowded(&self, logged_at: &mut Option<Duration>) {
        let now = self.clock.monotonic();
        if logged_at.is_none_or(|before| now.saturating_sub(before) >= REPEAT_LOG) {
            *logged_at = Some(now);
            tracing::warn!(
                event = "http.crowded",
                listener = self.bounds.listener,
                connections = self.bounds.open,
                "all connection slots are taken: the oldest idle connections are closed for new ones"
            );
        }
    }
}

impl Slot {
    /// Closes the connection unless a request of it is in progress. Returns whether it was closed.
    fn give_up(&self) -> bool {
        let mut use_of = lock(&self.use_of);
        if *use_of == Use::Working {
            return false;
        }
        *use_of = Use::GivenUp;
        self.given_up.cancel();
        true
    }

    fn work(&self) -> Option<Working> {
        let mut use_of = lock(&self.use_of);
        if *use_of == Use::GivenUp {
            return None;
        }
        *use_of = Use::Working;
        Some(Working(self.use_of.clone()))
    }
}

/// Guard of a request in progress. Dropping the guard makes the connection idle.
struct Working(Arc<Mutex<Use>>);

impl Drop for Working {
    fn drop(&mut self) {
        *lock(&self.0) = Use::Idle;
    }
}

#[cfg(test)]
mod tests;
