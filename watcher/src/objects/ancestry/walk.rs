//! The walk: what is painted, what is pending, and when it is over. The proofs are in the parent module.

mod index;

use std::time::Instant;

use gix::ObjectId;

use self::index::has_level;
use super::node::{NEW, Node, OLD, Parents, Pending, PendingEntry, can_contain};
use super::{
    Commits, GENERATION_INFINITE, Hole, Indexed, MISSING_OLD_COMMITS_MAX, OTHER_SIDE_EVERY, STEPS_PER_READ,
};
use crate::objects::{Budget, Relation, UnknownReason};

/// The index contradicts itself or the objects.
#[derive(Debug)]
pub(super) struct WrongIndex;

/// Whether an index is of use.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    /// There may be one, it is not open yet.
    Later,
    /// It is open.
    Open,
    /// There is none, or it is not to be believed.
    Never,
}

/// Why a step was not made.
enum Stop {
    Spent,
    WrongIndex,
}

/// What giving paint came upon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Given {
    /// The old commit was to be given `NEW`.
    MetOld,
    /// Nothing special.
    ToParent {
        /// The parent's, or the highest of all parents'.
        generation: u32,
    },
}

pub(super) struct Walk<'a, C> {
    commits: &'a mut C,
    index: Index,
    nodes: Vec<Node>,
    by_id: gix::hashtable::HashMap<ObjectId, u32>,
    read_parents: Vec<ObjectId>,
    /// Pending with `NEW` only. Those that got `OLD` since are skipped when they come up.
    pending_new: Pending,
    /// Pending with `OLD`, or both.
    pending_old: Pending,
    /// Pending with `NEW` only that may contain the old commit: at 0 it is proven to be no fast-forward.
    candidates: u32,
    /// A commit with both paints was seen.
    shared: bool,
    /// The first hole's reason.
    hole: Option<UnknownReason>,
    old: ObjectId,
    new: ObjectId,
    old_generation: u32,
    reads: u32,
    cost_left: u64,
    deadline: Option<Instant>,
    turn: u32,
    /// Whose parents are being painted.
    child: Option<u32>,
    scratch: Vec<ObjectId>,
    scratch_indexed: Vec<(ObjectId, Indexed)>,
}

