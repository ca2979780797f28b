//! A database that is only looked at, also while a daemon writes to it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use crate::open::schema::{self, Found};
use crate::read::pool::Pool;
use crate::{OpenError, ReadError, Reader};

/// A database opened for reading only: no lock is taken, no epoch begins, nothing is migrated.
#[derive(Debug)]
pub struct ReadOnly {
    pool: Pool,
}

impl ReadOnly {
    /// Opens a database that is there.
    ///
    /// Beside it SQLite may keep the shared memory of its write-ahead log, as any reader of it does.
    ///
    /// # Errors
    /// [`OpenError::NewerSchema`], [`OpenError::Corrupt`] for what is no database of ours, [`OpenError::Sqlite`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let sqlite =
            |error: rusqlite::Error| OpenError::Sqlite { path: path.into(), detail: error.to_string() };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
        let corrupt = |detail: &str| OpenError::Corrupt { path: path.into(), detail: detail.to_owned() };
        match schema::found(&connection) {
            Ok(Found::Schema(found)) if found == schema::KNOWN => {}
            Ok(Found::Schema(found)) if found > schema::KNOWN => {
                return Err(OpenError::NewerSchema { path: path.into(), found, known: schema::KNOWN });
            }
            Ok(Found::Schema(_) | Found::Nothing) => return Err(corrupt("it has no schema of refwatch")),
            Ok(Found::Foreign { .. }) => return Err(corrupt("it is the database of another program")),
            Err(error) => return Err(corrupt(&error.to_string())),
        }
        Ok(Self { pool: Pool::new(path.into(), 1) })
    }

    /// A consistent snapshot to read from.
    ///
    /// # Errors
    /// As [`crate::Store::read`].
    pub fn read(&self) -> Result<Reader<'_>, ReadError> {
        Reader::new(&self.pool)
    }
}
