//! Repositories that move, are exchanged and replaced between two steps of a look.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use refwatch_proto::v1::{Forward, GitEventType as Type};
use refwatch_tests::{Daemon, Flavour, Options, Repo, World, validate};
use rustix::fs::{CWD, RenameFlags, renameat_with};

use crate::ancestry::long;
use crate::repositories::prepared;

/// How long what needs luck is tried.
const LOOP: Duration = Duration::from_secs(5);

fn exchange(left: &Path, right: &Path) {
    renameat_with(CWD, left, CWD, right, RenameFlags::EXCHANGE).expect("exchanged");
}

#[test]
fn a_repository_that_made_room_for_another_while_the_daemon_was_down_keeps_its_id_however_long_the_walk() {
    let world = World::new();
    let (repo, _) = prepared(&world, "a.git");
    for index in 0..4000 {
        world.skeleton(&format!("m/{index}.git"));
    }
    let mut daemon = Daemon::start(&world);
    let mut recorder = daemon.client().record_snapshot();
    let id = daemon.client().repository(&repo).id;
    daemon.stop();
    let moved = Repo::at(world.root.join("z.git"), "z.git", repo.flavour);
    fs::rename(&repo.git_dir, &moved.git_dir).expect("renamed");
    world.repo("a.git");
    daemon.restart();
    let client = daemon.client();
    recorder.resume(&client);
    let recording = recorder.settle(&client);
    let types = recording.types();
    let discovered = types.iter().filter(|kind| **kind == Type::RepositoryDiscovered).count();
    assert!(!types.contains(&Type::RepositoryDeleted) && discovered == 1, "{:?}", recording.told());
    assert_eq!(client.repository(&moved).id, id);
    assert_ne!(client.repository(&repo).id, id);
}

#[test]
fn a_repository_that_moves_during_the_first_scan_keeps_its_id() {
    let world = World::new();
    let (repo, _) = prepared(&world, "a.git");
    for index in 0..4000 {
        world.skeleton(&format!("m/{index}.git"));
    }
    fs::create_dir(world.root.join("z")).expect("made");
    let mut daemon = Daemon::start(&world);
    let mut recorder = daemon.client().record_snapshot();
    let id = daemon.client().repository(&repo).id;
    daemon.kill9();
    drop(daemon);
    let daemon = Options::new(&world).launch();
    thread::sleep(Duration::from_millis(100));
    fs::rename(&repo.git_dir, world.root.join("z/a.git")).expect("renamed");
    let client = daemon.client();
    recorder.resume(&client);
    let recording = recorder.settle(&client);
    assert_eq!(recording.types(), [Type::RepositoryMoved]);
    assert_eq!(client.repository(&Repo::at(world.root.join("z/a.git"), "z/a.git", Flavour::PLAIN)).id, id);
}

#[test]
fn a_repository_that_is_renamed_again_and_again_is_never_gone() {
    let world = World::new();
    let (repo, _) = prepared(&world, "a.git");
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let id = client.repository(&repo).id;
    let paths = [repo.git_dir.clone(), world.root.join("b.git")];
    let began = Instant::now();
    let mut round = 0;
    while began.elapsed() < LOOP || round % 2 == 1 {
        fs::rename(&paths[round % 2], &paths[(round + 1) % 2]).expect("moved");
        thread::sleep(Duration::from_micros(20 + 41 * (round as u64 % 50)));
        round += 1;
    }
    let recording = recorder.settle(&client);
    let wrong: Vec<_> = recording.told().into_iter().filter(|told| told.0 != Type::RepositoryMoved).collect();
    assert_eq!(wrong, [], "in {round} rounds");
    assert_eq!(client.repository(&repo).id, id);
    validate::all(&recording, &client.on_disk(&[&repo]));
}

