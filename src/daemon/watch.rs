//! Logs each change of health once: a new status, and a schedule that becomes overdue or has recovered.
//!
//! Owns the last logged state of health. Must not judge health (`api::health` does), and must not act on a
//! finding.

use crate::api::health::{Health, Status};
use std::collections::BTreeMap;

/// State of health at the last call of `changes`.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    status: Option<Status>,
    overdue: BTreeMap<(String, String), String>,
}

/// A change of health that is to be logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The status of health changed.
    Health {
        /// Previous status; `None` at the first check.
        from: Option<Status>,
        /// New status.
        to: Status,
        /// All findings that are not `ok`, joined with semicolons.
        reason: String,
    },
    /// A pair of schedule and cluster is overdue.
    Overdue {
        /// Name of the schedule.
        schedule: String,
        /// Name of the cluster.
        cluster: String,
        /// Text of the finding that makes the pair overdue.
        reason: String,
    },
    /// A pair of schedule and cluster is no longer overdue.
    Recovered {
        /// Name of the schedule.
        schedule: String,
        /// Name of the cluster.
        cluster: String,
    },
}

impl Watch {
    /// Returns the changes since the last call. The first call returns none if the daemon is healthy.
    pub(crate) fn changes(&mut self, health: &Health) -> Vec<Change> {
        let mut changes = Vec::new();
        let from = self.status.replace(health.status);
        if from.unwrap_or(Status::Ok) != health.status {
            let found = health.checks.iter().filter(|check| check.status != Status::Ok).map(|check| {
                let whose = check.cluster.as_ref().map(|c| format!(" of {c}")).unwrap_or_default();
                format!("{}{whose}: {}", check.name, check.detail.as_deref().unwrap_or_default())
            });
            let reason = found.collect::<Vec<_>>().join("; ");
            changes.push(Change::Health { from, to: health.status, reason });
        }
        for (pair, reason) in health.overdue.iter().filter(|(pair, _)| !self.overdue.contains_key(*pair)) {
            let (schedule, cluster) = pair.clone();
            changes.push(Change::Overdue { schedule, cluster, reason: reason.clone() });
        }
        for (schedule, cluster) in
            self.overdue.keys().filter(|pair| !health.overdue.contains_key(*pair)).cloned()
        {
            changes.push(Change::Recovered { schedule, cluster });
        }
        self.overdue.clone_from(&health.overdue);
        changes
    }

    /// Number of overdue pairs of schedule and cluster.
    pub(crate) fn overdue(&self) -> usize {
        self.overdue.len()
    }
}

impl Change {
    /// Writes the change to the log.
    pub(crate) fn log(&self) {
        match self {
            Self::Health { from, to: to @ Status::Ok, .. } => {
                tracing::info!(event = "health.changed", from = from.map(Status::word), outcome = to.word());
            }
            Self::Health { from, to: to @ Status::Degraded, reason } => {
                tracing::warn!(
                    event = "health.changed",
                    from = from.map(Status::word),
                    outcome = to.word(),
                    reason
                );
            }
            Self::Health { from, to: to @ Status::Failing, reason } => {
                tracing::error!(
                    event = "health.changed",
                    from = from.map(Status::word),
                    outcome = to.word(),
                    reason
                );
            }
            Self::Overdue { schedule, cluster, reason } => {
                tracing::error!(event = "schedule.overdue", schedule, cluster, reason);
            }
            Self::Recovered { schedule, cluster } => {
                tracing::info!(event = "schedule.recovered", schedule, cluster);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::health::Check;

    fn health(status: Status, overdue: &[&str]) -> Health {
        let detail = Some("disk full".to_owned()).filter(|_| status != Status::Ok);
        let pair = |schedule: &&str| ((*schedule).to_owned(), "orders".to_owned());
        Health {
            status,
            checks: vec![Check { name: "store", cluster: None, status, detail }],
            clusters: vec![],
            backups: vec![],
            overdue: overdue.iter().map(|s| (pair(s), "no success".to_owned())).collect(),
        }
    }

    #[test]
    fn each_change_is_logged_once() {
        let mut watch = Watch::default();
        assert_eq!(watch.changes(&health(Status::Ok, &[])), []);
        let (schedule, cluster) = ("daily".to_owned(), "orders".to_owned());
        let bad = health(Status::Failing, &["daily"]);
        let to = Status::Failing;
        let changed = Change::Health { from: Some(Status::Ok), to, reason: "store: disk full".into() };
        let overdue = Change::Overdue {
            schedule: schedule.clone(),
            cluster: cluster.clone(),
            reason: "no success".into(),
        };
        assert_eq!(watch.changes(&bad), [changed, overdue]);
        assert_eq!((watch.changes(&bad), watch.overdue()), (vec![], 1));
        let back = Change::Health { from: Some(Status::Failing), to: Status::Ok, reason: String::new() };
        assert_eq!(watch.changes(&health(Status::Ok, &[])), [back, Change::Recovered { schedule, cluster }]);
        assert_eq!(watch.overdue(), 0);
    }

    #[test]
    fn unhealthy_start_is_logged() {
        let changes = Watch::default().changes(&health(Status::Degraded, &[]));
        assert!(
            matches!(&changes[..], [Change::Health { from: None, to: Status::Degraded, .. }]),
            "{changes:?}"
        );
    }
}
