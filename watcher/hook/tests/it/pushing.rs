//! What a push asks for, what is refused and what it changes is recorded.

use std::fs;
use std::path::Path;
use std::process::Output;

use refwatch_core::journal::Value;
use refwatch_core::push::{Process, Record, Refused, Said};

use crate::support::{Repo, committed, ended, git, oid, pushes, succeeded, text, update};

fn push(repo: &Repo, work: &Path, args: &[&str]) -> Output {
    let mut command = git(work, &["push", repo.git_dir.to_str().expect("text")]);
    command.args(args).env("GL_ID", "user-7");
    ended(&mut command, b"")
}

/// All that is said of pushes, each by one process that is known.
fn said(repo: &Repo) -> Vec<(Process, Said)> {
    let records = repo.records();
    let said = |record: &&Record| {
        assert_eq!(record.actor.as_deref(), Some("user-7"));
        assert!(
            record.process.pid > 1 && record.process.start_ticks > 0 && record.at_us > 1_700_000_000_000_000
        );
        (record.process, record.said.clone())
    };
    pushes(&records).iter().map(said).collect()
}

fn refused(status: i32, by: &str) -> Refused {
    Refused { status, by: by.to_owned() }
}

#[test]
fn an_accepted_push_says_who_with_which_options_and_what_it_changed() {
    for ref_format in ["files", "reftable"] {
        let repo = Repo::pushed_to(ref_format);
        let work = repo.work();
        let new = oid(&text(succeeded(git(&work, &["rev-parse", "main"]), b"")));
        let out = push(&repo, &work, &["-q", "-o", "ci.skip", "-o", "a b", "main", "main:refs/heads/two"]);
        assert_eq!((out.status.code(), String::from_utf8_lossy(&out.stderr).as_ref()), (Some(0), ""));
        let updates = vec![
            update("refs/heads/main", Value::Zero, new.clone()),
            update("refs/heads/two", Value::Zero, new.clone()),
        ];
        let found = said(&repo);
        let (attempted, accepted) =
            (Said::Attempted { updates: updates.clone(), refused: None }, Said::Accepted { updates });
        assert_eq!(found.iter().map(|(_, said)| said.clone()).collect::<Vec<_>>(), [attempted, accepted]);
        assert_eq!(found[0].0, found[1].0);
        let records = repo.records();
        for record in pushes(&records) {
            assert_eq!(record.push_options, ["ci.skip", "a b"]);
        }
        // The transactions of the push have the same parent.
        assert!(!committed(&records).is_empty());
        for record in &records {
            let process = Process { pid: record.parent_pid, start_ticks: record.parent_start_ticks };
            assert_eq!(process, found[0].0);
        }
    }
}

#[test]
fn a_push_that_pre_receive_refuses_is_recorded_as_refused_and_by_whom() {
    for (path, by) in [("pre-receive.refwatch-former", "former"), ("pre-receive.d/50-policy", "50-policy")] {
        let repo = Repo::pushed_to("files");
        let work = repo.work();
        let new = oid(&text(succeeded(git(&work, &["rev-parse", "main"]), b"")));
        // Objects of the push are there for whoever judges it.
        repo.script(
            path,
            "read old new name; git cat-file -e $new || exit 9; echo \"not $name\" >&2; exit 3",
        );
        let out = push(&repo, &work, &["-o", "why", "main"]);
        let stderr = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success());
        assert!(
            stderr.contains("remote: not refs/heads/main") && stderr.contains("pre-receive hook declined")
        );
        assert_eq!(repo.git(&["for-each-ref"]), "");
        let updates = vec![update("refs/heads/main", Value::Zero, new)];
        let [(_, found)] = said(&repo).try_into().expect("one record");
        assert_eq!(found, Said::Attempted { updates, refused: Some(refused(3, by)) });
        assert_eq!(pushes(&repo.records())[0].push_options, ["why"]);
    }
}

