//! Links the records of one ref into a path from its value before to its value after.
//!
//! The records of a ref are edges between values. Two ways to link them are tried:
//!
//! 1. [`ordered`]: the longest path whose records stand in the order of their times. Exact, one walk, and it knows
//!    the shape of packing: a record that sets the value the ref already has, then its "deletion".
//! 2. [`linked`]: a trail in which only old-to-new decides, for records whose times lie (FACTS.md 9). Taken only
//!    where it explains more than the first, and where the first has no bridge only if it explains everything:
//!    otherwise records of refused updates would join into round trips that never were.
//!
//! A path without a bridge wins over one with a bridge, then the one with more records. There is at most one bridge
//! besides the records that hang on `before` and those that lead to `after`: a group of records that hangs on
//! neither is as likely a refused update, and would invent values the ref never had. Nor does a bridge start right
//! after a recorded deletion, which is what a lone prune or `verify` looks like.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use super::{linked, ordered};
use crate::Target;

/// One recorded update of the ref at hand.
#[derive(Clone, Debug)]
pub(super) struct Line {
    /// Index of its transaction in canonical order.
    pub(super) transaction: usize,
    /// Position among the transaction's updates.
    pub(super) position: usize,
    /// Value before; `None` is "absent or not stated".
    pub(super) old: Option<Target>,
    /// Value after.
    pub(super) new: Option<Target>,
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is a step.
    Step,
    /// It changed nothing.
    NoOp,
    /// A phantom of packing.
    Packing,
    /// It explains what was emitted before.
    Late,
    /// It may explain a later look.
    Deferred,
    /// `old 0 ref`, and the ref has that value.
    Verify,
    /// It starts at a value the ref had, and was not taken.
    Refused,
    /// Nothing leads to it.
    OffPath,
}

/// One step of the path; `by` is the line that explains it, `None` where it is a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) old: Option<Target>,
    pub(super) new: Option<Target>,
    pub(super) by: Option<usize>,
}

/// The path of one ref, and what became of each of its lines.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pub(super) pieces: Vec<Piece>,
    pub(super) fates: Vec<Fate>,
    /// Indices into the emitted changes that were handed in.
    pub(super) explained: Vec<usize>,
    /// Lines that state no old value are taken in another order than that of their times: so a path looks, too, that
    /// lacks its last line, where the ref had each of its values before.
    pub(super) reordered: bool,
}

/// Number of a value of the ref at hand. Absence has [`ABSENT`].
pub(super) type Id = usize;
pub(super) const ABSENT: Id = 0;

/// A line between numbered values; `from` is `None` where the record states no old value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    pub(super) line: usize,
    pub(super) from: Option<Id>,
    pub(super) to: Id,
}

/// One move along a path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Move {
    pub(super) from: Id,
    pub(super) to: Id,
    /// Index of the edge, `None` for the bridge.
    pub(super) by: Option<usize>,
}

/// A way to link the edges.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    pub(super) moves: Vec<Move>,
    /// Edges that set the value the ref had.
    pub(super) no_ops: Vec<usize>,
    /// Edges that are phantoms of packing.
    pub(super) packing: Vec<usize>,
}

impl Path {
    fn explains(&self) -> usize {
        self.recorded() + self.no_ops.len() + self.packing.len()
    }

    fn recorded(&self) -> usize {
        self.moves.iter().filter(|step| step.by.is_some()).count()
    }

    fn rank(&self) -> (bool, usize) {
        (self.moves.iter().all(|step| step.by.is_some()), self.recorded())
    }
}

/// Numbers the values of one ref.
#[derive(Default)]
struct Ids<'a> {
    of: BTreeMap<&'a Target, Id>,
    values: Vec<Option<&'a Target>>,
}

impl<'a> Ids<'a> {
    fn new() -> Self {
        Self { of: BTreeMap::new(), values: vec![None] }
    }

    fn id(&mut self, value: Option<&'a Target>) -> Id {
        let Some(target) = value else { return ABSENT };
        *self.of.entry(target).or_insert_with(|| {
            self.values.push(Some(target));
            self.values.len() - 1
        })
    }
}

