//! The epoch: never the same sequence twice in one, and no new one without need.

use std::fs;

use refwatch_store::{Durability, EpochReason, OnCorrupt, Store, open};

use crate::support::*;

/// Copies what a power cut would leave of an open store.
fn copy_files(from: &Place, to: &Place, parts: &[&str]) {
    for part in parts {
        let source = suffixed(&from.path(), part);
        if source.exists() {
            fs::copy(source, suffixed(&to.path(), part)).unwrap();
        }
    }
}

fn filled(place: &Place, commits: usize) -> Store {
    let store = place.store();
    let key = create(&store);
    for number in 0..commits {
        store.commit(branches(key, number * 3, 3)).unwrap();
    }
    store
}

#[test]
fn a_restart_keeps_the_epoch_also_after_a_crash() {
    let place = Place::new();
    let store = filled(&place, 5);
    let identity = store.identity();
    assert_ne!(identity.server, identity.epoch);
    let crashed = Place::new();
    copy_files(&place, &crashed, &["", "-wal", ".witness"]);
    drop(store);
    for place in [place, crashed] {
        let opened = place.open();
        assert_eq!(opened.epoch_reason, None);
        assert!(!opened.fresh);
        assert_eq!(opened.store.identity(), identity);
        assert_eq!(opened.store.bounds().last, 16);
        assert!(findings(&opened.store).is_empty());
    }
}

#[test]
fn a_restored_backup_gets_a_new_epoch_and_goes_on_from_its_own_end() {
    let place = Place::new();
    let store = filled(&place, 5);
    let identity = store.identity();
    drop(store);
    let backup = fs::read(place.path()).unwrap();
    let store = place.store();
    let key = create(&store);
    drop(store);
    fs::write(place.path(), &backup).unwrap();

    let opened = place.open();
    assert_eq!(opened.epoch_reason, Some(EpochReason::RolledBack { database: 16, witness: 17 }));
    assert_eq!(opened.store.identity().server, identity.server);
    assert_ne!(opened.store.identity().epoch, identity.epoch);
    let renewed = opened.store.identity();
    assert_eq!(create(&opened.store), key, "the row went back as well");
    assert_eq!(opened.store.bounds().last, 17);
    drop(opened);
    let opened = place.open();
    assert_eq!((opened.epoch_reason, opened.store.identity()), (None, renewed), "once");
}

/// What a write-ahead log may lose, wherever it is cut: whole commits at the end, and the epoch notices.
#[test]
fn a_write_ahead_log_cut_anywhere_opens_to_whole_commits_in_a_new_epoch() {
    let place = Place::new();
    let store = filled(&place, 12);
    let identity = store.identity();
    let wal = fs::read(suffixed(&place.path(), "-wal")).unwrap();
    let mut lasts = Vec::new();
    for cut in (0..40).map(|part| wal.len() * part / 40) {
        let torn = Place::new();
        copy_files(&place, &torn, &["", ".witness"]);
        fs::write(suffixed(&torn.path(), "-wal"), &wal[..cut]).unwrap();
        let opened = torn.open();
        let last = opened.store.bounds().last;
        assert!(last == 0 || last % 3 == 1, "whole commits: {last}");
        if opened.fresh {
            assert_eq!(opened.epoch_reason, Some(EpochReason::DatabaseMissing));
        } else {
            assert_ne!(opened.store.identity().epoch, identity.epoch);
            assert!(matches!(
                opened.epoch_reason,
                Some(EpochReason::RolledBack { witness: 37, .. } | EpochReason::Foreign)
            ));
        }
        assert_eq!(opened.store.identity().server, identity.server);
        assert!(findings(&opened.store).is_empty());
        lasts.push(last);
    }
    lasts.dedup();
    assert!(lasts.is_sorted() && lasts.len() > 5, "{lasts:?}");
}

#[test]
fn a_database_without_its_witness_gets_a_new_epoch() {
    let place = Place::new();
    let identity = filled(&place, 1).identity();
    let witness = suffixed(&place.path(), ".witness");
    fs::remove_file(&witness).unwrap();
    let opened = place.open();
    assert_eq!(opened.epoch_reason, Some(EpochReason::WitnessMissing));
    assert_eq!(opened.store.identity().server, identity.server);
    drop(opened);
    fs::write(&witness, b"garbage").unwrap();
    assert_eq!(place.open().epoch_reason, Some(EpochReason::WitnessMissing));
    assert_eq!(place.open().epoch_reason, None);

    let other = Place::new();
    drop(filled(&other, 9));
    copy_files(&other, &place, &[".witness"]);
    assert_eq!(place.open().epoch_reason, Some(EpochReason::Foreign));
}

#[test]
fn a_database_that_is_gone_leaves_its_server_and_not_its_epoch() {
    let place = Place::new();
    let identity = filled(&place, 1).identity();
    fs::remove_file(place.path()).unwrap();
    let opened = place.open();
    assert!(opened.fresh);
    assert_eq!(opened.epoch_reason, Some(EpochReason::DatabaseMissing));
    assert_eq!(opened.store.identity().server, identity.server);
    assert_ne!(opened.store.identity().epoch, identity.epoch);
}

#[test]
fn a_new_epoch_can_be_asked_for() {
    let place = Place::new();
    let identity = filled(&place, 1).identity();
    let mut options = place.options();
    options.renew_epoch = true;
    let opened = open(options, NOW_US).unwrap();
    assert_eq!(opened.epoch_reason, Some(EpochReason::Requested));
    assert_ne!(opened.store.identity().epoch, identity.epoch);
}

/// Without a sync per commit, a crash of the machine may take back what subscribers have seen.
#[test]
fn without_syncs_a_machine_crash_renews_the_epoch_and_a_process_crash_does_not() {
    let place = Place::new();
    let mut options = place.options();
    options.durability = Durability::Normal;
    options.on_corrupt = OnCorrupt::SetAside;
    let store = open(options.clone(), NOW_US).unwrap().store;
    create(&store);
    let crashed = Place::new();
    copy_files(&place, &crashed, &["", "-wal", ".witness"]);
    assert_eq!(crashed.open().epoch_reason, None, "the same run of the machine");

    let crashed = Place::new();
    copy_files(&place, &crashed, &["", "-wal", ".witness"]);
    let witness = suffixed(&crashed.path(), ".witness");
    let mut raw = fs::read(&witness).unwrap();
    raw[32] ^= 1; // another run
    let sum = raw[..56].iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    raw[56..].copy_from_slice(&sum.to_be_bytes());
    fs::write(&witness, raw).unwrap();
    assert_eq!(crashed.open().epoch_reason, Some(EpochReason::Unsynced));
}
