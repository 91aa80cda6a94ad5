//! Due times of schedules: every hour that a zone skips or repeats, catch-up, and properties over zones.
//! `ALL_ZONES=1 cargo test --test explore schedule_time` checks every zone of the list; CI does.

use camunda_backupd::domain::Instant;
use camunda_backupd::schedule::cron::Timing;
use camunda_backupd::schedule::next::{latest, longest_gap, missed, next_after};
use chrono::{DateTime, MappedLocalTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use proptest::prelude::*;
use rstest::rstest;
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

fn at(text: &str) -> Instant {
    text.parse().unwrap_or_else(|_| format!("{text}:00Z").parse().unwrap())
}

/// `02:30` daily, `sunday 03:30` weekly, anything else cron.
fn timing(text: &str) -> Timing {
    let known = Timing::daily(text).or_else(|_| Timing::weekly(text));
    known.or_else(|_| Timing::cron(text, at("1970-01-01T00:00"))).unwrap()
}

fn due(text: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let (timing, tz) = (timing(text), zone.parse::<Tz>().unwrap());
    std::iter::successors(next_after(&timing, tz, at(from)), |due| next_after(&timing, tz, *due))
        .take(count)
        .map(|due| due.with_timezone(&tz).format("%m-%d %H:%M%:::z").to_string())
        .collect()
}

#[rstest]
#[case::daily_in_a_gap("02:30", "Europe/Paris", "2026-03-28T00:00", &["03-28 02:30+01", "03-29 03:00+02", "03-30 02:30+02"])]
#[case::daily_before_a_gap("01:30", "Europe/Paris", "2026-03-28T12:00", &["03-29 01:30+01", "03-30 01:30+02"])]
#[case::midnight_of_a_gap_day("00:00", "Europe/Paris", "2026-03-28T12:00", &["03-29 00:00+01", "03-30 00:00+02"])]
#[case::the_hour_a_gap_ends("03:00", "Europe/Paris", "2026-03-28T12:00", &["03-29 03:00+02", "03-30 03:00+02"])]
#[case::daily_in_an_overlap("02:30", "Europe/Paris", "2026-10-24T12:00", &["10-25 02:30+02", "10-26 02:30+01"])]
#[case::asked_in_the_second_pass("02:30", "Europe/Paris", "2026-10-25T01:10", &["10-26 02:30+01"])]
#[case::half_hourly_in_an_overlap("0,30 * * * *", "Europe/Paris", "2026-10-24T23:59",
    &["10-25 02:00+02", "10-25 02:30+02", "10-25 02:00+01", "10-25 02:30+01", "10-25 03:00+01"])]
#[case::half_hourly_asked_in_the_second_pass("0,30 * * * *", "Europe/Paris", "2026-10-25T01:10", &["10-25 02:30+01", "10-25 03:00+01"])]
#[case::hourly_in_an_overlap("0 * * * *", "America/New_York", "2026-11-01T04:59", &["11-01 01:00-04", "11-01 01:00-05", "11-01 02:00-05"])]
#[case::hourly_in_a_gap("0 * * * *", "Europe/Paris", "2026-03-29T00:00", &["03-29 03:00+02", "03-29 04:00+02"])]
#[case::every_two_hours_in_a_gap("0 */2 * * *", "Europe/Paris", "2026-03-28T22:59", &["03-29 00:00+01", "03-29 03:00+02", "03-29 04:00+02"])]
#[case::midnight_in_a_gap("00:00", "America/Havana", "2026-03-07T12:00", &["03-08 01:00-04", "03-09 00:00-04"])]
#[case::midnight_in_a_gap_of_the_past("00:00", "America/Sao_Paulo", "2018-11-03T12:00", &["11-04 01:00-02", "11-05 00:00-02"])]
#[case::half_an_hour_gap("02:15", "Australia/Lord_Howe", "2026-10-03T00:00", &["10-04 02:30+11", "10-05 02:15+11"])]
#[case::a_day_that_was_skipped("02:00", "Pacific/Apia", "2011-12-29T00:00", &["12-29 02:00-10", "12-31 00:00+14", "12-31 02:00+14"])]
#[case::a_gap_at_the_end_of_a_date("23:30", "America/Nuuk", "2024-03-30T12:00", &["03-30 22:59-02", "03-31 23:30-01"])]
#[case::several_in_one_gap("0,15,30 2 * * *", "Europe/Paris", "2026-03-28T12:00", &["03-29 03:00+02", "03-30 02:00+02"])]
#[case::weekly("sunday 02:30", "Europe/Paris", "2026-03-22T12:00", &["03-29 03:00+02", "04-05 02:30+02"])]
#[case::every_second_at_an_hour_that_repeats("* 59 2 * * *", "Europe/Paris", "2026-10-25T00:59:59Z", &["10-26 02:59+01"])]
#[case::rare("0 2 29 2 *", "Europe/Paris", "2026-01-01T00:00", &["02-29 02:00+01", "02-29 02:00+01"])]
fn named_cases(#[case] text: &str, #[case] zone: &str, #[case] from: &str, #[case] expected: &[&str]) {
    assert_eq!(due(text, zone, from, expected.len()), expected);
}

