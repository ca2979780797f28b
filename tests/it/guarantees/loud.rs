//! A gap is never passed over in silence.

use std::time::{Duration, Instant};

use refwatch_core::Cursor;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{
    GetPositionRequest, ListEventsRequest, OnGap, ResetReason, WatchEventsRequest, list_events_request,
};
use refwatch_tests::{Client, DEADLINE, Daemon, Options, Recorder, World, filter, request};
use tonic::Code;

use crate::stage::Stage;

fn from(cursor: &str) -> WatchEventsRequest {
    request(Start::Cursor(cursor.to_owned()), filter())
}

/// The log from here on has lost what came before: says so with a reset, and starts over.
fn resnapshot(client: &Client, cursor: &str, reason: ResetReason) -> Recorder {
    let request = WatchEventsRequest { on_gap: OnGap::Resnapshot.into(), ..from(cursor) };
    let recorder = Recorder::start(client, request);
    let recording = recorder.wait("a whole snapshot came", |recording| recording.whole);
    let [reset] = recording.resets.as_slice() else { panic!("one reset: {recording:#?}") };
    assert_eq!(reset.reason(), reason);
    assert_eq!(reset.epoch, client.sync().epoch);
    recorder
}

#[test]
fn guarantee_8_loud() {
    let stage = Stage::of(refwatch_tests::Flavour::PLAIN, |repo| {
        let [one] = repo.history();
        repo.update(&format!("create refs/heads/main {one}\n"));
    });
    let client = &stage.client;
    let position = client.sync();
    let cursor = Cursor::decode(&position.cursor).expect("a cursor");

    let ahead = Cursor { sequence: cursor.sequence + 5, ..cursor }.encode();
    let refusal = client.watch_refused(from(&ahead));
    assert_eq!((refusal.code, &*refusal.reason), (Code::FailedPrecondition, "CURSOR_AHEAD"));
    assert_eq!(refusal.metadata["cursor_sequence"], (cursor.sequence + 5).to_string());
    assert_eq!(refusal.metadata["last_sequence"], position.last_sequence.to_string());
    assert_eq!(refusal.metadata["epoch"], position.epoch);
    resnapshot(client, &ahead, ResetReason::CursorAhead);

    let foreign = Cursor { epoch: cursor.epoch ^ 1, ..cursor }.encode();
    let elsewhere = Cursor { server: cursor.server ^ 1, ..cursor }.encode();
    for other in [&foreign, &elsewhere] {
        let refusal = client.watch_refused(from(other));
        assert_eq!((refusal.code, &*refusal.reason), (Code::FailedPrecondition, "CURSOR_FOREIGN_EPOCH"));
        assert_eq!(refusal.metadata["epoch"], position.epoch);
        assert_eq!(refusal.metadata["server_id"], client.info().server_id);
        resnapshot(client, other, ResetReason::ForeignEpoch);
        let start = Some(list_events_request::Start::AfterCursor(other.clone()));
        let listed = client.list_events(ListEventsRequest { start, ..ListEventsRequest::default() });
        assert_eq!(listed.expect_err("refused").code(), Code::FailedPrecondition, "ListEvents too");
    }

    let mut changed = position.cursor.clone();
    changed.replace_range(5..6, if changed.as_bytes()[5] == b'A' { "B" } else { "A" });
    for malformed in ["", "nonsense", &position.cursor[1..], &changed, &"A".repeat(129)] {
        let refusal = client.watch_refused(from(malformed));
        assert_eq!(
            (refusal.code, &*refusal.reason),
            (Code::InvalidArgument, "CURSOR_MALFORMED"),
            "{malformed}"
        );
        assert_eq!(refusal.metadata["field"], "cursor");
        // Nor does a reset help.
        let refusal =
            client.watch_refused(WatchEventsRequest { on_gap: OnGap::Resnapshot.into(), ..from(malformed) });
        assert_eq!(refusal.reason, "CURSOR_MALFORMED");
    }
}

#[test]
fn guarantee_8_loud_below_the_floor() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 12] = repo.history();
    let mut daemon = Daemon::start(&world);
    let recorder = daemon.client().record_snapshot();
    for commit in &commits {
        repo.update(&format!("update refs/heads/main {commit}\n"));
        daemon.client().sync();
    }
    let first = recorder.settle(&daemon.client()).events.swap_remove(0);
    daemon.stop();
    let daemon = Options::new(&world).set("store.retention_events_max", "5").start();
    let client = daemon.client();
    let began = Instant::now();
    while client.position(GetPositionRequest::default()).expect("told").floor_sequence == 1 {
        assert!(began.elapsed() < DEADLINE, "the floor rises");
        std::thread::sleep(Duration::from_millis(50));
    }
    let position = client.sync();
    let refusal = client.watch_refused(from(&first.cursor));
    assert_eq!((refusal.code, &*refusal.reason), (Code::OutOfRange, "CURSOR_EXPIRED"));
    assert_eq!(refusal.metadata["cursor_sequence"], first.sequence.to_string());
    assert_eq!(refusal.metadata["floor_sequence"], position.floor_sequence.to_string());
    assert_eq!(refusal.metadata["floor_cursor"], position.floor_cursor);
    // From there on nothing is missing.
    let rest = client.record_from(&position.floor_cursor).settle(&client).sequences();
    assert_eq!(rest, (position.floor_sequence..=position.last_sequence).collect::<Vec<_>>());
    let recording = resnapshot(&client, &first.cursor, ResetReason::CursorExpired).now();
    assert_eq!(recording.resets[0].lost_first_sequence, first.sequence + 1);
    assert_eq!(recording.resets[0].lost_last_sequence, position.floor_sequence - 1);
    refwatch_tests::validate::all(&recording, &client.on_disk(&[&repo]));
}
