//! Reads all refs of the files backend, or one: loose ones first, then `packed-refs`.
//!
//! The order is what makes it safe against `git pack-refs`, which writes `packed-refs` first and removes the loose
//! files after: a ref that is there all the time is found in one of the two, whatever happens in between. That
//! `packed-refs` stayed the same file is checked as well, so that refs which changed together are seen together.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use refwatch_core::RefName;
use rustix::io::Errno;

use super::loose::{self, LOOSE_BYTES_MAX, Loose};
use super::packed::parts::{Compared, PARTS_BYTES_MIN, Parts};
use super::packed::read::{self, Merged};
use super::packed::window::lines_before;
use super::packed::{Bad, PackedError, search};
use super::walk::{self, GitDir, Met, Sink};
use super::{BrokenReason, Lock, Observed, Repacked, Scan, ScanError, SkipReason, Skips};
use crate::dir::{self, Links, Stamp};
use crate::layout::Layout;
use crate::signature::Sum;

/// Times that all refs are read again because `packed-refs` was replaced meanwhile.
pub const SCAN_TRIES_MAX: usize = 4;

/// Times that one ref is looked up again because `packed-refs` was replaced meanwhile.
pub const LOOKUP_TRIES_MAX: usize = 16;

const PACKED: &[u8] = b"packed-refs";

/// Reads every ref.
pub(crate) fn full(layout: &Layout, before_read: &mut dyn FnMut(&Path)) -> Result<Scan, ScanError> {
    let mut tries = 0;
    loop {
        tries += 1;
        let git = GitDir::open(layout)?;
        let before = packed_stamp(&git)?;
        let mut reader = Reader::new(before_read);
        reader.sum = Some(Sum::start(&git)?);
        git.walk_all(&mut reader)?;
        let mut scan = reader.into_scan();
        let opened = open_packed(&git)?;
        let stamp = opened.as_ref().map(|(_, stamp)| *stamp);
        if before != stamp && tries < SCAN_TRIES_MAX {
            continue;
        }
        let mut skips = Skips(std::mem::take(&mut scan.skipped));
        let merged = match &opened {
            Some((file, stamp)) => {
                let merged = read::merge(file.as_fd(), stamp.size, layout.format, &scan.refs, &mut skips);
                let bytes = merged.as_ref().ok().map(|merged| merged.bytes);
                Some((file, merged, is_intact(&git, file, stamp, bytes)?))
            }
            None => None,
        };
        let settled = before == stamp && packed_stamp(&git)? == stamp;
        if !settled && tries < SCAN_TRIES_MAX {
            continue;
        }
        // Replaced by a rename it is still one whole file. Written in place it may be any part of one.
        if merged.as_ref().is_some_and(|(.., intact)| !intact) {
            return Err(raced(&git, tries));
        }
        git.check_whole()?;
        scan.settled = settled;
        if let Some((file, merged, _)) = merged {
            let Merged { refs, peeled, parts, .. } = merged.map_err(|error| bad_packed(&git, file, error))?;
            scan.refs = refs;
            scan.peeled = peeled;
            scan.parts = parts.filter(|_| settled);
        }
        scan.skipped = skips.0;
        if !settled {
            scan.signature = None;
        }
        return Ok(scan);
    }
}

