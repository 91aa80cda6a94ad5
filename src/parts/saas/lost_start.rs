//! A request that nobody waited to be answered: cut off by a deadline, a cancel, or the end of a daemon (rule I9).
//!
//! Owns what counts as one, and the look at what came of it before its run ends. Must not ask for anything again.

use crate::camunda::{PartState, Saas};
use crate::clock::within;
use crate::context::execution::Execution;
use crate::journal::{Event, RunView, Step};
use crate::parts::saas::{PROBE_INTERVALS, SAAS, probe, uuid_of};
use std::time::Duration;

/// How long it is looked for: within the deadline of the clean-up.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// Whether the provider has, or may have, something of a run.
pub(crate) fn may_have(view: &RunView) -> bool {
    uuid_of(view).is_some() || view.uncertain.contains(&SAAS) || without_response(view)
}

/// Whether the request may have left: what the list held is written right before it.
pub(crate) fn may_have_been_sent(view: &RunView) -> bool {
    view.before.contains_key(&SAAS)
}

/// Every answer, and every refusal, ends the step.
fn without_response(view: &RunView) -> bool {
    let ended = view.done.contains(&Step::Start(SAAS))
        || view.components.get(&SAAS).is_some_and(|saas| saas.reason.is_some());
    may_have_been_sent(view) && !ended
}

/// After an abort: what shows of such a request is noted as ours. If nothing does, what is left to do, one sentence.
pub(crate) async fn probe_for_lost_start(execution: &Execution, saas: &Saas) -> Option<String> {
    let view = execution.view();
    let waited_for = view.intended.contains(&Step::Wait(SAAS))
        && view.components.get(&SAAS).is_some_and(|saas| saas.reason.is_some());
    // A wait that ended by itself has looked for longer, and its sentence says so.
    if uuid_of(&view).is_some() || !may_have(&view) || waited_for {
        return None;
    }
    if !view.uncertain.contains(&SAAS) {
        // Where it cannot be written, the intent without an end says the same.
        let _ = execution.append(vec![Event::StartUncertain { component: SAAS }]).await;
    }
    let clock = &*execution.context.clock;
    let mut said = "its list was not to be had".to_owned();
    let probes = async {
        loop {
            match probe(execution, saas).await {
                Ok(PartState::Absent) => "its list shows nothing new".clone_into(&mut said),
                Ok(PartState::Unclear { reason }) => said = reason,
                Ok(_) => {}
                Err(error) => {
                    execution.remember(&error);
                    said = error.to_string();
                }
            }
            if uuid_of(&execution.view()).is_some() {
                return;
            }
            clock.sleep(PROBE_INTERVALS.0).await;
        }
    };
    match within(clock, PROBE_LIMIT, probes).await {
        Some(()) => None,
        None => Some(format!(
            "the provider may have begun this backup, although its answer never came ({said}): look into Console, delete it there if it comes up, and then this one here"
        )),
    }
}
