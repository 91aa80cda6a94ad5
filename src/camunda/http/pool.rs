//! Connections: one client, with its own pool, for each combination of TLS and proxy settings.
//!
//! Owns TLS and proxies. File contents are compared at each use, so that a renewed certificate takes effect
//! at once.

use crate::camunda::http::reasons::{CONNECT, causes};
use crate::camunda::{Secrets, TransportError};
use crate::domain::{Access, Identity, Secret};
use crate::lock::lock;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

/// Lifetime of an idle connection: shorter than the servers' own limit, so that no connection is used while
/// it closes.
const IDLE: Duration = Duration::from_secs(10);
/// Idle connections kept per host.
const IDLE_PER_HOST: usize = 2;
/// Clients kept; the least recently used client is dropped.
const CACHED_CLIENTS: usize = 256;

pub(super) struct Pool {
    plain: reqwest::Client,
    /// Ordered by last use; the last entry is the most recent.
    clients: Mutex<Vec<CachedClient>>,
}

struct CachedClient {
    ca: Option<PathBuf>,
    identity: Option<Identity>,
    proxy: Option<String>,
    files: Files,
    client: reqwest::Client,
}

/// Contents of the files behind one client.
#[derive(PartialEq, Eq)]
struct Files {
    ca: Option<Vec<u8>>,
    identity: Option<(Secret, Secret)>,
}

impl Pool {
    pub(super) fn new() -> Result<Self, TransportError> {
        let plain = builder()
            .build()
            // A machine without CA certificates must still support plain HTTP: a resume may depend on it. No
            // certificate is trusted then, so that HTTPS fails with its reason.
            .or_else(|_| builder().tls_certs_only([]).build())
            .map_err(|error| TransportError::NotSent(format!("TLS cannot be set up: {}", causes(&error))))?;
        Ok(Self { plain, clients: Mutex::default() })
    }

    /// Client for components without TLS files or proxy.
    pub(super) fn plain(&self) -> &reqwest::Client {
        &self.plain
    }

    /// Checks that the current files make a valid client, even if an earlier client still connects. Blocks.
    pub(super) fn examine(&self, access: &Access, secrets: &dyn Secrets) -> Result<(), String> {
        if access.ca.is_none() && access.identity.is_none() {
            return Ok(());
        }
        let files = Files::read(access, secrets)?;
        if lock(&self.clients).iter().any(|cached| cached.is_for(access) && cached.files == files) {
            return Ok(());
        }
        CachedClient::new(access, files).map(|_| ())
    }

    /// Client for these settings. Blocks.
    pub(super) fn client(
        &self,
        access: &Access,
        secrets: &dyn Secrets,
    ) -> Result<reqwest::Client, TransportError> {
        let files = Files::read(access, secrets);
        let mut clients = lock(&self.clients);
        let known = clients.iter().position(|cached| cached.is_for(access)).map(|at| clients.remove(at));
        let cached = match (known, files) {
            (Some(cached), Ok(files)) if cached.files == files => Ok(cached),
            // Keep using the earlier client if the files are gone, or if only one of two was renewed: a
            // resume may depend on it.
            (Some(cached), files) => {
                Ok(files.and_then(|files| CachedClient::new(access, files)).unwrap_or(cached))
            }
            (None, files) => files.and_then(|files| CachedClient::new(access, files)),
        };
        let cached = cached.map_err(|reason| TransportError::NoAccess { reason, transient: false })?;
        let client = cached.client.clone();
        clients.push(cached);
        if clients.len() > CACHED_CLIENTS {
            clients.remove(0);
        }
        Ok(client)
    }
}

impl CachedClient {
    fn new(access: &Access, files: Files) -> Result<Self, String> {
        let mut certificates = Vec::new();
        if let (Some(pem), Some(path)) = (&files.ca, &access.ca) {
            certificates = reqwest::Certificate::from_pem_bundle(pem)
                .ok()
                .filter(|found| !found.is_empty())
                .ok_or_else(|| {
                    format!(
                        "`{}` contains no certificate: store the CA certificate there as PEM",
                        path.display()
                    )
                })?;
        }
        let mut identity = None;
        if let (Some((cert, key)), Some(names)) = (&files.identity, &access.identity) {
            let pem = if names.cert == names.key {
                cert.expose().to_owned()
            } else {
                format!("{}\n{}", cert.expose(), key.expose())
            };
            let found = reqwest::Identity::from_pem(pem.as_bytes()).map_err(|_| identity_is_none(names))?;
            identity = Some(found);
        }
        let with = |only_ours: bool| {
            let mut builder = builder();
            builder = match (only_ours, certificates.is_empty()) {
                (true, _) => builder.tls_certs_only(certificates.clone()),
                (false, true) => builder,
                (false, false) => builder.tls_certs_merge(certificates.clone()),
            };
            if let Some(identity) = identity.clone() {
                builder = builder.identity(identity);
            }
            if let Some(proxy) = &access.proxy {
                let shown = crate::camunda::error::one_line(proxy, 200);
                let proxy = reqwest::Proxy::all(proxy.as_str())
                    .map_err(|_| format!("the proxy {shown} is not a valid URL: correct `proxy`"))?;
                builder = builder.proxy(proxy);
            }
            builder.build().map_err(|error| match &access.identity {
                Some(names) => identity_is_none(names),
                None => format!("TLS cannot be set up: {}", causes(&error)),
            })
        };
        // A machine without CA certificates must still support plain HTTP, so certificates are left out.
        let client = with(false).or_else(|reason| with(true).map_err(|_| reason))?;
        let Access { ca, identity, proxy, .. } = access.clone();
        Ok(Self { ca, identity, proxy, files, client })
    }

    fn is_for(&self, access: &Access) -> bool {
        (&self.ca, &self.identity, &self.proxy) == (&access.ca, &access.identity, &access.proxy)
    }
}

impl Files {
    fn read(access: &Access, secrets: &dyn Secrets) -> Result<Self, String> {
        let ca = access.ca.as_deref().map(|path| secrets.certificates(path)).transpose()?;
        let identity = access.identity.as_ref();
        let identity = identity
            .map(|names| Ok::<_, String>((secrets.read(&names.cert)?, secrets.read(&names.key)?)))
            .transpose()?;
        Ok(Self { ca, identity })
    }
}

fn identity_is_none(names: &Identity) -> String {
    format!(
        "the credentials `{}` and `{}` are not a certificate with its key: store both as PEM, the key without a passphrase",
        names.cert, names.key
    )
}

fn builder() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("camunda-backupd/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(CONNECT)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(IDLE_PER_HOST)
}
