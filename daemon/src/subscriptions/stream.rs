//! One stream of WatchEvents: a task that reads the log from its own position until it has a reason to stop.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use refwatch_core::Cursor;
use refwatch_ops::metrics::{GrpcCode, SubscriptionEnd};
use refwatch_proto::v1::{self, watch_events_response::Kind};
use refwatch_store::ReadError;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::CancellationToken;

use super::gather::{self, Gathered};
use super::pipe::{Gone, Message, Outlet};
use super::registry::Slot;
use super::snapshot::Walk;
use super::{Caller, METHOD, OnGap, Order, Start, Subscriptions, end_of};
use crate::filter::Filter;
use crate::grpc::Grant;
use crate::log::{Log, Recent, read_in_turn};
use crate::status::Failure;
use crate::wire::{self, Batch};

/// Why a stream stops.
#[derive(Debug)]
enum Stop {
    /// Its client is gone.
    Client,
    /// The server drains.
    Draining,
    /// It took nothing for too long.
    Stalled(Duration),
    /// It cannot go on.
    Failed(Failure),
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Stop::Client
    }
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Stop::Failed(failure)
    }
}

pub(super) struct Subscription {
    all: Arc<Subscriptions>,
    filter: Arc<Filter>,
    on_gap: OnGap,
    progress_interval: Duration,
    batch_bytes_max: usize,
    start: Start,
    slot: Slot,
    peer: String,
    grant: Option<Grant>,
    deadline: Option<std::time::Instant>,
    outlet: Outlet,
    more: watch::Receiver<u64>,
    drain: CancellationToken,
    /// Everything up to here was sent or filtered out; `None` while a snapshot is under way.
    position: Option<u64>,
    /// What was read of the store beyond the position.
    begun: Option<Batch>,
    /// When something was last sent.
    sent: Instant,
    /// Fires when the silence may have lasted long enough.
    heartbeat: std::pin::Pin<Box<Sleep>>,
}

impl Subscription {
    pub(super) fn new(
        all: Arc<Subscriptions>,
        order: Order,
        caller: Caller,
        slot: Slot,
        outlet: Outlet,
    ) -> Self {
        Self {
            filter: Arc::new(order.filter),
            on_gap: order.on_gap,
            progress_interval: order.progress_interval,
            batch_bytes_max: order.batch_bytes_max,
            start: order.start,
            slot,
            peer: caller.peer,
            grant: caller.grant,
            deadline: caller.deadline,
            outlet,
            more: all.log.subscribe(),
            drain: all.drain.child_token(),
            position: None,
            begun: None,
            sent: Instant::now(),
            heartbeat: Box::pin(tokio::time::sleep(order.progress_interval)),
            all,
        }
    }

    /// Serves the stream until it stops.
    pub(super) async fn run(mut self) {
        let deadline = self.deadline;
        let stop = tokio::select! {
            biased;
            () = passed(deadline) => Stop::Failed(Failure::Deadline),
            served = self.serve() => match served {
                Err(stop) => stop,
                Ok(never) => match never {},
            },
        };
        self.finish(stop).await;
    }

    async fn serve(&mut self) -> Result<Infallible, Stop> {
        let start = std::mem::replace(&mut self.start, Start::Snapshot(None));
        if let Start::After(position) = start {
            self.moved_to(position);
        }
        self.send_started().await?;
        match start {
            Start::After(_) => {}
            Start::Snapshot(None) => self.snapshot_bridging_gaps().await?,
            Start::Snapshot(Some(reset)) => self.reset(reset).await?,
        }
        loop {
            let Err(stop) = self.follow().await;
            let bridge = match &stop {
                Stop::Failed(failure) => self.on_gap.bridge(failure),
                Stop::Client | Stop::Draining | Stop::Stalled(_) => None,
            };
            match bridge {
                Some(reset) => self.reset(reset).await?,
                None => return Err(stop),
            }
        }
    }

    /// Sends what follows the position, for ever.
    async fn follow(&mut self) -> Result<Infallible, Stop> {
        loop {
            self.room().await?;
            self.more.borrow_and_update();
            let position = self.position.unwrap_or_default();
            match self.gather(position).await? {
                Some(gathered) => self.advance(gathered).await?,
                None => self.idle().await?,
            }
        }
    }

    async fn advance(&mut self, gathered: Gathered) -> Result<(), Stop> {
        self.begun = gathered.next;
        match gathered.frame {
            Some(frame) => {
                self.send_up_to(gathered.position, frame.bytes).await?;
                self.all.metrics.events_sent.add(frame.events.into());
                Ok(())
            }
            None => {
                self.moved_to(gathered.position);
                if self.sent.elapsed() >= self.progress_interval {
                    self.room().await?;
                    self.send_progress(false)
                } else {
                    tokio::task::yield_now().await;
                    Ok(())
                }
            }
        }
    }

