//! Finds what changed in a `packed-refs` that was replaced, from a little that is kept of the one before.
//!
//! The file is sorted, so names cut it into parts wherever the bytes are: of each part the last name is kept, and a number
//! that stands for its content. In the file that came, the same names cut the same parts. A part whose number is the
//! same is not looked at; what came or went in front of it moves nothing.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use refwatch_core::ObjectFormat;

use super::{Bad, Records, header_is_sorted, line_end};

/// Bytes of a part, about: some hundred refs.
const PART_BYTES: usize = 64 << 10;
/// A part that has grown to this many bytes is cut anew.
const PART_BYTES_MAX: usize = 4 * PART_BYTES;
/// Files below this size, in bytes, are read as a whole.
pub const PARTS_BYTES_MIN: usize = 1 << 20;

/// What is kept of a `packed-refs`: some 60 bytes for each 64 KiB.
#[derive(Clone, Debug, Default)]
pub struct Parts(Vec<Part>);

/// A part of a file: the refs up to a name, from that of the part before.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    /// Its last name; that of the last part is no limit.
    last: Box<[u8]>,
    content: u64,
}

/// Refs of which some changed: those whose names are after `after` and up to `last`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Changed<'a> {
    pub(crate) after: Box<[u8]>,
    /// `None` for all that follow.
    pub(crate) last: Option<Box<[u8]>>,
    /// The lines there are now.
    pub(crate) lines: &'a [u8],
}

impl Parts {
    /// What is to be kept of a file that was read and is sorted; `None` for one that is short, or does not say so.
    pub(crate) fn of(bytes: &[u8], format: ObjectFormat) -> Option<Self> {
        if bytes.len() < PARTS_BYTES_MIN {
            return None;
        }
        let mut parts = Vec::with_capacity(bytes.len() / PART_BYTES + 1);
        cut(bytes, after_header(bytes)?, format, &mut parts)?;
        Some(Self(parts))
    }

    /// Compares with the file that came: what is to be kept of it, and where it differs. `None` when it is to be read
    /// as a whole.
    pub(crate) fn compare<'a>(
        &self,
        bytes: &'a [u8],
        format: ObjectFormat,
    ) -> Option<(Self, Vec<Changed<'a>>)> {
        if bytes.len() < PARTS_BYTES_MIN {
            return None;
        }
        let mut start = after_header(bytes)?;
        let (mut parts, mut changed) = (Vec::with_capacity(self.0.len()), Vec::new());
        let mut after: &[u8] = b"";
        for (index, part) in self.0.iter().enumerate() {
            let is_end = index + 1 == self.0.len();
            let end = if is_end { bytes.len() } else { end_of(bytes, start, &part.last, format)? };
            let lines = &bytes[start..end];
            if content(lines) == part.content {
                parts.push(part.clone());
            } else {
                let last = (!is_end).then(|| part.last.clone());
                changed.push(Changed { after: after.into(), last, lines });
                if lines.len() > PART_BYTES_MAX || is_end {
                    let first = parts.len();
                    cut(&bytes[..end], start, format, &mut parts)?;
                    if let (false, Some(cut)) = (is_end, parts[first..].last_mut()) {
                        // The name of old, which may be gone, still is where the next one begins.
                        cut.last.clone_from(&part.last);
                    }
                } else {
                    parts.push(Part { last: part.last.clone(), content: content(lines) });
                }
            }
            (start, after) = (end, &part.last);
        }
        Some((Self(parts), changed))
    }
}

/// The entries of changed lines, which must be in order and belong there.
///
/// # Errors
/// [`Bad`] for lines that Git refuses, or that are not in order: the offset is that in the part.
pub(crate) fn entries<'a>(
    changed: &Changed<'a>,
    format: ObjectFormat,
) -> Result<Vec<super::Record<'a>>, Bad> {
    let mut records = Records::of_lines(changed.lines, 0, format);
    let (mut entries, mut before) = (Vec::new(), &*changed.after);
    loop {
        let offset = records.offset;
        let Some(record) = records.next()? else { return Ok(entries) };
        if record.name <= before || changed.last.as_deref().is_some_and(|last| record.name > last) {
            return Err(Bad { offset, reason: "not in order" });
        }
        before = record.name;
        entries.push(record);
    }
}

/// Where the lines begin, in a file that says that it is sorted.
fn after_header(bytes: &[u8]) -> Option<usize> {
    let end = line_end(bytes, 0)? + 1;
    (header_is_sorted(&bytes[..end]) == Some(true)).then_some(end)
}

