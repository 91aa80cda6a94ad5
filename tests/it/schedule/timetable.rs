//! The timetable: due and missed occurrences, changes of clock and config.

use camunda_backupd::config::{
    CatchUp, ClusterConfig, Config, Daemon, Http, Listen, Log, Manual, ScheduleConfig,
};
use camunda_backupd::domain::{Addresses, Instant, Keep, Limits};
use camunda_backupd::logging::LogFormat;
use camunda_backupd::schedule::Timetable;
use camunda_backupd::schedule::cron::Timing;
use camunda_backupd::store::{OccurrenceOutcome, OccurrenceRow, TimetableRow};
use chrono::TimeDelta;
use std::collections::BTreeMap;
use std::time::Duration;

fn at(text: &str) -> Instant {
    text.parse().unwrap()
}

fn cluster(name: &str) -> ClusterConfig {
    ClusterConfig {
        name: name.into(),
        addresses: Addresses { zeebe: "http://127.0.0.1:1".into(), ..Addresses::default() },
        version: None,
        limits: Limits::default(),
        manual: Manual::default(),
        probe_interval: Duration::from_secs(300),
    }
}

fn schedule(name: &str, timing: Timing) -> ScheduleConfig {
    ScheduleConfig {
        name: name.into(),
        clusters: vec!["orders".into()],
        times_key: format!("{} UTC", timing.canonical()),
        timing,
        timezone: chrono_tz::UTC,
        keep: Keep::default(),
        catch_up: CatchUp::Once,
        start_within: Duration::from_secs(6 * 3600),
        spread: Duration::ZERO,
        enabled: true,
    }
}

fn config(schedules: Vec<ScheduleConfig>) -> Config {
    Config {
        daemon: Daemon {
            state_dir: "state".into(),
            runtime_dir: "state".into(),
            credentials_dir: None,
            max_parallel_runs: 4,
            shutdown_grace: Duration::from_secs(90),
            instance: "test".into(),
        },
        http: Http { listen: Listen::Tcp("127.0.0.1:0".parse().unwrap()), public_hosts: vec![] },
        log: Log { level: "info".into(), format: LogFormat::Json },
        clusters: BTreeMap::from([("orders".into(), cluster("orders")), ("pay".into(), cluster("pay"))]),
        schedules: schedules.into_iter().map(|s| (s.name.clone(), s)).collect(),
        sources: vec![],
    }
}

fn daily() -> ScheduleConfig {
    schedule("daily", Timing::daily("02:00").unwrap())
}

const AHEAD: TimeDelta = TimeDelta::seconds(2);

/// Applies a config; returns the rows for the store.
fn apply(
    timetable: &mut Timetable,
    config: &Config,
    known: &[TimetableRow],
    now: Instant,
) -> Vec<TimetableRow> {
    let planned = timetable.planned(&config.pair_times(), known, now);
    let rows = planned.rows();
    timetable.take_over(planned);
    rows
}

/// Claims due occurrences like the dispatch loop; returns one short line for each.
fn claim(timetable: &mut Timetable, now: &str) -> Vec<String> {
    let rows = timetable.due(at(now), AHEAD, 5000);
    timetable.claimed(&rows);
    rows.iter().map(line).collect()
}

fn line(row: &OccurrenceRow) -> String {
    let due = row.occurrence.due_at.format("%m-%d %H:%M:%S");
    match row.outcome {
        OccurrenceOutcome::Waiting if row.missed => format!("catch up {due}"),
        OccurrenceOutcome::Waiting => format!("wait for {due}"),
        _ => format!("skip {} from {due}", row.count),
    }
}

#[test]
fn occurrence_is_claimed_once_shortly_before_it_is_due() {
    let mut timetable = Timetable::default();
    apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    assert!(claim(&mut timetable, "2026-03-01T01:59:57Z").is_empty());
    assert_eq!(claim(&mut timetable, "2026-03-01T01:59:58.200Z"), ["wait for 03-01 02:00:00"]);
    assert!(claim(&mut timetable, "2026-03-01T01:59:59Z").is_empty(), "claimed once");
    assert_eq!(claim(&mut timetable, "2026-03-02T01:59:59Z"), ["wait for 03-02 02:00:00"]);
}

