//! The store of a daemon, of either kind: every write is an operation for injected faults and for bugs of a store.

use super::{Bug, Fault, Script};
use camunda_backupd::clock::SharedClock;
use camunda_backupd::domain::{Addresses, BackupId, BackupState, Instant, Occurrence, RunId};
use camunda_backupd::journal::{Entry, Event, Run, RunView, Step};
use camunda_backupd::store::{
    Adopted, Backup, BackupFilter, Backups, ClusterRow, Clusters, DeletionProgress, NewRun, OccurrenceRow,
    Occurrences, PendingResume, PendingResumes, ResumeProgress, Runs, SharedStore, Store, StoreError,
    StoreFuture, TimetableRow,
};
use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Time after which the store reports an unknown result.
const DEADLINE: Duration = Duration::from_secs(60);

/// The state of the daemon.
pub(crate) struct Disk {
    pub inner: SharedStore,
    pub script: Arc<Script>,
    pub clock: SharedClock,
}

macro_rules! reads {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $response:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $response> {
            Box::pin(async move {
                self.script.live().await;
                self.inner.$name($($arg),*).await
            })
        })*
    };
}

macro_rules! writes {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $response:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $response> {
            Box::pin(async move {
                self.write(stringify!($name), self.inner.$name($($arg),*)).await
            })
        })*
    };
}

impl Disk {
    /// A write, with its injected fault.
    async fn write<T>(
        &self,
        name: &str,
        write: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let inject = self.script.operation(format!("write {name}")).await;
        if inject == Some(Fault::Fail) {
            let reason = "a test injected this failure".into();
            return Err(StoreError::Unwritable { path: "state.db".into(), reason });
        }
        let slow = match inject {
            Some(Fault::Slow(seconds)) => Duration::from_secs(seconds),
            _ => self.script.lock().slow,
        };
        if slow > Duration::ZERO {
            self.clock.sleep(slow.min(DEADLINE)).await;
            self.script.live().await;
        }
        let response = write.await;
        self.script.die_if(inject == Some(Fault::DieAfter)).await;
        match inject {
            Some(Fault::Slow(_)) if slow >= DEADLINE && response.is_ok() => {
                Err(StoreError::Unknown { path: "state.db".into() })
            }
            Some(Fault::LoseAnswer) if response.is_ok() => {
                Err(StoreError::Unknown { path: "state.db".into() })
            }
            _ => response,
        }
    }

    fn has(&self, bug: Bug) -> bool {
        self.script.bug == Some(bug)
    }

    fn forgets(&self, cluster: &str) -> bool {
        let configured = || {
            let inside = self.script.lock();
            inside.keeps.as_ref().is_none_or(|(keeps, _)| keeps.keys().any(|(name, _)| name == cluster))
        };
        self.has(Bug::RemovedForgotten) && !configured()
    }

    /// A deletion by retention must be allowed by every retention group when it is requested (rule I8).
    async fn judge_deletion(&self, run_id: RunId) {
        let Some((now, before)) = self.script.lock().keeps.clone() else { return };
        let all = self.inner.backups(BackupFilter::default()).await.unwrap_or_default();
        let Some(backup) = all.iter().find(|b| b.run.run_id == run_id) else { return };
        let run = &backup.run;
        if backup.held || self.script.lock().pinned.contains(&run_id) {
            self.script
                .lock()
                .wrong
                .push(format!("I8: retention asks for backup {}, which is held", run.backup_id));
        }
        for group in &run.retention_groups {
            let newer = all.iter().filter(|b| {
                b.run.cluster == run.cluster
                    && b.run.retention_groups.contains(group)
                    && b.run.backup_id > run.backup_id
                    && b.state == BackupState::Completed
            });
            let newer = newer.count();
            let allowed = |keeps: &super::Keeps| {
                let keep = keeps.get(&(run.cluster.clone(), group.clone()));
                keep.is_some_and(|keep| run.view.reason().is_some() || newer >= *keep as usize)
            };
            if !allowed(&now) && !before.as_ref().is_some_and(allowed) {
                self.script.lock().wrong.push(format!(
                    "I8: retention asks for backup {} of {}, with {newer} newer good ones in {group}",
                    run.backup_id, run.cluster
                ));
            }
        }
    }
}

impl Occurrences for Disk {
    fn set_timetable(&self, mut rows: Vec<TimetableRow>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            let known = self.inner.timetable().await?;
            let newest = rows.iter().map(|row| row.since).max();
            for row in &mut rows {
                let before = known.iter().find(|k| k.schedule == row.schedule && k.cluster == row.cluster);
                if let Some(before) = before.filter(|k| k.active && k.times_key != row.times_key)
                    && self.has(Bug::EditedGoesOn)
                {
                    (row.since, row.last_due) = (before.since, before.last_due);
                }
                if self.has(Bug::AllBeginAnew) {
                    row.since = newest.unwrap_or(row.since);
                }
            }
            self.write("set_timetable", self.inner.set_timetable(rows)).await
        })
    }

    fn claim(&self, rows: Vec<OccurrenceRow>) -> StoreFuture<'_, Vec<OccurrenceRow>> {
        Box::pin(async move {
            if self.has(Bug::ClaimLost) {
                return Ok(vec![]);
            }
            self.write("claim", self.inner.claim(rows)).await
        })
    }

    fn skip(&self, occurrences: Vec<Occurrence>, reason: String) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if self.has(Bug::ReloadForgetsWaiting) && reason.contains("taken out of the config") {
                return Ok(());
            }
            self.write("skip", self.inner.skip(occurrences, reason)).await
        })
    }

    reads! {
        timetable() -> Vec<TimetableRow>;
        waiting() -> Vec<OccurrenceRow>;
        occurrences(schedule: Option<String>, cluster: Option<String>, limit: u32) -> Vec<OccurrenceRow>;
    }
}

