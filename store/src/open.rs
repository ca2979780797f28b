//! Opening a database: what may be opened, and whether its epoch goes on.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::ffi::ErrorCode;
use rusqlite::{Connection, OpenFlags};

use self::lock::Locking;
pub use self::outcome::{EpochReason, OpenError, Opened, SetAside};
use self::schema::Found;
use self::witness::{Testimony, Witness};
use crate::checkpoint::size;
use crate::row::{self, Meta};
use crate::store::{Parts, beside};
use crate::{Durability, OnCorrupt, Options, Store};

mod integrity;
mod lock;
mod outcome;
pub(crate) mod schema;
pub(crate) mod witness;

/// Page cache of a connection that writes.
const CACHE_KIB: i64 = 2_048;
/// How long a lock of another program is waited for.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// Opens or makes the database at `options.path`, and starts its threads.
///
/// Makes missing parent directories. An existing file is checked within bounds: its header and schema, that the log
/// has no gap at its ends, that the newest events can be read, and all of it where it is small. What is found wrong
/// is never written over. A process that dies here leaves a database that opens.
///
/// `now_us`, in unix microseconds, only names what is set aside.
///
/// # Errors
/// [`OpenError`].
pub fn open(mut options: Options, now_us: i64) -> Result<Opened, OpenError> {
    options.path = place(&options.path)?;
    let path = options.path.clone();
    let lock = match lock::lock(&beside(&path, ".lock")).map_err(|error| of_io(&path, error))? {
        Locking::Held(file) => file,
        Locking::Taken { pid } => return Err(OpenError::Locked { path, pid }),
    };
    let witness_path = beside(&path, ".witness");
    let before = witness::read(&witness_path).map_err(|error| of_io(&witness_path, error))?;

    let (database, set_aside) = match database(&options, before.as_ref()) {
        Err(OpenError::Corrupt { detail, .. }) if options.on_corrupt == OnCorrupt::SetAside => {
            let aside = set_aside(&path, now_us)?;
            tracing::error!(path = %aside.display(), %detail, "a corrupt database was set aside");
            (database(&options, before.as_ref())?, Some(SetAside { path: aside, detail }))
        }
        other => (other?, None),
    };
    let Database { connection, mut meta, fresh } = database;
    let epoch_reason = if set_aside.is_some() {
        Some(EpochReason::SetAside)
    } else {
        epoch_reason(&options, &meta, fresh, before.as_ref())
    };
    if epoch_reason.is_some() && !fresh {
        meta.epoch = random(&connection).map_err(|error| of_sqlite(&path, &error))?;
        row::meta_epoch(&connection, meta.epoch).map_err(|error| of_sqlite(&path, &error))?;
        tracing::warn!(reason = ?epoch_reason, "a new epoch begins: earlier cursors are void");
    }
    let testimony = Testimony {
        server: meta.server,
        epoch: meta.epoch,
        last: meta.position.last,
        boot: witness::boot_id(),
        clean: false,
        unsynced: options.durability == Durability::Normal,
    };
    let witness = Witness::create(&witness_path, testimony).map_err(|error| of_io(&witness_path, error))?;
    // It never waits: it would hold up the writer for as long as a reader stays.
    let checkpoint_connection = connect(&path, options.durability)
        .and_then(|connection| connection.busy_timeout(Duration::ZERO).map(|()| connection))
        .map_err(|error| of_sqlite(&path, &error))?;
    let store = Store::start(Parts { options, connection, checkpoint_connection, meta, witness, lock })
        .map_err(|error| of_io(&path, error))?;
    Ok(Opened { store, fresh, baseline: !meta.scanned, epoch_reason, set_aside })
}

/// Symbolic links that the database's path may lead over, one after the other.
const LINKS_MAX: usize = 32;

/// The path with every link followed, so that one database has one lock; makes its parent.
fn place(path: &Path) -> Result<PathBuf, OpenError> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        // A link may lead to a database that is not there yet: it has its lock where it will be.
        let Ok(target) = fs::read_link(&path) else { return place_of_file(&path) };
        path = match path.parent() {
            Some(parent) => parent.join(target),
            None => target,
        };
    }
    Err(of_io(&path, io::Error::new(io::ErrorKind::InvalidInput, "too many symbolic links")))
}

