//! A look at a long `packed-refs` that was replaced: where it differs from the one before, and nowhere else.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use refwatch_core::{RefName, RefState};
use refwatch_store::ReadError;
use refwatch_watcher::scan::{self, Observed, Range};
use refwatch_watcher::wake::{Named, Pending, Whole};

use super::{PassError, named, whole};
use crate::engine::{Engine, Repository, State};

/// Refs that are looked at one by one; where more of them differ, everything is read.
const NAMES_MAX: usize = 1 << 14;

/// Finds the refs that are packed with another value than is known, and looks at them as at refs that wakes named: what
/// they are now their loose files may say.
pub(super) fn look(
    engine: &Arc<Engine>,
    repository: &Arc<Repository>,
    state: &mut State,
    mut pending: Pending,
) -> Result<(), PassError> {
    // Until all of it is looked at nothing is known to have been read.
    let known = state.parts.take().unwrap_or_default();
    let Some(repacked) = scan::repacked(&state.layout, &known)? else {
        return whole::look(engine, repository, state, &pending, Whole::Notified);
    };
    let mut names = BTreeSet::new();
    for range in &repacked.ranges {
        if !differing(engine, repository, range, &mut names)? {
            return whole::look(engine, repository, state, &pending, Whole::Notified);
        }
    }
    for name in names {
        // The file was replaced by whoever held its lock. How often, and with which values, nobody saw.
        let named = pending.names.entry(name.into_bytes()).or_default();
        *named = Named { count: named.count + 2, locked: true };
    }
    named::look(engine, repository, state, &pending)?;
    state.parts = Some(repacked.parts);
    Ok(())
}

/// Adds the refs of a range whose packed value is not the one that is known; false when they are too many.
fn differing(
    engine: &Engine,
    repository: &Repository,
    range: &Range,
    names: &mut BTreeSet<RefName>,
) -> Result<bool, ReadError> {
    let is_of_range = |name: &RefName| {
        let name = name.as_bytes();
        name > &*range.after && range.last.as_deref().is_none_or(|last| name <= last)
    };
    // First the overlay, then the store: what leaves the one in between is in the other.
    names.extend(repository.overlays().keys().filter(|name| is_of_range(name)).cloned());
    let mut packed = range.packed.iter().peekable();
    let mut bounded = true;
    engine.store.read()?.for_each_ref_after(repository.key, &range.after, |name, known, _| {
        if !is_of_range(&name) || !bounded {
            return ControlFlow::Break(());
        }
        while let Some((new, _)) = packed.next_if(|(there, _)| *there < name) {
            names.insert(new.clone());
        }
        let there = packed.next_if(|(there, _)| there.cmp(&name) == Ordering::Equal);
        // Only what is below `refs/` is ever packed.
        let is_packable = name.as_bytes().starts_with(b"refs/");
        if is_packable && !there.is_some_and(|(_, observed)| is(observed, &known)) {
            names.insert(name);
        }
        bounded = names.len() <= NAMES_MAX;
        ControlFlow::Continue(())
    })?;
    names.extend(packed.map(|(name, _)| name.clone()));
    Ok(bounded && names.len() <= NAMES_MAX)
}

fn is(observed: &Observed, known: &RefState) -> bool {
    match (observed, known) {
        (Observed::Good(observed), RefState::Good(known)) => observed == known,
        (Observed::Good(_) | Observed::Broken(_), RefState::Good(_) | RefState::Broken { .. }) => false,
    }
}
