//! A trail through records in which only old-to-new decides, whatever their times say.
//!
//! The longest trail of a graph cannot be found in bounded time; this finds a trail that is whole wherever the
//! records are (Hierholzer's way: a path, then round trips spliced in), and is linear in the number of records but
//! for a fixed number of rounds.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use super::chain::{ABSENT, Edge, Id, Move, Path};

/// Rounds in which round trips are looked for.
const ROUNDS_MAX: usize = 4;

struct Graph<'a> {
    edges: &'a [Edge],
    /// Where each edge leaves from; `None` for one that takes no part.
    sources: Vec<Option<Id>>,
    /// Edges by the value they leave from, in canonical order.
    leaving: Vec<Vec<usize>>,
    used: Vec<bool>,
}

/// Links the edges, ignoring the order given except to choose between equals.
pub(super) fn path(start: Id, end: Id, edges: &[Edge], values: usize) -> Path {
    let mut path = Path::default();
    let mut sources: Vec<Option<Id>> = edges.iter().map(|edge| edge.from).collect();
    let packed = set_packing_aside(start, end, edges, &mut path);
    resolve(start, end, edges, &packed, values, &mut sources);
    let mut leaving = vec![Vec::new(); values];
    for (at, source) in sources.iter_mut().enumerate() {
        if packed.contains(&at) {
            *source = None;
        }
        if let Some(source) = source {
            leaving[*source].push(at);
        }
    }
    let mut graph = Graph { edges, sources, leaving, used: vec![false; edges.len()] };
    let mut trail = match graph.way(start, end) {
        Some(way) => graph.moves(&way),
        None => graph.bridged(start, end),
    };
    for _ in 0..ROUNDS_MAX {
        if !graph.splice(start, &mut trail) {
            break;
        }
    }
    path.moves = trail;
    path
}

/// Pairs of "set to v, whatever it was" and "v deleted", as packing leaves them. One arrival at `v` is kept where
/// the ref could not have had that value otherwise, and one deletion where it ends deleted.
fn set_packing_aside(start: Id, end: Id, edges: &[Edge], path: &mut Path) -> BTreeSet<usize> {
    let mut sets: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
    let mut prunes: BTreeMap<Id, Vec<usize>> = BTreeMap::new();
    let mut reached = BTreeSet::from([start]);
    for (at, edge) in edges.iter().enumerate() {
        match edge.from {
            None => sets.entry(edge.to).or_default().push(at),
            Some(from) if edge.to == ABSENT => prunes.entry(from).or_default().push(at),
            Some(_) => drop(reached.insert(edge.to)),
        }
    }
    let deletions: usize = prunes.values().map(Vec::len).sum();
    let mut left = deletions;
    let mut packed = BTreeSet::new();
    for (value, prunes) in &prunes {
        let sets = sets.get(value).map_or(&[][..], Vec::as_slice);
        let spare = sets.len() - usize::from(!reached.contains(value)).min(sets.len());
        let keep = usize::from(end == ABSENT && left == prunes.len());
        let pairs = spare.min(prunes.len() - keep.min(prunes.len()));
        left -= pairs;
        packed.extend(sets.iter().rev().take(pairs));
        packed.extend(prunes.iter().take(pairs));
    }
    path.packing.extend(&packed);
    packed
}

/// Gives each edge that states no old value one to leave from: a value that more edges arrive at than leave,
/// absence first.
fn resolve(
    start: Id,
    end: Id,
    edges: &[Edge],
    packed: &BTreeSet<usize>,
    values: usize,
    sources: &mut [Option<Id>],
) {
    let mut surplus = vec![0_i64; values];
    surplus[start] += 1;
    surplus[end] -= 1;
    for (_, edge) in edges.iter().enumerate().filter(|(at, _)| !packed.contains(at)) {
        surplus[edge.to] += 1;
        if let Some(from) = edge.from {
            surplus[from] -= 1;
        }
    }
    let mut loose: BTreeSet<Id> = (0..values).filter(|value| surplus[*value] > 0).collect();
    for (at, edge) in edges.iter().enumerate() {
        if edge.from.is_some() || packed.contains(&at) {
            continue;
        }
        // At most one element is skipped, so this does not walk the set.
        let Some(from) = loose.iter().copied().find(|value| *value != edge.to) else { continue };
        sources[at] = Some(from);
        surplus[from] -= 1;
        if surplus[from] <= 0 {
            loose.remove(&from);
        }
    }
}

