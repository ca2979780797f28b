//! Consumers in other languages, built and run as their READMEs say.

use std::fs;
use std::time::{Duration, Instant};

use refwatch_proto::v1::GitEvent;
use refwatch_tests::{
    DEADLINE, Daemon, Example, Language, Options, Printing, Proxy, Refs, Repo, State, Value, World,
};
use serde_json::{Value as Json, json};

/// What the consumer has stored.
fn stored(example: &Example) -> Option<(String, State)> {
    let text = fs::read_to_string(example.state()).ok()?;
    let stored: Json = serde_json::from_str(&text).expect("replaced as a whole");
    let refs = stored["refs"].as_object().expect("by repository").iter().map(|(id, refs)| {
        let refs = refs.as_object().expect("by name").iter().map(|(name, value)| {
            let value = value.as_str().expect("text");
            let value = match value.strip_prefix("ref:") {
                Some(target) => Value::Symbolic(target.into()),
                None => Value::Oid(value.to_owned()),
            };
            (name.clone().into_bytes(), value)
        });
        (id.clone(), Refs(refs.collect()))
    });
    Some((stored["cursor"].as_str().expect("a cursor").to_owned(), State(refs.collect())))
}

/// Waits until the consumer has stored that it stands at the end of the log; then it holds what is on disk.
fn settle(example: &Example, daemon: &Daemon, repos: &[&Repo]) {
    let deadline = Instant::now() + DEADLINE;
    let end = daemon.client().sync().cursor;
    loop {
        match stored(example) {
            Some((cursor, state)) if cursor == end => {
                assert_eq!(state, daemon.client().on_disk(repos));
                return;
            }
            last => assert!(Instant::now() < deadline, "it never came to {end}: {last:?}"),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn ids(printed: &[Json]) -> Vec<String> {
    printed.iter().filter_map(|line| line["event"].as_str()).map(str::to_owned).collect()
}

fn listings(printed: &[Json]) -> usize {
    printed.iter().filter(|line| line["listed"].is_number()).count()
}

fn ended(printed: &[Json], reason: &str) -> bool {
    printed.iter().any(|line| line["reason"] == reason)
}

/// Lists, watches, outlives restarts of both sides, lists again when its cursor is lost, and gives up when told wrongly.
fn follows(language: Language) {
    let Some(example) = Example::build(language) else { return };
    let world = World::new();
    let (repo, other) = (world.repo("a.git"), world.repo("gone.git"));
    let commits: [String; 8] = repo.history();
    repo.update(&format!("create refs/heads/main {0}\ncreate refs/heads/gone {0}\n", commits[0]));
    let mut daemon = Daemon::start(&world);
    let proxy = Proxy::start(daemon.grpc());
    let running = example.start(proxy.address);
    settle(&example, &daemon, &[&repo, &other]);
    let listed = daemon.client().sync().last_sequence;

    // It watches.
    for commit in &commits[..4] {
        repo.update(&format!("update refs/heads/main {commit}\nupdate refs/tags/v {commit}\n"));
    }
    repo.git(&["symbolic-ref", "HEAD", "refs/heads/next"]);
    fs::remove_dir_all(&other.git_dir).expect("removed");
    settle(&example, &daemon, &[&repo]);
    // The server is killed, and stopped; it goes on.
    daemon.kill9();
    repo.update(&format!("update refs/heads/main {}\ndelete refs/tags/v\n", commits[0]));
    daemon.restart();
    proxy.lead_to(daemon.grpc());
    settle(&example, &daemon, &[&repo]);
    daemon.stop();
    repo.update(&format!("update refs/heads/main {}\n", commits[5]));
    daemon.restart();
    proxy.lead_to(daemon.grpc());
    settle(&example, &daemon, &[&repo]);
    let mut printed = running.kill9();
    assert!(ended(&printed, "SERVER_DRAINING"), "{printed:#?}");
    // It is started again.
    repo.update(&format!("update refs/heads/main {}\n", commits[6]));
    daemon.client().sync();
    let running = example.start(proxy.address);
    settle(&example, &daemon, &[&repo]);
    printed.extend(running.kill9());
    assert_eq!(listings(&printed), 1, "{printed:#?}");
    let log: Vec<GitEvent> =
        daemon.client().events().into_iter().filter(|event| event.sequence > listed).collect();
    let told: Vec<Json> = printed.iter().filter(|line| line["event"].is_string()).cloned().collect();
    let expected = log.iter().map(|event| {
        json!({"event": event.event_id, "type": event.r#type().as_str_name(), "ref": event.ref_name,
               "repository": event.repository.as_ref().map(|repository| repository.path.clone()),
               "old": event.old_oid, "new": event.new_oid})
    });
    assert_eq!(told, expected.collect::<Vec<_>>(), "each event once, none missing");

    // The floor passes its cursor while it is away.
    repo.update("delete refs/heads/gone\n");
    for commit in &commits {
        repo.update(&format!("update refs/heads/main {commit}\n"));
        daemon.client().sync();
    }
    daemon.stop();
    daemon = Options::new(&world).set("store.retention_events_max", "3").start();
    let past = log.last().expect("a history").sequence + 2;
    daemon.wait_metric("refwatch_log_floor_sequence", f64::from(u32::try_from(past).expect("small")));
    proxy.lead_to(daemon.grpc());
    let running = example.start(proxy.address);
    settle(&example, &daemon, &[&repo]);
    // It says so after it has stored the list.
    let printed = running.wait_until("it lists again", |printed| listings(printed) == 1);
    assert!(ended(&printed, "CURSOR_EXPIRED"), "{printed:#?}");
    assert_eq!(ids(&printed), Vec::<String>::new());
    // The log is replaced while it watches.
    daemon.stop();
    fs::remove_dir_all(world.database().parent().expect("beside the root")).expect("removed");
    repo.update(&format!("update refs/heads/main {}\n", commits[0]));
    daemon.restart();
    proxy.lead_to(daemon.grpc());
    settle(&example, &daemon, &[&repo]);
    running.wait_until("it lists again", |printed| listings(printed) == 2);
    assert!(ended(&running.kill9(), "CURSOR_FOREIGN_EPOCH"));

    // What is wrong with the request does not heal by trying again.
    let (_, state) = stored(&example).expect("stored");
    assert!(!state.0.is_empty());
    fs::write(example.state(), r#"{"cursor": "nonsense", "refs": {}}"#).expect("written");
    let (status, printed) = Printing::wait_end(example.start(proxy.address));
    assert!(!status.success() && ended(&printed, "CURSOR_MALFORMED"), "{status} {printed:#?}");
}

#[test]
fn the_consumer_in_python_follows_as_its_readme_says() {
    follows(Language::Python);
}

#[test]
fn the_consumer_in_go_follows_as_its_readme_says() {
    follows(Language::Go);
}

#[test]
fn the_consumer_in_node_follows_as_its_readme_says() {
    follows(Language::Node);
}
