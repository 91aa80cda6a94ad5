//! Oracle: rules for a state file and a log after all kills and faults. Computes due instants independently.

use super::fleet::Fleet;
use camunda_backupd::domain::{BackupState, Instant, Occurrence, RunId};
use camunda_backupd::journal::{Outcome, Run};
use camunda_backupd::sim::{Storage, locked};
use camunda_backupd::store::{BackupFilter, OccurrenceOutcome, OccurrenceRow, PendingResume, TimetableRow};
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// An occurrence due so shortly before the end may still wait for its spread.
const UNDER_WAY: TimeDelta = TimeDelta::seconds(130);

/// A schedule whose due instants are the multiples of a period.
pub(super) struct Period {
    pub schedule: String,
    pub every: TimeDelta,
}

/// Everything in the state file.
#[derive(Clone)]
pub(super) struct History {
    pub timetable: Vec<TimetableRow>,
    pub occurrences: Vec<OccurrenceRow>,
    pub runs: Vec<Run>,
    pub pending_resumes: Vec<PendingResume>,
}

impl History {
    pub(super) fn failed(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| matches!(run.view.outcome, Some(Outcome::Failed { .. })))
    }

    pub(super) fn classes(&self) -> BTreeMap<String, usize> {
        let mut classes = BTreeMap::new();
        for run in self.failed() {
            if let Some(Outcome::Failed { class, .. }) = &run.view.outcome {
                *classes.entry(format!("{class:?}")).or_default() += 1;
            }
        }
        classes
    }
}

/// Commands to the fleet, with their times.
pub(super) struct Expected {
    pub clusters: Vec<String>,
    pub periods: Vec<Period>,
    /// Start of the first daemon. A pair may not begin much later, or its missed occurrences would not count.
    pub began: Instant,
    /// Work started before this instant must have ended.
    pub until: Instant,
}

/// A first daemon has so long to write its timetable down, if it was not killed before.
const AT_FIRST: TimeDelta = TimeDelta::seconds(60);

/// Everything that is wrong with it, one sentence each.
pub(super) fn judge(history: &History, expected: &Expected) -> Vec<String> {
    let until = expected.until;
    let mut wrong = pairs(history, expected);
    wrong.extend(occurrences(history, &expected.periods, until));
    let served: BTreeMap<RunId, &Run> = history.runs.iter().map(|run| (run.run_id, run)).collect();
    for row in &history.occurrences {
        let name = || {
            format!("{} of {} at {}", row.occurrence.schedule, row.occurrence.cluster, row.occurrence.due_at)
        };
        match (row.outcome, row.run_id) {
            (OccurrenceOutcome::Skipped, _) if row.reason.is_none() => {
                wrong.push(format!("{} was skipped without a reason", name()));
            }
            (
                OccurrenceOutcome::Started | OccurrenceOutcome::CaughtUp | OccurrenceOutcome::Coalesced,
                None,
            ) => {
                wrong.push(format!("{} was served by no run", name()));
            }
            (_, Some(run))
                if !served.get(&run).is_some_and(|run| run.occurrences.contains(&row.occurrence)) =>
            {
                wrong.push(format!("{} names run {run}, which does not serve it", name()));
            }
            _ => {}
        }
    }
    let mut times = BTreeMap::new();
    for run in &history.runs {
        for occurrence in &run.occurrences {
            *times.entry(occurrence).or_insert(0) += 1;
        }
        // Runs started later were in progress when the daemon was stopped.
        if !run.view.ended() && run.created_at < until {
            wrong.push(format!("backup {} of {} has not ended", run.backup_id, run.cluster));
        }
    }
    let named: BTreeSet<_> =
        history.occurrences.iter().filter_map(|row| Some((row.run_id?, &row.occurrence))).collect();
    for run in &history.runs {
        for occurrence in run.occurrences.iter().filter(|one| !named.contains(&(run.run_id, *one))) {
            wrong.push(format!(
                "run {} serves {} of {} at {}, whose row does not name it",
                run.run_id, occurrence.schedule, occurrence.cluster, occurrence.due_at
            ));
        }
    }
    wrong.extend(times.into_iter().filter(|(_, times)| *times > 1).map(|(occurrence, times)| {
        format!(
            "{} of {} at {} was run {times} times",
            occurrence.schedule, occurrence.cluster, occurrence.due_at
        )
    }));
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for run in &history.runs {
        let id = run.view.identified.unwrap_or(run.backup_id).get();
        if let Some(before) = last.insert(&run.cluster, id).filter(|before| *before >= id) {
            wrong.push(format!("id {id} of {} follows {before}", run.cluster));
        }
    }
    wrong.extend(
        history
            .pending_resumes
            .iter()
            .map(|pending_resume| format!("a resume of {} is still pending", pending_resume.cluster)),
    );
    wrong
}

