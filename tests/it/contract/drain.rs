//! A server that stops says so on every stream, with the cursor to go on from.

use refwatch_proto::v1::watch_events_request::Start;
use refwatch_tests::{Recorder, Refusal, request, validate};
use tonic::Code;

use super::scene::Scene;

#[test]
fn every_stream_is_told_that_the_server_drains_and_goes_on_after_the_restart() {
    let mut scene = Scene::new();
    let mut watched = scene.watch();
    scene.act();
    scene.daemon.terminate();
    let mut ended = Vec::new();
    for seen in &watched {
        println!("{}", seen.name());
        let refusal = Refusal::of(&seen.recorder.wait_end());
        let recording = seen.recorder.now();
        assert_eq!((refusal.code, &*refusal.reason), (Code::Unavailable, "SERVER_DRAINING"), "{refusal:?}");
        assert!(refusal.retry, "with the time after which to try again");
        assert!(recording.draining, "a last progress says so");
        assert_eq!(refusal.metadata["cursor"], recording.cursor);
        ended.push(recording);
    }
    assert!(scene.daemon.wait().success());
    scene.daemon.restart();
    scene.client = scene.daemon.client();
    scene.act();
    let log = scene.log();
    for (seen, recording) in watched.iter_mut().zip(ended) {
        println!("{}", seen.name());
        validate::bookmarked(&recording);
        seen.recorder.resume(&scene.client);
        let recording = scene.settle(seen);
        validate::delivered(&log, seen.after, &seen.lens, &recording.events);
    }
    // A cursor of before serves anyone.
    let cursor = Start::Cursor(watched[0].recorder.now().cursor);
    let rest = Recorder::start(&scene.client, request(cursor, watched[0].lens.filter.clone()));
    assert_eq!(rest.settle(&scene.client).events, []);
}
