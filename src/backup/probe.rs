//! One probe of a run's backup in one component.
//!
//! Must not change anything, and must not retry.

use crate::camunda::{ClientError, PartState, Search};
use crate::context::execution::Execution;
use crate::domain::Component;
use crate::parts::saas;

/// One look at this run's id in one component.
pub(crate) async fn probe(execution: &Execution, component: Component) -> Result<PartState, ClientError> {
    let id = execution.id();
    match component {
        Component::Saas => match &execution.clients.saas {
            Some(saas) => Box::pin(saas::probe(execution, saas)).await,
            None => Ok(PartState::Absent),
        },
        Component::Zeebe => execution.clients.zeebe.see(id).await,
        Component::Records => {
            let Some((search, repository)) = records(execution) else { return Ok(PartState::Absent) };
            let snapshot = search.see_snapshot(&repository, &Search::records_name(id)).await?;
            Ok(crate::camunda::snapshot::state_of(snapshot.as_ref()))
        }
        app => match execution.clients.apps.get(&app) {
            Some(client) => client.see(id).await,
            None => Ok(PartState::Absent),
        },
    }
}

/// The search client and the repository of the records snapshot.
pub(crate) fn records(execution: &Execution) -> Option<(&Search, String)> {
    let address = execution.spec.addresses.search.as_ref()?;
    Some((execution.clients.search.as_ref()?, address.repository.clone()))
}