#[test]
fn only_latest_missed_occurrence_is_caught_up_others_are_one_row() {
    let mut timetable = Timetable::default();
    let known = apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    let mut after_restart = Timetable::default();
    apply(&mut after_restart, &config(vec![daily()]), &known, at("2026-03-04T10:00:00Z"));
    assert_eq!(
        claim(&mut after_restart, "2026-03-04T10:00:01Z"),
        ["skip 3 from 03-01 02:00:00", "catch up 03-04 02:00:00"]
    );
    assert!(claim(&mut after_restart, "2026-03-04T10:00:02Z").is_empty());
}

#[test]
fn missed_occurrence_is_skipped_if_next_is_within_run_deadline() {
    let mut timetable = Timetable::default();
    let known = apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    let mut after_restart = Timetable::default();
    apply(&mut after_restart, &config(vec![daily()]), &known, at("2026-03-01T23:00:00Z"));
    let rows = after_restart.due(at("2026-03-01T23:00:01Z"), AHEAD, 5000);
    assert_eq!(rows.iter().map(line).collect::<Vec<_>>(), ["skip 1 from 03-01 02:00:00"]);
    let reason = rows[0].reason.as_deref().unwrap();
    assert_eq!(
        reason,
        "1 missed while the daemon was down or could not write its state, or because the clock jumped; the next occurrence is due before a run could reach its run_deadline"
    );
}

#[test]
fn catch_up_skip_skips_every_missed_occurrence() {
    let mut schedule = daily();
    schedule.catch_up = CatchUp::Skip;
    let mut timetable = Timetable::default();
    let known = apply(&mut timetable, &config(vec![schedule.clone()]), &[], at("2026-03-01T00:00:00Z"));
    let mut after_restart = Timetable::default();
    apply(&mut after_restart, &config(vec![schedule]), &known, at("2026-03-04T10:00:00Z"));
    assert_eq!(claim(&mut after_restart, "2026-03-04T10:00:01Z"), ["skip 4 from 03-01 02:00:00"]);
}

#[test]
fn added_edited_or_enabled_schedule_starts_without_missed_occurrences() {
    let mut timetable = Timetable::default();
    let known = apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    let edited = schedule("daily", Timing::daily("03:00").unwrap());
    let mut after_restart = Timetable::default();
    let rows = apply(&mut after_restart, &config(vec![edited]), &known, at("2026-03-04T10:00:00Z"));
    assert_eq!(rows[0].since, at("2026-03-04T10:00:00Z"));
    assert!(claim(&mut after_restart, "2026-03-04T10:00:01Z").is_empty());
    assert_eq!(claim(&mut after_restart, "2026-03-05T02:59:59Z"), ["wait for 03-05 03:00:00"]);

    let mut disabled = daily();
    disabled.enabled = false;
    let mut off = Timetable::default();
    assert!(apply(&mut off, &config(vec![disabled]), &known, at("2026-03-02T00:00:00Z")).is_empty());
    // The store has marked the pair inactive since.
    let inactive: Vec<_> = known
        .into_iter()
        .map(|mut row| {
            row.active = false;
            row
        })
        .collect();
    let mut on_again = Timetable::default();
    apply(&mut on_again, &config(vec![daily()]), &inactive, at("2026-03-04T10:00:00Z"));
    assert!(claim(&mut on_again, "2026-03-04T10:00:01Z").is_empty());
}

#[test]
fn reload_with_equal_times_changes_nothing() {
    let mut timetable = Timetable::default();
    let known = apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    assert_eq!(claim(&mut timetable, "2026-03-01T01:59:59Z"), ["wait for 03-01 02:00:00"]);
    let mut longer = daily();
    longer.keep = Keep { successful: 9, failed: 9 };
    apply(&mut timetable, &config(vec![longer]), &known, at("2026-03-01T01:59:59.500Z"));
    assert!(claim(&mut timetable, "2026-03-01T02:00:10Z").is_empty(), "not claimed again");
    assert_eq!(claim(&mut timetable, "2026-03-02T01:59:59Z"), ["wait for 03-02 02:00:00"]);
}

