//! Timetable: due, claimed and missed occurrences.
//!
//! Owns the next due instant of each (schedule, cluster) pair and the rules for missed occurrences (rule I13). Pure:
//! callers pass every instant. Must not read a clock, write the store or use tokio-cron-scheduler (`dispatch` does).

pub mod cron;
pub mod dispatch;
pub mod next;

use crate::domain::{Instant, Occurrence};
use crate::schedule::cron::Timing;
use crate::store::{OccurrenceOutcome, OccurrenceRow, TimetableRow};
use chrono::TimeDelta;
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::time::Duration;

/// Maximum lateness of a normal start. An occurrence found later counts as missed, because the daemon was down or the
/// clock was set forward.
const LATE: TimeDelta = TimeDelta::seconds(60);

/// Names of a schedule and a cluster.
pub type Pair = (String, String);

/// Handling of occurrences that were missed while the daemon was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatchUp {
    /// The latest missed occurrence runs.
    Once,
    /// No missed occurrence runs.
    Skip,
}

/// Times of one (schedule, cluster) pair, as configured.
#[derive(Clone, Debug)]
pub struct PairTimes {
    /// Schedule name and cluster name.
    pub pair: Pair,
    /// Due times.
    pub timing: Timing,
    /// Zone of the due times.
    pub timezone: Tz,
    /// Timing and zone as text; changes when the times are edited.
    pub times_key: String,
    /// Largest delay that spreads the clusters of a schedule.
    pub spread: Duration,
    /// Longest wait after the due instant plus the spread.
    pub start_within: Duration,
    /// Handling of missed occurrences.
    pub catch_up: CatchUp,
    /// Deadline of one run of this cluster.
    pub run_deadline: Duration,
}

/// Due times of one pair.
#[derive(Clone, Debug)]
struct Entry {
    timing: Timing,
    timezone: Tz,
    times_key: String,
    spread: TimeDelta,
    start_within: TimeDelta,
    catch_up: CatchUp,
    run_deadline: TimeDelta,
    since: Instant,
    last_due: Option<Instant>,
    next: Option<Instant>,
    /// Occurrences before this instant were missed while the daemon was down, however recent.
    fresh_from: Instant,
}

/// Due times of every enabled pair of the config.
#[derive(Debug, Default)]
pub struct Timetable {
    entries: BTreeMap<Pair, Entry>,
}

impl Timetable {
    /// The timetable of configured pairs. A new pair, a pair enabled again, and a pair with edited times start now: earlier
    /// occurrences are not missed. `known`: rows of the store, the only memory after a restart.
    pub fn planned(&self, pairs: &[PairTimes], known: &[TimetableRow], now: Instant) -> Self {
        let mut entries = BTreeMap::new();
        let known: BTreeMap<(&str, &str), &TimetableRow> =
            known.iter().map(|row| ((row.schedule.as_str(), row.cluster.as_str()), row)).collect();
        for times in pairs {
            let pair = times.pair.clone();
            let kept = known
                .get(&(pair.0.as_str(), pair.1.as_str()))
                .filter(|row| row.active && row.times_key == times.times_key);
            let since = kept.map_or(now, |row| row.since);
            let last_due = kept.and_then(|row| row.last_due).map(|last| clamp(&pair, last, now));
            let running = self.entries.get(&pair).filter(|e| e.times_key == times.times_key);
            let mut entry = Entry {
                timing: times.timing.clone(),
                timezone: times.timezone,
                times_key: times.times_key.clone(),
                spread: spread(&pair.1, times.spread),
                start_within: delta(times.start_within),
                catch_up: times.catch_up,
                run_deadline: delta(times.run_deadline),
                since,
                last_due: running.map_or(last_due, |e| e.last_due),
                next: None,
                fresh_from: running.map_or(now, |e| e.fresh_from),
            };
            entry.next = entry.after_last();
            entries.insert(pair, entry);
        }
        Self { entries }
    }

    /// Replaces the timetable by `planned`. Occurrences claimed since `planned` was made stay claimed.
    pub fn take_over(&mut self, mut planned: Self) {
        for (pair, entry) in &mut planned.entries {
            if let Some(running) = self.entries.get(pair).filter(|e| e.times_key == entry.times_key) {
                entry.last_due = entry.last_due.max(running.last_due);
                entry.next = entry.after_last();
            }
        }
        *self = planned;
    }

    /// Every pair as a row for the store.
    pub fn rows(&self) -> Vec<TimetableRow> {
        self.entries
            .iter()
            .map(|((schedule, cluster), entry)| TimetableRow {
                schedule: schedule.clone(),
                cluster: cluster.clone(),
                times_key: entry.times_key.clone(),
                since: entry.since,
                last_due: entry.last_due,
                active: true,
            })
            .collect()
    }

    /// Rows for occurrences due until `now + ahead`, ordered by due time, of at most `limit` pairs: `Waiting`, or
    /// `Skipped` for a range of missed ones. Only `claimed` advances the timetable.
    pub fn due(&self, now: Instant, ahead: TimeDelta, limit: usize) -> Vec<OccurrenceRow> {
        let mut due: Vec<(&Pair, &Entry, Instant)> = self
            .entries
            .iter()
            .filter_map(|(pair, entry)| {
                entry.next.filter(|next| *next <= now + ahead).map(|next| (pair, entry, next))
            })
            .collect();
        due.sort_by_key(|(_, _, next)| *next);
        due.truncate(limit);
        due.into_iter().flat_map(|(pair, entry, first)| entry.rows_until(pair, first, now)).collect()
    }

