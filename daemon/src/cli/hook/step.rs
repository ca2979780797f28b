//! The steps that a plan consists of.

use std::fmt;
use std::path::PathBuf;

use super::found::Access;
use super::phase::Phase;
use crate::cli::escape::Escaped;

/// How long a hook that was started is given to find the former one, in milliseconds.
pub(super) const SETTLE_MS: u64 = 1000;

/// One change. Each is one atomic change of the filesystem, or leaves what a plan understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Makes a directory, whole at once.
    MakeDirectory { path: PathBuf, access: Access, mark: Mark },
    /// Links a journal's place to a spool.
    LinkJournal { path: PathBuf, target: PathBuf },
    /// Links a hook where there is none.
    Place { hook: PathBuf, target: PathBuf },
    /// Puts a link in a hook's place, which is kept beside it. At every moment one of them runs the hook that was there.
    Wrap { hook: PathBuf, former: PathBuf, target: PathBuf },
    /// Puts a link over a hook that is kept beside it already.
    Cover { hook: PathBuf, former: PathBuf, target: PathBuf },
    /// Lets a link of ours lead elsewhere.
    Repoint { hook: PathBuf, target: PathBuf, was: PathBuf },
    /// Puts a former hook back into its place, where nothing is.
    Restore { hook: PathBuf, former: PathBuf },
    /// Deletes what is ours.
    Drop { path: PathBuf, was: Option<PathBuf> },
    /// Puts a former hook back over the link, and lets it keep its other name.
    Uncover { hook: PathBuf, former: PathBuf, was: Option<PathBuf> },
    /// Waits for hooks of ours that were started before they were taken away, and have yet to find the former one.
    Settle,
    /// Deletes a hook's other name.
    DropName { path: PathBuf, hook: PathBuf },
    /// Deletes a directory that was made here, if it is empty but for its mark.
    DropHooks { path: PathBuf },
    /// Deletes the files of a journal, and its directory unless something else is in it.
    DropJournal { directory: PathBuf, journals: u64, bytes: u64, and_directory: bool },
    /// Deletes the link to a spool.
    DropLink { path: PathBuf, was: PathBuf },
    /// Writes a hook into a repository's configuration.
    Configure { config: PathBuf, phase: Phase, command: String },
    /// Takes it out.
    Unconfigure { config: PathBuf, phase: Phase, command: String },
}

/// Whether a directory says that it was made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Leave,
    Set,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = |path: &PathBuf| Escaped::path(path).to_string();
        match self {
            Self::MakeDirectory { path, access, .. } => {
                write!(f, "make directory {}", of(path))?;
                if access.shared != 0 {
                    f.write_str(", shared as core.sharedRepository says")?;
                }
                match access.owner {
                    Some((user, group)) => write!(f, ", owned by {user}:{group}"),
                    None => Ok(()),
                }
            }
            Self::LinkJournal { path, target } => write!(f, "link {} to {}", of(path), of(target)),
            Self::Place { hook, target } => write!(f, "link {} to {}", of(hook), of(target)),
            Self::Wrap { hook, former, target } | Self::Cover { hook, former, target } => {
                write!(
                    f,
                    "keep {} as {}, and put a link to {} in its place",
                    of(hook),
                    of(former),
                    of(target)
                )
            }
            Self::Repoint { hook, target, was } => {
                write!(f, "link {} to {} instead of {}", of(hook), of(target), of(was))
            }
            Self::Uncover { hook, former, .. } => {
                write!(f, "put {} back in place of {}", of(former), of(hook))
            }
            Self::Settle => write!(f, "wait {SETTLE_MS} ms for hooks that are starting"),
            Self::Restore { hook, former } => write!(f, "rename {} back to {}", of(former), of(hook)),
            Self::Drop { path, .. } | Self::DropName { path, .. } | Self::DropLink { path, .. } => {
                write!(f, "delete {}", of(path))
            }
            Self::DropHooks { path } => write!(f, "delete directory {} if it is empty", of(path)),
            Self::DropJournal { directory, journals, bytes, and_directory } => {
                let files = if *journals == 1 { "journal" } else { "journals" };
                match (journals, and_directory) {
                    (0, _) => write!(f, "delete directory {}", of(directory)),
                    (_, true) => write!(
                        f,
                        "delete directory {} with {journals} {files} of {bytes} bytes",
                        of(directory)
                    ),
                    (_, false) => {
                        write!(f, "delete {journals} {files} of {bytes} bytes in {}", of(directory))
                    }
                }
            }
            Self::Configure { config, phase, command } => {
                write!(f, "write {}.command = {} to {}", section(*phase), Escaped::text(command), of(config))
            }
            Self::Unconfigure { config, phase, .. } => {
                write!(f, "take {} out of {}", section(*phase), of(config))
            }
        }
    }
}

/// The section of the configuration that is ours for a hook.
pub(super) fn section(phase: Phase) -> String {
    format!("hook.{}", friendly(phase))
}

/// The name of a configured hook of ours.
pub(super) fn friendly(phase: Phase) -> String {
    format!("refwatch-{}", phase.name())
}
