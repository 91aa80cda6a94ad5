//! State of the daemons of a scenario, which outlives them: a store in memory, or a file in memory.

use super::at_once::AtOnce;
use camunda_backupd::store::SharedStore;
use camunda_backupd::store::memory::MemoryStore;
use camunda_backupd::store::sqlite::{SqliteStore, StateLock};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

pub(super) enum State {
    Memory(SharedStore),
    File { location: TempDir, crashes: usize, open: SharedStore, _lock: StateLock },
}

const FILES: [&str; 2] = ["state.db", "state.db-wal"];

fn opened(dir: &Path) -> (SharedStore, StateLock) {
    let (store, lock) = SqliteStore::open(dir).unwrap();
    (Arc::new(AtOnce(store)), lock)
}

impl State {
    pub(super) fn new(sqlite: bool) -> Self {
        if !sqlite {
            return Self::Memory(MemoryStore::shared());
        }
        // A file system in memory, if there is one, avoids waits for a disk.
        let memory = Path::new("/dev/shm");
        let location = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let location = location.unwrap();
        let (open, lock) = opened(&location.path().join("0"));
        Self::File { location, crashes: 0, open, _lock: lock }
    }

    pub(super) fn store(&self) -> SharedStore {
        match self {
            Self::Memory(store) | Self::File { open: store, .. } => store.clone(),
        }
    }

    /// The next daemon finds the committed state of a crash: no connection is closed, and the WAL is not checkpointed.
    pub(super) fn crash(&mut self) {
        let Self::File { location, crashes, open, _lock } = self else { return };
        let from = location.path().join(crashes.to_string());
        *crashes += 1;
        let to = location.path().join(crashes.to_string());
        std::fs::create_dir(&to).unwrap();
        for file in FILES {
            std::fs::copy(from.join(file), to.join(file)).unwrap();
        }
        (*open, *_lock) = opened(&to);
    }
}
