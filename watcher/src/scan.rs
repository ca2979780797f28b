//! Reads the refs of a repository.
//!
//! **Architecture invariant:** a scan is whole or an error. Nothing here runs a program, follows a symbolic link out of
//! the repository, or writes.

pub(crate) mod files;
pub(crate) mod loose;
pub(crate) mod packed;
pub(crate) mod reftable;
pub(crate) mod walk;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refwatch_core::{InvalidName, ObjectId, RefName, Target};

use crate::dir::{self, Links, Stamp};
use crate::layout::{Layout, RefStorage};
use crate::signature::Signature;
pub use files::{LOOKUP_TRIES_MAX, SCAN_TRIES_MAX};
pub use loose::LOOSE_BYTES_MAX;
pub use packed::PACKED_BYTES_MAX;
pub use packed::parts::{PARTS_BYTES_MIN, Parts};
pub use reftable::news::{
    Change, From, Left, NEWS_LOGGED_MAX, NEWS_OLDEST_REFS_MAX, NEWS_REFS_MAX, News, Step,
};
pub use reftable::{Listed, STACK_TRIES_MAX, Stack, TABLE_BYTES_MAX, TABLES_MAX};
use walk::{Directories, GitDir};

/// What was read of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Its value.
    Good(Target),
    /// It is there, but says nothing that Git would accept.
    Broken(BrokenReason),
}

impl Observed {
    /// Why it cannot be read, when it cannot.
    pub fn broken(&self) -> Option<BrokenReason> {
        match self {
            Self::Good(_) => None,
            Self::Broken(reason) => Some(*reason),
        }
    }
}

/// Why a ref cannot be read. The text is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum BrokenReason {
    /// No bytes, or white space only: what a crash before the write leaves.
    #[error("the file is empty")]
    Empty,
    /// Neither an object id nor `ref: `.
    #[error("neither an object id nor a symbolic ref")]
    NotAnId,
    /// An object id of the other hash function, or a cut one.
    #[error("an object id of the wrong length for this repository")]
    WrongLength,
    /// All zeroes.
    #[error("the all-zero object id")]
    ZeroId,
    /// `ref: ` and then no name of a ref.
    #[error("a symbolic ref to something that is no ref name")]
    BadSymref,
    /// Longer than any ref.
    #[error("the file is longer than 4096 bytes")]
    TooLong,
    /// A symbolic link that names no ref; it is not followed.
    #[error("a symbolic link that does not lead to a ref")]
    ForeignLink,
    /// The operating system refuses to read this one file.
    #[error("permission to read the file is denied")]
    Denied,
}

/// A `.lock` file: some transaction is under way, or crashed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lock {
    /// Relative to the git directory, with the `.lock`.
    pub path: PathBuf,
    /// Its inode: another one under the same name is another transaction.
    pub ino: u64,
    /// When it was last written, in nanoseconds since 1970.
    pub mtime_ns: i64,
}

impl Lock {
    /// Looks for one.
    pub(crate) fn find(
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Option<Self>, ScanError> {
        let stat = dir::stat(at, name, Links::Refuse).map_err(|error| git.unreadable(path, error))?;
        Ok(stat.as_ref().map(Stamp::of).map(|stamp| Self {
            path: dir::path(path).to_owned(),
            ino: stamp.ino,
            mtime_ns: stamp.mtime_ns,
        }))
    }
}

/// Something among the refs that is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Relative to the git directory; for an entry of `packed-refs` or a table, the name it has there.
    pub path: PathBuf,
    /// Why it was left out.
    pub reason: SkipReason,
}

/// Why something among the refs is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// Git would not accept the name.
    #[error("not a ref name: {0}")]
    Name(InvalidName),
    /// A socket, pipe or device.
    #[error("not a regular file")]
    NotAFile,
}

/// Entries of [`Scan::skipped`] that are kept; the rest is only not there.
pub const SKIPPED_MAX: usize = 1000;

