//! A watch that outlives connections: it connects again, resumes, and hands each event out once.

use std::time::Duration;

use crate::limits::PROGRESS_INTERVAL_MS_DEFAULT;
use crate::v1::watch_events_request::Start;
use crate::v1::watch_events_response::Kind;
use crate::v1::{
    EventBatch, Progress, Reset, SnapshotBegin, SnapshotEnd, SnapshotRefs, Started, WatchEventsRequest,
    WatchEventsResponse,
};
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::Stream;
use futures_util::stream::try_unfold;
use tonic::Streaming;

use super::order::Order;
use super::{Failure, FailureKind, Server, Verify, Violation};

/// Longest delay that a server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// What to do when the very first connection fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstConnect {
    /// Fail.
    Fail,
    /// Go on trying, as after a disconnection.
    Retry,
}

/// How a watch deals with trouble.
#[derive(Clone, Debug)]
pub struct Policy {
    /// See there.
    pub first_connect: FirstConnect,
    /// Delay before the first further try. It doubles with each that fails, up to `backoff_max`, each time with up to
    /// as much again at random, so that subscribers of one server do not come back all at once. A longer one that the
    /// server asks for (RetryInfo) is stronger, up to 300 s.
    pub backoff_min: Duration,
    /// Longest delay, the random part not counted.
    pub backoff_max: Duration,
    /// A stream without any message for this long is given up. At least twice the request's progress interval.
    pub silence_max: Duration,
    /// What is held against the contract.
    pub verify: Verify,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            first_connect: FirstConnect::Fail,
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(15),
            silence_max: 3 * Duration::from_millis(u64::from(PROGRESS_INTERVAL_MS_DEFAULT)),
            verify: Verify::default(),
        }
    }
}

impl Policy {
    fn backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.backoff_min)
            .with_max_delay(self.backoff_max)
            .without_max_times()
            .with_jitter()
            .build()
    }
}

/// What a watch tells.
#[derive(Clone, Debug)]
pub enum Update {
    /// A stream began; after a reconnection it began where the last one ended.
    Started(Started),
    /// What is known of refs is stale. Comes again if the connection broke before the snapshot was whole.
    SnapshotBegin(SnapshotBegin),
    /// Part of a snapshot.
    SnapshotRefs(SnapshotRefs),
    /// The snapshot is whole.
    SnapshotEnd(SnapshotEnd),
    /// Events that were never handed out before, with the cursor to resume from after them.
    Events(EventBatch),
    /// A heartbeat, with a cursor.
    Progress(Progress),
    /// Events were lost; a snapshot follows.
    Reset(Reset),
    /// The connection is gone, and is being made again. Told once, however many tries that takes.
    Disconnected(Failure),
    /// The connection is back.
    Reconnected,
}

impl Update {
    /// Resume token that stands right after it; `None` where there is none, as within a snapshot.
    pub fn cursor(&self) -> Option<&str> {
        let cursor = match self {
            Self::Started(started) => &started.cursor,
            Self::SnapshotEnd(end) => &end.cursor,
            Self::Events(batch) => &batch.cursor,
            Self::Progress(progress) => &progress.cursor,
            Self::SnapshotBegin(_)
            | Self::SnapshotRefs(_)
            | Self::Reset(_)
            | Self::Disconnected(_)
            | Self::Reconnected => return None,
        };
        Some(cursor.as_str()).filter(|cursor| !cursor.is_empty())
    }
}

/// A stream of events without end.
#[derive(Debug)]
pub struct Watch {
    server: Server,
    request: WatchEventsRequest,
    policy: Policy,
    stream: Option<Streaming<WatchEventsResponse>>,
    backoff: ExponentialBackoff,
    delay: Option<Duration>,
    order: Order,
    /// Where the next stream starts; `None` before there is anything to resume from.
    resume: Option<String>,
    in_snapshot: bool,
    ever_started: bool,
    disconnection_told: bool,
    /// Told with the next call.
    pending: Option<Update>,
    /// The server is not to be believed any more.
    distrust: Option<Failure>,
}

impl Watch {
    /// A watch from where the request says. Connects at the first [`Watch::next`].
    pub fn new(server: Server, request: WatchEventsRequest, policy: Policy) -> Self {
        let backoff = policy.backoff();
        let order = Order::new(policy.verify, request.filter.as_ref());
        Self {
            server,
            request,
            policy,
            stream: None,
            backoff,
            delay: None,
            order,
            resume: None,
            in_snapshot: false,
            ever_started: false,
            disconnection_told: false,
            pending: None,
            distrust: None,
        }
    }

    /// Waits for what comes next. What earlier calls gave counts as taken: it will not come again.
    ///
    /// May be dropped before it is done; nothing is lost then.
    ///
    /// # Errors
    /// A failure that trying again does not heal. A transient one only before the first stream, and if
    /// [`FirstConnect::Fail`] is set. After a [`Violation`](super::Violation) every further call gives it again.
    pub async fn next(&mut self) -> Result<Update, Failure> {
        if let Some(failure) = &self.distrust {
            return Err(failure.clone());
        }
        if let Some(update) = self.pending.take() {
            return Ok(update);
        }
        loop {
            let received = match self.receive().await {
                Ok(response) => self.take(response),
                Err(failure) => self.lost(failure).map(Some),
            };
            match received? {
                Some(Received::Update(update)) => return Ok(update),
                Some(Received::TryAgain) | None => {}
            }
        }
    }