#[test]
fn timing_ends_with_its_years_without_panic() {
    let once = timing("0 0 2 1 1 * 2030");
    assert_eq!(next_after(&once, Tz::UTC, at("2029-01-01T00:00")), Some(at("2030-01-01T02:00")));
    assert_eq!(next_after(&once, Tz::UTC, at("2030-01-01T02:00")), None);
    assert_eq!(longest_gap(&once, Tz::UTC, at("2029-01-01T00:00")), None);
    assert_eq!(next_after(&timing("02:00"), Tz::UTC, DateTime::<Utc>::MAX_UTC), None);
    assert_eq!(next_after(&timing("02:00"), Tz::UTC, DateTime::<Utc>::MIN_UTC), Some(at("1970-01-01T02:00")));
    assert_eq!(
        next_after(&timing("02:00"), Tz::UTC, at("2026-01-01T01:59:59.999Z")),
        Some(at("2026-01-01T02:00"))
    );
}

#[rstest]
#[case::none("02:00", "2026-01-01T02:00", "2026-01-02T01:59", None)]
#[case::one("02:00", "2026-01-01T02:00", "2026-01-02T02:00", Some(("2026-01-02T02:00", 0, false)))]
#[case::three("02:00", "2026-01-01T01:00", "2026-01-03T12:00", Some(("2026-01-03T02:00", 2, false)))]
#[case::years_of_a_daily("02:00", "2020-01-01T00:00", "2026-01-01T00:00", Some(("2025-12-31T02:00", 2191, false)))]
#[case::years_of_every_second("* * * * * *", "2016-01-01T00:00", "2026-01-01T00:00", Some(("2026-01-01T00:00", 10_000, true)))]
#[case::the_clock_went_back("02:00", "2026-01-03T00:00", "2026-01-01T00:00", None)]
fn missed_occurrences_are_counted_without_a_walk(
    #[case] text: &str,
    #[case] since: &str,
    #[case] until: &str,
    #[case] expected: Option<(&str, u64, bool)>,
) {
    let found = missed(&timing(text), Tz::UTC, at(since), at(until));
    assert_eq!(found.map(|m| (m.latest, m.earlier, m.more)), expected.map(|(l, e, m)| (at(l), e, m)));
}

#[rstest]
#[case("02:00", "UTC", "24h")]
#[case("02:00", "Europe/Berlin", "25h")]
#[case("02:00", "Australia/Lord_Howe", "24h 30m")]
#[case("sunday 03:30", "UTC", "7days")]
#[case("0 2 * * MON-FRI", "UTC", "3days")]
#[case("0 * * * *", "Europe/Berlin", "1h")]
#[case("*/5 * * * * *", "UTC", "5s")]
#[case("0 6,18 * * *", "UTC", "12h")]
#[case("* * 2 * * *", "UTC", "23h 1s")]
#[case("0 0 1 * *", "UTC", "31days")]
#[case("0 0 29 2 *", "UTC", "1461days")]
fn longest_gap_is_computed_without_a_walk(#[case] text: &str, #[case] zone: &str, #[case] expected: &str) {
    let gap = longest_gap(&timing(text), zone.parse().unwrap(), at("2026-01-01T00:00"));
    assert_eq!(gap, Some(humantime::parse_duration(expected).unwrap()));
}

#[rstest]
#[case("0 2 * * *", "0 0 2 * * *")]
#[case(" 0  0 2 * * mon-fri ", "0 0 2 * * MON-FRI")]
#[case("@midnight", "0 0 0 * * *")]
#[case("@Annually", "0 0 0 1 1 *")]
#[case("0 0 2 1 1 ? 2030", "0 0 2 1 1 ? 2030")]
#[case("0 2 * january monday", "0 0 2 * JANUARY MONDAY")]
fn cron_text_is_normalized(#[case] text: &str, #[case] canonical: &str) {
    assert_eq!(Timing::cron(text, at("2026-01-01T00:00")).unwrap().canonical(), canonical);
}

