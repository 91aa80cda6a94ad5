-- The schema of the state file. docs/state-file.md describes it for operators.
-- Instants are RFC 3339 text in UTC with nine digits of a second: text order is time order.
-- No STRICT tables, `->>` or `unixepoch`: operators can query the file with sqlite3 3.26.

CREATE TABLE clusters (
    name         TEXT PRIMARY KEY,
    uuid         TEXT NOT NULL,
    addresses    TEXT NOT NULL,
    configured   INTEGER NOT NULL CHECK (configured IN (0, 1)),
    state_behind TEXT
) WITHOUT ROWID;

CREATE TABLE timetable (
    schedule  TEXT NOT NULL,
    cluster   TEXT NOT NULL,
    times_key TEXT NOT NULL,
    since     TEXT NOT NULL,
    last_due  TEXT,
    active    INTEGER NOT NULL CHECK (active IN (0, 1)),
    PRIMARY KEY (schedule, cluster)
) WITHOUT ROWID;

CREATE TABLE runs (
    run_id           TEXT PRIMARY KEY,
    cluster          TEXT NOT NULL,
    backup_id        INTEGER NOT NULL CHECK (backup_id > 0),
    id_scope         TEXT,
    trigger          TEXT NOT NULL CHECK (trigger IN ('schedule', 'manual')),
    occurrences      TEXT NOT NULL,
    retention_groups TEXT NOT NULL,
    note             TEXT,
    created_at       TEXT NOT NULL,
    status           TEXT NOT NULL CHECK (status IN ('claimed', 'running', 'completed', 'failed')),
    started_at       TEXT,
    finished_at      TEXT,
    reason           TEXT,
    held             INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)),
    missing          INTEGER NOT NULL DEFAULT 0 CHECK (missing IN (0, 1)),
    spec             TEXT NOT NULL,
    view             TEXT NOT NULL
);
CREATE UNIQUE INDEX runs_one_unfinished ON runs (cluster) WHERE status IN ('claimed', 'running');
CREATE UNIQUE INDEX runs_by_cluster_id ON runs (cluster, backup_id);
CREATE UNIQUE INDEX runs_by_scope_id ON runs (id_scope, backup_id) WHERE id_scope IS NOT NULL;
CREATE INDEX runs_by_time ON runs (created_at, backup_id);

CREATE TABLE journal (
    run_id TEXT NOT NULL REFERENCES runs (run_id),
    seq    INTEGER NOT NULL,
    at     TEXT NOT NULL,
    event  TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;

CREATE TABLE occurrences (
    schedule    TEXT NOT NULL,
    cluster     TEXT NOT NULL,
    due_at      TEXT NOT NULL,
    until       TEXT,
    count       INTEGER NOT NULL CHECK (count >= 1),
    start_at    TEXT NOT NULL,
    start_until TEXT NOT NULL,
    missed      INTEGER NOT NULL CHECK (missed IN (0, 1)),
    outcome     TEXT NOT NULL CHECK (outcome IN ('waiting', 'started', 'caught_up', 'coalesced', 'skipped')),
    reason      TEXT,
    run_id      TEXT REFERENCES runs (run_id),
    PRIMARY KEY (schedule, cluster, due_at),
    CHECK ((outcome = 'skipped') = (reason IS NOT NULL)),
    CHECK ((outcome IN ('started', 'caught_up', 'coalesced')) = (run_id IS NOT NULL))
) WITHOUT ROWID;
CREATE INDEX occurrences_waiting ON occurrences (due_at) WHERE outcome = 'waiting';
CREATE INDEX occurrences_by_time ON occurrences (due_at);
CREATE INDEX occurrences_by_run ON occurrences (run_id) WHERE run_id IS NOT NULL;

CREATE TABLE pending_resumes (
    run_id                 TEXT PRIMARY KEY REFERENCES runs (run_id),
    cluster                TEXT NOT NULL,
    addresses              TEXT NOT NULL,
    intended_at            TEXT NOT NULL,
    intended_since_boot_ms INTEGER,
    resume_intended_at     TEXT,
    attempts               INTEGER NOT NULL,
    last_error             TEXT,
    confirmed_at           TEXT,
    abandoned              TEXT
) WITHOUT ROWID;
CREATE INDEX pending_resumes_open ON pending_resumes (intended_at) WHERE confirmed_at IS NULL AND abandoned IS NULL;

CREATE TABLE deletions (
    run_id          TEXT PRIMARY KEY REFERENCES runs (run_id),
    requested_at    TEXT NOT NULL,
    requested_by    TEXT NOT NULL,
    reason          TEXT NOT NULL,
    attempts        INTEGER NOT NULL,
    last_error      TEXT,
    ownership_proof TEXT,
    done_at         TEXT
) WITHOUT ROWID;

CREATE TABLE highest_ids (
    scope   TEXT PRIMARY KEY,
    largest INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE manual_limits (
    cluster    TEXT PRIMARY KEY,
    last_start TEXT NOT NULL,
    freed      INTEGER NOT NULL CHECK (freed IN (0, 1))
) WITHOUT ROWID;

-- Per cluster the first probe that showed exporting paused by someone else, without a later probe that showed it running.
-- The row survives a restart, so that an old pause keeps its age.
CREATE TABLE foreign_pauses (
    cluster TEXT PRIMARY KEY,
    since   TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE probe (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at TEXT NOT NULL
);

CREATE VIEW v_backups AS
SELECT runs.cluster,
       runs.backup_id,
       CASE
           WHEN deletions.done_at IS NOT NULL THEN 'deleted'
           WHEN deletions.run_id IS NOT NULL THEN 'deleting'
           WHEN runs.missing = 1 THEN 'missing'
           WHEN runs.status = 'claimed' THEN 'queued'
           ELSE runs.status
       END AS state,
       runs.trigger,
       runs.retention_groups,
       runs.created_at,
       runs.started_at,
       runs.finished_at,
       runs.held,
       runs.reason,
       runs.note,
       deletions.requested_at AS deletion_requested_at,
       deletions.reason AS deletion_reason,
       deletions.last_error AS deletion_last_error,
       runs.run_id
FROM runs
LEFT JOIN deletions ON deletions.run_id = runs.run_id;

CREATE VIEW v_pending_resumes AS
SELECT cluster,
       CAST(strftime('%s', 'now') AS INTEGER) - CAST(strftime('%s', intended_at) AS INTEGER) AS seconds_pending,
       intended_at,
       resume_intended_at,
       attempts,
       last_error,
       run_id
FROM pending_resumes
WHERE confirmed_at IS NULL AND abandoned IS NULL;

CREATE VIEW v_last_good AS
SELECT cluster, MAX(backup_id) AS backup_id, finished_at, run_id
FROM v_backups
WHERE state = 'completed'
GROUP BY cluster;
