//! The log is bounded by age, by count and by bytes; the floor is told alike everywhere; and what is read while it rises is
//! whole or ends loudly.

use std::time::{Duration, Instant};

use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::{
    Earliest, GetPositionRequest, ListEventsRequest, ListRefsRequest, Now, OnGap, SnapshotThenWatch,
    WatchEventsRequest,
};
use refwatch_tests::{
    Bulk, Client, DEADLINE, Daemon, Options, Recorder, Refusal, Repo, State, World, filter, request, validate,
};
use tonic::Code;

/// Keeps as little as it can of one of the three, looked at as often as can be.
fn keeping(world: &World, key: &str, value: u32) -> Options {
    ["store.retention_age_s", "store.retention_events_max", "store.retention_bytes_max"]
        .into_iter()
        .fold(Options::new(world).set("store.retention_interval_s", "1"), |options, other| {
            options.set(other, &if other == key { value.to_string() } else { "0".to_owned() })
        })
}

fn floor(client: &Client) -> u64 {
    client.position(GetPositionRequest::default()).expect("told").floor_sequence
}

/// Waits until the floor is where it should be.
fn wait_floor(client: &Client, wanted: impl Fn(u64) -> bool) -> u64 {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let now = floor(client);
        if wanted(now) {
            return now;
        }
        assert!(Instant::now() < deadline, "the floor stays at {now}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The floor by everyone who tells it, while nothing changes it.
fn hold_floors(daemon: &Daemon, watching: &Recorder) {
    let client = daemon.client();
    let position = client.sync();
    let (floor, last) = (position.floor_sequence, position.last_sequence);
    let beats = watching.now().progress;
    watching.wait("Progress tells the floor", |now| now.progress > beats && now.floor == floor);
    let started = client.record(Start::Now(Now {})).now().started.expect("it began");
    assert_eq!((started.floor_sequence, started.last_sequence), (floor, last));
    let earliest = client.record(Start::Earliest(Earliest {})).now().started.expect("it began");
    assert_eq!(earliest.cursor, position.floor_cursor, "earliest is the floor");
    let listed = client.list_events(ListEventsRequest::default()).expect("listed");
    assert_eq!((listed.floor_sequence, listed.last_sequence), (floor, last));
    let info = client.info();
    assert_eq!((info.floor_sequence, info.last_sequence), (floor, last));
    let metric = |value: u64| u32::try_from(value).expect("few");
    daemon.wait_metric_is("refwatch_log_floor_sequence", metric(floor));
    daemon.wait_metric_is("refwatch_log_last_sequence", metric(last));
    daemon.wait_metric_is("refwatch_log_events", metric(last + 1 - floor));
    daemon.wait_metric_is("refwatch_retention_deleted_total", metric(floor - 1));
    let log = client.events();
    assert_eq!(log.len() as u64, last + 1 - floor);
    validate::atomic(&log);
    assert!(log.first().is_none_or(|event| event.transaction.as_ref().is_some_and(|of| of.index == 0)));
}

/// Three refs each time.
fn write(repo: &Repo, commits: &[String], times: usize) {
    for commit in commits.iter().cycle().take(times) {
        let lines: String = (0..3).map(|number| format!("update refs/heads/b{number} {commit}\n")).collect();
        repo.update(&lines);
    }
}

/// Some history, and then a daemon that keeps as little of it as one limit says.
fn limited(world: &World, times: usize, key: &str, value: u32) -> (Daemon, u64) {
    let repo = world.repo("a.git");
    let commits: [String; 2] = repo.history();
    let mut daemon = Daemon::start(world);
    write(&repo, &commits, times);
    let last = daemon.client().sync().last_sequence;
    daemon.stop();
    // The first round is at the start, and the next a minute later: where it leaves the floor it stays.
    let daemon = keeping(world, key, value).set("store.retention_interval_s", "60").start();
    wait_floor(&daemon.client(), |floor| floor > 1);
    (daemon, last)
}

#[test]
fn no_more_events_than_asked_for_are_kept() {
    let world = World::new();
    let (daemon, last) = limited(&world, 7, "store.retention_events_max", 10);
    let client = daemon.client();
    assert_eq!(client.info().limits.expect("told").retention_events, 10);
    // Whole transactions: the first that is kept begins at the tenth from the end, or before it.
    let kept = last + 1 - floor(&client);
    assert!((10..13).contains(&kept), "{kept} are kept");
    hold_floors(&daemon, &client.record(Start::Now(Now {})));
}

#[test]
fn no_more_bytes_than_asked_for_are_kept() {
    let world = World::new();
    let (daemon, last) = limited(&world, 40, "store.retention_bytes_max", 2_000);
    let client = daemon.client();
    assert_eq!(client.info().limits.expect("told").retention_bytes, 2_000);
    // An event takes some 100 bytes in the store.
    let kept = last + 1 - floor(&client);
    assert!((6..40).contains(&kept), "{kept} are kept");
    hold_floors(&daemon, &client.record(Start::Now(Now {})));
}

#[test]
fn nothing_older_than_asked_for_is_kept_and_an_empty_log_says_so() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 2] = repo.history();
    let daemon = keeping(&world, "store.retention_age_s", 1).start();
    let client = daemon.client();
    assert_eq!(client.info().limits.expect("told").retention_s, 1);
    let watching = client.record(Start::Now(Now {}));
    write(&repo, &commits, 3);
    let last = client.sync().last_sequence;
    wait_floor(&client, |floor| floor == last + 1);
    hold_floors(&daemon, &watching);
    let events = watching.settle(&client).events;
    // The end of it can be resumed from, what was before cannot.
    let end = events.last().expect("some");
    assert_eq!(client.record_from(&end.cursor).settle(&client).events, []);
    let before = &events[events.len() - 2];
    let refusal = client.watch_refused(request(Start::Cursor(before.cursor.clone()), filter()));
    assert_eq!((refusal.code, &*refusal.reason), (Code::OutOfRange, "CURSOR_EXPIRED"));
    let refusal = client.watch_refused(request(Start::SinceUs(end.observed_at_us), filter()));
    assert_eq!(refusal.reason, "CURSOR_EXPIRED");
    // Refs outlive their events, and go on from where they stood.
    let recorder = client.record_snapshot();
    validate::truthful(&recorder.now().base, &[], &client.on_disk(&[&repo]));
    write(&repo, &commits[1..], 1);
    assert_eq!(recorder.settle(&client).events.len(), 3);
    validate::all(&recorder.now(), &client.on_disk(&[&repo]));
}

