//! Former hooks judge every push, whatever happens to the hooks around them.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicBool, Ordering};

use refwatch_tests::{Flavour, World};

use super::support::{Times, hook, listing, ran, write_hook};

/// Rounds of an installation and a removal while pushes are made.
const ROUNDS: usize = 6;

#[test]
fn no_push_slips_by_a_policy_while_hooks_come_and_go() {
    let world = World::new();
    let repo = world.repo("app.git");
    let source = world.source(Flavour::PLAIN);
    let [one, _] = source.0.history();
    write_hook(&repo.git_dir, "pre-receive", "cat >/dev/null; exit 1");
    let path = repo.git_dir.to_str().expect("text");
    let is_over = AtomicBool::new(false);
    let pushes = std::thread::scope(|scope| {
        let pushes = scope.spawn(|| {
            let mut pushes = 0;
            while !is_over.load(Ordering::Relaxed) || pushes < ROUNDS {
                let output = source.try_push(&repo, &[&format!("{one}:refs/heads/n{pushes}")]);
                assert!(!output.status.success(), "push {pushes} slipped by: {output:?}");
                pushes += 1;
            }
            pushes
        });
        for _ in 0..ROUNDS {
            ran(&["install", path]);
            ran(&["remove", path]);
        }
        is_over.store(true, Ordering::Relaxed);
        pushes.join().expect("every push is refused")
    });
    assert!(pushes >= ROUNDS);
    assert_eq!(repo.git(&["for-each-ref"]), "");
}

#[test]
fn what_a_crash_leaves_is_gone_on_from() {
    type Leave = fn(&std::path::Path);
    let states: [(&str, Leave); 5] = [
        ("the link is at the former hook's name", |hooks| {
            symlink("/x/refwatch-hook", hooks.join("pre-receive.refwatch-former")).expect("linked");
        }),
        ("the hook has two names", |hooks| {
            fs::hard_link(hooks.join("pre-receive"), hooks.join("pre-receive.refwatch-former"))
                .expect("linked");
        }),
        ("a new link was not put into its place", |hooks| {
            symlink("/x/refwatch-hook", hooks.join("pre-receive.refwatch-new")).expect("linked");
        }),
        ("the former hook is kept and nothing in its place", |hooks| {
            fs::rename(hooks.join("pre-receive"), hooks.join("pre-receive.refwatch-former"))
                .expect("renamed");
        }),
        ("the hook has three names", |hooks| {
            for suffix in ["former", "new"] {
                let name = hooks.join(format!("pre-receive.refwatch-{suffix}"));
                fs::hard_link(hooks.join("pre-receive"), name).expect("linked");
            }
        }),
    ];
    for (state, leave) in states {
        let world = World::new();
        let repo = world.repo("app.git");
        let hooks = repo.git_dir.join("hooks");
        write_hook(&repo.git_dir, "pre-receive", "exit 1");
        let path = repo.git_dir.to_str().expect("text");
        let before = listing(&hooks, Times::OfFiles);
        leave(&hooks);
        ran(&["remove", path]);
        assert_eq!(listing(&hooks, Times::OfFiles), before, "removed: {state}");
        leave(&hooks);
        ran(&["install", path]);
        assert_eq!(fs::read_dir(&hooks).expect("read").count(), 3, "installed: {state}");
        ran(&["remove", path]);
        assert_eq!(listing(&hooks, Times::OfFiles), before, "installed and removed: {state}");
    }
}

#[test]
fn a_failure_in_the_middle_is_undone_everywhere() {
    let world = World::new();
    let [first, second] = ["a.git", "b.git"].map(|path| world.repo(path));
    write_hook(&first.git_dir, "pre-receive", "exit 0");
    // What is being made has this name, and this is in the way.
    fs::create_dir_all(second.git_dir.join("hooks.refwatch-new/in-the-way")).expect("made");
    let before = listing(&world.root, Times::OfFiles);
    let output = hook(&["install", "--recursive", world.root.to_str().expect("text")]);
    assert_eq!(output.status.code(), Some(74), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("b.git/hooks") && said.contains("was undone"), "{said}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("a.git/hooks/pre-receive"), "it had begun");
    assert_eq!(listing(&world.root, Times::OfFiles), before);
}

#[test]
fn a_hook_that_is_a_link_comes_back_as_that_link() {
    let world = World::new();
    let repo = world.repo("app.git");
    let source = world.source(Flavour::PLAIN);
    let [one, _] = source.0.history();
    write_hook(&repo.git_dir, "policy", "cat >/dev/null; exit 1");
    let hooks = repo.git_dir.join("hooks");
    symlink("policy", hooks.join("pre-receive")).expect("linked");
    let path = repo.git_dir.to_str().expect("text");
    let before = listing(&hooks, Times::OfFiles);
    ran(&["install", path]);
    let output = source.try_push(&repo, &[&format!("{one}:refs/heads/main")]);
    assert!(!output.status.success(), "the policy holds: {output:?}");
    ran(&["remove", path]);
    assert_eq!(listing(&hooks, Times::OfFiles), before);
}