#[test]
fn a_ref_that_update_refuses_is_recorded_and_the_others_are_accepted() {
    let repo = Repo::pushed_to("files");
    let work = repo.work();
    let new = oid(&text(succeeded(git(&work, &["rev-parse", "main"]), b"")));
    repo.script("update.refwatch-former", "test \"$1\" != refs/heads/two || exit 4");
    repo.script("update.d/also", "test \"$1\" != refs/heads/three || exit 5");
    let specs = ["main", "main:refs/heads/two", "main:refs/heads/three", "main:refs/heads/four"];
    let out = push(&repo, &work, &specs);
    assert!(!out.status.success());
    let found = said(&repo);
    let change = |name: &str| update(name, Value::Zero, new.clone());
    let all = ["refs/heads/four", "refs/heads/main", "refs/heads/three", "refs/heads/two"].map(change);
    let [four, main, three, two] = all.clone();
    let mut updates_asked = Vec::new();
    for (process, said) in &found {
        assert_eq!(*process, found[0].0);
        if let Said::Attempted { updates, refused } = said {
            updates_asked.clone_from(updates);
            assert_eq!(*refused, None);
        }
    }
    updates_asked.sort_unstable();
    assert_eq!(updates_asked, all);
    assert!(
        found.contains(&(found[0].0, Said::UpdateRefused { update: two, refused: refused(4, "former") }))
    );
    assert!(
        found.contains(&(found[0].0, Said::UpdateRefused { update: three, refused: refused(5, "also") }))
    );
    let Some((_, Said::Accepted { updates })) = found.last() else { panic!("post-receive: {found:?}") };
    let mut accepted = updates.clone();
    accepted.sort_unstable();
    assert_eq!((accepted, found.len()), (vec![four, main], 4));
}

#[test]
fn a_push_is_told_before_what_follows_it_has_begun() {
    let repo = Repo::pushed_to("files");
    let work = repo.work();
    let journal = repo.journal_path();
    let copy = |name: &str| format!("cp '{}' {name}", journal.display());
    repo.script("post-receive.refwatch-former", &copy("seen"));
    repo.script("pre-receive.refwatch-former", "exit 0");
    assert!(push(&repo, &work, &["-q", "main"]).status.success());
    let seen = fs::read(repo.git_dir.join("seen")).expect("run");
    assert_eq!(seen, fs::read(&journal).expect("there"), "its record was there when the former hook ran");
    assert!(matches!(said(&repo).last(), Some((_, Said::Accepted { .. }))));
}

#[test]
fn a_former_post_receive_that_fails_changes_nothing() {
    let repo = Repo::pushed_to("files");
    let work = repo.work();
    repo.script("post-receive.refwatch-former", "echo bye; exit 1");
    let out = push(&repo, &work, &["main"]);
    assert!(out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("remote: bye"));
    assert!(matches!(said(&repo).last(), Some((_, Said::Accepted { updates })) if updates.len() == 1));
}

#[test]
fn a_push_of_a_hundred_thousand_refs_is_two_records() {
    const REFS: usize = 100_000;
    // A process each for every ref would take minutes: these two are called once a push.
    let repo = Repo::new("sha1", "reftable");
    fs::remove_file(repo.hook_path("reference-transaction")).expect("removed");
    repo.install("pre-receive");
    repo.install("post-receive");
    for hook in ["pre-receive", "post-receive"] {
        repo.script(&format!("{hook}.refwatch-former"), &format!("wc -l >lines-{hook}"));
        repo.script(&format!("{hook}.d/ignores"), "exit 0");
    }
    let work = repo.work();
    let id = text(succeeded(git(&work, &["rev-parse", "main"]), b""));
    // Written as Git packs them: to create as many files and remove them again takes longer than the push.
    let packed: String = (0..REFS).map(|at| format!("{id} refs/heads/{at:06}\n")).collect();
    let header = "# pack-refs with: peeled fully-peeled sorted \n";
    fs::write(work.join(".git/packed-refs"), format!("{header}{packed}")).expect("written");
    let out = push(&repo, &work, &["-q", "--atomic", "refs/heads/*:refs/heads/*"]);
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    for hook in ["pre-receive", "post-receive"] {
        let lines = fs::read_to_string(repo.git_dir.join(format!("lines-{hook}"))).expect("run");
        assert_eq!(lines.trim(), (REFS + 1).to_string());
    }
    let counts = |said: &Said| match said {
        Said::Attempted { updates, refused: None } | Said::Accepted { updates } => updates.len(),
        Said::Attempted { .. } | Said::UpdateRefused { .. } => panic!("refused"),
    };
    let found: Vec<_> = said(&repo).iter().map(|(_, said)| counts(said)).collect();
    assert_eq!(found, [REFS + 1, REFS + 1]);
}
