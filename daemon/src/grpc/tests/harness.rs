//! A server on a free port, a store in a temporary directory, and clients.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use refwatch_core::classify::Bareness;
use refwatch_core::event::{Extra, number};
use refwatch_core::refuse::{Refusal, refused};
use refwatch_core::{Event, EventType, ObjectFormat, ObjectId, Origin, RefChange, RefName, RefState, Target};
use refwatch_ops::metrics::Metrics;
use refwatch_ops::{Check, Readiness};
use refwatch_proto::v1::git_event_service_client::GitEventServiceClient;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{self, watch_events_request::Start};
use refwatch_store::{
    Commit, CommitError, FsIdentity, Logged, NewRepository, Options, RefStorage, RefWrite, RepositoryKey,
    RepositoryWrite, Retention, Store,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use tonic_types::StatusExt as _;

use crate::barrier::{Barrier, SyncError};
use crate::directory::{Directory, Entry, Health, Watched};
use crate::grpc::{GrpcServer, Inherited};
use crate::intake::{Intake, Standing, Stored, Told};
use crate::log::Log;
use crate::service::{GitEvents, Ingest};
use crate::settings::{Settings, StoreSettings};
use crate::subscriptions::Subscriptions;

/// Far more than anything here takes, on a machine however busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const NOW_US: i64 = 1_700_000_000_000_000;

pub(crate) type Client = GitEventServiceClient<Channel>;

/// A barrier that a test holds up.
#[derive(Default)]
pub(crate) struct Gatekeeper {
    pub(crate) closed: std::sync::atomic::AtomicBool,
    pub(crate) asked: Mutex<Vec<Option<Vec<RepositoryKey>>>>,
}

impl Barrier for Gatekeeper {
    fn sync(&self, repositories: Option<&[RepositoryKey]>, deadline: Instant) -> Result<(), SyncError> {
        self.asked.lock().unwrap().push(repositories.map(<[RepositoryKey]>::to_vec));
        while self.closed.load(std::sync::atomic::Ordering::Relaxed) {
            if Instant::now() >= deadline {
                return Err(SyncError::TimedOut { pending: 1 });
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    fn pending(&self) -> u64 {
        u64::from(self.closed.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// An intake that knows the directory, and the roots `/srv/git` and `/srv/more`.
pub(crate) struct Desk {
    log: Arc<Log>,
    /// What is found and not in the log yet.
    pub(crate) uncommitted: Mutex<Option<RepositoryKey>>,
    /// How often it was said so.
    pub(crate) put_off: std::sync::atomic::AtomicUsize,
}

impl Intake for Desk {
    fn find(&self, path: &Path) -> Vec<RepositoryKey> {
        let mut found = Vec::new();
        self.log.directory().each(|entry| {
            let inner = Path::new(std::str::from_utf8(&entry.path).unwrap());
            if path == inner || path == entry.root.join(inner) {
                found.push(entry.key);
            }
        });
        found
    }

    fn standing(&self, key: RepositoryKey) -> Standing {
        match self.log.directory().get(key) {
            Some(_) if *self.uncommitted.lock().unwrap() == Some(key) => {
                self.put_off.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                Standing::Uncommitted
            }
            Some(_) => Standing::Committed,
            None => Standing::Unknown,
        }
    }

    fn take(&self, key: RepositoryKey, refusals: Vec<Refusal>, told: Told) {
        let mut commit = Commit::new(key, NOW_US);
        let events = refusals.into_iter().map(|refusal| refused(&|_| false, Origin::Report, refusal));
        commit.events = events.collect();
        number(&mut commit.events);
        let log = Arc::clone(&self.log);
        let done = move |result: Result<Vec<Logged>, CommitError>| {
            told(result.map(|events| {
                let stored = Stored { first_sequence: events[0].sequence, events: events.len() as u64 };
                log.publish(events);
                stored
            }));
        };
        self.log.store().submit(commit, done).ok();
    }
}

pub(crate) struct Harness {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Arc<Store>,
    pub(crate) log: Arc<Log>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) metrics: Metrics,
    pub(crate) barrier: Arc<Gatekeeper>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) drain: CancellationToken,
    pub(crate) ready: Check,
    pub(crate) subscriptions: Arc<Subscriptions>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) server: JoinSet<()>,
}

/// A repository of a test, and its refs.
#[derive(Clone)]
pub(crate) struct Repo {
    pub(crate) key: RepositoryKey,
    pub(crate) uid: u64,
    pub(crate) refs: BTreeMap<RefName, Target>,
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.grpc.address = ([127, 0, 0, 1], 0).into();
    settings.store.retention_age = None;
    settings
}

pub(crate) fn name(text: &str) -> RefName {
    RefName::new(text.as_bytes()).unwrap()
}

pub(crate) fn oid(number: u64) -> ObjectId {
    let mut raw = [0xab; 20];
    raw[..8].copy_from_slice(&number.to_be_bytes());
    ObjectId::Sha1(raw)
}

impl Repo {
    /// One transaction: each ref to a new value, or away.
    pub(crate) fn commit(&mut self, changes: &[(&str, Option<u64>)]) -> Commit {
        let mut commit = Commit::new(self.key, NOW_US);
        for (text, to) in changes {
            let name = name(text);
            let new = to.map(|number| Target::Direct(oid(number)));
            let old = match &new {
                Some(new) => self.refs.insert(name.clone(), new.clone()),
                None => self.refs.remove(&name),
            };
            let (kind, change) = match (&old, &new) {
                (None, _) => (EventType::BranchCreated, RefChange::Created),
                (Some(_), Some(_)) => (EventType::BranchUpdated, RefChange::Updated),
                (Some(_), None) => (EventType::BranchDeleted, RefChange::Deleted),
            };
            commit.refs.push(RefWrite {
                name: name.clone(),
                state: new.clone().map(RefState::Good),
                peeled: None,
            });
            commit.events.push(Event {
                name: Some(name),
                change: Some(change),
                old,
                new,
                ..Event::of_repository(kind, Origin::Notify)
            });
        }
        number(&mut commit.events);
        commit
    }
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::at(dir, change).await
    }

    /// A server over the database of a directory, which may hold one already.
    pub(crate) async fn at(dir: tempfile::TempDir, change: impl FnOnce(&mut Settings)) -> Self {
        let mut settings = settings();
        change(&mut settings);
        let store = Arc::new(open(dir.path().join("db"), &settings.store));
        let directory = Arc::new(Directory::default());
        for row in store.read().unwrap().repositories().unwrap() {
            directory.put(entry(row.key, row.uid, &String::from_utf8(row.path).unwrap()));
        }
        let metrics = Metrics::new("test");
        let log = Arc::new(Log::new(Arc::clone(&store), Arc::clone(&directory), metrics.clone()));
        let drain = CancellationToken::new();
        let barrier = Arc::new(Gatekeeper::default());
        let subscriptions =
            Arc::new(Subscriptions::new(Arc::clone(&log), metrics.clone(), &settings, drain.clone()));
        let bound = GrpcServer::bind(&settings.grpc, Inherited::default()).unwrap();
        let address = bound.local_addr();
        let service = GitEvents::new(
            Arc::clone(&log),
            Arc::clone(&subscriptions),
            Arc::clone(&barrier) as Arc<dyn Barrier>,
            metrics.clone(),
            Arc::new(settings),
        );
        let desk = Arc::new(Desk { log: Arc::clone(&log), uncommitted: Mutex::default(), put_off: 0.into() });
        let intake = Arc::clone(&desk) as Arc<dyn Intake>;
        let ingest = Ingest::new(Arc::clone(&log), intake, metrics.clone(), drain.clone());
        let (readiness, [ready]) = Readiness::with_checks(["test"]);
        ready.ok();
        let mut server = JoinSet::new();
        let (until, counted, probed) = (drain.clone(), metrics.clone(), readiness.clone());
        server.spawn(async move { bound.serve(service, ingest, probed, counted, until).await.unwrap() });
        Self {
            dir,
            store,
            log,
            directory,
            metrics,
            barrier,
            desk,
            drain,
            ready,
            subscriptions,
            address,
            server,
        }
    }

    /// Stops the server, and gives the directory back to start another on it.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        self.drain.cancel();
        self.server.join_next().await.unwrap().unwrap();
        self.store.close();
        self.dir
    }

    pub(crate) async fn channel(&self) -> Channel {
        let endpoint = Channel::from_shared(format!("http://{}", self.address)).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub(crate) async fn client(&self) -> Client {
        GitEventServiceClient::new(self.channel().await).max_decoding_message_size(4 << 20)
    }

    pub(crate) async fn watch(&self, request: v1::WatchEventsRequest) -> Watcher {
        self.try_watch(request).await.unwrap()
    }

    pub(crate) async fn try_watch(&self, request: v1::WatchEventsRequest) -> Result<Watcher, Status> {
        Ok(Watcher { stream: self.client().await.watch_events(request).await?.into_inner() })
    }

    /// Commits as the engine does, and publishes on the store's writer thread.
    pub(crate) fn commit(&self, commit: Commit) -> Vec<Logged> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let log = Arc::clone(&self.log);
        self.store
            .submit(commit, move |result| {
                let events = result.expect("a sound commit");
                log.publish(events.clone());
                sender.send(events).unwrap();
            })
            .unwrap();
        receiver.recv().unwrap()
    }

    /// A new repository, with its REPOSITORY_DISCOVERED.
    pub(crate) fn repository(&self, path: &str) -> Repo {
        let key = self.store.allocate_key();
        let uid = self.store.random_uid();
        self.directory.put(entry(key, uid, path));
        let mut commit = Commit::new(key, NOW_US);
        commit.repository_write = Some(RepositoryWrite::Create(NewRepository {
            uid,
            root: b"/srv/git".to_vec(),
            path: path.as_bytes().to_vec(),
            object_format: ObjectFormat::Sha1,
            ref_storage: RefStorage::Files,
            bareness: Bareness::Bare,
            identity: FsIdentity { dev: 1, ino: uid, birth_ns: None },
        }));
        commit.events.push(Event::of_repository(EventType::RepositoryDiscovered, Origin::Startup));
        self.commit(commit);
        Repo { key, uid, refs: BTreeMap::new() }
    }

    /// One transaction: each ref to a new value, or away. Gives its last sequence.
    pub(crate) fn change(&self, repo: &mut Repo, changes: &[(&str, Option<u64>)]) -> u64 {
        self.commit(repo.commit(changes)).last().unwrap().sequence
    }

    /// As many transactions, each of so many new branches.
    pub(crate) fn fill(&self, repo: &mut Repo, transactions: u64, size: u64) {
        for _ in 0..transactions {
            let first = repo.refs.len() as u64;
            let names: Vec<_> =
                (first..first + size).map(|n| (format!("refs/heads/branch-{n:07}"), n + 1)).collect();
            let changes: Vec<_> = names.iter().map(|(name, value)| (name.as_str(), Some(*value))).collect();
            self.change(repo, &changes);
        }
    }

    pub(crate) fn rename(&self, repo: &Repo, from: &str, to: &str) {
        let mut commit = Commit::new(repo.key, NOW_US);
        commit.repository_write =
            Some(RepositoryWrite::Move { root: b"/srv/git".to_vec(), path: to.as_bytes().to_vec() });
        let extra = Extra { previous: Some(from.as_bytes().into()), ..Extra::default() };
        commit.events.push(Event {
            extra: Some(Box::new(extra)),
            ..Event::of_repository(EventType::RepositoryMoved, Origin::Sweep)
        });
        self.directory.update(repo.key, |entry| entry.path = to.as_bytes().into());
        self.commit(commit);
    }

    pub(crate) fn last(&self) -> u64 {
        self.store.bounds().last
    }

    pub(crate) fn cursor(&self, sequence: u64) -> String {
        self.log.cursor(sequence).encode()
    }
}

fn open(path: PathBuf, settings: &StoreSettings) -> Store {
    let options = Options {
        readers_max: 8,
        retention: Retention { events_max: settings.retention_events_max, ..Retention::default() },
        durability: refwatch_store::Durability::Normal,
        ..Options::new(path)
    };
    refwatch_store::open(options, NOW_US).unwrap().store
}

fn entry(key: RepositoryKey, uid: u64, path: &str) -> Entry {
    Entry {
        key,
        uid,
        root: Arc::new(PathBuf::from("/srv/git")),
        path: path.as_bytes().into(),
        format: ObjectFormat::Sha1,
        storage: RefStorage::Files,
        bareness: Bareness::Bare,
        watched: Watched::Notify,
        health: Health::Ready,
        last_observed_us: NOW_US,
    }
}

/// A stream of WatchEvents, read with patience.
pub(crate) struct Watcher {
    pub(crate) stream: Streaming<v1::WatchEventsResponse>,
}

impl Watcher {
    /// The next message, `None` at a good end, which there never should be.
    pub(crate) async fn next(&mut self) -> Result<Kind, Status> {
        let message =
            tokio::time::timeout(PATIENCE, self.stream.message()).await.expect("a message in time")?;
        Ok(message.expect("a stream never ends well").kind.expect("a kind that is known"))
    }

    /// Events up to a sequence; what else comes is passed over.
    pub(crate) async fn events_to(&mut self, sequence: u64) -> Vec<v1::GitEvent> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &v1::GitEvent| event.sequence < sequence) {
            if let Kind::Events(batch) = self.next().await.unwrap() {
                events.extend(batch.events);
            }
        }
        events
    }

    /// The first batch that comes.
    pub(crate) async fn batch(&mut self) -> v1::EventBatch {
        loop {
            if let Kind::Events(batch) = self.next().await.unwrap() {
                return batch;
            }
        }
    }

    /// The status that ends the stream.
    pub(crate) async fn end(&mut self) -> Status {
        loop {
            if let Err(status) = self.next().await {
                return status;
            }
        }
    }
}

