-- Schema 2. Since when no look has shown exporting of a cluster to run, nor to be paused by us: it outlives the daemon, or
-- a restart would make an old pause look young.

CREATE TABLE foreign_pauses (
    cluster TEXT PRIMARY KEY,
    since   TEXT NOT NULL
) WITHOUT ROWID;