    /// Advances the pairs of these rows, after the store has written them.
    pub fn claimed(&mut self, rows: &[OccurrenceRow]) {
        for row in rows {
            let pair = (row.occurrence.schedule.clone(), row.occurrence.cluster.clone());
            if let Some(entry) = self.entries.get_mut(&pair) {
                let last = row.until.unwrap_or(row.occurrence.due_at);
                if entry.last_due.is_none_or(|known| known < last) {
                    entry.last_due = Some(last);
                }
                entry.next = entry.after_last();
            }
        }
    }

    /// After the wall clock went back: discards claims in the future and recomputes every pair from `now`.
    pub fn clock_set_back(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            if entry.last_due.is_some_and(|last| last > now) {
                entry.last_due = Some(now);
            }
            entry.fresh_from = entry.fresh_from.min(now);
            entry.next = entry.after_last();
        }
    }

    /// Next due instant by pair; without pairs that are never due again.
    pub fn next_due(&self) -> BTreeMap<Pair, Instant> {
        self.entries.iter().filter_map(|(pair, entry)| Some((pair.clone(), entry.next?))).collect()
    }

    /// Names of schedules with at least one pair.
    pub fn schedules(&self) -> Vec<String> {
        let mut names: Vec<String> = self.entries.keys().map(|(schedule, _)| schedule.clone()).collect();
        names.dedup();
        names
    }
}

impl Entry {
    fn after_last(&self) -> Option<Instant> {
        let from = self.last_due.map_or(self.since, |last| last.max(self.since));
        next::next_after(&self.timing, self.timezone, from)
    }

    /// Rows from `first` on: missed occurrences as one range, and the occurrence that shall run.
    fn rows_until(&self, pair: &Pair, first: Instant, now: Instant) -> Vec<OccurrenceRow> {
        let missed_before = now - LATE;
        let is_missed = |due: Instant| due < missed_before || due < self.fresh_from;
        if !is_missed(first) {
            return vec![self.row(pair, first, OccurrenceOutcome::Waiting, false)];
        }
        // All missed occurrences are one range; the latest one may be caught up.
        let bound = missed_before.max(self.fresh_from - TimeDelta::milliseconds(1)).min(now);
        let from = self.last_due.map_or(self.since, |last| last.max(self.since));
        let Some(missed) = next::missed(&self.timing, self.timezone, from, bound) else {
            let mut row = self.row(pair, first, OccurrenceOutcome::Waiting, true);
            row.start_until = row.start_at.max(now) + self.start_within;
            return vec![row];
        };
        let following = next::next_after(&self.timing, self.timezone, missed.latest);
        let near = following.is_some_and(|next| next - now < self.run_deadline);
        let catch_up = self.catch_up == CatchUp::Once && !near;
        let at_least = if missed.more { "at least " } else { "" };
        let mut rows = Vec::new();
        if catch_up {
            if missed.earlier > 0 {
                let last = missed.latest - TimeDelta::seconds(1);
                let reason = format!(
                    "{at_least}{} missed while the daemon was down or could not write its state, or because the clock jumped; only the latest is caught up",
                    missed.earlier
                );
                rows.push(self.range(pair, missed.first, last, missed.earlier, reason));
            }
            let mut row = self.row(pair, missed.latest, OccurrenceOutcome::Waiting, true);
            // `start_within` counts from now: the window of the occurrence itself has passed.
            row.start_until = row.start_at.max(now) + self.start_within;
            rows.push(row);
        } else {
            let count = missed.earlier + 1;
            let why = if near {
                "the next occurrence is due before a run could reach its run_deadline"
            } else {
                "catch_up is \"skip\""
            };
            let reason = format!(
                "{at_least}{count} missed while the daemon was down or could not write its state, or because the clock jumped; {why}"
            );
            rows.push(self.range(pair, missed.first, missed.latest, count, reason));
        }
        rows
    }

    fn row(&self, pair: &Pair, due_at: Instant, outcome: OccurrenceOutcome, missed: bool) -> OccurrenceRow {
        let start_at = due_at + self.spread;
        OccurrenceRow {
            occurrence: Occurrence { schedule: pair.0.clone(), cluster: pair.1.clone(), due_at },
            until: None,
            count: 1,
            start_at,
            start_until: start_at + self.start_within,
            missed,
            outcome,
            reason: None,
            run_id: None,
        }
    }

    fn range(&self, pair: &Pair, first: Instant, last: Instant, count: u64, reason: String) -> OccurrenceRow {
        let mut row = self.row(pair, first, OccurrenceOutcome::Skipped, true);
        row.until = (last > first).then_some(last);
        row.count = count;
        row.reason = Some(reason);
        row
    }
}

/// Returns the last occurrence, or `now` if the last occurrence is in the future because the clock was set back.
fn clamp(pair: &Pair, last: Instant, now: Instant) -> Instant {
    // Occurrences are claimed up to two seconds before they are due, so a small difference is no jump of the clock.
    if last > now + TimeDelta::seconds(10) {
        tracing::warn!(event = "clock.jumped", schedule = %pair.0, cluster = %pair.1,
            reason = "the last occurrence is in the future, so the clock was set back: due times count from now");
        return now;
    }
    last
}

/// A stable delay below `limit`, equal for all schedules of a cluster, so that occurrences at one instant still share a
/// backup.
fn spread(cluster: &str, limit: Duration) -> TimeDelta {
    let limit = limit.as_millis() as u64;
    if limit == 0 {
        return TimeDelta::zero();
    }
    // FNV-1a: stable across versions and machines, unlike the hasher of std.
    let hash = cluster
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    TimeDelta::milliseconds((hash % limit) as i64)
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}
