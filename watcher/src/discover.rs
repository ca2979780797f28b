//! Finds the repositories below a root.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType};
use rustix::io::Errno;

use crate::dir::{self, Entries, Links};

/// How far a walk goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Levels below the root that are read; 0 reads the root only.
    pub depth_max: usize,
    /// Directories that are read before the walk gives up.
    pub directories_max: usize,
}

/// A repository that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its git directory: the root joined with `relative`, and `.git` where it has a working tree.
    pub git_dir: PathBuf,
    /// Where it is below the root, without `.git`; `.` when it is the root itself.
    pub relative: PathBuf,
}

/// One step of a walk.
#[derive(Debug)]
pub enum Visit<'a> {
    /// A directory that is about to be read: watch it first, then nothing that appears in it is missed.
    Directory(&'a Path),
    /// A repository. The walk does not go into it, nor was its git directory told of as a [`Visit::Directory`].
    Repository(Found),
    /// Some of `HEAD`, `objects` and `refs`, but not all: being made or deleted, or a plain folder with such a name.
    InFlux {
        /// What would be its git directory.
        path: PathBuf,
        /// The first thing found missing.
        missing: &'static str,
    },
    /// A symbolic link to a directory outside of the root. It is not followed; at most [`LINKS_NOTED_MAX`] a walk.
    LinkOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Something could not be read. The rest is walked all the same.
    Problem {
        /// What.
        path: PathBuf,
        /// Why.
        error: WalkError,
    },
}

/// Links out of the root that one walk reports.
pub const LINKS_NOTED_MAX: usize = 64;

/// Why a walk left something out.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    /// The operating system refused.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Deeper than [`Limits::depth_max`]; reported for the first such directory of a walk only.
    #[error("deeper than {depth_max} levels below the root: not looked into")]
    TooDeep {
        /// The limit, in levels.
        depth_max: usize,
    },
    /// More than [`Limits::directories_max`]; the walk ends here.
    #[error("more than {directories_max} directories below the root: the rest was not looked at")]
    TooMany {
        /// The limit, in directories.
        directories_max: usize,
    },
}

/// Walks a root and reports what it meets, parents before children.
///
/// A directory with `HEAD`, `objects/` and `refs/` is a repository, and so is the `.git` of a directory with a working
/// tree; neither is gone into. `.git` files (linked worktrees, submodules) are none of their own. Symbolic links to
/// directories are not followed, whatever the root itself is.
pub fn walk(root: &Path, limits: &Limits, visit: &mut dyn FnMut(Visit<'_>)) {
    let mut walk = Walk { root, limits, visit, pending: Vec::new(), read: 0, links: 0, too_deep: false };
    walk.pending.push((PathBuf::new(), 0));
    while let Some((relative, depth)) = walk.pending.pop() {
        let path = joined(root, &relative);
        if walk.read == limits.directories_max {
            let error = WalkError::TooMany { directories_max: limits.directories_max };
            (walk.visit)(Visit::Problem { path, error });
            return;
        }
        walk.read += 1;
        if let Err(errno) = walk.directory(&path, &relative, depth) {
            // What has gone between its listing and its reading is no problem, but a root has to be there.
            if depth == 0 || !matches!(errno, Errno::NOENT | Errno::NOTDIR | Errno::LOOP) {
                (walk.visit)(Visit::Problem { path, error: WalkError::Unreadable(errno.into()) });
            }
        }
    }
}

/// What makes a git directory (gitrepository-layout(5)).
#[derive(Clone, Copy, Default)]
struct Marks {
    head: bool,
    objects: bool,
    refs: bool,
}

impl Marks {
    /// Asks a directory for them, up to the first that is not there.
    fn of(at: BorrowedFd<'_>) -> Self {
        let mut marks = Self::default();
        for name in ["HEAD", "objects", "refs"] {
            let Ok(Some(stat)) = dir::stat(at, name, Links::Refuse) else { break };
            marks.see(at, name.as_bytes(), FileType::from_raw_mode(stat.st_mode));
        }
        marks
    }

    fn missing(self) -> Option<&'static str> {
        match self {
            Marks { head: false, .. } => Some("HEAD"),
            Marks { objects: false, .. } => Some("objects"),
            Marks { refs: false, .. } => Some("refs"),
            Marks { head: true, objects: true, refs: true } => None,
        }
    }

    fn count(self) -> u8 {
        u8::from(self.head) + u8::from(self.objects) + u8::from(self.refs)
    }

    fn see(&mut self, at: BorrowedFd<'_>, name: &[u8], kind: FileType) {
        let directory = || match kind {
            FileType::Directory => true,
            // Git follows these.
            FileType::Symlink => leads_to_directory(at, name),
            FileType::RegularFile
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => false,
        };
        match name {
            b"HEAD" => self.head = matches!(kind, FileType::RegularFile | FileType::Symlink),
            b"objects" => self.objects = directory(),
            b"refs" => self.refs = directory(),
            _ => {}
        }
    }
}