/// Links the lines, given in canonical order, into a path.
///
/// `emitted` are changes of this ref that were emitted as observed. A record that explains one of them is late,
/// unless the records as a whole explain what was seen and without it they do not.
pub(super) fn link(
    before: Option<&Target>,
    after: Option<&Target>,
    lines: &[Line],
    emitted: &[(Option<&Target>, Option<&Target>)],
) -> Chain {
    let mut ids = Ids::new();
    let (start, end) = (ids.id(before), ids.id(after));
    let symbolic = [before, after].map(|value| value.is_some_and(|target| target.symbolic().is_some()));
    let mut fates = vec![Fate::NoOp; lines.len()];
    let mut edges: Vec<Edge> =
        (0..).zip(lines).filter_map(|(at, line)| edge(&mut ids, at, line, symbolic)).collect();
    drop_nested(&mut edges);
    let emitted: Vec<(Id, Id)> = emitted.iter().map(|(old, new)| (ids.id(*old), ids.id(*new))).collect();
    let count = ids.values.len();

    let (late, explained) = swallow(&edges, &emitted);
    let rest: Vec<Edge> =
        edges.iter().zip(&late).filter(|(_, late)| !**late).map(|(edge, _)| *edge).collect();
    let mut path = best(start, end, &rest, count);
    let (mut used, mut explained) = (rest, explained);
    let is_whole = path.moves.iter().all(|step| step.by.is_some());
    if !explained.is_empty() && (!is_whole || path.explains() < used.len()) {
        let whole = best(start, end, &edges, count);
        if whole.explains() == edges.len() {
            (path, used, explained) = (whole, edges.clone(), Vec::new());
        }
    }
    for edge in &edges {
        fates[edge.line] = Fate::Late;
    }
    for (edge, fate) in used.iter().zip(judge(start, end, &used, &path, &emitted)) {
        fates[edge.line] = fate;
    }
    let pieces = pieces(&ids, &path, &used);
    let unstated = path.moves.iter().filter_map(|step| step.by).filter(|at| used[*at].from.is_none());
    let reordered = !unstated.is_sorted();
    Chain { pieces, fates, explained, reordered }
}

/// The edge of a line; `None` for what changes nothing.
fn edge<'a>(
    ids: &mut Ids<'a>,
    at: usize,
    line: &'a Line,
    [symbolic_before, symbolic_after]: [bool; 2],
) -> Option<Edge> {
    if line.old == line.new && line.new.is_some() {
        return None;
    }
    let names_ref = [&line.old, &line.new]
        .into_iter()
        .any(|value| value.as_ref().is_some_and(|target| target.symbolic().is_some()));
    // Git 2.47 reports a change of the branch that HEAD names as a change of HEAD (FACTS.md 7).
    if symbolic_before && symbolic_after && !names_ref {
        return None;
    }
    // What a record calls the old object of a symbolic ref is the object that it led to, not its value.
    let stated = line.old.as_ref().filter(|old| !(symbolic_before && old.oid().is_some()));
    Some(Edge { line: at, from: stated.map(|old| ids.id(Some(old))), to: ids.id(line.new.as_ref()) })
}

/// Takes out `0 0` right before another deletion: git nests it in the deletion of a packed ref (FACTS.md 6).
fn drop_nested(edges: &mut Vec<Edge>) {
    let is_nested = |pair: &[Edge]| pair[0].to == ABSENT && pair[0].from.is_none() && pair[1].to == ABSENT;
    let nested: Vec<bool> = edges.windows(2).map(is_nested).collect();
    let mut nested = nested.into_iter();
    edges.retain(|_| !nested.next().unwrap_or(false));
}

/// The better of the two ways to link.
fn best(start: Id, end: Id, edges: &[Edge], values: usize) -> Path {
    let path = quiet(start, end, edges, ordered::path(start, end, edges, values));
    if path.explains() == edges.len() {
        return path;
    }
    let other = quiet(start, end, edges, linked::path(start, end, edges, values));
    // A path in order of time that is whole is left only for one that leaves nothing unexplained.
    let trusted = path.rank().0 && other.explains() < edges.len();
    if !trusted && other.rank() > path.rank() { other } else { path }
}

/// Takes out `v -> absent -> v` where `v` is the value before and after: that is packing (FACTS.md 2), or else a
/// deletion undone, and those two cannot be told apart. Packing states what it deletes.
fn quiet(start: Id, end: Id, edges: &[Edge], mut path: Path) -> Path {
    if start != end {
        return path;
    }
    let mut kept: Vec<Move> = Vec::with_capacity(path.moves.len());
    for step in path.moves.drain(..) {
        let returns = step.from == ABSENT && step.to == start;
        match kept.last() {
            Some(last)
                if returns && last.from == start && last.by.is_none_or(|at| edges[at].from.is_some()) =>
            {
                path.packing.extend(last.by.into_iter().chain(step.by));
                kept.pop();
            }
            _ => kept.push(step),
        }
    }
    path.moves = kept;
    path
}

