//! Looks at repositories, and touches nothing.

use std::collections::btree_map::Entry::Vacant;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use refwatch_hook::JOURNAL;
use rustix::fs::Access as Ask;

use super::configuration::{self, Configuration};
use super::found::{
    Access, Entry, FORMER, Files, Found, Hooks, HooksPlace, MARK, NEW, PROGRAM, Place, Repository, Slot,
    Spool, with,
};
use super::phase::Phase;
use super::program::Program;
use super::refusal::Refusal;

/// What to look for, besides the repositories themselves.
#[derive(Clone, Debug, Default)]
pub(super) struct Look<'a> {
    /// The program, to know copies of it by.
    pub(super) program: Option<&'a Program>,
    /// The directory that journals are to be in.
    pub(super) spool: Option<&'a Path>,
}

/// Looks at every repository and at each directory of hooks once.
pub(super) fn at(paths: &[PathBuf], look: &Look<'_>) -> Result<Found, Vec<Refusal>> {
    let mut found = Found::default();
    let mut refusals = Vec::new();
    for path in paths {
        if let Err(refusal) = repository(path, look, &mut found) {
            refusals.push(refusal);
        }
    }
    if refusals.is_empty() { Ok(found) } else { Err(refusals) }
}

/// Looks at one repository, and adds it unless it is there already.
pub(super) fn repository(path: &Path, look: &Look<'_>, found: &mut Found) -> Result<(), Refusal> {
    let configuration = configuration::open(path)?;
    let git_dir = configuration.git_dir.clone();
    if found.repositories.iter().any(|repository| repository.git_dir == git_dir) {
        return Ok(());
    }
    let unreadable = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Refusal::Unreadable { path, why: error.to_string() }
    };
    let access = Access {
        shared: configuration.shared,
        owner: other_owner(&fs::metadata(&git_dir).map_err(unreadable(&git_dir))?),
    };
    let place = hooks_place(&configuration).map_err(unreadable(&git_dir))?;
    let own = git_dir.join("hooks");
    let used = match &place {
        HooksPlace::Inside(directory) | HooksPlace::Outside { directory, .. } => Some(directory.clone()),
        HooksPlace::Nowhere { .. } | HooksPlace::Ambiguous(_) => None,
    };
    let own_is_directory = fs::symlink_metadata(&own).is_ok_and(|found| found.is_dir());
    for directory in own_is_directory.then(|| own.clone()).into_iter().chain(used) {
        if let Vacant(place) = found.hooks.entry(directory) {
            let hooks = hooks(place.key(), access, look).map_err(unreadable(place.key()))?;
            place.insert(hooks);
        }
    }
    let journal = git_dir.join(refwatch_hook::DIRECTORY);
    let journal = journal_place(&journal).map_err(unreadable(&journal))?;
    let spool = match look.spool {
        Some(spool) => Some(spooled(spool, &git_dir).map_err(unreadable(spool))?),
        None => None,
    };
    found.repositories.push(Repository {
        hooks: place,
        journal,
        spool,
        is_writable: is_writable(&git_dir),
        access,
        configured: configuration.configured,
        git_dir,
    });
    Ok(())
}

/// The owner of a repository, if we are another and may give files away.
fn other_owner(git_dir: &Metadata) -> Option<(u32, u32)> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    let is_other = (git_dir.uid(), git_dir.gid()) != (user.as_raw(), group.as_raw());
    (user.is_root() && is_other).then(|| (git_dir.uid(), git_dir.gid()))
}

pub(super) fn is_writable(directory: &Path) -> bool {
    rustix::fs::access(directory, Ask::WRITE_OK | Ask::EXEC_OK).is_ok()
}

/// Finds where Git looks for hooks (githooks(5), git-config(1) on `core.hooksPath`).
fn hooks_place(configuration: &Configuration) -> io::Result<HooksPlace> {
    let git_dir = &configuration.git_dir;
    let setting = configuration.hooks_path.clone();
    let path = match &setting {
        None => git_dir.join("hooks"),
        Some(setting) if setting.path.is_relative() && !configuration.is_bare => {
            return Ok(HooksPlace::Ambiguous(setting.clone()));
        }
        // Git makes `/<hook>` of an empty one.
        Some(setting) if setting.path.as_os_str().is_empty() => {
            return Ok(HooksPlace::Nowhere { path: setting.path.clone(), setting: Some(setting.clone()) });
        }
        Some(setting) => git_dir.join(&setting.path),
    };
    match path.canonicalize() {
        Ok(directory) if !directory.is_dir() => Ok(HooksPlace::Nowhere { path, setting }),
        Ok(directory) if directory.starts_with(git_dir) => Ok(HooksPlace::Inside(directory)),
        Ok(directory) => Ok(HooksPlace::Outside { directory, setting }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let is_plain = setting.is_none() && fs::symlink_metadata(&path).is_err();
            Ok(if is_plain { HooksPlace::Inside(path) } else { HooksPlace::Nowhere { path, setting } })
        }
        Err(error) => Err(error),
    }
}

