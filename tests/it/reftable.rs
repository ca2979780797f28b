//! Refs in tables: what is new is told from the tables that are new.

use std::fs;
use std::path::Path;

use refwatch_proto::v1::{GitEvent, GitEventType as Type, Origin, RefChange};
use refwatch_tests::{Daemon, Flavour, Random, Repo, http, validate};
use rustix::process::Signal;

use crate::stage::{Stage, list};

/// Old and new value of an event, and whether values in between may be missing.
fn value(event: &GitEvent) -> (&str, &str, bool) {
    (&event.old_oid, &event.new_oid, event.coalesced)
}

/// How many refs the daemon has read.
fn refs_read(daemon: &Daemon) -> f64 {
    http::metric(daemon.http(), "refwatch_refs_read_total").expect("a metric")
}

fn branches(from: usize, to: usize, oid: &str) -> String {
    (from..to).map(|index| format!("update refs/heads/n{index:05} {oid}\n")).collect()
}

#[test]
fn one_change_reads_one_ref_however_many_there_are() {
    let mut commits = Vec::new();
    let mut stage = Stage::of(Flavour::REFTABLE, |repo| {
        let made: [String; 3] = repo.history();
        repo.update(&branches(0, 20_000, &made[0]));
        repo.git(&["pack-refs", "--all"]);
        commits = made.into();
    });
    let [one, two, three] = &commits[..] else { panic!("three") };
    let before = refs_read(&stage.daemon);
    assert!(before >= 20_000.0, "all of them once: {before}");
    // A commit, a branch that comes, one that goes, compaction that changes nothing.
    stage.repo.update(&format!("update refs/heads/n00007 {two}\n"));
    assert_eq!(value(&stage.event()), (&**one, &**two, false));
    stage.repo.update(&format!("create refs/heads/new {three}\ndelete refs/heads/n00008\n"));
    let events = stage.events();
    assert!(events.iter().all(|event| !event.coalesced && event.origin() == Origin::Notify), "{events:#?}");
    assert_eq!(events.iter().map(|event| event.transaction.as_ref().map_or(0, |of| of.size)).max(), Some(2));
    stage.repo.git(&["symbolic-ref", "HEAD", "refs/heads/new"]);
    assert_eq!(stage.told(), list([(Type::DefaultBranchChanged, "HEAD")]));
    stage.repo.git(&["pack-refs", "--all"]);
    assert_eq!(stage.told(), []);
    stage.repo.update(&format!("update refs/heads/n00007 {three}\n"));
    assert_eq!(value(&stage.event()), (&**two, &**three, false));
    let read = refs_read(&stage.daemon) - before;
    assert!(read < 20.0, "{read} refs read for five changes");
    stage.validate();
    // The tables of then are known again after a restart that finds the files as they were.
    stage.daemon.stop();
    stage.daemon.restart();
    stage.client = stage.daemon.client();
    stage.recorder.resume(&stage.client);
    stage.repo.update(&format!("update refs/heads/n00007 {one}\n"));
    assert_eq!(stage.event().new_oid, *one);
    stage.validate();
}

