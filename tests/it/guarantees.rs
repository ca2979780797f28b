//! The ten guarantees of `service.proto`, each a test that fails when it is broken.

mod bounded;
mod harmless;
mod loud;
mod silent;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{GitEvent, GitEventType as Type, Origin, RefChange};
use refwatch_tests::{
    Client, Daemon, Flavour, Random, Recorder, Repo, Variant, World, Writer, filter, refs_filter, request,
    types_filter, validate,
};

use crate::stage::Stage;

/// The seed of random histories: of `REFWATCH_SEED`, or always the same. It is printed with every failure.
pub(crate) fn seed() -> u64 {
    let seed = std::env::var("REFWATCH_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_123);
    println!("REFWATCH_SEED={seed}");
    seed
}

/// Repositories of several kinds, and commits to point at, the same for all writers.
fn several(world: &World) -> Vec<(Repo, Vec<String>)> {
    let kinds = [("a.git", Flavour::PLAIN), ("b/c.git", Flavour::SHA256), ("d", Flavour::WORKTREE)];
    let with_commits = |(path, flavour)| {
        let repo = world.repo_as(path, flavour);
        let [one, two, three] = repo.history();
        let beside = repo.commit("beside", &[&one]);
        (repo, vec![one, two, three, beside])
    };
    kinds.map(with_commits).into()
}

fn check(client: &Client, recorder: &Recorder, repos: &[(Repo, Vec<String>)]) {
    let recording = recorder.settle(client);
    let repos: Vec<&Repo> = repos.iter().map(|(repo, _)| repo).collect();
    validate::all(&recording, &client.on_disk(&repos));
}

#[test]
fn guarantee_1_truthful() {
    let world = World::new();
    let repos = several(&world);
    let mut random = Random::new(seed());
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let recorder = client.record_snapshot();
    for round in 0..12 {
        for _ in 0..10 {
            let (repo, commits) = random.of(&repos).clone();
            random.of(Writer::of(&repo)).step(&repo, &commits, &mut random);
        }
        println!("round {round}");
        check(&client, &recorder, &repos);
    }
    // What the daemon lists is what its events led to.
    let fresh = client.record_snapshot().now();
    let recording = recorder.now();
    assert_eq!(fresh.base, validate::unbroken(&recording.base, &recording.events));
    assert!(recording.events.len() > 60, "a history, not a few events: {}", recording.events.len());
}

#[test]
fn guarantee_2_unbroken() {
    let world = World::new();
    let repos = several(&world);
    let mut random = Random::new(seed() ^ 2);
    let mut daemon = Daemon::start(&world);
    let mut recorder = daemon.client().record_snapshot();
    for round in 0..4 {
        let mut steps = |count: usize| {
            for _ in 0..count {
                let (repo, commits) = random.of(&repos).clone();
                random.of(Writer::of(&repo)).step(&repo, &commits, &mut random);
            }
        };
        steps(6);
        if round % 2 == 0 {
            daemon.kill9()
        } else {
            daemon.stop();
        }
        steps(6);
        repos[0].0.git(&["pack-refs", "--all"]);
        daemon.restart();
        let client = daemon.client();
        recorder.resume(&client);
        check(&client, &recorder, &repos);
    }
}

#[test]
fn guarantee_3_complete() {
    let mut stage = Stage::of_files();
    let commits: [String; 12] = stage.repo.history();
    // One after the other: every value.
    for commit in &commits {
        stage.repo.update(&format!("update refs/heads/main {commit}\n"));
        assert_eq!(&stage.event().new_oid, commit);
    }
    // Without a pause: no value is passed over without `coalesced`.
    for commit in commits.iter().chain(&commits).chain(&commits) {
        stage.repo.update(&format!("update refs/heads/main {commit}\n"));
    }
    let events = stage.events();
    validate::bridges_said(&events, &commits);
    assert_eq!(events.last().map(|event| &event.new_oid), commits.last());
    // Away from the daemon, by every writer.
    stage.daemon.kill9();
    let [one, ..] = &commits;
    stage.repo.update(&format!("create refs/heads/git {one}\n"));
    stage.repo.gix(&["edit", &format!("refs/heads/gix={one}"), "refs/heads/main=delete"]);
    stage.repo.write("refs/heads/editor", format!("{one}\n"));
    stage.repo.replace("refs/heads/rsync", format!("{one}\n"));
    stage.daemon.restart();
    stage.client = stage.daemon.client();
    stage.recorder.resume(&stage.client);
    let mut events = stage.events();
    events.sort_by(|left, right| left.ref_name.cmp(&right.ref_name));
    let told: Vec<_> = events.iter().map(|event| (event.change(), &*event.ref_name)).collect();
    let expected = [
        (RefChange::Created, "refs/heads/editor"),
        (RefChange::Created, "refs/heads/git"),
        (RefChange::Created, "refs/heads/gix"),
        (RefChange::Deleted, "refs/heads/main"),
        (RefChange::Created, "refs/heads/rsync"),
    ];
    assert_eq!(told, expected);
    for event in &events {
        // What waited in vain for a record is told by the look after the first.
        let expected = match (Variant::now().has_hooks, event.ref_name.as_str()) {
            (true, "refs/heads/git") => (Origin::Hook, false),
            (true, _) => (event.origin(), true),
            (false, _) => (Origin::Startup, true),
        };
        assert_eq!((event.origin(), event.coalesced), expected, "{event:#?}");
    }
    stage.validate();
}

#[test]
fn guarantee_5_ordered() {
    let world = World::new();
    let repos: Vec<_> = (0..4).map(|index| world.repo(&format!("r{index}.git"))).collect();
    let commits: Vec<[String; 2]> = repos.iter().map(Repo::history).collect();
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let [left, right] = [client.record_snapshot(), client.record_snapshot()];
    std::thread::scope(|scope| {
        for (repo, [one, two]) in repos.iter().zip(&commits) {
            scope.spawn(move || {
                let lines = |oid: &str| {
                    (0..20).map(|index| format!("update refs/heads/b{index} {oid}\n")).collect::<String>()
                };
                for round in 0..4 {
                    repo.update(&lines(if round % 2 == 0 { one } else { two }));
                    repo.gix(&["edit", &format!("refs/tags/a={two}"), &format!("refs/tags/b={one}")]);
                    repo.gix(&["edit", "refs/tags/a=delete", "refs/tags/b=delete"]);
                }
            });
        }
    });
    let recording = left.settle(&client);
    validate::all(&recording, &client.on_disk(&repos.iter().collect::<Vec<_>>()));
    assert_eq!(recording.events, right.settle(&client).events, "one order for all");
    // What changed together is together: the branches of a repository always move as one.
    let mut moved: BTreeMap<(String, String), usize> = BTreeMap::new();
    for event in recording.events.iter().filter(|event| event.ref_name.starts_with("refs/heads/")) {
        let transaction = event.transaction.clone().expect("set");
        let repository = event.repository.clone().expect("set");
        *moved.entry((repository.id, transaction.id)).or_default() += 1;
    }
    let sizes: Vec<usize> = moved.into_values().collect();
    assert!(sizes.iter().all(|size| *size == 20), "20 branches at a time: {sizes:?}");
}

#[test]
fn guarantee_6_durable() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 8] = repo.history();
    let mut random = Random::new(seed() ^ 6);
    let mut daemon = Daemon::start(&world);
    let mut recorder = daemon.client().record_snapshot();
    for _ in 0..6 {
        let done = AtomicBool::new(false);
        let seen = recorder.now().events.len();
        let until = seen + 1 + random.below(25);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for commit in commits.iter().cycle().take_while(|_| !done.load(Ordering::Relaxed)) {
                    repo.update(&format!(
                        "update refs/heads/main {commit}\nupdate refs/heads/next {commit}\n"
                    ));
                }
            });
            // Between a commit and the next, or in the midst of one.
            recorder.wait("some events came", |recording| recording.events.len() >= until);
            daemon.kill9();
            done.store(true, Ordering::Relaxed);
        });
        recorder.wait_end();
        let seen = recorder.now().events;
        daemon.restart();
        let client = daemon.client();
        client.sync();
        let log = client.events();
        for event in &seen {
            assert!(log.contains(event), "delivered, and not in the log after SIGKILL: {event:#?}");
        }
        recorder.resume(&client);
        let recording = recorder.settle(&client);
        validate::all(&recording, &client.on_disk(&[&repo]));
        let discovered = usize::from(log[0].r#type() == Type::RepositoryDiscovered);
        assert_eq!(recording.events, client.events()[discovered..], "the log, no more and no less");
    }
}

