//! Pending resumes of a file that may be damaged, from every readable part of it.
//!
//! Owns the handling of unreadable rows: each is skipped by itself and reported. Rule I1: every readable
//! resume is sent, and possible losses are reported. Must not write.

use super::columns::{At, Id, Json};
use super::damage::clause;
use super::runs;
use crate::domain::{Addresses, Instant, RunId};
use crate::journal::RunView;
use crate::store::PendingResume;
use crate::store::sqlite::pending_resumes::{COLUMNS, OPEN};
use rusqlite::types::{FromSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Params, Row};
use std::collections::{BTreeMap, BTreeSet};

/// Pending resumes that could be read, and whether there may be more.
#[derive(Debug)]
pub struct FoundPendingResumes {
    /// Pending resumes, each with whether its run confirmed its pause.
    pub pending_resumes: Vec<(PendingResume, bool)>,
    /// Damage, as a clause; `None` if the list is complete.
    pub unread: Option<String>,
}

/// Run id of a pending resume, as stored; possibly damaged bytes.
type Key = Vec<u8>;

/// Reads the pending resumes part by part. Closed pending resumes are not collected, because they may be many.
pub(super) struct Reading<'a> {
    connection: &'a Connection,
    /// Runs whose resume was found through the index of pending resumes.
    listed: BTreeSet<Key>,
    /// Pending resumes read since the last call, by run; `None` for a row that cannot be used.
    found: BTreeMap<Key, Option<PendingResume>>,
    /// Unfinished runs, at most one per cluster. The value is `true` if the row of the run's pending resume was
    /// found.
    unfinished: BTreeMap<Key, bool>,
    /// First damage found.
    wrong: Option<String>,
}

impl<'a> Reading<'a> {
    /// Begins to read. `None` if not even the schema can be read.
    pub(super) fn of(connection: &'a Connection) -> Option<Self> {
        connection.prepare(&format!("SELECT {COLUMNS} FROM pending_resumes")).ok()?;
        let (listed, found, unfinished) = Default::default();
        Some(Self { connection, listed, found, unfinished, wrong: None })
    }

    /// Reads the list of pending resumes as far as possible: fast even for a large file.
    pub(super) fn listed(&mut self) -> Vec<(PendingResume, bool)> {
        self.rows(&format!("WHERE {OPEN}"), []);
        let pending_resumes: BTreeMap<Key, PendingResume> = std::mem::take(&mut self.found)
            .into_iter()
            .filter_map(|(key, pending_resume)| Some((key, pending_resume?)))
            .collect();
        self.listed = pending_resumes.keys().cloned().collect();
        self.in_order(pending_resumes.into_values())
    }

    /// Reads every row of the table, to find pending resumes that the index does not list.
    pub(super) fn rest(mut self) -> FoundPendingResumes {
        self.everything();
        let found = std::mem::take(&mut self.found);
        // Without damage the list was complete, and pending resumes found later were written after the list was read.
        let pending_resumes = found.into_values().flatten().filter(|_| self.wrong.is_some());
        FoundPendingResumes { pending_resumes: self.in_order(pending_resumes), unread: self.wrong }
    }

    fn in_order(&self, pending_resumes: impl Iterator<Item = PendingResume>) -> Vec<(PendingResume, bool)> {
        let mut pending_resumes: Vec<PendingResume> = pending_resumes.collect();
        pending_resumes.sort_by_key(|pending_resume| (pending_resume.intended_at, pending_resume.run_id));
        let seen = |pending_resume: &PendingResume| match runs::view(self.connection, pending_resume.run_id) {
            Ok(Some(view)) => view.pause.confirmed_at.is_some(),
            _ => false,
        };
        pending_resumes
            .into_iter()
            .map(|pending_resume| (seen(&pending_resume), pending_resume))
            .map(|(seen, pending_resume)| (pending_resume, seen))
            .collect()
    }

    fn everything(&mut self) {
        let sound =
            self.connection.query_row("PRAGMA integrity_check(pending_resumes)", [], |row| row.get(0));
        match self.unless(sound) {
            Some(result) if result != "ok" => self.note(&result),
            Some::<String>(_) | None => {}
        }
        // `PRAGMA integrity_check` does not notice a damaged schema in which two tables begin at the same page, so
        // count the pages here.
        let shared = self.connection.query_row(
            "SELECT count(*) - count(DISTINCT rootpage) FROM sqlite_schema WHERE rootpage > 0",
            [],
            |row| row.get(0),
        );
        if self.unless(shared).is_some_and(|shared: i64| shared > 0) {
            self.note("two tables or indexes begin at the same page");
        }
        self.each_run("WHERE status IN ('claimed', 'running')", |reading, key| {
            reading.unfinished.insert(key, false);
        });
        // Read without the index, which may be damaged.
        if !self.rows("NOT INDEXED ORDER BY run_id", []) {
            // Rows behind the damage are read from the other end, and rows inside it one by one by their key.
            self.rows("NOT INDEXED ORDER BY run_id DESC", []);
            self.each_run("", |reading, key| {
                reading.rows("NOT INDEXED WHERE run_id = ?1", [text(&key)]);
            });
        }
        if self.wrong.is_some() {
            for (key, seen) in std::mem::take(&mut self.unfinished) {
                if !seen && self.run_needs_resume(&key) {
                    let pending_resume = self.known_elsewhere(&key);
                    self.found.insert(key, pending_resume);
                }
            }
        }
    }

