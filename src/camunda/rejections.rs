//! Components that reject our authentication, and since when.
//!
//! Owns the end of a rejection: the rejected call (or, for a rejected login, any call) must succeed first.
//! Must not judge the severity (`api::health`).

use crate::domain::{Access, Addresses, Instant};
use crate::lock::lock;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

/// Maximum number of components with rejections; the oldest is dropped.
const MAX_COMPONENTS: usize = 10_000;
/// Maximum number of forbidden calls per component.
const MAX_CALLS: usize = 64;
/// Minimum number of consecutive digits that mark a path segment as an id.
const ID_DIGITS: usize = 8;

/// One call, and the result of its authentication.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Component name, as under `access` in the config.
    pub component: &'a str,
    /// Base address; empty for a check of the credentials alone.
    pub base: &'a str,
    /// Access settings used for the call.
    pub access: Option<&'a Access>,
    /// Method and path.
    pub call: &'a str,
    /// Result of the authentication.
    pub outcome: Outcome<'a>,
}

/// Result of the authentication of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Authenticated.
    AuthAccepted,
    /// Authentication rejected (401 or no valid credential), with the sentence that explains it.
    AuthRejected(&'a str),
    /// Authenticated, but not permitted to make this call, with the sentence.
    Forbidden(&'a str),
}

/// A rejection that has not ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Start of the uninterrupted rejection.
    pub since: Instant,
    /// One sentence with its remedy.
    pub why: String,
}

/// All current rejections.
#[derive(Default)]
pub(crate) struct Rejections {
    current: Mutex<HashMap<Key, CurrentRejections>>,
}

/// Key: the forbidden call, since others may be permitted; `None` if the login itself is rejected.
type CurrentRejections = BTreeMap<Option<String>, Rejection>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    component: String,
    base: String,
    access: Option<Access>,
}

impl Rejections {
    /// Records the result of a call.
    pub(crate) fn note(&self, attempt: &Attempt<'_>, now: Instant) {
        let Attempt { component, base, access, call, outcome } = *attempt;
        let mut all = lock(&self.current);
        // Return early in the usual case: no component has rejected authentication.
        if all.is_empty() && outcome == Outcome::AuthAccepted {
            return;
        }
        let key = Key { component: component.to_owned(), base: base.to_owned(), access: access.cloned() };
        let (call, why) = match outcome {
            Outcome::AuthAccepted => {
                if let Some(current) = all.get_mut(&key) {
                    current.retain(|forbidden, _| forbidden.as_ref().is_some_and(|f| *f != route(call)));
                    if current.is_empty() {
                        all.remove(&key);
                    }
                }
                return;
            }
            Outcome::AuthRejected(why) => (None, why.to_owned()),
            Outcome::Forbidden(why) => (Some(route(call)), why.to_owned()),
        };
        if all.len() >= MAX_COMPONENTS && !all.contains_key(&key) {
            let since = |current: &CurrentRejections| current.values().map(|rejection| rejection.since).min();
            let oldest = all.iter().min_by_key(|(_, current)| since(current));
            if let Some(oldest) = oldest.map(|(key, _)| key.clone()) {
                all.remove(&oldest);
            }
        }
        let current = all.entry(key).or_default();
        if current.len() >= MAX_CALLS && !current.contains_key(&call) {
            current.pop_first();
        }
        current.entry(call).or_insert(Rejection { since: now, why: String::new() }).why = why;
    }

    /// Current rejections for a cluster at these addresses, oldest first.
    pub(crate) fn of(&self, addresses: &Addresses) -> Vec<Rejection> {
        let all = lock(&self.current);
        if all.is_empty() {
            return Vec::new();
        }
        let one = |component, base: &Option<String>| base.clone().map(|base| (component, base));
        // The common history has no address of its own.
        let shared = [("history", Some(addresses.zeebe.clone())), ("history", addresses.rest.clone())];
        let mut key: BTreeSet<(&str, String)> = [
            Some(("zeebe", addresses.zeebe.clone())),
            one("operate", &addresses.operate),
            one("tasklist", &addresses.tasklist),
            one("optimize", &addresses.optimize),
            one("rest", &addresses.rest),
            addresses.search.as_ref().map(|search| ("search", search.url.clone())),
        ]
        .into_iter()
        .flatten()
        .chain(shared.into_iter().filter_map(|(component, base)| Some((component, base?))))
        .chain(addresses.brokers.iter().map(|base| ("zeebe", base.clone())))
        .chain(addresses.saas.iter().map(|saas| ("saas", saas.api.clone())))
        .map(|(component, base)| (component, base.trim_end_matches('/').to_owned()))
        .collect();
        key.extend(addresses.access.keys().map(|component| (component.as_str(), String::new())));
        let mut found = Vec::new();
        for (component, base) in key {
            let access = addresses.access.get(component).cloned();
            let current = all.get(&Key { component: component.to_owned(), base, access });
            let current =
                current.into_iter().flatten().filter(|(call, _)| is_about(addresses, call.as_ref()));
            found.extend(current.map(|(_, rejection)| rejection.clone()));
        }
        found.sort_by(|a, b| (a.since, &a.why).cmp(&(b.since, &b.why)));
        found
    }
}

/// Whether a rejection concerns this cluster. The SaaS API is shared by all clusters; the path contains the
/// cluster id.
fn is_about(addresses: &Addresses, call: Option<&String>) -> bool {
    let id = addresses.profile().id_in_path;
    id.zip(call).is_none_or(|(id, call)| call.contains(id))
}

