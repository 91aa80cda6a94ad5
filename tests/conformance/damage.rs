//! One changed byte in the state file: the file still works, or is reported as damaged with the remedy.
//!
//! Every byte of the first two pages, every fifth of the schema, and a seeded sample of the others.

use crate::bed::{at, completed, entry, failed, pause_intended, pending_resume, scheduled, started};
use camunda_backupd::store::sqlite::{FILE, SqliteStore};
use camunda_backupd::store::{BackupFilter, SharedStore, StoreError};
use std::collections::BTreeMap;
use std::path::Path;
use tempfile::TempDir;

const NOW: &str = "2025-03-01T02:00:00Z";
const PAGE: usize = 4096;
/// More than cores: opening a state waits for its threads.
const WORKERS: usize = 4;

/// Bytes of a closed state file with two pending resumes among ended runs.
fn whole_state() -> Vec<u8> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    runtime.block_on(async {
        let (store, _lock) = SqliteStore::open(dir.path()).unwrap();
        for n in 0..9 {
            let run = store.begin_run(scheduled("prod", NOW)).await.unwrap();
            store.append(run.run_id, vec![entry(NOW, failed(&format!("no answer {n}")))]).await.unwrap();
        }
        let run = store.begin_run(scheduled("prod", NOW)).await.unwrap();
        store.append(run.run_id, completed(NOW)).await.unwrap();
        for cluster in ["orders", "billing"] {
            let run = store.begin_run(scheduled(cluster, NOW)).await.unwrap();
            store.append(run.run_id, vec![entry(NOW, started())]).await.unwrap();
            store
                .record_pending_resume(pending_resume(&run, NOW), entry(NOW, pause_intended()))
                .await
                .unwrap();
        }
        store.close().await.unwrap();
    });
    std::fs::read(dir.path().join(FILE)).unwrap()
}

/// In memory if possible: the disk is not under test.
fn location() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

fn puts(dir: &Path, bytes: &[u8]) {
    for name in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(dir.join(format!("{FILE}{name}")));
    }
    std::fs::write(dir.join(FILE), bytes).unwrap();
}

/// Pseudo-random number, the same in each test run.
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) as usize
}

/// Position of a byte and its change.
fn flips(whole: &[u8]) -> Vec<(usize, u8)> {
    let (mut seed, length) = (7, whole.len());
    let mut flips: Vec<_> = (0..2 * PAGE).map(|at| (at, 0xFF)).collect();
    let of_schema =
        |page: &[u8]| page.windows(13).any(|text| text == b"CREATE TABLE " || text == b"CREATE INDEX ");
    for (number, _) in whole.chunks(PAGE).enumerate().skip(2).filter(|(_, page)| of_schema(page)) {
        flips.extend((number * PAGE..(number + 1) * PAGE).step_by(5).map(|at| (at, 0x01)));
    }
    flips.extend((0..100).flat_map(|at| (0..8).map(move |bit| (at, 1 << bit))));
    flips.extend((0..1000).map(|_| (2 * PAGE + next(&mut seed) % (length - 2 * PAGE), 0xFF)));
    flips.extend((0..1000).map(|_| (next(&mut seed) % length, 1 << (next(&mut seed) % 8))));
    flips
}