    /// Collects rows. Returns `false` if the table could not be read to its end.
    fn rows(&mut self, which: &str, params: impl Params) -> bool {
        let connection = self.connection;
        let sql = format!("SELECT {COLUMNS} FROM pending_resumes {which}");
        let read = connection.prepare_cached(&sql).and_then(|mut statement| {
            let mut rows = statement.query(params)?;
            while let Some(row) = rows.next()? {
                let key = bytes(row);
                if let Some(seen) = self.unfinished.get_mut(&key) {
                    *seen = true;
                }
                if !self.listed.contains(&key) && !self.found.contains_key(&key) && self.is_open(row, &key) {
                    let pending_resume = self.pending_resume(row, &key);
                    self.found.insert(key, pending_resume);
                }
            }
            Ok(())
        });
        self.unless(read).is_some()
    }

    /// Applies a function to each readable run of a list.
    fn each_run(&mut self, which: &str, mut act: impl FnMut(&mut Self, Key)) {
        let connection = self.connection;
        let read =
            connection.prepare(&format!("SELECT run_id FROM runs {which}")).and_then(|mut statement| {
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    act(self, bytes(row));
                }
                Ok(())
            });
        self.unless(read);
    }

    fn is_open(&mut self, row: &Row<'_>, key: &Key) -> bool {
        let confirmed_at = self.unless(row.get::<_, Option<At>>(8));
        let abandoned = self.unless(row.get::<_, Option<String>>(9));
        match (confirmed_at, abandoned) {
            (Some(None), Some(None)) => true,
            (Some(Some(_)), _) | (_, Some(Some(_))) => false,
            // One of the two columns is damaged. The journal of the run has the same facts, so ask the run.
            _ => self.run_needs_resume(key),
        }
    }

    /// Reads the columns that a resume needs. The other columns of the row may be damaged.
    fn pending_resume(&mut self, row: &Row<'_>, key: &Key) -> Option<PendingResume> {
        let run_id = self.get::<Id>(row, 0).map_or(RunId::nil(), |id| id.0);
        let cluster = self.get(row, 1).unwrap_or_else(|| "a cluster whose name cannot be read".to_owned());
        let addresses = self.get::<Json<Addresses>>(row, 2);
        let Some(Json(addresses)) = addresses else { return self.known_elsewhere(key) };
        // An unreadable time counts as long ago: the sweeper does not wait for a pause that no probe confirmed.
        let intended_at = self.get::<At>(row, 3).map_or(Instant::UNIX_EPOCH, |at| at.0);
        Some(PendingResume {
            resume_intended_at: self.get::<Option<At>>(row, 5).flatten().map(|at| at.0),
            attempts: self.get(row, 6).unwrap_or_default(),
            last_error: self.get(row, 7).flatten(),
            ..PendingResume::new(run_id, cluster, addresses, intended_at)
        })
    }

    fn run_needs_resume(&mut self, key: &Key) -> bool {
        let sql = "SELECT view FROM runs WHERE run_id = ?1";
        let view = self.connection.query_row(sql, [text(key)], |row| row.get::<_, Json<RunView>>(0));
        self.unless(view).is_some_and(|view| view.0.needs_resume())
    }

    /// Rebuilds a lost pending resume from its run and its cluster.
    fn known_elsewhere(&mut self, key: &Key) -> Option<PendingResume> {
        let sql = "SELECT runs.run_id, runs.cluster, clusters.addresses, runs.created_at
                   FROM runs JOIN clusters ON clusters.name = runs.cluster WHERE runs.run_id = ?1";
        let read = self.connection.query_row(sql, [text(key)], |row| {
            let (run_id, cluster) = (row.get::<_, Id>(0)?.0, row.get::<_, String>(1)?);
            let (addresses, begun_at) = (row.get::<_, Json<_>>(2)?.0, row.get::<_, At>(3)?.0);
            Ok(PendingResume::new(run_id, cluster, addresses, begun_at))
        });
        self.unless(read)
    }

    fn get<T: FromSql>(&mut self, row: &Row<'_>, column: usize) -> Option<T> {
        self.unless(row.get(column))
    }

    fn unless<T>(&mut self, response: rusqlite::Result<T>) -> Option<T> {
        response.map_err(|error| self.note(&error.to_string())).ok()
    }

    fn note(&mut self, what: &str) {
        self.wrong.get_or_insert_with(|| clause(what));
    }
}

fn bytes(row: &Row<'_>) -> Key {
    row.get_ref(0).ok().and_then(|value| value.as_bytes().ok()).unwrap_or_default().to_vec()
}

fn text(key: &Key) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(key))
}
