//! Who did not let us in when last asked, and since when.
//!
//! Owns when a refusal is over: no sooner than the same call, or for a login any call, is answered. Must not judge how
//! bad it is (`api::health`).

use crate::domain::{Access, Addresses, Instant};
use crate::lock::lock;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;

/// Those who refuse that are remembered; the oldest goes where there are more.
const REMEMBERED: usize = 10_000;
/// Forbidden calls of one of them.
const CALLS: usize = 64;
/// A part of a path with so many digits in a row has an id in it.
const ID: usize = 8;

/// One call, and whether whoever made it was let in.
#[derive(Clone, Copy, Debug)]
pub struct Attempt<'a> {
    /// Who was asked; the name under `access`.
    pub component: &'a str,
    /// Where; empty for a look at the credentials alone.
    pub base: &'a str,
    /// What we show there.
    pub access: Option<&'a Access>,
    /// Verb and path.
    pub call: &'a str,
    /// What came of it.
    pub outcome: Outcome<'a>,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Whoever asked was let in.
    AuthAccepted,
    /// Nobody was let in, with the sentence that says why.
    KeptOut(&'a str),
    /// They know who asks and forbid this call, with the sentence.
    Forbidden(&'a str),
}

/// Somebody who did not let us in when last asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Since when, without a break.
    pub since: Instant,
    /// One sentence with its remedy.
    pub why: String,
}

/// Everybody who did not.
#[derive(Default)]
pub struct Rejections {
    standing: Mutex<HashMap<Whom, Standing>>,
}

/// By the call that is forbidden, since another may be allowed; by none where nobody is let in at all.
type Standing = BTreeMap<Option<String>, Rejection>;

#[derive(Clone, PartialEq, Eq, Hash)]
struct Whom {
    component: String,
    base: String,
    access: Option<Access>,
}

impl Rejections {
    /// Remembers what came of a call.
    pub fn note(&self, attempt: &Attempt<'_>, now: Instant) {
        let Attempt { component, base, access, call, outcome } = *attempt;
        let mut all = lock(&self.standing);
        // Most of the time nobody is kept out.
        if all.is_empty() && outcome == Outcome::AuthAccepted {
            return;
        }
        let whom = Whom { component: component.to_owned(), base: base.to_owned(), access: access.cloned() };
        let (call, why) = match outcome {
            Outcome::AuthAccepted => {
                if let Some(standing) = all.get_mut(&whom) {
                    standing.retain(|forbidden, _| forbidden.as_ref().is_some_and(|f| *f != route(call)));
                    if standing.is_empty() {
                        all.remove(&whom);
                    }
                }
                return;
            }
            Outcome::KeptOut(why) => (None, why.to_owned()),
            Outcome::Forbidden(why) => (Some(route(call)), why.to_owned()),
        };
        if all.len() >= REMEMBERED && !all.contains_key(&whom) {
            let since = |standing: &Standing| standing.values().map(|rejection| rejection.since).min();
            let oldest = all.iter().min_by_key(|(_, standing)| since(standing));
            if let Some(oldest) = oldest.map(|(whom, _)| whom.clone()) {
                all.remove(&oldest);
            }
        }
        let standing = all.entry(whom).or_default();
        if standing.len() >= CALLS && !standing.contains_key(&call) {
            standing.pop_first();
        }
        standing.entry(call).or_insert(Rejection { since: now, why: String::new() }).why = why;
    }

    /// Those that stand of a cluster at these addresses, the oldest first.
    pub fn of(&self, addresses: &Addresses) -> Vec<Rejection> {
        let all = lock(&self.standing);
        if all.is_empty() {
            return Vec::new();
        }
        let one = |component, base: &Option<String>| base.clone().map(|base| (component, base));
        // The common history has no address of its own.
        let shared = [("history", Some(addresses.zeebe.clone())), ("history", addresses.rest.clone())];
        let mut whom: BTreeSet<(&str, String)> = [
            Some(("zeebe", addresses.zeebe.clone())),
            one("operate", &addresses.operate),
            one("tasklist", &addresses.tasklist),
            one("optimize", &addresses.optimize),
            one("rest", &addresses.rest),
            addresses.search.as_ref().map(|search| ("search", search.url.clone())),
            addresses.saas.as_ref().map(|saas| ("saas", saas.api.clone())),
        ]
        .into_iter()
        .flatten()
        .chain(shared.into_iter().filter_map(|(component, base)| Some((component, base?))))
        .chain(addresses.brokers.iter().map(|base| ("zeebe", base.clone())))
        .map(|(component, base)| (component, base.trim_end_matches('/').to_owned()))
        .collect();
        whom.extend(addresses.access.keys().map(|component| (component.as_str(), String::new())));
        let mut found = Vec::new();
        for (component, base) in whom {
            let access = addresses.access.get(component).cloned();
            let standing = all.get(&Whom { component: component.to_owned(), base, access });
            let standing =
                standing.into_iter().flatten().filter(|(call, _)| is_about(addresses, call.as_ref()));
            found.extend(standing.map(|(_, rejection)| rejection.clone()));
        }
        found.sort_by(|a, b| (a.since, &a.why).cmp(&(b.since, &b.why)));
        found
    }
}

