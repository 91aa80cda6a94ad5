//! SIGKILLs of the real binary during simulated runs, each at a moment chosen from the state of the cluster.
//!
//! After each kill: exporting runs again, no occurrence ran twice or vanished without a recorded reason, ids only grow,
//! and every completed backup restores without a lost or doubled record. `KILLS` sets the number, `KILL_LOOPS` the
//! number of concurrent loops, each with its own daemon and cluster (CI: 200 in 8). `KILL_LOOP_BINARY` names another
//! binary: `tests/jobs/kill_loop/run` shows that the loop fails for a binary that omits the resume, and for one that
//! backs up Zeebe before the records.

use camunda_backupd::domain::{BackupState, Instant};
use camunda_backupd::sim::{self, SharedCluster, Timing, locked};
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{Backup, BackupFilter, OccurrenceOutcome, OccurrenceRow, SharedStore};
use chrono::{TimeDelta, Timelike};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const PERIOD: i64 = 2;
const LIMIT: Duration = Duration::from_secs(20);
/// A run that fails outside the pause may clean up for a minute.
const REST: Duration = Duration::from_secs(90);

struct Loop {
    cluster: SharedCluster,
    config: PathBuf,
    state: PathBuf,
    log: PathBuf,
    binary: PathBuf,
    whole: BTreeSet<i64>,
    random: u64,
    wrong: Vec<String>,
}

