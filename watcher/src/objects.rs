//! Facts from a repository's object database: how two commits relate, and what a tag finally names.
//!
//! Everything here is derived from the objects themselves, which their names vouch for: history is the raw history,
//! as the commits tell it. `refs/replace`, `info/grafts` and the cut of a shallow repository change what some commands
//! of Git *show*; they do not change which commits a push added or dropped, so they are not applied. Where an object
//! that matters cannot be read, the answer is [`Relation::Unknown`]: a guess is never given.

mod ancestry;
mod commit;
mod database;
mod graph;
mod packs;
mod peel;

#[cfg(test)]
mod tests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Instant;

use refwatch_core::{Forward, ObjectFormat, ObjectId};

pub use self::peel::{PEEL_DEPTH_MAX, PeelError, Peeled, PeeledKind};

use self::ancestry::{Commits, Hole, Indexed};
use self::database::Database;
use self::graph::CommitGraph;

/// Commits read from objects before the commit-graph is consulted: most questions end sooner than the file is checked.
const COMMITS_BEFORE_GRAPH: u32 = 256;
/// The same where the commit-graph in hand has been checked already.
const COMMITS_BEFORE_CHECKED_GRAPH: u32 = 16;

/// Inflates the zlib stream at the start of `input` into `out`, and says how long the stream is; `None` unless it is sound
/// and fills `out` exactly.
pub(crate) fn inflate(input: &[u8], out: &mut [u8]) -> Option<usize> {
    let (status, consumed, written) = gix::zlib::Inflate::default().once(input, out).ok()?;
    (status == gix::zlib::Status::StreamEnd && written == out.len()).then_some(consumed)
}

/// How much work one question may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Most commits to read. One found in the commit-graph counts as a sixteenth.
    pub commits_max: u32,
    /// When to stop; looked at between commits.
    pub deadline: Option<Instant>,
}

/// How a commit relates to the one that a ref held before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Relation {
    /// The new commit is the old one or contains it.
    FastForward,
    /// The new commit does not contain the old one; they share history.
    Forced,
    /// They share no history.
    Unrelated,
    /// Not proven; see the reason.
    Unknown(UnknownReason),
}

/// Why a relation is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnknownReason {
    /// An object that decides is not in the repository: collected, still in quarantine, or never fetched.
    MissingObject,
    /// History is cut at a commit that decides (the repository is shallow).
    Shallow,
    /// One of the two names something else than a commit; an annotated tag has to be peeled first.
    NotACommit,
    /// An object that decides, or the object database itself, cannot be read.
    Unreadable,
    /// The budget ended first.
    BudgetSpent,
    /// The new commit provably does not contain the old one, but whether they share history could not be told, for
    /// lack of objects or of budget: forced or unrelated, surely no fast-forward.
    Diverged,
}

impl Relation {
    /// The value that an event carries.
    pub const fn forward(self) -> Forward {
        match self {
            Relation::FastForward => Forward::FastForward,
            Relation::Forced | Relation::Unknown(UnknownReason::Diverged) => Forward::Forced,
            Relation::Unrelated => Forward::Unrelated,
            Relation::Unknown(_) => Forward::Unknown,
        }
    }
}

