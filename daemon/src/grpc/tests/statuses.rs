//! Every way that a stream is refused or ends.

use refwatch_core::Cursor;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{self, watch_events_request::Start};
use tonic::Code;

use super::harness::*;

async fn refused(
    harness: &Harness,
    request: v1::WatchEventsRequest,
) -> (Code, String, std::collections::BTreeMap<String, String>) {
    let status = harness.try_watch(request).await.err().expect("a refusal");
    let (reason, metadata) = told(&status);
    (status.code(), reason, metadata)
}

#[tokio::test]
async fn a_cursor_that_cannot_be_resumed_from_says_why() {
    let harness = Harness::with(|settings| settings.store.retention_events_max = Some(5)).await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 20, 1);
    harness.store.retain(NOW_US).unwrap();
    let bounds = harness.store.bounds();
    let here = harness.log.cursor(harness.log.bounds().last);

    let (code, reason, metadata) = refused(&harness, from_cursor(harness.cursor(bounds.floor - 2))).await;
    assert_eq!((code, reason.as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
    assert_eq!(metadata["floor_sequence"], bounds.floor.to_string());
    assert_eq!(metadata["cursor_sequence"], (bounds.floor - 2).to_string());
    let floor_cursor = metadata["floor_cursor"].clone();
    let events = harness.watch(from_cursor(floor_cursor)).await.events_to(bounds.last).await;
    assert_eq!(events[0].sequence, bounds.floor);

    for foreign in [Cursor { epoch: here.epoch ^ 1, ..here }, Cursor { server: here.server ^ 1, ..here }] {
        let (code, reason, metadata) = refused(&harness, from_cursor(foreign.encode())).await;
        assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "CURSOR_FOREIGN_EPOCH"));
        assert_eq!(metadata["epoch"], crate::wire::hex16(here.epoch));
    }
    let (code, reason, metadata) = refused(&harness, from_cursor(harness.cursor(bounds.last + 1))).await;
    assert_eq!((code, reason.as_str()), (Code::FailedPrecondition, "CURSOR_AHEAD"));
    assert_eq!(metadata["last_sequence"], bounds.last.to_string());

    let mut broken = harness.cursor(bounds.last);
    broken.replace_range(5..6, if &broken[5..6] == "A" { "B" } else { "A" });
    for token in [broken, String::new(), "nonsense".to_owned()] {
        let (code, reason, metadata) = refused(&harness, from_cursor(token)).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, "CURSOR_MALFORMED"));
        assert_eq!(metadata["field"], "cursor");
    }
    let (code, reason, _) =
        refused(&harness, v1::WatchEventsRequest { start: Some(Start::SinceUs(5)), ..Default::default() })
            .await;
    assert_eq!((code, reason.as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
}

#[tokio::test]
async fn a_bad_request_names_its_field() {
    let harness = Harness::start().await;
    let globs = |glob: &str| {
        Some(v1::EventFilter {
            ref_include_globs: vec!["a".to_owned(), glob.to_owned()],
            ..Default::default()
        })
    };
    let table = [
        (
            v1::WatchEventsRequest { filter: globs("["), ..now() },
            "GLOB_INVALID",
            "filter.ref_include_globs[1]",
        ),
        (v1::WatchEventsRequest { max_batch_bytes: 1, ..now() }, "FIELD_OUT_OF_BOUNDS", "max_batch_bytes"),
        (
            v1::WatchEventsRequest { max_batch_bytes: 4 << 20, ..now() },
            "FIELD_OUT_OF_BOUNDS",
            "max_batch_bytes",
        ),
        (
            v1::WatchEventsRequest { progress_interval_ms: 99, ..now() },
            "FIELD_OUT_OF_BOUNDS",
            "progress_interval_ms",
        ),
        (v1::WatchEventsRequest { on_gap: 7, ..now() }, "FIELD_INVALID", "on_gap"),
        (
            v1::WatchEventsRequest { start: Some(Start::SinceUs(-1)), ..Default::default() },
            "FIELD_OUT_OF_BOUNDS",
            "since_us",
        ),
    ];
    for (request, expected, field) in table {
        let (code, reason, metadata) = refused(&harness, request).await;
        assert_eq!((code, reason.as_str()), (Code::InvalidArgument, expected));
        assert_eq!(metadata["field"], field);
    }
    assert_eq!(harness.subscriptions.count(), 0, "a refusal takes no place");
}

#[tokio::test]
async fn a_stream_that_retention_overtakes_ends_loudly() {
    let harness = Harness::with(|settings| settings.store.retention_events_max = Some(10)).await;
    let mut repo = harness.repository("a.git");
    // Far more than the way to the client and the recent events hold.
    harness.fill(&mut repo, 40, 1_000);
    let mut watcher = harness.watch(earliest()).await;
    watcher.next().await.unwrap();
    harness.store.retain(NOW_US).unwrap();
    let mut next = 1;
    let status = loop {
        match watcher.next().await {
            Ok(v1::watch_events_response::Kind::Events(batch)) => {
                for event in batch.events {
                    assert_eq!(event.sequence, next);
                    next += 1;
                }
            }
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    let (reason, metadata) = told(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::OutOfRange, "CURSOR_EXPIRED"));
    assert_eq!(metadata["cursor_sequence"], (next - 1).to_string());
}

#[tokio::test]
async fn a_damaged_log_is_data_loss_after_what_is_good() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 20, 1);
    let last = harness.last();
    let harness = Harness::at(harness.stop().await, |_| {}).await;
    damage(&harness.dir.path().join("db"), 12);
    // Not even the look for paths of old stumbles over what nobody asked for.
    let after = from_cursor(harness.cursor(14));
    assert_eq!(sequences(&harness.watch(after).await.events_to(last).await), (15..=last).collect::<Vec<_>>());
    let newest = v1::ListEventsRequest { newest_first: true, page_size: 1, ..Default::default() };
    harness.client().await.list_events(newest).await.unwrap();
    let mut watcher = harness.watch(earliest()).await;
    assert_eq!(sequences(&watcher.events_to(11).await), (1..=11).collect::<Vec<_>>());
    let status = watcher.end().await;
    let (reason, metadata) = told(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::DataLoss, "LOG_CORRUPT"));
    assert_eq!(metadata["sequence"], "12");
}

