//! SQL of pending resumes.
//!
//! Owns the table `pending_resumes`. While the run lasts, changes are mirrored in its journal. A rejected
//! journal entry must never prevent writing the pending resume (rule I1).

use crate::domain::{Addresses, Instant, RunId};
use crate::journal::{Entry, Event, RunView};
use crate::store::sqlite::columns::{At, Id, Json};
use crate::store::sqlite::failure::{Failure, is_unreadable_row};
use crate::store::sqlite::{clusters, runs};
use crate::store::{PendingResume, StoreError, rules};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(crate) const COLUMNS: &str = "run_id, cluster, addresses, intended_at, intended_since_boot_ms, resume_intended_at, attempts, \
                       last_error, confirmed_at, abandoned";
pub(crate) const OPEN: &str = "confirmed_at IS NULL AND abandoned IS NULL";

pub(crate) fn record_pending_resume(
    connection: &Connection,
    pending_resume: &PendingResume,
    entry: Entry,
) -> Result<(), Failure> {
    if find(connection, pending_resume.run_id)?.is_some() {
        return Err(rules::second_pending_resume(pending_resume.run_id).into());
    }
    runs::append(connection, pending_resume.run_id, &[entry])?;
    connection
        .prepare_cached(&format!(
            "INSERT INTO pending_resumes ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        ))?
        .execute(params![
            Id(pending_resume.run_id),
            pending_resume.cluster,
            Json(&pending_resume.addresses),
            At(pending_resume.intended_at),
            pending_resume.intended_since_boot_ms.map(|ms| ms as i64),
            pending_resume.resume_intended_at.map(At),
            pending_resume.attempts,
            pending_resume.last_error,
            pending_resume.confirmed_at.map(At),
            pending_resume.abandoned,
        ])?;
    clusters::written(connection, pending_resume.intended_at)
}

pub(crate) fn resume_intended(
    connection: &Connection,
    run_id: RunId,
    by: String,
    at: Instant,
) -> Result<(), Failure> {
    known(connection, run_id)?;
    connection
        .prepare_cached(
            "UPDATE pending_resumes SET resume_intended_at = coalesce(resume_intended_at, ?2) WHERE run_id = ?1",
        )?
        .execute(params![Id(run_id), At(at)])?;
    // The journal gets one entry for each sender (`by`), so that endless retries do not fill the disk.
    let event = Event::ResumeIntended { by };
    let written = connection
        .prepare_cached("SELECT 1 FROM journal WHERE run_id = ?1 AND event = ?2")?
        .exists(params![Id(run_id), Json(&event)])?;
    if written { Ok(()) } else { mirror(connection, run_id, Entry { at, event }, |_| true) }
}

pub(crate) fn resume_failed(connection: &Connection, run_id: RunId, error: &str) -> Result<(), Failure> {
    known(connection, run_id)?;
    connection
        .prepare_cached(
            "UPDATE pending_resumes SET attempts = attempts + 1, last_error = ?2 WHERE run_id = ?1",
        )?
        .execute(params![Id(run_id), error])?;
    Ok(())
}

pub(crate) fn moved(connection: &Connection, run_id: RunId, addresses: &Addresses) -> Result<(), Failure> {
    known(connection, run_id)?;
    connection
        .prepare_cached("UPDATE pending_resumes SET addresses = ?2 WHERE run_id = ?1")?
        .execute(params![Id(run_id), Json(addresses)])?;
    Ok(())
}

pub(crate) fn confirm(
    connection: &Connection,
    run_id: RunId,
    by: String,
    at: Instant,
) -> Result<(), Failure> {
    known(connection, run_id)?;
    connection
        .prepare_cached(
            "UPDATE pending_resumes SET attempts = attempts + 1, last_error = NULL, confirmed_at = ?2,
                 resume_intended_at = coalesce(resume_intended_at, ?2)
             WHERE run_id = ?1 AND confirmed_at IS NULL",
        )?
        .execute(params![Id(run_id), At(at)])?;
    mirror(connection, run_id, Entry { at, event: Event::Resumed { by } }, RunView::needs_resume)
}

pub(crate) fn abandon_resumes(
    connection: &Connection,
    cluster: &str,
    why: &str,
    at: Instant,
) -> Result<u32, Failure> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT run_id FROM pending_resumes WHERE cluster = ?1 AND {OPEN}"))?;
    let open: Vec<Id> = statement.query_map([cluster], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for Id(run_id) in &open {
        connection.execute(
            "UPDATE pending_resumes SET abandoned = ?2 WHERE run_id = ?1",
            params![Id(*run_id), why],
        )?;
        let event = Event::ResumeAbandoned { reason: why.to_owned() };
        mirror(connection, *run_id, Entry { at, event }, RunView::needs_resume)?;
    }
    Ok(open.len() as u32)
}

pub(crate) fn open(connection: &Connection) -> Result<Vec<PendingResume>, Failure> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM pending_resumes WHERE {OPEN} ORDER BY intended_at, run_id"
    ))?;
    let mut pending_resumes: Vec<PendingResume> =
        statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    // A damaged index may list confirmed resumes too, and sending one could end a foreign pause.
    pending_resumes
        .retain(|pending_resume| pending_resume.confirmed_at.is_none() && pending_resume.abandoned.is_none());
    Ok(pending_resumes)
}

/// Writes the entry to the journal of the run, if the run has not ended and `wanted` is true for its view.
fn mirror(
    connection: &Connection,
    run_id: RunId,
    entry: Entry,
    wanted: fn(&RunView) -> bool,
) -> Result<(), Failure> {
    let mirrored = (|| {
        let view = runs::view(connection, run_id)?;
        if view.is_some_and(|view| rules::journal_open(&view) && wanted(&view)) {
            runs::append(connection, run_id, &[entry])?;
        }
        Ok(())
    })();
    match mirrored {
        // The journal rejected the entry. The change of the pending resume is committed nevertheless.
        Err(Failure::Store(_)) => Ok(()),
        Err(Failure::Sql(error)) if is_unreadable_row(&error) => Ok(()),
        other => other,
    }
}

fn find(connection: &Connection, run_id: RunId) -> Result<Option<()>, Failure> {
    let found = connection
        .prepare_cached("SELECT 1 FROM pending_resumes WHERE run_id = ?1")?
        .query_row([Id(run_id)], |_| Ok(()))
        .optional()?;
    Ok(found)
}

fn known(connection: &Connection, run_id: RunId) -> Result<(), Failure> {
    find(connection, run_id)?.ok_or_else(|| StoreError::NotFound(rules::pending_resume_name(run_id)).into())
}

fn read(row: &Row<'_>) -> rusqlite::Result<PendingResume> {
    Ok(PendingResume {
        run_id: row.get::<_, Id>(0)?.0,
        cluster: row.get(1)?,
        addresses: row.get::<_, Json<_>>(2)?.0,
        intended_at: row.get::<_, At>(3)?.0,
        intended_since_boot_ms: row.get::<_, Option<i64>>(4)?.map(|ms| ms as u64),
        resume_intended_at: row.get::<_, Option<At>>(5)?.map(|at| at.0),
        attempts: row.get(6)?,
        last_error: row.get(7)?,
        confirmed_at: row.get::<_, Option<At>>(8)?.map(|at| at.0),
        abandoned: row.get(9)?,
    })
}
