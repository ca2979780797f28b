//! Does what a plan says, and undoes it.
//!
//! Every step is one atomic change, or a few whose every state in between is one that plans understand. So a crash at any
//! moment leaves what the next `install` or `remove` goes on from, and what runs the former hooks until then.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::configured;
use super::found::{Access, MARK, NEW, with};
use super::look::is_journal;
use super::step::{Mark, SETTLE_MS, Step};

/// How often a journal's directory is emptied anew: a hook that was already running may write once more.
const EMPTYINGS_MAX: usize = 8;

/// A step that failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {source}")]
pub(super) struct ApplyError {
    /// What was to be done.
    pub(super) step: String,
    /// Why it was not.
    pub(super) source: io::Error,
}

/// Does one step. Where it fails, nothing of it was done.
pub(super) fn apply(step: &Step) -> Result<(), ApplyError> {
    let done = match step {
        Step::MakeDirectory { path, access, mark } => make_directory(path, *access, *mark),
        Step::LinkJournal { path, target } | Step::Place { hook: path, target } => symlink(target, path),
        Step::Wrap { hook, former, target } => wrap(hook, former, target),
        Step::Cover { hook, target, .. } | Step::Repoint { hook, target, .. } => place_over(hook, target),
        Step::Restore { hook, former } => rename_new(former, hook),
        Step::Uncover { hook, former, was } => uncover(hook, former, was.as_deref()),
        Step::Settle => {
            std::thread::sleep(Duration::from_millis(SETTLE_MS));
            Ok(())
        }
        Step::Drop { path, .. } | Step::DropName { path, .. } | Step::DropLink { path, .. } => {
            gone(fs::remove_file(path))
        }
        Step::DropHooks { path } => drop_hooks(path),
        Step::DropJournal { directory, and_directory, .. } => drop_journal(directory, *and_directory),
        Step::Configure { config, phase, command } => configured::set(config, *phase, command),
        Step::Unconfigure { config, phase, .. } => configured::unset(config, *phase),
    };
    done.map_err(|source| ApplyError { step: step.to_string(), source })
}

/// Undoes a step that was done.
pub(super) fn undo(step: &Step) -> Result<(), ApplyError> {
    let relink = |path: &Path, was: &Option<PathBuf>| match was {
        Some(target) => symlink(target, path),
        // A copy of the program: where it came from is not known.
        None => Err(io::ErrorKind::Unsupported.into()),
    };
    let undone = match step {
        Step::MakeDirectory { path, mark: Mark::Set, .. } => drop_hooks(path),
        Step::MakeDirectory { path, mark: Mark::Leave, .. } => drop_journal(path, true),
        Step::LinkJournal { path, .. } | Step::Place { hook: path, .. } => gone(fs::remove_file(path)),
        Step::Wrap { hook, former, target } | Step::Cover { hook, former, target } => {
            restore(hook, former, Some(target))
        }
        Step::Repoint { hook, was, .. } => place_over(hook, was),
        Step::Restore { hook, former } => rename_new(hook, former),
        Step::Uncover { hook, former, was } => match was {
            Some(target) if former.is_symlink() || former.exists() => place_over(hook, target),
            Some(target) => wrap(hook, former, target),
            None => Err(io::ErrorKind::Unsupported.into()),
        },
        Step::DropName { path, hook } => fs::hard_link(hook, path),
        Step::Settle => Ok(()),
        Step::Drop { path, was } => relink(path, was),
        Step::DropLink { path, was } => symlink(was, path),
        Step::Configure { config, phase, .. } => configured::unset(config, *phase),
        Step::Unconfigure { config, phase, command } => configured::set(config, *phase, command),
        Step::DropHooks { .. } | Step::DropJournal { .. } => Err(io::ErrorKind::Unsupported.into()),
    };
    undone.map_err(|source| ApplyError { step: format!("undo: {step}"), source })
}

/// What is gone need not go.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes a directory beside its place and renames it there, so that none is ever seen that others own or that has no
/// mark yet.
fn make_directory(path: &Path, access: Access, mark: Mark) -> io::Result<()> {
    let new = with(path, NEW);
    gone(fs::remove_file(new.join(MARK)))?;
    gone(fs::remove_dir(&new))?;
    fs::create_dir(&new)?;
    let made = (|| {
        if mark == Mark::Set {
            fs::write(new.join(MARK), "")?;
        }
        if let Some((user, group)) = access.owner {
            chown(&new, Some(user), Some(group))?;
            if mark == Mark::Set {
                chown(new.join(MARK), Some(user), Some(group))?;
            }
        }
        let mode = fs::metadata(&new)?.permissions().mode();
        let wanted = shared_mode(mode, access.shared);
        if wanted != mode {
            fs::set_permissions(&new, Permissions::from_mode(wanted))?;
        }
        rename_new(&new, path)
    })();
    if made.is_err() {
        // It was empty but for the mark. If it cannot go, the next attempt takes it away.
        drop(fs::remove_file(new.join(MARK)));
        drop(fs::remove_dir(&new));
    }
    made
}

