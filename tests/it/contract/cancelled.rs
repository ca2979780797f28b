//! A stream that its client leaves, in whatever way, leaves nothing behind.

use refwatch_proto::v1::WatchEventsRequest;
use refwatch_tests::{Client, Mode, Proxy, http, request};

use super::scene::Scene;

/// Longer than any test: the server is not to find out by sending something.
const SILENT_MS: u32 = 600_000;

#[test]
fn whoever_leaves_frees_its_place_at_once() {
    let mut scene = Scene::new();
    let metric = |name: &str| http::metric(scene.daemon.http(), name).unwrap_or_default();
    let ended = r#"refwatch_subscriptions_ended_total{reason="client"}"#;
    let requests = || {
        let kinds = Mode::ALL.into_iter().flat_map(|mode| {
            let (start, _) = scene.start(mode);
            scene.lenses().into_iter().map(move |lens| request(start.clone(), lens.filter))
        });
        let silent = |request| WatchEventsRequest { progress_interval_ms: SILENT_MS, ..request };
        kinds.map(silent).collect::<Vec<_>>()
    };
    let open = |client: &Client| {
        let streams: Vec<_> =
            requests().into_iter().map(|request| client.watch(request).expect("accepted")).collect();
        scene.daemon.wait_metric_is("refwatch_subscribers", 45);
        streams
    };
    // Cancelled before anything was read, one by one, on a connection that stays.
    let client = scene.daemon.client();
    drop(open(&client));
    scene.daemon.wait_metric_is("refwatch_subscribers", 0);
    // Cancelled after the first message.
    let mut streams = open(&client);
    streams.iter_mut().for_each(|stream| drop(stream.next().expect("it begins")));
    drop(streams);
    scene.daemon.wait_metric_is("refwatch_subscribers", 0);
    // Cut off, all at once.
    let proxy = Proxy::start(scene.daemon.grpc());
    let streams = open(&Client::connect(proxy.address));
    proxy.cut();
    scene.daemon.wait_metric_is("refwatch_subscribers", 0);
    drop(streams);
    assert_eq!(
        (metric(ended), metric("refwatch_subscriptions_total")),
        (135.0, 135.0),
        "each is counted once"
    );
    assert_eq!(metric("refwatch_subscriber_lag_events_max"), 0.0);
    // And those who stay are served.
    let recorder = scene.client.record_snapshot();
    scene.act();
    scene.hold_truth(&recorder.settle(&scene.client));
}
