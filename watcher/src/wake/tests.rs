use super::*;

const KEY: RepositoryKey = 1;
/// Longer than any test: whoever waits for it hangs.
const SETTLE: Duration = Duration::from_secs(600);

fn board() -> Board {
    Board::new(SETTLE)
}

fn lock(board: &Board, names: &[&str]) {
    for name in names {
        board.post(KEY, Wake::Locked(name.as_bytes()));
    }
}

fn place(board: &Board, names: &[&str]) {
    for name in names {
        board.post(KEY, Wake::Placed(name.as_bytes()));
    }
}

fn is_queued(board: &Board) -> bool {
    !board.lock().queue.is_empty()
}

fn take(board: &Board) -> Pending {
    let work = board.take();
    let Work::Repository(KEY, pending) = work else { panic!("a repository: {work:?}") };
    pending
}

fn names(pending: &Pending) -> Vec<(&str, u32)> {
    pending
        .names
        .iter()
        .map(|(name, named)| (std::str::from_utf8(name).expect("text"), named.count))
        .collect()
}

#[test]
fn a_transaction_is_handed_out_when_its_last_ref_is_in_place() {
    let board = board();
    lock(&board, &["refs/a", "refs/b"]);
    place(&board, &["refs/a"]);
    assert!(!is_queued(&board));
    place(&board, &["refs/b"]);
    assert_eq!(names(&take(&board)), [("refs/a", 1), ("refs/b", 1)]);
}

#[test]
fn what_a_later_transaction_changes_again_waits_for_all_of_it() {
    let board = board();
    lock(&board, &["refs/a", "refs/b"]);
    place(&board, &["refs/a", "refs/b"]);
    // Ready, and not taken yet.
    assert!(is_queued(&board));
    lock(&board, &["refs/a", "refs/b"]);
    place(&board, &["refs/a"]);
    let none = take(&board);
    assert!(none.is_empty(), "{none:?}");
    board.done(KEY);
    assert!(!is_queued(&board));
    place(&board, &["refs/b"]);
    assert_eq!(names(&take(&board)), [("refs/a", 2), ("refs/b", 2)]);
}

#[test]
fn it_waits_also_when_it_was_put_off_for_long_for_another_reason() {
    let board = board();
    let named = Named { count: 1, locked: true };
    place(&board, &["refs/x"]);
    drop(take(&board));
    board.put_back(KEY, vec![(b"refs/x".as_slice().into(), named)], RAISE_MAX * 3);
    board.done(KEY);
    for _ in 0..2 {
        lock(&board, &["refs/a", "refs/b"]);
        place(&board, &["refs/a", "refs/b"]);
        std::thread::sleep(RAISE_MAX);
    }
    lock(&board, &["refs/a", "refs/b"]);
    place(&board, &["refs/a"]);
    std::thread::sleep(RAISE_MAX * 2);
    {
        let inner = board.lock();
        let slot = &inner.slots[&KEY];
        assert!(slot.barrier_raised > slot.locks.oldest().expect("that of b"));
    }
    place(&board, &["refs/b"]);
    assert_eq!(names(&take(&board)), [("refs/a", 3), ("refs/b", 3), ("refs/x", 1)]);
}

#[test]
fn the_journal_waits_for_no_lock_and_takes_no_ref_along_that_does() {
    let board = board();
    lock(&board, &["refs/a", "refs/b"]);
    place(&board, &["refs/a"]);
    board.post(KEY, Wake::Journal);
    let pending = take(&board);
    assert!(pending.journal && pending.names.is_empty(), "{pending:?}");
    board.done(KEY);
    place(&board, &["refs/b"]);
    let pending = take(&board);
    assert_eq!(names(&pending), [("refs/a", 1), ("refs/b", 1)]);
    assert!(!pending.journal && !pending.unsettled);
}

#[test]
fn what_waits_for_its_record_is_waited_for_and_holds_up_nothing_else() {
    let board = board();
    place(&board, &["refs/a"]);
    drop(take(&board));
    let since = Instant::now();
    board.await_records(KEY, Some((since, Instant::now() + SETTLE)));
    board.await_records(KEY, Some((since, Instant::now() + SETTLE * 2)));
    board.done(KEY);
    assert!(!board.quiesce(Instant::now()), "what was seen is not told");
    place(&board, &["refs/b"]);
    let pending = take(&board);
    assert_eq!(names(&pending), [("refs/b", 1)]);
    assert!(!pending.journal);
    board.await_records(KEY, Some((since, Instant::now())));
    board.done(KEY);
    assert!(take(&board).journal);
    board.await_records(KEY, None);
    board.done(KEY);
    assert!(board.quiesce(Instant::now()));
    assert!(board.lock().slots.is_empty());
}

