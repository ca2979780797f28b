//! A stack of tables: what `tables.list` lists, oldest first. What a newer table says of a ref counts.

use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;

use rustix::io::Errno;

use super::block::Value;
use super::table::{Bad, Found, Refs, Table, TableError};
use super::{MAIN, TABLE_BYTES_MAX, TABLES_MAX};
use crate::dir::{self, Links, Stamp};
use crate::scan::ScanError;
use crate::scan::walk::{GitDir, joined};

/// Longest `tables.list`, in bytes.
const LIST_BYTES_MAX: u64 = 1 << 20;

/// A table that a stack lists. Its content never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its file name.
    pub name: Box<[u8]>,
    /// The first and last update index of what it says: each transaction has one of its own, one more than the one
    /// before, and a table that was compacted holds those of all that it was made of.
    pub updates: (u64, u64),
}

/// The tables of one stack at one moment, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Its directory, relative to the git directory: `reftable`, or that of a linked worktree.
    pub path: Box<[u8]>,
    /// Its tables, at most [`TABLES_MAX`].
    pub tables: Vec<Listed>,
}

/// A stack whose tables are opened as they are needed.
pub(super) struct Opened {
    path: Vec<u8>,
    pub(super) names: Vec<Box<[u8]>>,
    tables: Vec<Option<Table>>,
}

impl Opened {
    /// Reads the list of a stack.
    ///
    /// # Errors
    /// [`ScanError`]; that there is none is an error for the repository's own, and an empty stack for that of a linked
    /// worktree, which is being made or removed then.
    pub(super) fn list(git: &GitDir<'_>, path: Vec<u8>) -> Result<Self, ScanError> {
        let list_path = joined(&path, b"tables.list");
        let read = dir::open_file(&git.fd, &list_path, Links::Refuse).and_then(|file| {
            let size = Stamp::of(&rustix::fs::fstat(&file)?).size;
            dir::read_whole(&file, size, LIST_BYTES_MAX)
        });
        let list = match read {
            Ok(list) => list,
            Err(Errno::NOENT | Errno::NOTDIR) if path == MAIN => {
                return Err(git.in_flux("reftable/tables.list"));
            }
            Err(Errno::NOENT | Errno::NOTDIR) => Vec::new(),
            Err(error) => return Err(git.unreadable(&list_path, error)),
        };
        let bad = |offset: usize, reason| damaged(git, &list_path, Bad { offset: offset as u64, reason });
        if list.last().is_some_and(|byte| *byte != b'\n') {
            return Err(bad(list.len(), "a line without its end"));
        }
        let names = list.split(|byte| *byte == b'\n').filter(|name| !name.is_empty());
        let names: Vec<Box<[u8]>> = names.take(TABLES_MAX + 1).map(Into::into).collect();
        if names.len() > TABLES_MAX {
            return Err(bad(0, "more than 4096 tables"));
        }
        if names.iter().any(|name| name.contains(&b'/') || name.starts_with(b".")) {
            return Err(bad(0, "not the name of a table"));
        }
        let tables = names.iter().map(|_| None).collect();
        Ok(Self { path, names, tables })
    }

    pub(super) fn path(&self) -> &[u8] {
        &self.path
    }

    /// A table that was opened.
    pub(super) fn opened(&self, index: usize) -> &Table {
        self.tables[index].as_ref().expect("BUG: it was opened")
    }

    /// What names of refs begin with that are in a table without it.
    pub(super) fn prefix(&self) -> &[u8] {
        &self.path[..self.path.len() - MAIN.len()]
    }

