//! Maps errors of SQLite to the store's sentences.
//!
//! Owns the mapping from database errors to `StoreError`. Must not decide what happens next.

use super::damage::{REMEDY, was_ours};
use crate::journal::IllegalEvent;
use crate::store::StoreError;
use rusqlite::{ErrorCode, ffi};
use std::io::ErrorKind;
use std::path::Path;

/// Remedy for a file that is not writable.
pub(super) const TO_BE_WRITTEN: &str =
    "make it and its directory writable for the daemon's user, or set another [daemon] state_dir";
/// The system's number for an error of the disk.
const EIO: i32 = 5;

/// Why the work of one command stopped.
#[derive(Debug)]
pub(super) enum Failure {
    /// An error of SQLite.
    Sql(rusqlite::Error),
    /// A rejection by the store's rules.
    Store(StoreError),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<IllegalEvent> for Failure {
    fn from(error: IllegalEvent) -> Self {
        Self::Store(error.into())
    }
}

/// Operation during which the database failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Committing.
    Writing,
    /// Reading.
    Reading,
    /// Opening or migrating.
    Opening,
}

impl Failure {
    /// Converts the failure to an error of the store.
    pub(super) fn put(self, path: &Path, doing: Doing) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Sql(error) => sentence(&error, path, doing),
        }
    }
}

/// Converts a database error to an error of the store, with cause and remedy.
pub(super) fn sentence(error: &rusqlite::Error, path: &Path, doing: Doing) -> StoreError {
    let path = path.display().to_string();
    let code = error.sqlite_error_code();
    let reason = match code {
        Some(ErrorCode::DatabaseCorrupt) => format!("it is damaged: {REMEDY}"),
        // SQLite rejects the header before it reports anything else.
        Some(ErrorCode::NotADatabase | ErrorCode::Unknown)
            if doing == Doing::Opening && was_ours(Path::new(&path)) =>
        {
            format!("it is damaged ({}): {REMEDY}", word(error))
        }
        Some(ErrorCode::NotADatabase) => {
            "it is not a SQLite database: move it away, restore a copy of the state, or set another [daemon] state_dir"
                .into()
        }
        _ if is_unreadable_row(error) => format!("a row cannot be understood ({error}): {REMEDY}"),
        Some(ErrorCode::SystemIoFailure) if doing != Doing::Reading && is_the_disk(error) => {
            return StoreError::DiskFails { path, reason: word(error) };
        }
        _ if doing == Doing::Writing => return StoreError::Unwritable { path, reason: word(error) },
        _ if doing == Doing::Reading => format!("it cannot be read ({}): check the disk and its log", word(error)),
        // While opening: a full or failing disk is transient. The kinds below need an operator.
        Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure) => {
            return StoreError::Unwritable { path, reason: word(error) };
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            format!("{}: {TO_BE_WRITTEN}", word(error))
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            format!("{}: end that program and start again", word(error))
        }
        _ => format!("{}: check the disk and its log, or set another [daemon] state_dir", word(error)),
    };
    StoreError::Unusable { path, reason }
}

/// Error for a file or directory that cannot be opened.
pub(super) fn unopened(error: &std::io::Error, path: &Path, what: &str, remedy: &str) -> StoreError {
    let path = path.display().to_string();
    match error.kind() {
        ErrorKind::StorageFull => StoreError::Unwritable { path, reason: "the disk is full".into() },
        ErrorKind::QuotaExceeded => StoreError::Unwritable { path, reason: "its quota is used up".into() },
        _ if error.raw_os_error() == Some(EIO) => StoreError::DiskFails { path, reason: error.to_string() },
        _ => StoreError::Unusable { path, reason: format!("{what} ({error}): {remedy}") },
    }
}

/// Whether the disk itself failed. A full disk, a quota or a limit looks like a failed write, and may appear
/// only when data reaches the disk or is mapped.
fn is_the_disk(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    !matches!(
        code,
        Some(
            ffi::SQLITE_IOERR_WRITE
                | ffi::SQLITE_IOERR_FSYNC
                | ffi::SQLITE_IOERR_DIR_FSYNC
                | ffi::SQLITE_IOERR_TRUNCATE
                | ffi::SQLITE_IOERR_CLOSE
                | ffi::SQLITE_IOERR_SHMOPEN
                | ffi::SQLITE_IOERR_SHMSIZE
                | ffi::SQLITE_IOERR_SHMMAP
        )
    )
}

