//! The same by polling, where notifications are not to be had.

use std::fs;

use refwatch_proto::v1::{GitEventType as Type, Origin, WatchMode};
use refwatch_tests::{Flavour, Options, Random, Recorder, Recording, Repo, World, Writer, validate};

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
                random.of(&Writer::ALL).step(&stage.repo, &commits, &mut random);
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