/// Cuts what follows `start` into parts.
fn cut(bytes: &[u8], mut start: usize, format: ObjectFormat, parts: &mut Vec<Part>) -> Option<()> {
    while start < bytes.len() {
        let mut end = bytes.len();
        let mut last: &[u8] = b"";
        if let Some(line) =
            bytes.get(start + PART_BYTES..).and_then(|_| line_at(bytes, start + PART_BYTES, start))
        {
            (last, end) = entry(bytes, line, format)?;
        }
        parts.push(Part { last: last.into(), content: content(&bytes[start..end]) });
        start = end;
    }
    // The last one has no limit; so what is cut in the midst gets one from who cuts.
    if parts.last().is_none_or(|part| !part.last.is_empty()) {
        parts.push(Part { last: b"".as_slice().into(), content: content(b"") });
    }
    Some(())
}

/// The start of the entry that a byte is in, not before `low`.
fn line_at(bytes: &[u8], at: usize, low: usize) -> Option<usize> {
    let start_of = |at: usize| {
        let line = bytes[low..at].iter().rposition(|byte| *byte == b'\n');
        line.map_or(low, |end| low + end + 1)
    };
    let line = start_of(at);
    // What a tag peels to belongs to the line before.
    let line = if bytes[line] == b'^' && line > low { start_of(line - 1) } else { line };
    (bytes[line] != b'^').then_some(line)
}

/// The name of the entry that starts at a line, and where the next entry starts.
fn entry(bytes: &[u8], line: usize, format: ObjectFormat) -> Option<(&[u8], usize)> {
    let name = line + format.hex_len() + 1;
    let end = line_end(bytes, name)?;
    let mut next = end + 1;
    if bytes.get(next) == Some(&b'^') {
        next = line_end(bytes, next)? + 1;
    }
    Some((&bytes[name..end], next))
}

/// Where the first entry after `last` starts, from `start` on.
fn end_of(bytes: &[u8], start: usize, last: &[u8], format: ObjectFormat) -> Option<usize> {
    let (mut low, mut high) = (start, bytes.len());
    while low < high {
        let line = line_at(bytes, low + (high - low) / 2, low)?;
        let (name, next) = entry(bytes, line, format)?;
        if name <= last {
            low = next;
        } else {
            high = line;
        }
    }
    Some(low)
}

