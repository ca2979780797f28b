use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use refwatch_proto::v1::{GitEventType, ResetReason};
use tokio::task::JoinSet;
use tonic::Status;
use tonic_types::{ErrorDetails, StatusExt};

use super::*;
use crate::cli::{Command, parse, refs, repos};
use refwatch_proto::client::testing::{Answer, EPOCH, Fake, cursor, events, started};

/// Output that can be looked at.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server on a thread of its own, and commands against it.
struct World {
    fake: Fake,
    address: String,
    // Dropped last: it carries the server.
    _tasks: JoinSet<()>,
    _runtime: tokio::runtime::Runtime,
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let fake = Fake::new();
        let mut tasks = JoinSet::new();
        let address = runtime.block_on(fake.serve(&mut tasks)).to_string();
        Self { fake, address, _tasks: tasks, _runtime: runtime }
    }

    fn run(&self, line: &str) -> (Result<ExitCode, Exit>, String) {
        let shared = Shared::default();
        let outcome = self.run_to(line, &mut Out::to(shared.clone()));
        (outcome, shared.text())
    }

    fn run_to(&self, line: &str, out: &mut Out) -> Result<ExitCode, Exit> {
        let words = ["refwatch"].into_iter().chain(line.split_whitespace()).chain(["--grpc", &self.address]);
        #[allow(clippy::wildcard_enum_match_arm, reason = "the others need no server")]
        match parse(words.map(Into::into)).expect("a good line").command {
            Command::Tail(args) => run(&args, out),
            Command::Refs(args) => refs::run(&args, out),
            Command::Repos(args) => repos::run(&args, out),
            Command::Position(args) => crate::cli::position::run(&args, out),
            _ => panic!("not of these tests"),
        }
    }
}

fn ids(text: &str) -> Vec<String> {
    let id = |line| {
        let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
        value["eventId"].as_str().expect("an event").to_owned()
    };
    text.lines().map(id).collect()
}

#[test]
fn a_cursor_file_continues_within_a_batch_without_loss_or_repetition() {
    let world = World::new();
    world.fake.append(20);
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("cursor");
    let line = format!("tail --json --since earliest --limit 4 --cursor-file {}", file.display());
    let mut all = Vec::new();
    for round in 1..=5 {
        let (outcome, text) = world.run(&line);
        assert_eq!(outcome.expect("well"), ExitCode::SUCCESS);
        all.extend(ids(&text));
        assert_eq!(std::fs::read_to_string(&file).expect("there"), format!("{}\n", cursor(round * 4)));
    }
    assert_eq!(all, (1..=20).map(|sequence| format!("{EPOCH}.{sequence}")).collect::<Vec<_>>());
}

#[test]
fn lines_are_for_people_unless_told_otherwise() {
    let world = World::new();
    world.fake.append(1);
    let (_, text) = world.run("tail --since earliest --limit 1");
    assert!(text.ends_with("branch-created 1\n"), "{text}");
}

#[test]
fn cloudevents_are_lines_of_their_own_and_only_what_is_printed_counts() {
    let world = World::new();
    world.fake.append(3);
    let text = world.run("tail --format cloudevents --since earliest --limit 2").1;
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let ids: Vec<&str> = lines.iter().filter_map(|line| line["id"].as_str()).collect();
    assert_eq!(ids, [format!("{EPOCH}.1"), format!("{EPOCH}.2")]);
    assert!(
        lines.iter().all(|line| line["source"].as_str() == Some("refwatch://0123456789abcdef/")),
        "{text}"
    );
    assert_eq!(
        world.run("tail --json --since earliest --limit 3").1,
        world.run("tail --format json --since earliest --limit 3").1
    );

    let mut kinds = vec![started(0), events(1, 4)];
    if let Some(Kind::Events(batch)) = kinds.last_mut() {
        batch.events[0].set_type(GitEventType::TagMoved);
        batch.events[2].set_type(GitEventType::BranchDeleted);
    }
    world.fake.script().answers.push_back(Answer::FallSilent(kinds));
    let text = world.run("tail --format cdevents --since earliest --limit 2").1;
    let types: Vec<String> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["type"].to_string())
        .collect();
    assert_eq!(types, ["\"dev.cdevents.branch.created.0.2.0\"", "\"dev.cdevents.branch.deleted.0.2.0\""]);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let world = World::new();
    world.fake.append(1);
    let exit = world.run_to("tail --since earliest", &mut Out::to(Closed)).expect_err("ended");
    assert_eq!((exit.code, exit.message.as_str()), (0, ""));
}