impl Runs for Disk {
    fn begin_run(&self, mut new: NewRun) -> StoreFuture<'_, Run> {
        Box::pin(async move {
            if self.has(Bug::NotClaimed) {
                new.occurrences.clear();
            }
            let run = self.write("begin_run", self.inner.begin_run(new)).await;
            run.map(|mut run| {
                if self.has(Bug::IdAgain)
                    && let Some(before) = BackupId::new(run.backup_id.get() - 1)
                {
                    run.backup_id = before;
                }
                run
            })
        })
    }

    fn append(&self, run_id: RunId, mut entries: Vec<Entry>) -> StoreFuture<'_, RunView> {
        Box::pin(async move {
            if self.has(Bug::NoIntent) {
                entries.retain(|e| !matches!(e.event, Event::StepIntended { step: Step::Start(_) }));
            }
            self.write("append", self.inner.append(run_id, entries)).await
        })
    }

    fn unfinished(&self) -> StoreFuture<'_, Vec<Run>> {
        Box::pin(async move {
            self.script.live().await;
            let mut runs = self.inner.unfinished().await?;
            runs.retain(|run| !self.has(Bug::RunsForgotten) && !self.forgets(&run.cluster));
            Ok(runs)
        })
    }

    reads! {
        highest_id(id_scope: String) -> i64;
        run(run_id: RunId) -> Option<Run>;
        journal(run_id: RunId) -> Vec<Entry>;
    }
    writes! {
        raise_highest_id(id_scope: String, largest: i64) -> ();
    }
}

impl PendingResumes for Disk {
    fn record_pending_resume(&self, pending_resume: PendingResume, entry: Entry) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if self.has(Bug::NoPendingResume) {
                return self.inner.append(pending_resume.run_id, vec![entry]).await.map(|_| ());
            }
            self.write("record_pending_resume", self.inner.record_pending_resume(pending_resume, entry)).await
        })
    }

    fn pending_resumes(&self) -> StoreFuture<'_, Vec<PendingResume>> {
        Box::pin(async move {
            self.script.live().await;
            let mut pending_resumes = self.inner.pending_resumes().await?;
            pending_resumes.retain(|pending_resume| !self.forgets(&pending_resume.cluster));
            Ok(pending_resumes)
        })
    }

    fn record_resume_progress(&self, run_id: RunId, progress: ResumeProgress) -> StoreFuture<'_, ()> {
        let name = match &progress {
            ResumeProgress::Intended { .. } => "resume_intended",
            ResumeProgress::Failed { .. } => "resume_failed",
            ResumeProgress::Confirmed { .. } => "resume_confirmed",
        };
        Box::pin(async move { self.write(name, self.inner.record_resume_progress(run_id, progress)).await })
    }

    writes! {
        relocate_pending_resume(run_id: RunId, addresses: Addresses) -> ();
        abandon_resumes(cluster: String, why: String, at: Instant) -> u32;
    }
}

impl Backups for Disk {
    fn request_deletion(
        &self,
        run_id: RunId,
        by: String,
        reason: String,
        at: Instant,
    ) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if self.has(Bug::NeverDeletes) || (by == "command" && self.has(Bug::DeletionForgotten)) {
                return Ok(());
            }
            if by == "retention" {
                self.judge_deletion(run_id).await;
            }
            self.write("request_deletion", self.inner.request_deletion(run_id, by, reason, at)).await?;
            if self.has(Bug::CalledDeleted) {
                self.inner.record_deletion_progress(run_id, DeletionProgress::Done { at }).await?;
            }
            Ok(())
        })
    }

    fn hold(&self, run_id: RunId, held: bool) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if self.has(Bug::HoldForgotten) {
                return Ok(());
            }
            self.write("hold", self.inner.hold(run_id, held)).await
        })
    }

    reads! {
        backups(filter: BackupFilter) -> Vec<Backup>;
        failures_in_a_row() -> BTreeMap<String, u32>;
        backup(cluster: String, backup_id: BackupId) -> Option<Backup>;
    }
    fn record_deletion_progress(&self, run_id: RunId, progress: DeletionProgress) -> StoreFuture<'_, ()> {
        let name = match &progress {
            DeletionProgress::OwnershipProven(_) => "ownership_proven",
            DeletionProgress::Attempted { .. } => "deletion_attempted",
            DeletionProgress::Done { .. } => "deletion_done",
        };
        Box::pin(async move { self.write(name, self.inner.record_deletion_progress(run_id, progress)).await })
    }

    writes! {
        set_missing(run_id: RunId) -> ();
        adopt(adopted: Adopted) -> ();
    }
}

impl Clusters for Disk {
    fn set_clusters(&self, rows: Vec<ClusterRow>) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            if self.has(Bug::OrphansDeleted) {
                for backup in self.inner.backups(BackupFilter::default()).await? {
                    if rows.iter().all(|row| row.name != backup.run.cluster) {
                        let why = "its cluster left the config".to_owned();
                        let requested = self.request_deletion(
                            backup.run.run_id,
                            "retention".into(),
                            why,
                            Instant::default(),
                        );
                        drop(requested.await);
                    }
                }
            }
            self.write("set_clusters", self.inner.set_clusters(rows)).await
        })
    }

    reads! {
        clusters() -> Vec<ClusterRow>;
    }
    writes! {
        set_state_behind(cluster: String, reason: Option<String>) -> ();
        foreign_pause(cluster: String, at: Instant) -> Instant;
        foreign_pause_over(cluster: String) -> ();
    }
}

impl Store for Disk {
    writes! {
        probe(at: Instant) -> ();
        close() -> ();
    }
}