/// The mode that Git gives a directory (path.c, `adjust_shared_perm`).
fn shared_mode(mode: u32, shared: i32) -> u32 {
    const GROUP_READ_WRITE: u32 = 0o060;
    const SET_GROUP_ID: u32 = 0o2000;
    let bits = shared.unsigned_abs();
    let mode = match shared {
        0 => return mode,
        1.. => mode | bits,
        ..0 => mode & !0o777 | bits,
    };
    let mode = mode | (mode & 0o444) >> 2;
    if mode & GROUP_READ_WRITE == 0 { mode } else { mode | SET_GROUP_ID }
}

/// Exchanges a hook and a link, which was put beside it, in one step.
///
/// A former hook is so never out of its place, and no file is made but by its name: inode, mode and times stay.
fn wrap(hook: &Path, former: &Path, target: &Path) -> io::Result<()> {
    symlink(target, former)?;
    let exchanged = match renameat_with(CWD, hook, CWD, former, RenameFlags::EXCHANGE) {
        Ok(()) => return Ok(()),
        Err(errno) => errno,
    };
    fs::remove_file(former)?;
    match exchanged {
        Errno::INVAL | Errno::NOSYS | Errno::NOTSUP => wrap_by_name(hook, former, target),
        errno => Err(errno.into()),
    }
}

/// As [`wrap`], where the filesystem cannot exchange (NFS, say): gives the hook its second name first.
fn wrap_by_name(hook: &Path, former: &Path, target: &Path) -> io::Result<()> {
    // The link itself where the hook is one.
    fs::hard_link(hook, former)?;
    place_over(hook, target).inspect_err(|_| {
        // Its first name is still there.
        drop(fs::remove_file(former));
    })
}

/// Puts a link over whatever is at a path, in one step.
fn place_over(hook: &Path, target: &Path) -> io::Result<()> {
    let new = with(hook, NEW);
    symlink(target, &new)?;
    fs::rename(&new, hook).inspect_err(|_| drop(fs::remove_file(&new)))
}

/// Renames a former hook back over the link that leads to `was`, in one step. Without, over what was found: nothing, or
/// a copy of the program.
fn restore(hook: &Path, former: &Path, was: Option<&Path>) -> io::Result<()> {
    unchanged(hook, was)?;
    fs::rename(former, hook)
}

/// As [`restore`], and leaves the former hook its other name as well: a hook of ours that was started before would find
/// nobody to ask, and let pass what is to be refused.
fn uncover(hook: &Path, former: &Path, was: Option<&Path>) -> io::Result<()> {
    unchanged(hook, was)?;
    let new = with(hook, NEW);
    match fs::hard_link(former, &new) {
        Ok(()) => fs::rename(&new, hook).inspect_err(|_| drop(fs::remove_file(&new))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
        // The filesystem has no second names, or they are for the file's owner only.
        Err(_) => fs::rename(former, hook),
    }
}

/// Renames to a name that is free.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE).or_else(|errno| match errno {
        // A filesystem without it.
        Errno::INVAL | Errno::NOSYS if fs::symlink_metadata(to).is_err() => rustix::fs::rename(from, to),
        errno => Err(errno),
    })?)
}

/// Fails where the link at a hook's place is not the one that was found there.
fn unchanged(hook: &Path, was: Option<&Path>) -> io::Result<()> {
    // Somebody may have put another hook here since we looked.
    let is_changed = was.is_some_and(|was| match fs::read_link(hook) {
        Ok(leads) => leads != was,
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    });
    if is_changed {
        return Err(io::Error::other("the hook was changed meanwhile"));
    }
    Ok(())
}

fn drop_hooks(path: &Path) -> io::Result<()> {
    gone(fs::remove_file(path.join(MARK)))?;
    match gone(fs::remove_dir(path)) {
        // Somebody has a hook in it by now.
        Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
        removed => removed,
    }
}

