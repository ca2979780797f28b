//! ListEvents: the retained log, page by page, in either direction.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use refwatch_proto::v1::list_events_request::Start;
use refwatch_proto::{EncodedFrame, limits, v1};
use refwatch_store::{Bounds, Logged, ReadError, Reader};

use super::token;
use crate::filter::{Filter, Seen, View};
use crate::log::{Log, Places, read_in_turn};
use crate::status::Failure;
use crate::subscriptions::{position_of, time};
use crate::wire;

const METHOD: &str = "ListEvents";
/// Events looked at for one page; a page of a narrow filter may so hold none and yet have a next one.
const SCAN_EVENTS: usize = 50_000;
/// Largest page, in encoded bytes, but for what the response holds besides events.
const PAGE_BYTES_MAX: usize = limits::BATCH_BYTES_MAX as usize - 1024;

/// What a request wants.
struct Wanted {
    filter: Filter,
    start: Option<Start>,
    until_us: i64,
    newest_first: bool,
    page_size: usize,
    fingerprint: u64,
}

/// Where a page goes on.
#[derive(Clone, Copy, Debug)]
struct Resume {
    /// Listed so far, oldest first: everything up to here. Newest first: everything from here on.
    position: u64,
    /// The end of the log when the first page was asked for.
    end: u64,
}

/// The sequences that are to be listed, both included.
#[derive(Clone, Copy, Debug)]
struct Range {
    first: u64,
    last: u64,
}

pub(super) async fn list(
    log: &Arc<Log>,
    view: View,
    mut request: v1::ListEventsRequest,
) -> Result<EncodedFrame, Failure> {
    let page_size = Failure::or_default(
        "page_size",
        std::mem::take(&mut request.page_size),
        limits::PAGE_SIZE_DEFAULT,
        1,
        limits::PAGE_SIZE_MAX,
    )?;
    let page_token = std::mem::take(&mut request.page_token);
    let wanted = Wanted {
        filter: Filter::compile(request.filter.as_ref(), view)?,
        until_us: time("until_us", request.until_us)?,
        newest_first: request.newest_first,
        page_size: page_size as usize,
        fingerprint: token::fingerprint(log.identity(), METHOD, &request),
        start: match request.start {
            Some(Start::SinceUs(since_us)) => Some(Start::SinceUs(time("since_us", since_us)?)),
            other => other,
        },
    };
    let from = match page_token.as_str() {
        "" => None,
        text => Some(Resume::open(wanted.fingerprint, text)?),
    };
    let wanted = Arc::new(wanted);
    loop {
        let wanted = Arc::clone(&wanted);
        // None while paths of old are being looked for, a step at a time, to let others read in between.
        if let Some(page) = read_in_turn(Arc::clone(log), move |log| page(log, &wanted, from)).await? {
            return Ok(page);
        }
    }
}

fn page(log: &Log, wanted: &Wanted, from: Option<Resume>) -> Result<Option<EncodedFrame>, Failure> {
    let failed = |error| Failure::of_read(error, from.map_or(0, |from| from.position), log.identity());
    let reader = log.store().read().map_err(failed)?;
    let bounds = reader.bounds();
    let from_end = from.map_or(bounds.last, |from| from.end);
    // Where a page goes on oldest first, its token says it all: the start may be retained no more by then.
    let start = wanted.start.as_ref().filter(|_| from.is_none() || wanted.newest_first);
    let range = range(log, &reader, wanted, start, from_end)?;
    let lowest = match from {
        Some(from) if !wanted.newest_first => from.position,
        None if !wanted.newest_first => range.first.saturating_sub(1),
        // No further back than this page looks.
        from => {
            let before = from.map_or(range.last + 1, |from| from.position);
            range.first.max(before.saturating_sub(SCAN_EVENTS as u64)).saturating_sub(1)
        }
    };
    if !log.know_paths_after(&reader, lowest).map_err(failed)? {
        return Ok(None);
    }
    let mut page =
        Page { log, wanted, places: log.places(&reader), items: Vec::new(), bytes: 0, failed: None };
    let (position, more) = if wanted.newest_first {
        let before = from.map_or(range.last + 1, |from| from.position);
        page.backwards(&reader, range, before)
    } else {
        page.forwards(&reader, range, lowest)
    }
    .map_err(failed)?;
    let next = Resume { position, end: from_end };
    let cursor = if wanted.newest_first { from_end } else { position };
    let Bounds { floor, last } = bounds;
    let rest = v1::ListEventsResponse {
        events: Vec::new(),
        next_page_token: if more { next.seal(wanted.fingerprint) } else { String::new() },
        cursor: log.encoder().cursor(cursor),
        floor_sequence: floor,
        last_sequence: last,
    };
    Ok(Some(wire::page(&page.items, &rest)))
}

