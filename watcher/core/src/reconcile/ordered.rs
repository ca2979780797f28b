//! The longest path through records in the order of their times.

use alloc::vec;
use alloc::vec::Vec;
use core::cmp::Reverse;

use super::chain::{ABSENT, Edge, Id, Move, Path};

/// How good a path is: records explained, then records taken by the letter, then fewer steps (silence).
///
/// By the letter is a step from the value that the record states, or from absence where it states none, and packing
/// with both its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Score {
    explained: u32,
    literal: u32,
    steps: Reverse<u32>,
}

impl Score {
    fn step(self, literal: bool) -> Self {
        Self {
            explained: self.explained + 1,
            literal: self.literal + u32::from(literal),
            steps: Reverse(self.steps.0 + 1),
        }
    }

    fn no_op(self) -> Self {
        Self { explained: self.explained + 1, ..self }
    }

    fn prune(self) -> Self {
        Self { explained: self.explained + 1, literal: self.literal + 2, ..self }
    }
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// The edge moves the ref.
    Step { from: Id },
    /// The edge sets the value that the ref has.
    NoOp,
    /// The edge says "deleted" and follows such a no-op: git has packed the ref.
    Prune,
}

/// A path, as its last record and the path before.
struct Node {
    earlier: Option<usize>,
    edge: usize,
    kind: Kind,
}

/// The best path to a value.
#[derive(Clone, Copy)]
struct Best {
    score: Score,
    node: Option<usize>,
}

/// The best paths to one value: `armed` ones have seen a no-op since they arrived, so that a prune may follow.
#[derive(Clone, Copy, Default)]
struct Arrivals {
    plain: Option<Best>,
    armed: Option<Best>,
}

impl Arrivals {
    fn best(&self) -> Option<Best> {
        match (self.plain, self.armed) {
            (Some(plain), Some(armed)) => Some(if armed.score > plain.score { armed } else { plain }),
            (plain, armed) => plain.or(armed),
        }
    }
}

/// The best path so far that a bridge may leave from.
#[derive(Clone, Copy)]
struct Pier {
    score: Score,
    value: Id,
    node: Option<usize>,
}

struct Walk {
    arrivals: Vec<Arrivals>,
    nodes: Vec<Node>,
    /// The two values with the best paths.
    top: [Option<(Score, Id)>; 2],
    pier: Pier,
}

/// Links the edges in the order given.
pub(super) fn path(start: Id, end: Id, edges: &[Edge], values: usize) -> Path {
    let mut walk = Walk::new(start, values);
    let mut piers = Vec::with_capacity(edges.len() + 1);
    piers.push(walk.pier);
    for (at, edge) in edges.iter().enumerate() {
        walk.take(at, *edge);
        piers.push(walk.pier);
    }
    if let Some(best) = walk.arrivals[end].best() {
        let mut path = Path::default();
        walk.trace(best.node, edges, &mut path);
        return path;
    }
    bridged(end, edges, values, &walk, &piers)
}

impl Walk {
    fn new(start: Id, values: usize) -> Self {
        let best = Best { score: Score::default(), node: None };
        let mut arrivals = vec![Arrivals::default(); values];
        arrivals[start].plain = Some(best);
        Self {
            arrivals,
            nodes: Vec::new(),
            top: [Some((best.score, start)), None],
            pier: Pier { score: best.score, value: start, node: None },
        }
    }

