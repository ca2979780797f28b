//! Whether one commit contains another, proven with as few commits as possible.
//!
//! Two paints flow from commits to their parents: `NEW` from the new commit, `OLD` from the old one. A commit that has
//! a paint is the painter or an ancestor of it. Three facts end the walk, none of which leans on a date:
//!
//! 1. `NEW` reaches the old commit: fast-forward.
//! 2. A commit with `OLD` (other than the old one) is an ancestor of the old commit, so it cannot contain it: history
//!    has no cycles, as a commit's name is a hash of its parents' names. Hence once *every pending commit that has
//!    `NEW` also has `OLD`*, the old commit is not in the new one's history. For take any path from new down to old and
//!    its last commit x before the first one without `NEW`: x has `NEW`, its parent on the path has not, so x is
//!    pending, so x has `OLD`, so x would be an ancestor of old as well as contain it. An amended commit is thus told
//!    after three commits, whatever the size of the history below.
//! 3. With a commit-graph, a commit whose generation is not above the old one's cannot contain it; nor can any commit
//!    in the graph if the old one is not in it, since a graph holds all ancestors of what it holds. Such a commit
//!    counts like one with `OLD` in 2.
//!
//! After 2 and 3 only shared history is asked for: forced as soon as some commit has both paints, unrelated when
//! everything has been painted and none has.
//!
//! A commit that cannot be read is a hole: its parents get no paint. It keeps `NEW` pending for ever, so nothing is
//! claimed past it, unless it gets `OLD` too: then fact 2 holds for it, whatever it contains.
//!
//! Commits are taken in order of generation and date, the new side first, because that meets early what is to be met.
//! Where dates lie this takes longer, but every [`OTHER_SIDE_EVERY`]th step takes the other side, so that neither can
//! starve: the walk costs at most so many times what the better order would have.

mod node;
mod walk;

#[cfg(test)]
mod tests;

use gix::ObjectId;

use super::{Budget, Relation, UnknownReason};

/// How often the side is taken whose turn it is not by generation and date.
const OTHER_SIDE_EVERY: u32 = 8;
/// Steps in the commit-graph that cost as much as reading one commit.
const STEPS_PER_READ: u64 = 16;
/// Commits to read in search of an old commit that is itself missing.
const MISSING_OLD_COMMITS_MAX: u64 = 1_000;
/// Generation of a commit that is not in the commit-graph: above all others.
const GENERATION_INFINITE: u32 = u32::MAX;

/// Why a commit's parents are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hole {
    /// It is not there.
    Missing,
    /// It is there, but cannot be read.
    Unreadable,
    /// It is another kind of object.
    NotACommit,
}

/// What the commit-graph says about a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Indexed {
    /// Where to find its parents.
    pub(super) position: u32,
    /// Its topological level: 1 for a root, else one more than the highest of its parents.
    pub(super) generation: u32,
    /// Its date in seconds.
    pub(super) time: i64,
}

/// Where commits are read from.
pub(super) trait Commits {
    /// Reads a commit's parents, and its date in seconds: an order to look in, nothing more.
    fn read(&mut self, id: &gix::hash::oid, parents: &mut Vec<ObjectId>) -> Result<i64, Hole>;
    /// Whether the repository is known to lack the parents of this commit.
    fn is_shallow(&mut self, id: &gix::hash::oid) -> bool;
    /// Commits to read before the index is opened.
    fn reads_before_index(&self) -> u32;
    /// Makes the index (a commit-graph) ready; false where there is none.
    fn open_index(&mut self) -> bool;
    /// Puts the index away for good: it was found to be wrong.
    fn reject_index(&mut self);
    /// Finds a commit in the index. The index holds all ancestors of what it holds.
    fn look_up(&self, id: &gix::hash::oid) -> Option<Indexed>;
    /// Reads the parents of an indexed commit; false where the index is wrong.
    fn indexed_parents(&self, position: u32, parents: &mut Vec<(ObjectId, Indexed)>) -> bool;
}

/// Tells how `new` relates to `old`; the two differ.
pub(super) fn relation(
    commits: &mut impl Commits,
    old: ObjectId,
    new: ObjectId,
    budget: &Budget,
) -> Relation {
    match walk::Walk::new(&mut *commits, old, new, budget, walk::Index::Later).run() {
        Ok(relation) => relation,
        Err(walk::WrongIndex) => {
            commits.reject_index();
            // Nothing can contradict the objects themselves.
            walk::Walk::new(commits, old, new, budget, walk::Index::Never)
                .run()
                .unwrap_or(Relation::Unknown(UnknownReason::Unreadable))
        }
    }
}
