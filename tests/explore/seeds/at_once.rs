//! A store that responds before virtual time goes on: its caller blocks on the thread of the state file, so that a
//! scenario on a state file is as repeatable as one in memory.

use camunda_backupd::domain::{Addresses, BackupId, Instant, Occurrence, RunId};
use camunda_backupd::journal::{Entry, Run, RunView};
use camunda_backupd::store::{
    Adopted, Backup, BackupFilter, Backups, ClusterRow, Clusters, DeletionProgress, NewRun, OccurrenceRow,
    Occurrences, PendingResume, PendingResumes, ResumeProgress, Runs, SharedStore, Store, StoreFuture,
    TimetableRow,
};
use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

pub(super) struct AtOnce(pub SharedStore);

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits on this thread. Unconstrained, because no other task could use the budget of tokio.
fn done<T>(work: impl Future<Output = T>) -> T {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut work = pin!(tokio::task::unconstrained(work));
    loop {
        match work.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

macro_rules! at_once {
    ($($name:ident($($arg:ident: $kind:ty),*) -> $response:ty;)*) => {
        $(fn $name(&self, $($arg: $kind),*) -> StoreFuture<'_, $response> {
            // Not before it is awaited: a future that is only built sends no request.
            Box::pin(async move { ready(done(self.0.$name($($arg),*))).await })
        })*
    };
}

impl Occurrences for AtOnce {
    at_once! {
        timetable() -> Vec<TimetableRow>;
        set_timetable(rows: Vec<TimetableRow>) -> ();
        claim(rows: Vec<OccurrenceRow>) -> Vec<OccurrenceRow>;
        waiting() -> Vec<OccurrenceRow>;
        skip(occurrences: Vec<Occurrence>, reason: String) -> ();
        occurrences(schedule: Option<String>, cluster: Option<String>, limit: u32) -> Vec<OccurrenceRow>;
    }
}

impl Runs for AtOnce {
    at_once! {
        begin_run(new: NewRun) -> Run;
        raise_highest_id(id_scope: String, largest: i64) -> ();
        highest_id(id_scope: String) -> i64;
        append(run_id: RunId, entries: Vec<Entry>) -> RunView;
        run(run_id: RunId) -> Option<Run>;
        journal(run_id: RunId) -> Vec<Entry>;
        unfinished() -> Vec<Run>;
    }
}

impl PendingResumes for AtOnce {
    at_once! {
        record_pending_resume(pending_resume: PendingResume, entry: Entry) -> ();
        record_resume_progress(run_id: RunId, progress: ResumeProgress) -> ();
        relocate_pending_resume(run_id: RunId, addresses: Addresses) -> ();
        pending_resumes() -> Vec<PendingResume>;
        abandon_resumes(cluster: String, why: String, at: Instant) -> u32;
    }
}

impl Backups for AtOnce {
    at_once! {
        backups(filter: BackupFilter) -> Vec<Backup>;
        failures_in_a_row() -> BTreeMap<String, u32>;
        backup(cluster: String, backup_id: BackupId) -> Option<Backup>;
        request_deletion(run_id: RunId, by: String, reason: String, at: Instant) -> ();
        record_deletion_progress(run_id: RunId, progress: DeletionProgress) -> ();
        set_missing(run_id: RunId) -> ();
        hold(run_id: RunId, held: bool) -> ();
        adopt(adopted: Adopted) -> ();
    }
}

impl Clusters for AtOnce {
    at_once! {
        clusters() -> Vec<ClusterRow>;
        set_clusters(rows: Vec<ClusterRow>) -> ();
        set_state_behind(cluster: String, reason: Option<String>) -> ();
        foreign_pause(cluster: String, at: Instant) -> Instant;
        foreign_pause_over(cluster: String) -> ();
    }
}

impl Store for AtOnce {
    at_once! {
        probe(at: Instant) -> ();
        close() -> ();
    }
}
