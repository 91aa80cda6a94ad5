//! Families of clusters, daemons whose every operation goes through a script, and the oracle for their results.

use crate::violence::{Disk, Script, Wire};
use camunda_backupd::clock::{Clock, ManualClock, Tasks};
use camunda_backupd::context::Context;
use camunda_backupd::context::resume_attempts::ResumeAttempts;
use camunda_backupd::domain::Instant;
use camunda_backupd::journal::{Outcome, Run, RunView};
use camunda_backupd::pause::sweep::Sweeper;
use camunda_backupd::queue::{ClusterSettings, Queue};
use camunda_backupd::sim::{self, SharedCluster, SimTransport, Storage, locked};
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::{BackupFilter, Backups, PendingResumes, Runs, SharedStore};
use chrono::TimeDelta;
use harness::lab::{self, Lab};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

pub(crate) fn family(name: &str) -> sim::Config {
    let config = |version: &str, storage| sim::Config {
        version: version.parse().unwrap(),
        storage,
        ..sim::Config::named("orders")
    };
    match name {
        "hard pause" => config("8.3.9", Storage::OpenSearch),
        "web apps first" => config("8.6.0", Storage::OpenSearch),
        "with Optimize" => sim::Config { optimize: true, ..config("8.7.3", Storage::Elasticsearch) },
        "pause first" => sim::Config { optimize: true, ..config("8.8.0", Storage::OpenSearch) },
        "database" => config("8.9.0", Storage::Rdbms),
        "given ids" => sim::Config { continuous: true, ..config("8.10.0", Storage::Rdbms) },
        // Only its addresses differ.
        "REST alone" => config("8.10.0", Storage::OpenSearch),
        "cloud" => config("8.6.0", Storage::Saas),
        other => panic!("{other}"),
    }
}

pub(crate) fn daemon<T>(life: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    runtime.unwrap().block_on(life)
}

/// A daemon whose operations go through the script.
pub(crate) fn injected(
    cluster: &SharedCluster,
    memory: &Arc<MemoryStore>,
    settings: &ClusterSettings,
    now: Instant,
    script: &Arc<Script>,
) -> Lab {
    let clock = ManualClock::at(now);
    let store: SharedStore =
        Arc::new(Disk { inner: memory.clone(), script: script.clone(), clock: clock.clone() });
    let context = Context {
        store: store.clone(),
        transport: Arc::new(Wire {
            inner: Arc::new(SimTransport::to([cluster.clone()], clock.clone())),
            script: script.clone(),
            clock: clock.clone(),
            memory: memory.clone(),
        }),
        clock: clock.clone(),
        tasks: Tasks::new(),
        instance: "lab".into(),
        attempts: ResumeAttempts::default(),
        current_addresses: Arc::default(),
    };
    let queue = Queue::new(context.clone(), Sweeper::new(context.clone()), 8);
    let (cluster, memory, settings) = (cluster.clone(), memory.clone(), settings.clone());
    Lab { clock, cluster, store, memory, queue, context, settings }
}

/// Three seconds later the next daemon starts, without faults. Returns whether the first backup was
/// completed.
pub(crate) fn next_daemon(
    cluster: &SharedCluster,
    memory: &Arc<MemoryStore>,
    settings: &ClusterSettings,
    now: Instant,
    wrong: &mut Vec<String>,
) -> bool {
    let now = now + TimeDelta::seconds(3);
    locked(cluster).advance(now);
    let quiet = Script::new([]);
    let completed = daemon(async {
        let lab = injected(cluster, memory, settings, now, &quiet);
        lab.queue.configure(BTreeMap::from([("orders".to_owned(), settings.clone())]));
        lab.queue.recover().await.unwrap();
        settle(&lab, wrong).await
    });
    wrong.extend(quiet.wrong());
    completed
}

