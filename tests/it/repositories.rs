//! Repositories appear, move and go.

use std::fs;
use std::time::Duration;

use refwatch_proto::v1::{GitEventType as Type, RefChange};
use refwatch_tests::{Daemon, Flavour, Options, Recording, Repo, Variant, World, git_in, http, validate};

#[test]
fn a_repository_that_appears_is_discovered_and_brings_its_refs_as_created() {
    let world = World::new();
    let source = world.source(Flavour::PLAIN);
    let [one] = source.0.history();
    source.0.update(&format!("create refs/heads/main {one}\ncreate refs/tags/v1.0.0 {one}\n"));
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let from = source.0.git_dir.to_str().expect("text");
    git_in(&world.root, &["clone", "-q", "--bare", from, "deep/below/new.git"]);
    let repo = Repo::at(world.root.join("deep/below/new.git"), "deep/below/new.git", Flavour::PLAIN);
    let recording = recorder.settle(&client);
    assert_eq!(recording.told()[0], (Type::RepositoryDiscovered, ""));
    let created: Vec<_> =
        recording.events.iter().filter(|event| event.change() == RefChange::Created).collect();
    let mut names: Vec<_> = created.iter().map(|event| event.ref_name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["HEAD", "refs/heads/main", "refs/tags/v1.0.0"]);
    assert_eq!(recording.of_type(Type::ReleaseCreated).len(), 1, "a new repository's release is new");
    validate::all(&recording, &client.on_disk(&[&repo]));
}

#[test]
fn a_repository_that_cannot_be_read_at_start_is_discovered_when_it_can() {
    let world = World::new();
    let repo = world.repo("new.git");
    let [one] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let config = fs::read(repo.git_dir.join("config")).expect("a config");
    repo.replace("config", "[core]\n\trepositoryFormatVersion = 7\n");
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    assert!(client.repositories().is_empty());
    repo.replace("config", config);
    let recording = recorder.settle(&client);
    assert_eq!(recording.told()[0], (Type::RepositoryDiscovered, ""));
    validate::all(&recording, &client.on_disk(&[&repo]));
}

#[test]
fn a_repository_that_goes_is_one_event_and_no_flood_of_deletions() {
    let world = World::new();
    let [gone, stays] = ["gone.git", "stays.git"].map(|path| world.repo(path));
    for repo in [&gone, &stays] {
        let [one] = repo.history();
        let lines: String = (0..50).map(|index| format!("create refs/heads/b{index} {one}\n")).collect();
        repo.update(&lines);
    }
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let id = client.repository(&gone).id;
    fs::remove_dir_all(&gone.git_dir).expect("removed");
    let recording =
        recorder.wait("it is gone", |recording| !recording.of_type(Type::RepositoryDeleted).is_empty());
    assert_eq!(recording.types(), [Type::RepositoryDeleted]);
    let recording = recorder.settle(&client);
    assert_eq!(recording.types(), [Type::RepositoryDeleted]);
    assert_eq!(recording.events[0].repository.as_ref().map(|repository| &repository.id), Some(&id));
    assert!(client.repositories().iter().all(|repository| repository.id != id));
    validate::all(&recording, &client.on_disk(&[&stays]));
}

#[test]
fn a_repository_removed_slowly_file_by_file_is_no_flood_of_deletions_either() {
    let world = World::new();
    let repo = world.repo_of_files("gone.git");
    let [one] = repo.history();
    let lines: String = (0..20).map(|index| format!("create refs/heads/b{index} {one}\n")).collect();
    repo.update(&lines);
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    // As `rm -r` may do it: HEAD first, then the refs, then the rest.
    fs::remove_file(repo.git_dir.join("HEAD")).expect("removed");
    client.sync();
    for index in 0..20 {
        fs::remove_file(repo.git_dir.join(format!("refs/heads/b{index}"))).expect("removed");
    }
    client.sync();
    assert_eq!(recorder.now().types(), [], "half a repository says nothing");
    fs::remove_dir_all(&repo.git_dir).expect("removed");
    let recording =
        recorder.wait("it is gone", |recording| !recording.of_type(Type::RepositoryDeleted).is_empty());
    assert_eq!(recording.types(), [Type::RepositoryDeleted]);
}

