//! Facts about a cluster that its addresses alone decide: self-managed, or in Camunda 8 SaaS.
//!
//! Owns the one decision between the two. Pure.

use crate::domain::{Addresses, Component, Family};

/// Facts known before a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Profile<'a> {
    /// Name of the deployment in the routes shaped like Camunda 8 SaaS.
    pub deployment: &'static str,
    /// Config key of `id`, for messages.
    pub key: &'static str,
    /// Two configured clusters with the same value are one cluster.
    pub id: &'a str,
    /// Management URL of the brokers; `None` if only the provider reaches them.
    pub management: Option<&'a str>,
    /// Id in the path of each call to an API that several clusters share; `None` for an API of this cluster alone.
    pub id_in_path: Option<&'a str>,
    /// Family and components; `None` if the version of the cluster decides.
    pub procedure: Option<(Family, &'static [Component])>,
}

impl Addresses {
    /// The facts that follow from these addresses.
    pub fn profile(&self) -> Profile<'_> {
        match &self.saas {
            Some(saas) => Profile {
                deployment: "saas",
                key: "`cluster_id`",
                id: &saas.cluster_id,
                management: None,
                id_in_path: Some(&saas.cluster_id),
                procedure: Some((Family::Saas, &[Component::Saas])),
            },
            None => Profile {
                deployment: "self-managed",
                key: "`zeebe` URL",
                id: &self.zeebe,
                management: Some(&self.zeebe),
                id_in_path: None,
                procedure: None,
            },
        }
    }
}
