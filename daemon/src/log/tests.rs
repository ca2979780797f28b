use refwatch_store::Logged;

use super::{Recent, Segment, TAIL_BYTES_MAX, TAIL_EVENTS_MAX};
use crate::grpc::tests::harness::{Harness, Repo};

/// The sequences that a position finds in memory.
fn found(harness: &Harness, after: u64, events_max: usize) -> Option<Vec<u64>> {
    match harness.log.recent(after, events_max) {
        Recent::Segments(segments) => {
            let events = segments.iter().flat_map(|segment| segment.events());
            Some(events.map(|logged: &Logged| logged.sequence).collect())
        }
        Recent::Nothing => Some(Vec::new()),
        Recent::Older => None,
    }
}

#[tokio::test]
async fn recent_events_are_found_from_any_position() {
    let harness = Harness::start().await;
    let _listener = harness.log.subscribe();
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 3, 2);
    assert_eq!(found(&harness, 0, usize::MAX), Some((1..=7).collect()));
    assert_eq!(found(&harness, 2, usize::MAX), Some((2..=7).collect()), "a segment is given whole");
    assert_eq!(found(&harness, 3, 2), Some(vec![4, 5]));
    assert_eq!(found(&harness, 7, usize::MAX), Some(vec![]));
    assert_eq!(found(&harness, 9, usize::MAX), Some(vec![]), "ahead of what was published");
}

#[tokio::test]
async fn memory_is_bounded_in_events_and_bytes() {
    let harness = Harness::start().await;
    let _listener = harness.log.subscribe();
    let mut repo = harness.repository("a.git");
    for _ in 0..20 {
        harness.fill(&mut repo, 1, 2_000);
        let (bytes, events) = harness.log.tail.read().unwrap().size();
        assert!(bytes <= TAIL_BYTES_MAX && events <= TAIL_EVENTS_MAX, "{bytes} {events}");
    }
    assert_eq!(found(&harness, 0, usize::MAX), None);
    let kept = found(&harness, harness.last() - 100, usize::MAX).unwrap();
    assert_eq!(kept.last(), Some(&harness.last()));
    let mut huge = harness.repository("b.git");
    harness.fill(&mut huge, 1, 3 * TAIL_EVENTS_MAX as u64);
    let (bytes, events) = harness.log.tail.read().unwrap().size();
    assert!(bytes <= TAIL_BYTES_MAX && events <= TAIL_EVENTS_MAX && events > 0);
}

#[tokio::test]
async fn nothing_is_kept_in_memory_where_nobody_listens() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 1, 10);
    assert_eq!(harness.log.tail.read().unwrap().size(), (0, 0));
    assert_eq!(found(&harness, 1, usize::MAX), None, "it is in the store");
    let listener = harness.log.subscribe();
    let before = harness.last();
    harness.fill(&mut repo, 1, 2);
    assert_eq!(found(&harness, before - 1, usize::MAX), None);
    assert_eq!(found(&harness, before, usize::MAX), Some(vec![before + 1, before + 2]));
    drop(listener);
    harness.fill(&mut repo, 1, 1);
    assert_eq!(harness.log.tail.read().unwrap().size(), (0, 0));
}

#[tokio::test]
async fn what_was_not_published_in_order_is_left_to_the_store() {
    let harness = Harness::start().await;
    let _listener = harness.log.subscribe();
    let mut repo = harness.repository("a.git");
    let commit = repo.commit(&[("refs/heads/silent", Some(1))]);
    harness.store.commit(commit).unwrap();
    assert_eq!(found(&harness, 1, usize::MAX), Some(vec![]), "nobody has told yet");
    harness.fill(&mut repo, 1, 1);
    assert_eq!(found(&harness, 1, usize::MAX), None);
    assert_eq!(found(&harness, 2, usize::MAX), Some(vec![3]));
}

#[tokio::test]
async fn an_unknown_repository_is_left_to_the_store() {
    let harness = Harness::start().await;
    let _listener = harness.log.subscribe();
    let mut repo: Repo = harness.repository("a.git");
    let mut stranger = harness.store.commit(repo.commit(&[("refs/heads/x", Some(1))])).unwrap();
    stranger[0].repository = 99;
    harness.log.publish(stranger);
    assert_eq!(found(&harness, 1, usize::MAX), None);
    assert_eq!(found(&harness, 2, usize::MAX), Some(vec![]));
    assert_eq!(*harness.log.subscribe().borrow(), 2);
}

#[tokio::test]
async fn an_event_is_encoded_once_and_items_are_parts_of_the_frame() {
    let harness = Harness::start().await;
    let _listener = harness.log.subscribe();
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 1, 3);
    let segment = || match harness.log.recent(1, 1) {
        Recent::Segments(mut segments) => segments.remove(0),
        other => panic!("{other:?}"),
    };
    let encoded = |segment: &Segment| {
        let encoded = segment.encoded(harness.log.encoder());
        (encoded.frame.as_ptr(), [encoded.item(0), encoded.item(1), encoded.item(2)].concat())
    };
    let (first, again) = (segment(), segment());
    assert_eq!(encoded(&first), encoded(&again));
    let whole = first.encoded(harness.log.encoder());
    assert_eq!(encoded(&first).1, whole.items);
    let inside = whole.frame.windows(whole.items.len()).any(|window| window == whole.items);
    assert!(inside && whole.ends_whole && !whole.internal);
}
