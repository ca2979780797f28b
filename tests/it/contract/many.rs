//! A thousand subscribers, which is what there may be by default.

use refwatch_proto::v1::WatchEventsRequest;
use refwatch_tests::{Client, Lens, Mode, Recorder, request, validate};
use tonic::Code;

use super::scene::Scene;

const SUBSCRIBERS: usize = 1_000;

/// Streams of one connection.
const STREAMS: usize = 250;

#[test]
fn a_thousand_subscribers_each_get_what_is_due() {
    let mut scene = Scene::new();
    let clients: Vec<Client> = (0..SUBSCRIBERS / STREAMS).map(|_| scene.daemon.client()).collect();
    let starts = Mode::ALL.map(|mode| scene.start(mode));
    let ask = |number: usize| {
        let (start, after) = starts[number % starts.len()].clone();
        let mut lenses = scene.lenses();
        let lens: Lens = lenses.swap_remove(number / starts.len() % lenses.len());
        // Seldom: ten a second from each would be most of what this measures.
        let request =
            WatchEventsRequest { progress_interval_ms: 2_000, ..request(start, lens.filter.clone()) };
        (request, after, lens)
    };
    let lens_of: Vec<_> = (0..SUBSCRIBERS).map(ask).collect();
    let mut watched = Vec::new();
    for (number, (request, after, lens)) in lens_of.into_iter().enumerate() {
        let recorder = Recorder::start(&clients[number / STREAMS], request);
        watched.push((recorder, after, lens));
    }
    let (request, _) = scene.start(Mode::Now);
    let refusal = scene.client.watch_refused(refwatch_tests::request(request, Lens::everything().filter));
    assert_eq!((refusal.code, &*refusal.reason), (Code::ResourceExhausted, "TOO_MANY_SUBSCRIBERS"));
    assert_eq!((refusal.metadata["limit"].as_str(), refusal.retry), ("1000", true));
    scene.act();
    let log = scene.log();
    let last = log.last().expect("a history").sequence;
    for (recorder, after, lens) in &watched {
        let recording = recorder.wait("everything has passed", |now| now.sequence >= last);
        validate::delivered(&log, *after, lens, &recording.events);
    }
    drop(watched);
    scene.daemon.wait_metric_is("refwatch_subscribers", 0);
}
