//! Subscribers of different speed.

use std::time::Duration;

use refwatch_ops::metrics::LogSource;
use refwatch_proto::v1::watch_events_response::Kind;
use tonic::Code;

use super::harness::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_is_served_from_the_log_and_loses_nothing() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    let mut slow = harness.watch(now()).await;
    let mut fast = harness.watch(now()).await;
    slow.next().await.unwrap();
    // More than memory holds of recent events.
    for _ in 0..40 {
        harness.fill(&mut repo, 1, 1_000);
        fast.events_to(harness.last()).await;
    }
    let last = harness.last();
    assert!(harness.subscriptions.lag_max() > 20_000);
    assert_eq!(harness.subscriptions.list()[0].lag_events, harness.subscriptions.lag_max());
    let events = slow.events_to(last).await;
    assert_eq!(sequences(&events), (2..=last).collect::<Vec<_>>());
    assert!(harness.metrics.log_reads.value(LogSource::Disk) > 0);
    until("nobody being behind", || harness.subscriptions.lag_max() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_subscriber_does_not_hold_up_a_fast_one() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    let mut fast = harness.watch(now()).await;
    let stuck = harness.watch(now()).await;
    for _ in 0..30 {
        harness.fill(&mut repo, 1, 500);
        fast.events_to(harness.last()).await;
    }
    drop(stuck);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_nothing_for_too_long_is_told_where_to_start_again() {
    let harness = Harness::with(|settings| settings.grpc.stall_timeout = Duration::from_millis(300)).await;
    let mut repo = harness.repository("a.git");
    let mut stuck = harness.watch(now()).await;
    harness.fill(&mut repo, 20, 1_000);
    let last = harness.last();
    until("the stream being ended", || harness.subscriptions.count() == 0).await;
    // What was on its way still comes, then the status, whose cursor continues without a gap or a repetition.
    let mut seen = 1;
    let status = loop {
        match stuck.next().await {
            Ok(Kind::Events(batch)) => {
                assert_eq!(batch.events[0].sequence, seen + 1);
                seen = batch.events.last().unwrap().sequence;
            }
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    let (reason, metadata) = told(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::ResourceExhausted, "SLOW_CONSUMER"));
    assert_eq!(metadata["cursor"], harness.cursor(seen));
    assert!(seen < last);
    let rest = harness.watch(from_cursor(metadata["cursor"].clone())).await.events_to(last).await;
    assert_eq!(rest[0].sequence, seen + 1);
}
