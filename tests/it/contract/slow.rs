//! A slow subscriber costs only itself: it gets everything from the log, or is told that the log has passed it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use refwatch_proto::limits;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{GetPositionRequest, GitEvent, Now, OnGap, ResetReason, WatchEventsRequest};
use refwatch_tests::{
    Bulk, Daemon, Lens, Options, Refusal, State, Stream, World, binary, filter, http, request, validate,
};
use tonic::Code;

use super::scene::at as sequence_of;

/// Reads one message; its events.
fn read(stream: &mut Stream) -> Vec<GitEvent> {
    match stream.next().expect("the stream goes on") {
        Kind::Events(batch) => batch.events,
        Kind::Started(_)
        | Kind::SnapshotBegin(_)
        | Kind::SnapshotRefs(_)
        | Kind::SnapshotEnd(_)
        | Kind::Progress(_)
        | Kind::Reset(_) => Vec::new(),
    }
}

/// Branches that move at once.
const BRANCHES: usize = 4_000;

/// Times that they do: more than the daemon keeps in memory several times over.
const ROUNDS: usize = 12;

/// The same, once over.
const FEW_ROUNDS: usize = 8;

#[test]
fn a_slow_subscriber_loses_nothing_and_slows_nobody() {
    let world = World::new();
    let mut bulk = Bulk::new(&world, "bulk.git", BRANCHES);
    let daemon = Daemon::start(&world);
    let client = daemon.client();
    let fast = client.record_snapshot();
    // A connection of its own, whose buffers fill up.
    let ask = WatchEventsRequest { max_batch_bytes: 1_024, ..request(Start::Now(Now {}), filter()) };
    let mut stream = daemon.client().watch(ask).expect("accepted");
    assert_eq!(read(&mut stream), [], "it has started");
    let (mut whole, mut taken) = (Vec::new(), Vec::new());
    for _ in 0..FEW_ROUNDS {
        bulk.step();
        // The fast one has all of it, while the slow one has taken a message a round.
        fast.settle(&client);
        whole.extend(fast.take());
        taken.extend(read(&mut stream));
    }
    assert!(taken.len() * 100 < whole.len(), "{} of {}", taken.len(), whole.len());
    // Beyond the 16,384 that are kept in memory.
    daemon.wait_metric("refwatch_subscriber_lag_events_max", 16_500.0);
    let last = whole.last().expect("a history").sequence;
    loop {
        match stream.next() {
            Ok(Kind::Events(batch)) => taken.extend(batch.events),
            Ok(Kind::Progress(progress)) if progress.sequence >= last => break,
            other => drop(other.expect("it goes on")),
        }
    }
    validate::delivered(&whole, 0, &Lens::everything(), &taken);
    let from_disk = http::metric(daemon.http(), r#"refwatch_log_reads_total{source="disk"}"#);
    assert!(
        from_disk.is_some_and(|reads| reads > 0.0),
        "it was beyond what is kept in memory: {from_disk:?}"
    );
    validate::truthful(&fast.now().base, &whole, &client.on_disk(&[&bulk.repo]));
    daemon.wait_metric_is("refwatch_subscriber_lag_events_max", 0);
}

/// A reader of one event a second, beside a writer of thousands: by turns, so that its pace is a matter of fact.
#[test]
fn one_that_reads_an_event_while_thousands_are_written_costs_only_itself() {
    let world = World::new();
    let mut bulk = Bulk::new(&world, "bulk.git", BRANCHES);
    let options = Options::new(&world)
        .set("store.retention_interval_s", "1")
        .set("store.retention_events_max", &BRANCHES.to_string());
    let daemon = options.start();
    let client = daemon.client();
    let fast = client.record_snapshot();
    let mut state = fast.now().base;
    let ask = |on_gap: OnGap| WatchEventsRequest {
        max_batch_bytes: 1_024,
        on_gap: on_gap.into(),
        // On a machine that is busy there would be little else to read.
        progress_interval_ms: limits::PROGRESS_INTERVAL_MS_MAX,
        ..request(Start::Now(Now {}), filter())
    };
    // Connections of their own, whose buffers fill up.
    let [mut failing, mut bridging] =
        [OnGap::Fail, OnGap::Resnapshot].map(|on_gap| daemon.client().watch(ask(on_gap)).expect("accepted"));
    let mut taken = Vec::new();
    for _ in 0..ROUNDS {
        bulk.step();
        // The fast one has all of it, whatever the slow ones have.
        fast.settle(&client);
        let events = fast.take();
        assert!(events.len() >= BRANCHES);
        validate::ordered(&events);
        state = validate::unbroken(&state, &events);
        taken.extend(read(&mut failing));
        assert!(taken.len() < 40, "it is slow");
    }
    let first = taken.first().expect("it has begun to read").sequence;
    // Nothing is kept for the slow: the log has passed them.
    daemon.wait_metric(
        "refwatch_log_floor_sequence",
        f64::from(u32::try_from(ROUNDS / 2 * BRANCHES).expect("few")),
    );
    // What was on its way comes, without a gap, and then the status of its own.
    let status = loop {
        match failing.next() {
            Ok(Kind::Events(batch)) => taken.extend(batch.events),
            Ok(_) => {}
            Err(status) => break status,
        }
    };
    validate::ordered(&taken);
    let last = taken.last().expect("some").sequence;
    assert!(usize::try_from(last - first).expect("few") < ROUNDS * BRANCHES / 2, "{first} to {last}");
    let refusal = Refusal::of(&status);
    assert_eq!((refusal.code, &*refusal.reason), (Code::OutOfRange, "CURSOR_EXPIRED"), "{refusal:?}");
    assert_eq!(refusal.metadata["cursor_sequence"], last.to_string());
    // It rises further while it is read: what is told of it earlier is at most this.
    let floor_now = || client.position(GetPositionRequest::default()).expect("told").floor_sequence;
    let floor = floor_now();
    let told: u64 = refusal.metadata["floor_sequence"].parse().expect("a sequence");
    assert!((last + 2..=floor).contains(&told), "the floor at that time: {told}, now {floor}");
    // The one that asked for it is told what it lost, and where things are, in the same stream.
    let end = client.sync().last_sequence;
    let (mut at, mut resets, mut replica) = (first - 1, 0, State::default());
    let mut follow = |until: u64| {
        while at < until {
            match bridging.next().expect("it goes on") {
                Kind::Events(batch) => {
                    assert_eq!(batch.events[0].sequence, at + 1, "no gap but those that are told");
                    validate::ordered(&batch.events);
                    at = batch.events.last().expect("at least one").sequence;
                    if resets > 0 {
                        replica = validate::unbroken(&replica, &batch.events);
                    }
                }
                Kind::Reset(reset) => {
                    assert_eq!(reset.reason(), ResetReason::CursorExpired);
                    assert_eq!(reset.lost_first_sequence, at + 1);
                    assert!((at + 1..floor_now()).contains(&reset.lost_last_sequence), "{reset:?}");
                    (at, resets) = (reset.lost_last_sequence, resets + 1);
                }
                Kind::SnapshotBegin(begin) => {
                    assert!(resets > 0 && begin.sequence >= at, "the snapshot comes after what is lost");
                    replica = State::default();
                }
                Kind::SnapshotRefs(part) => part.refs.iter().for_each(|taken| replica.put(taken)),
                Kind::SnapshotEnd(snapshot) => at = sequence_of(&snapshot.cursor),
                Kind::Progress(progress) => {
                    assert!(progress.cursor.is_empty() || progress.sequence == at, "{progress:?} at {at}");
                }
                Kind::Started(_) => {}
            }
        }
        (resets, replica.clone())
    };
    let (resets, replica) = follow(end);
    assert!(resets > 0, "the gap is told");
    assert_eq!(replica, state, "what it was led to is what the fast one was led to");
    bulk.step();
    let (_, replica) = follow(client.sync().last_sequence);
    assert_eq!(replica, client.on_disk(&[&bulk.repo]), "and goes on from there");
}

/// Times that all branches move: more than the buffers of client, server and kernel hold together.
const UNREAD_ROUNDS: usize = 6;

/// What everyone meets who works on each event before he takes the next: his stream is ended, what was on its way comes,
/// and the client goes on behind it by itself.
#[test]
fn a_reader_that_pauses_longer_than_the_limit_goes_on_behind_what_it_has() {
    let world = World::new();
    let mut bulk = Bulk::new(&world, "bulk.git", BRANCHES);
    let daemon = Options::new(&world).set("grpc.stall_timeout_s", "1").start();
    let client = daemon.client();
    for _ in 0..UNREAD_ROUNDS {
        bulk.step();
        // Or two rounds are one.
        client.sync();
    }
    let last = client.sync().last_sequence;
    let mut tail = Command::new(binary::refwatch())
        .args(["tail", "--json", "--since", "earliest", "--limit", &last.to_string()])
        .args(["--grpc", &format!("http://{}", daemon.grpc())])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    // Nobody reads what it prints, so it takes nothing.
    daemon.wait_metric(r#"refwatch_subscriptions_ended_total{reason="slow_consumer"}"#, 1.0);
    let output = BufReader::new(tail.stdout.take().expect("piped"));
    let sequences = output.lines().map(|line| {
        let event: serde_json::Value = serde_json::from_str(&line.expect("text")).expect("JSON");
        event["sequence"].as_str().and_then(|text| text.parse::<u64>().ok()).expect("a sequence")
    });
    assert!(sequences.eq(1..=last), "each once and in order");
    let ended = tail.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success() && said.contains("SLOW_CONSUMER"), "{said}");
}
