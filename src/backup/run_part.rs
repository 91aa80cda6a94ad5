//! Connection between a run and its parts: the part of a component, the facts for it, and the notes from it.
//!
//! Writes the events that a part returned. Must not send a request.

use crate::context::error::StepError;
use crate::context::execution::Execution;
use crate::domain::Component;
use crate::journal::FailureClass;
use crate::parts::part::{Notes, Part, PartRun};
use crate::parts::part_of;

/// The part of a component of this run.
pub(crate) fn part(execution: &Execution, component: Component) -> Result<Box<dyn Part>, StepError> {
    part_of(component, &execution.spec.addresses, &execution.clients).ok_or_else(|| {
        StepError::new(FailureClass::Component, format!("{component} has no address in the config"))
    })
}

/// Facts about this run for a part, as of now.
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

/// Stores facts and writes events that a part returned.
pub(crate) async fn note(execution: &Execution, notes: Notes) -> Result<(), StepError> {
    for (name, fact) in notes.facts {
        execution.prove(name, fact);
    }
    if notes.events.is_empty() { Ok(()) } else { execution.write(notes.events).await }
}
