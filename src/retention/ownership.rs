//! The proof that a backup is ours, without which nothing is deleted (design: ids, ownership, deletion).
//!
//! Owns the rules of evidence. Must not ask anybody: what the components show is handed in.

use crate::domain::{Component, Instant, Pool};
use crate::journal::{Run, Step};
use crate::run::Mark;
use chrono::TimeDelta;

/// How far a component's clock may be off.
pub const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// The records snapshot of a backup, as the search engine shows it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordsShown {
    /// Its name.
    pub name: String,
    /// What its metadata says about who took it.
    pub mark: Option<Mark>,
}

/// What the cluster shows now of one backup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// The records snapshot, where it exists.
    pub records: Option<RecordsShown>,
    /// When each part that is shown with a time was begun.
    pub begun: Vec<(Component, Instant)>,
}

/// The evidence that the backup of `run` is ours, or why that is not proven, each as one clause.
///
/// That the row with the id is ours holds by construction: it is the row of `run`.
pub fn prove(instance: &str, run: &Run, shown: &Shown) -> Result<String, String> {
    let id = run.backup_id;
    let adopted = run.pools.contains(&Pool::Adopted);
    if !adopted && !run.view.done.contains(&Step::Guard) {
        return Err(format!(
            "id {id} was not seen free in every component before the run, so another may have taken it"
        ));
    }
    match &shown.records {
        Some(RecordsShown { name, mark }) => by_mark(instance, run, name, mark.as_ref()),
        None if adopted => Err(format!(
            "the records snapshot of adopted backup {id} is gone, and only its mark proved it ours"
        )),
        None => by_time(run, &shown.begun),
    }
}

fn by_mark(instance: &str, run: &Run, name: &str, mark: Option<&Mark>) -> Result<String, String> {
    let Some(mark) = mark else {
        return Err(format!("snapshot {name} carries no mark of a camunda-backupd in its metadata"));
    };
    let ours = Mark { instance: instance.to_owned(), cluster: run.cluster.clone(), run_id: run.run_id };
    if mark == &ours {
        return Ok(format!("snapshot {name} carries the mark of run {}", run.run_id));
    }
    Err(format!(
        "snapshot {name} carries the mark of instance {}, cluster {}, run {}, not of instance {}, cluster {}, run {}",
        mark.instance, mark.cluster, mark.run_id, ours.instance, ours.cluster, ours.run_id
    ))
}

fn by_time(run: &Run, begun: &[(Component, Instant)]) -> Result<String, String> {
    let (Some(from), Some(until)) = (run.view.started_at, run.view.finished_at) else {
        return Err(format!("run {} has no beginning and end to compare with", run.run_id));
    };
    if begun.is_empty() {
        return Err(format!("no component shows when its part of backup {} was begun", run.backup_id));
    }
    for (component, at) in begun {
        if *at < from - CLOCK_TOLERANCE || *at > until + CLOCK_TOLERANCE {
            return Err(format!(
                "{component} shows {at} as the beginning of backup {}, outside of run {} ({from} to {until})",
                run.backup_id, run.run_id
            ));
        }
    }
    let (component, at) = begun[0];
    Ok(format!(
        "id {} was free before the run, and {component} began its part within it, at {at}",
        run.backup_id
    ))
}
