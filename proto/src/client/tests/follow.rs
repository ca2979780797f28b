use futures_util::StreamExt as _;

use super::*;
use crate::v1::{OnGap, Ref, Repository, SnapshotRefs};

fn file() -> (tempfile::TempDir, std::path::PathBuf) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("cursor");
    (directory, path)
}

async fn follow(address: SocketAddr, path: &std::path::Path) -> Follow<FileCheckpoint> {
    let checkpoint = FileCheckpoint::open(path).expect("whole");
    let request = WatchEventsRequest { on_gap: OnGap::Resnapshot.into(), ..Default::default() };
    Follow::open(server(address), request, quick(), checkpoint).await.expect("read")
}

async fn next(follow: &mut Follow<FileCheckpoint>) -> Update {
    tokio::time::timeout(DEADLINE, follow.next()).await.expect("within the deadline").expect("goes on")
}

async fn up_to(follow: &mut Follow<FileCheckpoint>, last: u64) -> Vec<u64> {
    let mut sequences = Vec::new();
    while sequences.last() != Some(&last) {
        if let Update::Events(batch) = next(follow).await {
            sequences.extend(batch.events.iter().map(|event| event.sequence));
        }
    }
    sequences
}

fn snapshot(sequence: u64) -> Vec<Kind> {
    let refs = SnapshotRefs {
        repository: Some(Repository { id: "r".to_owned(), ..Repository::default() }),
        refs: vec![Ref { name: "refs/heads/x".to_owned(), oid: "1".repeat(40), ..Ref::default() }],
        last: true,
    };
    vec![
        Kind::Started(Started { epoch: EPOCH.to_owned(), ..Started::default() }),
        Kind::SnapshotBegin(SnapshotBegin { sequence, repository_count: 1 }),
        Kind::SnapshotRefs(refs),
        Kind::SnapshotEnd(SnapshotEnd { cursor: cursor(sequence), repository_count: 1, ref_count: 1 }),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_lists_first_and_after_a_restart_goes_on_after_what_was_processed() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let (_directory, path) = file();
    let broken = Status::unavailable("cut");
    fake.script().answers.push_back(Answer::Say(snapshot(4), broken));
    let mut first = follow(address, &path).await;
    // Before the snapshot is whole there is nothing to go on from.
    for _ in 0..3 {
        next(&mut first).await;
        first.processed().await.expect("stored");
        assert!(!path.exists());
    }
    assert!(matches!(next(&mut first).await, Update::SnapshotEnd(_)));
    assert!(!path.exists());
    first.processed().await.expect("stored");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), format!("{}\n", cursor(4)));
    // The stream is cut, and goes on.
    fake.append(11);
    assert_eq!(up_to(&mut first, 11).await, [5, 6, 7, 8, 9, 10, 11]);
    first.processed().await.expect("stored");
    fake.append(2);
    assert_eq!(up_to(&mut first, 13).await, [12, 13]);
    drop(first);

    // It ended before it had processed these.
    let mut second = follow(address, &path).await;
    assert_eq!(up_to(&mut second, 13).await, [12, 13]);
    let starts: Vec<Option<Start>> =
        fake.script().requests.iter().map(|(request, _)| request.start.clone()).collect();
    let expected =
        [Start::Snapshot(SnapshotThenWatch {}), Start::Cursor(cursor(4)), Start::Cursor(cursor(11))];
    assert_eq!(starts, expected.map(Some));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_a_relisting_leaves_the_checkpoint_as_it_was() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let (_directory, path) = file();
    FileCheckpoint::open(&path).expect("new").replace(&cursor(3)).expect("stored");
    let mut kinds = snapshot(9);
    kinds[0] = started(3);
    kinds.insert(1, Kind::Reset(Reset { epoch: EPOCH.to_owned(), ..Reset::default() }));
    fake.script().answers.push_back(Answer::FallSilent(kinds));
    let mut follow = follow(address, &path).await;
    for _ in 0..4 {
        next(&mut follow).await;
        follow.processed().await.expect("stored");
        assert_eq!(std::fs::read_to_string(&path).expect("there"), format!("{}\n", cursor(3)));
    }
    next(&mut follow).await;
    follow.processed().await.expect("stored");
    assert_eq!(std::fs::read_to_string(&path).expect("there"), format!("{}\n", cursor(9)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_says_what_is_lost() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let refused = |code, reason: &str, metadata: &[(&str, &str)]| {
        let metadata = metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let details =
            ErrorDetails::with_error_info(reason, crate::ERROR_DOMAIN, metadata.collect::<HashMap<_, _>>());
        Status::with_error_details(code, "words", details)
    };
    let expired =
        [("cursor_sequence", "3"), ("floor_sequence", "9"), ("floor_cursor", "c"), ("epoch", EPOCH)];
    let foreign = [("cursor_epoch", "a"), ("epoch", "b"), ("server_id", "s")];
    let ahead = [("cursor_sequence", "9"), ("last_sequence", "x")];
    let cases = [
        (
            refused(Code::OutOfRange, "CURSOR_EXPIRED", &expired),
            Gap::Expired {
                cursor_sequence: Some(3),
                floor_sequence: Some(9),
                floor_cursor: Some("c".to_owned()),
            },
        ),
        (
            refused(Code::FailedPrecondition, "CURSOR_FOREIGN_EPOCH", &foreign),
            Gap::ForeignEpoch { cursor_epoch: Some("a".to_owned()), epoch: Some("b".to_owned()) },
        ),
        (
            refused(Code::FailedPrecondition, "CURSOR_AHEAD", &ahead),
            Gap::Ahead { cursor_sequence: Some(9), last_sequence: None },
        ),
    ];
    for (status, gap) in cases {
        fake.script().answers.push_back(Answer::Refuse(status));
        let failure = super::next(&mut watch(address, EARLIEST, quick())).await.expect_err("a gap");
        assert_eq!((failure.kind, failure.gap()), (FailureKind::Gap, Some(gap)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_stream_it_ends_after_a_failure() {
    let mut tasks = JoinSet::new();
    let fake = Fake::new();
    let address = fake.serve(&mut tasks).await;
    let gone = status(Code::DataLoss, "LOG_CORRUPT", None);
    fake.script().answers.push_back(Answer::Say(vec![started(0), events(1, 2)], gone));
    let all = watch(address, EARLIEST, quick()).into_stream().collect::<Vec<_>>();
    let all = tokio::time::timeout(DEADLINE, all).await.expect("it ends");
    assert_eq!(all.len(), 3);
    assert!(matches!(&all[1], Ok(Update::Events(batch)) if batch.events.len() == 2));
    assert_eq!(all[2].as_ref().expect_err("last").kind, FailureKind::Server);
}
