//! Repositories appear, move and go.

use std::fs;

use refwatch_proto::v1::{GitEventType as Type, RefChange};
use refwatch_tests::{Daemon, Flavour, Repo, World, git_in, validate};

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
    let repo = world.repo("gone.git");
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
