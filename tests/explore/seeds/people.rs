//! Commands of operators during schedules: cancel, hold, release, delete, adopt; and their confirmations.

use super::scenario::Event;
use crate::violence::Script;
use camunda_backupd::api::Control;
use camunda_backupd::daemon::Daemon;
use camunda_backupd::domain::{BackupState, RunId};
use camunda_backupd::store::{BackupFilter, SharedStore};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
pub(super) struct People {
    /// Backups with a confirmed hold.
    pub pinned: BTreeSet<RunId>,
    /// Backups with a confirmed deletion.
    pub deleted: BTreeSet<RunId>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl People {
    pub(super) fn wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }

    /// `truth` is the store itself, `store` the daemon's access to it.
    pub(super) async fn act(
        &mut self,
        act: Event,
        daemon: &Arc<Daemon>,
        truth: &SharedStore,
        store: &SharedStore,
        script: &Script,
    ) {
        match act {
            Event::Cancel(cluster) => self.cancel(cluster, daemon.clone(), truth.clone()),
            Event::Adopt(cluster) => {
                let (daemon, wrong) = (daemon.clone(), self.wrong.clone());
                tokio::spawn(async move {
                    if let Ok(report) = daemon.adopt(cluster).await
                        && !report.adopted.is_empty()
                    {
                        wrong.lock().unwrap().push(format!("adopted although known: {:?}", report.adopted));
                    }
                });
            }
            Event::Hold(nth) => {
                let Some(backup) = nth_of(nth, truth).await else { return };
                if store.hold(backup.run.run_id, true).await.is_ok() {
                    self.pinned.insert(backup.run.run_id);
                }
            }
            Event::Release(nth) => {
                let Some(backup) = nth_of(nth, truth).await else { return };
                self.pinned.remove(&backup.run.run_id);
                drop(store.hold(backup.run.run_id, false).await);
            }
            Event::Delete { nth, confirmed } => {
                let Some(backup) = nth_of(nth, truth).await else { return };
                let run = &backup.run;
                let good = truth.backups(BackupFilter::default()).await.unwrap();
                let good = good.iter().filter(|b| b.run.cluster == run.cluster);
                let good = good.filter(|b| b.state == BackupState::Completed).count();
                if daemon.delete(run.cluster.clone(), run.backup_id, confirmed).await.is_err() {
                    return;
                }
                // The run may have ended while the request waited for the disk.
                let ended = truth.run(run.run_id).await.unwrap().is_some_and(|run| run.view.ended());
                let mut wrong = self.wrong.lock().unwrap();
                if self.pinned.contains(&run.run_id) {
                    wrong.push(format!("I8: backup {} goes although it is held", run.backup_id));
                }
                if !ended {
                    wrong.push(format!("I8: backup {} goes while it is taken", run.backup_id));
                }
                if good == 1 && backup.state == BackupState::Completed && !confirmed {
                    wrong.push(format!("backup {}, the last good one, goes unconfirmed", run.backup_id));
                }
                self.deleted.insert(run.run_id);
            }
            _ => {}
        }
        script.pin(self.pinned.clone());
    }

    /// A confirmed command must have its effect.
    fn cancel(&self, cluster: String, daemon: Arc<Daemon>, truth: SharedStore) {
        let wrong = self.wrong.clone();
        tokio::spawn(async move {
            let before = truth.unfinished().await.unwrap();
            let before: Vec<RunId> =
                before.iter().filter(|run| run.cluster == cluster).map(|run| run.run_id).collect();
            let outcome = daemon.cancel(cluster.clone(), "not now".into(), Duration::from_secs(30)).await;
            if !outcome.is_ok_and(|outcome| outcome.done) {
                return;
            }
            for run_id in before {
                let pending = truth
                    .pending_resumes()
                    .await
                    .unwrap()
                    .iter()
                    .any(|pending_resume| pending_resume.run_id == run_id);
                let ended = truth.run(run_id).await.unwrap().is_some_and(|run| run.view.ended());
                if pending || !ended {
                    let violation = format!(
                        "the run of {cluster} is reported as cancelled: ended {ended}, resume pending {pending}"
                    );
                    wrong.lock().unwrap().push(violation);
                }
            }
        });
    }
}

async fn nth_of(nth: usize, truth: &SharedStore) -> Option<camunda_backupd::store::Backup> {
    let mut all = truth.backups(BackupFilter::default()).await.unwrap();
    all.sort_by_key(|backup| backup.run.backup_id);
    (!all.is_empty()).then(|| all.swap_remove(nth % all.len()))
}
