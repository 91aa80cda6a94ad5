//! What each step does: the look before a start, the start, the last look, and clean-up after an abort.
//!
//! Must not know the order of steps (that is the plan's) or write intents (the executor does).

use crate::backup::poll;
use crate::backup::probe::{probe, records};
use crate::camunda::checkpoints::OWN_IDS;
use crate::camunda::{ClientError, PartState, Scheduled, Search};
use crate::context::error::StepError;
use crate::context::error::refused;
use crate::context::execution::Execution;
use crate::context::retry::RetryTransient;
use crate::context::start_error::refused_or_unknown;
use crate::domain::Component;
use crate::domain::{OwnershipTag, id_scope};
use crate::journal::{Event, FailureClass, Step};
use crate::parts::saas;
use crate::pause::{start, verify};
use serde_json::{Value, json};
use std::time::Duration;

/// A look before a start is repeated on a transient answer for so long.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// Carries out one step. `begun_before`: its intent stems from before a restart, so a start is not sent again.
pub(crate) async fn act(execution: &Execution, step: Step, begun_before: bool) -> Result<(), StepError> {
    match step {
        Step::Guard => guard_all(execution).await,
        Step::Start(_) if begun_before => Ok(()),
        Step::Start(component) => start(execution, component).await,
        Step::Wait(component) => poll::wait(execution, component).await,
        Step::Pause => start::pause(execution).await,
        Step::CheckPause => verify::check(execution).await,
        // The executor resumes itself: nothing may stand between it and the request.
        Step::Resume => Ok(()),
    }
}

/// No component may know the id: one that does would answer for an older backup as if it were this one.
async fn guard_all(execution: &Execution) -> Result<(), StepError> {
    for component in execution.plan.components.clone() {
        guard(execution, component).await?;
    }
    Ok(())
}

async fn guard(execution: &Execution, component: Component) -> Result<(), StepError> {
    if let (Component::Saas, Some(saas)) = (component, &execution.clients.saas) {
        return Box::pin(saas::guard(execution, saas)).await.map(|_| ());
    }
    let retry = RetryTransient::new(&*execution.context.clock, PROBE_LIMIT);
    let requested = format!("{component} could not be asked whether it knows the id before the start");
    let seen = retry
        .probe_backup(|| probe(execution, component), |error| execution.remember(error))
        .await
        .map_err(|error| refused(&requested, &error))?;
    match seen {
        PartState::Absent => Ok(()),
        PartState::Unclear { reason } => {
            Err(StepError::new(FailureClass::Unreachable, format!("{requested}: {reason}")))
        }
        other => Err(StepError::new(
            FailureClass::Conflict,
            format!(
                "{component} already answers for backup id {} ({}): the id is burnt, the next run takes a higher one",
                execution.id(),
                other.describe()
            ),
        )),
    }
}

async fn start(execution: &Execution, component: Component) -> Result<(), StepError> {
    if let (Component::Saas, Some(saas)) = (component, &execution.clients.saas) {
        return Box::pin(saas::start(execution, saas)).await;
    }
    guard(execution, component).await?;
    let id = execution.id();
    let requested = match component {
        Component::Zeebe => return start_zeebe(execution).await,
        Component::Records => return start_records(execution).await,
        app => match execution.clients.apps.get(&app) {
            Some(client) => client.start(id).await.map(Some),
            None => {
                return Err(StepError::new(
                    FailureClass::Component,
                    format!("{app} has no address in the config"),
                ));
            }
        },
    };
    match requested {
        Ok(names) => {
            let repository = execution
                .spec
                .addresses
                .search
                .as_ref()
                .map(|s| s.webapps_repository.clone())
                .filter(|_| names.is_some());
            if let Some(names) = names.filter(|names| !names.is_empty()) {
                execution
                    .write(vec![Event::Announced { component, repository, names, indices: vec![] }])
                    .await?;
            }
            Ok(())
        }
        Err(error) => refused_or_unknown(execution, component, &error).await,
    }
}

