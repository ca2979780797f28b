//! Commits: durable before answered, in order, whole or not at all.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use refwatch_core::classify::Bareness;
use refwatch_core::{Event, EventType, ObjectFormat, Origin, RefState};
use refwatch_store::{
    Bounds, Checkpointed, Commit, CommitError, FsIdentity, GroupCommitted, Invalid, Observer, RefStorage,
    RefWrite, RepositoryState, RepositoryWrite, SignatureWrite, Store, open,
};

use crate::support::*;

#[test]
fn an_empty_store_stands_before_the_first_event() {
    let place = Place::new();
    let store = place.store();
    assert_eq!(store.bounds(), Bounds { floor: 1, last: 0 });
    assert_eq!(events_after(&store, 0, 10).unwrap(), []);
    assert_eq!(store.read().unwrap().first_at_or_after(0).unwrap(), 1);
    assert!(store.read().unwrap().repositories().unwrap().is_empty());
    assert!(findings(&store).is_empty());
}

#[test]
fn the_writer_says_how_long_it_is_at_what_it_does() {
    let place = Place::new();
    let store = Arc::new(place.store());
    let key = create(&store);
    store.flush().unwrap();
    let (entered, inside) = mpsc::sync_channel(1);
    let (leave, left) = mpsc::sync_channel::<()>(1);
    let commit = branches(key, 0, 1);
    store
        .submit(commit, move |_| {
            entered.send(()).unwrap();
            left.recv().unwrap();
        })
        .unwrap();
    inside.recv().unwrap();
    let busy = store.busy_for().expect("it is held up");
    while store.busy_for().expect("it is held up still") <= busy {}
    leave.send(()).unwrap();
    store.flush().unwrap();
    while store.busy_for().is_some() {
        std::thread::yield_now();
    }
}

#[test]
fn everything_a_commit_says_is_there_after_a_restart() {
    let place = Place::new();
    let store = place.store();
    let new = new_repository(&store);
    let key = store.allocate_key();
    let mut commit = branches(key, 0, 3);
    commit.repository_write = Some(RepositoryWrite::Create(new.clone()));
    commit.signature = SignatureWrite::Set(Some(u64::MAX));
    commit.journal_position = Some(b"here".to_vec());
    commit.refs[1].peeled = Some(oid(99));
    let logged = store.commit(commit.clone()).unwrap();
    assert_eq!(logged.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(logged.iter().zip(&commit.events).all(|(logged, event)| &logged.event == event));
    drop(store);

    let opened = place.open();
    assert!(!opened.fresh && opened.epoch_reason.is_none() && opened.set_aside.is_none());
    let store = opened.store;
    assert_eq!(events_after(&store, 0, 10).unwrap(), logged);
    let reader = store.read().unwrap();
    let row = reader.repository(key).unwrap().unwrap();
    assert_eq!(reader.repositories().unwrap(), std::slice::from_ref(&row));
    assert_eq!((row.uid, &row.root, &row.path), (new.uid, &new.root, &new.path));
    assert_eq!((row.identity, row.state), (new.identity, RepositoryState::Active));
    assert_eq!((row.signature, row.journal_position), (Some(u64::MAX), Some(b"here".to_vec())));
    assert_eq!((row.ref_count, row.created_sequence, row.last_sequence), (3, 1, 3));
    assert_eq!((row.discovered_at_us, row.last_change_us), (NOW_US, NOW_US));
    assert_eq!(reader.get_ref(key, &branch(1)).unwrap(), Some((RefState::Good(direct(2)), Some(oid(99)))));
    assert_eq!(reader.get_ref(key, &branch(7)).unwrap(), None);
    let mut names = Vec::new();
    reader
        .for_each_ref(key, |name, _, _| {
            names.push(name);
            if names.len() == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })
        .unwrap();
    assert_eq!(names, [branch(0), branch(1)]);
    assert!(store.allocate_key() > key);
}

#[test]
fn a_repository_can_move_change_its_layout_and_go() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    store.commit(branches(key, 0, 2)).unwrap();
    let moved = RepositoryWrite::Move { root: b"/x".to_vec(), path: b"y".to_vec() };
    store.commit(Commit { repository_write: Some(moved), ..Commit::new(key, NOW_US) }).unwrap();
    let identity = FsIdentity { dev: 1, ino: u64::MAX, birth_ns: None };
    let layout = RepositoryWrite::Layout {
        object_format: ObjectFormat::Sha256,
        ref_storage: RefStorage::Reftable,
        bareness: Bareness::Worktree,
        identity,
    };
    store.commit(Commit { repository_write: Some(layout), ..Commit::new(key, NOW_US) }).unwrap();
    let row = store.read().unwrap().repository(key).unwrap().unwrap();
    assert_eq!((row.root, row.path, row.identity), (b"/x".to_vec(), b"y".to_vec(), identity));
    assert_eq!(
        (row.object_format, row.ref_storage, row.bareness),
        (ObjectFormat::Sha256, RefStorage::Reftable, Bareness::Worktree)
    );
    assert_eq!(row.last_sequence, 3, "no event, no sequence");

    let gone = Commit {
        repository_write: Some(RepositoryWrite::Delete),
        events: vec![Event::of_repository(EventType::RepositoryDeleted, Origin::Sweep)],
        ..Commit::new(key, NOW_US)
    };
    store.commit(gone.clone()).unwrap();
    let reader = store.read().unwrap();
    let row = reader.repository(key).unwrap().unwrap();
    assert_eq!((row.state, row.ref_count, row.deleted_sequence), (RepositoryState::Deleted, 0, Some(4)));
    let count = |sequence| reader.refs_page_at(sequence, key, None, 10).unwrap().refs.len();
    assert_eq!((count(0), count(1), count(2), count(3), count(4)), (0, 0, 1, 2, 0));
    reader.for_each_ref(key, |_, _, _| panic!("a deleted repository has no refs")).unwrap();
    let unknown = CommitError::Invalid(Invalid::UnknownRepository { key });
    assert_eq!(store.commit(gone), Err(unknown));
}