// === properties ===

const TIMINGS: [&str; 9] = [
    "00:00",
    "02:30",
    "23:45:10",
    "0 * * * *",
    "*/20 * * * *",
    "0,30 */2 * * *",
    "0 1-3 * * SUN",
    "0 * 1 * *",
    "sunday 00:30",
];
/// Gaps and overlaps of every kind: at midnight, of half an hour, of a day, in both hemispheres, none at all.
const ZONES: [Tz; 9] = [
    Tz::UTC,
    Tz::Europe__Berlin,
    Tz::America__New_York,
    Tz::America__Havana,
    Tz::America__Sao_Paulo,
    Tz::Australia__Lord_Howe,
    Tz::Pacific__Apia,
    Tz::Africa__Casablanca,
    Tz::Antarctica__Troll,
];

fn zones() -> Vec<Tz> {
    if std::env::var_os("ALL_ZONES").is_some() { TZ_VARIANTS.to_vec() } else { ZONES.to_vec() }
}

#[test]
fn daily_schedule_is_due_exactly_once_per_local_date() {
    let skipped = NaiveDate::from_ymd_opt(2011, 12, 30).unwrap();
    for tz in zones() {
        for text in ["00:00", "01:15", "02:30", "23:59:59"] {
            let timing = timing(text);
            let (start, end) = (at("2010-01-01T12:00"), at("2028-01-01T12:00"));
            let mut dates: BTreeMap<NaiveDate, u32> = BTreeMap::new();
            let mut last = start;
            while let Some(due) = next_after(&timing, tz, last).filter(|due| *due < end) {
                assert!(due > last, "{tz} {text}: {due} after {last}");
                let middle = last + (due - last) / 2;
                assert_eq!(next_after(&timing, tz, middle), Some(due), "{tz} {text} from {middle}");
                *dates.entry(due.with_timezone(&tz).date_naive()).or_default() += 1;
                last = due;
            }
            let (first, last) = (*dates.keys().next().unwrap(), *dates.keys().last().unwrap());
            for date in first.iter_days().take_while(|date| *date <= last) {
                let exists = exists_on(tz, date);
                // The end of a skipped day is the start of the next, which has its own occurrence too.
                let after_skipped = !exists_on(tz, date.pred_opt().unwrap()) && text != "00:00";
                let expected = u32::from(exists) + u32::from(after_skipped);
                assert_eq!(dates.get(&date).copied().unwrap_or(0), expected, "{tz} {text} on {date}");
                assert!(exists || date == skipped, "{tz} has no {date}");
            }
        }
    }
}

fn exists_on(tz: Tz, date: NaiveDate) -> bool {
    tz.from_local_datetime(&date.and_hms_opt(12, 0, 0).unwrap()).earliest().is_some()
}

#[test]
fn intervals_increase_independently_of_the_start() {
    for tz in zones() {
        for text in ["0 * * * *", "*/20 * * * *", "0,30 */2 * * *"] {
            let timing = timing(text);
            let (mut last, end) = (at("2026-01-01T00:00"), at("2027-01-01T00:00"));
            while let Some(due) = next_after(&timing, tz, last).filter(|due| *due < end) {
                assert!(due > last, "{tz} {text}: {due} after {last}");
                let middle = last + (due - last) / 2;
                assert_eq!(next_after(&timing, tz, middle), Some(due), "{tz} {text} from {middle}");
                last = due;
            }
        }
    }
}

fn any_zone() -> impl Strategy<Value = Tz> {
    (0..TZ_VARIANTS.len()).prop_map(|at| TZ_VARIANTS[at])
}

