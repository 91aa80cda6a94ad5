//! Detects that a state file has lost commits, for example because an older copy was restored.
//!
//! The daemon writes the time of its last probe into the file. Once that is durable, it writes the same time
//! beside its process id in `state.lock`. A file with only an earlier time has lost commits: its WAL is gone,
//! or an older copy was restored.
//! Checkpointing the WAL loses no commits, so it does not trigger the lost-commits warning.

use super::columns::At;
use crate::domain::{Instant, instant_text};
use rusqlite::types::{FromSql, ToSql, ToSqlOutput, Value, ValueRef};
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// The file's name inside the state directory.
pub(super) const LOCK_FILE: &str = "state.lock";

/// Last write by a daemon, and commits lost since.
#[derive(Debug, Default)]
pub struct Trace {
    /// Time stored in the file itself.
    pub last: Option<Instant>,
    /// Lost commits, as a sentence with the remedy.
    pub lost: Option<String>,
}

impl Trace {
    /// `last`: time in the file, if readable; `noted`: time in `state.lock`.
    pub(super) fn of<E>(file: &Path, last: Option<Result<Option<At>, E>>, noted: Option<Instant>) -> Self {
        let path = file.display();
        let (last, state) = match last {
            None => (None, "is gone".to_owned()),
            Some(Ok(None)) => (None, "is empty".to_owned()),
            Some(Ok(Some(At(last)))) => (Some(last), format!("ends at {}", instant_text(last))),
            // An unreadable file is not reported here, because opening the file reports it.
            Some(Err(_)) => return Self::default(),
        };
        let lost = noted.filter(|noted| last.is_none_or(|last| last < *noted)).map(|noted| {
            format!(
                "the state file {path} {state}, but a daemon wrote to it until {}: its write-ahead log is gone or an older \
                 copy was restored, and pending resumes since then are unknown; restore both files together, or, if `check \
                 --online` reports that exporting is paused, end that with `resume-exporting CLUSTER --yes`, and run `adopt` \
                 for each cluster",
                instant_text(noted)
            )
        });
        Self { last, lost }
    }
}

/// The note in `state.lock`, after the line of the process.
pub(super) struct Note {
    file: File,
    at: u64,
    noted: Option<Instant>,
}

impl Note {
    /// Opens a separate descriptor, so that it does not hold the lock; `noted`: value that need not be
    /// written again.
    pub(super) fn beside(dir: &Path, noted: Option<Instant>) -> Option<Self> {
        let file = OpenOptions::new().write(true).open(dir.join(LOCK_FILE)).ok()?;
        Some(Self { file, at: own_line().len() as u64, noted })
    }

    /// Called once the time is durable in the file, never before: a note that is too old only misses a loss.
    pub(super) fn keep(&mut self, last: Option<Instant>) {
        let Some(new) = last.filter(|_| last != self.noted) else { return };
        if self.file.write_all_at(line(new).as_bytes(), self.at).is_ok() {
            self.noted = last;
        }
    }
}

/// Text of a note in `state.lock`. Every note has the same length.
pub(super) fn line(noted: Instant) -> String {
    match At(noted).to_sql() {
        Ok(ToSqlOutput::Owned(Value::Text(text))) => text + "\n",
        _ => String::new(),
    }
}

/// Parses the note in the text of `state.lock`. A truncated note is ignored.
pub(super) fn noted(text: &str) -> Option<Instant> {
    let (_, note) = text.split_once('\n')?;
    let (note, _) = note.split_once('\n')?;
    At::column_result(ValueRef::Text(note.as_bytes())).ok().map(|at| at.0)
}

/// First line of `state.lock`: the id of this process.
pub(super) fn own_line() -> String {
    format!("{}\n", std::process::id())
}
