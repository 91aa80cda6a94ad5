//! A fleet of simulated clusters with faults, backed up by the real binary, which is killed at random.
//!
//! At the end the faults are healed and all started work has ended. Then an oracle (`kill_fleet/oracle.rs`) reads the
//! state file and the clusters: every due instant is on record exactly once, every run has ended, no resume is pending,
//! exporting runs, ids only grow, and every completed backup restores whole. `FLEET_FOR` (seconds) and `FLEET_CLUSTERS`
//! set the length, `KILL_LOOP_BINARY` names another binary; `tests/jobs/kill_fleet/run` is one hour with 200 clusters.

mod fleet;
mod oracle;

use camunda_backupd::domain::RunId;
use camunda_backupd::store::OccurrenceOutcome;
use fleet::{Chance, Fleet, signal};
use oracle::{Completed, Expected, judge};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Faults injected into a random cluster, one or two per kill. Lasting faults are short: a fleet of faulty clusters
/// takes no backups and tests nothing.
const FAULTS: [&str; 30] = [
    "pause.drop-response",
    "pause.drop-request",
    "pause.partial",
    "pause.fail",
    "pause.act-late=3s",
    "resume.drop-response",
    "resume.drop-request",
    "resume.refuse@3",
    "resume.fail@2",
    "resume.acted-504",
    "zeebe-post.drop-response",
    "zeebe-post.acted-503",
    "zeebe.fail",
    "zeebe.stall=15s",
    "zeebe.missing-partition",
    "zeebe-get.unknown-state@3",
    "zeebe-get.endless",
    "operate-post.drop-response",
    "history-post.drop-response",
    "operate.failed-shard",
    "tasklist.stall=10s",
    "search-put.drop-response",
    "records.failed-shard",
    "records.stall=8s",
    "search-get.not-json@2",
    "partitions.no-leader=3s",
    "now.broker-restart=2s",
    "now.search-down=4s",
    "now.stop-processing=8s",
    "now.change=10s",
];

/// Extra time of a short loop until a kill falls into an open pause.
const MOST: Duration = Duration::from_secs(60);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[derive(Default)]
struct Tally {
    kills: usize,
    stops: usize,
    long: usize,
    paid_outside: usize,
    owing_when_killed: usize,
    paused_when_killed: usize,
    over_after: Vec<Duration>,
    memory_kib: u64,
}

#[test]
fn fleet_with_random_kills_loses_nothing() {
    let (seconds, clusters) = (number("FLEET_FOR", 8), number("FLEET_CLUSTERS", 6));
    let binary = std::env::var_os("KILL_LOOP_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_camunda-backupd")), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async move {
        let directory = tempfile::tempdir().unwrap();
        let fleet = Fleet::new(directory.path(), binary, clusters as usize, seconds).await;
        let wrong = live(&fleet, Duration::from_secs(seconds)).await;
        if !wrong.is_empty() {
            let kept = std::env::temp_dir().join("kill-fleet-log");
            let _ = std::fs::copy(&fleet.log, &kept);
            println!("the daemon's log is in {}", kept.display());
        }
        assert!(wrong.is_empty(), "{} things are wrong:\n{}", wrong.len(), wrong.join("\n"));
    });
}

