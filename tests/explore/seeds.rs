//! Deterministic simulation: the whole engine against simulated clusters on virtual time, one scenario per seed.
//!
//! The seed decides families of clusters, schedules, faults of the clusters, faults of store and transport, kills, stops
//! and clock jumps. A seed gives the same scenario every time. `SEEDS=100000 cargo test --release --test explore seeds
//! -- --nocapture` runs that many on all cores and prints the first that breaks a rule, reduced to its smallest version.
//! `SEED=7` runs one, with journals if `JOURNALS=1`. Seeded bugs show that the oracle detects violations.

mod at_once;
mod edits;
mod life;
mod oracle;
mod people;
mod scenario;
mod state;
mod times;

use crate::violence::Bug;
use life::{Report, run_scenario};
use scenario::Scenario;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// The smallest version that still breaks a rule: leaves out one event or fault after the other.
fn smallest(mut scenario: Scenario) -> (Scenario, Report) {
    let mut report = run_scenario(scenario.clone(), None);
    let mut changed = true;
    while changed {
        changed = false;
        let mut smaller = Vec::new();
        for at in 0..scenario.events.len() {
            let mut one = scenario.clone();
            one.events.remove(at);
            smaller.push(one);
        }
        for life in 0..scenario.inject.len() {
            for at in 0..scenario.inject[life].len() {
                let mut one = scenario.clone();
                one.inject[life].remove(at);
                smaller.push(one);
            }
        }
        for one in smaller {
            let again = run_scenario(one.clone(), None);
            if !again.wrong.is_empty() {
                (scenario, report, changed) = (one, again, true);
                break;
            }
        }
    }
    (scenario, report)
}

fn print(scenario: &Scenario, report: &Report) {
    println!("seed {} breaks {} rules:\n  {}", scenario.seed, report.wrong.len(), report.wrong.join("\n  "));
    for cluster in &scenario.clusters {
        let (name, version) = (&cluster.name, cluster.version);
        println!("cluster {name}: {version} on {:?}, Optimize {}", cluster.storage, cluster.optimize);
    }
    for schedule in scenario.config.schedules.values() {
        println!(
            "schedule {}: {} of {:?}, keep {:?}, start_within {:?}, spread {:?}, {:?}",
            schedule.name,
            schedule.times_key,
            schedule.clusters,
            schedule.keep,
            schedule.start_within,
            schedule.spread,
            schedule.catch_up
        );
    }
    println!("necessary faults and events:\n  {}", report.happened.join("\n  "));
}

#[test]
fn every_seed_keeps_every_rule() {
    let (first, seeds) = match number("SEED") {
        Some(seed) => (seed, 1),
        None => (number("FIRST_SEED").unwrap_or(1), number("SEEDS").unwrap_or(1000)),
    };
    let began = Instant::now();
    let next = AtomicU64::new(first);
    let (runs, completed, injected_faults) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let scenarios = AtomicU64::new(0);
    let broken: Mutex<Option<u64>> = Mutex::new(None);
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || broken.lock().unwrap().is_some() {
                        return;
                    }
                    let report = run_scenario(Scenario::of(seed), None);
                    scenarios.fetch_add(1, Ordering::Relaxed);
                    runs.fetch_add(report.runs as u64, Ordering::Relaxed);
                    completed.fetch_add(report.completed as u64, Ordering::Relaxed);
                    injected_faults.fetch_add(report.happened.len() as u64, Ordering::Relaxed);
                    if !report.wrong.is_empty() {
                        let mut broken = broken.lock().unwrap();
                        *broken = Some(broken.map_or(seed, |other| other.min(seed)));
                    }
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} of {seeds} seeds from {first}: {} backups, {} completed, {} faults and events; {:.0} seeds and {:.0} backups per second on {cores} cores",
        scenarios.load(Ordering::Relaxed),
        runs.load(Ordering::Relaxed),
        completed.load(Ordering::Relaxed),
        injected_faults.load(Ordering::Relaxed),
        scenarios.load(Ordering::Relaxed) as f64 / seconds,
        runs.load(Ordering::Relaxed) as f64 / seconds,
    );
    if let Some(seed) = *broken.lock().unwrap() {
        let (scenario, report) = smallest(Scenario::of(seed));
        if std::env::var_os("JOURNALS").is_some() {
            println!("the smallest scenario again:");
            run_scenario(scenario.clone(), None);
        }
        print(&scenario, &report);
        panic!("seed {seed}: {}", report.wrong.join("; "));
    }
}

/// One seed always generates the same scenario.
#[test]
fn same_seed_gives_same_scenario() {
    for seed in 1..20 {
        let (one, again) = (run_scenario(Scenario::of(seed), None), run_scenario(Scenario::of(seed), None));
        assert_eq!(one.happened, again.happened, "seed {seed}");
        assert!(one.operations == again.operations, "seed {seed} executes other operations or another order");
    }
}

/// Every seeded bug is found within a few seeds.
#[test]
fn every_seeded_bug_is_found() {
    let mut unseen = Vec::new();
    for bug in Bug::ALL {
        let caught = (1..60).find_map(|seed| {
            let report = run_scenario(Scenario::of(seed), Some(bug));
            report.wrong.first().map(|first| (seed, first.clone()))
        });
        match caught {
            Some((seed, by)) => println!("{bug:?} is seen at seed {seed}: {by}"),
            None => unseen.push(bug),
        }
    }
    assert!(unseen.is_empty(), "not seen: {unseen:?}");
}
