//! Derives the steps that lead from what was known to what is seen, with the journal as an explanation.

mod chain;
mod drafts;
mod linked;
mod ordered;
mod patience;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use self::chain::{Fate, Line, Piece};
use self::drafts::Queued;
use crate::journal::{Outcome, Transaction};
use crate::snapshot::RefState;
use crate::{Look, Origin, RefName, Target};

/// A change that was emitted as observed a short while ago: a late record may still explain it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emitted {
    /// The ref.
    pub name: RefName,
    /// Value before.
    pub old: Option<Target>,
    /// Value after.
    pub new: Option<Target>,
}

/// What a step does to a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mark {
    /// Its value changes from `old` to `new`.
    Change,
    /// It cannot be read any more; `old` and `new` are both its last good value.
    Broken,
    /// It can be read again; `old` and `new` are both its last good value. With no last good value it is then absent.
    Repaired,
}

/// One step of one ref.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The ref.
    pub name: RefName,
    /// What happens to it.
    pub mark: Mark,
    /// Value before.
    pub old: Option<Target>,
    /// Value after.
    pub new: Option<Target>,
    /// [`Origin::Hook`] where a record explains it, else the origin of the pass.
    pub origin: Origin,
    /// Values in between may be missing.
    pub coalesced: bool,
}

/// Refs that changed together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Draft {
    /// The steps, never empty. Two steps of one ref stand in the order they happened.
    pub steps: Vec<Step>,
    /// Who did it, where a record tells.
    pub actor: Option<String>,
    /// Options of the push, where a record tells.
    pub push_options: Vec<String>,
}

/// Why a record is no event, or not the event one would expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AnomalyKind {
    /// A phantom of `git pack-refs` or `git gc` (FACTS.md 2).
    Packing,
    /// `old 0 ref`, and the ref still has that value (FACTS.md 3).
    Verify,
    /// Starts at a value the ref had and leads nowhere: listed as committed, yet refused (FACTS.md 1).
    Refused,
    /// Lies on no path from the value before to the value after.
    OffPath,
    /// Explains a change that was already emitted as observed.
    Late,
    /// One transaction's refs had to be told in more than one draft to keep each ref's values in order.
    Split,
}

impl AnomalyKind {
    /// Every kind.
    pub const ALL: &[AnomalyKind] = &[
        AnomalyKind::Packing,
        AnomalyKind::Verify,
        AnomalyKind::Refused,
        AnomalyKind::OffPath,
        AnomalyKind::Late,
        AnomalyKind::Split,
    ];

    /// The label in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            AnomalyKind::Packing => "packing",
            AnomalyKind::Verify => "verify",
            AnomalyKind::Refused => "refused",
            AnomalyKind::OffPath => "off_path",
            AnomalyKind::Late => "late",
            AnomalyKind::Split => "split",
        }
    }
}

/// A record that is no event, for the metrics and the debug log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Anomaly {
    /// Why.
    pub kind: AnomalyKind,
    /// The ref.
    pub name: RefName,
    /// [`Transaction::id`] of the record.
    pub transaction: u64,
}

/// What one pass derives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reconciled {
    /// What happened, in order.
    pub drafts: Vec<Draft>,
    /// Records (reduced to the updates still open) to hand in again with the next pass.
    pub deferred: Vec<Transaction>,
    /// Records that are no event.
    pub anomalies: Vec<Anomaly>,
    /// Indices into `emitted` that a late record explained: no need to hand those in again.
    pub explained: Vec<usize>,
    /// Refs that are told up to a value that they had on the way to the one that was seen, since a record of the rest
    /// is expected, or since it belongs to such a transaction.
    pub short: Vec<Short>,
    /// Records (reduced to the updates still open) of what is not told yet: to hand in again together with a look at
    /// the refs in `short`. Unlike `deferred` ones they wait for as long as the caller is patient.
    pub held: Vec<Transaction>,
}

/// A ref that is not told up to the value that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Short {
    /// The ref.
    pub name: RefName,
    /// The value that the steps lead to: the one before where there are no steps.
    pub reached: Option<Target>,
    /// A record of it is expected. Else it is kept together with a ref that one is expected of.
    pub awaited: bool,
}

/// Derives the steps that lead from `before` to `after` of every look. Total and deterministic; the order of `journal`
/// does not matter.
///
/// `looks` holds every ref that changed, and every ref that the journal speaks about, sorted by name.
///
/// Guarantees: applying the steps gives exactly `after`; each step of a ref starts where the one before ended.
/// What the journal says can only add values in between, an actor, and grouping. See `chain` for which records
/// count and `drafts` for how steps are grouped.
///
/// # What is deferred
/// Records that may have happened after the look: those that start at the value a ref has now (or state none and are
/// newer than what the look shows), and what follows them. Recorded deletions that state the present value are not
/// deferred: that is what `verify` and prunes look like. Records of a ref that was not looked at are deferred too.
/// A record needs to wait no longer than hooks take to record, because they do so after the ref has moved: pass the ids
/// that were deferred before to [`Reconciled::give_up`].
pub fn reconcile(origin: Origin, looks: &[Look], journal: &[Transaction], emitted: &[Emitted]) -> Reconciled {
    reconcile_patiently(origin, looks, journal, emitted, &BTreeSet::new())
}

