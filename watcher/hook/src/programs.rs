//! What is to be run for a hook: the one that stood there before, and those in the directory beside it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use refwatch_hook::former::runs_directory;
use refwatch_hook::record::FORMER;
use refwatch_hook::{DIRECTORY_SUFFIX, FORMER_SUFFIX, PROGRAMS_MAX};

/// A link to the file that this process runs (proc_pid_exe(5)).
const OWN_FILE: &str = "/proc/self/exe";

/// One program to run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// What records call it.
    pub(crate) name: OsString,
    pub(crate) path: PathBuf,
    /// What it is told that it was started by.
    pub(crate) started_as: PathBuf,
}

/// The programs to run for the hook at a path, in the order of their exit statuses: the former one, then by name. Where the
/// former one runs those of the directory by itself, it is alone.
///
/// # Errors
/// Where the directory is there and cannot be listed, or holds too many: what it was to judge must not pass unseen.
pub(crate) fn of(hook: &Path) -> io::Result<Vec<Program>> {
    let mut programs = listed(&directory(hook))?;
    if let Some(former) = former(hook) {
        let name = hook.file_name().unwrap_or_default();
        if !programs.is_empty() && runs_directory(&former.path, name) {
            programs.clear();
        }
        programs.insert(0, former);
    }
    Ok(programs)
}

/// The directory beside a hook, whose programs are run with it.
pub(crate) fn directory(hook: &Path) -> PathBuf {
    with_suffix(hook, DIRECTORY_SUFFIX)
}

/// The program that stood at a hook's path before, unless it is this one: it would be its own former hook without end.
pub(crate) fn former(hook: &Path) -> Option<Program> {
    let path = with_suffix(hook, FORMER_SUFFIX);
    let found = executable(&path)?;
    let identity = |found: &Metadata| (found.dev(), found.ino());
    let started_as = match fs::metadata(OWN_FILE) {
        Ok(own) if identity(&own) == identity(&found) => return None,
        // Programs that are several hooks ask by what name they were started.
        Ok(_) => hook.to_owned(),
        // Another name than the hook's makes this program do nothing, should it be this one.
        Err(_) => path.clone(),
    };
    Some(Program { name: FORMER.into(), path, started_as })
}

fn listed(directory: &Path) -> io::Result<Vec<Program>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let mut programs = Vec::new();
    for entry in entries {
        let entry = entry?;
        let path = entry.path();
        if executable(&path).is_none() {
            continue;
        }
        if programs.len() == PROGRAMS_MAX {
            return Err(io::Error::other(format!("more than {PROGRAMS_MAX} programs")));
        }
        programs.push(Program { name: entry.file_name(), started_as: path.clone(), path });
    }
    programs.sort_unstable_by(|left, right| left.name.cmp(&right.name));
    Ok(programs)
}

/// A file that may be run. As Git, this passes over hooks that may not be executed. Git asks whether the user may; this
/// asks whether anybody may, and running it shows the rest.
fn executable(path: &Path) -> Option<Metadata> {
    let found = fs::metadata(path).ok()?;
    (found.is_file() && found.permissions().mode() & 0o111 != 0).then_some(found)
}

fn with_suffix(hook: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(hook);
    path.push(OsStr::new(suffix));
    path.into()
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs::Permissions;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn executable_files_are_run_the_former_first_and_the_others_by_name() {
        let home = TempDir::new().expect("a temporary directory");
        let hook = home.path().join("update");
        assert_eq!(of(&hook).expect("listed"), []);
        let directory = home.path().join("update.d");
        fs::write(&directory, "").expect("written");
        assert_eq!(of(&hook).expect("a file is no directory"), []);
        fs::remove_file(&directory).expect("removed");
        fs::create_dir_all(directory.join("a directory")).expect("made");
        for (name, mode) in [("20", 0o755), ("10", 0o700), ("b", 0o100), ("A", 0o001), ("none", 0o644)] {
            fs::write(directory.join(name), "").expect("written");
            fs::set_permissions(directory.join(name), Permissions::from_mode(mode)).expect("set");
        }
        symlink("20", directory.join("link")).expect("linked");
        symlink("nowhere", directory.join("dangling")).expect("linked");
        let former = home.path().join("update.refwatch-former");
        fs::write(&former, "").expect("written");
        let names = || -> Vec<_> { of(&hook).expect("listed").into_iter().map(|found| found.name).collect() };
        assert_eq!(names(), ["10", "20", "A", "b", "link"]);
        fs::set_permissions(&former, Permissions::from_mode(0o755)).expect("set");
        assert_eq!(names(), ["former", "10", "20", "A", "b", "link"]);
        assert_eq!(of(&hook).expect("listed")[1].path, directory.join("10"));
        fs::write(&former, "exec run-parts hooks/update.d").expect("written");
        assert_eq!(names(), ["former"]);
    }

    #[test]
    fn the_former_hook_is_started_as_the_hook_unless_it_is_this_program() {
        let home = TempDir::new().expect("a temporary directory");
        let hook = home.path().join("update");
        let path = home.path().join("update.refwatch-former");
        symlink("/bin/sh", &path).expect("linked");
        let expected = Program { name: FORMER.into(), path: path.clone(), started_as: hook.clone() };
        assert_eq!(former(&hook), Some(expected));
        fs::remove_file(&path).expect("removed");
        symlink(env::current_exe().expect("known"), &path).expect("linked");
        assert_eq!(former(&hook), None);
    }

    #[test]
    fn more_programs_than_are_run_are_an_error() {
        let home = TempDir::new().expect("a temporary directory");
        let directory = home.path().join("update.d");
        fs::create_dir(&directory).expect("made");
        let add = |number: usize| symlink("/bin/sh", directory.join(number.to_string())).expect("linked");
        (0..PROGRAMS_MAX).for_each(add);
        assert_eq!(of(&home.path().join("update")).expect("listed").len(), PROGRAMS_MAX);
        add(PROGRAMS_MAX);
        assert!(of(&home.path().join("update")).is_err());
    }
}
