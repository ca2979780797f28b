//! GitEventService and IngestService: requests checked, answered and counted.

mod info;
mod ingest;
mod list_events;
mod list_refs;
mod list_repositories;
mod position;
mod token;

use std::sync::Arc;

use refwatch_ops::metrics::{GrpcCode, Metrics};
use refwatch_proto::server::git_event_service_server::GitEventService;
use refwatch_proto::{EncodedFrame, v1};
use tonic::{Request, Response, Status};

use crate::barrier::Barrier;
use crate::grpc::{caller_of, view_of};
use crate::log::Log;
use crate::settings::Settings;
use crate::status::Failure;
use crate::subscriptions::{Outgoing, Subscriptions};
pub(crate) use ingest::Ingest;
pub(crate) use position::deadline_of;

/// Waits for the barrier at a time, each of which holds a thread; who comes later waits in order.
const SYNCS_MAX: usize = 32;

/// What answers the calls of GitEventService.
#[derive(Clone)]
pub(crate) struct GitEvents(Arc<Inner>);

struct Inner {
    log: Arc<Log>,
    subscriptions: Arc<Subscriptions>,
    barrier: Arc<dyn Barrier>,
    metrics: Metrics,
    settings: Arc<Settings>,
    started_at_us: i64,
    syncs: Arc<tokio::sync::Semaphore>,
}

impl GitEvents {
    /// A service that has started now.
    pub(crate) fn new(
        log: Arc<Log>,
        subscriptions: Arc<Subscriptions>,
        barrier: Arc<dyn Barrier>,
        metrics: Metrics,
        settings: Arc<Settings>,
    ) -> Self {
        Self(Arc::new(Inner {
            log,
            subscriptions,
            barrier,
            metrics,
            settings,
            started_at_us: jiff::Timestamp::now().as_microsecond(),
            syncs: Arc::new(tokio::sync::Semaphore::new(SYNCS_MAX)),
        }))
    }

    /// The streams that it serves.
    pub(crate) fn subscriptions(&self) -> &Arc<Subscriptions> {
        &self.0.subscriptions
    }

    fn answer<T>(&self, method: &'static str, result: Result<T, Failure>) -> Result<Response<T>, Status> {
        answer(&self.0.metrics, method, result)
    }
}

/// Counts a call, and turns its result into what is sent.
fn answer<T>(
    metrics: &Metrics,
    method: &'static str,
    result: Result<T, Failure>,
) -> Result<Response<T>, Status> {
    let code = result.as_ref().err().map_or(0, Failure::number);
    metrics.grpc_requests.inc(method, GrpcCode::from(code));
    match result {
        Ok(message) => Ok(Response::new(message)),
        Err(failure) => {
            tracing::debug!(method, reason = %failure, "a call failed");
            Err(failure.into())
        }
    }
}

#[tonic::async_trait]
impl GitEventService for GitEvents {
    type WatchEventsStream = Outgoing;

    async fn watch_events(
        &self,
        request: Request<v1::WatchEventsRequest>,
    ) -> Result<Response<Outgoing>, Status> {
        let caller = caller_of(&request);
        // Counted when it ends.
        let opened = self.0.subscriptions.open(request.get_ref(), caller).await;
        Ok(Response::new(opened?))
    }

    async fn list_events(
        &self,
        request: Request<v1::ListEventsRequest>,
    ) -> Result<Response<EncodedFrame>, Status> {
        let view = view_of(&request);
        self.answer("ListEvents", list_events::list(&self.0.log, view, request.into_inner()).await)
    }

    async fn list_refs(
        &self,
        request: Request<v1::ListRefsRequest>,
    ) -> Result<Response<v1::ListRefsResponse>, Status> {
        let view = view_of(&request);
        self.answer("ListRefs", list_refs::list(&self.0.log, view, request.into_inner()).await)
    }

    async fn list_repositories(
        &self,
        request: Request<v1::ListRepositoriesRequest>,
    ) -> Result<Response<v1::ListRepositoriesResponse>, Status> {
        let view = view_of(&request);
        let listed = list_repositories::list(&self.0.log, &view, request.into_inner()).await;
        self.answer("ListRepositories", listed)
    }

    async fn get_position(
        &self,
        request: Request<v1::GetPositionRequest>,
    ) -> Result<Response<v1::GetPositionResponse>, Status> {
        let deadline = position::deadline_of(request.metadata());
        let view = view_of(&request);
        self.answer("GetPosition", position::get(&self.0, view, request.get_ref(), deadline).await)
    }

    async fn get_server_info(
        &self,
        _: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        self.answer("GetServerInfo", Ok(info::get(&self.0)))
    }
}