#[test]
fn guarantee_7_resumable() {
    let mut stage = Stage::plain();
    let [one, two] = stage.repo.history();
    for oid in [&one, &two] {
        stage.repo.update(&format!("update refs/heads/main {oid}\n"));
        let lines: String = (0..4).map(|index| format!("update refs/tags/v1.0.{index} {oid}\n")).collect();
        stage.repo.update(&lines);
        stage.events();
    }
    let whole = stage.validate().events;
    let in_midst = |event: &&GitEvent| event.transaction.as_ref().is_some_and(|of| of.index + 1 < of.size);
    assert!(whole.iter().filter(in_midst).count() > 4, "also within transactions");
    let filters = [filter(), refs_filter(&["refs/heads/**"]), types_filter(&[Type::ReleaseCreated])];
    let passes: [fn(&GitEvent) -> bool; 3] = [
        |_| true,
        |event| event.ref_name.starts_with("refs/heads/"),
        |event| event.r#type() == Type::ReleaseCreated,
    ];
    for event in &whole {
        for (filter, passes) in filters.iter().zip(passes) {
            let start = Start::Cursor(event.cursor.clone());
            let recorder = Recorder::start(&stage.client, request(start, filter.clone()));
            let resumed = recorder.settle(&stage.client);
            let passed: Vec<GitEvent> = whole.iter().filter(|event| passes(event)).cloned().collect();
            validate::resumable(&passed, event.sequence, &resumed.events);
            // Its cursor has moved on with what was filtered out, and serves any other filter.
            let after = stage.client.record_from(&resumed.cursor).settle(&stage.client);
            assert_eq!(after.events, []);
        }
    }
}
