//! Every limit has an answer of its own.

use std::time::Instant;

use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{Earliest, GetPositionRequest, Now, SnapshotThenWatch, WatchEventsRequest};
use refwatch_tests::{DEADLINE, Options, Refusal, World, filter, request, validate};
use tonic::Code;

use crate::stage::Stage;

fn now() -> WatchEventsRequest {
    request(Start::Now(Now {}), filter())
}

#[test]
fn guarantee_10_bounded() {
    let world = World::new();
    let repo = world.repo("a.git");
    let stage = Stage::over(Options::new(&world).set("grpc.subscribers_max", "2"), world, repo);
    let client = &stage.client;
    let limits = client.info().limits.expect("told");
    assert_eq!(limits.subscribers_max, 2);
    let told = [
        limits.batch_bytes_default,
        limits.batch_bytes_max,
        limits.progress_interval_ms_default,
        limits.progress_interval_ms_min,
        limits.progress_interval_ms_max,
        limits.stall_ms_max,
        limits.page_size_max,
        limits.ref_page_size_max,
        limits.globs_max,
        limits.glob_bytes_max,
        limits.repository_ids_max,
        limits.sync_timeout_ms_max,
    ];
    assert!(told.iter().all(|limit| *limit > 0), "{limits:?}");
    // The recorder of the stage has one of two streams.
    let second = client.watch(now()).expect("accepted");
    let refusal = client.watch_refused(now());
    assert_eq!((refusal.code, &*refusal.reason), (Code::ResourceExhausted, "TOO_MANY_SUBSCRIBERS"));
    assert_eq!((refusal.metadata["limit"].as_str(), refusal.retry), ("2", true));
    drop(second);
    let began = Instant::now();
    while client.watch(now()).and_then(|mut stream| stream.next()).is_err() {
        assert!(began.elapsed() < DEADLINE, "a stream that ends makes room");
    }
    let late = GetPositionRequest {
        timeout_ms: limits.sync_timeout_ms_max + 1,
        sync: true,
        ..GetPositionRequest::default()
    };
    let refusal = Refusal::of(&client.position(late).expect_err("refused"));
    assert_eq!((refusal.code, &*refusal.reason), (Code::InvalidArgument, "FIELD_OUT_OF_BOUNDS"));
}

#[test]
fn guarantee_10_bounded_batches() {
    let stage = Stage::plain();
    let [one] = stage.repo.history();
    let lines: String = (0..300).map(|index| format!("create refs/heads/branch-{index} {one}\n")).collect();
    stage.repo.update(&lines);
    let whole = stage.validate();
    assert_eq!(whole.events.len(), 301);
    for start in [Start::Earliest(Earliest {}), Start::Snapshot(SnapshotThenWatch {})] {
        let request = WatchEventsRequest { max_batch_bytes: 4_096, ..request(start.clone(), filter()) };
        let mut stream = stage.client.watch(request).expect("accepted");
        let (mut parts, mut items) = (0, 0);
        while items < 301 {
            let message = stream.next().expect("more");
            let count = match &message {
                Kind::Events(batch) => batch.events.len(),
                Kind::SnapshotRefs(part) => part.refs.len(),
                Kind::Started(_)
                | Kind::SnapshotBegin(_)
                | Kind::SnapshotEnd(_)
                | Kind::Progress(_)
                | Kind::Reset(_) => continue,
            };
            let size =
                prost::Message::encoded_len(&refwatch_proto::v1::WatchEventsResponse { kind: Some(message) });
            assert!(size <= 4_096 || count == 1, "{size} bytes with {count}");
            parts += 1;
            items += count;
        }
        assert!(parts > 5, "{parts} messages for {start:?}");
    }
}

#[test]
fn guarantee_10_bounded_patience_with_a_client_that_takes_nothing() {
    let world = World::new();
    let repo = world.repo("a.git");
    let stage = Stage::over(Options::new(&world).set("grpc.stall_timeout_s", "1"), world, repo);
    let [one, two] = stage.repo.history();
    // More than fits into every buffer on the way.
    for oid in [&one, &two, &one] {
        let lines: String =
            (0..4_000).map(|index| format!("update refs/heads/branch-{index} {oid}\n")).collect();
        stage.repo.update(&lines);
        // Polled, the next values would hide these.
        stage.client.sync();
    }
    let whole = stage.validate();
    let idle = stage.daemon.client();
    let mut stream = idle.watch(request(Start::Earliest(Earliest {}), filter())).expect("accepted");
    stage.daemon.wait_metric(r#"refwatch_subscriptions_ended_total{reason="slow_consumer"}"#, 1.0);
    let mut events = Vec::new();
    let status = loop {
        match stream.next() {
            Ok(Kind::Events(batch)) => events.extend(batch.events),
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    let refusal = Refusal::of(&status);
    assert_eq!((refusal.code, &*refusal.reason), (Code::ResourceExhausted, "SLOW_CONSUMER"), "{refusal:?}");
    assert_eq!(refusal.metadata["limit_ms"], "1000");
    // Nothing is lost to who goes on from where it was left.
    events.retain(|event| event.sequence > whole.base_sequence());
    let rest = stage.client.record_from(&refusal.metadata["cursor"]).settle(&stage.client);
    events.extend(rest.events);
    validate::unique(&events);
    assert_eq!(events.len(), whole.events.len());
    validate::ordered(&events);
}
