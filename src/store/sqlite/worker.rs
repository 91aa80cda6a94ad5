//! A thread that owns a connection: callers send closures and await the results.
//!
//! Owns the queue, group commit (one transaction and one fsync for everything that waits, each command in its own
//! savepoint) and the deadline of callers. Must not know any table.

use super::failure::{Doing, Failure, sentence};
use crate::clock::{self, within_real_time};
use crate::store::StoreError;
use rusqlite::Connection;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait; more make callers wait before they are queued.
const QUEUE: usize = 4096;
/// Commands that share a commit at most.
const BATCH: usize = 1024;
/// Time limit of a caller for a response.
const DEADLINE: Duration = Duration::from_mins(1);

enum Message {
    Do(Box<dyn Job>),
    Close(oneshot::Sender<()>),
}

/// A command in the queue. The trait hides the type of its result.
trait Job: Send {
    /// Does the work; an error means that its savepoint must be rolled back.
    fn run(&mut self, connection: &Connection, path: &Path, doing: Doing) -> Result<(), StoreError>;
    /// Responds to the caller, with `broken` instead of the result if the commit failed.
    fn response(self: Box<Self>, broken: Option<&StoreError>);
}

struct Task<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
    /// Set by the thread that begins the work, or by the caller that gives up, whichever comes first.
    taken: Arc<AtomicBool>,
}

impl<T, F> Job for Task<T, F>
where
    T: Send + 'static,
    F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
{
    fn run(&mut self, connection: &Connection, path: &Path, doing: Doing) -> Result<(), StoreError> {
        let Some(work) = self.work.take() else { return Ok(()) };
        if self.taken.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // A defect in one command must not take the thread, and every other command, with it.
        let result = catch_unwind(AssertUnwindSafe(|| work(connection))).unwrap_or_else(|_| {
            Err(StoreError::Refused("the store met a defect in a command: please report it".into()).into())
        });
        let result = result.map_err(|failure| failure.put(path, doing));
        let done = result.as_ref().map(|_| ()).map_err(Clone::clone);
        self.result = Some(result);
        done
    }

    fn response(self: Box<Self>, broken: Option<&StoreError>) {
        let result = match broken {
            Some(error) => Some(Err(error.clone())),
            None => self.result,
        };
        if let Some(result) = result {
            // A send error means that the caller stopped waiting.
            let _ = self.reply.send(result);
        }
    }
}

/// Work after each commit, before any caller gets its response.
pub(super) type After = Box<dyn FnMut(&Connection) + Send>;

/// The sending side of a thread.
pub(super) struct Worker {
    queue: mpsc::Sender<Message>,
    path: String,
    doing: Doing,
}

impl Worker {
    /// Starts a thread that commits received commands.
    pub(super) fn writing(connection: Connection, path: &Path, after: After) -> Result<Self, StoreError> {
        Self::spawn("state-writer", connection, path, Doing::Writing, after)
    }

    /// Starts a thread that reads.
    pub(super) fn reading(connection: Connection, path: &Path) -> Result<Self, StoreError> {
        Self::spawn("state-reader", connection, path, Doing::Reading, Box::new(|_| ()))
    }

    fn spawn(
        name: &str,
        connection: Connection,
        path: &Path,
        doing: Doing,
        after: After,
    ) -> Result<Self, StoreError> {
        let (queue, messages) = mpsc::channel(QUEUE);
        let owned = path.to_path_buf();
        thread(name, path, move || work_off(connection, &owned, messages, doing, after))?;
        Ok(Self { queue, path: path.display().to_string(), doing })
    }

