//! A connection that breaks after any number of bytes costs nothing but a reconnection.

use refwatch_proto::v1::WatchEventsRequest;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_tests::{Client, Lens, Mode, Proxy, Random, Recorder, Recording, Refusal, request, validate};

use super::scene::{Scene, at};
use crate::guarantees::seed;

/// Cuts of each stream.
const CUTS: usize = 6;

/// Bytes after which it is cut: within the handshake, within a message, or several messages on; less where little comes.
const BYTES_MAX: usize = 2_500;
const FEW_BYTES_MAX: usize = 600;

/// Goes on until a connection is accepted; how often it was not.
fn persist(proxy: &Proxy, recorder: &mut Recorder, mut bytes: impl FnMut() -> usize) -> usize {
    let mut refused = 0;
    while let Err(status) = recorder.try_resume(&Client::connect(proxy.address)) {
        assert_eq!(Refusal::of(&status).reason, "", "no word of the server, but of the connection");
        // A connection that is left behind may still bring something: it is not to use up what is for the next one.
        proxy.cut();
        proxy.cut_after(bytes());
        refused += 1;
    }
    refused
}

#[test]
fn every_start_and_filter_survives_cuts_after_any_number_of_bytes() {
    let mut scene = Scene::new();
    let mut random = Random::new(seed() ^ 0xc07);
    let mut refused = 0;
    for mode in Mode::ALL {
        let count = scene.lenses().len();
        // Everything, which is most, and another one.
        for index in [0, 1 + random.below(count - 1)] {
            let lens: Lens = scene.lenses().swap_remove(index);
            println!("{mode:?}, {lens:?}");
            let (start, after) = scene.start(mode);
            let ask =
                WatchEventsRequest { max_batch_bytes: 1_024, ..request(start.clone(), lens.filter.clone()) };
            let proxy = Proxy::start(scene.daemon.grpc());
            let mut bytes = || random.below(if index == 0 { BYTES_MAX } else { FEW_BYTES_MAX });
            // From now on means from the first message: that one has to come.
            let now = matches!(start, Start::Now(_));
            proxy.cut_after(if now { usize::MAX } else { bytes() });
            let mut recorder = loop {
                match Recorder::try_start(&Client::connect(proxy.address), ask.clone()) {
                    Ok(recorder) => break recorder,
                    Err(_) => {
                        proxy.cut();
                        proxy.cut_after(bytes());
                    }
                }
            };
            if now {
                recorder.wait("it begins", |recording| recording.started.is_some());
                proxy.cut_after(bytes());
            }
            scene.act();
            for _ in 0..CUTS {
                recorder.wait("it is cut", |recording| recording.ended.is_some());
                proxy.cut();
                proxy.cut_after(bytes());
                refused += persist(&proxy, &mut recorder, &mut bytes);
            }
            proxy.cut_after(usize::MAX);
            let last = scene.client.sync().last_sequence;
            let is_over = |recording: &Recording| {
                recording.sequence >= last && (recording.whole || mode != Mode::Snapshot)
            };
            // The last cut may still be under way.
            while !is_over(&recorder.wait("it is cut or has all", |now| now.ended.is_some() || is_over(now)))
            {
                drop(recorder.try_resume(&Client::connect(proxy.address)));
            }
            let recording = recorder.now();
            let after = if mode == Mode::Snapshot { at(&recording.trail[0].0) } else { after };
            validate::delivered(&scene.log(), after, &lens, &recording.events);
            validate::bookmarked(&recording);
            if index == 0 && mode == Mode::Snapshot {
                scene.hold_truth(&recording);
            }
        }
    }
    assert!(refused > 0, "also within handshakes");
}
