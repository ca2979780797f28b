//! Whether a database can be trusted: bounded work at start. `Reader::verify` is the whole of it.

use rusqlite::Connection;

use crate::body::{self, Place};
use crate::row::{self, Meta};

/// Largest file that is checked whole after a clean shutdown: some 50 ms.
const CHECK_BYTES_MAX: u64 = 32 << 20;
/// Largest file that is checked whole after a crash: about a second.
const CHECK_UNCLEAN_BYTES_MAX: u64 = 512 << 20;
/// Newest events that are decoded and counted in any case.
const TAIL_EVENTS: u64 = 256;

/// What is wrong with a database, in words; `None` if nothing was found.
pub(crate) fn trouble(
    connection: &Connection,
    meta: &Meta,
    file_bytes: u64,
    clean: bool,
) -> rusqlite::Result<Option<String>> {
    let bytes_max = if clean { CHECK_BYTES_MAX } else { CHECK_UNCLEAN_BYTES_MAX };
    let whole = file_bytes <= bytes_max;
    if whole {
        let said: String = connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0))?;
        if said != "ok" {
            return Ok(Some(said));
        }
    }
    let position = &meta.position;
    if position.floor == 0 || position.floor > position.last + 1 {
        return Ok(Some(format!("the log is said to reach from {} to {}", position.floor, position.last)));
    }
    let ends: (Option<i64>, Option<i64>) =
        connection.query_row(row::EVENTS_ENDS, (), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let expected = (position.floor <= position.last)
        .then_some((position.floor.cast_signed(), position.last.cast_signed()));
    if ends.0.zip(ends.1) != expected {
        return Ok(Some(format!("the log should hold {expected:?} and holds {ends:?}")));
    }
    let first = position.floor.max((position.last + 1).saturating_sub(TAIL_EVENTS));
    let from = if whole { position.floor } else { first };
    let count = connection.query_row(
        row::EVENTS_COUNT,
        (from.cast_signed(), position.last.cast_signed()),
        |row| row::count(row, 0),
    )?;
    if count != position.last + 1 - from {
        return Ok(Some(format!("{} events are missing since {from}", position.last + 1 - from - count)));
    }
    tail(connection, first)
}

fn tail(connection: &Connection, first: u64) -> rusqlite::Result<Option<String>> {
    let mut select = connection.prepare(row::EVENTS_AFTER)?;
    let mut rows = select.query(((first - 1).cast_signed(), TAIL_EVENTS.cast_signed()))?;
    while let Some(row) = rows.next()? {
        let place = Place { sequence: row::bits(row, 0)?, repository: row.get(1)? };
        let decoded = body::decode(place, row.get_ref(2)?.as_blob()?);
        if let Err(malformed) = decoded {
            return Ok(Some(format!("event {}: {malformed}", place.sequence)));
        }
    }
    Ok(None)
}
