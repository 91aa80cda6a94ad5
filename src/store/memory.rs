//! The store kept in memory, for tests and simulation. Keeps the promises of `Store` except durability.
//!
//! Owns the rows as plain maps and the faults that a test can ask for. Must not decide anything that another store
//! would decide differently: that is `store::rules`. Kept beside SQLite so that generated scenarios run without a disk.

mod rows;

use super::{
    Adopted, Backup, BackupFilter, Backups, ClusterRow, Clusters, DeletionProgress, NewRun, OccurrenceRow,
    Occurrences, PendingResume, PendingResumes, ResumeProgress, Runs, Store, StoreError, StoreFuture,
    TimetableRow,
};
use crate::domain::{Addresses, BackupId, Instant, Occurrence, RunId};
use crate::journal::{Entry, Run, RunView};
use crate::lock::lock;
use rows::Rows;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

/// File name in errors.
const PATH: &str = "(memory)";

#[derive(Default)]
struct Inside {
    rows: Rows,
    failing: bool,
    failures_left: u32,
    responses_to_lose: u32,
    reads_to_fail: u32,
    reads_failing: u32,
    closed: bool,
}

/// A store without a file: its state is lost when the process ends.
#[derive(Default)]
pub struct MemoryStore {
    inside: Mutex<Inside>,
}

impl MemoryStore {
    /// An empty store.
    pub fn shared() -> Arc<Self> {
        Arc::default()
    }

    /// The next `count` writes fail and do nothing.
    pub fn fail_next_writes(&self, count: u32) {
        self.lock().failures_left = count;
    }

    /// Every write fails and does nothing until this is switched off.
    pub fn fail_all_writes(&self, failing: bool) {
        self.lock().failing = failing;
    }

    /// The next `count` writes are done, but their responses are lost.
    pub fn lose_next_responses(&self, count: u32) {
        self.lock().responses_to_lose = count;
    }

    /// The next write is done, but its response is lost, and the next `reads` reads fail.
    pub fn lose_next_response_and_reads(&self, reads: u32) {
        let mut inside = self.lock();
        (inside.responses_to_lose, inside.reads_to_fail) = (1, reads);
    }

    fn lock(&self) -> MutexGuard<'_, Inside> {
        lock(&self.inside)
    }

    /// Applies one write to the rows. `work` must return its error before it changes anything.
    fn write<'a, T: Send + 'a>(
        &'a self,
        work: impl FnOnce(&mut Rows) -> Result<T, StoreError> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let mut inside = self.lock();
            if inside.closed {
                return Err(StoreError::Closed);
            }
            if inside.failing || inside.failures_left > 0 {
                inside.failures_left = inside.failures_left.saturating_sub(1);
                return Err(StoreError::Unwritable {
                    path: PATH.into(),
                    reason: "a test injected this failure".into(),
                });
            }
            let done = work(&mut inside.rows)?;
            if inside.responses_to_lose > 0 {
                inside.responses_to_lose -= 1;
                inside.reads_failing = std::mem::take(&mut inside.reads_to_fail);
                return Err(StoreError::Unknown { path: PATH.into() });
            }
            Ok(done)
        })
    }

    fn read<'a, T: Send + 'a>(&'a self, work: impl FnOnce(&Rows) -> T + Send + 'a) -> StoreFuture<'a, T> {
        Box::pin(async move {
            let mut inside = self.lock();
            if inside.closed {
                return Err(StoreError::Closed);
            }
            if inside.reads_failing > 0 {
                inside.reads_failing -= 1;
                return Err(StoreError::Unwritable {
                    path: PATH.into(),
                    reason: "a test injected this failure".into(),
                });
            }
            Ok(work(&inside.rows))
        })
    }
}

impl Occurrences for MemoryStore {
    fn timetable(&self) -> StoreFuture<'_, Vec<TimetableRow>> {
        self.read(|rows| rows.timetable.values().cloned().collect())
    }

    fn set_timetable(&self, new: Vec<TimetableRow>) -> StoreFuture<'_, ()> {
        self.write(move |rows| {
            rows.set_timetable(new);
            Ok(())
        })
    }

    fn claim(&self, new: Vec<OccurrenceRow>) -> StoreFuture<'_, Vec<OccurrenceRow>> {
        self.write(move |rows| rows.claim(new))
    }

    fn waiting(&self) -> StoreFuture<'_, Vec<OccurrenceRow>> {
        self.read(Rows::waiting)
    }

    fn skip(&self, occurrences: Vec<Occurrence>, reason: String) -> StoreFuture<'_, ()> {
        self.write(move |rows| {
            rows.skip(&occurrences, &reason);
            Ok(())
        })
    }

    fn occurrences(
        &self,
        schedule: Option<String>,
        cluster: Option<String>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<OccurrenceRow>> {
        self.read(move |rows| rows.list_occurrences(schedule.as_deref(), cluster.as_deref(), limit))
    }
}

