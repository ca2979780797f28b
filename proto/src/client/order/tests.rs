use crate::v1::{EventRepository, GitEventType, Ref, RefChange, Repository, Transaction, WatchEventsRequest};

use super::*;

fn event(epoch: &str, sequence: u64) -> GitEvent {
    within(epoch, sequence, 0, 1)
}

fn within(epoch: &str, sequence: u64, index: u32, size: u32) -> GitEvent {
    let first = sequence - u64::from(index);
    GitEvent {
        event_id: format!("{epoch}.{sequence}"),
        sequence,
        transaction: Some(Transaction { id: format!("t{first}"), index, size }),
        ..GitEvent::default()
    }
}

fn moved(sequence: u64, name: &str, old: char, new: char) -> GitEvent {
    GitEvent {
        repository: Some(EventRepository { id: "r".to_owned(), ..EventRepository::default() }),
        ref_name: name.to_owned(),
        change: RefChange::Updated.into(),
        old_oid: old.to_string().repeat(40),
        new_oid: new.to_string().repeat(40),
        ..event("a", sequence)
    }
}

fn about(sequence: u64, kind: GitEventType) -> GitEvent {
    GitEvent { r#type: kind.into(), change: 0, ..moved(sequence, "", '0', '0') }
}

fn order() -> Order {
    let mut order = Order::new(Verify::Chains, None);
    order.started("a");
    order
}

fn sequences(events: &[GitEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

#[test]
fn what_a_new_stream_repeats_is_dropped() {
    let mut order = order();
    let first = order.admit(vec![event("a", 3), event("a", 7)]).expect("in order");
    assert_eq!(sequences(&first), [3, 7]);
    order.started("a");
    let second = order.admit(vec![event("a", 7), event("a", 9)]).expect("in order");
    assert_eq!(sequences(&second), [9]);
}

#[test]
fn what_one_stream_repeats_is_refused() {
    let mut order = order();
    let repeated = order.admit(vec![event("a", 3), event("a", 3)]);
    assert_eq!(repeated, Err(Violation::OutOfOrder { sequence: 3, last: 3 }));
    order.started("a");
    assert!(order.admit(vec![event("a", 9), event("a", 8)]).is_err());
    order.started("a");
    assert!(matches!(order.admit(vec![event("b", 10)]), Err(Violation::ForeignEvent { .. })));
}

#[test]
fn another_log_starts_anew_and_a_snapshot_accounts_for_what_was_before() {
    let mut order = order();
    assert!(order.admit(vec![event("a", 50)]).is_ok());
    order.reset("b");
    order.snapshot(4);
    assert_eq!(sequences(&order.admit(vec![event("b", 5)]).expect("in order")), [5]);
    assert!(order.admit(vec![event("b", 4)]).is_err());
}

#[test]
fn a_transaction_may_be_hidden_in_part_and_resumed_in_its_midst_but_not_torn() {
    let whole = vec![event("a", 1), within("a", 2, 0, 3), within("a", 4, 2, 3), event("a", 5)];
    assert!(order().admit(whole).is_ok());
    let mut resumed = order();
    assert!(resumed.admit(vec![within("a", 2, 0, 3)]).is_ok());
    resumed.started("a");
    assert!(resumed.admit(vec![within("a", 3, 1, 3), event("a", 5)]).is_ok());

    let other = |sequence, index, size, id: &str| {
        let mut event = within("a", sequence, 0, size);
        event.transaction = Some(Transaction { id: id.to_owned(), index, size });
        event
    };
    for torn in [
        // Another one begins before its end.
        vec![within("a", 2, 0, 3), event("a", 4)],
        // It is longer than it said, comes back, or counts wrongly.
        vec![within("a", 2, 0, 3), other(3, 1, 4, "t2")],
        vec![event("a", 2), other(3, 0, 1, "t2")],
        vec![within("a", 2, 0, 3), other(3, 2, 3, "t2")],
        vec![within("a", 2, 0, 0)],
        vec![other(3, 3, 3, "t")],
        vec![other(1, 1, 3, "t")],
        vec![GitEvent { transaction: None, ..event("a", 1) }],
    ] {
        let refused = order().admit(torn.clone());
        assert!(matches!(refused, Err(Violation::TornTransaction { .. })), "{torn:?} {refused:?}");
    }
}

#[test]
fn where_nothing_is_hidden_every_event_of_a_transaction_must_come() {
    let admits = |events: Vec<GitEvent>| {
        let all = EventFilter { include_internal: true, ..EventFilter::default() };
        let mut order = Order::new(Verify::Order, Some(&all));
        order.started("a");
        order.admit(events).is_ok()
    };
    let third = |index: u32| within("a", 2 + u64::from(index), index, 3);
    assert!(admits(vec![event("a", 1), third(0), third(1), third(2), event("a", 5)]));
    // Resumed in its midst. And whoever may see only some repositories sees whole transactions of them.
    assert!(admits(vec![third(1), third(2), event("a", 9)]));
    assert!(!admits(vec![third(0), third(2)]), "one in its midst is missing");
    assert!(!admits(vec![third(0), third(1), event("a", 5)]), "its end is missing");
    assert!(!admits(vec![event("a", 1), third(1), third(2)]), "its beginning is missing");
}

#[test]
fn each_ref_goes_on_where_it_stood() {
    let mut sound = order();
    let events = vec![
        moved(1, "refs/heads/x", '0', '1'),
        moved(2, "refs/heads/y", '7', '8'),
        moved(3, "refs/heads/x", '1', '2'),
    ];
    assert!(sound.admit(events).is_ok());
    // A reconnection repeats, and goes on.
    sound.started("a");
    let on = vec![moved(3, "refs/heads/x", '1', '2'), moved(4, "refs/heads/x", '2', '0')];
    assert_eq!(sequences(&sound.admit(on).expect("sound")), [4]);
    let refused = sound.admit(vec![moved(5, "refs/heads/x", '2', '3')]);
    assert_eq!(
        refused,
        Err(Violation::BrokenChain {
            event_id: "a.5".to_owned(),
            repository_id: "r".to_owned(),
            ref_name: "refs/heads/x".to_owned(),
        })
    );
}

#[test]
fn a_symbolic_target_is_part_of_the_chain() {
    let head = |sequence, old: &str, new: &str| GitEvent {
        old_symbolic_target: old.to_owned(),
        new_symbolic_target: new.to_owned(),
        ..moved(sequence, "HEAD", '0', '0')
    };
    assert!(order().admit(vec![head(1, "", "refs/heads/a"), head(2, "refs/heads/a", "")]).is_ok());
    assert!(order().admit(vec![head(1, "", "refs/heads/a"), head(2, "refs/heads/b", "")]).is_err());
}

#[test]
fn a_snapshot_begins_chains_and_the_end_of_a_repository_ends_them() {
    let mut order = order();
    assert!(order.admit(vec![moved(1, "refs/heads/x", '0', '1')]).is_ok());
    order.snapshot(9);
    order.refs(&SnapshotRefs {
        repository: Some(Repository { id: "r".to_owned(), ..Repository::default() }),
        refs: vec![Ref { name: "refs/heads/x".to_owned(), oid: "5".repeat(40), ..Ref::default() }],
        last: true,
    });
    assert!(order.admit(vec![moved(10, "refs/heads/x", '5', '6')]).is_ok());
    for kind in [GitEventType::RepositoryDeleted, GitEventType::RepositoryMoved] {
        let next = order.last + 1;
        let told = vec![about(next, kind), moved(next + 1, "refs/heads/x", '3', '4')];
        assert!(order.admit(told).is_ok(), "{kind:?}");
    }
    assert!(order.admit(vec![moved(30, "refs/heads/x", '3', '4')]).is_err());
}

#[test]
fn chains_are_not_looked_for_where_the_filter_hides_links() {
    let of = |types: &[GitEventType]| {
        let filter = EventFilter {
            types: types.iter().map(|kind| i32::from(*kind)).collect(),
            ..EventFilter::default()
        };
        let request = WatchEventsRequest { filter: Some(filter), ..WatchEventsRequest::default() };
        let mut order = Order::new(Verify::Chains, request.filter.as_ref());
        order.started("a");
        order.admit(vec![moved(1, "x", '0', '1'), moved(2, "x", '5', '6')]).is_ok()
    };
    assert!(of(&[GitEventType::BranchUpdated]));
    assert!(of(&[GitEventType::RefUpdated]));
    assert!(!of(&[]));
    assert!(!of(&[GitEventType::RefUpdated, GitEventType::RepositoryDeleted, GitEventType::RepositoryMoved]));
}
