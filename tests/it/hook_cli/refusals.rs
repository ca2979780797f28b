//! What is not understood is refused, with a reason, and touched by nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use refwatch_tests::{Flavour, Repo, World};

use super::support::{Times, command, listing, ran, refused, write_hook};

/// Prepares a repository, and expects an installation to be refused for a reason, with nothing touched.
fn refuses(prepare: impl FnOnce(&World, &Repo), reason: &str) {
    let world = World::new();
    let [well, repo] = ["a.git", "b.git"].map(|path| world.repo(path));
    fs::create_dir(repo.git_dir.join("hooks")).expect("made");
    prepare(&world, &repo);
    let before = listing(&world.root, Times::OfAll);
    let [well, path] = [&well, &repo].map(|repo| repo.git_dir.to_str().expect("text"));
    let said = refused(&["install", well, path]);
    assert!(said.contains(reason), "{reason:?} is said in: {said}");
    assert!(said.contains("b.git"), "the repository is named: {said}");
    assert_eq!(listing(&world.root, Times::OfAll), before, "{reason}: the other one is untouched too");
}

#[test]
fn what_is_no_hook_is_refused() {
    let hook = |repo: &Repo, name: &str| repo.git_dir.join("hooks").join(name);
    refuses(|_, repo| fs::create_dir(hook(repo, "pre-receive")).expect("made"), "a directory");
    refuses(|_, repo| symlink("/nowhere/x", hook(repo, "pre-receive")).expect("linked"), "leads to no file");
    refuses(
        |_, repo| {
            write_hook(&repo.git_dir, "pre-receive", "exit 0");
            write_hook(&repo.git_dir, "pre-receive.refwatch-former", "exit 1");
        },
        "somebody replaced the link",
    );
}

#[test]
fn hooks_that_git_does_not_run_are_refused() {
    let set = |repo: &Repo, path: &str| drop(repo.git(&["config", "core.hooksPath", path]));
    refuses(
        |world, repo| {
            fs::create_dir(world.beside("shared")).expect("made");
            set(repo, world.beside("shared").to_str().expect("text"));
        },
        "pass --hooks-path",
    );
    refuses(|_, repo| set(repo, "/dev/null"), "Git runs no hook");
    refuses(|_, repo| set(repo, "not-there"), "Git runs no hook");
    refuses(|_, repo| set(repo, ""), "Git runs no hook");
    refuses(
        |world, repo| {
            let shared = world.beside("shared");
            fs::create_dir(&shared).expect("made");
            fs::remove_dir(repo.git_dir.join("hooks")).expect("removed");
            symlink(shared, repo.git_dir.join("hooks")).expect("linked");
        },
        "hooks is a link to",
    );
}

#[test]
fn a_relative_hooks_path_is_that_of_the_git_directory_and_refused_with_a_working_tree() {
    let world = World::new();
    let bare = world.repo("bare.git");
    bare.git(&["config", "core.hooksPath", "own"]);
    fs::create_dir(bare.git_dir.join("own")).expect("made");
    ran(&["install", bare.git_dir.to_str().expect("text")]);
    assert!(bare.git_dir.join("own/pre-receive").is_symlink());
    let source = world.source(Flavour::PLAIN);
    let [one, _] = source.0.history();
    source.push(&bare, &[&format!("{one}:refs/heads/main")]);
    assert!(bare.git_dir.join("refwatch/journal").is_file(), "Git ran it there");
    // As husky sets it.
    let tree = world.repo_as("tree", Flavour::WORKTREE);
    tree.git(&["config", "core.hooksPath", ".husky/_"]);
    let said = refused(&["install", tree.git_dir.to_str().expect("text")]);
    assert!(said.contains("relative path"), "{said}");
}

