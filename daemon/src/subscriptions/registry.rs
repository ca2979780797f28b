//! Who is subscribed, for the limit, the status page and the metrics.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use refwatch_ops::metrics::{Gauge, Metrics};
use refwatch_ops::status::Subscriber;

use crate::status::Failure;

/// The open streams, at most so many.
pub(super) struct Registry {
    limit: usize,
    subscribers: Gauge,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    next: u64,
    streams: BTreeMap<u64, Entry>,
}

struct Entry {
    peer: String,
    since: Timestamp,
    filter: String,
    position: Arc<AtomicU64>,
}

/// The place of one stream; given back when dropped.
pub(super) struct Slot {
    registry: Arc<Registry>,
    number: u64,
    position: Arc<AtomicU64>,
}

/// Position of a stream that has not got one yet: it counts as not behind.
const NOWHERE: u64 = u64::MAX;

impl Registry {
    pub(super) fn new(limit: usize, metrics: &Metrics) -> Self {
        Self { limit, subscribers: metrics.subscribers.clone(), live: Mutex::default() }
    }

    /// Takes a place.
    ///
    /// # Errors
    /// [`Failure::TooManySubscribers`] when there is none left.
    pub(super) fn enter(self: &Arc<Self>, peer: &str, filter: &str) -> Result<Slot, Failure> {
        let mut live = self.lock();
        if live.streams.len() >= self.limit {
            return Err(Failure::TooManySubscribers { limit: self.limit });
        }
        let number = live.next;
        live.next += 1;
        let position = Arc::new(AtomicU64::new(NOWHERE));
        let entry = Entry {
            peer: peer.to_owned(),
            since: Timestamp::now(),
            filter: filter.to_owned(),
            position: Arc::clone(&position),
        };
        live.streams.insert(number, entry);
        self.subscribers.set(live.streams.len() as u64);
        Ok(Slot { registry: Arc::clone(self), number, position })
    }

    pub(super) fn count(&self) -> usize {
        self.lock().streams.len()
    }

    /// The streams, the furthest behind a sequence first.
    pub(super) fn list(&self, last: u64) -> Vec<Subscriber> {
        let live = self.lock();
        let mut list: Vec<_> = live
            .streams
            .values()
            .map(|entry| Subscriber {
                peer: entry.peer.clone(),
                since: entry.since,
                lag_events: entry.lag(last),
                filter: entry.filter.clone(),
            })
            .collect();
        drop(live);
        list.sort_by_key(|subscriber| Reverse(subscriber.lag_events));
        list
    }

    pub(super) fn lag_max(&self, last: u64) -> u64 {
        self.lock().streams.values().map(|entry| entry.lag(last)).max().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn lag(&self, last: u64) -> u64 {
        last.saturating_sub(self.position.load(Ordering::Relaxed))
    }
}

impl Slot {
    /// Tells where the stream stands.
    pub(super) fn at(&self, position: u64) {
        self.position.store(position, Ordering::Relaxed);
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut live = self.registry.lock();
        live.streams.remove(&self.number);
        self.registry.subscribers.set(live.streams.len() as u64);
    }
}