    /// The next piece of the log; `None` when there is none yet.
    async fn gather(&mut self, position: u64) -> Result<Option<Gathered>, Stop> {
        let log = Arc::clone(&self.all.log);
        let events_max = gather::recent_events_max(&self.filter, self.batch_bytes_max);
        match log.recent(position, events_max) {
            Recent::Nothing => Ok(None),
            Recent::Segments(segments) => {
                Ok(Some(gather::from_memory(&log, &segments, position, &self.filter, self.batch_bytes_max)))
            }
            Recent::Older => {
                let (filter, bytes_max) = (Arc::clone(&self.filter), self.batch_bytes_max);
                let begun = self.begun.take();
                let read = self
                    .read(position, move |log| gather::from_store(log, position, &filter, bytes_max, begun));
                let unmoved = Gathered { frame: None, position, next: None };
                Ok(Some(read.await?.unwrap_or(unmoved)))
            }
        }
    }

    /// Waits for more, or for the time to say that there is nothing.
    async fn idle(&mut self) -> Result<(), Stop> {
        tokio::select! {
            biased;
            () = self.outlet.gone() => return Err(Stop::Client),
            () = self.drain.cancelled() => return Err(Stop::Draining),
            failure = revoked(self.grant.as_mut()) => return Err(failure.into()),
            changed = self.more.changed() => {
                changed.map_err(|_| Failure::Bug("the log is gone".to_owned()))?;
                return Ok(());
            }
            () = &mut self.heartbeat => {}
        }
        // The clock was set when something was sent long before: see whether the silence has really lasted.
        let due = self.sent + self.progress_interval;
        if Instant::now() >= due {
            self.send_progress(false)?;
        }
        self.heartbeat.as_mut().reset(self.sent + self.progress_interval);
        Ok(())
    }

    /// Bridges a gap: says so, and sends a snapshot. A gap meanwhile is bridged again.
    async fn reset(&mut self, mut reset: v1::Reset) -> Result<(), Stop> {
        loop {
            self.position = None;
            self.send(wire::response(Kind::Reset(reset))).await?;
            match self.snapshot().await {
                Err(Stop::Failed(failure)) => match self.on_gap.bridge(&failure) {
                    Some(again) => reset = again,
                    None => return Err(failure.into()),
                },
                other => return other,
            }
        }
    }

    async fn snapshot_bridging_gaps(&mut self) -> Result<(), Stop> {
        match self.snapshot().await {
            Err(Stop::Failed(failure)) => match self.on_gap.bridge(&failure) {
                Some(reset) => self.reset(reset).await,
                None => Err(failure.into()),
            },
            other => other,
        }
    }

    /// Sends the refs as they are, and stands at their position afterwards.
    async fn snapshot(&mut self) -> Result<(), Stop> {
        let filter = Arc::clone(&self.filter);
        let mut walk = self.read(0, move |log| Walk::begin(log, &filter)).await?;
        let sequence = walk.sequence();
        self.slot.at(sequence);
        self.send(walk.begin_message()).await?;
        while !walk.is_over() {
            let (filter, bytes_max) = (Arc::clone(&self.filter), self.batch_bytes_max);
            let (returned, messages) = self
                .read(sequence, move |log| {
                    let messages = walk.step(log, &filter, bytes_max)?;
                    Ok((walk, messages))
                })
                .await?;
            walk = returned;
            for message in messages {
                self.send(message).await?;
            }
        }
        self.send_up_to(sequence, walk.end_message(&self.all.log)).await
    }

    /// Reads the store, when it is this stream's turn. As long as that may take, the client hears of it.
    async fn read<T: Send + 'static>(
        &mut self,
        position: u64,
        read: impl FnOnce(&Log) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<T, Stop> {
        let log = Arc::clone(&self.all.log);
        let identity = log.identity();
        let turn = read_in_turn(log, move |log| {
            read(log).map_err(|error| Failure::of_read(error, position, identity))
        });
        tokio::pin!(turn);
        let mut due = self.sent + self.progress_interval;
        loop {
            // The clock before the read: many short ones may bring nothing to send.
            tokio::select! {
                biased;
                () = self.outlet.gone() => return Err(Stop::Client),
                () = self.drain.cancelled() => return Err(Stop::Draining),
                () = tokio::time::sleep_until(due) => {}
                read = &mut turn => return Ok(read?),
            }
            // Without room something waits to be taken: it is not this end that is silent.
            if self.outlet.has_room() {
                self.send_progress(false)?;
            }
            due = Instant::now() + self.progress_interval;
        }
    }

    /// Waits until the client can take a message.
    async fn room(&mut self) -> Result<(), Stop> {
        if self.drain.is_cancelled() {
            return Err(Stop::Draining);
        }
        if let Some(grant) = &mut self.grant {
            grant.still_holds()?;
        }
        if self.outlet.has_room() {
            return Ok(());
        }
        let since = Instant::now();
        tokio::select! {
            biased;
            () = self.drain.cancelled() => Err(Stop::Draining),
            room = self.outlet.room() => Ok(room?),
            failure = revoked(self.grant.as_mut()) => Err(failure.into()),
            () = tokio::time::sleep(self.all.stall_timeout) => Err(Stop::Stalled(since.elapsed())),
        }
    }

