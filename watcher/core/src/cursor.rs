//! Cursors: opaque, checksummed resume tokens.

use alloc::string::String;

/// Position of an event in the log: the first event has 1, and there are no gaps.
pub type Sequence = u64;

/// Where a subscriber stands: right after the event with this sequence, in the log of this server and epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The server that gave it.
    pub server: u64,
    /// The identity of its log.
    pub epoch: u64,
    /// The last event seen; 0 before the first.
    pub sequence: Sequence,
}

/// Text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// Not 39 characters of unpadded base64url.
    #[error("a cursor is 39 characters of base64url; pass it back unchanged, as a message gave it")]
    Encoding,
    /// A format this version does not know.
    #[error("cursor format {version} is not known here; it was given by a newer refwatch")]
    Version {
        /// The format byte found.
        version: u8,
    },
    /// Changed on the way.
    #[error("the cursor's checksum does not match; it was changed or cut on the way")]
    Checksum,
}

const VERSION: u8 = 1;
const RAW_LEN: usize = 1 + 8 + 8 + 8 + 4;

/// Length of a cursor in characters.
pub const CURSOR_LEN: usize = 39;

impl Cursor {
    /// The token: 39 characters of unpadded base64url.
    pub fn encode(&self) -> String {
        let mut raw = [0; RAW_LEN];
        raw[0] = VERSION;
        raw[1..9].copy_from_slice(&self.server.to_be_bytes());
        raw[9..17].copy_from_slice(&self.epoch.to_be_bytes());
        raw[17..25].copy_from_slice(&self.sequence.to_be_bytes());
        let checksum = crc32fast::hash(&raw[..25]);
        raw[25..].copy_from_slice(&checksum.to_be_bytes());
        data_encoding::BASE64URL_NOPAD.encode(&raw)
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`CursorError`] for anything that [`Cursor::encode`] did not make.
    pub fn decode(token: &str) -> Result<Self, CursorError> {
        if token.len() != CURSOR_LEN {
            return Err(CursorError::Encoding);
        }
        let raw = data_encoding::BASE64URL_NOPAD
            .decode(token.as_bytes())
            .ok()
            .and_then(|raw| <[u8; RAW_LEN]>::try_from(raw).ok())
            .ok_or(CursorError::Encoding)?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&raw[at..at + 8]);
            u64::from_be_bytes(bytes)
        };
        if crc32fast::hash(&raw[..25]).to_be_bytes() != raw[25..] {
            return Err(CursorError::Checksum);
        }
        if raw[0] != VERSION {
            return Err(CursorError::Version { version: raw[0] });
        }
        Ok(Self { server: number(1), epoch: number(9), sequence: number(17) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURSOR: Cursor = Cursor { server: 0x0123_4567_89ab_cdef, epoch: u64::MAX, sequence: 42 };

    #[test]
    fn round_trips() {
        assert_eq!(CURSOR.encode().len(), CURSOR_LEN);
        assert_eq!(Cursor::decode(&CURSOR.encode()), Ok(CURSOR));
    }

    #[test]
    fn every_changed_character_is_noticed() {
        let token = CURSOR.encode();
        for at in 0..token.len() {
            for with in ['A', 'b', '7', '-', '=', '\u{7f}'] {
                let mut changed = String::new();
                changed.push_str(&token[..at]);
                changed.push(with);
                changed.push_str(&token[at + 1..]);
                assert!(changed == token || Cursor::decode(&changed).is_err(), "{changed}");
            }
        }
        assert_eq!(Cursor::decode(""), Err(CursorError::Encoding));
        assert_eq!(Cursor::decode(&token[1..]), Err(CursorError::Encoding));
    }
}
