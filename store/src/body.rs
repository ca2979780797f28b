//! The body of an event's row.
//!
//! ```text
//! version      1 byte, 1
//! kind         1 byte, EventType::code
//! flags        3 bytes, lowest first; unused bits are 0
//! observed_at  varint, unix microseconds
//! index, size  varints, if TRANSACTION (else 0 of 1)
//! name         varint length and bytes, if NAME
//! old, new, old_peeled, new_peeled
//!              by their kind in the flags: nothing, 20 bytes, 32 bytes, or a name like `name`
//! extra        if EXTRA: 1 byte of flags, then the fields that are there, in order of their flags
//! checksum     4 bytes over all before, keyed by sequence and repository
//! ```
//!
//! The checksum is there because SQLite has none for its pages: a bit that flips on the disk, or a row that stands
//! where another belongs, is an error and never a wrong event.

use refwatch_core::event::{Extra, Summary};
use refwatch_core::{Event, EventType, Forward, Origin, RefChange};

use crate::bytes::{Cut, Malformed, name, oid_kind, push_bytes, push_target, push_varint, target_kind};

const VERSION: u8 = 1;

const CHANGE: u32 = 0; // 2 bits
const OLD: u32 = 2; // 2 bits
const NEW: u32 = 4; // 2 bits
const OLD_PEELED: u32 = 6; // 2 bits
const NEW_PEELED: u32 = 8; // 2 bits
const FORWARD: u32 = 10; // 2 bits
const ORIGIN: u32 = 12; // 3 bits
const COALESCED: u32 = 1 << 15;
const TRANSACTION: u32 = 1 << 16;
const NAME: u32 = 1 << 17;
const EXTRA: u32 = 1 << 18;
const FLAGS_END: u32 = 1 << 19;

const ACTOR: u8 = 1;
const PUSH_OPTIONS: u8 = 1 << 1;
const SUMMARY: u8 = 1 << 2;
const REASON: u8 = 1 << 3;
const PREVIOUS: u8 = 1 << 4;
const STAGE: u8 = 1 << 5;
const MESSAGE: u8 = 1 << 6;
const ACTOR_SOURCE: u8 = 1 << 7;

/// Where a body stands: what its checksum is keyed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) repository: i64,
}

/// Writes a body over `out`.
pub(crate) fn encode(out: &mut Vec<u8>, place: Place, observed_at_us: i64, event: &Event) {
    out.clear();
    let whole = event.index == 0 && event.size == 1;
    let mut flags = event.change.map_or(0, |change| u32::from(change.code())) << CHANGE
        | target_kind(event.old.as_ref()) << OLD
        | target_kind(event.new.as_ref()) << NEW
        | oid_kind(event.old_peeled.as_ref()) << OLD_PEELED
        | oid_kind(event.new_peeled.as_ref()) << NEW_PEELED
        | u32::from(event.forward.code()) << FORWARD
        | u32::from(event.origin.code()) << ORIGIN;
    for (set, flag) in [
        (event.coalesced, COALESCED),
        (!whole, TRANSACTION),
        (event.name.is_some(), NAME),
        (event.extra.is_some(), EXTRA),
    ] {
        flags |= if set { flag } else { 0 };
    }
    out.extend_from_slice(&[VERSION, event.kind.code()]);
    out.extend_from_slice(&flags.to_le_bytes()[..3]);
    push_varint(out, observed_at_us.cast_unsigned());
    if !whole {
        push_varint(out, u64::from(event.index));
        push_varint(out, u64::from(event.size));
    }
    if let Some(name) = &event.name {
        push_bytes(out, name.as_bytes());
    }
    push_target(out, event.old.as_ref());
    push_target(out, event.new.as_ref());
    for peeled in [&event.old_peeled, &event.new_peeled].into_iter().flatten() {
        out.extend_from_slice(peeled.as_raw());
    }
    if let Some(extra) = &event.extra {
        encode_extra(out, extra);
    }
    let sum = checksum(place, out);
    out.extend_from_slice(&sum.to_le_bytes());
}

fn encode_extra(out: &mut Vec<u8>, extra: &Extra) {
    let mut flags = 0;
    for (set, flag) in [
        (extra.actor.is_some(), ACTOR),
        (!extra.push_options.is_empty(), PUSH_OPTIONS),
        (extra.summary.is_some(), SUMMARY),
        (extra.reason.is_some(), REASON),
        (extra.previous.is_some(), PREVIOUS),
        (extra.stage.is_some(), STAGE),
        (extra.message.is_some(), MESSAGE),
        (extra.actor_source.is_some() || extra.actor_address.is_some(), ACTOR_SOURCE),
    ] {
        flags |= if set { flag } else { 0 };
    }
    out.push(flags);
    if let Some(actor) = &extra.actor {
        push_bytes(out, actor.as_bytes());
    }
    if !extra.push_options.is_empty() {
        push_varint(out, extra.push_options.len() as u64);
        for option in &extra.push_options {
            push_bytes(out, option.as_bytes());
        }
    }
    if let Some(summary) = &extra.summary {
        for count in [summary.created, summary.updated, summary.deleted, summary.rejected] {
            push_varint(out, u64::from(count));
        }
    }
    if let Some(reason) = &extra.reason {
        push_bytes(out, reason.as_bytes());
    }
    if let Some(previous) = &extra.previous {
        push_bytes(out, previous);
    }
    if let Some(stage) = extra.stage {
        out.push(stage);
    }
    if let Some(message) = &extra.message {
        push_bytes(out, message.as_bytes());
    }
    if flags & ACTOR_SOURCE != 0 {
        // Two in one, as no flag is left: an empty text is none.
        for text in [&extra.actor_source, &extra.actor_address] {
            push_bytes(out, text.as_deref().unwrap_or_default().as_bytes());
        }
    }
}

