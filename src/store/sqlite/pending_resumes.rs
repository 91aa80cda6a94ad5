//! Debts: exporting pauses that we owe a resume.
//!
//! Owns the table `debts`; what becomes of a debt is mirrored in the run's journal while the run lasts.
//! A journal that does not take the mirror must never keep the debt from being written (rule I1).

use crate::domain::{Addresses, Instant, RunId};
use crate::journal::{Entry, Event, FORGIVEN, RunView};
use crate::store::sqlite::columns::{At, Id, Json};
use crate::store::sqlite::failure::{Failure, is_unreadable_row};
use crate::store::sqlite::{clusters, runs};
use crate::store::{Debt, StoreError, rules};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(crate) const COLUMNS: &str = "run_id, cluster, addresses, intended_at, intended_since_boot_ms, resume_intended_at, attempts, \
                       last_error, paid_at, forgiven";
pub(crate) const OPEN: &str = "paid_at IS NULL AND forgiven IS NULL";

pub(crate) fn owe(connection: &Connection, debt: &Debt, entry: Entry) -> Result<(), Failure> {
    if find(connection, debt.run_id)?.is_some() {
        return Err(rules::second_debt(debt.run_id).into());
    }
    runs::append(connection, debt.run_id, &[entry])?;
    connection
        .prepare_cached(&format!(
            "INSERT INTO debts ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        ))?
        .execute(params![
            Id(debt.run_id),
            debt.cluster,
            Json(&debt.addresses),
            At(debt.intended_at),
            debt.intended_since_boot_ms.map(|ms| ms as i64),
            debt.resume_intended_at.map(At),
            debt.attempts,
            debt.last_error,
            debt.paid_at.map(At),
            debt.forgiven,
        ])?;
    clusters::written(connection, debt.intended_at)
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
            "UPDATE debts SET resume_intended_at = coalesce(resume_intended_at, ?2) WHERE run_id = ?1",
        )?
        .execute(params![Id(run_id), At(at)])?;
    // Once for each who tries, so that trying for ever does not fill the disk.
    let event = Event::ResumeIntended { by };
    let written = connection
        .prepare_cached("SELECT 1 FROM journal WHERE run_id = ?1 AND event = ?2")?
        .exists(params![Id(run_id), Json(&event)])?;
    if written { Ok(()) } else { mirror(connection, run_id, Entry { at, event }, |_| true) }
}

pub(crate) fn resume_failed(connection: &Connection, run_id: RunId, error: &str) -> Result<(), Failure> {
    known(connection, run_id)?;
    connection
        .prepare_cached("UPDATE debts SET attempts = attempts + 1, last_error = ?2 WHERE run_id = ?1")?
        .execute(params![Id(run_id), error])?;
    Ok(())
}

pub(crate) fn moved(connection: &Connection, run_id: RunId, addresses: &Addresses) -> Result<(), Failure> {
    known(connection, run_id)?;
    connection
        .prepare_cached("UPDATE debts SET addresses = ?2 WHERE run_id = ?1")?
        .execute(params![Id(run_id), Json(addresses)])?;
    Ok(())
}

pub(crate) fn paid(connection: &Connection, run_id: RunId, by: String, at: Instant) -> Result<(), Failure> {
    known(connection, run_id)?;
    connection
        .prepare_cached(
            "UPDATE debts SET attempts = attempts + 1, last_error = NULL, paid_at = ?2,
                 resume_intended_at = coalesce(resume_intended_at, ?2)
             WHERE run_id = ?1 AND paid_at IS NULL",
        )?
        .execute(params![Id(run_id), At(at)])?;
    mirror(connection, run_id, Entry { at, event: Event::Resumed { by } }, RunView::owes_resume)
}

pub(crate) fn forgive(
    connection: &Connection,
    cluster: &str,
    why: &str,
    at: Instant,
) -> Result<u32, Failure> {
    let mut statement =
        connection.prepare_cached(&format!("SELECT run_id FROM debts WHERE cluster = ?1 AND {OPEN}"))?;
    let open: Vec<Id> = statement.query_map([cluster], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    for Id(run_id) in &open {
        connection.execute("UPDATE debts SET forgiven = ?2 WHERE run_id = ?1", params![Id(*run_id), why])?;
        let event = Event::Resumed { by: FORGIVEN.into() };
        mirror(connection, *run_id, Entry { at, event }, RunView::owes_resume)?;
    }
    Ok(open.len() as u32)
}

pub(crate) fn open(connection: &Connection) -> Result<Vec<Debt>, Failure> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM debts WHERE {OPEN} ORDER BY intended_at, run_id"))?;
    let mut debts: Vec<Debt> = statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    // An index that is damaged lists what is paid too, and a resume could end somebody else's pause.
    debts.retain(|debt| debt.paid_at.is_none() && debt.forgiven.is_none());
    Ok(debts)
}

/// Writes the entry where the run still takes it and `wanted` says so.
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
        // It refused before it wrote anything, and the debt comes first.
        Err(Failure::Store(_)) => Ok(()),
        Err(Failure::Sql(error)) if is_unreadable_row(&error) => Ok(()),
        other => other,
    }
}

fn find(connection: &Connection, run_id: RunId) -> Result<Option<()>, Failure> {
    let found = connection
        .prepare_cached("SELECT 1 FROM debts WHERE run_id = ?1")?
        .query_row([Id(run_id)], |_| Ok(()))
        .optional()?;
    Ok(found)
}

fn known(connection: &Connection, run_id: RunId) -> Result<(), Failure> {
    find(connection, run_id)?.ok_or_else(|| StoreError::NotFound(rules::debt_name(run_id)).into())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Debt> {
    Ok(Debt {
        run_id: row.get::<_, Id>(0)?.0,
        cluster: row.get(1)?,
        addresses: row.get::<_, Json<_>>(2)?.0,
        intended_at: row.get::<_, At>(3)?.0,
        intended_since_boot_ms: row.get::<_, Option<i64>>(4)?.map(|ms| ms as u64),
        resume_intended_at: row.get::<_, Option<At>>(5)?.map(|at| at.0),
        attempts: row.get(6)?,
        last_error: row.get(7)?,
        paid_at: row.get::<_, Option<At>>(8)?.map(|at| at.0),
        forgiven: row.get(9)?,
    })
}