/// Why an object database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no `objects` directory.
    #[error("{} is no repository: it has no objects directory", git_dir.display())]
    NoObjects {
        /// The directory looked at.
        git_dir: PathBuf,
    },
    /// The `objects` directory cannot be looked at.
    #[error("cannot look at {}", path.display())]
    Unreadable {
        /// The `objects` directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

/// One repository's object database.
///
/// Opening costs one stat. Packs are mapped when an object is looked for in them, stay mapped for the next question,
/// and are let go once they are gone from disk or when [`Objects::release`] is called; no file stays open. Objects that
/// arrive after opening, loose or in new packs, are found. Alternates are followed, from `objects/info/alternates` only.
/// Nothing is ever written.
pub struct Objects {
    database: Database,
    graph: CommitGraph,
    git_dir: PathBuf,
    /// Objects read before the commit-graph is consulted; `None` for the usual. Tests set it.
    commits_before_graph: Option<u32>,
}

impl Objects {
    /// Opens the object database of `git_dir`, the directory that holds `objects`.
    ///
    /// # Errors
    /// [`OpenError`] where there is none, or it cannot be looked at.
    pub fn open(git_dir: &Path, format: ObjectFormat) -> Result<Self, OpenError> {
        let path = git_dir.join("objects");
        match std::fs::metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(OpenError::NoObjects { git_dir: git_dir.to_owned() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(OpenError::NoObjects { git_dir: git_dir.to_owned() });
            }
            Err(source) => return Err(OpenError::Unreadable { path, source }),
        }
        let kind = match format {
            ObjectFormat::Sha1 => gix::hash::Kind::Sha1,
            ObjectFormat::Sha256 => gix::hash::Kind::Sha256,
        };
        Ok(Self {
            database: Database::new(path, kind),
            graph: CommitGraph::new(kind),
            git_dir: git_dir.to_owned(),
            commits_before_graph: None,
        })
    }

    /// Tells how `new` relates to `old`, both commits.
    ///
    /// What is claimed is proven, whatever commit dates say and however stale the commit-graph is. Two equal ids are a
    /// fast-forward without a look at the object. A missing `old` still gives [`Relation::FastForward`] where the
    /// history of `new` names it within a thousand commits.
    pub fn relation(&mut self, old: ObjectId, new: ObjectId, budget: &Budget) -> Relation {
        if old == new {
            return Relation::FastForward;
        }
        let (old, new) = (to_gix(old), to_gix(new));
        if old.kind() != self.database.kind() || new.kind() != self.database.kind() {
            return Relation::Unknown(UnknownReason::MissingObject);
        }
        self.guarded(|this| {
            let mut history = History {
                database: &mut this.database,
                graph: &mut this.graph,
                git_dir: &this.git_dir,
                commits_before_graph: this.commits_before_graph,
                shallow: None,
                body: Vec::new(),
            };
            ancestry::relation(&mut history, old, new, budget)
        })
        .unwrap_or(Relation::Unknown(UnknownReason::Unreadable))
    }

    /// Follows tag objects from `oid` to what they finally name.
    ///
    /// Of the last object only the header is read.
    ///
    /// # Errors
    /// [`PeelError`] where an object on the way is missing or unreadable, or there are too many tags on the way.
    pub fn peel(&mut self, oid: ObjectId) -> Result<Peeled, PeelError> {
        if to_gix(oid).kind() != self.database.kind() {
            return Err(PeelError::Missing { oid });
        }
        self.guarded(|this| peel::peel(&mut this.database, oid)).unwrap_or(Err(PeelError::Unreadable { oid }))
    }

    /// Unmaps every pack and the commit-graph; the next question maps again what it needs.
    ///
    /// A pack that was deleted takes up its space on disk for as long as it is mapped.
    pub fn release(&mut self) {
        self.database.release();
        self.graph.release();
    }

    /// Asks the database after a look at whether it is still there; `None` where it is not.
    ///
    /// A damaged file must not end the daemon: a panic in the decoders, which bounds-check what they read, counts as
    /// unreadable, and all that was in memory is dropped.
    fn guarded<T>(&mut self, ask: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if !self.database.begin() {
            self.release();
            return None;
        }
        let answer = catch_unwind(AssertUnwindSafe(|| ask(self)));
        if answer.is_err() {
            self.release();
        }
        answer.ok()
    }
}

/// History as one question sees it: the object database, and the commit-graph once it pays.
struct History<'a> {
    database: &'a mut Database,
    graph: &'a mut CommitGraph,
    git_dir: &'a Path,
    commits_before_graph: Option<u32>,
    /// The file `shallow`, read when the first object is missing.
    shallow: Option<Vec<u8>>,
    /// Reused for each object.
    body: Vec<u8>,
}

impl Commits for History<'_> {
    fn read(&mut self, id: &gix::hash::oid, parents: &mut Vec<gix::ObjectId>) -> Result<i64, Hole> {
        match self.database.object(id, &mut self.body) {
            Ok(gix::objs::Kind::Commit) => commit::parse(&self.body, parents).ok_or(Hole::Unreadable),
            Ok(gix::objs::Kind::Tree | gix::objs::Kind::Blob | gix::objs::Kind::Tag) => Err(Hole::NotACommit),
            Err(database::Miss::Missing) => Err(Hole::Missing),
            Err(database::Miss::Unreadable) => Err(Hole::Unreadable),
        }
    }

    fn is_shallow(&mut self, id: &gix::hash::oid) -> bool {
        let path = self.git_dir.join("shallow");
        let lines = self.shallow.get_or_insert_with(|| std::fs::read(path).unwrap_or_default());
        let hex = id.to_hex().to_string();
        lines.split(|byte| *byte == b'\n').any(|line| line == hex.as_bytes())
    }

    fn reads_before_index(&self) -> u32 {
        self.commits_before_graph.unwrap_or(if self.graph.is_checked() {
            COMMITS_BEFORE_CHECKED_GRAPH
        } else {
            COMMITS_BEFORE_GRAPH
        })
    }

    fn open_index(&mut self) -> bool {
        self.graph.open(&self.database.directories())
    }

    fn reject_index(&mut self) {
        self.graph.reject();
    }

    fn look_up(&self, id: &gix::hash::oid) -> Option<Indexed> {
        self.graph.look_up(id)
    }

    fn indexed_parents(&self, position: u32, parents: &mut Vec<(gix::ObjectId, Indexed)>) -> bool {
        self.graph.parents(position, parents)
    }
}

fn to_gix(id: ObjectId) -> gix::ObjectId {
    match id {
        ObjectId::Sha1(raw) => gix::ObjectId::Sha1(raw),
        ObjectId::Sha256(raw) => gix::ObjectId::Sha256(raw),
    }
}
