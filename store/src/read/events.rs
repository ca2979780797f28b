//! Reading events: forwards, backwards, by time.

use std::ops::ControlFlow;

use rusqlite::{OptionalExtension, Row};

use super::{ReadError, Reader};
use crate::body::{self, Place};
use crate::{Logged, row};

impl Reader<'_> {
    /// Events in order, from the one right after `after` (0 for the first there ever was), `limit` at most; gives
    /// how many it handed out. Fewer than `limit` means that the snapshot ends here, or that `each` broke off.
    ///
    /// What it hands out is proven to have no gap: each sequence is one more than the one before, and the last is
    /// the snapshot's last unless `limit` or `each` ended it.
    ///
    /// # Errors
    /// [`ReadError::Expired`] when the first event asked for is below the floor of this snapshot, then `each` is not
    /// called; [`ReadError::Corrupt`] at an event that is missing or cannot be decoded, what was handed out before
    /// is good; [`ReadError::Io`].
    pub fn events_after(
        &self,
        after: u64,
        limit: usize,
        mut each: impl FnMut(Logged) -> ControlFlow<()>,
    ) -> Result<usize, ReadError> {
        let bounds = self.bounds();
        self.check_kept(after)?;
        if after >= bounds.last || limit == 0 {
            return Ok(0);
        }
        let mut select = self.connection().prepare_cached(row::EVENTS_AFTER)?;
        let mut rows = select.query((after.cast_signed(), sql_limit(limit)))?;
        let mut expected = after + 1;
        let mut handed_out = 0;
        while let Some(row) = rows.next().map_err(|error| of_sqlite(error, expected))? {
            let event = logged(row, expected)?;
            expected += 1;
            handed_out += 1;
            if each(event).is_break() {
                return Ok(handed_out);
            }
        }
        if handed_out < limit && expected <= bounds.last {
            return Err(missing(expected));
        }
        Ok(handed_out)
    }

    /// Events newest first, from the one right before `before` (`u64::MAX` for the newest), `limit` at most; gives
    /// how many it handed out. Ends at the floor.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] as in [`Reader::events_after`], [`ReadError::Io`].
    pub fn events_before(
        &self,
        before: u64,
        limit: usize,
        mut each: impl FnMut(Logged) -> ControlFlow<()>,
    ) -> Result<usize, ReadError> {
        let bounds = self.bounds();
        let before = before.min(bounds.last + 1);
        if before <= bounds.floor || limit == 0 {
            return Ok(0);
        }
        let mut select = self.connection().prepare_cached(row::EVENTS_BEFORE)?;
        let mut rows = select.query((before.cast_signed(), sql_limit(limit)))?;
        let mut expected = before - 1;
        let mut handed_out = 0;
        while let Some(row) = rows.next().map_err(|error| of_sqlite(error, expected))? {
            let event = logged(row, expected)?;
            handed_out += 1;
            if each(event).is_break() {
                return Ok(handed_out);
            }
            expected -= 1;
        }
        if handed_out < limit && expected >= bounds.floor {
            return Err(missing(expected));
        }
        Ok(handed_out)
    }

    /// Sequence of the first event observed at `time_us` or later; `last + 1` when there is none. It starts a
    /// transaction. Looks at as many events as the log's length has binary digits.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when an event on the way cannot be decoded, [`ReadError::Io`].
    pub fn first_at_or_after(&self, time_us: i64) -> Result<u64, ReadError> {
        let mut get = self.connection().prepare_cached(row::EVENT_GET)?;
        let (mut low, mut high) = (self.bounds().floor, self.bounds().last + 1);
        while low < high {
            let sequence = low + (high - low) / 2;
            let head = get
                .query_row([sequence.cast_signed()], |row| {
                    let place = Place { sequence, repository: row.get(0)? };
                    let head = body::head(place, row.get_ref(1)?.as_blob()?);
                    Ok(head.map(|head| head.observed_at_us).map_err(|error| corrupt(sequence, &error)))
                })
                .optional()
                .map_err(|error| of_sqlite(error, sequence))?;
            if head.ok_or_else(|| missing(sequence))?? < time_us {
                low = sequence + 1;
            } else {
                high = sequence;
            }
        }
        Ok(low)
    }

    /// Refuses a position whose next event is gone.
    pub(crate) fn check_kept(&self, after: u64) -> Result<(), ReadError> {
        let floor = self.bounds().floor;
        if after.saturating_add(1) < floor { Err(ReadError::Expired { floor }) } else { Ok(()) }
    }
}

fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

fn logged(row: &Row<'_>, expected: u64) -> Result<Logged, ReadError> {
    let sequence = row::bits(row, 0).map_err(|error| of_sqlite(error, expected))?;
    if sequence != expected {
        return Err(missing(expected));
    }
    let columns = || Ok((row.get(1)?, row.get_ref(2)?.as_blob()?));
    let (repository, body) = columns().map_err(|error| of_sqlite(error, expected))?;
    let (observed_at_us, event) = body::decode(Place { sequence, repository }, body)
        .map_err(|malformed| corrupt(sequence, &malformed))?;
    Ok(Logged { sequence, repository, observed_at_us, event })
}

/// What SQLite said when the event of a sequence was to be read.
pub(super) fn of_sqlite(error: rusqlite::Error, sequence: u64) -> ReadError {
    ReadError::from(error).at(sequence)
}

fn missing(sequence: u64) -> ReadError {
    ReadError::Corrupt { sequence: Some(sequence), detail: "the event is missing".to_owned() }
}

pub(super) fn corrupt(sequence: u64, error: &impl ToString) -> ReadError {
    ReadError::Corrupt { sequence: Some(sequence), detail: error.to_string() }
}
