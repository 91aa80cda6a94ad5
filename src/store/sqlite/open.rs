//! Opening the state file: directory, lock, pragmas, schema.
//!
//! Owns the checks before the first query. Must not touch rows.

use super::damage::{self, Schema, damaged};
use super::failure::{Doing, TO_BE_WRITTEN, sentence, unopened};
use crate::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::ffi::{Error as Failed, ErrorCode as Code};
use rusqlite::{Connection, MAIN_DB, OpenFlags};
use rusqlite_migration::{M, Migrations};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// One migration per schema version. Every migration must change a table or an index: the check for damage compares
/// the schema with the version number.
const STEPS: &[M<'static>] = &[M::up(include_str!("schema.sql"))];
const MIGRATIONS: Migrations<'static> = Migrations::from_slice(STEPS);

/// Maximum time that a connection waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// Files up to this size are checked as a whole before they are used.
const CHECKED_BYTES: u64 = 256 << 20;

/// Creates the directory if needed, readable by its owner only.
pub(super) fn directory(dir: &Path, file: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|error| {
        let remedy = "make it, owned by the daemon's user, or set another [daemon] state_dir";
        unopened(&error, file, "its directory cannot be made", remedy)
    })
}

/// Creates an empty file that only its owner can read; SQLite gives its side files the same mode.
pub(super) fn create(file: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().create(true).append(true).mode(0o600).open(file);
    made.map(|_| ()).map_err(|error| unopened(&error, file, "it cannot be opened for writing", TO_BE_WRITTEN))
}

/// Rejects an empty file beside a WAL: SQLite would treat it as new and discard the WAL with all pending
/// resumes.
fn is_emptied(file: &Path) -> bool {
    let length = |file: &Path| file.metadata().map_or(0, |found| found.len());
    length(file) == 0 && length(&file.with_extension("db-wal")) > 0
}

/// Writing connection, and whether the file was empty. The owner migrates the schema. A secondary process
/// changes no schema and leaves a file without one alone: a daemon may be creating it.
pub(super) fn writer(file: &Path, owner: bool) -> Result<(Connection, bool), StoreError> {
    let explain = |error: rusqlite::Error| sentence(&error, file, Doing::Opening);
    let found = |connection: &Connection| damage::schema(connection).map_err(explain);
    let unusable = |reason: String| StoreError::Unusable { path: file.display().to_string(), reason };
    if is_emptied(file) {
        return Err(unusable(
            "it is empty and its write-ahead log is not, so it is damaged: stop the daemon, restore the newest copy of \
             the file, or move both away and run `adopt`"
                .into(),
        ));
    }
    let mut connection = connect(file).map_err(explain)?;
    // A damaged or unchecked file must not receive a checkpoint.
    checkpoint_on_close(&connection, false).map_err(explain)?;
    if !owner {
        connection.pragma_update(None, "wal_autocheckpoint", 0).map_err(explain)?;
    }
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(explain)?;
    let tables: i64 =
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(explain)?;
    let known = STEPS.len() as i64;
    if version != known && tables > 0 {
        let as_found = found(&connection)?;
        // The number and the tables do not belong together.
        let another = || {
            made(file).map(|made| made.iter().any(|(number, made)| *number != version && as_found == *made))
        };
        if version < 0 || another()? {
            return Err(damaged(file, &format!("its version reads {version}")));
        }
    }
    if version > known {
        return Err(unusable(format!(
            "it was written by a newer camunda-backupd (schema {version}, this one supports {known}): install that version \
             again or restore the older state file"
        )));
    }
    if version == 0 && tables > 0 {
        return Err(unusable(
            "it is the database of another program: move it away or set another [daemon] state_dir".into(),
        ));
    }
    if version == 0 && !owner {
        return Ok((connection, true));
    }
    if connection.is_readonly(MAIN_DB).map_err(explain)? && damage::forbids_writing(file) {
        return Err(damaged(file, "its header lets nobody write"));
    }
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(explain)?;
    if mode != "wal" {
        return Err(unusable(
            "its file system cannot keep a write-ahead log: set [daemon] state_dir to a local disk".into(),
        ));
    }
    if owner {
        judge(&connection, file, version)?;
        let not_up_to_date = |why: &str| {
            unusable(format!(
                "its schema cannot be brought up to date ({why}): it is left as it was, so go on with the version that \
                 wrote it, and report this"
            ))
        };
        MIGRATIONS.to_latest(&mut connection).map_err(|error| match error {
            // The file does not match the expectation of a migration step.
            rusqlite_migration::Error::RusqliteError {
                err:
                    rusqlite::Error::SqlInputError { msg, .. }
                    | rusqlite::Error::SqliteFailure(Failed { code: Code::Unknown, .. }, Some(msg)),
                ..
            } => not_up_to_date(&msg),
            rusqlite_migration::Error::RusqliteError { err, .. } => explain(err),
            other => not_up_to_date(&other.to_string()),
        })?;
        checkpoint_on_close(&connection, true).map_err(explain)?;
    }
    Ok((connection, version == 0))
}