impl<'a, C: Commits> Walk<'a, C> {
    pub(super) fn new(
        commits: &'a mut C,
        old: ObjectId,
        new: ObjectId,
        budget: &Budget,
        index: Index,
    ) -> Self {
        Self {
            commits,
            index,
            nodes: Vec::new(),
            by_id: gix::hashtable::HashMap::default(),
            read_parents: Vec::new(),
            pending_new: Pending::new(),
            pending_old: Pending::new(),
            candidates: 0,
            shared: false,
            hole: None,
            old,
            new,
            old_generation: GENERATION_INFINITE,
            reads: 0,
            cost_left: u64::from(budget.commits_max) * STEPS_PER_READ,
            deadline: budget.deadline,
            turn: 0,
            child: None,
            scratch: Vec::new(),
            scratch_indexed: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Relation, WrongIndex> {
        match self.search() {
            Ok(relation) => Ok(relation),
            Err(Stop::WrongIndex) => Err(WrongIndex),
            Err(Stop::Spent) => Ok(Relation::Unknown(self.undecided())),
        }
    }

    fn search(&mut self) -> Result<Relation, Stop> {
        self.add(self.new, NEW, None)?;
        if let Some(reason) = self.hole {
            return Ok(Relation::Unknown(reason));
        }
        // Mostly the new commit's parent is the old one: then that need not even be read.
        if let Parents::Read(from, to) = self.nodes[0].parents
            && self.read_parents[from as usize..to as usize].contains(&self.old)
        {
            return Ok(Relation::FastForward);
        }
        self.add(self.old, OLD, None)?;
        if self.hole == Some(UnknownReason::NotACommit) {
            return Ok(Relation::Unknown(UnknownReason::NotACommit));
        }
        if self.hole.is_some() {
            self.cost_left = self.cost_left.min(MISSING_OLD_COMMITS_MAX * STEPS_PER_READ);
        }
        while self.candidates > 0 {
            self.maybe_open_index()?;
            if self.candidates == 0 {
                break;
            }
            let Some(next) = self.next_for_containment() else {
                return Ok(Relation::Unknown(self.undecided()));
            };
            if self.paint_parents(next)? == Given::MetOld {
                return Ok(Relation::FastForward);
            }
        }
        while !self.shared {
            self.maybe_open_index()?;
            let Some(next) = self.next_of_any() else {
                let is_whole = !self.nodes.iter().any(Node::is_hole);
                return Ok(if is_whole {
                    Relation::Unrelated
                } else {
                    Relation::Unknown(UnknownReason::Diverged)
                });
            };
            if self.paint_parents(next)? == Given::MetOld {
                // Proven to be impossible, so what it was proven from is wrong: a level in the index.
                return Err(Stop::WrongIndex);
            }
        }
        Ok(Relation::Forced)
    }

    /// What is to be said when the walk ends undecided.
    fn undecided(&self) -> UnknownReason {
        let proven_diverged = self.candidates == 0 && self.nodes.len() > 1;
        if proven_diverged {
            UnknownReason::Diverged
        } else {
            self.hole.unwrap_or(UnknownReason::BudgetSpent)
        }
    }

    /// The next commit that can help to tell whether new contains old.
    ///
    /// On the old side those in the index cannot: paint from there only reaches commits that are no candidates anyway.
    fn next_for_containment(&mut self) -> Option<u32> {
        self.skip_settled();
        let of_new = self.pending_new.peek().copied();
        let of_old =
            self.pending_old.peek().copied().filter(|(generation, ..)| *generation == GENERATION_INFINITE);
        self.choose(of_new, of_old)
    }

    fn next_of_any(&mut self) -> Option<u32> {
        self.skip_settled();
        self.choose(self.pending_new.peek().copied(), self.pending_old.peek().copied())
    }

    fn skip_settled(&mut self) {
        while let Some((_, _, at)) = self.pending_new.peek()
            && !self.nodes[at.0 as usize].is_pending_new()
        {
            self.pending_new.pop();
        }
        while let Some((_, _, at)) = self.pending_old.peek()
            && !self.nodes[at.0 as usize].is_pending_old()
        {
            self.pending_old.pop();
        }
    }

    fn choose(&mut self, of_new: Option<PendingEntry>, of_old: Option<PendingEntry>) -> Option<u32> {
        let take_new = match (of_new, of_old) {
            (None, None) => return None,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (Some(new), Some(old)) => {
                self.turn = self.turn.wrapping_add(1);
                ((new.0, new.1) >= (old.0, old.1)) != self.turn.is_multiple_of(OTHER_SIDE_EVERY)
            }
        };
        let taken = if take_new { self.pending_new.pop() } else { self.pending_old.pop() };
        taken.map(|(_, _, at)| at.0)
    }

    /// Gives the paint of a pending commit to its parents.
    fn paint_parents(&mut self, at: u32) -> Result<Given, Stop> {
        let node = &mut self.nodes[at as usize];
        let paint = node.paint;
        let was_candidate = node.is_pending_new() && can_contain(node, self.old, self.old_generation);
        let (generation, parents) = (node.generation, node.parents);
        node.done |= paint;
        self.child = Some(at);
        let mut highest = 0;
        match parents {
            Parents::Hole => {}
            Parents::Read(from, to) => {
                for parent in from..to {
                    let id = self.read_parents[parent as usize];
                    match self.give(id, paint, None)? {
                        Given::MetOld => return Ok(Given::MetOld),
                        Given::ToParent { generation } => highest = highest.max(generation),
                    }
                }
            }
            Parents::Indexed(position) => {
                let mut indexed = std::mem::take(&mut self.scratch_indexed);
                if !self.commits.indexed_parents(position, &mut indexed) {
                    return Err(Stop::WrongIndex);
                }
                for (id, entry) in &indexed {
                    match self.give(*id, paint, Some(*entry))? {
                        Given::MetOld => return Ok(Given::MetOld),
                        Given::ToParent { generation } => highest = highest.max(generation),
                    }
                }
                self.scratch_indexed = indexed;
            }
        }
        // The definition of a level: a parent too many, too few or another is found out by it.
        if generation != GENERATION_INFINITE && Some(generation) != highest.checked_add(1) {
            return Err(Stop::WrongIndex);
        }
        // Not before its parents are counted: a budget that ends between them must not look like a proof.
        if was_candidate {
            self.candidates -= 1;
        }
        Ok(Given::ToParent { generation: highest })
    }

    /// Paints a parent.
    fn give(&mut self, id: ObjectId, paint: u8, entry: Option<Indexed>) -> Result<Given, Stop> {
        if paint & NEW != 0 && id == self.old {
            return Ok(Given::MetOld);
        }
        let at = match self.by_id.get(&id).copied() {
            Some(at) => {
                self.repaint(at, paint);
                at
            }
            None => self.add(id, paint, entry)?,
        };
        Ok(Given::ToParent { generation: self.nodes[at as usize].generation })
    }

    fn repaint(&mut self, at: u32, paint: u8) {
        let node = &mut self.nodes[at as usize];
        let added = paint & !node.paint;
        if added == 0 {
            return;
        }
        if added & OLD != 0 {
            // Fact 2: it is no candidate any more. Its parents have to learn of OLD.
            if node.is_pending_new() && can_contain(node, self.old, self.old_generation) {
                self.candidates -= 1;
            }
            if !node.is_hole() {
                self.pending_old.push((node.generation, node.time, std::cmp::Reverse(at)));
            }
        }
        // Where NEW is added it has OLD: what is below cannot contain the old commit and need not learn of NEW.
        node.paint |= added;
        self.shared = true;
    }

    /// Takes up a commit that was not seen before.
    fn add(&mut self, id: ObjectId, paint: u8, entry: Option<Indexed>) -> Result<u32, Stop> {
        let entry =
            entry.or_else(|| (self.index == Index::Open).then(|| self.commits.look_up(&id)).flatten());
        self.pay(if entry.is_some() { 1 } else { STEPS_PER_READ })?;
        let at = u32::try_from(self.nodes.len()).map_err(|_| Stop::Spent)?;
        let (generation, time, parents) = match entry {
            Some(entry) if !has_level(entry) => return Err(Stop::WrongIndex),
            Some(entry) => (entry.generation, entry.time, Parents::Indexed(entry.position)),
            None => self.read(&id)?,
        };
        let node = Node { id, paint, done: 0, generation, time, parents };
        if node.is_pending_new() && can_contain(&node, self.old, self.old_generation) {
            self.candidates += 1;
        }
        if !node.is_hole() {
            let side = if paint == NEW { &mut self.pending_new } else { &mut self.pending_old };
            side.push((generation, time, std::cmp::Reverse(at)));
        }
        self.by_id.insert(id, at);
        self.nodes.push(node);
        Ok(at)
    }

    fn read(&mut self, id: &ObjectId) -> Result<(u32, i64, Parents), Stop> {
        self.reads += 1;
        match self.commits.read(id, &mut self.scratch) {
            Ok(time) => {
                let from = u32::try_from(self.read_parents.len()).map_err(|_| Stop::Spent)?;
                self.read_parents.append(&mut self.scratch);
                let to = u32::try_from(self.read_parents.len()).map_err(|_| Stop::Spent)?;
                Ok((GENERATION_INFINITE, time, Parents::Read(from, to)))
            }
            Err(hole) => {
                let reason = self.reason(hole);
                self.hole.get_or_insert(reason);
                // The oldest of all: nothing is to be had from it.
                Ok((GENERATION_INFINITE, i64::MIN, Parents::Hole))
            }
        }
    }

    fn reason(&mut self, hole: Hole) -> UnknownReason {
        match hole {
            // The two asked for; a parent that is no commit is damage.
            Hole::NotACommit if self.nodes.len() < 2 => UnknownReason::NotACommit,
            Hole::NotACommit | Hole::Unreadable => UnknownReason::Unreadable,
            Hole::Missing => {
                let child = self.child.map(|at| self.nodes[at as usize].id);
                let cut = child.is_some_and(|child| self.commits.is_shallow(&child));
                if cut { UnknownReason::Shallow } else { UnknownReason::MissingObject }
            }
        }
    }

    fn pay(&mut self, cost: u64) -> Result<(), Stop> {
        self.cost_left = self.cost_left.checked_sub(cost).ok_or(Stop::Spent)?;
        let is_time_to_look = cost > 1 || self.nodes.len().is_multiple_of(256);
        if is_time_to_look && self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Err(Stop::Spent);
        }
        Ok(())
    }
}
