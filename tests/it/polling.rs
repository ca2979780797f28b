//! The same by polling, where notifications are not to be had.

use std::fs;
use std::time::{Duration, Instant};

use refwatch_proto::v1::{GitEventType as Type, Origin, WatchMode};
use refwatch_tests::{Flavour, Options, Random, Recorder, Recording, Repo, World, Writer, http, validate};

use crate::stage::Stage;

fn polled(flavour: Flavour) -> Stage {
    let world = World::new();
    let repo = world.repo_as("a.git", flavour);
    let options = Options::new(&world).flag("--watch-mode", "poll").flag("--poll-interval-ms", "20");
    Stage::over(options, world, repo)
}

#[test]
fn polling_tells_the_truth() {
    for flavour in [Flavour::PLAIN, Flavour::SHA256] {
        let stage = polled(flavour);
        let commits: [String; 4] = stage.repo.history();
        let mut random = Random::new(3);
        for _ in 0..6 {
            for _ in 0..5 {
                random.of(Writer::of(&stage.repo)).step(&stage.repo, &commits, &mut random);
            }
            stage.validate();
        }
        let events = stage.validate().events;
        assert!(
            events.len() > 10 && events.iter().all(|event| event.origin() == Origin::Sweep),
            "{events:#?}"
        );
        assert_eq!(stage.client.repository(&stage.repo).watch_mode(), WatchMode::Poll);
    }
}

#[test]
fn polling_by_itself_sees_refs_that_changed_together_as_one_transaction() {
    let stage = polled(Flavour::PLAIN);
    let [one, two] = stage.repo.history();
    for oid in [&one, &two, &one, &two] {
        let lines: String = (0..30).map(|index| format!("update refs/heads/b{index} {oid}\n")).collect();
        stage.repo.update(&lines);
        let count = |recording: &Recording| {
            let arrived = recording.events.iter().filter(|event| event.new_oid == **oid);
            arrived.count() % 30
        };
        // No barrier: the poll alone finds it.
        stage.recorder.wait("all came", |recording| {
            recording.events.last().is_some_and(|event| event.new_oid == **oid) && count(recording) == 0
        });
    }
    let events = stage.validate().events;
    let sizes: Vec<_> = events.iter().filter_map(|event| Some(event.transaction.as_ref()?.size)).collect();
    assert!(sizes.iter().all(|size| *size == 30), "{sizes:?}");
}

#[test]
fn a_lock_of_a_crash_costs_its_wait_once_where_polled() {
    const SETTLE: Duration = Duration::from_secs(3);
    let world = World::new();
    let repo = world.repo_of_files("a.git");
    let [one, two] = repo.history();
    repo.update(&format!("create refs/heads/a {one}\n"));
    let options = Options::new(&world)
        .flag("--watch-mode", "poll")
        .flag("--poll-interval-ms", "20")
        .set("watch.settle_ms_max", &SETTLE.as_millis().to_string());
    let stage = Stage::over(options, world, repo);
    fs::write(stage.repo.git_dir.join("refs/heads/killed.lock"), "").expect("a crash");
    let told_after = |oid: &str| {
        let began = Instant::now();
        stage.repo.update(&format!("update refs/heads/a {oid}\n"));
        stage.recorder.wait("it is told", |recording| {
            recording.events.last().is_some_and(|event| event.new_oid == oid)
        });
        began.elapsed()
    };
    assert!(told_after(&two) >= SETTLE, "a lock may be of a transaction");
    // The wait is the only thing that takes so long.
    for oid in [&one, &two] {
        let took = told_after(oid);
        assert!(took < SETTLE, "{took:?}");
    }
    // Those of a later transaction are waited for.
    fs::write(stage.repo.git_dir.join("refs/heads/later.lock"), "").expect("another crash");
    assert!(told_after(&one) >= SETTLE);
    stage.validate();
}

#[test]
fn a_slow_removal_is_no_return_to_what_is_packed_where_polled() {
    let world = World::new();
    let repo = world.repo_of_files("a.git");
    let [one, two] = repo.history();
    let lines = |oid: &str| -> String {
        (0..10).map(|index| format!("update refs/heads/b{index} {oid}\n")).collect()
    };
    repo.update(&lines(&one));
    repo.git(&["pack-refs", "--all"]);
    repo.update(&lines(&two));
    let options = Options::new(&world).flag("--watch-mode", "poll").flag("--poll-interval-ms", "20");
    let stage = Stage::over(options, world, repo);
    for index in 0..6 {
        fs::remove_file(stage.repo.git_dir.join(format!("refs/heads/b{index}"))).expect("removed");
        // Several polls fall in between.
        std::thread::sleep(Duration::from_millis(15));
    }
    fs::remove_dir_all(&stage.repo.git_dir).expect("removed");
    assert_eq!(stage.recorder.settle(&stage.client).types(), [Type::RepositoryDeleted]);
}

