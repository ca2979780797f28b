//! A run of recent events of one repository, with their encoding, made when first asked for and shared from then on.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use refwatch_core::{Namespace, Target};
use refwatch_store::{Logged, RepositoryKey};

use crate::directory::Entry;
use crate::wire::{Batch, Encoder};

/// Most events of a segment: some 90 KB of encoding, well below what one message may hold.
const SEGMENT_EVENTS_MAX: usize = 256;
/// Size from which on a segment takes no further event, in bytes.
const SEGMENT_BYTES_MAX: usize = 256 << 10;
/// About what the encoding of an event takes besides its name and what only some carry, in bytes.
const ENCODED_BYTES: usize = 320;

/// Some events of one repository, in order and without gaps; never empty.
#[derive(Debug)]
pub(crate) struct Segment {
    entry: Arc<Entry>,
    events: Vec<Logged>,
    cost: usize,
    encoded: OnceLock<Encoded>,
}

/// The encoding of all events of a segment.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// One message of the stream with all of them.
    pub(crate) frame: Bytes,
    /// The part of `frame` that holds the events.
    pub(crate) items: Bytes,
    /// Where each of them ends in `items`.
    ends: Box<[u32]>,
    /// A ref of an internal namespace is among them.
    pub(crate) internal: bool,
    /// A transaction ends with the last event.
    pub(crate) ends_whole: bool,
    /// No transaction ends before the last event.
    pub(crate) within_one: bool,
}

impl Encoded {
    /// The encoding of the event at an index.
    pub(crate) fn item(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before] as usize);
        &self.items[start..self.ends[index] as usize]
    }
}

impl Segment {
    fn new(entry: Arc<Entry>, events: Vec<Logged>, cost: usize) -> Self {
        Self { entry, events, cost, encoded: OnceLock::new() }
    }

    /// The repository, as it was called when the events were published.
    pub(crate) fn entry(&self) -> &Entry {
        &self.entry
    }

    /// The events.
    pub(crate) fn events(&self) -> &[Logged] {
        &self.events
    }

    /// Sequence of the first event.
    pub(crate) fn first(&self) -> u64 {
        self.events.first().map_or(0, |logged| logged.sequence)
    }

    /// Sequence of the last event.
    pub(crate) fn last(&self) -> u64 {
        self.events.last().map_or(0, |logged| logged.sequence)
    }

    /// What it takes in memory, about, in bytes.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// The encoding. Made by the first who asks.
    pub(crate) fn encoded(&self, encoder: &Encoder) -> &Encoded {
        self.encoded.get_or_init(|| self.encode(encoder))
    }

    fn encode(&self, encoder: &Encoder) -> Encoded {
        let place = self.place();
        let mut ends = Vec::with_capacity(self.events.len());
        let mut batch = Batch::after(self.first().saturating_sub(1), usize::MAX / 2);
        batch.reserve(self.events.len() * ENCODED_BYTES);
        for logged in &self.events {
            let taken = batch.take(logged, |out| encoder.append(out, logged, &place));
            assert!(taken.is_continue(), "BUG: a batch without a bound was full");
            ends.push(u32::try_from(batch.items_len()).expect("a segment is far below 4 GiB"));
        }
        let (frame, items) = batch.finish_with_items(encoder);
        let whole = |logged: &Logged| logged.event.index + 1 >= logged.event.size;
        let (last, before) = self.events.split_last().expect("a segment is never empty");
        Encoded {
            frame,
            items,
            ends: ends.into(),
            internal: self.events.iter().any(|logged| {
                logged.event.name.as_ref().is_some_and(|name| Namespace::of(name) == Namespace::Internal)
            }),
            ends_whole: whole(last),
            within_one: !before.iter().any(whole),
        }
    }
}

/// Cuts the last `events_max` events at most into segments; `None` where a repository is unknown.
pub(super) fn split(
    mut events: Vec<Logged>,
    events_max: usize,
    entry_of: impl Fn(RepositoryKey) -> Option<Arc<Entry>>,
) -> Option<Vec<Arc<Segment>>> {
    events.drain(..events.len().saturating_sub(events_max));
    let mut segments = Vec::new();
    let mut events = events.into_iter().peekable();
    while let Some(first) = events.next() {
        let key = first.repository;
        let entry = entry_of(key)?;
        let mut cost = cost_of(&first);
        let mut run = vec![first];
        while run.len() < SEGMENT_EVENTS_MAX
            && cost < SEGMENT_BYTES_MAX
            && let Some(next) = events.next_if(|next| next.repository == key)
        {
            cost += cost_of(&next);
            run.push(next);
        }
        run.shrink_to_fit();
        segments.push(Arc::new(Segment::new(entry, run, cost)));
    }
    Some(segments)
}

/// What an event takes in memory with its encoding, about, in bytes.
fn cost_of(logged: &Logged) -> usize {
    let event = &logged.event;
    let symbolic = |target: &Option<Target>| {
        target.as_ref().and_then(Target::symbolic).map_or(0, |name| name.as_bytes().len())
    };
    let extra = event.extra.as_deref().map_or(0, |extra| {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        size_of_val(extra)
            + text(&extra.actor)
            + text(&extra.actor_source)
            + text(&extra.actor_address)
            + text(&extra.reason)
            + text(&extra.message)
            + extra.previous.as_ref().map_or(0, |previous| previous.len())
            + extra.push_options.iter().map(|option| size_of_val(option) + option.len()).sum::<usize>()
    });
    let names = event.name.as_ref().map_or(0, |name| name.as_bytes().len())
        + symbolic(&event.old)
        + symbolic(&event.new);
    size_of::<Logged>() + ENCODED_BYTES + 2 * (names + extra)
}
