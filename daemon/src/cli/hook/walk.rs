//! Which repositories are meant.

use std::path::PathBuf;

use refwatch_watcher::discover::{self, Limits, Visit};

use super::super::escape::Escaped;
use super::super::exit::Exit;
use super::args::Target;

/// How deep below a path repositories are looked for, in levels.
const DEPTH_MAX: usize = 64;

/// Directories that are read in search of repositories, for each path.
const DIRECTORIES_MAX: usize = 1_000_000;

/// The repositories that were named, or with `--recursive` those below the paths.
pub(super) fn paths(target: &Target) -> Result<Vec<PathBuf>, Exit> {
    if !target.recursive {
        return Ok(target.paths.clone());
    }
    let limits = Limits { depth_max: DEPTH_MAX, directories_max: DIRECTORIES_MAX };
    let mut found = Vec::new();
    let mut problems = Vec::new();
    for root in &target.paths {
        let before = found.len();
        discover::walk(root, &limits, &mut |visit| match visit {
            Visit::Repository(repository) => found.push(repository.git_dir),
            Visit::Problem { path, error } => problems.push(format!("{}: {error}", Escaped::path(&path))),
            // A plain folder, or one that is gone tomorrow; a link's repositories are to be named themselves.
            Visit::Directory(_) | Visit::InFlux { .. } | Visit::LinkOut { .. } => {}
        });
        if found.len() == before && problems.is_empty() {
            problems.push(format!("{}: no repository in it", Escaped::path(root)));
        }
    }
    match problems.is_empty() {
        true => Ok(found),
        false => Err(Exit::usage(format!("nothing was touched:\n  {}", problems.join("\n  ")))),
    }
}
