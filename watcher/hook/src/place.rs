//! Where the journal of the repository is that Git runs a hook for.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use refwatch_hook::{DIRECTORY, JOURNAL};

/// Longest `commondir` file, in bytes: that of a path (`PATH_MAX`).
const COMMONDIR_BYTES_MAX: u64 = 4096;

/// The journal, and which worktree Git runs in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) journal: PathBuf,
    /// The directory's name below `worktrees/`; empty for the repository itself.
    pub(crate) worktree: OsString,
}

/// Finds the journal of a git directory: that of the repository where it is a linked worktree's
/// (gitrepository-layout(5), `commondir`).
pub(crate) fn find(git_dir: &OsStr) -> io::Result<Place> {
    let git_dir = Path::new(git_dir);
    let (common, worktree) = match File::open(git_dir.join("commondir")) {
        Ok(file) => {
            let mut bytes = Vec::new();
            file.take(COMMONDIR_BYTES_MAX).read_to_end(&mut bytes)?;
            bytes.truncate(bytes.trim_ascii_end().len());
            (git_dir.join(OsString::from_vec(bytes)), worktree(git_dir)?)
        }
        Err(_) => (git_dir.to_owned(), OsString::new()),
    };
    Ok(Place { journal: common.join(DIRECTORY).join(JOURNAL), worktree })
}

fn worktree(git_dir: &Path) -> io::Result<OsString> {
    // Given as `.` the directory has no name of its own.
    let named = match git_dir.file_name() {
        Some(name) => Some(name.to_owned()),
        None => git_dir.canonicalize()?.file_name().map(OsStr::to_owned),
    };
    named.ok_or_else(|| io::ErrorKind::InvalidInput.into())
}
