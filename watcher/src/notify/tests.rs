use std::fs;
use std::time::Duration;

use super::*;

#[test]
fn a_mark_that_is_lost_with_what_overflows_is_made_anew() {
    let world = tempfile::tempdir().expect("made");
    let watched = world.path().join("watched");
    fs::create_dir(&watched).expect("made");
    let notifier =
        Notifier::start(Arc::new(Board::new(Duration::ZERO)), &world.path().join("fences")).expect("started");
    notifier.watch(&watched).expect("watched");
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("there");
    let queue: usize = queue.trim().parse().expect("a number");
    let fence = {
        // The thread of notifications waits for this with what it reads first.
        let _held = notifier.shared.repositories.write().expect("not poisoned");
        let (one, other) = (watched.join("one"), watched.join("other"));
        fs::write(&one, "").expect("written");
        // Each renames there and back: four notifications, so that what the thread has read makes no room for the mark.
        for _ in 0..queue {
            fs::rename(&one, &other).expect("renamed");
            fs::rename(&other, &one).expect("renamed");
        }
        notifier.begin_fence()
    };
    assert!(fence.wait(Instant::now() + Duration::from_secs(60)), "the mark is lost");
    assert_eq!(notifier.shared.board.losses(), notifier.counts().overflows.load(Ordering::Relaxed));
    assert!(notifier.counts().overflows.load(Ordering::Relaxed) > 0, "nothing was lost");
}
