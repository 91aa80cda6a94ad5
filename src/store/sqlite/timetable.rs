//! SQL of the timetable.
//!
//! Owns the table `timetable`, except that claiming moves `last_due`.

use super::columns::At;
use super::failure::Failure;
use crate::store::TimetableRow;
use rusqlite::{Connection, Row, params};

pub(super) fn all(connection: &Connection) -> Result<Vec<TimetableRow>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT schedule, cluster, times_key, since, last_due, active FROM timetable ORDER BY schedule, cluster",
    )?;
    let rows = statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

pub(super) fn set(connection: &Connection, rows: &[TimetableRow]) -> Result<(), Failure> {
    connection.execute("UPDATE timetable SET active = 0", [])?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO timetable (schedule, cluster, times_key, since, last_due, active)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (schedule, cluster) DO UPDATE SET
             last_due = CASE
                 WHEN times_key = excluded.times_key AND since = excluded.since
                      AND last_due > coalesce(excluded.last_due, '') THEN last_due
                 ELSE excluded.last_due
             END,
             times_key = excluded.times_key, since = excluded.since, active = excluded.active",
    )?;
    for row in rows {
        statement.execute(params![
            row.schedule,
            row.cluster,
            row.times_key,
            At(row.since),
            row.last_due.map(At),
            row.active
        ])?;
    }
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<TimetableRow> {
    Ok(TimetableRow {
        schedule: row.get(0)?,
        cluster: row.get(1)?,
        times_key: row.get(2)?,
        since: row.get::<_, At>(3)?.0,
        last_due: row.get::<_, Option<At>>(4)?.map(|at| at.0),
        active: row.get(5)?,
    })
}
