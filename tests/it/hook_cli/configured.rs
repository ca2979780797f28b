//! Hooks in the repository's configuration, for a Git that knows them.

use std::fs;
use std::process::Output;

use refwatch_proto::v1::{GitEvent, GitEventType as Type, Origin, RejectionStage};
use refwatch_tests::{Flavour, Options, Repo, World};

use crate::stage::Stage;

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

/// No Git here runs configured hooks. A hook of the old kind does so in its place: as `prepare_shell_cmd()` of Git's
/// `run-command.c` has it, the command and its arguments are a script of the shell that Git starts.
#[test]
fn a_push_is_told_by_what_they_record() {
    let world = World::new();
    let repo = world.repo("app.git");
    let path = repo.git_dir.to_str().expect("text");
    let output = with_git(&world, "2.54.0", &["install", path, "--configured"]);
    assert!(output.status.success(), "{output:?}");
    for event in ["pre-receive", "post-receive"] {
        let script = format!(
            "test \"$(git config hook.refwatch-{event}.event)\" = {event} || exit 9\n\
             exec sh -c \"$(git config hook.refwatch-{event}.command) \\\"\\$@\\\"\" hook \"$@\""
        );
        write_hook_in(&repo.git_dir.join("hooks"), event, &script);
    }
    repo.git(&["config", "receive.denyNonFastForwards", "true"]);
    let source = world.source(Flavour::PLAIN);
    let mut stage = Stage::over(Options::new(&world), world, repo);
    let [one, two] = source.0.history();
    source.push(&stage.repo, &[&format!("{two}:refs/heads/main")]);
    let wait = |stage: &Stage, kind| {
        stage.recorder.wait("the push", |recording| !recording.of_type(kind).is_empty());
    };
    wait(&stage, Type::PushReceived);
    let events = stage.events();
    let told: Vec<_> = events.iter().map(|event| (event.r#type(), event.origin())).collect();
    assert_eq!(
        told,
        [(Type::BranchCreated, Origin::Hook), (Type::PushReceived, Origin::Hook)],
        "{events:#?}"
    );
    assert!(!source.try_push(&stage.repo, &[&format!("+{one}:refs/heads/main")]).status.success());
    wait(&stage, Type::PushRejected);
    let event: GitEvent = stage.event();
    let found = event.rejection.as_ref().expect("it says why").stage();
    assert_eq!((found, &*event.new_oid), (RejectionStage::ReceivePack, &*one));
    stage.validate();
}
