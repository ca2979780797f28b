//! Finds the program that hooks are, `refwatch-hook`.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::found::PROGRAM;
use crate::cli::exit::Exit;

const EXECUTE_ANY: u32 = 0o111;

/// The program.
#[derive(Clone, Debug)]
pub(super) struct Program {
    /// Absolute, and as it was found: a link that leads to the program is kept, since that is where it is exchanged.
    pub(super) path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
}

/// Where to look, in this order: the path that was given, beside our own program, in PATH.
pub(super) fn find(given: Option<&Path>) -> Result<Program, Exit> {
    if let Some(given) = given {
        let refused = |why: &str| Exit::usage(format!("--hook-binary {}: {why}", given.display()));
        let path = std::path::absolute(given).map_err(|error| refused(&error.to_string()))?;
        if path.file_name().is_none_or(|name| name != PROGRAM) {
            return Err(refused(&format!(
                "its name has to be {PROGRAM}, by which status and remove know it again"
            )));
        }
        return match Program::at(path) {
            Ok(Some(program)) => Ok(program),
            Ok(None) => Err(refused("not an executable file")),
            Err(error) => Err(refused(&error.to_string())),
        };
    }
    search().ok_or_else(|| {
        Exit::usage(format!("{PROGRAM} is neither beside refwatch nor in PATH: name it with --hook-binary"))
    })
}

/// The program beside our own, or in PATH.
pub(super) fn search() -> Option<Program> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let in_path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&in_path).filter(|directory| directory.is_absolute());
    beside
        .into_iter()
        .chain(in_path)
        .find_map(|directory| Program::at(directory.join(PROGRAM)).ok().flatten())
}

impl Program {
    /// `None` where there is no executable file.
    fn at(path: PathBuf) -> io::Result<Option<Self>> {
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if !found.is_file() || found.mode() & EXECUTE_ANY == 0 {
            return Ok(None);
        }
        Ok(Some(Self { path, device: found.dev(), inode: found.ino(), bytes: found.len() }))
    }

    /// True for a hard link to it and for a copy.
    pub(super) fn is_same(&self, path: &Path, found: &Metadata) -> io::Result<bool> {
        if (found.dev(), found.ino()) == (self.device, self.inode) {
            return Ok(true);
        }
        if found.len() != self.bytes {
            return Ok(false);
        }
        let mut theirs = Vec::new();
        match File::open(path).and_then(|file| file.take(self.bytes).read_to_end(&mut theirs)) {
            Ok(_) => Ok(fs::read(&self.path)? == theirs),
            // Not ours to read, so not ours.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// The first directory on the way to a program, or the program, that keeps a user from running it, by its mode: access
/// lists and further groups are not asked. `None` also where something on the way cannot be looked at.
pub(super) fn blocked_at(program: &Path, user: u32, group: u32) -> Option<PathBuf> {
    if user == 0 {
        return None;
    }
    let real = program.canonicalize().ok()?;
    let is_blocked = |path: &&Path| {
        fs::metadata(path).is_ok_and(|found| {
            let bit = if found.uid() == user {
                0o100
            } else if found.gid() == group {
                0o010
            } else {
                0o001
            };
            found.mode() & bit == 0
        })
    };
    // From the root on: the first one that blocks is the one to open.
    let ways: Vec<&Path> = program.ancestors().chain(real.ancestors()).collect();
    ways.into_iter().rev().find(is_blocked).map(Path::to_owned)
}
