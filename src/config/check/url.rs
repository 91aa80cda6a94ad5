//! Addresses of components: what they may look like, and what people write instead.

use super::{Checker, quoted};
use crate::config::raw::At;
use url::Url;

/// Which URL it is: each is cut before what our clients add.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everything before `/actuator`.
    Management,
    /// Everything before `/v1` or `/v2`.
    Rest,
    /// The search engine's own.
    Search,
    /// The provider's Administration API: everything before `/clusters`.
    Administration,
    /// A token endpoint, whole.
    Token,
}

impl Checker<'_> {
    /// The URL without a trailing slash, if it is one that can be used.
    pub(super) fn url(&mut self, at: &At<String>, path: &str, kind: Kind) -> Option<String> {
        let text = at.value().trim();
        let url = match Url::parse(text) {
            Ok(url) if matches!(url.scheme(), "http" | "https") && url.has_host() => url,
            // A password in it must not be repeated in the message.
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
                    format!("write the scheme too, as in \"http://{}\"", text.escape_debug())
                };
                self.error(
                    at.span(),
                    format!("`{path}` is {}, which is not an http or https URL", quoted(text)),
                    help,
                );
                return None;
            }
        };
        if !url.username().is_empty() || url.password().is_some() || url.path().contains('@') {
            let help = "write it without `user:password@`, and change that password: whoever could read this file knows it; name a credential under [clusters.NAME.self_managed.access.COMPONENT]";
            self.error(
                at.span(),
                format!(
                    "`{path}` has a user name or password in it, and a secret must not stand in this file"
                ),
                help,
            );
            return None;
        }
        if url.query().is_some() || url.fragment().is_some() {
            self.error(
                at.span(),
                format!("`{path}` has a query or fragment in it"),
                "write it only up to the `?` or `#`",
            );
            return None;
        }
        let mut base = url.clone();
        let segments: Vec<&str> = url.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let (cut_before, why): (&[&str], _) = match kind {
            Kind::Management => (&["actuator"], "`/actuator` is added by us"),
            Kind::Rest => (&["v1", "v2", "actuator"], "`/v1` or `/v2` is added by us"),
            Kind::Search => (&["_snapshot", "_cat", "_cluster"], "the path of each request is added by us"),
            Kind::Administration => (&["clusters"], "`/clusters` is added by us"),
            Kind::Token => return Some(url.as_str().to_owned()),
        };
        if let Some(cut) = segments.iter().position(|segment| cut_before.contains(segment)) {
            base.set_path(&segments[..cut].join("/"));
            let message = format!("`{path}` ends in `/{}`, and {why}", segments[cut..].join("/"));
            self.error(at.span(), message, format!("write \"{}\"", base.as_str().trim_end_matches('/')));
            return None;
        }
        Some(url.as_str().trim_end_matches('/').to_owned())
    }
}
