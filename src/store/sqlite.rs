//! The state file: SQLite behind the `Store` trait, and the only SQL of the program.
//!
//! Owns the two threads and their work: one commits (`synchronous=FULL`, group commit), one reads, so
//! that a long list never holds up a journal entry. Must not decide anything that another store would decide
//! differently: that is `store::rules`.

mod backups;
mod clusters;
mod columns;
mod damage;
mod failure;
mod location;
mod lock;
mod occurrences;
mod open;
mod pending_resumes;
mod read_only;
mod runs;
mod salvage;
mod timetable;
mod trace;
mod worker;

pub use damage::REMEDY;
pub use lock::StateLock;
pub use read_only::{ReadOnlyState, Rest};
pub use salvage::FoundPendingResumes;
pub use trace::Trace;

use super::{
    Adopted, Backup, BackupFilter, Backups, ClusterRow, Clusters, DeletionProgress, NewRun, OccurrenceRow,
    Occurrences, PendingResume, PendingResumes, ResumeProgress, Runs, SharedStore, Store, StoreError,
    StoreFuture, TimetableRow,
};
use crate::domain::{Addresses, BackupId, Instant, Occurrence, RunId};
use crate::journal::{Entry, Run, RunView};
use failure::Failure;
use location::Location;
use rusqlite::Connection;
use salvage::Reading;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::oneshot;
use trace::Note;
use worker::{After, Worker};

/// The file's name inside the state directory.
pub const FILE: &str = "state.db";

/// Durable state in one file.
pub struct SqliteStore {
    /// Files that the daemon opened. `None` in a secondary process, which does not check whether they were moved.
    location: Option<Arc<Location>>,
    writer: Worker,
    reader: Worker,
}

impl SqliteStore {
    /// Opens the state of a daemon, creates it if it does not exist, and locks out other daemons. Blocks, so it is
    /// called at the start only.
    pub fn open(state_dir: &Path) -> Result<(SharedStore, StateLock), StoreError> {
        let file = state_dir.join(FILE);
        open::directory(state_dir, &file)?;
        let mut lock = StateLock::take(state_dir)?;
        open::create(&file)?;
        let (writer, made) = open::writer(&file, true)?;
        let trace = Trace::of(&file, Some(clusters::probed(&writer)), lock.noted);
        let mut note = Note::beside(state_dir, trace.last);
        let after = move |connection: &Connection| {
            if let (Some(note), Ok(last)) = (&mut note, clusters::probed(connection)) {
                note.keep(last.map(|at| at.0));
            }
        };
        (lock.made, lock.lost) = (made, trace.lost);
        let owned = (Location::of(state_dir), Box::new(after) as After);
        Ok((Self::start(&file, writer, Some(owned))?, lock))
    }

    /// Opens the state beside a possibly running daemon, to send pending resumes. `None` without a state file
    /// or with an unfinished one, which has no pending resumes.
    /// Creates nothing and changes no schema. Commits stay in the WAL, because the file is not yet checked
    /// for damage.
    pub fn open_without_lock(state_dir: &Path) -> Result<Option<SharedStore>, StoreError> {
        Ok(Self::read_only(state_dir)?.map(|read_only| read_only as SharedStore))
    }

    fn read_only(state_dir: &Path) -> Result<Option<Arc<Self>>, StoreError> {
        let file = state_dir.join(FILE);
        match file.try_exists() {
            Ok(false) => Ok(None),
            _ => match open::writer(&file, false)? {
                (_, true) => Ok(None),
                (connection, false) => Self::start(&file, connection, None).map(Some),
            },
        }
    }