fn leads_to_directory(at: BorrowedFd<'_>, name: &[u8]) -> bool {
    let stat = dir::stat(at, name, Links::Follow).ok().flatten();
    stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

struct Walk<'a, 'v> {
    root: &'a Path,
    limits: &'a Limits,
    visit: &'v mut dyn FnMut(Visit<'_>),
    /// Directories to read, relative to the root, with their depth.
    pending: Vec<(PathBuf, usize)>,
    read: usize,
    links: usize,
    too_deep: bool,
}

impl Walk<'_, '_> {
    fn directory(&mut self, path: &Path, relative: &Path, depth: usize) -> Result<(), Errno> {
        let links = if depth == 0 { Links::Follow } else { Links::Refuse };
        let directory = dir::open_below(CWD, path, links)?;
        // Most directories are repositories, which are watched by whoever looks at their refs.
        if Marks::of(directory.as_fd()).missing().is_none() {
            self.found(path.to_owned(), relative);
            return Ok(());
        }
        (self.visit)(Visit::Directory(path));
        let mut entries = Entries::of(directory)?;
        let mut marks = Marks::default();
        let mut dot_git = false;
        let mut below = Vec::new();
        let mut linked = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.name();
            marks.see(entries.fd()?, name, entry.kind);
            if name == b".git" {
                dot_git = entry.kind == FileType::Directory
                    || (entry.kind == FileType::Symlink && leads_to_directory(entries.fd()?, name));
            } else if entry.kind == FileType::Directory {
                below.push(dir::path(name).to_owned());
            } else if entry.kind == FileType::Symlink {
                linked.push(dir::path(name).to_owned());
            }
        }
        if marks.missing().is_none() {
            self.found(path.to_owned(), relative);
            return Ok(());
        }
        if dot_git && self.dot_git(&path.join(".git"), relative)? {
            return Ok(());
        }
        if let Some(missing) = marks.missing().filter(|_| marks.count() > 0) {
            (self.visit)(Visit::InFlux { path: path.to_owned(), missing });
            // Two of three are no chance: objects are not searched for repositories.
            if marks.count() > 1 {
                return Ok(());
            }
        }
        for link in linked {
            self.link(path, &link);
        }
        self.descend(path, relative, depth, below);
        Ok(())
    }

    fn found(&mut self, git_dir: PathBuf, relative: &Path) {
        let relative = if relative.as_os_str().is_empty() { Path::new(".") } else { relative };
        (self.visit)(Visit::Repository(Found { git_dir, relative: relative.to_owned() }));
    }

    /// Looks at a `.git` directory and says whether what holds it is a working tree.
    fn dot_git(&mut self, git_dir: &Path, relative: &Path) -> Result<bool, Errno> {
        let directory = match dir::open(git_dir) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(false),
            Err(error) => {
                let error = WalkError::Unreadable(error.into());
                (self.visit)(Visit::Problem { path: git_dir.to_owned(), error });
                return Ok(true);
            }
        };
        if Marks::of(directory.as_fd()).missing().is_none() {
            self.found(git_dir.to_owned(), relative);
            return Ok(true);
        }
        (self.visit)(Visit::Directory(git_dir));
        let mut entries = Entries::of(directory)?;
        let mut marks = Marks::default();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            marks.see(entries.fd()?, entry.name(), entry.kind);
        }
        match marks.missing() {
            None => self.found(git_dir.to_owned(), relative),
            Some(missing) => (self.visit)(Visit::InFlux { path: git_dir.to_owned(), missing }),
        }
        // Git does not take an empty .git for a repository, either.
        Ok(marks.count() > 0)
    }

    fn link(&mut self, directory: &Path, name: &Path) {
        if self.links == LINKS_NOTED_MAX {
            return;
        }
        let path = directory.join(name);
        let Ok(target) = path.canonicalize() else {
            return;
        };
        let inside = self.root.canonicalize().is_ok_and(|root| target.starts_with(root));
        if !inside && target.is_dir() {
            self.links += 1;
            (self.visit)(Visit::LinkOut { path, target });
        }
    }

    fn descend(&mut self, path: &Path, relative: &Path, depth: usize, mut below: Vec<PathBuf>) {
        if depth < self.limits.depth_max {
            // The last that is put on the stack is read first: in order of name, for those who read the log.
            below.sort_unstable_by(|left, right| right.cmp(left));
            self.pending.extend(below.into_iter().map(|name| (relative.join(name), depth + 1)));
        } else if !below.is_empty() && !self.too_deep {
            self.too_deep = true;
            let error = WalkError::TooDeep { depth_max: self.limits.depth_max };
            (self.visit)(Visit::Problem { path: path.to_owned(), error });
        }
    }
}

fn joined(root: &Path, relative: &Path) -> PathBuf {
    if relative.as_os_str().is_empty() { root.to_owned() } else { root.join(relative) }
}
