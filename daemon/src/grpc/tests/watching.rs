//! Following the log.

use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{self, EventFilter, GitEventType, watch_events_request::Start};

use super::harness::*;

#[tokio::test]
async fn started_comes_first_and_events_follow_at_once() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    let mut watcher = harness.watch(now()).await;
    let Kind::Started(started) = watcher.next().await.unwrap() else { panic!("not started") };
    assert_eq!(started.cursor, harness.cursor(1));
    assert_eq!((started.floor_sequence, started.last_sequence), (1, 1));
    harness.change(&mut repo, &[("refs/heads/main", Some(1))]);
    let batch = watcher.batch().await;
    assert_eq!(sequences(&batch.events), [2]);
    assert_eq!(batch.cursor, harness.cursor(2));
    assert_eq!(batch.events[0].cursor, batch.cursor);
    assert_eq!(batch.events[0].r#type(), GitEventType::BranchCreated);
    assert_eq!(batch.events[0].repository.as_ref().unwrap().path, "a.git");
}

#[tokio::test]
async fn every_cursor_resumes_right_after_its_event_also_within_a_transaction() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    for transaction in 0..6_u64 {
        let names: Vec<_> = (0..=transaction).map(|n| format!("refs/heads/{transaction}-{n}")).collect();
        let changes: Vec<_> = names.iter().map(|name| (name.as_str(), Some(1))).collect();
        harness.change(&mut repo, &changes);
    }
    let last = harness.last();
    let all = harness.watch(earliest()).await.events_to(last).await;
    assert_eq!(sequences(&all), (1..=last).collect::<Vec<_>>());
    // Once from memory, once from the store.
    let mut harness = harness;
    for cold in [false, true] {
        if cold {
            harness = Harness::at(harness.stop().await, |_| {}).await;
        }
        for event in &all[..all.len() - 1] {
            let rest = harness.watch(from_cursor(event.cursor.clone())).await.events_to(last).await;
            assert_eq!(rest, all[usize::try_from(event.sequence).unwrap()..]);
        }
    }
}

#[tokio::test]
async fn memory_and_store_tell_the_same() {
    let harness = Harness::start().await;
    // Memory keeps what somebody listens to.
    let mut listener = harness.watch(now()).await;
    assert!(matches!(listener.next().await, Ok(Kind::Started(_))));
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 40, 3);
    let last = harness.last();
    let from_memory = harness.watch(earliest()).await.events_to(last).await;
    assert_eq!(harness.metrics.log_reads.value(refwatch_ops::metrics::LogSource::Disk), 0);
    let harness = Harness::at(harness.stop().await, |_| {}).await;
    let from_store = harness.watch(earliest()).await.events_to(last).await;
    assert!(harness.metrics.log_reads.value(refwatch_ops::metrics::LogSource::Disk) > 0);
    assert_eq!(from_memory, from_store);
}

#[tokio::test]
async fn what_is_filtered_out_moves_the_cursor_and_progress_tells() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    let filter = EventFilter { ref_include_globs: vec!["refs/tags/**".to_owned()], ..EventFilter::default() };
    let request = v1::WatchEventsRequest { filter: Some(filter), progress_interval_ms: 100, ..now() };
    let mut watcher = harness.watch(request).await;
    let last = harness.change(&mut repo, &[("refs/heads/main", Some(1)), ("refs/heads/x", Some(2))]);
    loop {
        match watcher.next().await.unwrap() {
            Kind::Started(_) => {}
            Kind::Progress(progress) => {
                assert!(!progress.draining && progress.observed_at_us > 0);
                assert_eq!(progress.cursor, harness.cursor(progress.sequence));
                if progress.sequence == last {
                    assert_eq!((progress.last_sequence, progress.floor_sequence), (last, 1));
                    break;
                }
            }
            other => panic!("{other:?}"),
        }
    }
    harness.change(
        &mut repo,
        &[("refs/heads/y", Some(1)), ("refs/tags/v1", Some(1)), ("refs/heads/z", Some(1))],
    );
    let batch = watcher.batch().await;
    assert_eq!(sequences(&batch.events), [last + 2]);
    assert_eq!(batch.cursor, harness.cursor(last + 3), "what follows and is filtered out is passed over too");
    assert_eq!(batch.events[0].transaction.as_ref().unwrap().size, 3);
}