/// Where the cluster may give the ids, it is asked to; what refuses that for want of an id gets ours.
async fn start_zeebe(execution: &Execution) -> Result<(), StepError> {
    let zeebe = &execution.clients.zeebe;
    let ours = execution.id();
    let mut requested = None;
    if execution.view().above.is_some() {
        match zeebe.start(None).await {
            // 415: a body without an id would be JSON, and only a cluster that gives ids takes a request without one.
            Err(error) if matches!(error.status, Some(400 | 415)) => execution.remember(&error),
            responded => requested = Some(responded),
        }
    }
    let requested = match requested {
        Some(requested) => requested,
        None => zeebe.start(Some(ours)).await,
    };
    match requested {
        Ok(Scheduled { id: Some(backup_id) }) if backup_id != ours && execution.view().above.is_some() => {
            execution.write(vec![Event::Identified { backup_id }]).await
        }
        Ok(_) => Ok(()),
        Err(error) if error.status == Some(400) && says_generated(&error) => Err(StepError::new(
            FailureClass::Component,
            format!("zeebe did not start the backup: {error}; {OWN_IDS}"),
        )),
        Err(error) => refused_or_unknown(execution, Component::Zeebe, &error).await,
    }
}

/// Whether a broker refuses an id because it gives them itself.
fn says_generated(error: &ClientError) -> bool {
    let text = error.message.to_ascii_lowercase();
    ["generated", "continuous", "scheduler", "must not be provided", "must be omitted"]
        .iter()
        .any(|w| text.contains(w))
}

/// What is written of a start that may have been sent and whose answer nobody has: cut off, or not written down.
pub(crate) fn without_response(execution: &Execution, step: Step) -> Option<Event> {
    let Step::Start(component) = step else { return None };
    let sent = component != Component::Saas || saas::may_have_been_sent(&execution.view());
    sent.then_some(Event::StartUncertain { component })
}

async fn start_records(execution: &Execution) -> Result<(), StepError> {
    let Some((search, repository)) = records(execution) else {
        return Err(StepError::new(
            FailureClass::Records,
            "the exported records have no search engine in the config",
        ));
    };
    let pattern =
        execution.spec.addresses.search.as_ref().and_then(|s| s.records.clone()).unwrap_or_default();
    let indices = search.indices(&pattern).await.map_err(|error| {
        execution.remember(&error);
        StepError::new(
            FailureClass::Records,
            format!("the indices of {pattern} could not be listed: {error}"),
        )
    })?;
    if indices.is_empty() {
        return Err(StepError::new(
            FailureClass::Records,
            format!(
                "no index matches {pattern}: the records snapshot would be empty; check `search.records` and the exporter"
            ),
        ));
    }
    execution.prove("records_indices_before", json!(indices));
    let id = execution.id();
    let name = Search::records_name(id);
    execution
        .write(vec![Event::Announced {
            component: Component::Records,
            repository: Some(repository.clone()),
            names: vec![name.clone()],
            indices,
        }])
        .await?;
    let tag = OwnershipTag {
        instance: execution.context.instance.clone(),
        cluster: execution.run.cluster.clone(),
        run_id: execution.run.run_id,
    };
    match search.start_snapshot(&repository, &name, &pattern, tag.metadata()).await {
        Ok(()) => Ok(()),
        Err(error) => refused_or_unknown(execution, Component::Records, &error).await,
    }
}

/// A provider's list that lacks what it had shown complete may be behind: it is asked again.
async fn last_probe(execution: &Execution, component: Component) -> Result<PartState, ClientError> {
    Ok(match probe(execution, component).await? {
        PartState::Absent if component == Component::Saas => {
            PartState::Unclear { reason: "the provider's list does not have it any more".to_owned() }
        }
        seen => seen,
    })
}

