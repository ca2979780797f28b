//! Opening: what is refused, and that nothing is ever written over.

use std::fs;
use std::os::unix::fs::FileExt;

use refwatch_store::{EpochReason, OnCorrupt, OpenError, Options, ReadError, open};
use rusqlite::Connection;

use crate::support::*;

fn refusal(place: &Place) -> OpenError {
    open(place.options(), NOW_US).map(drop).unwrap_err()
}

#[test]
fn missing_directories_are_made_and_an_empty_file_is_fresh() {
    let place = Place::new();
    let path = place.directory.path().join("a/b/c.db");
    assert!(open(Options::new(&path), NOW_US).unwrap().fresh);
    let empty = place.directory.path().join("empty.db");
    fs::write(&empty, b"").unwrap();
    let opened = open(Options::new(&empty), NOW_US).unwrap();
    assert!(opened.fresh && opened.epoch_reason.is_none());
}

#[test]
fn a_second_daemon_is_told_who_holds_the_database() {
    let place = Place::new();
    let store = place.store();
    let Err(OpenError::Locked { pid, .. }) = open(place.options(), NOW_US) else { panic!("not locked") };
    assert_eq!(pid, Some(std::process::id()));
    // Also by another name.
    let link = place.directory.path().join("link.db");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    assert!(matches!(open(Options::new(&link), NOW_US), Err(OpenError::Locked { .. })));
    // And where the link was there before the database.
    let early = place.directory.path().join("early.db");
    std::os::unix::fs::symlink("later/x.db", &early).unwrap();
    fs::create_dir(place.directory.path().join("later")).unwrap();
    let first = open(Options::new(&early), NOW_US).unwrap();
    assert!(matches!(open(Options::new(&early), NOW_US), Err(OpenError::Locked { .. })));
    drop(first);
    let round = place.directory.path().join("round.db");
    std::os::unix::fs::symlink("round.db", &round).unwrap();
    assert!(open(Options::new(&round), NOW_US).is_err());
    store.close();
    assert!(matches!(refusal(&place), OpenError::Locked { .. }), "until the handle is gone");
    drop(store);
    drop(place.store());
}

#[test]
fn a_newer_schema_is_refused_and_left_alone() {
    let place = Place::new();
    drop(place.store());
    let connection = Connection::open(place.path()).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let before = fs::read(place.path()).unwrap();
    let error = refusal(&place);
    assert!(matches!(error, OpenError::NewerSchema { found: 99, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("newer refwatch"), "{error}");
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[test]
fn another_programs_database_is_never_touched() {
    let place = Place::new();
    let connection = Connection::open(place.path()).unwrap();
    connection.execute_batch("CREATE TABLE theirs (x); PRAGMA application_id = 7").unwrap();
    drop(connection);
    let before = fs::read(place.path()).unwrap();
    let mut options = place.options();
    options.on_corrupt = OnCorrupt::SetAside;
    assert!(matches!(open(options, NOW_US), Err(OpenError::Foreign { application_id: 7, .. })));
    assert_eq!(fs::read(place.path()).unwrap(), before);
}

#[test]
fn what_is_no_database_is_corrupt_and_stays_as_it_is() {
    for garbage in [b"x".to_vec(), vec![0; 5_000], b"SQLite format 4\0 and so on".to_vec()] {
        let place = Place::new();
        fs::write(place.path(), &garbage).unwrap();
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("refwatch.db"), "{error}");
        assert_eq!(fs::read(place.path()).unwrap(), garbage);
    }
    let place = Place::new();
    fs::create_dir(place.path()).unwrap();
    assert!(matches!(refusal(&place), OpenError::Io { .. }));
}

/// Damages a good database with events in it; gives what it was.
fn damaged(place: &Place, damage: impl Fn(&mut Vec<u8>)) -> (refwatch_store::Identity, Vec<u8>) {
    let store = place.store();
    let key = create(&store);
    for number in 0..50 {
        store.commit(branches(key, number * 20, 20)).unwrap();
    }
    let identity = store.identity();
    drop(store);
    let mut bytes = fs::read(place.path()).unwrap();
    damage(&mut bytes);
    fs::write(place.path(), &bytes).unwrap();
    (identity, bytes)
}

#[test]
fn a_damaged_database_is_refused_and_left_alone() {
    type Damage = (&'static str, fn(&mut Vec<u8>));
    let damages: [Damage; 5] = [
        ("header", |bytes| bytes[16..40].fill(0xff)),
        ("schema page", |bytes| bytes[100..400].fill(0xff)),
        ("every later page's header", |bytes| {
            for page in bytes.chunks_mut(4096).skip(2) {
                page[..8].fill(0xee);
            }
        }),
        ("cut in half", |bytes| bytes.truncate(bytes.len() / 8192 * 4096)),
        ("newest event", |bytes| {
            let name = b"feature/branch-0000999";
            let found: Vec<_> =
                bytes.windows(name.len()).enumerate().filter(|(_, window)| window == name).collect();
            let found: Vec<_> = found.into_iter().map(|(at, _)| at).collect();
            assert!(!found.is_empty());
            found.into_iter().for_each(|at| bytes[at] ^= 1);
        }),
    ];
    for (what, damage) in damages {
        let place = Place::new();
        let (_, before) = damaged(&place, damage);
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Corrupt { .. }), "{what}: {error}");
        assert_eq!(fs::read(place.path()).unwrap(), before, "{what}");
    }
}

#[test]
fn rows_that_are_missing_or_swapped_are_noticed() {
    let damages = [
        "DELETE FROM events WHERE sequence = 1",
        "DELETE FROM events WHERE sequence = (SELECT max(sequence) FROM events)",
        "DELETE FROM events WHERE sequence = 500",
        "DELETE FROM events",
        "UPDATE events SET body = (SELECT body FROM events WHERE sequence = 1000) WHERE sequence = 1001",
        "UPDATE events SET repository = 9 WHERE sequence = 1001",
        "UPDATE meta SET last = last - 1",
        "UPDATE meta SET floor = 0",
        "DELETE FROM meta",
        "DROP TABLE events",
    ];
    for damage in damages {
        let place = Place::new();
        damaged(&place, |_| {});
        Connection::open(place.path()).unwrap().execute_batch(damage).unwrap();
        let error = refusal(&place);
        assert!(matches!(error, OpenError::Corrupt { .. }), "{damage}: {error}");
    }
}

#[test]
fn a_corrupt_database_is_set_aside_whole_when_that_is_asked_for() {
    let place = Place::new();
    let (identity, before) = damaged(&place, |bytes| bytes[4096..].fill(0xee));
    fs::write(suffixed(&place.path(), "-wal"), b"its log").unwrap();
    let mut options = place.options();
    options.on_corrupt = OnCorrupt::SetAside;
    let opened = open(options, NOW_US).unwrap();
    assert!(opened.fresh);
    assert_eq!(opened.epoch_reason, Some(EpochReason::SetAside));
    assert_eq!(opened.store.identity().server, identity.server);
    assert_ne!(opened.store.identity().epoch, identity.epoch);
    let aside = opened.set_aside.unwrap();
    assert!(aside.path.to_string_lossy().ends_with("refwatch.db.corrupt-1700000000"));
    assert!(!aside.detail.is_empty());
    assert_eq!(fs::read(&aside.path).unwrap(), before);
    create(&opened.store);
    drop(opened.store);
    assert_eq!(place.open().store.bounds().last, 1);
}

#[test]
fn an_event_that_is_damaged_while_open_ends_the_read_and_is_found_by_verify() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    store.commit(branches(key, 0, 100)).unwrap();
    let other = Connection::open(place.path()).unwrap();
    other.execute_batch("UPDATE events SET body = zeroblob(80) WHERE sequence = 50").unwrap();
    let mut handed_out = 0;
    let error = store
        .read()
        .unwrap()
        .events_after(0, 1_000, |_| {
            handed_out += 1;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { sequence: Some(50), .. }), "{error}");
    assert_eq!(handed_out, 49);
    let found = findings(&store);
    assert!(matches!(found[0], refwatch_store::Finding::Undecodable { sequence: 50, .. }), "{found:?}");
    other.execute_batch("DELETE FROM events WHERE sequence BETWEEN 50 AND 60").unwrap();
    let error = events_after(&store, 0, 1_000).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { sequence: Some(50), .. }), "{error}");
    let found = findings(&store);
    assert_eq!(found[0], refwatch_store::Finding::Gap { first: 50, last: 60 });
    other.execute_batch("DELETE FROM events WHERE sequence > 90").unwrap();
    let error = events_after(&store, 80, 1_000).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { sequence: Some(91), .. }), "the tail: {error}");
    other.execute_batch("UPDATE refs SET value = (SELECT value FROM refs LIMIT 1)").unwrap();
    assert!(
        findings(&store).iter().any(|finding| matches!(finding, refwatch_store::Finding::Current { .. }))
    );
}