    /// Opens the state on a separate thread, for a caller that must not block.
    pub async fn open_beside(state_dir: &Path) -> Result<Option<Arc<Self>>, StoreError> {
        let (path, dir) = (state_dir.join(FILE), state_dir.to_owned());
        let (send, opened) = oneshot::channel();
        worker::thread("state-open", &path, move || {
            // A send error means that the caller stopped waiting.
            let _ = send.send(Self::read_only(&dir));
        })?;
        opened.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Closes a store opened without the lock; checkpoints the WAL if the file is sound.
    pub async fn close_and_checkpoint(&self, state_dir: &Path) -> Result<(), StoreError> {
        let file = state_dir.join(FILE);
        self.reader
            .request(move |connection| {
                let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
                Ok(open::judge(connection, &file, version)?)
            })
            .await?;
        self.writer.request(|connection| Ok(open::checkpoint_on_close(connection, true)?)).await?;
        self.close().await
    }

    /// Reads the pending resumes of a file in any state: damaged, of a newer version or read-only. Changes nothing.
    /// `None` if no pending resume can be read.
    pub fn read_pending_resumes(state_dir: &Path) -> Option<FoundPendingResumes> {
        let connection = open::read_only(&state_dir.join(FILE)).ok()?;
        let mut reading = Reading::of(&connection)?;
        let mut pending_resumes = reading.listed();
        let rest = reading.rest();
        pending_resumes.extend(rest.pending_resumes);
        Some(FoundPendingResumes { pending_resumes, unread: rest.unread })
    }

    /// Scans the file on a separate thread: pending resumes, last write and lost commits.
    pub fn probe(state_dir: &Path) -> ReadOnlyState {
        read_only::begin(state_dir)
    }

    /// Backups in the file, read without changes; `None` if unreadable.
    pub fn read_backups(state_dir: &Path, filter: &BackupFilter) -> Option<Vec<Backup>> {
        let connection = open::beside(&state_dir.join(FILE)).ok()?;
        backups::list(&connection, filter).ok()
    }

    /// Starts both threads. `owned` is set for the daemon: the files that it opened, and its work after each commit.
    fn start(
        file: &Path,
        writer: Connection,
        owned: Option<(Location, After)>,
    ) -> Result<Arc<Self>, StoreError> {
        let reader = open::reader(file)?;
        let (location, after) =
            owned.map_or((None, None), |(location, after)| (Some(Arc::new(location)), Some(after)));
        let writer = Worker::writing(writer, file, after.unwrap_or_else(|| Box::new(|_| ())))?;
        Ok(Arc::new(Self { location, writer, reader: Worker::reading(reader, file)? }))
    }

    /// Writes, unless the state file was moved or replaced: the next start would not find the commit.
    fn write_to_be_found<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let location = self.location.clone();
        self.write(move |c| {
            location.map_or(Ok(()), |location| location.is_kept())?;
            work(c)
        })
    }

    fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        Box::pin(self.writer.request(work))
    }

    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> StoreFuture<'_, T> {
        Box::pin(self.reader.request(work))
    }
}

/// Converts a `limit` to SQL: `0`, which means all rows, becomes -1.
fn limit(limit: u32) -> i64 {
    if limit == 0 { -1 } else { i64::from(limit) }
}

impl Occurrences for SqliteStore {
    fn timetable(&self) -> StoreFuture<'_, Vec<TimetableRow>> {
        self.read(timetable::all)
    }

    fn set_timetable(&self, rows: Vec<TimetableRow>) -> StoreFuture<'_, ()> {
        self.write(move |c| timetable::set(c, &rows))
    }

    fn claim(&self, rows: Vec<OccurrenceRow>) -> StoreFuture<'_, Vec<OccurrenceRow>> {
        self.write_to_be_found(move |c| occurrences::claim(c, rows))
    }

    fn waiting(&self) -> StoreFuture<'_, Vec<OccurrenceRow>> {
        self.read(occurrences::waiting)
    }

    fn skip(&self, occurrences: Vec<Occurrence>, reason: String) -> StoreFuture<'_, ()> {
        self.write(move |c| occurrences::skip(c, &occurrences, &reason))
    }

    fn occurrences(
        &self,
        schedule: Option<String>,
        cluster: Option<String>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<OccurrenceRow>> {
        self.read(move |c| occurrences::list(c, schedule.as_deref(), cluster.as_deref(), limit))
    }
}

impl Runs for SqliteStore {
    fn begin_run(&self, new: NewRun) -> StoreFuture<'_, Run> {
        Box::pin(async move { self.write_to_be_found(move |c| runs::begin(c, new)).await? })
    }

    fn raise_highest_id(&self, id_scope: String, largest: i64) -> StoreFuture<'_, ()> {
        self.write(move |c| runs::raise_highest_id(c, &id_scope, largest))
    }

    fn highest_id(&self, id_scope: String) -> StoreFuture<'_, i64> {
        self.read(move |c| runs::highest_id(c, &id_scope))
    }

    fn append(&self, run_id: RunId, entries: Vec<Entry>) -> StoreFuture<'_, RunView> {
        self.write(move |c| runs::append(c, run_id, &entries))
    }

    fn run(&self, run_id: RunId) -> StoreFuture<'_, Option<Run>> {
        self.read(move |c| runs::one(c, run_id))
    }

    fn journal(&self, run_id: RunId) -> StoreFuture<'_, Vec<Entry>> {
        self.read(move |c| runs::journal(c, run_id))
    }

    fn unfinished(&self) -> StoreFuture<'_, Vec<Run>> {
        self.read(runs::unfinished)
    }
}

