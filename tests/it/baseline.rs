//! What a fresh database makes of what it finds, and what comes later.

use refwatch_proto::v1::{GitEventType as Type, Origin, RefChange};
use refwatch_tests::{Daemon, Options, Repo, State, Variant, World, validate};

fn prepared(world: &World, path: &str) -> Repo {
    let repo = world.repo(path);
    let [one, two] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\ncreate refs/tags/v1.0.0 {two}\n"));
    repo
}

#[test]
fn what_a_fresh_database_finds_is_known_and_no_news() {
    let world = World::new();
    let repos = ["a.git", "b.git"].map(|path| prepared(&world, path));
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_earliest();
    let recording = recorder.settle(&client);
    assert_eq!(recording.types(), [Type::RepositoryDiscovered; 2]);
    assert!(recording.events.iter().all(|event| event.origin() == Origin::Startup));
    // The refs are known all the same.
    let snapshot = client.record_snapshot().now();
    validate::truthful(&snapshot.base, &[], &client.on_disk(&[&repos[0], &repos[1]]));
    let moved = repos[0].commit("moved", &[]);
    repos[0].update(&format!("update refs/tags/v1.0.0 {moved}\n"));
    let recording = recorder.settle(&client);
    assert_eq!(recording.told()[2..], [(Type::TagMoved, "refs/tags/v1.0.0")], "an old tag is no new release");
}

#[test]
fn a_baseline_that_emits_creates_every_ref() {
    let world = World::new();
    let repo = prepared(&world, "a.git");
    let daemon = Options::new(&world).flag("--baseline", "emit").start();
    let client = daemon.client();
    let recording = client.record_earliest().settle(&client);
    assert_eq!(recording.types()[0], Type::RepositoryDiscovered);
    assert!(recording.events[1..].iter().all(|event| event.origin() == Origin::Startup));
    let created = recording.events.iter().filter(|event| event.change() == RefChange::Created).count();
    assert_eq!((created, recording.of_type(Type::ReleaseCreated).len()), (3, 1), "{:#?}", recording.told());
    assert_eq!(recording.base, State::default());
    validate::all(&recording, &client.on_disk(&[&repo]));
}

#[test]
fn a_repository_that_came_while_the_daemon_was_down_is_new() {
    let world = World::new();
    let first = prepared(&world, "first.git");
    let mut daemon = Daemon::start(&world);
    let mut recorder = daemon.client().record_snapshot();
    daemon.stop();
    let later = prepared(&world, "later.git");
    first.update("delete refs/tags/v1.0.0\n");
    daemon.restart();
    let client = daemon.client();
    recorder.resume(&client);
    let recording = recorder.settle(&client);
    let mut told = recording.told();
    told.sort();
    let expected = [
        (Type::BranchCreated, "refs/heads/main"),
        (Type::TagCreated, "refs/tags/v1.0.0"),
        (Type::TagDeleted, "refs/tags/v1.0.0"),
        (Type::ReleaseCreated, "refs/tags/v1.0.0"),
        (Type::DefaultBranchChanged, "HEAD"),
        (Type::RepositoryDiscovered, ""),
    ];
    let mut expected = expected.to_vec();
    expected.sort();
    assert_eq!(told, expected);
    assert!(
        recording.events.iter().all(|event| {
            let is_recorded = Variant::now().has_hooks && event.change() == RefChange::Deleted;
            event.origin() == if is_recorded { Origin::Hook } else { Origin::Startup }
        }),
        "{:#?}",
        recording.events
    );
    validate::all(&recording, &client.on_disk(&[&first, &later]));
}

#[test]
fn a_repository_that_moved_or_went_while_the_daemon_was_down_is_told_at_start() {
    let world = World::new();
    let [moves, goes] = ["moves.git", "goes.git"].map(|path| prepared(&world, path));
    let mut daemon = Daemon::start(&world);
    let id = daemon.client().repository(&moves).id;
    let mut recorder = daemon.client().record_snapshot();
    daemon.stop();
    std::fs::rename(&moves.git_dir, world.root.join("moved.git")).expect("renamed");
    std::fs::remove_dir_all(&goes.git_dir).expect("removed");
    daemon.restart();
    let client = daemon.client();
    recorder.resume(&client);
    let recording =
        recorder.wait("it is gone", |recording| !recording.of_type(Type::RepositoryDeleted).is_empty());
    let mut types = recording.types();
    types.sort();
    assert_eq!(types, [Type::RepositoryDeleted, Type::RepositoryMoved]);
    let moved = Repo::at(world.root.join("moved.git"), "moved.git", moves.flavour);
    assert_eq!(client.repository(&moved).id, id);
    validate::all(&recorder.settle(&client), &client.on_disk(&[&moved]));
}

#[test]
fn a_first_scan_that_is_killed_goes_on_as_the_baseline() {
    let world = World::new();
    let repos: Vec<Repo> = (0..12).map(|index| prepared(&world, &format!("r{index}.git"))).collect();
    let mut daemon = Options::new(&world).launch();
    daemon.kill9();
    daemon.restart();
    let client = daemon.client();
    let recording = client.record_earliest().settle(&client);
    assert_eq!(recording.types(), [Type::RepositoryDiscovered; 12], "each once, and no ref is new");
    let snapshot = client.record_snapshot().now();
    validate::truthful(&snapshot.base, &[], &client.on_disk(&repos.iter().collect::<Vec<_>>()));
}

/// A copy of a repository, which is another one.
fn copy(from: &Repo, world: &World, path: &str) -> Repo {
    let git_dir = world.root.join(path);
    let copied = std::process::Command::new("cp").arg("-R").arg(&from.git_dir).arg(&git_dir).status();
    assert!(copied.is_ok_and(|status| status.success()));
    Repo::at(git_dir, path, from.flavour)
}

#[test]
fn a_snapshot_that_is_asked_for_during_the_first_scan_holds_every_ref() {
    let world = World::new();
    let first = prepared(&world, "r.git");
    let mut repos: Vec<Repo> = (0..150).map(|index| copy(&first, &world, &format!("r{index}.git"))).collect();
    repos.push(first);
    let daemon = Options::new(&world).launch();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let (listed, cursor) = client.refs(1_000);
    assert_eq!(listed.len(), 3 * repos.len());
    let recording = recorder.settle(&client);
    let disk = client.on_disk(&repos.iter().collect::<Vec<_>>());
    validate::all(&recording, &disk);
    assert_eq!(client.record_from(&cursor).settle(&client).events, []);
}

#[test]
fn what_cannot_be_read_during_the_first_scan_is_news_when_it_can() {
    let world = World::new();
    let repo = prepared(&world, "a.git");
    // No file, and no error that goes away by itself.
    let [hidden, there] = match repo.flavour.ref_format {
        "files" => ["packed-refs-away", "packed-refs"],
        _ => ["tables.list", "reftable/tables.list"],
    }
    .map(|name| repo.git_dir.join(name));
    if there.exists() {
        std::fs::rename(&there, &hidden).expect("renamed");
    }
    std::fs::create_dir(&there).expect("made");
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    assert!(recorder.now().base.0.is_empty());
    std::fs::remove_dir(&there).expect("removed");
    if hidden.exists() {
        std::fs::rename(&hidden, &there).expect("renamed");
    }
    let recording = recorder.settle(&client);
    assert_eq!(recording.types()[0], Type::RepositoryDiscovered);
    assert_eq!(recording.of_type(Type::BranchCreated).len(), 1);
    validate::all(&recording, &client.on_disk(&[&repo]));
}
