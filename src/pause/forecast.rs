//! What the next pause will cost, from the last ones of the same cluster.
//!
//! Owns which runs are taken and what is made of them. Must not decide what follows from it.

use crate::domain::Instant;
use crate::journal::{FailureClass, Outcome, Run, RunStatus};
use crate::store::{Backup, BackupFilter, SharedStore};
use chrono::TimeDelta;
use std::time::Duration;

/// The fact in a run's proof: room on the tightest disk before the pause, and when it was last looked at inside it.
pub(crate) const DISK: &str = "disk";
/// So many of the newest completed runs are taken.
const TAKEN: usize = 5;
/// With fewer nothing is forbidden for what they say.
const ENOUGH: usize = 3;
/// Runs that are looked at for them, failed ones between included.
const PROBED: u32 = 200;
/// What is older tells nothing of today.
const AGE: TimeDelta = TimeDelta::days(7);
/// What is forbidden makes no new figures: so long after the last pause it is tried again.
const BELIEVED: TimeDelta = TimeDelta::hours(24);

/// What the last completed backups of a cluster cost.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// From the pause's intent to our first resume, shortest first.
    pauses: Vec<Duration>,
    /// Bytes by which the tightest disk shrank inside each, as far as that was looked at; largest last.
    growths: Vec<u64>,
    /// Until when nothing is begun for what they say; none where the last pause is longer ago than that is believed.
    until: Option<Instant>,
}

impl Forecast {
    /// From the newest runs of the cluster; nothing where they cannot be read, which a run will notice by itself.
    pub async fn of(store: &SharedStore, cluster: &str, now: Instant) -> Self {
        Self::of_backups(&store.backups(Self::taken_from(cluster)).await.unwrap_or_default(), now)
    }

    /// The backups to make it of.
    pub fn taken_from(cluster: &str) -> BackupFilter {
        BackupFilter { cluster: Some(cluster.to_owned()), limit: PROBED, ..BackupFilter::default() }
    }

    /// From these, oldest first.
    pub fn of_backups(backups: &[Backup], now: Instant) -> Self {
        let runs = backups.iter().rev().map(|backup| &backup.run);
        let lately = runs.filter(|run| run.view.status == RunStatus::Completed && now - run.created_at < AGE);
        let taken: Vec<&Run> = lately.filter(|run| pause_of(run).is_some()).take(TAKEN).collect();
        let mut pauses: Vec<Duration> = taken.iter().filter_map(|run| pause_of(run)).collect();
        let mut growths: Vec<u64> = taken.iter().filter_map(|run| growth_of(run)).collect();
        pauses.sort();
        growths.sort_unstable();
        // What lies ahead was written by a clock that was set back since.
        let tried =
            backups.iter().filter_map(|backup| tried_until(&backup.run)).filter(|at| *at <= now).max();
        let until = tried.map(|at| at + BELIEVED).filter(|until| *until > now);
        Self { pauses, growths, until }
    }

    /// How long exporting will be paused, as far as anybody can tell: the middle of the last pauses.
    pub fn usual(&self) -> Option<Duration> {
        self.pauses.get(self.pauses.len() / 2).copied()
    }

    /// The longest of the last pauses.
    pub fn longest(&self) -> Option<Duration> {
        self.pauses.last().copied()
    }

    /// Bytes that a pause will take from a disk, and until when nothing is begun for that: the middle of the last ones,
    /// so that one odd day forbids nothing. None where too few were looked at to be believed.
    pub fn growth(&self) -> Option<(u64, Instant)> {
        let middle = self.growths.get(self.growths.len() / 2).filter(|_| self.growths.len() >= ENOUGH)?;
        Some((*middle, self.until?))
    }

    /// Why pausing would only do harm, and until when that is believed: the budget is bound to end it.
    pub fn hopeless(&self, budget: Duration) -> Option<(String, Instant)> {
        Some((self.over(budget)?, self.until?))
    }

    /// That none of the last pauses was within that budget.
    pub fn over(&self, budget: Duration) -> Option<String> {
        let least = self.pauses.first().filter(|_| self.pauses.len() >= ENOUGH)?;
        (*least > budget).then(|| {
            let (told, budget) = (self.in_text().unwrap_or_default(), in_text(budget));
            format!("{told}, and none of them was within the pause_budget of {budget}")
        })
    }

    /// `the last 5 pauses took 2.1s as a rule, 3.4s at most`; nothing where there were none.
    pub fn in_text(&self) -> Option<String> {
        let (usual, longest) = (in_text(self.usual()?), in_text(self.longest()?));
        Some(match self.pauses.len() {
            1 => format!("the last pause took {longest}"),
            count => format!("the last {count} pauses took {usual} as a rule, {longest} at most"),
        })
    }
}

/// A duration to a tenth of a second, for a sentence.
pub(crate) fn in_text(duration: Duration) -> String {
    if duration < Duration::from_secs(10) {
        return format!("{:.1}s", duration.as_secs_f64());
    }
    humantime::format_duration(Duration::from_secs(duration.as_secs())).to_string()
}

fn pause_of(run: &Run) -> Option<Duration> {
    let (from, to): (Instant, Instant) = (run.view.pause.intended_at?, run.view.pause.resume_intended_at?);
    (to - from).to_std().ok()
}

/// When the pause of a run ended that shows what a pause costs: it was long enough, or budget or disk ended it.
fn tried_until(run: &Run) -> Option<Instant> {
    let shows = match &run.view.outcome {
        Some(Outcome::Completed { .. }) => true,
        Some(Outcome::Failed { class, .. }) => {
            matches!(class, FailureClass::PauseBudget | FailureClass::Disk)
        }
        None => false,
    };
    run.view.pause.resume_intended_at.filter(|_| shows)
}

fn growth_of(run: &Run) -> Option<u64> {
    let disk = run.view.proof.get(DISK)?;
    Some(disk["free_before"].as_u64()?.saturating_sub(disk["free_inside"].as_u64()?))
}
