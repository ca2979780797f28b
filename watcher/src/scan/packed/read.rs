//! Reads all of a `packed-refs`, together with the loose refs.

use std::cmp::Ordering;
use std::os::fd::BorrowedFd;

use refwatch_core::{ObjectFormat, ObjectId, RefName};
use rustix::io::Errno;

use super::parts::{PART_BYTES, PARTS_BYTES_MIN, Part, Parts};
use super::window::{WINDOW_BYTES, Window};
use super::{Bad, Header, PACKED_BYTES_MAX, PackedError, Record, Records, checked_name};
use crate::dir;
use crate::scan::{Observed, Skips};

/// Loose and packed refs together, in order of name. Where a name is both, the loose one counts.
#[derive(Debug, Default)]
pub(crate) struct Merged {
    pub(crate) refs: Vec<(RefName, Observed)>,
    /// What annotated tags peel to: index into `refs`, and the object.
    pub(crate) peeled: Vec<(usize, ObjectId)>,
    /// What is kept of a long file that says that it is sorted, is, and has each name once.
    pub(crate) parts: Option<Parts>,
    /// Bytes that were read.
    pub(crate) bytes: u64,
}

/// Merges the content of a `packed-refs` of `size` bytes into loose refs that are sorted by name.
///
/// A file that is not sorted is sorted first, whatever its header says. Of several entries with one name the last
/// counts: Git takes any of them. Beside the refs a window of the file is held, and all of it only if it is not sorted.
pub(crate) fn merge(
    file: BorrowedFd<'_>,
    size: u64,
    format: ObjectFormat,
    loose: &[(RefName, Observed)],
    skips: &mut Skips,
) -> Result<Merged, PackedError> {
    // One byte more than there should be, so that the end is met by the first reading of a short file.
    let room = usize::try_from(size).map_or(WINDOW_BYTES, |size| WINDOW_BYTES.min(size + 1));
    merge_through(Window::of_file(file, room), size, format, loose, skips)
}

fn merge_through(
    mut window: Window<'_>,
    size: u64,
    format: ObjectFormat,
    loose: &[(RefName, Observed)],
    skips: &mut Skips,
) -> Result<Merged, PackedError> {
    let header = Header::of(window.first_line()?)?;
    window.take(header.length);
    let mut merge = Merge::new(loose);
    match merge.read(&mut window, format) {
        Ok(parts) => {
            let is_kept = header.is_sorted && merge.is_strict && size >= PARTS_BYTES_MIN as u64;
            let parts = is_kept.then(|| Parts::new(parts));
            Ok(Merged { parts, ..merge.finish(window.offset(), skips) })
        }
        Err(Stop::Unsorted) => merge_unsorted(window.file(), size, format, loose, skips),
        Err(Stop::Failed(error)) => Err(error),
    }
}

#[cold]
fn merge_unsorted(
    file: BorrowedFd<'_>,
    size: u64,
    format: ObjectFormat,
    loose: &[(RefName, Observed)],
    skips: &mut Skips,
) -> Result<Merged, PackedError> {
    let bytes = dir::read_whole(file, size, PACKED_BYTES_MAX)?;
    let mut records = Records::of_file(&bytes, format)?;
    let mut sorted = Vec::new();
    loop {
        let offset = records.offset as u64;
        let Some(record) = records.next()? else { break };
        sorted.push((offset, record));
    }
    sorted.sort_by(|left, right| left.1.name.cmp(right.1.name));
    let mut merge = Merge::new(loose);
    let mut before: &[u8] = b"";
    for (offset, record) in &sorted {
        let order = record.name.cmp(before);
        merge.push(record, order).map_err(|reason| Bad { offset: *offset, reason })?;
        before = record.name;
    }
    Ok(merge.finish(bytes.len() as u64, skips))
}

/// Why a file could not be merged entry by entry.
enum Stop {
    /// A name that comes before the one before it.
    Unsorted,
    Failed(PackedError),
}

impl From<Errno> for Stop {
    fn from(error: Errno) -> Self {
        Self::Failed(error.into())
    }
}

impl From<Bad> for Stop {
    fn from(bad: Bad) -> Self {
        Self::Failed(bad.into())
    }
}

struct Merge<'a> {
    refs: Vec<(RefName, Observed)>,
    peeled: Vec<(usize, ObjectId)>,
    skips: Skips,
    /// Each name came after the one before.
    is_strict: bool,
    /// Those that are not merged yet.
    loose: &'a [(RefName, Observed)],
}

impl<'a> Merge<'a> {
    fn new(loose: &'a [(RefName, Observed)]) -> Self {
        Self { refs: Vec::new(), peeled: Vec::new(), skips: Skips::default(), is_strict: true, loose }
    }

    /// Takes all entries, and cuts their lines into parts while they are in the processor's cache.
    fn read(&mut self, window: &mut Window<'_>, format: ObjectFormat) -> Result<Vec<Part>, Stop> {
        let mut parts = Vec::new();
        let mut last = Vec::new();
        loop {
            let base = window.offset();
            let (lines, _) = window.entries()?;
            if lines.is_empty() {
                return Ok(parts);
            }
            let mut records = Records::of_lines(lines, 0, format);
            let (mut before, mut start) = (&*last, 0);
            loop {
                let offset = base + records.offset as u64;
                let next = records.next().map_err(|bad| Bad { offset: base + bad.offset, ..bad })?;
                let Some(record) = next else { break };
                let order = record.name.cmp(before);
                if order.is_lt() {
                    return Err(Stop::Unsorted);
                }
                self.push(&record, order).map_err(|reason| Bad { offset, reason })?;
                before = record.name;
                if records.offset - start >= PART_BYTES || records.offset == lines.len() {
                    parts.push(Part::of(&lines[start..records.offset], before));
                    start = records.offset;
                }
            }
            last = before.to_vec();
            let length = lines.len();
            window.take(length);
        }
    }

    /// Takes the next entry in order of name; `order` is how its name compares with that of the one before it.
    fn push(&mut self, record: &Record<'_>, order: Ordering) -> Result<(), &'static str> {
        self.is_strict &= order.is_gt();
        while let Some((entry, rest)) = self.loose.split_first() {
            match entry.0.as_bytes().cmp(record.name) {
                Ordering::Less => self.refs.push(entry.clone()),
                Ordering::Equal => return Ok(()),
                Ordering::Greater => break,
            }
            self.loose = rest;
        }
        if order.is_eq() && self.refs.pop_if(|entry| entry.0.as_bytes() == record.name).is_some() {
            self.peeled.pop_if(|(index, _)| *index == self.refs.len());
        }
        if let Some(name) = checked_name(record.name, &mut self.skips)? {
            if let Some(id) = record.peeled {
                self.peeled.push((self.refs.len(), id));
            }
            self.refs.push((name, record.observed()));
        }
        Ok(())
    }

    fn finish(mut self, bytes: u64, skips: &mut Skips) -> Merged {
        self.refs.extend_from_slice(self.loose);
        skips.append(self.skips);
        Merged { refs: self.refs, peeled: self.peeled, parts: None, bytes }
    }
}

#[cfg(test)]
mod tests;