/// Reads a body: when it was observed, and the event.
pub(crate) fn decode(place: Place, body: &[u8]) -> Result<(i64, Event), Malformed> {
    let head = head(place, body)?;
    let Head { mut cut, kind, flags, observed_at_us, index, size } = head;
    let bits = |shift: u32| flags >> shift & 3;
    let change = match bits(CHANGE) {
        0 => None,
        code => Some(code_of(code, RefChange::from_code, "change")?),
    };
    let name = if flags & NAME != 0 { Some(name(cut.bytes()?)?) } else { None };
    let event = Event {
        kind,
        name,
        change,
        old: cut.target(bits(OLD))?,
        new: cut.target(bits(NEW))?,
        old_peeled: cut.oid(bits(OLD_PEELED))?,
        new_peeled: cut.oid(bits(NEW_PEELED))?,
        forward: code_of(bits(FORWARD), Forward::from_code, "forward")?,
        origin: code_of(flags >> ORIGIN & 7, Origin::from_code, "origin")?,
        coalesced: flags & COALESCED != 0,
        index,
        size,
        extra: if flags & EXTRA != 0 { Some(Box::new(decode_extra(&mut cut)?)) } else { None },
    };
    cut.end()?;
    Ok((observed_at_us, event))
}

/// The start of a body, up to its transaction.
pub(crate) struct Head<'a> {
    cut: Cut<'a>,
    kind: EventType,
    flags: u32,
    pub(crate) observed_at_us: i64,
    pub(crate) index: u32,
    pub(crate) size: u32,
}

/// Reads the start of a body, and verifies its checksum.
pub(crate) fn head(place: Place, body: &[u8]) -> Result<Head<'_>, Malformed> {
    let (body, sum) = body.split_last_chunk::<4>().ok_or(Malformed::Short)?;
    let version = *body.first().ok_or(Malformed::Short)?;
    if version != VERSION {
        return Err(Malformed::Version(version));
    }
    if checksum(place, body) != u32::from_le_bytes(*sum) {
        return Err(Malformed::Checksum);
    }
    let mut cut = Cut(&body[1..]);
    let kind = EventType::from_code(cut.byte()?).ok_or(Malformed::Field("event type"))?;
    let flags = u32::from_le_bytes([cut.byte()?, cut.byte()?, cut.byte()?, 0]);
    if flags >= FLAGS_END {
        return Err(Malformed::Field("flags"));
    }
    let observed_at_us = cut.varint()?.cast_signed();
    let (index, size) =
        if flags & TRANSACTION != 0 { (cut.varint_u32()?, cut.varint_u32()?) } else { (0, 1) };
    Ok(Head { cut, kind, flags, observed_at_us, index, size })
}

fn decode_extra(cut: &mut Cut<'_>) -> Result<Extra, Malformed> {
    let flags = cut.byte()?;
    let mut extra = Extra::default();
    if flags & ACTOR != 0 {
        extra.actor = Some(cut.text()?);
    }
    if flags & PUSH_OPTIONS != 0 {
        // No capacity is taken on the word of a count: each option takes a byte or more of what is there.
        for _ in 0..cut.varint()? {
            extra.push_options.push(cut.text()?);
        }
    }
    if flags & SUMMARY != 0 {
        extra.summary = Some(Summary {
            created: cut.varint_u32()?,
            updated: cut.varint_u32()?,
            deleted: cut.varint_u32()?,
            rejected: cut.varint_u32()?,
        });
    }
    if flags & REASON != 0 {
        extra.reason = Some(cut.text()?);
    }
    if flags & PREVIOUS != 0 {
        extra.previous = Some(cut.bytes()?.into());
    }
    if flags & STAGE != 0 {
        extra.stage = Some(cut.byte()?);
    }
    if flags & MESSAGE != 0 {
        extra.message = Some(cut.text()?);
    }
    if flags & ACTOR_SOURCE != 0 {
        let given = |text: String| (!text.is_empty()).then_some(text);
        extra.actor_source = given(cut.text()?);
        extra.actor_address = given(cut.text()?);
    }
    Ok(extra)
}

fn code_of<T>(code: u32, of: impl Fn(u8) -> Option<T>, field: &'static str) -> Result<T, Malformed> {
    u8::try_from(code).ok().and_then(of).ok_or(Malformed::Field(field))
}

/// 32 bits over some bytes and their place. Part of the file format: never changes within a version.
fn checksum(place: Place, bytes: &[u8]) -> u32 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let step = |state: u64, word: u64| {
        let mixed = (state ^ word).wrapping_mul(FACTOR);
        mixed ^ mixed >> 32
    };
    let mut state = step(step(FACTOR, place.sequence), place.repository.cast_unsigned());
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        state = step(state, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    state = step(state, u64::from_le_bytes(last));
    state = step(state, bytes.len() as u64);
    (state >> 32) as u32
}

#[cfg(test)]
mod tests;
