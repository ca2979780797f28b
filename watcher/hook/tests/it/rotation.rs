//! Rotating while hooks write loses and repeats nothing.

use std::collections::BTreeSet;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use refwatch_watcher::journal::{Beginning, PassedOver, Position, Rest};

use crate::support::{Repo, hook, transaction};

const WRITERS: usize = 4;
const RECORDS: usize = 150;

#[test]
fn records_written_while_the_journal_rotates_are_read_once() {
    let repo = Repo::files();
    let (zero, a) = ("0".repeat(40), "a".repeat(40));
    let is_writing = AtomicBool::new(true);
    let mut seen = Vec::new();
    let mut position = Position::oldest();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (repo, zero, a) = (&repo, &zero, &a);
                scope.spawn(move || {
                    for at in 0..RECORDS {
                        let line = format!("{zero} {a} refs/heads/{writer}/{at}\n");
                        let out =
                            hook(&repo.git_dir, &["reference-transaction", "committed"], line.as_bytes());
                        assert!(out.status.success());
                    }
                })
            })
            .collect();
        let is_writing = &is_writing;
        scope.spawn(move || {
            for writer in writers {
                writer.join().expect("no panic");
            }
            is_writing.store(false, Ordering::SeqCst);
        });
        scope.spawn(|| {
            let mut rotations = 0;
            while is_writing.load(Ordering::SeqCst) {
                let rotated = repo.git_dir.join(format!("refwatch/journal.{}", rotations + 1));
                rotations += usize::from(fs::rename(repo.journal_path(), rotated).is_ok());
                thread::sleep(Duration::from_millis(2));
            }
            println!("{rotations} rotations");
            assert!(rotations > 1);
        });
        loop {
            let is_last = !is_writing.load(Ordering::SeqCst);
            let batch = repo.read(&position);
            assert_eq!(batch.passed_over, PassedOver::default());
            assert_ne!(batch.beginning, Beginning::Lost);
            position = batch.next;
            for record in batch.records {
                seen.extend(transaction(&record).updates.iter().map(|update| update.name.clone()));
            }
            if is_last && batch.rest == Rest::Nothing {
                break;
            }
        }
    });
    assert_eq!(seen.len(), WRITERS * RECORDS);
    assert_eq!(seen.iter().collect::<BTreeSet<_>>().len(), WRITERS * RECORDS);
}

#[test]
fn git_goes_on_in_a_new_journal_after_a_rotation() {
    let repo = Repo::files();
    let [a, b] = &repo.commits();
    repo.git(&["update-ref", "refs/heads/x", a]);
    let first = repo.read(&Position::oldest());
    repo.git(&["update-ref", "refs/heads/x", b, a]);
    fs::rename(repo.journal_path(), repo.git_dir.join("refwatch/journal.1")).expect("renamed");
    repo.git(&["update-ref", "-d", "refs/heads/x", b]);
    assert_eq!(repo.committed().len(), 3);
    let rest = repo.read(&first.next);
    assert_eq!(crate::support::committed(&rest.records).len(), 2);
}
