mod follow;
mod tls;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::v1::watch_events_request::Start;
use crate::v1::watch_events_response::Kind;
use crate::v1::{
    Earliest, Reset, SnapshotBegin, SnapshotEnd, SnapshotThenWatch, Started, WatchEventsRequest,
};
use tokio::task::JoinSet;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::testing::{Answer, DEADLINE, EPOCH, Fake, Proxy, cursor, events, started};
use super::*;

fn quick() -> Policy {
    Policy {
        first_connect: FirstConnect::Fail,
        backoff_min: Duration::from_millis(5),
        backoff_max: Duration::from_millis(40),
        silence_max: Duration::from_secs(20),
        verify: Verify::Chains,
    }
}

fn server(address: SocketAddr) -> Server {
    Server::new(&ServerOptions { address: address.to_string(), ..ServerOptions::default() })
        .expect("an address")
}

fn watch(address: SocketAddr, start: Start, policy: Policy) -> Watch {
    Watch::new(server(address), WatchEventsRequest { start: Some(start), ..Default::default() }, policy)
}

const EARLIEST: Start = Start::Earliest(Earliest {});

async fn next(watch: &mut Watch) -> Result<Update, Failure> {
    tokio::time::timeout(DEADLINE, watch.next()).await.expect("within the deadline")
}

/// Takes updates until the events up to `last` have come. Gives their sequences, and how often the connection was
/// said to be lost and back.
async fn take_until(watch: &mut Watch, last: u64) -> (Vec<u64>, usize, usize) {
    let (mut sequences, mut lost, mut back) = (Vec::new(), 0, 0);
    while sequences.last() != Some(&last) {
        match next(watch).await.expect("goes on") {
            Update::Events(batch) => sequences.extend(batch.events.iter().map(|event| event.sequence)),
            Update::Disconnected(_) => lost += 1,
            Update::Reconnected => back += 1,
            Update::Started(_) | Update::Progress(_) | Update::Reset(_) => {}
            Update::SnapshotBegin(_) | Update::SnapshotRefs(_) | Update::SnapshotEnd(_) => {}
        }
    }
    (sequences, lost, back)
}

