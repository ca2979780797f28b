//! What the refs of one repository point at, at one moment, and how two moments differ.

use alloc::vec::Vec;

use crate::{ObjectId, RefName};

mod apply;

pub use apply::ApplyError;

/// What a ref points at.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// An object.
    Direct(ObjectId),
    /// Another ref, by name; it need not exist.
    Symbolic(RefName),
}

impl Target {
    /// The object id of a direct target.
    pub const fn oid(&self) -> Option<ObjectId> {
        match self {
            Target::Direct(oid) => Some(*oid),
            Target::Symbolic(_) => None,
        }
    }

    /// The name that a symbolic target points at.
    pub const fn symbolic(&self) -> Option<&RefName> {
        match self {
            Target::Direct(_) => None,
            Target::Symbolic(name) => Some(name),
        }
    }
}

/// What is known of one ref that exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RefState {
    /// Its value was read.
    Good(Target),
    /// Its file is there and says nothing that Git would accept. The last value that was good is kept: a ref that
    /// cannot be read has not been deleted.
    Broken {
        /// The value before it broke, if there was one.
        last_good: Option<Target>,
    },
}

impl RefState {
    /// The value that subscribers hold for this ref: its own, or the last good one.
    pub const fn target(&self) -> Option<&Target> {
        match self {
            RefState::Good(target) => Some(target),
            RefState::Broken { last_good } => last_good.as_ref(),
        }
    }

    /// True when the ref could not be read.
    pub const fn is_broken(&self) -> bool {
        matches!(self, RefState::Broken { .. })
    }
}

/// The refs of one repository (or those of them that were looked at), sorted by name, each name once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot(Vec<(RefName, RefState)>);

/// What a pass saw of one ref: its state before, and now. The two may be equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The ref.
    pub name: RefName,
    /// Its state in the earlier snapshot, `None` where it did not exist.
    pub before: Option<RefState>,
    /// Its state now, `None` where it does not exist.
    pub after: Option<RefState>,
    /// Values in between may have come and gone unseen.
    pub coalesced: bool,
}

impl Snapshot {
    /// Takes entries in any order. Of two with the same name the first is kept.
    pub fn from_entries(mut entries: Vec<(RefName, RefState)>) -> Self {
        // Stable, so that "the first" means the caller's first.
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        entries.dedup_by(|later, earlier| later.0 == earlier.0);
        Self(entries)
    }

    /// The state of one ref.
    pub fn get(&self, name: &RefName) -> Option<&RefState> {
        self.0.binary_search_by(|entry| entry.0.cmp(name)).ok().map(|index| &self.0[index].1)
    }

    /// The entries in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &(RefName, RefState)> {
        self.0.iter()
    }

    /// Number of refs.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when there is no ref.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries, given away, in order of name.
    pub fn into_entries(self) -> Vec<(RefName, RefState)> {
        self.0
    }
}

/// Compares two sorted sequences of refs in one walk and yields what differs, sorted by name.
///
/// Nothing is held in memory but the differences, so both sides may be streams.
pub fn diff<B, A>(before: B, after: A, coalesced: bool) -> Vec<Look>
where
    B: IntoIterator<Item = (RefName, RefState)>,
    A: IntoIterator<Item = (RefName, RefState)>,
{
    use core::cmp::Ordering;

    let mut before = before.into_iter().peekable();
    let mut after = after.into_iter().peekable();
    let mut looks = Vec::new();
    loop {
        let side = match (before.peek(), after.peek()) {
            (None, None) => return looks,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(left), Some(right)) => left.0.cmp(&right.0),
        };
        let old = if side.is_le() { before.next() } else { None };
        let new = if side.is_ge() { after.next() } else { None };
        let (old, new, name) = match (old, new) {
            (Some((_, old)), Some((name, new))) => (Some(old), Some(new), name),
            (Some((name, old)), None) => (Some(old), None, name),
            (None, Some((name, new))) => (None, Some(new), name),
            (None, None) => return looks,
        };
        let look = Look::new(name, old, new, coalesced);
        if look.before != look.after {
            looks.push(look);
        }
    }
}

impl Look {
    /// What was seen of a ref. Where it is broken now, its last good value is the one it had before, whatever
    /// `after` says of it.
    pub fn new(name: RefName, before: Option<RefState>, after: Option<RefState>, coalesced: bool) -> Self {
        let after = match after {
            Some(RefState::Broken { .. }) => {
                Some(RefState::Broken { last_good: before.as_ref().and_then(RefState::target).cloned() })
            }
            other => other,
        };
        Self { name, before, after, coalesced }
    }
}
