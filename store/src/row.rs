//! Every SQL statement, and how rows become values: the only place that knows columns' names.

use refwatch_core::ObjectFormat;
use refwatch_core::classify::Bareness;
use rusqlite::types::{FromSqlError, Type};
use rusqlite::{Connection, Row, named_params};

use crate::{FsIdentity, NewRepository, RefStorage, RepositoryKey, RepositoryRow, RepositoryState};

pub(crate) const EVENT_INSERT: &str = "INSERT INTO events (sequence, repository, body) VALUES (?1, ?2, ?3)";
pub(crate) const EVENT_GET: &str = "SELECT repository, body FROM events WHERE sequence = ?1";
pub(crate) const EVENTS_AFTER: &str =
    "SELECT sequence, repository, body FROM events WHERE sequence > ?1 ORDER BY sequence LIMIT ?2";
pub(crate) const EVENTS_BEFORE: &str =
    "SELECT sequence, repository, body FROM events WHERE sequence < ?1 ORDER BY sequence DESC LIMIT ?2";
pub(crate) const EVENTS_AFTER_OF: &str =
    "SELECT sequence, body FROM events WHERE sequence > ?1 AND repository = ?2 ORDER BY sequence";
pub(crate) const EVENTS_ENDS: &str =
    "SELECT (SELECT min(sequence) FROM events), (SELECT max(sequence) FROM events)";
pub(crate) const EVENTS_COUNT: &str = "SELECT count(*) FROM events WHERE sequence BETWEEN ?1 AND ?2";
pub(crate) const EVENTS_BYTES: &str =
    "SELECT count(*), coalesce(sum(length(body)), 0) FROM events WHERE sequence BETWEEN ?1 AND ?2";
pub(crate) const EVENTS_DELETE: &str = "DELETE FROM events WHERE sequence BETWEEN ?1 AND ?2";

pub(crate) const REFS_BELOW: &str =
    "SELECT name FROM refs WHERE repository = ?1 AND name >= ?2 AND name < ?3 ORDER BY name";
pub(crate) const REF_GET: &str = "SELECT value FROM refs WHERE repository = ?1 AND name = ?2";
pub(crate) const REF_INSERT: &str = "INSERT INTO refs (repository, name, value) VALUES (?1, ?2, ?3)";
pub(crate) const REF_UPDATE: &str = "UPDATE refs SET value = ?3 WHERE repository = ?1 AND name = ?2";
pub(crate) const REF_DELETE: &str = "DELETE FROM refs WHERE repository = ?1 AND name = ?2";
pub(crate) const REFS_AFTER: &str =
    "SELECT name, value FROM refs WHERE repository = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
pub(crate) const REFS_ALL: &str = "SELECT repository, name, value FROM refs ORDER BY repository, name";
/// The first name that a batch of ?2 does not hold.
pub(crate) const REFS_BATCH_END: &str =
    "SELECT name FROM refs WHERE repository = ?1 ORDER BY name LIMIT 1 OFFSET ?2";
pub(crate) const REFS_DELETE_BEFORE: &str = "DELETE FROM refs WHERE repository = ?1 AND name < ?2";
pub(crate) const REFS_DELETE_ALL: &str = "DELETE FROM refs WHERE repository = ?1";

pub(crate) const REPOSITORY_CHECK: &str =
    "SELECT ref_count, deleted_sequence IS NULL FROM repositories WHERE key = ?1";
const REPOSITORY_INSERT: &str =
    "INSERT INTO repositories (key, uid, root, path, object_format, ref_storage, bareness,
        dev, ino, birth_ns, discovered_at, created_sequence, last_sequence, last_change, ref_count)
    VALUES (:key, :uid, :root, :path, :object_format, :ref_storage, :bareness,
        :dev, :ino, :birth_ns, :discovered_at, :created_sequence, 0, :discovered_at, 0)";
pub(crate) const REPOSITORY_MOVE: &str = "UPDATE repositories SET root = ?2, path = ?3 WHERE key = ?1";
const REPOSITORY_LAYOUT: &str =
    "UPDATE repositories SET object_format = :object_format, ref_storage = :ref_storage,
        bareness = :bareness, dev = :dev, ino = :ino, birth_ns = :birth_ns
    WHERE key = :key";