async fn live(fleet: &Fleet, length: Duration) -> Vec<String> {
    let mut chance = Chance(number("FLEET_SEED", 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let (mut tally, mut completed, mut wrong) = (Tally::default(), Completed::default(), Vec::new());
    let (began, from) = (std::time::Instant::now(), chrono::Utc::now());
    let mut faults = 0_u64;
    let mut child = fleet.start();
    while (began.elapsed() < length || tally.owing_when_killed == 0) && wrong.is_empty() {
        // Until a kill has hit a moment of the wanted kind.
        if began.elapsed() > length + MOST {
            break;
        }
        let life =
            Duration::from_millis(2_000 + chance.below(if length.as_secs() > 300 { 25_000 } else { 3_000 }));
        let until = std::time::Instant::now() + life;
        while std::time::Instant::now() < until {
            for _ in 0..=fleet.clusters.len() / 250 {
                faults += fleet.spoil(&mut chance, &FAULTS);
            }
            tokio::time::sleep(Duration::from_millis(700 + chance.below(600))).await;
        }
        wrong.extend(completed.probe(fleet).await);
        tally.memory_kib = tally.memory_kib.max(fleet::memory_kib(&child));
        // Half of the kills wait for a pause; the others come as they come.
        if chance.below(2) == 0 {
            fleet.until_somebody_is_paused().await;
            tokio::time::sleep(Duration::from_millis(chance.below(300))).await;
        }
        if chance.below(8) == 0 {
            tally.stops += 1;
            signal(&child, "TERM");
            wrong.extend(fleet.ended(&mut child).await);
        } else {
            tally.kills += 1;
            child.kill().unwrap();
            child.wait().unwrap();
        }
        let (still_pending, paused) = (fleet.still_pending().await, fleet.paused());
        tally.owing_when_killed += usize::from(!still_pending.is_empty());
        tally.paused_when_killed += paused.len();
        // `ExecStopPost` after a kill; not always, so that both paths are tested.
        if chance.below(3) == 0 {
            tally.paid_outside += 1;
            fleet.pay_outside("5s");
        }
        if chance.below(10) == 0 {
            tally.long += 1;
            tokio::time::sleep(Duration::from_secs(
                20 + chance.below(if length.as_secs() > 300 { 220 } else { 5 }),
            ))
            .await;
        }
        child = fleet.start();
        match fleet.over(&paused).await {
            Ok(_) if paused.is_empty() => {}
            Ok(after) => tally.over_after.push(after),
            Err(why) => wrong.push(why),
        }
    }
    println!("{faults} faults armed; healed now");
    // A fleet with a violation does not settle.
    let rest = if wrong.is_empty() { fleet.rest().await } else { Ok(chrono::Utc::now()) };
    let until = rest.unwrap_or_else(|why| {
        wrong.push(why);
        chrono::Utc::now()
    });
    tally.memory_kib = tally.memory_kib.max(fleet::memory_kib(&child));
    signal(&child, "TERM");
    wrong.extend(fleet.ended(&mut child).await);
    // As at every stop. A pause requested at that moment stays pending until this command has resumed it.
    fleet.pay_outside("45s");
    wrong.extend(completed.probe_once_more(fleet).await);
    let history = fleet.history().await;
    let expected = Expected { clusters: fleet.names(), periods: fleet.periods(), began: from, until };
    wrong.extend(judge(&history, &expected));
    wrong.extend(fleet.state_of_clusters());
    let log = oracle::Log::read(&fleet.log);
    wrong.extend(log.judge(&history));
    report(fleet, &tally, &history, &log, &completed, faults, until - from);
    // A loop without a kill at a wanted moment proves nothing.
    if tally.owing_when_killed == 0 {
        wrong.push("no kill met an open pause: nothing was shown".to_owned());
    }
    wrong
}

fn report(
    fleet: &Fleet,
    tally: &Tally,
    history: &oracle::History,
    log: &oracle::Log,
    completed: &Completed,
    faults: u64,
    length: chrono::TimeDelta,
) {
    let outcome = |outcome: OccurrenceOutcome| {
        history.occurrences.iter().filter(|row| row.outcome == outcome).map(|row| row.count).sum::<u64>()
    };
    let failed: BTreeSet<RunId> = history.failed().map(|run| run.run_id).collect();
    let mut over = tally.over_after.clone();
    over.sort();
    let millis = |at: usize| over.get(at).map_or(0, Duration::as_millis);
    println!(
        "{} clusters for {} s: {} SIGKILLs and {} SIGTERMs ({} of them followed by a long time down, {} by resume-exporting), {} with a pending resume; {faults} faults armed, {} happened",
        fleet.clusters.len(),
        length.num_seconds(),
        tally.kills,
        tally.stops,
        tally.long,
        tally.paid_outside,
        tally.owing_when_killed,
        fleet.faults_happened()
    );
    println!(
        "occurrences: {} fired, {} caught up, {} coalesced, {} skipped with a reason, {} waiting; each due instant of {} pairs on record once",
        outcome(OccurrenceOutcome::Started),
        outcome(OccurrenceOutcome::CaughtUp),
        outcome(OccurrenceOutcome::Coalesced),
        outcome(OccurrenceOutcome::Skipped),
        outcome(OccurrenceOutcome::Waiting),
        history.timetable.len()
    );
    println!(
        "runs: {}, of which {} failed; {} backups were seen completed and restored whole, {} that were kept once more at the end; {} run.failed in the log, {} lost to a kill",
        history.runs.len(),
        failed.len(),
        completed.restored(),
        completed.restored_again(),
        log.failed(),
        failed.len().saturating_sub(log.failed())
    );
    println!(
        "{} pauses were open at the kills; the last of each kill was over {} ms after the restart (median), {} ms at most (a run that goes on keeps its pause until its backup is complete); longest pause of all {} s; daemon's memory at most {} MiB",
        tally.paused_when_killed,
        millis(over.len() / 2),
        millis(over.len().saturating_sub(1)),
        fleet.longest_pause().num_seconds(),
        tally.memory_kib / 1024
    );
    for (class, count) in history.classes() {
        println!("  {count:5} failed: {class}");
    }
}

/// The oracle must be able to fail: it checks a correct history, and the same history with one violation each.
mod red {
    use super::oracle::{Expected, History, Period, from_before, judge};
    use camunda_backupd::domain::{Addresses, BackupId, Instant, Occurrence, Trigger};
    use camunda_backupd::journal::{Run, RunView};
    use camunda_backupd::store::{OccurrenceOutcome, OccurrenceRow, PendingResume, TimetableRow};
    use chrono::TimeDelta;
    use rstest::rstest;

    fn at(seconds: i64) -> Instant {
        chrono::DateTime::from_timestamp(1_700_000_000 + seconds, 0).unwrap()
    }

    fn row(seconds: i64) -> OccurrenceRow {
        let due_at = at(seconds);
        OccurrenceRow {
            occurrence: Occurrence { due_at, schedule: "often".into(), cluster: "orders".into() },
            until: None,
            count: 1,
            start_at: due_at,
            start_until: due_at,
            missed: false,
            outcome: OccurrenceOutcome::Skipped,
            reason: Some("for a reason".into()),
            run_id: None,
        }
    }

    fn well() -> History {
        let mut range = row(40);
        (range.until, range.count) = (Some(at(60)), 3);
        let pair = TimetableRow {
            schedule: "often".into(),
            cluster: "orders".into(),
            times_key: String::new(),
            since: at(5),
            last_due: None,
            active: true,
        };
        History {
            timetable: vec![pair],
            occurrences: vec![row(10), row(20), row(30), range, row(70)],
            runs: vec![],
            pending_resumes: vec![],
        }
    }

    fn wrong(history: &History) -> Vec<String> {
        let period = Period { schedule: "often".into(), every: TimeDelta::seconds(10) };
        let (clusters, began) = (vec!["orders".to_owned()], at(0));
        judge(history, &Expected { clusters, periods: vec![period], began, until: at(100) })
    }

    #[test]
    fn oracle_reports_nothing_for_a_correct_fleet() {
        assert_eq!(wrong(&well()), Vec::<String>::new());
    }

    #[rstest]
    #[case(|h: &mut History| drop(h.occurrences.remove(1)), "often of orders at 1700000020 vanished")]
    #[case(|h: &mut History| h.occurrences.push(row(50)), "often of orders at 1700000050 is on record 2 times")]
    #[case(|h: &mut History| h.occurrences[0].reason = None, "was skipped without a reason")]
    #[case(|h: &mut History| h.occurrences[0].outcome = OccurrenceOutcome::Waiting, "often of orders at 1700000010 waits for nobody")]
    #[case(|h: &mut History| h.occurrences[0].outcome = OccurrenceOutcome::Started, "was served by no run")]
    #[case(|h: &mut History| h.occurrences[3].count = 2, "a range of often orders stands for 2, not 3")]
    #[case(|h: &mut History| h.occurrences[0].run_id = Some(uuid::Uuid::nil()), "names run 00000000-0000-0000-0000-000000000000, which does not serve it")]
    #[case(|h: &mut History| h.timetable.clear(), "often of orders is not in the timetable")]
    #[case(|h: &mut History| h.timetable[0].since = at(68), "often of orders is in the timetable since 2023-11-14 22:14:28 UTC only")]
    #[case(|h: &mut History| h.occurrences.push(row(25)), "often of orders was never due at 2023-11-14 22:13:45 UTC")]
    #[case(|h: &mut History| h.runs.push(run(&h.occurrences[0])), "run 00000000-0000-0000-0000-000000000000 serves often of orders")]
    #[case(|h: &mut History| h.pending_resumes.push(pending_resume()), "a resume of orders is still pending")]
    fn oracle_reports_each_violation(#[case] spoil: fn(&mut History), #[case] sentence: &str) {
        let mut history = well();
        spoil(&mut history);
        let wrong = wrong(&history);
        assert!(wrong.len() == 1 && wrong[0].contains(sentence), "{wrong:?}");
    }

    /// In a fleet of one hour, a daemon stopped milliseconds after a run left an occurrence waiting.
    #[rstest]
    #[case(at(9), None)]
    #[case(at(11), Some("often of orders at 2023-11-14 22:13:30 UTC waits"))]
    #[case(at(101), Some("backup 1 of orders is under way"))]
    fn occurrence_left_by_an_earlier_daemon_is_reported(
        #[case] instant: Instant,
        #[case] left: Option<&str>,
    ) {
        let waits = OccurrenceRow { outcome: OccurrenceOutcome::Waiting, reason: None, ..row(10) };
        let runs = [run(&waits)];
        assert_eq!(from_before(instant, &runs, &[], std::slice::from_ref(&waits)).as_deref(), left);
        let pending = from_before(at(1), &[], &[pending_resume()], &[]);
        assert_eq!(pending.as_deref(), Some("a resume of orders is pending"));
        assert_eq!(from_before(at(0), &[], &[pending_resume()], &[]), None);
    }

    fn run(row: &OccurrenceRow) -> Run {
        Run {
            run_id: uuid::Uuid::nil(),
            cluster: "orders".into(),
            backup_id: BackupId::new(1).unwrap(),
            trigger: Trigger::Schedule,
            occurrences: vec![row.occurrence.clone()],
            retention_groups: vec![],
            note: None,
            created_at: at(100),
            spec: serde_json::Value::Null,
            view: RunView::default(),
        }
    }

    fn pending_resume() -> PendingResume {
        PendingResume::new(uuid::Uuid::nil(), "orders", Addresses::default(), at(0))
    }
}
