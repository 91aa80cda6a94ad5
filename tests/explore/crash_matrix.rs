//! Crash matrix: every disk and network operation of a backup, of every family, with every fault that can happen to it.
//!
//! A run without faults lists the operations: each request, each write. Then one operation at a time gets a fault: the
//! daemon crashes before or after it, it fails, its response is lost, it is executed twice; and the resume after it fails for a
//! while. One oracle checks the result by the rules of the design. `MATRIX=full` takes every operation. Otherwise
//! operations of the same kind in one step count once, and each family takes a share.

use crate::matrix::{chosen, daemon, family, injected, next_daemon};
use crate::violence::{Fault, Script};
use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{Instant, Limits};
use camunda_backupd::sim::{self, locked};
use camunda_backupd::store::Runs;
use camunda_backupd::store::memory::MemoryStore;
use harness::lab::{self, Lab};
use rstest::rstest;
use std::collections::BTreeMap;
use std::time::Duration;

/// Fault of one scenario.
#[derive(Clone, Copy, Debug)]
struct Case {
    operation: usize,
    inject: Fault,
    /// So many resumes fail first.
    resumes_fail: u32,
}

struct Report {
    operations: Vec<String>,
    wrong: Vec<String>,
    completed: bool,
}

/// One backup with a fault, the next daemon if the first one crashes, and the final state.
fn scenario(name: &str, case: Option<Case>) -> Report {
    let config = &family(name);
    let begin: Instant = "2026-03-01T12:00:00Z".parse().unwrap();
    let cluster = sim::shared(sim::Cluster::new(config.clone(), begin));
    let memory = MemoryStore::shared();
    let script = Script::new(case.map(|case| (case.operation, case.inject)));
    if let Some(case) = case.filter(|case| case.resumes_fail > 0) {
        let times = case.resumes_fail;
        locked(&cluster).arm(&format!("resume.drop-request@{times}")).unwrap();
    }
    let template = daemon(async { Lab::with(config.clone(), Limits::default()) });
    let mut settings = template.settings.clone();
    if name == "REST alone" {
        lab::by_rest_alone(&mut settings.spec.addresses);
    }
    let all = || BTreeMap::from([("orders".to_owned(), settings.clone())]);
    let now = daemon(async {
        let lab = injected(&cluster, &memory, &settings, begin, &script);
        lab.queue.configure(all());
        let life = async {
            if let Ok(run_id) = lab.queue.manual("orders", None).await {
                while !memory.run(run_id).await.unwrap().unwrap().view.ended() {
                    lab.clock.sleep(Duration::from_millis(100)).await;
                }
            }
            // Components may continue after the end.
            lab.clock.sleep(Duration::from_mins(3)).await;
        };
        tokio::select! {
            biased;
            () = script.death() => {}
            () = life => {}
        }
        lab.clock.now()
    });
    let mut wrong = script.wrong();
    let operations = script.operations();
    let completed = next_daemon(&cluster, &memory, &settings, now, &mut wrong);
    Report { operations, wrong, completed }
}

fn cases(operations: &[String], full: bool) -> Vec<Case> {
    let pause = operations.iter().position(|t| t.contains("/exporting/pause"));
    let mut cases = Vec::new();
    for operation in chosen(operations, full) {
        let written = operations[operation].starts_with("write");
        let injected_faults: &[Fault] = if written { &Fault::TO_WRITES } else { &Fault::TO_REQUESTS };
        for inject in injected_faults {
            // Only after the pause is there anything to resume.
            let failures: &[u32] =
                if pause.is_some_and(|pause| operation >= pause) { &[0, 1, 3] } else { &[0] };
            cases.extend(failures.iter().map(|resumes_fail| Case {
                operation,
                inject: *inject,
                resumes_fail: *resumes_fail,
            }));
        }
    }
    cases
}

#[rstest]
fn rules_hold_after_a_fault_at_any_step(
    #[values(
        "hard pause",
        "web apps first",
        "with Optimize",
        "pause first",
        "database",
        "given ids",
        "cloud",
        "REST alone"
    )]
    name: &str,
) {
    let faultless = scenario(name, None);
    assert_eq!(faultless.wrong, Vec::<String>::new());
    assert!(faultless.completed);
    let full = std::env::var("MATRIX").as_deref() == Ok("full");
    let cases = cases(&faultless.operations, full);
    // A share of them, another one in each family, so that all kinds are seen and the tests stay short.
    let share = if full { 1 } else { 13 };
    let offset = name.len() % share;
    let (mut run, mut completed, mut wrong) = (0, 0, Vec::new());
    for case in cases.iter().skip(offset).step_by(share) {
        let report = scenario(name, Some(*case));
        run += 1;
        completed += usize::from(report.completed);
        if !report.wrong.is_empty() {
            let operation = &faultless.operations[case.operation];
            wrong.push(format!("{case:?} ({operation}): {}", report.wrong.join("; ")));
        }
    }
    println!(
        "{name}: {} operations, {} cases of which {run} were run, {completed} completed",
        faultless.operations.len(),
        cases.len()
    );
    assert!(wrong.is_empty(), "{} of {run} cases are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(completed > 0 && completed < run, "faults that never matter, or always, prove nothing");
}
