//! What opening a database may come to.

use std::io;
use std::path::PathBuf;

use crate::Store;

/// An open store, and what opening it found.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Store,
    /// There was no database (or it was set aside).
    pub fresh: bool,
    /// [`Store::finish_baseline`] was not called yet on this database.
    pub baseline: bool,
    /// Why earlier cursors are void; `None` where the epoch goes on, and for the first database at this path.
    pub epoch_reason: Option<EpochReason>,
    /// Where a corrupt database was set aside to, and why.
    pub set_aside: Option<SetAside>,
}

/// A database that could not be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetAside {
    /// Where it is now.
    pub path: PathBuf,
    /// What was wrong with it.
    pub detail: String,
}

/// Why a new epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochReason {
    /// The database ends before what was made durable: it was restored, truncated, or lost its write-ahead log.
    RolledBack {
        /// Last sequence in the database.
        database: u64,
        /// Last sequence that was made durable.
        witness: u64,
    },
    /// The witness file is of another epoch: database and witness do not belong together.
    Foreign,
    /// There is no (readable) witness file beside a database that has one: files were moved or deleted by hand.
    WitnessMissing,
    /// The machine went down with [`crate::Durability::Normal`], so commits may be missing.
    Unsynced,
    /// There was a database here, and now there is none.
    DatabaseMissing,
    /// The database was corrupt and has been set aside.
    SetAside,
    /// [`crate::Options::renew_epoch`].
    Requested,
}

/// Why a store cannot be opened. Nothing has been overwritten.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it open.
    #[error("{} is in use by another refwatch{}; stop that one, or give this one a database of its own",
        path.display(), pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Locked {
        /// The database.
        path: PathBuf,
        /// The other process, where the lock file says.
        pid: Option<u32>,
    },
    /// A newer refwatch wrote it.
    #[error("{} has schema {found}, this refwatch knows up to {known}; run the newer refwatch, or restore a \
        backup made before the upgrade", path.display())]
    NewerSchema {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: u32,
        /// The newest schema known here.
        known: u32,
    },
    /// It is damaged or not a SQLite database.
    #[error("{} cannot be trusted: {detail}; restore a backup, or move it away and start anew (subscribers then \
        list again)", path.display())]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
    /// It is a SQLite database of another program.
    #[error("{} is another program's database (application id {application_id:#x}); point refwatch elsewhere",
        path.display())]
    Foreign {
        /// The database.
        path: PathBuf,
        /// The id in its header.
        application_id: u32,
    },
    /// It cannot be written.
    #[error("{} cannot be written: {detail}; refwatch needs write access to the file and its directory",
        path.display())]
    ReadOnly {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        detail: String,
    },
    /// No room on the device.
    #[error("the disk that holds {} is full; free space there and start again", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// The operating system failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// SQLite failed in a way that has no case of its own.
    #[error("{}: {detail}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
}
