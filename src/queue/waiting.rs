//! Occurrences that wait for a cluster: of each schedule at most one whose time has come.
//!
//! Decides when a waiting occurrence is retried and which one a newer occurrence replaces. Must not start or
//! skip any (`queue`).

use crate::domain::Instant;
use crate::store::OccurrenceRow;
use chrono::TimeDelta;
use std::collections::BTreeMap;

/// A tick submits occurrences due within a second; a larger delay has a cause worth reporting.
const LATE: TimeDelta = TimeDelta::seconds(5);

/// A waiting occurrence.
pub(crate) struct Waiting {
    /// Row as it was claimed.
    pub row: OccurrenceRow,
    /// Time of the next attempt: its own time, or later if the cluster was not ready.
    pub from: Instant,
    /// Reason for the delay.
    why: Option<String>,
}

impl Waiting {
    /// Waits for its own time. If that time is over, the reason explains the delay.
    pub(super) fn new(row: OccurrenceRow, now: Instant) -> Self {
        let late = now - row.start_at;
        let why = (late > LATE).then(|| {
            format!(
                "the daemon was down or could not write its state, or the clock jumped, until {} s after its time",
                late.num_seconds()
            )
        });
        Self { from: row.start_at, row, why }
    }

    /// Waits until `from` for the given reason.
    pub(super) fn until(row: OccurrenceRow, from: Instant, why: &str) -> Self {
        Self { row, from, why: Some(why.to_owned()) }
    }
}

/// Removes the occurrences whose time has come and that still wait when the next one of their schedule is
/// due, grouped by skip reason. An occurrence within its spread still gets its turn.
pub(crate) fn overtaken(waiting: &mut Vec<Waiting>, now: Instant) -> BTreeMap<String, Vec<OccurrenceRow>> {
    let mut newest: BTreeMap<String, Instant> = BTreeMap::new();
    for Waiting { row, .. } in waiting.iter() {
        let due_at = newest.entry(row.occurrence.schedule.clone()).or_insert(row.occurrence.due_at);
        *due_at = row.occurrence.due_at.max(*due_at);
    }
    let is_overtaken = |w: &mut Waiting| {
        let newest = newest.get(&w.row.occurrence.schedule);
        w.row.start_at <= now && newest.is_some_and(|newest| w.row.occurrence.due_at < *newest)
    };
    let mut by_reason: BTreeMap<String, Vec<OccurrenceRow>> = BTreeMap::new();
    for Waiting { row, why, .. } in waiting.extract_if(.., is_overtaken) {
        let reason = match why {
            Some(why) => format!("the next one came due while it waited: {why}"),
            None => "the next one came due before its cluster was free".to_owned(),
        };
        by_reason.entry(reason).or_default().push(row);
    }
    by_reason
}
