//! Clean-up after an abort: carries out the compensation that the plan names for each start step. Parts in
//! progress are deleted, and a backup is searched for if its start request got no response.
//!
//! The resume is a compensation too, but `finish` sends it before the clean-up. This module must not resume,
//! and must not delete a part that may belong to someone else.

use crate::backup::run_part::probe;
use crate::backup::run_part::{part, part_run};
use crate::camunda::PartState;
use crate::clock::within;
use crate::context::execution::Execution;
use crate::domain::id_scope;
use crate::journal::{Event, FailureClass, Step};
use crate::parts::part::Part;
use crate::plan::Compensation;
use std::time::Duration;

/// Interval between two probes of a part that is being stopped. At most `STOP_PROBES` probes are sent.
const STOP_INTERVAL: Duration = Duration::from_millis(500);
const STOP_PROBES: usize = 60;
/// Interval between two probes for a lost start. The search ends after `SEARCH_LIMIT`, before the time limit
/// of the clean-up.
const SEARCH_INTERVAL: Duration = Duration::from_secs(5);
const SEARCH_LIMIT: Duration = Duration::from_secs(30);

/// Carries out the compensation of each start that was intended, in the order of the plan. Returns one
/// sentence for each part that may remain.
pub(crate) async fn clean_up(execution: &Execution, class: FailureClass) -> Vec<String> {
    let mut unfinished = Vec::new();
    let view = execution.view();
    for planned in &execution.plan.steps {
        let (Step::Start(component), Some(compensation)) = (planned.step, planned.compensation) else {
            continue;
        };
        // After a conflict, the backup under this id may be foreign. The part is ours only if the component
        // accepted our request.
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
            // Nothing to do: if a resume was pending, `finish` has already resumed exporting.
            Compensation::ResumeExporting => {}
            Compensation::DeleteRunningSnapshot | Compensation::DeleteRunningParts => {
                unfinished.extend(stop_running(execution, &*part).await.err());
                // List the unidentified backups after the deletion: a backup that was just requested is not
                // listed at once.
                unfinished.extend(unidentified(execution, &*part).await);
            }
            Compensation::FindLostStart => unfinished.extend(find_lost_start(execution, &*part).await),
        }
    }
    unfinished
}

/// Searches for backups of this run whose assigned ids were never received, and stores the largest of these
/// ids. Otherwise retention would take an id above the stored largest id as a sign of a lost state file.
async fn unidentified(execution: &Execution, part: &dyn Part) -> Option<String> {
    let found = part.unidentified(&part_run(execution)).await?;
    let scope = id_scope(&execution.run.cluster, &execution.spec.addresses);
    if let Err(error) = execution.context.store.raise_highest_id(scope, found.largest).await {
        tracing::error!(event = "store.unwritable", run_id = %execution.run.run_id, reason = %error);
    }
    Some(found.sentence)
}

/// Deletes a part that is in progress. If the part finishes after the deletion, deletes the part once more.
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
            // INCOMPLETE means that a web app is between two parts, or that a part has failed for good. Stop
            // after ten probes.
            PartState::Incomplete(_) => {
                quiet += 1;
                quiet < 10
            }
            // ABSENT means that the part has not begun or is gone. Probe up to four times: a start without a
            // response may appear late.
            PartState::Absent => {
                quiet += 1;
                !deleted && quiet < 4
            }
            // A part that finished before any deletion stays, for retention to delete. A part that finished
            // after our deletion is deleted again.
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

/// Searches for the backup of a start request that got no response. If a probe finds the backup, it is stored
/// as ours.
async fn find_lost_start(execution: &Execution, part: &dyn Part) -> Option<String> {
    let view = execution.view();
    if !part.has_lost_start(&view) {
        return None;
    }
    let component = part.component();
    if !view.uncertain.contains(&component) {
        // A failed write is ignored: an intended start without an outcome also counts as uncertain.
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