/// Every schedule of every cluster is in the timetable, since the beginning.
fn pairs(history: &History, expected: &Expected) -> Vec<String> {
    let mut wrong = Vec::new();
    for period in &expected.periods {
        for cluster in &expected.clusters {
            let name = format!("{} of {cluster}", period.schedule);
            let pair =
                history.timetable.iter().find(|p| p.schedule == period.schedule && p.cluster == *cluster);
            match pair {
                None => wrong.push(format!("{name} is not in the timetable")),
                Some(pair) if pair.since > expected.began + AT_FIRST => {
                    wrong.push(format!("{name} is in the timetable since {} only", pair.since));
                }
                Some(_) => {}
            }
        }
    }
    wrong
}

/// Work left from before an instant: a run in progress, a pending resume, or an occurrence that still waits, as one
/// does whose cluster's run ended a moment ago.
pub(super) fn from_before(
    instant: Instant,
    runs: &[Run],
    pending_resumes: &[PendingResume],
    waiting: &[OccurrenceRow],
) -> Option<String> {
    if let Some(run) = runs.iter().find(|run| run.created_at < instant) {
        return Some(format!("backup {} of {} is under way", run.backup_id, run.cluster));
    }
    if let Some(pending_resume) =
        pending_resumes.iter().find(|pending_resume| pending_resume.intended_at < instant)
    {
        return Some(format!("a resume of {} is pending", pending_resume.cluster));
    }
    let row = waiting.iter().find(|row| row.occurrence.due_at < instant)?;
    let Occurrence { schedule, cluster, due_at } = &row.occurrence;
    Some(format!("{schedule} of {cluster} at {due_at} waits"))
}

/// Every due instant since a pair appeared is on record exactly once, and nothing else is.
fn occurrences(history: &History, periods: &[Period], until: Instant) -> Vec<String> {
    let mut of: BTreeMap<(&str, &str), Vec<&OccurrenceRow>> = BTreeMap::new();
    for row in &history.occurrences {
        of.entry((&row.occurrence.schedule, &row.occurrence.cluster)).or_default().push(row);
    }
    let mut wrong = Vec::new();
    for pair in &history.timetable {
        let Some(period) = periods.iter().find(|period| period.schedule == pair.schedule) else {
            wrong.push(format!("nobody has a schedule {}", pair.schedule));
            continue;
        };
        let rows = of.get(&(pair.schedule.as_str(), pair.cluster.as_str())).map_or(&[][..], Vec::as_slice);
        let every = period.every.num_seconds();
        let mut due = pair.since.timestamp().div_euclid(every) * every + every;
        while due < (until - UNDER_WAY.min(TimeDelta::seconds(every + 20))).timestamp() {
            let holds = |row: &&&OccurrenceRow| {
                let (first, last) = (row.occurrence.due_at, row.until.unwrap_or(row.occurrence.due_at));
                first.timestamp() <= due && due <= last.timestamp()
            };
            let holders: Vec<_> = rows.iter().filter(holds).collect();
            let name = || format!("{} of {} at {due}", pair.schedule, pair.cluster);
            match holders.as_slice() {
                [row] if row.outcome == OccurrenceOutcome::Waiting => {
                    wrong.push(format!("{} waits for nobody", name()));
                }
                [_] => {}
                [] => wrong.push(format!("{} vanished", name())),
                several => wrong.push(format!("{} is on record {} times", name(), several.len())),
            }
            due += every;
        }
        for row in rows {
            let last = row.until.unwrap_or(row.occurrence.due_at);
            if [row.occurrence.due_at, last].iter().any(|at| at.timestamp() % every != 0) {
                wrong.push(format!(
                    "{} of {} was never due at {}",
                    pair.schedule, pair.cluster, row.occurrence.due_at
                ));
                continue;
            }
            let instants = (last - row.occurrence.due_at).num_seconds() / every + 1;
            if instants as u64 != row.count {
                wrong.push(format!(
                    "a range of {} {} stands for {}, not {instants}",
                    pair.schedule, pair.cluster, row.count
                ));
            }
        }
    }
    wrong
}

