//! Reads a file from front to back through one buffer that stays in the processor's cache. A buffer for the whole file costs a
//! fault for each of its pages: more than what is done with the bytes in it.

use std::ops::Range;
use std::os::fd::BorrowedFd;

use memchr::{memchr_iter, memrchr};
use rustix::io::Errno;

use super::PACKED_BYTES_MAX;
use crate::dir;

/// Room of a window at first, in bytes. It grows where a single line is longer.
pub(crate) const WINDOW_BYTES: usize = 512 << 10;

/// The part of a file that is held.
pub(crate) struct Window<'a> {
    file: BorrowedFd<'a>,
    buffer: Vec<u8>,
    /// Where in the buffer the bytes are that were read and not yet taken.
    held: Range<usize>,
    /// Byte offset in the file of the first of them.
    offset: u64,
    /// Byte offset in the file of what is not read any more.
    end: u64,
    /// Nothing follows what is held.
    is_last: bool,
}

impl<'a> Window<'a> {
    /// Starts at an offset of a file; what is from byte `end` on is not read.
    pub(crate) fn new(file: BorrowedFd<'a>, range: Range<u64>, room: usize) -> Self {
        let is_last = range.is_empty();
        Self { file, buffer: vec![0; room], held: 0..0, offset: range.start, end: range.end, is_last }
    }

    /// A window on a whole file, of whatever length.
    pub(crate) fn of_file(file: BorrowedFd<'a>, room: usize) -> Self {
        Self::new(file, 0..u64::MAX, room)
    }

    pub(crate) const fn file(&self) -> BorrowedFd<'a> {
        self.file
    }

    /// Byte offset in the file of what is held.
    pub(crate) const fn offset(&self) -> u64 {
        self.offset
    }

    /// At least so many bytes, if there are; they are not taken by this.
    pub(crate) fn at_least(&mut self, count: usize) -> Result<&[u8], Errno> {
        while self.held.len() < count && !self.is_last {
            self.read_on()?;
        }
        Ok(&self.buffer[self.held.clone()])
    }

    /// The first line with its end, and perhaps more, or all there is; it is not taken by this.
    pub(crate) fn first_line(&mut self) -> Result<&[u8], Errno> {
        while !self.is_last && memrchr(b'\n', &self.buffer[self.held.clone()]).is_none() {
            self.read_on()?;
        }
        Ok(&self.buffer[self.held.clone()])
    }

    /// The entries that are held as a whole, with what they peel to: at least one, but at the end, where it is all that
    /// is left. And whether nothing follows them. They are not taken by this.
    pub(crate) fn entries(&mut self) -> Result<(&[u8], bool), Errno> {
        loop {
            let held = &self.buffer[self.held.clone()];
            let count = if self.is_last { held.len() } else { whole_entries(held) };
            if count > 0 || self.is_last {
                let start = self.held.start;
                return Ok((&self.buffer[start..start + count], self.is_last));
            }
            self.read_on()?;
        }
    }

    /// Takes bytes off the front of what is held.
    pub(crate) fn take(&mut self, count: usize) {
        self.held.start += count;
        self.offset += count as u64;
    }

    fn read_on(&mut self) -> Result<(), Errno> {
        let length = self.held.len();
        self.buffer.copy_within(self.held.clone(), 0);
        self.held = 0..length;
        if length == self.buffer.len() {
            self.buffer.resize((length * 2).max(1), 0);
        }
        let at = self.offset + length as u64;
        let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
        let wanted = left.min(self.buffer.len() - length);
        let count = dir::read_at(self.file, &mut self.buffer[length..length + wanted], at)?;
        if at + count as u64 > PACKED_BYTES_MAX {
            return Err(Errno::FBIG);
        }
        self.held.end += count;
        self.is_last = count < wanted || count == left;
        Ok(())
    }
}

/// Bytes of the entries that are whole whatever follows: `^` in the next line belongs to the last one.
fn whole_entries(bytes: &[u8]) -> usize {
    let Some(last) = memrchr(b'\n', bytes) else { return 0 };
    let end = last + 1;
    let line = memrchr(b'\n', &bytes[..last]).map_or(0, |before| before + 1);
    if matches!(bytes.get(end), None | Some(b'^')) && bytes[line] != b'^' { line } else { end }
}

/// Counts the lines that end before an offset of a file.
pub(crate) fn lines_before(file: BorrowedFd<'_>, offset: u64) -> Result<usize, Errno> {
    let mut window = Window::new(file, 0..offset, WINDOW_BYTES);
    let mut lines = 0;
    loop {
        let held = window.at_least(1)?;
        if held.is_empty() {
            return Ok(lines);
        }
        lines += memchr_iter(b'\n', held).count();
        let length = held.len();
        window.take(length);
    }
}
