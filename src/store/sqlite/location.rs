//! Check that the open files are still those that the next start would open.
//!
//! Owns the comparison. Must not read the content of the files.

use crate::store::StoreError;
use crate::store::sqlite::FILE;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The state file, its log and its lock as they were opened.
pub(crate) struct Location {
    files: Vec<(PathBuf, Option<(u64, u64)>)>,
}

/// Device and inode; `None` if they cannot be read.
fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    path.metadata().map(|found| (found.dev(), found.ino()))
}

impl Location {
    /// Records device and inode of the files as they are now.
    pub(crate) fn of(dir: &Path) -> Self {
        // The WAL holds the newest commits, and stays while a connection is open.
        let files = [
            FILE.to_owned(),
            format!("{FILE}-wal"),
            format!("{FILE}-shm"),
            super::trace::LOCK_FILE.to_owned(),
        ];
        let opened = |name: &String| (dir.join(name), identity(&dir.join(name)).ok());
        Self { files: files.iter().map(opened).collect() }
    }

    /// Fails if a file was moved, removed or replaced: the next start would not find a pending resume in it.
    /// Unreadable metadata, as on a failing disk, is left for the write itself to report.
    pub(crate) fn is_kept(&self) -> Result<(), StoreError> {
        let gone = self.files.iter().find(|(path, opened)| match identity(path) {
            Ok(now) => opened.is_some_and(|opened| opened != now),
            Err(error) => opened.is_some() && error.kind() == ErrorKind::NotFound,
        });
        let Some((path, _)) = gone else { return Ok(()) };
        Err(StoreError::Unusable {
            path: path.display().to_string(),
            reason: "it was moved, removed or replaced while the daemon runs, and the next start would find nothing of \
                     what is written now: put it back or restore the newest copy, and restart the daemon"
                .into(),
        })
    }
}
