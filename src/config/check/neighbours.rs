//! Checks across tables: clusters without a schedule, schedules too close together.
//!
//! Owns warnings only. Must stay bounded: a reload checks ten thousand schedules.

use super::{Checker, quoted, spans};
use crate::config::ScheduleConfig;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::Raw;
use crate::domain::Instant;
use crate::schedule::next::next_after;
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};

/// Assumed duration of a run.
const RUN: TimeDelta = TimeDelta::minutes(10);
/// Period in which due times are compared.
const AHEAD: TimeDelta = TimeDelta::days(35);
/// Maximum number of occurrences of one schedule that are compared with another schedule.
const COMPARED: usize = 64;
/// Maximum number of occurrences of one schedule that are compared with each other.
const OWN: usize = 10;
/// Maximum number of pairs of schedules.
const PAIRS: usize = 500;

impl Checker<'_> {
    pub(super) fn neighbours(&mut self, raw: &Raw, schedules: &BTreeMap<String, ScheduleConfig>) {
        let enabled: Vec<&ScheduleConfig> = schedules.values().filter(|schedule| schedule.enabled).collect();
        self.unserved(raw, &enabled);
        let spans = spans(&raw.schedules);
        let span = |schedule: &ScheduleConfig| spans.get(schedule.name.as_str()).cloned().unwrap_or_default();
        for schedule in &enabled {
            let Some((at, gap)) = too_often(schedule, self.env.now) else { continue };
            let message = format!(
                "schedule {} is due again after {}, for example on {}: a backup can take longer",
                quoted(&schedule.name),
                super::in_text(gap.to_std().unwrap_or_default()),
                at.with_timezone(&schedule.timezone).format("%Y-%m-%d at %H:%M:%S"),
            );
            let help = "leave at least 10 minutes between due times; an occurrence waits while its cluster is busy, and is skipped once the next is due";
            self.warning(span(schedule), message, help);
        }
        for (first, second, at, gap) in too_close(&enabled, self.env.now) {
            let message = format!(
                "schedules {} and {} of one cluster are due {} apart, for example on {}: a backup can take longer",
                quoted(&first.name),
                quoted(&second.name),
                super::in_text(gap.to_std().unwrap_or_default()),
                at.with_timezone(&first.timezone).format("%Y-%m-%d at %H:%M"),
            );
            let diagnostic = Diagnostic::warning(message)
                .help("make them due at the same time, so that they share one backup, or at least 10 minutes apart")
                .at_location(self.label(span(second), ""))
                .at_location(self.label(span(first), ""));
            self.found.push(diagnostic);
        }
    }

    fn unserved(&mut self, raw: &Raw, enabled: &[&ScheduleConfig]) {
        let served: BTreeSet<&str> =
            enabled.iter().flat_map(|schedule| schedule.clusters.iter().map(String::as_str)).collect();
        for name in raw.clusters.keys().filter(|name| !served.contains(name.value().as_str())) {
            let message = format!("no enabled schedule backs up cluster {}", quoted(name.value()));
            self.warning(name.span(), message, "add it to a schedule, unless manual backups are enough");
        }
    }
}

/// First gap between occurrences of one schedule that is shorter than `RUN`. Ten occurrences suffice: at most six fit
/// into an hour with ten minutes between them.
fn too_often(schedule: &ScheduleConfig, now: Instant) -> Option<(Instant, TimeDelta)> {
    let next = |from: Instant| next_after(&schedule.timing, schedule.timezone, from);
    let times = std::iter::successors(next(now), |due| next(*due)).take(OWN);
    let until = now + AHEAD;
    let mut before = None;
    times.take_while(|due| *due < until).find_map(|due| {
        let gap = before.replace(due).map(|before| due - before)?;
        (gap < RUN).then_some((due, gap))
    })
}

type Close<'a> = (&'a ScheduleConfig, &'a ScheduleConfig, Instant, TimeDelta);

/// Pairs of schedules of one cluster that are due shortly after each other, but not at the same instant.
fn too_close<'a>(schedules: &[&'a ScheduleConfig], now: Instant) -> Vec<Close<'a>> {
    let mut by_cluster: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, schedule) in schedules.iter().enumerate() {
        for cluster in &schedule.clusters {
            by_cluster.entry(cluster).or_default().push(at);
        }
    }
    let distinct: BTreeSet<Vec<usize>> = by_cluster.into_values().collect();
    let pairs = distinct.iter().flat_map(|together| {
        together.iter().enumerate().flat_map(|(at, a)| together[at + 1..].iter().map(move |b| (*a, *b)))
    });
    let mut seen = BTreeSet::new();
    let pairs = pairs.filter(|pair| seen.insert(*pair)).take(PAIRS);
    pairs.filter_map(|(a, b)| closest(schedules[a], schedules[b], now)).collect()
}

fn closest<'a>(a: &'a ScheduleConfig, b: &'a ScheduleConfig, now: Instant) -> Option<Close<'a>> {
    let after = |one: &'a ScheduleConfig, other: &'a ScheduleConfig| {
        let next = |schedule: &ScheduleConfig, from| next_after(&schedule.timing, schedule.timezone, from);
        std::iter::successors(next(one, now), move |due| next(one, *due))
            .take(COMPARED)
            .take_while(move |due| *due < now + AHEAD)
            .filter_map(move |due| Some((due, next(other, due)? - due)))
            .find(|(_, gap)| *gap < RUN)
            .map(|(due, gap)| (one, other, due, gap))
    };
    after(a, b).or_else(|| after(b, a))
}
