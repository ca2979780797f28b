//! Reads `packed-refs` (gitrepository-layout(5); the format is written down at the top of Git's
//! `refs/packed-backend.c`): an optional header line, then `<id> <name>` lines, each of which may be followed by
//! `^<id>`, the object that an annotated tag peels to.

pub(crate) mod parts;
pub(crate) mod search;

use std::cmp::Ordering;

use refwatch_core::{InvalidName, ObjectFormat, ObjectId, RefName, Target};

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
    pub(crate) offset: usize,
    pub(crate) reason: &'static str,
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
        let mut offset = 0;
        if bytes.first() == Some(&b'#') {
            offset = 1 + line_end(bytes, 0).ok_or(UNTERMINATED.at(0))?;
            header_is_sorted(&bytes[..offset]).ok_or(Bad { offset: 0, reason: "an unknown header" })?;
        }
        Ok(Self { bytes, offset, format })
    }

    /// The entries from `offset` on, which is the start of a line.
    pub(crate) const fn of_lines(bytes: &'a [u8], offset: usize, format: ObjectFormat) -> Self {
        Self { bytes, offset, format }
    }

    /// The next entry.
    pub(crate) fn next(&mut self) -> Result<Option<Record<'a>>, Bad> {
        if self.offset == self.bytes.len() {
            return Ok(None);
        }
        let start = self.offset;
        let hex = self.format.hex_len();
        let bad = |reason| Bad { offset: start, reason };
        let id = self.bytes.get(start..start + hex).ok_or(bad("a line that is too short"))?;
        if !matches!(self.bytes.get(start + hex), Some(b' ' | b'\t' | b'\r')) {
            return Err(bad("no object id of this repository's length, then a space"));
        }
        let end = line_end(self.bytes, start + hex).ok_or(UNTERMINATED.at(start))?;
        let name = &self.bytes[start + hex + 1..end];
        let id = match object_id(id, self.format) {
            Ok(id) => Ok(id),
            Err(BrokenReason::ZeroId) => Err(BrokenReason::ZeroId),
            Err(_) => return Err(bad("not an object id")),
        };
        self.offset = end + 1;
        let mut peeled = None;
        if self.bytes.get(self.offset) == Some(&b'^') {
            let line = self.offset;
            let bad = Bad { offset: line, reason: "not an object id after '^'" };
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

const UNTERMINATED: Unterminated = Unterminated;

struct Unterminated;

impl Unterminated {
    const fn at(&self, offset: usize) -> Bad {
        Bad { offset, reason: "a line without its end: the file was cut" }
    }
}

/// What a header line says about the order of the file, `None` when it is no header.
pub(crate) fn header_is_sorted(line: &[u8]) -> Option<bool> {
    let traits = line.strip_prefix(HEADER)?.trim_ascii();
    Some(traits.split(|byte| *byte == b' ').any(|word| word == b"sorted"))
}

fn line_end(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|byte| *byte == b'\n').map(|length| from + length)
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

/// Loose and packed refs together, in order of name. Where a name is both, the loose one counts.
#[derive(Default)]
pub(crate) struct Merged {
    pub(crate) refs: Vec<(RefName, Observed)>,
    /// What annotated tags peel to: index into `refs`, and the object.
    pub(crate) peeled: Vec<(usize, ObjectId)>,
    /// The file is sorted, and has each name once.
    pub(crate) is_sorted: bool,
}

/// Merges the content of `packed-refs` into loose refs that are sorted by name.
///
/// A file that is not sorted is sorted first, whatever its header says. Of several entries with one name the last
/// counts: Git takes any of them.
pub(crate) fn merge(
    bytes: &[u8],
    format: ObjectFormat,
    loose: &[(RefName, Observed)],
    skips: &mut Skips,
) -> Result<Merged, Bad> {
    let mut merge = Merge { merged: Merged { is_sorted: true, ..Merged::default() }, loose };
    let mut records = Records::of_file(bytes, format)?;
    let mut before: &[u8] = b"";
    loop {
        let offset = records.offset;
        let Some(record) = records.next()? else {
            break;
        };
        if record.name < before {
            return merge_unsorted(bytes, format, loose, skips);
        }
        merge.merged.is_sorted &= record.name > before;
        merge.push(&record, before, skips).map_err(|reason| Bad { offset, reason })?;
        before = record.name;
    }
    Ok(merge.finish())
}

#[cold]
fn merge_unsorted(
    bytes: &[u8],
    format: ObjectFormat,
    loose: &[(RefName, Observed)],
    skips: &mut Skips,
) -> Result<Merged, Bad> {
    let mut records = Records::of_file(bytes, format)?;
    let mut sorted = Vec::new();
    loop {
        let offset = records.offset;
        let Some(record) = records.next()? else {
            break;
        };
        sorted.push((offset, record));
    }
    sorted.sort_by(|left, right| left.1.name.cmp(right.1.name));
    let mut merge = Merge { merged: Merged::default(), loose };
    let mut before: &[u8] = b"";
    for (offset, record) in &sorted {
        merge.push(record, before, skips).map_err(|reason| Bad { offset: *offset, reason })?;
        before = record.name;
    }
    Ok(merge.finish())
}

struct Merge<'a> {
    merged: Merged,
    /// Those that are not merged yet.
    loose: &'a [(RefName, Observed)],
}

