//! Questions to the object database: how they are answered, and whom they keep waiting.

use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{Forward, GitEventType as Type, Now};
use refwatch_tests::{Options, Recorder, Repo, World, repositories_filter, request, validate};

use crate::stage::Stage;

/// Two histories that share nothing, so long that to know so takes a while; their newest commits.
pub(crate) fn long(repo: &Repo, commits: usize) -> [String; 2] {
    ["left", "right"].map(|name| {
        let mut stream = String::with_capacity(commits * 100);
        for index in 1..=commits {
            let date = 1_600_000_000 + index;
            stream += &format!(
                "commit refs/tmp/{name}\ncommitter A <a@example.com> {date} +0000\ndata 1\n{name:.1}\n"
            );
        }
        repo.feed(&["fast-import", "--quiet"], stream.as_bytes());
        let tip = repo.git(&["rev-parse", &format!("refs/tmp/{name}")]);
        repo.update(&format!("delete refs/tmp/{name}\n"));
        tip
    })
}

#[test]
fn a_slow_question_of_one_repository_keeps_no_other_waiting() {
    let world = World::new();
    let slow = world.repo_of_files("slow.git");
    let quick = world.repo_of_files("quick.git");
    let tips = long(&slow, 60_000);
    let [one, two] = quick.history();
    slow.update(&format!("create refs/heads/main {}\n", tips[0]));
    quick.update(&format!("create refs/heads/main {one}\n"));
    let daemon = Options::new(&world).set("ancestry.time_ms_max", "60000").start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    slow.replace("refs/heads/main", format!("{}\n", tips[1]));
    // What comes after it in the same repository waits, so that the order stays.
    slow.replace("refs/heads/next", format!("{}\n", tips[0]));
    quick.replace("refs/heads/main", format!("{two}\n"));
    let recording = recorder.settle(&client);
    assert_eq!(
        recording.told(),
        [
            (Type::BranchUpdated, "refs/heads/main"),
            (Type::BranchForcePushed, "refs/heads/main"),
            (Type::BranchCreated, "refs/heads/next"),
        ]
    );
    let [fast, forced, _] = recording.events.as_slice() else { panic!("three: {recording:#?}") };
    assert_eq!((fast.forward(), forced.forward()), (Forward::FastForward, Forward::Unrelated));
    validate::all(&recording, &client.on_disk(&[&slow, &quick]));
}

#[test]
fn an_event_has_the_path_of_its_time_also_when_the_repository_moves_before_it_is_told() {
    let world = World::new();
    let repo = world.repo_of_files("before.git");
    let tips = long(&repo, 60_000);
    repo.update(&format!("create refs/heads/main {}\n", tips[0]));
    let daemon = Options::new(&world).set("ancestry.time_ms_max", "60000").start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let by_path = Recorder::start(&client, request(Start::Now(Now {}), repositories_filter(&["before.git"])));
    repo.replace("refs/heads/main", format!("{}\n", tips[1]));
    // Its change is known, and waits for an answer.
    daemon.wait_metric("refwatch_ancestry_slow_queue", 1.0);
    std::fs::rename(&repo.git_dir, world.root.join("after.git")).expect("renamed");
    let recording = recorder.settle(&client);
    let told: Vec<_> = recording
        .events
        .iter()
        .map(|event| {
            (&*event.ref_name, event.repository.as_ref().map_or("", |of| &of.path), &*event.previous_path)
        })
        .collect();
    // Whether the answer came before the objects were elsewhere is another question.
    assert_eq!(told, [("refs/heads/main", "before.git", ""), ("", "after.git", "before.git")]);
    assert_eq!(by_path.settle(&client).events, recording.events, "the move away as well");
    assert_eq!(client.events()[1..], recording.events, "memory and disk tell the same");
}

#[test]
fn what_the_budget_does_not_reach_is_unknown_and_never_wrong() {
    let world = World::new();
    let repo = world.repo_of_files("a.git");
    let tips = long(&repo, 2_000);
    repo.update(&format!("create refs/heads/main {}\n", tips[0]));
    let mut stage = Stage::over(Options::new(&world).set("ancestry.commits_max", "600"), world, repo);
    stage.repo.replace("refs/heads/main", format!("{}\n", tips[1]));
    let event = stage.event();
    assert_eq!((event.r#type(), event.forward()), (Type::BranchUpdated, Forward::Unknown));
    // What is near is still known.
    let parent = stage.repo.git(&["rev-parse", &format!("{}~1", tips[1])]);
    stage.repo.replace("refs/heads/main", format!("{parent}\n"));
    let event = stage.event();
    assert_eq!((event.r#type(), event.forward()), (Type::BranchForcePushed, Forward::Forced));
    stage.validate();
}