/// Marks the edges that explain emitted changes: for each change the shortest way from its old to its new value.
/// Also gives the indices of the changes explained.
fn swallow(edges: &[Edge], emitted: &[(Id, Id)]) -> (Vec<bool>, Vec<usize>) {
    let mut late = vec![false; edges.len()];
    let mut explained = Vec::new();
    for (index, (old, new)) in emitted.iter().enumerate() {
        if let Some(way) = shortest(*old, *new, edges, &late) {
            for at in way {
                late[at] = true;
            }
            explained.push(index);
        }
    }
    (late, explained)
}

fn shortest(old: Id, new: Id, edges: &[Edge], taken: &[bool]) -> Option<Vec<usize>> {
    let mut from: BTreeMap<Option<Id>, Vec<usize>> = BTreeMap::new();
    for (at, edge) in edges.iter().enumerate().filter(|(at, _)| !taken[*at]) {
        from.entry(edge.from).or_default().push(at);
    }
    let mut came_by: BTreeMap<Id, (Id, usize)> = BTreeMap::new();
    let mut queue = VecDeque::from([old]);
    while let Some(value) = queue.pop_front() {
        // Edges that state no old value leave from anywhere: once from the first value is enough.
        let unstated = from.remove(&None).unwrap_or_default();
        let stated = from.remove(&Some(value)).unwrap_or_default();
        for at in stated.into_iter().chain(unstated) {
            let to = edges[at].to;
            if to != old && !came_by.contains_key(&to) {
                came_by.insert(to, (value, at));
                queue.push_back(to);
            }
        }
        if came_by.contains_key(&new) {
            break;
        }
    }
    let mut way = Vec::new();
    let mut value = new;
    while value != old {
        let (before, at) = came_by.get(&value)?;
        way.push(*at);
        value = *before;
    }
    Some(way)
}

/// What became of each edge.
fn judge(start: Id, end: Id, edges: &[Edge], path: &Path, emitted: &[(Id, Id)]) -> Vec<Fate> {
    let mut fates = vec![Fate::OffPath; edges.len()];
    let mut open = vec![true; edges.len()];
    let mut settle = |at: usize, fate: Fate| {
        fates[at] = fate;
        open[at] = false;
    };
    path.moves.iter().filter_map(|step| step.by).for_each(|at| settle(at, Fate::Step));
    path.no_ops.iter().for_each(|at| settle(*at, Fate::NoOp));
    path.packing.iter().for_each(|at| settle(*at, Fate::Packing));
    let last = path.moves.iter().filter_map(|step| step.by).max();
    let mut had = alloc::collections::BTreeSet::from([start]);
    had.extend(path.moves.iter().map(|step| step.to));
    for (at, edge) in edges.iter().enumerate().filter(|(at, _)| open[*at]) {
        let touches = |(old, new): &(Id, Id)| edge.from == Some(*old) || edge.to == *new;
        fates[at] = if edge.to == ABSENT && edge.from.is_some_and(|from| had.contains(&from)) {
            Fate::Verify
        } else if edge.from.is_none() && edge.to == end {
            Fate::NoOp
        } else if emitted.iter().any(touches) {
            Fate::Late
        } else if edge.from.is_none_or(|from| had.contains(&from)) {
            Fate::Refused
        } else {
            Fate::OffPath
        };
    }
    defer(end, last, edges, &open, &mut fates);
    fates
}

/// Marks what may have happened after the look: records that hang on the value now, and those that hang on these.
fn defer(end: Id, last: Option<usize>, edges: &[Edge], open: &[bool], fates: &mut [Fate]) {
    let mut from: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
    let mut reached = Vec::from([end]);
    for (at, edge) in edges.iter().enumerate() {
        if !open[at] || matches!(fates[at], Fate::Verify | Fate::NoOp | Fate::Late) {
            continue;
        }
        match edge.from {
            Some(value) => from.entry(value).or_default().push(at),
            None if last.is_none_or(|last| at > last) => {
                fates[at] = Fate::Deferred;
                reached.push(edge.to);
            }
            None => {}
        }
    }
    while let Some(value) = reached.pop() {
        for at in from.remove(&value).unwrap_or_default() {
            fates[at] = Fate::Deferred;
            reached.push(edges[at].to);
        }
    }
}

/// The path in values.
fn pieces(ids: &Ids<'_>, path: &Path, edges: &[Edge]) -> Vec<Piece> {
    let value = |id: Id| ids.values[id].cloned();
    let piece = |step: &Move| Piece {
        old: value(step.from),
        new: value(step.to),
        by: step.by.map(|at| edges[at].line),
    };
    path.moves.iter().map(piece).collect()
}
