//! Many hooks at once: every record whole, none missing.

use std::collections::BTreeMap;
use std::thread;

use crate::support::{Repo, name, oid};

/// How many processes write at once.
const WRITERS: usize = 8;

/// How often each of them changes its ref.
const UPDATES: usize = 20;

#[test]
fn every_update_of_eight_processes_at_once_is_recorded_once() {
    let repo = Repo::files();
    let ids: [String; UPDATES + 1] = repo.commits();
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            let (repo, ids) = (&repo, &ids);
            scope.spawn(move || {
                let name = format!("refs/heads/{writer}");
                repo.git(&["update-ref", &name, &ids[0], ""]);
                for pair in ids.windows(2) {
                    repo.git(&["update-ref", &name, &pair[1], &pair[0]]);
                }
            });
        }
    });
    let mut by_name = BTreeMap::new();
    for update in repo.committed().into_iter().flatten() {
        by_name.entry(update.name).or_insert_with(Vec::new).push((update.old, update.new));
    }
    assert_eq!(by_name.len(), WRITERS);
    for writer in 0..WRITERS {
        // One ref has one writer here, who waits for git, which waits for the hook: so its records are in order.
        let steps = &by_name[&name(&format!("refs/heads/{writer}"))];
        assert_eq!(steps.len(), UPDATES + 1);
        for (step, pair) in steps[1..].iter().zip(ids.windows(2)) {
            assert_eq!(*step, (oid(&pair[0]), oid(&pair[1])));
        }
    }
}