#[tokio::test]
async fn a_batch_keeps_to_its_bytes_and_holds_whole_transactions() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 30, 3);
    harness.fill(&mut repo, 1, 30);
    harness.fill(&mut repo, 10, 1);
    let last = harness.last();
    let cold = Harness::at(harness.stop().await, |_| {}).await;
    for warm in [false, true] {
        let request = v1::WatchEventsRequest { max_batch_bytes: 4_000, ..earliest() };
        let mut watcher = cold.watch(request).await;
        let mut seen = 0;
        while seen < last {
            let batch = watcher.batch().await;
            assert!(prost::Message::encoded_len(&batch) <= 4_000, "warm {warm}");
            assert_eq!(batch.events[0].sequence, seen + 1);
            seen = batch.events.last().unwrap().sequence;
            let transaction = batch.events.last().unwrap().transaction.clone().unwrap();
            let whole = transaction.index + 1 == transaction.size;
            assert!(whole || transaction.size == 30, "{transaction:?}");
        }
    }
}

#[tokio::test]
async fn since_starts_with_the_first_event_of_that_time() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    for minute in 1..=5 {
        let mut commit = repo.commit(&[("refs/heads/main", Some(minute))]);
        commit.observed_at_us = NOW_US + i64::try_from(minute).unwrap() * 60_000_000;
        harness.commit(commit);
    }
    let since =
        |time_us| v1::WatchEventsRequest { start: Some(Start::SinceUs(time_us)), ..Default::default() };
    for (time_us, first) in
        [(0, 1), (NOW_US, 1), (NOW_US + 1, 2), (NOW_US + 180_000_000, 4), (NOW_US + 180_000_001, 5)]
    {
        let events = harness.watch(since(time_us)).await.events_to(6).await;
        assert_eq!(sequences(&events), (first..=6).collect::<Vec<_>>(), "{time_us}");
    }
}

#[tokio::test]
async fn a_repository_is_called_as_it_was_at_the_event() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("old.git");
    harness.change(&mut repo, &[("refs/heads/main", Some(1))]);
    harness.rename(&repo, "old.git", "mid.git");
    harness.change(&mut repo, &[("refs/heads/main", Some(2))]);
    harness.rename(&repo, "mid.git", "new.git");
    let expected = ["old.git", "old.git", "mid.git", "mid.git", "new.git"];
    let paths = |events: &[v1::GitEvent]| {
        events.iter().map(|event| event.repository.clone().unwrap().path).collect::<Vec<_>>()
    };
    let events = harness.watch(earliest()).await.events_to(5).await;
    assert_eq!(paths(&events), expected);
    assert_eq!((events[2].previous_path.as_str(), events[4].previous_path.as_str()), ("old.git", "mid.git"));
    let harness = Harness::at(harness.stop().await, |_| {}).await;
    let again = harness.watch(earliest()).await.events_to(5).await;
    assert_eq!(again, events);
    let filter = EventFilter { repository_globs: vec!["mid.git".to_owned()], ..EventFilter::default() };
    let request = v1::WatchEventsRequest { filter: Some(filter), ..earliest() };
    // The move away passes as well: whoever follows it there must know that it went. From memory and from disk.
    assert_eq!(sequences(&harness.watch(request.clone()).await.events_to(5).await), [3, 4, 5]);
    let harness = Harness::at(harness.stop().await, |_| {}).await;
    let mut watcher = harness.watch(request).await;
    assert_eq!(sequences(&watcher.events_to(5).await), [3, 4, 5]);
    harness.rename(&repo, "new.git", "mid.git");
    harness.rename(&repo, "mid.git", "last.git");
    harness.change(&mut repo, &[("refs/heads/main", Some(3))]);
    assert_eq!(sequences(&watcher.events_to(7).await), [6, 7]);
}

#[tokio::test]
async fn silence_is_broken_by_progress_and_nothing_else() {
    let harness = Harness::start().await;
    let request = v1::WatchEventsRequest { progress_interval_ms: 100, ..now() };
    let mut watcher = harness.watch(request).await;
    assert!(matches!(watcher.next().await, Ok(Kind::Started(_))));
    for _ in 0..3 {
        assert!(matches!(watcher.next().await, Ok(Kind::Progress(_))));
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let harness = Harness::with(|settings| settings.grpc.subscribers_max = 2).await;
    let first = harness.watch(now()).await;
    let second = harness.watch(now()).await;
    let refused = harness.try_watch(now()).await.err().unwrap();
    let (reason, metadata) = told(&refused);
    assert_eq!((reason.as_str(), metadata["limit"].as_str()), ("TOO_MANY_SUBSCRIBERS", "2"));
    assert_eq!(harness.subscriptions.list().len(), 2);
    drop(first);
    until("the place being free", || harness.subscriptions.count() == 1).await;
    let mut third = harness.watch(now()).await;
    assert!(matches!(third.next().await, Ok(Kind::Started(_))));
    drop((second, third));
    until("everyone being gone", || harness.subscriptions.count() == 0).await;
    assert_eq!(harness.metrics.subscribers.value(), 0);
}
