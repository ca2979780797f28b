//! Reads the refs of one table (Git's `Documentation/technical/reftable.adoc`, "File format").
//!
//! Only ref blocks are read: they come first, sorted by name, and nothing in them is compressed. Object, log and index
//! blocks serve other questions.

use refwatch_core::ObjectFormat;

/// What is wrong with a table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) offset: usize,
    pub(crate) reason: &'static str,
}

/// What a table says of a ref.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'a> {
    /// It is deleted, whatever older tables say.
    Deleted,
    /// Raw object ids: the ref's, and what it peels to if it is an annotated tag.
    Direct { id: &'a [u8], peeled: Option<&'a [u8]> },
    /// The name of another ref.
    Symbolic(&'a [u8]),
}

/// A table whose header and footer are sound.
pub(crate) struct Table<'a> {
    bytes: &'a [u8],
    header: usize,
    /// Blocks are padded to this size; 0 when they are not.
    block_size: usize,
    /// Where another section or the footer starts.
    refs_end: usize,
    id_len: usize,
}

const MAGIC: &[u8] = b"REFT";
/// Header and footer sizes of version 1 and 2; version 2 adds the name of the hash function to both.
const SIZES: [(usize, usize); 2] = [(24, 68), (28, 72)];

impl<'a> Table<'a> {
    /// Checks header and footer.
    pub(crate) fn open(bytes: &'a [u8], format: ObjectFormat) -> Result<Self, Bad> {
        let bad = |offset, reason| Err(Bad { offset, reason });
        if bytes.len() < SIZES[0].0 + SIZES[0].1 || !bytes.starts_with(MAGIC) {
            return bad(0, "not a table, or a cut one");
        }
        let (header, footer) = match bytes[4] {
            1 => SIZES[0],
            2 => SIZES[1],
            _ => return bad(4, "an unknown version"),
        };
        let found = match (bytes[4], &bytes[24..28]) {
            (1, _) | (_, b"sha1") => ObjectFormat::Sha1,
            (_, b"s256") => ObjectFormat::Sha256,
            _ => return bad(24, "an unknown hash function"),
        };
        if found != format {
            return bad(24, "object ids of another hash function than the repository's");
        }
        let Some(footer_start) = bytes.len().checked_sub(footer).filter(|start| *start >= header) else {
            return bad(0, "a cut table");
        };
        let (checked, sum) = bytes[footer_start..].split_at(footer - 4);
        if crc32fast::hash(checked).to_be_bytes() != sum || checked[..header] != bytes[..header] {
            return bad(footer_start, "the footer does not match its checksum or the header");
        }
        let position = |index: usize| {
            let start = header + index * 8;
            checked[start..start + 8].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte))
        };
        // Ref index, objects (its low five bits are something else), object index, logs, log index.
        let starts = [position(0), position(1) >> 5, position(2), position(3), position(4)];
        let refs_end = starts.into_iter().filter(|start| *start > 0).min();
        let refs_end = refs_end.map_or(footer_start, |end| usize::try_from(end).unwrap_or(usize::MAX));
        if refs_end > footer_start {
            return bad(footer_start, "a section beyond the end");
        }
        let block_size = big_endian(&bytes[5..8]);
        Ok(Self { bytes, header, block_size, refs_end, id_len: format.raw_len() })
    }

    /// Hands out every ref in order of name, until `take` says to stop.
    pub(crate) fn each(&self, take: &mut dyn FnMut(&[u8], Value<'a>) -> Next) -> Result<(), Bad> {
        let mut name = Vec::new();
        let mut position = 0;
        while position < self.refs_end {
            let start = if position == 0 { self.header } else { position };
            match self.bytes[start] {
                b'r' => {}
                // The lower levels of an index; the footer names its top.
                b'i' => return Ok(()),
                // A table of nothing but logs, or of nothing.
                _ if position == 0 => return Ok(()),
                _ => return Err(Bad { offset: start, reason: "not a ref block" }),
            }
            let bad = Bad { offset: start, reason: "a cut block" };
            let length = match self.bytes.get(start + 1..start + 4) {
                Some(length) => big_endian(length),
                None => return Err(bad),
            };
            let end = position + length;
            if end > self.refs_end || end < start + 4 + 2 {
                return Err(bad);
            }
            let restarts = 2 + 3 * big_endian(&self.bytes[end - 2..end]);
            let records_end = end.checked_sub(restarts).filter(|records| *records >= start + 4).ok_or(bad)?;
            if self.each_of_block(start + 4, records_end, &mut name, take)? == Next::Stop {
                return Ok(());
            }
            // Padding is zeroes; a block that starts where this one ends is not aligned.
            let padded = self.bytes.get(end).is_some_and(|byte| *byte == 0);
            position = if padded && length < self.block_size { position + self.block_size } else { end };
        }
        Ok(())
    }

    fn each_of_block(
        &self,
        start: usize,
        end: usize,
        name: &mut Vec<u8>,
        take: &mut dyn FnMut(&[u8], Value<'a>) -> Next,
    ) -> Result<Next, Bad> {
        let mut input = Input { bytes: &self.bytes[..end], position: start };
        let mut before: Vec<u8> = name.clone();
        while input.position < end {
            let bad = Bad { offset: input.position, reason: "a cut record" };
            let (kind, value) = {
                let Some((prefix, kind, suffix)) = input.key() else {
                    return Err(bad);
                };
                if prefix > name.len() {
                    return Err(Bad { reason: "a name that shares more than there is", ..bad });
                }
                name.truncate(prefix);
                name.extend_from_slice(suffix);
                (kind, input.value(kind, self.id_len))
            };
            let Some(value) = value else {
                return Err(if kind > 3 { Bad { reason: "an unknown kind of value", ..bad } } else { bad });
            };
            if *name <= before {
                return Err(Bad { reason: "names out of order", ..bad });
            }
            if take(name, value) == Next::Stop {
                return Ok(Next::Stop);
            }
            before.clone_from(name);
        }
        Ok(Next::More)
    }
}

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    More,
    Stop,
}

struct Input<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Input<'a> {
    /// Length of the shared start of the name, kind of value, rest of the name.
    fn key(&mut self) -> Option<(usize, u64, &'a [u8])> {
        let prefix = usize::try_from(self.varint()?).ok()?;
        let suffix = self.varint()?;
        Some((prefix, suffix & 7, self.take(suffix >> 3)?))
    }

    fn value(&mut self, kind: u64, id_len: usize) -> Option<Value<'a>> {
        let _update_index = self.varint()?;
        match kind {
            0 => Some(Value::Deleted),
            1 => Some(Value::Direct { id: self.take(id_len as u64)?, peeled: None }),
            2 => {
                let id = self.take(id_len as u64)?;
                Some(Value::Direct { id, peeled: Some(self.take(id_len as u64)?) })
            }
            3 => {
                let length = self.varint()?;
                self.take(length).map(Value::Symbolic)
            }
            _ => None,
        }
    }

    /// "Varint encoding": seven bits a byte, and one is added for each byte that goes on.
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        loop {
            let byte = *self.bytes.get(self.position)?;
            self.position += 1;
            value = value.checked_mul(128)?.checked_add(u64::from(byte & 0x7f))?;
            if byte & 0x80 == 0 {
                return Some(value);
            }
            value = value.checked_add(1)?;
        }
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let end = self.position.checked_add(usize::try_from(length).ok()?)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }
}

fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}
