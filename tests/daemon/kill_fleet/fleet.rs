//! The simulated clusters, their config, and the process of the daemon.

use super::oracle::{self, History, Period};
use camunda_backupd::clock::SystemClock;
use camunda_backupd::domain::RunId;
use camunda_backupd::sim::{self, Cluster, SharedCluster, Storage, Timing, locked};
use camunda_backupd::store::sqlite::SqliteStore;
use camunda_backupd::store::{BackupFilter, SharedStore};
use chrono::TimeDelta;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Longest time from a kill to the end of a pause that was open then, with any fault of its cluster: the run continues
/// until its stalled part fails.
const OVER: Duration = Duration::from_secs(90);
/// Time without faults in which all started work ends; an occurrence may wait for `start_within`, besides its spread.
const REST: Duration = Duration::from_secs(300 + 120);

pub(super) struct Chance(pub u64);

impl Chance {
    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

pub(super) struct Fleet {
    pub clusters: Vec<SharedCluster>,
    pub log: PathBuf,
    config: PathBuf,
    state: PathBuf,
    binary: PathBuf,
    often: i64,
    rarely: i64,
}

/// One in eight of each except the first, which is the most common set-up.
fn kind(index: usize) -> (&'static str, Storage) {
    match index % 8 {
        1 => ("8.5.8", Storage::Elasticsearch),
        2 => ("8.8.0", Storage::Elasticsearch),
        3 => ("8.10.0", Storage::OpenSearch),
        4 => ("8.3.1", Storage::Elasticsearch),
        5 => ("8.9.0", Storage::Rdbms),
        _ => ("8.6.0", Storage::OpenSearch),
    }
}

impl Fleet {
    pub(super) async fn new(directory: &Path, binary: PathBuf, count: usize, seconds: u64) -> Self {
        // In a short run more happens at once.
        let long = seconds > 300;
        let (often, rarely, spread) = if long { (120, 600, "100s") } else { (10, 30, "8s") };
        let minutes = |period: i64| format!("0 */{} * * * *", period / 60);
        let seconds_of = |period: i64| format!("*/{period} * * * * *");
        let cron = |period: i64| if long { minutes(period) } else { seconds_of(period) };
        let mut text = format!(
            "[daemon]\nstate_dir = \"{0}\"\nruntime_dir = \"{1}\"\ninstance = \"fleet\"\nshutdown_grace = \"5s\"\n\
             [http]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"\n\
             [defaults]\nspread = \"{spread}\"\nstart_within = \"5m\"\nprobe_interval = \"60s\"\n\
             [schedules.often]\nclusters = [\"*\"]\ncron = \"{2}\"\n\
             [schedules.rarely]\nclusters = [\"*\"]\ncron = \"{3}\"\nkeep = {{ successful = 2, failed = 2 }}\n",
            directory.join("state").display(),
            directory.join("run").display(),
            cron(often),
            cron(rarely),
        );
        let mut clusters = Vec::new();
        for index in 0..count {
            let (version, storage) = kind(index);
            let mut timing = Timing::default().faster(2.0);
            timing.response = Duration::from_millis(10);
            timing.export_every = Duration::from_millis(300);
            timing.import_every = Duration::from_millis(400);
            let config = sim::Config {
                version: version.parse().unwrap(),
                storage,
                continuous: storage == Storage::Rdbms,
                seed: index as u64 + 1,
                timing,
                load: sim::Load { per_second: 6.0, initial: 10 },
                ..sim::Config::named(&format!("fleet-{index:03}"))
            };
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let name = config.name.clone();
            text += &config.daemon_table(&format!("http://{}", listener.local_addr().unwrap()));
            let _ = write!(
                text,
                "[clusters.{name}.limits]\nrun_deadline = \"3m\"\npause_budget = \"60s\"\nstall_after = \"25s\"\n"
            );
            let cluster = sim::shared(Cluster::new(config, chrono::Utc::now()));
            let served =
                sim::server::serve(listener, cluster.clone(), SystemClock::shared(), std::future::pending());
            tokio::spawn(served);
            clusters.push(cluster);
        }
        let config = directory.join("config.toml");
        std::fs::write(&config, text).unwrap();
        let (state, log) = (directory.join("state"), directory.join("log"));
        Self { clusters, log, config, state, binary, often, rarely }
    }

