//! Compensations after an abort, as the plan states them for each step: running parts are deleted, a start without a
//! response is searched for.
//!
//! The resume is a compensation too, and comes first: `finish` carries it out. Must not resume and must not delete what
//! may be of someone else.

use crate::backup::probe::probe;
use crate::backup::run_part::{part, part_run};
use crate::camunda::PartState;
use crate::clock::within;
use crate::context::execution::Execution;
use crate::domain::id_scope;
use crate::journal::{Event, FailureClass, Step};
use crate::parts::part::Part;
use crate::plan::Compensation;
use std::time::Duration;

/// Interval between two probes of a part that is being stopped, and their number.
const STOP_INTERVAL: Duration = Duration::from_millis(500);
const STOP_PROBES: usize = 60;
/// Interval between two probes for a lost start, and the limit of the search: within the deadline of the clean-up.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);
const SEARCH_LIMIT: Duration = Duration::from_secs(30);

/// Carries out the compensation of each start that was intended, in the order of the plan. Returns the remains, one
/// sentence each.
pub(crate) async fn clean_up(execution: &Execution, class: FailureClass) -> Vec<String> {
    let mut unfinished = Vec::new();
    let view = execution.view();
    for planned in &execution.plan.steps {
        let (Step::Start(component), Some(compensation)) = (planned.step, planned.compensation) else {
            continue;
        };
        // After a conflict, a backup under this id may be of someone else unless the component accepted ours.
        let others = class == FailureClass::Conflict && !view.was_taken(component);
        if !view.intended.contains(&planned.step) || others {
            continue;
        }
        let part = match part(execution, component) {
            Ok(part) => part,
            Err(error) => {
                unfinished.push(error.reason);
                continue;
            }
        };
        match compensation {
            // `finish` resumes first, whatever the plan states: the pending resume decides.
            Compensation::ResumeExporting => {}
            Compensation::DeleteRunningSnapshot | Compensation::DeleteRunningParts => {
                unfinished.extend(stop_running(execution, &*part).await.err());
                // Afterwards, because a backup requested a moment ago is not listed yet.
                unfinished.extend(unidentified(execution, &*part).await);
            }
            Compensation::FindLostStart => unfinished.extend(find_lost_start(execution, &*part).await),
        }
    }
    unfinished
}

/// The unknown id is above our highest id because of us: storing it keeps retention from taking it for a sign of a
/// restored cluster.
async fn unidentified(execution: &Execution, part: &dyn Part) -> Option<String> {
    let found = part.unidentified(&part_run(execution)).await?;
    let scope = id_scope(&execution.run.cluster, &execution.spec.addresses);
    if let Err(error) = execution.context.store.raise_highest_id(scope, found.largest).await {
        tracing::error!(event = "store.unwritable", run_id = %execution.run.run_id, reason = %error);
    }
    Some(found.sentence)
}

/// Deletes a part that is in progress, and once more if it is listed after the deletion.
async fn stop_running(execution: &Execution, part: &dyn Part) -> Result<(), String> {
    let component = part.component();
    let id = execution.id();
    let unfinished = |why: &str| {
        format!("{component} may still be taking backup {id}: {why}; retention deletes its remains")
    };
    let delete = async || {
        let run = part_run(execution);
        part.delete(&run).await.map_err(|error| unfinished(&error.to_string()))
    };
    let mut deleted = false;
    let mut quiet = 0;
    for _ in 0..STOP_PROBES {
        let state = match probe(execution, part).await {
            Ok(state) => state,
            Err(error) => return Err(unfinished(&error.to_string())),
        };
        let running = match &state {
            PartState::Running(_) | PartState::Unclear { .. } => true,
            // Either between two parts of a web app, or permanent after a failed part: ten probes without a change.
            PartState::Incomplete(_) => {
                quiet += 1;
                quiet < 10
            }
            // Not begun yet, or gone: a start without a response may still appear.
            PartState::Absent => {
                quiet += 1;
                !deleted && quiet < 4
            }
            // Finished parts stay for retention, unless they appeared after the deletion.
            PartState::Completed(_) | PartState::Failed { .. } => {
                return if deleted { delete().await } else { Ok(()) };
            }
        };
        if !running {
            return Ok(());
        }
        if matches!(state, PartState::Running(_) | PartState::Unclear { .. }) && !deleted {
            delete().await?;
            deleted = true;
        }
        execution.context.clock.sleep(STOP_INTERVAL).await;
    }
    Err(unfinished("it did not end in time"))
}

/// Probes for the backup of a start without a response, which is then stored as ours.
async fn find_lost_start(execution: &Execution, part: &dyn Part) -> Option<String> {
    let view = execution.view();
    if !part.has_lost_start(&view) {
        return None;
    }
    let component = part.component();
    if !view.uncertain.contains(&component) {
        // If it cannot be written, the intent without an end has the same meaning.
        let _ = execution.append(vec![Event::StartUncertain { component }]).await;
    }
    let clock = &*execution.context.clock;
    let mut latest = "its list could not be read".to_owned();
    let search = async {
        loop {
            match probe(execution, part).await {
                Ok(PartState::Absent) => "its list shows no new backup".clone_into(&mut latest),
                Ok(PartState::Unclear { reason }) => latest = reason,
                Ok(_) => {}
                Err(error) => {
                    execution.remember(&error);
                    latest = error.to_string();
                }
            }
            if !part.has_lost_start(&execution.view()) {
                return;
            }
            clock.sleep(SEARCH_INTERVAL).await;
        }
    };
    match within(clock, SEARCH_LIMIT, search).await {
        Some(()) => None,
        None => Some(format!(
            "Camunda 8 SaaS may have started this backup although no response arrived ({latest}). Check Console: if the backup is listed, delete it there, then delete this record with `delete CLUSTER ID`"
        )),
    }
}
