//! What the records of one push say so far.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use super::judge::Judged;
use super::{Closed, Grouping, Process, Record, Refused, Said, copied};
use crate::RefName;
use crate::journal::{Outcome, Transaction, Update, Value};

/// One push as recorded so far.
#[derive(Clone, Debug)]
pub(super) struct Push {
    pub(super) process: Process,
    /// Time of its first record.
    pub(super) at_us: u64,
    /// Time of its last record.
    pub(super) last_us: u64,
    /// It is over, and a ref that it is to be judged by could not be read.
    pub(super) is_put_off: bool,
    pub(super) ids: BTreeSet<u64>,
    actor: Option<String>,
    push_options: Vec<String>,
    pub(super) attempted: Option<Attempted>,
    pub(super) update_refused: BTreeMap<Update, Refused>,
    pub(super) accepted: Option<Accepted>,
    pub(super) committed: BTreeSet<(RefName, Value)>,
    /// Given up by a transaction that had been prepared.
    pub(super) aborted: BTreeSet<(RefName, Value)>,
    /// Positions in what it attempts that another push is known to have carried out.
    pub(super) claimed: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Attempted {
    pub(super) updates: Vec<Update>,
    pub(super) refused: Option<Refused>,
    pub(super) at_us: u64,
    id: u64,
    /// Positions in `updates`, ordered by name.
    by_name: Vec<usize>,
}

#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) updates: Vec<Update>,
    at_us: u64,
    id: u64,
}

impl Push {
    pub(super) const fn new(process: Process, at_us: u64) -> Self {
        Self {
            process,
            at_us,
            last_us: at_us,
            is_put_off: false,
            ids: BTreeSet::new(),
            actor: None,
            push_options: Vec::new(),
            attempted: None,
            update_refused: BTreeMap::new(),
            accepted: None,
            committed: BTreeSet::new(),
            aborted: BTreeSet::new(),
            claimed: BTreeSet::new(),
        }
    }

    /// True where a push has one record of that kind, and this one has it.
    pub(super) const fn has_one_like(&self, said: &Said) -> bool {
        match said {
            Said::Attempted { .. } => self.attempted.is_some(),
            Said::Accepted { .. } => self.accepted.is_some(),
            Said::UpdateRefused { .. } => false,
        }
    }

    pub(super) fn take(&mut self, record: Record) {
        let Record { at_us, id, .. } = record;
        self.ids.insert(id);
        self.at_us = self.at_us.min(at_us);
        self.last_us = self.last_us.max(at_us);
        if self.actor.is_none() {
            self.actor = record.actor;
        }
        if self.push_options.is_empty() {
            self.push_options = record.push_options;
        }
        match record.said {
            Said::Attempted { updates, refused } => {
                let mut by_name: Vec<usize> = (0..updates.len()).collect();
                by_name.sort_by_key(|at| &updates[*at].name);
                self.attempted = Some(Attempted { updates, refused, at_us, id, by_name });
            }
            Said::UpdateRefused { update, refused } => {
                self.update_refused.insert(update, refused);
            }
            Said::Accepted { updates } => self.accepted = Some(Accepted { updates, at_us, id }),
        }
    }

    pub(super) fn explain(&mut self, transaction: &mut Transaction) {
        self.last_us = self.last_us.max(transaction.at_ns / 1000);
        if transaction.actor.is_none() {
            transaction.actor.clone_from(&self.actor);
        }
        if transaction.push_options.is_empty() {
            transaction.push_options = copied(&self.push_options);
        }
        let ended = match transaction.outcome {
            Outcome::Committed => &mut self.committed,
            Outcome::Aborted => &mut self.aborted,
        };
        ended.extend(stated(transaction));
    }

    /// Notes what others are known to have carried out.
    pub(super) fn claim(&mut self, carried_out: &BTreeSet<(RefName, Value)>) {
        let Some(attempted) = &self.attempted else { return };
        // Neither one large push among many small ones nor the reverse is looked through for each of them.
        if attempted.updates.len() <= carried_out.len() {
            let here = attempted.updates.iter().enumerate();
            let theirs =
                here.filter(|(_, update)| carried_out.contains(&(update.name.clone(), update.new.clone())));
            self.claimed.extend(theirs.map(|(at, _)| at));
        } else {
            for (name, new) in carried_out {
                let theirs = attempted.named(name).filter(|(_, update)| update.new == *new);
                self.claimed.extend(theirs.map(|(at, _)| at));
            }
        }
    }

    /// What it counts for in [`super::UPDATES_HELD_MAX`].
    pub(super) fn weight(&self) -> usize {
        self.ids.len()
            + self.attempted.as_ref().map_or(0, |attempted| attempted.updates.len())
            + self.update_refused.len()
            + self.accepted.as_ref().map_or(0, |accepted| accepted.updates.len())
            + self.committed.len()
            + self.aborted.len()
            + self.claimed.len()
    }