/// Applies each flip, on several threads; returns the results of `probe`.
fn each<T: Send>(
    whole: &[u8],
    flips: Vec<(usize, u8)>,
    probe: impl Fn(&Path, usize) -> T + Sync,
) -> Vec<((usize, u8), T)> {
    let probe = &probe;
    std::thread::scope(|scope| {
        let workers: Vec<_> = flips
            .chunks(flips.len().div_ceil(WORKERS))
            .map(|flips| {
                scope.spawn(move || {
                    let (dir, mut bytes) = (location(), whole.to_vec());
                    let mut results = Vec::new();
                    for &(at, how) in flips {
                        bytes[at] ^= how;
                        puts(dir.path(), &bytes);
                        results.push(((at, how), probe(dir.path(), at)));
                        bytes[at] ^= how;
                    }
                    results
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    })
}

/// Most of the second page is empty.
fn thoroughly(flipped: usize) -> bool {
    !(100..2 * PAGE).contains(&flipped) || flipped.is_multiple_of(8)
}

/// Result of writing to the file and reading all of it.
async fn requested(store: &SharedStore, thoroughly: bool) -> Result<(), StoreError> {
    store.probe(at(NOW)).await?;
    assert_eq!(store.pending_resumes().await?.len(), 2, "a pending resume is not found");
    if !thoroughly {
        return store.close().await;
    }
    store.timetable().await?;
    store.waiting().await?;
    store.occurrences(None, None, 0).await?;
    store.unfinished().await?;
    store.clusters().await?;
    store.failures_in_a_row().await?;
    for backup in store.backups(BackupFilter::default()).await? {
        store.journal(backup.run.run_id).await?;
    }
    store.close().await
}

#[test]
fn flipped_byte_is_not_reported_as_wrong_version_or_permission() {
    let whole = whole_state();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let results = each(&whole, flips(&whole), |dir, flipped| match SqliteStore::open(dir) {
        Ok((store, _lock)) => match runtime.block_on(requested(&store, thoroughly(flipped))) {
            Ok(()) => String::new(),
            Err(StoreError::Unusable { reason, .. }) => format!("used: {reason}"),
            Err(other) => format!("used: {other}"),
        },
        Err(StoreError::Unusable { reason, .. }) => reason,
        Err(other) => other.to_string(),
    });
    let remedy = "stop the daemon, restore the newest copy of the file, or move it away and run `adopt`";
    let known = ["it is damaged", "used: it is damaged", "used: a row cannot be understood"];
    let right = |reason: &str| {
        known.iter().any(|known| reason.starts_with(known))
            && reason.ends_with(remedy)
            && !reason.contains('\n')
    };
    let mut sentences: BTreeMap<&str, (usize, (usize, u8))> = BTreeMap::new();
    for (flip, reason) in results.iter().filter(|(_, reason)| !reason.is_empty() && !right(reason)) {
        sentences.entry(reason).or_insert((0, *flip)).0 += 1;
    }
    assert!(sentences.is_empty(), "{sentences:#?}");
    let damaged = results.iter().filter(|(_, reason)| !reason.is_empty()).count();
    assert!(damaged > 1000, "{damaged} of {}", results.len());
}

/// Each bit in the header of a page with pending resumes, and two bits of each used byte there.
fn flips_of_pending_resumes(whole: &[u8]) -> Vec<(usize, u8)> {
    let dir = location();
    puts(dir.path(), whole);
    let connection = rusqlite::Connection::open(dir.path().join(FILE)).unwrap();
    let mut statement = connection
        .prepare(
            "SELECT rootpage FROM sqlite_schema WHERE name IN ('pending_resumes', 'pending_resumes_open')",
        )
        .unwrap();
    let pages: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    let (mut seed, mut flips) = (11, Vec::new());
    for at in pages.into_iter().flat_map(|page| (page as usize - 1) * PAGE..page as usize * PAGE) {
        match at % PAGE {
            0..16 => flips.extend((0..8).map(|bit| (at, 1 << bit))),
            _ if whole[at] == 0 => {}
            _ => flips.extend([(); 2].map(|()| (at, 1 << (next(&mut seed) % 8)))),
        }
    }
    // The number of the table's first page precedes the text of its schema.
    let schema = b"CREATE TABLE pending_resumes (";
    let text = whole.windows(schema.len()).position(|text| text == schema).unwrap();
    flips.extend((0..8).map(|bit| (text - 1, 1 << bit)));
    flips
}

/// Rule I1: every readable resume is sent, and unreadable ones are reported.
#[test]
fn no_flipped_byte_hides_a_pending_resume() {
    let whole = whole_state();
    let mut flips = flips(&whole);
    flips.extend(flips_of_pending_resumes(&whole));
    let mut read = [0, 0, 0];
    for (flip, pending) in each(&whole, flips, |dir, _| SqliteStore::read_pending_resumes(dir)) {
        let all = pending.as_ref().map_or(0, |pending| pending.pending_resumes.len());
        let reported = pending.is_none_or(|pending| pending.unread.is_some());
        assert!(
            all == 2 || reported,
            "{flip:?} hides a pending resume: {all} are read and nothing is reported"
        );
        read[all] += 1;
    }
    assert!(read[1] > 100 && read[2] > 5 * read[0], "{read:?}");
}
