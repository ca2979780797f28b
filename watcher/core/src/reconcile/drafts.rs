//! Groups the steps of all refs into drafts: what one transaction explains is one draft, and no ref's steps are told
//! out of order.
//!
//! Transactions are taken in canonical order, each as soon as all its steps are next in their refs. When none is,
//! the observed steps that are next in their refs become one draft: they are put off until then so that as many as
//! possible stay together, and without a journal that is all of them. When there are none of those either, the
//! records contradict each other across refs: the first transaction is told in parts, which counts as an anomaly.
//!
//! One observed step joins a transaction: `git branch -m` records only the deletion of the old name (FACTS.md 4), so
//! the creation of the only branch with the same object is taken to belong to it.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::vec;
use alloc::vec::Vec;

use super::{Anomaly, AnomalyKind, Draft, Step};
use crate::classify::Namespace;
use crate::journal::Transaction;
use crate::{ObjectId, Target};

/// A step, and the index of the transaction that explains it.
pub(super) struct Queued {
    pub(super) step: Step,
    pub(super) by: Option<usize>,
}

/// Neighbouring steps of one ref with the same explanation.
struct Run {
    by: Option<usize>,
    steps: Vec<Step>,
}

struct Schedule<'a> {
    journal: &'a [&'a Transaction],
    queues: Vec<VecDeque<Run>>,
    /// Runs of each transaction not yet told.
    remaining: Vec<usize>,
    /// Refs whose next run belongs to a transaction.
    fronts: BTreeMap<usize, BTreeSet<usize>>,
    /// Refs whose next run is observed.
    observed: BTreeSet<usize>,
    /// Transactions all of whose runs are next.
    ready: BTreeSet<usize>,
    drafts: Vec<Draft>,
}

/// Groups queues of steps, one queue a ref, in order of name.
pub(super) fn group(refs: Vec<Vec<Queued>>, journal: &[&Transaction]) -> (Vec<Draft>, Vec<Anomaly>) {
    let mut remaining = vec![0; journal.len()];
    let mut queues: Vec<VecDeque<Run>> = refs.into_iter().map(runs).collect();
    for by in queues.iter().flatten().filter_map(|run| run.by) {
        remaining[by] += 1;
    }
    for (at, by) in halves_of_renames(&queues, &remaining) {
        queues[at][0].by = Some(by);
        remaining[by] += 1;
    }
    let count = queues.len();
    let mut schedule = Schedule {
        journal,
        queues,
        remaining,
        fronts: BTreeMap::new(),
        observed: BTreeSet::new(),
        ready: BTreeSet::new(),
        drafts: Vec::new(),
    };
    (0..count).for_each(|at| schedule.advance(at));
    let mut split = Vec::new();
    loop {
        if let Some(transaction) = schedule.ready.pop_first() {
            schedule.tell(transaction);
        } else if !schedule.observed.is_empty() {
            let refs = core::mem::take(&mut schedule.observed);
            schedule.emit(refs, None);
        } else if let Some(transaction) = schedule.fronts.keys().next().copied() {
            let name = schedule.tell(transaction);
            split.extend(name.map(|name| Anomaly {
                kind: AnomalyKind::Split,
                name,
                transaction: journal[transaction].id,
            }));
        } else {
            return (schedule.drafts, split);
        }
    }
}

fn runs(steps: Vec<Queued>) -> VecDeque<Run> {
    let mut runs: VecDeque<Run> = VecDeque::new();
    for Queued { step, by } in steps {
        match runs.back_mut() {
            Some(run) if run.by == by => run.steps.push(step),
            _ => runs.push_back(Run { by, steps: vec![step] }),
        }
    }
    runs
}

/// Refs that were observed to be created, and the transactions that recorded the other half of the rename.
fn halves_of_renames(queues: &[VecDeque<Run>], remaining: &[usize]) -> Vec<(usize, usize)> {
    /// Transactions that delete a branch with some object, and refs that appear with it; `None` as an element is
    /// one that cannot be a half.
    type Halves = (Vec<Option<usize>>, Vec<Option<usize>>);
    let mut halves: BTreeMap<ObjectId, Halves> = BTreeMap::new();
    for (at, queue) in queues.iter().enumerate() {
        for run in queue {
            for step in run.steps.iter().filter(|step| Namespace::of(&step.name) == Namespace::Branch) {
                let alone = run.steps.len() == 1;
                match (&step.old, &step.new) {
                    (Some(Target::Direct(oid)), None) => {
                        let by = run.by.filter(|by| alone && remaining[*by] == 1);
                        halves.entry(*oid).or_default().0.push(by);
                    }
                    (None, Some(Target::Direct(oid))) => {
                        let seen = alone && queue.len() == 1 && run.by.is_none();
                        halves.entry(*oid).or_default().1.push(seen.then_some(at));
                    }
                    _ => {}
                }
            }
        }
    }
    let pairs = halves.into_values().filter_map(|(deleted, created)| match (&*deleted, &*created) {
        ([Some(by)], [Some(at)]) => Some((*at, *by)),
        _ => None,
    });
    pairs.collect()
}

impl Schedule<'_> {
    /// Notes what is next in a ref.
    fn advance(&mut self, at: usize) {
        let Some(run) = self.queues[at].front() else { return };
        let Some(by) = run.by else {
            self.observed.insert(at);
            return;
        };
        let fronts = self.fronts.entry(by).or_default();
        fronts.insert(at);
        if fronts.len() == self.remaining[by] {
            self.ready.insert(by);
        }
    }

    /// Makes a draft of what a transaction has next, and gives the first ref in it.
    fn tell(&mut self, transaction: usize) -> Option<crate::RefName> {
        let refs = self.fronts.remove(&transaction).unwrap_or_default();
        self.remaining[transaction] -= refs.len();
        self.emit(refs, Some(transaction));
        self.drafts.last().and_then(|draft| draft.steps.first()).map(|step| step.name.clone())
    }

    fn emit(&mut self, refs: BTreeSet<usize>, by: Option<usize>) {
        let mut draft = Draft::default();
        if let Some(record) = by.map(|by| self.journal[by]) {
            draft.actor.clone_from(&record.actor);
            draft.push_options.clone_from(&record.push_options);
        }
        let steps = refs.iter().filter_map(|at| self.queues[*at].pop_front()).flat_map(|run| run.steps);
        draft.steps.extend(steps);
        self.drafts.push(draft);
        refs.into_iter().for_each(|at| self.advance(at));
    }
}
