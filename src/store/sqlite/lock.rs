//! One daemon per state directory.
//!
//! Owns `state.lock`: an exclusive lock of the operating system, so that it cannot outlive its process, and the
//! holder's pid as text for the message. Must not know the database.

use super::failure::unopened;
use crate::store::StoreError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock, given up when dropped, and what its holder found.
#[derive(Debug)]
pub struct StateLock {
    _file: File,
    pub(super) made: bool,
}

impl StateLock {
    /// Takes the lock or says who has it.
    pub(super) fn take(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("state.lock");
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
        let pid = format!("{}\n", std::process::id());
        // Only for a sentence: a full disk is told by the database itself.
        let _ = file.set_len(0).and_then(|()| file.write_all(pid.as_bytes()));
        Ok(Self { _file: file, made: false })
    }

    /// There was no state here before, and an empty one was made.
    pub fn made(&self) -> bool {
        self.made
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(32).read_to_string(&mut text);
    match (read, text.trim().parse::<u32>()) {
        (Ok(_), Ok(pid)) => format!("process {pid}"),
        _ => "another process".into(),
    }
}
