//! Scenario of one seed: clusters, schedules, and faults with their times.

use camunda_backupd::config::{
    CatchUp, ClusterConfig, Config, Daemon, Http, Listen, Log, Manual, ScheduleConfig,
};
use camunda_backupd::domain::{Instant, Keep, Limits};
use camunda_backupd::logging::LogFormat;
use camunda_backupd::schedule::cron::Timing;
use camunda_backupd::sim::model::random::Random;
use camunda_backupd::sim::{self, Storage};
use std::collections::BTreeMap;
use std::time::Duration;

use super::edits::Edit;
use crate::violence::Fault;
use harness::lab;

/// Events from outside the daemon, in seconds after the start.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Something in a cluster; `sim::faults` has the language.
    Fault {
        cluster: String,
        spec: String,
    },
    /// The wall clock jumps by so many seconds.
    Jump(i64),
    /// SIGKILL, and so many seconds until the next start.
    Kill(i64),
    /// SIGTERM, and so many seconds until the next start.
    Term(i64),
    /// A manual backup.
    Manual(String),
    /// The file is edited; the daemon reloads it, or finds it at its next start.
    Edit {
        edit: Edit,
        reload: bool,
    },
    /// A cluster is taken out of the file at the first moment from then on at which its exporting is paused; the daemon
    /// reloads, or is killed and finds it so many seconds later.
    TakeOutPaused {
        cluster: String,
        killed: Option<i64>,
    },
    /// A reload of a file that does not load.
    Refused,
    /// The run of a cluster is cancelled.
    Cancel(String),
    /// The backup with this number is held, released, or deleted by an operator.
    Hold(usize),
    Release(usize),
    Delete {
        nth: usize,
        confirmed: bool,
    },
    /// The state of a cluster is rebuilt, although nothing of it is lost.
    Adopt(String),
}

/// One generated scenario.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub seed: u64,
    pub clusters: Vec<sim::Config>,
    pub config: Config,
    pub events: Vec<(i64, Event)>,
    /// Faults of operations of the first daemon, of the second, and so on.
    pub inject: Vec<Vec<(usize, Fault)>>,
    /// How long schedules go on.
    pub seconds: i64,
    /// The state is a file.
    pub sqlite: bool,
}

/// Version of a cluster with the REST API as its only address.
const BY_REST: &str = "8.10.1";

pub(super) fn begin() -> Instant {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[random.below(from.len() as u64) as usize]
}

const FAULTS: [&str; 25] = [
    "zeebe-post.drop-response",
    "zeebe-post.drop-request",
    "zeebe-post.acted-504",
    "zeebe.fail",
    "zeebe.stall=20s",
    "zeebe.stall",
    "zeebe-post.conflict",
    "operate-post.drop-response",
    "tasklist.stall=15s",
    "history-post.drop-response",
    "records.drop-response",
    "records.fail",
    "search-put.partial",
    "pause.drop-response",
    "pause.partial",
    "resume.drop-request@4",
    "resume.drop-response@2",
    "resume.fail@3",
    "resume.partial-silent@2",
    "resume.partial-silent,resume.no-leader=10s",
    "resume.broker-restart=30s",
    "now.broker-restart=5s",
    "now.search-down=8s",
    "*.delay=3s@20",
    "partitions.unknown-state@3",
];

const CRONS: [&str; 5] =
    ["*/20 * * * * *", "*/30 * * * * *", "5,25,50 * * * * *", "0 * * * * *", "*/12 * * * * *"];

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let r = &mut random;
        r.draw();
        let count = *pick(r, &[1, 1, 1, 2]);
        let clusters: Vec<sim::Config> =
            ["orders", "pay"][..count].iter().map(|name| cluster(name, r)).collect();
        let names: Vec<String> = clusters.iter().map(|c| c.name.clone()).collect();
        let seconds = 20 + r.below(50) as i64;
        let config = config(&clusters, r);
        let mut events = Vec::new();
        for _ in 0..r.below(4) {
            let mut spec = (*pick(r, &FAULTS)).to_owned();
            let cluster = pick(r, &names).clone();
            // Without a management port the partitions reached by a resume are unknown.
            let by_rest = clusters.iter().any(|c| c.name == cluster && c.version.to_string() == BY_REST);
            if by_rest && spec.contains("silent") {
                "resume.fail@3".clone_into(&mut spec);
            }
            events.push((r.below(seconds as u64) as i64, Event::Fault { cluster, spec }));
        }
        for _ in 0..r.below(3) {
            let down = r.below(40) as i64;
            let event = if r.below(3) == 0 { Event::Term(down) } else { Event::Kill(down) };
            events.push((r.below(seconds as u64) as i64, event));
        }
        if r.below(4) == 0 {
            let by = *pick(r, &[-90, -20, -6, 6, 25, 100]);
            events.push((r.below(seconds as u64) as i64, Event::Jump(by)));
        }
        if r.below(3) == 0 {
            events.push((r.below(seconds as u64) as i64, Event::Manual(pick(r, &names).clone())));
        }
        let schedules: Vec<String> = config.schedules.keys().cloned().collect();
        if r.below(2) == 0 {
            for _ in 0..=r.below(3) {
                events.push((r.below(seconds as u64) as i64, edit(r, &schedules, &names)));
            }
        }
        if r.below(2) == 0 {
            for _ in 0..=r.below(3) {
                events.push((r.below(seconds as u64) as i64, act(r, &names)));
            }
        }
        if r.below(6) == 0 {
            let cluster = pick(r, &names).clone();
            let killed = (r.below(2) == 0).then(|| r.below(40) as i64);
            events.push((r.below(seconds as u64) as i64, Event::TakeOutPaused { cluster, killed }));
        }
        events.sort_by_key(|(at, _)| *at);
        let lives = 1
            + events
                .iter()
                .filter(|(_, e)| matches!(e, Event::Kill(_) | Event::Term(_) | Event::TakeOutPaused { .. }))
                .count()
            + 2;
        let inject = (0..lives).map(|_| inject(r)).collect();
        let sqlite = r.below(8) == 0;
        Self { seed, clusters, config, events, inject, seconds, sqlite }
    }

    pub(super) fn jumps(&self) -> bool {
        self.events.iter().any(|(_, event)| matches!(event, Event::Jump(_)))
    }
}

