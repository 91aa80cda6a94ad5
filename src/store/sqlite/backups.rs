//! SQL of backups after their runs ended: held, missing, being deleted, deleted.
//!
//! Owns the table `deletions` and the columns `held` and `missing` of `runs`.

use super::columns::{At, Id, Json};
use super::failure::Failure;
use super::runs;
use crate::domain::{BackupId, Instant, OwnershipProof, RunId};
use crate::store::{Backup, BackupFilter, Deletion, StoreError, rules};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::BTreeMap;

const DELETION: &str = "deletions.requested_at, deletions.requested_by, deletions.reason, deletions.attempts, \
                        deletions.last_error, deletions.ownership_proof, deletions.done_at";

fn select(rest: &str) -> String {
    format!(
        "SELECT {}, runs.held, runs.missing, {DELETION}
         FROM runs LEFT JOIN deletions ON deletions.run_id = runs.run_id {rest}",
        runs::COLUMNS
    )
}

pub(super) fn list(connection: &Connection, filter: &BackupFilter) -> Result<Vec<Backup>, Failure> {
    let mut statement = connection.prepare_cached(&select(
        "WHERE (?1 IS NULL OR runs.cluster = ?1) AND NOT (?2 AND deletions.done_at IS NOT NULL)
         ORDER BY runs.created_at DESC, runs.backup_id DESC, runs.run_id DESC LIMIT ?3",
    ))?;
    let values = params![filter.cluster, filter.existing, super::limit(filter.limit)];
    let mut backups: Vec<Backup> = statement.query_map(values, read)?.collect::<rusqlite::Result<_>>()?;
    backups.reverse();
    Ok(backups)
}

pub(super) fn failures_in_a_row(connection: &Connection) -> Result<BTreeMap<String, u32>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT runs.cluster, count(*) FROM runs LEFT JOIN
             (SELECT cluster, max(created_at) AS at FROM runs WHERE status = 'completed' GROUP BY cluster) AS good
             ON good.cluster = runs.cluster
         WHERE runs.status = 'failed' AND (good.at IS NULL OR runs.created_at > good.at)
         GROUP BY runs.cluster",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn one(connection: &Connection, cluster: &str, id: BackupId) -> Result<Option<Backup>, Failure> {
    let backup = connection
        .prepare_cached(&select("WHERE runs.cluster = ?1 AND runs.backup_id = ?2"))?
        .query_row(params![cluster, id.get()], read)
        .optional()?;
    Ok(backup)
}

fn of_run(connection: &Connection, run_id: RunId) -> Result<(Backup, String), Failure> {
    let backup = connection
        .prepare_cached(&select("WHERE runs.run_id = ?1"))?
        .query_row([Id(run_id)], read)
        .optional()?
        .ok_or_else(|| StoreError::NotFound(rules::run_name(run_id)))?;
    let name = rules::name(&backup.run.cluster, backup.run.backup_id);
    Ok((backup, name))
}

pub(super) fn request_deletion(
    connection: &Connection,
    run_id: RunId,
    by: &str,
    reason: &str,
    at: Instant,
) -> Result<(), Failure> {
    let (backup, name) = of_run(connection, run_id)?;
    if rules::may_delete(&name, backup.state, backup.held)? {
        connection
            .prepare_cached(
                "INSERT INTO deletions (run_id, requested_at, requested_by, reason, attempts) VALUES (?1, ?2, ?3, ?4, 0)",
            )?
            .execute(params![Id(run_id), At(at), by, reason])?;
        runs::free_limit(connection, &backup.run.cluster)?;
    }
    Ok(())
}

pub(super) fn ownership_proven(
    connection: &Connection,
    run_id: RunId,
    proof: &OwnershipProof,
) -> Result<(), Failure> {
    let changed = connection
        .prepare_cached("UPDATE deletions SET ownership_proof = ?2 WHERE run_id = ?1")?
        .execute(params![Id(run_id), Json(proof)])?;
    requested(changed, run_id)
}

pub(super) fn deletion_attempted(
    connection: &Connection,
    run_id: RunId,
    error: Option<&str>,
) -> Result<(), Failure> {
    let changed = connection
        .prepare_cached("UPDATE deletions SET attempts = attempts + 1, last_error = ?2 WHERE run_id = ?1")?
        .execute(params![Id(run_id), error])?;
    requested(changed, run_id)
}

pub(super) fn deletion_done(connection: &Connection, run_id: RunId, at: Instant) -> Result<(), Failure> {
    let changed = connection
        .prepare_cached("UPDATE deletions SET done_at = coalesce(done_at, ?2) WHERE run_id = ?1")?
        .execute(params![Id(run_id), At(at)])?;
    requested(changed, run_id)
}

fn requested(changed: usize, run_id: RunId) -> Result<(), Failure> {
    if changed == 0 {
        return Err(StoreError::NotFound(rules::deletion_name(run_id)).into());
    }
    Ok(())
}

pub(super) fn set_missing(connection: &Connection, run_id: RunId) -> Result<(), Failure> {
    let (backup, name) = of_run(connection, run_id)?;
    if rules::may_be_missing(&name, backup.state)? {
        connection.execute("UPDATE runs SET missing = 1 WHERE run_id = ?1", [Id(run_id)])?;
    }
    Ok(())
}

pub(super) fn hold(connection: &Connection, run_id: RunId, held: bool) -> Result<(), Failure> {
    let (backup, name) = of_run(connection, run_id)?;
    rules::may_hold(&name, backup.state, held)?;
    connection.execute("UPDATE runs SET held = ?2 WHERE run_id = ?1", params![Id(run_id), held])?;
    Ok(())
}

fn read(row: &Row<'_>) -> rusqlite::Result<Backup> {
    let run = runs::read(row)?;
    let missing: bool = row.get(11)?;
    let deletion = match row.get::<_, Option<At>>(12)? {
        None => None,
        Some(At(requested_at)) => Some(Deletion {
            requested_at,
            by: row.get(13)?,
            reason: row.get(14)?,
            attempts: row.get(15)?,
            last_error: row.get(16)?,
            ownership_proof: row.get::<_, Option<Json<_>>>(17)?.map(|proof| proof.0),
            done_at: row.get::<_, Option<At>>(18)?.map(|at| at.0),
        }),
    };
    Ok(Backup {
        state: rules::state(run.view.status, missing, deletion.as_ref()),
        run,
        held: row.get(10)?,
        deletion,
    })
}
