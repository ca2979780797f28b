//! Refs that are known from the start, and until when what is found counts as such.

use refwatch_store::ReadOnly;

use crate::support::{Place, branch, creation, direct, findings, update, write};

#[test]
fn refs_of_the_baseline_have_no_events_and_are_no_finding() {
    let files = Place::new();
    let store = files.store();
    let mut commit = creation(&store);
    let key = commit.repository;
    commit.baseline = true;
    commit.refs = vec![write(&branch(1), Some(direct(1))), write(&branch(2), Some(direct(2)))];
    assert_eq!(store.commit(commit).unwrap().len(), 1, "only its discovery");
    store.commit(update(key, &[(branch(1), Some(direct(1)), Some(direct(3)))])).unwrap();
    assert_eq!(findings(&store), []);
    // Also for whoever only looks, while the store is open.
    let read_only = ReadOnly::open(&files.path()).unwrap();
    let reader = read_only.read().unwrap();
    assert_eq!(reader.bounds().last, 2);
    assert_eq!(reader.get_ref(key, &branch(2)).unwrap().unwrap().0.target(), Some(&direct(2)));
}

#[test]
fn only_a_commit_that_creates_its_repository_has_a_baseline() {
    let files = Place::new();
    let store = files.store();
    let commit = creation(&store);
    let key = commit.repository;
    store.commit(commit).unwrap();
    let mut later = update(key, &[]);
    later.baseline = true;
    later.refs = vec![write(&branch(1), Some(direct(1)))];
    store.commit(later).unwrap_err();
}

#[test]
fn the_baseline_is_open_until_it_is_finished_also_after_a_restart() {
    let files = Place::new();
    let opened = files.open();
    assert!(opened.baseline);
    drop(opened);
    let opened = files.open();
    assert!(opened.baseline, "the first scan did not come to its end");
    opened.store.finish_baseline().unwrap();
    drop(opened);
    assert!(!files.open().baseline);
}
