//! How a store is opened, and who is told what it does.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::commit::CommitError;
use crate::retention::Retained;

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// The database file. Beside it live `<path>-wal`, `<path>-shm`, `<path>.lock` and `<path>.witness`.
    pub path: PathBuf,
    /// What of the log [`crate::Store::retain`] keeps.
    pub retention: Retention,
    /// Most readers at a time, 1 or more. Connections are opened when first needed, about 0.6 MB each.
    pub readers_max: usize,
    /// What a commit survives.
    pub durability: Durability,
    /// Most commits that wait for the writer, 1 or more; [`crate::Store::submit`] blocks beyond.
    pub queue_commits_max: usize,
    /// What to do with a database that cannot be trusted.
    pub on_corrupt: OnCorrupt,
    /// Starts a new epoch, which ends every cursor given so far: for a database restored together with its witness
    /// file (a snapshot of a whole volume or machine), which cannot be told from one that never went back.
    pub renew_epoch: bool,
    /// Told of commits, checkpoints and retention, on the threads that do them.
    pub observer: Option<Arc<dyn Observer>>,
}

impl Options {
    /// The defaults for a database at `path`: everything is kept, four readers, full durability, a corrupt database
    /// is refused.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            retention: Retention::default(),
            readers_max: 4,
            durability: Durability::default(),
            queue_commits_max: 256,
            on_corrupt: OnCorrupt::default(),
            renew_epoch: false,
            observer: None,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("path", &self.path)
            .field("retention", &self.retention)
            .field("readers_max", &self.readers_max)
            .field("durability", &self.durability)
            .field("queue_commits_max", &self.queue_commits_max)
            .field("on_corrupt", &self.on_corrupt)
            .field("renew_epoch", &self.renew_epoch)
            .finish_non_exhaustive()
    }
}

/// What of the log is kept. Each limit alone may expire an event; a transaction is kept whole as long as one of its
/// events is within every limit, so a limit may be exceeded by at most one transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// Oldest age kept, in microseconds before the `now_us` that [`crate::Store::retain`] is given.
    pub age_us_max: Option<u64>,
    /// Most events kept.
    pub events_max: Option<u64>,
    /// Most bytes of log kept, as [`crate::Stats::log_bytes`] counts them. Not a bound of the file, which keeps the
    /// room it once took and uses it again.
    pub bytes_max: Option<u64>,
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Power loss: `synchronous=FULL`, one sync of the write-ahead log a group of commits.
    #[default]
    Full,
    /// A crash of the process, not of the machine: `synchronous=NORMAL`. After a machine crash the epoch is renewed,
    /// because commits that subscribers have seen may be gone.
    Normal,
}

/// What to do with a database that cannot be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnCorrupt {
    /// Refuse to open it.
    #[default]
    Refuse,
    /// Rename its files to `<path>.corrupt-<seconds>` and start a fresh one: same server, new epoch.
    SetAside,
}

/// Is told what the store does. Every method is called on the thread that does the work, which waits: keep them
/// short.
pub trait Observer: Send + Sync {
    /// A group of commits is durable.
    fn committed(&self, group: &GroupCommitted) {
        let _ = group;
    }

    /// One commit was refused or failed.
    fn failed(&self, error: &CommitError) {
        let _ = error;
    }

    /// A checkpoint ran.
    fn checkpointed(&self, checkpoint: &Checkpointed) {
        let _ = checkpoint;
    }

    /// A step of retention raised the floor.
    fn retained(&self, step: &Retained) {
        let _ = step;
    }
}

/// Several commits, made durable by one transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupCommitted {
    /// Commits in it.
    pub commits: u32,
    /// Events in it.
    pub events: u64,
    /// Refs written or deleted in it.
    pub refs: u64,
    /// Bytes of log added, as [`crate::Stats::log_bytes`] counts them.
    pub log_bytes: u64,
    /// From the transaction's begin to its end, the sync included.
    pub duration: Duration,
    /// The part of `duration` that the final commit with its sync took.
    pub sync_duration: Duration,
}

/// One checkpoint: pages moved from the write-ahead log into the database file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpointed {
    /// Pages in the write-ahead log.
    pub wal_pages: u32,
    /// Of those, pages that are in the database file by now.
    pub moved_pages: u32,
    /// The write-ahead log was cut to nothing (else it is written over from its start).
    pub truncated: bool,
    /// Time taken.
    pub duration: Duration,
}