    /// The same as a stream: it ends after the first failure that [`Watch::next`] gives.
    pub fn into_stream(self) -> impl Stream<Item = Result<Update, Failure>> + Send {
        try_unfold(self, |mut watch| async move {
            let update = watch.next().await?;
            Ok(Some((update, watch)))
        })
    }

    /// One message of the present stream, or of a new one.
    async fn receive(&mut self) -> Result<WatchEventsResponse, Failure> {
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
            self.delay = None;
        }
        if self.stream.is_none() {
            self.stream = Some(self.open().await?);
        }
        let Some(stream) = &mut self.stream else { return Err(Failure::transient("no stream")) };
        match tokio::time::timeout(self.policy.silence_max, stream.message()).await {
            Ok(Ok(Some(response))) => Ok(response),
            Ok(Ok(None)) => Err(Failure::transient("the server ended the stream")),
            Ok(Err(status)) => Err(Failure::of_status(&status)),
            Err(_) => {
                let seconds = self.policy.silence_max.as_secs();
                Err(Failure::transient(format!("the server said nothing for {seconds} s")))
            }
        }
    }

    async fn open(&self) -> Result<Streaming<WatchEventsResponse>, Failure> {
        let mut request = self.request.clone();
        if let Some(cursor) = &self.resume {
            request.start = Some(Start::Cursor(cursor.clone()));
        }
        let opening = async {
            let mut client = self.server.connect().await?;
            client.watch_events(request).await.map_err(|status| Failure::of_status(&status))
        };
        match tokio::time::timeout(self.policy.silence_max, opening).await {
            Ok(response) => Ok(response?.into_inner()),
            Err(_) => Err(Failure::transient(format!("{} does not answer", self.server.address()))),
        }
    }

    /// The stream is gone: decides whether to try again.
    fn lost(&mut self, failure: Failure) -> Result<Received, Failure> {
        self.stream = None;
        self.in_snapshot = false;
        let patient = self.ever_started || self.policy.first_connect == FirstConnect::Retry;
        if failure.kind != FailureKind::Transient || !patient {
            return Err(failure);
        }
        let asked = failure.retry_after.unwrap_or_default().min(RETRY_AFTER_MAX);
        self.delay = Some(self.backoff.next().unwrap_or(RETRY_AFTER_MAX).max(asked));
        if std::mem::replace(&mut self.disconnection_told, true) {
            return Ok(Received::TryAgain);
        }
        Ok(Received::Update(Update::Disconnected(failure)))
    }

    /// Takes a message in; `None` for one of a kind that this version does not know.
    fn take(&mut self, response: WatchEventsResponse) -> Result<Option<Received>, Failure> {
        let Some(kind) = response.kind else { return Ok(None) };
        let update = match kind {
            Kind::Started(started) => {
                self.order.started(&started.epoch);
                self.ever_started = true;
                self.resume_from(&started.cursor);
                if std::mem::take(&mut self.disconnection_told) {
                    self.pending = Some(Update::Started(started));
                    Update::Reconnected
                } else {
                    Update::Started(started)
                }
            }
            Kind::SnapshotBegin(begin) => {
                self.in_snapshot = true;
                self.order.snapshot(begin.sequence);
                Update::SnapshotBegin(begin)
            }
            Kind::SnapshotRefs(refs) => {
                self.order.refs(&refs);
                Update::SnapshotRefs(refs)
            }
            Kind::SnapshotEnd(end) => {
                self.in_snapshot = false;
                self.resume_from(&end.cursor);
                Update::SnapshotEnd(end)
            }
            Kind::Events(batch) => {
                let events = self.order.admit(batch.events).map_err(|violation| self.distrust(violation))?;
                self.resume_from(&batch.cursor);
                self.steady();
                Update::Events(EventBatch { events, cursor: batch.cursor })
            }
            Kind::Progress(progress) => {
                self.resume_from(&progress.cursor);
                self.steady();
                Update::Progress(progress)
            }
            Kind::Reset(reset) => {
                self.in_snapshot = true;
                self.order.reset(&reset.epoch);
                Update::Reset(reset)
            }
        };
        Ok(Some(Received::Update(update)))
    }

    fn distrust(&mut self, violation: Violation) -> Failure {
        self.stream = None;
        let failure = Failure::from(violation);
        self.distrust = Some(failure.clone());
        failure
    }

    /// Half a snapshot is nothing to resume from: until it is whole, the last cursor stands.
    fn resume_from(&mut self, cursor: &str) {
        if !cursor.is_empty() && !self.in_snapshot {
            self.resume = Some(cursor.to_owned());
        }
    }

    /// The stream works, not only its beginning: the next disconnection starts with short delays again.
    fn steady(&mut self) {
        self.backoff = self.policy.backoff();
    }
}

enum Received {
    Update(Update),
    TryAgain,
}
