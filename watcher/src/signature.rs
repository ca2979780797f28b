//! A number that changes when the refs of a repository may have changed, from metadata alone.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::dir::{self, Links, Stamp};
use crate::layout::{Layout, RefStorage};
use crate::scan::ScanError;
use crate::scan::walk::{GitDir, Met, Sink};

/// How long after a change another one could carry the same time, in milliseconds. The coarsest clocks that Git
/// repositories live on (FAT, old NFS servers) tick every two seconds; kernels tick every 10 ms at most.
pub const RACY_MS: u64 = 2_000;

/// Stands for the metadata of everything that holds refs: paths, inode numbers, sizes, modification and change times.
/// Equal signatures mean equal refs.
///
/// Comparable between runs of the same build; between builds a difference means nothing and costs one scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Signature(pub u64);

/// Computes the signature from metadata, reading no ref.
///
/// `None` when something changed within [`RACY_MS`] of now: a second change in the same tick of the filesystem's
/// clock, into an inode used again, would leave every number as it is. Lock files and the times of directories do not
/// count, so transactions that came to nothing leave it alone.
///
/// # Errors
/// [`ScanError`].
pub fn signature(layout: &Layout) -> Result<Option<Signature>, ScanError> {
    watched_signature(layout, &mut |_| {})
}

/// Computes the signature in one walk with the watching of what it is taken from: `before_read` is told of each
/// directory, relative to the git directory, before it is looked into.
///
/// # Errors
/// [`ScanError`].
pub fn watched_signature(
    layout: &Layout,
    before_read: &mut dyn FnMut(&Path),
) -> Result<Option<Signature>, ScanError> {
    let git = GitDir::open(layout)?;
    // Before the files that lie in it are asked for.
    before_read(Path::new(""));
    let mut watched = Watched { sum: Sum::start(&git)?, before_read };
    git.walk_all(&mut watched)?;
    Ok(watched.sum.finish())
}

/// A signature in the making, and who is told of directories.
struct Watched<'a> {
    sum: Sum,
    before_read: &'a mut dyn FnMut(&Path),
}

impl Sink for Watched<'_> {
    fn entering(&mut self, path: &[u8]) {
        if !path.is_empty() {
            (self.before_read)(dir::path(path));
        }
    }

    fn entered(&mut self, path: &[u8]) {
        self.sum.entered(path);
    }

    fn file(
        &mut self,
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Met, ScanError> {
        self.sum.file(git, at, name, path)
    }

    fn lock(&mut self, _: &GitDir<'_>, _: BorrowedFd<'_>, _: &[u8], _: &[u8]) -> Result<(), ScanError> {
        Ok(())
    }
}

/// A signature in the making. The order in which files are added does not matter.
pub(crate) struct Sum {
    sum: u64,
    /// Changes from this time on are racy, in nanoseconds since 1970.
    racy_from_ns: i64,
    racy: bool,
}

impl Sum {
    /// Starts with what is no loose ref: the config and `packed-refs`.
    pub(crate) fn start(git: &GitDir<'_>) -> Result<Self, ScanError> {
        // The clock is read first: what changes from now on is later than everything that counts as settled.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ns = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
        let racy_ns = i64::try_from(RACY_MS).unwrap_or(i64::MAX).saturating_mul(1_000_000);
        let mut sum = Self { sum: 0, racy_from_ns: now_ns.saturating_sub(racy_ns), racy: false };
        let packed = match git.layout.storage {
            RefStorage::Files => Some("packed-refs"),
            RefStorage::Reftable => None,
        };
        for name in ["config", "config.worktree"].into_iter().chain(packed) {
            let stat = dir::stat(&git.fd, name, Links::Follow)
                .map_err(|error| git.unreadable(name.as_bytes(), error))?;
            sum.add(name.as_bytes(), stat.as_ref().map(Stamp::of).as_ref());
        }
        Ok(sum)
    }

    /// Adds a path, and the metadata of the file there, if there is one.
    pub(crate) fn add(&mut self, path: &[u8], stamp: Option<&Stamp>) {
        let mut hasher = DefaultHasher::new();
        (path, stamp).hash(&mut hasher);
        // A sum, so that a directory may list its files in any order.
        self.sum = self.sum.wrapping_add(hasher.finish());
        // The change time alone: nobody can set it, and every change of content or name moves it. A time far in
        // the future comes from a clock that was wrong; the next change will not repeat it.
        self.racy |= stamp.is_some_and(|stamp| {
            let window = self.racy_from_ns..self.racy_from_ns.saturating_add(2 * RACY_MS as i64 * 1_000_000);
            window.contains(&stamp.ctime_ns)
        });
    }

    pub(crate) fn finish(&self) -> Option<Signature> {
        (!self.racy).then_some(Signature(self.sum))
    }
}

impl Sink for Sum {
    fn entered(&mut self, path: &[u8]) {
        self.add(path, None);
    }

    fn file(
        &mut self,
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Met, ScanError> {
        let stat = dir::stat(at, name, Links::Refuse).map_err(|error| git.unreadable(path, error))?;
        let Some(stat) = stat else {
            return if path == b"HEAD" { Err(git.in_flux("HEAD")) } else { Ok(Met::File) };
        };
        if rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory {
            return Ok(Met::Directory);
        }
        self.add(path, Some(&Stamp::of(&stat)));
        Ok(Met::File)
    }

    fn lock(&mut self, _: &GitDir<'_>, _: BorrowedFd<'_>, _: &[u8], _: &[u8]) -> Result<(), ScanError> {
        Ok(())
    }
}
