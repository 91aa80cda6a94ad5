//! Due instants of a timing in a time zone: civil time, gaps and overlaps.
//!
//! Owns the conversion from wall clock to instants. Due instants depend on timing and time zone alone, never on the
//! start of the search. Must not read a clock or take unbounded time. Tests: `tests/it/schedule/timetable.rs`.
//!
//! A timing at fixed hours is due once per date: at the end of a gap that contains it (one second before the gap if the
//! date ends there), and at the first pass of an overlap. An interval (every hour) follows real time: no occurrence in a
//! gap, occurrences in both passes of an overlap.

use crate::domain::Instant;
use crate::schedule::cron::Timing;
use ::cron::TimeUnitSpec;
use chrono::{DateTime, Datelike, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Timelike};
use chrono_tz::Tz;
use std::time::Duration;

/// Search window around a civil time. Longer than the largest change of any UTC offset.
const NEAR: TimeDelta = TimeDelta::hours(26);
/// Step of the search for offset changes. Shorter than the time between any two changes of a time zone.
const STRIDE: TimeDelta = TimeDelta::hours(3);
/// Maximum count of missed occurrences, so that a schedule due every second stays cheap after years.
const COUNT_LIMIT: u64 = 10_000;
/// Number of due dates examined for the longest gap: two years of a weekly schedule.
const GAP_DATES: usize = 104;

/// The first due instant strictly after `after`; `None` if the years of the timing are over.
pub fn next_after(timing: &Timing, tz: Tz, after: Instant) -> Option<Instant> {
    let start = within_years(after)?;
    let schedule = timing.schedule();
    let steady = [start - NEAR, start + NEAR].iter().all(|near| offset(tz, *near) == offset(tz, start));
    let mut from = start;
    loop {
        let shift = offset(tz, from);
        let civil = schedule.after(&(from + shift)).next()?.naive_utc();
        let candidate = civil.and_utc() - shift;
        if candidate - from <= NEAR {
            if steady && from == start {
                return Some(candidate);
            }
            match first_change(tz, from, candidate) {
                Some(change) => match across(timing, tz, from, change, civil) {
                    Some(due) => return Some(due),
                    None => from = change,
                },
                None if timing.is_interval() => return Some(candidate),
                None => match repeat_end(tz, candidate) {
                    Some(end) => from = end,
                    None => return Some(candidate),
                },
            }
        } else if let Some(change) = first_change(tz, from, from + NEAR) {
            match across(timing, tz, from, change, civil) {
                Some(due) => return Some(due),
                None => from = change,
            }
        } else {
            // Skip the time before `civil`: no occurrence can lie there, whatever the offset.
            from = (from + NEAR).max(civil.and_utc() - NEAR - NEAR);
        }
    }
}

/// The last due instant after `since`, up to and including `until`.
pub fn latest(timing: &Timing, tz: Tz, since: Instant, until: Instant) -> Option<Instant> {
    let due_by = |from: Instant| next_after(timing, tz, from).filter(|due| *due <= until);
    let mut found = due_by(since)?;
    // `next_after` is monotonic, so the last start with a result is found by bisection.
    let (mut low, mut high) = (found, until);
    while high - low > TimeDelta::zero() {
        match due_by(low) {
            Some(due) => found = due,
            None => return Some(found),
        }
        let middle = low + (high - low) / 2;
        match due_by(middle) {
            Some(due) => (found, low) = (due, due),
            None => high = middle,
        }
    }
    Some(found)
}

/// Occurrences missed in one period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missed {
    /// The first missed occurrence.
    pub first: Instant,
    /// The last missed occurrence, a candidate for catch-up.
    pub latest: Instant,
    /// Number of occurrences before `latest`.
    pub earlier: u64,
    /// Counting stopped at `COUNT_LIMIT`: there are more than `earlier`.
    pub more: bool,
}

/// Occurrences after `since`, up to and including `until`; `None` without any.
pub fn missed(timing: &Timing, tz: Tz, since: Instant, until: Instant) -> Option<Missed> {
    let latest = latest(timing, tz, since, until)?;
    let first = next_after(timing, tz, since)?;
    let (mut earlier, mut at) = (0, first);
    while at < latest && earlier < COUNT_LIMIT {
        earlier += 1;
        at = next_after(timing, tz, at)?;
    }
    Some(Missed { first, latest, earlier, more: at < latest })
}

