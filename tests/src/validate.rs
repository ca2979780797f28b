//! The guarantees, as programs: each says of recorded events whether it held.
//!
//! All fail with a panic that names what is wrong.

use std::collections::{BTreeMap, HashSet};

use refwatch_proto::v1::GitEvent;

use crate::recorder::Recording;
use crate::state::State;

/// Sequences rise by one, in one order for all repositories. For streams that nothing is filtered out of.
///
/// # Panics
/// When they do not.
pub fn ordered(events: &[GitEvent]) {
    for pair in events.windows(2) {
        let [left, right] = [pair[0].sequence, pair[1].sequence];
        assert_eq!(left + 1, right, "Ordered: {left} is followed by {right}");
    }
}

/// No event comes twice, and its id says epoch and sequence.
///
/// # Panics
/// When one does.
pub fn unique(events: &[GitEvent]) {
    let mut ids = HashSet::new();
    for event in events {
        assert!(ids.insert(&event.event_id), "Unique: {} came twice", event.event_id);
        let sequence = event.event_id.split_once('.').and_then(|(_, sequence)| sequence.parse().ok());
        assert_eq!(sequence, Some(event.sequence), "Unique: the id {} has the sequence", event.event_id);
    }
}

/// Each event starts where the one before ended; the state that they lead to.
///
/// # Panics
/// When one does not.
pub fn unbroken(base: &State, events: &[GitEvent]) -> State {
    let mut state = base.clone();
    for event in events {
        if let Err(error) = state.apply(event) {
            panic!("Unbroken: {error}");
        }
    }
    state
}

/// Transactions are contiguous, and their events numbered. For streams that nothing is filtered out of; the first and
/// the last transaction may be cut.
///
/// # Panics
/// When they are not.
pub fn atomic(events: &[GitEvent]) {
    let mut over: HashSet<&str> = HashSet::new();
    let mut open: Option<(&str, u32, u32)> = None;
    for event in events {
        let Some(transaction) = &event.transaction else { panic!("Atomic: {} has none", event.sequence) };
        let (id, index, size) = (transaction.id.as_str(), transaction.index, transaction.size);
        assert!(index < size, "Atomic: index {index} of {size} at {}", event.sequence);
        match open {
            Some((last, at, of)) if last == id => {
                assert_eq!((at + 1, of), (index, size), "Atomic: numbering at {}", event.sequence);
            }
            Some((last, at, of)) => {
                assert_eq!(at + 1, of, "Atomic: {last} was split before {}", event.sequence);
                assert_eq!(index, 0, "Atomic: {id} begins in its midst at {}", event.sequence);
                assert!(over.insert(last), "Atomic: {last} came in two pieces");
            }
            None => {}
        }
        assert!(!over.contains(id), "Atomic: {id} came in two pieces");
        open = Some((id, index, size));
    }
}

/// Applied to the state they start from, the events give what is on disk.
///
/// # Panics
/// When they do not.
pub fn truthful(base: &State, events: &[GitEvent], disk: &State) {
    let state = unbroken(base, events);
    let told: BTreeMap<_, _> = state.0.keys().map(|id| (id, state.shared(id))).collect();
    let real: BTreeMap<_, _> = disk.0.keys().map(|id| (id, disk.shared(id))).collect();
    for (id, refs) in &real {
        let told = told.get(id).cloned().unwrap_or_default();
        assert_eq!(told, *refs, "Truthful: repository {id}: told (left) is not on disk (right)");
    }
    for id in told.keys() {
        assert!(real.contains_key(id), "Truthful: {id} is told of, and not on disk");
    }
}

/// What came after a cursor is, event for event, what the whole recording has there.
///
/// # Panics
/// When it is not.
pub fn resumable(whole: &[GitEvent], after: u64, resumed: &[GitEvent]) {
    let expected: Vec<_> = whole.iter().filter(|event| event.sequence > after).collect();
    let resumed: Vec<_> = resumed.iter().collect();
    let sequences = |events: &[&GitEvent]| events.iter().map(|event| event.sequence).collect::<Vec<_>>();
    assert_eq!(sequences(&expected), sequences(&resumed), "Resumable: after {after}");
    assert_eq!(expected, resumed, "Resumable: after {after} the same events come");
}

/// Everything that holds of a recording from which nothing was filtered out.
///
/// # Panics
/// When something does not.
pub fn all(recording: &Recording, disk: &State) {
    ordered(&recording.events);
    unique(&recording.events);
    atomic(&recording.events);
    truthful(&recording.base, &recording.events, disk);
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use refwatch_proto::v1::{EventRepository, RefChange, Transaction};

    use super::*;
    use crate::state::{Refs, Value};

    /// refs/heads/main: created, updated; both by transactions of their own.
    fn two() -> Vec<GitEvent> {
        let oid = |digit: &str| digit.repeat(40);
        let event = |sequence: u64, change: RefChange, old: &str, new: &str| GitEvent {
            event_id: format!("e.{sequence}"),
            sequence,
            repository: Some(EventRepository { id: "r".to_owned(), ..EventRepository::default() }),
            ref_name: "refs/heads/main".to_owned(),
            change: change.into(),
            old_oid: oid(old),
            new_oid: oid(new),
            transaction: Some(Transaction { id: format!("t{sequence}"), index: 0, size: 1 }),
            ..GitEvent::default()
        };
        vec![event(1, RefChange::Created, "0", "a"), event(2, RefChange::Updated, "a", "b")]
    }

    fn disk(digit: &str) -> State {
        let refs = Refs([(b"refs/heads/main".to_vec(), Value::Oid(digit.repeat(40)))].into());
        State([("r".to_owned(), refs)].into())
    }

    fn holds(events: Vec<GitEvent>, disk: State) -> bool {
        let recording = Recording { events, ..Recording::default() };
        catch_unwind(AssertUnwindSafe(|| all(&recording, &disk))).is_ok()
    }

    #[test]
    fn a_sound_recording_holds() {
        assert!(holds(two(), disk("b")));
    }

    #[test]
    fn each_breach_is_found() {
        let breach = |change: fn(&mut Vec<GitEvent>)| {
            let mut events = two();
            change(&mut events);
            holds(events, disk("b"))
        };
        assert!(!breach(|events| events[1].sequence = 3), "a gap");
        assert!(!breach(|events| events[1].event_id = events[0].event_id.clone()), "twice");
        assert!(!breach(|events| events[1].old_oid = "c".repeat(40)), "a broken chain");
        assert!(!breach(|events| events[1].set_change(RefChange::Created)), "a change that lies");
        assert!(!breach(|events| drop(events.pop())), "an event is missing");
        assert!(
            !breach(|events| events[0].transaction.as_mut().expect("set").size = 2),
            "a transaction is split"
        );
        assert!(!holds(two(), disk("c")), "the disk says otherwise");
        assert!(catch_unwind(|| resumable(&two(), 1, &two())).is_err(), "repeated after a resume");
        assert!(catch_unwind(|| resumable(&two(), 0, &two()[1..])).is_err(), "lost by a resume");
        resumable(&two(), 1, &two()[1..]);
    }
}
