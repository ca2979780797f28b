//! The signature moves with every change of a ref and rests otherwise.

use std::time::{Duration, Instant};

use refwatch_core::ObjectFormat;
use refwatch_watcher::scan;
use refwatch_watcher::signature::{RACY_MS, Signature, signature};

use crate::support::{Repo, command};

/// Waits until nothing is recent any more.
fn settled(repo: &Repo) -> Signature {
    let deadline = Instant::now() + Duration::from_millis(RACY_MS * 10);
    loop {
        if let Some(signature) = signature(&repo.layout()).expect("readable") {
            return signature;
        }
        assert!(Instant::now() < deadline, "it never rests");
        std::thread::sleep(Duration::from_millis(50));
    }
}

const STEPS: [&[&str]; 8] = [
    &["update-ref", "refs/heads/main", "NEW"],
    &["update-ref", "refs/heads/new/deep", "OLD"],
    &["update-ref", "-d", "refs/heads/other"],
    &["symbolic-ref", "HEAD", "refs/heads/other"],
    &["pack-refs", "--all"],
    &["worktree", "add", "-q", "--detach", "../second", "main"],
    &["-C", "../first", "checkout", "-q", "--detach", "NEW"],
    &["config", "remote.origin.mirror", "true"],
];

#[test]
fn each_change_moves_it() {
    std::thread::scope(|scope| {
        for storage in ["files", "reftable"] {
            // Packing one table writes none.
            for step in STEPS.into_iter().filter(|step| storage == "files" || step[0] != "pack-refs") {
                scope.spawn(move || moves(storage, step));
            }
        }
    });
}

/// A repository with a linked worktree, and two commits.
fn furnished(storage: &str) -> (Repo, [String; 2]) {
    let repo = Repo::bare(ObjectFormat::Sha1, storage);
    let ids: [String; 2] = repo.commits();
    repo.git(&["config", "reftable.geometricFactor", "0"]);
    repo.update(&format!("create refs/heads/main {}\n", ids[0]));
    repo.update(&format!("create refs/heads/other {}\n", ids[0]));
    repo.git(&["worktree", "add", "-q", "--detach", "../first", "main"]);
    (repo, ids)
}

fn moves(storage: &str, step: &[&str]) {
    let (repo, [old, new]) = furnished(storage);
    assert_eq!(signature(&repo.layout()).expect("readable"), None, "too recent to be trusted");
    let before = settled(&repo);
    assert_eq!(repo.scan().signature, Some(before), "{storage}: a scan computes the same");
    assert_eq!(settled(&repo), before);
    let step: Vec<&str> = step
        .iter()
        .map(|word| match *word {
            "OLD" => old.as_str(),
            "NEW" => new.as_str(),
            word => word,
        })
        .collect();
    repo.git(&step);
    let after = settled(&repo);
    assert_ne!(after, before, "{storage}: {step:?}");
    assert_eq!(repo.scan().signature, Some(after), "{storage}: {step:?}");
}

#[test]
fn a_refused_update_leaves_it_alone() {
    for storage in ["files", "reftable"] {
        let (repo, [_, new]) = furnished(storage);
        let before = settled(&repo);
        let refused = command(&repo.git_dir, &["update-ref", "refs/heads/main", &new, &new]).output();
        assert!(!refused.expect("git runs").status.success());
        assert_eq!(settled(&repo), before, "{storage}");
    }
}

#[test]
fn odd_files_count_the_same_in_a_signature_and_in_a_scan() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.write("refs/heads/a..b", &a);
    repo.write("refs/heads/empty", "");
    repo.write("refs/heads/x.lock", "");
    std::os::unix::fs::symlink("../tags", repo.git_dir.join("refs/heads/directory")).expect("linked");
    std::os::unix::fs::symlink("refs/heads/none", repo.git_dir.join("refs/heads/old")).expect("linked");
    let alone = settled(&repo);
    assert_eq!(repo.scan().signature, Some(alone));
    assert_eq!(scan::full(&repo.layout(), &mut |_| {}).expect("readable").skipped.len(), 1);
}
