//! Reading: one consistent snapshot a reader, from a bounded pool of connections.

use std::fmt;
use std::ops::ControlFlow;

use refwatch_core::{ObjectId, RefName, RefState};
use rusqlite::{Connection, OptionalExtension, Row, ffi};

use self::pool::Pool;
use crate::bytes::{self, Malformed};
use crate::{Bounds, RepositoryKey, RepositoryRow, row, value};

mod events;
pub(crate) mod pool;
mod refs;

/// Why something cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The events asked for are no longer kept.
    #[error("the log starts at {floor}; list again and watch from there")]
    Expired {
        /// Oldest sequence kept.
        floor: u64,
    },
    /// The database contradicts itself: an event is missing or cannot be decoded. What was handed out before the
    /// error is good.
    #[error("the log is damaged{}: {detail}; run `refwatch check`",
        sequence.map(|sequence| format!(" at {sequence}")).unwrap_or_default())]
    Corrupt {
        /// The event that is damaged; where SQLite itself finds the file damaged, the event that was to be read. `None`
        /// where no event was.
        sequence: Option<u64>,
        /// What does not fit.
        detail: String,
    },
    /// Every reader stayed in use for too long.
    #[error("all {readers_max} readers are in use; try again")]
    Busy {
        /// How many there are.
        readers_max: usize,
    },
    /// The operating system or SQLite failed.
    #[error("the database cannot be read: {detail}")]
    Io {
        /// What SQLite said.
        detail: String,
    },
}

impl ReadError {
    /// The same, of what was being read at a sequence, unless it says where already.
    fn at(self, sequence: u64) -> Self {
        match self {
            ReadError::Corrupt { sequence: None, detail } => {
                ReadError::Corrupt { sequence: Some(sequence), detail }
            }
            ReadError::Corrupt { sequence: Some(_), .. }
            | ReadError::Expired { .. }
            | ReadError::Busy { .. }
            | ReadError::Io { .. } => self,
        }
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        let detail = error.to_string();
        match error.sqlite_error_code() {
            // No code: a column holds what this program never writes.
            None | Some(ffi::ErrorCode::DatabaseCorrupt | ffi::ErrorCode::NotADatabase) => {
                ReadError::Corrupt { sequence: None, detail }
            }
            Some(_) => ReadError::Io { detail },
        }
    }
}

/// One consistent snapshot of the database, taken when the reader is made: everything one reader tells belongs
/// together. Never waits for the writer, nor the writer for it. Hold it briefly: while it lives, the write-ahead log
/// is not cut.
pub struct Reader<'store> {
    pool: &'store Pool,
    connection: Option<Connection>,
    bounds: Bounds,
}

impl<'store> Reader<'store> {
    pub(crate) fn new(pool: &'store Pool) -> Result<Self, ReadError> {
        let connection = pool.take()?;
        // From here on, dropping the reader gives the connection back.
        let mut reader = Self { pool, connection: Some(connection), bounds: Bounds { floor: 1, last: 0 } };
        reader.bounds = {
            let connection = reader.connection();
            connection.prepare_cached("BEGIN")?.execute(())?;
            connection
                .prepare_cached(row::META_BOUNDS)?
                .query_row((), |row| Ok(Bounds { floor: row::count(row, 0)?, last: row::count(row, 1)? }))?
        };
        Ok(reader)
    }

    pub(crate) fn connection(&self) -> &Connection {
        self.connection.as_ref().expect("only drop takes the connection")
    }

    /// The part of the log that this snapshot holds; everything else it tells is as of `last`.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Every repository, in order of key, the deleted ones too while the log may still name them.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when a row cannot be decoded, [`ReadError::Io`].
    pub fn repositories(&self) -> Result<Vec<RepositoryRow>, ReadError> {
        let mut all = Vec::new();
        self.for_each_repository(|row| all.push(row))?;
        Ok(all)
    }

