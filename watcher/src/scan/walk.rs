//! Walks the directories that hold loose refs. What to do with a file is the sink's affair.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::FileType;
use rustix::io::Errno;

use super::ScanError;
use crate::dir::{self, Entries, Entry, Links};
use crate::layout::{Layout, RefStorage};

/// Refs of a linked worktree that are its own; all others it shares (gitrepository-layout(5), "refs").
const PER_WORKTREE: [&[u8]; 3] = [b"refs/bisect", b"refs/worktree", b"refs/rewritten"];

/// Whether a linked worktree has this ref for itself.
pub(crate) fn is_per_worktree(name: &[u8]) -> bool {
    let below = |own: &&[u8]| name.strip_prefix(*own).is_some_and(|rest| rest.starts_with(b"/"));
    name == b"HEAD" || PER_WORKTREE.iter().any(below)
}

/// Fewest hexadecimal digits of what JGit appends to the name of a lock: two numbers of a random UUID without leading
/// zeroes, of which the second has sixteen digits.
const JGIT_DIGITS_MIN: usize = 24;

/// Most of them.
const JGIT_DIGITS_MAX: usize = 32;

/// Whether a path is that of JGit's second link to a lock file (`createNewFileAtomic` of its `FS_POSIX`), which is there
/// with the new value in it for as long as the lock: by its name Git would take it for a ref.
pub(crate) fn is_link_of_jgit(path: &[u8]) -> bool {
    let dot = path.iter().rposition(|byte| *byte == b'.');
    dot.is_some_and(|dot| {
        let digits = &path[dot + 1..];
        path[..dot].ends_with(b".lock")
            && (JGIT_DIGITS_MIN..=JGIT_DIGITS_MAX).contains(&digits.len())
            && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// An open git directory.
pub(crate) struct GitDir<'a> {
    pub(crate) fd: OwnedFd,
    pub(crate) layout: &'a Layout,
}

/// What a walk hands out. Paths are relative to the git directory.
pub(crate) trait Sink {
    /// A directory is there and about to be read.
    fn entering(&mut self, _path: &[u8]) {}

    /// A directory is there.
    fn entered(&mut self, path: &[u8]);

    /// A file, a symbolic link, or what was a directory a moment ago. `name` is the file's name in `at`.
    ///
    /// # Errors
    /// Ends the walk.
    fn file(
        &mut self,
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Met, ScanError>;

    /// What would be a lock file, if it is there.
    ///
    /// # Errors
    /// Ends the walk.
    fn lock(
        &mut self,
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), ScanError>;

    /// A socket, pipe or device.
    fn odd(&mut self, _path: &[u8]) {}
}

/// What a file turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Met {
    File,
    /// It has become a directory, which is to be walked.
    Directory,
}

impl<'a> GitDir<'a> {
    /// Opens the git directory of a layout.
    ///
    /// # Errors
    /// `InFlux` when it is gone, or another one is at its path.
    pub(crate) fn open(layout: &'a Layout) -> Result<Self, ScanError> {
        match dir::open_known(&layout.git_dir, layout.identity) {
            Ok(Some(fd)) => Ok(Self { fd, layout }),
            Ok(None) => {
                Err(ScanError::InFlux { path: layout.git_dir.to_path_buf(), missing: "the git directory" })
            }
            Err(error) => {
                Err(ScanError::Unreadable { path: layout.git_dir.to_path_buf(), source: error.into() })
            }
        }
    }

    pub(crate) fn unreadable(&self, path: &[u8], error: Errno) -> ScanError {
        ScanError::Unreadable { path: dir::below(&self.layout.git_dir, path), source: error.into() }
    }

    pub(crate) fn in_flux(&self, missing: &'static str) -> ScanError {
        ScanError::InFlux { path: self.layout.git_dir.to_path_buf(), missing }
    }

    /// Checks that a repository is still there as a whole: while one is deleted, its refs go one by one, and none of
    /// them was deleted.
    ///
    /// # Errors
    /// `InFlux` when something every repository has is gone.
    pub(crate) fn check_whole(&self) -> Result<(), ScanError> {
        for (name, links) in [("HEAD", Links::Refuse), ("objects", Links::Follow), ("refs", Links::Follow)] {
            match dir::stat(&self.fd, name, links) {
                Ok(Some(_)) => {}
                Ok(None) => return Err(self.in_flux(name)),
                Err(error) => return Err(self.unreadable(name.as_bytes(), error)),
            }
        }
        Ok(())
    }

    /// Walks everything that holds refs: the git directory itself, `HEAD`, `refs/` or `reftable/`, linked worktrees.
    pub(crate) fn walk_all(&self, sink: &mut impl Sink) -> Result<(), ScanError> {
        sink.entering(b"");
        sink.entered(b"");
        match self.layout.storage {
            RefStorage::Files => {
                sink.file(self, self.fd.as_fd(), b"HEAD", b"HEAD")?;
                sink.lock(self, self.fd.as_fd(), b"HEAD.lock", b"HEAD.lock")?;
                sink.lock(self, self.fd.as_fd(), b"packed-refs.lock", b"packed-refs.lock")?;
                // A symbolic link in the place of `refs` is followed, as by Git: contrib/workdir makes them.
                if !self.walk_from(b"refs", Links::Follow, sink)? {
                    return Err(self.in_flux("refs"));
                }
            }
            RefStorage::Reftable => {
                if !self.walk_tables(b"reftable", sink)? {
                    return Err(self.in_flux("reftable"));
                }
            }
        }
        self.walk_worktrees(sink)
    }

    /// Reports the directory of a stack of tables, its list, and the list's lock.
    fn walk_tables(&self, tables: &[u8], sink: &mut impl Sink) -> Result<bool, ScanError> {
        let Some(entries) = self.enter(tables, Links::Refuse, sink)? else {
            return Ok(false);
        };
        let at = entries.fd().map_err(|error| self.unreadable(tables, error))?;
        sink.file(self, at, b"tables.list", &joined(tables, b"tables.list"))?;
        sink.lock(self, at, b"tables.list.lock", &joined(tables, b"tables.list.lock"))?;
        Ok(true)
    }

    /// Walks one directory and those below it, where it is one that may hold refs.
    pub(crate) fn walk_below(&self, start: &[u8], sink: &mut impl Sink) -> Result<(), ScanError> {
        match start {
            b"" => return self.walk_all(sink),
            b"worktrees" => return self.walk_worktrees(sink),
            b"refs" => return self.walk_from(start, Links::Follow, sink).map(drop),
            _ => {}
        }
        if start.starts_with(b"refs/") {
            return self.walk_from(start, Links::Refuse, sink).map(drop);
        }
        let Some(id) = start.strip_prefix(b"worktrees/") else {
            return Ok(());
        };
        let Some(slash) = id.iter().position(|byte| *byte == b'/') else {
            return self.walk_worktree(start, sink);
        };
        let local = &id[slash + 1..];
        if local == b"refs" {
            self.walk_worktree_refs(&start[..start.len() - b"/refs".len()], sink)
        } else if PER_WORKTREE.contains(&local) || is_per_worktree(local) {
            self.walk_from(start, Links::Refuse, sink).map(drop)
        } else {
            Ok(())
        }
    }

    /// Whether some directory on the way to a path is a symbolic link, `refs` itself aside.
    pub(crate) fn is_behind_link(&self, path: &[u8]) -> Result<bool, ScanError> {
        let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(offset, _)| offset);
        for directory in slashes.map(|slash| &path[..slash]).filter(|directory| *directory != b"refs") {
            let stat = dir::stat(&self.fd, directory, Links::Refuse);
            let stat = stat.map_err(|error| self.unreadable(directory, error))?;
            if stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn walk_worktrees(&self, sink: &mut impl Sink) -> Result<(), ScanError> {
        let Some(mut entries) = self.enter(b"worktrees", Links::Refuse, sink)? else {
            return Ok(());
        };
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| self.unreadable(b"worktrees", error))?;
            if entry.kind == FileType::Directory {
                self.walk_worktree(&joined(b"worktrees", entry.name()), sink)?;
            }
        }
        Ok(())
    }

    fn walk_worktree(&self, worktree: &[u8], sink: &mut impl Sink) -> Result<(), ScanError> {
        let Some(entries) = self.enter(worktree, Links::Refuse, sink)? else {
            return Ok(());
        };
        match self.layout.storage {
            RefStorage::Files => {
                let at = entries.fd().map_err(|error| self.unreadable(worktree, error))?;
                sink.file(self, at, b"HEAD", &joined(worktree, b"HEAD"))?;
                sink.lock(self, at, b"HEAD.lock", &joined(worktree, b"HEAD.lock"))?;
                self.walk_worktree_refs(worktree, sink)
            }
            RefStorage::Reftable => self.walk_tables(&joined(worktree, b"reftable"), sink).map(|_| ()),
        }
    }

    fn walk_worktree_refs(&self, worktree: &[u8], sink: &mut impl Sink) -> Result<(), ScanError> {
        if self.enter(&joined(worktree, b"refs"), Links::Refuse, sink)?.is_some() {
            for own in PER_WORKTREE {
                self.walk_from(&joined(worktree, own), Links::Refuse, sink)?;
            }
        }
        Ok(())
    }

    /// Opens one directory, `None` where it is not there.
    fn enter(&self, path: &[u8], links: Links, sink: &mut impl Sink) -> Result<Option<Entries>, ScanError> {
        match dir::open_below(&self.fd, path, links) {
            Ok(directory) => {
                sink.entering(path);
                let entries = Entries::of(directory).map_err(|error| self.unreadable(path, error))?;
                sink.entered(path);
                Ok(Some(entries))
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => Ok(None),
            Err(error) => Err(self.unreadable(path, error)),
        }
    }

    fn walk_from(&self, start: &[u8], links: Links, sink: &mut impl Sink) -> Result<bool, ScanError> {
        let Some(entries) = self.enter(start, links, sink)? else {
            return Ok(false);
        };
        let mut pending = Vec::new();
        self.read_entries(entries, start, sink, &mut pending)?;
        while let Some(path) = pending.pop() {
            match self.enter(&path, Links::Refuse, sink)? {
                Some(entries) => self.read_entries(entries, &path, sink, &mut pending)?,
                // Gone, or a ref has taken the place of the emptied directory.
                None => {
                    sink.file(self, self.fd.as_fd(), &path, &path)?;
                }
            }
        }
        Ok(true)
    }

    fn read_entries(
        &self,
        mut entries: Entries,
        directory: &[u8],
        sink: &mut impl Sink,
        pending: &mut Vec<Vec<u8>>,
    ) -> Result<(), ScanError> {
        let mut path = joined(directory, b"");
        let prefix = path.len();
        while let Some(entry) = entries.next() {
            let entry: Entry = entry.map_err(|error| self.unreadable(directory, error))?;
            let name = entry.name();
            // Git leaves both out of refs: names of temporary files.
            if name.starts_with(b".") {
                continue;
            }
            path.truncate(prefix);
            path.extend_from_slice(name);
            let at = entries.fd().map_err(|error| self.unreadable(directory, error))?;
            match entry.kind {
                FileType::Directory if !name.ends_with(b".lock") => pending.push(path.clone()),
                FileType::RegularFile if name.ends_with(b".lock") => sink.lock(self, at, name, &path)?,
                FileType::RegularFile if is_link_of_jgit(name) => {}
                FileType::RegularFile | FileType::Symlink if !name.ends_with(b".lock") => {
                    if sink.file(self, at, name, &path)? == Met::Directory {
                        pending.push(path.clone());
                    }
                }
                FileType::Directory | FileType::RegularFile | FileType::Symlink => {}
                FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice
                | FileType::Unknown => sink.odd(&path),
            }
        }
        Ok(())
    }
}

/// Joins two relative paths.
pub(crate) fn joined(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len().max(64));
    path.extend_from_slice(directory);
    path.push(b'/');
    path.extend_from_slice(name);
    path
}

/// Collects directories and nothing else.
pub(crate) struct Directories<'a> {
    pub(crate) before_read: &'a mut dyn FnMut(&Path),
    pub(crate) found: Vec<PathBuf>,
}

