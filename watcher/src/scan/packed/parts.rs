//! Finds what changed in a `packed-refs` that was replaced, from a little that is kept of the one before.
//!
//! The file is sorted, so names cut it into parts wherever the bytes are: of each part the last name is kept, its length,
//! and a number that stands for its content. Where the file that came goes on with as many bytes of the same number, and
//! with a later name after them, nothing of the part is looked at. Any other is read to its last name: what came or went
//! in it moves nothing behind it.

mod content;

use std::os::fd::BorrowedFd;

use refwatch_core::{NAME_BYTES_MAX, ObjectFormat, RefName};
use rustix::io::Errno;

use self::content::content;
use super::window::{WINDOW_BYTES, Window};
use super::{Header, Records, checked_name, line_end};
use crate::scan::{Observed, Range, Skips};

/// Bytes of a part, about: some hundred refs.
pub(super) const PART_BYTES: usize = 64 << 10;
/// A part that has grown to this many bytes is cut anew.
const PART_BYTES_MAX: usize = 4 * PART_BYTES;
/// Files below this size, in bytes, are read as a whole.
pub const PARTS_BYTES_MIN: usize = 1 << 20;

/// Bytes in which the line ends that follows a part: the longest id, a name, and what separates them.
const LINE_BYTES: usize = 64 + NAME_BYTES_MAX + 2;

/// What is kept of a `packed-refs`: some 70 bytes for each 64 KiB.
#[derive(Clone, Debug, Default)]
pub struct Parts(Vec<Part>);

/// A part of a file: the refs up to a name, from that of the part before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Its last name; that of the last part is no limit, and empty.
    last: Box<[u8]>,
    /// Bytes of its lines.
    length: usize,
    content: u64,
}

impl Part {
    pub(super) fn of(lines: &[u8], last: &[u8]) -> Self {
        Self { last: last.into(), length: lines.len(), content: content(lines) }
    }

    /// Whether the bytes that are held begin with its lines. The last name of a part may be gone from it, so what comes
    /// after the lines is to be looked at: it may belong to them.
    fn is_at(&self, held: &[u8], last: Option<&[u8]>, format: ObjectFormat) -> bool {
        if held.len() < self.length || content(&held[..self.length]) != self.content {
            return false;
        }
        let (next, name) = (&held[self.length..], format.hex_len() + 1);
        match (last, next.first()) {
            (_, None) => true,
            (None, Some(_)) => false,
            // What a tag peels to has no name there.
            (Some(last), Some(_)) => line_end(next, name).is_some_and(|end| next[name..end] > *last),
        }
    }
}

/// How a file differs from the one before.
pub(crate) struct Compared {
    pub(crate) parts: Parts,
    pub(crate) ranges: Vec<Range>,
    /// Bytes that were read.
    pub(crate) bytes: u64,
}

impl Parts {
    /// What is to be kept of a file that is sorted and was cut into these, from front to back.
    pub(super) fn new(mut parts: Vec<Part>) -> Self {
        match parts.last_mut() {
            Some(last) => last.last = Box::default(),
            None => parts.push(Part::of(b"", b"")),
        }
        Self(parts)
    }

    /// Compares with the file that came. `None` when it is to be read as a whole: it does not say that it is sorted, or
    /// where it differs it is not, or has a line that Git refuses or leaves out.
    pub(crate) fn compare(
        &self,
        file: BorrowedFd<'_>,
        format: ObjectFormat,
    ) -> Result<Option<Compared>, Errno> {
        let mut window = Window::of_file(file, WINDOW_BYTES);
        let Ok(Header { length, is_sorted: true }) = Header::of(window.first_line()?) else {
            return Ok(None);
        };
        let Some((_, limited)) = self.0.split_last() else { return Ok(None) };
        window.take(length);
        let mut parts = Vec::with_capacity(self.0.len());
        let (mut ranges, mut after): (_, &[u8]) = (Vec::new(), b"");
        for (index, part) in self.0.iter().enumerate() {
            let last = (index < limited.len()).then_some(&*part.last);
            if part.is_at(window.at_least(part.length + LINE_BYTES)?, last, format) {
                window.take(part.length);
                parts.push(part.clone());
            } else {
                let mut changed = Changed { last, before: after.into(), packed: Vec::new() };
                if !changed.read(&mut window, format, &mut parts)? {
                    return Ok(None);
                }
                let packed = changed.packed;
                ranges.push(Range { after: after.into(), last: last.map(Box::from), packed });
            }
            after = &part.last;
        }
        Ok(Some(Compared { parts: Self(parts), ranges, bytes: window.offset() }))
    }
}

/// The lines of a part that differs.
struct Changed<'a> {
    /// Its last name, `None` for all that follow.
    last: Option<&'a [u8]>,
    /// The last name that was read.
    before: Vec<u8>,
    packed: Vec<(RefName, Observed)>,
}

/// Lines of a part that are held, as far as they belong to it.
struct Lines {
    /// Bytes of them.
    length: usize,
    /// Nothing that follows belongs to the part.
    is_end: bool,
    /// Where they are to be cut, and the last name before each cut.
    cuts: Vec<(usize, Box<[u8]>)>,
}

impl Changed<'_> {
    /// Takes the lines, which must be in order and belong there, and adds what is to be kept of them; false where they
    /// are not, or one is for a look at everything to name.
    fn read(
        &mut self,
        window: &mut Window<'_>,
        format: ObjectFormat,
        parts: &mut Vec<Part>,
    ) -> Result<bool, Errno> {
        // The last part is cut anew each time, so that what comes after all others does not make it long.
        let mut cut_anew = self.last.is_none();
        loop {
            window.at_least(PART_BYTES_MAX + LINE_BYTES)?;
            let (lines, is_last) = window.entries()?;
            let Some(Lines { length, is_end, cuts }) = self.lines(lines, is_last, format) else {
                return Ok(false);
            };
            cut_anew |= !is_end;
            let mut start = 0;
            for (end, last) in cuts.iter().filter(|_| cut_anew) {
                parts.push(Part::of(&lines[start..*end], last));
                start = *end;
            }
            if is_end {
                // The name of old, which may be gone, still is where the next one begins.
                parts.push(Part::of(&lines[start..length], self.last.unwrap_or_default()));
            } else if start < length {
                parts.push(Part::of(&lines[start..length], &self.before));
            }
            window.take(length);
            if is_end {
                return Ok(true);
            }
        }
    }

    /// Takes entries until the part ends, or is longer than is kept as one. `None` for what is not in order or not sound.
    fn lines(&mut self, lines: &[u8], is_last: bool, format: ObjectFormat) -> Option<Lines> {
        let mut records = Records::of_lines(lines, 0, format);
        let (mut start, mut cuts) = (0, Vec::new());
        let first = std::mem::take(&mut self.before);
        let mut before = &*first;
        let (length, is_end) = loop {
            let length = records.offset;
            if length >= PART_BYTES_MAX {
                break (length, false);
            }
            let Some(record) = records.next().ok()? else { break (length, is_last) };
            if record.name <= before {
                return None;
            }
            if self.last.is_some_and(|last| record.name > last) {
                break (length, true);
            }
            let name = checked_name(record.name, &mut Skips::default()).ok()??;
            self.packed.push((name, record.observed()));
            before = record.name;
            if records.offset - start >= PART_BYTES {
                start = records.offset;
                cuts.push((start, before.into()));
            }
        };
        self.before = before.into();
        Some(Lines { length, is_end, cuts })
    }
}

#[cfg(test)]
mod tests;
