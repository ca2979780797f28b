//! What kind of repository a directory is: how it stores refs, which hash it uses, whether it has a working tree.

mod config;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use refwatch_core::ObjectFormat;
use refwatch_core::classify::Bareness;
pub use refwatch_core::{FsIdentity, RefStorage};
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::dir::{self, Links};
use config::{Config, boolean};

/// What must be known of a repository before its refs can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Absolute path of the git directory; where there are linked worktrees, of the one they share.
    pub git_dir: Arc<Path>,
    /// The identity of that directory: what is at its path is read only while it is this one.
    pub identity: FsIdentity,
    /// How refs are stored.
    pub storage: RefStorage,
    /// The hash function of its object ids.
    pub format: ObjectFormat,
    /// Whether it has a working tree of its own.
    pub bareness: Bareness,
    /// Some `remote.<name>.mirror` is true: the repository follows another.
    pub mirror: bool,
}

/// Why a directory cannot be read as a repository.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nothing here says Git; also the git directory of a linked worktree, which is part of another repository.
    #[error("{path}: not a git repository", path = path.display())]
    NotARepository {
        /// The directory.
        path: PathBuf,
    },
    /// Half of a repository: being made, or being deleted. Look again.
    #[error("{path}: {missing} is missing: the repository is being made or deleted", path = path.display())]
    InFlux {
        /// The directory.
        path: PathBuf,
        /// The first thing found missing: `HEAD`, `objects` or `refs`.
        missing: &'static str,
    },
    /// The operating system refused.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// What could not be read.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A repository format that this version does not know; guessing would invent events.
    #[error("{path}: unsupported {what}", path = path.display())]
    Unsupported {
        /// The config file.
        path: PathBuf,
        /// The key and its value.
        what: String,
    },
    /// The config file does not parse where it matters.
    #[error("{path}:{line}: {reason}", path = path.display())]
    BadConfig {
        /// The config file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
}

/// Longest config file that is read, in bytes.
pub const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// Room for a config file in one read, in bytes.
const CONFIG_READ: u64 = 2048;

/// Looks at a git directory and says how to read it.
///
/// What makes a repository: `HEAD`, `objects/` and `refs/` (gitrepository-layout(5)). Only the repository's own config
/// is read: nothing it includes, nothing of the user's or the system's, nothing it could have executed.
///
/// # Errors
/// [`ProbeError`].
pub fn probe(git_dir: &Path) -> Result<Layout, ProbeError> {
    let git_dir = std::path::absolute(git_dir)
        .map_err(|source| ProbeError::Unreadable { path: git_dir.to_owned(), source })?;
    let unreadable = |name: &str, errno: Errno| ProbeError::Unreadable {
        path: dir::below(&git_dir, name.as_bytes()),
        source: errno.into(),
    };
    let directory = match dir::open(&git_dir) {
        Ok(directory) => directory,
        Err(Errno::NOENT | Errno::NOTDIR) => return Err(ProbeError::NotARepository { path: git_dir }),
        Err(error) => return Err(unreadable("", error)),
    };
    // Of what is read, and not of what may be at the path before or after.
    let identity = dir::identity(&directory, "", rustix::fs::AtFlags::EMPTY_PATH);
    let identity = identity.map_err(|error| unreadable("", error))?;
    let mut missing = None;
    let mut present = 0;
    // A HEAD that is a symbolic link may dangle: it is Git's old way of writing a symbolic ref.
    for (name, links) in [("HEAD", Links::Refuse), ("objects", Links::Follow), ("refs", Links::Follow)] {
        let stat = dir::stat(&directory, name, links).map_err(|error| unreadable(name, error))?;
        let fits = stat.is_some_and(|stat| {
            (FileType::from_raw_mode(stat.st_mode) == FileType::Directory) == (name != "HEAD")
        });
        if fits {
            present += 1;
        } else {
            missing = missing.or(Some(name));
        }
    }
    if let Some(missing) = missing {
        let linked = dir::stat(&directory, "commondir", Links::Refuse)
            .map_err(|error| unreadable("commondir", error))?;
        return Err(match (present, linked) {
            (0, _) | (_, Some(_)) => ProbeError::NotARepository { path: git_dir },
            (_, None) => ProbeError::InFlux { path: git_dir, missing },
        });
    }
    let config = read_config(&directory, &git_dir, "config")?.unwrap_or_default();
    let mut layout = interpret(&config, git_dir, identity)?;
    if config.extensions.iter().any(|(key, value)| key == "worktreeconfig" && boolean(value) == Some(true))
        && let Some(own) = read_config(&directory, &layout.git_dir, "config.worktree")?
    {
        let bare = own.bare.or(config.bare);
        layout.bareness = bareness(bare, own.worktree || config.worktree, &layout.git_dir);
    }
    Ok(layout)
}