/// Sets whether the last connection checkpoints the WAL when it closes.
pub(super) fn checkpoint_on_close(connection: &Connection, folds: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !folds).map(drop)
}

/// Whether the file passes every quick check.
pub(super) fn judge(connection: &Connection, file: &Path, version: i64) -> Result<(), StoreError> {
    let explain = |error: rusqlite::Error| sentence(&error, file, Doing::Opening);
    if file.metadata().is_ok_and(|m| m.len() <= CHECKED_BYTES) {
        // The quick check skips the content of indexes, which decides whether a pending resume is found.
        for check in ["PRAGMA quick_check(1)", "PRAGMA integrity_check(pending_resumes)"] {
            let applies = version > 0 || check.contains("quick");
            let result: Option<String> = applies
                .then(|| connection.query_row(check, [], |row| row.get(0)))
                .transpose()
                .map_err(explain)?;
            if let Some(result) = result.filter(|result| result != "ok") {
                return Err(damaged(file, &result));
            }
        }
    }
    if let Some(made) = made(file)?.get(&version)
        && !made.is_subset(&damage::schema(connection).map_err(explain)?)
    {
        return Err(damaged(file, "its schema is not as it was made"));
    }
    Ok(())
}

/// The schema of a file that has just been made, by version.
fn made(file: &Path) -> Result<&'static BTreeMap<i64, Schema>, StoreError> {
    static MADE: LazyLock<rusqlite_migration::Result<BTreeMap<i64, Schema>>> = LazyLock::new(|| {
        let mut connection = Connection::open_in_memory()?;
        let versions = 1..=STEPS.len();
        let schema = |version: usize| {
            MIGRATIONS.to_version(&mut connection, version)?;
            Ok((version as i64, damage::schema(&connection)?))
        };
        versions.map(schema).collect()
    });
    MADE.as_ref().map_err(|error| StoreError::Unusable {
        path: file.display().to_string(),
        reason: format!("its schema cannot be made in memory ({error}): report it"),
    })
}

/// Read-only connection. It must not checkpoint the WAL when it closes last, which would happen even with
/// `query_only`: the writer does that once the file is known to be sound.
pub(super) fn reader(file: &Path) -> Result<Connection, StoreError> {
    let connection = connect(file).and_then(|connection| {
        connection.pragma_update(None, "query_only", true)?;
        checkpoint_on_close(&connection, false)?;
        Ok(connection)
    });
    connection.map_err(|error| sentence(&error, file, Doing::Opening))
}