#[tokio::test]
async fn damage_that_sqlite_finds_is_told_with_the_sequence_after_what_is_good() {
    let harness = Harness::start().await;
    let mut repo = harness.repository("a.git");
    harness.fill(&mut repo, 400, 1);
    let harness = Harness::at(harness.stop().await, |_| {}).await;
    damage_page(&harness.dir.path().join("db"), b"refs/heads/branch-0000200");
    let mut watcher = harness.watch(earliest()).await;
    let mut last = 0;
    let status = loop {
        match watcher.next().await {
            Ok(Kind::Events(batch)) => last = batch.events.last().unwrap().sequence,
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    assert!((1..201).contains(&last), "what comes before goes out first: {last}");
    let (reason, metadata) = told(&status);
    assert_eq!((status.code(), reason.as_str()), (Code::DataLoss, "LOG_CORRUPT"));
    assert_eq!(metadata["sequence"], (last + 1).to_string());
    let request = v1::ListEventsRequest {
        start: Some(v1::list_events_request::Start::AfterCursor(harness.cursor(last))),
        ..Default::default()
    };
    let (_, metadata) = told(&harness.client().await.list_events(request).await.unwrap_err());
    assert_eq!(metadata["sequence"], (last + 1).to_string());
}

/// Overwrites the head of the page of events that holds these bytes: SQLite notices that.
fn damage_page(path: &std::path::Path, bytes: &[u8]) {
    use std::os::unix::fs::FileExt as _;
    const PAGE_BYTES: usize = 4_096;
    // A leaf of a table, https://sqlite.org/fileformat2.html#b_tree_pages.
    const LEAF_OF_TABLE: u8 = 0x0d;
    let holds =
        |page: &[u8]| page[0] == LEAF_OF_TABLE && page.windows(bytes.len()).any(|found| found == bytes);
    let page = std::fs::read(path).unwrap().chunks(PAGE_BYTES).position(holds).expect("some page has it");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0xee; 8], (page * PAGE_BYTES) as u64).unwrap();
}

/// Overwrites the body of an event, which SQLite itself does not notice.
fn damage(path: &std::path::Path, sequence: u64) {
    let database = rusqlite::Connection::open(path).unwrap();
    let changed =
        database.execute("UPDATE events SET body = x'ff' WHERE sequence = ?1", [sequence.cast_signed()]);
    assert_eq!(changed, Ok(1));
}

#[tokio::test]
async fn the_barrier_is_waited_for_and_timed_out() {
    use std::sync::atomic::Ordering::Relaxed;
    let harness = Harness::start().await;
    let repo = harness.repository("a.git");
    let mut client = harness.client().await;
    let id = crate::wire::hex16(repo.uid);
    let request = |ids: &[&str], timeout_ms| v1::GetPositionRequest {
        sync: true,
        repository_ids: ids.iter().map(|id| (*id).to_owned()).collect(),
        timeout_ms,
    };
    let position = client.get_position(request(&[&id], 0)).await.unwrap().into_inner();
    assert_eq!((position.cursor, position.floor_cursor), (harness.cursor(1), harness.cursor(0)));
    assert_eq!((position.last_sequence, position.floor_sequence), (1, 1));
    client.get_position(request(&[], 0)).await.unwrap();
    assert_eq!(*harness.barrier.asked.lock().unwrap(), [Some(vec![repo.key]), None]);

    let unknown = client.get_position(request(&[&id, "00000000000000aa"], 0)).await.unwrap_err();
    let (reason, metadata) = told(&unknown);
    assert_eq!((unknown.code(), reason.as_str()), (Code::NotFound, "REPOSITORY_NOT_FOUND"));
    assert_eq!(metadata["field"], "repository_ids[1]");

    harness.barrier.closed.store(true, Relaxed);
    let late = client.get_position(request(&[&id], 30)).await.unwrap_err();
    let (reason, metadata) = told(&late);
    assert_eq!((late.code(), reason.as_str()), (Code::DeadlineExceeded, "SYNC_TIMEOUT"));
    assert_eq!(metadata["timeout_ms"], "30");
    harness.barrier.closed.store(false, Relaxed);

    let bad = client.get_position(request(&[&id], 600_001)).await.unwrap_err();
    assert_eq!(told(&bad).1["field"], "timeout_ms");
    let bad = client.get_position(request(&["zz"], 1)).await.unwrap_err();
    assert_eq!(told(&bad).1["field"], "repository_ids[0]");
}
