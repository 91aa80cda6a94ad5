//! Connects a run with its parts: finds the part of a component, gives the part the facts about the run,
//! probes the part once, and records the part's results.
//!
//! Writes the events that a part returned. Must not change anything in the cluster, and must not retry.

use crate::camunda::{ClientError, PartState};
use crate::context::error::StepError;
use crate::context::execution::Execution;
use crate::domain::Component;
use crate::journal::FailureClass;
use crate::parts::part::{Notes, Part, PartRun};
use crate::parts::part_of;

/// Returns the part that backs up a component in this run. `Err` if the config has no address for the
/// component.
pub(crate) fn part(execution: &Execution, component: Component) -> Result<Box<dyn Part>, StepError> {
    part_of(component, &execution.spec.addresses, &execution.clients).ok_or_else(|| {
        StepError::new(FailureClass::Component, format!("{component} has no address in the config"))
    })
}

/// Returns the facts about this run that a part needs, with the current journal view.
pub(crate) fn part_run(execution: &Execution) -> PartRun<'_> {
    PartRun {
        run: &execution.run,
        view: execution.view(),
        id: execution.id(),
        instance: &execution.context.instance,
        version_in_config: execution.spec.version.is_some(),
        evidence: &execution.evidence,
        clock: &*execution.context.clock,
    }
}

/// Adds the facts that a part returned to the proof of the run, and writes the part's events to the journal.
pub(crate) async fn note(execution: &Execution, notes: Notes) -> Result<(), StepError> {
    for (name, fact) in notes.facts {
        execution.prove(name, fact);
    }
    if notes.events.is_empty() { Ok(()) } else { execution.write(notes.events).await }
}

/// Returns the state of this run's backup in one component.
pub(crate) async fn probe(execution: &Execution, part: &dyn Part) -> Result<PartState, ClientError> {
    let seen = part.probe(&part_run(execution)).await?;
    if let Some(event) = seen.found {
        // A failed write of the id is ignored, because the next probe finds the id again.
        let _ = execution.append(vec![event]).await;
    }
    Ok(seen.state)
}
