//! Protocol buffers' wire format, as much as an event needs. Defaults are left out, as proto3 has it.
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

const VARINT: u32 = 0;
const BYTES: u32 = 2;

/// Bytes that [`varint`] appends.
pub(super) const fn varint_len(value: u64) -> usize {
    // One byte for each seven bits, and one for zero.
    ((64 - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(super) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// The same in place, in as many bytes as there are.
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(super) fn varint_at(out: &mut [u8], mut value: u64) {
    if let Some((last, rest)) = out.split_last_mut() {
        for byte in rest {
            *byte = value as u8 | 0x80;
            value >>= 7;
        }
        *last = value as u8;
    }
}

/// A scalar field.
pub(super) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        varint(out, u64::from(field << 3 | VARINT));
        varint(out, value);
    }
}

/// A string or bytes field.
pub(super) fn text(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    if !value.is_empty() {
        element(out, field, value);
    }
}

/// An element of a repeated field, or a whole message: also when it is empty.
pub(super) fn element(out: &mut Vec<u8>, field: u32, value: &[u8]) {
    head(out, field, value.len());
    out.extend_from_slice(value);
}

/// What precedes `len` bytes of a string, bytes or message field.
pub(super) fn head(out: &mut Vec<u8>, field: u32, len: usize) {
    varint(out, u64::from(field << 3 | BYTES));
    varint(out, len as u64);
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(out: &mut Vec<u8>, raw: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in raw {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

/// Decimal digits.
pub(super) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(super) fn new(mut value: u64) -> Self {
        let mut digits = [0; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}

#[cfg(test)]
mod tests {
    use super::{Decimal, varint, varint_at, varint_len};

    #[test]
    fn numbers_are_as_long_as_promised() {
        for bits in 0..64 {
            for value in [(1_u64 << bits) - 1, 1 << bits, u64::MAX >> bits] {
                let mut out = Vec::new();
                varint(&mut out, value);
                assert_eq!(out.len(), varint_len(value), "{value}");
                let mut placed = vec![0; out.len()];
                varint_at(&mut placed, value);
                assert_eq!(placed, out);
                assert_eq!(prost::encoding::decode_varint(&mut out.as_slice()), Ok(value));
                assert_eq!(Decimal::new(value).as_bytes(), value.to_string().as_bytes());
            }
        }
    }
}