/// Upper bound of the time between two occurrences: at most one offset change above the real maximum. `None` if the
/// timing is due at most once more.
pub fn longest_gap(timing: &Timing, tz: Tz, from: Instant) -> Option<Duration> {
    const DAY: i64 = 86_400;
    let schedule = timing.schedule();
    let hours = values(schedule.hours());
    let minutes = values(schedule.minutes());
    let seconds = values(schedule.seconds());
    let span = |values: &[i64]| values.last().unwrap_or(&0) - values.first().unwrap_or(&0);
    let widest = |values: &[i64]| values.windows(2).map(|pair| pair[1] - pair[0]).max();
    let in_minute = span(&seconds);
    let in_hour = span(&minutes) * 60 + in_minute;
    let in_day = span(&hours) * 3600 + in_hour;
    let mut gap = [
        widest(&seconds),
        widest(&minutes).map(|m| m * 60 - in_minute),
        widest(&hours).map(|h| h * 3600 - in_hour),
    ]
    .into_iter()
    .flatten()
    .max();

    let every_day = schedule.days_of_month().is_all()
        && schedule.days_of_week().is_all()
        && schedule.months().is_all()
        && schedule.years().is_all();
    if every_day {
        gap = gap.max(Some(DAY - in_day));
    } else {
        let from = within_years(from)?;
        let mut day = (from + offset(tz, from)).date_naive();
        let mut last = None;
        for _ in 0..GAP_DATES {
            let midnight = day.and_hms_opt(0, 0, 0)?.and_utc();
            let Some(due) = schedule.after(&(midnight - TimeDelta::seconds(1))).next() else { break };
            day = due.date_naive();
            if let Some(last) = last.replace(day) {
                gap = gap.max(Some((day - last).num_seconds() - in_day));
            }
            day = day.succ_opt()?;
        }
    }
    let follows_real_time = every_day && timing.is_interval();
    let slack = if follows_real_time { 0 } else { offset_range(tz, within_years(from)?).num_seconds() };
    Some(Duration::from_secs(u64::try_from(gap? + slack).ok()?))
}

fn values(unit: &impl TimeUnitSpec) -> Vec<i64> {
    unit.iter().map(i64::from).collect()
}

/// A whole second within the years supported by the `cron` crate; `None` after them.
fn within_years(at: Instant) -> Option<Instant> {
    if at.year() < 1970 {
        return DateTime::from_timestamp(-1, 0);
    }
    // Occurrences are whole seconds, so fractions of a second do not matter.
    if at.year() > 2100 { None } else { at.with_nanosecond(0) }
}

/// The occurrence at `change` or one second before it. `civil`: first match that the old offset does not reach.
fn across(timing: &Timing, tz: Tz, from: Instant, change: Instant, civil: NaiveDateTime) -> Option<Instant> {
    let eve = change - TimeDelta::seconds(1);
    let reached = (change + offset(tz, eve)).naive_utc();
    let resumed = (change + offset(tz, change)).naive_utc();
    if !timing.is_interval() && civil < resumed {
        let old_date = (reached - TimeDelta::seconds(1)).date();
        if civil.date() != old_date || resumed.date() == old_date {
            return Some(change);
        }
        // The gap contains the end of a date: occurrences in it are due before the date ends.
        if eve > from {
            return Some(eve);
        }
        let midnight = old_date.succ_opt()?.and_time(NaiveTime::MIN).and_utc();
        let next = timing.schedule().after(&(midnight - TimeDelta::seconds(1))).next()?;
        return (next.naive_utc() <= resumed).then_some(change);
    }
    let repeated = !timing.is_interval() && resumed < reached;
    (timing.schedule().includes(resumed.and_utc()) && !repeated).then_some(change)
}

/// The first offset change after `from`, up to and including `to`, which is at most `NEAR` away.
fn first_change(tz: Tz, from: Instant, to: Instant) -> Option<Instant> {
    let old = offset(tz, from);
    let mut low = from;
    while low < to {
        let mut high = (low + STRIDE).min(to);
        if offset(tz, high) == old {
            low = high;
            continue;
        }
        while high - low > TimeDelta::seconds(1) {
            let middle = low + TimeDelta::seconds((high - low).num_seconds() / 2);
            if offset(tz, middle) == old { low = middle } else { high = middle }
        }
        return Some(high);
    }
    None
}

/// If `at` is in the second pass of an overlap: the last instant of that pass.
fn repeat_end(tz: Tz, at: Instant) -> Option<Instant> {
    let first = tz.from_local_datetime(&(at + offset(tz, at)).naive_utc()).earliest()?.to_utc();
    let change = (first < at).then(|| first_change(tz, first, at))??;
    Some(change + (at - first) - TimeDelta::seconds(1))
}

/// Difference between the largest and the smallest offset within the next year.
fn offset_range(tz: Tz, from: Instant) -> TimeDelta {
    let offsets = (0..=12).map(|month| offset(tz, from + TimeDelta::days(month * 30)));
    let (least, most) = offsets.fold((TimeDelta::MAX, TimeDelta::MIN), |(a, b), o| (a.min(o), b.max(o)));
    most - least
}

fn offset(tz: Tz, at: Instant) -> TimeDelta {
    TimeDelta::seconds(i64::from(tz.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc()))
}