/// All refs of a repository.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Sorted by the bytes of the name, each name once.
    pub refs: Vec<(RefName, Observed)>,
    /// What annotated tags peel to, where the storage says so: index into `refs`, rising, and the object.
    /// A ref that is not in here may be a tag all the same.
    pub peeled: Vec<(usize, ObjectId)>,
    /// Every directory to watch, relative to the git directory, which itself is the empty path.
    pub directories: Vec<PathBuf>,
    /// Lock files seen.
    pub locks: Vec<Lock>,
    /// What was left out, at most [`SKIPPED_MAX`].
    pub skipped: Vec<Skipped>,
    /// The signature of what was read; `None` when something changed so recently that a change in the same tick of
    /// the filesystem's clock would not show in it, and for a [`subtree`].
    pub signature: Option<Signature>,
    /// What is kept of a long `packed-refs`, to find what changes in it.
    pub parts: Option<Parts>,
    /// The tables that were read, where refs are in tables.
    pub stacks: Vec<Stack>,
    /// False when `packed-refs` was replaced during each try: no ref that was there all the time is missing, but of
    /// refs that changed together some may be old. Take it, and look again.
    pub settled: bool,
}

/// Why the refs could not be read. Nothing of a scan that failed is to be believed.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Something every repository has is gone, or the storage changed under the scan: probe again, later.
    #[error("{path}: {missing} is missing: the repository is being made, converted or deleted", path = path.display())]
    InFlux {
        /// The git directory.
        path: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line that Git would refuse: the file as a whole cannot be trusted to be complete.
    #[error("{path}:{line}: {reason}", path = path.display())]
    PackedRefs {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A table that does not parse.
    #[error("{path}: at byte {offset}: {reason}", path = path.display())]
    Reftable {
        /// The table, or `tables.list`.
        path: PathBuf,
        /// Byte offset.
        offset: u64,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The storage was replaced during each try.
    #[error("{path}: replaced during each of {tries} tries to read it", path = path.display())]
    Raced {
        /// The file.
        path: PathBuf,
        /// Tries made.
        tries: usize,
    },
}

/// What was left out, up to its bound.
#[derive(Debug, Default)]
pub(crate) struct Skips(pub(crate) Vec<Skipped>);

impl Skips {
    pub(crate) fn push(&mut self, path: &[u8], reason: SkipReason) {
        if self.0.len() < SKIPPED_MAX {
            self.0.push(Skipped { path: dir::path(path).to_owned(), reason });
        }
    }

    pub(crate) fn append(&mut self, more: Self) {
        let room = SKIPPED_MAX.saturating_sub(self.0.len());
        self.0.extend(more.0.into_iter().take(room));
    }
}

/// Reads every ref, `HEAD` and those of linked worktrees among them.
///
/// `before_read` is told each directory, relative to the git directory, before it is read, so that a watch is in place
/// when something appears in it; the same directory more than once where the scan has to start over.
///
/// # Errors
/// [`ScanError`]. Nothing is said about a repository that could not be read as a whole, but for single refs whose own
/// file is damaged: those are [`Observed::Broken`].
pub fn full(layout: &Layout, before_read: &mut dyn FnMut(&Path)) -> Result<Scan, ScanError> {
    match layout.storage {
        RefStorage::Files => files::full(layout, before_read),
        RefStorage::Reftable => reftable::full(layout, before_read),
    }
}

/// Reads one ref; `None` when it does not exist.
///
/// The cost does not depend on how many refs there are. With loose files it is one small file, else a few windows of a
/// `packed-refs` whose header says `sorted`; with tables a few blocks of each, where they have an index.
///
/// # Errors
/// [`ScanError`].
pub fn one(layout: &Layout, name: &RefName) -> Result<Option<Observed>, ScanError> {
    match layout.storage {
        RefStorage::Files => files::one(layout, name),
        RefStorage::Reftable => reftable::one(layout, name),
    }
}

/// The lock that an update of a ref needs, if it is there: that of the ref, or of the tables.
///
/// # Errors
/// [`ScanError`].
pub fn lock_of(layout: &Layout, name: &RefName) -> Result<Option<Lock>, ScanError> {
    match layout.storage {
        RefStorage::Files => lock_at(layout, &[name.as_bytes(), b".lock"].concat()),
        RefStorage::Reftable => lock_at(layout, b"reftable/tables.list.lock"),
    }
}

/// The lock that a deletion needs besides, if it is there: that of `packed-refs`.
///
/// # Errors
/// [`ScanError`].
pub fn lock_of_packed(layout: &Layout) -> Result<Option<Lock>, ScanError> {
    match layout.storage {
        RefStorage::Files => lock_at(layout, b"packed-refs.lock"),
        RefStorage::Reftable => Ok(None),
    }
}

fn lock_at(layout: &Layout, path: &[u8]) -> Result<Option<Lock>, ScanError> {
    let git = GitDir::open(layout)?;
    Lock::find(&git, git.fd.as_fd(), path, path)
}

/// What may have changed in a `packed-refs` that was replaced.
#[derive(Debug)]
pub struct Repacked {
    /// What is kept of the file there is now.
    pub parts: Parts,
    /// Where it differs, in order of the names.
    pub ranges: Vec<Range>,
}

/// Refs that follow each other by name, some of which changed in `packed-refs`.
#[derive(Debug)]
pub struct Range {
    /// Their names are after this one.
    pub after: Box<[u8]>,
    /// And not after this one; `None` for all that follow.
    pub last: Option<Box<[u8]>>,
    /// What is packed there, sorted by name.
    pub packed: Vec<(RefName, Observed)>,
}

/// Compares `packed-refs` with what is kept of the one that was read before. `None` when all refs are to be read: the file
/// is gone, short, not sorted or damaged, or is being replaced.
///
/// The file is read, and parsed only where it differs. What a ref is now its loose file may say instead: [`one`] tells.
///
/// # Errors
/// [`ScanError`].
pub fn repacked(layout: &Layout, known: &Parts) -> Result<Option<Repacked>, ScanError> {
    match layout.storage {
        RefStorage::Files => files::repacked(layout, known),
        RefStorage::Reftable => Ok(None),
    }
}

/// Lists the tables of every stack, and reads no ref. Nothing where refs are in files.
///
/// # Errors
/// [`ScanError`].
pub fn stacks(layout: &Layout) -> Result<Vec<Stack>, ScanError> {
    match layout.storage {
        RefStorage::Files => Ok(Vec::new()),
        RefStorage::Reftable => reftable::list(layout),
    }
}

/// Reads what came into the tables of a repository since `known` was read of them, and the refs in `also` at the same
/// moment. `None` when that cannot be told, and everything is to be read: the stack is not what became of the known one by
/// transactions and compaction, or more came than is read so ([`NEWS_REFS_MAX`], [`NEWS_OLDEST_REFS_MAX`]).
///
/// The work grows with what is in the new tables, not with how many refs there are. A stack of a linked worktree that is
/// not in `known` is not looked at, but for refs in `also`.
///
/// # Errors
/// [`ScanError`].
pub fn news(layout: &Layout, known: &[Stack], also: &[RefName]) -> Result<Option<News>, ScanError> {
    match layout.storage {
        RefStorage::Files => Ok(None),
        RefStorage::Reftable => reftable::news::read(layout, known, also),
    }
}

/// Lists the directories to watch, relative to the git directory, which itself is the empty path. Reads no ref.
///
/// # Errors
/// [`ScanError`].
pub fn directories(layout: &Layout, before_read: &mut dyn FnMut(&Path)) -> Result<Vec<PathBuf>, ScanError> {
    let mut sink = Directories { before_read, found: Vec::new() };
    GitDir::open(layout)?.walk_all(&mut sink)?;
    Ok(sink.found)
}

/// Reads the loose refs and directories at and below one directory, which is relative to the git directory.
///
/// For a directory that has just appeared. What is in it counts before `packed-refs`, so its refs need no second look;
/// what is not in it may be packed. With tables, whose files are no refs, it lists directories only. A directory that
/// is not there (any more) gives an empty scan.
///
/// # Errors
/// [`ScanError`].
pub fn subtree(
    layout: &Layout,
    relative_dir: &Path,
    before_read: &mut dyn FnMut(&Path),
) -> Result<Scan, ScanError> {
    let relative = relative_dir.as_os_str().as_bytes();
    match layout.storage {
        RefStorage::Files => files::subtree(layout, relative, before_read),
        RefStorage::Reftable => {
            let mut sink = Directories { before_read, found: Vec::new() };
            GitDir::open(layout)?.walk_below(relative, &mut sink)?;
            Ok(Scan { directories: sink.found, settled: true, ..Scan::default() })
        }
    }
}