/// A provider's API is one for all clusters, and each is in the path.
fn is_about(addresses: &Addresses, call: Option<&String>) -> bool {
    let id = addresses.saas.as_ref().map(|saas| &saas.cluster_id);
    id.zip(call).is_none_or(|(id, call)| call.contains(id.as_str()))
}

/// The call without its query, and with a star for each part that has a backup's id in it.
fn route(call: &str) -> String {
    let path = call.split('?').next().unwrap_or_default();
    let parts = path.split('/').map(|part| {
        let longest = part.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
        if longest >= Some(ID) && uuid::Uuid::try_parse(part).is_err() { "*" } else { part }
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

    fn whys(rejections: &Rejections) -> Vec<(i64, String)> {
        rejections.of(&addresses()).into_iter().map(|d| (d.since.timestamp(), d.why)).collect()
    }

    #[test]
    fn a_login_is_refused_since_the_first_time_and_until_any_call_is_answered() {
        let rejections = Rejections::default();
        rejections.note(&attempt("zeebe", "http://z", "GET /a", Outcome::KeptOut("first")), at(1));
        rejections.note(&attempt("zeebe", "http://z", "POST /b", Outcome::KeptOut("second")), at(2));
        rejections.note(&attempt("operate", "http://o", "GET /a", Outcome::KeptOut("operate")), at(3));
        rejections.note(&attempt("zeebe", "http://elsewhere", "GET /a", Outcome::KeptOut("another")), at(4));
        assert_eq!(whys(&rejections), [(1, "second".to_owned()), (3, "operate".to_owned())]);
        rejections.note(&attempt("zeebe", "http://z", "GET /c", Outcome::AuthAccepted), at(5));
        assert_eq!(whys(&rejections), [(3, "operate".to_owned())]);
    }

    #[test]
    fn what_is_forbidden_stays_so_until_that_call_is_answered() {
        let rejections = Rejections::default();
        let call = "POST /actuator/exporting/pause?soft=true";
        rejections.note(&attempt("zeebe", "http://z", call, Outcome::Forbidden("no pause")), at(1));
        let delete = "DELETE /actuator/backups/1763899200";
        rejections.note(&attempt("zeebe", "http://z", delete, Outcome::Forbidden("no deletion")), at(2));
        rejections
            .note(&attempt("zeebe", "http://z", "GET /actuator/partitions", Outcome::AuthAccepted), at(3));
        assert_eq!(whys(&rejections).len(), 2);
        rejections.note(
            &attempt("zeebe", "http://z", "DELETE /actuator/backups/1763899999", Outcome::AuthAccepted),
            at(4),
        );
        assert_eq!(whys(&rejections), [(1, "no pause".to_owned())]);
        rejections.note(&attempt("zeebe", "http://z", call, Outcome::AuthAccepted), at(5));
        assert_eq!(whys(&rejections), []);
    }

    #[test]
    fn another_login_at_the_same_place_is_another_matter() {
        let rejections = Rejections::default();
        let theirs = Access { ca: Some("/ca.pem".into()), ..Access::default() };
        let one = attempt("zeebe", "http://z", "GET /a", Outcome::KeptOut("theirs"));
        rejections.note(&Attempt { access: Some(&theirs), ..one }, at(1));
        assert_eq!(whys(&rejections), []);
        rejections.note(&one, at(2));
        rejections.note(
            &Attempt {
                access: Some(&theirs),
                ..attempt("zeebe", "http://z", "GET /a", Outcome::AuthAccepted)
            },
            at(3),
        );
        assert_eq!(whys(&rejections), [(2, "theirs".to_owned())]);
    }

    #[test]
    fn what_a_provider_forbids_is_of_one_cluster_and_a_refused_client_of_all() {
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
        rejections.note(&attempt("saas", "https://api", &call, Outcome::KeptOut("no")), at(2));
        assert_eq!((count(ours), count(other)), (2, 1));
    }

    #[test]
    fn however_many_there_are_they_do_not_fill_the_memory() {
        let rejections = Rejections::default();
        for n in 0..REMEMBERED + 100 {
            let base = format!("http://{n}");
            rejections.note(&attempt("zeebe", &base, "GET /a", Outcome::KeptOut("no")), at(n as i64));
        }
        for n in 0..2 * CALLS {
            let call = format!("GET /{n}");
            rejections.note(&attempt("zeebe", "http://z", &call, Outcome::Forbidden("no")), at(0));
        }
        assert_eq!(lock(&rejections.standing).len(), REMEMBERED);
        assert_eq!(whys(&rejections).len(), CALLS);
    }
}
