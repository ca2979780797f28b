//! No message is larger than was asked for, or than the 4 MiB that clients take by default, whatever names are like.

use std::io::Write as _;

use prost::Message as _;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{
    Earliest, ListEventsRequest, ListRefsRequest, Now, SnapshotThenWatch, WatchEventsRequest,
};
use refwatch_tests::{Flavour, Lens, Mode, Options, Recorder, Repo, World, filter, request, validate};

use super::scene::at;

/// What clients of gRPC take by default, in bytes.
const MESSAGE_BYTES_MAX: usize = 4 << 20;

/// Refs of each kind.
const REFS: usize = 300;

/// Longest name, in bytes.
const NAME_BYTES_MAX: usize = 4_096;

/// Writes a `packed-refs` with names as long as they may be; every other one is not UTF-8, and takes four times as much
/// on the wire.
fn pack(repo: &Repo, oid: &str, count: usize) {
    let mut packed = b"# pack-refs with: peeled fully-peeled \n".to_vec();
    for number in 0..count {
        let mut name = format!("refs/heads/{number:04}/").into_bytes();
        let byte = if number % 2 == 0 { b'n' } else { 0xff };
        while name.len() < NAME_BYTES_MAX {
            name.push(if name.len() % 200 == 0 && name.len() + 1 < NAME_BYTES_MAX { b'/' } else { byte });
        }
        write!(packed, "{oid} ").expect("into memory");
        packed.extend(name);
        packed.push(b'\n');
    }
    repo.replace("packed-refs", packed);
}

#[test]
fn names_as_long_as_they_may_be_never_exceed_what_was_asked_for() {
    let world = World::new();
    let repo = world.repo_exactly("a.git", Flavour::PLAIN);
    let [one] = repo.history();
    pack(&repo, &one, REFS);
    let daemon = Options::new(&world).set("baseline", "emit").start();
    let client = daemon.client();
    let log = client.events();
    let starts = [
        Start::Earliest(Earliest {}),
        Start::Snapshot(SnapshotThenWatch {}),
        Start::Now(Now {}),
        Start::Cursor(log[0].cursor.clone()),
        Start::SinceUs(0),
    ];
    assert_eq!(starts.len(), Mode::ALL.len());
    let last = at(&client.sync().cursor);
    let mut watched = Vec::new();
    for start in starts {
        for max_batch_bytes in [1_024, 0, 3 << 20] {
            let ask = WatchEventsRequest { max_batch_bytes, ..request(start.clone(), filter()) };
            let recorder = Recorder::start(&client, ask);
            let after = match &start {
                Start::Cursor(cursor) => at(cursor),
                Start::Now(_) | Start::Snapshot(_) => last,
                Start::Earliest(_) | Start::SinceUs(_) => 0,
            };
            watched.push((recorder, after, max_batch_bytes as usize));
        }
    }
    pack(&repo, &one, 2 * REFS);
    let whole = {
        client.sync();
        client.events()
    };
    let bytes: usize = whole.iter().map(|event| event.encoded_len()).sum();
    assert!(bytes > MESSAGE_BYTES_MAX, "they would not fit into one message: {bytes}");
    let largest = whole.iter().map(|event| event.encoded_len()).max().expect("some");
    assert!((4 * NAME_BYTES_MAX..256 << 10).contains(&largest), "one event: {largest}");
    for (recorder, after, limit) in &watched {
        let recording = recorder.settle(&client);
        validate::delivered(&whole, *after, &Lens::everything(), &recording.events);
        let limit = if *limit == 0 { 256 << 10 } else { *limit };
        // One event or ref always fits.
        let limit = limit.max(largest + 512);
        assert!(recording.largest <= limit, "{} bytes where {limit} may be", recording.largest);
        assert!(recording.largest > limit / 4, "it is used: {} of {limit}", recording.largest);
    }
    // Lists keep to it as well.
    let page = client
        .list_events(ListEventsRequest {
            filter: Some(filter()),
            page_size: 1_000,
            ..ListEventsRequest::default()
        })
        .expect("listed");
    assert!(page.encoded_len() <= MESSAGE_BYTES_MAX && !page.next_page_token.is_empty());
    let page = client
        .list_refs(ListRefsRequest {
            page_size: 10_000,
            include_internal: true,
            ..ListRefsRequest::default()
        })
        .expect("listed");
    assert!(page.encoded_len() <= MESSAGE_BYTES_MAX && !page.next_page_token.is_empty());
    assert_eq!(client.refs(10_000).0.len(), 2 * REFS + 1, "and HEAD");
}