fn status(code: Code, reason: &str, retry_after: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason, crate::ERROR_DOMAIN, HashMap::new());
    if retry_after.is_some() {
        details.set_retry_info(retry_after);
    }
    Status::with_error_details(code, "words", details)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_event_comes_once_however_often_the_connection_is_cut() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    fake.script().repeated = 5;
    let proxy = Proxy::to(fake.serve(&mut tasks).await, &mut tasks).await;
    let mut watch = watch(proxy.address, EARLIEST, Policy { first_connect: FirstConnect::Retry, ..quick() });
    let (mut sequences, mut lost, mut back) = (Vec::new(), 0, 0);
    for round in 1..=20 {
        fake.append(50);
        // One cut falls into the stream, the other between.
        let cutting = async {
            tokio::time::sleep(Duration::from_millis(round % 4)).await;
            proxy.cut();
        };
        let (taken, ()) = tokio::join!(take_until(&mut watch, round * 50), cutting);
        proxy.cut();
        sequences.extend(taken.0);
        lost += taken.1;
        back += taken.2;
    }
    assert_eq!(sequences, (1..=1000).collect::<Vec<u64>>());
    assert!(lost >= 5 && lost == back, "lost {lost} times, back {back} times");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disconnection_is_told_once_however_many_tries_it_takes() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let proxy = Proxy::to(fake.serve(&mut tasks).await, &mut tasks).await;
    let mut watch = watch(proxy.address, EARLIEST, quick());
    fake.append(3);
    assert_eq!(take_until(&mut watch, 3).await, (vec![1, 2, 3], 0, 0));
    proxy.let_through(false);
    proxy.cut();
    let back = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        fake.append(1);
        proxy.let_through(true);
    };
    let (taken, ()) = tokio::join!(take_until(&mut watch, 4), back);
    assert_eq!(taken, (vec![4], 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_delay_that_the_server_asks_for_is_kept() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let asked = Duration::from_millis(600);
    let drained = status(Code::Unavailable, "SERVER_DRAINING", Some(asked));
    fake.script().answers.push_back(Answer::Say(vec![started(0), events(1, 2)], drained));
    fake.append(3);
    let mut watch = watch(address, EARLIEST, quick());
    let began = Instant::now();
    let (sequences, lost, back) = take_until(&mut watch, 3).await;
    assert_eq!((sequences, lost, back), (vec![1, 2, 3], 1, 1));
    assert!(began.elapsed() >= asked, "{:?}", began.elapsed());
    let second = fake.script().requests[1].0.clone();
    assert_eq!(second.start, Some(Start::Cursor(cursor(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_ends_the_watch_and_a_stop_does_not() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let gaps = [
        (Code::OutOfRange, "CURSOR_EXPIRED", FailureKind::Gap),
        (Code::FailedPrecondition, "CURSOR_FOREIGN_EPOCH", FailureKind::Gap),
        (Code::InvalidArgument, "GLOB_INVALID", FailureKind::Request),
        (Code::Unauthenticated, "CREDENTIALS_INVALID", FailureKind::Denied),
        (Code::DataLoss, "LOG_CORRUPT", FailureKind::Server),
    ];
    for (code, reason, kind) in gaps {
        {
            let mut script = fake.script();
            let stopped = status(Code::ResourceExhausted, "SLOW_CONSUMER", None);
            script.answers.push_back(Answer::Say(vec![started(4)], stopped));
            script.answers.push_back(Answer::Refuse(status(code, reason, None)));
        }
        let mut watch = watch(address, EARLIEST, quick());
        assert!(matches!(next(&mut watch).await, Ok(Update::Started(_))));
        assert!(matches!(next(&mut watch).await, Ok(Update::Disconnected(_))));
        let failure = next(&mut watch).await.expect_err("no use trying again");
        assert_eq!((failure.kind, failure.reason.map(|known| known.short_name())), (kind, Some(reason)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_snapshot_is_taken_again_from_its_beginning() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let started = || Kind::Started(Started { epoch: EPOCH.to_owned(), ..Started::default() });
    let begin = || Kind::SnapshotBegin(SnapshotBegin { sequence: 9, repository_count: 0 });
    let end = Kind::SnapshotEnd(SnapshotEnd { cursor: cursor(9), ..SnapshotEnd::default() });
    {
        let mut script = fake.script();
        let broken = Status::unavailable("cut");
        script.answers.push_back(Answer::Say(vec![started(), begin()], broken.clone()));
        script.answers.push_back(Answer::Say(vec![started(), begin(), end, events(10, 11)], broken));
    }
    fake.append(12);
    let mut watch = watch(address, Start::Snapshot(SnapshotThenWatch {}), quick());
    let (sequences, lost, back) = take_until(&mut watch, 12).await;
    assert_eq!((sequences, lost, back), (vec![10, 11, 12], 2, 2));
    let starts: Vec<_> = fake.script().requests.iter().map(|(request, _)| request.start.clone()).collect();
    let snapshot = Some(Start::Snapshot(SnapshotThenWatch {}));
    assert_eq!(starts, [snapshot.clone(), snapshot, Some(Start::Cursor(cursor(11)))]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn until_the_snapshot_after_a_reset_is_whole_the_old_cursor_stands() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let reset = Kind::Reset(Reset { epoch: EPOCH.to_owned(), ..Reset::default() });
    let begin = Kind::SnapshotBegin(SnapshotBegin { sequence: 3, repository_count: 0 });
    let kinds = vec![started(0), events(40, 41), reset, begin];
    fake.script().answers.push_back(Answer::Say(kinds, Status::unavailable("cut")));
    fake.append(42);
    let mut watch = watch(address, EARLIEST, quick());
    assert_eq!(take_until(&mut watch, 42).await.0, [40, 41, 42]);
    assert_eq!(fake.script().requests[1].0.start, Some(Start::Cursor(cursor(41))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_falls_silent_is_left() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    fake.script().answers.push_back(Answer::FallSilent(vec![started(0)]));
    fake.append(2);
    let mut watch = watch(address, EARLIEST, Policy { silence_max: Duration::from_millis(500), ..quick() });
    assert_eq!(take_until(&mut watch, 2).await, (vec![1, 2], 1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_repeats_itself_is_not_believed() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let kinds = vec![started(0), events(1, 3), events(3, 4)];
    fake.script().answers.push_back(Answer::Say(kinds, Status::unavailable("cut")));
    let mut watch = watch(address, EARLIEST, quick());
    for _ in 0..2 {
        assert!(next(&mut watch).await.is_ok());
    }
    let repeated = Violation::OutOfOrder { sequence: 3, last: 3 };
    // Nor is it ever again.
    for _ in 0..2 {
        let failure = next(&mut watch).await.expect_err("a repetition");
        assert_eq!((failure.kind, failure.violation.as_deref()), (FailureKind::Server, Some(&repeated)));
    }
    assert_eq!(fake.script().requests.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_not_there_yet_is_waited_for_only_when_asked() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let proxy = Proxy::to(fake.serve(&mut tasks).await, &mut tasks).await;
    proxy.let_through(false);
    let failure = next(&mut watch(proxy.address, EARLIEST, quick())).await.expect_err("nobody is there");
    assert_eq!(failure.kind, FailureKind::Transient);

    let patient = Policy { first_connect: FirstConnect::Retry, ..quick() };
    let mut watch = watch(proxy.address, EARLIEST, patient);
    assert!(matches!(next(&mut watch).await, Ok(Update::Disconnected(_))));
    proxy.let_through(true);
    fake.append(1);
    assert_eq!(take_until(&mut watch, 1).await, (vec![1], 0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_read_at_every_connection() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let proxy = Proxy::to(fake.serve(&mut tasks).await, &mut tasks).await;
    let directory = tempfile::tempdir().expect("a directory");
    let token_file = directory.path().join("token");
    let options = ServerOptions {
        address: proxy.address.to_string(),
        token_file: Some(token_file.clone()),
        ..ServerOptions::default()
    };
    let request = WatchEventsRequest { start: Some(EARLIEST), ..Default::default() };
    let server = Server::new(&options).expect("an address");
    let mut watch = Watch::new(server, request, quick());
    assert_eq!(next(&mut watch).await.expect_err("no file").kind, FailureKind::Denied);

    std::fs::write(&token_file, "first\n").expect("written");
    fake.append(1);
    take_until(&mut watch, 1).await;
    std::fs::write(&token_file, "second\n").expect("written");
    proxy.cut();
    while !matches!(next(&mut watch).await, Ok(Update::Disconnected(_))) {}
    fake.append(1);
    take_until(&mut watch, 2).await;
    let tokens: Vec<_> = fake.script().requests.iter().map(|(_, token)| token.clone()).collect();
    assert_eq!(tokens, [Some("Bearer first".to_owned()), Some("Bearer second".to_owned())]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_is_an_address() {
    use crate::server::git_event_service_server::GitEventServiceServer;
    use tokio_stream::wrappers::UnixListenerStream;

    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("grpc.sock");
    let listener = tokio::net::UnixListener::bind(&path).expect("bound");
    let service = tonic::transport::Server::builder().add_service(GitEventServiceServer::new(fake.clone()));
    tasks.spawn(async move {
        let _ = service.serve_with_incoming(UnixListenerStream::new(listener)).await;
    });
    fake.append(2);
    let address = format!("unix:{}", path.display());
    let server = Server::new(&ServerOptions { address, ..ServerOptions::default() }).expect("an address");
    let request = WatchEventsRequest { start: Some(EARLIEST), ..Default::default() };
    assert_eq!(take_until(&mut Watch::new(server, request, quick()), 2).await.0, [1, 2]);
}

#[test]
fn addresses_that_lead_nowhere_are_refused() {
    let refused = |address: &str, ca: Option<&str>| {
        let options =
            ServerOptions { address: address.to_owned(), ca: ca.map(Into::into), ..ServerOptions::default() };
        Server::new(&options).expect_err(address).to_string()
    };
    assert!(refused("ftp://host:1", None).contains("HOST:PORT"));
    assert!(refused("http://a b", None).contains("HOST:PORT"));
    assert!(refused("localhost:1", Some("/ca.pem")).contains("https"));
    assert!(refused("https://localhost:1", Some("/no/such/ca.pem")).contains("/no/such/ca.pem"));
}
