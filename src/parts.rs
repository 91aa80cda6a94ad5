//! Kinds of backup parts (Zeebe, web apps, records, SaaS) behind one trait, `Part`.
//!
//! Owns the requests for one kind of part, in one file. `upkeep::delete::location` has those for the snapshots of a
//! finished run. Must not write to the journal, wait or retry.

pub(crate) mod part;
mod records;
pub(crate) mod saas;
mod webapp;
mod zeebe;

pub(crate) use records::no_index;

use crate::context::Clients;
use crate::domain::{Addresses, Component};
use part::Part;
use records::RecordsPart;
use saas::SaasPart;
use webapp::WebAppPart;
use zeebe::ZeebePart;

/// Returns the part that backs up `component`. `None` if the addresses do not contain the component.
pub(crate) fn part_of(
    component: Component,
    addresses: &Addresses,
    clients: &Clients,
) -> Option<Box<dyn Part>> {
    let search = addresses.search.as_ref();
    Some(match component {
        Component::Zeebe => Box::new(ZeebePart { zeebe: clients.zeebe.clone() }),
        Component::Records => Box::new(RecordsPart {
            search: clients.search.clone()?,
            repository: search?.repository.clone(),
            pattern: search?.records.clone().unwrap_or_default(),
        }),
        Component::Saas => Box::new(SaasPart { saas: clients.saas.clone()? }),
        Component::Operate | Component::Tasklist | Component::History | Component::Optimize => {
            Box::new(WebAppPart {
                component,
                app: clients.apps.get(&component)?.clone(),
                search: clients.search.clone(),
                repository: search.map(|search| search.webapps_repository.clone()),
            })
        }
    })
}
