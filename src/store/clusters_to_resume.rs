//! Clusters to resume: the cluster that a pending resume belongs to, and the text about it for operators.
//!
//! Pure. The cluster may have been renamed in the config since, or removed from it.

use crate::domain::Addresses;
use crate::store::PendingResume;
use std::collections::{BTreeMap, HashMap, HashSet};

/// Broker URL of a cluster, with the proxy in front of it.
type Location<'a> = (&'a str, Option<&'a str>);

/// Clusters with a pending resume, indexed for many cheap lookups.
pub struct ClustersToResume<'a> {
    names: HashSet<&'a str>,
    locations: HashMap<Location<'a>, &'a str>,
}

impl<'a> ClustersToResume<'a> {
    /// Builds the index of these pending resumes.
    pub fn by(pending_resumes: impl IntoIterator<Item = &'a PendingResume>) -> Self {
        let mut pending = Self { names: HashSet::new(), locations: HashMap::new() };
        for pending_resume in pending_resumes {
            pending.names.insert(&pending_resume.cluster);
            pending.locations.extend(
                locations(&pending_resume.addresses)
                    .map(|location| (location, pending_resume.cluster.as_str())),
            );
        }
        pending
    }

    /// Name recorded in the pending resume of the cluster with this name or these addresses.
    pub fn to(&self, cluster: &str, addresses: &Addresses) -> Option<&'a str> {
        let by_name = self.names.get(cluster).copied();
        by_name.or_else(|| locations(addresses).find_map(|location| self.locations.get(&location).copied()))
    }
}

/// Destinations of a resume; the address of a broker and of its gateway mean the same cluster. A cluster in Camunda 8 SaaS
/// has only its id, at which no resume is ever pending.
fn locations(addresses: &Addresses) -> impl Iterator<Item = Location<'_>> {
    let proxy = |name| addresses.access.get(name).and_then(|access| access.proxy.as_deref());
    let management = std::iter::once(&addresses.zeebe).chain(&addresses.brokers).map(|url| (url, "zeebe"));
    let all = management.chain(addresses.rest.iter().map(|url| (url, "rest")));
    let hosted = addresses.saas.iter().map(|saas| (saas.cluster_id.as_str(), None));
    // Clusters of Camunda 8 SaaS have no broker URL, so empty URLs are left out.
    let urls = all.filter(|(url, _)| !url.is_empty());
    urls.map(move |(url, name)| (url.trim_end_matches('/'), proxy(name))).chain(hosted)
}

/// Whether both are addresses of one cluster.
pub fn is_same_cluster(one: &Addresses, other: &Addresses) -> bool {
    locations(one).any(|location| locations(other).any(|another| another == location))
}

/// Clusters whose resume is not confirmed, with the reason.
pub type UnconfirmedResumes = BTreeMap<String, String>;

/// Sentence about one unconfirmed resume. `next` is the remedy.
pub fn unconfirmed(cluster: &str, why: &str, next: &str) -> String {
    format!("the resume of {cluster} is still pending, so exporting may be paused there: {why}; {next}")
}

/// Remedy for an unconfirmed resume while a daemon is running.
pub fn retried_by_daemon(cluster: &str) -> String {
    format!(
        "the daemon retries at least every minute: fix the cause, or, if the cluster is gone permanently, abandon the resume with `pending-resumes abandon {cluster} --why TEXT`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Access, RunId, SaasAddress};
    use rstest::rstest;

    fn at(zeebe: &str) -> Addresses {
        Addresses { zeebe: zeebe.into(), ..Addresses::default() }
    }

    fn behind(proxy: &str, zeebe: &str) -> Addresses {
        let access = Access { proxy: Some(proxy.into()), ..Access::default() };
        Addresses { access: [("zeebe".to_owned(), access)].into(), ..at(zeebe) }
    }

    fn rest(zeebe: &str, rest: &str) -> Addresses {
        Addresses { rest: Some(rest.into()), ..at(zeebe) }
    }

    fn brokers(zeebe: &str, broker: &str) -> Addresses {
        Addresses { brokers: vec![broker.into()], ..at(zeebe) }
    }

    fn pending_resume(addresses: Addresses) -> PendingResume {
        PendingResume::new(RunId::nil(), "orders", addresses, chrono::DateTime::UNIX_EPOCH)
    }

    #[rstest]
    #[case::its_own_name("orders", at("http://a"), at("http://b"), true)]
    #[case::the_same_address("shop", at("http://a"), at("http://a"), true)]
    #[case::but_for_a_slash("shop", at("http://a/"), at("http://a"), true)]
    #[case::another("shop", at("http://a"), at("http://b"), false)]
    #[case::the_same_rest_api("shop", rest("http://a", "http://r"), rest("http://b", "http://r"), true)]
    #[case::by_rest_alone_now("shop", rest("http://a", "http://r"), rest("http://r", "http://r"), true)]
    #[case::by_a_broker_now("shop", brokers("http://a", "http://b"), at("http://b"), true)]
    #[case::two_networks_with_one_name(
        "shop",
        behind("http://p", "http://a"),
        behind("http://q", "http://a"),
        false
    )]
    #[case::one_network("shop", behind("http://p", "http://a"), behind("http://p", "http://a"), true)]
    #[case::a_provider_has_no_address("shop", at("http://a"), Addresses::default(), false)]
    #[case::nor_had_it_one("shop", Addresses::default(), Addresses::default(), false)]
    fn pending_resume_belongs_to_the_cluster_at_its_address(
        #[case] name: &str,
        #[case] pending: Addresses,
        #[case] requested: Addresses,
        #[case] ours: bool,
    ) {
        let pending_resumes = [pending_resume(pending)];
        assert_eq!(ClustersToResume::by(&pending_resumes).to(name, &requested), ours.then_some("orders"));
    }

    #[rstest]
    #[case::one_id("5cd2e4e1", "5cd2e4e1", true)]
    #[case::two_ids("5cd2e4e1", "0b5a9a8c", false)]
    fn saas_clusters_are_compared_by_their_id(#[case] one: &str, #[case] other: &str, #[case] same: bool) {
        let hosted = |cluster_id: &str| Addresses {
            saas: Some(SaasAddress {
                api: "https://api".into(),
                cluster_id: cluster_id.into(),
                min_interval: std::time::Duration::from_mins(15),
                max_backups: 3,
            }),
            ..Addresses::default()
        };
        assert_eq!(is_same_cluster(&hosted(one), &hosted(other)), same);
        assert!(!is_same_cluster(&hosted(one), &at("http://a")));
    }
}