/// The call as a key: without its query, and with `*` for each path segment that contains a backup id.
fn route(call: &str) -> String {
    let path = call.split('?').next().unwrap_or_default();
    let parts = path.split('/').map(|part| {
        let longest = part.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
        if longest >= Some(ID_DIGITS) && uuid::Uuid::try_parse(part).is_err() { "*" } else { part }
    });
    parts.collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::SaasAddress;

    fn at(second: i64) -> Instant {
        Instant::from_timestamp(second, 0).unwrap()
    }

    fn addresses() -> Addresses {
        Addresses { zeebe: "http://z".into(), operate: Some("http://o/".into()), ..Addresses::default() }
    }

    fn attempt<'a>(component: &'a str, base: &'a str, call: &'a str, outcome: Outcome<'a>) -> Attempt<'a> {
        Attempt { component, base, access: None, call, outcome }
    }

    fn reasons(rejections: &Rejections) -> Vec<(i64, String)> {
        rejections.of(&addresses()).into_iter().map(|d| (d.since.timestamp(), d.why)).collect()
    }

    #[test]
    fn rejected_login_lasts_from_its_first_time_until_any_call_succeeds() {
        let rejections = Rejections::default();
        rejections.note(&attempt("zeebe", "http://z", "GET /a", Outcome::AuthRejected("first")), at(1));
        rejections.note(&attempt("zeebe", "http://z", "POST /b", Outcome::AuthRejected("second")), at(2));
        rejections.note(&attempt("operate", "http://o", "GET /a", Outcome::AuthRejected("operate")), at(3));
        rejections
            .note(&attempt("zeebe", "http://elsewhere", "GET /a", Outcome::AuthRejected("another")), at(4));
        assert_eq!(reasons(&rejections), [(1, "second".to_owned()), (3, "operate".to_owned())]);
        rejections.note(&attempt("zeebe", "http://z", "GET /c", Outcome::AuthAccepted), at(5));
        assert_eq!(reasons(&rejections), [(3, "operate".to_owned())]);
    }

    #[test]
    fn forbidden_call_stays_rejected_until_that_call_succeeds() {
        let rejections = Rejections::default();
        let call = "POST /actuator/exporting/pause?soft=true";
        rejections.note(&attempt("zeebe", "http://z", call, Outcome::Forbidden("no pause")), at(1));
        let delete = "DELETE /actuator/backups/1763899200";
        rejections.note(&attempt("zeebe", "http://z", delete, Outcome::Forbidden("no deletion")), at(2));
        rejections
            .note(&attempt("zeebe", "http://z", "GET /actuator/partitions", Outcome::AuthAccepted), at(3));
        assert_eq!(reasons(&rejections).len(), 2);
        rejections.note(
            &attempt("zeebe", "http://z", "DELETE /actuator/backups/1763899999", Outcome::AuthAccepted),
            at(4),
        );
        assert_eq!(reasons(&rejections), [(1, "no pause".to_owned())]);
        rejections.note(&attempt("zeebe", "http://z", call, Outcome::AuthAccepted), at(5));
        assert_eq!(reasons(&rejections), []);
    }

    #[test]
    fn rejections_are_separate_for_each_login_at_one_address() {
        let rejections = Rejections::default();
        let theirs = Access { ca: Some("/ca.pem".into()), ..Access::default() };
        let one = attempt("zeebe", "http://z", "GET /a", Outcome::AuthRejected("theirs"));
        rejections.note(&Attempt { access: Some(&theirs), ..one }, at(1));
        assert_eq!(reasons(&rejections), []);
        rejections.note(&one, at(2));
        rejections.note(
            &Attempt {
                access: Some(&theirs),
                ..attempt("zeebe", "http://z", "GET /a", Outcome::AuthAccepted)
            },
            at(3),
        );
        assert_eq!(reasons(&rejections), [(2, "theirs".to_owned())]);
    }

    #[test]
    fn saas_forbidden_call_concerns_one_cluster_and_rejected_client_concerns_all() {
        let hosted = |cluster_id: &str| Addresses {
            saas: Some(SaasAddress {
                api: "https://api".into(),
                cluster_id: cluster_id.into(),
                min_interval: std::time::Duration::ZERO,
                max_backups: 3,
            }),
            ..Addresses::default()
        };
        let (ours, other) = ("12345678-9abc-def0-1234-56789abcdef0", "00000000-9abc-def0-1234-56789abcdef0");
        let rejections = Rejections::default();
        let count = |id: &str| rejections.of(&hosted(id)).len();
        let call = format!("GET /clusters/{ours}/backups");
        rejections.note(&attempt("saas", "https://api", &call, Outcome::Forbidden("no")), at(1));
        assert_eq!((count(ours), count(other)), (1, 0));
        rejections.note(&attempt("saas", "https://api", &call, Outcome::AuthRejected("no")), at(2));
        assert_eq!((count(ours), count(other)), (2, 1));
    }

    #[test]
    fn number_of_remembered_rejections_is_limited() {
        let rejections = Rejections::default();
        for n in 0..MAX_COMPONENTS + 100 {
            let base = format!("http://{n}");
            rejections.note(&attempt("zeebe", &base, "GET /a", Outcome::AuthRejected("no")), at(n as i64));
        }
        for n in 0..2 * MAX_CALLS {
            let call = format!("GET /{n}");
            rejections.note(&attempt("zeebe", "http://z", &call, Outcome::Forbidden("no")), at(0));
        }
        assert_eq!(lock(&rejections.current).len(), MAX_COMPONENTS);
        assert_eq!(reasons(&rejections).len(), MAX_CALLS);
    }
}
