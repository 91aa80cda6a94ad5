//! What waits for a cluster: of each schedule at most one occurrence whose time has come.
//!
//! Owns when one is tried next, and which of them goes because the next one came. Must not start or skip any (`queue`).

use crate::domain::Instant;
use crate::store::OccurrenceRow;
use chrono::TimeDelta;
use std::collections::BTreeMap;

/// A tick hands over what is due within a second; who comes later was kept by something.
const LATE: TimeDelta = TimeDelta::seconds(5);

/// An occurrence that waits.
pub(crate) struct Waiting {
    /// As it was claimed.
    pub row: OccurrenceRow,
    /// When it is tried: at its own time, or later where the cluster was not calm then.
    pub from: Instant,
    /// Why it is not tried before that.
    why: Option<String>,
}

impl Waiting {
    /// For its own time, which is over where it was handed over late.
    pub fn new(row: OccurrenceRow, now: Instant) -> Self {
        let late = now - row.start_at;
        let why = (late > LATE).then(|| {
            format!(
                "the daemon was down or could not write its state, or the clock jumped, until {} s after its time",
                late.num_seconds()
            )
        });
        Self { from: row.start_at, row, why }
    }

    /// Until then, for that reason.
    pub fn until(row: OccurrenceRow, from: Instant, why: &str) -> Self {
        Self { row, from, why: Some(why.to_owned()) }
    }
}

/// Takes out those whose own time has come and that still wait when the next one of their schedule is there, by the
/// reason why they are skipped. One whose spread is not over yet has its turn before it.
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