/// Every component complete with this id, seen after the resume; the facts go into the certificate.
pub(crate) async fn probe_all(execution: &Execution) -> Result<Value, StepError> {
    let mut facts = serde_json::Map::new();
    for component in execution.plan.components.clone() {
        let retry = RetryTransient::new(&*execution.context.clock, PROBE_LIMIT);
        let unknown = |why: &str| {
            StepError::new(
                FailureClass::Unreachable,
                format!("{component} could not be seen complete after the resume: {why}"),
            )
        };
        let seen = retry
            .probe_backup(|| last_probe(execution, component), |error| execution.remember(error))
            .await
            .map_err(|error| unknown(&error.to_string()))?;
        match seen {
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

/// Stops what still runs after an abort. Returns what could not be done, one sentence each.
pub(crate) async fn clean_up(execution: &Execution, class: FailureClass) -> Vec<String> {
    let mut unfinished = Vec::new();
    let view = execution.view();
    for component in &execution.plan.components {
        let start = Step::Start(*component);
        // After a conflict, what answers under this id where nobody said that it takes ours may be somebody else's.
        let others = class == FailureClass::Conflict && !view.was_taken(*component);
        if !view.intended.contains(&start) || others {
            continue;
        }
        // What the provider has begun it ends itself, and keeps as it likes; what it may have begun is looked for.
        if *component == Component::Saas {
            if let Some(saas) = &execution.clients.saas {
                unfinished.extend(Box::pin(saas::probe_for_lost_start(execution, saas)).await);
            }
            continue;
        }
        if let Err(what) = stop_running(execution, *component).await {
            unfinished.push(what);
        }
        // Afterwards: what was asked for a moment ago is not listed yet.
        if *component == Component::Zeebe
            && let Some(what) = untold(execution).await
        {
            unfinished.push(what);
        }
    }
    unfinished
}

/// Where the cluster gives the ids and the answer that had ours was lost, or nobody waited for it, a backup may be
/// there that nobody can name.
/// Its id is above our mark because of us: that is noted, so that it is no riddle to retention.
async fn untold(execution: &Execution) -> Option<String> {
    let view = execution.view();
    let responded = view.done.contains(&Step::Start(Component::Zeebe))
        || view.components.get(&Component::Zeebe).is_some_and(|zeebe| zeebe.reason.is_some());
    let open = view.uncertain.contains(&Component::Zeebe) || !responded;
    let above = view.above.filter(|_| view.identified.is_none() && open)?;
    let listed = execution.clients.zeebe.list().await.ok()?;
    let named = execution.id().get();
    let new: Vec<i64> =
        listed.iter().map(|listed| listed.id).filter(|id| *id > above && *id != named).collect();
    let largest = *new.iter().max()?;
    let scope = id_scope(&execution.run.cluster, &execution.spec.addresses);
    if let Err(error) = execution.context.store.raise_highest_id(scope, largest).await {
        tracing::error!(event = "store.unwritable", run_id = %execution.run.run_id, reason = %error);
    }
    let ids: Vec<String> = new.iter().map(ToString::to_string).collect();
    Some(format!(
        "zeebe may have taken this backup under an id that never came to us ({}): nothing of ours deletes it, delete it by hand if nobody else asked for it",
        ids.join(", ")
    ))
}

async fn stop_running(execution: &Execution, component: Component) -> Result<(), String> {
    let id = execution.id();
    let unfinished = |why: &str| {
        format!("{component} may still be taking backup {id}: {why}; retention deletes its remains")
    };
    let mut deleted = false;
    let mut quiet = 0;
    for _ in 0..60 {
        let seen = match probe(execution, component).await {
            Ok(seen) => seen,
            Err(error) => return Err(unfinished(&error.to_string())),
        };
        let running = match &seen {
            PartState::Running(_) | PartState::Unclear { .. } => true,
            // Between two parts of a web app, or for ever after one failed: it has to be quiet for a while.
            PartState::Incomplete(_) => {
                quiet += 1;
                quiet < 10
            }
            // Not begun yet, or gone: a start whose answer was lost may still surface.
            PartState::Absent => {
                quiet += 1;
                !deleted && quiet < 4
            }
            // Terminal parts stay for the failed pool, unless they surfaced after the deletion.
            PartState::Completed(_) | PartState::Failed { .. } => {
                if deleted {
                    delete(execution, component).await.map_err(|e| unfinished(&e.to_string()))?;
                }
                return Ok(());
            }
        };
        if !running {
            return Ok(());
        }
        if matches!(seen, PartState::Running(_) | PartState::Unclear { .. }) && !deleted {
            delete(execution, component).await.map_err(|e| unfinished(&e.to_string()))?;
            deleted = true;
        }
        execution.context.clock.sleep(Duration::from_millis(500)).await;
    }
    Err(unfinished("it did not end in time"))
}

async fn delete(execution: &Execution, component: Component) -> Result<(), ClientError> {
    let id = execution.id();
    match component {
        Component::Zeebe => execution.clients.zeebe.delete(id).await,
        Component::Records => match records(execution) {
            Some((search, repository)) => {
                search.delete_snapshot(&repository, &Search::records_name(id)).await.map(|_| ())
            }
            None => Ok(()),
        },
        app => match execution.clients.apps.get(&app) {
            Some(client) => client.delete(id).await,
            None => Ok(()),
        },
    }
}