/// Whether a row holds data that this program did not write.
pub(super) fn is_unreadable_row(error: &rusqlite::Error) -> bool {
    matches!(
        error,
        rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::InvalidColumnType(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::Utf8Error(..)
    )
}

/// Error text of the system, as a clause.
fn word(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".into(),
        Some(ErrorCode::SystemIoFailure) if !is_the_disk(error) => {
            format!(
                "a write failed ({error}) by a quota, a limit, or a disk whose errors the kernel's log has"
            )
        }
        Some(ErrorCode::ReadOnly) => "it is read-only".into(),
        Some(ErrorCode::CannotOpen) => "it cannot be opened".into(),
        Some(ErrorCode::PermissionDenied) => "permission is denied".into(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program holds a lock on it".into()
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Doing, TO_BE_WRITTEN, sentence, unopened};
    use rstest::rstest;
    use rusqlite::ffi;
    use std::io::ErrorKind;
    use std::path::Path;

    const TWO_SIDED: &str = "cannot be written: a write failed (disk I/O error) by a quota, a limit, or a disk whose errors \
                             the kernel's log has; free space or fix permissions, nothing was lost";

    #[rstest]
    #[case(ErrorKind::StorageFull, "the disk is full")]
    #[case(ErrorKind::QuotaExceeded, "its quota is used up")]
    fn error_text_names_its_remedy(#[case] kind: ErrorKind, #[case] reason: &str) {
        let error =
            unopened(&kind.into(), Path::new("/state/state.lock"), "it cannot be opened", "make it writable");
        assert_eq!(
            error.to_string(),
            format!(
                "the state file /state/state.lock cannot be written: {reason}; free space or fix permissions, nothing \
                 was lost"
            )
        );
    }

    #[rstest]
    #[case(
        ffi::SQLITE_FULL,
        Doing::Writing,
        "cannot be written: the disk is full; free space or fix permissions, nothing was lost"
    )]
    #[case(
        ffi::SQLITE_READONLY,
        Doing::Writing,
        "cannot be written: it is read-only; free space or fix permissions, nothing was lost"
    )]
    #[case(
        ffi::SQLITE_CORRUPT,
        Doing::Writing,
        "cannot be used: it is damaged: stop the daemon, restore the newest copy of the file, or move it away and run `adopt`"
    )]
    #[case(
        ffi::SQLITE_IOERR,
        Doing::Reading,
        "cannot be used: it cannot be read (disk I/O error): check the disk and its log"
    )]
    #[case(
        ffi::SQLITE_FULL,
        Doing::Opening,
        "cannot be written: the disk is full; free space or fix permissions, nothing was lost"
    )]
    #[case(ffi::SQLITE_READONLY, Doing::Opening, &format!("cannot be used: it is read-only: {TO_BE_WRITTEN}"))]
    #[case(ffi::SQLITE_CANTOPEN, Doing::Opening, &format!("cannot be used: it cannot be opened: {TO_BE_WRITTEN}"))]
    #[case(ffi::SQLITE_PERM, Doing::Opening, &format!("cannot be used: permission is denied: {TO_BE_WRITTEN}"))]
    #[case(
        ffi::SQLITE_BUSY,
        Doing::Opening,
        "cannot be used: another program holds a lock on it: end that program and start again"
    )]
    #[case(
        ffi::SQLITE_IOERR_READ,
        Doing::Opening,
        "cannot be used: its disk fails (disk I/O error): see the kernel log (`dmesg`) and repair the disk"
    )]
    #[case(
        ffi::SQLITE_IOERR_FSTAT,
        Doing::Writing,
        "cannot be used: its disk fails (disk I/O error): see the kernel log (`dmesg`) and repair the disk"
    )]
    #[case(
        ffi::SQLITE_IOERR_WRITE,
        Doing::Opening,
        "cannot be written: a write failed (disk I/O error) by a quota, a limit, or a disk whose errors the kernel's log \
         has; free space or fix permissions, nothing was lost"
    )]
    #[case(ffi::SQLITE_IOERR_FSYNC, Doing::Writing, TWO_SIDED)]
    #[case(ffi::SQLITE_IOERR_DIR_FSYNC, Doing::Opening, TWO_SIDED)]
    #[case(ffi::SQLITE_IOERR_TRUNCATE, Doing::Writing, TWO_SIDED)]
    #[case(ffi::SQLITE_IOERR_CLOSE, Doing::Writing, TWO_SIDED)]
    #[case(ffi::SQLITE_IOERR_SHMOPEN, Doing::Opening, TWO_SIDED)]
    #[case(ffi::SQLITE_IOERR_SHMSIZE, Doing::Opening, TWO_SIDED)]
    #[case(ffi::SQLITE_IOERR_SHMMAP, Doing::Writing, TWO_SIDED)]
    fn each_error_has_its_sentence(#[case] code: i32, #[case] doing: Doing, #[case] expected: &str) {
        let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some("disk I/O error".into()));
        let sentence = sentence(&error, Path::new("/state/state.db"), doing).to_string();
        assert_eq!(sentence, format!("the state file /state/state.db {expected}"));
    }
}