#[test]
fn a_repository_that_is_renamed_keeps_its_id_and_its_refs() {
    let world = World::new();
    let repo = world.repo("old.git");
    let [one, two] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let id = client.repository(&repo).id;
    fs::create_dir(world.root.join("team")).expect("made");
    fs::rename(&repo.git_dir, world.root.join("team/new.git")).expect("renamed");
    let moved = Repo::at(world.root.join("team/new.git"), "team/new.git", Flavour::PLAIN);
    let recording =
        recorder.wait("it moved", |recording| !recording.of_type(Type::RepositoryMoved).is_empty());
    let event = &recording.events[0];
    let repository = event.repository.clone().expect("set");
    assert_eq!((&repository.id, &*repository.path, &*event.previous_path), (&id, "team/new.git", "old.git"));
    moved.update(&format!("update refs/heads/main {two}\n"));
    let recording = recorder.settle(&client);
    let told = [(Type::RepositoryMoved, ""), (Type::BranchUpdated, "refs/heads/main")];
    assert_eq!(recording.told(), told);
    assert_eq!(client.repository(&moved).id, id);
    validate::all(&recording, &client.on_disk(&[&moved]));
}

#[test]
fn a_whole_folder_of_repositories_that_is_renamed_moves_each() {
    let world = World::new();
    for index in 0..5 {
        world.repo(&format!("old/r{index}.git"));
    }
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    fs::rename(world.root.join("old"), world.root.join("new")).expect("renamed");
    let recording =
        recorder.wait("all moved", |recording| recording.of_type(Type::RepositoryMoved).len() == 5);
    assert_eq!(recording.events.len(), 5, "{:#?}", recording.events);
    let repos: Vec<Repo> = (0..5)
        .map(|index| format!("new/r{index}.git"))
        .map(|path| Repo::at(world.root.join(&path), &path, Flavour::PLAIN))
        .collect();
    let recording = recorder.settle(&client);
    validate::all(&recording, &client.on_disk(&repos.iter().collect::<Vec<_>>()));
}

#[test]
fn a_repository_replaced_by_another_at_its_path_is_deleted_and_discovered() {
    let world = World::new();
    let repo = world.repo("app.git");
    let [one] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let id = client.repository(&repo).id;
    let other = world.source(Flavour::PLAIN).0;
    let [two] = other.history();
    other.update(&format!("create refs/heads/other {two}\n"));
    fs::rename(&repo.git_dir, world.beside("old.git")).expect("renamed");
    fs::rename(&other.git_dir, &repo.git_dir).expect("renamed");
    let recording = recorder.wait("the other is there", |recording| {
        recording.told().contains(&(Type::BranchCreated, "refs/heads/other"))
            && !recording.of_type(Type::RepositoryDeleted).is_empty()
    });
    let types = recording.types();
    assert_eq!(types.iter().filter(|kind| **kind == Type::RepositoryDeleted).count(), 1);
    assert_eq!(types.iter().filter(|kind| **kind == Type::RepositoryDiscovered).count(), 1);
    assert!(!types.contains(&Type::BranchDeleted), "{types:?}");
    let recording = recorder.settle(&client);
    assert_ne!(client.repository(&repo).id, id);
    validate::all(&recording, &client.on_disk(&[&repo]));
}

/// A repository with one branch; the commit that it is at, and another.
pub(crate) fn prepared(world: &World, path: &str) -> (Repo, [String; 2]) {
    let repo = world.repo(path);
    let commits = repo.history();
    repo.update(&format!("create refs/heads/main {}\n", commits[0]));
    (repo, commits)
}

#[test]
fn what_comes_to_a_path_that_was_just_vacated_is_seen() {
    let world = World::new();
    let (repo, _) = prepared(&world, "app.git");
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let id = client.repository(&repo).id;
    let mut all = Vec::new();
    for round in 0..6 {
        let path = format!("app.old{round}.git");
        fs::rename(&repo.git_dir, world.root.join(&path)).expect("renamed");
        let again = world.repo("app.git");
        all.push(Repo::at(world.root.join(&path), &path, Flavour::PLAIN));
        let recording = recorder.settle(&client);
        assert_eq!(recording.of_type(Type::RepositoryMoved).len(), round + 1);
        assert_eq!(recording.of_type(Type::RepositoryDiscovered).len(), round + 1);
        // And what is pushed there is seen too.
        let [one] = again.history();
        again.update(&format!("create refs/heads/main {one}\n"));
        let disk: Vec<&Repo> = all.iter().chain([&again]).collect();
        validate::all(&recorder.settle(&client), &client.on_disk(&disk));
    }
    assert_eq!(client.repository(&all[0]).id, id);
}

