//! Reads `packed-refs` (gitrepository-layout(5); the format is written down at the top of Git's
//! `refs/packed-backend.c`): an optional header line, then `<id> <name>` lines, each of which may be followed by
//! `^<id>`, the object that an annotated tag peels to.

pub(crate) mod parts;
pub(crate) mod read;
pub(crate) mod search;
pub(crate) mod window;

use memchr::memchr;
use refwatch_core::{InvalidName, ObjectFormat, ObjectId, RefName, Target};
use rustix::io::Errno;

use super::{BrokenReason, Observed, SkipReason, Skips};
use crate::scan::loose::object_id;

/// Longest `packed-refs` that is read, in bytes: about 50 million refs.
pub const PACKED_BYTES_MAX: u64 = 4 << 30;

/// The start of the header line, where there is one.
const HEADER: &[u8] = b"# pack-refs with:";

/// Something that Git refuses too, and with it the whole file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    /// Byte offset of the line.
    pub(crate) offset: u64,
    pub(crate) reason: &'static str,
}

/// Why a file could not be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PackedError {
    Io(Errno),
    Bad(Bad),
}

impl From<Errno> for PackedError {
    fn from(error: Errno) -> Self {
        Self::Io(error)
    }
}

impl From<Bad> for PackedError {
    fn from(bad: Bad) -> Self {
        Self::Bad(bad)
    }
}

/// One entry.
pub(crate) struct Record<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) id: Result<ObjectId, BrokenReason>,
    pub(crate) peeled: Option<ObjectId>,
}

impl Record<'_> {
    pub(crate) fn observed(&self) -> Observed {
        match self.id {
            Ok(id) => Observed::Good(Target::Direct(id)),
            Err(reason) => Observed::Broken(reason),
        }
    }
}

/// The entries of a file, or of some whole lines of it.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    pub(crate) offset: usize,
    format: ObjectFormat,
}

impl<'a> Records<'a> {
    /// The entries of a whole file.
    pub(crate) fn of_file(bytes: &'a [u8], format: ObjectFormat) -> Result<Self, Bad> {
        Ok(Self { bytes, offset: Header::of(bytes)?.length, format })
    }

    /// The entries from `offset` on, which is the start of a line.
    pub(crate) const fn of_lines(bytes: &'a [u8], offset: usize, format: ObjectFormat) -> Self {
        Self { bytes, offset, format }
    }

    /// The next entry. What is said of a line does not depend on those after it.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'a>>, Bad> {
        if self.offset == self.bytes.len() {
            return Ok(None);
        }
        let start = self.offset;
        let hex = self.format.hex_len();
        let bad = |reason| Bad { offset: start as u64, reason };
        let (Some(id), Some(b' ' | b'\t' | b'\r')) =
            (self.bytes.get(start..start + hex), self.bytes.get(start + hex))
        else {
            return Err(bad(NO_ID));
        };
        let id = match object_id(id, self.format) {
            Ok(id) => Ok(id),
            Err(BrokenReason::ZeroId) => Err(BrokenReason::ZeroId),
            Err(_) => return Err(bad(NO_ID)),
        };
        let end = line_end(self.bytes, start + hex).ok_or(bad(UNTERMINATED))?;
        let name = &self.bytes[start + hex + 1..end];
        self.offset = end + 1;
        let mut peeled = None;
        if self.bytes.get(self.offset) == Some(&b'^') {
            let line = self.offset;
            let bad = Bad { offset: line as u64, reason: "not an object id after '^'" };
            let after = line + 1 + hex;
            let (Some(id), Some(b'\n')) = (self.bytes.get(line + 1..after), self.bytes.get(after)) else {
                return Err(bad);
            };
            peeled = Some(object_id(id, self.format).map_err(|_| bad)?);
            self.offset = after + 1;
        }
        Ok(Some(Record { name, id, peeled }))
    }
}

const NO_ID: &str = "no object id of this repository's length, then a space";
const UNTERMINATED: &str = "a line without its end: the file was cut";

/// The line in front of all others, where there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    /// Bytes of the line, its end included; 0 where there is none.
    pub(crate) length: usize,
    /// It says that the file is sorted.
    pub(crate) is_sorted: bool,
}

impl Header {
    /// Reads it from the start of a file. `bytes` holds the first line as a whole, if the file does.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Bad> {
        if bytes.first() != Some(&b'#') {
            return Ok(Self { length: 0, is_sorted: false });
        }
        let length = 1 + line_end(bytes, 0).ok_or(Bad { offset: 0, reason: UNTERMINATED })?;
        let is_sorted = header_is_sorted(&bytes[..length]);
        let is_sorted = is_sorted.ok_or(Bad { offset: 0, reason: "an unknown header" })?;
        Ok(Self { length, is_sorted })
    }
}

/// What a header line says about the order of the file, `None` when it is no header.
pub(crate) fn header_is_sorted(line: &[u8]) -> Option<bool> {
    let traits = line.strip_prefix(HEADER)?.trim_ascii();
    Some(traits.split(|byte| *byte == b' ').any(|word| word == b"sorted"))
}

fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    memchr(b'\n', bytes.get(from..)?).map(|length| from + length)
}

/// Checks a name of `packed-refs`: `Ok(None)` for one that is left out, as Git leaves it out with a warning.
///
/// # Errors
/// The reason, for a name that Git takes for an attack or for damage to the whole file.
pub(crate) fn checked_name(name: &[u8], skips: &mut Skips) -> Result<Option<RefName>, &'static str> {
    if name.last() == Some(&b'\r') {
        return Err("a line that ends with a carriage return");
    }
    let checked = if name.starts_with(b"refs/") { RefName::new(name) } else { Err(InvalidName::Prefix) };
    match checked {
        Ok(name) => Ok(Some(name)),
        Err(_) if !is_safe(name) => Err("a dangerous name"),
        Err(reason) => {
            skips.push(name, SkipReason::Name(reason));
            Ok(None)
        }
    }
}

/// `refname_is_safe` of Git's `refs.c`: cannot lead out of `refs/`.
fn is_safe(name: &[u8]) -> bool {
    match name.strip_prefix(b"refs/") {
        Some(rest) => !rest.split(|byte| *byte == b'/').any(|part| matches!(part, b"" | b"." | b"..")),
        None => !name.is_empty() && name.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_'),
    }
}
