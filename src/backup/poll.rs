//! Waiting for a component: how often to look, what counts as progress, and when a completed part is believed.
//!
//! While waiting, a transient answer and a final one look the same (404, INCOMPLETE, Operate's 400 on OpenSearch,
//! 5xx, a lost answer): only progress and `stall_after` tell them apart.

use crate::backup::probe;
use crate::camunda::snapshot::part_of;
use crate::camunda::{ErrorKind, Part, PartState, Progress, SnapshotState};
use crate::context::error::StepError;
use crate::context::execution::Execution;
use crate::context::retry::{RetryTransient, quiet_of};
use crate::domain::OwnershipTag;
use crate::domain::{Component, Version};
use crate::journal::{Event, FailureClass, Step};
use crate::parts::saas;
use serde_json::json;
use std::time::Duration;

/// Where the clocks of components may differ from ours.
const OTHER_CLOCK: chrono::TimeDelta = chrono::TimeDelta::minutes(5);
/// A start whose answer was lost shows within this time, or was never acted upon.
const LOST_START: Duration = Duration::from_secs(10);

/// Who is let in no more for so long will not be let in soon.
const DENIED: Duration = Duration::from_secs(60);

/// After so long without news from a web app its snapshots themselves are looked at.
const CLOSER: Duration = Duration::from_secs(15);

/// How many times the last answer's own time lie between two looks, so that looking is never a burden.
const SPARING: u32 = 10;
/// The same inside the pause, which is short and where every look that comes late makes it longer.
const SPARING_PAUSED: u32 = 1;

/// How long to wait before the next look: 50 ms at first, then 2 % of the time already waited, between 50 ms and 5 s
/// and at least `sparing` times what the last answer took.
pub(crate) fn pace(waited: Duration, response_took: Duration, sparing: u32) -> Duration {
    let two_percent = waited / 50;
    two_percent.clamp(Duration::from_millis(50), Duration::from_secs(5)).max(response_took * sparing)
}

/// Waits until the component has completed its part and the part is believed.
pub(crate) async fn wait(execution: &Execution, component: Component) -> Result<(), StepError> {
    let clock = &execution.context.clock;
    let began = clock.monotonic();
    let uncertain = execution.view().uncertain.contains(&component);
    let stall_after = execution.spec.limits.stall_after;
    let paused = execution.is_paused_in(Step::Wait(component));
    let sparing = if paused { SPARING_PAUSED } else { SPARING };
    let mut response_took = Duration::ZERO;
    let (mut last_said, mut last_written) = (None, None);
    let mut moved_at = began;
    let mut rejected_since: Option<Duration> = None;
    let lost_start = if component == Component::Saas { saas::LOST_START } else { LOST_START };
    let mut quiet = Duration::ZERO;
    loop {
        let waited = clock.monotonic().saturating_sub(began);
        let pause = match component {
            Component::Saas => {
                (waited / 10).clamp(saas::PROBE_INTERVALS.0, saas::PROBE_INTERVALS.1).max(quiet)
            }
            _ => pace(waited, response_took, sparing),
        };
        clock.sleep(pause).await;
        let requested = clock.monotonic();
        let seen = probe::probe(execution, component).await;
        let closer = match &seen {
            Ok(PartState::Unclear { .. }) => true,
            Ok(_) => requested.saturating_sub(moved_at) >= CLOSER.min(stall_after / 4),
            Err(_) => false,
        };
        let written = if closer { parts_in_repository(execution, component).await } else { None };
        response_took = clock.monotonic().saturating_sub(requested);
        let latest = match seen {
            Ok(PartState::Completed(progress)) => {
                report(execution, component, "COMPLETED", &progress).await?;
                return believe(execution, component, &progress).await;
            }
            Ok(PartState::Failed { reason, progress }) => {
                report(execution, component, "FAILED", &progress).await?;
                let class = if component == Component::Records {
                    FailureClass::Records
                } else {
                    FailureClass::Component
                };
                return Err(StepError::new(class, format!("{component} failed: {reason}")));
            }
            Ok(seen) => {
                (rejected_since, quiet) = (None, Duration::ZERO);
                let said = seen.progress().filter(|said| news(said, &mut last_said));
                let written = written.as_ref().filter(|written| news(written, &mut last_written));
                if let Some(progress) = said.or(written) {
                    moved_at = clock.monotonic();
                    let state =
                        if matches!(seen, PartState::Incomplete(_)) { "INCOMPLETE" } else { "IN_PROGRESS" };
                    report(execution, component, state, progress).await?;
                }
                seen.describe()
            }
            Err(error) => {
                execution.remember(&error);
                quiet = quiet_of(&error);
                // A token may be renewed while we wait; for long it is not, and exporting may be paused meanwhile.
                let denied = matches!(error.kind, ErrorKind::AuthRejected);
                rejected_since = denied.then(|| rejected_since.unwrap_or(requested));
                if rejected_since.is_some_and(|since| requested.saturating_sub(since) >= DENIED) {
                    return Err(StepError::new(
                        FailureClass::Access,
                        format!("{component} let us in no more while its backup was taken: {error}"),
                    ));
                }
                if matches!(error.kind, ErrorKind::Unusable) {
                    return Err(StepError::new(
                        FailureClass::Component,
                        format!("{component} gave no usable answer: {error}"),
                    ));
                }
                error.to_string()
            }
        };
        let still = clock.monotonic().saturating_sub(moved_at);
        let nothing_shows = last_said.or(last_written).is_none();
        if uncertain && nothing_shows && still >= lost_start.min(stall_after) {
            return Err(StepError::new(
                FailureClass::Component,
                format!(
                    "it is not known whether {component} began ({}), and nothing of it shows: {latest}",
                    execution.evidence.doubt_about(component)
                ),
            ));
        }
        if still >= stall_after {
            let text = humantime::format_duration(stall_after);
            return Err(StepError::new(
                FailureClass::Stalled,
                format!("{component} made no progress for its stall_after of {text}: {latest}"),
            ));
        }
    }
}

