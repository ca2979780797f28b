//! Batches: encoded events put together to one message, without encoding them again.

use std::ops::ControlFlow;

use bytes::Bytes;
use prost::Message as _;
use refwatch_core::Event;
use refwatch_proto::{EncodedFrame, v1};
use refwatch_store::Logged;

use super::event::Encoder;
use super::put;

/// Number of `events` in WatchEventsResponse, and of `cursor` in EventBatch.
const EVENTS: u32 = 5;
const CURSOR: u32 = 2;
/// Room before the events for the key and the length of the batch: one byte, and four for lengths below 2^28.
const HEAD_BYTES: usize = 5;
/// What a batch takes besides its events: the field `cursor`.
const TAIL_BYTES: usize = 2 + refwatch_core::cursor::CURSOR_LEN;

/// One message of the stream, whole and encoded.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// The encoding.
    pub(crate) bytes: Bytes,
    /// Events in it.
    pub(crate) events: u32,
}

/// Events on their way to becoming one message, at most so many bytes long.
///
/// A batch ends within a transaction only where the transaction alone is too large for one: else what does not fit
/// is left over down to the transaction's beginning, and comes with the next batch.
#[derive(Debug)]
pub(crate) struct Batch {
    buffer: Vec<u8>,
    /// Where it begins.
    start: u64,
    /// Longest that the buffer may become, if it holds more than one event.
    buffer_max: usize,
    now: Mark,
    /// After the last whole transaction.
    whole: Mark,
    leftover: Leftover,
}

/// What becomes of encoded events that a full batch has no room for.
#[derive(Debug)]
enum Leftover {
    /// Encoding them was cheap, or it is not worth the memory.
    Dropped,
    /// They are the beginning of the next batch.
    Kept(Option<Box<Batch>>),
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    len: usize,
    events: u32,
    /// Everything up to here is in the batch or filtered out.
    position: u64,
}

impl Batch {
    /// An empty batch of what follows a position, for messages of at most `bytes_max`.
    pub(crate) fn after(position: u64, bytes_max: usize) -> Self {
        let mark = Mark { len: HEAD_BYTES, events: 0, position };
        let buffer_max = HEAD_BYTES + bytes_max.saturating_sub(TAIL_BYTES);
        let buffer = vec![0; HEAD_BYTES];
        Self { buffer, start: position, buffer_max, now: mark, whole: mark, leftover: Leftover::Dropped }
    }

    /// Keeps what it has no room for, as the beginning of the next batch.
    pub(crate) fn keeping_leftover(mut self) -> Self {
        self.leftover = Leftover::Kept(None);
        self
    }

    /// The next batch, if this one is full and has kept what did not fit.
    pub(crate) fn take_leftover(&mut self) -> Option<Batch> {
        match &mut self.leftover {
            Leftover::Dropped => None,
            Leftover::Kept(next) => next.take().map(|next| *next),
        }
    }

