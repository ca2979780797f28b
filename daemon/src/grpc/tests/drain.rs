//! How the server stops.

use std::time::{Duration, Instant};

use refwatch_proto::v1::watch_events_response::Kind;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use super::harness::*;

#[tokio::test]
async fn streams_say_goodbye_with_a_cursor() {
    let mut harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    let mut watcher = harness.watch(now()).await;
    let last = harness.change(&mut repo, &[("refs/heads/main", Some(1))]);
    watcher.events_to(last).await;
    harness.drain.cancel();
    let Kind::Progress(progress) = watcher.next().await.unwrap() else { panic!("no goodbye") };
    assert!(progress.draining);
    assert_eq!(progress.cursor, harness.cursor(last));
    let status = watcher.end().await;
    let (reason, metadata) = told(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::Unavailable, "SERVER_DRAINING"));
    assert_eq!(metadata["cursor"], progress.cursor);
    assert!(status.get_error_details().retry_info().is_some());
    harness.server.join_next().await.unwrap().unwrap();
}

#[tokio::test]
async fn a_drain_waits_for_nobody_who_watches_the_health_or_is_idle() {
    let mut harness = Harness::with(|settings| settings.grpc.drain_timeout = PATIENCE).await;
    let idle = harness.client().await;
    let mut health = HealthClient::new(harness.channel().await);
    let mut watched = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let mut next = async || watched.message().await.unwrap().map(|message| message.status());
    while next().await != Some(ServingStatus::Serving) {}
    let began = Instant::now();
    harness.drain.cancel();
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    harness.server.join_next().await.unwrap().unwrap();
    assert!(began.elapsed() < PATIENCE / 2);
    drop(idle);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_is_bounded_whoever_takes_nothing() {
    let mut harness =
        Harness::with(|settings| settings.grpc.drain_timeout = Duration::from_millis(400)).await;
    let mut repo = harness.repository("a.git");
    let mut stuck = harness.watch(now()).await;
    harness.fill(&mut repo, 20, 1_000);
    harness.drain.cancel();
    harness.server.join_next().await.unwrap().unwrap();
    assert_eq!(harness.subscriptions.count(), 0);
    let mut seen = 1;
    let status = loop {
        match stuck.next().await {
            Ok(Kind::Events(batch)) => seen = batch.events.last().unwrap().sequence,
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert_eq!(told(&status).1["cursor"], harness.cursor(seen));
}

#[tokio::test]
async fn nothing_new_begins_while_draining() {
    let harness = Harness::start().await;
    harness.drain.cancel();
    let request = now();
    let refused = harness.subscriptions.open(&request, crate::subscriptions::Caller::default()).await;
    assert!(matches!(refused, Err(crate::status::Failure::Draining { .. })));
}