fn place_of_file(path: &Path) -> Result<PathBuf, OpenError> {
    if let Ok(path) = path.canonicalize() {
        return Ok(path);
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(|error| of_io(parent, error))?;
    let parent = parent.canonicalize().map_err(|error| of_io(parent, error))?;
    let name = path
        .file_name()
        .ok_or_else(|| of_io(path, io::Error::new(io::ErrorKind::InvalidInput, "this path names no file")))?;
    Ok(parent.join(name))
}

struct Database {
    connection: Connection,
    meta: Meta,
    fresh: bool,
}

/// Connects, brings the schema up to date and judges what is there.
fn database(options: &Options, before: Option<&Testimony>) -> Result<Database, OpenError> {
    let path = &options.path;
    let sqlite = |error: rusqlite::Error| of_sqlite(path, &error);
    let corrupt = |detail: String| OpenError::Corrupt { path: path.clone(), detail };
    check_header(path)?;
    let connection = connect(path, options.durability).map_err(sqlite)?;
    let found = schema::found(&connection).map_err(sqlite)?;
    match found {
        Found::Nothing | Found::Schema(1..=schema::KNOWN) => {}
        Found::Foreign { application_id } => {
            return Err(OpenError::Foreign { path: path.clone(), application_id });
        }
        Found::Schema(0) => return Err(corrupt("it has no schema".to_owned())),
        Found::Schema(found) => {
            return Err(OpenError::NewerSchema { path: path.clone(), found, known: schema::KNOWN });
        }
    }
    if connection.is_readonly("main").map_err(sqlite)? {
        let detail = "the file is read-only".to_owned();
        return Err(OpenError::ReadOnly { path: path.clone(), detail });
    }
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", (), |row| row.get(0)).map_err(sqlite)?;
    if mode != "wal" {
        let detail =
            format!("the filesystem has no shared memory for a write-ahead log (journal mode {mode})");
        return Err(OpenError::Sqlite { path: path.clone(), detail });
    }
    let fresh = found == Found::Nothing;
    let server = match before {
        Some(before) => before.server,
        None => random(&connection).map_err(sqlite)?,
    };
    let epoch = random(&connection).map_err(sqlite)?;
    schema::migrate(&connection, found, |connection| row::meta_insert(connection, server, epoch))
        .map_err(sqlite)?;
    let meta = match row::meta(&connection) {
        Err(rusqlite::Error::QueryReturnedNoRows) => {
            return Err(corrupt("its table meta is empty".to_owned()));
        }
        other => other.map_err(sqlite)?,
    };
    if !fresh {
        let clean = before.is_some_and(|before| before.clean);
        let file_bytes = size(path) + size(&beside(path, "-wal"));
        if let Some(detail) = integrity::trouble(&connection, &meta, file_bytes, clean).map_err(sqlite)? {
            return Err(corrupt(detail));
        }
        // The check has filled the page cache.
        connection.release_memory().map_err(sqlite)?;
    }
    Ok(Database { connection, meta, fresh })
}

/// Refuses what is there and no database, before SQLite touches it.
fn check_header(path: &Path) -> Result<(), OpenError> {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let mut file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(of_io(path, error)),
    };
    let metadata = file.metadata().map_err(|error| of_io(path, error))?;
    if !metadata.is_file() {
        return Err(of_io(path, io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")));
    }
    if metadata.len() == 0 {
        return Ok(());
    }
    let mut start = [0; 16];
    let same = file.read_exact(&mut start).is_ok() && &start == MAGIC;
    if same {
        Ok(())
    } else {
        let detail = "it is not a SQLite database".to_owned();
        Err(OpenError::Corrupt { path: path.to_owned(), detail })
    }
}

/// A connection that may write, with small caches.
fn connect(path: &Path, durability: Durability) -> rusqlite::Result<Connection> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    // Ours never wait for each other; another program (a backup, a shell) may hold a lock for a moment.
    connection.busy_timeout(BUSY_WAIT)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.pragma_update(
        None,
        "synchronous",
        match durability {
            Durability::Full => "FULL",
            Durability::Normal => "NORMAL",
        },
    )?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    // What is found corrupt is closed as it is; a clean shutdown checkpoints by itself.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(connection)
}

/// Whether sequences after the database's last may have been given out already.
fn epoch_reason(
    options: &Options,
    meta: &Meta,
    fresh: bool,
    before: Option<&Testimony>,
) -> Option<EpochReason> {
    let Some(before) = before else {
        return (!fresh).then_some(EpochReason::WitnessMissing);
    };
    let unsynced = before.unsynced && !before.clean && before.boot != witness::boot_id();
    if fresh {
        Some(EpochReason::DatabaseMissing)
    } else if before.epoch != meta.epoch || before.server != meta.server {
        Some(EpochReason::Foreign)
    } else if meta.position.last < before.last {
        Some(EpochReason::RolledBack { database: meta.position.last, witness: before.last })
    } else if unsynced {
        Some(EpochReason::Unsynced)
    } else {
        options.renew_epoch.then_some(EpochReason::Requested)
    }
}

/// Renames a database's files; gives the new name of the first.
fn set_aside(path: &Path, now_us: i64) -> Result<PathBuf, OpenError> {
    let seconds = now_us.div_euclid(1_000_000);
    let free = |suffix: &String| !beside(path, suffix).exists();
    let first = format!(".corrupt-{seconds}");
    let suffix = (1..1_000).map(|number| format!(".corrupt-{seconds}-{number}"));
    let suffix = std::iter::once(first).chain(suffix).find(free).ok_or_else(|| {
        of_io(path, io::Error::new(io::ErrorKind::AlreadyExists, "too many corrupt databases beside it"))
    })?;
    let aside = beside(path, &suffix);
    // The log first: a crash in between must not leave it to be applied to a fresh database.
    for part in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, part), beside(&aside, part)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(of_io(path, error)),
        }
    }
    Ok(aside)
}

fn random(connection: &Connection) -> rusqlite::Result<u64> {
    loop {
        let raw: [u8; 8] = connection.query_row("SELECT randomblob(8)", (), |row| row.get(0))?;
        // 0 is left for "none".
        if raw != [0; 8] {
            return Ok(u64::from_le_bytes(raw));
        }
    }
}

fn of_io(path: &Path, source: io::Error) -> OpenError {
    let path = path.to_owned();
    let kind = source.kind();
    if matches!(kind, io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem) {
        OpenError::ReadOnly { path, detail: source.to_string() }
    } else if matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
        OpenError::Full { path }
    } else {
        OpenError::Io { path, source }
    }
}

fn of_sqlite(path: &Path, error: &rusqlite::Error) -> OpenError {
    let (path, detail) = (path.to_owned(), error.to_string());
    match error.sqlite_error_code() {
        // `Unknown` is an error in a statement: a table or column is not there.
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown) => {
            OpenError::Corrupt { path, detail }
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            OpenError::ReadOnly { path, detail }
        }
        Some(ErrorCode::DiskFull) => OpenError::Full { path },
        Some(_) => OpenError::Sqlite { path, detail },
        // A column of another type, or out of range: not what this program writes.
        None => OpenError::Corrupt { path, detail },
    }
}