    fn command(&self, words: &[&str]) -> Command {
        let log = std::fs::File::options().append(true).create(true).open(&self.log).unwrap();
        let mut command = Command::new(&self.binary);
        command.arg("--config").arg(&self.config).args(words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    pub(super) fn start(&self) -> Child {
        self.command(&["serve"]).spawn().unwrap()
    }

    /// As `ExecStopPost` of systemd; the next daemon sends the resumes that stay pending.
    pub(super) fn pay_outside(&self, patience: &str) {
        self.command(&["resume-exporting", "--pending", "--for", patience]).status().unwrap();
    }

    pub(super) async fn ended(&self, child: &mut Child) -> Option<String> {
        let began = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if began.elapsed() > Duration::from_secs(90) {
                child.kill().unwrap();
                child.wait().unwrap();
                return Some("SIGTERM did not end the daemon within 90 s".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let status = child.wait().unwrap();
        // A daemon that stops with a pending resume reports it in its last line.
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let reported = log.lines().next_back().is_some_and(|line| line.starts_with("error: the resume of "));
        match status.code() {
            Some(0) if !self.still_pending().await.is_empty() => {
                Some("SIGTERM ended with 0 while a resume is pending".to_owned())
            }
            Some(0) => None,
            Some(1) if reported => None,
            _ => Some(format!("SIGTERM ended with {status}")),
        }
    }

    pub(super) fn store(&self) -> Option<SharedStore> {
        // Killed before it had made the file, a daemon left none.
        SqliteStore::open_without_lock(&self.state).unwrap()
    }

    /// Runs with a pending resume.
    pub(super) async fn still_pending(&self) -> BTreeSet<RunId> {
        let Some(store) = self.store() else { return BTreeSet::new() };
        store
            .pending_resumes()
            .await
            .unwrap()
            .into_iter()
            .map(|pending_resume| pending_resume.run_id)
            .collect()
    }

    /// Clusters whose exporting is paused, and since when.
    pub(super) fn paused(&self) -> Vec<(usize, chrono::DateTime<chrono::Utc>)> {
        let all = self.clusters.iter().enumerate();
        all.filter_map(|(index, cluster)| Some((index, locked(cluster).pauses.since?))).collect()
    }

    /// Returns when each of these pauses is over.
    pub(super) async fn over(
        &self,
        paused: &[(usize, chrono::DateTime<chrono::Utc>)],
    ) -> Result<Duration, String> {
        let began = Instant::now();
        let lasts = |(index, since): &&(usize, chrono::DateTime<chrono::Utc>)| {
            locked(&self.clusters[*index]).pauses.since == Some(*since)
        };
        while let Some((index, since)) = paused.iter().find(lasts) {
            if began.elapsed() > OVER {
                return Err(format!(
                    "cluster {index} is still paused since {since}, {OVER:?} after the restart"
                ));
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(began.elapsed())
    }

    /// Gives a random cluster a random fault; returns how many.
    pub(super) fn spoil(&self, chance: &mut Chance, faults: &[&str]) -> u64 {
        let cluster = &self.clusters[chance.below(self.clusters.len() as u64) as usize];
        let fault = faults[chance.below(faults.len() as u64) as usize];
        let mut cluster = locked(cluster);
        cluster.arm(fault).unwrap();
        cluster.backup_database();
        1
    }

    pub(super) async fn until_somebody_is_paused(&self) {
        for _ in 0..3_000 {
            if self.clusters.iter().any(|cluster| locked(cluster).pauses.since.is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Heals all faults and returns the time. All earlier occurrences and runs get their outcome within `REST`, and their
    /// resumes are confirmed. Later runs start meanwhile: a busy fleet is never idle.
    pub(super) async fn rest(&self) -> Result<camunda_backupd::domain::Instant, String> {
        for cluster in &self.clusters {
            locked(cluster).arm("now.heal").unwrap();
        }
        let (began, healed) = (Instant::now(), chrono::Utc::now());
        let mut left = Some("there is no state file".to_owned());
        while began.elapsed() < REST {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let Some(store) = self.store() else { continue };
            let (runs, pending_resumes) =
                (store.unfinished().await.unwrap(), store.pending_resumes().await.unwrap());
            left = oracle::from_before(healed, &runs, &pending_resumes, &store.waiting().await.unwrap());
            if left.is_none() {
                return Ok(healed);
            }
        }
        Err(format!("{REST:?} after everything was healed, from before: {}", left.unwrap_or_default()))
    }

    pub(super) async fn history(&self) -> History {
        let store = self.store().unwrap();
        let backups = store.backups(BackupFilter::default()).await.unwrap();
        History {
            timetable: store.timetable().await.unwrap(),
            occurrences: store.occurrences(None, None, 0).await.unwrap(),
            runs: backups.into_iter().map(|backup| backup.run).collect(),
            pending_resumes: store.pending_resumes().await.unwrap(),
        }
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.clusters.iter().map(|cluster| locked(cluster).config.name.clone()).collect()
    }

    pub(super) fn periods(&self) -> Vec<Period> {
        let period = |schedule: &str, seconds: i64| Period {
            schedule: schedule.to_owned(),
            every: TimeDelta::seconds(seconds),
        };
        vec![period("often", self.often), period("rarely", self.rarely)]
    }

    /// Every cluster exports.
    pub(super) fn state_of_clusters(&self) -> Vec<String> {
        let paused = self.clusters.iter().filter_map(|cluster| {
            let cluster = locked(cluster);
            let since = cluster.pauses.since?;
            Some(format!("exporting of {} is left paused since {since}", cluster.config.name))
        });
        paused.collect()
    }

    pub(super) fn faults_happened(&self) -> u64 {
        self.clusters.iter().map(|cluster| locked(cluster).faults.happened).sum()
    }

    pub(super) fn longest_pause(&self) -> TimeDelta {
        self.clusters.iter().map(|cluster| locked(cluster).pauses.longest).max().unwrap_or_default()
    }
}

pub(super) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}

/// Resident memory of a process, in KiB; 0 if it cannot be read.
pub(super) fn memory_kib(child: &Child) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}