impl PendingResumes for SqliteStore {
    fn record_pending_resume(&self, pending_resume: PendingResume, entry: Entry) -> StoreFuture<'_, ()> {
        self.write_to_be_found(move |c| pending_resumes::record_pending_resume(c, &pending_resume, entry))
    }

    fn record_resume_progress(&self, run_id: RunId, progress: ResumeProgress) -> StoreFuture<'_, ()> {
        self.write(move |c| match progress {
            ResumeProgress::Intended { by, at } => pending_resumes::resume_intended(c, run_id, by, at),
            ResumeProgress::Failed { error } => pending_resumes::resume_failed(c, run_id, &error),
            ResumeProgress::Confirmed { by, at } => pending_resumes::confirm(c, run_id, by, at),
        })
    }

    fn relocate_pending_resume(&self, run_id: RunId, addresses: Addresses) -> StoreFuture<'_, ()> {
        self.write(move |c| pending_resumes::moved(c, run_id, &addresses))
    }

    fn pending_resumes(&self) -> StoreFuture<'_, Vec<PendingResume>> {
        self.read(pending_resumes::open)
    }

    fn abandon_resumes(&self, cluster: String, why: String, at: Instant) -> StoreFuture<'_, u32> {
        self.write(move |c| pending_resumes::abandon_resumes(c, &cluster, &why, at))
    }
}

impl Backups for SqliteStore {
    fn backups(&self, filter: BackupFilter) -> StoreFuture<'_, Vec<Backup>> {
        self.read(move |c| backups::list(c, &filter))
    }

    fn failures_in_a_row(&self) -> StoreFuture<'_, BTreeMap<String, u32>> {
        self.read(backups::failures_in_a_row)
    }

    fn backup(&self, cluster: String, backup_id: BackupId) -> StoreFuture<'_, Option<Backup>> {
        self.read(move |c| backups::one(c, &cluster, backup_id))
    }

    fn request_deletion(
        &self,
        run_id: RunId,
        by: String,
        reason: String,
        at: Instant,
    ) -> StoreFuture<'_, ()> {
        self.write(move |c| backups::request_deletion(c, run_id, &by, &reason, at))
    }

    fn record_deletion_progress(&self, run_id: RunId, progress: DeletionProgress) -> StoreFuture<'_, ()> {
        self.write(move |c| match progress {
            DeletionProgress::OwnershipProven(proof) => backups::ownership_proven(c, run_id, &proof),
            DeletionProgress::Attempted { error } => backups::deletion_attempted(c, run_id, error.as_deref()),
            DeletionProgress::Done { at } => backups::deletion_done(c, run_id, at),
        })
    }

    fn set_missing(&self, run_id: RunId) -> StoreFuture<'_, ()> {
        self.write(move |c| backups::set_missing(c, run_id))
    }

    fn hold(&self, run_id: RunId, held: bool) -> StoreFuture<'_, ()> {
        self.write(move |c| backups::hold(c, run_id, held))
    }

    fn adopt(&self, adopted: Adopted) -> StoreFuture<'_, ()> {
        self.write(move |c| runs::adopt(c, adopted))
    }
}

impl Clusters for SqliteStore {
    fn clusters(&self) -> StoreFuture<'_, Vec<ClusterRow>> {
        self.read(clusters::all)
    }

    fn set_clusters(&self, rows: Vec<ClusterRow>) -> StoreFuture<'_, ()> {
        self.write(move |c| clusters::set(c, &rows))
    }

    fn set_state_behind(&self, cluster: String, reason: Option<String>) -> StoreFuture<'_, ()> {
        self.write(move |c| clusters::set_state_behind(c, &cluster, reason.as_deref()))
    }

    fn foreign_pause(&self, cluster: String, at: Instant) -> StoreFuture<'_, Instant> {
        self.write(move |c| clusters::foreign_pause(c, &cluster, at))
    }

    fn foreign_pause_over(&self, cluster: String) -> StoreFuture<'_, ()> {
        self.write(move |c| clusters::foreign_pause_over(c, &cluster))
    }
}

impl Store for SqliteStore {
    fn probe(&self, at: Instant) -> StoreFuture<'_, ()> {
        if self.location.is_none() {
            return self.write(clusters::probe_read_only);
        }
        self.write_to_be_found(move |c| clusters::probe(c, at))
    }

    fn close(&self) -> StoreFuture<'_, ()> {
        Box::pin(async move {
            // The last connection checkpoints the WAL when it closes; the reader must not do that.
            self.reader.close().await?;
            self.writer.close().await
        })
    }
}
