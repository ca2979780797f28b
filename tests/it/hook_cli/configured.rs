//! Hooks in the repository's configuration, for a Git that knows them.

use std::fs;
use std::process::Output;

use refwatch_tests::{Repo, World};

use super::support::{Times, command, listing, write_hook_in};

/// Runs the command line with a git in PATH that says which version it is, and is real else.
fn with_git(world: &World, version: &str, arguments: &[&str]) -> Output {
    let path = std::env::var("PATH").expect("a path");
    let directory = world.beside("bin");
    let script = format!(
        "if [ \"$1\" = version ]; then echo 'git version {version}'; exit; fi\nPATH='{path}' exec git \"$@\""
    );
    write_hook_in(&directory, "git", &script);
    command(arguments).env("PATH", format!("{}:{path}", directory.display())).output().expect("refwatch runs")
}

fn commands(repo: &Repo) -> String {
    String::from_utf8_lossy(&repo.try_git(&["config", "--local", "--get-regexp", "^hook\\."]).stdout)
        .into_owned()
}

#[test]
fn they_are_written_once_and_taken_out_exactly() {
    let world = World::new();
    let repo = world.repo("app.git");
    repo.git(&["config", "hook.mine.command", "true"]);
    let config = repo.git_dir.join("config");
    let before = fs::read(&config).expect("read");
    let path = repo.git_dir.to_str().expect("text");
    let install = || with_git(&world, "2.54.0", &["install", path, "--configured"]);
    let output = install();
    assert!(output.status.success(), "{output:?}");
    let set = commands(&repo);
    for line in
        ["hook.refwatch-pre-receive.event pre-receive", "hook.refwatch-post-receive.event post-receive"]
    {
        assert!(set.contains(line), "{set}");
    }
    assert!(set.contains("hook.refwatch-pre-receive.command test ! -x '"), "guarded: {set}");
    assert!(!repo.git_dir.join("hooks").exists(), "no files");
    let installed = listing(&repo.git_dir, Times::OfAll);
    assert!(String::from_utf8_lossy(&install().stdout).contains("nothing to do"));
    assert_eq!(listing(&repo.git_dir, Times::OfAll), installed);
    let output = with_git(&world, "2.54.0", &["remove", path]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(fs::read(&config).expect("read"), before);
    assert!(!repo.git_dir.join("refwatch").exists());
}

#[test]
fn a_git_that_does_not_know_them_is_a_reason_to_refuse() {
    let world = World::new();
    let repo = world.repo("app.git");
    let before = listing(&repo.git_dir, Times::OfAll);
    let path = repo.git_dir.to_str().expect("text");
    let output = with_git(&world, "2.47.3", &["install", path, "--configured"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("2.47.3") && said.contains("2.54"), "{said}");
    assert_eq!(listing(&repo.git_dir, Times::OfAll), before);
    let output = with_git(&world, "2.54.0", &["install", path]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("see --configured"), "offered: {output:?}");
    let output = with_git(&world, "2.47.3", &["install", path]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("--configured"), "{output:?}");
}
