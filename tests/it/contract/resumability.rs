//! The cursor of any message resumes right after it: at every sequence, also within a transaction, under any filter.

use std::collections::BTreeMap;

use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{ListEventsRequest, WatchEventsRequest, list_events_request};
use refwatch_tests::{Lens, Recorder, filter, request, validate};

use super::scene::{Scene, at};

#[test]
fn every_cursor_that_was_ever_sent_resumes_right_after_its_message() {
    let mut scene = Scene::new();
    let watched = scene.watch_as(|request| WatchEventsRequest { max_batch_bytes: 1_024, ..request });
    scene.act();
    let log = scene.log();
    // By where they stand: cursors do not depend on the filter that they came with.
    let mut cursors: BTreeMap<u64, String> = BTreeMap::new();
    for seen in &watched {
        println!("{}", seen.name());
        let recording = scene.settle(seen);
        validate::bookmarked(&recording);
        let of_events = recording.events.iter().map(|event| event.cursor.clone());
        for cursor in recording.trail.iter().map(|(cursor, _)| cursor.clone()).chain(of_events) {
            assert!(cursor.len() <= 128, "{cursor}");
            let same = cursors.entry(at(&cursor)).or_insert_with(|| cursor.clone());
            assert_eq!(*same, cursor, "one cursor a position");
        }
    }
    let position = scene.client.sync();
    cursors.insert(0, position.floor_cursor);
    let every: Vec<u64> = (0..=position.last_sequence).collect();
    assert_eq!(cursors.keys().copied().collect::<Vec<_>>(), every, "at every sequence");
    let in_midst = log.iter().filter(|event| {
        let transaction = event.transaction.as_ref().expect("always set");
        transaction.index + 1 < transaction.size
    });
    assert!(in_midst.count() > 10, "also within transactions");
    let lenses = scene.lenses();
    for (sequence, cursor) in &cursors {
        // Each with a filter of its own, and with none.
        let of_turn = &lenses[usize::try_from(*sequence).expect("few") % lenses.len()];
        for lens in [&Lens::everything(), of_turn] {
            let start = Start::Cursor(cursor.clone());
            let recorder = Recorder::start(&scene.client, request(start, lens.filter.clone()));
            let recording = recorder.wait("it has caught up", |now| now.sequence >= position.last_sequence);
            validate::delivered(&log, *sequence, lens, &recording.events);
        }
        let list = ListEventsRequest {
            start: Some(list_events_request::Start::AfterCursor(cursor.clone())),
            filter: Some(filter()),
            page_size: 1_000,
            ..ListEventsRequest::default()
        };
        let page = scene.client.list_events(list).expect("listed");
        validate::resumable(&log, *sequence, &page.events);
        assert_eq!(page.cursor, position.cursor);
    }
}
