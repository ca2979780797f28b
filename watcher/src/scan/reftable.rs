//! Reads the refs of the reftable backend: a stack of tables, listed oldest first in `reftable/tables.list` (Git's
//! `Documentation/technical/reftable.adoc`, "Repository format"). What a newer table says of a ref counts.
//!
//! Tables never change, and the list is replaced by a rename: once every table of a list is open, what they say
//! together is one moment. A table that is gone was compacted away; then the list is read again.
//!
//! No program is run for it: `git for-each-ref` leaves out symbolic refs that dangle, and so an unborn `HEAD`.

mod block;
pub(crate) mod news;
mod stack;
mod table;

use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

use refwatch_core::{InvalidObjectId, ObjectFormat, ObjectId, RefName, Target};

use super::walk::{Directories, GitDir, Met, Sink};
use super::{BrokenReason, Lock, Observed, Scan, ScanError, SkipReason, Skips};
use crate::dir;
use crate::layout::Layout;
use crate::signature::Sum;
use block::Value;
use stack::Opened;
pub use stack::{Listed, Stack};

/// Times that a stack is read again because a table of it was compacted away.
pub const STACK_TRIES_MAX: usize = 16;

/// Tables of one stack; Git compacts them to a handful.
pub const TABLES_MAX: usize = 4096;

/// Longest table that is read, in bytes.
pub const TABLE_BYTES_MAX: u64 = 4 << 30;

/// What the stack that every repository has is called.
const MAIN: &[u8] = b"reftable";

/// Reads every ref of every stack.
pub(crate) fn full(layout: &Layout, before_read: &mut dyn FnMut(&Path)) -> Result<Scan, ScanError> {
    'again: for _ in 0..STACK_TRIES_MAX {
        let git = GitDir::open(layout)?;
        let mut stacks = Stacks {
            before_read: &mut *before_read,
            scan: Scan { settled: true, ..Scan::default() },
            sum: Sum::start(&git)?,
            found: Vec::new(),
        };
        git.walk_all(&mut stacks)?;
        let Stacks { mut scan, sum, mut found, .. } = stacks;
        scan.signature = sum.finish();
        // In order of the names that they hold.
        found.sort();
        let mut skips = Skips::default();
        for path in found {
            let mut stack = Opened::list(&git, path)?;
            if !stack.open_all(&git)? {
                continue 'again;
            }
            read_all(&git, &stack, &mut scan, &mut skips)?;
            scan.stacks.push(stack.into_stack());
        }
        git.check_whole()?;
        debug_assert!(scan.refs.is_sorted_by(|left, right| left.0 < right.0), "BUG: not sorted");
        if scan.refs.first().is_none_or(|(name, _)| !name.is_head()) {
            return Err(git.in_flux("HEAD"));
        }
        scan.skipped = skips.0;
        return Ok(scan);
    }
    Err(raced(layout))
}

/// Lists the tables of every stack.
pub(crate) fn list(layout: &Layout) -> Result<Vec<Stack>, ScanError> {
    'again: for _ in 0..STACK_TRIES_MAX {
        let git = GitDir::open(layout)?;
        let mut directories = Directories { before_read: &mut |_| {}, found: Vec::new() };
        git.walk_all(&mut directories)?;
        let paths = directories.found.into_iter().map(|path| path.into_os_string().into_vec());
        let is_stack = |path: &Vec<u8>| {
            let of_worktree =
                path.strip_suffix(b"/reftable").and_then(|path| path.strip_prefix(b"worktrees/"));
            path == MAIN || of_worktree.is_some_and(|id| !id.contains(&b'/'))
        };
        let mut paths: Vec<Vec<u8>> = paths.filter(is_stack).collect();
        paths.sort();
        let mut stacks = Vec::new();
        for path in paths {
            let mut stack = Opened::list(&git, path)?;
            if !stack.open_all(&git)? {
                continue 'again;
            }
            stacks.push(stack.into_stack());
        }
        return Ok(stacks);
    }
    Err(raced(layout))
}