/// Whether this differs from the last of its kind.
fn news(progress: &Progress, last: &mut Option<u64>) -> bool {
    let now = Some(progress.fingerprint());
    let differs = *last != now;
    *last = now;
    differs
}

/// A web app's parts as the search engine shows them. A web app says nothing of how far a part is, and Operate on
/// OpenSearch answers 400 as long as one runs, which on a large cluster is longer than `stall_after`: the snapshots
/// themselves tell whether it moves.
async fn parts_in_repository(execution: &Execution, component: Component) -> Option<Progress> {
    if !execution.clients.apps.contains_key(&component) {
        return None;
    }
    let repository = &execution.spec.addresses.search.as_ref()?.webapps_repository;
    let prefix = if component == Component::History { "webapps" } else { component.name() };
    let pattern = format!("camunda_{prefix}_{}_*", execution.id());
    let search = execution.clients.search.as_ref()?;
    let mut snapshots = search.snapshots(repository, &pattern).await.ok()?;
    // Only the look at one snapshot tells its shards and bytes while it runs; a web app takes one part after the other.
    if let Some(running) = snapshots.iter_mut().find(|s| s.state == SnapshotState::InProgress)
        && let Ok(Some(refined)) = search.see_snapshot(repository, &running.name).await
    {
        *running = refined;
    }
    let parts: Vec<Part> = snapshots.iter().map(part_of).collect();
    (!parts.is_empty()).then_some(Progress { parts })
}

async fn report(
    execution: &Execution,
    component: Component,
    state: &str,
    progress: &Progress,
) -> Result<(), StepError> {
    let known = execution.view().components.get(&component).cloned().unwrap_or_default();
    let done = progress.done() as u32;
    let total = known.parts_total.max(progress.parts.len() as u32).max(of_total(progress).unwrap_or(0));
    // Bytes alone move for hours, every few seconds: they keep the run going and are not worth an entry each.
    if (known.state.as_str(), known.parts_done, known.parts_total) == (state, done, total) {
        return Ok(());
    }
    execution.write(vec![Event::Progress { component, state: state.to_owned(), done, total }]).await
}

/// The part count that snapshot names carry (`…_part_1_of_6`).
fn of_total(progress: &Progress) -> Option<u32> {
    progress.parts.iter().find_map(|part| part.name.rsplit_once("_of_")?.1.parse().ok())
}