#[test]
fn a_record_that_comes_ends_the_wait_for_it() {
    let board = board();
    place(&board, &["refs/a"]);
    drop(take(&board));
    let now = Instant::now();
    board.await_records(KEY, Some((now, now + SETTLE)));
    board.done(KEY);
    board.post(KEY, Wake::Journal);
    assert!(take(&board).journal);
    board.await_records(KEY, None);
    board.done(KEY);
    assert!(board.quiesce(Instant::now()));
    assert!(board.lock().slots.is_empty() && board.depth() == 0, "there is nothing left to look at");
}

#[test]
fn what_is_still_awaited_makes_a_barrier_wait_for_it_alone() {
    let board = board();
    let now = Instant::now();
    place(&board, &["refs/a"]);
    drop(take(&board));
    board.await_records(KEY, Some((now, now + SETTLE)));
    board.done(KEY);
    place(&board, &["refs/b"]);
    drop(take(&board));
    // Seen after the barrier began, and not yet told.
    board.await_records(KEY, Some((Instant::now() + SETTLE, now + SETTLE)));
    board.done(KEY);
    assert!(board.quiesce(Instant::now()));
}

#[test]
fn a_wake_that_is_taken_back_says_whether_its_transaction_goes_on() {
    let board = board();
    lock(&board, &["refs/a", "refs/b"]);
    place(&board, &["refs/a"]);
    assert_eq!(board.recall(KEY, b"refs/a"), Some((Named { count: 1, locked: false }, true)));
    assert_eq!(board.recall(KEY, b"refs/a"), None);
    place(&board, &["refs/b"]);
    // A later lock is another transaction's.
    lock(&board, &["refs/a"]);
    assert_eq!(board.recall(KEY, b"refs/b"), Some((Named { count: 1, locked: false }, false)));
}

#[test]
fn what_is_pending_waits_for_a_lock_that_is_found() {
    let board = board();
    // Made before its directory was watched, as the first of these locks was not.
    lock(&board, &["refs/a"]);
    board.post(KEY, Wake::DirectoryCame(b"refs/d"));
    place(&board, &["refs/a"]);
    assert!(board.find_lock(KEY, b"refs/b"));
    assert_eq!(board.depth(), 1);
    assert!(board.find_lock(KEY, b"refs/b"));
    place(&board, &["refs/b"]);
    let pending = take(&board);
    assert_eq!(names(&pending), [("refs/a", 1), ("refs/b", 1)]);
    assert_eq!(pending.directories.len(), 1);
    // Put back, it waits for what has been found meanwhile, and for nothing that comes after.
    assert!(board.find_lock(KEY, b"refs/d/c"));
    board.put_back_until_settled(KEY, pending.names, pending.directories);
    lock(&board, &["refs/later"]);
    board.done(KEY);
    board.post(KEY, Wake::Unlocked(b"refs/d/c"));
    let pending = take(&board);
    assert_eq!(names(&pending), [("refs/a", 1), ("refs/b", 1)]);
    assert_eq!(pending.directories.len(), 1);
}

#[test]
fn who_posts_faster_than_workers_look_waits_for_room() {
    let board = board();
    for key in 1..=3 {
        board.post(key, Wake::Config);
    }
    board.wait_for_room(4);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| board.wait_for_room(2));
        for _ in 0..2 {
            assert!(!waiting.is_finished());
            let Work::Repository(key, _) = board.take() else { panic!("a repository") };
            board.done(key);
        }
    });
    std::thread::scope(|scope| {
        scope.spawn(|| board.wait_for_room(1));
        board.close();
    });
    assert_eq!(board.depth(), 1, "a board that is closed makes nobody wait");
}

#[test]
fn what_a_look_takes_back_is_waited_for_no_longer_than_the_look() {
    let board = board();
    // Of a git that was killed.
    lock(&board, &["refs/stale"]);
    place(&board, &["refs/a"]);
    board.lock().slots.get_mut(&KEY).expect("there").locks.give_up();
    board.post(KEY, Wake::Touched(b"refs/b"));
    take(&board);
    place(&board, &["refs/b"]);
    assert!(board.recall(KEY, b"refs/b").is_some());
    board.done(KEY);
    assert!(board.quiesce(Instant::now()));
}

#[test]
fn what_was_taken_back_does_not_shorten_the_next_wait_for_locks() {
    let settle = Duration::from_millis(200);
    let board = Board::new(settle);
    // Of a git that was killed.
    lock(&board, &["refs/stale"]);
    board.lock().slots.get_mut(&KEY).expect("it has locks").locks.give_up();
    place(&board, &["refs/y"]);
    take(&board);
    place(&board, &["refs/y"]);
    assert!(board.recall(KEY, b"refs/y").is_some());
    board.done(KEY);
    std::thread::sleep(settle);
    lock(&board, &["refs/a", "refs/b"]);
    place(&board, &["refs/a"]);
    assert!(!is_queued(&board), "refs/b is still locked");
    place(&board, &["refs/b"]);
    assert_eq!(names(&take(&board)), [("refs/a", 1), ("refs/b", 1)]);
}
