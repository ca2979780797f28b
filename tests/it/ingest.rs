//! What Git hosts report: who may, what becomes of it, and that it never moves a ref.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use refwatch_proto::v1::rejection_report::Repository;
use refwatch_proto::v1::{
    Actor, GitEvent, GitEventType, Origin, RefChange, Rejection, RejectionReport, RejectionStage,
};
use refwatch_tests::{
    Daemon, Flavour, Options, Refusal, Reporter, Tail, World, binary, http, refused, validate,
};
use serde_json::json;
use tonic::Code;

fn socket(world: &World) -> PathBuf {
    world.beside("grpc.sock")
}

/// A daemon that serves a socket too.
fn options(world: &World) -> Options {
    Options::new(world).set("grpc.socket", socket(world).to_str().expect("text"))
}

fn reason(refusal: &Refusal) -> (Code, &str) {
    (refusal.code, &*refusal.reason)
}

#[test]
fn a_report_reaches_subscribers_with_every_field_and_changes_no_ref() {
    let world = World::new();
    let repo = world.repo("team/a.git");
    let [one, two]: [String; 2] = repo.history();
    repo.update(&format!("create refs/heads/main {one}\n"));
    let daemon = options(&world).start();
    let client = daemon.client();
    let refs = client.refs(100).0;
    let tail = Tail::start(daemon.grpc(), &["--since", "earliest"]);
    let recorder = client.record_earliest();

    let reporter = Reporter::by_socket(&socket(&world));
    let rejection = Rejection {
        stage: RejectionStage::HostPolicy.into(),
        reason: "NON_FAST_FORWARD".to_owned(),
        message: "pull first".to_owned(),
    };
    let actor =
        Actor { name: "ada".to_owned(), source: String::new(), remote_address: "192.0.2.7".to_owned() };
    let full = RejectionReport {
        rejection: Some(rejection.clone()),
        actor: Some(actor),
        push_options: vec!["ci.skip".to_owned(), "topic=x".to_owned()],
        ..refused(&repo, "refs/heads/main", &two, &one)
    };
    let answer = reporter.report(full).expect("taken");
    // A Git host may know more of its user, name the repository by its place, and the ref by its bytes.
    let absolute = repo.git_dir.to_str().expect("text").to_owned();
    let bare = RejectionReport {
        repository: Some(Repository::RepositoryPath(absolute)),
        ref_name: "not looked at".to_owned(),
        ref_name_bytes: b"refs/heads/\xff".to_vec(),
        actor: Some(Actor { source: "GL_ID".to_owned(), ..Actor::default() }),
        ..refused(&repo, "", "", &one)
    };
    let deleted = refused(&repo, "refs/tags/v1", &one, &repo.zero());
    let last = reporter.report_all(vec![bare, deleted]).expect("taken");

    let recording = recorder.settle(&client);
    let told: Vec<&GitEvent> = recording.of_type(GitEventType::PushRejected);
    assert_eq!(told.len(), 3);
    let event = told[0];
    assert_eq!(
        (&event.event_id, event.sequence, &event.cursor),
        (&answer.event_id, answer.sequence, &answer.cursor)
    );
    assert_eq!(event.repository.as_ref().map(|repository| &*repository.path), Some("team/a.git"));
    assert_eq!((&*event.ref_name, event.change()), ("refs/heads/main", RefChange::Unspecified));
    assert_eq!((&event.old_oid, &event.new_oid), (&two, &one));
    assert_eq!(event.origin(), Origin::Report);
    assert_eq!(event.rejection.as_ref(), Some(&rejection));
    let actor = event.actor.as_ref().expect("told");
    assert_eq!((&*actor.name, &*actor.source, &*actor.remote_address), ("ada", "report", "192.0.2.7"));
    assert_eq!(event.push_options, ["ci.skip", "topic=x"]);
    assert!(!event.coalesced && event.observed_at_us > 0);
    assert_eq!(told[1].ref_name_bytes, b"refs/heads/\xff");
    assert_eq!((&told[1].old_oid, &told[1].new_oid), (&repo.zero(), &one));
    assert_eq!(told[1].actor.as_ref().map(|actor| &*actor.source), Some("GL_ID"));
    assert_eq!((&told[2].old_oid, &told[2].new_oid), (&one, &repo.zero()));
    assert_eq!(told[2].rejection, Some(Rejection::default()));
    let ids: Vec<_> = told[1..].iter().map(|event| event.event_id.clone()).collect();
    assert_eq!((ids, &last.cursor), (last.event_ids.clone(), &told[2].cursor));

    let printed = tail.wait_event(&last.event_ids[1]);
    let line = printed.iter().find(|line| line["eventId"] == answer.event_id.as_str()).expect("printed");
    assert_eq!(line["type"], "GIT_EVENT_TYPE_PUSH_REJECTED");
    assert_eq!(line["rejection"]["stage"], "REJECTION_STAGE_HOST_POLICY");
    assert_eq!(line["actor"], json!({"name": "ada", "source": "report", "remoteAddress": "192.0.2.7"}));
    assert_eq!(client.refs(100).0, refs);
    validate::all(&client.record_snapshot().settle(&client), &client.on_disk(&[&repo]));
    assert_eq!(http::metric(daemon.http(), "refwatch_reports_total{outcome=\"stored\"}"), Some(3.0));
}

