//! Reads the refs of the reftable backend: a stack of tables, listed oldest first in `reftable/tables.list` (Git's
//! `Documentation/technical/reftable.adoc`, "Repository format"). What a newer table says of a ref counts.
//!
//! Tables never change, and the list is replaced by a rename: once every table of a list is open, what they say
//! together is one moment. A table that is gone was compacted away; then the list is read again.
//!
//! No program is run for it: `git for-each-ref` leaves out symbolic refs that dangle, and so an unborn `HEAD`.

mod table;

use std::cmp::Ordering;
use std::os::fd::BorrowedFd;
use std::path::Path;

use refwatch_core::{InvalidObjectId, ObjectFormat, ObjectId, RefName, Target};
use rustix::io::Errno;

use super::walk::{GitDir, Met, Sink, joined};
use super::{BrokenReason, Lock, Observed, Scan, ScanError, SkipReason, Skips};
use crate::dir::{self, Links, Stamp};
use crate::layout::Layout;
use crate::signature::Sum;
use table::{Next, Table, Value};

/// Times that a stack is read again because a table of it was compacted away.
pub const STACK_TRIES_MAX: usize = 16;

/// Tables of one stack; Git compacts them to a handful.
pub const TABLES_MAX: usize = 4096;

/// Longest table that is read, in bytes.
pub const TABLE_BYTES_MAX: u64 = 4 << 30;

/// Longest `tables.list`, in bytes.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// Reads every ref of every stack.
pub(crate) fn full(layout: &Layout, before_read: &mut dyn FnMut(&Path)) -> Result<Scan, ScanError> {
    for _ in 0..STACK_TRIES_MAX {
        let git = GitDir::open(layout)?;
        let mut stacks = Stacks {
            before_read: &mut *before_read,
            scan: Scan { settled: true, ..Scan::default() },
            sum: Sum::start(&git)?,
            found: Vec::new(),
        };
        git.walk_all(&mut stacks)?;
        let Stacks { mut scan, sum, found, .. } = stacks;
        scan.signature = sum.finish();
        let mut skips = Skips::default();
        let mut complete = true;
        let mut entries = Vec::new();
        for stack in &found {
            match read_stack(&git, stack)? {
                Some(tables) => {
                    entries.extend(interpret(&git, stack, merged(&git, stack, &tables)?, &mut skips))
                }
                None => complete = false,
            }
        }
        if !complete {
            continue;
        }
        git.check_whole()?;
        entries.sort_by(|left: &Entry, right| left.name.cmp(&right.name));
        for entry in entries {
            if let Some(peeled) = entry.peeled {
                scan.peeled.push((scan.refs.len(), peeled));
            }
            scan.refs.push((entry.name, entry.observed));
        }
        if !scan.refs.iter().any(|(name, _)| name.is_head()) {
            return Err(git.in_flux("HEAD"));
        }
        scan.skipped = skips.0;
        return Ok(scan);
    }
    Err(raced(layout))
}

/// Reads one ref. Every table is searched from its start: the cost grows with the number of refs.
pub(crate) fn one(layout: &Layout, name: &RefName) -> Result<Option<Observed>, ScanError> {
    let git = GitDir::open(layout)?;
    let local = name.within_worktree();
    let mut stack = name.as_bytes()[..name.as_bytes().len() - local.len()].to_vec();
    stack.extend_from_slice(b"reftable");
    for _ in 0..STACK_TRIES_MAX {
        let Some(tables) = read_stack(&git, &stack)? else {
            continue;
        };
        for (file, bytes) in tables.iter().rev() {
            let mut found = None;
            open_table(&git, file, bytes)?
                .each(&mut |key, value| match key.cmp(local) {
                    Ordering::Less => Next::More,
                    Ordering::Equal => {
                        found = Some(value);
                        Next::Stop
                    }
                    Ordering::Greater => Next::Stop,
                })
                .map_err(|bad| damaged(&git, file, &bad))?;
            if let Some(value) = found {
                return Ok(observe(value, layout.format));
            }
        }
        git.check_whole()?;
        return if name.is_head() { Err(git.in_flux("HEAD")) } else { Ok(None) };
    }
    Err(raced(layout))
}

fn raced(layout: &Layout) -> ScanError {
    ScanError::Raced { path: layout.git_dir.join("reftable/tables.list"), tries: STACK_TRIES_MAX }
}

fn damaged(git: &GitDir<'_>, file: &[u8], bad: &table::Bad) -> ScanError {
    let path = dir::below(&git.layout.git_dir, file);
    ScanError::Reftable { path, offset: bad.offset, reason: bad.reason }
}