#[test]
fn polling_finds_repositories_that_come_move_and_go() {
    let stage = polled(Flavour::PLAIN);
    let has = |recorder: &Recorder, kind: Type| {
        recorder.wait(kind.as_str_name(), |recording| !recording.of_type(kind).is_empty())
    };
    let later = stage.world.repo("later.git");
    has(&stage.recorder, Type::RepositoryDiscovered);
    let id = stage.client.repository(&later).id;
    fs::rename(&later.git_dir, stage.world.root.join("moved.git")).expect("renamed");
    has(&stage.recorder, Type::RepositoryMoved);
    let moved = Repo::at(stage.world.root.join("moved.git"), "moved.git", Flavour::PLAIN);
    assert_eq!(stage.client.repository(&moved).id, id);
    fs::remove_dir_all(&moved.git_dir).expect("removed");
    let recording = has(&stage.recorder, Type::RepositoryDeleted);
    assert!(!recording.types().contains(&Type::BranchDeleted));
    validate::all(&stage.recorder.settle(&stage.client), &stage.client.on_disk(&[&stage.repo]));
}

#[test]
fn polling_meets_what_moves_behind_the_first_walk() {
    const REPOSITORIES: usize = 12;
    let world = World::new();
    let mut repos: Vec<Repo> =
        (0..REPOSITORIES).map(|number| world.repo(&format!("a/{number}-0.git"))).collect();
    let options = Options::new(&world).flag("--watch-mode", "poll").flag("--poll-interval-ms", "20");
    let mut daemon = options.clone().start();
    let mut recorder = daemon.client().record_snapshot();
    for round in 1..6 {
        daemon.kill9();
        daemon = options.clone().launch();
        // All the time of the first walk, within the directory that it reads and to others.
        for step in 0..4 {
            for (number, repo) in repos.iter_mut().enumerate() {
                let path = format!("{}/{number}-{round}-{step}.git", ["a", "b"][(number + step) % 2]);
                let to = world.root.join(&path);
                fs::create_dir_all(to.parent().expect("below the root")).expect("made");
                fs::rename(&repo.git_dir, &to).expect("renamed");
                *repo = Repo::at(to, &path, Flavour::PLAIN);
            }
        }
        let client = daemon.client();
        recorder.resume(&client);
        let recording = recorder.settle(&client);
        let of = |kind| recording.of_type(kind).len();
        assert_eq!((of(Type::RepositoryDeleted), of(Type::RepositoryDiscovered)), (0, 0), "round {round}");
        assert!(of(Type::RepositoryMoved) > 0, "round {round}");
        validate::all(&recording, &client.on_disk(&repos.iter().collect::<Vec<_>>()));
    }
}

#[test]
fn polled_tables_are_read_as_they_come_however_many_refs_there_are() {
    const REFS: usize = 3_000;
    let stage = polled(Flavour { ref_format: "reftable", ..Flavour::PLAIN });
    let [one, two] = stage.repo.history();
    let lines: String = (0..REFS).map(|index| format!("create refs/heads/b{index} {one}\n")).collect();
    stage.repo.update(&lines);
    let first = stage.validate().events.len();
    let read = || http::metric(stage.daemon.http(), "refwatch_refs_read_total").expect("counted");
    let before = read();
    for (index, oid) in [&two, &one, &two, &one, &two].into_iter().enumerate() {
        stage.repo.update(&format!("update refs/heads/c{index} {oid}\nupdate refs/heads/b7 {oid}\n"));
        let events = stage.validate().events;
        let last: Vec<_> =
            events[events.len() - 2..].iter().map(|event| (&*event.ref_name, event.origin())).collect();
        assert_eq!(last[0].1, Origin::Sweep);
        assert!(last.contains(&("refs/heads/b7", Origin::Sweep)), "{last:?}");
    }
    let refs = read() - before;
    assert!(refs < 200.0, "{refs} refs were read for five transactions of two");
    // Several between two polls are told one by one, where notifications tell of nothing.
    let updates = |index: usize| format!("update refs/heads/many{index} {one}\n");
    for index in 0..20 {
        stage.repo.update(&updates(index));
    }
    assert_eq!(stage.validate().events.len(), first + 10 + 20);
}