/// The machine was suspended during the whole window: start_within of a caught-up occurrence counts from now.
#[test]
fn start_within_of_a_caught_up_occurrence_counts_from_now() {
    let mut timetable = Timetable::default();
    apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    let now = at("2026-03-01T12:00:00Z");
    let rows = timetable.due(now, AHEAD, 5000);
    assert_eq!(rows.iter().map(line).collect::<Vec<_>>(), ["catch up 03-01 02:00:00"]);
    assert_eq!(rows[0].start_until, now + TimeDelta::hours(6));
}

#[test]
fn occurrence_claimed_during_a_reload_stays_claimed() {
    let mut timetable = Timetable::default();
    let known = apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    let planned = timetable.planned(&config(vec![daily()]).pair_times(), &known, at("2026-03-01T01:59:58Z"));
    assert_eq!(claim(&mut timetable, "2026-03-01T01:59:59Z"), ["wait for 03-01 02:00:00"]);
    timetable.take_over(planned);
    assert!(claim(&mut timetable, "2026-03-01T02:00:00Z").is_empty());
}

#[test]
fn clock_set_forward_catches_up_once_and_set_back_repeats_due_times() {
    let mut timetable = Timetable::default();
    apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    assert_eq!(
        claim(&mut timetable, "2026-03-03T10:00:00Z"),
        ["skip 2 from 03-01 02:00:00", "catch up 03-03 02:00:00"]
    );
    timetable.clock_set_back(at("2026-03-01T00:30:00Z"));
    assert_eq!(timetable.next_due().values().next(), Some(&at("2026-03-01T02:00:00Z")));
}

#[test]
fn last_occurrence_in_the_future_is_clamped_to_now() {
    let mut timetable = Timetable::default();
    let mut known = apply(&mut timetable, &config(vec![daily()]), &[], at("2026-03-01T00:00:00Z"));
    known[0].last_due = Some(at("2027-01-01T02:00:00Z"));
    let mut after_restart = Timetable::default();
    apply(&mut after_restart, &config(vec![daily()]), &known, at("2026-03-04T10:00:00Z"));
    assert_eq!(after_restart.next_due().values().next(), Some(&at("2026-03-05T02:00:00Z")));
    assert!(claim(&mut after_restart, "2026-03-04T10:00:01Z").is_empty(), "nothing is called missed");
}

#[test]
fn spread_is_stable_and_equal_for_schedules_of_a_cluster() {
    let spread = |name: &str, timing: Timing| {
        let mut s = schedule(name, timing);
        s.spread = Duration::from_secs(600);
        s.clusters = vec!["orders".into(), "pay".into()];
        s
    };
    let config = config(vec![
        spread("daily", Timing::daily("02:00").unwrap()),
        spread("weekly", Timing::weekly("sunday 02:00").unwrap()),
    ]);
    let mut timetable = Timetable::default();
    apply(&mut timetable, &config, &[], at("2026-03-01T00:00:00Z"));
    let rows = timetable.due(at("2026-03-01T01:59:59Z"), AHEAD, 5000);
    let delay = |schedule: &str, cluster: &str| {
        let row = rows
            .iter()
            .find(|r| r.occurrence.schedule == schedule && r.occurrence.cluster == cluster)
            .unwrap();
        assert_eq!(row.occurrence.due_at, at("2026-03-01T02:00:00Z"), "due_at is before the spread");
        row.start_at - row.occurrence.due_at
    };
    assert_eq!(delay("daily", "orders"), delay("weekly", "orders"));
    assert_ne!(delay("daily", "orders"), delay("daily", "pay"));
    assert!(delay("daily", "pay") < TimeDelta::seconds(600));
}

#[test]
fn burst_is_claimed_in_order_with_a_limit_per_claim() {
    let many = (0..20).map(|n| schedule(&format!("s{n:02}"), Timing::daily("02:00").unwrap())).collect();
    let mut timetable = Timetable::default();
    apply(&mut timetable, &config(many), &[], at("2026-03-01T00:00:00Z"));
    let first = timetable.due(at("2026-03-01T02:00:00Z"), AHEAD, 15);
    assert_eq!(first.len(), 15);
    timetable.claimed(&first);
    assert_eq!(timetable.due(at("2026-03-01T02:00:01Z"), AHEAD, 15).len(), 5);
}
