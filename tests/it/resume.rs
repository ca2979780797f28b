//! Whatever breaks in between, whoever goes on from a cursor misses nothing and gets nothing twice.

use std::collections::HashSet;

use refwatch_proto::v1::GitEvent;
use refwatch_tests::{Client, Daemon, Proxy, Random, Refusal, Repo, Tail, World, validate};
use serde_json::Value;
use tonic::Code;

/// Some events of one repository, transactions among them.
fn history(repo: &Repo, commits: &[String], rounds: usize) {
    for (round, commit) in commits.iter().cycle().take(rounds).enumerate() {
        let lines: String =
            (0..1 + round % 5).map(|index| format!("update refs/heads/b{index} {commit}\n")).collect();
        repo.update(&lines);
    }
}

fn log_of(client: &Client) -> Vec<GitEvent> {
    client.sync();
    client.events()
}

#[test]
fn a_client_outlives_restarts_of_the_server() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 4] = repo.history();
    let mut daemon = Daemon::start(&world);
    let mut recorder = daemon.client().record_snapshot();
    for round in 0..4 {
        history(&repo, &commits[round % 3..], 4);
        if round % 2 == 0 {
            daemon.stop();
            let refusal = Refusal::of(&recorder.wait_end());
            assert_eq!(
                (refusal.code, &*refusal.reason),
                (Code::Unavailable, "SERVER_DRAINING"),
                "{refusal:?}"
            );
            assert!(refusal.retry);
            assert!(recorder.now().draining, "a last progress says so");
            assert_eq!(refusal.metadata["cursor"], recorder.now().cursor);
        } else {
            daemon.kill9();
            recorder.wait_end();
        }
        history(&repo, &commits[round % 2..], 3);
        daemon.restart();
        recorder.resume(&daemon.client());
    }
    let client = daemon.client();
    let recording = recorder.settle(&client);
    validate::all(&recording, &client.on_disk(&[&repo]));
    assert_eq!(recording.events, log_of(&client)[1..], "all but the discovery before it came");
}

/// Ids of the events in lines of `tail --json`.
fn ids(lines: &[Value]) -> Vec<String> {
    lines.iter().filter_map(|line| line["eventId"].as_str()).map(str::to_owned).collect()
}

#[test]
fn a_tail_that_is_killed_goes_on_from_its_cursor_file() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 4] = repo.history();
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let file = world.beside("cursor");
    let arguments = ["--since", "earliest", "--cursor-file", file.to_str().expect("text")];
    let mut printed = Vec::new();
    for round in 0..4 {
        history(&repo, &commits, 6);
        let before = ids(&printed).into_iter().collect::<HashSet<_>>().len();
        let log = log_of(&client);
        history(&repo, &commits[..round % 4], 5);
        let tail = Tail::start(daemon.grpc(), &arguments);
        tail.wait(1 + (log.len() - before) / 2);
        printed.extend(tail.kill9());
    }
    let last = Tail::start(daemon.grpc(), &arguments);
    let log: Vec<String> = log_of(&client).into_iter().map(|event| event.event_id).collect();
    // Not a number of lines: what the killed ones had printed, and not yet stored, comes again.
    // And when one of them came to the end, nothing does.
    if !ids(&printed).contains(log.last().expect("a history")) {
        last.wait_event(log.last().expect("a history"));
    }
    printed.extend(last.kill9());
    // Printed before the file tells of it: after a kill some may come twice, none may be missing.
    let mut seen = HashSet::new();
    let once: Vec<String> = ids(&printed).into_iter().filter(|id| seen.insert(id.clone())).collect();
    assert_eq!(once, log);
}

#[test]
fn a_tail_reconnects_by_itself_without_loss_or_repetition() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 4] = repo.history();
    let mut daemon = Daemon::start(&world);
    let proxy = Proxy::start(daemon.grpc());
    let tail = Tail::start(proxy.address, &["--since", "earliest"]);
    let mut random = Random::new(11);
    for round in 0..6 {
        history(&repo, &commits[round % 2..], 4);
        let log = log_of(&daemon.client());
        tail.wait(log.len());
        match round {
            1 => drop(daemon.stop()),
            3 => daemon.kill9(),
            _ => {
                proxy.cut_after(random.below(2_000));
                continue;
            }
        }
        history(&repo, &commits[round % 3..], 3);
        daemon.restart();
        proxy.lead_to(daemon.grpc());
    }
    proxy.cut_after(usize::MAX);
    history(&repo, &commits, 4);
    let log: Vec<String> = log_of(&daemon.client()).into_iter().map(|event| event.event_id).collect();
    tail.wait(log.len());
    assert_eq!(ids(&tail.kill9()), log);
}
