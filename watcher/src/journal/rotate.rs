//! Keeps the journal short: what was read goes, a file at a time.

use std::fs;
use std::io::{self, ErrorKind};

use refwatch_hook::JOURNAL;
use rustix::fs::AtFlags;

use super::{Journal, Position, files};
use crate::dir;

/// Length from which a journal that was read is rotated, in bytes.
pub const ROTATE_BYTES_MIN: u64 = 4 << 20;

impl Journal {
    /// True where something was appended behind a position, or the file it is in is not the journal any more. Looks at
    /// the current file only.
    pub fn has_news(&self, position: &Position) -> bool {
        let Ok(directory) = dir::open(&self.directory) else { return false };
        let Ok(identity) = dir::identity(&directory, JOURNAL, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        let length = || rustix::fs::statat(&directory, JOURNAL, AtFlags::SYMLINK_NOFOLLOW);
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
        let directory = dir::open(&self.directory)?;
        if dir::identity(&directory, JOURNAL, AtFlags::SYMLINK_NOFOLLOW).ok() != position.file {
            return Ok(false);
        }
        let newest = files::listed(&directory)?.last().map_or(0, |(number, _)| *number);
        let Some(number) = newest.checked_add(1) else { return Ok(false) };
        fs::rename(self.directory.join(JOURNAL), self.directory.join(format!("{JOURNAL}.{number}")))?;
        Ok(true)
    }

    /// Removes rotated files that were read to their end by whoever is at `position`, and says how many.
    ///
    /// # Errors
    /// Where the directory cannot be read or written to.
    pub fn remove_before(&self, position: &Position) -> io::Result<u64> {
        let Some(file) = position.file else { return Ok(0) };
        let directory = dir::open(&self.directory)?;
        let names = files::listed(&directory)?;
        let identities: Vec<_> = names.iter().map(|(_, name)| files::identity(&directory, name)).collect();
        let is_current = dir::identity(&directory, JOURNAL, AtFlags::SYMLINK_NOFOLLOW).ok() == Some(file);
        let read = match identities.iter().position(|identity| *identity == Some(file)) {
            Some(at) => at,
            None if is_current => names.len(),
            None => 0,
        };
        for (_, name) in &names[..read] {
            match fs::remove_file(self.directory.join(dir::path(name))) {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(read as u64)
    }
}