    /// The same, one at a time.
    ///
    /// # Errors
    /// As [`Reader::repositories`]; what was handed out before is good.
    pub fn for_each_repository(&self, mut each: impl FnMut(RepositoryRow)) -> Result<(), ReadError> {
        let mut select = self.connection().prepare_cached(&row::repositories_sql())?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            each(row::repository(row)?);
        }
        Ok(())
    }

    /// One repository.
    ///
    /// # Errors
    /// As [`Reader::repositories`].
    pub fn repository(&self, key: RepositoryKey) -> Result<Option<RepositoryRow>, ReadError> {
        let mut select = self.connection().prepare_cached(&row::repository_sql())?;
        Ok(select.query_row([key], row::repository).optional()?)
    }

    /// The state of one ref, and the object that an annotated tag finally names. Of a deleted repository: what it
    /// last was, until retention has forgotten it; ask [`Reader::repository`] first.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when the row cannot be decoded, [`ReadError::Io`].
    pub fn get_ref(
        &self,
        key: RepositoryKey,
        name: &RefName,
    ) -> Result<Option<(RefState, Option<ObjectId>)>, ReadError> {
        let mut get = self.connection().prepare_cached(row::REF_GET)?;
        let mut rows = get.query((key, name.as_bytes()))?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let value = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
        value::decode(value).map(Some).map_err(|malformed| of_ref(key, name.as_bytes(), malformed))
    }

    /// Every ref of a repository, in order of name, the broken ones included; none of a deleted repository.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when a row cannot be decoded; what was handed out before is good. [`ReadError::Io`].
    pub fn for_each_ref(
        &self,
        key: RepositoryKey,
        each: impl FnMut(RefName, RefState, Option<ObjectId>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let deleted = self.repository(key)?.is_none_or(|repository| repository.deleted_sequence.is_some());
        if deleted {
            return Ok(());
        }
        self.for_each_ref_after(key, &[], each)
    }

    /// As [`Reader::for_each_ref`], from the first name on that is greater than `after`. Of a deleted repository: what they
    /// last were; ask [`Reader::repository`] first.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when a row cannot be decoded; what was handed out before is good. [`ReadError::Io`].
    pub fn for_each_ref_after(
        &self,
        key: RepositoryKey,
        after: &[u8],
        mut each: impl FnMut(RefName, RefState, Option<ObjectId>) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut select = self.connection().prepare_cached(row::REFS_AFTER)?;
        let mut rows = select.query((key, after, -1))?;
        while let Some(row) = rows.next()? {
            let (name, state, peeled) = ref_entry(key, row, 0)?;
            if each(name, state, peeled).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The names of a repository's refs that start with `prefix`, which ends in a slash; in order.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] when a row cannot be decoded, [`ReadError::Io`].
    pub fn for_each_ref_below(
        &self,
        key: RepositoryKey,
        prefix: &[u8],
        mut each: impl FnMut(RefName) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let mut end = prefix.to_vec();
        if let Some(slash) = end.last_mut() {
            // Names are sorted by bytes: '0' follows '/'.
            *slash = slash.saturating_add(1);
        }
        let mut select = self.connection().prepare_cached(row::REFS_BELOW)?;
        let mut rows = select.query((key, prefix, end))?;
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            if each(bytes::name(name).map_err(|malformed| of_ref(key, name, malformed))?).is_break() {
                break;
            }
        }
        Ok(())
    }
}

/// Takes a name and a value from two columns.
fn ref_entry(key: RepositoryKey, row: &Row<'_>, column: usize) -> Result<crate::RefEntry, ReadError> {
    let name = row.get_ref(column)?.as_blob().map_err(rusqlite::Error::from)?;
    let value = row.get_ref(column + 1)?.as_blob().map_err(rusqlite::Error::from)?;
    let malformed = |malformed| of_ref(key, name, malformed);
    let (state, peeled) = value::decode(value).map_err(malformed)?;
    Ok((bytes::name(name).map_err(malformed)?, state, peeled))
}

fn of_ref(key: RepositoryKey, name: &[u8], malformed: Malformed) -> ReadError {
    let name = String::from_utf8_lossy(name);
    ReadError::Corrupt { sequence: None, detail: format!("ref {name} of repository {key}: {malformed}") }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let Some(connection) = self.connection.take() else { return };
        let ended = connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok();
        self.pool.give_back(connection, ended);
    }
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("bounds", &self.bounds).finish_non_exhaustive()
    }
}