/// Waits until no operation is running, checks the rules, and takes one more backup.
async fn settle(lab: &Lab, wrong: &mut Vec<String>) -> bool {
    for _ in 0..10_000 {
        if lab.memory.unfinished().await.unwrap().is_empty()
            && lab.memory.pending_resumes().await.unwrap().is_empty()
        {
            break;
        }
        lab.clock.sleep(Duration::from_secs(1)).await;
    }
    lab.clock.sleep(Duration::from_mins(2)).await;
    let now = lab.clock.now();
    locked(&lab.cluster).advance(now);
    let first = judge(lab, wrong).await;
    locked(&lab.cluster).arm("now.heal").unwrap();
    lab.clock.sleep(Duration::from_mins(20)).await;
    match lab.queue.manual("orders", None).await {
        Ok(run_id) => {
            let run = lab.ended(run_id).await;
            if run.view.reason().is_some() {
                wrong.push(format!("the next backup failed: {}", lab::reason_of(&run)));
            }
        }
        Err(error) => wrong.push(format!("the next backup was refused: {error}")),
    }
    lab.clock.sleep(Duration::from_mins(2)).await;
    let now = lab.clock.now();
    locked(&lab.cluster).advance(now);
    judge(lab, wrong).await;
    first
}

/// Checks the rules on store and cluster. Returns whether the first backup was completed.
pub(crate) async fn judge(lab: &Lab, wrong: &mut Vec<String>) -> bool {
    let store = &lab.memory;
    if let Some(pending_resume) = store.pending_resumes().await.unwrap().first() {
        wrong.push(format!("I1: a resume is still pending: {:?}", pending_resume.last_error));
    }
    if locked(&lab.cluster).pauses.since.is_some() {
        wrong.push("I1: exporting is left paused".into());
    }
    let backups = store.backups(BackupFilter::default()).await.unwrap();
    let ids: Vec<i64> = backups.iter().map(|b| b.run.backup_id.get()).collect();
    if !ids.is_sorted_by(|a, b| a < b) {
        wrong.push(format!("I3: ids do not grow: {ids:?}"));
    }
    for backup in &backups {
        let run = &backup.run;
        let journal = store.journal(run.run_id).await.unwrap();
        match RunView::replay(&journal) {
            Ok(view) if view == run.view => {}
            Ok(_) => wrong.push("I10: the journal does not give the view".into()),
            Err(error) => wrong.push(format!("I10: {error}")),
        }
        if !run.view.ended() {
            wrong.push(format!("a run did not end: in step {:?}", run.view.step));
        }
        if matches!(run.view.outcome, Some(Outcome::Completed { .. })) {
            wrong.extend(not_whole(lab, run));
        }
    }
    backups.first().is_some_and(|b| matches!(b.run.view.outcome, Some(Outcome::Completed { .. })))
}

/// Reason why a completed backup is not whole (rules I2 and I6).
pub(crate) fn not_whole(lab: &Lab, run: &Run) -> Option<String> {
    let cluster = locked(&lab.cluster);
    match cluster.config.storage {
        Storage::Saas => {
            let uuid = &run.view.components.values().next()?.names[0];
            let there = cluster.saas.backups.iter().any(|b| b.uuid == *uuid);
            (!there).then(|| "I6: the provider has no such backup".into())
        }
        // Its database is its operator's: here the brokers' part has to be there.
        Storage::Rdbms => {
            let there = cluster.backups.contains_key(&run.backup_id.get());
            (!there).then(|| "I6: the brokers have no such backup".into())
        }
        _ => {
            let restored = cluster.restore(run.backup_id.get());
            (!restored.is_whole()).then(|| {
                format!(
                    "I6: called completed, and {} lost, {} doubled",
                    restored.lost(),
                    restored.duplicates()
                )
            })
        }
    }
}

/// Touches of the same kind in one run: the first and the last of them stand for all.
pub(crate) fn chosen(operations: &[String], full: bool) -> Vec<usize> {
    if full {
        return (0..operations.len()).collect();
    }
    let mut locations: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for (at, operation) in operations.iter().enumerate() {
        locations.entry(operation).and_modify(|location| location.1 = at).or_insert((at, at));
    }
    // Every write of the journal is another entry.
    let entries = operations.iter().enumerate().filter(|(_, t)| *t == "write append").map(|(at, _)| at);
    let all: BTreeSet<usize> =
        locations.into_values().flat_map(|(first, last)| [first, last]).chain(entries).collect();
    all.into_iter().collect()
}
