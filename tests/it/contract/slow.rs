//! Subscribers of different speed.

use refwatch_proto::v1::WatchEventsRequest;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{GitEvent, Now};
use refwatch_tests::{Stream, filter, request};

use crate::stage::Stage;

/// Reads one message; its events.
fn read(stream: &mut Stream) -> Vec<GitEvent> {
    match stream.next().expect("the stream goes on") {
        Kind::Events(batch) => batch.events,
        Kind::Started(_)
        | Kind::SnapshotBegin(_)
        | Kind::SnapshotRefs(_)
        | Kind::SnapshotEnd(_)
        | Kind::Progress(_)
        | Kind::Reset(_) => Vec::new(),
    }
}

#[test]
fn a_slow_subscriber_loses_nothing_and_slows_nobody() {
    let stage = Stage::plain();
    let [one, two] = stage.repo.history();
    // A connection of its own, whose buffers fill up.
    let slow = stage.daemon.client();
    let ask = WatchEventsRequest { max_batch_bytes: 1_024, ..request(Start::Now(Now {}), filter()) };
    let mut stream = slow.watch(ask).expect("accepted");
    assert_eq!(read(&mut stream), [], "it has started");
    let mut taken = Vec::new();
    for round in 0..4 {
        let oid = if round % 2 == 0 { &one } else { &two };
        let lines: String =
            (0..1_500).map(|index| format!("update refs/heads/a-branch-{index} {oid}\n")).collect();
        stage.repo.update(&lines);
        // The fast one has all of it, while the slow one has taken a message a round.
        stage.validate();
        taken.extend(read(&mut stream));
    }
    let whole = stage.validate().events;
    assert!(whole.len() > 6_000 && taken.len() < whole.len() / 2, "{} of {}", taken.len(), whole.len());
    while taken.len() < whole.len() {
        taken.extend(read(&mut stream));
    }
    assert_eq!(taken, whole);
}