impl Sink for Directories<'_> {
    fn entering(&mut self, path: &[u8]) {
        (self.before_read)(dir::path(path));
    }

    fn entered(&mut self, path: &[u8]) {
        self.found.push(dir::path(path).to_owned());
    }

    fn file(&mut self, _: &GitDir<'_>, _: BorrowedFd<'_>, _: &[u8], _: &[u8]) -> Result<Met, ScanError> {
        Ok(Met::File)
    }

    fn lock(&mut self, _: &GitDir<'_>, _: BorrowedFd<'_>, _: &[u8], _: &[u8]) -> Result<(), ScanError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::is_link_of_jgit;

    #[test]
    fn the_second_link_to_a_lock_of_jgit_is_no_ref_and_what_looks_alike_is_one() {
        assert!(is_link_of_jgit(b"refs/heads/main.lock.8b0317d98fa14ae6968b355d167a38e8"));
        assert!(is_link_of_jgit(b"HEAD.lock.b0317d98fa14ae6968b355d167a38e8"));
        for name in [
            "refs/heads/main",
            "refs/heads/main.lock.",
            "refs/heads/main.lock.v2",
            "refs/heads/main.lock.8b0317d98fa14ae6",
            "refs/heads/main.lock.8b0317d98fa14ae6968b355d167a38e8a",
            "refs/heads/main.8b0317d98fa14ae6968b355d167a38e8",
            "refs/heads/main.lock.8B0317D98FA14AE6968B355D167A38E8",
        ] {
            assert!(!is_link_of_jgit(name.as_bytes()), "{name}");
        }
    }
}
