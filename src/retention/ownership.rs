//! The proof that a backup is ours, required for every deletion (rule I8).
//!
//! Owns the rules of evidence. Pure: callers pass the findings of a probe.

use crate::domain::{BackupId, Component, Instant, OwnershipProof, OwnershipTag, RetentionGroup, RunId};
use crate::journal::{FailureClass, Outcome, Run, Step};
use chrono::{SecondsFormat, TimeDelta};

/// Maximum difference between the clock of a component and ours.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// Findings of a probe about one backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The records snapshot, if it exists.
    pub records: Option<RecordsShown>,
    /// Every other component that lists the id, with the start of its first part if reported.
    pub parts: Vec<(Component, Option<Instant>)>,
}

/// The records snapshot of a backup, from the search engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsShown {
    /// Name of the snapshot.
    pub name: String,
    /// Ownership tag in its metadata.
    pub tag: Option<OwnershipTag>,
}

/// Missing or contradicting evidence; each text is one sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// No probe before the run.
    #[error(
        "no probe before the run found id {0} unused in every component, so its parts may belong to another backup"
    )]
    NotSeenFree(BackupId),
    /// A component lists the id but never accepted our request for it.
    #[error(
        "{1} lists id {0} but never accepted our request for it, so its part may belong to another backup"
    )]
    Conflict(BackupId, Component),
    /// No ownership tag.
    #[error("snapshot {0} has no ownership tag, so it was not taken by this daemon")]
    Untagged(String),
    /// The ownership tag of another daemon, cluster or run.
    #[error("snapshot {name} has the ownership tag of instance {}, cluster {}, run {}", tag.instance, tag.cluster, tag.run_id)]
    OtherTag {
        /// Name of the snapshot.
        name: String,
        /// Its ownership tag.
        tag: OwnershipTag,
    },
    /// An adopted backup without its snapshot.
    #[error(
        "the records snapshot of adopted backup {0} is gone, and only its ownership tag proved the backup ours"
    )]
    TagGone(BackupId),
    /// No start time to compare.
    #[error(
        "no component reports the start time of its part of backup {0}, so the part may belong to another backup"
    )]
    NoTime(BackupId),
    /// The journal has no start or no end.
    #[error("run {0} has no start and end to compare with the times of the components")]
    NoSpan(RunId),
    /// Started outside the run.
    #[error(
        "{component} reports {} as the start of its part, outside the run ({} to {})",
        time(at),
        time(from),
        time(until)
    )]
    OtherTime {
        /// Component that reported the time.
        component: Component,
        /// Reported start.
        at: Instant,
        /// Start of the run.
        from: Instant,
        /// End of the run.
        until: Instant,
    },
}

/// Proves that the parts found in the cluster belong to `run`. The row in the state file does not need a proof.
pub fn prove(instance: &str, run: &Run, shown: &Shown) -> Result<OwnershipProof, NotProven> {
    let id = run.backup_id;
    let adopted = run.retention_groups.contains(&RetentionGroup::Adopted);
    if !adopted && !run.view.done.contains(&Step::Guard) {
        return Err(NotProven::NotSeenFree(id));
    }
    if matches!(run.view.outcome, Some(Outcome::Failed { class: FailureClass::Conflict, .. }))
        && let Some((component, _)) = shown.parts.iter().find(|(c, _)| !run.view.was_taken(*c))
    {
        return Err(NotProven::Conflict(id, *component));
    }
    match &shown.records {
        Some(records) => by_tag(instance, run, records),
        None if adopted => Err(NotProven::TagGone(id)),
        None => by_time(run, &shown.parts),
    }
}

fn by_tag(instance: &str, run: &Run, records: &RecordsShown) -> Result<OwnershipProof, NotProven> {
    let name = &records.name;
    let Some(tag) = &records.tag else { return Err(NotProven::Untagged(name.clone())) };
    if tag.instance == instance && tag.cluster == run.cluster && tag.run_id == run.run_id {
        return Ok(OwnershipProof::Tag { snapshot: name.clone(), run_id: run.run_id });
    }
    Err(NotProven::OtherTag { name: name.clone(), tag: tag.clone() })
}

fn by_time(run: &Run, parts: &[(Component, Option<Instant>)]) -> Result<OwnershipProof, NotProven> {
    let (Some(from), Some(until)) = (run.view.started_at, run.view.finished_at) else {
        return Err(NotProven::NoSpan(run.run_id));
    };
    let mut within = None;
    for (component, at) in parts {
        let (component, Some(at)) = (*component, *at) else { continue };
        if at < from - CLOCK_TOLERANCE || at > until + CLOCK_TOLERANCE {
            return Err(NotProven::OtherTime { component, at, from, until });
        }
        within.get_or_insert((component, at));
    }
    let (component, started_at) = within.ok_or(NotProven::NoTime(run.backup_id))?;
    Ok(OwnershipProof::StartTime { component, started_at })
}

fn time(at: &Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