pub(crate) fn from_cursor(cursor: String) -> v1::WatchEventsRequest {
    v1::WatchEventsRequest { start: Some(Start::Cursor(cursor)), ..Default::default() }
}

pub(crate) fn earliest() -> v1::WatchEventsRequest {
    v1::WatchEventsRequest { start: Some(Start::Earliest(v1::Earliest {})), ..Default::default() }
}

pub(crate) fn now() -> v1::WatchEventsRequest {
    v1::WatchEventsRequest { start: Some(Start::Now(v1::Now {})), ..Default::default() }
}

pub(crate) fn snapshot() -> v1::WatchEventsRequest {
    v1::WatchEventsRequest { start: Some(Start::Snapshot(v1::SnapshotThenWatch {})), ..Default::default() }
}

pub(crate) fn sequences(events: &[v1::GitEvent]) -> Vec<u64> {
    events.iter().map(|event| event.sequence).collect()
}

/// Reason and metadata of a status.
pub(crate) fn told(status: &Status) -> (String, BTreeMap<String, String>) {
    let details = status.get_error_details();
    let info = details.error_info().unwrap_or_else(|| panic!("no details: {status:?}"));
    (info.reason.clone(), info.metadata.clone().into_iter().collect())
}

/// Waits until something holds, which it will.
pub(crate) async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what} never came to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
