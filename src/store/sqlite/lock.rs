//! One daemon per state directory.
//!
//! Owns `state.lock`: an exclusive lock of the operating system, so that it cannot outlive its process, the holder's pid
//! as text for the message, and below it the note of `trace`. Must not know the database.

use super::failure::unopened;
use super::trace::{self, LOCK_FILE, own_line};
use crate::domain::Instant;
use crate::store::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::Read;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Maximum number of bytes that are read from the lock file. A pid and a note are shorter.
const LENGTH: u64 = 64;

/// Lock, released when dropped, with the earlier content of its file.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
    /// Time of the last write that the previous daemon noted in the lock file (`trace`).
    pub(super) noted: Option<Instant>,
    pub(super) made: bool,
    pub(super) lost: Option<String>,
}

impl StateLock {
    /// Takes the lock, or fails with its holder.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(LOCK_FILE);
        let unusable = |what: &str, error: &std::io::Error| {
            let remedy = "make it writable for the daemon's user, or set another [daemon] state_dir";
            unopened(error, &path, what, remedy)
        };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| unusable("it cannot be opened", &error))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let dir = dir.display().to_string();
                return Err(StoreError::InUse { dir, by: holder(&mut file) });
            }
            Err(TryLockError::Error(error)) => return Err(unusable("it cannot be locked", &error)),
        }
        let noted = trace::noted(&text(&mut file));
        let line = own_line() + &noted.map(trace::line).unwrap_or_default();
        // A failed write of the pid is ignored. The pid only appears in messages, and the database itself reports a
        // full disk.
        let _ = file.write_all_at(line.as_bytes(), 0).and_then(|()| file.set_len(line.len() as u64));
        Ok(Self { _file: file, noted, made: false, lost: None })
    }

    /// Whether the directory had no state file, so that an empty one was created.
    pub fn made(&self) -> bool {
        self.made
    }

    /// Commits lost since the last write by a daemon, as a sentence with the remedy.
    pub fn lost(&self) -> Option<&str> {
        self.lost.as_deref()
    }
}

/// Reads the note of the daemon that held the lock last. That daemon may still be running.
pub(super) fn noted(dir: &Path) -> Option<Instant> {
    trace::noted(&text(&mut File::open(dir.join(LOCK_FILE)).ok()?))
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    // Content other than text holds neither pid nor note.
    let _ = file.take(LENGTH).read_to_string(&mut text);
    text
}

fn holder(file: &mut File) -> String {
    match text(file).lines().next().map(|line| line.trim().parse::<u32>()) {
        Some(Ok(pid)) => format!("process {pid}"),
        _ => "another process".into(),
    }
}