#[test]
fn a_repository_made_anew_at_its_path_is_in_the_log_when_the_barrier_says_so() {
    let world = World::new();
    let (repo, _) = prepared(&world, "app.git");
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    for _ in 0..4 {
        fs::remove_dir_all(&repo.git_dir).expect("removed");
        let again = prepared(&world, "app.git").0;
        validate::all(&recorder.settle(&client), &client.on_disk(&[&again]));
    }
    assert_eq!(recorder.now().of_type(Type::RepositoryDiscovered).len(), 4);
}

#[test]
fn two_repositories_that_swap_their_places_keep_their_ids() {
    let world = World::new();
    let (left, _) = prepared(&world, "left.git");
    let (right, [_, two]) = prepared(&world, "right.git");
    right.update(&format!("update refs/heads/main {two}\n"));
    let mut daemon = Daemon::start(&world);
    let mut recorder = daemon.client().record_snapshot();
    let ids = [&left, &right].map(|repo| daemon.client().repository(repo).id);
    let swap = || {
        let aside = world.root.join("aside.git");
        for (from, to) in [(&left.git_dir, &aside), (&right.git_dir, &left.git_dir), (&aside, &right.git_dir)]
        {
            fs::rename(from, to).expect("renamed");
        }
    };
    swap();
    let recording = recorder.settle(&daemon.client());
    assert!(recording.types().iter().all(|kind| *kind == Type::RepositoryMoved), "{:?}", recording.types());
    assert_eq!([&right, &left].map(|repo| daemon.client().repository(repo).id), ids);
    // And while the daemon is down.
    daemon.stop();
    swap();
    daemon.restart();
    let client = daemon.client();
    recorder.resume(&client);
    let recording = recorder.settle(&client);
    assert!(recording.types().iter().all(|kind| *kind == Type::RepositoryMoved), "{:?}", recording.types());
    assert_eq!([&left, &right].map(|repo| client.repository(repo).id), ids);
    validate::all(&recording, &client.on_disk(&[&left, &right]));
}

