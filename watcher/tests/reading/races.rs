//! Writers at work while a scan runs.

use std::sync::atomic::{AtomicBool, Ordering};

use refwatch_core::ObjectFormat;
use refwatch_watcher::scan::{self, Observed};

use crate::support::{Repo, name};

/// A writer that goes on until the readers have read enough.
fn while_writing(write: impl FnMut() + Send, read: impl FnOnce()) {
    let done = AtomicBool::new(false);
    let mut write = write;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut rounds = 0;
            while !done.load(Ordering::Relaxed) {
                write();
                rounds += 1;
            }
            rounds
        });
        // Ends the writer also when a reader fails.
        let stop = Stop(&done);
        read();
        drop(stop);
        assert!(writer.join().expect("the writer writes") > 1);
    });
}

struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn packing_under_a_scan_never_hides_a_ref() {
    for storage in ["files", "reftable"] {
        let repo = Repo::bare(ObjectFormat::Sha1, storage);
        let [a, b] = repo.commits();
        let commands = |verb: &str, id: &str| {
            (0..200).map(|i| format!("{verb} refs/heads/d{}/b{i} {id}\n", i % 10)).collect::<String>()
        };
        repo.update(&commands("create", &a));
        let layout = repo.layout();
        let one = name("refs/heads/d7/b77");
        let mut turn = 0;
        while_writing(
            || {
                turn += 1;
                repo.git(&["pack-refs", "--all", "--prune"]);
                repo.update(&commands("update", if turn % 2 == 0 { &a } else { &b }));
            },
            || {
                for _ in 0..500 {
                    let scan = scan::full(&layout, &mut |_| {}).expect("readable");
                    assert_eq!(scan.refs.len(), 201, "{storage}");
                    assert!(scan.refs.iter().all(|(_, observed)| matches!(observed, Observed::Good(_))));
                    let found = scan::one(&layout, &one).expect("readable");
                    assert!(matches!(found, Some(Observed::Good(_))), "{storage}: {found:?}");
                }
            },
        );
    }
}

#[test]
fn a_packed_refs_that_never_rests_ends_the_scan_all_the_same() {
    let repo = Repo::files();
    let a = repo.commit("a");
    let text = |tail: &str| {
        format!("# pack-refs with: peeled fully-peeled sorted \n{a} refs/heads/main\n{a} refs/heads/{tail}\n")
    };
    repo.write("packed-refs", text("x"));
    let layout = repo.layout();
    let mut turn = 0;
    let mut unsettled = 0;
    // Replaced each time a directory is about to be read: in the middle of every try.
    for _ in 0..10 {
        let scan = scan::full(&layout, &mut |_| {
            turn += 1;
            repo.write("packed-refs.new", text(&"x".repeat(turn)));
            std::fs::rename(repo.git_dir.join("packed-refs.new"), repo.git_dir.join("packed-refs"))
                .expect("renamed");
        })
        .expect("readable");
        assert!(scan.refs.iter().any(|(found, _)| *found == name("refs/heads/main")));
        assert!(scan.signature.is_none());
        unsettled += usize::from(!scan.settled);
    }
    assert_eq!(unsettled, 10);
}

#[test]
fn deleting_and_making_refs_under_a_scan_shows_each_other_ref_always() {
    let repo = Repo::files();
    let [a, b] = repo.commits();
    repo.update(&(0..100).map(|i| format!("create refs/heads/keep/{i} {a}\n")).collect::<String>());
    repo.git(&["pack-refs", "--all"]);
    let layout = repo.layout();
    while_writing(
        || {
            repo.update(&format!("create refs/heads/go/x {b}\ncreate refs/heads/go/y/z {b}\n"));
            repo.update("delete refs/heads/go/x\ndelete refs/heads/go/y/z\n");
            // The directory gives way to a ref of its name, and comes back.
            repo.update(&format!("create refs/heads/go/y {b}\n"));
            repo.update("delete refs/heads/go/y\ndelete refs/heads/keep/none\n");
        },
        || {
            for _ in 0..2_000 {
                let scan = scan::full(&layout, &mut |_| {}).expect("readable");
                let kept =
                    scan.refs.iter().filter(|(name, _)| name.as_bytes().starts_with(b"refs/heads/keep/"));
                assert_eq!(kept.count(), 100);
            }
        },
    );
}