#[test]
fn a_batch_is_one_transaction_whatever_happens_meanwhile() {
    const BATCHES: usize = 20;
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 3] = repo.history();
    let daemon = options(&world).start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let batches: Vec<Vec<String>> = std::thread::scope(|scope| {
        let reporting = scope.spawn(|| {
            let reporter = Reporter::by_socket(&socket(&world));
            let batch = |size: usize| {
                let names = (0..size).map(|at| format!("refs/heads/b{at}"));
                let reports = names.map(|name| refused(&repo, &name, "", &commits[0]));
                reporter.report_all(reports.collect()).expect("taken").event_ids
            };
            (1..=BATCHES).map(batch).collect()
        });
        for commit in commits.iter().cycle().take(30) {
            repo.update(&format!("update refs/heads/main {commit}\nupdate refs/heads/next {commit}\n"));
        }
        reporting.join().expect("no panic")
    });
    let recording = recorder.settle(&client);
    validate::all(&recording, &client.on_disk(&[&repo]));
    for batch in batches {
        let first = recording.events.iter().position(|event| event.event_id == batch[0]).expect("it came");
        let events = &recording.events[first..first + batch.len()];
        for ((event, id), index) in events.iter().zip(&batch).zip(0..) {
            let transaction = event.transaction.as_ref().expect("always set");
            assert_eq!((&event.event_id, event.ref_name.clone()), (id, format!("refs/heads/b{index}")));
            assert_eq!((transaction.index, transaction.size as usize), (index, batch.len()));
        }
    }
    assert_eq!(recording.of_type(GitEventType::PushRejected).len(), BATCHES * (BATCHES + 1) / 2);
}

#[test]
fn refused_updates_of_protected_refs_are_called_so() {
    let world = World::new();
    let repo = world.repo_as("a.git", Flavour { object_format: "sha256", ..Flavour::PLAIN });
    let daemon = options(&world)
        .set("classify.protected_refs", r#"["refs/heads/main", "refs/heads/release/**"]"#)
        .start();
    let client = daemon.client();
    let recorder = client.record_snapshot();
    let commit = repo.commit("one", &[]);
    let names = ["refs/heads/main", "refs/heads/release/1/x", "refs/heads/mainly", "refs/tags/main"];
    let reports = names.map(|name| refused(&repo, name, "", &commit)).to_vec();
    Reporter::by_socket(&socket(&world)).report_all(reports).expect("taken");
    let (protected, other) = (GitEventType::ProtectedBranchRejected, GitEventType::PushRejected);
    let expected: Vec<_> = [protected, protected, other, other].into_iter().zip(names).collect();
    assert_eq!(recorder.settle(&client).told(), expected);
}

#[test]
fn over_tcp_only_a_token_with_the_right_reports() {
    let world = World::new();
    let repo = world.repo("a.git");
    let report = || refused(&repo, "refs/heads/main", "", &"1".repeat(40));
    let daemon = Daemon::start(&world);
    let refusal =
        Reporter::by_tcp(daemon.grpc(), None).report(report()).expect_err("nobody knows who that is");
    assert_eq!(reason(&refusal), (Code::PermissionDenied, "INGEST_NOT_ALLOWED"));
    assert!(refusal.message.contains("grpc.socket"), "it says what to do: {}", refusal.message);
    assert!(!daemon.client().info().capabilities.contains(&"ingest".to_owned()));
    drop(daemon);

    let tokens = world.beside("tokens");
    fs::write(&tokens, "watch-token\nhost-token scope=ingest\n").expect("written");
    let daemon = options(&world).set("grpc.token_file", tokens.to_str().expect("text")).launch();
    for (token, expected) in [
        (None, (Code::Unauthenticated, "CREDENTIALS_INVALID")),
        (Some("guess-token"), (Code::Unauthenticated, "CREDENTIALS_INVALID")),
        (Some("watch-token"), (Code::PermissionDenied, "INGEST_NOT_ALLOWED")),
    ] {
        let refusal = Reporter::by_tcp(daemon.grpc(), token).report(report()).expect_err("it may not");
        assert_eq!(reason(&refusal), expected, "{token:?}");
    }
    daemon.wait_ready();
    let first = Reporter::by_tcp(daemon.grpc(), Some("host-token")).report(report()).expect("it may");
    let second = Reporter::by_socket(&socket(&world)).report(report()).expect("anyone who can connect may");
    assert_eq!(second.sequence, first.sequence + 1, "what was refused left nothing");
}

#[test]
fn over_tcp_who_signs_reports_without_a_token() {
    const SECRET: &str = "what-host-and-daemon-share";
    let world = World::new();
    let repo = world.repo("a.git");
    let report = || refused(&repo, "refs/heads/main", "", &"1".repeat(40));
    let secret = world.beside("secret");
    fs::write(&secret, format!("# of the host\n{SECRET}\n")).expect("written");
    let daemon = Options::new(&world).set("grpc.shared_secret_file", secret.to_str().expect("text")).start();
    daemon.wait_ready();
    let signing = Reporter::signing(daemon.grpc(), SECRET);
    let first = signing.report(report()).expect("signed");
    let batch = signing.report_all(vec![report(), report()]).expect("the other method is signed too");
    let refusal =
        Reporter::signing(daemon.grpc(), "what-somebody-guesses").report(report()).expect_err("not so");
    assert_eq!(reason(&refusal), (Code::Unauthenticated, "CREDENTIALS_INVALID"));
    // The same again is another attempt, with a signature of its own.
    let last = signing.report(report()).expect("signed anew");
    assert_eq!((batch.event_ids.len(), last.sequence), (2, first.sequence + 3));
}

#[test]
fn what_was_answered_outlives_a_kill() {
    let world = World::new();
    let repo = world.repo("a.git");
    let mut daemon = options(&world).start();
    for round in 0..5 {
        let names = (0..7).map(|at| format!("refs/heads/r{round}-{at}"));
        let reports = names.map(|name| refused(&repo, &name, "", &"1".repeat(40))).collect();
        let answer = Reporter::by_socket(&socket(&world)).report_all(reports).expect("taken");
        daemon.kill9();
        daemon.restart();
        let events = daemon.client().events();
        let ids: Vec<_> = events[events.len() - 7..].iter().map(|event| event.event_id.clone()).collect();
        assert_eq!(ids, answer.event_ids, "nothing is lost, and the epoch is the same");
    }
    daemon.stop();
    let mut check = Command::new(binary::refwatch());
    let checked =
        check.env_clear().args(["check", "--db"]).arg(world.database()).output().expect("refwatch runs");
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&[checked.stdout, checked.stderr].concat())
    );
}

