//! What the log has lost is told, to whoever was away: at the start of a stream, whatever it filters. Who is connected is
//! in `slow.rs`.

use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{
    GetPositionRequest, ListEventsRequest, OnGap, ResetReason, WatchEventsRequest, list_events_request,
};
use refwatch_tests::{Mode, Options, Recorder, Refusal, request, validate};
use tonic::Code;

use super::scene::{Scene, at};

#[test]
fn a_start_below_the_floor_is_refused_or_bridged_under_every_filter() {
    let mut scene = Scene::new();
    let every = scene.log();
    for _ in 0..3 {
        scene.act();
    }
    let old = every.iter().rfind(|event| event.transaction.as_ref().is_some_and(|of| of.index == 1));
    let old = old.expect("a transaction of several");
    let last = scene.client.sync().last_sequence;
    // The first round of retention is at the start, and the next much later: where it leaves the floor it stays.
    scene.daemon.stop();
    scene.daemon = Options::new(&scene.world).set("store.retention_events_max", "60").start();
    scene.client = scene.daemon.client();
    scene.daemon.wait_metric("refwatch_log_floor_sequence", 2.0);
    let log = scene.log();
    let position = scene.client.position(GetPositionRequest::default()).expect("told");
    assert!(position.floor_sequence > old.sequence + 1, "{position:?}");
    let expired = |refusal: Refusal, sequence: u64| {
        assert_eq!((refusal.code, &*refusal.reason), (Code::OutOfRange, "CURSOR_EXPIRED"));
        assert_eq!(refusal.metadata["cursor_sequence"], sequence.to_string());
        assert_eq!(refusal.metadata["floor_sequence"], position.floor_sequence.to_string());
        assert_eq!(refusal.metadata["floor_cursor"], position.floor_cursor);
        assert_eq!(refusal.metadata["epoch"], position.epoch);
    };
    let every_ref = scene.client.refs(100).0;
    for lens in scene.lenses() {
        println!("{lens:?}");
        let start = Some(list_events_request::Start::AfterCursor(old.cursor.clone()));
        let list =
            ListEventsRequest { filter: Some(lens.filter.clone()), start, ..ListEventsRequest::default() };
        expired(Refusal::of(&scene.client.list_events(list).expect_err("refused")), old.sequence);
        // A time tells of no sequence that was seen: everything before the floor is lost.
        for (start, seen) in
            [(Start::Cursor(old.cursor.clone()), old.sequence), (Start::SinceUs(old.observed_at_us), 0)]
        {
            let ask = request(start, lens.filter.clone());
            expired(scene.client.watch_refused(ask.clone()), seen);
            let bridged = WatchEventsRequest { on_gap: OnGap::Resnapshot.into(), ..ask };
            let recorder = Recorder::start(&scene.client, bridged);
            let recording = recorder.wait("the snapshot is whole", |now| now.whole);
            assert_eq!(recording.started.expect("it began").cursor, "", "nothing to resume from yet");
            let [reset] = recording.resets.as_slice() else { panic!("one reset: {:?}", recording.resets) };
            assert_eq!(reset.reason(), ResetReason::CursorExpired);
            assert_eq!(
                (reset.lost_first_sequence, reset.lost_last_sequence),
                (seen + 1, position.floor_sequence - 1)
            );
            assert_eq!(reset.epoch, position.epoch);
            validate::shown(&lens, &every_ref, &recording.refs);
            assert_eq!(at(&recording.trail[0].0), position.last_sequence);
        }
        // What begins at the floor misses nothing of what is left.
        for mode in Mode::ALL {
            let (start, after) = scene.start(mode);
            let recorder = Recorder::start(&scene.client, request(start, lens.filter.clone()));
            validate::delivered(&log, after, &lens, &scene.settle_at(&recorder, last).events);
        }
    }
    let from_floor = scene.client.record_from(&position.floor_cursor);
    assert_eq!(scene.settle_at(&from_floor, last).events, log);
}
