//! `tail --format cloudevents`, read by the SDK of CloudEvents for Python.

use refwatch_proto::json::to_value;
use refwatch_proto::v1::{GitEvent, GitEventType};
use refwatch_tests::{Daemon, Tail, World, tools};
use serde_json::Value;

/// What the SDK understands of lines.
fn judged(lines: &[Value]) -> Option<Vec<Value>> {
    if !tools::has_python("cloudevents.core.formats.json, jsonschema") {
        return None;
    }
    let input: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let output = tools::feed(tools::python("judge_cloudevents.py")?, &input);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let understood = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(understood.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

#[test]
fn the_sdk_of_cloudevents_understands_every_event() {
    let world = World::new();
    let (repo, gone) = (world.repo("a.git"), world.repo("gone.git"));
    let commits: [String; 2] = repo.history();
    let daemon = Daemon::start(&world);
    repo.update(&format!("create refs/heads/main {0}\ncreate refs/tags/v1.0.0 {0}\n", commits[0]));
    repo.update(&format!("update refs/heads/main {}\n", commits[1]));
    repo.try_update(format!("create refs/heads/caf\u{e9} {}\n", commits[0]).as_bytes());
    let latin = [b"create refs/heads/caf\xe9 ".as_slice(), commits[0].as_bytes(), b"\n"].concat();
    assert!(repo.try_update(&latin).status.success());
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/other"]);
    repo.update("delete refs/heads/main\n");
    std::fs::remove_dir_all(&gone.git_dir).expect("removed");
    let client = daemon.client();
    client.sync();
    let log: Vec<GitEvent> = client.events();
    let server_id = client.info().server_id;
    let tail = |format| Tail::start_as(daemon.grpc(), &["--since", "earliest", "--format", format]);

    let lines = tail("cloudevents").wait(log.len());
    let Some(understood) = judged(&lines) else { return };
    assert_eq!(understood.len(), log.len());
    for (event, seen) in log.iter().zip(&understood) {
        let repository = event.repository.as_ref().expect("always set");
        assert_eq!(seen["id"], event.event_id.as_str());
        assert_eq!(seen["source"], format!("refwatch://{server_id}/{}", repository.id));
        let kind = event.r#type().short_name().to_lowercase();
        assert_eq!(seen["type"], format!("io.github.refwatch.v1.{kind}"));
        let subject = if event.ref_name.is_empty() { &repository.path } else { &event.ref_name };
        assert_eq!(seen["subject"], subject.as_str());
        assert_eq!(seen["time_us"], event.observed_at_us);
        assert_eq!(seen["sequence"].as_str().and_then(|text| text.parse().ok()), Some(event.sequence));
        assert_eq!(seen["partitionkey"], repository.id.as_str());
        assert_eq!(seen["data"], to_value(event));
    }

    let wanted = |event: &&GitEvent| {
        matches!(
            event.r#type(),
            GitEventType::BranchCreated | GitEventType::BranchDeleted | GitEventType::RepositoryDeleted
        )
    };
    let wanted: Vec<&GitEvent> = log.iter().filter(wanted).collect();
    assert!(wanted.len() >= 5, "{log:#?}");
    let lines = tail("cdevents").wait(wanted.len());
    let understood = judged(&lines).expect("it was there");
    for (event, seen) in wanted.iter().zip(&understood) {
        assert_eq!(seen["id"], event.event_id.as_str());
        assert_eq!(seen["datacontenttype"], "application/cdevents+json");
        assert_eq!(seen["data"]["customData"], to_value(*event));
        assert_eq!(seen["data"]["context"]["type"], seen["type"]);
    }
}
