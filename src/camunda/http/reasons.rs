//! Reasons for a missing response, as text with a remedy.
//!
//! Owns the classification of errors of reqwest, TLS and proxies. Must not show a secret: only the innermost
//! cause of an error is shown, never the URL.

use crate::camunda::TransportError;
use crate::camunda::error::one_line;
use crate::domain::Access;
use std::error::Error as _;
use std::time::Duration;

/// Timeout of a connection, TLS included.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

pub(super) fn longer_than_the_limit(limit: usize) -> TransportError {
    let limit =
        if limit >= 1 << 20 { format!("{} MiB", limit >> 20) } else { format!("{} KiB", limit >> 10) };
    TransportError::Unusable(format!("the body is longer than {limit}"))
}

/// Only a failed connection or failed authentication is certain to have delivered nothing.
pub(super) fn classify(error: reqwest::Error, deadline: Duration, access: Option<&Access>) -> TransportError {
    if error.is_builder() {
        return TransportError::NotSent(format!("the address is not usable: {}", causes(&error)));
    }
    let cause = causes(&error);
    if let Some(reason) = certificate(&cause) {
        return TransportError::NoAccess { reason, transient: false };
    }
    let proxy = access.and_then(|access| access.proxy.as_deref()).map(|proxy| one_line(proxy, 200));
    if error.is_connect() {
        if let Some(proxy) = &proxy {
            return by_proxy(&cause, proxy);
        }
        let reason = if error.is_timeout() {
            format!("no connection within {} s", CONNECT.min(deadline).as_secs_f32())
        } else if cause.contains("InvalidContentType") {
            format!("it does not speak TLS ({cause}): write http:// in its address")
        } else {
            cause
        };
        return TransportError::NotSent(reason);
    }
    if error.is_timeout() {
        return TransportError::Lost(format!("timeout after {} s", deadline.as_secs_f32()));
    }
    TransportError::Lost(format!("connection lost: {cause}"))
}

fn by_proxy(cause: &str, proxy: &str) -> TransportError {
    if cause.contains("proxy authorization required") {
        let reason = format!("the proxy {proxy} requires a login (407): use a proxy without one");
        return TransportError::NoAccess { reason, transient: false };
    }
    if cause.contains("tunnel error: unsuccessful") {
        let reason = format!(
            "the proxy {proxy} refused to connect to it: let the proxy allow this address, or correct `proxy`"
        );
        return TransportError::NoAccess { reason, transient: true };
    }
    TransportError::NotSent(format!("through the proxy {proxy}: {cause}"))
}

/// Explains a TLS error about the server's or our certificate. The alert about our certificate belongs to the
/// handshake, but may arrive after the request was sent; the server discards that request.
fn certificate(cause: &str) -> Option<String> {
    const ALERTS: [&str; 6] = [
        "BadCertificate",
        "UnknownCA",
        "CertificateUnknown",
        "CertificateExpired",
        "DecryptError",
        "AccessDenied",
    ];
    let (what, remedy) = match cause.strip_prefix("received fatal alert: ") {
        Some("CertificateRequired") => {
            ("it requires a client certificate", "configure `client_cert` and `client_key` under access")
        }
        Some(alert) if ALERTS.contains(&alert) => (
            "it rejects the client certificate",
            "store one that it trusts in the credentials of `client_cert` and `client_key`",
        ),
        None if cause.contains("not valid for name") => (
            "its certificate is for another host name",
            "write the name that the certificate is for in the address, or have one issued for this name",
        ),
        None if cause.contains("UnknownIssuer") => (
            "its certificate is not signed by a CA that this machine trusts",
            "configure the file of its CA as `ca` under access",
        ),
        None if cause.contains("CaUsedAsEndEntity") => (
            "its certificate is a CA certificate, as created by `openssl req -x509`, not a server certificate",
            "issue one with basicConstraints CA:FALSE, and configure its CA as `ca` under access",
        ),
        None if cause.contains("certificate expired") || cause.contains("certificate: Expired") => {
            ("its certificate has expired", "renew it, and check that the clocks agree")
        }
        None if cause.contains("invalid peer certificate") => {
            ("its certificate is invalid", "have it reissued, or correct `ca` under access")
        }
        _ => return None,
    };
    Some(format!("{what} ({cause}): {remedy}"))
}

/// The innermost cause, which names the event; the outer causes repeat the URL.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut innermost: Option<&dyn std::error::Error> = error.source();
    while let Some(next) = innermost.and_then(std::error::Error::source) {
        innermost = Some(next);
    }
    innermost.map_or_else(|| "no reason given".to_owned(), |cause| one_line(&cause.to_string(), 300))
}

pub(super) fn redirect(response: &reqwest::Response) -> String {
    let status = response.status().as_u16();
    let location = response.headers().get(reqwest::header::LOCATION).and_then(|value| value.to_str().ok());
    // The query may hold a token of a login page.
    match location.map(|to| to.split(['?', '#']).next().unwrap_or_default()) {
        Some(to) => format!("a redirect ({status}) to {}", one_line(to, 200)),
        None => format!("a redirect ({status})"),
    }
}