#[test]
fn a_tag_tells_what_it_peels_to() {
    let mut stage = Stage::of(Flavour::REFTABLE, |_| {});
    let [one] = stage.repo.history();
    stage.repo.git(&["tag", "-a", "-m", "m", "one", &one]);
    let created = stage.event();
    assert_eq!((created.r#type(), &created.new_peeled_oid), (Type::TagCreated, &one));
    stage.repo.update("delete refs/tags/one\n");
    let deleted = stage.event();
    assert_eq!((deleted.r#type(), &deleted.old_peeled_oid), (Type::TagDeleted, &one));
    stage.validate();
}

#[test]
fn a_rename_is_one_transaction_with_logs_and_without() {
    for logs in ["false", "true"] {
        let mut stage = Stage::of(Flavour::REFTABLE, |repo| {
            repo.git(&["config", "core.logAllRefUpdates", logs]);
        });
        let [one] = stage.repo.history();
        stage.repo.update(&format!("create refs/heads/main {one}\ncreate refs/heads/old {one}\n"));
        stage.events();
        for (from, to) in [("old", "new"), ("new", "even-newer")] {
            stage.repo.git(&["branch", "-m", from, to]);
            let mut told = stage.told();
            told.sort();
            let (from, to) = (format!("refs/heads/{from}"), format!("refs/heads/{to}"));
            let mut expected =
                list([(Type::BranchCreated, &to), (Type::BranchDeleted, &from), (Type::BranchRenamed, &to)]);
            expected.sort();
            assert_eq!(told, expected, "{logs}");
        }
        stage.validate();
    }
}

#[test]
fn logs_tell_every_value_of_a_busy_ref() {
    for flavour in [Flavour::REFTABLE, Flavour { object_format: "sha256", ..Flavour::REFTABLE }] {
        let mut commits = Vec::new();
        let mut stage = Stage::of(flavour, |repo| {
            repo.git(&["config", "core.logAllRefUpdates", "true"]);
            let made: [String; 8] = repo.history();
            repo.update(&branches(0, 50, &made[0]));
            commits = made.into();
        });
        let mut values = vec![&commits[0]];
        // The first of them are compacted before anybody looks.
        stage.daemon.signal(Signal::STOP);
        for value in commits.iter().cycle().skip(1).take(30) {
            stage
                .repo
                .update(&format!("update refs/heads/n00000 {value}\nupdate refs/heads/n00001 {value}\n"));
            values.push(value);
        }
        let tables = fs::read_to_string(stage.repo.git_dir.join("reftable/tables.list")).expect("a list");
        assert!(tables.lines().count() < 10, "compacted: {tables}");
        stage.daemon.signal(Signal::CONT);
        for value in commits.iter().cycle().skip(31).take(50) {
            stage
                .repo
                .update(&format!("update refs/heads/n00000 {value}\nupdate refs/heads/n00001 {value}\n"));
            values.push(value);
        }
        let events = stage.events();
        for name in ["refs/heads/n00000", "refs/heads/n00001"] {
            let told: Vec<_> = events.iter().filter(|event| event.ref_name == name).map(value).collect();
            let expected: Vec<_> = values.windows(2).map(|pair| (&**pair[0], &**pair[1], false)).collect();
            assert_eq!(told, expected, "{name}");
        }
        assert!(events.iter().all(|event| event.transaction.as_ref().is_some_and(|of| of.size == 2)));
        stage.validate();
    }
}

#[test]
fn without_logs_what_was_compacted_away_says_so() {
    let mut stage = Stage::of(Flavour::REFTABLE, |_| {});
    let commits: [String; 8] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {}\n", commits[7]));
    stage.events();
    for value in commits.iter().cycle().take(80) {
        stage.repo.update(&format!("update refs/heads/main {value}\n"));
    }
    let events = stage.events();
    validate::bridges_said(&events, &commits);
    assert_eq!(events.last().map(|event| &event.new_oid), commits.last());
    stage.validate();
}

#[test]
fn an_older_state_that_is_put_back_is_told_as_what_it_is() {
    let mut stage = Stage::of(Flavour::REFTABLE, |_| {});
    let [one, two, three] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\ncreate refs/heads/old {one}\n"));
    stage.events();
    let kept = stage.world.beside("kept");
    copy(&stage.repo.git_dir.join("reftable"), &kept);
    stage.repo.update(&format!("update refs/heads/main {two}\ncreate refs/heads/new {two}\n"));
    stage.repo.update("delete refs/heads/old\n");
    stage.events();
    // As rsync does it: the tables first, then the list, each renamed into place.
    put_back(&kept, &stage.repo);
    let mut told = stage.told();
    told.sort();
    let expected = [
        (Type::BranchCreated, "refs/heads/old"),
        (Type::BranchForcePushed, "refs/heads/main"),
        (Type::BranchDeleted, "refs/heads/new"),
    ];
    let mut expected = list(expected);
    expected.sort();
    assert_eq!(told, expected);
    stage.repo.update(&format!("update refs/heads/main {three}\n"));
    assert_eq!(value(&stage.event()), (&*one, &*three, false));
    stage.validate();
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

fn put_back(from: &Path, repo: &Repo) {
    let list = fs::read_to_string(from.join("tables.list")).expect("a list");
    for name in list.lines().chain(["tables.list"]) {
        repo.replace(&format!("reftable/{name}"), fs::read(from.join(name)).expect("read"));
    }
}

#[test]
fn a_worktree_has_a_stack_of_its_own() {
    let mut stage = Stage::of(Flavour::REFTABLE, |_| {});
    let [one, two] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/main {one}\ncreate refs/heads/topic {one}\n"));
    let tree = stage.world.beside("tree");
    let path = tree.to_str().expect("text");
    stage.repo.git(&["worktree", "add", "-q", path, "topic"]);
    stage.events();
    for (name, oid) in [("refs/bisect/bad", &one), ("refs/bisect/bad", &two), ("refs/worktree/own", &one)] {
        refwatch_tests::git_in(&tree, &["update-ref", name, oid]);
        let event = stage.event();
        assert_eq!((&*event.ref_name, &event.new_oid), (&*format!("worktrees/tree/{name}"), oid));
        assert!(!event.coalesced);
    }
    refwatch_tests::git_in(&tree, &["update-ref", "-d", "refs/bisect/bad"]);
    assert_eq!(stage.event().change(), RefChange::Deleted);
    stage.repo.update(&format!("update refs/heads/main {two}\n"));
    assert_eq!(stage.event().ref_name, "refs/heads/main");
    stage.validate();
}

#[test]
fn random_histories_are_told_whatever_is_compacted_and_whoever_is_killed() {
    let seed = std::env::var("REFWATCH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_126);
    println!("REFWATCH_SEED={seed}");
    let mut random = Random::new(seed);
    for logs in ["false", "true", "always"] {
        let mut stage = Stage::of(Flavour::REFTABLE, |repo| {
            repo.git(&["config", "core.logAllRefUpdates", logs]);
        });
        let commits: [String; 5] = stage.repo.history();
        for round in 0..6 {
            for _ in 0..12 {
                step(&stage.repo, &commits, &mut random);
                if random.below(3) == 0 {
                    stage.client.sync();
                }
            }
            println!("round {round}");
            if round == 2 {
                stage.daemon.kill9();
                for _ in 0..4 {
                    step(&stage.repo, &commits, &mut random);
                }
                stage.daemon.restart();
                stage.client = stage.daemon.client();
                stage.recorder.resume(&stage.client);
            }
            let recording = stage.recorder.settle(&stage.client);
            validate::all(&recording, &stage.client.on_disk(&[&stage.repo]));
        }
    }
}

/// One transaction, or a compaction.
fn step(repo: &Repo, commits: &[String], random: &mut Random) {
    let there = repo.refs();
    let mut lines = String::new();
    for name in ["refs/heads/main", "refs/heads/a/b", "refs/heads/c", "refs/tags/t", "refs/notes/n"] {
        match random.below(5) {
            0 | 1 => lines += &format!("update {name} {}\n", random.of(commits)),
            2 if there.0.contains_key(name.as_bytes()) => lines += &format!("delete {name}\n"),
            _ => {}
        }
    }
    match random.below(10) {
        0 => drop(repo.git(&["pack-refs", "--all"])),
        1 => drop(repo.git(&["symbolic-ref", "HEAD", *random.of(&["refs/heads/main", "refs/heads/c"])])),
        2 => drop(repo.git(&["reflog", "expire", "--expire=now", "--all"])),
        _ => repo.update(&lines),
    }
}

#[test]
fn a_ref_that_came_and_went_before_it_came_says_so_with_logs() {
    for is_packed in [false, true] {
        let mut stage = Stage::of(Flavour::REFTABLE, |repo| {
            repo.git(&["config", "core.logAllRefUpdates", "true"]);
        });
        let [one, two] = stage.repo.history();
        stage.repo.update(&format!("create refs/heads/main {one}\n"));
        stage.events();
        stage.daemon.while_stopped(|| {
            stage.repo.update(&format!("update refs/heads/main {two}\n"));
            stage.repo.update(&format!("create refs/heads/x {one}\n"));
            stage.repo.update("delete refs/heads/x\n");
            stage.repo.update(&format!("create refs/heads/x {two}\n"));
            if is_packed {
                stage.repo.git(&["pack-refs", "--all"]);
            }
        });
        let events = stage.events();
        let of_x: Vec<_> = events.iter().filter(|event| event.ref_name == "refs/heads/x").collect();
        let is_said = of_x.len() >= 3 || of_x.iter().any(|event| event.coalesced);
        assert!(is_said, "packed: {is_packed}: passed over in silence: {of_x:#?}");
        stage.validate();
    }
}
