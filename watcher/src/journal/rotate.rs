//! Keeps the journal short: what was read goes, a file at a time.

use std::io;

use refwatch_hook::{JOURNAL, JOURNAL_BYTES_MAX};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Journal, Position, files};
use crate::dir;

/// Length from which a journal that was read is rotated, in bytes.
pub const ROTATE_BYTES_MIN: u64 = 4 << 20;

/// Most bytes of rotated files that stay for what is to be read again: as much as hooks write while nobody reads.
pub const KEPT_BYTES_MAX: u64 = JOURNAL_BYTES_MAX;

impl Journal {
    /// True where something was appended behind a position, or the file it is in is not the journal any more. Looks at
    /// the current file only.
    pub fn has_news(&self, position: &Position) -> bool {
        let Some(identity) = files::identity(&self.directory, JOURNAL.as_bytes()) else { return false };
        let length = || rustix::fs::statat(&self.directory, JOURNAL, AtFlags::SYMLINK_NOFOLLOW);
        position.file != Some(identity)
            || length().is_ok_and(|stat| stat.st_size.cast_unsigned() > position.offset)
    }

    /// Rotates the journal when it is read to `position` and at least [`ROTATE_BYTES_MIN`] long: hooks begin a new one.
    /// Says whether it did.
    ///
    /// # Errors
    /// Where the directory cannot be read or written to.
    pub fn rotate(&self, position: &Position) -> io::Result<bool> {
        if position.offset < ROTATE_BYTES_MIN {
            return Ok(false);
        }
        let directory = &self.directory;
        if files::identity(directory, JOURNAL.as_bytes()) != position.file {
            return Ok(false);
        }
        let newest = files::listed(directory)?.last().map_or(0, |(number, _)| *number);
        let Some(number) = newest.checked_add(1) else { return Ok(false) };
        rustix::fs::renameat(directory, JOURNAL, directory, format!("{JOURNAL}.{number}"))?;
        Ok(true)
    }

    /// Removes rotated files that were read to their end by whoever is at `position`, and says how many. Those from `keep`
    /// on stay, as long as they are at most [`KEPT_BYTES_MAX`] together: of more, the oldest go.
    ///
    /// # Errors
    /// Where the directory cannot be read or written to.
    pub fn remove_before(&self, position: &Position, keep: Option<&Position>) -> io::Result<u64> {
        let Some(file) = position.file else { return Ok(0) };
        let directory = &self.directory;
        let names = files::listed(directory)?;
        let identities: Vec<_> = names.iter().map(|(_, name)| files::identity(directory, name)).collect();
        let is_current = files::identity(directory, JOURNAL.as_bytes()) == Some(file);
        let place = |file| identities.iter().position(|identity| *identity == Some(file));
        let read = match place(file) {
            Some(at) => at,
            None if is_current => names.len(),
            None => 0,
        };
        let mut kept = keep.and_then(|keep| place(keep.file?)).map_or(read, |at| at.min(read));
        let mut bytes_kept = 0_u64;
        for (at, (_, name)) in names.iter().enumerate().take(read).skip(kept).rev() {
            let stat = rustix::fs::statat(directory, dir::path(name), AtFlags::SYMLINK_NOFOLLOW)?;
            bytes_kept = bytes_kept.saturating_add(stat.st_size.cast_unsigned());
            if bytes_kept > KEPT_BYTES_MAX {
                kept = at + 1;
                break;
            }
        }
        for (_, name) in &names[..kept] {
            match rustix::fs::unlinkat(directory, dir::path(name), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(kept as u64)
    }
}