fn any_instant() -> impl Strategy<Value = Instant> {
    (0..4_000_000_000_i64).prop_map(|seconds| DateTime::from_timestamp(seconds, 0).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn next_instant_equals_plain_search(
        tz in any_zone(), text in proptest::sample::select(&TIMINGS[..]), from in any_instant()
    ) {
        prop_assert_eq!(next_after(&timing(text), tz, from), plain_search(&timing(text), tz, from));
    }

    #[test]
    fn every_offset_change_equals_plain_search(
        tz in any_zone(), text in proptest::sample::select(&TIMINGS[..]), from in any_instant(), back in 0..100_000_i64
    ) {
        // Random instants rarely lie near a change, so the test uses the nearest one.
        let change = next_change(tz, from);
        let from = change.unwrap_or(from) - TimeDelta::seconds(back - 20_000);
        prop_assert_eq!(next_after(&timing(text), tz, from), plain_search(&timing(text), tz, from));
    }

    #[test]
    fn no_input_makes_the_parser_panic(text in "[0-9*/,@a-zL#?ß -]{0,30}") {
        for refusal in [Timing::cron(&text, at("2026-01-01T00:00")), Timing::weekly(&text), Timing::daily(&text)]
            .into_iter()
            .filter_map(Result::err)
        {
            prop_assert!(!refusal.message.is_empty() && !refusal.help.is_empty());
            prop_assert!(refusal.at.is_none_or(|part| text.get(part).is_some()));
        }
    }

    #[test]
    fn latest_equals_the_last_of_a_walk(
        tz in any_zone(), text in proptest::sample::select(&TIMINGS[..]), since in any_instant(), hours in 0..400_i64
    ) {
        let (timing, until) = (timing(text), since + TimeDelta::hours(hours));
        let next = |from: &Instant| next_after(&timing, tz, *from).filter(|due| *due <= until);
        let walked: Vec<Instant> = std::iter::successors(next(&since), next).collect();
        prop_assert_eq!(latest(&timing, tz, since, until), walked.last().copied());
        let counted = missed(&timing, tz, since, until);
        prop_assert_eq!(counted.map_or(0, |m| m.earlier + 1), walked.len() as u64);
    }

    #[test]
    fn no_gap_exceeds_longest_gap(
        tz in any_zone(), text in proptest::sample::select(&TIMINGS[..]), from in any_instant()
    ) {
        let timing = timing(text);
        let longest = longest_gap(&timing, tz, from).unwrap();
        let walked: Vec<Instant> =
            std::iter::successors(next_after(&timing, tz, from), |due| next_after(&timing, tz, *due)).take(30).collect();
        for pair in walked.windows(2) {
            let gap = (pair[1] - pair[0]).to_std().unwrap();
            prop_assert!(gap <= longest, "{gap:?} from {} is longer than {longest:?}", pair[0]);
        }
        prop_assert!(longest <= Duration::from_hours(32 * 24));
    }
}

/// Slow reference implementation: every matching civil time of the three days around, mapped one by one.
fn plain_search(timing: &Timing, tz: Tz, from: Instant) -> Option<Instant> {
    let schedule = cron::Schedule::from_str(timing.canonical()).unwrap();
    let near = TimeDelta::hours(26);
    let local = from.with_timezone(&tz).naive_local();
    let mut best: Option<Instant> = None;
    for civil in schedule.after(&(local - near).and_utc()) {
        let civil = civil.naive_utc();
        if best.is_some_and(|best| civil > best.with_timezone(&tz).naive_local() + near) {
            break;
        }
        for due in instants(tz, civil, timing.is_interval()) {
            if due > from && best.is_none_or(|best| due < best) {
                best = Some(due);
            }
        }
    }
    best
}

fn instants(tz: Tz, civil: NaiveDateTime, interval: bool) -> Vec<Instant> {
    match tz.from_local_datetime(&civil) {
        MappedLocalTime::Single(due) => vec![due.to_utc()],
        MappedLocalTime::Ambiguous(a, b) if interval => vec![a.to_utc(), b.to_utc()],
        MappedLocalTime::Ambiguous(a, _) => vec![a.to_utc()],
        MappedLocalTime::None if interval => vec![],
        MappedLocalTime::None => {
            let (mut low, mut high) =
                (civil.and_utc() - TimeDelta::hours(26), civil.and_utc() + TimeDelta::hours(26));
            while high - low > TimeDelta::seconds(1) {
                let middle = low + TimeDelta::seconds((high - low).num_seconds() / 2);
                if middle.with_timezone(&tz).naive_local() > civil { high = middle } else { low = middle }
            }
            let eve = high - TimeDelta::seconds(1);
            let date = |at: Instant| at.with_timezone(&tz).date_naive();
            // A date that ends with the gap has its occurrence while it lasts.
            if date(eve) == civil.date() && date(high) != civil.date() { vec![eve] } else { vec![high] }
        }
    }
}

/// A change of the zone's offset within the two years after `from`, to the hour.
fn next_change(tz: Tz, from: Instant) -> Option<Instant> {
    let offset = |at: Instant| at.with_timezone(&tz).naive_local() - at.naive_utc();
    (1..17_520).map(|hour| from + TimeDelta::hours(hour)).find(|at| offset(*at) != offset(from))
}
