//! Figures, printed by hand:
//! `cargo test --release -p refwatch-daemon throughput -- --ignored --nocapture --test-threads 1`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use prost::Message as _;
use refwatch_core::ObjectFormat;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{self, EventFilter};
use tokio::task::JoinSet;

use super::harness::*;
use crate::wire::{Encoder, Place};

fn rate(what: &str, count: u64, began: Instant) {
    let seconds = began.elapsed().as_secs_f64();
    println!("{what}: {count} in {seconds:.2} s = {:.0} a second", count as f64 / seconds);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn throughput_of_the_encoder() {
    const ROUNDS: u64 = 2_000;
    let harness = Harness::start().await;
    let mut repo = harness.repository("team/app.git");
    let events = harness.commit({
        let names: Vec<_> = (0..1_000).map(|n| format!("refs/heads/branch-{n:07}")).collect();
        repo.commit(&names.iter().map(|name| (name.as_str(), Some(1))).collect::<Vec<_>>())
    });
    let place = Place::new(repo.uid, b"team/app.git", ObjectFormat::Sha1);
    let encoder = Encoder::new(harness.log.identity());
    let mut out = Vec::with_capacity(1 << 20);
    let began = Instant::now();
    for _ in 0..ROUNDS {
        out.clear();
        events.iter().for_each(|logged| encoder.append(&mut out, logged, &place));
        black_box(&out);
    }
    rate("encoded by hand", ROUNDS * 1_000, began);
    let batch = v1::EventBatch::decode(out.as_slice()).unwrap();
    println!("{} bytes an event", out.len() / 1_000);
    let began = Instant::now();
    for _ in 0..ROUNDS / 4 {
        black_box(v1::EventBatch { events: batch.events.clone(), cursor: String::new() }.encode_to_vec());
    }
    rate("built (by cloning) and encoded by prost", ROUNDS / 4 * 1_000, began);
    let began = Instant::now();
    for _ in 0..ROUNDS / 4 {
        black_box(v1::EventBatch::decode(out.as_slice()).unwrap());
    }
    rate("decoded by prost", ROUNDS / 4 * 1_000, began);
}

async fn read_to(mut watcher: Watcher, last: u64) -> (u64, u64) {
    let (mut batches, mut events) = (0, 0);
    loop {
        if let Kind::Events(batch) = watcher.next().await.unwrap() {
            batches += 1;
            events += batch.events.len() as u64;
            if batch.events.last().unwrap().sequence >= last {
                return (batches, events);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn throughput_of_a_replay() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("team/app.git");
    let began = Instant::now();
    harness.fill(&mut repo, 1_000, 1_000);
    rate("committed", 1_000_000, began);
    let harness = Harness::at(harness.stop().await, |_| {}).await;
    let last = harness.last();
    for what in ["replayed, paths being looked for", "replayed", "replayed again"] {
        let began = Instant::now();
        let (batches, events) = read_to(harness.watch(earliest()).await, last).await;
        rate(&format!("{what} in {batches} batches"), events, began);
    }
    let filter =
        EventFilter { ref_include_globs: vec!["refs/heads/*7".to_owned()], ..EventFilter::default() };
    let began = Instant::now();
    read_to(harness.watch(v1::WatchEventsRequest { filter: Some(filter), ..earliest() }).await, last - 10)
        .await;
    rate("replayed with a filter that takes a tenth", last, began);
    let began = Instant::now();
    let mut watchers = JoinSet::new();
    for _ in 0..4 {
        watchers.spawn(read_to(harness.watch(earliest()).await, last));
    }
    while watchers.join_next().await.is_some() {}
    rate("replayed to four at once", last * 4, began);
    let began = Instant::now();
    let mut watcher = harness.watch(snapshot()).await;
    loop {
        if let Kind::SnapshotEnd(end) = watcher.next().await.unwrap() {
            rate("refs of a snapshot", end.ref_count, began);
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn throughput_of_a_hundred_subscribers() {
    const SUBSCRIBERS: u64 = 100;
    for (transactions, size) in [(20_000_u64, 1_u64), (5_000, 10), (300, 200)] {
        let harness = Arc::new(Harness::start().await);
        let mut repo = harness.repository("team/app.git");
        let last = transactions * size + 1;
        let mut watchers = JoinSet::new();
        for _ in 0..SUBSCRIBERS {
            watchers.spawn(read_to(harness.watch(now()).await, last));
        }
        until("all being subscribed", || harness.subscriptions.count() as u64 == SUBSCRIBERS).await;
        let began = Instant::now();
        let writer = Arc::clone(&harness);
        let writing = std::thread::spawn(move || {
            for _ in 0..transactions {
                writer.fill(&mut repo, 1, size);
                while writer.subscriptions.lag_max() > 10_000 {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
            }
            began.elapsed()
        });
        let mut batches = 0;
        while let Some(read) = watchers.join_next().await {
            batches += read.unwrap().0;
        }
        rate(&format!("{SUBSCRIBERS} subscribers, {size} a transaction"), SUBSCRIBERS * (last - 1), began);
        let written = writing.join().unwrap().as_secs_f64();
        println!("  {batches} batches; committed within {written:.2} s");
        let disk = harness.metrics.log_reads.value(refwatch_ops::metrics::LogSource::Disk);
        println!("  {disk} reads of the store");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints figures"]
async fn throughput_of_publishing_to_idle_subscribers() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("team/app.git");
    let mut watchers = JoinSet::new();
    for _ in 0..100 {
        watchers.spawn(read_to(harness.watch(now()).await, 2_001));
    }
    until("all being subscribed", || harness.subscriptions.count() == 100).await;
    let mut took = std::time::Duration::ZERO;
    for _ in 0..2_000 {
        let name = format!("refs/heads/branch-{}", harness.last());
        let commit = repo.commit(&[(&name, Some(1))]);
        let events = harness.store.commit(commit).unwrap();
        let began = Instant::now();
        harness.log.publish(events);
        took += began.elapsed();
    }
    println!("publish takes {:?} with 100 subscribers", took / 2_000);
    while watchers.join_next().await.is_some() {}
}