/// What the request's start and end come to.
fn range(
    log: &Log,
    reader: &Reader<'_>,
    wanted: &Wanted,
    start: Option<&Start>,
    end: u64,
) -> Result<Range, Failure> {
    let failed = |error| Failure::of_read(error, 0, log.identity());
    let bounds = reader.bounds();
    let first = match start {
        None => bounds.floor,
        Some(Start::AfterCursor(token)) => position_of(log, "after_cursor", token)? + 1,
        Some(Start::SinceUs(since_us)) => reader.first_at_or_after(*since_us).map_err(failed)?,
    };
    let until = match wanted.until_us {
        0 => u64::MAX,
        until_us => reader.first_at_or_after(until_us).map_err(failed)?.saturating_sub(1),
    };
    let last = if wanted.newest_first { end } else { bounds.last };
    Ok(Range { first, last: last.min(until) })
}

/// A page in the making.
struct Page<'a> {
    log: &'a Log,
    wanted: &'a Wanted,
    places: Places<'a>,
    items: Vec<Bytes>,
    bytes: usize,
    failed: Option<ReadError>,
}

impl Page<'_> {
    /// Lists what follows a position; gives back where it got to, and whether there is more.
    fn forwards(&mut self, reader: &Reader<'_>, range: Range, after: u64) -> Result<(u64, bool), ReadError> {
        if after >= range.last {
            return Ok((after, false));
        }
        let mut position = after;
        let limit = SCAN_EVENTS.min(usize::try_from(range.last - after).unwrap_or(usize::MAX));
        reader.events_after(after, limit, |logged| {
            self.take(&logged)?;
            position = logged.sequence;
            ControlFlow::Continue(())
        })?;
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok((position, position < range.last)),
        }
    }

    /// Lists what precedes a position; gives back where it got to, and whether there is more.
    fn backwards(
        &mut self,
        reader: &Reader<'_>,
        range: Range,
        before: u64,
    ) -> Result<(u64, bool), ReadError> {
        let first = range.first.max(reader.bounds().floor);
        let before = before.min(range.last.saturating_add(1));
        if before <= first {
            return Ok((before, false));
        }
        let mut position = before;
        let limit = SCAN_EVENTS.min(usize::try_from(before - first).unwrap_or(usize::MAX));
        reader.events_before(before, limit, |logged| {
            self.take(&logged)?;
            position = logged.sequence;
            ControlFlow::Continue(())
        })?;
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok((position, position > first)),
        }
    }

    /// Takes an event, if it is wanted; breaks if it is and there is no room for it.
    fn take(&mut self, logged: &Logged) -> ControlFlow<()> {
        let place = match self.places.of(logged) {
            Ok(place) => place,
            Err(error) => {
                self.failed = Some(error);
                return ControlFlow::Break(());
            }
        };
        let seen = self.wanted.filter.look(logged, place.uid, &place.path);
        if matches!(seen, Seen::Nothing) {
            return ControlFlow::Continue(());
        }
        if self.items.len() >= self.wanted.page_size {
            return ControlFlow::Break(());
        }
        let mut item = Vec::with_capacity(512);
        match seen {
            Seen::Instead(instead) => {
                self.log.encoder().append(&mut item, &instead.0, &place.at(&instead.1));
            }
            Seen::Event | Seen::Nothing => self.log.encoder().append(&mut item, logged, place),
        }
        if !self.items.is_empty() && self.bytes + item.len() > PAGE_BYTES_MAX {
            return ControlFlow::Break(());
        }
        self.bytes += item.len();
        self.items.push(item.into());
        ControlFlow::Continue(())
    }
}

impl Resume {
    fn seal(self, fingerprint: u64) -> String {
        token::seal(fingerprint, &[self.position.to_be_bytes(), self.end.to_be_bytes()].concat())
    }

    fn open(fingerprint: u64, text: &str) -> Result<Self, Failure> {
        let state = token::open(fingerprint, text, limits::PAGE_TOKEN_BYTES_MAX)?;
        let mut state = state.as_slice();
        Ok(Self { position: token::number(&mut state)?, end: token::number(&mut state)? })
    }
}
