//! SQL of occurrences: each is claimed once and served by at most one run.
//!
//! Owns the table `occurrences`. Must not decide what a missed occurrence becomes.

use super::columns::{At, Id, Word};
use super::failure::Failure;
use crate::domain::{Occurrence, RunId};
use crate::store::{OccurrenceOutcome, OccurrenceRow, rules};
use rusqlite::{Connection, OptionalExtension, Row, params};

const COLUMNS: &str =
    "schedule, cluster, due_at, until, count, start_at, start_until, missed, outcome, reason, run_id";

pub(super) fn claim(
    connection: &Connection,
    rows: Vec<OccurrenceRow>,
) -> Result<Vec<OccurrenceRow>, Failure> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO occurrences
             (schedule, cluster, due_at, until, count, start_at, start_until, missed, outcome, reason)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    let mut forward = connection.prepare_cached(
        "UPDATE timetable SET last_due = ?3
         WHERE schedule = ?1 AND cluster = ?2 AND (last_due IS NULL OR last_due < ?3)",
    )?;
    let mut new = Vec::new();
    for row in rows {
        rules::may_claim(&row)?;
        let Occurrence { schedule, cluster, due_at } = &row.occurrence;
        forward.execute(params![schedule, cluster, At(row.until.unwrap_or(*due_at))])?;
        if known(connection, &row)? {
            continue;
        }
        insert.execute(params![
            schedule,
            cluster,
            At(*due_at),
            row.until.map(At),
            row.count as i64,
            At(row.start_at),
            At(row.start_until),
            row.missed,
            Word(row.outcome),
            row.reason,
        ])?;
        new.push(row);
    }
    Ok(new)
}

/// Whether an occurrence was claimed before, alone or inside a range. An occurrence that was skipped as missed while
/// the clock was ahead, and is due now, is not known.
fn known(connection: &Connection, row: &OccurrenceRow) -> Result<bool, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT 1 FROM occurrences
         WHERE schedule = ?1 AND cluster = ?2 AND due_at <= ?3 AND (due_at = ?3 OR until >= ?3)
           AND NOT (?4 AND outcome = 'skipped' AND missed) LIMIT 1",
    )?;
    let Occurrence { schedule, cluster, due_at } = &row.occurrence;
    Ok(statement.exists(params![schedule, cluster, At(*due_at), rules::really_due(row)])?)
}

pub(super) fn waiting(connection: &Connection) -> Result<Vec<OccurrenceRow>, Failure> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM occurrences WHERE outcome = 'waiting' ORDER BY due_at, schedule, cluster"
    ))?;
    let rows = statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

pub(super) fn skip(connection: &Connection, occurrences: &[Occurrence], reason: &str) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "UPDATE occurrences SET outcome = 'skipped', reason = ?4
         WHERE schedule = ?1 AND cluster = ?2 AND due_at = ?3 AND outcome = 'waiting'",
    )?;
    for occurrence in occurrences {
        statement.execute(params![occurrence.schedule, occurrence.cluster, At(occurrence.due_at), reason])?;
    }
    Ok(())
}

pub(super) fn list(
    connection: &Connection,
    schedule: Option<&str>,
    cluster: Option<&str>,
    limit: u32,
) -> Result<Vec<OccurrenceRow>, Failure> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM occurrences
         WHERE (?1 IS NULL OR schedule = ?1) AND (?2 IS NULL OR cluster = ?2)
         ORDER BY due_at DESC, schedule DESC, cluster DESC LIMIT ?3"
    ))?;
    let rows = statement
        .query_map(params![schedule, cluster, super::limit(limit)], read)?
        .collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

/// Assigns a waiting occurrence to a run. An occurrence with another outcome is rejected.
pub(super) fn serve(
    connection: &Connection,
    occurrence: &Occurrence,
    becomes: OccurrenceOutcome,
    run_id: RunId,
) -> Result<(), Failure> {
    let key = params![occurrence.schedule, occurrence.cluster, At(occurrence.due_at)];
    let outcome: Option<Word<OccurrenceOutcome>> = connection
        .prepare_cached(
            "SELECT outcome FROM occurrences WHERE schedule = ?1 AND cluster = ?2 AND due_at = ?3",
        )?
        .query_row(key, |row| row.get(0))
        .optional()?;
    rules::may_serve(occurrence, outcome.map(|outcome| outcome.0), becomes)?;
    connection
        .prepare_cached(
            "UPDATE occurrences SET outcome = ?4, run_id = ?5 WHERE schedule = ?1 AND cluster = ?2 AND due_at = ?3",
        )?
        .execute(params![
            occurrence.schedule,
            occurrence.cluster,
            At(occurrence.due_at),
            Word(becomes),
            Id(run_id)
        ])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<OccurrenceRow> {
    Ok(OccurrenceRow {
        occurrence: Occurrence {
            schedule: row.get(0)?,
            cluster: row.get(1)?,
            due_at: row.get::<_, At>(2)?.0,
        },
        until: row.get::<_, Option<At>>(3)?.map(|at| at.0),
        count: row.get::<_, i64>(4)? as u64,
        start_at: row.get::<_, At>(5)?.0,
        start_until: row.get::<_, At>(6)?.0,
        missed: row.get(7)?,
        outcome: row.get::<_, Word<OccurrenceOutcome>>(8)?.0,
        reason: row.get(9)?,
        run_id: row.get::<_, Option<Id>>(10)?.map(|id| id.0),
    })
}
