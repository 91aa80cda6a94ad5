//! Upcoming occurrences, from the config alone: for `next` and `check`.
//!
//! Must not read a clock: the caller passes the start.

use crate::config::Config;
use crate::domain::Instant;
use crate::schedule::next::next_after;
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// One due instant of one schedule for one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Upcoming {
    /// Key of the schedule.
    pub schedule: String,
    /// Key of the cluster.
    pub cluster: String,
    /// Due time, before spread.
    #[serde(serialize_with = "in_utc")]
    pub due_at: Instant,
    /// `due_at` in the time zone of the schedule, with its offset.
    pub local: String,
}

/// The first `count` occurrences after `from` in time order, of one schedule or of all enabled
/// schedules. With a name, also of a disabled schedule.
pub fn occurrences(config: &Config, schedule: Option<&str>, from: Instant, count: usize) -> Vec<Upcoming> {
    let selected = config.schedules.values().filter(|one| match schedule {
        Some(name) => one.name == name,
        None => one.enabled,
    });
    let served: Vec<_> = selected.filter(|one| !one.clusters.is_empty()).collect();
    let next = |at: usize, from: Instant| {
        let one = served[at];
        next_after(&one.timing, one.timezone, from).map(|due| Reverse((due, at)))
    };
    let mut queue: BinaryHeap<_> = (0..served.len()).filter_map(|at| next(at, from)).collect();
    let mut found = vec![];
    while let Some(Reverse((due_at, at))) = queue.pop() {
        let one = served[at];
        for cluster in &one.clusters {
            if found.len() == count {
                return found;
            }
            let local = due_at.with_timezone(&one.timezone).format("%Y-%m-%d %H:%M:%S %:z").to_string();
            found.push(Upcoming { schedule: one.name.clone(), cluster: cluster.clone(), due_at, local });
        }
        queue.extend(next(at, due_at));
    }
    found
}

fn in_utc<S: serde::Serializer>(at: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&at.format("%Y-%m-%dT%H:%M:%SZ").to_string())
}