impl Runs for MemoryStore {
    fn begin_run(&self, new: NewRun) -> StoreFuture<'_, Run> {
        self.write(move |rows| rows.begin(new))
    }

    fn raise_highest_id(&self, id_scope: String, largest: i64) -> StoreFuture<'_, ()> {
        self.write(move |rows| {
            rows.raise_highest_id(id_scope, largest);
            Ok(())
        })
    }

    fn highest_id(&self, id_scope: String) -> StoreFuture<'_, i64> {
        self.read(move |rows| rows.highest_id(&id_scope))
    }

    fn append(&self, run_id: RunId, entries: Vec<Entry>) -> StoreFuture<'_, RunView> {
        self.write(move |rows| rows.append(run_id, entries))
    }

    fn run(&self, run_id: RunId) -> StoreFuture<'_, Option<Run>> {
        self.read(move |rows| rows.runs.get(&run_id).map(|row| row.run.clone()))
    }

    fn journal(&self, run_id: RunId) -> StoreFuture<'_, Vec<Entry>> {
        self.read(move |rows| rows.runs.get(&run_id).map(|row| row.journal.clone()).unwrap_or_default())
    }

    fn unfinished(&self) -> StoreFuture<'_, Vec<Run>> {
        self.read(Rows::unfinished)
    }
}

impl PendingResumes for MemoryStore {
    fn record_pending_resume(&self, pending_resume: PendingResume, entry: Entry) -> StoreFuture<'_, ()> {
        self.write(move |rows| rows.record_pending_resume(pending_resume, entry))
    }

    fn record_resume_progress(&self, run_id: RunId, progress: ResumeProgress) -> StoreFuture<'_, ()> {
        self.write(move |rows| match progress {
            ResumeProgress::Intended { by, at } => rows.resume_intended(run_id, by, at),
            ResumeProgress::Failed { error } => rows.resume_failed(run_id, error),
            ResumeProgress::Confirmed { by, at } => rows.confirm_resume(run_id, by, at),
        })
    }

    fn relocate_pending_resume(&self, run_id: RunId, addresses: Addresses) -> StoreFuture<'_, ()> {
        self.write(move |rows| rows.moved(run_id, addresses))
    }

    fn pending_resumes(&self) -> StoreFuture<'_, Vec<PendingResume>> {
        self.read(Rows::unconfirmed)
    }

    fn abandon_resumes(&self, cluster: String, why: String, at: Instant) -> StoreFuture<'_, u32> {
        self.write(move |rows| Ok(rows.abandon_resumes(&cluster, &why, at)))
    }
}

impl Backups for MemoryStore {
    fn backups(&self, filter: BackupFilter) -> StoreFuture<'_, Vec<Backup>> {
        self.read(move |rows| rows.backups(&filter))
    }

    fn failures_in_a_row(&self) -> StoreFuture<'_, BTreeMap<String, u32>> {
        self.read(Rows::failures_in_a_row)
    }

    fn backup(&self, cluster: String, backup_id: BackupId) -> StoreFuture<'_, Option<Backup>> {
        self.read(move |rows| rows.backup(&cluster, backup_id))
    }

    fn request_deletion(
        &self,
        run_id: RunId,
        by: String,
        reason: String,
        at: Instant,
    ) -> StoreFuture<'_, ()> {
        self.write(move |rows| rows.request_deletion(run_id, by, reason, at))
    }

    fn record_deletion_progress(&self, run_id: RunId, progress: DeletionProgress) -> StoreFuture<'_, ()> {
        self.write(move |rows| {
            let deletion = rows.deletion(run_id)?;
            match progress {
                DeletionProgress::OwnershipProven(proof) => deletion.ownership_proof = Some(proof),
                DeletionProgress::Attempted { error } => {
                    deletion.attempts += 1;
                    deletion.last_error = error;
                }
                DeletionProgress::Done { at } => deletion.done_at = deletion.done_at.or(Some(at)),
            }
            Ok(())
        })
    }

    fn set_missing(&self, run_id: RunId) -> StoreFuture<'_, ()> {
        self.write(move |rows| rows.set_missing(run_id))
    }

    fn hold(&self, run_id: RunId, held: bool) -> StoreFuture<'_, ()> {
        self.write(move |rows| rows.hold(run_id, held))
    }

    fn adopt(&self, adopted: Adopted) -> StoreFuture<'_, ()> {
        self.write(move |rows| rows.adopt(adopted))
    }
}

impl Clusters for MemoryStore {
    fn clusters(&self) -> StoreFuture<'_, Vec<ClusterRow>> {
        self.read(|rows| rows.clusters.values().cloned().collect())
    }

    fn set_clusters(&self, new: Vec<ClusterRow>) -> StoreFuture<'_, ()> {
        self.write(move |rows| {
            rows.set_clusters(new);
            Ok(())
        })
    }

    fn set_state_behind(&self, cluster: String, reason: Option<String>) -> StoreFuture<'_, ()> {
        self.write(move |rows| rows.set_state_behind(&cluster, reason))
    }

    fn foreign_pause(&self, cluster: String, at: Instant) -> StoreFuture<'_, Instant> {
        self.write(move |rows| Ok((*rows.foreign_pauses.entry(cluster).or_insert(at)).min(at)))
    }

    fn foreign_pause_over(&self, cluster: String) -> StoreFuture<'_, ()> {
        self.write(move |rows| {
            rows.foreign_pauses.remove(&cluster);
            Ok(())
        })
    }
}

impl Store for MemoryStore {
    fn probe(&self, _at: Instant) -> StoreFuture<'_, ()> {
        self.write(|_| Ok(()))
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            self.lock().closed = true;
            Ok(())
        })
    }
}
