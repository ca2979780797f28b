//! Reads the records of one block (Git's `Documentation/technical/reftable.adoc`, "Ref block format", "Index block
//! format"): keys share their start with the key before, but at restart points, which stand at the block's end.

use super::table::Bad;

/// Longest key, in bytes: a ref name, which is shorter since it is a path, and the few bytes that a log adds.
pub(crate) const KEY_BYTES_MAX: usize = 1 << 16;

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

/// The records of one block, inflated where it is a log block.
#[derive(Debug, Default)]
pub(crate) struct Block {
    /// From the block's start, as restart points count; in the first block of a table that is the table's start.
    pub(crate) bytes: Vec<u8>,
    /// Where the block starts in the table.
    pub(crate) start: u64,
    /// Where the records are in `bytes`; behind them the restart points and their number.
    records: (usize, usize),
    restarts: usize,
}

impl Block {
    /// Finds the parts of a block whose header ends at `records`.
    ///
    /// # Errors
    /// [`Bad`] for a block that is too short for its restart points.
    pub(crate) fn lay_out(&mut self, records: usize) -> Result<(), Bad> {
        let bad = self.bad(0, "a cut block");
        let Some(count) = self.bytes.len().checked_sub(2).filter(|end| *end >= records) else {
            return Err(bad);
        };
        self.restarts = big_endian(&self.bytes[count..]);
        let end = count.checked_sub(3 * self.restarts).filter(|end| *end >= records).ok_or(bad)?;
        self.records = (records, end);
        Ok(())
    }

    /// Where the first record starts.
    pub(crate) const fn first(&self) -> usize {
        self.records.0
    }

    pub(crate) fn bad(&self, at: usize, reason: &'static str) -> Bad {
        Bad { offset: self.start + at as u64, reason }
    }

    /// Where to begin to look for a key: the last restart point whose key is not after it.
    ///
    /// # Errors
    /// [`Bad`] for a restart point that is none.
    pub(crate) fn seek(&self, key: &[u8]) -> Result<usize, Bad> {
        let (first, end) = self.records;
        let restart = |index: usize| -> Result<(usize, &[u8]), Bad> {
            let place = end + 3 * index;
            let at = big_endian(&self.bytes[place..place + 3]);
            if at < first || at >= end {
                return Err(self.bad(place, "a restart point outside of the block"));
            }
            let mut input = Input { bytes: &self.bytes[..end], position: at };
            match input.key() {
                Some((0, _, key)) => Ok((at, key)),
                Some(_) => Err(self.bad(at, "a restart point in the midst of names")),
                None => Err(self.bad(at, "a cut record")),
            }
        };
        let (mut low, mut high, mut found) = (0, self.restarts, first);
        while low < high {
            let middle = low + (high - low) / 2;
            let (at, there) = restart(middle)?;
            if there <= key {
                (low, found) = (middle + 1, at);
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// Reads the key of the record at `position` into `key`, which holds the key before it, or anything where it is the
    /// first that is read. `None` at the end of the records.
    ///
    /// # Errors
    /// [`Bad`] for a record that is cut, or whose key is not after the one before.
    pub(crate) fn read_key(
        &self,
        position: usize,
        key: &mut Vec<u8>,
        order: Order,
    ) -> Result<Option<Head>, Bad> {
        let (_, end) = self.records;
        if position >= end {
            return Ok(None);
        }
        let mut input = Input { bytes: &self.bytes[..end], position };
        let (prefix, kind, suffix) = input.key().ok_or(self.bad(position, "a cut record"))?;
        if prefix > key.len() || (order == Order::First && prefix > 0) {
            return Err(self.bad(position, "a name that shares more than there is"));
        }
        if order == Order::Rising && *suffix <= key[prefix..] {
            return Err(self.bad(position, "names out of order"));
        }
        if prefix + suffix.len() > KEY_BYTES_MAX {
            return Err(self.bad(position, "a name that is too long"));
        }
        key.truncate(prefix);
        key.extend_from_slice(suffix);
        Ok(Some(Head { kind, value: input.position }))
    }

    /// What follows the key of a record.
    pub(crate) fn input(&self, position: usize) -> Input<'_> {
        Input { bytes: &self.bytes[..self.records.1], position }
    }
}

/// What is known of the key before a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It comes before this one.
    Rising,
    /// Nothing: the record is the first that is looked at.
    First,
}

/// The start of a record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    /// Three bits that say what the value is.
    pub(crate) kind: u8,
    /// Where the value starts in the block.
    pub(crate) value: usize,
}

/// Bytes that are read from the left.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) position: usize,
}

impl<'a> Input<'a> {
    /// Length of the shared start of the key, kind of value, rest of the key.
    fn key(&mut self) -> Option<(usize, u8, &'a [u8])> {
        let prefix = usize::try_from(self.varint()?).ok()?;
        let suffix = self.varint()?;
        let kind = u8::try_from(suffix & 7).ok()?;
        Some((prefix, kind, self.take(suffix >> 3)?))
    }

    /// The value of a ref and how far its update index is from the table's first; `None` when it is cut, or of a kind
    /// that is not known.
    pub(crate) fn value(&mut self, kind: u8, id_len: usize) -> Option<(u64, Value<'a>)> {
        let index = self.varint()?;
        let id_len = id_len as u64;
        let value = match kind {
            0 => Value::Deleted,
            1 => Value::Direct { id: self.take(id_len)?, peeled: None },
            2 => Value::Direct { id: self.take(id_len)?, peeled: Some(self.take(id_len)?) },
            3 => {
                let length = self.varint()?;
                Value::Symbolic(self.take(length)?)
            }
            _ => return None,
        };
        Some((index, value))
    }

    /// The old and new value of an entry of a log, `Some(None)` where it says that an entry is deleted; `None` when it is cut, or
    /// of a kind that is not known.
    pub(crate) fn log(&mut self, kind: u8, id_len: usize) -> Option<Option<(&'a [u8], &'a [u8])>> {
        if kind == 0 {
            return Some(None);
        }
        let id_len = id_len as u64;
        let values = (self.take(id_len)?, self.take(id_len)?);
        // Name, address, time, offset from UTC, message.
        for _ in 0..2 {
            let length = self.varint()?;
            self.take(length)?;
        }
        self.varint()?;
        self.take(2)?;
        let length = self.varint()?;
        self.take(length)?;
        (kind == 1).then_some(Some(values))
    }

    /// "Varint encoding": seven bits a byte, and one is added for each byte that goes on.
    pub(crate) fn varint(&mut self) -> Option<u64> {
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

    pub(crate) fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let end = self.position.checked_add(usize::try_from(length).ok()?)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }
}

/// A number of at most three bytes.
pub(crate) fn big_endian(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Option<u64> {
        Input { bytes, position: 0 }.varint()
    }

    #[test]
    fn varints_are_those_of_the_format() {
        for (bytes, value) in [
            (&[0][..], 0),
            (&[0x7f], 127),
            (&[0x80, 0], 128),
            (&[0x80, 0x7f], 255),
            (&[0xff, 0x7f], 16_511),
            (&[0x80, 0x80, 0], 16_512),
        ] {
            assert_eq!(varint(bytes), Some(value), "{bytes:?}");
        }
        assert_eq!(varint(&[]), None);
        assert_eq!(varint(&[0x80]), None, "it goes on");
        assert_eq!(varint(&[0xff; 11]), None, "longer than any number");
    }
}
