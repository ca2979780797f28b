//! A small Git: refs with values, and hooks that record what Git's hooks record, lies included (FACTS.md).

use refwatch_core::journal::{Outcome, Transaction, Update};
use refwatch_core::{Look, RefName};

use crate::given::{Num, good, name, record, update};
use crate::histories::told;

/// Refs of the repository.
pub(crate) const REFS: usize = 4;

/// Whether a record says what the value was before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    Stated,
    /// As `update-ref` without an old value, `branch -f` (FACTS.md 5).
    Unstated,
}

#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// A transaction that sets refs.
    Commit(Vec<(usize, Num)>, Old),
    /// A transaction of one ref that runs no hook: gitoxide, libgit2, an editor.
    Write(usize, Num),
    /// `git pack-refs`: phantoms for every ref (FACTS.md 2).
    Pack,
    /// `verify` of one ref (FACTS.md 3).
    Verify(usize),
    /// A ref refused, reported as committed all the same (FACTS.md 1); the old value is what the client believed.
    Refuse(usize, Num, Num),
    /// A ref set to the value it has.
    Rewrite(usize, Old),
    /// A transaction that was given up.
    Abort(usize, Num),
}

pub(crate) struct FakeGit {
    pub(crate) names: Vec<RefName>,
    pub(crate) values: [Num; REFS],
    /// What the hooks recorded, in order.
    pub(crate) journal: Vec<Transaction>,
    /// Every value of each ref, from the first.
    pub(crate) had: [Vec<Num>; REFS],
    /// How the record of each of these says what was before.
    olds: [Vec<Old>; REFS],
    clock: u64,
}

impl FakeGit {
    pub(crate) fn new(values: [Num; REFS]) -> Self {
        let names = ["refs/heads/a", "refs/heads/b", "refs/notes/c", "refs/tags/v1"].map(name).to_vec();
        Self {
            names,
            values,
            journal: Vec::new(),
            had: values.map(|value| vec![value]),
            olds: values.map(|_| vec![Old::Stated]),
            clock: 0,
        }
    }

    pub(crate) fn run(&mut self, op: &Op) {
        match op {
            Op::Commit(sets, old) => self.commit(sets, *old),
            Op::Write(of, value) => self.set(*of, *value, Old::Stated),
            Op::Pack => self.pack(),
            Op::Verify(of) => self.note(vec![(*of, self.values[*of], 0)], Outcome::Committed),
            Op::Refuse(of, old, new) => self.note(vec![(*of, *old, *new)], Outcome::Committed),
            Op::Rewrite(of, Old::Stated) => {
                self.note(vec![(*of, self.values[*of], self.values[*of])], Outcome::Committed);
            }
            Op::Rewrite(of, Old::Unstated) => {
                self.note(vec![(*of, 0, self.values[*of])], Outcome::Committed);
            }
            Op::Abort(of, new) => self.note(vec![(*of, self.values[*of], *new)], Outcome::Aborted),
        }
    }

    fn commit(&mut self, sets: &[(usize, Num)], old: Old) {
        let mut updates: Vec<(usize, Num, Num)> = Vec::new();
        for (of, value) in sets {
            let before = self.values[*of];
            // Git takes a ref once in a transaction.
            if before != *value && updates.iter().all(|update| update.0 != *of) {
                updates.push((*of, if old == Old::Stated { before } else { 0 }, *value));
                self.set(*of, *value, old);
            }
        }
        self.note(updates, Outcome::Committed);
    }

    fn pack(&mut self) {
        let loose: Vec<(usize, Num)> =
            self.values.into_iter().enumerate().filter(|(_, value)| *value != 0).collect();
        self.note(loose.iter().map(|(of, value)| (*of, 0, *value)).collect(), Outcome::Committed);
        for (of, value) in loose {
            self.note(vec![(of, 0, 0)], Outcome::Aborted);
            self.note(vec![(of, value, 0)], Outcome::Committed);
        }
    }

    fn set(&mut self, of: usize, value: Num, old: Old) {
        if self.values[of] != value {
            self.values[of] = value;
            self.had[of].push(value);
            self.olds[of].push(old);
        }
    }

    fn note(&mut self, updates: Vec<(usize, Num, Num)>, outcome: Outcome) {
        self.clock += 10;
        let updates: Vec<Update> =
            updates.into_iter().map(|(of, old, new)| update(&self.names[of], old, new)).collect();
        self.journal.push(Transaction { outcome, ..record(self.clock, self.clock, updates) });
    }

    /// The values of a ref from one that it had, as [`told`] leaves them.
    pub(crate) fn told(&self, of: usize, from: usize) -> Vec<Num> {
        told(self.had[of][from..].iter().copied().zip(self.olds[of][from..].iter().copied()))
    }

    /// Looks at every ref, from the values of an earlier look.
    pub(crate) fn looks(&self, before: &[Num; REFS]) -> Vec<Look> {
        let look =
            |of: usize| Look::new(self.names[of].clone(), good(before[of]), good(self.values[of]), false);
        (0..REFS).map(look).collect()
    }
}