pub(crate) const REPOSITORY_DELETE: &str = "UPDATE repositories SET deleted_sequence = ?2, ref_count = 0,
        signature = NULL, journal_position = NULL
    WHERE key = ?1";
/// ?3, ?4 and ?7 keep what is there where they are null; ?5 says whether ?6 is written.
pub(crate) const REPOSITORY_TOUCH: &str = "UPDATE repositories SET ref_count = ?2,
        last_change = coalesce(?3, last_change), last_sequence = coalesce(?4, last_sequence),
        signature = CASE WHEN ?5 THEN ?6 ELSE signature END, journal_position = coalesce(?7, journal_position)
    WHERE key = ?1";
const REPOSITORY_COLUMNS: &str =
    "key, uid, root, path, object_format, ref_storage, bareness, dev, ino, birth_ns,
    discovered_at, created_sequence, deleted_sequence, last_sequence, last_change, ref_count, signature,
    journal_position";
pub(crate) const REPOSITORY_EXPIRED: &str =
    "SELECT key FROM repositories WHERE deleted_sequence < ?1 ORDER BY key LIMIT 1";
pub(crate) const REPOSITORY_FORGET: &str = "DELETE FROM repositories WHERE key = ?1";

const META_INSERT: &str =
    "INSERT INTO meta (id, server, epoch, floor, last, observed_at, log_bytes, next_key)
    VALUES (1, ?1, ?2, 1, 0, 0, 0, 1)";
const META_GET: &str = "SELECT server, epoch, floor, last, observed_at, log_bytes,
        max(next_key, coalesce((SELECT max(key) FROM repositories), 0) + 1), scanned
    FROM meta WHERE id = 1";
pub(crate) const META_BOUNDS: &str = "SELECT floor, last FROM meta WHERE id = 1";
const META_PUT: &str =
    "UPDATE meta SET floor = ?1, last = ?2, observed_at = ?3, log_bytes = ?4, next_key = max(next_key, ?5)";
const META_EPOCH: &str = "UPDATE meta SET epoch = ?1";
const META_SCANNED: &str = "UPDATE meta SET scanned = 1";

/// Where the log stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) floor: u64,
    pub(crate) last: u64,
    pub(crate) observed_at_us: i64,
    pub(crate) log_bytes: u64,
    /// No repository has had this key or a higher one.
    pub(crate) next_key: RepositoryKey,
}

/// The row of `meta`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Meta {
    pub(crate) server: u64,
    pub(crate) epoch: u64,
    pub(crate) position: Position,
    /// The baseline is whole.
    pub(crate) scanned: bool,
}

pub(crate) fn meta_insert(connection: &Connection, server: u64, epoch: u64) -> rusqlite::Result<()> {
    connection.execute(META_INSERT, (server.cast_signed(), epoch.cast_signed())).map(drop)
}

pub(crate) fn meta(connection: &Connection) -> rusqlite::Result<Meta> {
    connection.query_row(META_GET, (), |row| {
        Ok(Meta {
            server: bits(row, 0)?,
            epoch: bits(row, 1)?,
            position: Position {
                floor: count(row, 2)?,
                last: count(row, 3)?,
                observed_at_us: row.get(4)?,
                log_bytes: count(row, 5)?,
                next_key: row.get(6)?,
            },
            scanned: row.get(7)?,
        })
    })
}

pub(crate) fn meta_put(connection: &Connection, position: &Position) -> rusqlite::Result<()> {
    let Position { floor, last, observed_at_us, log_bytes, next_key } = *position;
    let row = (floor.cast_signed(), last.cast_signed(), observed_at_us, log_bytes.cast_signed(), next_key);
    connection.prepare_cached(META_PUT)?.execute(row).map(drop)
}

pub(crate) fn meta_epoch(connection: &Connection, epoch: u64) -> rusqlite::Result<()> {
    connection.execute(META_EPOCH, [epoch.cast_signed()]).map(drop)
}

pub(crate) fn meta_scanned(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute(META_SCANNED, ()).map(drop)
}

/// A number that uses all 64 bits: ids, device numbers, digests.
pub(crate) fn bits(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::cast_unsigned)
}

/// A number that cannot be negative.
pub(crate) fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value = row.get::<_, i64>(column)?;
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, value))
}

