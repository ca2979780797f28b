//! What hooks recorded: hints that explain a difference between two snapshots, never facts.

use alloc::string::String;
use alloc::vec::Vec;

use crate::{ObjectId, RefName, Target};

/// How a transaction ended, as the `reference-transaction` hook was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Said to be committed. Refs that were refused may be listed all the same (FACTS.md 1).
    Committed,
    /// Given up: explains nothing.
    Aborted,
}

/// A value on one side of a recorded update.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// All zeroes: no object, or (on the old side) not stated.
    Zero,
    /// An object.
    Oid(ObjectId),
    /// `ref:<name>`.
    Symbolic(RefName),
}

impl Value {
    /// The value of a ref; `None` for all zeroes.
    pub fn target(&self) -> Option<Target> {
        match self {
            Value::Zero => None,
            Value::Oid(oid) => Some(Target::Direct(*oid)),
            Value::Symbolic(name) => Some(Target::Symbolic(name.clone())),
        }
    }
}

/// One line of a recorded transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Update {
    /// The ref.
    pub name: RefName,
    /// Value before, as the hook was told: `Zero` also where the caller stated none (FACTS.md 5).
    pub old: Value,
    /// Value after.
    pub new: Value,
}

/// One recorded transaction.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transaction {
    /// When the hook ran, in nanoseconds of a clock that all of one machine's hooks share. Orders records that
    /// arrive out of order; concurrent writers may still disagree with it (FACTS.md 9).
    pub at_ns: u64,
    /// Identity of the record, unique within the journal.
    pub id: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// Who did it.
    pub actor: Option<String>,
    /// Options of the push it belongs to.
    pub push_options: Vec<String>,
    /// Its updates, in the order of the hook's input.
    pub updates: Vec<Update>,
}
