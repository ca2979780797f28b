//! Finds one name in `packed-refs` by reading a few windows of it, however long it is.

use std::os::fd::OwnedFd;

use refwatch_core::{ObjectFormat, RefName};

use super::{Bad, PACKED_BYTES_MAX, PackedError, Records, header_is_sorted, line_end};
use crate::dir;
use crate::scan::Observed;

/// Bytes read at a time. Half of it holds the longest line there can be: an id and a name of 4096 bytes.
const WINDOW: usize = 16 << 10;

/// Bytes of the start of the file in which the header line ends.
const HEADER_BYTES_MAX: usize = 256;

/// Finds the entry of a name in an open `packed-refs` of `size` bytes.
///
/// A file whose header says that it is sorted is searched; any other, and one with a damaged line in the way, is read
/// from the start, so that the damage is found and named.
pub(crate) fn find(
    file: &OwnedFd,
    size: u64,
    name: &RefName,
    format: ObjectFormat,
) -> Result<Option<Observed>, PackedError> {
    let mut head = [0; HEADER_BYTES_MAX];
    let count = dir::read_at(file, &mut head, 0)?;
    let head = &head[..count];
    let header = head.iter().position(|byte| *byte == b'\n').map(|end| &head[..=end]);
    if let Some(header) = header
        && header_is_sorted(header) == Some(true)
        && let Ok(found) = bisect(file, header.len() as u64, size, name, format)
    {
        return Ok(found);
    }
    let bytes = dir::read_whole(file, size, PACKED_BYTES_MAX)?;
    let mut records = Records::of_file(&bytes, format)?;
    let mut found = None;
    while let Some(record) = records.next()? {
        if record.name == name.as_bytes() {
            found = Some(record.observed());
        }
    }
    Ok(found)
}

/// Nothing of this reaches a caller: the file is read from the start instead.
const DAMAGED: PackedError = PackedError::Bad(Bad { offset: 0, reason: "not in order" });

/// Searches the lines from byte `low` to byte `high`.
fn bisect(
    file: &OwnedFd,
    mut low: u64,
    mut high: u64,
    name: &RefName,
    format: ObjectFormat,
) -> Result<Option<Observed>, PackedError> {
    let mut window = [0; WINDOW];
    loop {
        let width = high.checked_sub(low).ok_or(DAMAGED)?;
        if width <= WINDOW as u64 {
            let lines = read_exactly(file, &mut window, low, width)?;
            return scan(lines, name, format).map_err(PackedError::Bad);
        }
        let from = low + (width - WINDOW as u64) / 2;
        let lines = read_exactly(file, &mut window, from, WINDOW as u64)?;
        let (start, end) = first_record(lines, from == low).ok_or(DAMAGED)?;
        let record = Records::of_lines(&lines[..end], start, format).next()?.ok_or(DAMAGED)?;
        let start = from + start as u64;
        // An equal name stays in the upper part: of several entries the last counts, as when all are read. Either
        // way what is left gets smaller, so this ends.
        if name.as_bytes() < record.name {
            high = start;
        } else if low < start {
            low = start;
        } else {
            return Err(DAMAGED);
        }
    }
}

/// The last entry of that name.
fn scan(lines: &[u8], name: &RefName, format: ObjectFormat) -> Result<Option<Observed>, Bad> {
    let mut records = Records::of_lines(lines, 0, format);
    let mut found = None;
    while let Some(record) = records.next()? {
        if record.name > name.as_bytes() {
            break;
        }
        if record.name == name.as_bytes() {
            found = Some(record.observed());
        }
    }
    Ok(found)
}

/// The first whole entry of a window, without what it peels to: its start and end.
fn first_record(window: &[u8], at_line_start: bool) -> Option<(usize, usize)> {
    let next = |from| line_end(window, from).map(|end| end + 1);
    let mut start = if at_line_start { 0 } else { next(0)? };
    if window.get(start) == Some(&b'^') {
        start = next(start)?;
    }
    Some((start, next(start)?))
}

fn read_exactly<'a>(
    file: &OwnedFd,
    window: &'a mut [u8; WINDOW],
    offset: u64,
    width: u64,
) -> Result<&'a [u8], PackedError> {
    let wanted = usize::try_from(width).unwrap_or(WINDOW).min(WINDOW);
    let count = dir::read_at(file, &mut window[..wanted], offset)?;
    if count == wanted {
        Ok(&window[..count])
    } else {
        Err(PackedError::Bad(Bad { offset: 0, reason: "the file was cut while it was read" }))
    }
}