/// A number that stands for some bytes, by a key that changes with each run: whoever writes the file cannot know two
/// contents with the same one. Four independent lanes, since the file is read at the speed of memory.
fn content(bytes: &[u8]) -> u64 {
    static KEYS: LazyLock<[u64; 8]> = LazyLock::new(|| {
        let random = RandomState::new();
        std::array::from_fn(|index| random.hash_one(index) | 1)
    });
    let fold = |left: u64, right: u64| {
        let product = u128::from(left) * u128::from(right);
        let [high, low] = [product >> 64, product & u128::from(u64::MAX)];
        u64::try_from(high ^ low).expect("64 bits")
    };
    let keys = &*KEYS;
    let mut lanes = [keys[0], keys[1], keys[2], keys[3]];
    let (blocks, rest) = bytes.as_chunks::<32>();
    let mut add = |block: &[u8; 32]| {
        let (words, _) = block.as_chunks::<8>();
        for (lane, (word, key)) in lanes.iter_mut().zip(words.iter().zip(&keys[4..])) {
            // Added and not only multiplied: a word that makes the product vanish does not forget those before.
            *lane = fold(*lane ^ u64::from_le_bytes(*word), *key).wrapping_add(lane.rotate_left(29));
        }
    };
    blocks.iter().for_each(&mut add);
    let mut last = [0; 32];
    last[..rest.len()].copy_from_slice(rest);
    add(&last);
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    lanes.into_iter().fold(fold(length ^ keys[4], keys[5]), |sum, lane| fold(sum ^ lane, keys[6]) ^ lane)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const FORMAT: ObjectFormat = ObjectFormat::Sha1;

    fn file(refs: &BTreeMap<String, u32>) -> Vec<u8> {
        let mut text = String::from("# pack-refs with: peeled fully-peeled sorted \n");
        for (name, id) in refs {
            text += &format!("{id:040x} {name}\n");
            if id % 5 == 0 {
                text += &format!("^{id:040x}\n");
            }
        }
        text.into_bytes()
    }

    fn many(count: u32) -> BTreeMap<String, u32> {
        (1..=count).map(|at| (format!("refs/heads/b{at:06}"), at)).collect()
    }

    /// The names and ids of the parts that differ, checked to be complete: outside of them nothing changed.
    fn differs(
        parts: &Parts,
        before: &BTreeMap<String, u32>,
        after: &BTreeMap<String, u32>,
    ) -> (Parts, usize) {
        let bytes = file(after);
        let (next, changed) = parts.compare(&bytes, FORMAT).expect("comparable");
        let is_in = |name: &str| {
            changed.iter().any(|changed| {
                *changed.after < *name.as_bytes()
                    && changed.last.as_deref().is_none_or(|last| name.as_bytes() <= last)
            })
        };
        for name in before.keys().chain(after.keys()) {
            assert!(is_in(name) || before.get(name) == after.get(name), "{name} changed unseen");
        }
        let mut entries = 0;
        for changed in &changed {
            for record in super::entries(changed, FORMAT).expect("sound") {
                let name = std::str::from_utf8(record.name).expect("text");
                assert!(after.contains_key(name) && is_in(name));
                entries += 1;
            }
        }
        let there = after.keys().filter(|name| is_in(name)).count();
        assert_eq!(entries, there, "each entry of a part that differs");
        (next, entries)
    }

    /// Whoever writes the file may know this program, and not the key.
    #[test]
    fn the_number_of_a_part_is_another_in_each_process() {
        const ASKED: &str = "REFWATCH_TEST_NUMBER";
        let own = format!("number {:016x}", content(b"the same bytes"));
        if std::env::var_os(ASKED).is_some() {
            println!("{own}");
            return;
        }
        let (_, module) = module_path!().split_once("::").expect("in a crate");
        let mut again = std::process::Command::new(std::env::current_exe().expect("a program"));
        again
            .args(["--exact", "--nocapture"])
            .arg(format!("{module}::the_number_of_a_part_is_another_in_each_process"));
        let output = again.env(ASKED, "1").output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("number ") && !said.contains(&own), "{said}");
    }

    #[test]
    fn one_change_differs_in_one_part_wherever_it_is() {
        let before = many(40_000);
        let parts = Parts::of(&file(&before), FORMAT).expect("long enough");
        assert!(parts.0.len() > 30, "{} parts", parts.0.len());
        for (name, id) in [
            ("refs/heads/b000001", Some(7)),
            ("refs/heads/b020000", Some(7)),
            ("refs/heads/b040000", Some(7)),
            ("refs/heads/a", Some(7)),
            ("refs/heads/b020000x", Some(5)),
            ("refs/tags/z", Some(10)),
            ("refs/heads/b000001", None),
            ("refs/heads/b040000", None),
        ] {
            let mut after = before.clone();
            match id {
                Some(id) => after.insert(name.to_owned(), id),
                None => after.remove(name),
            };
            let (_, entries) = differs(&parts, &before, &after);
            assert!(entries > 0 && entries < 2_500, "{name}: {entries} entries to compare");
        }
        let (_, entries) = differs(&parts, &before, &before);
        assert_eq!(entries, 0);
    }

    #[test]
    fn changes_upon_changes_are_found_also_where_names_go_that_parts_end_with() {
        let mut refs = many(20_000);
        let mut parts = Parts::of(&file(&refs), FORMAT).expect("long enough");
        let mut seed = 0x2545_f491_u32;
        let mut random = |bound: u32| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 8) % bound
        };
        for round in 0..15 {
            let before = refs.clone();
            // Many at one place, so that parts grow and are cut, vanish and come again.
            let place = random(20_000);
            for _ in 0..1 + random(4) * random(3_000) {
                let at = place + random(3_000);
                if round % 3 == 0 {
                    refs.remove(&format!("refs/heads/b{at:06}"));
                } else {
                    refs.insert(format!("refs/heads/b{at:06}{}", random(3)), random(1_000) + 1);
                }
            }
            (parts, _) = differs(&parts, &before, &refs);
            assert_eq!(parts.0.iter().filter(|part| part.last.is_empty()).count(), 1, "the end is the last");
        }
    }

    #[test]
    fn what_says_nothing_of_its_order_or_is_short_is_read_as_a_whole() {
        let refs = many(40_000);
        let parts = Parts::of(&file(&refs), FORMAT).expect("long enough");
        assert!(Parts::of(&file(&many(10)), FORMAT).is_none());
        assert!(parts.compare(&file(&many(10)), FORMAT).is_none());
        let unsorted = file(&refs).split_off(1).into_iter().skip_while(|byte| *byte != b'\n').skip(1);
        assert!(Parts::of(&unsorted.collect::<Vec<_>>(), FORMAT).is_none());
        // One that only says so does not slip through.
        let mut lying = file(&refs);
        let (at, length) = (lying.len() / 2, 60);
        let line = line_at(&lying, at, 0).expect("a line");
        lying[line + 41..line + length].copy_from_slice(b"refs/heads/a000000.");
        if let Some((_, changed)) = parts.compare(&lying, FORMAT) {
            assert!(changed.iter().any(|changed| entries(changed, FORMAT).is_err()));
        }
    }
}
