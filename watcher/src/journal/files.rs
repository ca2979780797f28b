//! The files of a journal: which there are, in which order, and whether any will still grow.

use std::fs::{File, TryLockError};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use refwatch_core::FsIdentity;
use refwatch_hook::JOURNAL;
use rustix::fs::{AtFlags, FileType};
use rustix::io::Errno;

use super::{Beginning, Journal, JournalError, Position, failed};
use crate::dir::{self, Entries, Links, Stamp};

/// Most entries of the journal's directory that are looked at.
pub const FILES_MAX: usize = 4096;

/// How long a rotated file that a hook holds open is waited for, in milliseconds since its last change: a hook that was
/// stopped may hold it for ever.
pub const WRITER_WAIT_MS_MAX: u64 = 60_000;

/// The files to read, oldest first, each opened when its turn comes.
pub(super) struct Files<'a> {
    /// Where the first of them is to be read from.
    pub(super) beginning: Beginning,
    journal: &'a Journal,
    first: Option<Source>,
    rotated: std::vec::IntoIter<Vec<u8>>,
    current: Option<Source>,
}

/// One file to read.
pub(super) struct Source {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) identity: FsIdentity,
    /// Length in bytes when it was opened.
    pub(super) bytes: u64,
    /// It is the one that hooks append to.
    pub(super) is_current: bool,
    /// Nobody appends to it any more.
    pub(super) is_final: bool,
}

impl<'a> Files<'a> {
    /// Finds what is to be read from a position on. Where no file is the one it was in, that is all there is.
    pub(super) fn from(journal: &'a Journal, position: &Position) -> Result<Self, JournalError> {
        let mut files = Self {
            beginning: if position.file.is_some() { Beginning::Lost } else { Beginning::Oldest },
            journal,
            first: None,
            rotated: Vec::new().into_iter(),
            current: None,
        };
        // Opened before the others are listed: whatever is rotated from here on is newer than it, or is it.
        files.current = files.open(JOURNAL.as_bytes())?;
        if files.current.as_ref().is_some_and(|current| holds(current, position)) {
            files.beginning = Beginning::Resumed;
            return Ok(files);
        }
        let directory = &journal.directory;
        let mut names = rotated(directory).map_err(|error| failed(&journal.path, error))?;
        let identities: Vec<_> = names.iter().map(|name| identity(directory, name)).collect();
        // Rotated since it was opened: its turn comes by its number.
        if files.current.as_ref().is_some_and(|current| identities.contains(&Some(current.identity))) {
            files.current = None;
        }
        if position.file.is_some()
            && let Some(at) = identities.iter().position(|found| *found == position.file)
            && let Some(found) = files.open(&names[at])?
            && holds(&found, position)
        {
            files.beginning = Beginning::Resumed;
            files.first = Some(found);
            names.drain(..=at);
        }
        files.rotated = names.into_iter();
        Ok(files)
    }

    /// The next file to read.
    pub(super) fn next(&mut self) -> Result<Option<Source>, JournalError> {
        if self.first.is_some() {
            return Ok(self.first.take());
        }
        while let Some(name) = self.rotated.next() {
            if let Some(found) = self.open(&name)? {
                return Ok(Some(found));
            }
        }
        Ok(self.current.take())
    }

    fn open(&self, name: &[u8]) -> Result<Option<Source>, JournalError> {
        let Journal { directory, path, .. } = self.journal;
        source(directory, path, name).map_err(|error| failed(&dir::below(path, name), error))
    }
}

/// The identity of a file that is still there.
pub(super) fn identity(directory: &OwnedFd, name: &[u8]) -> Option<FsIdentity> {
    dir::identity(directory, dir::path(name), AtFlags::SYMLINK_NOFOLLOW).ok().map(within_directory)
}

/// What tells a file from the others of its directory: the number of the device is that of all of them, and another one
/// after a start of the machine.
pub(super) const fn within_directory(identity: FsIdentity) -> FsIdentity {
    FsIdentity { dev: 0, ..identity }
}

fn holds(source: &Source, position: &Position) -> bool {
    position.file == Some(source.identity) && position.offset <= source.bytes
}

/// The names of rotated journals, the oldest first, without a gap.
///
/// A listing may miss a file that is rotated meanwhile, and show one that is rotated after it. All that the first one
/// shows, and all that is older, was there when the second began, which therefore misses none of it. What is newer than
/// that was not rotated yet when the current one was opened, and is for the next reading.
fn rotated(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let Some((newest, _)) = listed(directory)?.pop() else { return Ok(Vec::new()) };
    let names = listed(directory)?.into_iter().filter(|(number, _)| *number <= newest);
    Ok(names.map(|(_, name)| name).collect())
}

/// Rotated journals by number.
pub(super) fn listed(directory: &OwnedFd) -> Result<Vec<(u64, Vec<u8>)>, Errno> {
    let mut names = Vec::new();
    let mut entries = match dir::open_below(directory, ".", Links::Refuse) {
        Ok(listing) => Entries::of(listing)?,
        // The directory itself was removed.
        Err(Errno::NOENT) => return Ok(names),
        Err(error) => return Err(error),
    };
    for _ in 0..FILES_MAX {
        let Some(entry) = entries.next().transpose()? else { break };
        if let Some(number) = number(entry.name()) {
            names.push((number, entry.name().to_vec()));
        }
    }
    names.sort_unstable();
    Ok(names)
}

fn number(name: &[u8]) -> Option<u64> {
    let number = name.strip_prefix(JOURNAL.as_bytes())?.strip_prefix(b".")?;
    // Digits only: a sign would parse as well.
    if !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// Opens one file; `None` where there is none, or something else.
fn source(directory: &OwnedFd, path: &Path, name: &[u8]) -> Result<Option<Source>, Errno> {
    let file = match dir::open_file(directory, dir::path(name), Links::Refuse) {
        Ok(file) => File::from(file),
        // LOOP: a link, which hooks do not write to either.
        Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error),
    };
    let is_current = name == JOURNAL.as_bytes();
    // Asked before its length is: whoever wrote has written.
    let is_held = !is_current && is_held(&file);
    let stat = rustix::fs::fstat(&file)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let stamp = Stamp::of(&stat);
    Ok(Some(Source {
        identity: within_directory(dir::identity(&file, "", AtFlags::EMPTY_PATH)?),
        path: dir::below(path, name),
        bytes: stamp.size,
        is_current,
        is_final: !(is_current || is_held && is_recent(&stamp)),
        file,
    }))
}

/// True where a hook has a rotated file open to append to it. Where the filesystem has no locks, nobody seems to.
fn is_held(file: &File) -> bool {
    match file.try_lock() {
        Ok(()) => {
            // Closing the file gives it back as well.
            drop(file.unlock());
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => false,
    }
}

fn is_recent(stamp: &Stamp) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    let wait_ns = i64::try_from(WRITER_WAIT_MS_MAX).unwrap_or(i64::MAX).saturating_mul(1_000_000);
    // A change in the future comes from another clock, and is as good as none.
    (0..wait_ns).contains(&now_ns.saturating_sub(stamp.ctime_ns))
}
