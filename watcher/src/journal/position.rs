//! A place in a journal, as it is kept over restarts.

use refwatch_core::FsIdentity;

/// Length of a position as bytes, at most.
pub const POSITION_BYTES_MAX: usize = 34;

const VERSION: u8 = 1;

const FILE: u8 = 1;
const BORN: u8 = 1 << 1;
const AMID: u8 = 1 << 2;

/// Where a reader is: which file, and how far into it. Says nothing about names, so that rotation does not move it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// As [`super::files::within_directory`] has it.
    pub(super) file: Option<FsIdentity>,
    /// In bytes.
    pub(super) offset: u64,
    /// What stands here is the rest of something damaged, which was counted already.
    pub(super) is_amid: bool,
}

/// Bytes that are no position of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no position in a journal: begin at the oldest record instead")]
pub struct MalformedPosition;

impl Position {
    /// Before the oldest record there is.
    pub const fn oldest() -> Self {
        Self { file: None, offset: 0, is_amid: false }
    }

    /// The position as bytes, at most [`POSITION_BYTES_MAX`].
    ///
    /// ```text
    /// version, flags; then, if there is a file: 8 bytes that say nothing, inode, birth time (if known) and offset, 8 bytes each
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let Some(file) = self.file else { return vec![VERSION, 0] };
        let born = if file.birth_ns.is_some() { BORN } else { 0 };
        let mut bytes = vec![VERSION, FILE | born | if self.is_amid { AMID } else { 0 }];
        for value in [file.dev, file.ino] {
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        if let Some(birth_ns) = file.birth_ns {
            bytes.extend_from_slice(&birth_ns.to_le_bytes());
        }
        bytes.extend_from_slice(&self.offset.to_le_bytes());
        bytes
    }

    /// Reads what [`Position::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`MalformedPosition`] for all else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, MalformedPosition> {
        let (&[version, flags], rest) = bytes.split_first_chunk::<2>().ok_or(MalformedPosition)?;
        let (words, odd) = rest.as_chunks::<8>();
        let words: Vec<u64> = words.iter().copied().map(u64::from_le_bytes).collect();
        if version != VERSION || !odd.is_empty() || flags & !(FILE | BORN | AMID) != 0 {
            return Err(MalformedPosition);
        }
        let (file, offset) = match (words.as_slice(), flags & (FILE | BORN)) {
            ([], 0) if flags == 0 => return Ok(Self::oldest()),
            (&[_, ino, offset], FILE) => (FsIdentity { dev: 0, ino, birth_ns: None }, offset),
            (&[_, ino, birth, offset], both) if both == FILE | BORN => {
                (FsIdentity { dev: 0, ino, birth_ns: Some(birth.cast_signed()) }, offset)
            }
            _ => return Err(MalformedPosition),
        };
        Ok(Self { file: Some(file), offset, is_amid: flags & AMID != 0 })
    }

    /// This position if it is in that file, else that file's beginning.
    pub(super) fn within(self, file: FsIdentity) -> Self {
        if self.file == Some(file) { self } else { Self { file: Some(file), ..Self::oldest() } }
    }

    /// Behind so many bytes, where a record may begin.
    pub(super) const fn after(self, bytes: usize) -> Self {
        Self { offset: self.offset.saturating_add(bytes as u64), is_amid: false, ..self }
    }

    /// Behind so many bytes of something damaged that goes on.
    pub(super) const fn amid(self, bytes: usize) -> Self {
        Self { is_amid: true, ..self.after(bytes) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_read_as_they_were_written_and_nothing_else_does() {
        let file = |birth_ns| Some(FsIdentity { dev: 0, ino: 7, birth_ns });
        for position in [
            Position::oldest(),
            Position { file: file(None), offset: 0, is_amid: false },
            Position { file: file(Some(-1)), offset: u64::MAX, is_amid: true },
        ] {
            let bytes = position.to_bytes();
            assert!(bytes.len() <= POSITION_BYTES_MAX);
            assert_eq!(Position::from_bytes(&bytes), Ok(position));
            for end in 0..bytes.len() {
                let cut = Position::from_bytes(&bytes[..end]);
                // Without its birth time it would be another file's.
                assert!(cut.is_err(), "{end}: {cut:?}");
            }
            for version in [0, 2] {
                assert!(Position::from_bytes(&[&[version], &bytes[1..]].concat()).is_err());
            }
            assert!(Position::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
        }
        assert_eq!(Position::from_bytes(&[]), Err(MalformedPosition));
        assert_eq!(Position::from_bytes(&[VERSION, AMID]), Err(MalformedPosition));
    }
}
