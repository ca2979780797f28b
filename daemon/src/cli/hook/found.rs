//! What was found in repositories: the plain data that plans are made of.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::phase::Phase;

/// The program's file name. A link to a file of this name is ours.
pub(super) const PROGRAM: &str = "refwatch-hook";

/// What a former hook has after its name. The program looks for it there.
pub(super) const FORMER: &str = refwatch_hook::FORMER_SUFFIX;

/// What is being made has this after its name until it is whole.
pub(super) const NEW: &str = ".refwatch-new";

/// Stands in a directory of hooks that was made here, and says that it may be removed with the last hook.
pub(super) const MARK: &str = ".refwatch-made";

/// What is at a path where a hook may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Missing,
    /// A link to the program.
    Ours {
        target: PathBuf,
    },
    /// The program itself: a hard link or a copy.
    Copy,
    /// Somebody's file.
    File,
    /// Somebody's symbolic link to a file.
    Link,
    /// A symbolic link that leads to no file.
    Dangling,
    /// Nothing that Git could run; a directory, say.
    Other(&'static str),
}

impl Entry {
    pub(super) const fn is_ours(&self) -> bool {
        matches!(self, Self::Ours { .. } | Self::Copy)
    }

    /// Somebody's hook.
    pub(super) const fn is_hook(&self) -> bool {
        matches!(self, Self::File | Self::Link | Self::Dangling)
    }

    /// Where it leads, if it is a link of ours.
    pub(super) fn target(&self) -> Option<PathBuf> {
        if let Self::Ours { target } = self { Some(target.clone()) } else { None }
    }
}

/// The place of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) phase: Phase,
    pub(super) entry: Entry,
    /// What is at the name with [`FORMER`].
    pub(super) former: Entry,
    /// What is at the name with [`NEW`]; there only after a crash.
    pub(super) new: Entry,
    /// Hook and former hook are two names of one file, as a crash between two steps leaves them.
    pub(super) is_twice: bool,
}

/// A directory of hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hooks {
    pub(super) directory: PathBuf,
    pub(super) is_there: bool,
    /// Files may be made and renamed in it, or it may be made.
    pub(super) is_writable: bool,
    /// It was made by an installation ([`MARK`]).
    pub(super) is_marked: bool,
    pub(super) slots: Vec<Slot>,
    /// Who owns what is made in it.
    pub(super) access: Access,
}

/// Whose a directory is to be, as Git would make it in this repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Access {
    /// `core.sharedRepository` as Git encodes it: 0 leaves modes to the umask, a positive one adds its bits, a negative one
    /// replaces them.
    pub(super) shared: i32,
    /// User and group to give it to, where that is somebody else and we may.
    pub(super) owner: Option<(u32, u32)>,
}

/// The files in a journal's directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    /// Journals, rotated ones too.
    pub(super) journals: u64,
    /// Their length, in bytes.
    pub(super) bytes: u64,
    /// The first name found that is none of ours.
    pub(super) foreign: Option<PathBuf>,
}

/// What is at the journal's place, `<git-dir>/refwatch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Missing,
    Directory(Files),
    /// A link to a directory, or to nothing.
    Link {
        target: PathBuf,
        files: Option<Files>,
    },
    Other(&'static str),
}

/// The directory in a spool that a repository gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spool {
    pub(super) directory: PathBuf,
    pub(super) is_there: bool,
    pub(super) is_empty: bool,
}

/// Where a setting comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its value, with `~` and the like filled in.
    pub(super) path: PathBuf,
    /// The file, or what else says so.
    pub(super) source: String,
    /// The repository itself says so.
    pub(super) is_own: bool,
}

/// Where Git looks for a repository's hooks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum HooksPlace {
    /// Within the repository.
    Inside(PathBuf),
    /// In a directory that other repositories may share.
    Outside {
        directory: PathBuf,
        /// `core.hooksPath`; else `hooks` is a link.
        setting: Option<Setting>,
    },
    /// At no directory: no hook runs.
    Nowhere { path: PathBuf, setting: Option<Setting> },
    /// At two places: a relative path means the git directory in pushes and the working tree else.
    Ambiguous(Setting),
}

/// One repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Repository {
    /// Canonical.
    pub(super) git_dir: PathBuf,
    pub(super) hooks: HooksPlace,
    pub(super) journal: Place,
    /// Where its journal is to be, if a spool was named.
    pub(super) spool: Option<Spool>,
    pub(super) is_writable: bool,
    pub(super) access: Access,
    /// Hooks that its own configuration has for us, with their commands.
    pub(super) configured: BTreeMap<Phase, String>,
}

impl Repository {
    /// Its own directory of hooks, used or not.
    pub(super) fn own_hooks(&self) -> PathBuf {
        self.git_dir.join("hooks")
    }

    pub(super) fn journal_path(&self) -> PathBuf {
        self.git_dir.join(refwatch_hook::DIRECTORY)
    }

    pub(super) fn config_path(&self) -> PathBuf {
        self.git_dir.join("config")
    }
}

/// All that a plan is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) repositories: Vec<Repository>,
    /// Each directory once, however many repositories share it.
    pub(super) hooks: BTreeMap<PathBuf, Hooks>,
}

/// The path with something behind its name.
pub(super) fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
