//! The log as subscribers read it: recent events from memory, older ones from the store.
//!
//! Nothing is pushed to a subscriber. A `watch` channel says only that there is more; each reads from its own
//! position, so a slow one costs nobody else anything, and no event can be lost on the way.

mod moves;
mod places;
mod segment;
mod tail;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use refwatch_core::Cursor;
use refwatch_ops::metrics::{LogSource, Metrics};
use refwatch_store::{Bounds, Identity, Logged, ReadError, Reader, RepositoryKey, Store};
use tokio::sync::{Semaphore, watch};

use crate::directory::Directory;
use crate::status::Failure;
use crate::wire::{Encoder, Place};
use moves::Moves;
pub(crate) use places::Places;
pub(crate) use segment::Segment;
use tail::Tail;

/// Reads of the store at a time; who comes later waits in order. The store needs as many readers, and some more for
/// the engine.
pub(crate) const STORE_READS_MAX: usize = 4;
/// Most that the recent events take in memory, in bytes, their encodings included.
const TAIL_BYTES_MAX: usize = 8 << 20;
/// How long who wants to list refs waits for the first scan of a fresh log.
const BASELINE_WAIT_MAX: Duration = Duration::from_secs(10);
/// Most recent events in memory.
const TAIL_EVENTS_MAX: usize = 16_384;

/// Where what follows a position is to be found.
#[derive(Debug)]
pub(crate) enum Recent {
    /// Here, in order; the first segment may begin at or before the position.
    Segments(Vec<Arc<Segment>>),
    /// Nowhere: there is no more.
    Nothing,
    /// In the store.
    Older,
}

/// The log, shared by all who read it.
pub(crate) struct Log {
    store: Arc<Store>,
    directory: Arc<Directory>,
    metrics: Metrics,
    encoder: Encoder,
    tail: RwLock<Tail>,
    last: watch::Sender<u64>,
    /// The first scan of a fresh log goes on: refs become known without events.
    baseline: watch::Sender<bool>,
    moves: Moves,
    store_reads: Arc<Semaphore>,
}

impl Log {
    /// The log of a store that nobody commits to yet.
    pub(crate) fn new(store: Arc<Store>, directory: Arc<Directory>, metrics: Metrics) -> Self {
        let Bounds { last, .. } = store.bounds();
        Self {
            encoder: Encoder::new(store.identity()),
            tail: RwLock::new(Tail::after(last)),
            last: watch::Sender::new(last),
            baseline: watch::Sender::new(false),
            moves: Moves::known_after(last),
            store_reads: Arc::new(Semaphore::new(STORE_READS_MAX)),
            store,
            directory,
            metrics,
        }
    }

    /// Takes what has become durable, and wakes the subscribers. To be called with all events of each commit at once
    /// and in order of the log, after the directory knows their repositories. Encodes nothing, and waits for nobody.
    pub(crate) fn publish(&self, events: Vec<Logged>) {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return };
        let (first, last) = (first.sequence, last.sequence);
        self.moves.learn(&events, self.store.bounds().floor);
        let segments = match self.last.receiver_count() {
            // Nobody listens: who comes later begins in the store.
            0 => None,
            _ => segment::split(events, TAIL_EVENTS_MAX, |key| self.directory.get(key)),
        };
        {
            let mut tail = self.tail.write().unwrap_or_else(PoisonError::into_inner);
            match segments {
                Some(segments) => tail.append(first, last, segments),
                // The store has them; the tail goes on after it.
                None => *tail = Tail::after(last),
            }
        }
        self.last.send_replace(last);
    }

    /// Takes the moves among events, before anything is read by the new paths.
    pub(crate) fn learn_moves(&self, events: &[Logged]) {
        self.moves.learn(events, self.store.bounds().floor);
    }

    /// Says whether refs become known without events: during the first scan of a fresh log.
    pub(crate) fn set_baseline(&self, goes_on: bool) {
        self.baseline.send_replace(goes_on);
    }

    /// Waits until every ref that is not listed yet will have an event.
    ///
    /// # Errors
    /// [`Failure::Starting`] when that takes too long.
    pub(crate) async fn baseline_over(&self) -> Result<(), Failure> {
        let mut baseline = self.baseline.subscribe();
        let over = baseline.wait_for(|goes_on| !goes_on);
        match tokio::time::timeout(BASELINE_WAIT_MAX, over).await {
            // Its sender is here: it is never closed.
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::Starting),
        }
    }

    /// Which log this is.
    pub(crate) fn identity(&self) -> Identity {
        self.store.identity()
    }

    /// The part of the log that is retained.
    pub(crate) fn bounds(&self) -> Bounds {
        self.store.bounds()
    }

    /// The cursor right after a sequence.
    pub(crate) fn cursor(&self, sequence: u64) -> Cursor {
        let Identity { server, epoch } = self.identity();
        Cursor { server, epoch, sequence }
    }

    /// Tells whenever there is more. The number is the last sequence; read from the log, not from here.
    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.last.subscribe()
    }

    /// Encodes events of this log.
    pub(crate) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The store behind it.
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Who is who.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// Finds what follows a position: from memory about `events_max` events, or all of a segment more.
    pub(crate) fn recent(&self, after: u64, events_max: usize) -> Recent {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        let found = tail.after_position(after, events_max);
        drop(tail);
        match &found {
            Recent::Segments(_) => self.metrics.log_reads.inc(LogSource::Memory),
            Recent::Older => self.metrics.log_reads.inc(LogSource::Disk),
            Recent::Nothing => {}
        }
        found
    }

    /// Learns, step by step, how repositories were called after a position; true when it is known. Blocks.
    pub(crate) fn know_paths_after(&self, reader: &Reader<'_>, after: u64) -> Result<bool, ReadError> {
        self.moves.cover(reader, after)
    }

    /// Path of a repository when a sequence had just happened, if known otherwise than now.
    pub(crate) fn path_at(&self, key: RepositoryKey, sequence: u64) -> Option<Box<[u8]>> {
        self.moves.path_at(key, sequence).0
    }

    /// Names the repositories of events that a reader reads. Paths are right for what follows a position that
    /// [`Log::know_paths_after`] knows.
    pub(crate) fn places<'a>(&'a self, reader: &'a Reader<'a>) -> Places<'a> {
        Places::new(self, reader)
    }
}

/// Reads the store on a thread that may block, when it is this reader's turn: first come, first served. What was begun
/// goes on to its end also when nobody waits for it any more.
pub(crate) async fn read_in_turn<T: Send + 'static>(
    log: Arc<Log>,
    read: impl FnOnce(&Log) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let turn = Arc::clone(&log.store_reads).acquire_owned().await;
    let reading = tokio::task::spawn_blocking(move || {
        let result = read(&log);
        drop(turn);
        result
    });
    reading.await.unwrap_or_else(|error| Err(Failure::Bug(format!("a read did not end: {error}"))))
}

impl Segment {
    /// The place of its events.
    fn place(&self) -> Place {
        Place::of(self.entry())
    }
}

#[cfg(test)]
mod tests;
