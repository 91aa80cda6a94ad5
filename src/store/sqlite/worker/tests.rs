//! Tests of the group commit with a small table.

use super::{DEADLINE, Failure, Worker};
use crate::clock::SystemClock;
use crate::store::StoreError;
use rusqlite::Connection;
use std::path::Path;
use std::sync::mpsc;
use tempfile::TempDir;
use tokio::sync::oneshot;

const PATH: &str = "/state/state.db";

struct Bed {
    worker: Worker,
    dir: TempDir,
}

fn bed(pragma: &str) -> Bed {
    let dir = tempfile::tempdir().unwrap();
    let connection = Connection::open(dir.path().join("small.db")).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE words (word TEXT UNIQUE)").unwrap();
    connection.execute_batch(pragma).unwrap();
    Bed { worker: Worker::writing(connection, Path::new(PATH), Box::new(|_| ())).unwrap(), dir }
}

impl Bed {
    /// Queues all requests of `together` while the thread is busy, so that they share the next commit.
    async fn held_up<T>(&self, together: impl Future<Output = T>) -> T {
        let (begun, has_begun) = oneshot::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        let busy = self.worker.request(move |_| {
            let _ = begun.send(());
            let _ = wait.recv();
            Ok(())
        });
        let requested = async {
            has_begun.await.unwrap();
            // The first poll of each request queues it. The thread is released after all of them.
            let release = async { go_on.send(()).unwrap() };
            tokio::join!(biased; together, release).0
        };
        let (busy, responses) = tokio::join!(busy, requested);
        busy.unwrap();
        responses
    }

    async fn write(&self, word: &str) -> Result<(), StoreError> {
        let word = word.to_owned();
        self.worker.request(move |connection| insert(connection, &word)).await
    }

    fn words(&self) -> Vec<String> {
        let connection = Connection::open(self.dir.path().join("small.db")).unwrap();
        let mut statement =
            connection.prepare("SELECT substr(word, 1, 9) FROM words ORDER BY rowid").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }
}

fn insert(connection: &Connection, word: &str) -> Result<(), Failure> {
    connection.execute("INSERT INTO words (word) VALUES (?1)", [word])?;
    Ok(())
}

#[tokio::test]
async fn a_command_that_fails_takes_only_itself_back() {
    let bed = bed("");
    let half_done = bed.worker.request(|connection| {
        insert(connection, "half")?;
        Err::<(), _>(StoreError::Refused("no".into()).into())
    });
    let defect = bed.worker.request(|connection| -> Result<(), Failure> {
        insert(connection, "defect")?;
        panic!("a defect")
    });
    let all = async {
        tokio::join!(biased; bed.write("one"), half_done, defect, bed.write("one"), bed.write("two"))
    };
    let (one, half_done, defect, twice, two) = Box::pin(bed.held_up(all)).await;
    one.unwrap();
    two.unwrap();
    assert_eq!(half_done.unwrap_err().to_string(), "no");
    assert_eq!(defect.unwrap_err().to_string(), "the store met a defect in a command: please report it");
    assert_eq!(
        twice.unwrap_err().to_string(),
        "the state file /state/state.db cannot be written: UNIQUE constraint failed: words.word; free space or fix \
         permissions, nothing was lost"
    );
    assert_eq!(bed.words(), ["one", "two"]);
}

#[tokio::test]
async fn a_commit_that_fails_fails_all_that_share_it() {
    let bed = bed("PRAGMA max_page_count = 20");
    bed.write("before").await.unwrap();
    let too_much = "x".repeat(200_000);
    let all = async { tokio::join!(biased; bed.write("first"), bed.write(&too_much), bed.write("last")) };
    let (first, too_much, last) = Box::pin(bed.held_up(all)).await;
    let full = StoreError::Unwritable { path: PATH.into(), reason: "the disk is full".into() };
    assert_eq!((first, too_much, last), (Err(full.clone()), Err(full.clone()), Err(full)));

    bed.write("after").await.unwrap();
    assert_eq!(bed.words(), ["before", "after"]);
}

#[tokio::test]
async fn closing_finishes_what_was_asked_for_before() {
    let bed = bed("");
    let all = async { tokio::join!(biased; bed.write("before"), bed.worker.close(), bed.write("after")) };
    let (before, closed, after) = Box::pin(bed.held_up(all)).await;
    before.unwrap();
    closed.unwrap();
    assert_eq!(after, Err(StoreError::Closed));
    assert_eq!(bed.words(), ["before"]);
}

#[tokio::test]
async fn a_caller_who_gives_up_is_told_whether_it_may_still_happen() {
    let bed = bed("");
    let clock = SystemClock::shared();
    let (begun, has_begun) = oneshot::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let stuck = bed.worker.request(move |connection| {
        let _ = begun.send(());
        let _ = wait.recv();
        insert(connection, "stuck")
    });
    let behind = async {
        has_begun.await.unwrap();
        tokio::time::pause();
        (clock.monotonic(), bed.write("behind").await)
    };
    let (stuck, (paused, behind)) = tokio::join!(stuck, behind);
    assert!(clock.monotonic() >= paused + DEADLINE, "both waited");
    assert_eq!(
        stuck.unwrap_err().to_string(),
        "the state file /state/state.db did not respond in time: the request may still take effect; check the disk"
    );
    assert_eq!(
        behind.unwrap_err().to_string(),
        "the state file /state/state.db cannot be written: it did not respond within 60 s; free space or fix \
         permissions, nothing was lost"
    );

    tokio::time::resume();
    go_on.send(()).unwrap();
    bed.write("after").await.unwrap();
    assert_eq!(bed.words(), ["stuck", "after"], "what was given up before it began never happens");
}