    fn take(&mut self, at: usize, edge: Edge) {
        let literal = edge.from.unwrap_or(ABSENT);
        let other = self.top.iter().flatten().map(|(_, value)| *value).find(|value| *value != edge.to);
        let source = |from: Id| {
            let best = self.arrivals[from].best()?;
            Some((from, best, best.score.step(from == literal)))
        };
        let source_stated = Some(literal).filter(|from| *from != edge.to).and_then(source);
        let (source, jump) = (source_stated, other.filter(|_| edge.from.is_none()).and_then(source));
        let source = if jump.map(|jump| jump.2) > source.map(|source| source.2) { jump } else { source };
        let here = self.arrivals[edge.to];
        if edge.from.is_none() {
            for best in [here.plain, here.armed].into_iter().flatten() {
                self.arrive(edge.to, true, best.score.no_op(), best.node, at, Kind::NoOp);
            }
        }
        if let Some((from, best, score)) = source {
            // A prune states the value.
            if let (ABSENT, Some(_), Some(armed)) = (edge.to, edge.from, self.arrivals[from].armed) {
                self.arrive(from, false, armed.score.prune(), armed.node, at, Kind::Prune);
            }
            self.arrive(edge.to, false, score, best.node, at, Kind::Step { from });
        }
    }

    fn arrive(
        &mut self,
        value: Id,
        armed: bool,
        score: Score,
        earlier: Option<usize>,
        edge: usize,
        kind: Kind,
    ) {
        let arrivals = &mut self.arrivals[value];
        let slot = if armed { &mut arrivals.armed } else { &mut arrivals.plain };
        if slot.is_some_and(|best| best.score >= score) {
            return;
        }
        let node = Some(self.nodes.len());
        self.nodes.push(Node { earlier, edge, kind });
        *slot = Some(Best { score, node });
        if value != ABSENT && score > self.pier.score {
            self.pier = Pier { score, value, node };
        }
        match &mut self.top {
            [Some(first), _] if first.1 == value => *first = (first.0.max(score), value),
            [first, second] if first.is_none_or(|first| score > first.0) => {
                *second = *first;
                *first = Some((score, value));
            }
            [_, second] if second.is_none_or(|second| score > second.0) => *second = Some((score, value)),
            _ => {}
        }
    }

    /// Writes out the path that ends with a node.
    fn trace(&self, mut node: Option<usize>, edges: &[Edge], path: &mut Path) {
        let mut backwards = Vec::new();
        while let Some(at) = node {
            backwards.push(&self.nodes[at]);
            node = self.nodes[at].earlier;
        }
        for node in backwards.into_iter().rev() {
            match node.kind {
                Kind::Step { from } => {
                    path.moves.push(Move { from, to: edges[node.edge].to, by: Some(node.edge) });
                }
                Kind::NoOp => path.no_ops.push(node.edge),
                Kind::Prune => {
                    // The no-op before a prune is the other half of the packing.
                    path.packing.extend(path.no_ops.pop());
                    path.packing.push(node.edge);
                }
            }
        }
    }
}

/// The best records from the start, a bridge, and the best records to the end.
fn bridged(end: Id, edges: &[Edge], values: usize, walk: &Walk, piers: &[Pier]) -> Path {
    // The longest run of stated edges that ends at `end`, by its first value: (length, first edge).
    let mut lead: Vec<Option<(u32, Option<usize>)>> = vec![None; values];
    lead[end] = Some((0, None));
    let mut next: Vec<Option<usize>> = vec![None; edges.len()];
    let mut landing = (0, end);
    let mut choice = (piers[edges.len()].score.explained, edges.len(), landing, None);
    for (at, edge) in edges.iter().enumerate().rev() {
        if let (Some(from), Some((length, follows))) = (edge.from, lead[edge.to])
            && lead[from].is_none_or(|known| length + 1 > known.0)
        {
            lead[from] = Some((length + 1, Some(at)));
            next[at] = follows;
            if length + 1 > landing.0 {
                landing = (length + 1, from);
            }
        }
        let total = piers[at].score.explained + landing.0;
        if total > choice.0 {
            choice = (total, at, landing, lead[landing.1].and_then(|(_, first)| first));
        }
    }
    let (_, at, (_, value), mut follows) = choice;
    let mut path = Path::default();
    walk.trace(piers[at].node, edges, &mut path);
    path.moves.push(Move { from: piers[at].value, to: value, by: None });
    let mut from = value;
    while let Some(edge) = follows {
        path.moves.push(Move { from, to: edges[edge].to, by: Some(edge) });
        from = edges[edge].to;
        follows = next[edge];
    }
    path
}
