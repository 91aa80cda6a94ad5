-- Schema 2. The first look that showed exporting of a cluster stopped by others, without one since then that showed it to
-- run: it outlives the daemon, or a restart would make an old pause look young.

CREATE TABLE foreign_pauses (
    cluster TEXT PRIMARY KEY,
    since   TEXT NOT NULL
) WITHOUT ROWID;
