//! What git does is recorded as the hook was told it.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use refwatch_core::journal::{Outcome, Value};
use refwatch_watcher::journal::Position;

use crate::support::{Repo, committed, git, hook, name, oid, succeeded, text, transaction, update};

#[test]
fn creating_updating_and_deleting_are_recorded_with_every_format() {
    for (object_format, ref_format) in
        [("sha1", "files"), ("sha256", "files"), ("sha1", "reftable"), ("sha256", "reftable")]
    {
        let repo = Repo::new(object_format, ref_format);
        let [a, b] = &repo.commits();
        repo.git(&["update-ref", "refs/heads/x", a, ""]);
        repo.git(&["update-ref", "refs/heads/x", b, a]);
        repo.git(&["update-ref", "-d", "refs/heads/x", b]);
        let x = |old, new| vec![update("refs/heads/x", old, new)];
        assert_eq!(
            repo.committed(),
            [x(Value::Zero, oid(a)), x(oid(a), oid(b)), x(oid(b), Value::Zero)],
            "{object_format}, {ref_format}"
        );
    }
}

#[test]
fn several_refs_of_one_transaction_are_one_record() {
    let repo = Repo::files();
    let [a] = &repo.commits();
    let commands: String = (0..10_000).map(|at| format!("create refs/heads/{at:05} {a}\n")).collect();
    repo.update(&commands);
    let [updates] = repo.committed().try_into().expect("one transaction");
    assert_eq!(updates.len(), 10_000);
    assert!(updates.iter().all(|update| (&update.old, &update.new) == (&Value::Zero, &oid(a))));
    assert!(updates.is_sorted_by(|left, right| left.name < right.name));
}

#[test]
fn packing_is_not_recorded_whatever_packs() {
    for packing in [
        &["pack-refs", "--all"][..],
        &["-c", "core.abbrev=7", "pack-refs", "--all", "--prune"],
        &["gc", "--quiet"],
        &["maintenance", "run", "--quiet", "--task=pack-refs"],
    ] {
        let repo = Repo::files();
        let [a, b] = &repo.commits();
        repo.git(&["update-ref", "refs/heads/x", a]);
        repo.git(&["update-ref", "refs/heads/y", b]);
        let before = repo.records();
        repo.git(packing);
        assert!(!repo.git_dir.join("refs/heads/x").exists(), "{packing:?} packs");
        assert_eq!(repo.records(), before, "{packing:?}");
        repo.git(&["update-ref", "refs/heads/x", b]);
        assert_eq!(repo.records().len(), before.len() + 1);
    }
}

#[test]
fn a_transaction_that_was_given_up_is_recorded_as_such() {
    let repo = Repo::files();
    let [a] = &repo.commits();
    repo.update(&format!("start\ncreate refs/heads/x {a}\nprepare\nabort\n"));
    let records = repo.records();
    assert_eq!(records.len(), 1);
    assert_eq!(transaction(&records[0]).outcome, Outcome::Aborted);
    assert_eq!(transaction(&records[0]).updates, [update("refs/heads/x", Value::Zero, oid(a))]);
}

#[test]
fn a_symbolic_ref_is_recorded_with_its_target() {
    let repo = Repo::files();
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/other"]);
    let [updates] = repo.committed().try_into().expect("one transaction");
    assert_eq!(updates[0].name, name("HEAD"));
    assert_eq!(updates[0].new, Value::Symbolic(name("refs/heads/other")));
}

