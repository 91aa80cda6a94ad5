//! A state disk with commits that take seconds: backups are complete, and no resume waits for the disk.

use crate::matrix::{daemon, family, injected, judge};
use crate::violence::Script;
use camunda_backupd::clock::Clock;
use camunda_backupd::domain::{Instant, Limits};
use camunda_backupd::journal::{Event, FailureClass, Run, RunStatus};
use camunda_backupd::queue::ClusterSettings;
use camunda_backupd::sim::{self, SharedCluster, locked};
use camunda_backupd::store::Runs;
use camunda_backupd::store::memory::MemoryStore;
use harness::lab::{Lab, class_of, reason_of};
use rstest::rstest;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

struct Slow {
    cluster: SharedCluster,
    memory: Arc<MemoryStore>,
    settings: ClusterSettings,
    script: Arc<Script>,
}

impl Slow {
    fn of(name: &str, each: u64) -> Self {
        let config = family(name);
        let cluster = sim::shared(sim::Cluster::new(config.clone(), begin()));
        let template = daemon(async { Lab::with(config, Limits::default()) });
        let script = Script::new([]);
        script.slow_disk(Duration::from_secs(each));
        Self { cluster, memory: MemoryStore::shared(), settings: template.settings.clone(), script }
    }

    fn lab(&self, now: Instant) -> Lab {
        let lab = injected(&self.cluster, &self.memory, &self.settings, now, &self.script);
        lab.queue.configure(BTreeMap::from([("orders".to_owned(), self.settings.clone())]));
        lab
    }
}

fn begin() -> Instant {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// Time from the decision to end the run until the resume is sent.
async fn to_resume(memory: &MemoryStore, script: &Script, run: &Run) -> Duration {
    let journal = memory.journal(run.run_id).await.unwrap();
    let aborted = journal.iter().find(|entry| matches!(entry.event, Event::Aborting { .. })).unwrap();
    (script.resumes()[0] - aborted.at).to_std().unwrap()
}

#[rstest]
fn backup_is_complete_with_commits_of_seconds(
    #[values("web apps first", "pause first", "hard pause")] name: &str,
    #[values(1, 5)] each: u64,
) {
    let slow = Slow::of(name, each);
    daemon(async {
        let lab = slow.lab(begin());
        let run = lab.backup().await;
        assert_eq!(run.view.status, RunStatus::Completed, "{}", reason_of(&run));
        lab.clock.sleep(Duration::from_mins(2)).await;
        let mut wrong = slow.script.wrong();
        judge(&lab, &mut wrong).await;
        assert_eq!(wrong, Vec::<String>::new());
        // Each step inside the pause writes its intent and its outcome, and progress between.
        let longest = locked(&slow.cluster).pauses.longest.num_seconds() as u64;
        assert!(longest < 20 + 30 * each, "paused for {longest} s");
    });
}

#[rstest]
fn resume_does_not_wait_for_the_disk(#[values("web apps first", "pause first")] name: &str) {
    let slow = Slow::of(name, 5);
    locked(&slow.cluster).arm("zeebe.fail").unwrap();
    daemon(async {
        let lab = slow.lab(begin());
        let run = lab.backup().await;
        assert_eq!(class_of(&run), Some(FailureClass::Component), "{}", reason_of(&run));
        let took = to_resume(&slow.memory, &slow.script, &run).await;
        assert!(took <= Duration::from_secs(1), "the resume was sent after {took:?}");
        lab.assert_nothing_pending(&run).await;
    });
}

/// After a crash inside the pause the next daemon finds the pending resume; sending it does not wait for the disk.
#[test]
fn daemon_on_slow_disk_sends_pending_resumes() {
    let slow = Slow::of("web apps first", 0);
    let now = daemon(async {
        let lab = slow.lab(begin());
        let run = lab.queue.manual("orders", None);
        tokio::select! {
            biased;
            () = async {
                while locked(&slow.cluster).pauses.since.is_none() {
                    lab.clock.sleep(Duration::from_millis(20)).await;
                }
            } => {}
            ended = async { run.await.unwrap(); futures::future::pending::<()>().await } => ended,
        }
        lab.clock.now()
    });
    // An operator has resumed one partition meanwhile: the run cannot go on.
    slow.script.slow_disk(Duration::from_secs(20));
    locked(&slow.cluster).arm("now.broker-restart=0s").unwrap();
    daemon(async {
        let lab = slow.lab(now);
        let before = lab.clock.now();
        lab.queue.recover().await.unwrap();
        for _ in 0..600 {
            if locked(&slow.cluster).pauses.since.is_none() {
                break;
            }
            lab.clock.sleep(Duration::from_millis(100)).await;
        }
        assert!(locked(&slow.cluster).pauses.since.is_none(), "exporting is left paused");
        let run = slow.memory.unfinished().await.unwrap().pop();
        if let (Some(run), Some(first)) = (run, slow.script.resumes().first()) {
            assert!(
                *first - before < chrono::TimeDelta::seconds(30),
                "resumed after {}: {run:?}",
                *first - before
            );
        }
    });
}