#[test]
fn a_page_that_sqlite_finds_damaged_is_told_by_the_event_that_was_to_be_read() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    store.commit(branches(key, 0, 1_000)).unwrap();
    store.close();
    drop(store);
    let store = place.store();
    damage_leaf(&place.path(), branch(500).as_bytes());
    let reader = store.read().unwrap();
    let mut last = 0;
    let error = reader
        .events_after(0, 10_000, |logged| {
            last = logged.sequence;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap_err();
    assert!(last > 0, "what comes before is good");
    assert!(error.to_string().contains("malformed"), "SQLite itself says so: {error}");
    assert!(matches!(error, ReadError::Corrupt { sequence: Some(at), .. } if at == last + 1), "{error}");
    let mut first = u64::MAX;
    let error = reader
        .events_before(u64::MAX, 10_000, |logged| {
            first = logged.sequence;
            std::ops::ControlFlow::Continue(())
        })
        .unwrap_err();
    assert!(first < 1_001 && first > last + 1);
    assert!(matches!(error, ReadError::Corrupt { sequence: Some(at), .. } if at == first - 1), "{error}");
    let error = reader.refs_page_at(1, key, None, 100).unwrap_err();
    assert!(matches!(error, ReadError::Corrupt { sequence: Some(at), .. } if at == last + 1), "{error}");
}

/// Overwrites the head of the page of events that holds these bytes.
fn damage_leaf(path: &std::path::Path, bytes: &[u8]) {
    const PAGE_BYTES: usize = 4_096;
    // "The b-tree page type", https://sqlite.org/fileformat2.html#b_tree_pages: a leaf of a table.
    const LEAF_OF_TABLE: u8 = 0x0d;
    let file = fs::read(path).unwrap();
    let holds =
        |page: &[u8]| page[0] == LEAF_OF_TABLE && page.windows(bytes.len()).any(|found| found == bytes);
    let page = file.chunks(PAGE_BYTES).position(holds).expect("an event is in some page");
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0xee; 8], (page * PAGE_BYTES) as u64).unwrap();
}

#[test]
fn the_witness_cannot_be_half_written_by_accident() {
    let place = Place::new();
    drop(place.store());
    let witness = suffixed(&place.path(), ".witness");
    let file = fs::File::options().write(true).open(&witness).unwrap();
    file.write_all_at(&[0xff], 30).unwrap();
    assert_eq!(place.open().epoch_reason, Some(EpochReason::WitnessMissing));
}
