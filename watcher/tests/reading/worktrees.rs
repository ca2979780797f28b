//! Linked worktrees have a HEAD and a few refs of their own.

use std::path::PathBuf;

use refwatch_core::ObjectFormat;
use refwatch_watcher::scan;

use crate::support::{Repo, direct, name, symbolic};

#[test]
fn a_linked_worktree_brings_its_head_and_its_own_refs() {
    for storage in ["files", "reftable"] {
        let repo = Repo::bare(ObjectFormat::Sha1, storage);
        let [a, b] = repo.commits();
        repo.update(&format!("create refs/heads/main {a}\ncreate refs/heads/topic {b}\n"));
        let before = repo.refs().len();
        let tree = repo.git_dir.with_extension("w1");
        repo.git(&["worktree", "add", "-q", tree.to_str().expect("UTF-8"), "topic"]);
        crate::support::run(&tree, &["update-ref", "refs/bisect/bad", &a]);
        crate::support::run(&tree, &["update-ref", "refs/worktree/own", &b]);
        crate::support::run(&tree, &["update-ref", "refs/heads/shared", &b]);

        let refs = repo.refs();
        assert_eq!(refs[b"worktrees/r.w1/HEAD".as_slice()], symbolic("refs/heads/topic"), "{storage}");
        assert_eq!(refs[b"worktrees/r.w1/refs/bisect/bad".as_slice()], direct(&a));
        assert_eq!(refs[b"worktrees/r.w1/refs/worktree/own".as_slice()], direct(&b));
        assert_eq!(refs[b"refs/heads/shared".as_slice()], direct(&b));
        assert_eq!(refs.len(), before + 4);

        let directories = scan::directories(&repo.layout(), &mut |_| {}).expect("readable");
        for expected in ["worktrees", "worktrees/r.w1"] {
            assert!(directories.contains(&PathBuf::from(expected)), "{directories:?}");
        }
        let layout = repo.layout();
        for absent in
            ["worktrees/r.w1/refs/bisect/none", "worktrees/none/HEAD", "worktrees/r.w1/refs/heads/topic"]
        {
            assert_eq!(scan::one(&layout, &name(absent)).expect("readable"), None, "{absent}");
        }
        repo.git(&["worktree", "remove", "--force", tree.to_str().expect("UTF-8")]);
        assert_eq!(repo.refs().len(), before + 1, "what is gone is gone, but for the shared ref");
    }
}

#[test]
fn subtrees_of_worktrees_are_those_of_the_full_scan() {
    let repo = Repo::files();
    let a = repo.commit("a");
    repo.update(&format!("create refs/heads/main {a}\n"));
    let tree = repo.git_dir.with_extension("w1");
    repo.git(&["worktree", "add", "-q", "--detach", tree.to_str().expect("UTF-8"), "main"]);
    crate::support::run(&tree, &["update-ref", "refs/bisect/bad", &a]);
    for (directory, refs) in [
        ("worktrees", 2),
        ("worktrees/r.w1", 2),
        ("worktrees/r.w1/refs", 1),
        ("worktrees/r.w1/refs/bisect", 1),
        ("worktrees/r.w1/logs", 0),
        ("objects", 0),
    ] {
        let scan = scan::subtree(&repo.layout(), directory.as_ref(), &mut |_| {}).expect("readable");
        assert_eq!(scan.refs.len(), refs, "{directory}");
    }
}
