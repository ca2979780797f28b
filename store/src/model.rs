//! What the store is given, and what it gives back.

use refwatch_core::classify::Bareness;
use refwatch_core::{Event, ObjectFormat, ObjectId, RefName, RefState};
pub use refwatch_core::{FsIdentity, RefStorage};

/// Small number of a repository within one database. Public ids are [`RepositoryRow::uid`].
pub type RepositoryKey = i64;

/// Which log this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    /// The server: random, made with the first database, kept when a database is set aside.
    pub server: u64,
    /// The log: random. A pair of epoch and sequence never stands for two events.
    pub epoch: u64,
}

/// The part of the log that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Sequence of the oldest event kept; `last + 1` when there is none.
    pub floor: u64,
    /// Sequence of the newest event; 0 before the first.
    pub last: u64,
}

/// Whether a repository is followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RepositoryState {
    /// It is there.
    Active,
    /// It is gone. Its row stays until the floor has passed its last event.
    Deleted,
}

/// One repository, as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepositoryRow {
    /// Its number.
    pub key: RepositoryKey,
    /// Its public id: random, not 0; 16 hex digits where people see it.
    pub uid: u64,
    /// The root it was found below.
    pub root: Vec<u8>,
    /// Its path, relative to `root`.
    pub path: Vec<u8>,
    /// The hash function of its objects.
    pub object_format: ObjectFormat,
    /// How it keeps its refs.
    pub ref_storage: RefStorage,
    /// Whether it has a working tree.
    pub bareness: Bareness,
    /// The identity of its directory.
    pub identity: FsIdentity,
    /// Whether it is there.
    pub state: RepositoryState,
    /// When it was found, in unix microseconds.
    pub discovered_at_us: i64,
    /// Digest of what a stat of its refs gave at the last pass, `None` when the next pass must read.
    pub signature: Option<u64>,
    /// How far its journal is explained, in the watcher's own format.
    pub journal_position: Option<Vec<u8>>,
    /// Refs it has, the broken ones included; 0 once deleted.
    pub ref_count: u64,
    /// When its latest event was observed, in unix microseconds; when it was found, before that.
    pub last_change_us: i64,
    /// Position of the log when it was found: it is unknown to whoever stands before this sequence.
    pub created_sequence: u64,
    /// Sequence of its latest event; 0 where it has none.
    pub last_sequence: u64,
    /// Position of the log when it was deleted: it is gone for whoever stands at this sequence or later.
    pub deleted_sequence: Option<u64>,
}

/// A repository to be added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRepository {
    /// See [`RepositoryRow::uid`]; from [`crate::Store::random_uid`].
    pub uid: u64,
    /// See [`RepositoryRow::root`].
    pub root: Vec<u8>,
    /// See [`RepositoryRow::path`].
    pub path: Vec<u8>,
    /// See [`RepositoryRow::object_format`].
    pub object_format: ObjectFormat,
    /// See [`RepositoryRow::ref_storage`].
    pub ref_storage: RefStorage,
    /// See [`RepositoryRow::bareness`].
    pub bareness: Bareness,
    /// See [`RepositoryRow::identity`].
    pub identity: FsIdentity,
}

/// A change of a repository's own row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepositoryWrite {
    /// Adds it, under the key of the commit (from [`crate::Store::allocate_key`]).
    Create(NewRepository),
    /// It has another place.
    Move {
        /// The root it is below now.
        root: Vec<u8>,
        /// Its path, relative to `root`.
        path: Vec<u8>,
    },
    /// It is laid out differently (`git refs migrate`, `core.bare`), or its directory has another identity.
    Layout {
        /// The hash function of its objects.
        object_format: ObjectFormat,
        /// How it keeps its refs.
        ref_storage: RefStorage,
        /// Whether it has a working tree.
        bareness: Bareness,
        /// The identity of its directory.
        identity: FsIdentity,
    },
    /// It is gone. Its refs are no longer read as current; they leave the file when the floor passes this commit, so
    /// that positions before it can still be listed. Costs the same however many refs there are.
    Delete,
}

/// The new state of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefWrite {
    /// The ref.
    pub name: RefName,
    /// Its state; `None` deletes it.
    pub state: Option<RefState>,
    /// The object that an annotated tag finally names.
    pub peeled: Option<ObjectId>,
}

/// What becomes of a repository's stat signature.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignatureWrite {
    /// It stays.
    #[default]
    Keep,
    /// It becomes this; `None` makes the next pass read.
    Set(Option<u64>),
}

/// What one pass found out about one repository: all of it becomes durable, or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The repository.
    pub repository: RepositoryKey,
    /// When the pass looked, in unix microseconds. Stored as at least that of the commit before: the log's times
    /// never go back.
    pub observed_at_us: i64,
    /// A change of its row.
    pub repository_write: Option<RepositoryWrite>,
    /// One or several transactions in a row, each numbered from 0 ([`refwatch_core::event::number`]).
    pub events: Vec<Event>,
    /// Refs are taken as known: they are written without events. Only of a repository that the commit creates.
    pub baseline: bool,
    /// The refs as they are after `events`, each name once. Every ref that an event changes is here, with that
    /// event's new value; a ref that no event changes keeps its value and may only be marked broken, repaired or
    /// peeled.
    pub refs: Vec<RefWrite>,
    /// Its stat signature.
    pub signature: SignatureWrite,
    /// How far its journal is explained; `None` leaves it.
    pub journal_position: Option<Vec<u8>>,
    /// Commits of one repository with one generation follow from each other: behind one that failed all of them are refused,
    /// until one with a greater number comes. `None` follows from no other.
    pub generation: Option<u32>,
}

impl Commit {
    /// A commit of nothing, to be filled in.
    pub fn new(repository: RepositoryKey, observed_at_us: i64) -> Self {
        Self {
            repository,
            observed_at_us,
            repository_write: None,
            events: Vec::new(),
            baseline: false,
            refs: Vec::new(),
            signature: SignatureWrite::Keep,
            journal_position: None,
            generation: None,
        }
    }

    /// Rows it writes, about: what bounds a group.
    pub(crate) fn rows(&self) -> usize {
        self.events.len() + self.refs.len() + 1
    }
}

/// One event of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    /// Its position: the first has 1, and there are no gaps.
    pub sequence: u64,
    /// The repository it is about.
    pub repository: RepositoryKey,
    /// When the pass looked, in unix microseconds; never less than that of the event before. Equal for all events
    /// of a commit.
    pub observed_at_us: i64,
    /// The event.
    pub event: Event,
}

/// A ref, its state, and the object that an annotated tag finally names.
pub type RefEntry = (RefName, RefState, Option<ObjectId>);

/// Some refs of a repository, in order of name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RefsPage {
    /// The refs; may be fewer than asked for, also none, although more follow.
    pub refs: Vec<RefEntry>,
    /// Pass as `after` for the next page; `None` on the last.
    pub next: Option<RefName>,
}

/// Size and work of a store. Counts start when it is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of the database file.
    pub database_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Events in the log.
    pub events: u64,
    /// Bytes of log: what the rows of its events take in the file, without what pages waste.
    pub log_bytes: u64,
    /// Commits that wait for the writer.
    pub queued_commits: u64,
    /// Commits made durable.
    pub commits: u64,
    /// Transactions that made them so.
    pub groups: u64,
    /// Commits refused or failed.
    pub failed_commits: u64,
    /// Checkpoints run.
    pub checkpoints: u64,
    /// Readers in use.
    pub readers: u64,
}