/// Read-only connection for any schema, even if nothing can be written.
pub(super) fn read_only(file: &Path) -> rusqlite::Result<Connection> {
    if is_emptied(file) {
        return Err(rusqlite::Error::InvalidPath(file.to_owned()));
    }
    let log = file.with_extension("db-wal").metadata().map_or(0, |log| log.len());
    let otherwise = |error| {
        // With an empty WAL the file does not change and can be read as it stands.
        let still = if log == 0 { open_immutable(file) } else { Err(error) };
        still.or_else(|error| alone(file).or_else(|_| of_a_copy(file)).map_err(|_| error))
    };
    beside(file).or_else(otherwise)
}

/// Beside a daemon that may be alive.
pub(super) fn beside(file: &Path) -> rusqlite::Result<Connection> {
    // Without its log the file stands still, and then the side files that may not be made here are not needed.
    if !file.with_extension("db-wal").exists() {
        return open_immutable(file);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    readable(Connection::open_with_flags(file, flags)?)
}

fn open_immutable(file: &Path) -> rusqlite::Result<Connection> {
    let path = file.to_string_lossy().replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let flags =
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    readable(Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)?)
}

fn readable(connection: Connection) -> rusqlite::Result<Connection> {
    connection.busy_timeout(BUSY)?;
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// On a full disk the shared memory cannot be created; a single process needs none.
fn alone(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    checkpoint_on_close(&connection, false)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "query_only", true)?;
    readable(connection)
}

/// On a read-only file system other processes cannot be excluded. Read copies of file and WAL, in memory if
/// possible, because the temporary folder may lie on the same disk.
fn of_a_copy(file: &Path) -> rusqlite::Result<Connection> {
    let runtime = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
    let folders = runtime.into_iter().chain(["/dev/shm".into(), std::env::temp_dir()]);
    let mut failed = Err(rusqlite::Error::InvalidPath(file.to_owned()));
    for folder in folders {
        failed = copied_to(&folder, file);
        if failed.is_ok() {
            break;
        }
    }
    failed
}

fn copied_to(folder: &Path, file: &Path) -> rusqlite::Result<Connection> {
    static COPIES: AtomicU32 = AtomicU32::new(0);
    // An existing file of this name is not ours: keep it.
    let made = (0..16).find_map(|_| {
        let number = COPIES.fetch_add(1, Ordering::Relaxed);
        let directory = folder.join(format!("camunda-backupd-{}-{number}", std::process::id()));
        DirBuilder::new().mode(0o700).create(&directory).ok().map(|()| directory)
    });
    let Some(directory) = made else { return Err(rusqlite::Error::InvalidPath(folder.to_owned())) };
    let copy = directory.join("state.db");
    let copied = std::fs::copy(file, &copy)
        .and_then(|_| std::fs::copy(file.with_extension("db-wal"), copy.with_extension("db-wal")));
    let connection = match copied {
        Ok(_) => alone(&copy),
        Err(_) => Err(rusqlite::Error::InvalidPath(copy)),
    };
    // The copy is deleted at once: the open connection can still read it.
    let _ = std::fs::remove_dir_all(&directory);
    connection
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    // Limits the size of the WAL file after a burst of writes.
    connection.pragma_update(None, "journal_size_limit", 64_i64 << 20)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The read connection must not checkpoint the WAL in either order of closing.
    #[test]
    fn read_only_connection_does_not_checkpoint_wal() {
        let (there, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (file, copied) = (there.path().join("state.db"), copy.path().join("state.db"));
        let made = Connection::open(&file).unwrap();
        made.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE words (word TEXT)").unwrap();
        for name in ["state.db", "state.db-wal"] {
            std::fs::copy(there.path().join(name), copy.path().join(name)).unwrap();
        }
        let before = std::fs::read(&copied).unwrap();
        let copy = reader(&copied).unwrap();
        let words: i64 = copy.query_row("SELECT count(*) FROM words", [], |row| row.get(0)).unwrap();
        assert_eq!(words, 0);
        drop(copy);
        assert!(std::fs::read(&copied).unwrap() == before, "the log is folded into the file");
        assert!(copied.with_extension("db-wal").exists());
    }
}