/// Backups that were called completed, each restored while it was kept.
#[derive(Default)]
pub(super) struct Completed {
    seen: BTreeSet<(String, i64)>,
    again: usize,
}

impl Completed {
    pub(super) fn restored(&self) -> usize {
        self.seen.len()
    }

    /// Backups that were restored once more, at the end.
    pub(super) fn restored_again(&self) -> usize {
        self.again
    }

    /// At the end every kept backup is restored again, because retention may have deleted a part of it.
    pub(super) async fn probe_once_more(&mut self, fleet: &Fleet) -> Vec<String> {
        let before = std::mem::take(&mut self.seen);
        let wrong = self.probe(fleet).await;
        self.again = self.seen.len();
        self.seen.extend(before);
        wrong
    }

    async fn kept(fleet: &Fleet) -> Vec<(String, i64)> {
        let Some(store) = fleet.store() else { return vec![] };
        let filter = BackupFilter { existing: true, ..BackupFilter::default() };
        let backups = store.backups(filter).await.unwrap();
        let completed = backups.iter().filter(|backup| backup.state == BackupState::Completed);
        completed
            .map(|b| (b.run.cluster.clone(), b.run.view.identified.unwrap_or(b.run.backup_id).get()))
            .collect()
    }

    /// Violations of backups completed since the last check. A database belongs to its operator: backups of its cluster
    /// are counted, not restored.
    pub(super) async fn probe(&mut self, fleet: &Fleet) -> Vec<String> {
        let mut wrong = Vec::new();
        let kept: Vec<_> =
            Self::kept(fleet).await.into_iter().filter(|one| !self.seen.contains(one)).collect();
        let mut doubtful = Vec::new();
        for (name, id) in kept {
            let cluster = fleet.clusters.iter().find(|cluster| locked(cluster).config.name == name).unwrap();
            let restored = {
                let mut cluster = locked(cluster);
                cluster.advance(chrono::Utc::now());
                (cluster.config.storage != Storage::Rdbms).then(|| cluster.restore(id))
            };
            if let Some(restored) = restored.filter(|restored| !restored.is_whole()) {
                doubtful.push((
                    (name.clone(), id),
                    format!(
                        "backup {id} of {name} is called completed, but {} records are lost and {} doubled, {} instances unknown to the broker",
                        restored.lost(), restored.duplicates(), restored.unknown_to_broker
                    ),
                ));
                continue;
            }
            self.seen.insert((name, id));
        }
        if !doubtful.is_empty() {
            // Retention may have started on it between the two reads.
            let still = Self::kept(fleet).await;
            wrong.extend(
                doubtful
                    .into_iter()
                    .filter(|(one, _)| still.contains(one))
                    .map(|(_, description)| description),
            );
        }
        wrong
    }
}

/// The daemon's log, over all its lives.
pub(super) struct Log {
    failed: BTreeMap<String, usize>,
    defects: Vec<String>,
}

impl Log {
    pub(super) fn read(path: &Path) -> Self {
        let (mut failed, mut defects) = (BTreeMap::new(), Vec::new());
        for line in std::fs::read_to_string(path).unwrap().lines() {
            if line.contains("this is a defect") || line.contains("panicked") {
                defects.push(line.to_owned());
            }
            // A line cut off by a kill is none.
            let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            if event["event"] == "run.failed" {
                *failed.entry(event["run_id"].as_str().unwrap().to_owned()).or_insert(0) += 1;
            }
        }
        Self { failed, defects }
    }

    pub(super) fn failed(&self) -> usize {
        self.failed.len()
    }

    /// One `run.failed` for each failed run, none for others; one may be lost to a kill between the commit and the line.
    pub(super) fn judge(&self, history: &History) -> Vec<String> {
        let known: BTreeSet<String> = history.failed().map(|run| run.run_id.to_string()).collect();
        let twice = self.failed.iter().filter(|(_, times)| **times > 1);
        let twice = twice.map(|(run, times)| format!("run.failed of {run} is in the log {times} times"));
        let strange = self.failed.keys().filter(|run| !known.contains(*run));
        let strange = strange.map(|run| format!("run.failed of {run}, which is not called failed"));
        let defects = self.defects.iter().map(|line| format!("the log has: {line}"));
        defects.chain(twice).chain(strange).collect()
    }
}