/// Like [`reconcile`], for refs whose changes are expected to be recorded in a moment, because hooks record after the ref
/// has moved: what no record explains of a ref in `patient` is not told yet, nor what follows it, nor the rest of
/// transactions of which a part is not told. Refs that are broken, or were, are told at once all the same.
pub fn reconcile_patiently(
    origin: Origin,
    looks: &[Look],
    journal: &[Transaction],
    emitted: &[Emitted],
    patient: &BTreeSet<RefName>,
) -> Reconciled {
    let journal = canonical(journal);
    let mut lines = lines(&journal);
    let mut expected: BTreeMap<&RefName, Vec<usize>> = BTreeMap::new();
    for (index, change) in emitted.iter().enumerate() {
        expected.entry(&change.name).or_default().push(index);
    }
    let mut reconciled = Reconciled::default();
    let mut chained = Vec::with_capacity(looks.len());
    for look in looks {
        let lines = lines.remove(&look.name).unwrap_or_default();
        let of_ref = expected.get(&look.name).map_or(&[][..], Vec::as_slice);
        let changes: Vec<_> =
            of_ref.iter().map(|at| (emitted[*at].old.as_ref(), emitted[*at].new.as_ref())).collect();
        let before = look.before.as_ref().and_then(RefState::target);
        let after = look.after.as_ref().and_then(RefState::target);
        let chain = chain::link(before, after, &lines, &changes);
        reconciled.explained.extend(chain.explained.iter().map(|at| of_ref[*at]));
        chained.push(Chained::new(look, lines, chain));
    }
    if !patient.is_empty() {
        patience::cut(&mut chained, &journal, patient);
    }
    let mut open: Vec<(usize, usize)> = Vec::new();
    let mut held: Vec<(usize, usize)> = Vec::new();
    let mut queues = Vec::with_capacity(looks.len());
    for ref_ in &chained {
        for (at, (line, fate)) in ref_.lines.iter().zip(&ref_.chain.fates).enumerate() {
            let place = (line.transaction, line.position);
            match anomaly(*fate) {
                _ if ref_.holds(at) => held.push(place),
                Some(kind) => reconciled.anomalies.push(Anomaly {
                    kind,
                    name: ref_.look.name.clone(),
                    transaction: journal[line.transaction].id,
                }),
                None if *fate == Fate::Deferred => open.push(place),
                None => {}
            }
        }
        reconciled.short.extend(ref_.short());
        let steps = steps(origin, ref_);
        if !steps.is_empty() {
            queues.push(steps);
        }
    }
    for lines in lines.into_values() {
        open.extend(
            lines.iter().filter(|line| line.old != line.new).map(|line| (line.transaction, line.position)),
        );
    }
    let (drafts, split) = drafts::group(queues, &journal);
    reconciled.drafts = drafts;
    reconciled.anomalies.extend(split);
    reconciled.anomalies.sort();
    reconciled.explained.sort_unstable();
    reconciled.deferred = reduced(&journal, open);
    reconciled.held = reduced(&journal, held);
    reconciled
}

/// A ref with its records, and the path that they and the looks make.
struct Chained<'a> {
    look: &'a Look,
    lines: Vec<Line>,
    chain: chain::Chain,
    /// Pieces of the path that are told.
    told: usize,
    /// A record is expected: any of its lines may turn out to be a part of the path.
    awaited: bool,
}

impl<'a> Chained<'a> {
    fn new(look: &'a Look, lines: Vec<Line>, chain: chain::Chain) -> Self {
        let told = chain.pieces.len();
        Self { look, lines, chain, told, awaited: false }
    }

    /// The pieces that are told.
    fn pieces(&self) -> &[Piece] {
        &self.chain.pieces[..self.told]
    }

    /// The pieces that are not told yet.
    fn rest(&self) -> &[Piece] {
        &self.chain.pieces[self.told..]
    }

    /// True for a line that waits for what is not told yet.
    fn holds(&self, line: usize) -> bool {
        if self.awaited {
            let settled = match self.chain.fates[line] {
                Fate::Late => true,
                // Of a path that is not believed, this is not, either.
                Fate::NoOp | Fate::Packing => !self.chain.reordered,
                Fate::Step | Fate::Deferred | Fate::Verify | Fate::Refused | Fate::OffPath => false,
            };
            !settled && !self.pieces().iter().any(|piece| piece.by == Some(line))
        } else {
            self.rest().iter().any(|piece| piece.by == Some(line))
        }
    }

