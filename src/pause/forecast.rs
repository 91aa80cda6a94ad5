//! Cost of the next pause in time and disk space, estimated from the last pauses of the same cluster.
//!
//! Owns the choice of the runs and the computed figures. Must not decide whether to pause.

use crate::domain::Instant;
use crate::journal::{FailureClass, Outcome, Run, RunStatus};
use crate::store::{Backup, BackupFilter, Backups};
use chrono::TimeDelta;
use std::time::Duration;

/// Key in the proof of a run. Its value is the free space of the tightest disk before the pause and at the
/// last read during the pause.
pub(crate) const DISK: &str = "disk";
/// Number of newest completed runs that a forecast uses.
const TAKEN: usize = 5;
/// Minimum number of measured pauses for a forecast that may block a pause.
const ENOUGH: usize = 3;
/// Maximum number of runs that are read to find completed ones.
const PROBED: u32 = 200;
/// Maximum age of a run that a forecast uses.
const AGE: TimeDelta = TimeDelta::days(7);
/// Time after the last pause for which a forecast may block the next one. A blocked pause yields no new
/// measurement, so the block must expire.
const BELIEVED: TimeDelta = TimeDelta::hours(24);

/// Figures of the last completed backups of a cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Forecast {
    /// Time from the intent to pause to our first resume, for each pause, shortest first.
    pauses: Vec<Duration>,
    /// Growth in bytes on the tightest disk during each measured pause, smallest first.
    growths: Vec<u64>,
    /// Time at which a block by these figures expires. `None` if the last pause is too old for a block.
    until: Option<Instant>,
}

impl Forecast {
    /// Creates the forecast from the stored runs of the cluster. If the store cannot be read, the forecast is
    /// empty, and the run itself reports the error.
    pub async fn of(store: &dyn Backups, cluster: &str, now: Instant) -> Self {
        Self::of_backups(&store.backups(Self::taken_from(cluster)).await.unwrap_or_default(), now)
    }

    /// Filter for the stored backups that a forecast uses.
    pub fn taken_from(cluster: &str) -> BackupFilter {
        BackupFilter { cluster: Some(cluster.to_owned()), limit: PROBED, ..BackupFilter::default() }
    }

    /// Creates the forecast from `backups`, which are sorted oldest first.
    pub fn of_backups(backups: &[Backup], now: Instant) -> Self {
        let runs = backups.iter().rev().map(|backup| &backup.run);
        let lately = runs.filter(|run| run.view.status == RunStatus::Completed && now - run.created_at < AGE);
        let taken: Vec<&Run> = lately.filter(|run| pause_of(run).is_some()).take(TAKEN).collect();
        let mut pauses: Vec<Duration> = taken.iter().filter_map(|run| pause_of(run)).collect();
        let mut growths: Vec<u64> = taken.iter().filter_map(|run| growth_of(run)).collect();
        pauses.sort();
        growths.sort_unstable();
        // Ignore pauses in the future, which were measured before the clock was set back.
        let expiry =
            backups.iter().filter_map(|backup| blocked_until(&backup.run)).filter(|at| *at <= now).max();
        let until = expiry.map(|at| at + BELIEVED).filter(|until| *until > now);
        Self { pauses, growths, until }
    }

    /// Expected length of a pause: the median of the last pauses.
    pub fn usual(&self) -> Option<Duration> {
        self.pauses.get(self.pauses.len() / 2).copied()
    }

    /// The longest of the last pauses.
    pub fn longest(&self) -> Option<Duration> {
        self.pauses.last().copied()
    }

    /// Bytes that a pause is expected to use on a disk, and the time at which a block by this figure expires.
    /// The median is used, so that one unusual day blocks nothing. `None` with fewer than `ENOUGH`
    /// measurements.
    pub fn growth(&self) -> Option<(u64, Instant)> {
        let middle = self.growths.get(self.growths.len() / 2).filter(|_| self.growths.len() >= ENOUGH)?;
        Some((*middle, self.until?))
    }

    /// Returns a reason and an expiry time if every one of the last pauses was longer than the pause budget
    /// `budget`.
    pub fn hopeless(&self, budget: Duration) -> Option<(String, Instant)> {
        Some((self.over(budget)?, self.until?))
    }

    /// Returns the reason if every one of the last pauses was longer than `budget`.
    pub fn over(&self, budget: Duration) -> Option<String> {
        let least = self.pauses.first().filter(|_| self.pauses.len() >= ENOUGH)?;
        (*least > budget).then(|| {
            let (summary, budget) = (self.in_text().unwrap_or_default(), in_text(budget));
            format!("{summary}, and none of them was within the pause_budget of {budget}")
        })
    }

    /// Summary of the last pauses, for example `the last 5 pauses took 2.1s as a rule, 3.4s at most`. `None`
    /// without pauses.
    pub fn in_text(&self) -> Option<String> {
        let (usual, longest) = (in_text(self.usual()?), in_text(self.longest()?));
        Some(match self.pauses.len() {
            1 => format!("the last pause took {longest}"),
            count => format!("the last {count} pauses took {usual} as a rule, {longest} at most"),
        })
    }
}

/// Text of a duration, to a tenth of a second below 10 s.
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

/// End of the pause of a run, if the run shows the cost of a pause. These runs were completed, or failed by
/// the pause budget or by lack of disk space.
fn blocked_until(run: &Run) -> Option<Instant> {
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