#[test]
fn commits_are_answered_in_order_after_they_can_be_seen() {
    let place = Place::new();
    let store = Arc::new(place.store());
    let keys: Vec<_> = (0..4).map(|_| create(&store)).collect();
    let (sender, receiver) = mpsc::sync_channel(10_000);
    std::thread::scope(|scope| {
        for key in &keys {
            scope.spawn(|| {
                for number in 0..200 {
                    let sender = sender.clone();
                    let store_too = Arc::downgrade(&store);
                    let done = move |result: Result<Vec<refwatch_store::Logged>, _>| {
                        let logged = result.unwrap();
                        let sequence = logged.last().unwrap().sequence;
                        let store = store_too.upgrade().unwrap();
                        assert!(store.bounds().last >= sequence, "told after it can be seen");
                        sender.send(logged).unwrap();
                    };
                    store.submit(branches(*key, number * 3, 3), done).unwrap();
                }
            });
        }
    });
    store.flush().unwrap();
    drop(sender);
    let told: Vec<_> = receiver.into_iter().flatten().collect();
    assert_eq!(told.len(), 4 * 200 * 3);
    assert_eq!(told, events_after(&store, 4, usize::MAX).unwrap(), "in order, without gaps");
    let stats = store.stats();
    assert_eq!((stats.commits, stats.events, stats.queued_commits), (804, 2404, 0));
    assert!(stats.groups <= stats.commits && stats.log_bytes > 2400 * 60 && stats.database_bytes > 0);
    assert!(findings(&store).is_empty());
}

#[test]
fn time_in_the_log_never_goes_back_and_can_be_searched() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    for (number, at) in [5, 20, 10, 30, 30].into_iter().enumerate() {
        let mut commit = branches(key, number * 2, 2);
        commit.observed_at_us = NOW_US + at;
        store.commit(commit).unwrap();
    }
    let times: Vec<_> =
        events_after(&store, 1, 10).unwrap().iter().map(|event| event.observed_at_us - NOW_US).collect();
    assert_eq!(times, [5, 5, 20, 20, 20, 20, 30, 30, 30, 30]);
    let reader = store.read().unwrap();
    let first = |at| reader.first_at_or_after(NOW_US + at).unwrap();
    assert_eq!(
        (first(-1), first(0), first(1), first(6), first(20), first(21), first(31)),
        (1, 1, 2, 4, 4, 8, 12)
    );
    drop(reader);
    drop(store);
    let store = place.store();
    let early = Commit { observed_at_us: 1, ..branches(key, 100, 1) };
    assert_eq!(store.commit(early).unwrap()[0].observed_at_us, NOW_US + 30, "also after a restart");
}

type Answer = Result<Vec<refwatch_store::Logged>, CommitError>;

