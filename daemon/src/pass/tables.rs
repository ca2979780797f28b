//! A look at the tables that came into a repository whose refs are in tables, however many refs it has.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use refwatch_core::{Look, RefName, RefState, Target};
use refwatch_store::ReadError;
use refwatch_watcher::scan::{self, Change, From, Left, Observed, Stack, Step};
use refwatch_watcher::wake::{Named, Pending, Whole};
use refwatch_watcher::{layout, signature};

use super::{PassError, Seen, journal, named, origin_of, state_of, whole};
use crate::engine::{Engine, Job, Repository, State};

/// Steps that are told one by one; where there are more, what they lead to is told.
const STEPS_MAX: usize = 2048;

/// Looks at what came since the tables were read.
///
/// Without hooks each step is told as a transaction of its own: the tables vouch for it. With hooks the refs are told
/// as they are after the last one, and what hooks recorded leads there.
///
/// What cannot be told by its tables is told by a look at everything, for the reason given.
pub(super) fn look(
    engine: &Arc<Engine>,
    repository: &Arc<Repository>,
    state: &mut State,
    pending: &Pending,
    why: Whole,
) -> Result<(), PassError> {
    journal::hear(engine, repository, state);
    let named = state.hooks.as_ref().map_or_else(BTreeMap::new, |hooks| hooks.names());
    let also: Vec<RefName> = named.keys().cloned().collect();
    // Until all of it is concluded nothing is known to have been read.
    let known = std::mem::take(&mut state.stacks);
    let news = match scan::news(&state.layout, &known, &also)? {
        Some(news) if news.steps.len() <= STEPS_MAX => news,
        Some(_) | None => return whole::look(engine, repository, state, pending, why),
    };
    let mut steps = news.steps;
    if state.hooks.is_some() {
        let also = named.into_iter().zip(news.also).map(|((name, named), observed)| (name, named, observed));
        steps = vec![outcome(engine, repository, steps, also.collect())?];
    }
    for step in steps {
        engine.metrics.refs_read.add(step.changes.len() as u64);
        let seen = compare(engine, repository, step)?;
        if seen.is_empty() && state.hooks.is_none() {
            continue;
        }
        if seen.iter().any(|seen| seen.look.after.is_none()) {
            // The repository itself may be going.
            layout::probe(state.git_dir())?;
        }
        if !state.is_itself() {
            // Another one is at its path: a whole look finds out what became of this one.
            engine.board.put_back_whole(repository.key, why, Duration::ZERO);
            return Ok(());
        }
        let job = Job::new(state, pending.since);
        engine.conclude(repository, state, origin_of(why), seen, &BTreeSet::new(), job)?;
    }
    state.stacks = news.stacks;
    Ok(())
}

/// The same for a repository that is polled: nothing told what has changed.
pub(super) fn poll(
    engine: &Arc<Engine>,
    repository: &Arc<Repository>,
    state: &mut State,
    pending: &Pending,
) -> Result<(), PassError> {
    // Before anything is read: what changes later is found by the next poll.
    let signature = signature::signature(&state.layout);
    let paths = |stacks: &[Stack]| stacks.iter().map(|stack| stack.path.clone()).collect::<Vec<_>>();
    let is_known = engine.must_poll(&state.layout)
        && state.probe().is_ok_and(|layout| layout == state.layout)
        && scan::stacks(&state.layout).is_ok_and(|stacks| paths(&stacks) == paths(&state.stacks));
    let (true, Ok(signature)) = (is_known, signature) else {
        return whole::look(engine, repository, state, pending, Whole::Poll);
    };
    let known = state.stacks.clone();
    look(engine, repository, state, pending, Whole::Poll)?;
    if state.stacks == known {
        state.signature = signature.map(|signature| signature.0);
    }
    Ok(())
}

/// What all steps lead to, as one, with the refs that hooks told of.
fn outcome(
    engine: &Engine,
    repository: &Repository,
    steps: Vec<Step>,
    also: Vec<(RefName, Named, Option<Observed>)>,
) -> Result<Step, ReadError> {
    let mut changes: BTreeMap<RefName, Change> = BTreeMap::new();
    let mut told: BTreeSet<RefName> = BTreeSet::new();
    for (name, Named { count, .. }, observed) in also {
        // One that waits for its record has a value that is not known yet.
        if count > 0 {
            told.insert(name.clone());
        }
        let from = if count > 1 { From::Unknown } else { From::Known };
        changes.insert(name.clone(), Change { name, observed, peeled: None, from });
    }
    for step in steps {
        let deleted = deleted(engine, repository, step.left.as_ref())?;
        for mut change in deleted.into_iter().chain(step.changes) {
            if !told.insert(change.name.clone()) {
                change.from = From::Unknown;
            }
            changes.insert(change.name.clone(), change);
        }
    }
    Ok(Step { changes: changes.into_values().collect(), left: None })
}

/// Compares a step with what is known.
fn compare(engine: &Engine, repository: &Repository, step: Step) -> Result<Vec<Seen>, ReadError> {
    let mut changes = step.changes;
    if step.left.is_some() {
        changes.extend(deleted(engine, repository, step.left.as_ref())?);
        changes.sort_by(|left, right| left.name.cmp(&right.name));
    }
    let known = named::known(engine, repository, changes.iter().map(|change| &change.name))?;
    let mut seen = Vec::new();
    for (change, (before, before_peeled)) in changes.into_iter().zip(known) {
        let coalesced = match change.from {
            From::Known => false,
            From::Value(from) => before != from.map(|id| RefState::Good(Target::Direct(id))),
            From::Unknown => true,
        };
        let (after, broken) = state_of(change.observed);
        let look = Look::new(change.name, before, after, coalesced);
        if look.before != look.after {
            seen.push(Seen { look, before_peeled, after_peeled: change.peeled, broken });
        }
    }
    Ok(seen)
}

/// The refs of a stack that are known and are not left.
fn deleted(engine: &Engine, repository: &Repository, left: Option<&Left>) -> Result<Vec<Change>, ReadError> {
    let Some(Left { prefix, names, from }) = left else { return Ok(Vec::new()) };
    let mut known: BTreeSet<RefName> = repository.overlays().keys().cloned().collect();
    engine.store.read()?.for_each_ref(repository.key, |name, _, _| {
        known.insert(name);
        ControlFlow::Continue(())
    })?;
    let is_of_stack = |name: &RefName| match &**prefix {
        b"" => !name.as_bytes().starts_with(b"worktrees/"),
        prefix => name.as_bytes().starts_with(prefix),
    };
    let is_gone = |name: &RefName| is_of_stack(name) && names.binary_search(name).is_err();
    let deletion = |name| Change { name, observed: None, peeled: None, from: *from };
    Ok(known.into_iter().filter(is_gone).map(deletion).collect())
}
