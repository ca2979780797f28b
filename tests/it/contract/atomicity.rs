//! What changed together is told together, numbered, and a filter renumbers nothing.

use std::collections::BTreeMap;

use refwatch_proto::v1::WatchEventsRequest;
use refwatch_tests::validate;

use super::scene::Scene;

#[test]
fn transactions_are_contiguous_and_numbered_alike_for_everyone() {
    let mut scene = Scene::new();
    let watched = scene.watch();
    // The smallest batches cut transactions: that shows in no number.
    let cut = scene.watch_as(|request| WatchEventsRequest { max_batch_bytes: 1_024, ..request });
    for _ in 0..2 {
        scene.act();
    }
    let log = scene.log();
    validate::atomic(&log);
    let mut sizes: BTreeMap<&str, u32> = BTreeMap::new();
    for event in &log {
        *sizes.entry(&event.transaction.as_ref().expect("always set").id).or_default() += 1;
    }
    assert!(log.iter().all(|event| {
        let transaction = event.transaction.as_ref().expect("always set");
        sizes[&*transaction.id] == transaction.size
    }));
    assert!(sizes.values().filter(|size| **size > 6).count() > 2, "transactions of several refs: {sizes:?}");
    for seen in watched.iter().chain(&cut) {
        println!("{}", seen.name());
        let recording = scene.settle(seen);
        validate::atomic_but_filtered(&recording.events);
        if seen.lens.name == "everything" {
            validate::atomic(&recording.events);
        }
    }
}