#[test]
fn a_push_says_who_and_is_told_by_its_parent() {
    let repo = Repo::files();
    let work = repo.work();
    let url = repo.git_dir.to_str().expect("text");
    for (variables, expected) in [
        (vec![], None),
        (vec![("REMOTE_USER", "remote")], Some("remote")),
        (vec![("REMOTE_USER", "remote"), ("GL_ID", "user-7")], Some("user-7")),
        (vec![("GL_ID", "user-7"), ("REFWATCH_ACTOR", "Zoë")], Some("Zoë")),
        (vec![("REFWATCH_ACTOR", ""), ("GL_ID", "user-7")], Some("user-7")),
    ] {
        let before = repo.records().len();
        succeeded(git(&work, &["commit", "-q", "--allow-empty", "-m", "more"]), b"");
        let mut push = git(&work, &["push", "-q", url, "main", "main:refs/heads/two", "--force"]);
        push.envs(variables);
        succeeded(push, b"");
        let records = &repo.records()[before..];
        let pushed = text(succeeded(git(&work, &["rev-parse", "main"]), b""));
        let updated: Vec<_> = committed(records).into_iter().flatten().collect();
        for branch in ["refs/heads/main", "refs/heads/two"] {
            let found =
                updated.iter().any(|update| update.name == name(branch) && update.new == oid(&pushed));
            assert!(found, "{branch}: {updated:?}");
        }
        let first = &records[0];
        assert!(first.parent_pid > 1 && first.parent_start_ticks > 0);
        for record in records {
            assert_eq!(transaction(record).actor.as_deref(), expected);
            assert_eq!(
                (record.parent_pid, record.parent_start_ticks),
                (first.parent_pid, first.parent_start_ticks)
            );
        }
    }
    let records = repo.records();
    let mut ids: Vec<_> = records.iter().map(|record| record.entry.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), records.len());
    assert!(records.is_sorted_by_key(|record| record.monotonic_ns));
}

#[test]
fn push_options_are_recorded_where_git_gives_them() {
    let repo = Repo::files();
    let mut command = std::process::Command::new(crate::support::HOOK);
    crate::support::isolated(&mut command, &repo.git_dir);
    command.args(["reference-transaction", "committed"]);
    command.envs([("GIT_PUSH_OPTION_COUNT", "3"), ("GIT_PUSH_OPTION_0", "a b"), ("GIT_PUSH_OPTION_1", "")]);
    // Git says which directory, or is in it.
    succeeded(command, b"");
    assert_eq!(transaction(&repo.records()[0]).push_options, ["a b", ""]);
}

#[test]
fn a_linked_worktree_writes_into_the_journal_of_its_repository() {
    let repo = Repo::files();
    let [a, b] = &repo.commits();
    repo.git(&["update-ref", "refs/heads/main", a]);
    repo.git(&["worktree", "add", "-q", "--detach", "../linked", "main"]);
    let before = repo.records().len();
    let linked = repo.home.path().join("linked");
    succeeded(git(&linked, &["update-ref", "--no-deref", "HEAD", b, a]), b"");
    let updates: Vec<_> = committed(&repo.records()[before..]).into_iter().flatten().collect();
    assert_eq!(updates, [update("worktrees/linked/HEAD", oid(a), oid(b))]);
    assert!(!repo.git_dir.join("worktrees/linked/refwatch").exists());
}

#[test]
fn the_journal_may_lie_in_a_spool_elsewhere() {
    let repo = Repo::files();
    let [a] = &repo.commits();
    let spool = repo.home.path().join("spool");
    fs::create_dir(&spool).expect("made");
    fs::remove_dir(repo.git_dir.join("refwatch")).expect("removed");
    symlink(&spool, repo.git_dir.join("refwatch")).expect("linked");
    repo.git(&["update-ref", "refs/heads/x", a]);
    assert_eq!(repo.committed().len(), 1);
    assert!(spool.join("journal").is_file());
}

#[test]
fn a_new_journal_is_the_groups_where_its_directory_is() {
    for (directory, expected) in [(0o2775, 0o660), (0o755, 0o600)] {
        let repo = Repo::files();
        let path = repo.git_dir.join("refwatch");
        fs::set_permissions(&path, fs::Permissions::from_mode(directory)).expect("set");
        let mut command = std::process::Command::new("sh");
        crate::support::isolated(&mut command, &repo.git_dir);
        command.args(["-c", "umask 077; exec \"$0\" reference-transaction committed", crate::support::HOOK]);
        succeeded(command, b"");
        let mode = fs::metadata(repo.journal_path()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, expected, "{directory:o}");
    }
}

#[test]
fn a_hundred_thousand_updates_are_one_record() {
    let repo = Repo::files();
    let (zero, a) = ("0".repeat(40), "a".repeat(40));
    let input: String = (0..100_000).map(|at| format!("{zero} {a} refs/heads/{at:06}\n")).collect();
    let out = hook(&repo.git_dir, &["reference-transaction", "committed"], input.as_bytes());
    assert!(out.status.success());
    let batch = repo.read(&Position::oldest());
    assert_eq!(batch.records.len(), 1);
    assert_eq!(transaction(&batch.records[0]).updates.len(), 100_000);
}
