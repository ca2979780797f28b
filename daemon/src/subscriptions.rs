//! WatchEvents: who watches, and the streams that serve them.
//!
//! Each stream is one task with a position of its own. It reads the log from there ([`gather`]), and hands frames to
//! the connection through a short channel ([`pipe`]); what it has not handed over it does not hold.

mod gather;
mod pipe;
mod registry;
mod snapshot;
mod start;
mod stream;

use std::sync::Arc;
use std::time::{Duration, Instant};

use refwatch_ops::metrics::{GrpcCode, Metrics, SubscriptionEnd};
use refwatch_ops::status::Subscriber;
use refwatch_proto::{limits, v1};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::filter::{Filter, View};
use crate::grpc::Grant;
use crate::log::Log;
use crate::settings::Settings;
use crate::status::Failure;

pub(crate) use pipe::Outgoing;
use registry::Registry;
pub(crate) use snapshot::alive_at;
use start::{OnGap, Start};
pub(crate) use start::{position_of, time};
use stream::Subscription;

/// Name of the method in metrics.
const METHOD: &str = "WatchEvents";

/// Who asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// Address, or what else can be told.
    pub(crate) peer: String,
    /// What lets it in, where that is asked for.
    pub(crate) grant: Option<Grant>,
    /// When it stops waiting, where it says so.
    pub(crate) deadline: Option<Instant>,
}

impl Caller {
    /// The repositories that it may know of.
    fn view(&self) -> View {
        self.grant.as_ref().map(Grant::view).unwrap_or_default()
    }
}

/// All streams of WatchEvents.
pub(crate) struct Subscriptions {
    log: Arc<Log>,
    metrics: Metrics,
    registry: Arc<Registry>,
    tasks: TaskTracker,
    drain: CancellationToken,
    progress_interval: Duration,
    stall_timeout: Duration,
    drain_timeout: Duration,
    retention_age: Option<Duration>,
}

/// What one stream is to do.
struct Order {
    start: Start,
    filter: Filter,
    on_gap: OnGap,
    progress_interval: Duration,
    batch_bytes_max: usize,
}

impl Subscriptions {
    /// No streams yet. When `drain` is cancelled every stream says goodbye and ends, and no new one begins.
    pub(crate) fn new(
        log: Arc<Log>,
        metrics: Metrics,
        settings: &Settings,
        drain: CancellationToken,
    ) -> Self {
        Self {
            log,
            registry: Arc::new(Registry::new(settings.grpc.subscribers_max, &metrics)),
            metrics,
            tasks: TaskTracker::new(),
            drain,
            progress_interval: settings.grpc.progress_interval,
            stall_timeout: settings.grpc.stall_timeout,
            drain_timeout: settings.grpc.drain_timeout,
            retention_age: settings.store.retention_age,
        }
    }

    /// Begins a stream. It ends with its client, or with a status of its own; dropping it frees all it holds.
    ///
    /// # Errors
    /// [`Failure`] for a request that is refused. No stream begins then.
    pub(crate) async fn open(
        self: &Arc<Self>,
        request: &v1::WatchEventsRequest,
        caller: Caller,
    ) -> Result<Outgoing, Failure> {
        let opened = self.try_open(request, caller).await;
        if let Err(failure) = &opened {
            self.metrics.subscriptions_ended.inc(end_of(failure));
            self.metrics.grpc_requests.inc(METHOD, GrpcCode::from(failure.number()));
        }
        opened
    }

    async fn try_open(
        self: &Arc<Self>,
        request: &v1::WatchEventsRequest,
        caller: Caller,
    ) -> Result<Outgoing, Failure> {
        if self.drain.is_cancelled() {
            return Err(Failure::Draining { cursor: String::new() });
        }
        let filter = Filter::compile(request.filter.as_ref(), caller.view())?;
        let progress_interval = self.progress_interval(request)?;
        let batch_bytes_max = batch_bytes_max(request)?;
        let on_gap = OnGap::of(request)?;
        let slot = self.registry.enter(&caller.peer, filter.summary())?;
        let start = start::resolve(&self.log, request, on_gap, self.retention_age).await?;
        tracing::info!(peer = caller.peer, filter = filter.summary(), "a subscriber has come");
        let (outlet, outgoing) = pipe::pipe();
        let order = Order { start, filter, on_gap, progress_interval, batch_bytes_max };
        let subscription = Subscription::new(Arc::clone(self), order, caller, slot, outlet);
        self.metrics.subscriptions.inc();
        self.tasks.spawn(subscription.run());
        Ok(outgoing)
    }

    fn progress_interval(&self, request: &v1::WatchEventsRequest) -> Result<Duration, Failure> {
        let interval = request.progress_interval_ms;
        if interval == 0 {
            return Ok(self.progress_interval);
        }
        let (min, max) = (limits::PROGRESS_INTERVAL_MS_MIN, limits::PROGRESS_INTERVAL_MS_MAX);
        Failure::bounds("progress_interval_ms", interval.into(), min.into(), max.into())?;
        Ok(Duration::from_millis(interval.into()))
    }

    /// The open streams, the furthest behind first.
    pub(crate) fn list(&self) -> Vec<Subscriber> {
        self.registry.list(self.log.bounds().last)
    }

    /// How far the slowest stream is behind, in events.
    pub(crate) fn lag_max(&self) -> u64 {
        self.registry.lag_max(self.log.bounds().last)
    }

    /// Streams that are open.
    pub(crate) fn count(&self) -> usize {
        self.registry.count()
    }

    /// Waits until every stream has ended; to be called once nothing opens streams any more.
    pub(crate) async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

fn batch_bytes_max(request: &v1::WatchEventsRequest) -> Result<usize, Failure> {
    let bytes = Failure::or_default(
        "max_batch_bytes",
        request.max_batch_bytes,
        limits::BATCH_BYTES_DEFAULT,
        limits::BATCH_BYTES_MIN,
        limits::BATCH_BYTES_MAX,
    )?;
    Ok(bytes as usize)
}

/// The metrics' word for a failure.
fn end_of(failure: &Failure) -> SubscriptionEnd {
    match failure {
        Failure::Draining { .. } => SubscriptionEnd::Draining,
        Failure::SlowConsumer { .. } => SubscriptionEnd::SlowConsumer,
        Failure::CursorExpired { .. } => SubscriptionEnd::CursorExpired,
        Failure::TooManySubscribers { .. } => SubscriptionEnd::TooMany,
        Failure::Credentials | Failure::IngestNotAllowed | Failure::WatchNotAllowed => {
            SubscriptionEnd::Unauthenticated
        }
        Failure::StoreUnavailable { .. } | Failure::LogCorrupt { .. } | Failure::Bug(_) => {
            SubscriptionEnd::Failed
        }
        Failure::ForeignEpoch { .. }
        | Failure::CursorAhead { .. }
        | Failure::CursorMalformed { .. }
        | Failure::PageToken { .. }
        | Failure::Glob { .. }
        | Failure::OutOfBounds { .. }
        | Failure::Invalid { .. }
        | Failure::RepositoryNotFound { .. }
        | Failure::Starting
        | Failure::NotRead { .. }
        | Failure::TooManyReports { .. }
        | Failure::TooManyFailures { .. }
        | Failure::RightsChanged
        | Failure::SyncTimeout { .. } => SubscriptionEnd::Refused,
        Failure::Deadline => SubscriptionEnd::Client,
    }
}
