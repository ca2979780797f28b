//! A client of the gRPC service, for tests that are plain functions.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use refwatch_proto::v1::git_event_service_client::GitEventServiceClient;
use refwatch_proto::v1::watch_events_request::Start;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::v1::{
    EventFilter, GetPositionRequest, GetPositionResponse, GetServerInfoRequest, GetServerInfoResponse,
    GitEvent, GitEventType, ListEventsRequest, ListEventsResponse, ListRefsRequest, ListRefsResponse,
    ListRepositoriesRequest, ListRepositoriesResponse, Ref, Repository, WatchEventsRequest,
};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt as _;

use crate::DEADLINE;
use crate::recorder::Recorder;
use crate::state::State;
use crate::world::Repo;

/// Silence after which a stream of a test sends a Progress, in milliseconds: the least that is allowed.
const PROGRESS_MS: u32 = 100;

/// Runs what tests wait for.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
    })
}

/// A connection to a daemon.
#[derive(Clone, Debug)]
pub struct Client(pub GitEventServiceClient<Channel>);

/// How a call was refused: code, and what its `ErrorInfo` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The code.
    pub code: Code,
    /// `reason` of the `ErrorInfo`.
    pub reason: String,
    /// `metadata` of the `ErrorInfo`.
    pub metadata: HashMap<String, String>,
    /// The text.
    pub message: String,
    /// A `RetryInfo` was there.
    pub retry: bool,
}

impl Refusal {
    /// Reads a status; every one of refwatch carries an `ErrorInfo`.
    pub fn of(status: &Status) -> Self {
        let info = status.get_details_error_info();
        let (reason, metadata) = info.map(|info| (info.reason, info.metadata)).unwrap_or_default();
        Self {
            code: status.code(),
            reason,
            metadata,
            message: status.message().to_owned(),
            retry: status.get_details_retry_info().is_some(),
        }
    }
}

/// A filter that takes everything, internal namespaces too: its events are gap-free.
pub fn filter() -> EventFilter {
    EventFilter { include_internal: true, ..EventFilter::default() }
}

/// A filter by ref globs.
pub fn refs_filter(globs: &[&str]) -> EventFilter {
    EventFilter { ref_include_globs: globs.iter().map(|glob| (*glob).to_owned()).collect(), ..filter() }
}

/// A filter by repository globs.
pub fn repositories_filter(globs: &[&str]) -> EventFilter {
    EventFilter { repository_globs: globs.iter().map(|glob| (*glob).to_owned()).collect(), ..filter() }
}

/// A filter by types.
pub fn types_filter(types: &[GitEventType]) -> EventFilter {
    EventFilter { types: types.iter().map(|kind| i32::from(*kind)).collect(), ..filter() }
}

/// A request to watch, with frequent progress.
pub fn request(start: Start, filter: EventFilter) -> WatchEventsRequest {
    WatchEventsRequest {
        start: Some(start),
        filter: Some(filter),
        progress_interval_ms: PROGRESS_MS,
        ..WatchEventsRequest::default()
    }
}

/// Waits for a future, until the deadline.
pub(crate) fn wait<T>(future: impl Future<Output = T>) -> T {
    runtime().block_on(async { timeout(DEADLINE, future).await.expect("an answer before the deadline") })
}

impl Client {
    /// Connects when first used.
    pub fn connect(address: SocketAddr) -> Self {
        let _inside = runtime().enter();
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        Self(GitEventServiceClient::new(endpoint.connect_lazy()))
    }

    /// A barrier: what was on disk before is in the log after. Fails the test when it is refused.
    pub fn sync(&self) -> GetPositionResponse {
        let timeout_ms = u32::try_from(DEADLINE.as_millis()).unwrap_or(u32::MAX);
        let request = GetPositionRequest { sync: true, timeout_ms, ..GetPositionRequest::default() };
        self.position(request).expect("the log catches up with the disk")
    }

    /// Asks for the position.
    pub fn position(&self, request: GetPositionRequest) -> Result<GetPositionResponse, Status> {
        wait(self.0.clone().get_position(request)).map(tonic::Response::into_inner)
    }

    /// Asks what the server is.
    pub fn info(&self) -> GetServerInfoResponse {
        wait(self.0.clone().get_server_info(GetServerInfoRequest {})).expect("told").into_inner()
    }

    /// Lists one page of refs.
    pub fn list_refs(&self, request: ListRefsRequest) -> Result<ListRefsResponse, Status> {
        wait(self.0.clone().list_refs(request)).map(tonic::Response::into_inner)
    }

    /// Lists one page of events.
    pub fn list_events(&self, request: ListEventsRequest) -> Result<ListEventsResponse, Status> {
        wait(self.0.clone().list_events(request)).map(tonic::Response::into_inner)
    }

