//! SQL of runs and their journals: ids given, events appended, views derived in the same transaction.
//!
//! Owns the tables `runs` (but for what retention and operators mark), `journal`, `highest_ids` and `manual_limits`.
//! Must not derive a status otherwise than by `RunView::apply`.

use super::columns::{At, Id, Json, Word};
use super::failure::Failure;
use super::occurrences;
use crate::domain::{BackupId, Occurrence, RetentionGroup, RunId, Trigger};
use crate::journal::{Entry, Run, RunView};
use crate::store::{Adopted, NewRun, StoreError, rules};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// Columns of a run, in the order in which `read` expects them.
pub(super) const COLUMNS: &str = "runs.run_id, runs.cluster, runs.backup_id, runs.trigger, runs.occurrences, \
                                  runs.retention_groups, runs.note, runs.created_at, runs.spec, runs.view";

/// A rejection by the rate limit is a result and not an error here, because a start in the future is
/// corrected with it.
pub(super) fn begin(connection: &Connection, new: NewRun) -> Result<Result<Run, StoreError>, Failure> {
    let busy: Option<Id> = connection
        .prepare_cached("SELECT run_id FROM runs WHERE cluster = ?1 AND status IN ('claimed', 'running')")?
        .query_row([&new.cluster], |row| row.get(0))
        .optional()?;
    if let Some(Id(run_id)) = busy {
        return Err(StoreError::Busy { cluster: new.cluster, run_id }.into());
    }
    if view(connection, new.run_id)?.is_some() {
        return Err(rules::second_run(new.run_id).into());
    }
    if new.trigger == Trigger::Manual
        && let Some(refusal) = limit(connection, &new)?
    {
        return Ok(Err(refusal));
    }
    let backup_id = next_id(connection, &new)?;
    let scope = new.id_scope.clone();
    let served = new.occurrences.clone();
    let run = rules::new_run(new, backup_id);
    insert(connection, &run, Some(&scope))?;
    for (occurrence, becomes) in &served {
        occurrences::serve(connection, occurrence, *becomes, run.run_id)?;
    }
    if run.trigger == Trigger::Manual {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO manual_limits (cluster, last_start, freed) VALUES (?1, ?2, 0)",
            )?
            .execute(params![run.cluster, At(run.created_at)])?;
    }
    Ok(Ok(run))
}

/// Returns the error if `manual.min_interval` forbids a manual run now.
fn limit(connection: &Connection, new: &NewRun) -> Result<Option<StoreError>, Failure> {
    let Some(interval) = new.min_interval else { return Ok(None) };
    let last: Option<At> = connection
        .prepare_cached("SELECT last_start FROM manual_limits WHERE cluster = ?1 AND freed = 0")?
        .query_row([&new.cluster], |row| row.get(0))
        .optional()?;
    let Some(At(mut last)) = last else { return Ok(None) };
    if last > new.now {
        last = new.now;
        connection.execute(
            "UPDATE manual_limits SET last_start = ?2 WHERE cluster = ?1",
            params![new.cluster, At(last)],
        )?;
    }
    let until = rules::limited_until(last, new.now, interval);
    Ok(until.map(|until| StoreError::RateLimited { cluster: new.cluster.clone(), last, until }))
}

/// An accepted deletion frees the manual limit once.
pub(super) fn free_limit(connection: &Connection, cluster: &str) -> Result<(), Failure> {
    connection.execute("UPDATE manual_limits SET freed = 1 WHERE cluster = ?1", [cluster])?;
    Ok(())
}

fn next_id(connection: &Connection, new: &NewRun) -> Result<BackupId, Failure> {
    // Adopted runs have no scope and count by their cluster.
    let largest: i64 = connection
        .prepare_cached(
            "SELECT max(?3,
                 coalesce((SELECT largest FROM highest_ids WHERE scope = ?1), 0),
                 coalesce((SELECT max(backup_id) FROM runs WHERE id_scope = ?1), 0),
                 coalesce((SELECT max(backup_id) FROM runs WHERE cluster = ?2), 0))",
        )?
        .query_row(params![new.id_scope, new.cluster, new.largest_seen], |row| row.get(0))?;
    let id = rules::next_id(new.now, largest, &new.id_scope)?;
    raise_highest_id(connection, &new.id_scope, id.get())?;
    Ok(id)
}

pub(super) fn raise_highest_id(connection: &Connection, scope: &str, largest: i64) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO highest_ids (scope, largest) VALUES (?1, ?2)
             ON CONFLICT (scope) DO UPDATE SET largest = max(largest, excluded.largest)",
        )?
        .execute(params![scope, largest])?;
    Ok(())
}

pub(super) fn highest_id(connection: &Connection, scope: &str) -> Result<i64, Failure> {
    let mut statement = connection.prepare_cached("SELECT largest FROM highest_ids WHERE scope = ?1")?;
    Ok(statement.query_row([scope], |row| row.get(0)).optional()?.unwrap_or(0))
}

fn insert(connection: &Connection, run: &Run, scope: Option<&str>) -> Result<(), Failure> {
    connection
        .prepare_cached(
            "INSERT INTO runs (run_id, cluster, backup_id, id_scope, trigger, occurrences, retention_groups, note, created_at,
                               spec, status, started_at, finished_at, reason, view)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        )?
        .execute(params![
            Id(run.run_id),
            run.cluster,
            run.backup_id.get(),
            scope,
            Word(run.trigger),
            Json(&run.occurrences),
            Json(&run.retention_groups),
            run.note,
            At(run.created_at),
            Json(&run.spec),
            Word(run.view.status),
            run.view.started_at.map(At),
            run.view.finished_at.map(At),
            run.view.reason(),
            Json(&run.view),
        ])?;
    Ok(())
}

