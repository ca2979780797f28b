//! What is legal and seldom: very many, very fast, very alike, very deep, and borrowed.

use std::fmt::Write as _;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use refwatch_proto::v1::{Forward, GetPositionRequest, GitEvent, GitEventType as Type};
use refwatch_tests::{Daemon, Flavour, Repo, World, http, validate};

use crate::repositories::flood;
use crate::stage::Stage;

/// Changes of one branch in [`one_branch_that_changes_a_thousand_times_a_second_is_told_to_its_last_value`].
const CHANGES: usize = 3_000;

fn of_ref<'a>(events: &'a [GitEvent], name: &str) -> Vec<(Type, &'a str)> {
    let of_ref = events.iter().filter(|event| event.ref_name == name);
    of_ref.map(|event| (event.r#type(), &*event.new_oid)).collect()
}

#[test]
fn ten_thousand_branches_in_one_directory_cost_what_changes() {
    const BRANCHES: usize = 10_000;
    let stage = Stage::of_files();
    let [one, two] = stage.repo.history();
    let mut commands = String::new();
    for branch in 0..BRANCHES {
        writeln!(commands, "create refs/heads/branch-{branch:05} {one}").expect("into memory");
    }
    stage.repo.update(&commands);
    let recording = stage.recorder.settle(&stage.client);
    assert_eq!(recording.of_type(Type::BranchCreated).len(), BRANCHES);
    let read = || http::metric(stage.daemon.http(), "refwatch_refs_read_total").unwrap_or_default();
    let before = read();
    stage.repo.update(&format!("update refs/heads/branch-07777 {two}\n"));
    let recording = stage.recorder.settle(&stage.client);
    let last = recording.events.last().expect("told");
    assert_eq!((&*last.ref_name, &*last.new_oid), ("refs/heads/branch-07777", &*two));
    assert!(read() - before < 10.0, "{} refs were read", read() - before);
    validate::all(&recording, &stage.client.on_disk(&[&stage.repo]));
}

#[test]
fn one_branch_that_changes_a_thousand_times_a_second_is_told_to_its_last_value() {
    let stage = Stage::of_files();
    let values: [String; 7] = stage.repo.history();
    let main = stage.repo.git_dir.join("refs/heads/main");
    let lock = main.with_extension("lock");
    let began = Instant::now();
    for change in 0..CHANGES {
        // As Git does, without what starting it costs.
        fs::write(&lock, format!("{}\n", values[change % values.len()])).expect("written");
        fs::rename(&lock, &main).expect("in place");
        let due = Duration::from_millis(1) * u32::try_from(change).expect("few");
        thread::sleep(due.saturating_sub(began.elapsed()));
    }
    let recording = stage.recorder.settle(&stage.client);
    let events: Vec<GitEvent> =
        recording.events.iter().filter(|event| event.ref_name == "refs/heads/main").cloned().collect();
    assert_eq!(events.last().expect("told").new_oid, values[(CHANGES - 1) % values.len()]);
    // What was passed over is said.
    validate::bridges_said(&events[1..], &values);
    println!("{} of {CHANGES} values were told", events.len());
    validate::all(&recording, &stage.client.on_disk(&[&stage.repo]));
}

#[test]
fn names_that_differ_in_case_only_are_two_refs_loose_and_packed() {
    let mut stage = Stage::plain();
    let [one, two] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/Topic {one}\ncreate refs/heads/topic {two}\n"));
    stage.repo.git(&["pack-refs", "--all"]);
    stage.repo.update(&format!("update refs/heads/topic {one}\n"));
    stage.repo.update("delete refs/heads/Topic\n");
    let events = stage.events();
    assert_eq!(
        of_ref(&events, "refs/heads/Topic"),
        [(Type::BranchCreated, &*one), (Type::BranchDeleted, &*stage.repo.zero())]
    );
    assert_eq!(
        of_ref(&events, "refs/heads/topic"),
        [(Type::BranchCreated, &*two), (Type::BranchForcePushed, &*one)]
    );
    stage.validate();
}

#[test]
fn a_name_becomes_a_directory_of_names_and_a_name_again() {
    for packs in [false, true] {
        let mut stage = Stage::plain();
        let [one, two] = stage.repo.history();
        let deep = format!("refs/heads/a{}", "/b".repeat(60));
        let names = ["refs/heads/a", &*deep, "refs/heads/a", "refs/heads/a/b", "refs/heads/a"];
        for (index, name) in names.into_iter().enumerate() {
            let oid = if index % 2 == 0 { &one } else { &two };
            stage.repo.update(&format!("create {name} {oid}\n"));
            let event = stage.event();
            assert_eq!((event.r#type(), &*event.ref_name, &event.new_oid), (Type::BranchCreated, name, oid));
            if packs {
                stage.repo.git(&["pack-refs", "--all"]);
            }
            stage.repo.update(&format!("delete {name}\n"));
            let event = stage.event();
            assert_eq!((event.r#type(), &*event.ref_name), (Type::BranchDeleted, name));
        }
        // At once.
        stage.repo.update(&format!("create refs/heads/a {one}\n"));
        stage.event();
        stage.repo.update("delete refs/heads/a\n");
        stage.repo.update(&format!("create {deep} {two}\n"));
        let told = stage.told();
        assert_eq!(told, [(Type::BranchDeleted, "refs/heads/a".to_owned()), (Type::BranchCreated, deep)]);
        stage.validate();
    }
}

#[test]
fn what_a_fork_borrows_from_another_repository_is_known() {
    let world = World::new();
    let whole = world.repo_exactly("whole.git", Flavour::PLAIN);
    let [one, two] = whole.history();
    let tag = format!("object {one}\ntype commit\ntag t\ntagger A <a@example.com> 1600000000 +0000\n\nt\n");
    let tag = whole.feed(&["mktag"], tag.as_bytes());
    whole.update(&format!("create refs/heads/main {two}\ncreate refs/tags/t {tag}\n"));
    let daemon = Daemon::start(&world);
    let recorder = daemon.client().record_snapshot();
    whole.git(&["clone", "-q", "--bare", "--shared", ".", "../fork.git"]);
    let fork = Repo::at(world.root.join("fork.git"), "fork.git", Flavour::PLAIN);
    assert!(fork.git_dir.join("objects/info/alternates").is_file());
    fork.update(&format!("create refs/heads/old {one}\n"));
    recorder.settle(&daemon.client());
    fork.update(&format!("update refs/heads/old {two}\n"));
    let recording = recorder.settle(&daemon.client());
    let last = recording.events.last().expect("told");
    assert_eq!((last.r#type(), last.forward()), (Type::BranchUpdated, Forward::FastForward));
    let tags = recording.of_type(Type::TagCreated);
    assert_eq!(tags.iter().map(|event| &*event.new_peeled_oid).collect::<Vec<_>>(), [&*one]);
    validate::all(&recording, &daemon.client().on_disk(&[&whole, &fork]));
}

#[test]
fn ten_thousand_repositories_in_fan_out_folders_are_followed() {
    const REPOSITORIES: usize = 10_000;
    let world = World::new();
    let path = |index: usize| {
        let digits = format!("{:04x}", index * 6);
        format!("{}/{}/{index}.git", &digits[..2], &digits[2..])
    };
    (0..REPOSITORIES).for_each(|index| world.skeleton(&path(index)));
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    assert_eq!(client.repositories().len(), REPOSITORIES);
    for index in [0, 4_321, REPOSITORIES - 1] {
        let repo = Repo::at(world.root.join(path(index)), &path(index), Flavour::PLAIN);
        let [one] = repo.history();
        repo.update(&format!("create refs/heads/main {one}\n"));
        let recording = recorder.settle(&client);
        let last = recording.events.last().expect("told");
        let told = last.repository.as_ref().map(|of| &*of.path);
        assert_eq!((told, &*last.new_oid), (Some(&*repo.path), &*one));
    }
}

#[test]
fn refs_that_are_replaced_without_pause_are_told_all_the_while() {
    const REFS: usize = 200;
    let stage = Stage::of_files();
    let values: [String; 7] = stage.repo.history();
    let dir = stage.repo.git_dir.join("refs/heads");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let _end = Ends(&stop);
        scope.spawn(|| {
            // Each round is a transaction, and there always is a later one.
            for value in values.iter().cycle().take_while(|_| !stop.load(Ordering::Relaxed)) {
                for index in 0..REFS {
                    fs::write(dir.join(format!("r{index}.lock")), format!("{value}\n")).expect("locked");
                }
                for index in 0..REFS {
                    let name = format!("r{index}");
                    fs::rename(dir.join(format!("{name}.lock")), dir.join(name)).expect("placed");
                }
            }
        });
        stage.recorder.wait("it is told", |recording| !recording.events.is_empty());
        // Looks that meet two transactions at once are repeated for half a second. Each burst is what one look told.
        let (began, mut bursts, mut count) = (Instant::now(), 0, 0);
        while began.elapsed() < Duration::from_secs(8) {
            let now = stage.recorder.now().events.len();
            bursts += usize::from(now != count);
            count = now;
            thread::sleep(Duration::from_millis(100));
        }
        assert!(bursts > 3, "told {bursts} times in 8 s");
        let asked = GetPositionRequest { sync: true, timeout_ms: 10_000, ..GetPositionRequest::default() };
        stage.client.position(asked).expect("a barrier returns beside them");
    });
    stage.validate();
}

/// Says that it is over, also where a check failed.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_happens_in_a_directory_that_nobody_watches_is_told_as_passed_over() {
    // Each removes the directory of the ref, and makes it anew with two values in turn.
    let by_git: fn(&Stage, &str, &str) = |stage, two, three| {
        stage.daemon.while_stopped(|| {
            stage.repo.update("delete refs/heads/d/x\n");
            assert!(!stage.repo.git_dir.join("refs/heads/d").exists());
            stage.repo.update(&format!("create refs/heads/d/x {two}\n"));
            stage.repo.update(&format!("update refs/heads/d/x {three}\n"));
        });
    };
    // A deletion without a lock is doubted for a while.
    let by_hand: fn(&Stage, &str, &str) = |stage, two, three| {
        fs::remove_dir_all(stage.repo.git_dir.join("refs/heads/d")).expect("removed");
        thread::sleep(Duration::from_millis(30));
        stage.repo.update(&format!("update refs/heads/d/x {two}\n"));
        stage.repo.update(&format!("update refs/heads/d/x {three}\n"));
    };
    for write in [by_git, by_hand] {
        let mut stage = Stage::of_files();
        let [one, two, three] = stage.repo.history();
        stage.repo.update(&format!("create refs/heads/d/x {one}\n"));
        stage.events();
        write(&stage, &two, &three);
        let events = stage.events();
        let last = events.last().expect("told");
        assert_eq!(last.new_oid, three);
        assert!(last.old_oid == two || last.coalesced, "{two} was passed over in silence: {events:#?}");
        // Once it is watched, nothing is passed over.
        stage.repo.update(&format!("update refs/heads/d/x {one}\n"));
        assert!(!stage.event().coalesced);
        stage.repo.update("delete refs/heads/d/x\n");
        assert!(!stage.event().coalesced, "a directory that only goes hides nothing");
        stage.validate();
    }
}

#[test]
fn what_was_lost_is_said_to_be_also_where_some_of_it_was_told() {
    const REFS: usize = 200;
    let world = World::new();
    // What takes a while to walk.
    for index in 0..1_000 {
        fs::create_dir_all(world.root.join(format!("plain/{index}"))).expect("made");
    }
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let (repo, busy) = (world.repo_of_files("g/a.git"), world.repo_of_files("g/busy.git"));
    let [one, two, three] = repo.history();
    let of_busy: [String; 2] = busy.history();
    let lines: String = (0..REFS).map(|index| format!("create refs/heads/r{index} {one}\n")).collect();
    repo.update(&lines);
    recorder.settle(&client);
    let put = |index: usize, oid: &str| {
        repo.try_replace(&format!("refs/heads/r{index}"), format!("{oid}\n")).expect("written");
    };
    daemon.while_stopped(|| {
        let steps = flood().div_ceil(REFS);
        for index in 0..REFS {
            put(index, &two);
            for oid in of_busy.iter().cycle().take(steps) {
                busy.try_replace("refs/heads/busy", format!("{oid}\n")).expect("written");
            }
        }
        (0..REFS).for_each(|index| put(index, &three));
    });
    let recording = recorder.settle(&client);
    let bridges = recording.events.iter().filter(|event| event.old_oid == one && event.new_oid == three);
    let silent: Vec<_> =
        bridges.filter(|event| !event.coalesced).map(|event| (event.sequence, &event.ref_name)).collect();
    assert!(silent.is_empty(), "{silent:?}");
    assert!(http::metric(daemon.http(), "refwatch_watch_overflows_total").unwrap_or_default() > 0.0);
    validate::all(&recording, &client.on_disk(&[&repo, &busy]));
}