    fn short(&self) -> Option<Short> {
        let first = self.rest().first()?;
        Some(Short { name: self.look.name.clone(), reached: first.old.clone(), awaited: self.awaited })
    }
}

impl Reconciled {
    /// Ends the wait of records that were deferred before: what is deferred again and has its id in
    /// `handed_in_again` becomes a [`AnomalyKind::Refused`].
    pub fn give_up(&mut self, handed_in_again: &[u64]) {
        let anomalies = &mut self.anomalies;
        self.deferred.retain(|transaction| {
            let again = handed_in_again.contains(&transaction.id);
            if again {
                anomalies.extend(transaction.updates.iter().map(|update| Anomaly {
                    kind: AnomalyKind::Refused,
                    name: update.name.clone(),
                    transaction: transaction.id,
                }));
            }
            !again
        });
        anomalies.sort();
    }
}

/// Committed transactions in order of time, then of id, then of content; equal ones once.
fn canonical(journal: &[Transaction]) -> Vec<&Transaction> {
    let mut journal: Vec<&Transaction> =
        journal.iter().filter(|transaction| transaction.outcome == Outcome::Committed).collect();
    journal.sort();
    journal.dedup();
    journal
}

fn lines<'a>(journal: &[&'a Transaction]) -> BTreeMap<&'a RefName, Vec<Line>> {
    let mut lines: BTreeMap<&RefName, Vec<Line>> = BTreeMap::new();
    for (transaction, record) in journal.iter().enumerate() {
        for (position, update) in record.updates.iter().enumerate() {
            let (old, new) = (update.old.target(), update.new.target());
            lines.entry(&update.name).or_default().push(Line { transaction, position, old, new });
        }
    }
    lines
}

const fn anomaly(fate: Fate) -> Option<AnomalyKind> {
    match fate {
        Fate::Step | Fate::NoOp | Fate::Deferred => None,
        Fate::Packing => Some(AnomalyKind::Packing),
        Fate::Late => Some(AnomalyKind::Late),
        Fate::Verify => Some(AnomalyKind::Verify),
        Fate::Refused => Some(AnomalyKind::Refused),
        Fate::OffPath => Some(AnomalyKind::OffPath),
    }
}

/// The steps of one ref: its path, between the marks of having been repaired and of being broken.
fn steps(origin: Origin, ref_: &Chained<'_>) -> Vec<Queued> {
    let (look, pieces, lines) = (ref_.look, ref_.pieces(), &ref_.lines);
    let was_broken = look.before.as_ref().is_some_and(RefState::is_broken);
    let is_broken = look.after.as_ref().is_some_and(RefState::is_broken);
    let linked = pieces.iter().any(|piece| piece.by.is_some());
    let mark = |mark, state: &Option<RefState>| {
        let value = state.as_ref().and_then(RefState::target).cloned();
        let (old, new) = (value.clone(), value);
        let name = look.name.clone();
        Queued { step: Step { name, mark, old, new, origin, coalesced: look.coalesced }, by: None }
    };
    let mut steps = Vec::with_capacity(pieces.len() + 2);
    // A deletion needs no repair first: what is gone is not broken.
    let repaired = match pieces.first() {
        Some(first) => first.new.is_some() || first.old.is_none(),
        None => !is_broken,
    };
    if was_broken && repaired {
        steps.push(mark(Mark::Repaired, &look.before));
    }
    for piece in pieces {
        let by = piece.by.map(|line| lines[line].transaction);
        let (origin, coalesced) = match by {
            Some(_) => (Origin::Hook, false),
            None => (origin, look.coalesced || linked),
        };
        let (old, new) = (piece.old.clone(), piece.new.clone());
        let step = Step { name: look.name.clone(), mark: Mark::Change, old, new, origin, coalesced };
        steps.push(Queued { step, by });
    }
    if is_broken && (!was_broken || !pieces.is_empty()) {
        steps.push(mark(Mark::Broken, &look.after));
    }
    steps
}

/// The transactions of the open updates, with only these updates in them.
fn reduced(journal: &[&Transaction], mut open: Vec<(usize, usize)>) -> Vec<Transaction> {
    open.sort_unstable();
    let mut deferred: Vec<Transaction> = Vec::new();
    let mut last = None;
    for (transaction, position) in open {
        let record = journal[transaction];
        if last != Some(transaction) {
            deferred.push(Transaction { updates: Vec::new(), ..record.clone() });
            last = Some(transaction);
        }
        if let Some(reduced) = deferred.last_mut() {
            reduced.updates.push(record.updates[position].clone());
        }
    }
    deferred
}