pub(super) fn adopt(connection: &Connection, adopted: Adopted) -> Result<(), Failure> {
    if view(connection, adopted.run_id)?.is_some() {
        return Ok(());
    }
    let same_id: Option<Id> = connection
        .prepare_cached("SELECT run_id FROM runs WHERE cluster = ?1 AND backup_id = ?2")?
        .query_row(params![adopted.cluster, adopted.backup_id.get()], |row| row.get(0))
        .optional()?;
    rules::may_adopt(&adopted, same_id.map(|id| id.0))?;
    insert(connection, &rules::adopted_run(adopted), None)
}

/// Appends entries to the journal and updates the stored view. An illegal entry rejects all entries.
pub(super) fn append(connection: &Connection, run_id: RunId, entries: &[Entry]) -> Result<RunView, Failure> {
    let Some(mut view) = view(connection, run_id)? else {
        return Err(StoreError::NotFound(rules::run_name(run_id)).into());
    };
    if entries.is_empty() {
        return Ok(view);
    }
    let (before, identified) = (view.status, view.identified);
    let mut seq: i64 = connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM journal WHERE run_id = ?1")?
        .query_row([Id(run_id)], |row| row.get(0))?;
    let mut write =
        connection.prepare_cached("INSERT INTO journal (run_id, seq, at, event) VALUES (?1, ?2, ?3, ?4)")?;
    for entry in entries {
        view.apply(entry)?;
        seq += 1;
        write.execute(params![Id(run_id), seq, At(entry.at), Json(&entry.event)])?;
    }
    if let Some(id) = view.identified.filter(|_| identified.is_none()) {
        identify(connection, run_id, id)?;
    }
    if view.status == before {
        // The other columns change only with the status. Writing them for each entry would update their indexes each
        // time.
        connection
            .prepare_cached("UPDATE runs SET view = ?2 WHERE run_id = ?1")?
            .execute(params![Id(run_id), Json(&view)])?;
        return Ok(view);
    }
    connection
        .prepare_cached(
            "UPDATE runs SET status = ?2, started_at = ?3, finished_at = ?4, reason = ?5, view = ?6
             WHERE run_id = ?1",
        )?
        .execute(params![
            Id(run_id),
            Word(view.status),
            view.started_at.map(At),
            view.finished_at.map(At),
            view.reason(),
            Json(&view),
        ])?;
    Ok(view)
}

/// Backup id assigned by the cluster, which replaces ours.
fn identify(connection: &Connection, run_id: RunId, id: BackupId) -> Result<(), Failure> {
    connection
        .prepare_cached("UPDATE runs SET backup_id = ?2 WHERE run_id = ?1")?
        .execute(params![Id(run_id), id.get()])?;
    let scope: Option<String> = connection
        .prepare_cached("SELECT id_scope FROM runs WHERE run_id = ?1")?
        .query_row([Id(run_id)], |row| row.get(0))?;
    if let Some(scope) = scope {
        raise_highest_id(connection, &scope, id.get())?;
    }
    Ok(())
}

/// The stored view of a run.
pub(super) fn view(connection: &Connection, run_id: RunId) -> Result<Option<RunView>, Failure> {
    let view: Option<Json<RunView>> = connection
        .prepare_cached("SELECT view FROM runs WHERE run_id = ?1")?
        .query_row([Id(run_id)], |row| row.get(0))
        .optional()?;
    Ok(view.map(|view| view.0))
}

pub(super) fn one(connection: &Connection, run_id: RunId) -> Result<Option<Run>, Failure> {
    let run = connection
        .prepare_cached(&format!("SELECT {COLUMNS} FROM runs WHERE run_id = ?1"))?
        .query_row([Id(run_id)], read)
        .optional()?;
    Ok(run)
}

pub(super) fn unfinished(connection: &Connection) -> Result<Vec<Run>, Failure> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM runs WHERE status IN ('claimed', 'running') ORDER BY created_at, backup_id"
    ))?;
    let runs = statement.query_map([], read)?.collect::<rusqlite::Result<_>>()?;
    Ok(runs)
}

pub(super) fn journal(connection: &Connection, run_id: RunId) -> Result<Vec<Entry>, Failure> {
    let mut statement =
        connection.prepare_cached("SELECT at, event FROM journal WHERE run_id = ?1 ORDER BY seq")?;
    let entries = statement
        .query_map([Id(run_id)], |row| {
            Ok(Entry { at: row.get::<_, At>(0)?.0, event: row.get::<_, Json<_>>(1)?.0 })
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(entries)
}

pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Run> {
    let backup_id: i64 = row.get(2)?;
    Ok(Run {
        run_id: row.get::<_, Id>(0)?.0,
        cluster: row.get(1)?,
        backup_id: BackupId::new(backup_id).ok_or(rusqlite::Error::IntegralValueOutOfRange(2, backup_id))?,
        trigger: row.get::<_, Word<Trigger>>(3)?.0,
        occurrences: row.get::<_, Json<Vec<Occurrence>>>(4)?.0,
        retention_groups: row.get::<_, Json<Vec<RetentionGroup>>>(5)?.0,
        note: row.get(6)?,
        created_at: row.get::<_, At>(7)?.0,
        spec: row.get::<_, Json<serde_json::Value>>(8)?.0,
        view: row.get::<_, Json<RunView>>(9)?.0,
    })
}
