//! `[clusters.*.self_managed.access.*]`: logins, certificates and proxies of each component.
//!
//! Owns the valid combinations of keys, and the check that every named credential and certificate exists. Must not print
//! the value of a credential key unless it is a valid name: users write the secret itself there.

use super::url::Kind as UrlKind;
use super::{Checker, quoted};
use crate::config::raw::{self, At};
use crate::config::secret::{Credentials, Secret};
use crate::domain::{Access, Identity, Login, Oauth};
use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use url::{Host, Url};

/// Maximum size of a certificate file in bytes.
const CA_LIMIT: u64 = 4 * 1024 * 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Basic,
    Bearer,
    Oauth,
    ApiKey,
}

impl Kind {
    const ALL: [(&'static str, Self); 5] = [
        ("none", Self::None),
        ("basic", Self::Basic),
        ("bearer", Self::Bearer),
        ("oauth", Self::Oauth),
        ("api_key", Self::ApiKey),
    ];

    fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(_, kind)| *kind == self).map_or("none", |(name, _)| name)
    }
}

/// The keys of a login: name, method that uses the key, value.
fn keys(raw: &raw::Access) -> [(&'static str, Kind, Option<&At<String>>); 9] {
    [
        ("username", Kind::Basic, raw.username.as_ref()),
        ("password", Kind::Basic, raw.password.as_ref()),
        ("token", Kind::Bearer, raw.token.as_ref()),
        ("token_url", Kind::Oauth, raw.token_url.as_ref()),
        ("client_id", Kind::Oauth, raw.client_id.as_ref()),
        ("client_secret", Kind::Oauth, raw.client_secret.as_ref()),
        ("audience", Kind::Oauth, raw.audience.as_ref()),
        ("scope", Kind::Oauth, raw.scope.as_ref()),
        ("api_key", Kind::ApiKey, raw.api_key.as_ref()),
    ]
}

impl Checker<'_> {
    /// Access by component. `reached`: components and their URLs. `only_rest`: the brokers have no management URL, and
    /// requests to them go to the REST URL.
    pub(super) fn access(
        &mut self,
        raw: &raw::AccessTables,
        path: &str,
        reached: &[(&'static str, Option<&str>)],
        only_rest: bool,
    ) -> BTreeMap<String, Access> {
        let own = [
            ("zeebe", &raw.zeebe),
            ("operate", &raw.operate),
            ("tasklist", &raw.tasklist),
            ("history", &raw.history),
            ("optimize", &raw.optimize),
            ("rest", &raw.rest),
            ("search", &raw.search),
        ];
        let mut access = BTreeMap::new();
        if let Some(at) = &raw.all
            && let Some(all) = self.one_access(at, &format!("{path}.all"))
        {
            let others = own.iter().filter(|(_, own)| own.is_none()).map(|(name, _)| *name);
            let applies: Vec<&str> = others.filter(|name| url_of(reached, name).is_some()).collect();
            self.in_plain_text(at, &format!("{path}.all"), &all, &applies, reached);
            access.extend(applies.iter().map(|name| ((*name).to_owned(), all.clone())));
        }
        for (name, at) in own {
            let Some(at) = at else { continue };
            let path = format!("{path}.{name}");
            let Some(one) = self.one_access(at, &path) else { continue };
            if name != "history" && url_of(reached, name).is_none() {
                let message = format!("`{path}` has no effect, because the cluster has no `{name}`");
                self.warning(position(at), message, format!("add the URL of `{name}`, or remove this table"));
            }
            self.in_plain_text(at, &path, &one, &[name], reached);
            access.insert(name.to_owned(), one);
        }
        // Components without an address of their own use the login of the component whose address they share.
        for (name, host, shared) in [("zeebe", "rest", only_rest), ("history", "zeebe", true)] {
            let own = own.iter().any(|(own, written)| *own == name && written.is_some());
            if let (true, false, Some(host)) = (shared, own, access.get(host).cloned()) {
                access.insert(name.to_owned(), host);
            }
        }
        access.retain(|_, one| *one != Access::default());
        access
    }

    fn one_access(&mut self, at: &At<raw::Access>, path: &str) -> Option<Access> {
        let raw = at.value();
        let before = self.errors();
        let kind = self.kind(at, path)?;
        for (name, method, written) in keys(raw) {
            if let (Some(written), true) = (written, method != kind) {
                let message = format!("`{path}.{name}` has no effect with `kind` \"{}\"", kind.name());
                let help = format!("remove it, or write kind = \"{}\"", method.name());
                self.error(written.span(), message, help);
            }
        }
        let login = self.login(kind, raw, path, position(at));
        let ca = raw.ca.as_ref().and_then(|at| self.ca(at, &format!("{path}.ca")));
        let identity = self.identity(raw, path);
        let proxy = raw.proxy.as_ref().and_then(|at| self.proxy(at, &format!("{path}.proxy")));
        let login = login?;
        (self.errors() == before).then_some(Access { login, ca, identity, proxy })
    }

    pub(super) fn errors(&self) -> usize {
        self.found.iter().filter(|d| d.level == super::Level::Error).count()
    }

    fn kind(&mut self, at: &At<raw::Access>, path: &str) -> Option<Kind> {
        let raw = at.value();
        let path = format!("{path}.kind");
        if raw.kind.is_none() {
            let Some((_, kind, written)) = keys(raw).into_iter().find(|(_, _, written)| written.is_some())
            else {
                return Some(Kind::None);
            };
            let span = written.map_or_else(|| position(at), At::span);
            self.missing(&path, span, "", &format!("write kind = \"{}\"", kind.name()));
            return None;
        }
        let known = Kind::ALL.map(|(name, kind)| (name, Some(kind)));
        self.one_of(raw.kind.as_ref(), &path, &known, None)
    }

    fn login(&mut self, kind: Kind, raw: &raw::Access, path: &str, at: Range<usize>) -> Option<Login> {
        let mut needed = |written: Option<&At<String>>, name: &str, help: &str| {
            if written.is_none() {
                let reason = format!(", and \"{}\" needs it", kind.name());
                self.missing(&format!("{path}.{name}"), at.clone(), &reason, help);
            }
        };
        match kind {
            Kind::None => Some(Login::None),
            Kind::Basic => {
                needed(raw.username.as_ref(), "username", "write the user name");
                needed(raw.password.as_ref(), "password", CREDENTIAL);
                let username =
                    raw.username.as_ref().and_then(|at| self.username(at, &format!("{path}.username")));
                let password = self.credential(raw.password.as_ref(), &format!("{path}.password"));
                Some(Login::Basic { username: username?, password: password?.0 })
            }
            Kind::Bearer => {
                needed(raw.token.as_ref(), "token", CREDENTIAL);
                let token = self.credential(raw.token.as_ref(), &format!("{path}.token"));
                Some(Login::Bearer { token: token?.0 })
            }
            Kind::ApiKey => {
                needed(raw.api_key.as_ref(), "api_key", CREDENTIAL);
                let key = self.credential(raw.api_key.as_ref(), &format!("{path}.api_key"));
                Some(Login::ApiKey { key: key?.0 })
            }
            Kind::Oauth => {
                needed(raw.token_url.as_ref(), "token_url", "write the URL of the token endpoint");
                needed(raw.client_id.as_ref(), "client_id", "write the client ID");
                needed(raw.client_secret.as_ref(), "client_secret", CREDENTIAL);
                let mut text = |at: Option<&At<String>>, key: &str| {
                    at.map(|at| {
                        self.text(at, &format!("{path}.{key}"), "the value that the token endpoint expects")
                    })
                };
                let client_id = text(raw.client_id.as_ref(), "client_id");
                let audience = text(raw.audience.as_ref(), "audience");
                let scope = text(raw.scope.as_ref(), "scope");
                let token_url = raw
                    .token_url
                    .as_ref()
                    .and_then(|at| self.url(at, &format!("{path}.token_url"), UrlKind::Token));
                let secret = self.credential(raw.client_secret.as_ref(), &format!("{path}.client_secret"));
                Some(Login::Oauth(Oauth {
                    token_url: token_url?,
                    client_id: client_id??,
                    client_secret: secret?.0,
                    audience: audience.flatten(),
                    scope: scope.flatten(),
                    json: false,
                }))
            }
        }
    }

    fn username(&mut self, at: &At<String>, path: &str) -> Option<String> {
        let name = self.text(at, path, "the user name")?;
        if name.contains(':') {
            let message =
                format!("`{path}` contains a `:`, and the text after it would be sent as the password");
            self.error(
                at.span(),
                message,
                "write only the user name, and put the password into the credential named by `password`",
            );
            return None;
        }
        Some(name)
    }

    pub(super) fn text(&mut self, at: &At<String>, path: &str, expected: &str) -> Option<String> {
        let text = at.value();
        if text.is_empty() || text.contains(char::is_control) {
            let message = format!("`{path}` is empty or contains control characters");
            self.error(at.span(), message, format!("write {expected}"));
            return None;
        }
        Some(text.clone())
    }

    /// Name and content of a readable credential; no content without a credentials directory.
    pub(super) fn credential(
        &mut self,
        raw: Option<&At<String>>,
        path: &str,
    ) -> Option<(String, Option<Secret>)> {
        let at = raw?;
        let name = at.value();
        if !Credentials::is_name(name) {
            let message = format!("`{path}` is not the name of a credential");
            let help = "write a name of letters, digits, `.`, `_` and `-`, and put the secret into a file of that name; if this was the secret itself, change it";
            self.error(at.span(), message, help);
            return None;
        }
        let directories = self.credentials.directories();
        if directories.is_empty() {
            // A user of the command line may not have access to the credentials; `serve` fails without them.
            if !std::mem::replace(&mut self.warned_unchecked, true) {
                let message = "credentials are not checked: no credentials directory is known here";
                let help = "set credentials_dir under [daemon], or use LoadCredential under systemd";
                self.warning(at.span(), message, help);
            }
            return Some((name.clone(), None));
        }
        if !self.credentials.has(name) {
            let message = format!("`{path}` names a credential that does not exist");
            let help = format!(
                "create a file of that name with mode 0600 in {}; under systemd, restart the daemon after that",
                directories.join(" or ")
            );
            self.error(at.span(), message, help);
            return None;
        }
        match self.credentials.read(name) {
            Ok(secret) => Some((name.clone(), Some(secret))),
            Err(why) => {
                let (message, help) = why.split_once(": ").unwrap_or((&why, "put the secret there"));
                // Skip a message that the check of the configured directory has reported already.
                if !self.found.iter().any(|d| d.message == message) {
                    self.error(at.span(), message, help);
                }
                None
            }
        }
    }

    fn identity(&mut self, raw: &raw::Access, path: &str) -> Option<Identity> {
        let (cert, key) = (raw.client_cert.as_ref(), raw.client_key.as_ref());
        if let (Some(at), None) = (cert, key) {
            let help = "write the name of the credential that holds the key; it can be the same credential";
            self.missing(&format!("{path}.client_key"), at.span(), ", and a certificate needs its key", help);
        }
        if let (None, Some(at)) = (cert, key) {
            let help =
                "write the name of the credential that holds the certificate; it can be the same credential";
            self.missing(
                &format!("{path}.client_cert"),
                at.span(),
                ", and a key needs its certificate",
                help,
            );
        }
        let found = [(cert, "client_cert"), (key, "client_key")]
            .map(|(at, name)| (at, self.credential(at, &format!("{path}.{name}"))));
        let [(cert_at, cert), (key_at, key)] = found;
        if let (Some(at), Some((_, Some(text)))) = (cert_at, &cert)
            && !has_certificate(text.expose().as_bytes())
        {
            let message = format!("the credential of `{path}.client_cert` holds no PEM certificate");
            let help = "put the certificate there, starting with `-----BEGIN CERTIFICATE-----`, followed by its intermediate certificates";
            self.error(at.span(), message, help);
        }
        if let (Some(at), Some((_, Some(text)))) = (key_at, &key) {
            let ends = |line: &str, end: &str| line.starts_with("-----BEGIN ") && line.ends_with(end);
            let lines = || text.expose().lines().map(str::trim);
            if lines()
                .any(|line| ends(line, "ENCRYPTED PRIVATE KEY-----") || line == "Proc-Type: 4,ENCRYPTED")
            {
                let message = format!("the key in the credential of `{path}.client_key` has a passphrase");
                self.error(at.span(), message, "remove the passphrase, for example with `openssl pkey`");
            } else if !lines().any(|line| ends(line, "PRIVATE KEY-----")) {
                let message = format!("the credential of `{path}.client_key` holds no PEM key");
                self.error(
                    at.span(),
                    message,
                    "put the key there, starting with `-----BEGIN PRIVATE KEY-----`",
                );
            }
        }
        Some(Identity { cert: cert?.0, key: key?.0 })
    }

    pub(super) fn ca(&mut self, at: &At<String>, path: &str) -> Option<PathBuf> {
        let file = Path::new(at.value());
        if !file.is_absolute() || at.value().contains(char::is_control) {
            let message = format!("`{path}` is {}, not an absolute path", quoted(at.value()));
            self.error(at.span(), message, "write the absolute path of a file");
            return None;
        }
        let mut pem = Vec::new();
        let read = std::fs::metadata(file).and_then(|meta| {
            if !meta.is_file() {
                return Err(std::io::Error::other("it is not a file"));
            }
            std::fs::File::open(file)?.take(CA_LIMIT).read_to_end(&mut pem)
        });
        if let Err(error) = read {
            let why = error.to_string();
            let why = why.split(" (os error").next().unwrap_or_default();
            let message = format!("`{path}` is {}, and the file cannot be read: {why}", quoted(at.value()));
            self.error(
                at.span(),
                message,
                "put the CA certificate there, readable for the user of the daemon",
            );
            return None;
        }
        if !has_certificate(&pem) {
            let message = format!("`{path}` is {}, a file without a PEM certificate", quoted(at.value()));
            let help = "put the CA certificate there as PEM, starting with `-----BEGIN CERTIFICATE-----`; `openssl x509 -inform der` converts a binary certificate";
            self.error(at.span(), message, help);
            return None;
        }
        Some(file.to_owned())
    }

    pub(super) fn proxy(&mut self, at: &At<String>, path: &str) -> Option<String> {
        let text = at.value().trim();
        let url =
            Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        let login =
            url.as_ref().map_or(text.contains('@'), |u| !u.username().is_empty() || u.password().is_some());
        if login {
            let message =
                format!("`{path}` contains a user name or password, and this file must not contain secrets");
            let help = "use a proxy without authentication, and change the password, because readers of this file know it";
            self.error(at.span(), message, help);
            return None;
        }
        let Some(url) =
            url.filter(|url| url.path() == "/" && url.query().is_none() && url.fragment().is_none())
        else {
            let message = format!("`{path}` is {}, not the URL of a proxy", quoted(text));
            self.error(at.span(), message, "write only http:// or https://, a host and a port");
            return None;
        };
        Some(url.as_str().trim_end_matches('/').to_owned())
    }

    /// Warns about credentials that are sent over plain http. Not an error, because the operator may accept that.
    fn in_plain_text(
        &mut self,
        at: &At<raw::Access>,
        path: &str,
        access: &Access,
        components: &[&str],
        reached: &[(&'static str, Option<&str>)],
    ) {
        if access.login == Login::None {
            return;
        }
        let unencrypted: Vec<&str> = components
            .iter()
            .copied()
            .filter(|name| {
                let mut urls = reached.iter().filter(|(component, _)| component == name);
                urls.any(|(_, url)| url.is_some_and(is_unencrypted))
            })
            .collect();
        if !unencrypted.is_empty() && !matches!(access.login, Login::Oauth(_)) {
            let message =
                format!("`{path}` sends its credential to {} over unencrypted http", unencrypted.join(", "));
            self.warning(position(at), message, "use https, or a loopback address");
        } else if !unencrypted.is_empty() {
            let message =
                format!("`{path}` sends its token to {} over unencrypted http", unencrypted.join(", "));
            self.warning(position(at), message, "use https, or a loopback address");
        }
        if let (Login::Oauth(oauth), Some(url)) = (&access.login, &at.value().token_url)
            && is_unencrypted(&oauth.token_url)
        {
            let message = format!("`{path}` sends its secret to the token endpoint over unencrypted http");
            self.warning(url.span(), message, "write an https URL");
        }
    }
}

pub(super) const CREDENTIAL: &str = "write the name of the credential that holds it";

/// Span of `kind`, else of the first key, else of the table.
fn position(at: &At<raw::Access>) -> Range<usize> {
    let raw = at.value();
    let first = keys(raw).into_iter().find_map(|(_, _, written)| written);
    raw.kind.as_ref().or(first).map_or_else(|| at.span(), At::span)
}

fn url_of<'u>(reached: &[(&'static str, Option<&'u str>)], name: &str) -> Option<&'u str> {
    reached.iter().find(|(component, _)| *component == name).and_then(|(_, url)| *url)
}

/// Whether the URL is http to another machine.
pub(super) fn is_unencrypted(url: &str) -> bool {
    let Ok(url) = Url::parse(url) else { return false };
    let loopback = match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => IpAddr::from(ip).is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::from(ip).is_loopback(),
        None => false,
    };
    url.scheme() == "http" && !loopback
}

/// Whether the text contains a certificate block; the TLS library validates it later.
fn has_certificate(pem: &[u8]) -> bool {
    let text = String::from_utf8_lossy(pem);
    let blocks = text.split("-----BEGIN CERTIFICATE-----").skip(1);
    let mut bodies = blocks.filter_map(|block| block.split_once("-----END CERTIFICATE-----"));
    bodies.any(|(body, _)| {
        let body: String = body.split_whitespace().collect();
        // A certificate is a DER sequence, whose first byte is 0x30.
        body.len() > 100
            && body.starts_with('M')
            && body.chars().all(|c| c.is_ascii_alphanumeric() || "+/=".contains(c))
    })
}
