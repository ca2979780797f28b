//! The Rust client: lists, then watches, and goes on over whatever breaks, holding everything against the contract.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use refwatch_proto::client::{
    Change, FailureKind, FileCheckpoint, FirstConnect, Follow, Gap, Mirror, Policy, Server, ServerOptions,
    Target, Update,
};
use refwatch_proto::v1::{GitEvent, OnGap, WatchEventsRequest};
use refwatch_tests::{DEADLINE, Daemon, Options, Proxy, Random, Refs, Repo, State, Value, World, filter};
use tokio::runtime::Runtime;

/// A subscriber, as one would be written.
struct Subscriber {
    runtime: Runtime,
    follow: Follow<FileCheckpoint>,
    mirror: Mirror,
    changes: Vec<Change>,
    events: Vec<GitEvent>,
    resets: usize,
    disconnections: usize,
}

impl Subscriber {
    /// One that begins with what it knew before.
    fn new(address: SocketAddr, file: &Path, on_gap: OnGap, mirror: Mirror) -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let server = Server::new(&ServerOptions { address: address.to_string(), ..ServerOptions::default() })
            .expect("an address");
        let request = WatchEventsRequest {
            filter: Some(filter()),
            on_gap: on_gap.into(),
            progress_interval_ms: 100,
            max_batch_bytes: 1_024,
            ..WatchEventsRequest::default()
        };
        let policy = Policy {
            first_connect: FirstConnect::Retry,
            backoff_max: Duration::from_millis(200),
            ..Policy::default()
        };
        let checkpoint = FileCheckpoint::open(file).expect("whole or not there");
        let follow = runtime.block_on(Follow::open(server, request, policy, checkpoint)).expect("read");
        Self {
            runtime,
            follow,
            mirror,
            changes: Vec::new(),
            events: Vec::new(),
            resets: 0,
            disconnections: 0,
        }
    }

    fn take(&mut self) -> Update {
        let Self { runtime, follow, .. } = self;
        let next = async { tokio::time::timeout(DEADLINE, follow.next()).await };
        let update = runtime.block_on(next).expect("before the deadline").expect("goes on");
        self.changes.extend(self.mirror.take(&update));
        match &update {
            Update::Events(batch) => self.events.extend(batch.events.iter().cloned()),
            Update::Reset(_) => self.resets += 1,
            Update::Disconnected(_) => self.disconnections += 1,
            Update::Started(_)
            | Update::SnapshotBegin(_)
            | Update::SnapshotRefs(_)
            | Update::SnapshotEnd(_)
            | Update::Progress(_)
            | Update::Reconnected => {}
        }
        update
    }

    fn processed(&mut self) {
        self.runtime.block_on(self.follow.processed()).expect("stored");
    }

    /// Goes on until it stands at the end of the log.
    fn settle(&mut self, daemon: &Daemon) {
        let end = daemon.client().sync().cursor;
        while self.take().cursor() != Some(&*end) {}
        self.processed();
    }

    fn state(&self) -> State {
        let value = |target: &Target| {
            if target.symbolic.is_empty() {
                Value::Oid(target.oid.clone())
            } else {
                Value::Symbolic(target.symbolic.clone())
            }
        };
        let repositories = self.mirror.repositories().iter().map(|(id, known)| {
            let refs = known.refs.iter().map(|(name, target)| (name.clone(), value(target)));
            (id.clone(), Refs(refs.collect()))
        });
        State(repositories.collect())
    }
}

fn update(repo: &Repo, random: &mut Random, commits: &[String]) {
    let lines: String = (0..=random.below(4))
        .map(|_| {
            let name = format!("refs/heads/b{}", random.below(6));
            match random.below(4) {
                0 => format!("delete {name}\n"),
                _ => format!("update {name} {}\n", commits[random.below(commits.len())]),
            }
        })
        .collect();
    // It may name a ref twice: git refuses that.
    repo.try_update(lines.as_bytes());
}

