//! The action of each step of a plan. Contains the guard, the start request, and the last probe after the
//! resume.
//!
//! The wait step is in `poll`, and the pause steps are in `pause`. Must not know the order of steps (`plan`),
//! write intents (`executor`) or interpret responses (`parts`).

use crate::backup::poll;
use crate::backup::run_part::probe;
use crate::backup::run_part::{note, part, part_run};
use crate::camunda::{ClientError, PartState};
use crate::context::error::{StepError, refused};
use crate::context::execution::Execution;
use crate::context::retry::RetryTransient;
use crate::context::start_error::refused_or_unknown;
use crate::journal::{Event, FailureClass, Step};
use crate::parts::part::{Guard, Notes, Part, StartError};
use crate::pause::{start, verify};
use serde_json::{Value, json};
use std::time::Duration;

/// Time limit for the retries of the last probe after the resume.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// Carries out one step. `begun_before` is true if the intent was written before a restart. A start is then
/// not sent again.
pub(crate) async fn act(execution: &Execution, step: Step, begun_before: bool) -> Result<(), StepError> {
    match step {
        Step::Guard => guard_all(execution).await,
        Step::Start(_) if begun_before => Ok(()),
        Step::Start(component) => start_part(execution, &*part(execution, component)?).await,
        Step::Wait(component) => poll::wait(execution, &*part(execution, component)?).await,
        Step::Pause => start::pause(execution).await,
        Step::CheckPause => verify::check(execution).await,
        // The executor sends the resume itself, so that no other code can delay the request.
        Step::Resume => Ok(()),
    }
}

async fn guard_all(execution: &Execution) -> Result<(), StepError> {
    for component in execution.plan.components.clone() {
        guard(execution, &*part(execution, component)?).await?;
    }
    Ok(())
}

/// Checks that a component can start a backup under our id. Returns the events to write before the start
/// request.
async fn guard(execution: &Execution, part: &dyn Part) -> Result<Vec<Event>, StepError> {
    let attempt = format!("{} could not be examined before the start", part.component());
    let run = part_run(execution);
    let retry = RetryTransient::new(&*execution.context.clock, part.guard_limit());
    let guard = retry
        .until_clear(
            || part.guard(&run),
            |error| run.remember(error),
            |guard| matches!(guard, Guard::Unclear(_)),
        )
        .await
        .map_err(|error| refused(&attempt, &error))?;
    match guard {
        Guard::Free(events) => Ok(events),
        Guard::Unclear(reason) => {
            Err(StepError::new(FailureClass::Unreachable, format!("{attempt}: {reason}")))
        }
        Guard::Refused(error) => Err(error),
    }
}

async fn start_part(execution: &Execution, part: &dyn Part) -> Result<(), StepError> {
    let events = guard(execution, part).await?;
    note(execution, Notes { events, facts: vec![] }).await?;
    let announced = part.announce(&part_run(execution)).await?;
    note(execution, announced).await?;
    match part.start(&part_run(execution)).await {
        Ok(notes) => note(execution, notes).await,
        Err(StartError::Certain(error)) => Err(error),
        Err(StartError::Request(error, events)) => {
            note(execution, Notes { events, facts: vec![] }).await?;
            refused_or_unknown(execution, part.component(), &error).await
        }
    }
}

/// Event for a start request that may have been sent, but whose response was not received or could not be
/// stored.
pub(crate) fn without_response(execution: &Execution, step: Step) -> Option<Event> {
    let Step::Start(component) = step else { return None };
    let part = part(execution, component).ok()?;
    part.may_have_been_sent(&execution.view()).then_some(Event::StartUncertain { component })
}

/// State of a part in the last probe. If the list of the component may lag behind, an absent backup counts as
/// unclear and is probed again.
async fn last_probe(execution: &Execution, part: &dyn Part) -> Result<PartState, ClientError> {
    Ok(match probe(execution, part).await? {
        PartState::Absent if part.list_may_lag() => PartState::Unclear {
            reason: format!("the list of {} no longer contains the backup", part.component()),
        },
        state => state,
    })
}

/// Probes every component after the resume: each must report the backup complete under this id. Returns the
/// component states for the attestation.
pub(crate) async fn probe_all(execution: &Execution) -> Result<Value, StepError> {
    let mut facts = serde_json::Map::new();
    for component in execution.plan.components.clone() {
        let part = part(execution, component)?;
        let retry = RetryTransient::new(&*execution.context.clock, PROBE_LIMIT);
        let unknown = |why: &str| {
            StepError::new(
                FailureClass::Unreachable,
                format!("{component} could not be seen complete after the resume: {why}"),
            )
        };
        let state = retry
            .probe_backup(|| last_probe(execution, &*part), |error| execution.remember(error))
            .await
            .map_err(|error| unknown(&error.to_string()))?;
        match state {
            PartState::Unclear { reason } => return Err(unknown(&reason)),
            PartState::Completed(progress) => {
                facts.insert(
                    component.name().to_owned(),
                    json!({ "state": "COMPLETED", "parts": progress.parts }),
                );
            }
            other => {
                return Err(StepError::new(
                    FailureClass::Component,
                    format!(
                        "{component} was complete and is not any more ({}): someone changed the backup",
                        other.describe()
                    ),
                ));
            }
        }
    }
    Ok(Value::Object(facts))
}
