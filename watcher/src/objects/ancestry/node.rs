//! What the walk knows of a commit.

use std::collections::BinaryHeap;

use gix::ObjectId;

use super::GENERATION_INFINITE;

/// An ancestor of the new commit, or that itself.
pub(super) const NEW: u8 = 1;
/// An ancestor of the old commit, or that itself.
pub(super) const OLD: u8 = 2;

#[derive(Clone, Copy)]
pub(super) enum Parents {
    /// In `Walk::read_parents`, from and to.
    Read(u32, u32),
    /// In the index, at this position.
    Indexed(u32),
    /// Not known.
    Hole,
}

pub(super) struct Node {
    pub(super) id: ObjectId,
    /// Which painters it is an ancestor of, as far as seen.
    pub(super) paint: u8,
    /// Which paints its parents have been given.
    pub(super) done: u8,
    pub(super) generation: u32,
    pub(super) time: i64,
    pub(super) parents: Parents,
}

impl Node {
    /// New-painted, its parents still to be painted, and not known to be an ancestor of the old commit.
    pub(super) fn is_pending_new(&self) -> bool {
        self.paint == NEW && self.done & NEW == 0
    }

    pub(super) fn is_pending_old(&self) -> bool {
        self.paint & OLD != 0 && self.done & OLD == 0
    }

    pub(super) fn is_hole(&self) -> bool {
        matches!(self.parents, Parents::Hole)
    }
}

/// Order of the pending: generation, then date, then the one seen first.
pub(super) type PendingEntry = (u32, i64, std::cmp::Reverse<u32>);

/// Commits whose parents are still to be painted.
pub(super) type Pending = BinaryHeap<PendingEntry>;

/// Fact 3: whether generations leave it open that `node` contains `old`.
pub(super) fn can_contain(node: &Node, old: ObjectId, old_generation: u32) -> bool {
    node.generation == GENERATION_INFINITE || (node.generation > old_generation && node.id != old)
}
