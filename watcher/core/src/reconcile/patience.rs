//! Leaves untold what a record is expected of, and what belongs together with it.

use alloc::collections::BTreeSet;

use super::Chained;
use super::chain::Piece;
use crate::classify::Namespace;
use crate::journal::Transaction;
use crate::snapshot::RefState;
use crate::{ObjectId, RefName, Target};

/// Cuts the paths of patient refs before the first piece that no record explains, and wholly where records are only linked
/// against their times; then those of all refs before the first piece of a transaction that is not told whole.
pub(super) fn cut(refs: &mut [Chained<'_>], journal: &[&Transaction], patient: &BTreeSet<RefName>) {
    let renamed = renamed(refs, journal);
    let is_broken = |state: &Option<RefState>| state.as_ref().is_some_and(RefState::is_broken);
    for ref_ in &mut *refs {
        let look = ref_.look;
        if !patient.contains(&look.name) || is_broken(&look.before) || is_broken(&look.after) {
            continue;
        }
        if ref_.chain.pieces.len() == 1 && created(ref_.pieces()).is_some_and(|oid| renamed.contains(&oid)) {
            continue;
        }
        if ref_.chain.reordered {
            ref_.told = 0;
            ref_.awaited = true;
            continue;
        }
        if let Some(first) = ref_.chain.pieces.iter().position(|piece| piece.by.is_none()) {
            ref_.told = first;
            ref_.awaited = true;
        }
    }
    // What is cut only grows, and each round but the last cuts something.
    loop {
        let held: BTreeSet<usize> = refs.iter().flat_map(held_by).collect();
        let mut is_whole = true;
        for ref_ in &mut *refs {
            if is_broken(&ref_.look.before) || is_broken(&ref_.look.after) {
                continue;
            }
            let lines = &ref_.lines;
            let is_held =
                |piece: &Piece| piece.by.is_some_and(|line| held.contains(&lines[line].transaction));
            if let Some(first) = ref_.pieces().iter().position(is_held) {
                ref_.told = first;
                is_whole = false;
            }
        }
        if is_whole {
            return;
        }
    }
}

/// Transactions of which a ref holds a line back.
fn held_by<'a>(ref_: &'a Chained<'_>) -> impl Iterator<Item = usize> + 'a {
    let lines = ref_.lines.iter().enumerate();
    lines.filter(|(at, _)| ref_.holds(*at)).map(|(_, line)| line.transaction)
}

/// Objects of branches whose deletion was recorded alone: `git branch -m` records no more (FACTS.md 4), so that no
/// record is to be expected of the branch that is created with the same object.
fn renamed(refs: &[Chained<'_>], journal: &[&Transaction]) -> BTreeSet<ObjectId> {
    let deleted = |ref_: &Chained<'_>| match ref_.pieces() {
        [.., Piece { old: Some(Target::Direct(oid)), new: None, by: Some(line) }]
            if Namespace::of(&ref_.look.name) == Namespace::Branch
                && journal[ref_.lines[*line].transaction].updates.len() == 1 =>
        {
            Some(*oid)
        }
        _ => None,
    };
    refs.iter().filter_map(deleted).collect()
}

fn created(pieces: &[Piece]) -> Option<ObjectId> {
    match pieces {
        [Piece { old: None, new: Some(Target::Direct(oid)), .. }] => Some(*oid),
        _ => None,
    }
}
