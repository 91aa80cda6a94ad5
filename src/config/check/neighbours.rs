//! What two parts of the config do to one another: clusters nobody backs up, schedules too close together.
//!
//! Must stay bounded: ten thousand schedules are checked in the time of a reload.

use super::{Checker, quoted, spans};
use crate::config::ScheduleConfig;
use crate::config::diagnostic::Diagnostic;
use crate::config::raw::Raw;
use crate::domain::Instant;
use crate::schedule::next::next_after;
use chrono::TimeDelta;
use std::collections::{BTreeMap, BTreeSet};

/// A run takes about so long, as far as nothing is known of the cluster.
const RUN: TimeDelta = TimeDelta::minutes(10);
/// How far ahead schedules are compared.
const AHEAD: TimeDelta = TimeDelta::days(35);
/// Occurrences of one schedule that are compared with another's.
const COMPARED: usize = 64;
/// Times of one schedule that are compared with one another.
const OWN: usize = 10;
/// Pairs of schedules that are compared at all.
const PAIRS: usize = 500;

impl Checker<'_> {
    pub(super) fn neighbours(&mut self, raw: &Raw, schedules: &BTreeMap<String, ScheduleConfig>) {
        let enabled: Vec<&ScheduleConfig> = schedules.values().filter(|schedule| schedule.enabled).collect();
        self.unserved(raw, &enabled);
        let places = spans(&raw.schedules);
        let place =
            |schedule: &ScheduleConfig| places.get(schedule.name.as_str()).cloned().unwrap_or_default();
        for schedule in &enabled {
            let Some((at, gap)) = too_often(schedule, self.env.now) else { continue };
            let message = format!(
                "schedule {} is due again after {}, as on {}, which is sooner than a run may take",
                quoted(&schedule.name),
                super::in_text(gap.to_std().unwrap_or_default()),
                at.with_timezone(&schedule.timezone).format("%Y-%m-%d at %H:%M:%S"),
            );
            let help = "leave at least 10 minutes between its times: what comes due while its cluster is busy waits, and is skipped when the next comes";
            self.warning(place(schedule), message, help);
        }
        for (first, second, at, gap) in too_close(&enabled, self.env.now) {
            let message = format!(
                "schedules {} and {} of one cluster are due {} apart, as on {}, which is closer than a run may take",
                quoted(&first.name),
                quoted(&second.name),
                super::in_text(gap.to_std().unwrap_or_default()),
                at.with_timezone(&first.timezone).format("%Y-%m-%d at %H:%M"),
            );
            let diagnostic = Diagnostic::warning(message)
                .help("make them due at the same time, which one backup serves, or at least 10 minutes apart")
                .at_location(self.label(place(second), ""))
                .at_location(self.label(place(first), ""));
            self.found.push(diagnostic);
        }
    }

    fn unserved(&mut self, raw: &Raw, enabled: &[&ScheduleConfig]) {
        let served: BTreeSet<&str> =
            enabled.iter().flat_map(|schedule| schedule.clusters.iter().map(String::as_str)).collect();
        for name in raw.clusters.keys().filter(|name| !served.contains(name.value().as_str())) {
            let message = format!("no enabled schedule takes backups of cluster {}", quoted(name.value()));
            self.warning(name.span(), message, "name it in a schedule, unless backups by hand are enough");
        }
    }
}

/// Where a schedule's own times follow one another too soon. Within an hour at most six are ten minutes apart, so that
/// two that are not come early.
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

/// Pairs of schedules of one cluster that are due shortly after one another, but not at the same instant.
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
