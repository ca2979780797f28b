//! The schema: numbered migrations that only go forward.

use rusqlite::Connection;

/// "RefW", in the header of every database of ours.
const APPLICATION_ID: u32 = 0x5265_6657;

/// Each brings a database from the schema before to its own number, counted from 1.
const MIGRATIONS: [&str; 1] = [include_str!("../../migrations/001.sql")];

/// The newest schema that this program knows.
pub(crate) const KNOWN: u32 = 1;
const _: () = assert!(MIGRATIONS.len() == KNOWN as usize, "a migration adds one");

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// An empty database.
    Nothing,
    /// One of ours.
    Schema(u32),
    /// One of another program.
    Foreign { application_id: u32 },
}

pub(crate) fn found(connection: &Connection) -> rusqlite::Result<Found> {
    let number = |pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i32>(0)).map(i32::cast_unsigned)
    };
    let (application_id, version) = (number("application_id")?, number("user_version")?);
    if application_id == APPLICATION_ID {
        return Ok(Found::Schema(version));
    }
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", (), |row| row.get(0))?;
    if application_id == 0 && version == 0 && objects == 0 {
        Ok(Found::Nothing)
    } else {
        Ok(Found::Foreign { application_id })
    }
}

/// Brings a database to the newest schema, in one transaction.
pub(crate) fn migrate(
    connection: &Connection,
    found: Found,
    fill: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let version = match found {
        Found::Schema(version) => version,
        Found::Nothing | Found::Foreign { .. } => 0,
    };
    if version == KNOWN {
        return Ok(());
    }
    let transaction = connection.unchecked_transaction()?;
    for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(usize::MAX)) {
        transaction.execute_batch(migration)?;
    }
    if version == 0 {
        fill(&transaction)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", KNOWN)?;
    transaction.commit()
}
