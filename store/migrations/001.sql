-- One row: which log this is, and where it stands. Written in every transaction that adds or deletes events.
CREATE TABLE meta (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    server      INTEGER NOT NULL, -- u64, random
    epoch       INTEGER NOT NULL, -- u64, random
    floor       INTEGER NOT NULL, -- oldest sequence kept; last + 1 when there is none
    last        INTEGER NOT NULL, -- newest sequence; 0 before the first
    observed_at INTEGER NOT NULL, -- of the newest event, unix microseconds: times in the log never go back
    log_bytes   INTEGER NOT NULL, -- of all events kept
    next_key    INTEGER NOT NULL, -- no repository has had this key or a higher one
    scanned     INTEGER NOT NULL DEFAULT 0 -- 1 once all roots were looked at to the end: the baseline is whole
) STRICT;

CREATE TABLE repositories (
    key              INTEGER PRIMARY KEY,
    uid              INTEGER NOT NULL, -- u64, random
    root             BLOB NOT NULL,
    path             BLOB NOT NULL,    -- relative to root
    object_format    INTEGER NOT NULL, -- 1 sha1, 2 sha256
    ref_storage      INTEGER NOT NULL, -- 1 files, 2 reftable
    bareness         INTEGER NOT NULL, -- 1 bare, 2 with a working tree
    dev              INTEGER NOT NULL, -- u64
    ino              INTEGER NOT NULL, -- u64
    birth_ns         INTEGER,
    discovered_at    INTEGER NOT NULL, -- unix microseconds
    created_sequence INTEGER NOT NULL,
    deleted_sequence INTEGER,          -- null while it is there
    last_sequence    INTEGER NOT NULL, -- 0 before its first event
    last_change      INTEGER NOT NULL, -- unix microseconds
    ref_count        INTEGER NOT NULL,
    signature        INTEGER,          -- u64
    journal_position BLOB
) STRICT;

-- Current refs. Those of a deleted repository stay until the floor has passed its deletion.
CREATE TABLE refs (
    repository INTEGER NOT NULL,
    name       BLOB NOT NULL,
    value      BLOB NOT NULL, -- src/value.rs
    PRIMARY KEY (repository, name)
) STRICT, WITHOUT ROWID;

-- Sequences from floor to last, without gaps.
CREATE TABLE events (
    sequence   INTEGER PRIMARY KEY,
    repository INTEGER NOT NULL,
    body       BLOB NOT NULL -- src/body.rs
) STRICT;