#[test]
fn a_repository_that_is_put_back_after_another_was_at_its_path_for_a_moment_keeps_its_id() {
    let world = World::new();
    let (live, next) = (world.repo("live.git"), world.repo("next.git"));
    let [one, two] = live.history();
    next.history::<2>();
    live.update(&format!("create refs/heads/main {one}\n"));
    next.update(&format!("create refs/heads/main {two}\n"));
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let ids = [&live, &next].map(|repo| client.repository(repo).id);
    let aside = world.beside("aside.git");
    fs::rename(&live.git_dir, &aside).expect("set aside");
    fs::rename(&next.git_dir, &live.git_dir).expect("in its place");
    recorder.wait("it is there", |recording| !recording.of_type(Type::RepositoryMoved).is_empty());
    fs::rename(&live.git_dir, &next.git_dir).expect("taken back");
    fs::rename(&aside, &live.git_dir).expect("put back");
    let recording = recorder.settle(&client);
    assert_eq!(recording.types(), [Type::RepositoryMoved, Type::RepositoryMoved], "{:?}", recording.told());
    assert_eq!([&live, &next].map(|repo| client.repository(repo).id), ids);
    // Its notifications are its own again.
    live.update(&format!("update refs/heads/main {two}\n"));
    recorder.wait("its change", |recording| recording.types().contains(&Type::BranchUpdated));
    validate::all(&recorder.settle(&client), &client.on_disk(&[&live, &next]));
}