#[test]
fn a_full_disk_is_no_quiet_end() {
    let exit = Exit::from(io::Error::from(io::ErrorKind::StorageFull));
    assert_eq!(exit.code, exit::IO);
}

#[test]
fn an_expired_cursor_ends_with_its_own_code_and_a_remedy() {
    let world = World::new();
    let details = ErrorDetails::with_error_info("CURSOR_EXPIRED", "refwatch", []);
    let expired = Status::with_error_details(tonic::Code::OutOfRange, "the log starts at 9\x1b[2J", details);
    world.fake.script().answers.push_back(Answer::Refuse(expired));
    let (outcome, _) = world.run(&format!("tail --since {}", cursor(3)));
    let exit = outcome.expect_err("a gap");
    assert_eq!(exit.code, exit::GAP);
    for part in ["the log starts at 9\\u{1b}[2J", "CURSOR_EXPIRED", "--snapshot", "--on-gap resnapshot"] {
        assert!(exit.message.contains(part), "{}", exit.message);
    }
}

#[test]
fn a_daemon_that_is_not_there_has_its_own_code() {
    let mut world = World::new();
    world.address = "127.0.0.1:1".to_owned();
    let exit = world.run("tail").0.expect_err("nobody is there");
    assert_eq!(exit.code, exit::UNAVAILABLE);
    assert!(exit.message.contains("127.0.0.1:1") && exit.message.contains("refused"), "{}", exit.message);
}

#[test]
fn resets_and_snapshots_are_lines_of_their_own_for_programs() {
    let world = World::new();
    let reset = Reset {
        reason: ResetReason::CursorExpired.into(),
        lost_first_sequence: 4,
        lost_last_sequence: 8,
        epoch: EPOCH.to_owned(),
    };
    assert_eq!(lost(&reset), "events 4 to 8 are lost (CURSOR_EXPIRED); all refs follow");
    let begin = refwatch_proto::v1::SnapshotBegin { sequence: 9, repository_count: 0 };
    let end = refwatch_proto::v1::SnapshotEnd { cursor: cursor(9), ..Default::default() };
    let kinds = vec![
        started(9),
        Kind::Reset(reset),
        Kind::SnapshotBegin(begin),
        Kind::SnapshotRefs(SnapshotRefs::default()),
        Kind::SnapshotEnd(end),
        events(10, 10),
    ];
    world.fake.script().answers.push_back(Answer::FallSilent(kinds));
    let (outcome, text) = world.run("tail --json --limit 1 --on-gap resnapshot");
    assert!(outcome.is_ok());
    let keys: Vec<String> = text
        .lines()
        .map(|line| {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value.as_object().and_then(|object| object.keys().next().cloned()).expect("a key")
        })
        .collect();
    assert_eq!(keys[..4], ["reset", "snapshotBegin", "snapshotRefs", "snapshotEnd"]);
    assert_eq!(keys.len(), 5);
    let asked = world.fake.script().requests[0].0.on_gap;
    assert_eq!(asked, i32::from(OnGap::Resnapshot));
}

#[test]
fn lists_go_over_all_pages_and_are_escaped() {
    let world = World::new();
    let oid = "1".repeat(40);
    assert_eq!(world.run("refs").1, format!("{oid} a.git refs/heads/a\n{oid} a.git refs/heads/b\\u{{9b}}\n"));
    let json = world.run("refs --json").1;
    assert!(json.is_ascii() && json.lines().count() == 2, "{json}");
    assert!(world.run("repos").1.ends_with("a.git\n"));
    world.fake.append(7);
    assert_eq!(world.run("position").1, format!("{}\n", cursor(7)));
}
