//! Occurrences that wait until their cluster is free and ready. At most one due occurrence of each schedule
//! waits.
//!
//! Decides when a waiting occurrence is retried, and which ones a newer occurrence replaces. Must not start
//! or skip an occurrence (`queue`).

use crate::domain::Instant;
use crate::store::OccurrenceRow;
use chrono::TimeDelta;
use std::collections::BTreeMap;

/// Delay from which an occurrence counts as late. A tick normally submits an occurrence within a second of
/// its due time.
const LATE: TimeDelta = TimeDelta::seconds(5);

/// A waiting occurrence.
pub(crate) struct Waiting {
    /// Row of the occurrence in the store, as it was claimed.
    pub row: OccurrenceRow,
    /// Time of the next attempt to start: `start_at` of the occurrence, or later if the cluster was not
    /// ready.
    pub from: Instant,
    /// Reason why the occurrence did not start at its `start_at`. `None` if no delay is known.
    why: Option<String>,
}

impl Waiting {
    /// A new occurrence, which waits for its `start_at`. If `start_at` was long ago, `why` explains the
    /// delay.
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

    /// An occurrence that waits until `from`, because of `why`.
    pub(super) fn until(row: OccurrenceRow, from: Instant, why: &str) -> Self {
        Self { row, from, why: Some(why.to_owned()) }
    }
}

/// Removes occurrences whose `start_at` has come and that have a newer waiting occurrence of their schedule.
/// Returns them by skip reason. An occurrence whose spread delay is not over stays.
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
