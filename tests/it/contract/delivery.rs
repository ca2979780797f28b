//! Whoever watches gets what is due: all of it, nothing else, however the stream starts and whatever it filters.

use refwatch_tests::{Mode, validate};

use super::scene::{Scene, at};

#[test]
fn every_start_and_every_filter_gets_exactly_what_is_due() {
    let mut scene = Scene::new();
    let every = scene.client.refs(100).0;
    let watched = scene.watch();
    for _ in 0..2 {
        scene.act();
    }
    let log = scene.log();
    for seen in &watched {
        println!("{}", seen.name());
        let recording = scene.settle(seen);
        validate::delivered(&log, seen.after, &seen.lens, &recording.events);
        let started = recording.started.as_ref().expect("it began");
        match seen.mode {
            Mode::Snapshot => {
                assert_eq!(started.cursor, "", "there is nothing to resume from yet");
                validate::shown(&seen.lens, &every, &recording.refs);
                assert_eq!(at(&recording.trail[0].0), seen.after);
                if seen.lens.name == "everything" {
                    scene.hold_truth(&recording);
                }
            }
            Mode::Cursor | Mode::Earliest | Mode::Now | Mode::Since => {
                assert_eq!(at(&started.cursor), seen.after);
            }
        }
    }
    assert_eq!(watched.len(), 45);
    // Of some kinds there is something, or this would say little.
    let with_events = watched.iter().filter(|seen| !seen.recorder.now().events.is_empty()).count();
    assert_eq!(with_events, 40, "all but those that ask for nothing");
}
