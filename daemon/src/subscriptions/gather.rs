//! Reading a piece of the log: what follows a position and passes the filter, as one frame.

use std::ops::ControlFlow;
use std::sync::Arc;

use refwatch_store::ReadError;

use crate::filter::{Filter, Seen};
use crate::log::{Log, Segment};
use crate::wire::{Batch, Frame, Place};

/// Smallest encoding of an event, in bytes, from below.
const EVENT_BYTES_MIN: usize = 128;
/// Events of the store looked at in one go; at the end of a transaction it is enough.
const SCAN_EVENTS: usize = 16_384;
/// The same within a transaction, most of which is filtered out.
const SCAN_EVENTS_MAX: usize = 65_536;

/// A piece of the log.
#[derive(Debug)]
pub(super) struct Gathered {
    /// What of it passed the filter; `None` for nothing.
    pub(super) frame: Option<Frame>,
    /// Where it ends.
    pub(super) position: u64,
    /// What of the next piece was read already.
    pub(super) next: Option<Batch>,
}

/// Recent events that a frame of so many bytes may take.
pub(super) fn recent_events_max(filter: &Filter, bytes_max: usize) -> usize {
    if filter.only_hides_internal() { bytes_max / EVENT_BYTES_MIN + 1 } else { usize::MAX }
}

/// Puts together what follows a position out of recent segments. Encodes what nobody has asked for yet.
pub(super) fn from_memory(
    log: &Log,
    segments: &[Arc<Segment>],
    after: u64,
    filter: &Filter,
    bytes_max: usize,
) -> Gathered {
    let encoder = log.encoder();
    let whole = |segment: &Segment| segment.first() > after && filter.only_hides_internal();
    if let [segment] = segments
        && whole(segment)
    {
        let encoded = segment.encoded(encoder);
        if !encoded.internal && encoded.ends_whole && encoded.frame.len() <= bytes_max {
            let events = u32::try_from(segment.events().len()).unwrap_or(u32::MAX);
            let frame = Frame { bytes: encoded.frame.clone(), events };
            return Gathered { frame: Some(frame), position: segment.last(), next: None };
        }
    }
    let mut batch = Batch::after(after, bytes_max);
    for segment in segments {
        if take_segment(log, segment, after, filter, whole(segment), &mut batch).is_break() {
            break;
        }
    }
    let position = batch.position();
    Gathered { frame: batch.finish(encoder), position, next: None }
}

fn take_segment(
    log: &Log,
    segment: &Segment,
    after: u64,
    filter: &Filter,
    whole: bool,
    batch: &mut Batch,
) -> ControlFlow<()> {
    let entry = segment.entry();
    let events = segment.events();
    if !filter.passes_repository(entry.uid, &entry.path)
        && !events.iter().any(|logged| filter.passes_path_before(logged, entry.uid))
    {
        events.iter().filter(|logged| logged.sequence > after).for_each(|logged| batch.pass(logged));
        return ControlFlow::Continue(());
    }
    if whole && let Some(last) = segment.events().last() {
        let encoded = segment.encoded(log.encoder());
        let fits = !encoded.internal && (encoded.ends_whole || encoded.within_one);
        let events = u32::try_from(segment.events().len()).unwrap_or(u32::MAX);
        if fits && batch.take_all(&encoded.items, events, last) {
            return ControlFlow::Continue(());
        }
    }
    for (index, logged) in segment.events().iter().enumerate() {
        if logged.sequence <= after {
            continue;
        }
        match filter.look(logged, entry.uid, &entry.path) {
            Seen::Event => {
                let item = segment.encoded(log.encoder()).item(index);
                batch.take(logged, |out| out.extend_from_slice(item))?;
            }
            Seen::Instead(instead) => {
                let place = Place::of(entry).at(&instead.1);
                batch.take(logged, |out| log.encoder().append(out, &instead.0, &place))?;
            }
            Seen::Nothing => batch.pass(logged),
        }
    }
    ControlFlow::Continue(())
}

/// Puts together what follows a position out of the store, of which `begun` was read before. `None` when it has to be
/// asked again, because paths of old are not known so far back yet. Blocks.
///
/// # Errors
/// [`ReadError`]; the log being damaged only where nothing good comes before.
pub(super) fn from_store(
    log: &Log,
    after: u64,
    filter: &Filter,
    bytes_max: usize,
    begun: Option<Batch>,
) -> Result<Option<Gathered>, ReadError> {
    let reader = log.store().read()?;
    if !log.know_paths_after(&reader, after)? {
        return Ok(None);
    }
    let mut places = log.places(&reader);
    let mut batch = begun
        .filter(|begun| begun.start() == after)
        .unwrap_or_else(|| Batch::after(after, bytes_max).keeping_leftover());
    let mut scanned = 0;
    let mut failed = None;
    let read = reader.events_after(batch.position(), SCAN_EVENTS_MAX, |logged| {
        let place = match places.of(&logged) {
            Ok(place) => place,
            Err(error) => {
                failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        match filter.look(&logged, place.uid, &place.path) {
            Seen::Event => batch.take(&logged, |out| log.encoder().append(out, &logged, place))?,
            Seen::Instead(instead) => {
                let place = place.at(&instead.1);
                batch.take(&logged, |out| log.encoder().append(out, &instead.0, &place))?;
            }
            Seen::Nothing => batch.pass(&logged),
        }
        scanned += 1;
        if scanned >= SCAN_EVENTS && batch.is_whole() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    });
    match read.err().or(failed) {
        // What comes before the damage is good, and goes out first.
        Some(error @ ReadError::Corrupt { .. }) if batch.position() == after => return Err(error),
        Some(ReadError::Corrupt { .. }) => {}
        Some(error) => return Err(error),
        None if batch.position() == after => {
            let detail = "it ends early".to_owned();
            return Err(ReadError::Corrupt { sequence: Some(after + 1), detail });
        }
        None => {}
    }
    let (position, next) = (batch.position(), batch.take_leftover());
    Ok(Some(Gathered { frame: batch.finish(log.encoder()), position, next }))
}
