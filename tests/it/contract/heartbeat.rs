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

fn now_us() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("before the year 294246")
}

/// Messages that are looked at.
const BEATS: usize = 4;

#[test]
fn progress_tells_where_the_log_stands_and_when() {
    let mut scene = Scene::new();
    let ask = WatchEventsRequest {
        progress_interval_ms: 300,
        ..request(Start::Now(Now {}), Lens::nothing().filter)
    };
    let mut stream = scene.client.watch(ask).expect("accepted");
    assert!(matches!(stream.next(), Ok(Kind::Started(_))));
    let (before, began_us) = (scene.client.sync().last_sequence, now_us());
    scene.act();
    let after = scene.client.sync().last_sequence;
    let mut came: Vec<Progress> = Vec::new();
    while came.len() < BEATS || came.last().is_none_or(|last| last.sequence < after) {
        came.push(progress(&mut stream));
    }
    for next in &came {
        assert_eq!(at(&next.cursor), next.sequence);
        assert!((before..=after).contains(&next.sequence) && next.last_sequence >= next.sequence);
        assert!(!next.draining && next.floor_sequence == 1);
        assert!((began_us..=now_us()).contains(&next.observed_at_us), "by the clock: {next:?}");
    }
    for pair in came.windows(2) {
        assert!(pair[1].sequence >= pair[0].sequence, "{pair:?}");
        // Not sooner: it says that nothing else was sent for so long.
        assert!(pair[1].observed_at_us - pair[0].observed_at_us >= 250_000, "{pair:?}");
    }
}
