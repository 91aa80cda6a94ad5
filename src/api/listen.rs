//! Listeners: HTTP on loopback or a Unix socket, and the control socket with peer credentials.
//!
//! Owns the sockets and their routers. Opens before the daemon starts, so that a port in use is reported before a run
//! can start. Must not handle requests.

use super::connections::{self, Bounds};
use super::routes::{self, ApiState};
use super::{Control, refuse};
use crate::api::actions;
use crate::api::actions::Role;
use crate::clock::{SharedClock, Tasks};
use crate::config::{Config, Listen};
use crate::store::SharedStore;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

/// Limits of the HTTP listener: many clients, and every response is quick.
const OUTSIDE: Bounds = Bounds { listener: "http", open: 256, stay: Some(Duration::from_secs(60)) };
/// Limits of the control socket: a command may take as long as its caller waits.
const INSIDE: Bounds = Bounds { listener: "control", open: 64, stay: None };

/// Opened sockets, before they accept connections.
pub(crate) struct Listeners {
    http: Http,
    control: UnixListener,
    hosts: Vec<String>,
    owner: u32,
}

enum Http {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Failure to open a listener.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// The address is in use or not available.
    #[error(
        "cannot listen on {address}: {reason}. Stop the process that uses it, or set another [http] listen"
    )]
    Tcp {
        /// `[http] listen`.
        address: String,
        /// Error of the operating system.
        reason: String,
    },
    /// The socket file cannot be created.
    #[error("cannot open the socket {}: {reason}. Name a directory that exists and that the daemon may write", path.display())]
    Unix {
        /// Socket file.
        path: PathBuf,
        /// Error of the operating system.
        reason: String,
    },
    /// Another daemon accepts connections on the socket.
    #[error("another daemon listens on {}. Stop it, or set another [daemon] runtime_dir", .0.display())]
    Taken(PathBuf),
}

/// Opens every listener of the config.
pub(crate) async fn open(config: &Config) -> Result<Listeners, ListenError> {
    let http =
        match &config.http.listen {
            Listen::Tcp(address) => Http::Tcp(TcpListener::bind(address).await.map_err(|error| {
                ListenError::Tcp { address: address.to_string(), reason: error.to_string() }
            })?),
            Listen::Unix(path) => Http::Unix(unix(path).await?),
        };
    let path = config.daemon.runtime_dir.join("control.sock");
    let dir = &config.daemon.runtime_dir;
    std::fs::create_dir_all(dir)
        .map_err(|error| ListenError::Unix { path: path.clone(), reason: error.to_string() })?;
    let control = unix(&path).await?;
    let owner = std::fs::metadata(&path).map_or(0, |m| m.uid());
    Ok(Listeners { http, control, hosts: config.http.public_hosts.clone(), owner })
}

/// Binds a Unix socket. Replaces a stale socket file only if no process accepts connections on it. Mode 0660.
async fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    let refused =
        |error: std::io::Error| ListenError::Unix { path: path.to_owned(), reason: error.to_string() };
    if UnixStream::connect(path).await.is_ok() {
        return Err(ListenError::Taken(path.to_owned()));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(refused(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(refused)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(refused)?;
    Ok(listener)
}

impl Listeners {
    /// The address of the HTTP listener, with the port the system chose.
    pub(crate) fn http_address(&self) -> Option<std::net::SocketAddr> {
        match &self.http {
            Http::Tcp(listener) => listener.local_addr().ok(),
            Http::Unix(_) => None,
        }
    }

    /// Serves requests until the returned token is cancelled.
    pub(crate) fn serve(
        self,
        store: SharedStore,
        control: Arc<dyn Control>,
        clock: &SharedClock,
        tasks: &Tasks,
    ) -> CancellationToken {
        let state = ApiState { store, control };
        let hosts = Arc::new(self.hosts);
        let whole_body = middleware::from_fn_with_state(clock.clone(), connections::whole_body);
        let outside = routes::reading()
            .fallback(refuse::no_such_path)
            .layer(whole_body.clone())
            .layer(middleware::from_fn_with_state(hosts, refuse::local_only))
            .layer(middleware::from_fn(refuse::as_json))
            .layer(middleware::from_fn(refuse::with_request_id))
            .with_state(state.clone());
        let owner = self.owner;
        let inside = routes::reading()
            .merge(actions::acting())
            .fallback(refuse::no_such_path)
            .layer(whole_body)
            .layer(middleware::from_fn(move |request, next| with_role(owner, request, next)))
            .layer(middleware::from_fn(refuse::as_json))
            .layer(middleware::from_fn(refuse::with_request_id))
            .with_state(state);
        let stop = CancellationToken::new();
        let means = || (clock.clone(), tasks.clone());
        match self.http {
            Http::Tcp(listener) => {
                let accept = connections::accept(listener, outside, OUTSIDE, |_| (), means(), stop.clone());
                tasks.spawn(accept);
            }
            Http::Unix(listener) => {
                let accept = connections::accept(listener, outside, OUTSIDE, |_| (), means(), stop.clone());
                tasks.spawn(accept);
            }
        }
        tasks.spawn(connections::accept(self.control, inside, INSIDE, Peer::of, means(), stop.clone()));
        stop
    }
}

/// Peer of a control-socket connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Option<u32>,
}

impl Peer {
    fn of(io: &UnixStream) -> Self {
        Self { uid: io.peer_cred().ok().map(|c| c.uid()) }
    }
}

async fn with_role(owner: u32, mut request: Request, next: Next) -> Response {
    let uid = request.extensions().get::<Peer>().and_then(|peer| peer.uid);
    let role = if uid == Some(0) || uid == Some(owner) { Role::Admin } else { Role::Operate };
    request.extensions_mut().insert(role);
    next.run(request).await
}
