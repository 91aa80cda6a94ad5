//! Checks the outcome of every due instant while schedules come, go and change (rules I5, I13). A pair is due at the
//! instants of its times between its start and its next edit, each once, and at no other instant.

use super::edits::{Pairs, active, pairs};
use super::scenario::begin;
use camunda_backupd::config::Config;
use camunda_backupd::domain::Instant;
use camunda_backupd::schedule::cron::Timing;
use camunda_backupd::schedule::next::next_after;
use camunda_backupd::store::{OccurrenceRow, TimetableRow};
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};

type Pair = (String, String);

/// Occurrences are claimed so long before they are due, and a tick may come a little late.
const AHEAD: TimeDelta = TimeDelta::seconds(4);
const LATE: TimeDelta = TimeDelta::seconds(3);

/// A time in which a pair had the same times without a break.
struct Epoch {
    times_key: String,
    since: Instant,
    /// Until then everything due was claimed.
    covered: Instant,
    /// Until then it stood in the timetable, whether or not a daemon could claim.
    lived: Instant,
    over: bool,
}

#[derive(Default)]
pub(super) struct Times {
    /// The wall clock jumps: `tests/it/schedule/timetable.rs` has the rules for the due instants then.
    jumps: bool,
    epochs: BTreeMap<Pair, Vec<Epoch>>,
    /// Pairs that were edited since they were last seen to begin.
    edited: BTreeSet<Pair>,
    /// Pairs of which store and daemon may differ, since a reload failed between them.
    blurred: BTreeSet<Pair>,
}

fn changed(before: &Pairs, after: &Pairs) -> Vec<Pair> {
    let all: BTreeSet<&Pair> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|pair| before.get(*pair) != after.get(*pair)).cloned().collect()
}

fn timing(times_key: &str) -> Timing {
    Timing::cron(times_key, begin()).unwrap()
}

impl Times {
    pub(super) fn new(jumps: bool) -> Self {
        Self { jumps, ..Self::default() }
    }

    pub(super) fn edited(&mut self, before: &Pairs, after: &Pairs) {
        self.edited.extend(changed(before, after));
    }

    pub(super) fn half_reloaded(&mut self, before: &Pairs, after: &Pairs) {
        self.blurred.extend(changed(before, after));
    }

    pub(super) fn follow(
        &mut self,
        rows: &[TimetableRow],
        running: Option<&Config>,
        now: Instant,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.jumps {
            return wrong;
        }
        let ticking = running.map(pairs).unwrap_or_default();
        let mut seen = BTreeSet::new();
        for row in active(rows) {
            let pair = (row.schedule.clone(), row.cluster.clone());
            let name = format!("{} of {}", row.schedule, row.cluster);
            let epochs = self.epochs.entry(pair.clone()).or_default();
            let last = epochs.last_mut();
            let goes_on = last
                .as_ref()
                .is_some_and(|e| !e.over && e.times_key == row.times_key && e.since == row.since);
            if !goes_on {
                if let Some(last) = last {
                    if row.since < last.covered {
                        wrong.push(format!(
                            "I13: {name} has other times than before, as if they had always been"
                        ));
                    }
                    if last.times_key == row.times_key && !self.edited.contains(&pair) {
                        wrong.push(format!("I13: {name} is reported as begun again"));
                    }
                    last.over = true;
                    last.lived = now;
                }
                self.edited.remove(&pair);
                let (times_key, since) = (row.times_key.clone(), row.since);
                epochs.push(Epoch { times_key, since, covered: since, lived: now, over: false });
            }
            if let Some(epoch) = epochs.last_mut() {
                epoch.lived = now;
            }
            if let Some(epoch) = epochs.last_mut().filter(|e| ticking.get(&pair) == Some(&e.times_key)) {
                epoch.covered = now;
            }
            seen.insert(pair);
        }
        for (_, epochs) in self.epochs.iter_mut().filter(|(pair, _)| !seen.contains(pair)) {
            for epoch in epochs.iter_mut().filter(|epoch| !epoch.over) {
                epoch.over = true;
                epoch.lived = now;
            }
        }
        wrong
    }

    /// Each due instant has exactly one outcome, and no other instant has one.
    pub(super) fn judge(&self, rows: &[OccurrenceRow]) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.jumps {
            return wrong;
        }
        for (pair, epochs) in self.epochs.iter().filter(|(pair, _)| !self.blurred.contains(pair)) {
            let rows: Vec<&OccurrenceRow> = rows.iter().filter(|row| of(row, pair)).collect();
            for epoch in epochs {
                let timing = timing(&epoch.times_key);
                let mut due = next_after(&timing, chrono_tz::UTC, epoch.since);
                while let Some(at) = due.filter(|at| *at <= epoch.covered - LATE) {
                    let outcomes = rows.iter().filter(|row| covers(row, at)).count();
                    if outcomes != 1 {
                        wrong.push(format!("I13: {} of {} at {at} has {outcomes} outcomes", pair.0, pair.1));
                    }
                    due = next_after(&timing, chrono_tz::UTC, at);
                }
            }
            for row in rows {
                let at = row.occurrence.due_at;
                let was_due = |epoch: &Epoch| {
                    let inside = epoch.since < at && row.until.unwrap_or(at) <= epoch.lived + AHEAD;
                    let before = at - TimeDelta::seconds(1);
                    inside && next_after(&timing(&epoch.times_key), chrono_tz::UTC, before) == Some(at)
                };
                if !epochs.iter().any(was_due) {
                    wrong.push(format!(
                        "I13: {} of {} was never due at {at}, and is {:?}",
                        pair.0, pair.1, row.outcome
                    ));
                }
            }
        }
        wrong
    }
}

fn of(row: &OccurrenceRow, pair: &Pair) -> bool {
    row.occurrence.schedule == pair.0 && row.occurrence.cluster == pair.1
}

fn covers(row: &OccurrenceRow, at: Instant) -> bool {
    row.occurrence.due_at <= at && row.until.unwrap_or(row.occurrence.due_at) >= at
}