#[test]
fn a_hooks_path_of_the_user_or_the_machine_is_noticed() {
    let world = World::new();
    let repo = world.repo("app.git");
    let (config, shared) = (world.beside("gitconfig"), world.beside("shared"));
    fs::create_dir(&shared).expect("made");
    fs::write(&config, format!("[core]\n\thooksPath = {}\n", shared.display())).expect("written");
    let path = repo.git_dir.to_str().expect("text");
    for (variable, word) in [("GIT_CONFIG_GLOBAL", "(user)"), ("GIT_CONFIG_SYSTEM", "(system)")] {
        let mut install = command(&["install", path]);
        install.env_remove("GIT_CONFIG_NOSYSTEM").env(variable, &config);
        let output = install.output().expect("refwatch runs");
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        for part in ["own hooks are off", word, "--hooks-path", "gitconfig"] {
            assert!(said.contains(part), "{part} in {said}");
        }
    }
    let mut install = command(&["install", path, "--hooks-path", shared.to_str().expect("text")]);
    let output = install.env("GIT_CONFIG_GLOBAL", &config).output().expect("refwatch runs");
    assert!(output.status.success() && shared.join("pre-receive").is_symlink(), "{output:?}");
}

#[test]
fn what_is_no_repository_is_refused() {
    let world = World::new();
    let repo = world.repo_as("tree", Flavour::WORKTREE);
    let [_, two] = repo.history();
    let path = |path: &std::path::Path| path.to_str().expect("text").to_owned();
    let linked = world.beside("linked");
    repo.git(&["worktree", "add", "-q", "--detach", &path(&linked), &two]);
    let said = refused(&["install", &path(&linked)]);
    assert!(said.contains("a linked worktree") && said.contains("tree/.git"), "{said}");
    assert!(
        refused(&["install", &path(world.root.parent().expect("a parent"))]).contains("not a repository")
    );
    assert!(refused(&["install", "/nowhere/at/all"]).contains("/nowhere/at/all"));
    let empty = world.beside("empty");
    fs::create_dir(&empty).expect("made");
    assert!(refused(&["install", "--recursive", &path(&empty)]).contains("no repository"));
    let half = world.repo("half.git");
    fs::remove_dir(half.git_dir.join("refs/tags"))
        .and_then(|()| fs::remove_dir(half.git_dir.join("refs/heads")))
        .expect("removed");
    fs::remove_dir(half.git_dir.join("refs")).expect("removed");
    assert!(refused(&["install", &path(&half.git_dir)]).contains("half.git"));
}

#[test]
fn the_program_has_to_be_one_that_can_be_run() {
    let world = World::new();
    let repo = world.repo("app.git");
    let path = repo.git_dir.to_str().expect("text");
    let given = |name: &str| {
        let program = world.beside(name);
        let said = refused(&["install", path, "--hook-binary", program.to_str().expect("text")]);
        assert!(said.contains(name), "{said}");
        said
    };
    assert!(given("refwatch-hook").contains("not an executable file"));
    fs::write(world.beside("refwatch-hook"), "x").expect("written");
    assert!(given("refwatch-hook").contains("not an executable file"));
    fs::write(world.beside("another"), "x").expect("written");
    fs::set_permissions(world.beside("another"), Permissions::from_mode(0o755)).expect("set");
    assert!(given("another").contains("has to be refwatch-hook"));
    assert!(!repo.git_dir.join("refwatch").exists());
}

#[test]
fn a_program_that_the_owner_of_the_repository_cannot_run_is_refused() {
    if !rustix::process::geteuid().is_root() {
        println!("needs root to give a repository away");
        return;
    }
    let world = World::new();
    let repo = world.repo("app.git");
    std::os::unix::fs::chown(&repo.git_dir, Some(65_534), Some(65_534)).expect("given away");
    let program = super::support::reachable(&world);
    fs::set_permissions(program, Permissions::from_mode(0o700)).expect("set");
    let path = repo.git_dir.to_str().expect("text");
    let said = refused(&["install", path, "--hook-binary", program]);
    assert!(said.contains("keeps others out"), "{said}");
    fs::set_permissions(program, Permissions::from_mode(0o755)).expect("set");
    ran(&["install", path, "--hook-binary", program]);
}