pub(crate) fn repository_insert(
    connection: &Connection,
    key: RepositoryKey,
    new: &NewRepository,
    discovered_at_us: i64,
    created_sequence: u64,
) -> rusqlite::Result<()> {
    let NewRepository { uid, root, path, object_format, ref_storage, bareness, identity } = new;
    connection
        .prepare_cached(REPOSITORY_INSERT)?
        .execute(named_params! {
            ":key": key,
            ":uid": uid.cast_signed(),
            ":root": root,
            ":path": path,
            ":object_format": object_format_code(*object_format),
            ":ref_storage": ref_storage_code(*ref_storage),
            ":bareness": bareness_code(*bareness),
            ":dev": identity.dev.cast_signed(),
            ":ino": identity.ino.cast_signed(),
            ":birth_ns": identity.birth_ns,
            ":discovered_at": discovered_at_us,
            ":created_sequence": created_sequence.cast_signed(),
        })
        .map(drop)
}

pub(crate) fn repository_layout(
    connection: &Connection,
    key: RepositoryKey,
    object_format: ObjectFormat,
    ref_storage: RefStorage,
    bareness: Bareness,
    identity: FsIdentity,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(REPOSITORY_LAYOUT)?
        .execute(named_params! {
            ":key": key,
            ":object_format": object_format_code(object_format),
            ":ref_storage": ref_storage_code(ref_storage),
            ":bareness": bareness_code(bareness),
            ":dev": identity.dev.cast_signed(),
            ":ino": identity.ino.cast_signed(),
            ":birth_ns": identity.birth_ns,
        })
        .map(drop)
}

pub(crate) fn repositories_sql() -> String {
    format!("SELECT {REPOSITORY_COLUMNS} FROM repositories ORDER BY key")
}

pub(crate) fn repository_sql() -> String {
    format!("SELECT {REPOSITORY_COLUMNS} FROM repositories WHERE key = ?1")
}

pub(crate) fn repository(row: &Row<'_>) -> rusqlite::Result<RepositoryRow> {
    let deleted_sequence = row.get::<_, Option<i64>>(12)?.map(i64::cast_unsigned);
    Ok(RepositoryRow {
        key: row.get(0)?,
        uid: bits(row, 1)?,
        root: row.get(2)?,
        path: row.get(3)?,
        object_format: of_code(row, 4, &[ObjectFormat::Sha1, ObjectFormat::Sha256])?,
        ref_storage: of_code(row, 5, &[RefStorage::Files, RefStorage::Reftable])?,
        bareness: of_code(row, 6, &[Bareness::Bare, Bareness::Worktree])?,
        identity: FsIdentity { dev: bits(row, 7)?, ino: bits(row, 8)?, birth_ns: row.get(9)? },
        state: match deleted_sequence {
            None => RepositoryState::Active,
            Some(_) => RepositoryState::Deleted,
        },
        discovered_at_us: row.get(10)?,
        created_sequence: count(row, 11)?,
        deleted_sequence,
        last_sequence: count(row, 13)?,
        last_change_us: row.get(14)?,
        ref_count: count(row, 15)?,
        signature: row.get::<_, Option<i64>>(16)?.map(i64::cast_unsigned),
        journal_position: row.get(17)?,
    })
}

const fn object_format_code(format: ObjectFormat) -> i64 {
    match format {
        ObjectFormat::Sha1 => 1,
        ObjectFormat::Sha256 => 2,
    }
}

const fn ref_storage_code(storage: RefStorage) -> i64 {
    match storage {
        RefStorage::Files => 1,
        RefStorage::Reftable => 2,
    }
}

const fn bareness_code(bareness: Bareness) -> i64 {
    match bareness {
        Bareness::Bare => 1,
        Bareness::Worktree => 2,
    }
}

/// The value that a code from 1 stands for.
fn of_code<T: Copy>(row: &Row<'_>, column: usize, values: &[T]) -> rusqlite::Result<T> {
    let code = row.get::<_, i64>(column)?;
    code.checked_sub(1)
        .and_then(|index| usize::try_from(index).ok())
        .and_then(|index| values.get(index))
        .copied()
        .ok_or_else(|| {
            let error = Box::new(FromSqlError::OutOfRange(code));
            rusqlite::Error::FromSqlConversionFailure(column, Type::Integer, error)
        })
}
