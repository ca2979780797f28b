//! No stream is silent for longer than it asked for, and its cursor moves on also while nothing passes its filter.

use refwatch_proto::v1::Progress;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{Now, WatchEventsRequest};
use refwatch_tests::{Lens, Stream, request, validate};

use super::scene::{Scene, at};

#[test]
fn progress_comes_on_every_stream_and_passes_what_is_filtered_out() {
    let mut scene = Scene::new();
    let watched = scene.watch();
    scene.act();
    let last = scene.client.sync().last_sequence;
    let mut beats = Vec::new();
    for seen in &watched {
        println!("{}", seen.name());
        let recording = seen.recorder.wait("it has passed everything", |now| now.sequence >= last);
        validate::bookmarked(&recording);
        beats.push(recording.progress);
    }
    // And it goes on coming, while nothing happens.
    for (seen, before) in watched.iter().zip(beats) {
        let recording = seen.recorder.wait("more of them", |now| now.progress > before + 1);
        assert_eq!(at(&recording.cursor), last, "up to the end of the log");
        assert_eq!(recording.floor, 1);
    }
}

/// The next message, which is a Progress.
fn progress(stream: &mut Stream) -> Progress {
    let next = stream.next().expect("the stream goes on");
    let Kind::Progress(progress) = next else { panic!("nothing but progress is due: {next:?}") };
    progress
}

#[test]
fn progress_tells_where_the_log_stands_and_when() {
    let mut scene = Scene::new();
    let ask = WatchEventsRequest {
        progress_interval_ms: 300,
        ..request(Start::Now(Now {}), Lens::nothing().filter)
    };
    let mut stream = scene.client.watch(ask).expect("accepted");
    assert!(matches!(stream.next(), Ok(Kind::Started(_))));
    let before = scene.client.sync().last_sequence;
    scene.act();
    let after = scene.client.sync().last_sequence;
    let mut last: Option<Progress> = None;
    while last.as_ref().is_none_or(|last| last.sequence < after) {
        let next = progress(&mut stream);
        assert_eq!(at(&next.cursor), next.sequence);
        assert!((before..=after).contains(&next.sequence) && next.last_sequence >= next.sequence);
        assert!(!next.draining && next.floor_sequence == 1);
        if let Some(last) = &last {
            assert!(next.sequence >= last.sequence, "{next:?} after {last:?}");
            let silence_us = next.observed_at_us - last.observed_at_us;
            // Not sooner: it says that nothing else was sent for so long.
            assert!(silence_us >= 250_000, "{silence_us} us after the last");
        }
        last = Some(next);
    }
}