    /// Opens a table; `None` when it is gone, because it was compacted away after the list was read.
    pub(super) fn table(&mut self, git: &GitDir<'_>, index: usize) -> Result<Option<&Table>, ScanError> {
        if self.tables[index].is_none() {
            let path = joined(&self.path, &self.names[index]);
            let opened = dir::open_file(&git.fd, &path, Links::Refuse)
                .and_then(|file| rustix::fs::fstat(&file).map(|stat| (file, Stamp::of(&stat).size)));
            let (file, size) = match opened {
                Ok(opened) => opened,
                Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
                Err(error) => return Err(git.unreadable(&path, error)),
            };
            if size > TABLE_BYTES_MAX {
                return Err(git.unreadable(&path, Errno::FBIG));
            }
            let table = Table::open(file, size, git.layout.format);
            self.tables[index] = Some(table.map_err(|error| failed(git, &path, error))?);
        }
        Ok(self.tables[index].as_ref())
    }

    /// Opens every table; false when one is gone. Open, they are one moment.
    pub(super) fn open_all(&mut self, git: &GitDir<'_>) -> Result<bool, ScanError> {
        for index in 0..self.names.len() {
            if self.table(git, index)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What the newest table that knows a ref says of it; the outer `None` when a table is gone.
    pub(super) fn find(
        &mut self,
        git: &GitDir<'_>,
        local: &[u8],
    ) -> Result<Option<Option<Found>>, ScanError> {
        for index in (0..self.names.len()).rev() {
            let Some(table) = self.table(git, index)? else { return Ok(None) };
            let found = table.find(local);
            if let Some(found) = found.map_err(|error| self.failed(git, index, error))? {
                return Ok(Some(Some(found)));
            }
        }
        Ok(Some(None))
    }

    /// Hands out every ref of the open tables, each once and in order of name; deleted ones as such.
    pub(super) fn each(
        &self,
        git: &GitDir<'_>,
        take: &mut dyn FnMut(&[u8], Value<'_>),
    ) -> Result<(), ScanError> {
        let mut heads = BinaryHeap::with_capacity(self.tables.len());
        for (age, table) in self.tables.iter().enumerate() {
            let table = table.as_ref().expect("BUG: all of its tables are open");
            let mut refs = table.refs();
            if refs.advance().map_err(|error| self.failed(git, age, error))? {
                heads.push(Head { refs, age });
            }
        }
        let mut last = Vec::new();
        while let Some(mut head) = heads.peek_mut() {
            // Of equal names the newest table's comes first. No name is empty.
            if last != head.refs.name {
                last.clone_from(&head.refs.name);
                take(&last, head.refs.record().1);
            }
            if !head.refs.advance().map_err(|error| self.failed(git, head.age, error))? {
                PeekMut::pop(head);
            }
        }
        Ok(())
    }

    /// What the stack is, all of whose tables are open.
    pub(super) fn into_stack(self) -> Stack {
        let updates = self.tables.iter().map(|table| table.as_ref().map(|table| table.updates));
        let tables = self.names.into_iter().zip(updates);
        let tables = tables.map(|(name, updates)| Listed {
            name,
            updates: updates.expect("BUG: all of its tables are open"),
        });
        Stack { path: self.path.clone().into(), tables: tables.collect() }
    }

    pub(super) fn failed(&self, git: &GitDir<'_>, index: usize, error: TableError) -> ScanError {
        failed(git, &joined(&self.path, &self.names[index]), error)
    }
}

fn failed(git: &GitDir<'_>, path: &[u8], error: TableError) -> ScanError {
    match error {
        TableError::Io(error) => git.unreadable(path, error),
        TableError::Bad(bad) => damaged(git, path, bad),
    }
}

fn damaged(git: &GitDir<'_>, path: &[u8], bad: Bad) -> ScanError {
    let path = dir::below(&git.layout.git_dir, path);
    ScanError::Reftable { path, offset: bad.offset, reason: bad.reason }
}

/// The next ref of one table.
struct Head<'a> {
    refs: Refs<'a>,
    /// Its place in the list: the higher, the newer.
    age: usize,
}

impl Ord for Head<'_> {
    /// The greatest is what comes first: the least name, and of the tables that have it the newest.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.refs.name.cmp(&self.refs.name).then(self.age.cmp(&other.age))
    }
}

impl PartialOrd for Head<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Head<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Head<'_> {}
