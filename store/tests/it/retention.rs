//! Retention: the floor goes up with what is deleted, and never into a transaction.

use refwatch_core::{Event, EventType, Origin};
use refwatch_store::{Bounds, Commit, ReadError, RepositoryWrite, Retention, Store, open};

use crate::support::*;

fn store_keeping(place: &Place, retention: Retention) -> Store {
    let mut options = place.options();
    options.retention = retention;
    open(options, NOW_US).unwrap().store
}

/// Sizes of the transactions that `fill` makes after the repository's own event.
const SIZES: [usize; 8] = [3, 1, 5, 2, 2, 4, 1, 6];

/// Each transaction a second after the one before.
fn fill(store: &Store) -> i64 {
    let key = create(store);
    for (number, size) in SIZES.into_iter().enumerate() {
        let mut commit = branches(key, number * 10, size);
        commit.observed_at_us += (number as i64 + 1) * 1_000_000;
        store.commit(commit).unwrap();
    }
    key
}

/// First sequences of the transactions, and one past the last.
fn starts() -> Vec<u64> {
    let mut starts = vec![1, 2];
    for size in SIZES {
        starts.push(starts.last().unwrap() + size as u64);
    }
    starts
}

#[test]
fn every_limit_on_events_leaves_whole_transactions() {
    for events_max in 0..27 {
        let place = Place::new();
        let store = store_keeping(&place, Retention { events_max: Some(events_max), ..Retention::default() });
        fill(&store);
        let last = store.bounds().last;
        let retained = store.retain(NOW_US).unwrap();
        let Bounds { floor, .. } = store.bounds();
        assert!(starts().contains(&floor), "{floor} is inside a transaction");
        assert_eq!((retained.floor, retained.events), (floor, floor - 1));
        let kept = last + 1 - floor;
        assert!(kept >= events_max.min(last), "never less than promised");
        let next = starts().into_iter().find(|start| *start > floor).unwrap_or(last + 2);
        assert!(last + 1 < next + events_max || kept == 0, "no more than one transaction too many");
        let events = events_after(&store, floor - 1, 100).unwrap();
        assert_eq!(events.len() as u64, kept);
        assert!(events.first().is_none_or(|event| event.event.index == 0));
        if floor > 1 {
            assert_eq!(events_after(&store, floor - 2, 1), Err(ReadError::Expired { floor }));
            assert!(matches!(
                store.read().unwrap().refs_page_at(floor - 2, 1, None, 1),
                Err(ReadError::Expired { .. })
            ));
        }
        assert!(findings(&store).is_empty());
        // Nothing more to do, and what is left survives a restart.
        assert_eq!(store.retain(NOW_US).unwrap().events, 0);
        drop(store);
        let opened = place.open();
        assert_eq!((opened.epoch_reason, opened.store.bounds()), (None, Bounds { floor, last }));
    }
}

#[test]
fn age_and_bytes_expire_what_is_beyond_them() {
    let place = Place::new();
    let store = store_keeping(&place, Retention { age_us_max: Some(500_000), ..Retention::default() });
    fill(&store);
    let retain = |seconds: i64| store.retain(NOW_US + seconds * 1_000_000).unwrap().floor;
    assert_eq!([retain(-5), retain(0), retain(1), retain(4), retain(3), retain(8)], [1, 1, 2, 11, 11, 20]);
    assert_eq!(retain(9), 26);
    assert_eq!(store.bounds(), Bounds { floor: 26, last: 25 }, "an empty log knows where it stands");
    assert_eq!(store.stats().log_bytes, 0);
    assert_eq!(store.read().unwrap().first_at_or_after(0).unwrap(), 26);
    drop(store);

    let store = store_keeping(&place, Retention { bytes_max: Some(500), ..Retention::default() });
    assert_eq!(store.bounds(), Bounds { floor: 26, last: 25 });
    let key = store.read().unwrap().repositories().unwrap()[0].key;
    let logged = store.commit(Commit { observed_at_us: 5, ..branches(key, 1_000, 2) }).unwrap();
    assert_eq!(logged[0].sequence, 26);
    assert_eq!(logged[0].observed_at_us, NOW_US + 8_000_000, "also over an emptied log");
    for number in 0..10 {
        store.commit(branches(key, 2_000 + number * 2, 2)).unwrap();
    }
    store.retain(NOW_US).unwrap();
    let stats = store.stats();
    let one = stats.log_bytes / stats.events * 2;
    assert!((500..500 + one + 20).contains(&stats.log_bytes), "{}", stats.log_bytes);
    assert!(findings(&store).is_empty());
}

#[test]
fn a_large_log_goes_in_steps_between_commits() {
    let place = Place::new();
    let store = store_keeping(&place, Retention { events_max: Some(10), ..Retention::default() });
    let key = create(&store);
    for number in 0..30 {
        store.commit(branches(key, number * 300, 300)).unwrap();
    }
    store.commit(branches(key, 100_000, 7_000)).unwrap();
    store.commit(branches(key, 200_000, 10)).unwrap();
    std::thread::scope(|scope| {
        let retaining = scope.spawn(|| store.retain(NOW_US).unwrap());
        let other = create(&store);
        store.commit(branches(other, 0, 1)).unwrap();
        assert!(retaining.join().unwrap().events >= 16_001);
    });
    store.retain(NOW_US).unwrap();
    let Bounds { floor, last } = store.bounds();
    assert!(last - floor < 12);
    assert_eq!(store.stats().events, last + 1 - floor);
    assert!(findings(&store).is_empty());
}

#[test]
fn a_reader_keeps_what_it_sees_while_the_floor_goes_up() {
    let place = Place::new();
    let store = store_keeping(&place, Retention { events_max: Some(0), ..Retention::default() });
    fill(&store);
    let reader = store.read().unwrap();
    store.retain(NOW_US).unwrap();
    assert_eq!(reader.bounds(), Bounds { floor: 1, last: 25 });
    let mut count = 0;
    reader
        .events_after(0, 100, |_| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(count, 25);
    drop(reader);
    assert_eq!(events_after(&store, 0, 1), Err(ReadError::Expired { floor: 26 }));
}

#[test]
fn a_deleted_repository_is_forgotten_when_the_floor_has_passed_it_and_its_key_is_not_used_again() {
    let place = Place::new();
    let store = store_keeping(&place, Retention { events_max: Some(0), ..Retention::default() });
    let kept = fill(&store);
    let key = create(&store);
    store.commit(branches(key, 0, 5_000)).unwrap();
    store
        .commit(Commit {
            repository_write: Some(RepositoryWrite::Delete),
            events: vec![Event::of_repository(EventType::RepositoryDeleted, Origin::Sweep)],
            ..Commit::new(key, NOW_US)
        })
        .unwrap();
    assert!(store.read().unwrap().repository(key).unwrap().is_some());
    let retained = store.retain(NOW_US).unwrap();
    assert_eq!((retained.refs, retained.repositories), (5_000, 1));
    let reader = store.read().unwrap();
    assert_eq!(reader.repositories().unwrap().iter().map(|row| row.key).collect::<Vec<_>>(), [kept]);
    assert_eq!(reader.get_ref(key, &branch(0)).unwrap(), None);
    drop(reader);
    drop(store);
    let store = place.store();
    assert!(store.allocate_key() > key);
    assert!(findings(&store).is_empty());
}