    /// Lists one page of repositories.
    pub fn list_repositories(
        &self,
        request: ListRepositoriesRequest,
    ) -> Result<ListRepositoriesResponse, Status> {
        wait(self.0.clone().list_repositories(request)).map(tonic::Response::into_inner)
    }

    /// All refs, and the cursor to watch from.
    pub fn refs(&self, page_size: u32) -> (Vec<Ref>, String) {
        let (mut refs, mut page_token, mut cursor) = (Vec::new(), String::new(), None);
        loop {
            let request = ListRefsRequest {
                page_size,
                page_token,
                include_internal: true,
                ..ListRefsRequest::default()
            };
            let page = self.list_refs(request).expect("listed");
            refs.extend(page.refs);
            let same = cursor.get_or_insert_with(|| page.cursor.clone());
            assert_eq!(*same, page.cursor, "every page has the cursor of the first");
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return (refs, cursor.unwrap_or_default());
            }
        }
    }

    /// All retained events.
    pub fn events(&self) -> Vec<GitEvent> {
        let (mut events, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListEventsRequest {
                filter: Some(filter()),
                page_size: 1_000,
                page_token,
                ..ListEventsRequest::default()
            };
            let page = self.list_events(request).expect("listed");
            events.extend(page.events);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return events;
            }
        }
    }

    /// All repositories.
    pub fn repositories(&self) -> Vec<Repository> {
        let (mut repositories, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListRepositoriesRequest { page_token, ..ListRepositoriesRequest::default() };
            let page = self.list_repositories(request).expect("listed");
            repositories.extend(page.repositories);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return repositories;
            }
        }
    }

    /// The repository at a path.
    pub fn repository(&self, repo: &Repo) -> Repository {
        let all = self.repositories();
        let found = all.iter().find(|repository| repository.path == repo.path).cloned();
        found.unwrap_or_else(|| panic!("{} is followed, among {all:?}", repo.path))
    }

    /// What is on disk, with the ids under which the daemon knows the repositories.
    pub fn on_disk(&self, repos: &[&Repo]) -> State {
        State(repos.iter().map(|repo| (self.repository(repo).id, repo.refs())).collect())
    }

    /// Opens a stream.
    pub fn watch(&self, request: WatchEventsRequest) -> Result<Stream, Status> {
        wait(self.0.clone().watch_events(request)).map(|response| Stream(response.into_inner()))
    }

    /// Opens a stream with a deadline, which is told to the server and not kept by this end.
    pub fn watch_for(&self, request: WatchEventsRequest, patience: Duration) -> Result<Stream, Status> {
        let mut request = tonic::Request::new(request);
        request.set_timeout(patience);
        wait(self.0.clone().watch_events(request)).map(|response| Stream(response.into_inner()))
    }

    /// How a stream is refused: at once, or by its first message.
    ///
    /// # Panics
    /// When it is not.
    pub fn watch_refused(&self, request: WatchEventsRequest) -> Refusal {
        let refused = self.watch(request).and_then(|mut stream| stream.next());
        match refused {
            Err(status) => Refusal::of(&status),
            Ok(kind) => panic!("it is refused, but begins with {kind:?}"),
        }
    }

    /// Records a stream of everything, from a start.
    pub fn record(&self, start: Start) -> Recorder {
        Recorder::start(self, request(start, filter()))
    }

    /// Records a stream of everything, from a snapshot of the refs.
    pub fn record_snapshot(&self) -> Recorder {
        self.record(Start::Snapshot(refwatch_proto::v1::SnapshotThenWatch {}))
    }

    /// Records a stream of everything, from a cursor.
    pub fn record_from(&self, cursor: &str) -> Recorder {
        self.record(Start::Cursor(cursor.to_owned()))
    }

    /// Records a stream of everything that is retained.
    pub fn record_earliest(&self) -> Recorder {
        self.record(Start::Earliest(refwatch_proto::v1::Earliest {}))
    }
}

/// A stream that is read one message at a time.
#[derive(Debug)]
pub struct Stream(Streaming<refwatch_proto::v1::WatchEventsResponse>);

impl Stream {
    /// The next message, as its kind.
    ///
    /// # Errors
    /// How the stream ended.
    #[allow(clippy::should_implement_trait, reason = "a stream that fails is no iterator")]
    pub fn next(&mut self) -> Result<Kind, Status> {
        wait(self.next_async())
    }

    pub(crate) async fn next_async(&mut self) -> Result<Kind, Status> {
        match self.0.message().await? {
            Some(message) => message.kind.ok_or_else(|| Status::internal("a message without a kind")),
            None => Err(Status::ok("the stream ended well")),
        }
    }
}
