//! One event, encoded by hand: it saves building a message of some fifteen strings for every event.
//!
//! A property test holds the result equal to what prost makes of the message.

use std::borrow::Cow;

use refwatch_core::describe;
use refwatch_core::event::Extra;
use refwatch_core::{
    Cursor, Event, EventType, Forward, Namespace, ObjectFormat, ObjectId, Origin, RefChange, RefName, Target,
};
use refwatch_proto::limits;
use refwatch_proto::v1;
use refwatch_store::{Identity, Logged};

use super::put::{self, Decimal};
use crate::directory::Entry;

/// Number of `events` in EventBatch and in ListEventsResponse alike, so that an item fits both.
const EVENTS: u32 = 1;
/// Room that an event's length is first given; as an event is longer than 127 bytes, it is right for nearly all.
const LENGTH_GUESS: usize = 2;

/// The repository of an event, as it was called when the event happened.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Public id.
    pub(crate) uid: u64,
    /// Path relative to its root.
    pub(crate) path: Box<[u8]>,
    format: ObjectFormat,
    /// The field `repository`, encoded.
    field: Vec<u8>,
}

impl Place {
    pub(crate) fn new(uid: u64, path: &[u8], format: ObjectFormat) -> Self {
        let mut message = Vec::with_capacity(path.len() + 32);
        put::text(&mut message, 1, super::hex16(uid).as_bytes());
        put::text(&mut message, 2, String::from_utf8_lossy(path).as_bytes());
        put::number(&mut message, 3, enum_value(super::object_format(format).into()));
        let mut field = Vec::with_capacity(message.len() + 4);
        put::element(&mut field, 5, &message);
        Self { uid, path: path.into(), format, field }
    }

    /// The same repository under another path.
    pub(crate) fn at(&self, path: &[u8]) -> Self {
        Self::new(self.uid, path, self.format)
    }

    /// A repository as it is called now.
    pub(crate) fn of(entry: &Entry) -> Self {
        Self::new(entry.uid, &entry.path, entry.format)
    }
}

/// Encodes the events of one log.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    log: Identity,
    epoch: [u8; 16],
}

impl Encoder {
    pub(crate) fn new(log: Identity) -> Self {
        let mut epoch = [0; 16];
        epoch.copy_from_slice(super::hex16(log.epoch).as_bytes());
        Self { log, epoch }
    }

    /// The cursor that stands right after a sequence.
    pub(crate) fn cursor(&self, sequence: u64) -> String {
        Cursor { server: self.log.server, epoch: self.log.epoch, sequence }.encode()
    }

    /// Appends an event as an element of `events`, of EventBatch or of ListEventsResponse.
    pub(crate) fn append(&self, out: &mut Vec<u8>, logged: &Logged, place: &Place) {
        put::head(out, EVENTS, 0);
        let length_at = out.len() - 1;
        out.extend_from_slice(&[0; LENGTH_GUESS - 1]);
        let body_at = out.len();
        match format_of(&logged.event) {
            Some(format) if format != place.format => {
                self.body(out, logged, &Place::new(place.uid, &place.path, format));
            }
            _ => self.body(out, logged, place),
        }
        let len = (out.len() - body_at) as u64;
        if put::varint_len(len) == LENGTH_GUESS {
            put::varint_at(&mut out[length_at..body_at], len);
        } else {
            let mut length = Vec::new();
            put::varint(&mut length, len);
            out.splice(length_at..body_at, length);
        }
    }