fn hooks(directory: &Path, access: Access, look: &Look<'_>) -> io::Result<Hooks> {
    let is_there = directory.is_dir();
    let parent = directory.parent().unwrap_or(directory);
    let mut slots = Vec::new();
    for phase in Phase::ALL {
        let hook = directory.join(phase.name());
        let (former, new) = (with(&hook, FORMER), with(&hook, NEW));
        slots.push(Slot {
            phase,
            entry: entry(&hook, look.program)?,
            new: match entry(&new, look.program)? {
                // As a crash leaves it when the former hook is being put back: a name too many.
                Entry::File | Entry::Link | Entry::Dangling if is_one_file(&new, &former) => Entry::Copy,
                entry @ (Entry::Missing
                | Entry::Ours { .. }
                | Entry::Copy
                | Entry::File
                | Entry::Link
                | Entry::Dangling
                | Entry::Other(_)) => entry,
            },
            is_twice: is_one_file(&hook, &former),
            former: entry(&former, look.program)?,
        });
    }
    Ok(Hooks {
        directory: directory.to_owned(),
        is_there,
        is_writable: is_writable(if is_there { directory } else { parent }),
        is_marked: fs::symlink_metadata(directory.join(MARK)).is_ok_and(|mark| mark.is_file()),
        slots,
        access,
    })
}

fn is_one_file(left: &Path, right: &Path) -> bool {
    match (fs::symlink_metadata(left), fs::symlink_metadata(right)) {
        (Ok(left), Ok(right)) => (left.dev(), left.ino()) == (right.dev(), right.ino()),
        _ => false,
    }
}

/// Tells what is at a hook's path.
pub(super) fn entry(path: &Path, program: Option<&Program>) -> io::Result<Entry> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if is_absent(&error) => return Ok(Entry::Missing),
        Err(error) => return Err(error),
    };
    if found.is_symlink() {
        let target = fs::read_link(path)?;
        let leads_to_program =
            || path.canonicalize().is_ok_and(|led| led.file_name().is_some_and(|name| name == PROGRAM));
        if target.file_name().is_some_and(|name| name == PROGRAM) || leads_to_program() {
            return Ok(Entry::Ours { target });
        }
        return Ok(match fs::metadata(path) {
            Ok(led) if led.is_file() => Entry::Link,
            Ok(_) => Entry::Other("a link to what is no file"),
            Err(_) => Entry::Dangling,
        });
    }
    if found.is_file() {
        let is_copy = match program {
            Some(program) => program.is_same(path, &found)?,
            None => false,
        };
        return Ok(if is_copy { Entry::Copy } else { Entry::File });
    }
    Ok(Entry::Other(kind(&found)))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn kind(found: &Metadata) -> &'static str {
    let kind = found.file_type();
    if kind.is_dir() {
        "a directory"
    } else if kind.is_file() {
        "a file"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn journal_place(path: &Path) -> io::Result<Place> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) => found,
        Err(error) if is_absent(&error) => return Ok(Place::Missing),
        Err(error) => return Err(error),
    };
    if found.is_dir() {
        return Ok(Place::Directory(files(path)?));
    }
    if !found.is_symlink() {
        return Ok(Place::Other(kind(&found)));
    }
    let written = fs::read_link(path)?;
    let target = path.parent().unwrap_or(path).join(written);
    let files = if target.is_dir() { Some(files(&target)?) } else { None };
    Ok(Place::Link { target, files })
}

/// Counts what is in a journal's directory.
pub(super) fn files(directory: &Path) -> io::Result<Files> {
    let mut files = Files::default();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if is_journal(entry.file_name().as_encoded_bytes()) && entry.file_type()?.is_file() {
            files.journals += 1;
            files.bytes += entry.metadata().map_or(0, |found| found.len());
        } else if files.foreign.is_none() {
            files.foreign = Some(entry.file_name().into());
        }
    }
    Ok(files)
}

/// The names of journals, current and rotated.
pub(super) fn is_journal(name: &[u8]) -> bool {
    match name.strip_prefix(JOURNAL.as_bytes()) {
        Some([]) => true,
        Some([b'.', number @ ..]) => !number.is_empty() && number.iter().all(u8::is_ascii_digit),
        Some(_) | None => false,
    }
}

/// Longest part of a directory's name in a spool that comes from the repository's, in bytes.
const STEM_BYTES_MAX: usize = 200;

/// A repository's directory in a spool: its name, for people, and a checksum of its path, to tell namesakes apart.
fn spooled(spool: &Path, git_dir: &Path) -> io::Result<Spool> {
    let is_dot_git = git_dir.file_name().is_some_and(|name| name == ".git");
    let named = if is_dot_git { git_dir.parent().unwrap_or(git_dir) } else { git_dir };
    let mut name = named.file_name().unwrap_or_default().to_owned().into_encoded_bytes();
    name.truncate(STEM_BYTES_MAX);
    name.extend(format!("-{:08x}", crc32fast::hash(git_dir.as_os_str().as_encoded_bytes())).bytes());
    let directory = spool.join(OsString::from_vec(name));
    let is_there = fs::symlink_metadata(&directory).is_ok();
    let is_empty = match fs::read_dir(&directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    };
    Ok(Spool { directory, is_there, is_empty })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_journals_are_taken_for_journals() {
        for name in ["journal", "journal.1", "journal.0099"] {
            assert!(is_journal(name.as_bytes()), "{name}");
        }
        for name in ["journal.", "journal.1x", "journal.-1", "journals", "journal~", "a", ""] {
            assert!(!is_journal(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn namesakes_have_a_place_each_in_a_spool() {
        let spool = Path::new("/nowhere");
        let place = |git_dir: &str| {
            let spool = spooled(spool, Path::new(git_dir)).expect("looked at");
            assert!(spool.is_empty && !spool.is_there);
            spool.directory.to_str().expect("text").to_owned()
        };
        assert!(place("/a/r.git").starts_with("/nowhere/r.git-"));
        assert!(place("/a/r/.git").starts_with("/nowhere/r-"));
        assert_ne!(place("/a/r.git"), place("/b/r.git"));
        assert!(place(&format!("/{}", "x".repeat(255))).len() < 255 + "/nowhere/".len());
    }
}
