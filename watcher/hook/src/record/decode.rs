//! Reading a record.

use std::fmt;

use super::{
    ACTOR_BYTES_MAX, CUT, Facts, HEADER_BYTES, INPUT_BYTES_MAX, INPUT_LEFT_OUT, Input, MAGIC, Outcome,
    PAYLOAD_BYTES_MAX, PUSH_OPTION_BYTES_MAX, PUSH_OPTIONS_MAX, Phase, REFUSED_BY_BYTES_MAX, Record,
    WORKTREE_BYTES_MAX,
};
use crate::crc::crc32;

/// A record that is whole: its checksum is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The version of its payload.
    pub version: u8,
    /// What [`decode`] reads where the version is [`super::VERSION`].
    pub payload: &'a [u8],
}

impl Frame<'_> {
    /// Length of the whole record, in bytes.
    pub const fn bytes(&self) -> usize {
        HEADER_BYTES + self.payload.len()
    }
}

/// Why no whole record stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// What is there may be the beginning of one.
    Incomplete {
        /// Bytes that must be there before more can be said, at most [`super::RECORD_BYTES_MAX`].
        needs_bytes: usize,
    },
    /// It is none, whatever follows.
    Corrupt,
}

/// A payload that is whole and does not read as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// A field ends behind the payload.
    Short,
    /// A field is longer than its limit.
    Long,
    /// A phase that this version has no name for.
    Phase(u8),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Malformed::Short => f.write_str("cut short"),
            Malformed::Long => f.write_str("a field is longer than its limit"),
            Malformed::Phase(code) => write!(f, "phase {code} is not known"),
        }
    }
}

impl std::error::Error for Malformed {}

/// The length in bytes that a record at the front of some bytes says it has, where that can be one.
pub fn claimed(bytes: &[u8]) -> Option<usize> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let [m0, m1, m2, version, l0, l1, l2, l3, ..] = *header;
    let length = usize::try_from(u32::from_le_bytes([l0, l1, l2, l3])).ok()?;
    let plausible = [m0, m1, m2] == MAGIC && version > 0 && (1..=PAYLOAD_BYTES_MAX).contains(&length);
    plausible.then_some(HEADER_BYTES + length)
}

/// Looks for a whole record at the front of some bytes; what follows it does not matter.
///
/// # Errors
/// [`Flaw`].
pub fn check(bytes: &[u8]) -> Result<Frame<'_>, Flaw> {
    if bytes.len() < HEADER_BYTES {
        let magic = &bytes[..bytes.len().min(MAGIC.len())];
        let begins = MAGIC.starts_with(magic) && bytes.get(MAGIC.len()) != Some(&0);
        return Err(if begins { Flaw::Incomplete { needs_bytes: HEADER_BYTES } } else { Flaw::Corrupt });
    }
    let needs_bytes = claimed(bytes).ok_or(Flaw::Corrupt)?;
    let payload = bytes.get(HEADER_BYTES..needs_bytes).ok_or(Flaw::Incomplete { needs_bytes })?;
    let [.., c0, c1, c2, c3] = *bytes.first_chunk::<HEADER_BYTES>().ok_or(Flaw::Corrupt)?;
    if crc32(payload) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(Flaw::Corrupt);
    }
    Ok(Frame { version: bytes[MAGIC.len()], payload })
}

/// Reads the payload of a record of [`super::VERSION`].
///
/// # Errors
/// [`Malformed`].
pub fn decode(payload: &[u8]) -> Result<Record<'_>, Malformed> {
    let mut cut = Cut(payload);
    let mut head = Cut(cut.field(PAYLOAD_BYTES_MAX)?);
    let [phase, flags] = head.array()?;
    let phase = Phase::from_code(phase).ok_or(Malformed::Phase(phase))?;
    let facts = Facts {
        phase,
        id: head.u64()?,
        wall_us: head.u64()?,
        monotonic_ns: head.u64()?,
        pid: head.u32()?,
        parent_pid: head.u32()?,
        parent_start_ticks: head.u64()?,
        // Not there in older records.
        process_space: head.u64().unwrap_or(0),
        actor: cut.field(ACTOR_BYTES_MAX)?,
        push_options: options(cut.field(PUSH_OPTIONS_MAX * (4 + PUSH_OPTION_BYTES_MAX))?)?,
        worktree: cut.field(WORKTREE_BYTES_MAX)?,
        cut: flags & CUT != 0,
    };
    let input = cut.field(INPUT_BYTES_MAX)?;
    let input = if flags & INPUT_LEFT_OUT == 0 { Input::Whole(input) } else { Input::LeftOut };
    Ok(Record { facts, input, outcome: outcome(&mut cut)? })
}

fn outcome<'a>(cut: &mut Cut<'a>) -> Result<Option<Outcome<'a>>, Malformed> {
    if cut.0.is_empty() {
        return Ok(None);
    }
    let mut field = Cut(cut.field(PAYLOAD_BYTES_MAX)?);
    if field.0.is_empty() {
        return Ok(None);
    }
    let status = field.array().map(i32::from_le_bytes)?;
    Ok(Some(Outcome { status, refused_by: field.field(REFUSED_BY_BYTES_MAX)? }))
}

fn options(field: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
    let mut cut = Cut(field);
    let mut options = Vec::new();
    while !cut.0.is_empty() {
        if options.len() == PUSH_OPTIONS_MAX {
            return Err(Malformed::Long);
        }
        options.push(cut.field(PUSH_OPTION_BYTES_MAX)?);
    }
    Ok(options)
}

/// Takes values from the front of some bytes.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    fn field(&mut self, bytes_max: usize) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.u32()?).map_err(|_| Malformed::Long)?;
        if length > bytes_max {
            return Err(Malformed::Long);
        }
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }
}