    fn body(&self, out: &mut Vec<u8>, logged: &Logged, place: &Place) {
        let event = &logged.event;
        let sequence = Decimal::new(logged.sequence);
        put::head(out, 1, self.epoch.len() + 1 + sequence.as_bytes().len());
        self.numbered(out, &sequence);
        put::number(out, 2, logged.sequence);
        put::text(out, 3, self.cursor(logged.sequence).as_bytes());
        put::number(out, 4, u64::from(event.kind.code()));
        out.extend_from_slice(&place.field);
        let name = event.name.as_ref();
        let text = name.map(RefName::to_text).unwrap_or_default();
        put::text(out, 6, text.as_bytes());
        put::number(out, 7, event.change.map_or(0, |change| u64::from(change.code())));
        if name.is_some() {
            oid(out, 8, event.old.as_ref(), place.format);
            oid(out, 9, event.new.as_ref(), place.format);
        }
        put::number(out, 10, enum_value(forward(event).into()));
        put::number(out, 11, name.map_or(0, |name| enum_value(super::namespace(Namespace::of(name)).into())));
        put::number(out, 12, logged.observed_at_us.cast_unsigned());
        self.transaction(out, logged);
        put::number(out, 14, u64::from(event.origin.code()));
        let extra = event.extra.as_deref();
        if let Some(extra) = extra {
            put_actor(out, extra, event.origin);
        }
        put::number(out, 16, u64::from(event.coalesced));
        if let (Some(name), Cow::Owned(_)) = (name, &text) {
            put::text(out, 17, name.as_bytes());
        }
        targets(out, event);
        if let Some(extra) = extra {
            put_extra(out, event.kind, extra);
        }
        target_bytes(out, event);
    }

    /// `<epoch>.<sequence>`.
    fn numbered(&self, out: &mut Vec<u8>, sequence: &Decimal) {
        out.extend_from_slice(&self.epoch);
        out.push(b'.');
        out.extend_from_slice(sequence.as_bytes());
    }

    fn transaction(&self, out: &mut Vec<u8>, logged: &Logged) {
        let event = &logged.event;
        let first = Decimal::new(logged.sequence.saturating_sub(u64::from(event.index)));
        let id_len = self.epoch.len() + 1 + first.as_bytes().len();
        let number_len = |value: u32| if value == 0 { 0 } else { 1 + put::varint_len(u64::from(value)) };
        put::head(out, 13, 2 + id_len + number_len(event.index) + number_len(event.size));
        put::head(out, 1, id_len);
        self.numbered(out, &first);
        put::number(out, 2, u64::from(event.index));
        put::number(out, 3, u64::from(event.size));
    }
}

/// The format that an event's own ids are of; it outlives a repository that was made anew in another one.
fn format_of(event: &Event) -> Option<ObjectFormat> {
    let oid = |target: &Option<Target>| target.as_ref().and_then(Target::oid);
    oid(&event.new).or_else(|| oid(&event.old)).map(|oid| oid.format())
}

/// How the two objects relate, where there are two.
fn forward(event: &Event) -> v1::Forward {
    let objects = matches!((&event.old, &event.new), (Some(Target::Direct(_)), Some(Target::Direct(_))));
    match event.forward {
        Forward::FastForward => v1::Forward::FastForward,
        Forward::Forced => v1::Forward::Forced,
        Forward::Unrelated => v1::Forward::Unrelated,
        Forward::Unknown if event.change == Some(RefChange::Updated) && objects => v1::Forward::Unknown,
        Forward::Unknown => v1::Forward::Unspecified,
    }
}

/// Values of enums are not negative: the contract has no such value.
const fn enum_value(value: i32) -> u64 {
    value.unsigned_abs() as u64
}

fn oid(out: &mut Vec<u8>, field: u32, target: Option<&Target>, format: ObjectFormat) {
    match target.and_then(Target::oid) {
        Some(oid) => {
            put::head(out, field, oid.format().hex_len());
            put::hex(out, oid.as_raw());
        }
        None => put::text(out, field, format.zero_hex().as_bytes()),
    }
}

fn targets(out: &mut Vec<u8>, event: &Event) {
    for (field, target) in [(18, &event.old), (19, &event.new)] {
        if let Some(name) = target.as_ref().and_then(Target::symbolic) {
            put::text(out, field, name.to_text().as_bytes());
        }
    }
    let mut peeled = |field: u32, oid: Option<ObjectId>| {
        if let Some(oid) = oid {
            put::head(out, field, oid.format().hex_len());
            put::hex(out, oid.as_raw());
        }
    };
    peeled(20, event.old_peeled);
    peeled(21, event.new_peeled);
    put::number(out, 22, u64::from(annotated(event)));
}

fn annotated(event: &Event) -> bool {
    match &event.new {
        Some(Target::Direct(_)) => event.new_peeled.is_some(),
        Some(Target::Symbolic(_)) => false,
        None => event.old_peeled.is_some(),
    }
}