/// Reads one ref.
pub(crate) fn one(layout: &Layout, name: &RefName) -> Result<Option<Observed>, ScanError> {
    let git = GitDir::open(layout)?;
    let path = name.as_bytes();
    let is_shared = path.starts_with(b"worktrees/") && !walk::is_per_worktree(name.within_worktree());
    if is_shared {
        return Ok(None);
    }
    // Where Git packed one, it is a ref.
    let is_link_of_jgit = walk::is_link_of_jgit(path);
    let mut buffer = [0; LOOSE_BYTES_MAX + 1];
    for _ in 0..LOOKUP_TRIES_MAX {
        let found = if is_link_of_jgit {
            Loose::Absent
        } else {
            loose::read(git.fd.as_fd(), path, layout.format, &mut buffer)
                .map_err(|error| git.unreadable(path, error))?
        };
        match found {
            // A full scan goes through no link, either: it would lead to refs of something else.
            Loose::Here(..) if git.is_behind_link(path)? => {}
            Loose::Here(observed, _) => return Ok(Some(observed)),
            Loose::Stub if name.is_head() => return Err(git.in_flux(STUB)),
            Loose::Stub => return Ok(Some(Observed::Broken(BrokenReason::BadSymref))),
            Loose::Absent if name.is_head() => return Err(git.in_flux("HEAD")),
            Loose::Absent | Loose::Directory | Loose::NotAFile => {}
        }
        // HEAD and what belongs to a linked worktree are never packed.
        if !path.starts_with(b"refs/") {
            return git.check_whole().map(|()| None);
        }
        let Some((file, stamp)) = open_packed(&git)? else {
            return git.check_whole().map(|()| None);
        };
        let found = search::find(&file, stamp.size, name, layout.format);
        if packed_stamp(&git)? != Some(stamp) {
            continue;
        }
        return match found {
            Ok(Some(observed)) => Ok(Some(observed)),
            Ok(None) => git.check_whole().map(|()| None),
            Err(error) => Err(bad_packed(&git, &file, error)),
        };
    }
    Err(raced(&git, LOOKUP_TRIES_MAX))
}

/// Compares `packed-refs` with what is kept of the one before.
pub(crate) fn repacked(layout: &Layout, known: &Parts) -> Result<Option<Repacked>, ScanError> {
    let git = GitDir::open(layout)?;
    let Some((file, stamp)) = open_packed(&git)?.filter(|(_, stamp)| stamp.size >= PARTS_BYTES_MIN as u64)
    else {
        return Ok(None);
    };
    let compared =
        known.compare(file.as_fd(), layout.format).map_err(|error| git.unreadable(PACKED, error))?;
    let Some(Compared { parts, ranges, bytes }) = compared else { return Ok(None) };
    if !is_intact(&git, &file, &stamp, Some(bytes))? {
        return Ok(None);
    }
    git.check_whole()?;
    Ok(Some(Repacked { parts, ranges }))
}

/// Reads the loose refs below one directory.
pub(crate) fn subtree(
    layout: &Layout,
    directory: &[u8],
    before_read: &mut dyn FnMut(&Path),
) -> Result<Scan, ScanError> {
    let git = GitDir::open(layout)?;
    let mut reader = Reader::new(before_read);
    git.walk_below(directory, &mut reader)?;
    Ok(reader.into_scan())
}

/// What is said to be missing where HEAD says that refs are in tables and the config does not.
const STUB: &str = "extensions.refStorage";

fn packed_stamp(git: &GitDir<'_>) -> Result<Option<Stamp>, ScanError> {
    let stat = dir::stat(&git.fd, PACKED, Links::Follow).map_err(|error| git.unreadable(PACKED, error))?;
    Ok(stat.as_ref().map(Stamp::of))
}

fn open_packed(git: &GitDir<'_>) -> Result<Option<(OwnedFd, Stamp)>, ScanError> {
    match dir::open_file(&git.fd, PACKED, Links::Follow) {
        Ok(file) => match rustix::fs::fstat(&file) {
            Ok(stat) => Ok(Some((file, Stamp::of(&stat)))),
            Err(error) => Err(git.unreadable(PACKED, error)),
        },
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(git.unreadable(PACKED, error)),
    }
}

fn raced(git: &GitDir<'_>, tries: usize) -> ScanError {
    ScanError::Raced { path: dir::below(&git.layout.git_dir, PACKED), tries }
}

