//! The log: what is emitted through `tracing`, written to stderr or to the journal.
//!
//! Owns the choice of format, the level and the queue between the daemon and whoever reads its log.
//! Must not decide what is worth an event, and never makes the daemon wait for its reader.
//! Its story is told in `tests/logging.rs`.

mod layer;
mod level;
mod record;
mod render;
mod writer;

pub use level::check_level;
pub use writer::Sink;

use crate::clock::{SharedClock, SystemClock};
use layer::Output;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};
use writer::Queue;

/// How log lines are written: `[log] format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// The journal under systemd, text on a terminal, else JSON.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// One readable line.
    Text,
    /// The journal's native fields.
    Journald,
}

/// What remains of the set-up: changes the level, waits for the queue.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    queue: Arc<Queue>,
}

/// Starts logging for the whole process; to be called once, before anything is emitted.
pub fn init(level: &str, format: LogFormat) -> Result<LogHandle, String> {
    let sink = match format {
        LogFormat::Auto => automatic(),
        LogFormat::Json => Sink::json(Box::new(std::io::stderr())),
        LogFormat::Text => Sink::text(Box::new(std::io::stderr())),
        LogFormat::Journald => Sink::journal(writer::JOURNAL_SOCKET.as_ref())?,
    };
    let (subscriber, handle) = build(level, SystemClock::shared(), sink)?;
    subscriber.try_init().map_err(|e| {
        format!("logging cannot be started a second time in this process ({e}): call it once")
    })?;
    Ok(handle)
}

/// A subscriber that writes into `sink`, for `init` and for tests that do not touch the process.
pub fn build(
    level: &str,
    clock: SharedClock,
    sink: Sink,
) -> Result<(impl Subscriber + Send + Sync, LogHandle), String> {
    let (filter, handle) = reload::Layer::new(level::filter(level)?);
    let queue = Queue::start(clock, sink)?;
    let subscriber = Registry::default().with(filter).with(Output::new(queue.clone()));
    Ok((subscriber, LogHandle { filter: handle, queue }))
}

impl LogHandle {
    /// Changes the level from now on; a level that does not parse changes nothing.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let filter = level::filter(level)?;
        self.filter
            .reload(filter)
            .map_err(|e| format!("the log level could not be changed ({e}): restart the daemon"))
    }

    /// Waits until everything emitted so far is written, at most `limit`; says whether it was.
    /// To be called before the process ends, else the last lines may be lost.
    pub fn flush(&self, limit: Duration) -> bool {
        self.queue.flush(limit)
    }
}

fn automatic() -> Sink {
    let stderr = std::io::stderr();
    if stderr_is(std::env::var("JOURNAL_STREAM").ok().as_deref())
        && let Ok(sink) = Sink::journal(writer::JOURNAL_SOCKET.as_ref())
    {
        return sink;
    }
    if stderr.is_terminal() { Sink::text(Box::new(stderr)) } else { Sink::json(Box::new(stderr)) }
}

/// Whether stderr is the stream that `JOURNAL_STREAM` names; the variable alone is inherited by children
/// whose stderr went elsewhere.
fn stderr_is(journal_stream: Option<&str>) -> bool {
    let identity = || {
        let file = File::from(std::io::stderr().as_fd().try_clone_to_owned().ok()?);
        let metadata = file.metadata().ok()?;
        Some((metadata.dev(), metadata.ino()))
    };
    journal_stream.and_then(device_and_inode).is_some_and(|named| identity() == Some(named))
}

fn device_and_inode(journal_stream: &str) -> Option<(u64, u64)> {
    let (device, inode) = journal_stream.split_once(':')?;
    Some((device.parse().ok()?, inode.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_stream_is_believed_only_where_stderr_is_that_stream() {
        let file = File::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap());
        let metadata = file.metadata().unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());

        assert!(stderr_is(Some(&format!("{device}:{inode}"))));
        assert!(!stderr_is(Some(&format!("{device}:{}", inode + 1))));
        assert!(!stderr_is(Some("journal")));
        assert!(!stderr_is(None));
    }
}
