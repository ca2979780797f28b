//! A long `packed-refs`: what changed in it is found without a look at the rest.

use refwatch_proto::v1::{GetPositionRequest, GitEventType as Type, RefChange};
use refwatch_tests::{Flavour, Options, World, http};

use crate::stage::{Stage, list};

#[test]
fn one_change_of_a_long_packed_refs_looks_at_that_ref() {
    let world = World::new();
    let repo = world.repo_as("team/app.git", Flavour::PLAIN);
    let [one, two, three] = repo.history();
    let lines: String = (0..20_000).map(|index| format!("create refs/heads/n{index:05} {one}\n")).collect();
    repo.update(&lines);
    repo.git(&["pack-refs", "--all"]);
    let mut stage = Stage::over(Options::new(&world), world, repo);
    let read =
        |stage: &Stage| http::metric(stage.daemon.http(), "refwatch_refs_read_total").expect("a metric");
    let before = read(&stage);
    assert!(before >= 20_000.0, "all of them once: {before}");
    // Git deletes a packed ref by writing the file anew.
    stage.repo.update("delete refs/heads/n00007\n");
    assert_eq!(stage.told(), list([(Type::BranchDeleted, "refs/heads/n00007")]));
    // A loose one, packed: nothing that subscribers hear of.
    stage.repo.update(&format!("update refs/heads/n12345 {two}\ncreate refs/tags/t {two}\n"));
    assert_eq!(stage.events().len(), 2);
    stage.repo.git(&["pack-refs", "--all"]);
    assert_eq!(stage.told(), []);
    // Others write it as a whole: an update, and one that a loose ref hides.
    stage.repo.update(&format!("update refs/heads/n00500 {two}\n"));
    assert_eq!(stage.event().ref_name, "refs/heads/n00500");
    let packed = std::fs::read_to_string(stage.repo.git_dir.join("packed-refs")).expect("read");
    let replaced = packed
        .replace(&format!("{one} refs/heads/n19999\n"), &format!("{three} refs/heads/n19999\n"))
        .replace(&format!("{one} refs/heads/n00500\n"), &format!("{three} refs/heads/n00500\n"))
        .replace(&format!("{one} refs/heads/n00000\n"), "");
    stage.repo.replace("packed-refs", replaced);
    let events = stage.events();
    let told: Vec<_> = events.iter().map(|event| (event.change(), &*event.ref_name)).collect();
    let expected = [(RefChange::Deleted, "refs/heads/n00000"), (RefChange::Updated, "refs/heads/n19999")];
    assert_eq!(told, expected);
    assert!(events.iter().all(|event| event.coalesced), "with which values in between nobody saw");
    let looked = read(&stage) - before;
    assert!(looked < 2_000.0, "{looked} refs read for a few changes");
    // What cannot be compared is read as a whole.
    let sorted = std::fs::read_to_string(stage.repo.git_dir.join("packed-refs")).expect("read");
    let mut unsorted: Vec<&str> = sorted.lines().skip(1).collect();
    unsorted.reverse();
    let unsorted = unsorted.join("\n").replace(&one, &two) + "\n";
    stage.repo.replace("packed-refs", unsorted);
    let events = stage.events();
    let moved = events.iter().filter(|event| event.change() == RefChange::Updated).count();
    assert_eq!(moved, 20_000 - 5);
    stage.validate();
}

#[test]
fn a_writer_that_removes_packed_refs_with_its_last_ref_is_not_waited_for() {
    let mut stage = Stage::of_files();
    let [one, two] = stage.repo.history();
    stage.repo.update(&format!("create refs/heads/topic {one}\n"));
    stage.repo.git(&["pack-refs", "--all"]);
    stage.events();
    stage.repo.gix(&["edit", "refs/heads/topic=delete"]);
    assert!(!stage.repo.git_dir.join("packed-refs").exists());
    // Less than what a removal of the repository is waited for, and more than any look takes.
    let asked = GetPositionRequest { sync: true, timeout_ms: 5_000, ..GetPositionRequest::default() };
    stage.client.position(asked).expect("told in time");
    stage.repo.update(&format!("create refs/heads/other {two}\n"));
    let told: Vec<_> = stage
        .events()
        .into_iter()
        .map(|event| (event.r#type(), event.transaction.expect("one").size))
        .collect();
    assert_eq!(told, [(Type::BranchDeleted, 1), (Type::BranchCreated, 1)]);
    stage.validate();
}
