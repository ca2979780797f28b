//! A server that answers with frames, read by an ordinary client over TCP.

use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use refwatch_proto::server::git_event_service_server::{GitEventService, GitEventServiceServer};
use refwatch_proto::v1::git_event_service_client::GitEventServiceClient;
use refwatch_proto::v1::watch_events_response::Kind;
use refwatch_proto::{EncodedFrame, v1};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

struct Frames;

fn event(sequence: u64) -> v1::GitEvent {
    v1::GitEvent { sequence, ref_name: "refs/heads/main".to_owned(), ..Default::default() }
}

fn messages() -> Vec<v1::WatchEventsResponse> {
    let started = v1::Started { server_id: "0123456789abcdef".to_owned(), ..Default::default() };
    let batch = v1::EventBatch { events: vec![event(1), event(2)], cursor: "c2".to_owned() };
    [Kind::Started(started), Kind::Events(batch)]
        .map(|kind| v1::WatchEventsResponse { kind: Some(kind) })
        .to_vec()
}

fn page() -> v1::ListEventsResponse {
    v1::ListEventsResponse { events: vec![event(3)], last_sequence: 3, ..Default::default() }
}

#[tonic::async_trait]
impl GitEventService for Frames {
    type WatchEventsStream = stream::Iter<std::vec::IntoIter<Result<EncodedFrame, Status>>>;

    async fn watch_events(
        &self,
        _: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Self::WatchEventsStream>, Status> {
        let frames: Vec<_> = messages().iter().map(|message| Ok(EncodedFrame::of(message))).collect();
        Ok(Response::new(stream::iter(frames)))
    }

    async fn list_events(&self, _: Request<v1::ListEventsRequest>) -> Result<Response<EncodedFrame>, Status> {
        Ok(Response::new(EncodedFrame::of(&page())))
    }

    async fn list_refs(
        &self,
        _: Request<v1::ListRefsRequest>,
    ) -> Result<Response<v1::ListRefsResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn list_repositories(
        &self,
        _: Request<v1::ListRepositoriesRequest>,
    ) -> Result<Response<v1::ListRepositoriesResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn get_position(
        &self,
        _: Request<v1::GetPositionRequest>,
    ) -> Result<Response<v1::GetPositionResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }

    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        Err(Status::unimplemented("not asked for"))
    }
}

#[tokio::test]
async fn a_client_reads_frames_as_the_messages_they_hold() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("a bound port");
    let mut tasks = JoinSet::new();
    tasks.spawn(
        Server::builder()
            .add_service(GitEventServiceServer::new(Frames))
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let read = async {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let mut client = GitEventServiceClient::new(endpoint.connect().await.expect("listening"));
        let stream = client.watch_events(v1::WatchEventsRequest::default()).await.expect("a stream");
        let watched: Vec<_> = stream.into_inner().boxed().try_collect().await.expect("whole messages");
        let listed = client.list_events(v1::ListEventsRequest::default()).await.expect("a page").into_inner();
        (watched, listed)
    };
    let (watched, listed) = tokio::time::timeout(Duration::from_secs(30), read).await.expect("an answer");
    assert_eq!(watched, messages());
    assert_eq!(listed, page());
}