fn drop_journal(directory: &Path, and_directory: bool) -> io::Result<()> {
    for _ in 0..EMPTYINGS_MAX {
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            if is_journal(entry.file_name().as_encoded_bytes()) && entry.file_type()?.is_file() {
                gone(fs::remove_file(entry.path()))?;
            }
        }
        if !and_directory {
            return Ok(());
        }
        match gone(fs::remove_dir(directory)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => return removed,
        }
    }
    Err(io::ErrorKind::DirectoryNotEmpty.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn modes_are_those_of_git() {
        for (mode, shared, wanted) in [
            (0o755, 0, 0o755),
            (0o755, 0o660, 0o2775),
            (0o700, 0o660, 0o2770),
            (0o755, 0o664, 0o2775),
            (0o755, -0o640, 0o2750),
            (0o755, -0o600, 0o700),
            (0o2755, 0o660, 0o2775),
        ] {
            assert_eq!(shared_mode(mode, shared), wanted, "{mode:o} {shared:o}");
        }
    }

    /// A hook of each kind is wrapped by each way and comes back the same file.
    #[test]
    fn a_wrapped_hook_comes_back_the_same_file() {
        type Way = fn(&Path, &Path, &Path) -> io::Result<()>;
        let ways: [(&str, Way); 2] = [("exchange", wrap), ("name", wrap_by_name)];
        for (name, way) in ways {
            for is_link in [false, true] {
                let home = tempfile::tempdir().expect("a directory");
                let (hook, former) = (home.path().join("update"), home.path().join("update.refwatch-former"));
                if is_link {
                    symlink("/bin/true", &hook).expect("linked");
                } else {
                    fs::write(&hook, "#!/bin/sh\n").expect("written");
                    fs::set_permissions(&hook, Permissions::from_mode(0o751)).expect("set");
                }
                let seen = |path: &Path| {
                    let found = fs::symlink_metadata(path).expect("there");
                    (found.ino(), found.mode(), found.mtime_nsec(), found.len())
                };
                let before = seen(&hook);
                way(&hook, &former, Path::new("/x/refwatch-hook")).expect("wrapped");
                assert_eq!(fs::read_link(&hook).expect("a link"), Path::new("/x/refwatch-hook"), "{name}");
                assert_eq!(seen(&former), before, "{name}");
                uncover(&hook, &former, Some(Path::new("/another"))).expect_err("another link");
                uncover(&hook, &former, Some(Path::new("/x/refwatch-hook"))).expect("restored");
                assert_eq!((seen(&hook), seen(&former)), (before, before), "{name}: both names");
                fs::remove_file(&former).expect("removed");
                assert_eq!(seen(&hook), before, "{name}");
                assert_eq!(fs::read_dir(home.path()).expect("read").count(), 1, "{name}");
            }
        }
    }

    #[test]
    fn a_wrap_that_fails_leaves_everything_as_it_was() {
        let home = tempfile::tempdir().expect("a directory");
        let (hook, former) = (home.path().join("update"), home.path().join("update.refwatch-former"));
        for way in [wrap, wrap_by_name] {
            way(&hook, &former, Path::new("/x/refwatch-hook")).expect_err("there is no hook");
            assert_eq!(fs::read_dir(home.path()).expect("read").count(), 0);
        }
        fs::write(&hook, "hook").expect("written");
        fs::write(&former, "former").expect("written");
        for way in [wrap, wrap_by_name] {
            way(&hook, &former, Path::new("/x/refwatch-hook")).expect_err("the name is taken");
            assert_eq!(fs::read(&hook).expect("read"), b"hook");
            assert_eq!(fs::read(&former).expect("read"), b"former");
        }
    }

    #[test]
    fn only_journals_are_deleted_and_what_else_is_there_keeps_the_directory() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("refwatch");
        fs::create_dir(&directory).expect("made");
        for name in ["journal", "journal.7", "journal.x"] {
            fs::write(directory.join(name), name).expect("written");
        }
        drop_journal(&directory, false).expect("dropped");
        assert_eq!(fs::read_dir(&directory).expect("read").count(), 1);
        drop_journal(&directory, true).expect_err("not empty");
        fs::rename(directory.join("journal.x"), directory.join("journal.8")).expect("renamed");
        drop_journal(&directory, true).expect("dropped");
        assert!(!directory.exists());
        drop_journal(&directory, true).expect("gone already");
    }

    #[test]
    fn every_undoable_step_is_undone() {
        let home = tempfile::tempdir().expect("a directory");
        let at = |name: &str| home.path().join(name);
        let target = PathBuf::from("/x/refwatch-hook");
        let access = Access { shared: 0o660, owner: None };
        fs::write(at("update"), "hook").expect("written");
        symlink("/y/refwatch-hook", at("post-receive")).expect("linked");
        let tree = || {
            let mut names: Vec<_> = fs::read_dir(home.path())
                .expect("read")
                .map(|entry| entry.expect("read").path())
                .map(|path| (path.clone(), fs::read_link(&path).ok(), fs::read(&path).ok()))
                .collect();
            names.sort();
            names
        };
        for step in [
            Step::MakeDirectory { path: at("hooks"), access, mark: Mark::Set },
            Step::MakeDirectory { path: at("refwatch"), access, mark: Mark::Leave },
            Step::LinkJournal { path: at("refwatch"), target: "/spool".into() },
            Step::Place { hook: at("pre-receive"), target: target.clone() },
            Step::Wrap { hook: at("update"), former: at("update.refwatch-former"), target: target.clone() },
            Step::Repoint { hook: at("post-receive"), target, was: "/y/refwatch-hook".into() },
            Step::Drop { path: at("post-receive"), was: Some("/y/refwatch-hook".into()) },
            Step::Restore { hook: at("former"), former: at("update") },
        ] {
            let before = tree();
            apply(&step).unwrap_or_else(|error| panic!("{error}"));
            assert_ne!(tree(), before, "{step}");
            undo(&step).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(tree(), before, "{step}");
        }
    }
}