/// Holds the writer until all of these wait, so that it takes them as one group; gives their answers.
fn as_one_group<const N: usize>(store: &Store, commits: [Commit; N]) -> Vec<Answer> {
    let (go, wait) = mpsc::sync_channel::<()>(1);
    store.submit(creation(store), move |result| result.map(|_| wait.recv().unwrap()).unwrap()).unwrap();
    let answers = Arc::new(Mutex::new(Vec::new()));
    for commit in commits {
        let answers = Arc::clone(&answers);
        store.submit(commit, move |result| answers.lock().unwrap().push(result)).unwrap();
    }
    let groups = store.stats().groups;
    go.send(()).unwrap();
    store.flush().unwrap();
    assert!(store.stats().groups <= groups + 2, "the held one and the group");
    std::mem::take(&mut *answers.lock().unwrap())
}

#[test]
fn a_commit_that_breaks_a_promise_is_refused_and_its_neighbours_are_not() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    store.commit(branches(key, 0, 2)).unwrap();
    let main = branch(0);

    let mut misnumbered = branches(key, 10, 3);
    misnumbered.events[1].index = 2;
    let mut cut = branches(key, 10, 3);
    cut.events.pop();
    let mut nameless = branches(key, 10, 1);
    nameless.events[0].name = None;
    let mut unwritten = branches(key, 10, 2);
    unwritten.refs.pop();
    let mut unexplained = branches(key, 10, 1);
    unexplained.refs[0].state = Some(RefState::Good(direct(77)));
    let silent = Commit { refs: vec![write(&main, Some(direct(77)))], ..Commit::new(key, NOW_US) };
    let mut unlinked = update(key, &[(main.clone(), Some(direct(1)), Some(direct(5)))]);
    unlinked.events.push(event(&main, Some(direct(6)), Some(direct(7))));
    let wrong_old = update(key, &[(main.clone(), Some(direct(9)), Some(direct(10)))]);
    let recreated = branches(key, 1, 1);
    let twice = Commit { repository: key, ..creation(&store) };
    let unknown = branches(key + 1_000, 0, 1);

    let label = |commit: Commit| {
        let good = (0..2).map(|_| creation(&store)).collect::<Vec<_>>();
        let [first, last] = <[Commit; 2]>::try_from(good).unwrap();
        let results = as_one_group(&store, [first, commit.clone(), last, commit]);
        let [Ok(before), Err(CommitError::Invalid(invalid)), Ok(after), Err(_)] = &results[..] else {
            panic!("{results:?}")
        };
        assert_eq!(store.bounds().last, after[0].sequence);
        assert_eq!(before[0].sequence + 1, after[0].sequence, "no gap where the refused one was");
        invalid.clone()
    };
    assert_eq!(label(misnumbered), Invalid::Numbering { position: 1 });
    assert_eq!(label(cut), Invalid::Numbering { position: 0 });
    assert_eq!(label(nameless), Invalid::Change { position: 0 });
    assert_eq!(label(unwritten), Invalid::Unexplained { name: branch(11).to_string() });
    assert_eq!(label(unexplained), Invalid::Unexplained { name: branch(10).to_string() });
    assert_eq!(label(silent), Invalid::Unexplained { name: main.to_string() });
    assert_eq!(label(unlinked), Invalid::Chain { position: 1, name: main.to_string() });
    assert_eq!(label(wrong_old), Invalid::Chain { position: 0, name: main.to_string() });
    assert_eq!(label(recreated), Invalid::Chain { position: 0, name: branch(1).to_string() });
    assert_eq!(label(twice), Invalid::RepositoryExists { key });
    assert_eq!(label(unknown), Invalid::UnknownRepository { key: key + 1_000 });
    assert_eq!(current(&store, key, &main), Some(direct(1)));
    assert_eq!(store.stats().failed_commits, 22);
    assert!(findings(&store).is_empty());
}

#[test]
fn a_value_that_came_and_went_within_a_commit_is_two_events_and_no_ref() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    let name = branch(0);
    let commit = Commit {
        events: vec![event(&name, None, Some(direct(1))), event(&name, Some(direct(1)), None)],
        ..Commit::new(key, NOW_US)
    };
    assert_eq!(store.commit(commit).unwrap().len(), 2);
    assert_eq!(current(&store, key, &name), None);
    assert!(findings(&store).is_empty());
}