/// Branches that move at once, and times that the floor must have risen.
const BRANCHES: usize = 300;
const RISES: usize = 3;

#[test]
fn what_is_read_while_the_floor_rises_is_whole_or_ends_loudly() {
    let world = World::new();
    let mut bulk = Bulk::new(&world, "bulk.git", BRANCHES);
    let daemon = keeping(&world, "store.retention_events_max", 500).start();
    let client = daemon.client();
    let (mut rises, mut at, mut torn) = (0, floor(&client), 0);
    while rises < RISES {
        bulk.step();
        client.sync();
        // A stream over all that is retained.
        let recorder = client.record_earliest();
        let first = recorder.now().started.expect("it began").floor_sequence;
        let last = client.sync().last_sequence;
        let recording =
            recorder.wait("all came, or the floor did", |now| now.ended.is_some() || now.sequence >= last);
        validate::ordered(&recording.events);
        assert!(recording.events.first().is_none_or(|event| event.sequence == first));
        if let Some(status) = &recording.ended {
            let refusal = Refusal::of(status);
            assert_eq!((refusal.code, &*refusal.reason), (Code::OutOfRange, "CURSOR_EXPIRED"));
            assert_eq!(refusal.metadata["cursor_sequence"], recording.sequence.max(first - 1).to_string());
            torn += 1;
        }
        // Pages, each of which finds the floor where it is by then.
        torn += usize::from(!events_by_pages(&client)) + usize::from(!refs_by_pages(&client, &bulk));
        let ask = request(Start::Snapshot(SnapshotThenWatch {}), filter());
        let snapshot =
            Recorder::start(&client, WatchEventsRequest { on_gap: OnGap::Resnapshot.into(), ..ask });
        validate::truthful(&snapshot.now().base, &[], &client.on_disk(&[&bulk.repo]));
        let now = floor(&client);
        rises += usize::from(now > at);
        at = now;
    }
    println!("{torn} lists were overtaken");
}

/// False where the list was overtaken, and said so.
fn events_by_pages(client: &Client) -> bool {
    let (mut events, mut page_token) = (Vec::new(), String::new());
    loop {
        let ask = ListEventsRequest {
            filter: Some(filter()),
            page_size: 20,
            page_token,
            ..ListEventsRequest::default()
        };
        match client.list_events(ask) {
            Ok(page) => {
                events.extend(page.events);
                validate::ordered(&events);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    return true;
                }
            }
            Err(status) => {
                let refusal = Refusal::of(&status);
                assert_eq!((refusal.code, &*refusal.reason), (Code::OutOfRange, "CURSOR_EXPIRED"));
                return false;
            }
        }
    }
}

fn refs_by_pages(client: &Client, bulk: &Bulk) -> bool {
    let (mut state, mut page_token) = (State::default(), String::new());
    loop {
        let ask = ListRefsRequest { page_size: 20, page_token, ..ListRefsRequest::default() };
        match client.list_refs(ask) {
            Ok(page) => {
                page.refs.iter().for_each(|taken| state.put(taken));
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    validate::truthful(&state, &[], &client.on_disk(&[&bulk.repo]));
                    return true;
                }
            }
            Err(status) => {
                let refusal = Refusal::of(&status);
                assert_eq!((refusal.code, &*refusal.reason), (Code::InvalidArgument, "PAGE_TOKEN_INVALID"));
                return false;
            }
        }
    }
}