#[test]
fn repositories_are_known_when_the_log_knows_them_and_no_longer() {
    let world = World::new();
    let daemon = options(&world).start();
    let client = daemon.client();
    let reporter = Reporter::by_socket(&socket(&world));
    let repo = world.repo("a.git");
    client.sync();
    let id = client.repository(&repo).id;
    let report = || RejectionReport {
        repository: Some(Repository::RepositoryId(id.clone())),
        ..refused(&repo, "refs/heads/main", "", &"1".repeat(40))
    };
    reporter.report(report()).expect("it is there");
    let moved = world.root.join("b.git");
    fs::rename(&repo.git_dir, &moved).expect("renamed");
    client.sync();
    reporter.report(report()).expect("its id is the same");
    let before = reporter.report(refused(&repo, "refs/heads/main", "", &"1".repeat(40)));
    let refusal = before.expect_err("nothing is at its old path");
    assert_eq!(reason(&refusal), (Code::NotFound, "REPOSITORY_NOT_FOUND"));
    assert_eq!(
        (&*refusal.metadata["field"], &*refusal.metadata["value"]),
        ("report.repository_path", "a.git")
    );
    fs::remove_dir_all(&moved).expect("removed");
    client.sync();
    let refusal = reporter.report(report()).expect_err("it is gone");
    assert_eq!(reason(&refusal), (Code::NotFound, "REPOSITORY_NOT_FOUND"));
    assert_eq!(client.events().last().map(GitEvent::r#type), Some(GitEventType::RepositoryDeleted));
}

#[test]
fn malformed_reports_and_floods_are_refused_and_counted() {
    let world = World::new();
    let repo = world.repo("a.git");
    let daemon = options(&world).start();
    let reporter = Reporter::by_socket(&socket(&world));
    let sound = refused(&repo, "refs/heads/main", "", &"1".repeat(40));
    let short = RejectionReport { old_oid: "12".to_owned(), ..sound.clone() };
    let refusal =
        reporter.report_all(vec![sound.clone(), sound.clone(), short.clone()]).expect_err("malformed");
    assert_eq!(reason(&refusal), (Code::InvalidArgument, "FIELD_INVALID"));
    assert_eq!((&*refusal.metadata["field"], &*refusal.metadata["value"]), ("reports[2].old_oid", "12"));
    let refusal = reporter.report_all(vec![sound.clone(); 1_001]).expect_err("too many");
    assert_eq!(reason(&refusal), (Code::InvalidArgument, "FIELD_OUT_OF_BOUNDS"));
    assert_eq!((&*refusal.metadata["field"], &*refusal.metadata["max"]), ("reports", "1000"));
    assert_eq!(daemon.client().info().last_sequence, 1, "all or none");

    // What is malformed is quick to refuse and counts all the same.
    let flood = loop {
        let refusal = reporter.report_all(vec![short.clone(); 1_000]).expect_err("malformed");
        if refusal.code != Code::InvalidArgument {
            break refusal;
        }
        let malformed = http::metric(daemon.http(), "refwatch_reports_total{outcome=\"malformed\"}");
        assert!(malformed < Some(1e6), "no limit in sight");
    };
    assert_eq!(reason(&flood), (Code::ResourceExhausted, "TOO_MANY_REPORTS"));
    assert!(flood.retry, "it says when to go on");
    daemon.wait_metric("refwatch_reports_total{outcome=\"limited\"}", 1_000.0);
}
