//! A server that stops says so on every stream, with the cursor to go on from.

use refwatch_proto::limits;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{Earliest, EventFilter, WatchEventsRequest};
use refwatch_tests::{Bulk, Options, Recorder, Refusal, World, request, validate};
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

#[test]
fn what_was_on_its_way_when_the_server_drained_comes_after_the_restart() {
    const BRANCHES: usize = 4000;
    const ROUNDS: usize = 6;
    let world = World::new();
    let mut daemon = Options::new(&world).start();
    let mut bulk = Bulk::new(&world, "app.git", BRANCHES);
    let mut recorders: Vec<Recorder> = (0..6)
        .map(|_| {
            let start = Start::Earliest(Earliest {});
            // Many messages, so that the end falls among them.
            let request = WatchEventsRequest {
                max_batch_bytes: limits::BATCH_BYTES_MIN,
                ..request(start, EventFilter::default())
            };
            Recorder::start(&daemon.client(), request)
        })
        .collect();
    for round in 0..ROUNDS {
        let before = recorders[0].settle(&daemon.client()).sequence;
        bulk.step();
        let what = format!("round {round} begins to come");
        recorders[0]
            .wait(&what, |recording| recording.sequence > before + (round * BRANCHES / ROUNDS) as u64);
        daemon.terminate();
        for recorder in &recorders {
            assert_eq!(recorder.wait_end().code(), Code::Unavailable);
        }
        assert!(daemon.wait().success());
        daemon.restart();
        recorders.iter_mut().for_each(|recorder| recorder.resume(&daemon.client()));
    }
    for recorder in &recorders {
        let recording = recorder.settle(&daemon.client());
        let came = recording.sequences();
        let wrong = came.iter().zip(1..).find(|(came, due)| *came != due);
        assert_eq!(wrong, None, "what came (left) is not what was due (right)");
        assert_eq!(came.last(), Some(&recording.sequence));
    }
}