impl Graph<'_> {
    fn moves(&self, way: &[usize]) -> Vec<Move> {
        way.iter()
            .filter_map(|at| {
                self.sources[*at].map(|from| Move { from, to: self.edges[*at].to, by: Some(*at) })
            })
            .collect()
    }

    /// A way from one value to another along unused edges, which are then used. With `from == to` an empty one.
    fn way(&mut self, from: Id, to: Id) -> Option<Vec<usize>> {
        if from == to {
            return Some(Vec::new());
        }
        let mut tried = self.used.clone();
        let way = self.walk(from, to, &mut tried, &mut vec![0; self.leaving.len()])?;
        for at in &way {
            self.used[*at] = true;
        }
        Some(way)
    }

    /// Walks from a value until it arrives at `to`, backing out of dead ends. Each edge is tried once; `at` holds how far
    /// each value's edges were tried.
    fn walk(&self, from: Id, to: Id, tried: &mut [bool], at: &mut [usize]) -> Option<Vec<usize>> {
        let mut way: Vec<usize> = Vec::new();
        let mut value = from;
        loop {
            match self.next(value, tried, at) {
                Some(edge) => {
                    tried[edge] = true;
                    way.push(edge);
                    value = self.edges[edge].to;
                    if value == to {
                        return Some(way);
                    }
                }
                None => value = way.pop().and_then(|edge| self.sources[edge])?,
            }
        }
    }

    fn next(&self, value: Id, tried: &[bool], at: &mut [usize]) -> Option<usize> {
        let leaving = &self.leaving[value];
        while let Some(edge) = leaving.get(at[value]) {
            at[value] += 1;
            if !tried[*edge] {
                return Some(*edge);
            }
        }
        None
    }

    /// Inserts round trips along unused edges at every value of the trail, and at every value of these. False when
    /// there was none.
    fn splice(&mut self, start: Id, trail: &mut Vec<Move>) -> bool {
        let mut tried = self.used.clone();
        let mut at = vec![0; self.leaving.len()];
        let mut ahead: Vec<Move> = trail.drain(..).rev().collect();
        let before = ahead.len();
        let mut value = start;
        loop {
            if let Some(way) = self.walk(value, value, &mut tried, &mut at) {
                for edge in &way {
                    self.used[*edge] = true;
                }
                ahead.extend(self.moves(&way).into_iter().rev());
            } else if let Some(step) = ahead.pop() {
                value = step.to;
                trail.push(step);
            } else {
                return trail.len() > before;
            }
        }
    }

    /// The deepest trail from the start, a bridge, and the deepest trail to the end.
    fn bridged(&mut self, start: Id, end: Id) -> Vec<Move> {
        let ahead = self.deepest(start, |graph, edge| (graph.sources[edge], Some(graph.edges[edge].to)));
        let mut moves = self.moves(&ahead);
        // A bridge does not start right after a deletion.
        while moves.last().is_some_and(|step| step.to == ABSENT) {
            let dropped = moves.pop().and_then(|step| step.by);
            if let Some(edge) = dropped {
                self.used[edge] = false;
            }
        }
        let mut back = self.deepest(end, |graph, edge| (Some(graph.edges[edge].to), graph.sources[edge]));
        back.reverse();
        let tail = self.moves(&back);
        let from = moves.last().map_or(start, |step| step.to);
        let to = tail.first().map_or(end, |step| step.from);
        if from != to {
            moves.push(Move { from, to, by: None });
        }
        moves.extend(tail);
        moves
    }

    /// The deepest trail from a value that one depth-first walk comes by, in the direction that `ends` tells.
    fn deepest(&mut self, from: Id, ends: impl Fn(&Self, usize) -> (Option<Id>, Option<Id>)) -> Vec<usize> {
        let mut leaving = vec![Vec::new(); self.leaving.len()];
        for at in (0..self.edges.len()).rev().filter(|at| !self.used[*at]) {
            if let (Some(source), Some(_)) = ends(self, at) {
                leaving[source].push(at);
            }
        }
        let (mut way, mut best): (Vec<usize>, Vec<usize>) = (Vec::new(), Vec::new());
        let mut value = from;
        let mut grown = false;
        loop {
            if let Some(edge) = leaving[value].pop() {
                way.push(edge);
                grown = true;
                value = ends(self, edge).1.unwrap_or(value);
                continue;
            }
            if grown && way.len() > best.len() {
                best.clone_from(&way);
            }
            grown = false;
            let Some(edge) = way.pop() else { break };
            value = ends(self, edge).0.unwrap_or(from);
        }
        for edge in &best {
            self.used[*edge] = true;
        }
        best
    }
}