#[test]
fn a_ref_can_be_marked_broken_without_an_event_that_changes_it() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    store.commit(branches(key, 0, 1)).unwrap();
    let broken = RefState::Broken { last_good: Some(direct(1)) };
    let mark = Event { name: Some(branch(0)), ..Event::of_repository(EventType::RefBroken, Origin::Notify) };
    let refs = vec![RefWrite { name: branch(0), state: Some(broken.clone()), peeled: None }];
    store.commit(Commit { events: vec![mark], refs, ..Commit::new(key, NOW_US) }).unwrap();
    let reader = store.read().unwrap();
    assert_eq!(reader.get_ref(key, &branch(0)).unwrap(), Some((broken.clone(), None)));
    let at = |sequence| reader.refs_page_at(sequence, key, None, 9).unwrap().refs;
    assert_eq!(at(2), [(branch(0), RefState::Good(direct(1)), None)]);
    assert_eq!(at(3), [(branch(0), broken, None)]);
    assert!(findings(&store).is_empty());
}

/// A full disk: every commit that finds no room says so, nothing is lost, and it goes on when there is room.
#[test]
fn a_full_disk_is_told_and_survived() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    let mut next = 0;
    store.limit_pages(1).unwrap();
    let (before, failed) = loop {
        let before = store.bounds();
        match store.commit(branches(key, next, 50)) {
            Ok(_) => next += 50,
            Err(error) => break (before, error),
        }
    };
    assert_eq!(failed, CommitError::Full);
    assert_eq!(store.bounds(), before);
    // In a group with small ones, the large one fails alone, if they still find room in pages they have.
    let answers = |commits: Vec<Commit>| {
        let results = Arc::new(Mutex::new(Vec::new()));
        for commit in commits {
            let results = Arc::clone(&results);
            store
                .submit(commit, move |result| results.lock().unwrap().push(result.map(|logged| logged.len())))
                .unwrap();
        }
        store.flush().unwrap();
        std::mem::take(&mut *results.lock().unwrap())
    };
    let touch = |generation| Commit {
        signature: SignatureWrite::Set(Some(7)),
        generation,
        ..Commit::new(key, NOW_US)
    };
    let large = |generation| Commit { generation, ..branches(key, next, 5_000) };
    assert_eq!(
        answers(vec![large(None), touch(None), large(None)]),
        [Err(CommitError::Full), Ok(0), Err(CommitError::Full)]
    );
    // One that follows from the large one does not go through without it, until the caller has started over.
    let commits =
        [large(Some(1)), touch(Some(1)), touch(None), touch(Some(2)), touch(Some(1)), touch(Some(2))];
    let follows = || Err(Invalid::Follows { key }.into());
    assert_eq!(answers(commits.into()), [Err(CommitError::Full), follows(), Ok(0), Ok(0), Ok(0), Ok(0)]);
    assert_eq!(store.commit(touch(Some(1))), Ok(Vec::new()), "nothing is remembered of what was overcome");
    assert_eq!(store.read().unwrap().repository(key).unwrap().unwrap().signature, Some(7));
    assert_eq!(events_after(&store, 0, usize::MAX).unwrap().len() as u64, before.last, "readers go on");

    store.limit_pages(1_000_000).unwrap();
    let logged = store.commit(branches(key, next, 5_000)).unwrap();
    assert_eq!(logged[0].sequence, before.last + 1, "no sequence was used up");
    assert!(findings(&store).is_empty());
    drop(store);
    let opened = place.open();
    assert_eq!(opened.epoch_reason, None);
    assert!(findings(&opened.store).is_empty());
}

#[test]
fn a_closed_store_says_so_and_answers_everything_before() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    let (sender, receiver) = mpsc::sync_channel(100);
    for number in 0..20 {
        let sender = sender.clone();
        store.submit(branches(key, number, 1), move |result| sender.send(result.is_ok()).unwrap()).unwrap();
    }
    store.close();
    store.close();
    drop(sender);
    assert_eq!(receiver.into_iter().filter(|ok| *ok).count(), 20);
    assert!(store.submit(branches(key, 50, 1), |_| panic!("not called")).is_err());
    assert!(store.flush().is_err());
    assert_eq!(store.commit(branches(key, 50, 1)), Err(CommitError::Closed));
    drop(store);
    assert!(!suffixed(&place.path(), "-wal").exists(), "a clean shutdown leaves one file to copy");
    assert_eq!(place.store().bounds().last, 21);
}

/// The last handle may be dropped by the answer to its last commit.
#[test]
fn a_store_dropped_on_its_own_thread_does_not_wait_for_itself() {
    let place = Place::new();
    let store = Arc::new(place.store());
    let commit = creation(&store);
    let (sender, receiver) = mpsc::sync_channel(1);
    let (go, wait) = mpsc::sync_channel::<()>(1);
    let own = Arc::clone(&store);
    let done = move |result: Result<Vec<refwatch_store::Logged>, CommitError>| {
        wait.recv().unwrap();
        drop(own);
        sender.send(result.is_ok()).unwrap();
    };
    store.submit(commit, done).unwrap();
    drop(store);
    go.send(()).unwrap();
    assert!(receiver.recv().unwrap());
}

