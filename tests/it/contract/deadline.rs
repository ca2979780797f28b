//! A stream ends when its client said that it would stop waiting, also where the client itself forgets.

use std::time::{Duration, Instant};

use refwatch_proto::v1::Now;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_tests::{DEADLINE, Lens, Mode, Recorder, http, request, validate};
use tonic::Code;

use super::scene::Scene;

const PATIENCE: Duration = Duration::from_millis(700);

#[test]
fn a_deadline_ends_the_stream_and_its_last_cursor_goes_on() {
    let mut scene = Scene::new();
    let mut streams = Vec::new();
    for mode in Mode::ALL {
        let (start, after) = scene.start(mode);
        for lens in [Lens::everything(), Lens::nothing()] {
            let began = Instant::now();
            let ask = request(start.clone(), lens.filter.clone());
            let stream = scene.client.watch_for(ask, PATIENCE).expect("accepted");
            streams.push((mode, lens, after, began, stream));
        }
    }
    scene.act();
    let log = scene.log();
    for (mode, lens, after, began, mut stream) in streams {
        println!("{mode:?}, {lens:?}");
        let (mut cursor, mut events) = (String::new(), Vec::new());
        let status = loop {
            assert!(began.elapsed() < DEADLINE, "it does not end");
            match stream.next() {
                Ok(Kind::Started(started)) => cursor = started.cursor,
                Ok(Kind::SnapshotEnd(end)) => cursor = end.cursor,
                Ok(Kind::Progress(progress)) => cursor = progress.cursor,
                Ok(Kind::Events(batch)) => {
                    cursor = batch.cursor;
                    events.extend(batch.events);
                }
                Ok(Kind::SnapshotBegin(_) | Kind::SnapshotRefs(_) | Kind::Reset(_)) => {}
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
        assert!(
            status.message().contains("the deadline of the call has passed"),
            "by the server: {status:?}"
        );
        assert!(began.elapsed() >= PATIENCE, "not before");
        let ask = request(Start::Cursor(cursor), lens.filter.clone());
        events.extend(Recorder::start(&scene.client, ask).settle(&scene.client).events);
        validate::delivered(&log, after, &lens, &events);
    }
    let counted = r#"refwatch_grpc_requests_total{method="WatchEvents",code="DEADLINE_EXCEEDED"}"#;
    assert_eq!(http::metric(scene.daemon.http(), counted), Some(10.0));
    scene.daemon.wait_metric_is("refwatch_subscribers", 0);
    // Without one it is served on.
    let recorder = scene.client.record(Start::Now(Now {}));
    scene.act();
    validate::atomic_but_filtered(&recorder.settle(&scene.client).events);
}