fn target_bytes(out: &mut Vec<u8>, event: &Event) {
    for (field, target) in [(29, &event.old), (30, &event.new)] {
        if let Some(name) = target.as_ref().and_then(Target::symbolic) {
            not_utf8(out, field, name.as_bytes());
        }
    }
    let previous = event.extra.as_deref().and_then(|extra| extra.previous.as_deref());
    if let (EventType::BranchRenamed, Some(previous)) = (event.kind, previous) {
        not_utf8(out, 31, previous);
    }
}

fn not_utf8(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    if std::str::from_utf8(bytes).is_err() {
        put::text(out, field, bytes);
    }
}

fn put_actor(out: &mut Vec<u8>, extra: &Extra, origin: Origin) {
    let Some(name) = extra.actor.as_deref() else { return };
    let unsaid = if origin == Origin::Report { "report" } else { "" };
    let source = extra.actor_source.as_deref().unwrap_or(unsaid);
    let address = extra.actor_address.as_deref().unwrap_or_default();
    let mut message = Vec::with_capacity(name.len() + source.len() + address.len() + 6);
    put::text(&mut message, 1, super::cut(name, limits::ACTOR_NAME_BYTES_MAX).as_bytes());
    put::text(&mut message, 2, super::cut(source, limits::ACTOR_SOURCE_BYTES_MAX).as_bytes());
    put::text(&mut message, 3, super::cut(address, limits::ACTOR_SOURCE_BYTES_MAX).as_bytes());
    put::element(out, 15, &message);
}

/// What only some events carry, but for the actor.
fn put_extra(out: &mut Vec<u8>, kind: EventType, extra: &Extra) {
    let mut left = limits::PUSH_OPTIONS_BYTES_MAX;
    for option in extra.push_options.iter().take(limits::PUSH_OPTIONS_MAX) {
        if left == 0 {
            break;
        }
        let option = super::cut(option, left);
        left -= option.len();
        put::element(out, 23, option.as_bytes());
    }
    let reason = extra.reason.as_deref().unwrap_or_default();
    if matches!(kind, EventType::PushRejected | EventType::ProtectedBranchRejected) {
        let message = extra.message.as_deref().unwrap_or_default();
        let mut rejection = Vec::with_capacity(reason.len() + message.len() + 8);
        put::number(&mut rejection, 1, u64::from(extra.stage.unwrap_or_default()));
        put::text(&mut rejection, 2, super::cut(reason, limits::REJECTION_REASON_BYTES_MAX).as_bytes());
        put::text(&mut rejection, 3, super::cut(message, limits::REJECTION_MESSAGE_BYTES_MAX).as_bytes());
        put::element(out, 24, &rejection);
    }
    if let Some(summary) = extra.summary {
        let mut message = Vec::with_capacity(32);
        put::number(&mut message, 1, u64::from(summary.created));
        put::number(&mut message, 2, u64::from(summary.updated));
        put::number(&mut message, 3, u64::from(summary.deleted));
        put::number(&mut message, 4, u64::from(summary.rejected));
        put::number(&mut message, 5, enum_value(summary_cause(kind, reason).into()));
        put::element(out, 25, &message);
    }
    if let Some(previous) = &extra.previous {
        let text = String::from_utf8_lossy(previous);
        if kind == EventType::RepositoryMoved {
            put::text(out, 26, text.as_bytes());
        } else if kind == EventType::BranchRenamed {
            put::text(out, 27, text.as_bytes());
        }
    }
    if kind == EventType::RefBroken {
        let mut broken = Vec::with_capacity(reason.len() + 4);
        put::text(&mut broken, 1, super::cut(reason, limits::BROKEN_REASON_BYTES_MAX).as_bytes());
        put::element(out, 28, &broken);
    }
}

fn summary_cause(kind: EventType, reason: &str) -> v1::SummaryCause {
    if kind == EventType::PushReceived {
        v1::SummaryCause::Push
    } else if reason == describe::REASON_MIRROR {
        v1::SummaryCause::MirrorFetch
    } else if kind == EventType::MirrorSynced {
        v1::SummaryCause::Bulk
    } else {
        v1::SummaryCause::Unspecified
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