#[derive(Default)]
struct Recorder(Mutex<Vec<GroupCommitted>>, Mutex<Vec<CommitError>>);

impl Observer for Recorder {
    fn committed(&self, group: &GroupCommitted) {
        self.0.lock().unwrap().push(*group);
    }

    fn failed(&self, error: &CommitError) {
        self.1.lock().unwrap().push(error.clone());
    }
}

#[test]
fn an_observer_hears_of_every_commit() {
    let place = Place::new();
    let recorder = Arc::new(Recorder::default());
    let mut options = place.options();
    options.observer = Some(recorder.clone());
    let store: Store = open(options, NOW_US).unwrap().store;
    let key = create(&store);
    store.commit(branches(key, 0, 100)).unwrap();
    store.commit(branches(key, 0, 1)).unwrap_err();
    let groups = recorder.0.lock().unwrap();
    assert_eq!(
        groups.iter().map(|group| (group.commits, group.events, group.refs)).collect::<Vec<_>>(),
        [(1, 1, 0), (1, 100, 100)]
    );
    assert_eq!(groups.iter().map(|group| group.log_bytes).sum::<u64>(), store.stats().log_bytes);
    assert!(groups.iter().all(|group| group.sync_duration <= group.duration));
    assert_eq!(recorder.1.lock().unwrap().len(), 1);
}

/// What a typical branch update may cost: 150 bytes of file, with its share of the refs.
#[test]
fn the_log_is_compact() {
    let place = Place::new();
    let store = place.store();
    let key = create(&store);
    let count = 5_000;
    store.commit(branches(key, 0, count)).unwrap();
    for generation in 1..=4 {
        let value = |number: usize, generation: u64| Some(direct(number as u64 + 1 + generation * 1_000_000));
        let changes: Vec<_> = (0..count)
            .map(|number| (branch(number), value(number, generation - 1), value(number, generation)))
            .collect();
        assert_eq!(changes[0].0.as_bytes().len(), 33);
        store.commit(update(key, &changes)).unwrap();
    }
    let stats = store.stats();
    let log_bytes = stats.log_bytes as f64 / stats.events as f64;
    drop(store);
    let file_bytes = std::fs::metadata(place.path()).unwrap().len() as f64 / stats.events as f64;
    println!("{log_bytes:.1} bytes of log an event, {file_bytes:.1} bytes of file");
    assert!(log_bytes < 110.0 && file_bytes < 150.0);
}

struct Checkpoints(mpsc::SyncSender<Checkpointed>);

impl Observer for Checkpoints {
    fn checkpointed(&self, checkpoint: &Checkpointed) {
        let _ = self.0.try_send(*checkpoint);
    }
}

/// A reader that stays keeps the write-ahead log from being cut, and nobody waits for it.
#[test]
fn a_reader_that_stays_holds_up_the_log_file_but_no_commit() {
    let place = Place::new();
    let (sender, checkpoints) = mpsc::sync_channel(1_000);
    let mut options = place.options();
    options.observer = Some(Arc::new(Checkpoints(sender)));
    let store = open(options, NOW_US).unwrap().store;
    let key = create(&store);
    let reader = store.read().unwrap();
    for number in 0..16 {
        store.commit(branches(key, number * 5_000, 5_000)).unwrap();
    }
    assert!(store.stats().wal_bytes > 8 << 20);
    let wait = std::time::Duration::from_secs(60);
    // Past those that the writing itself called for, to the one that an idle store makes before it cuts.
    while checkpoints.recv_timeout(std::time::Duration::from_secs(1)).is_ok() {}
    let held = checkpoints.recv_timeout(wait).unwrap();
    assert!(!held.truncated && held.moved_pages < held.wal_pages, "{held:?}");
    // Commits wait for as long as the cutting takes: it gives up at once.
    let attempt = checkpoints.recv_timeout(wait).unwrap();
    assert!(!attempt.truncated && attempt.duration < std::time::Duration::from_secs(4), "{attempt:?}");
    store.commit(branches(key, 800_000, 1)).unwrap();
    assert_eq!(reader.bounds().last, 1, "the reader sees what it saw");
    drop(reader);
    store.commit(branches(key, 900_000, 1)).unwrap();
    while !checkpoints.recv_timeout(wait).unwrap().truncated {}
    store.flush().unwrap();
    assert!(store.stats().wal_bytes < 1 << 20);
    assert!(findings(&store).is_empty());
}
