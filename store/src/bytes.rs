//! Small binary values: variable-length integers, names, ids.

use refwatch_core::{ObjectId, RefName, Target};

/// Bytes that were not written by this program, or were damaged since.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Malformed {
    /// They end too early.
    #[error("cut short")]
    Short,
    /// There are more than there should be.
    #[error("{0} bytes too many")]
    Long(usize),
    /// A format of a newer program.
    #[error("format {0} is not known")]
    Version(u8),
    /// The checksum is wrong, or the row is another one's.
    #[error("the checksum does not match")]
    Checksum,
    /// A field has a value that it cannot have.
    #[error("no valid {0}")]
    Field(&'static str),
}

/// Appends an integer, 7 bits a byte, lowest first.
pub(crate) fn push_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.push(low_byte(value));
}

const fn low_byte(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// Appends a length and that many bytes.
pub(crate) fn push_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    push_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What kind of value follows: two bits of the flags.
pub(crate) const fn oid_kind(oid: Option<&ObjectId>) -> u32 {
    match oid {
        None => 0,
        Some(ObjectId::Sha1(_)) => 1,
        Some(ObjectId::Sha256(_)) => 2,
    }
}

/// What kind of value follows: two bits of the flags.
pub(crate) const fn target_kind(target: Option<&Target>) -> u32 {
    match target {
        None => 0,
        Some(Target::Direct(oid)) => oid_kind(Some(oid)),
        Some(Target::Symbolic(_)) => 3,
    }
}

/// Appends a value whose kind stands in the flags.
pub(crate) fn push_target(out: &mut Vec<u8>, target: Option<&Target>) {
    match target {
        None => {}
        Some(Target::Direct(oid)) => out.extend_from_slice(oid.as_raw()),
        Some(Target::Symbolic(name)) => push_bytes(out, name.as_bytes()),
    }
}

/// Takes values from the front of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut<'a>(pub(crate) &'a [u8]);

impl<'a> Cut<'a> {
    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Field("integer"));
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed::Field("integer"))
    }

    pub(crate) fn varint_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed::Field("integer"))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Short)?;
        self.take(length)
    }

    pub(crate) fn text(&mut self) -> Result<String, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| Malformed::Field("text"))
    }

    pub(crate) fn oid(&mut self, kind: u32) -> Result<Option<ObjectId>, Malformed> {
        let raw = match kind {
            0 => return Ok(None),
            1 => self.take(20)?,
            2 => self.take(32)?,
            _ => return Err(Malformed::Field("object id")),
        };
        ObjectId::from_raw(raw).map(Some).map_err(|_| Malformed::Field("object id"))
    }

    pub(crate) fn target(&mut self, kind: u32) -> Result<Option<Target>, Malformed> {
        if kind == 3 {
            return Ok(Some(Target::Symbolic(name(self.bytes()?)?)));
        }
        Ok(self.oid(kind)?.map(Target::Direct))
    }

    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Long(self.0.len())) }
    }
}

/// Takes a ref name.
pub(crate) fn name(bytes: &[u8]) -> Result<RefName, Malformed> {
    RefName::new(bytes).map_err(|_| Malformed::Field("ref name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_round_trip_and_longer_ones_are_refused() {
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            push_varint(&mut out, value);
            let mut cut = Cut(&out);
            assert_eq!(cut.varint(), Ok(value));
            assert_eq!(cut.end(), Ok(()));
            assert_eq!(Cut(&out[..out.len() - 1]).varint(), Err(Malformed::Short));
        }
        assert_eq!(Cut(&[0xff; 11]).varint(), Err(Malformed::Field("integer")));
        assert_eq!(
            Cut(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]).varint(),
            Err(Malformed::Field("integer"))
        );
    }
}