/// A loop that panics leaves no daemon behind.
struct Daemon {
    child: Child,
    log_begins: u64,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct Tally {
    kills: usize,
    paused: usize,
    outstanding: usize,
    steps: BTreeMap<String, usize>,
    resumed_after: Vec<Duration>,
    restored: usize,
}

#[test]
fn kill_at_any_moment_loses_nothing_and_leaves_nothing_paused() {
    let kills = number_of("KILLS", 8);
    let loops = number_of("KILL_LOOPS", 1).max(1);
    let binary = std::env::var_os("KILL_LOOP_BINARY")
        .map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_camunda-backupd")), PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let each = kills.div_ceil(loops);
    let tallies = runtime.block_on(async move {
        let running: Vec<_> =
            (0..loops).map(|number| tokio::spawn(one_loop(number as u64, each, binary.clone()))).collect();
        futures::future::join_all(running).await
    });
    let all = tallies.into_iter().map(|tally| tally.expect("a loop failed: its output above has the reason"));
    let tally = all.reduce(Tally::with).expect("at least one loop");
    tally.print();
    assert!(tally.paused * 2 >= tally.kills, "too few kills inside a pause: {}", tally.paused);
    assert!(
        tally.outstanding * 4 >= tally.kills,
        "too few kills with a response outstanding: {}",
        tally.outstanding
    );
    assert!(tally.restored > 0, "no backup was completed, so the test proves nothing");
}

fn number_of(name: &str, otherwise: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

async fn one_loop(number: u64, kills: usize, binary: PathBuf) -> Tally {
    let directory = tempfile::tempdir().unwrap();
    let mut kill_loop = Loop::new(directory.path(), binary, number).await;
    let began = chrono::Utc::now();
    let mut tally = Tally::default();
    let mut daemon = kill_loop.start();
    kill_loop.has_a_state().await;
    // Short loops side by side must not all end before the kills outside a pause.
    let first = number as usize * 5;
    for number in first..first + kills {
        kill_loop.kill(&mut daemon.child, &mut tally, number).await;
        daemon = kill_loop.start();
        kill_loop.exporting_again(&mut tally).await;
        kill_loop.judge_completed().await;
        if !kill_loop.wrong.is_empty() {
            break;
        }
    }
    // A loop with a violation does not settle.
    if kill_loop.wrong.is_empty() {
        kill_loop.settle(daemon.log_begins).await;
        kill_loop.judge_completed().await;
    }
    let until = chrono::Utc::now();
    signal(&daemon.child, "TERM");
    // The cluster responds on this runtime: its threads must not wait for a daemon that waits for the cluster.
    let ended = tokio::task::spawn_blocking(move || daemon.child.wait()).await.unwrap().unwrap();
    kill_loop.judge_history(began, until).await;
    tally.restored = kill_loop.whole.len();
    let log = std::fs::read_to_string(&kill_loop.log).unwrap_or_default();
    if log.contains("store.behind") {
        kill_loop.wrong.push("a kill was taken for a loss of the state".to_owned());
    }
    if !kill_loop.wrong.is_empty() {
        tally.print();
        let lines: Vec<&str> = log.lines().collect();
        println!("the end of the daemon's log:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
    }
    assert!(kill_loop.wrong.is_empty(), "after {} kills:\n{}", tally.kills, kill_loop.wrong.join("\n"));
    assert!(ended.success(), "SIGTERM ended with {ended}");
    tally
}

impl Loop {
    async fn new(directory: &Path, binary: PathBuf, number: u64) -> Self {
        let mut timing = Timing::default().faster(2.0);
        timing.response = Duration::from_millis(25);
        timing.snapshot_every = Duration::from_millis(400);
        let sim_config = sim::Config { timing, ..sim::Config::named("orders") };
        let (cluster, table) = crate::served::served_cluster(sim_config).await;
        let state = directory.join("state");
        let daemon = "instance = 'kill-loop'\nshutdown_grace = '20s'\n";
        let often = format!(
            "[schedules.often]\nclusters = ['orders']\ncron = '*/{PERIOD} * * * * *'\n\
             keep = {{ successful = 5, failed = 5 }}\n"
        );
        let config = crate::served::written(directory, &state, daemon, &format!("{table}{often}"));
        Self {
            cluster,
            config,
            state,
            log: directory.join("log"),
            binary,
            whole: BTreeSet::new(),
            random: 0x2545_f491_4f6c_dd1d ^ (number << 32),
            wrong: vec![],
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % limit
    }

    fn start(&self) -> Daemon {
        let log = std::fs::File::options().append(true).create(true).open(&self.log).unwrap();
        let log_begins = log.metadata().unwrap().len();
        let child = Command::new(&self.binary)
            .arg("--config")
            .arg(&self.config)
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon { child, log_begins }
    }

    fn paused(&self) -> bool {
        locked(&self.cluster).pauses.since.is_some()
    }

    /// Waits for a moment of the wanted kind, stops the daemon there, records its step, and kills it.
    async fn kill(&mut self, child: &mut Child, tally: &mut Tally, number: usize) {
        let wanted = number % 20;
        let inside = wanted < 13;
        let deadline = std::time::Instant::now() + LIMIT;
        while inside && !self.paused() && std::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let delay = if inside { self.below(450) } else { self.below(2500) };
        tokio::time::sleep(Duration::from_millis(delay)).await;
        if wanted.is_multiple_of(2) {
            while locked(&self.cluster).outstanding == 0 && std::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        }
        signal(child, "STOP");
        let outstanding = locked(&self.cluster).outstanding > 0;
        let paused = self.paused();
        child.kill().unwrap();
        child.wait().unwrap();
        tally.kills += 1;
        tally.paused += usize::from(paused);
        tally.outstanding += usize::from(outstanding);
        let unfinished = self.store().unfinished().await.unwrap();
        let step = unfinished.first().map_or("between runs".to_owned(), |run| {
            run.view.step.map_or_else(|| "between steps".into(), |step| step.to_string())
        });
        *tally.steps.entry(step).or_default() += 1;
    }

    /// Until the first daemon has made its state file: a kill before that finds nothing to judge.
    async fn has_a_state(&self) {
        let began = std::time::Instant::now();
        while !matches!(SqliteStore::open_without_lock(&self.state), Ok(Some(_))) {
            assert!(began.elapsed() < LIMIT, "no state file {LIMIT:?} after the start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn store(&self) -> SharedStore {
        SqliteStore::open_without_lock(&self.state).unwrap().unwrap()
    }

    /// After a restart exporting runs again: the run continues, or a resume is sent.
    async fn exporting_again(&mut self, tally: &mut Tally) {
        let began = std::time::Instant::now();
        while self.paused() {
            if began.elapsed() > LIMIT {
                self.wrong.push(format!("exporting is still paused {LIMIT:?} after a restart"));
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tally.resumed_after.push(began.elapsed());
    }

    async fn backups(&self) -> Vec<Backup> {
        self.store().backups(BackupFilter::default()).await.unwrap()
    }

    /// Whatever is newly called completed must restore whole.
    async fn judge_completed(&mut self) {
        for backup in self.backups().await.iter().filter(|b| b.state == BackupState::Completed) {
            let id = backup.run.backup_id.get();
            if !self.whole.insert(id) {
                continue;
            }
            let restored = locked(&self.cluster).restore(id);
            // Retention may have started on it between the two reads.
            let still = self
                .backups()
                .await
                .iter()
                .any(|b| b.run.backup_id.get() == id && b.state == BackupState::Completed);
            if !restored.is_whole() && still {
                self.wrong.push(format!(
                    "backup {id} is called completed, but {} records are lost and {} doubled, {} instances unknown to the broker",
                    restored.lost(), restored.duplicates(), restored.unknown_to_broker
                ));
            }
        }
    }

    /// Lets the daemon come to rest once more. One that was started a moment ago would die of the signal that ends it.
    async fn settle(&mut self, log_begins: u64) {
        let began = std::time::Instant::now();
        while began.elapsed() < REST {
            let store = self.store();
            let log = std::fs::read(&self.log).unwrap();
            let log_text = String::from_utf8_lossy(&log[log_begins as usize..]).into_owned();
            if log_text.contains("daemon.started")
                && store.unfinished().await.unwrap().is_empty()
                && store.pending_resumes().await.unwrap().is_empty()
                && !self.paused()
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.wrong.push(format!("the daemon did not come to rest within {REST:?}"));
    }

    /// Every due instant has one outcome, ids only grow, and no resume is pending.
    async fn judge_history(&mut self, began: Instant, until: Instant) {
        let store = self.store();
        let rows = store.occurrences(None, None, 0).await.unwrap();
        let first = rows.iter().map(|r| r.occurrence.due_at).min().unwrap();
        if first > began + TimeDelta::seconds(2 * PERIOD + 3) {
            self.wrong.push(format!("the first occurrence on record is {first}, the loop began at {began}"));
        }
        let mut due = first;
        // The last few may be claimed and not begun when the daemon was stopped: they wait on.
        while due < until - TimeDelta::seconds(1) {
            let holders: Vec<&OccurrenceRow> = rows.iter().filter(|row| covers(row, due)).collect();
            match holders.as_slice() {
                [row] if row.outcome == OccurrenceOutcome::Skipped && row.reason.is_none() => {
                    self.wrong.push(format!("{due} was skipped without a reason"));
                }
                [_] => {}
                [] => self.wrong.push(format!("{due} vanished")),
                several => self.wrong.push(format!("{due} is on record {} times", several.len())),
            }
            due += TimeDelta::seconds(PERIOD);
        }
        let backups = self.backups().await;
        let mut served: BTreeMap<Instant, usize> = BTreeMap::new();
        let mut last = 0;
        for backup in &backups {
            for occurrence in &backup.run.occurrences {
                *served.entry(occurrence.due_at).or_default() += 1;
            }
            let id = backup.run.backup_id.get();
            if id <= last {
                self.wrong.push(format!("id {id} follows {last}"));
            }
            last = id;
        }
        for (due, times) in served.iter().filter(|(_, times)| **times > 1) {
            self.wrong.push(format!("{due} was run {times} times"));
        }
        if !store.pending_resumes().await.unwrap().is_empty() {
            self.wrong.push("a resume is still pending".into());
        }
        if self.paused() {
            self.wrong.push("exporting is left paused".into());
        }
        let failed = backups.iter().filter(|b| b.run.view.reason().is_some()).count();
        let outcomes = |outcome: OccurrenceOutcome| {
            rows.iter().filter(|r| r.outcome == outcome).map(|r| r.count).sum::<u64>()
        };
        println!(
            "{} runs: {} completed (all restore whole), {failed} failed; occurrences: {} fired, {} coalesced, {} skipped with reason, {} waiting",
            backups.len(),
            backups.iter().filter(|b| b.run.view.ended() && b.run.view.reason().is_none()).count(),
            outcomes(OccurrenceOutcome::Started) + outcomes(OccurrenceOutcome::CaughtUp),
            outcomes(OccurrenceOutcome::Coalesced),
            outcomes(OccurrenceOutcome::Skipped),
            outcomes(OccurrenceOutcome::Waiting)
        );
    }
}

fn covers(row: &OccurrenceRow, due: Instant) -> bool {
    assert_eq!(due.nanosecond(), 0);
    row.occurrence.due_at == due
        || row.until.is_some_and(|until| row.occurrence.due_at <= due && due <= until)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}

impl Tally {
    fn with(mut self, other: Self) -> Self {
        self.kills += other.kills;
        self.paused += other.paused;
        self.outstanding += other.outstanding;
        self.restored += other.restored;
        self.resumed_after.extend(other.resumed_after);
        for (step, count) in other.steps {
            *self.steps.entry(step).or_default() += count;
        }
        self
    }

    fn print(&self) {
        let mut after = self.resumed_after.clone();
        after.sort();
        let median = after.get(after.len() / 2).copied().unwrap_or_default();
        println!(
            "{} kills: {} inside a pause, {} with an answer outstanding; restart to exporting again: median {median:?}, longest {:?}",
            self.kills,
            self.paused,
            self.outstanding,
            after.last().copied().unwrap_or_default()
        );
        for (step, count) in &self.steps {
            println!("  {count:4} at {step}");
        }
        println!("{} backups were seen completed and restored", self.restored);
    }
}