/// Whether nobody wrote into an open file since it had that stamp, and so many bytes were all of it.
fn is_intact(git: &GitDir<'_>, file: &OwnedFd, stamp: &Stamp, bytes: Option<u64>) -> Result<bool, ScanError> {
    let stat = rustix::fs::fstat(file).map_err(|error| git.unreadable(PACKED, error))?;
    let after = Stamp::of(&stat);
    // Not its change time: that moves when the file loses its name to the next one.
    Ok(after.mtime_ns == stamp.mtime_ns && after.size == bytes.unwrap_or(stamp.size))
}

fn bad_packed(git: &GitDir<'_>, file: &OwnedFd, error: PackedError) -> ScanError {
    match error {
        PackedError::Io(error) => git.unreadable(PACKED, error),
        PackedError::Bad(Bad { offset, reason }) => match lines_before(file.as_fd(), offset) {
            Ok(before) => {
                let path = dir::below(&git.layout.git_dir, PACKED);
                ScanError::PackedRefs { path, line: before + 1, reason }
            }
            Err(error) => git.unreadable(PACKED, error),
        },
    }
}

/// Reads each loose ref that a walk meets.
struct Reader<'a> {
    before_read: &'a mut dyn FnMut(&Path),
    scan: Scan,
    skips: Skips,
    sum: Option<Sum>,
    buffer: Box<loose::Buffer>,
}

impl<'a> Reader<'a> {
    fn new(before_read: &'a mut dyn FnMut(&Path)) -> Self {
        let buffer = Box::new([0; LOOSE_BYTES_MAX + 1]);
        Self { before_read, scan: Scan::default(), skips: Skips::default(), sum: None, buffer }
    }

    fn into_scan(self) -> Scan {
        let mut scan = self.scan;
        scan.settled = true;
        scan.skipped = self.skips.0;
        scan.signature = self.sum.and_then(|sum| sum.finish());
        scan.refs.sort_by(|left, right| left.0.cmp(&right.0));
        // A name that turned from a file into a directory and back while it was walked is met twice.
        scan.refs.dedup_by(|later, earlier| later.0 == earlier.0);
        scan
    }
}

impl Sink for Reader<'_> {
    fn entering(&mut self, path: &[u8]) {
        (self.before_read)(dir::path(path));
    }

    fn entered(&mut self, path: &[u8]) {
        self.scan.directories.push(dir::path(path).to_owned());
        if let Some(sum) = &mut self.sum {
            sum.add(path, None);
        }
    }

    fn file(
        &mut self,
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Met, ScanError> {
        let read = loose::read(at, name, git.layout.format, &mut self.buffer)
            .map_err(|error| git.unreadable(path, error))?;
        let (observed, stamp) = match read {
            Loose::Here(observed, stamp) => (observed, stamp),
            Loose::Stub if path == b"HEAD" => return Err(git.in_flux(STUB)),
            Loose::Stub => (Observed::Broken(BrokenReason::BadSymref), None),
            Loose::Absent if path == b"HEAD" => return Err(git.in_flux("HEAD")),
            Loose::Absent => return Ok(Met::File),
            Loose::Directory => return Ok(Met::Directory),
            Loose::NotAFile => {
                self.odd(path);
                return Ok(Met::File);
            }
        };
        if let Some(sum) = &mut self.sum {
            let stamp = match stamp {
                Some(stamp) => Some(stamp),
                None => dir::stat(at, name, Links::Refuse)
                    .map_err(|error| git.unreadable(path, error))?
                    .as_ref()
                    .map(Stamp::of),
            };
            sum.add(path, stamp.as_ref());
        }
        match RefName::new(path) {
            Ok(name) => self.scan.refs.push((name, observed)),
            Err(reason) => self.skips.push(path, SkipReason::Name(reason)),
        }
        Ok(Met::File)
    }

    fn lock(
        &mut self,
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), ScanError> {
        self.scan.locks.extend(Lock::find(git, at, name, path)?);
        Ok(())
    }

    fn odd(&mut self, path: &[u8]) {
        self.skips.push(path, SkipReason::NotAFile);
    }
}
