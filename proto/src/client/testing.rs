//! A small server with a log, and a proxy in front of it that can be cut: to test subscribers against.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::server::git_event_service_server::{GitEventService, GitEventServiceServer};
use crate::v1::watch_events_request::Start;
use crate::v1::watch_events_response::Kind;
use crate::{EncodedFrame, v1};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, transport};

/// Identity of the server.
pub const SERVER_ID: &str = "0123456789abcdef";
/// Identity of its log.
pub const EPOCH: &str = "5f0c2a9be1d34478";
/// Longest wait of a test for anything.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// What a stream does in place of following the log.
#[derive(Debug)]
pub enum Answer {
    /// Refuse the call.
    Refuse(Status),
    /// Send these, then end so.
    Say(Vec<Kind>, Status),
    /// Send these, then nothing more.
    FallSilent(Vec<Kind>),
}

/// What tests look at and change.
#[derive(Debug, Default)]
pub struct Script {
    /// Answers to the next calls; then the log is followed.
    pub answers: VecDeque<Answer>,
    /// Every request, with its authorization.
    pub requests: Vec<(v1::WatchEventsRequest, Option<String>)>,
    /// Events that are sent again before those after the cursor.
    pub repeated: u64,
}

/// A server whose log has the events 1 to `last`.
#[derive(Clone, Debug)]
pub struct Fake {
    last: watch::Sender<u64>,
    script: Arc<Mutex<Script>>,
    streams: TaskTracker,
}

impl Default for Fake {
    fn default() -> Self {
        Self { last: watch::Sender::new(0), script: Arc::default(), streams: TaskTracker::new() }
    }
}

impl Fake {
    /// A server without events.
    pub fn new() -> Self {
        Self::default()
    }

    /// Locks the script.
    ///
    /// # Panics
    /// After a panic with the lock.
    pub fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().expect("no test fails with the lock")
    }

    /// Appends as many events, each a new branch named like its sequence.
    pub fn append(&self, count: u64) {
        self.last.send_modify(|last| *last += count);
    }

    /// Serves on a free port until the set is dropped.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn serve(&self, tasks: &mut JoinSet<()>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let server = transport::Server::builder().add_service(GitEventServiceServer::new(self.clone()));
        tasks.spawn(async move {
            let _ = server.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        address
    }

    async fn follow(self, request: v1::WatchEventsRequest, out: mpsc::Sender<Result<EncodedFrame, Status>>) {
        let mut last = self.last.subscribe();
        let interval = Duration::from_millis(u64::from(request.progress_interval_ms.max(20)));
        let mut sent = match request.start {
            Some(Start::Cursor(cursor)) => sequence_of(&cursor).saturating_sub(self.script().repeated),
            Some(Start::Earliest(_)) => 0,
            _ => *last.borrow(),
        };
        let mut say = started(sent);
        loop {
            if out.send(Ok(frame(say))).await.is_err() {
                return;
            }
            let newest = *last.borrow_and_update();
            if sent < newest {
                // Small batches, so that cuts fall between and into them.
                let to = newest.min(sent + 7);
                say = events(sent + 1, to);
                sent = to;
            } else {
                let _ = tokio::time::timeout(interval, last.changed()).await;
                say = Kind::Progress(v1::Progress {
                    cursor: cursor(sent),
                    sequence: sent,
                    ..Default::default()
                });
            }
        }
    }
}

/// The cursor after an event.
pub fn cursor(sequence: u64) -> String {
    format!("cursor-{sequence:020}")
}

fn sequence_of(cursor: &str) -> u64 {
    cursor.strip_prefix("cursor-").and_then(|digits| digits.parse().ok()).expect("a cursor of this server")
}

/// Begins a stream after an event.
pub fn started(sequence: u64) -> Kind {
    Kind::Started(v1::Started {
        server_id: SERVER_ID.to_owned(),
        epoch: EPOCH.to_owned(),
        cursor: cursor(sequence),
        ..Default::default()
    })
}

