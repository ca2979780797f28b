//! Opens, lists and stats relative to an open directory: one path component a system call, no link followed unasked.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use refwatch_core::FsIdentity;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::path::Arg;

/// What tells one version of a file from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) size: u64,
    pub(crate) mtime_ns: i64,
    pub(crate) ctime_ns: i64,
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Self {
        Self {
            dev: stat.st_dev,
            ino: stat.st_ino,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mtime_ns: nanoseconds(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
            ctime_ns: nanoseconds(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        }
    }
}

pub(crate) const fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// Opens a directory; the last component may be a symbolic link.
pub(crate) fn open(path: &Path) -> Result<OwnedFd, Errno> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// Opens a directory if it is still the one with that identity: `None` where there is none, or another.
pub(crate) fn open_known(path: &Path, identity: FsIdentity) -> Result<Option<OwnedFd>, Errno> {
    match open(path) {
        Ok(fd) => {
            let is_known = self::identity(&fd, "", AtFlags::EMPTY_PATH)? == identity;
            Ok(is_known.then_some(fd))
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens a directory below another. A symbolic link in the last component that is not followed gives `NOTDIR`.
pub(crate) fn open_below(at: impl AsFd, path: impl Arg, links: Links) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(at, path, links.flags(flags), Mode::empty())
}

/// Opens a file for reading; never waits for the other end of a pipe.
pub(crate) fn open_file(at: impl AsFd, path: impl Arg, links: Links) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    rustix::fs::openat(at, path, links.flags(flags), Mode::empty())
}

/// What to do about a symbolic link in the last component.
#[derive(Clone, Copy)]
pub(crate) enum Links {
    Follow,
    Refuse,
}

impl Links {
    fn flags(self, flags: OFlags) -> OFlags {
        match self {
            Links::Follow => flags,
            Links::Refuse => flags | OFlags::NOFOLLOW,
        }
    }
}

/// The metadata of what is at a path, `None` where there is nothing.
pub(crate) fn stat(at: impl AsFd, path: impl Arg, links: Links) -> Result<Option<Stat>, Errno> {
    let flags = match links {
        Links::Follow => AtFlags::empty(),
        Links::Refuse => AtFlags::SYMLINK_NOFOLLOW,
    };
    match rustix::fs::statat(at, path, flags) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The identity of what is at a path, with its birth time where the filesystem tells.
pub(crate) fn identity(at: impl AsFd, path: impl Arg + Copy, flags: AtFlags) -> Result<FsIdentity, Errno> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{StatxFlags, makedev, statx};
        match statx(at.as_fd(), path, flags, StatxFlags::INO | StatxFlags::BTIME) {
            Ok(found) => {
                let dated = StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::BTIME);
                let birth = found.stx_btime;
                return Ok(FsIdentity {
                    dev: makedev(found.stx_dev_major, found.stx_dev_minor),
                    ino: found.stx_ino,
                    birth_ns: dated.then(|| nanoseconds(birth.tv_sec, i64::from(birth.tv_nsec))),
                });
            }
            // An old kernel, or a sandbox that does not know the call.
            Err(Errno::NOSYS | Errno::PERM) => {}
            Err(error) => return Err(error),
        }
    }
    let stat = rustix::fs::statat(at, path, flags)?;
    Ok(FsIdentity { dev: stat.st_dev, ino: stat.st_ino, birth_ns: None })
}

/// Reads until the end of the file or of the buffer, and says how many bytes that were.
pub(crate) fn fill(file: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::read(&file, &mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads from an offset until the end of the file or of the buffer, and says how many bytes that were.
pub(crate) fn read_at(file: impl AsFd, buffer: &mut [u8], offset: u64) -> Result<usize, Errno> {
    let mut filled = 0;
    while filled < buffer.len() {
        match rustix::io::pread(&file, &mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Reads a whole file of at most `bytes_max` bytes; `FBIG` where it is longer.
pub(crate) fn read_whole(file: impl AsFd, size: u64, bytes_max: u64) -> Result<Vec<u8>, Errno> {
    // One more byte than there should be, so that the end is met without another call in a grown buffer.
    let room = usize::try_from(size.min(bytes_max)).map_err(|_| Errno::FBIG)? + 1;
    let mut bytes = vec![0; room];
    let mut filled = fill(&file, &mut bytes)?;
    while filled == bytes.len() {
        if filled as u64 > bytes_max {
            return Err(Errno::FBIG);
        }
        bytes.resize(filled * 2, 0);
        filled += fill(&file, &mut bytes[filled..])?;
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The entries of an open directory, without `.` and `..`. Where the filesystem does not say what an entry is, it is
/// asked for.
pub(crate) struct Entries(Dir);

/// One entry of a directory.
pub(crate) struct Entry {
    pub(crate) entry: rustix::fs::DirEntry,
    pub(crate) kind: FileType,
}

impl Entry {
    pub(crate) fn name(&self) -> &[u8] {
        self.entry.file_name().to_bytes()
    }
}

impl Entries {
    pub(crate) fn of(directory: OwnedFd) -> Result<Self, Errno> {
        Dir::new(directory).map(Self)
    }

    pub(crate) fn fd(&self) -> Result<BorrowedFd<'_>, Errno> {
        self.0.fd()
    }

    pub(crate) fn next(&mut self) -> Option<Result<Entry, Errno>> {
        loop {
            let entry = match self.0.read()? {
                Ok(entry) => entry,
                Err(error) => return Some(Err(error)),
            };
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            let mut kind = entry.file_type();
            if kind == FileType::Unknown {
                let asked = self.fd().and_then(|fd| stat(fd, entry.file_name(), Links::Refuse));
                match asked {
                    Ok(Some(stat)) => kind = FileType::from_raw_mode(stat.st_mode),
                    Ok(None) => continue,
                    Err(error) => return Some(Err(error)),
                }
            }
            return Some(Ok(Entry { entry, kind }));
        }
    }
}

/// Bytes as a path, as the kernel sees them.
pub(crate) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// A path below the git directory, for messages.
pub(crate) fn below(git_dir: &Path, bytes: &[u8]) -> PathBuf {
    if bytes.is_empty() { git_dir.to_owned() } else { git_dir.join(path(bytes)) }
}