/// Exchanges two repositories, of which refs are written all the time, and says what was told of each.
fn exchanged(flavours: [Flavour; 2], writes: bool) {
    let world = World::new();
    let mut index = 0;
    let repos = flavours.map(|flavour| {
        index += 1;
        world.repo_exactly(&format!("r{index}.git"), flavour)
    });
    let mut values = Vec::new();
    for (index, repo) in repos.iter().enumerate() {
        let own: Vec<String> = (0..40).map(|number| repo.commit(&format!("{index} {number}"), &[])).collect();
        repo.update(&format!("create refs/heads/main {}\ncreate refs/heads/own{index} {}\n", own[0], own[0]));
        values.push(own);
    }
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let ids = [&repos[0], &repos[1]].map(|repo| client.repository(repo).id);
    let paths = [repos[0].git_dir.clone(), repos[1].git_dir.clone()];
    let began = Instant::now();
    thread::scope(|scope| {
        for (repo, own) in repos.iter().zip(&values).filter(|_| writes) {
            let directory = fs::File::open(&repo.git_dir).expect("there");
            scope.spawn(move || {
                // Wherever it is.
                use std::os::fd::AsRawFd as _;
                let main = format!("/proc/self/fd/{}/refs/heads/main", directory.as_raw_fd());
                for oid in own.iter().cycle() {
                    fs::write(format!("{main}.lock"), format!("{oid}\n")).expect("written");
                    fs::rename(format!("{main}.lock"), &main).expect("in place");
                    thread::sleep(Duration::from_micros(700));
                    if began.elapsed() > LOOP {
                        return;
                    }
                }
            });
        }
        scope.spawn(|| {
            let mut round = 0;
            while began.elapsed() < LOOP || round % 2 == 1 {
                exchange(&paths[0], &paths[1]);
                spin(Duration::from_micros(10 + 13 * (round % 40)));
                round += 1;
            }
        });
    });
    let recording = recorder.settle(&client);
    let wrong: Vec<_> = recording
        .events
        .iter()
        .filter(|event| event.r#type() != Type::RepositoryMoved)
        .filter(|event| {
            let id = event.repository.as_ref().map_or("", |of| &of.id);
            let index = usize::from(id == ids[1]);
            let is_own = event.ref_name == "refs/heads/main" && values[index].contains(&event.new_oid);
            !(writes && ids.iter().any(|known| id == known) && is_own)
        })
        .map(|event| {
            let id = event.repository.as_ref().map_or("", |of| &of.id);
            (
                id == ids[0],
                event.r#type(),
                event.ref_name.clone(),
                event.old_oid.clone(),
                event.new_oid.clone(),
            )
        })
        .collect();
    assert_eq!(wrong, [], "ids {ids:?}");
    assert_eq!([&repos[0], &repos[1]].map(|repo| client.repository(repo).id), ids);
    validate::all(&recording, &client.on_disk(&[&repos[0], &repos[1]]));
}

#[test]
fn two_repositories_that_are_written_to_and_exchanged_tell_nothing_of_each_other() {
    exchanged([Flavour::PLAIN, Flavour::PLAIN], true);
}

#[test]
fn two_repositories_of_two_formats_that_are_exchanged_again_and_again_are_never_gone() {
    exchanged([Flavour::PLAIN, Flavour::SHA256], false);
}

#[test]
fn two_repositories_of_two_storages_that_are_exchanged_again_and_again_tell_nothing() {
    exchanged([Flavour::PLAIN, Flavour::REFTABLE], false);
}

#[test]
fn an_annotated_tag_is_one_also_where_its_repository_moves_meanwhile() {
    let world = World::new();
    let repo = world.repo_of_files("a.git");
    let [one] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let tag = format!("object {one}\ntype commit\ntag t\ntagger A <a@example.com> 1600000000 +0000\n\nt\n");
    let tag = repo.feed(&["mktag"], tag.as_bytes());
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let paths = [repo.git_dir.clone(), world.root.join("b.git")];
    for round in 0..300 {
        let [from, to] = [&paths[round % 2], &paths[(round + 1) % 2]];
        let new = from.join(format!("refs/tags/t{round}.lock"));
        fs::write(&new, format!("{tag}\n")).expect("written");
        fs::rename(&new, new.with_extension("")).expect("in place");
        thread::sleep(Duration::from_micros(100 + 11 * (round as u64 % 100)));
        fs::rename(from, to).expect("moved");
        if round % 20 == 0 {
            client.sync();
        } else {
            thread::sleep(Duration::from_millis(3));
        }
    }
    let recording = recorder.settle(&client);
    let tags = recording.of_type(Type::TagCreated);
    let wrong: Vec<_> = tags
        .iter()
        .filter(|event| !event.annotated || event.new_peeled_oid != one)
        .map(|event| &event.ref_name)
        .collect();
    let (refs, _) = client.refs(1000);
    let unpeeled = refs.iter().filter(|of| of.name.starts_with("refs/tags/") && of.peeled_oid != one).count();
    assert_eq!((wrong.len(), unpeeled), (0, 0), "of {}: {wrong:?}", tags.len());
}

#[test]
fn questions_after_a_move_are_put_to_the_objects_where_they_are_now() {
    let world = World::new();
    let repo = world.repo_of_files("before.git");
    let tips = long(&repo, 60_000);
    let [one, two] = repo.history();
    repo.update(&format!("create refs/heads/main {}\ncreate refs/heads/next {two}\n", tips[0]));
    let daemon = Options::new(&world).set("ancestry.time_ms_max", "60000").start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    repo.replace("refs/heads/main", format!("{}\n", tips[1]));
    daemon.wait_metric("refwatch_ancestry_slow_queue", 1.0);
    let moved = Repo::at(world.root.join("after.git"), "after.git", Flavour::PLAIN);
    fs::rename(&repo.git_dir, &moved.git_dir).expect("renamed");
    recorder.settle(&client);
    // All that was asked before is answered, and it has moved.
    moved.replace("refs/heads/next", format!("{one}\n"));
    let recording = recorder.settle(&client);
    let last = recording.events.last().expect("told");
    assert_eq!((last.ref_name.as_str(), last.forward()), ("refs/heads/next", Forward::Forced));
    let tag = format!("object {one}\ntype commit\ntag t\ntagger A <a@example.com> 1600000000 +0000\n\nt\n");
    let tag = moved.feed(&["mktag"], tag.as_bytes());
    moved.update(&format!("create refs/tags/t {tag}\n"));
    let recording = recorder.settle(&client);
    let last = recording.events.last().expect("told");
    assert_eq!((last.annotated, &last.new_peeled_oid), (true, &one));
}

fn spin(pause: Duration) {
    let began = Instant::now();
    while began.elapsed() < pause {
        std::hint::spin_loop();
    }
}

/// Every value that hooks recorded is told once and in order, while two repositories are exchanged, and the daemon is
/// killed now and then.
fn recorded_meanwhile(flavour: Flavour, kill: bool) {
    let world = World::new();
    let repos = ["r0.git", "r1.git"].map(|path| world.repo_exactly(path, flavour));
    let mut values: Vec<Vec<String>> = Vec::new();
    for (index, repo) in repos.iter().enumerate() {
        repo.install_hooks();
        values.push((0..60).map(|number| repo.commit(&format!("{index} {number}"), &[])).collect());
        repo.update(&format!("create refs/heads/main {}\n", values[index][0]));
    }
    let mut daemon = Daemon::start(&world);
    let client = daemon.client();
    let mut recorder = client.record_snapshot();
    let ids = [&repos[0], &repos[1]].map(|repo| client.repository(repo).id);
    let paths = [repos[0].git_dir.clone(), repos[1].git_dir.clone()];
    // Git runs in none while it is moved: it would write into another one itself.
    let mut at = [0, 1];
    let mut written: [Vec<String>; 2] = Default::default();
    for round in 0..60 {
        for index in 0..2 {
            let repo = Repo::at(paths[at[index]].clone(), "", flavour);
            for number in 0..=(round + index) % 3 {
                let last = written[index].last().unwrap_or(&values[index][0]);
                let next =
                    (values[index].iter().position(|oid| oid == last).expect("known") + 1 + number) % 60;
                let oid = values[index][next].clone();
                repo.git(&["update-ref", "refs/heads/main", &oid]);
                written[index].push(oid);
            }
        }
        for turn in 0..1 + round % 7 {
            exchange(&paths[0], &paths[1]);
            at.swap(0, 1);
            spin(Duration::from_micros(20 + 67 * ((round + turn) as u64 % 31)));
        }
        if kill && round % 20 == 19 {
            daemon.kill9();
            let options = Options::new(&world);
            drop(std::mem::replace(&mut daemon, options.launch()));
        }
    }
    if at[0] == 1 {
        exchange(&paths[0], &paths[1]);
    }
    let client = daemon.client();
    if kill {
        recorder.resume(&client);
    }
    let recording = recorder.settle(&client);
    let wrong: Vec<_> = recording
        .told()
        .into_iter()
        .filter(|told| told.0 != Type::RepositoryMoved && told.1 != "refs/heads/main")
        .collect();
    assert_eq!(wrong, []);
    for (id, written) in ids.iter().zip(&written) {
        let told: Vec<&str> = recording
            .events
            .iter()
            .filter(|event| event.ref_name == "refs/heads/main" && event.change != 0)
            .filter(|event| event.repository.as_ref().is_some_and(|of| of.id == *id))
            .map(|event| event.new_oid.as_str())
            .collect();
        let place = |oid: &str| values.iter().flatten().position(|value| value == oid);
        let numbers: Vec<_> = told.iter().map(|oid| place(oid)).collect();
        assert_eq!(told, *written, "{numbers:?}");
    }
    validate::all(&recording, &client.on_disk(&[&repos[0], &repos[1]]));
}

#[test]
fn records_are_told_once_while_repositories_are_exchanged_and_the_daemon_is_killed() {
    recorded_meanwhile(Flavour::PLAIN, true);
}

#[test]
fn records_are_told_once_while_repositories_with_tables_are_exchanged() {
    recorded_meanwhile(Flavour::REFTABLE, false);
}

/// Changes what the log knows of the directories of repositories, as another start of the machine changes what they are.
fn alter(world: &World, assignment: &str) {
    let database = rusqlite::Connection::open(world.database()).expect("opened");
    let changed = database.execute(&format!("UPDATE repositories SET {assignment}"), ()).expect("altered");
    assert!(changed > 0);
}

#[test]
fn devices_that_have_other_numbers_after_a_start_of_the_machine_change_nothing() {
    for assignment in ["dev = dev + 1", "birth_ns = NULL", "dev = dev + 1, birth_ns = NULL"] {
        let world = World::new();
        let [(stays, commits), (moves, _), (goes, _)] =
            ["stays.git", "moves.git", "goes.git"].map(|path| prepared(&world, path));
        let mut daemon = Daemon::start(&world);
        let mut recorder = daemon.client().record_snapshot();
        let id = daemon.client().repository(&moves).id;
        daemon.stop();
        alter(&world, assignment);
        stays.update(&format!("update refs/heads/main {}\n", commits[1]));
        let moved = Repo::at(world.root.join("moved.git"), "moved.git", moves.flavour);
        // What has moved is known by its birth time, where there is one.
        let is_known = !assignment.contains("NULL");
        if is_known {
            fs::rename(&moves.git_dir, &moved.git_dir).expect("renamed");
        }
        fs::remove_dir_all(&goes.git_dir).expect("removed");
        daemon.restart();
        let client = daemon.client();
        recorder.resume(&client);
        let recording = recorder.settle(&client);
        let mut told = recording.types();
        told.sort_unstable();
        let mut expected = vec![Type::BranchUpdated, Type::RepositoryDeleted];
        if is_known {
            expected.push(Type::RepositoryMoved);
            assert_eq!(client.repository(&moved).id, id);
        }
        expected.sort_unstable();
        assert_eq!(told, expected, "{assignment}");
        // The log has learnt of it: what moves next is known by what it is now.
        daemon.stop();
        let last = Repo::at(world.root.join("last.git"), "last.git", stays.flavour);
        fs::rename(&stays.git_dir, &last.git_dir).expect("renamed");
        daemon.restart();
        let client = daemon.client();
        recorder.resume(&client);
        let recording = recorder.settle(&client);
        assert_eq!(recording.types().last(), Some(&Type::RepositoryMoved), "{:?}", recording.told());
        let there = if is_known { &moved } else { &moves };
        validate::all(&recording, &client.on_disk(&[&last, there]));
    }
}

#[test]
fn a_link_that_is_left_where_a_repository_was_does_not_hide_that_it_moved() {
    for is_down in [true, false] {
        let world = World::new();
        let (repo, commits) = prepared(&world, "a.git");
        let mut daemon = Daemon::start(&world);
        let mut recorder = daemon.client().record_snapshot();
        let id = daemon.client().repository(&repo).id;
        if is_down {
            daemon.stop();
        }
        let moved = Repo::at(world.root.join("b.git"), "b.git", repo.flavour);
        fs::rename(&repo.git_dir, &moved.git_dir).expect("renamed");
        std::os::unix::fs::symlink("b.git", &repo.git_dir).expect("linked");
        if is_down {
            daemon.restart();
            recorder.resume(&daemon.client());
        }
        let client = daemon.client();
        let recording = recorder.settle(&client);
        assert_eq!(recording.types(), [Type::RepositoryMoved], "down: {is_down}");
        fs::remove_file(&repo.git_dir).expect("removed");
        moved.update(&format!("update refs/heads/main {}\n", commits[1]));
        let recording = recorder.settle(&client);
        assert_eq!(recording.types(), [Type::RepositoryMoved, Type::BranchUpdated], "down: {is_down}");
        assert_eq!(client.repository(&moved).id, id);
        validate::all(&recording, &client.on_disk(&[&moved]));
    }
}

#[test]
fn a_root_that_is_renamed_with_its_setting_keeps_what_is_below_it() {
    let world = World::new();
    let (repo, commits) = prepared(&world, "team/a.git");
    let [first, second] = ["first", "second"].map(|name| world.beside(name));
    fs::rename(&world.root, &first).expect("renamed");
    fs::create_dir(&world.root).expect("made");
    let mut daemon = Options::new(&world).root(first.clone()).start();
    let client = daemon.client();
    let mut recorder = client.record_snapshot();
    let id = client.repositories()[0].id.clone();
    daemon.stop();
    fs::rename(&first, &second).expect("renamed");
    let moved = Repo::at(second.join("team/a.git"), "team/a.git", repo.flavour);
    moved.update(&format!("update refs/heads/main {}\n", commits[1]));
    let daemon = Options::new(&world).root(second).start();
    let client = daemon.client();
    recorder.resume(&client);
    let recording = recorder.settle(&client);
    assert_eq!(recording.types(), [Type::RepositoryMoved, Type::BranchUpdated]);
    let repositories = client.repositories();
    assert_eq!(repositories.iter().map(|known| &*known.id).collect::<Vec<_>>(), [&*id], "{repositories:?}");
    validate::all(&recording, &client.on_disk(&[&moved]));
}