/// A batch of events.
pub fn events(first: u64, last: u64) -> Kind {
    let events = (first..=last)
        .map(|sequence| v1::GitEvent {
            event_id: format!("{EPOCH}.{sequence}"),
            sequence,
            cursor: cursor(sequence),
            ref_name: format!("refs/heads/{sequence}"),
            r#type: v1::GitEventType::BranchCreated.into(),
            transaction: Some(v1::Transaction { id: format!("t{sequence}"), index: 0, size: 1 }),
            ..Default::default()
        })
        .collect();
    Kind::Events(v1::EventBatch { events, cursor: cursor(last) })
}

fn frame(kind: Kind) -> EncodedFrame {
    EncodedFrame::of(&v1::WatchEventsResponse { kind: Some(kind) })
}

#[tonic::async_trait]
impl GitEventService for Fake {
    type WatchEventsStream = ReceiverStream<Result<EncodedFrame, Status>>;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let token =
            request.metadata().get("authorization").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let request = request.into_inner();
        let answer = {
            let mut script = self.script();
            script.requests.push((request.clone(), token));
            script.answers.pop_front()
        };
        let (out, stream) = mpsc::channel(2);
        let (kinds, end) = match answer {
            Some(Answer::Refuse(status)) => return Err(status),
            Some(Answer::Say(kinds, status)) => (kinds, Some(status)),
            Some(Answer::FallSilent(kinds)) => (kinds, None),
            None => {
                self.streams.spawn(self.clone().follow(request, out));
                return Ok(Response::new(ReceiverStream::new(stream)));
            }
        };
        self.streams.spawn(async move {
            for kind in kinds {
                let _ = out.send(Ok(frame(kind))).await;
            }
            match end {
                Some(status) => drop(out.send(Err(status)).await),
                None => out.closed().await,
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn list_events(&self, _: Request<v1::ListEventsRequest>) -> Result<Response<EncodedFrame>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn list_refs(
        &self,
        request: Request<v1::ListRefsRequest>,
    ) -> Result<Response<v1::ListRefsResponse>, Status> {
        // Two pages of one ref each.
        let (name, next) = match request.into_inner().page_token.as_str() {
            "" => ("refs/heads/a", "second"),
            _ => ("refs/heads/b\u{9b}", ""),
        };
        let reference = v1::Ref {
            repository_id: "id".to_owned(),
            name: name.to_owned(),
            oid: "1".repeat(40),
            ..Default::default()
        };
        let page = v1::ListRefsResponse {
            refs: vec![reference],
            next_page_token: next.to_owned(),
            cursor: cursor(0),
        };
        Ok(Response::new(page))
    }

    async fn list_repositories(
        &self,
        _: Request<v1::ListRepositoriesRequest>,
    ) -> Result<Response<v1::ListRepositoriesResponse>, Status> {
        let repository =
            v1::Repository { id: "id".to_owned(), path: "a.git".to_owned(), ..Default::default() };
        Ok(Response::new(v1::ListRepositoriesResponse {
            repositories: vec![repository],
            ..Default::default()
        }))
    }

    async fn get_position(
        &self,
        _: Request<v1::GetPositionRequest>,
    ) -> Result<Response<v1::GetPositionResponse>, Status> {
        Ok(Response::new(v1::GetPositionResponse {
            cursor: cursor(*self.last.borrow()),
            ..Default::default()
        }))
    }

    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

/// Passes connections on, until they are cut.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    /// Counts cuts; connections end when it moves.
    cuts: watch::Sender<u64>,
    open: watch::Sender<bool>,
}

impl Proxy {
    /// Listens on a free port until the set is dropped.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn to(upstream: SocketAddr, tasks: &mut JoinSet<()>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let proxy = Self { address, cuts: watch::Sender::new(0), open: watch::Sender::new(true) };
        let (cuts, open) = (proxy.cuts.subscribe(), proxy.open.subscribe());
        let connections = TaskTracker::new();
        tasks.spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                if !*open.borrow() {
                    continue;
                }
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                connections.spawn(async move {
                    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
                    tokio::select! {
                        _ = copy_bidirectional(&mut client, &mut server) => {}
                        _ = cuts.changed() => {}
                    }
                });
            }
        });
        proxy
    }

    /// Breaks every connection there is.
    pub fn cut(&self) {
        self.cuts.send_modify(|count| *count += 1);
    }

    /// Breaks new connections too, or lets them through.
    pub fn let_through(&self, open: bool) {
        self.open.send_replace(open);
    }
}