#[test]
fn a_folder_that_is_renamed_away_and_back_is_still_watched() {
    let world = World::new();
    let (repo, [_, two]) = prepared(&world, "folder/app.git");
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let (there, away) = (world.root.join("folder"), world.root.join("away"));
    fs::rename(&there, &away).expect("renamed");
    fs::rename(&away, &there).expect("renamed back");
    client.sync();
    repo.update(&format!("update refs/heads/main {two}\n"));
    let recording = recorder.settle(&client);
    let event = recording.events.last().expect("an event");
    assert_eq!((event.r#type(), event.origin()), (Type::BranchUpdated, Variant::now().origin()));
    validate::all(&recording, &client.on_disk(&[&repo]));
}

#[test]
fn a_repository_deeper_than_is_looked_for_is_still_followed_when_it_is_known() {
    let world = World::new();
    let (repo, [_, two]) = prepared(&world, "a/b/c/app.git");
    let mut daemon = Daemon::start(&world);
    daemon.stop();
    let daemon = Options::new(&world).set("watch.depth_max", "1").start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    repo.update(&format!("update refs/heads/main {two}\n"));
    let recording = recorder.settle(&client);
    assert_eq!(recording.types(), [Type::BranchUpdated]);
    validate::all(&recording, &client.on_disk(&[&repo]));
}

#[test]
fn refs_below_a_directory_that_is_replaced_by_another_are_deleted() {
    let world = World::new();
    let repo = world.repo_of_files("app.git");
    let [one, _] = repo.history();
    repo.update(&format!(
        "create refs/heads/a/1 {one}\ncreate refs/heads/a/2 {one}\ncreate refs/heads/b/3 {one}\n"
    ));
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let heads = repo.git_dir.join("refs/heads");
    // A lock lets the look begin only after both.
    fs::write(heads.join("main.lock"), "").expect("locked");
    fs::rename(heads.join("a"), world.beside("a")).expect("renamed");
    fs::rename(heads.join("b"), heads.join("a")).expect("renamed");
    fs::remove_file(heads.join("main.lock")).expect("unlocked");
    let recording = recorder.settle(&client);
    validate::all(&recording, &client.on_disk(&[&repo]));
    assert_eq!(recording.of_type(Type::BranchDeleted).len(), 3);
}

#[test]
fn a_removal_that_takes_long_is_no_flood_of_deletions_whatever_goes_first() {
    for (first, slow) in [("packed-refs", ""), ("packed-refs", "pack/"), ("config", "")] {
        let world = World::new();
        let repo = world.repo_as("app.git", Flavour::SHA256);
        let [one] = repo.history();
        repo.update(&format!("create refs/heads/a {one}\ncreate refs/heads/b {one}\n"));
        if first == "packed-refs" {
            repo.git(&["pack-refs", "--all"]);
        }
        for index in 0..30 {
            repo.write(format!("objects/{slow}filler-{index}"), "");
        }
        let daemon = Daemon::start(&world);
        let client = daemon.client();
        let recorder = client.record_snapshot();
        fs::remove_file(repo.git_dir.join(first)).expect("removed");
        for index in 0..30 {
            let filler = repo.git_dir.join(format!("objects/{slow}filler-{index}"));
            fs::remove_file(filler).expect("removed");
            std::thread::sleep(Duration::from_millis(20));
        }
        fs::remove_dir_all(&repo.git_dir).expect("removed");
        let recording = recorder.settle(&client);
        assert_eq!(recording.types(), [Type::RepositoryDeleted], "{first} {slow}");
    }
}

#[test]
fn a_repository_that_was_refused_for_its_configuration_is_discovered_when_that_is_mended_in_place() {
    let away = World::new();
    let repo = away.repo("a.git");
    let [one] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let good = fs::read(repo.git_dir.join("config")).expect("read");
    fs::write(repo.git_dir.join("config"), "[core\n").expect("written");
    let world = World::new();
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let from = repo.git_dir.to_str().expect("text");
    let there = world.root.join("a.git");
    let copied = std::process::Command::new("cp").args(["-a", from]).arg(&there).status().expect("runs");
    assert!(copied.success());
    assert!(recorder.settle(&client).events.is_empty());
    fs::write(there.join("config"), good).expect("written");
    let recording = recorder.settle(&client);
    assert!(recording.types().contains(&Type::RepositoryDiscovered), "{:?}", recording.told());
    validate::all(&recording, &client.on_disk(&[&Repo::at(there, "a.git", repo.flavour)]));
}

#[test]
fn a_working_tree_is_not_searched_for_repositories() {
    let world = World::new();
    let repo = world.repo_as("tree", Flavour::WORKTREE);
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let [one] = repo.history();
    let below = world.root.join("tree/node_modules/x/y");
    fs::create_dir_all(&below).expect("made");
    git_in(&below, &["init", "-q", "--bare", "nested.git"]);
    repo.update(&format!("create refs/heads/other {one}\n"));
    client.sync();
    assert_eq!(client.repositories().len(), 1);
}

/// Changes of one ref that are together more notifications than the kernel queues: each makes five or so.
pub(crate) fn flood() -> usize {
    let queued_max = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").expect("Linux has it");
    queued_max.trim().parse::<usize>().expect("a number") / 3
}

/// The watches of one that went unnoticed are still those of its path when it comes back, and tell of its coming, too.
#[test]
fn one_that_went_while_notifications_were_lost_is_followed_when_it_is_back() {
    let world = World::new();
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let (repo, busy) = (world.repo("g/a.git"), world.repo_of_files("g/busy.git"));
    let [one, two] = repo.history();
    let [first, second] = busy.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let hidden = world.beside("hidden");
    // Two ways lead to it, and which comes first is a matter of chance.
    for round in 0..4 {
        recorder.settle(&client);
        daemon.while_stopped(|| {
            for oid in [&first, &second].into_iter().cycle().take(flood()) {
                busy.try_replace("refs/heads/busy", format!("{oid}\n")).expect("written");
            }
            fs::rename(&repo.git_dir, &hidden).expect("it goes");
        });
        let is_gone = |recording: &Recording| recording.of_type(Type::RepositoryDeleted).len() > round;
        recorder.wait("it is gone", is_gone);
        fs::rename(&hidden, &repo.git_dir).expect("it comes back");
        let is_back = |recording: &Recording| recording.of_type(Type::RepositoryDiscovered).len() > round + 2;
        recorder.wait("it is back", is_back);
        let oid = if round % 2 == 0 { &two } else { &one };
        repo.update(&format!("update refs/heads/main {oid}\n"));
        // No barrier: the notification alone tells.
        recorder.wait("its change", |recording| {
            let last = recording.events.iter().rfind(|event| event.ref_name == "refs/heads/main");
            last.is_some_and(|event| event.new_oid == *oid)
        });
    }
    validate::all(&recorder.settle(&client), &client.on_disk(&[&repo, &busy]));
    if Variant::now().polls {
        return;
    }
    let overflows = http::metric(daemon.http(), "refwatch_watch_overflows_total");
    assert!(overflows >= Some(4.0), "notifications were lost: {overflows:?}");
}