fn edit(r: &mut Random, schedules: &[String], clusters: &[String]) -> Event {
    let schedule = pick(r, schedules).clone();
    let cluster = pick(r, clusters).clone();
    let edit = match r.below(10) {
        0 | 1 => Edit::Times { schedule, cron: pick::<&str>(r, &CRONS) },
        2 => Edit::Disable(schedule),
        3 => Edit::Enable(schedule),
        4 => Edit::Rename(schedule),
        5 => Edit::Remove(schedule),
        6 | 7 => Edit::TakeOut(cluster),
        8 => Edit::PutBack(cluster),
        _ => return Event::Refused,
    };
    Event::Edit { edit, reload: r.below(4) > 0 }
}

fn act(r: &mut Random, clusters: &[String]) -> Event {
    let nth = r.below(4) as usize;
    match r.below(8) {
        0 | 1 => Event::Cancel(pick(r, clusters).clone()),
        2 | 3 => Event::Hold(nth % 2),
        4 => Event::Release(nth),
        5 | 6 => Event::Delete { nth, confirmed: r.below(2) == 0 },
        _ => Event::Adopt(pick(r, clusters).clone()),
    }
}

fn inject(r: &mut Random) -> Vec<(usize, Fault)> {
    let count = *pick(r, &[0, 0, 1, 1, 2, 4]);
    // A fault for requests that hits a write has the nearest effect.
    (0..count).map(|_| (r.below(500) as usize, *pick(r, &Fault::TO_REQUESTS))).collect()
}

fn cluster(name: &str, r: &mut Random) -> sim::Config {
    let kinds = [
        ("8.3.9", Storage::OpenSearch),
        ("8.6.0", Storage::OpenSearch),
        ("8.6.0", Storage::Elasticsearch),
        ("8.8.0", Storage::OpenSearch),
        ("8.10.0", Storage::Elasticsearch),
        ("8.9.0", Storage::Rdbms),
        ("8.6.0", Storage::Saas),
        (BY_REST, Storage::OpenSearch),
    ];
    let (version, storage) = *pick(r, &kinds);
    // Frequent compaction makes a broken pause detectable.
    let timing = sim::Timing {
        snapshot_every: Duration::from_millis(700),
        saas_interval: Duration::from_secs(10),
        saas_backup: Duration::from_secs(4),
        ..sim::Timing::default()
    };
    sim::Config {
        version: version.parse().unwrap(),
        storage,
        optimize: storage != Storage::Rdbms && r.below(3) == 0,
        continuous: storage == Storage::Rdbms && r.below(2) == 0,
        seed: r.draw(),
        load: sim::Load { per_second: 12.0, initial: 10 },
        timing,
        ..sim::Config::named(name)
    }
}

fn config(clusters: &[sim::Config], r: &mut Random) -> Config {
    let limits = Limits {
        run_deadline: Duration::from_secs(90),
        pause_budget: Duration::from_secs(40),
        stall_after: Duration::from_secs(25),
        ..Limits::default()
    };
    let names: Vec<String> = clusters.iter().map(|c| c.name.clone()).collect();
    let one = |c: &sim::Config| {
        let mut addresses = lab::addresses(c);
        if c.version.to_string() == BY_REST {
            lab::by_rest_alone(&mut addresses);
        }
        if let Some(saas) = &mut addresses.saas {
            saas.min_interval = Duration::from_secs(10);
        }
        let manual = Manual { keep: 2, failed: 2, min_interval: Duration::ZERO };
        let probe_interval = Duration::from_secs(60);
        ClusterConfig { name: c.name.clone(), addresses, version: None, limits, manual, probe_interval }
    };
    let mut schedules = BTreeMap::new();
    for number in 0..=r.below(2) {
        let timing = Timing::cron(pick::<&str>(r, &CRONS), begin()).unwrap();
        let named = if r.below(2) == 0 { names.clone() } else { vec![pick(r, &names).clone()] };
        let name = format!("s{number}");
        let schedule = ScheduleConfig {
            name: name.clone(),
            clusters: named,
            times_key: timing.canonical().to_owned(),
            timing,
            timezone: chrono_tz::UTC,
            keep: Keep { successful: 1 + r.below(3) as u32, failed: 1 + r.below(2) as u32 },
            catch_up: if r.below(3) == 0 { CatchUp::Skip } else { CatchUp::Once },
            start_within: Duration::from_secs(*pick(r, &[20, 60, 3600])),
            spread: Duration::from_secs(*pick(r, &[0, 0, 7])),
            enabled: true,
        };
        schedules.insert(name, schedule);
    }
    Config {
        daemon: Daemon {
            state_dir: "state".into(),
            runtime_dir: "state".into(),
            credentials_dir: None,
            max_parallel_runs: 1 + r.below(4) as usize,
            shutdown_grace: Duration::from_secs(1 + r.below(10)),
            instance: "lab".into(),
        },
        http: Http { listen: Listen::Tcp("127.0.0.1:0".parse().unwrap()), public_hosts: vec![] },
        log: Log { level: "off".into(), format: LogFormat::Json },
        clusters: clusters.iter().map(|c| (c.name.clone(), one(c))).collect(),
        schedules,
        sources: vec![],
    }
}