fn read_config(
    directory: &OwnedFd,
    git_dir: &Path,
    name: &'static str,
) -> Result<Option<Config>, ProbeError> {
    let path = || git_dir.join(name);
    let bytes = dir::open_file(directory, name, Links::Follow)
        .and_then(|file| dir::read_whole(&file, CONFIG_READ, CONFIG_BYTES_MAX));
    match bytes {
        Ok(bytes) => config::parse(&bytes).map(Some).map_err(|bad| ProbeError::BadConfig {
            path: path(),
            line: bad.line,
            reason: bad.reason,
        }),
        // Git takes a repository without one, too.
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(ProbeError::Unreadable { path: path(), source: error.into() }),
    }
}

/// Applies Git's rules of `Documentation/technical/repository-version.adoc`.
fn interpret(config: &Config, git_dir: PathBuf, identity: FsIdentity) -> Result<Layout, ProbeError> {
    let unsupported = |what: String| ProbeError::Unsupported { path: git_dir.join("config"), what };
    let version = match config.format_version.as_deref() {
        None | Some("" | "0") => 0,
        Some("1") => 1,
        Some(other) => return Err(unsupported(format!("core.repositoryFormatVersion = {other}"))),
    };
    let mut storage = RefStorage::Files;
    let mut format = ObjectFormat::Sha1;
    for (key, value) in &config.extensions {
        let known = match (key.as_str(), value.as_str()) {
            ("objectformat" | "refstorage", _) if version == 0 => false,
            ("objectformat", "sha1") => {
                format = ObjectFormat::Sha1;
                true
            }
            ("objectformat", "sha256") => {
                format = ObjectFormat::Sha256;
                true
            }
            ("refstorage", "files") => {
                storage = RefStorage::Files;
                true
            }
            ("refstorage", "reftable") => {
                storage = RefStorage::Reftable;
                true
            }
            // None of these changes where refs are or how they read.
            (
                "noop"
                | "noop-v1"
                | "preciousobjects"
                | "partialclone"
                | "worktreeconfig"
                | "compatobjectformat"
                | "relativeworktrees"
                | "submodulepathconfig",
                _,
            ) => true,
            // Version 0 ignores what it does not know.
            ("objectformat" | "refstorage", _) => false,
            _ => version == 0,
        };
        if !known {
            return Err(unsupported(format!("extensions.{key} = {value} (repository format {version})")));
        }
    }
    let bareness = bareness(config.bare, config.worktree, &git_dir);
    Ok(Layout { identity, storage, format, bareness, mirror: config.mirror, git_dir: git_dir.into() })
}

fn bareness(bare: Option<bool>, worktree: bool, git_dir: &Path) -> Bareness {
    match bare {
        Some(true) => Bareness::Bare,
        Some(false) => Bareness::Worktree,
        // What Git guesses where it is not told.
        None if worktree || git_dir.file_name().is_some_and(|name| name == ".git") => Bareness::Worktree,
        None => Bareness::Bare,
    }
}

/// The identity of a git directory on its filesystem.
///
/// # Errors
/// What the operating system says where the directory cannot be asked.
pub fn identity(git_dir: &Path) -> io::Result<FsIdentity> {
    Ok(dir::identity(rustix::fs::CWD, git_dir, rustix::fs::AtFlags::empty())?)
}
