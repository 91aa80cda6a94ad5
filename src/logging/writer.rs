//! The queue of lines and the thread that writes them.
//!
//! Owns the limit of the queue. With a hanging reader (a full pipe, a stuck journal) lines are dropped and counted; a
//! resume never waits for the log. Must not use `tracing`.

use super::record::{Fields, Record, Value};
use super::render;
use crate::clock::{SharedClock, thread};
use crate::domain::Instant;
use crate::lock::lock;
use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(super) const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";
/// Maximum size of the queue in bytes: approximately ten thousand lines.
const QUEUE_BYTES: usize = 4 << 20;

/// Destination of lines.
pub struct Sink(Kind);

enum Kind {
    Json(Box<dyn Write + Send>),
    Text(Box<dyn Write + Send>),
    Journal(UnixDatagram, PathBuf),
}

impl Sink {
    /// Writes JSON lines to `to`.
    pub fn json(to: Box<dyn Write + Send>) -> Self {
        Self(Kind::Json(to))
    }

    /// Writes readable lines to `to`.
    pub fn text(to: Box<dyn Write + Send>) -> Self {
        Self(Kind::Text(to))
    }

    /// Writes to the journal at `socket`.
    pub fn journal(socket: &Path) -> Result<Self, String> {
        let reach = || {
            let ours = UnixDatagram::unbound()?;
            // Connect once to test whether the socket exists. Later datagrams are sent by path, which survives a
            // restart of the journal.
            UnixDatagram::unbound()?.connect(socket)?;
            Ok(ours)
        };
        let ours = reach().map_err(|e: std::io::Error| {
            format!(
                "cannot connect to the journal at {} ({e}): write `format = \"json\"` under [log]",
                socket.display()
            )
        })?;
        Ok(Self(Kind::Journal(ours, socket.to_owned())))
    }

    /// Ignores errors, because a broken log has no place to report them. Lines for a broken journal go to stderr.
    fn write(&mut self, record: &Record) {
        let written = match &mut self.0 {
            Kind::Json(to) => to.write_all(render::json(record).as_bytes()).and_then(|()| to.flush()),
            Kind::Text(to) => to.write_all(render::text(record).as_bytes()).and_then(|()| to.flush()),
            Kind::Journal(ours, socket) => ours.send_to(&render::journal(record), socket).map(drop),
        };
        if written.is_err() && matches!(self.0, Kind::Journal(..)) {
            let _ = std::io::stderr().write_all(render::json(record).as_bytes());
        }
    }
}

/// Sender of the queue. After its drop the thread writes the remaining lines and ends.
pub(super) struct Queue {
    clock: SharedClock,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Record>,
    bytes: usize,
    dropped: u64,
    writing: bool,
    closed: bool,
}

impl Queue {
    /// Starts the thread that writes to `sink`.
    pub(super) fn start(clock: SharedClock, mut sink: Sink) -> Result<Arc<Self>, String> {
        let shared = Arc::new(Shared::default());
        let (writers, writers_clock) = (shared.clone(), clock.clone());
        thread("log", move || {
            while let Some(next) = writers.next() {
                sink.write(&match next {
                    Next::Line(record) => record,
                    Next::Lost(lines) => loss(lines, writers_clock.now()),
                });
                writers.written();
            }
        })
        .map_err(|e| format!("cannot start the log thread ({e}): allow more tasks"))?;
        Ok(Arc::new(Self { clock, shared }))
    }

    /// Clock of the timestamps.
    pub(super) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    /// Adds a line, or counts it as dropped if the queue is full.
    pub(super) fn push(&self, record: Record) {
        let mut state = self.shared.lock();
        let size = record.size();
        if state.bytes + size > QUEUE_BYTES {
            state.dropped += 1;
        } else {
            state.bytes += size;
            state.waiting.push_back(record);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Waits for at most `limit` until the queue is empty; returns whether it is.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let busy = |state: &mut State| !state.waiting.is_empty() || state.dropped > 0 || state.writing;
        let (state, waited) = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), limit, busy)
            .unwrap_or_else(PoisonError::into_inner);
        drop(state);
        !waited.timed_out()
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

enum Next {
    Line(Record),
    Lost(u64),
}

impl Shared {
    /// Next line to write; `None` after the last line of a closed queue.
    fn next(&self) -> Option<Next> {
        let idle = |state: &mut State| state.waiting.is_empty() && state.dropped == 0 && !state.closed;
        let mut state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        let next = if let Some(record) = state.waiting.pop_front() {
            state.bytes -= record.size();
            Next::Line(record)
        } else if state.dropped > 0 {
            Next::Lost(std::mem::take(&mut state.dropped))
        } else {
            return None;
        };
        state.writing = true;
        Some(next)
    }

    fn written(&self) {
        self.lock().writing = false;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

fn loss(lines: u64, at: Instant) -> Record {
    let fields = Fields {
        event: Some("log.dropped".to_owned()),
        message: Some("log lines dropped: the reader of the log is too slow".to_owned()),
        others: vec![("lines", Value::Unsigned(lines))],
        log_target: None,
    };
    Record { at, level: tracing::Level::WARN, target: module_path!().to_owned(), fields }
}