/// A part that says COMPLETED is believed when it has what was announced and was made during this run: after a
/// restore from an older backup, a broker says COMPLETED at once for an id that its store already holds.
async fn believe(execution: &Execution, component: Component, progress: &Progress) -> Result<(), StepError> {
    let uncertain = |why: String| {
        StepError::new(FailureClass::Component, format!("{component} says COMPLETED, but {why}"))
    };
    let now = execution.context.clock.now();
    let earliest = execution.run.created_at - OTHER_CLOCK;
    for part in &progress.parts {
        if let Some(at) = part.started_at
            && (at < earliest || at > now + OTHER_CLOCK)
        {
            return Err(uncertain(format!(
                "{} is from {}, outside this run: it is another backup under the same id",
                part.name,
                at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
            )));
        }
    }
    let view = execution.view();
    match component {
        Component::Zeebe => {
            if let Some(expected) = view.partitions
                && progress.parts.len() as u32 != expected
            {
                return Err(uncertain(format!("it holds {} of {expected} partitions", progress.parts.len())));
            }
            if progress.parts.is_empty() {
                return Err(uncertain("it names no partition".into()));
            }
            if let Some(why) = of_another_version(execution, progress) {
                return Err(uncertain(why));
            }
        }
        Component::Records => believe_records(execution).await?,
        // Of which components it consists the provider alone knows.
        Component::Saas => {}
        _ => {
            let found: Vec<String> = progress.parts.iter().map(|p| p.name.clone()).collect();
            let announced = view.components.get(&component).map(|c| c.names.clone()).unwrap_or_default();
            if let Some(missing) = announced.iter().find(|name| !found.contains(name)) {
                return Err(uncertain(format!("the announced part {missing} is not there")));
            }
            let expected = of_total(progress).unwrap_or(0).max(announced.len() as u32);
            if found.is_empty() || (found.len() as u32) != expected {
                return Err(uncertain(format!("{} of {expected} parts are there", found.len())));
            }
            if announced.is_empty() {
                let repository =
                    execution.spec.addresses.search.as_ref().map(|s| s.webapps_repository.clone());
                execution
                    .write(vec![Event::Announced { component, repository, names: found, indices: vec![] }])
                    .await?;
            }
        }
    }
    execution.prove(component.name(), json!(progress.parts));
    Ok(())
}

/// An upgrade under way: parts from before and after it are restored by no version. Patches do not count.
fn of_another_version(execution: &Execution, progress: &Progress) -> Option<String> {
    // What the operator writes may differ from what the brokers call themselves.
    if execution.spec.version.is_some() {
        return None;
    }
    let began = execution.view().version.as_ref()?.parse::<Version>().ok()?;
    let differs = |version: &Version| (version.major, version.minor) != (began.major, began.minor);
    progress.parts.iter().find_map(|part| {
        let version = part.broker_version.as_ref()?.parse::<Version>().ok().filter(differs)?;
        Some(format!(
            "{} was taken by Camunda {version}, and the run began with {began}: the parts of one backup must be of one version",
            part.name
        ))
    })
}

/// The records snapshot: successful, no failed shard, something in it, every index that matched before, and ours.
async fn believe_records(execution: &Execution) -> Result<(), StepError> {
    let uncertain =
        |why: String| StepError::new(FailureClass::Records, format!("the records snapshot {why}"));
    let Some((search, repository)) = probe::records(execution) else { return Ok(()) };
    let name = crate::camunda::Search::records_name(execution.id());
    let probe = RetryTransient::new(&*execution.context.clock, Duration::from_secs(20));
    let snapshot = probe
        .probe(|| search.see_snapshot(&repository, &name), |error| execution.remember(error))
        .await
        .map_err(|error| uncertain(format!("could not be read: {error}")))?
        .ok_or_else(|| uncertain("is gone".into()))?;
    if snapshot.shards_total == 0 || snapshot.indices.is_empty() {
        return Err(uncertain("is empty: no index matched; check `search.records` and the exporter".into()));
    }
    if snapshot.shards_failed > 0 {
        return Err(uncertain(format!(
            "lost {} of {} shards",
            snapshot.shards_failed, snapshot.shards_total
        )));
    }
    if let Some(missing) = execution.view().records_indices.iter().find(|i| !snapshot.indices.contains(i)) {
        return Err(uncertain(format!("lacks index {missing}, which matched before")));
    }
    let tag = snapshot.metadata.as_ref().and_then(OwnershipTag::read);
    if tag.as_ref().map(|m| m.run_id) != Some(execution.run.run_id) {
        return Err(uncertain("does not carry our mark: someone else made it under the same name".into()));
    }
    execution.prove(
        "records_snapshot",
        json!({ "indices": snapshot.indices, "shards_total": snapshot.shards_total, "shards_failed": snapshot.shards_failed }),
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_frequent_at_first_and_never_a_burden() {
        let ms = Duration::from_millis;
        let outside = |waited, took| pace(waited, took, SPARING);
        assert_eq!(outside(Duration::ZERO, Duration::ZERO), ms(50));
        assert_eq!(outside(ms(500), ms(1)), ms(50));
        assert_eq!(outside(Duration::from_secs(60), ms(1)), ms(1200));
        assert_eq!(outside(Duration::from_secs(3600), ms(1)), Duration::from_secs(5));
        assert_eq!(outside(Duration::ZERO, ms(40)), ms(400), "at least ten times what the answer took");
        assert_eq!(outside(Duration::ZERO, Duration::from_secs(1)), Duration::from_secs(10));
        assert_eq!(
            pace(Duration::ZERO, ms(40), SPARING_PAUSED),
            ms(50),
            "the pause is not made longer by looking late"
        );
    }
}