    async fn send(&mut self, bytes: Bytes) -> Result<(), Stop> {
        self.room().await?;
        self.send_now(bytes)
    }

    /// Sends what leads to a position, and is there once that is on its way: where the stream ends instead, the cursor it
    /// tells is the one before.
    async fn send_up_to(&mut self, position: u64, bytes: Bytes) -> Result<(), Stop> {
        self.room().await?;
        self.moved_to(position);
        self.send_now(bytes)
    }

    fn send_now(&mut self, bytes: Bytes) -> Result<(), Stop> {
        self.all.metrics.bytes_sent.add(bytes.len() as u64);
        self.sent = Instant::now();
        Ok(self.outlet.send(Message { bytes, position: self.position })?)
    }

    async fn send_started(&mut self) -> Result<(), Stop> {
        let bounds = self.all.log.bounds();
        let identity = self.all.log.identity();
        let started = v1::Started {
            server_id: wire::hex16(identity.server),
            epoch: wire::hex16(identity.epoch),
            cursor: self.cursor(),
            floor_sequence: bounds.floor,
            last_sequence: bounds.last,
        };
        self.send(wire::response(Kind::Started(started))).await
    }

    fn send_progress(&mut self, draining: bool) -> Result<(), Stop> {
        let bounds = self.all.log.bounds();
        let progress = v1::Progress {
            cursor: self.cursor(),
            last_sequence: bounds.last,
            floor_sequence: bounds.floor,
            observed_at_us: jiff::Timestamp::now().as_microsecond(),
            sequence: self.position.unwrap_or_default(),
            draining,
        };
        self.send_now(wire::response(Kind::Progress(progress)))
    }

    fn moved_to(&mut self, position: u64) {
        self.position = Some(position);
        self.slot.at(position);
    }

    /// The cursor to resume from; empty where there is none.
    fn cursor(&self) -> String {
        self.position.map(|position| self.all.log.encoder().cursor(position)).unwrap_or_default()
    }

    /// Tells the client why, counts, and frees everything.
    async fn finish(mut self, stop: Stop) {
        let log = Arc::clone(&self.all.log);
        let cursor_of = move |position: Option<u64>| {
            position.map(|position| Cursor::encode(&log.cursor(position))).unwrap_or_default()
        };
        let (end, code) = match stop {
            Stop::Client => (SubscriptionEnd::Client, GrpcCode::Cancelled),
            Stop::Stalled(stalled) => {
                let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
                let (stalled_ms, limit_ms) = (millis(stalled), millis(self.all.stall_timeout));
                tracing::info!(peer = self.peer, stalled_ms, "a subscriber took nothing for too long");
                self.outlet.abandon(|taken| Failure::SlowConsumer {
                    cursor: cursor_of(taken),
                    stalled_ms,
                    limit_ms,
                });
                (SubscriptionEnd::SlowConsumer, GrpcCode::ResourceExhausted)
            }
            Stop::Draining => {
                // A client that takes nothing does not hear the goodbye; its status then tells what it has.
                let grace = self.all.drain_timeout / 2;
                let heard = match tokio::time::timeout(grace, self.outlet.room()).await {
                    Ok(Ok(())) => self.send_progress(true).is_ok(),
                    Ok(Err(Gone)) | Err(_) => false,
                };
                if heard {
                    let cursor = self.cursor();
                    self.outlet.end(Failure::Draining { cursor }.into());
                } else {
                    self.outlet.abandon(|taken| Failure::Draining { cursor: cursor_of(taken) });
                }
                (SubscriptionEnd::Draining, GrpcCode::Unavailable)
            }
            Stop::Failed(failure) => {
                if matches!(failure, Failure::Bug(_) | Failure::LogCorrupt { .. }) {
                    tracing::error!(peer = self.peer, error = %failure, "a stream failed");
                } else {
                    tracing::debug!(peer = self.peer, reason = %failure, "a stream ended");
                }
                let (end, code) = (end_of(&failure), GrpcCode::from(failure.number()));
                self.outlet.end(failure.into());
                (end, code)
            }
        };
        self.all.metrics.subscriptions_ended.inc(end);
        self.all.metrics.grpc_requests.inc(METHOD, code);
    }
}

/// Waits for the client's deadline. Whoever asks by gRPC's rules gives up by itself then; for others, and where its word
/// of that is lost, the stream must end all the same.
async fn passed(deadline: Option<std::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
        None => std::future::pending().await,
    }
}

async fn revoked(grant: Option<&mut Grant>) -> Failure {
    match grant {
        Some(grant) => grant.revoked().await,
        None => std::future::pending().await,
    }
}