/// Reads one ref: a few blocks of each table, until one knows it.
pub(crate) fn one(layout: &Layout, name: &RefName) -> Result<Option<Observed>, ScanError> {
    let git = GitDir::open(layout)?;
    let local = name.within_worktree();
    let prefix = &name.as_bytes()[..name.as_bytes().len() - local.len()];
    for _ in 0..STACK_TRIES_MAX {
        let mut stack = Opened::list(&git, [prefix, MAIN].concat())?;
        // The list was one moment, and tables never change: those that an answer does not need stay closed.
        let Some(found) = stack.find(&git, local)? else {
            continue;
        };
        if let Some(found) = found {
            return Ok(observe(found.value(), layout.format));
        }
        git.check_whole()?;
        return if name.is_head() { Err(git.in_flux("HEAD")) } else { Ok(None) };
    }
    Err(raced(layout))
}

fn raced(layout: &Layout) -> ScanError {
    ScanError::Raced { path: layout.git_dir.join("reftable/tables.list"), tries: STACK_TRIES_MAX }
}

/// Adds what a stack says to a scan. Pseudo-refs such as `ORIG_HEAD` live in tables, too, and are not followed.
fn read_all(git: &GitDir<'_>, stack: &Opened, scan: &mut Scan, skips: &mut Skips) -> Result<(), ScanError> {
    let format = git.layout.format;
    let mut full_name = stack.prefix().to_vec();
    stack.each(git, &mut |local, value| {
        let Some(observed) = observe(value, format).filter(|_| is_followed(local)) else { return };
        full_name.truncate(stack.prefix().len());
        full_name.extend_from_slice(local);
        match RefName::new(&full_name) {
            Ok(name) => {
                scan.peeled.extend(peeled(value).map(|id| (scan.refs.len(), id)));
                scan.refs.push((name, observed));
            }
            Err(reason) => skips.push(&full_name, SkipReason::Name(reason)),
        }
    })
}

/// Whether a name of a table is that of a ref that subscribers hear of.
fn is_followed(local: &[u8]) -> bool {
    local == b"HEAD" || local.starts_with(b"refs/")
}

fn peeled(value: Value<'_>) -> Option<ObjectId> {
    match value {
        Value::Direct { peeled, .. } => peeled.and_then(|raw| ObjectId::from_raw(raw).ok()),
        Value::Deleted | Value::Symbolic(_) => None,
    }
}

/// The value of a ref, `None` for a deleted one.
fn observe(value: Value<'_>, format: ObjectFormat) -> Option<Observed> {
    match value {
        Value::Deleted => None,
        Value::Direct { id, .. } => Some(match ObjectId::from_raw(id) {
            Ok(id) if id.format() == format => Observed::Good(Target::Direct(id)),
            Ok(_) | Err(InvalidObjectId::Length { .. } | InvalidObjectId::Digit { .. }) => {
                Observed::Broken(BrokenReason::WrongLength)
            }
            Err(InvalidObjectId::Zero) => Observed::Broken(BrokenReason::ZeroId),
        }),
        Value::Symbolic(target) => Some(match RefName::new(target) {
            Ok(name) => Observed::Good(Target::Symbolic(name)),
            Err(_) => Observed::Broken(BrokenReason::BadSymref),
        }),
    }
}

/// Finds the stacks: the repository's own and those of its linked worktrees.
struct Stacks<'a> {
    before_read: &'a mut dyn FnMut(&Path),
    scan: Scan,
    sum: Sum,
    found: Vec<Vec<u8>>,
}

impl Sink for Stacks<'_> {
    fn entering(&mut self, path: &[u8]) {
        (self.before_read)(dir::path(path));
    }

    fn entered(&mut self, path: &[u8]) {
        self.scan.directories.push(dir::path(path).to_owned());
        self.sum.entered(path);
    }

    fn file(
        &mut self,
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<Met, ScanError> {
        let stack = path.len() - name.len() - 1;
        self.found.push(path[..stack].to_vec());
        self.sum.file(git, at, name, path)
    }

    fn lock(
        &mut self,
        git: &GitDir<'_>,
        at: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
    ) -> Result<(), ScanError> {
        self.scan.locks.extend(Lock::find(git, at, name, path)?);
        Ok(())
    }
}
