//! The guarantees, as programs: each says of recorded events whether it held.
//!
//! All fail with a panic that names what is wrong.

use std::collections::{BTreeMap, HashSet};

use refwatch_core::Cursor;
use refwatch_proto::v1::{Forward, GitEvent, GitEventType, Ref, RefChange, RefNamespace, Transaction};

use crate::lens::Lens;
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

/// Sequences rise, whatever is filtered out.
///
/// # Panics
/// When they do not.
pub fn ascending(events: &[GitEvent]) {
    for pair in events.windows(2) {
        let [left, right] = [pair[0].sequence, pair[1].sequence];
        assert!(left < right, "Ordered: {left} is followed by {right}");
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

/// As [`atomic`], for streams that something is filtered out of: no other transaction comes between, sizes agree, and
/// the numbers are those that the events have in the log, where sequences and indices rise together.
///
/// # Panics
/// When they do not.
pub fn atomic_but_filtered(events: &[GitEvent]) {
    let mut begun: HashSet<&str> = HashSet::new();
    let mut last: Option<(&Transaction, u64)> = None;
    for event in events {
        let Some(transaction) = &event.transaction else { panic!("Atomic: {} has none", event.sequence) };
        assert!(transaction.index < transaction.size, "Atomic: {transaction:?} at {}", event.sequence);
        match last {
            Some((before, at)) if before.id == transaction.id => {
                assert_eq!(before.size, transaction.size, "Atomic: sizes at {}", event.sequence);
                let passed = u64::from(transaction.index).checked_sub(before.index.into());
                assert_eq!(passed, Some(event.sequence - at), "Atomic: numbering at {}", event.sequence);
            }
            _ => assert!(begun.insert(&transaction.id), "Atomic: {} came in two pieces", transaction.id),
        }
        last = Some((transaction, event.sequence));
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

/// Exactly what the filter lets pass of the log after the start came, in order, field by field.
///
/// # Panics
/// When something else did.
pub fn delivered(log: &[GitEvent], after: u64, lens: &Lens, events: &[GitEvent]) {
    let due: Vec<&GitEvent> = lens.of(log).into_iter().filter(|event| event.sequence > after).collect();
    let sequences = |events: &[&GitEvent]| events.iter().map(|event| event.sequence).collect::<Vec<_>>();
    let came: Vec<&GitEvent> = events.iter().collect();
    assert_eq!(sequences(&came), sequences(&due), "Delivered: came (left) is not what is due (right)");
    assert_eq!(came, due, "Delivered: an event differs from that of the log");
}

/// The refs of a snapshot are those on disk that the filter lets pass, each once, by bytes of their names.
///
/// # Panics
/// When they are not.
pub fn shown(lens: &Lens, every: &[Ref], refs: &[Ref]) {
    let due: Vec<&Ref> = every.iter().filter(|taken| (lens.shows)(taken)).collect();
    assert_eq!(refs.iter().collect::<Vec<_>>(), due, "Delivered: the snapshot (left) is not what is due");
}

/// The type of each event is what the table above `GitEventType` makes of its other fields; the namespace, of its name.
///
/// # Panics
/// When one is not.
pub fn typed(events: &[GitEvent], is_bare: impl Fn(&GitEvent) -> bool) {
    for event in events {
        let (name, sequence) = (event.ref_name.as_str(), event.sequence);
        assert_eq!(event.ref_namespace(), namespace_of(name), "Typed: namespace of {name} at {sequence}");
        let kind = event.r#type();
        match type_of(event, is_bare(event)) {
            Some(due) => assert_eq!(kind, due, "Typed: at {sequence}: {event:#?}"),
            None => assert!(UNCHANGED.contains(&kind), "Typed: {kind:?} changes a ref: {event:#?}"),
        }
        let is_update = event.change() == RefChange::Updated
            && event.old_symbolic_target.is_empty()
            && event.new_symbolic_target.is_empty();
        let has_forward = event.forward() != Forward::Unspecified;
        assert_eq!(has_forward, is_update, "Typed: forward at {sequence}: {event:#?}");
    }
}

/// Types of events that leave every ref as it is.
const UNCHANGED: [GitEventType; 11] = [
    GitEventType::ReleaseCreated,
    GitEventType::BranchRenamed,
    GitEventType::PushReceived,
    GitEventType::MirrorSynced,
    GitEventType::PushRejected,
    GitEventType::ProtectedBranchRejected,
    GitEventType::RefBroken,
    GitEventType::RefRepaired,
    GitEventType::RepositoryDiscovered,
    GitEventType::RepositoryDeleted,
    GitEventType::RepositoryMoved,
];

/// By the lines above `GitEventType`; `None` where no ref changed.
fn type_of(event: &GitEvent, is_bare: bool) -> Option<GitEventType> {
    let change = event.change();
    if change == RefChange::Unspecified {
        return None;
    }
    let by_change = |created, updated, deleted| match change {
        RefChange::Created => created,
        RefChange::Deleted => deleted,
        RefChange::Updated | RefChange::Unspecified => updated,
    };
    let is_symbolic = !event.old_symbolic_target.is_empty() || !event.new_symbolic_target.is_empty();
    Some(match event.ref_namespace() {
        RefNamespace::Head if is_bare => GitEventType::DefaultBranchChanged,
        _ if is_symbolic => GitEventType::SymbolicRefUpdated,
        RefNamespace::Branch => by_change(
            GitEventType::BranchCreated,
            match event.forward() {
                Forward::Forced | Forward::Unrelated => GitEventType::BranchForcePushed,
                Forward::Unspecified | Forward::FastForward | Forward::Unknown => GitEventType::BranchUpdated,
            },
            GitEventType::BranchDeleted,
        ),
        RefNamespace::Tag => {
            by_change(GitEventType::TagCreated, GitEventType::TagMoved, GitEventType::TagDeleted)
        }
        RefNamespace::Notes => GitEventType::NotesUpdated,
        RefNamespace::Replace => GitEventType::ReplaceRefUpdated,
        RefNamespace::ChangeRequest => GitEventType::ChangeRequestRefUpdated,
        RefNamespace::Unspecified
        | RefNamespace::Remote
        | RefNamespace::Head
        | RefNamespace::Worktree
        | RefNamespace::Internal
        | RefNamespace::Custom => GitEventType::CustomRefUpdated,
    })
}

/// By the lines of `RefNamespace`, for names that the tests use.
fn namespace_of(name: &str) -> RefNamespace {
    let below = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    match name {
        "" => RefNamespace::Unspecified,
        "HEAD" => RefNamespace::Head,
        _ if below(&["refs/heads/"]) => RefNamespace::Branch,
        _ if below(&["refs/tags/"]) => RefNamespace::Tag,
        _ if below(&["refs/notes/"]) => RefNamespace::Notes,
        _ if below(&["refs/replace/"]) => RefNamespace::Replace,
        _ if below(&["refs/pull/", "refs/merge-requests/", "refs/changes/"]) => RefNamespace::ChangeRequest,
        _ if below(&["refs/remotes/"]) => RefNamespace::Remote,
        _ if below(&["refs/keep-around/"]) => RefNamespace::Internal,
        _ => RefNamespace::Custom,
    }
}

/// Each cursor stands after every event that came before it, and before every event that came after it; none goes back.
///
/// # Panics
/// When one does not.
pub fn bookmarked(recording: &Recording) {
    let mut last = 0;
    for (cursor, came) in &recording.trail {
        let at = Cursor::decode(cursor).expect("a cursor").sequence;
        assert!(at >= last, "Bookmarked: a cursor at {at} after one at {last}");
        last = at;
        let (before, after) = recording.events.split_at(*came);
        assert!(
            before.last().is_none_or(|event| event.sequence <= at),
            "Bookmarked: the cursor at {at} repeats {before:?}"
        );
        assert!(
            after.first().is_none_or(|event| event.sequence > at),
            "Bookmarked: the cursor at {at} loses {after:?}"
        );
    }
    for event in &recording.events {
        let at = Cursor::decode(&event.cursor).expect("a cursor").sequence;
        assert_eq!(at, event.sequence, "Bookmarked: the cursor of an event stands right after it");
    }
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

/// Unbroken: of a ref that was given each of `values` after the other, round and round, no event passes over one in
/// silence.
///
/// # Panics
/// When one does.
pub fn bridges_said(events: &[GitEvent], values: &[String]) {
    let next: BTreeMap<&str, &str> =
        values.iter().zip(values.iter().cycle().skip(1)).map(|(old, new)| (&**old, &**new)).collect();
    for event in events {
        let bridges = next[&*event.old_oid] != event.new_oid;
        assert!(event.coalesced || !bridges, "passed over in silence: {event:#?}");
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use refwatch_proto::v1::EventRepository;

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

    #[test]
    fn what_is_due_and_nothing_else_is_delivered() {
        let all = Lens::everything();
        delivered(&two(), 0, &all, &two());
        delivered(&two(), 1, &all, &two()[1..]);
        delivered(&two(), 0, &Lens::nothing(), &[]);
        assert!(catch_unwind(|| delivered(&two(), 0, &Lens::everything(), &two()[1..])).is_err(), "lost");
        assert!(catch_unwind(|| delivered(&two(), 1, &Lens::everything(), &two())).is_err(), "repeated");
        assert!(
            catch_unwind(|| delivered(&two(), 1, &Lens::nothing(), &two()[1..])).is_err(),
            "not asked for"
        );
        let mut other = two();
        other[1].coalesced = true;
        assert!(catch_unwind(|| delivered(&two(), 0, &Lens::everything(), &other)).is_err(), "changed");
    }

    #[test]
    fn a_type_that_its_fields_do_not_give_is_found() {
        let typed_as = |kind: GitEventType, forward: Forward| {
            let mut event = two().swap_remove(1);
            event.set_type(kind);
            event.set_forward(forward);
            event.set_ref_namespace(RefNamespace::Branch);
            catch_unwind(|| typed(&[event], |_| true)).is_ok()
        };
        assert!(typed_as(GitEventType::BranchUpdated, Forward::FastForward));
        assert!(typed_as(GitEventType::BranchForcePushed, Forward::Unrelated));
        assert!(!typed_as(GitEventType::BranchUpdated, Forward::Forced));
        assert!(!typed_as(GitEventType::BranchUpdated, Forward::Unspecified));
        assert!(!typed_as(GitEventType::TagMoved, Forward::FastForward));
    }

    #[test]
    fn a_cursor_that_loses_or_repeats_is_found() {
        let held = |cursors: &[(u64, usize)]| {
            let at = |sequence| Cursor { server: 1, epoch: 2, sequence }.encode();
            let trail = cursors.iter().map(|(sequence, came)| (at(*sequence), *came)).collect();
            let mut events = two();
            events.iter_mut().for_each(|event| event.cursor = at(event.sequence));
            let recording = Recording { events, trail, ..Recording::default() };
            catch_unwind(AssertUnwindSafe(|| bookmarked(&recording))).is_ok()
        };
        assert!(held(&[(0, 0), (1, 1), (5, 2)]));
        assert!(!held(&[(1, 0)]), "loses the first");
        assert!(!held(&[(0, 1)]), "repeats it");
        assert!(!held(&[(6, 2), (5, 2)]), "goes back");
    }
}