impl Merge<'_> {
    /// Takes the next entry in order of name; `before` is the name of the one before it.
    fn push(&mut self, record: &Record<'_>, before: &[u8], skips: &mut Skips) -> Result<(), &'static str> {
        let Merged { refs, peeled, is_sorted: _ } = &mut self.merged;
        while let Some((entry, rest)) = self.loose.split_first() {
            match entry.0.as_bytes().cmp(record.name) {
                Ordering::Less => refs.push(entry.clone()),
                Ordering::Equal => return Ok(()),
                Ordering::Greater => break,
            }
            self.loose = rest;
        }
        if record.name == before && refs.last().is_some_and(|entry| entry.0.as_bytes() == before) {
            refs.pop();
            peeled.pop_if(|(index, _)| *index == refs.len());
        }
        if let Some(name) = checked_name(record.name, skips)? {
            if let Some(id) = record.peeled {
                peeled.push((refs.len(), id));
            }
            refs.push((name, record.observed()));
        }
        Ok(())
    }

    fn finish(mut self) -> Merged {
        self.merged.refs.extend_from_slice(self.loose);
        self.merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    const ZERO: &str = ObjectFormat::Sha1.zero_hex();

    fn merged(text: &str, loose: &[(RefName, Observed)]) -> Result<(Merged, Skips), Bad> {
        let mut skips = Skips::default();
        merge(text.as_bytes(), ObjectFormat::Sha1, loose, &mut skips).map(|merged| (merged, skips))
    }

    fn entry(name: &str, hex: &str) -> (RefName, Observed) {
        let id = ObjectId::from_hex(hex.as_bytes()).expect("valid");
        (RefName::new(name.as_bytes()).expect("valid"), Observed::Good(Target::Direct(id)))
    }

    #[test]
    fn every_header_and_none_is_read() {
        let lines = format!("{A} refs/heads/a\n{A} refs/tags/t\n^{B}\n");
        for header in ["", "# pack-refs with: \n", "# pack-refs with: peeled fully-peeled sorted \n"] {
            let (merged, skips) = merged(&format!("{header}{lines}"), &[]).expect("valid");
            assert_eq!(merged.refs, [entry("refs/heads/a", A), entry("refs/tags/t", A)]);
            assert_eq!(merged.peeled, [(1, ObjectId::from_hex(B.as_bytes()).expect("valid"))]);
            assert!(skips.0.is_empty());
        }
    }

    #[test]
    fn loose_refs_win_and_keep_their_place() {
        let text = format!("{A} refs/heads/b\n^{A}\n{A} refs/heads/d\n^{B}\n");
        let loose =
            ["refs/heads/a", "refs/heads/b", "refs/heads/c", "refs/heads/e"].map(|name| entry(name, B));
        let (merged, _) = merged(&text, &loose).expect("valid");
        let [a, b, c, e] = loose;
        assert_eq!(merged.refs, [a, b, c, entry("refs/heads/d", A), e]);
        assert_eq!(merged.peeled.len(), 1);
        assert_eq!(merged.peeled[0].0, 3);
    }

    #[test]
    fn an_unsorted_file_is_sorted_and_the_last_of_equals_counts() {
        let header = "# pack-refs with: peeled fully-peeled sorted \n";
        let text = format!("{header}{A} refs/heads/b\n^{A}\n{A} refs/heads/a\n{B} refs/heads/b\n");
        let (merged, _) = merged(&text, &[]).expect("valid");
        assert_eq!(merged.refs, [entry("refs/heads/a", A), entry("refs/heads/b", B)]);
        assert!(merged.peeled.is_empty());
    }

    #[test]
    fn bad_names_are_left_out_and_said() {
        let text = format!("{A} FOO\n{A} HEAD\n{A} refs/heads/a..b\n{ZERO} refs/heads/z\n");
        let (merged, skips) = merged(&text, &[]).expect("valid");
        assert_eq!(merged.refs.len(), 1);
        assert_eq!(merged.refs[0].1, Observed::Broken(BrokenReason::ZeroId));
        assert_eq!(skips.0.len(), 3);
    }

    #[test]
    fn what_git_refuses_is_refused_as_a_whole() {
        let good = format!("{A} refs/heads/a\n");
        for bad in [
            format!("{A} refs/heads/c"),
            "\n".to_owned(),
            "# a comment\n".to_owned(),
            format!("{A}  refs/heads/c\n"),
            format!("{A} refs/heads/../../x\n"),
            format!("{A} ../x\n"),
            format!("{A} \n"),
            format!("{A} refs/heads/c\r\n"),
            format!("{} refs/heads/c\n", &A[1..]),
            format!("{}g refs/heads/c\n", &A[1..]),
            "^zz\n".to_owned(),
            format!("^{B}\n^{B}\n"),
            format!("{A}{A} refs/heads/c\n"),
        ] {
            assert!(merged(&format!("{good}{bad}"), &[]).is_err(), "{bad:?}");
        }
        assert_eq!(merged("# other\n", &[]).map(|_| ()), Err(Bad { offset: 0, reason: "an unknown header" }));
    }
}
