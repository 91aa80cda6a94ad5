//! The proof that a backup is ours, without which nothing is deleted.
//!
//! Owns the rules of evidence and how a proof is noted. Must not ask anybody: what the components show is handed in.

use crate::domain::OwnershipTag;
use crate::domain::{BackupId, Component, Instant, RetentionGroup, RunId};
use crate::journal::{FailureClass, Outcome, Run, Step};
use chrono::{SecondsFormat, TimeDelta};
use std::fmt;

/// How far a component's clock may be off.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// What the cluster shows now of one backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The records snapshot, where it exists.
    pub records: Option<RecordsShown>,
    /// Every other component that shows the id, and when its first part was begun, if it says so.
    pub parts: Vec<(Component, Option<Instant>)>,
}

/// The records snapshot of a backup, as the search engine shows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsShown {
    /// Its name.
    pub name: String,
    /// What its metadata says about who took it.
    pub tag: Option<OwnershipTag>,
}

/// The evidence that a backup is ours, as one clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof(String);

/// Why a backup is not proven ours, each as one sentence without its full stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// The look before the run is missing.
    #[error("id {0} was not seen free in every component before the run, so its parts may be another's")]
    NotSeenFree(BackupId),
    /// A component that shows the id has never answered that it takes our request for it.
    #[error("{1} shows id {0} and never said that it takes our request for it, so its part may be another's")]
    Conflict(BackupId, Component),
    /// The snapshot says nothing.
    #[error("snapshot {0} carries no mark in its metadata, so another took it")]
    Unmarked(String),
    /// The snapshot says that another took it.
    #[error("snapshot {name} carries the mark of instance {}, cluster {}, run {}", tag.instance, tag.cluster, tag.run_id)]
    OtherTag {
        /// The snapshot.
        name: String,
        /// Its mark.
        tag: OwnershipTag,
    },
    /// An adopted one whose snapshot has gone.
    #[error("the records snapshot of adopted backup {0} is gone, and only its mark proved the backup ours")]
    TagGone(BackupId),
    /// Nothing to compare with.
    #[error("no component shows when its part of backup {0} was begun, so it cannot be told from another's")]
    NoTime(BackupId),
    /// The run has no span.
    #[error("run {0} has no beginning and end to compare the components' times with")]
    NoSpan(RunId),
    /// Begun at another time.
    #[error(
        "{component} shows {} as the beginning of its part, outside of the run ({} to {})",
        time(at),
        time(from),
        time(until)
    )]
    OtherTime {
        /// Whose.
        component: Component,
        /// As shown.
        at: Instant,
        /// The run's beginning.
        from: Instant,
        /// The run's end.
        until: Instant,
    },
}

/// Proves that the backup of `run` is ours; that the row with the id is ours holds by construction.
pub fn prove(instance: &str, run: &Run, shown: &Shown) -> Result<Proof, NotProven> {
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

fn by_tag(instance: &str, run: &Run, records: &RecordsShown) -> Result<Proof, NotProven> {
    let name = &records.name;
    let Some(tag) = &records.tag else { return Err(NotProven::Unmarked(name.clone())) };
    if tag.instance == instance && tag.cluster == run.cluster && tag.run_id == run.run_id {
        return Ok(Proof(format!("snapshot {name} carries the mark of run {}", run.run_id)));
    }
    Err(NotProven::OtherTag { name: name.clone(), tag: tag.clone() })
}

fn by_time(run: &Run, parts: &[(Component, Option<Instant>)]) -> Result<Proof, NotProven> {
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
    let (component, at) = within.ok_or(NotProven::NoTime(run.backup_id))?;
    Ok(Proof(format!(
        "{component} began its part within the run, at {}, and the id was free before",
        time(&at)
    )))
}

fn time(at: &Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

const PROVEN: &str = "proven ours: ";
const LEFT: &str = "; still there: ";

impl Proof {
    /// The note of a deletion that has begun: it keeps the proof when the records snapshot, which carried it, is gone.
    pub fn note(&self, left: &str) -> String {
        format!("{PROVEN}{self}{LEFT}{left}")
    }

    /// The proof in a note of an earlier pass.
    pub fn noted(note: &str) -> Option<Self> {
        let (proof, _) = note.strip_prefix(PROVEN)?.split_once(LEFT)?;
        Some(Self(proof.to_owned()))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
