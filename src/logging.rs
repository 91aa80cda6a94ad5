//! The log: events of `tracing`, written to stderr or to the journal.
//!
//! Owns format, level and the queue between the daemon and the reader of its log. Must not decide which events exist,
//! and must never block the daemon on a slow reader. Tests: `tests/it/logging.rs`.

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

/// `[log] format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Journal under systemd, text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object per line.
    Json,
    /// Readable lines.
    Text,
    /// Native fields of the journal.
    Journald,
}

/// Changes the level and flushes the queue.
#[derive(Clone)]
pub struct LogHandle {
    filter: reload::Handle<Targets, Registry>,
    queue: Arc<Queue>,
}

/// Starts logging for the whole process. Call it once, before the first event.
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

/// A subscriber that writes to `sink`; for `init`, and for tests without global state.
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
    /// Changes the level; an invalid level changes nothing.
    pub fn set_level(&self, level: &str) -> Result<(), String> {
        let filter = level::filter(level)?;
        self.filter
            .reload(filter)
            .map_err(|e| format!("the log level cannot be changed ({e}): restart the daemon"))
    }

    /// Waits for at most `limit` until all events are written; returns whether they were. Call it before the process
    /// ends, otherwise the last lines may be lost.
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

/// Whether stderr is the stream in `JOURNAL_STREAM`. The variable alone proves nothing: children with a redirected
/// stderr inherit it.
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
    fn journal_stream_counts_only_if_stderr_is_that_stream() {
        let file = File::from(std::io::stderr().as_fd().try_clone_to_owned().unwrap());
        let metadata = file.metadata().unwrap();
        let (device, inode) = (metadata.dev(), metadata.ino());

        assert!(stderr_is(Some(&format!("{device}:{inode}"))));
        assert!(!stderr_is(Some(&format!("{device}:{}", inode + 1))));
        assert!(!stderr_is(Some("journal")));
        assert!(!stderr_is(None));
    }
}