    pub(super) fn is_over(&self) -> bool {
        self.accepted.is_some()
            || self.attempted.as_ref().is_some_and(|attempted| attempted.refused.is_some())
    }

    pub(super) fn attempts(&self, name: &RefName) -> bool {
        let mut named = self.attempted.iter().flat_map(|attempted| attempted.named(name));
        named.any(|(_, update)| !self.update_refused.contains_key(update))
    }

    /// True where it and another push ask to give one ref the same value.
    pub(super) fn shares(&self, other: &Self) -> bool {
        let (Some(one), Some(other)) = (&self.attempted, &other.attempted) else { return false };
        let (few, many) = if one.updates.len() < other.updates.len() { (one, other) } else { (other, one) };
        few.updates.iter().any(|update| many.named(&update.name).any(|(_, same)| same.new == update.new))
    }

    /// True where a hook is known to have refused it.
    pub(super) fn is_refused(&self, update: &Update) -> bool {
        self.attempted.as_ref().is_some_and(|attempted| attempted.refused.is_some())
            || self.update_refused.contains_key(update)
            || self.has_aborted(update)
    }

    /// True where the reference-transaction hook refused, and receive-pack died of it: no post-receive will tell of what
    /// it had committed until then, and of that there is no doubt.
    pub(super) fn was_killed_by_its_hook(&self) -> bool {
        self.accepted.is_none() && !self.aborted.is_empty()
    }

    pub(super) fn has_committed(&self, update: &Update) -> bool {
        self.committed.contains(&(update.name.clone(), update.new.clone()))
    }

    /// True where a transaction of it committed any value of that ref.
    pub(super) fn has_committed_any(&self, name: &RefName) -> bool {
        // No value is less.
        let mut from = self.committed.range((name.clone(), Value::Zero)..);
        from.next().is_some_and(|(found, _)| found == name)
    }

    pub(super) fn has_aborted(&self, update: &Update) -> bool {
        self.aborted.contains(&(update.name.clone(), update.new.clone()))
    }

    pub(super) fn close(self, judged: Judged, grouping: Grouping) -> Closed {
        let Judged { accepted, rejected, doubted, done, is_unread: _ } = judged;
        let is_covered = |update: &Update| grouping == Grouping::Transactions && self.has_committed(update);
        let uncovered: Vec<Update> =
            done.into_iter().filter(|update| update.old != update.new && !is_covered(update)).collect();
        let from = match (&self.accepted, &self.attempted) {
            (Some(accepted), _) => Some((accepted.at_us, accepted.id)),
            (None, Some(attempted)) => Some((attempted.at_us, attempted.id)),
            (None, None) => None,
        };
        let transaction = from.filter(|_| !uncovered.is_empty()).map(|(at_us, id)| Transaction {
            at_ns: at_us.saturating_mul(1000),
            id,
            outcome: Outcome::Committed,
            actor: self.actor.clone(),
            push_options: copied(&self.push_options),
            updates: uncovered,
        });
        Closed {
            process: self.process,
            actor: self.actor,
            push_options: self.push_options,
            transaction,
            accepted,
            rejected,
            doubted,
        }
    }
}

/// What a transaction gives refs. A deletion brings lines that state no value on either side, whatever becomes of it.
pub(super) fn stated(transaction: &Transaction) -> impl Iterator<Item = (RefName, Value)> + '_ {
    let stated = transaction.updates.iter().filter(|update| update.old != update.new);
    stated.map(|update| (update.name.clone(), update.new.clone()))
}

impl Attempted {
    /// What is attempted for one ref, with its position: one update, unless a client breaks the rules.
    fn named<'a>(&'a self, name: &'a RefName) -> impl Iterator<Item = (usize, &'a Update)> + 'a {
        let first = self.by_name.partition_point(|at| self.updates[*at].name < *name);
        let from = self.by_name[first..].iter().map(|at| (*at, &self.updates[*at]));
        from.take_while(move |(_, update)| update.name == *name)
    }
}

/// Notes in pushes of which no post-receive tells what others are known to have carried out: what the disk shows there
/// is not their doing. A push often fails because another one was faster with the same commit, or is tried again.
pub(super) fn claim<'a>(over: Vec<&'a mut Push>, open: impl Iterator<Item = &'a mut Push>) {
    let mut carried_out: BTreeSet<(RefName, Value)> = BTreeSet::new();
    for push in &over {
        let told = push.accepted.iter().flat_map(|accepted| &accepted.updates);
        carried_out.extend(told.map(|update| (update.name.clone(), update.new.clone())));
        if push.was_killed_by_its_hook() {
            carried_out.extend(push.committed.iter().cloned());
        }
    }
    for push in over.into_iter().chain(open).filter(|push| push.accepted.is_none()) {
        push.claim(&carried_out);
    }
}
