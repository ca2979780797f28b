//! A peer that vanishes without a word is found out, and costs nothing from then on.

use refwatch_proto::v1::WatchEventsRequest;
use refwatch_tests::{Client, Lens, Mode, Proxy, Recorder, request, validate};

use super::scene::Scene;

/// Longer than any test: the server is not to find out by sending something.
const SILENT_MS: u32 = 600_000;

#[test]
fn a_peer_that_vanishes_without_a_word_is_found_out_by_keepalive() {
    let mut scene = Scene::with(|options| options.set("grpc.keepalive_s", "1"));
    let proxy = Proxy::start(scene.daemon.grpc());
    let far = Client::connect(proxy.address);
    let mut watched = Vec::new();
    for mode in Mode::ALL {
        let (start, after) = scene.start(mode);
        let ask = WatchEventsRequest {
            progress_interval_ms: SILENT_MS,
            ..request(start, Lens::everything().filter)
        };
        watched.push((mode, after, Recorder::start(&far, ask)));
    }
    scene.daemon.wait_metric_is("refwatch_subscribers", 5);
    proxy.freeze();
    scene.act();
    scene.daemon.wait_metric_is("refwatch_subscribers", 0);
    scene.daemon.wait_metric_is(r#"refwatch_subscriptions_ended_total{reason="client"}"#, 5);
    let log = scene.log();
    for (mode, after, mut recorder) in watched {
        println!("{mode:?}");
        // Its own end learns of it when it comes back.
        recorder.resume(&scene.client);
        validate::delivered(&log, after, &Lens::everything(), &recorder.settle(&scene.client).events);
    }
    // Who answers stays, however silent.
    let ask = WatchEventsRequest {
        progress_interval_ms: SILENT_MS,
        ..request(scene.start(Mode::Now).0, Lens::nothing().filter)
    };
    let near = Recorder::start(&scene.client, ask);
    let other = Proxy::start(scene.daemon.grpc());
    let vanishing = Client::connect(other.address).record_snapshot();
    other.freeze();
    scene.daemon.wait_metric_is(r#"refwatch_subscriptions_ended_total{reason="client"}"#, 11);
    assert!(!near.has_ended());
    drop(vanishing);
}
