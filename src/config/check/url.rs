//! URLs of components.
//!
//! Owns the accepted forms, and remedies for common mistakes. Must not print a password from a URL.

use super::{Checker, quoted};
use crate::config::raw::At;
use url::Url;

/// Kind of URL, by the path that the clients append.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everything before `/actuator`.
    Management,
    /// Everything before `/v1` or `/v2`.
    Rest,
    /// Base URL of the search engine.
    Search,
    /// Administration API of Camunda 8 SaaS: everything before `/clusters`.
    Administration,
    /// A token endpoint: the whole URL.
    Token,
}

impl Checker<'_> {
    /// The URL without a trailing slash; `None` if invalid.
    pub(super) fn url(&mut self, at: &At<String>, path: &str, kind: Kind) -> Option<String> {
        let text = at.value().trim();
        let url = match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            // The text may contain a password, so the message must not repeat it.
            Ok(_) | Err(_) if text.contains('@') => {
                self.error(
                    at.span(),
                    format!("`{path}` is not a URL"),
                    "write http:// or https://, a host and a port",
                );
                return None;
            }
            Ok(_) | Err(_) => {
                let help = if text.contains("://") {
                    "write http:// or https://, a host and a port".to_owned()
                } else {
                    format!("add the scheme, as in \"http://{}\"", text.escape_debug())
                };
                self.error(
                    at.span(),
                    format!("`{path}` is {}, not an http or https URL", quoted(text)),
                    help,
                );
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() || url.path().contains('@') {
            let help = "remove `user:password@`, change the password, because readers of this file know it, and name a credential under [clusters.NAME.self_managed.access.COMPONENT]";
            self.error(
                at.span(),
                format!("`{path}` contains a user name or password, and this file must not contain secrets"),
                help,
            );
            return None;
        }
        if url.query().is_some() || url.fragment().is_some() {
            self.error(
                at.span(),
                format!("`{path}` contains a query or a fragment"),
                "remove everything from the `?` or `#` on",
            );
            return None;
        }
        let mut base = url.clone();
        let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let (cut_before, reason): (&[&str], _) = match kind {
            Kind::Management => (&["actuator"], "the daemon adds `/actuator`"),
            Kind::Rest => (&["v1", "v2", "actuator"], "the daemon adds `/v1` or `/v2`"),
            Kind::Search => (&["_snapshot", "_cat", "_cluster"], "the daemon adds the path of each request"),
            Kind::Administration => (&["clusters"], "the daemon adds `/clusters`"),
            Kind::Token => return Some(url.as_str().to_owned()),
        };
        if let Some(cut) = segments.iter().position(|segment| cut_before.contains(segment)) {
            base.set_path(&segments[..cut].join("/"));
            let message = format!("`{path}` ends in `/{}`, but {reason}", segments[cut..].join("/"));
            self.error(at.span(), message, format!("write \"{}\"", base.as_str().trim_end_matches('/')));
            return None;
        }
        Some(url.as_str().trim_end_matches('/').to_owned())
    }
}
