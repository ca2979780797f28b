//! Object ids of both of Git's hash functions.

use alloc::string::String;
use core::fmt;

/// The hash function that names a repository's objects (`extensions.objectFormat`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectFormat {
    /// SHA-1: 20 bytes, 40 hex digits.
    Sha1,
    /// SHA-256: 32 bytes, 64 hex digits.
    Sha256,
}

impl ObjectFormat {
    /// Length of a raw object id in bytes.
    pub const fn raw_len(self) -> usize {
        match self {
            ObjectFormat::Sha1 => 20,
            ObjectFormat::Sha256 => 32,
        }
    }

    /// Length of an object id in hex digits.
    pub const fn hex_len(self) -> usize {
        self.raw_len() * 2
    }

    /// The name that `git rev-parse --show-object-format` prints.
    pub const fn as_str(self) -> &'static str {
        match self {
            ObjectFormat::Sha1 => "sha1",
            ObjectFormat::Sha256 => "sha256",
        }
    }

    /// The all-zero id of this format, which Git's hooks print where there is no object.
    pub const fn zero_hex(self) -> &'static str {
        match self {
            ObjectFormat::Sha1 => "0000000000000000000000000000000000000000",
            ObjectFormat::Sha256 => "0000000000000000000000000000000000000000000000000000000000000000",
        }
    }
}

/// The name of an object: never all zeroes, which Git reserves for "no object".
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectId {
    /// 20 raw bytes.
    Sha1([u8; 20]),
    /// 32 raw bytes.
    Sha256([u8; 32]),
}

/// Text or bytes that are not an object id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidObjectId {
    /// Neither 40 nor 64 hex digits (20 or 32 raw bytes).
    #[error("an object id has 40 or 64 hex digits, found {found}")]
    Length {
        /// Number of digits (or bytes) found.
        found: usize,
    },
    /// Not a lower- or upper-case hex digit.
    #[error("not a hex digit at offset {offset}")]
    Digit {
        /// Byte offset of the first bad digit.
        offset: usize,
    },
    /// All zeroes stands for "no object" and is no id.
    #[error("the all-zero id names no object")]
    Zero,
}

impl ObjectId {
    /// Reads 40 or 64 hex digits of either case.
    ///
    /// # Errors
    /// [`InvalidObjectId`] for another length, a byte that is no hex digit, or all zeroes.
    pub fn from_hex(hex: &[u8]) -> Result<Self, InvalidObjectId> {
        let (pairs, _) = hex.as_chunks();
        match hex.len() {
            40 => decode(pairs.first_chunk().expect("20 pairs")).map(ObjectId::Sha1),
            64 => decode(pairs.first_chunk().expect("32 pairs")).map(ObjectId::Sha256),
            found => Err(InvalidObjectId::Length { found }),
        }
    }

    /// Takes 20 or 32 raw bytes.
    ///
    /// # Errors
    /// [`InvalidObjectId`] for another length or all zeroes.
    pub fn from_raw(raw: &[u8]) -> Result<Self, InvalidObjectId> {
        if !raw.is_empty() && raw.iter().all(|byte| *byte == 0) {
            return Err(InvalidObjectId::Zero);
        }
        if let Ok(raw) = <[u8; 20]>::try_from(raw) {
            Ok(ObjectId::Sha1(raw))
        } else if let Ok(raw) = <[u8; 32]>::try_from(raw) {
            Ok(ObjectId::Sha256(raw))
        } else {
            Err(InvalidObjectId::Length { found: raw.len() })
        }
    }

    /// The raw bytes: 20 or 32.
    pub fn as_raw(&self) -> &[u8] {
        match self {
            ObjectId::Sha1(raw) => raw,
            ObjectId::Sha256(raw) => raw,
        }
    }

    /// The hash function this id belongs to.
    pub const fn format(&self) -> ObjectFormat {
        match self {
            ObjectId::Sha1(_) => ObjectFormat::Sha1,
            ObjectId::Sha256(_) => ObjectFormat::Sha256,
        }
    }

    /// Appends 40 or 64 lower-case hex digits.
    pub fn push_hex(&self, out: &mut String) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        for byte in self.as_raw() {
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }

    /// 40 or 64 lower-case hex digits.
    pub fn to_hex(&self) -> String {
        let mut out = String::with_capacity(self.format().hex_len());
        self.push_hex(&mut out);
        out
    }
}

/// Takes all digits before it looks whether they are some: without a branch for each, the compiler takes many at once.
fn decode<const N: usize>(hex: &[[u8; 2]; N]) -> Result<[u8; N], InvalidObjectId> {
    let (mut raw, mut bad) = ([0; N], 0);
    for (byte, pair) in raw.iter_mut().zip(hex) {
        let [(high, bad_high), (low, bad_low)] = pair.map(digit);
        *byte = high << 4 | low;
        bad |= bad_high | bad_low;
    }
    if bad != 0 {
        let offset = hex.as_flattened().iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        return Err(InvalidObjectId::Digit { offset });
    }
    if raw == [0; N] {
        return Err(InvalidObjectId::Zero);
    }
    Ok(raw)
}

/// The value of a digit, and something other than 0 when the byte is none.
const fn digit(byte: u8) -> (u8, u8) {
    let decimal = byte.wrapping_sub(b'0');
    // Sets the bit in which the cases differ.
    let letter = (byte | 0x20).wrapping_sub(b'a');
    if decimal < 10 { (decimal, 0) } else { (letter.wrapping_add(10), (letter > 5) as u8) }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.as_raw() {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_of_both_lengths_round_trips() {
        for hex in ["0123456789abcdef0123456789abcdef01234567".into(), "ab".repeat(32)] as [String; 2] {
            let id = ObjectId::from_hex(hex.as_bytes()).expect("valid");
            assert_eq!(id.to_hex(), hex);
            assert_eq!(std::format!("{id}"), hex);
            assert_eq!(ObjectId::from_raw(id.as_raw()), Ok(id));
        }
    }

    #[test]
    fn zero_short_and_garbage_are_refused() {
        assert_eq!(ObjectId::from_hex(&[b'0'; 40]), Err(InvalidObjectId::Zero));
        assert_eq!(ObjectId::from_hex(b"abc"), Err(InvalidObjectId::Length { found: 3 }));
        assert_eq!(ObjectId::from_raw(&[]), Err(InvalidObjectId::Length { found: 0 }));
        let mut hex = [b'a'; 40];
        hex[7] = b'g';
        hex[9] = b'/';
        assert_eq!(ObjectId::from_hex(&hex), Err(InvalidObjectId::Digit { offset: 7 }));
    }

    #[test]
    fn every_byte_at_every_place_is_the_digit_it_is_or_refused() {
        for length in [40, 64] {
            for offset in 0..length {
                for byte in 0..=u8::MAX {
                    let mut hex = std::vec![b'1'; length];
                    hex[offset] = byte;
                    let read = ObjectId::from_hex(&hex);
                    let Some(value) = char::from(byte).to_digit(16) else {
                        assert_eq!(read, Err(InvalidObjectId::Digit { offset }));
                        continue;
                    };
                    let id = read.expect("a digit");
                    for (index, raw) in id.as_raw().iter().enumerate() {
                        let expected = match offset {
                            _ if index != offset / 2 => 0x11,
                            even if even % 2 == 0 => value << 4 | 1,
                            _ => 0x10 | value,
                        };
                        assert_eq!(u32::from(*raw), expected, "{byte:#x} at {offset}");
                    }
                }
            }
        }
    }
}