    /// Queues `work` for the thread, and waits for the result.
    pub(super) async fn request<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, response) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        let task = Task { work: Some(work), result: None, reply, taken: Arc::clone(&taken) };
        let exchange = async {
            self.queue.send(Message::Do(Box::new(task))).await.map_err(|_| StoreError::Closed)?;
            response.await.unwrap_or(Err(StoreError::Closed))
        };
        match within_real_time(DEADLINE, exchange).await {
            Some(response) => response,
            None if taken.swap(true, Ordering::AcqRel) && self.doing == Doing::Writing => {
                Err(StoreError::Unknown { path: self.path.clone() })
            }
            None => Err(late(&self.path, self.doing)),
        }
    }

    /// Returns once all earlier requests are done and the connection is closed.
    pub(super) async fn close(&self) -> Result<(), StoreError> {
        let (done, closed) = oneshot::channel();
        let exchange = async {
            if self.queue.send(Message::Close(done)).await.is_ok() {
                // An error means that another caller has already closed the worker.
                let _ = closed.await;
            }
        };
        let late = || StoreError::Unknown { path: self.path.clone() };
        within_real_time(DEADLINE, exchange).await.ok_or_else(late)
    }
}

/// Runs `work` on a separate thread.
pub(super) fn thread(
    name: &str,
    path: &Path,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), StoreError> {
    clock::thread(name, work).map_err(|error| StoreError::Unusable {
        path: path.display().to_string(),
        reason: format!("no thread can be started for it ({error}): raise the limit of tasks"),
    })
}

/// Error for a command whose caller gave up before the work began.
fn late(path: &str, doing: Doing) -> StoreError {
    let reason = format!("it did not respond within {} s", DEADLINE.as_secs());
    match doing {
        Doing::Reading => {
            StoreError::Unusable { path: path.into(), reason: reason + ": check the disk and its log" }
        }
        Doing::Writing | Doing::Opening => StoreError::Unwritable { path: path.into(), reason },
    }
}

fn work_off(
    connection: Connection,
    path: &Path,
    mut messages: mpsc::Receiver<Message>,
    doing: Doing,
    mut after: After,
) {
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = messages.blocking_recv() else { break };
        let mut jobs = Vec::new();
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Do(job) => jobs.push(job),
                Message::Close(done) => {
                    closing = Some(done);
                    break;
                }
            }
            if jobs.len() < BATCH {
                next = messages.try_recv().ok();
            }
        }
        match doing {
            Doing::Reading => read_batch(&connection, path, jobs),
            Doing::Writing | Doing::Opening => write_batch(&connection, path, jobs, &mut after),
        }
    }
    drop(messages);
    // Whatever it reports, all commits are on disk already.
    let _ = connection.close();
    if let Some(done) = closing {
        let _ = done.send(());
    }
}

fn write_batch(connection: &Connection, path: &Path, mut jobs: Vec<Box<dyn Job>>, after: &mut After) {
    if jobs.is_empty() {
        return;
    }
    let broken = commit(connection, path, &mut jobs).err();
    if broken.is_some() && !connection.is_autocommit() {
        // If this fails too, the next BEGIN fails and reports the reason.
        let _ = connection.execute_batch("ROLLBACK");
    }
    if broken.is_none() {
        after(connection);
    }
    for job in jobs {
        job.response(broken.as_ref());
    }
}

fn commit(connection: &Connection, path: &Path, jobs: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    let execute = |sql: &str| -> Result<(), StoreError> {
        let done = connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        done.map(|_| ()).map_err(|error| sentence(&error, path, Doing::Writing))
    };
    execute("BEGIN IMMEDIATE")?;
    for job in jobs {
        execute("SAVEPOINT command")?;
        if let Err(error) = job.run(connection, path, Doing::Writing) {
            if connection.is_autocommit() {
                // A full disk and similar errors end the whole transaction and undo earlier commands.
                return Err(error);
            }
            execute("ROLLBACK TO command")?;
        }
        execute("RELEASE command")?;
    }
    execute("COMMIT")
}

fn read_batch(connection: &Connection, path: &Path, jobs: Vec<Box<dyn Job>>) {
    for mut job in jobs {
        let begun = connection.execute_batch("BEGIN").map_err(|error| sentence(&error, path, Doing::Reading));
        let broken = match begun {
            Ok(()) => {
                // The error of a read is in its response, so the result is ignored here.
                let _ = job.run(connection, path, Doing::Reading);
                let _ = connection.execute_batch("ROLLBACK");
                None
            }
            Err(error) => Some(error),
        };
        job.response(broken.as_ref());
    }
}

#[cfg(test)]
mod tests;
