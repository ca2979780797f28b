//! Retention: raises the floor, and deletes what is below it in the same transaction.

use rusqlite::{Connection, OptionalExtension};

use crate::body::{self, Place};
use crate::commit::{CommitError, log_bytes};
use crate::row::{self, Position};
use crate::{RepositoryKey, Retention};

/// Rows that one step deletes before it lets commits through; a larger transaction is one step.
const STEP_ROWS_MAX: u64 = 2_000;

/// What retention did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retained {
    /// The floor now.
    pub floor: u64,
    /// Events deleted.
    pub events: u64,
    /// Refs of deleted repositories deleted.
    pub refs: u64,
    /// Rows of deleted repositories deleted.
    pub repositories: u64,
}

/// Why retention stopped. The steps before it are done and durable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("retention stopped: {0}")]
pub struct RetainError(#[from] pub CommitError);

/// One step, and whether another is due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) retained: Retained,
    pub(crate) more: bool,
}

/// Does one step: a transaction of its own. On error the caller rolls back and keeps its old position.
pub(crate) fn step(
    connection: &Connection,
    position: &mut Position,
    retention: Retention,
    now_us: i64,
) -> Result<Step, CommitError> {
    let expired = expired(connection, position, retention, now_us)?;
    if expired.events > 0 {
        return delete(connection, position, expired);
    }
    let sqlite = |error| CommitError::of_sqlite(&error);
    let key = connection
        .prepare_cached(row::REPOSITORY_EXPIRED)
        .and_then(|mut find| find.query_row([position.floor.cast_signed()], |row| row.get(0)).optional())
        .map_err(sqlite)?;
    let mut retained = Retained { floor: position.floor, ..Retained::default() };
    let Some(key) = key else { return Ok(Step { retained, more: false }) };
    (retained.refs, retained.repositories) = forget(connection, position, key).map_err(sqlite)?;
    Ok(Step { retained, more: true })
}

/// The oldest events that may go in one step.
#[derive(Clone, Copy, Debug, Default)]
struct Expired {
    events: u64,
    log_bytes: u64,
    more: bool,
}

/// Walks the log from its floor, transaction by transaction, up to the first that is to be kept.
fn expired(
    connection: &Connection,
    position: &Position,
    retention: Retention,
    now_us: i64,
) -> Result<Expired, CommitError> {
    let Position { floor, last, .. } = *position;
    let mut expired = Expired::default();
    let too_old = retention.age_us_max.map(|age| now_us.saturating_sub_unsigned(age));
    while floor + expired.events <= last {
        if expired.events >= STEP_ROWS_MAX {
            expired.more = true;
            break;
        }
        let first = floor + expired.events;
        let (observed_at_us, end) = transaction(connection, first, last)?;
        let (count, bytes) = bytes(connection, first, end)?;
        if count != end - first + 1 {
            return Err(CommitError::Corrupt { detail: format!("events are missing after {first}") });
        }
        let kept_events = last - end;
        let kept_bytes = position.log_bytes.saturating_sub(expired.log_bytes + bytes);
        let goes = too_old.is_some_and(|limit| observed_at_us < limit)
            || retention.events_max.is_some_and(|limit| kept_events >= limit)
            || retention.bytes_max.is_some_and(|limit| kept_bytes >= limit);
        if !goes {
            break;
        }
        expired.events += count;
        expired.log_bytes += bytes;
    }
    Ok(expired)
}

/// When the transaction that starts at `first` was observed, and its last sequence.
fn transaction(connection: &Connection, first: u64, last: u64) -> Result<(i64, u64), CommitError> {
    let corrupt = |detail: String| CommitError::Corrupt { detail: format!("event {first}: {detail}") };
    let (repository, body) = connection
        .prepare_cached(row::EVENT_GET)
        .and_then(|mut get| {
            get.query_row([first.cast_signed()], |row| {
                Ok((row.get::<_, RepositoryKey>(0)?, row.get::<_, Vec<u8>>(1)?))
            })
            .optional()
        })
        .map_err(|error| CommitError::of_sqlite(&error))?
        .ok_or_else(|| corrupt("missing".to_owned()))?;
    let head = body::head(Place { sequence: first, repository }, &body)
        .map_err(|malformed| corrupt(malformed.to_string()))?;
    let end = first + u64::from(head.size.max(1)) - 1;
    if head.index != 0 || end > last {
        return Err(corrupt("the floor does not stand at the start of a whole transaction".to_owned()));
    }
    Ok((head.observed_at_us, end))
}

fn bytes(connection: &Connection, first: u64, end: u64) -> Result<(u64, u64), CommitError> {
    let (count, bytes) = connection
        .prepare_cached(row::EVENTS_BYTES)
        .and_then(|mut sum| {
            sum.query_row((first.cast_signed(), end.cast_signed()), |row| {
                Ok((row::count(row, 0)?, row::count(row, 1)?))
            })
        })
        .map_err(|error| CommitError::of_sqlite(&error))?;
    Ok((count, log_bytes(bytes, count)))
}

fn delete(connection: &Connection, position: &mut Position, expired: Expired) -> Result<Step, CommitError> {
    let sqlite = |error| CommitError::of_sqlite(&error);
    let first = position.floor;
    let floor = first + expired.events;
    position.floor = floor;
    position.log_bytes = position.log_bytes.saturating_sub(expired.log_bytes);
    connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute(())).map_err(sqlite)?;
    let deleted = connection
        .prepare_cached(row::EVENTS_DELETE)
        .and_then(|mut delete| delete.execute((first.cast_signed(), (floor - 1).cast_signed())))
        .map_err(sqlite)?;
    if deleted as u64 != expired.events {
        return Err(CommitError::Corrupt { detail: format!("events are missing after {first}") });
    }
    row::meta_put(connection, position)
        .and_then(|()| connection.prepare_cached("COMMIT")?.execute(()))
        .map_err(sqlite)?;
    let retained = Retained { floor, events: expired.events, ..Retained::default() };
    Ok(Step { retained, more: true })
}

/// Deletes some refs of a repository that the floor has passed, and its row after the last of them.
fn forget(connection: &Connection, position: &Position, key: RepositoryKey) -> rusqlite::Result<(u64, u64)> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute(())?;
    let end = connection
        .prepare_cached(row::REFS_BATCH_END)?
        .query_row((key, STEP_ROWS_MAX.cast_signed()), |row| row.get::<_, Vec<u8>>(0))
        .optional()?;
    let refs = match &end {
        Some(end) => connection.prepare_cached(row::REFS_DELETE_BEFORE)?.execute((key, end))?,
        None => connection.prepare_cached(row::REFS_DELETE_ALL)?.execute([key])?,
    };
    let mut repositories = 0;
    if end.is_none() {
        // The highest key may go with its row: `next_key` remembers it.
        row::meta_put(connection, position)?;
        repositories = connection.prepare_cached(row::REPOSITORY_FORGET)?.execute([key])?;
    }
    connection.prepare_cached("COMMIT")?.execute(())?;
    Ok((refs as u64, repositories as u64))
}
