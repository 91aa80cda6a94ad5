//! Overhead of a wait over the time of the component: the goal is 2 % and 50 ms.
//!
//! `cargo bench --bench waits`. Virtual time, a simulated cluster in memory, 5 ms or 40 ms per response: the figures
//! depend on the poll interval only, not on this machine. Measured from the completion of the last part in the
//! simulated cluster to the end of the wait in the journal, and compared with the time since the start of the component.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use camunda_backupd::domain::Component;
use camunda_backupd::domain::Limits;
use camunda_backupd::journal::{Entry, Event, Step};
use camunda_backupd::sim::locked;
use camunda_backupd::sim::{self, Timing};
use harness::lab::Lab;
use std::time::Duration;

const RUNS: u64 = 7;

fn at(entries: &[Entry], wanted: impl Fn(&Event) -> bool) -> camunda_backupd::domain::Instant {
    entries.iter().find(|entry| wanted(&entry.event)).unwrap().at
}

async fn late(own: Duration, response: Duration, component: Component, seed: u64) -> (f64, f64) {
    let mut timing = Timing { response, ..Timing::default() };
    match component {
        Component::Records => timing.snapshot = own,
        Component::Zeebe => {
            timing.backup = own;
            timing.backup_seen = Duration::ZERO;
            timing.backup_skew = Duration::ZERO;
        }
        _ => {
            timing.part_gap = Duration::ZERO;
            timing.part = own / 6;
        }
    }
    let config = sim::Config { timing, seed, ..sim::Config::named("orders") };
    let limits = Limits {
        run_deadline: Duration::from_secs(86_400),
        pause_budget: Duration::from_secs(80_000),
        stall_after: Duration::from_secs(80_000),
        ..Limits::default()
    };
    let lab = Lab::with(config, limits);
    // Runs begin at any point between two of the cluster's own moments.
    camunda_backupd::clock::Clock::sleep(&*lab.clock, Duration::from_millis(seed * 37)).await;
    let run = lab.backup().await;
    let entries = lab.store.journal(run.run_id).await.unwrap();
    let begun =
        at(&entries, |e| matches!(e, Event::StepDone { step, .. } if *step == Step::Start(component)));
    let ended = at(&entries, |e| matches!(e, Event::StepDone { step, .. } if *step == Step::Wait(component)));
    let cluster = locked(&lab.cluster);
    let complete = if component == Component::Zeebe {
        let partitions = cluster.backups[&run.backup_id.get()].partitions.iter();
        partitions.map(|p| p.updated(cluster.now())).max().unwrap()
    } else {
        let names = &run.view.components[&component].names;
        let snapshots = cluster.repositories.values().flat_map(|r| &r.snapshots);
        snapshots.filter(|s| names.contains(&s.name)).filter_map(|s| s.ended).max().unwrap()
    };
    ((complete - begun).as_seconds_f64(), (ended - complete).as_seconds_f64())
}

fn main() {
    println!(
        "wait beyond the component's own time, median and worst of {RUNS} runs; in brackets the share of 2 % + 50 ms"
    );
    for response in [5, 40] {
        for component in [Component::Operate, Component::Records, Component::Zeebe] {
            for own in [1, 10, 60, 600] {
                let own = Duration::from_secs(own);
                let mut lates: Vec<(f64, f64)> = (1..=RUNS)
                    .map(|seed| {
                        let runtime = tokio::runtime::Builder::new_current_thread()
                            .enable_all()
                            .start_paused(true)
                            .build();
                        let (own, late) = runtime.unwrap().block_on(late(
                            own,
                            Duration::from_millis(response),
                            component,
                            seed,
                        ));
                        (late / (own * 0.02 + 0.05), late)
                    })
                    .collect();
                lates.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (median, worst) = (lates[lates.len() / 2], lates[lates.len() - 1]);
                println!(
                    "answers in {response:2} ms  {component:8} about {:4} s: {:7.3} s ({:3.0} %), worst {:7.3} s ({:3.0} %)",
                    own.as_secs(),
                    median.1,
                    median.0 * 100.0,
                    worst.1,
                    worst.0 * 100.0
                );
            }
        }
    }
}