    /// The position that it begins after.
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    /// Makes room at once for what is known to come.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.buffer.reserve(bytes + TAIL_BYTES);
    }

    /// Bytes of events so far.
    pub(crate) fn items_len(&self) -> usize {
        self.buffer.len() - HEAD_BYTES
    }

    /// Everything up to here is in the batch or filtered out.
    pub(crate) fn position(&self) -> u64 {
        self.now.position
    }

    /// True when it ends with a whole transaction.
    pub(crate) fn is_whole(&self) -> bool {
        self.now.position == self.whole.position
    }

    /// Takes the next event, which `append` encodes; breaks if it does not fit, and is then full.
    pub(crate) fn take(&mut self, logged: &Logged, append: impl FnOnce(&mut Vec<u8>)) -> ControlFlow<()> {
        append(&mut self.buffer);
        if self.buffer.len() > self.buffer_max && self.now.events > 0 {
            let fits = self.whole.events > 0 && self.may_fit(&logged.event);
            let end = if fits { self.whole } else { self.now };
            if let Leftover::Kept(_) = self.leftover {
                self.leftover = Leftover::Kept(self.rest(end, logged).map(Box::new));
            }
            self.buffer.truncate(end.len);
            self.now = end;
            return ControlFlow::Break(());
        }
        self.now.events += 1;
        self.pass(logged);
        ControlFlow::Continue(())
    }

    /// True where the transaction of an event that did not fit can be expected to fit into a batch of its own.
    fn may_fit(&self, event: &Event) -> bool {
        let (size, seen) = (u64::from(event.size), u64::from(event.index) + 1);
        let bytes = (self.buffer.len() - self.whole.len) as u64;
        bytes.saturating_mul(size) / seen <= (self.buffer_max - HEAD_BYTES) as u64
    }

    /// What comes after `end`, up to `last`, which is encoded and does not fit. `None` where it is too much itself.
    fn rest(&self, end: Mark, last: &Logged) -> Option<Batch> {
        let bytes = &self.buffer[end.len..];
        if HEAD_BYTES + bytes.len() > self.buffer_max {
            return None;
        }
        let mut rest = Batch { buffer_max: self.buffer_max, ..Batch::after(end.position, 0) };
        rest.buffer.extend_from_slice(bytes);
        rest.now.events = self.now.events - end.events + 1;
        rest.pass(last);
        Some(rest.keeping_leftover())
    }

    /// Goes past the next event, which is filtered out.
    pub(crate) fn pass(&mut self, logged: &Logged) {
        self.now.len = self.buffer.len();
        self.now.position = logged.sequence;
        if logged.event.index + 1 >= logged.event.size {
            self.whole = self.now;
        }
    }

    /// Takes several events at once, if they all fit; false if they do not. `whole` tells that a transaction ends
    /// with the last, or that none ends within.
    pub(crate) fn take_all(&mut self, items: &[u8], events: u32, last: &Logged) -> bool {
        if self.buffer.len() + items.len() > self.buffer_max {
            return false;
        }
        self.buffer.extend_from_slice(items);
        self.now.events += events;
        self.pass(last);
        true
    }

    /// The message; `None` when no event passed the filter.
    pub(crate) fn finish(mut self, encoder: &Encoder) -> Option<Frame> {
        if self.now.events == 0 {
            return None;
        }
        put::text(&mut self.buffer, CURSOR, encoder.cursor(self.now.position).as_bytes());
        Some(Frame { bytes: seal(self.buffer), events: self.now.events })
    }

    /// The message, and where in it the elements of `events` are.
    pub(crate) fn finish_with_items(mut self, encoder: &Encoder) -> (Bytes, Bytes) {
        let items_end = self.buffer.len();
        put::text(&mut self.buffer, CURSOR, encoder.cursor(self.now.position).as_bytes());
        let tail = self.buffer.len() - items_end;
        let frame = seal(self.buffer);
        let body = frame.len() - tail;
        let items = frame.slice(body - (items_end - HEAD_BYTES)..body);
        (frame, items)
    }
}

/// Writes key and length into the room that was left for them.
fn seal(mut buffer: Vec<u8>) -> Bytes {
    let len = (buffer.len() - HEAD_BYTES) as u64;
    let start = HEAD_BYTES - 1 - put::varint_len(len);
    put::varint_at(&mut buffer[start + 1..HEAD_BYTES], len);
    let mut key = Vec::with_capacity(1);
    put::varint(&mut key, u64::from(EVENTS << 3 | 2));
    buffer[start] = key[0];
    Bytes::from(buffer).slice(start..)
}

/// A page of ListEvents: events that are encoded already, and the rest of the message.
pub(crate) fn page(items: &[Bytes], rest: &v1::ListEventsResponse) -> EncodedFrame {
    let len = items.iter().map(Bytes::len).sum::<usize>() + rest.encoded_len();
    let mut buffer = Vec::with_capacity(len);
    for item in items {
        buffer.extend_from_slice(item);
    }
    buffer.extend_from_slice(&rest.encode_to_vec());
    EncodedFrame(buffer.into())
}
