//! `Snapshot::apply` takes what follows, and refuses what does not.

use refwatch_core::snapshot::ApplyError;
use refwatch_core::{Event, EventType, Origin, RefChange, RefState, Snapshot, Target};

use crate::given::{Num, direct, good, name};

fn state(entries: &[(&str, Option<RefState>)]) -> Snapshot {
    let entry = |(of, state): &(&str, Option<RefState>)| state.clone().map(|state| (name(of), state));
    Snapshot::from_entries(entries.iter().filter_map(entry).collect())
}

fn broken(last_good: Num) -> Option<RefState> {
    Some(RefState::Broken { last_good: direct(last_good) })
}

fn change(of: &str, old: Num, new: Num) -> Event {
    let (old, new) = (direct(old), direct(new));
    Event {
        name: Some(name(of)),
        change: RefChange::between(old.as_ref(), new.as_ref()),
        old,
        new,
        ..Event::of_repository(EventType::BranchUpdated, Origin::Notify)
    }
}

fn mark(kind: EventType, of: &str, value: Num) -> Event {
    Event { kind, change: None, ..change(of, value, value) }
}

const A: &str = "refs/heads/a";
const B: &str = "refs/heads/b";

#[test]
fn events_that_follow_move_the_state() {
    let mut refs = state(&[(A, good(1))]);
    for (event, expected) in [
        (change(A, 1, 2), state(&[(A, good(2))])),
        (change(B, 0, 3), state(&[(A, good(2)), (B, good(3))])),
        (mark(EventType::RefBroken, A, 2), state(&[(A, broken(2)), (B, good(3))])),
        (mark(EventType::RefRepaired, A, 2), state(&[(A, good(2)), (B, good(3))])),
        (change(A, 2, 0), state(&[(B, good(3))])),
        (mark(EventType::RefBroken, A, 0), state(&[(A, broken(0)), (B, good(3))])),
        (mark(EventType::RefRepaired, A, 0), state(&[(B, good(3))])),
        (mark(EventType::RefBroken, B, 3), state(&[(B, broken(3))])),
        (change(B, 3, 0), state(&[])),
    ] {
        assert_eq!(refs.apply(&event), Ok(()), "{event:?}");
        assert_eq!(refs, expected, "{event:?}");
    }
}

#[test]
fn derived_events_leave_it_as_it_is() {
    let before = state(&[(A, good(1))]);
    let mut refs = before.clone();
    let renamed = mark(EventType::BranchRenamed, B, 7);
    let released = Event { old: None, ..mark(EventType::ReleaseCreated, "refs/tags/v1", 7) };
    let gone = Event::of_repository(EventType::RepositoryDeleted, Origin::Sweep);
    for event in [renamed, released, gone] {
        assert_eq!(refs.apply(&event), Ok(()));
        assert_eq!(refs, before);
    }
}

#[test]
fn events_that_do_not_follow_are_refused_and_change_nothing() {
    let before = state(&[(A, good(1)), (B, broken(2))]);
    let gap = |of: &str, stated: Num, found: Num| ApplyError::Gap {
        name: name(of),
        stated: direct(stated),
        found: direct(found),
    };
    let nameless = Event { name: None, ..change(A, 1, 2) };
    let mislabelled = Event { change: Some(RefChange::Created), ..change(A, 1, 2) };
    let no_change = Event { change: Some(RefChange::Updated), ..change(A, 1, 1) };
    let moving_mark = Event { new: direct(2), ..mark(EventType::RefBroken, A, 1) };
    let changing_mark = Event { kind: EventType::RefBroken, ..change(A, 1, 2) };
    for (event, expected) in [
        (change(A, 2, 3), gap(A, 2, 1)),
        (change(A, 0, 3), gap(A, 0, 1)),
        (change("refs/heads/c", 1, 3), gap("refs/heads/c", 1, 0)),
        (mark(EventType::RefBroken, A, 9), gap(A, 9, 1)),
        (change(B, 2, 3), ApplyError::Broken { name: name(B) }),
        (mark(EventType::RefBroken, B, 2), ApplyError::Broken { name: name(B) }),
        (mark(EventType::RefRepaired, A, 1), ApplyError::NotBroken { name: name(A) }),
        (nameless, ApplyError::Malformed),
        (mislabelled, ApplyError::Malformed),
        (no_change, ApplyError::Malformed),
        (moving_mark, ApplyError::Malformed),
        (changing_mark, ApplyError::Malformed),
    ] {
        let mut refs = before.clone();
        assert_eq!(refs.apply(&event), Err(expected.clone()), "{event:?}");
        assert_eq!(refs, before);
        assert_eq!(refs.apply_all([&change(A, 1, 4), &change(A, 4, 1), &event]), Err((2, expected)));
        assert_eq!(refs, before, "what came before stands, and here it ends where it began");
    }
}

#[test]
fn an_error_says_both_values() {
    let mut refs = state(&[(A, Some(RefState::Good(Target::Symbolic(name(B)))))]);
    let error = refs.apply(&change(A, 0, 3)).expect_err("does not follow");
    assert_eq!(
        error.to_string(),
        "refs/heads/a: the event starts at nothing, the ref is at ref:refs/heads/b"
    );
}