#[test]
fn it_goes_on_over_restarts_of_both_sides_and_cuts_and_holds_what_is_on_disk() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 5] = repo.history();
    let mut random = Random::new(0x5eed);
    update(&repo, &mut random, &commits);
    let mut daemon = Daemon::start(&world);
    let proxy = Proxy::start(daemon.grpc());
    let file = world.beside("cursor");
    let base = daemon.client().sync().last_sequence;
    let mut subscriber = Subscriber::new(proxy.address, &file, OnGap::Fail, Mirror::default());
    subscriber.settle(&daemon);
    assert_eq!(subscriber.state(), daemon.client().on_disk(&[&repo]));
    let (mut events, mut disconnections) = (Vec::new(), 0);
    for round in 0..8 {
        for _ in 0..6 {
            update(&repo, &mut random, &commits);
        }
        match round % 4 {
            0 => proxy.cut_after(500 + random.below(3_000)),
            1 => {
                daemon.kill9();
                update(&repo, &mut random, &commits);
                daemon.restart();
                proxy.lead_to(daemon.grpc());
            }
            2 => {
                daemon.stop();
                daemon.restart();
                proxy.lead_to(daemon.grpc());
            }
            _ => {
                subscriber.settle(&daemon);
                events.append(&mut subscriber.events);
                disconnections += subscriber.disconnections;
                let kept = subscriber.mirror.clone();
                drop(subscriber);
                update(&repo, &mut random, &commits);
                subscriber = Subscriber::new(proxy.address, &file, OnGap::Fail, kept);
            }
        }
        subscriber.settle(&daemon);
        assert_eq!(subscriber.state(), daemon.client().on_disk(&[&repo]), "round {round}");
    }
    events.append(&mut subscriber.events);
    let log = daemon.client().events();
    assert!(log.len() > 40, "{} events", log.len());
    let after_base: Vec<GitEvent> = log.into_iter().filter(|event| event.sequence > base).collect();
    assert_eq!(events, after_base, "each once, none missing");
    assert!(disconnections + subscriber.disconnections >= 4);
}

#[test]
fn a_lost_cursor_is_a_typed_gap_and_relisting_tells_what_was_deleted_meanwhile() {
    let world = World::new();
    let repo = world.repo("a.git");
    let commits: [String; 12] = repo.history();
    repo.update(&format!("create refs/heads/gone {}\ncreate refs/heads/main {}\n", commits[0], commits[0]));
    let mut daemon = Daemon::start(&world);
    let file = world.beside("cursor");
    let mut subscriber = Subscriber::new(daemon.grpc(), &file, OnGap::Fail, Mirror::default());
    subscriber.settle(&daemon);
    let kept = subscriber.mirror.clone();
    drop(subscriber);

    repo.update("delete refs/heads/gone\n");
    for commit in &commits {
        repo.update(&format!("update refs/heads/main {commit}\n"));
        daemon.client().sync();
    }
    daemon.stop();
    daemon = Options::new(&world).set("store.retention_events_max", "3").launch();
    daemon.wait_metric("refwatch_log_floor_sequence", 5.0);

    let mut subscriber = Subscriber::new(daemon.grpc(), &file, OnGap::Fail, kept.clone());
    let next = async { tokio::time::timeout(DEADLINE, subscriber.follow.next()).await };
    let failure = subscriber.runtime.block_on(next).expect("an answer").expect_err("a gap");
    assert_eq!(failure.kind, FailureKind::Gap);
    let Some(Gap::Expired { cursor_sequence: Some(stood), floor_sequence: Some(floor), floor_cursor }) =
        failure.gap()
    else {
        panic!("expired: {failure:?}")
    };
    assert!(stood + 1 < floor && floor_cursor.is_some(), "{failure:?}");
    drop(subscriber);

    let mut subscriber = Subscriber::new(daemon.grpc(), &file, OnGap::Resnapshot, kept);
    subscriber.settle(&daemon);
    assert_eq!(subscriber.resets, 1);
    assert_eq!(subscriber.state(), daemon.client().on_disk(&[&repo]));
    let deleted = subscriber.changes.iter().any(
        |change| matches!(change, Change::RefDeleted { name, .. } if name.as_slice() == b"refs/heads/gone"),
    );
    assert!(deleted, "{:?}", subscriber.changes);
}
