//! Moves a state on by events, and refuses those that do not start where it stands.

use alloc::collections::BTreeMap;
use core::fmt;

use super::{RefState, Snapshot, Target};
use crate::{Event, EventType, RefChange, RefName};

/// Why an event does not follow from a state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The event starts at another value than the ref has.
    #[error("{name}: the event starts at {}, the ref is at {}", Shown(.stated), Shown(.found))]
    Gap {
        /// The ref.
        name: RefName,
        /// The event's value before.
        stated: Option<Target>,
        /// The value (or last good value) in the state.
        found: Option<Target>,
    },
    /// The ref is broken, and the event is neither its repair nor its deletion.
    #[error("{name} is broken: only a repair or a deletion can follow")]
    Broken {
        /// The ref.
        name: RefName,
    },
    /// A repair of a ref that is not broken.
    #[error("{name} is not broken, and cannot be repaired")]
    NotBroken {
        /// The ref.
        name: RefName,
    },
    /// The event contradicts itself: no name, or a change that its own values do not show.
    #[error("the event's change contradicts its values or it names no ref")]
    Malformed,
}

struct Shown<'a>(&'a Option<Target>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("nothing"),
            Some(Target::Direct(oid)) => fmt::Display::fmt(oid, f),
            Some(Target::Symbolic(name)) => write!(f, "ref:{name}"),
        }
    }
}

impl Snapshot {
    /// Moves the state on by one event, and verifies that the event starts where the state stands.
    ///
    /// Derived events and events of a repository as a whole leave the state as it is. A single insertion costs as
    /// much as there are refs behind it: for many events use [`Snapshot::apply_all`].
    ///
    /// # Errors
    /// [`ApplyError`], with the state unchanged.
    pub fn apply(&mut self, event: &Event) -> Result<(), ApplyError> {
        let Some((name, next)) = transition(event, |name| self.get(name))? else { return Ok(()) };
        match (self.0.binary_search_by(|entry| entry.0.cmp(name)), next) {
            (Ok(at), Some(state)) => self.0[at].1 = state,
            (Ok(at), None) => drop(self.0.remove(at)),
            (Err(at), Some(state)) => self.0.insert(at, (name.clone(), state)),
            (Err(_), None) => {}
        }
        Ok(())
    }

    /// Moves the state on by many events, in time that grows with the refs plus the events.
    ///
    /// # Errors
    /// The index of the first event that does not follow and why; the state is then as the events before it left it.
    pub fn apply_all<'a>(
        &mut self,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<(), (usize, ApplyError)> {
        let mut refs: BTreeMap<RefName, RefState> = core::mem::take(&mut self.0).into_iter().collect();
        let mut outcome = Ok(());
        for (index, event) in events.into_iter().enumerate() {
            match transition(event, |name| refs.get(name)) {
                Ok(None) => {}
                Ok(Some((name, Some(state)))) => drop(refs.insert(name.clone(), state)),
                Ok(Some((name, None))) => drop(refs.remove(name)),
                Err(error) => {
                    outcome = Err((index, error));
                    break;
                }
            }
        }
        self.0 = refs.into_iter().collect();
        outcome
    }
}

/// The ref that an event moves and its state after it; `None` where it moves none.
fn transition<'e, 's>(
    event: &'e Event,
    state_of: impl FnOnce(&RefName) -> Option<&'s RefState>,
) -> Result<Option<(&'e RefName, Option<RefState>)>, ApplyError> {
    let marks = matches!(event.kind, EventType::RefBroken | EventType::RefRepaired);
    if event.change.is_none() && !marks {
        return Ok(None);
    }
    let name = event.name.as_ref().ok_or(ApplyError::Malformed)?;
    let consistent = match event.change {
        None => event.old == event.new,
        Some(_) if marks => false,
        Some(change) => RefChange::between(event.old.as_ref(), event.new.as_ref()) == Some(change),
    };
    if !consistent {
        return Err(ApplyError::Malformed);
    }
    let state = state_of(name);
    let found = state.and_then(RefState::target);
    if found != event.old.as_ref() {
        return Err(ApplyError::Gap { name: name.clone(), stated: event.old.clone(), found: found.cloned() });
    }
    let broken = state.is_some_and(RefState::is_broken);
    let repairs = event.kind == EventType::RefRepaired;
    if repairs && !broken {
        return Err(ApplyError::NotBroken { name: name.clone() });
    }
    if broken && !repairs && event.change != Some(RefChange::Deleted) {
        return Err(ApplyError::Broken { name: name.clone() });
    }
    let new = event.new.clone();
    let breaks = event.kind == EventType::RefBroken;
    Ok(Some((name, if breaks { Some(RefState::Broken { last_good: new }) } else { new.map(RefState::Good) })))
}
