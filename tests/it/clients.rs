//! Clients that are not ours: Python with generated code, and buf by reflection alone.

use std::path::Path;
use std::process::{Output, Stdio};

use refwatch_proto::v1::GitEvent;
use refwatch_tests::{Daemon, World, tools};
use serde_json::{Value, json};

fn lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one JSON value a line"))
        .collect()
}

#[test]
fn a_python_client_with_generated_code_goes_on_from_its_cursor() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 6] = repo.history();
    let mut daemon = Daemon::start(&world);
    let file = world.beside("cursor");
    let follow = |daemon: &Daemon, count: usize| {
        let mut command = tools::python("follow.py")?;
        command.arg(daemon.grpc().to_string()).arg(&file).arg(count.to_string());
        Some(command.output().expect("it runs"))
    };
    for commit in &commits[..3] {
        repo.update(&format!("update refs/heads/main {commit}\nupdate refs/heads/next {commit}\n"));
        daemon.client().sync();
    }
    // It ends in the middle of a transaction.
    let Some(first) = follow(&daemon, 4) else { return };
    let mut told = lines(&first);
    assert_eq!(told.len(), 4, "{first:?}");
    repo.update(&format!("create refs/tags/v1.0.0 {}\n", commits[3]));
    daemon.kill9();
    repo.update(&format!("delete refs/heads/next\nupdate refs/heads/main {}\n", commits[5]));
    daemon.restart();
    daemon.client().sync();
    let log: Vec<GitEvent> = daemon.client().events();
    let second = follow(&daemon, log.len() - 4).expect("it ran before");
    told.extend(lines(&second));
    let expected: Vec<Value> = log
        .iter()
        .map(|event| {
            json!({"id": event.event_id, "type": event.r#type().as_str_name(), "ref": event.ref_name,
                   "old": event.old_oid, "new": event.new_oid})
        })
        .collect();
    assert_eq!(told, expected);
    // A database that is not that of the cursor.
    daemon.stop();
    std::fs::remove_dir_all(world.database().parent().expect("beside the root")).expect("removed");
    daemon.restart();
    let refused = follow(&daemon, 1).expect("it ran before");
    assert_eq!((refused.status.code(), &*refused.stderr), (Some(1), b"FAILED_PRECONDITION\n".as_slice()));
}

#[test]
fn buf_lists_and_watches_by_reflection_alone() {
    let world = World::new();
    let repo = world.repo("a.git");
    let [one] = repo.history();
    let daemon = Daemon::start(&world);
    repo.update(&format!("create refs/heads/main {one}\n"));
    daemon.client().sync();
    let curl = |arguments: &[&str], path: &str| {
        let mut command = tools::buf()?;
        // Away from proto/: the server alone knows the schema.
        command.current_dir(world.beside("")).args(["curl", "--http2-prior-knowledge", "--protocol", "grpc"]);
        command.args(arguments).arg(format!("http://{}{path}", daemon.grpc()));
        Some(command)
    };
    for reflection in ["grpc-v1", "grpc-v1alpha"] {
        let by = ["--reflect-protocol", reflection];
        let Some(mut list) = curl(&[&by[..], &["--list-methods"]].concat(), "") else { return };
        let listed = list.output().expect("buf runs");
        let methods = String::from_utf8_lossy(&listed.stdout).into_owned();
        for method in
            ["WatchEvents", "ListEvents", "ListRefs", "ListRepositories", "GetPosition", "GetServerInfo"]
        {
            let full = format!("refwatch.v1.GitEventService/{method}");
            assert!(methods.lines().any(|line| line == full), "{full} by {reflection}: {listed:?}");
        }
        let mut refs = curl(&by, "/refwatch.v1.GitEventService/ListRefs").expect("it ran before");
        let refs = refs.output().expect("buf runs");
        let refs: Value =
            serde_json::from_slice(&refs.stdout).unwrap_or_else(|error| panic!("{error}: {refs:?}"));
        let mut names = refs["refs"].as_array().expect("a list").iter();
        let main = names.find(|taken| taken["name"] == "refs/heads/main").expect("listed");
        assert_eq!(main["oid"], one.as_str());
        // A stream without end: it is left when both events have come.
        let watch = [&by[..], &["--timeout", "30s", "-d", r#"{"earliest":{}}"#]].concat();
        let mut watch = curl(&watch, "/refwatch.v1.GitEventService/WatchEvents").expect("it ran before");
        let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("buf runs");
        let messages = serde_json::Deserializer::from_reader(watch.stdout.take().expect("piped"));
        let types: Vec<Value> = messages
            .into_iter::<Value>()
            .map_while(Result::ok)
            .filter_map(|message| message["events"]["events"].as_array().cloned())
            .flatten()
            .map(|event| event["type"].clone())
            .take(2)
            .collect();
        drop(watch.kill());
        drop(watch.wait());
        assert_eq!(types, ["GIT_EVENT_TYPE_REPOSITORY_DISCOVERED", "GIT_EVENT_TYPE_BRANCH_CREATED"]);
    }
}

/// What `buf breaking` says of the contract against the baseline, once each line that begins so was made another.
fn breaking(from: &str, to: &str) -> Option<Output> {
    let mut buf = tools::buf()?;
    let proto = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let directory = tempfile::tempdir().expect("a directory");
    let copy = directory.path();
    std::fs::create_dir_all(copy.join("refwatch/v1")).expect("made");
    std::fs::create_dir_all(copy.join("io/cloudevents/v1")).expect("made");
    let files = ["event", "service", "ingest"].map(|name| format!("refwatch/v1/{name}.proto"));
    let mut changed = 0;
    for file in files.iter().map(String::as_str).chain(["io/cloudevents/v1/cloudevents.proto", "buf.yaml"]) {
        let text = std::fs::read_to_string(proto.join(file)).expect("text");
        changed += text.matches(from).count();
        std::fs::write(copy.join(file), text.replace(from, to)).expect("written");
    }
    assert_eq!(changed, 1, "{from} is there once");
    buf.arg("breaking").arg(copy).arg("--against").arg(proto.join("baseline.binpb"));
    Some(buf.output().expect("it ran before"))
}

/// Generated code and messages on the wire are of clients that nobody here rebuilds.
#[test]
fn a_contract_that_would_break_its_clients_is_noticed() {
    let sequence = "uint64 sequence = 2;\n  // Resume token that stands right after this event";
    let Some(output) = breaking(sequence, sequence) else { return };
    assert!(output.status.success(), "{output:?}");
    let renumbered = sequence.replace('2', "40");
    for (from, to, said) in [
        (sequence, &*renumbered, r#"field "2" with name "sequence" on message "GitEvent" was deleted"#),
        ("GIT_EVENT_TYPE_TAG_MOVED = 7;", "GIT_EVENT_TYPE_TAG_MOVED = 70;", r#"enum value "7""#),
        ("rpc WatchEvents(", "rpc FollowEvents(", r#"RPC "WatchEvents""#),
    ] {
        let output = breaking(from, to).expect("it ran before");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success() && text.contains(said), "{from}: {output:?}");
    }
}
