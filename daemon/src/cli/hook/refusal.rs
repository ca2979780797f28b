//! Why a plan is refused: nothing is touched then.

use std::fmt;
use std::path::PathBuf;

use super::found::{FORMER, HooksPlace, Setting};
use super::phase::Phase;
use super::plan::Way;
use crate::cli::escape::Escaped;

/// What is wrong, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Not a repository, or one that this version does not know.
    NoRepository { path: PathBuf, why: String },
    /// A linked worktree: hooks are its repository's.
    Worktree { path: PathBuf, repository: PathBuf },
    /// Something could not be looked at.
    Unreadable { path: PathBuf, why: String },
    /// Git looks for hooks where we may not, or cannot, put any.
    Elsewhere { git_dir: PathBuf, place: HooksPlace },
    /// `--hooks-path` names a directory that Git does not use here.
    NotThere { git_dir: PathBuf, named: PathBuf, used: PathBuf },
    /// A directory, a device or the like is in a hook's place.
    NoHook { hook: PathBuf, what: &'static str },
    /// A hook that leads to nothing.
    Dangling { hook: PathBuf },
    /// A former hook is kept, and the hook is not ours.
    Taken { hook: PathBuf },
    /// No files can be made there.
    NotWritable { directory: PathBuf },
    /// The journal's place is taken.
    JournalTaken { path: PathBuf, what: String },
    /// The spool has something in the repository's place.
    SpoolTaken { directory: PathBuf },
    /// It is installed in another way, and would be recorded twice.
    Twice { git_dir: PathBuf, phase: Phase, way: Way },
    /// The owner of a repository cannot run the program.
    OutOfReach { program: PathBuf, blocked_at: PathBuf, git_dir: PathBuf },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |path: &PathBuf| Escaped::path(path).to_string();
        match self {
            Self::NoRepository { path, why } | Self::Unreadable { path, why } => {
                write!(f, "{}: {}", of(path), Escaped::text(why))
            }
            Self::Worktree { path, repository } => {
                write!(f, "{}: a linked worktree: name its repository, {}", of(path), of(repository))
            }
            Self::Elsewhere { git_dir, place } => {
                write!(f, "{}: ", of(git_dir))?;
                elsewhere(f, place)
            }
            Self::NotThere { git_dir, named, used } => write!(
                f,
                "{}: Git runs the hooks in {}, not those in {}: set core.hooksPath first, or leave --hooks-path out",
                of(git_dir),
                of(used),
                of(named)
            ),
            Self::NoHook { hook, what } => {
                write!(f, "{}: {what}, which is no hook: move it away first", of(hook))
            }
            Self::Dangling { hook } => {
                write!(f, "{}: a link that leads to no file: mend or delete it first", of(hook))
            }
            Self::Taken { hook } => write!(
                f,
                "{hook}: not ours, though {hook}{FORMER} is kept: somebody replaced the link; delete the one of the two that is \
                 not wanted, or merge them into the first",
                hook = of(hook)
            ),
            Self::NotWritable { directory } => {
                write!(f, "{}: not writable: run this as its owner", of(directory))
            }
            Self::JournalTaken { path, what } => write!(f, "{}: {}", of(path), Escaped::text(what)),
            Self::SpoolTaken { directory } => write!(
                f,
                "{}: has files already, of a repository that was here before: delete it first",
                of(directory)
            ),
            Self::Twice { git_dir, phase, way } => {
                let place = match way {
                    Way::Files => "in its directory of hooks",
                    Way::Configuration => "in its configuration",
                };
                let (path, name) = (of(git_dir), phase.name());
                write!(f, "{path}: {name} is installed {place}, and would be recorded twice: remove it first")
            }
            Self::OutOfReach { program, blocked_at, git_dir } => write!(
                f,
                "{}: its owner could not run {}, since {} keeps others out, and Git would pass over the hooks behind it too: \
                 install the program where everybody may run it",
                of(git_dir),
                of(program),
                of(blocked_at)
            ),
        }
    }
}

/// Why Git would not run hooks in the repository.
pub(super) fn elsewhere(f: &mut impl fmt::Write, place: &HooksPlace) -> fmt::Result {
    let said = |setting: &Setting| {
        let off = if setting.is_own { "" } else { ", so the repository's own hooks are off" };
        format!(
            "core.hooksPath is {} in {}{off}",
            Escaped::path(&setting.path),
            Escaped::text(&setting.source)
        )
    };
    match place {
        HooksPlace::Inside(_) => Ok(()),
        HooksPlace::Outside { directory, setting } => {
            let why = match setting {
                Some(setting) => said(setting),
                None => format!("hooks is a link to {}", Escaped::path(directory)),
            };
            let path = Escaped::path(directory);
            write!(
                f,
                "{why}; other repositories may share that directory: pass --hooks-path {path} to install there"
            )
        }
        HooksPlace::Nowhere { path, setting } => {
            let why = setting.as_ref().map_or_else(|| "hooks is no directory".to_owned(), said);
            write!(f, "{why}; {} is no directory, so Git runs no hook", Escaped::path(path))
        }
        HooksPlace::Ambiguous(setting) => write!(
            f,
            "{}, a relative path: for pushes it is below the git directory, for other commands below the working tree; make it \
             absolute first",
            said(setting)
        ),
    }
}