fn open_table<'a>(git: &GitDir<'_>, file: &[u8], bytes: &'a [u8]) -> Result<Table<'a>, ScanError> {
    Table::open(bytes, git.layout.format).map_err(|bad| damaged(git, file, &bad))
}

/// The path and content of each table, oldest first; `None` when one is gone.
type Tables = Vec<(Vec<u8>, Vec<u8>)>;

fn read_stack(git: &GitDir<'_>, stack: &[u8]) -> Result<Option<Tables>, ScanError> {
    let list_path = joined(stack, b"tables.list");
    let list = match read_file(git, &list_path, LIST_BYTES_MAX)? {
        Some(list) => list,
        None if stack == b"reftable" => return Err(git.in_flux("reftable/tables.list")),
        // A linked worktree that is being made or removed.
        None => return Ok(Some(Vec::new())),
    };
    let bad = |offset, reason| damaged(git, &list_path, &table::Bad { offset, reason });
    if list.last().is_some_and(|byte| *byte != b'\n') {
        return Err(bad(list.len(), "a line without its end"));
    }
    let mut tables = Vec::new();
    for name in list.split(|byte| *byte == b'\n').filter(|name| !name.is_empty()) {
        if name.contains(&b'/') || name.starts_with(b".") {
            return Err(bad(0, "not the name of a table"));
        }
        if tables.len() == TABLES_MAX {
            return Err(bad(0, "more than 4096 tables"));
        }
        let path = joined(stack, name);
        match read_file(git, &path, TABLE_BYTES_MAX)? {
            Some(bytes) => tables.push((path, bytes)),
            None => return Ok(None),
        }
    }
    Ok(Some(tables))
}

fn read_file(git: &GitDir<'_>, path: &[u8], bytes_max: u64) -> Result<Option<Vec<u8>>, ScanError> {
    let read = dir::open_file(&git.fd, path, Links::Refuse).and_then(|file| {
        let size = Stamp::of(&rustix::fs::fstat(&file)?).size;
        dir::read_whole(&file, size, bytes_max)
    });
    match read {
        Ok(bytes) => Ok(Some(bytes)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(error) => Err(git.unreadable(path, error)),
    }
}

/// A name and what the newest table that knows it says.
type Known<'a> = (Box<[u8]>, Value<'a>);

/// All tables of a stack as one, sorted by name; deleted refs are in it as such.
fn merged<'a>(git: &GitDir<'_>, stack: &[u8], tables: &'a Tables) -> Result<Vec<Known<'a>>, ScanError> {
    let mut newer: Vec<Known<'a>> = Vec::new();
    // Newest first: the large tables are old, and so each is copied once.
    for (file, bytes) in tables.iter().rev() {
        let mut merged = Vec::with_capacity(newer.len());
        let mut rest = newer.into_iter().peekable();
        open_table(git, file, bytes)?
            .each(&mut |name, value| {
                while let Some(known) = rest.next_if(|known| *known.0 < *name) {
                    merged.push(known);
                }
                if rest.peek().is_none_or(|known| *known.0 != *name) {
                    merged.push((name.into(), value));
                }
                Next::More
            })
            .map_err(|bad| damaged(git, file, &bad))?;
        merged.extend(rest);
        newer = merged;
    }
    debug_assert!(newer.is_sorted_by(|left, right| left.0 < right.0), "BUG: {stack:?} is not sorted");
    Ok(newer)
}

/// A ref of a table.
struct Entry {
    name: RefName,
    observed: Observed,
    peeled: Option<ObjectId>,
}

/// Turns what a stack says into refs. Pseudo-refs such as `ORIG_HEAD` live in tables, too, and are not followed.
fn interpret(git: &GitDir<'_>, stack: &[u8], known: Vec<Known<'_>>, skips: &mut Skips) -> Vec<Entry> {
    let format = git.layout.format;
    let prefix = &stack[..stack.len() - b"reftable".len()];
    let mut entries = Vec::with_capacity(known.len());
    for (local, value) in known {
        let Some(observed) = observe(value, format) else {
            continue;
        };
        if &*local != b"HEAD" && !local.starts_with(b"refs/") {
            continue;
        }
        let named =
            if prefix.is_empty() { RefName::new(&local) } else { RefName::new(&[prefix, &local].concat()) };
        match named {
            Ok(name) => entries.push(Entry { name, observed, peeled: peeled(value) }),
            Err(reason) => skips.push(&[prefix, &local].concat(), SkipReason::Name(reason)),
        }
    }
    entries
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
