//! SQL of clusters configured now or earlier, foreign pauses seen there, and the probe row.
//!
//! Owns the tables `clusters`, `foreign_pauses` and `probe`.

use super::columns::{At, Id, Json};
use super::failure::Failure;
use crate::domain::Instant;
use crate::store::{ClusterRow, StoreError, rules};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(super) fn all(connection: &Connection) -> Result<Vec<ClusterRow>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT name, uuid, addresses, configured, state_behind FROM clusters ORDER BY name",
    )?;
    let rows = statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    Ok(rows)
}

pub(super) fn set(connection: &Connection, rows: &[ClusterRow]) -> Result<(), Failure> {
    let mut of_another = connection.prepare_cached(
        "DELETE FROM foreign_pauses WHERE cluster = ?1
             AND NOT EXISTS (SELECT 1 FROM clusters WHERE name = ?1 AND addresses = ?2)",
    )?;
    for row in rows {
        of_another.execute(params![row.name, Json(&row.addresses)])?;
    }
    connection.execute("UPDATE clusters SET configured = 0", [])?;
    let mut statement = connection.prepare_cached(
        "INSERT INTO clusters (name, uuid, addresses, configured, state_behind) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (name) DO UPDATE SET
             uuid = excluded.uuid, addresses = excluded.addresses, configured = excluded.configured",
    )?;
    for row in rows {
        statement.execute(params![
            row.name,
            Id(row.uuid),
            Json(&row.addresses),
            row.configured,
            row.state_behind
        ])?;
    }
    connection.execute(
        "DELETE FROM foreign_pauses WHERE cluster NOT IN (SELECT name FROM clusters WHERE configured = 1)",
        [],
    )?;
    Ok(())
}

pub(super) fn set_state_behind(
    connection: &Connection,
    name: &str,
    reason: Option<&str>,
) -> Result<(), Failure> {
    let changed =
        connection.execute("UPDATE clusters SET state_behind = ?2 WHERE name = ?1", params![name, reason])?;
    if changed == 0 {
        return Err(StoreError::NotFound(rules::cluster_name(name)).into());
    }
    Ok(())
}

/// Records a foreign pause and returns the time of the first probe that found it. A stored time in the future, left
/// by a clock that was set back, is replaced.
pub(super) fn foreign_pause(connection: &Connection, cluster: &str, at: Instant) -> Result<Instant, Failure> {
    connection
        .prepare_cached(
            "INSERT INTO foreign_pauses (cluster, since) VALUES (?1, ?2) ON CONFLICT (cluster) DO NOTHING",
        )?
        .execute(params![cluster, At(at)])?;
    let At(since) = connection
        .prepare_cached("SELECT since FROM foreign_pauses WHERE cluster = ?1")?
        .query_row([cluster], |row| row.get(0))?;
    Ok(since.min(at))
}

pub(super) fn foreign_pause_over(connection: &Connection, cluster: &str) -> Result<(), Failure> {
    connection.prepare_cached("DELETE FROM foreign_pauses WHERE cluster = ?1")?.execute([cluster])?;
    Ok(())
}

/// Writes the probe row, which shows whether the state file is writable and how recent it is. A clock that was set back
/// does not lower its time: lost commits would stay undetected until the clock passes the old time. An unreadable row is
/// replaced.
pub(super) fn probe(connection: &Connection, at: Instant) -> Result<(), Failure> {
    let last = probed(connection).ok().flatten().map_or(at, |At(last)| last.max(at));
    // The row is deleted and inserted, because SQLite writes nothing for an unchanged row and so would not test the
    // disk.
    connection.prepare_cached("DELETE FROM probe")?.execute([])?;
    connection.prepare_cached("INSERT INTO probe (id, at) VALUES (1, ?1)")?.execute([At(last)])?;
    Ok(())
}

/// Write probe of a secondary process. It writes the stored time again, because the time is that of the daemon's last
/// write.
pub(super) fn probe_read_only(connection: &Connection) -> Result<(), Failure> {
    let at: Option<String> = connection.query_row("SELECT at FROM probe", [], |row| row.get(0)).optional()?;
    connection.execute("DELETE FROM probe", [])?;
    connection.execute("INSERT INTO probe (id, at) VALUES (1, ?1)", [at.as_deref().unwrap_or_default()])?;
    if at.is_none() {
        connection.execute("DELETE FROM probe", [])?;
    }
    Ok(())
}

/// Sets the time of the probe row after an important write, so that a later loss of that write is detected.
pub(super) fn written(connection: &Connection, at: Instant) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO probe (id, at) VALUES (1, ?1) ON CONFLICT (id) DO UPDATE SET at = max(at, excluded.at)",
        )?
        .execute([At(at)])?;
    Ok(())
}

/// Reads the time of the daemon's last write. `None` if the daemon never wrote, or the table does not exist.
pub(super) fn probed(connection: &Connection) -> rusqlite::Result<Option<At>> {
    if !connection.prepare_cached("SELECT 1 FROM sqlite_schema")?.exists([])? {
        return Ok(None);
    }
    connection.prepare_cached("SELECT at FROM probe")?.query_row([], |row| row.get(0)).optional()
}

fn read(row: &Row<'_>) -> rusqlite::Result<ClusterRow> {
    Ok(ClusterRow {
        name: row.get(0)?,
        uuid: row.get::<_, Id>(1)?.0,
        addresses: row.get::<_, Json<_>>(2)?.0,
        configured: row.get(3)?,
        state_behind: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{At, Connection, Instant, probe, probed};

    #[test]
    fn a_clock_set_back_lowers_nothing_and_the_probe_writes_all_the_same() {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE probe (id INTEGER PRIMARY KEY, at TEXT NOT NULL)").unwrap();
        let at = |text: &str| -> Instant { text.parse().unwrap() };
        let (early, late) = (at("2026-11-23T09:00:00Z"), at("2026-11-23T10:00:00Z"));
        let last = |connection| probed(connection).unwrap().map(|At(at)| at);
        for (now, expected) in [(late, late), (early, late), (late, late)] {
            let before = connection.total_changes();
            probe(&connection, now).unwrap();
            assert_eq!(last(&connection), Some(expected));
            assert!(connection.total_changes() > before);
        }
        // A probe row whose text is not a time is replaced.
        connection.execute("UPDATE probe SET at = 'spoilt'", []).unwrap();
        probe(&connection, early).unwrap();
        assert_eq!(last(&connection), Some(early));
    }
}
