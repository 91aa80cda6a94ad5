-- Schema 2. Since when exporting of a cluster is seen paused, or only in part running, without a pause of ours that is
-- open. It outlives the daemon: a restart must not make an old pause look young.

CREATE TABLE foreign_pauses (
    cluster   TEXT PRIMARY KEY,
    exporting TEXT NOT NULL CHECK (exporting IN ('paused_by_other', 'mixed')),
    since     TEXT NOT NULL
) WITHOUT ROWID;
