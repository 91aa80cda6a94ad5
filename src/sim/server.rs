//! One simulated cluster on a socket.
//!
//! Owns the HTTP server. A dropped response must appear to the client as a connection that ends without a
//! byte. Each connection therefore has a switch that closes it before any further write. A refused request
//! looks the same, because all parts share one port; only in memory is such a request certainly not sent.

use super::transport::{SharedCluster, SimClock, locked};
use super::wire::{Carried, WireRequest};
use crate::camunda;
use crate::clock::SharedClock;
use axum::body::{Body, Bytes};
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use futures::stream;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// Serves one cluster until `shutdown`; pending responses are dropped then.
pub async fn serve(
    listener: TcpListener,
    cluster: SharedCluster,
    clock: SharedClock,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let stopping = CancellationToken::new();
    let sim = Sim { cluster, clock: SimClock::beside(clock), stopping: stopping.clone() };
    let app = axum::Router::new().fallback(response).with_state(sim);
    let service = app.into_make_service_with_connect_info::<Switch>();
    let stop = async move {
        shutdown.await;
        stopping.cancel();
    };
    axum::serve(Breakable(listener), service).with_graceful_shutdown(stop).await
}

#[derive(Clone)]
struct Sim {
    cluster: SharedCluster,
    clock: SimClock,
    stopping: CancellationToken,
}

async fn response(
    State(sim): State<Sim>,
    ConnectInfo(switch): ConnectInfo<Switch>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let method = match method {
        Method::GET | Method::HEAD => camunda::Method::Get,
        Method::POST => camunda::Method::Post,
        Method::PUT => camunda::Method::Put,
        Method::DELETE => camunda::Method::Delete,
        _ => return StatusCode::METHOD_NOT_ALLOWED.into_response(),
    };
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let request = WireRequest {
        method,
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or("").to_owned(),
        content_type: content_type.map(str::to_owned),
        authorization: headers
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned),
        body: body.to_vec(),
    };
    if request.path.starts_with("/sim/") {
        let now = sim.clock.now();
        return plain(locked(&sim.cluster).control(now, &request));
    }
    let carried = tokio::select! {
        carried = sim.clock.exchange(&sim.cluster, &request) => carried,
        () = sim.stopping.cancelled() => Carried::Lost,
    };
    match carried {
        Carried::Response(response) => plain(response),
        Carried::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Carried::Endless => {
            let chunk = Bytes::from_static(&[b' '; 16 * 1024]);
            let stopping = sim.stopping.clone();
            let chunks = stream::unfold(chunk, move |chunk| {
                let stopping = stopping.clone();
                async move { (!stopping.is_cancelled()).then(|| (Ok::<_, Infallible>(chunk.clone()), chunk)) }
            });
            Body::from_stream(chunks).into_response()
        }
        Carried::Refused | Carried::Lost | Carried::Waiting(_) => {
            switch.broken.store(true, Ordering::SeqCst);
            StatusCode::OK.into_response() // never written: the connection breaks first
        }
    }
}

fn plain(response: camunda::Response) -> Response {
    let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut headers = HeaderMap::new();
    if let Ok(kind) = response.content_type.parse()
        && !response.content_type.is_empty()
    {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    if let Some(quiet) = response.retry_after {
        headers.insert(header::RETRY_AFTER, quiet.as_secs().into());
    }
    (status, headers, response.body).into_response()
}

/// The switch of one connection.
#[derive(Clone, Default)]
struct Switch {
    broken: Arc<AtomicBool>,
}

impl Connected<IncomingStream<'_, Breakable>> for Switch {
    fn connect_info(stream: IncomingStream<'_, Breakable>) -> Self {
        stream.io().switch.clone()
    }
}

/// A listener with breakable connections.
struct Breakable(TcpListener);

impl axum::serve::Listener for Breakable {
    type Io = BreakableStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (stream, address) = axum::serve::Listener::accept(&mut self.0).await;
        // Responses are small; waiting for a full packet would only add latency.
        let _ = stream.set_nodelay(true);
        (BreakableStream { stream, switch: Switch::default() }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// A connection that writes nothing once its switch is set.
struct BreakableStream {
    stream: TcpStream,
    switch: Switch,
}

impl BreakableStream {
    fn check(&self) -> io::Result<()> {
        if self.switch.broken.load(Ordering::SeqCst) {
            Err(io::ErrorKind::ConnectionReset.into())
        } else {
            Ok(())
        }
    }
}

impl AsyncRead for BreakableStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for BreakableStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check()?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
