//! One commit within one SQLite transaction: judged against the database, then written.

use std::collections::HashMap;

use refwatch_core::{Event, RefChange, RefName, Target};
use rusqlite::{Connection, OptionalExtension, Statement, ffi};

use crate::body::{self, Place};
use crate::row::{self, Position};
use crate::{Commit, RepositoryKey, RepositoryWrite, SignatureWrite, value};

/// Bytes that the row of an event takes beside its body, about: cell, keys, header.
const ROW_OVERHEAD_BYTES: u64 = 14;

/// Why a commit is not in the log. Nothing of it is, and what was there before is untouched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// No room on the device. Make room; commits succeed again by themselves.
    #[error("the disk that holds the database is full; free space there and refwatch goes on by itself")]
    Full,
    /// The operating system failed to read or write.
    #[error("the database cannot be written: {detail}")]
    Io {
        /// What SQLite said.
        detail: String,
    },
    /// The database contradicts itself. Stop, keep the files, run `refwatch check`.
    #[error("the database is corrupt: {detail}; stop refwatch, keep the files and run `refwatch check`")]
    Corrupt {
        /// What does not fit.
        detail: String,
    },
    /// The commit contradicts the database or itself: a mistake of the caller's. Other commits are not affected.
    #[error("BUG: {0}")]
    Invalid(#[from] Invalid),
    /// The store is closed; the commit was not tried.
    #[error("the store is closed")]
    Closed,
}

/// A promise that a commit breaks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// The repository is not in the database, or deleted.
    #[error("repository {key} is unknown or deleted")]
    UnknownRepository {
        /// Its key.
        key: i64,
    },
    /// A commit that it follows from failed.
    #[error("an earlier commit of repository {key} failed, which this one follows from")]
    Follows {
        /// Its key.
        key: i64,
    },
    /// The repository is there already.
    #[error("repository {key} exists already")]
    RepositoryExists {
        /// Its key.
        key: i64,
    },
    /// `index` and `size` do not count a whole transaction.
    #[error("event {position} of the commit does not fit its transaction's numbering")]
    Numbering {
        /// Position in the commit, from 0.
        position: usize,
    },
    /// An event's old value is not the value before it.
    #[error("the old value of event {position} is not the value that {name} has")]
    Chain {
        /// Position in the commit, from 0.
        position: usize,
        /// The ref.
        name: String,
    },
    /// A ref is written with a value that no event led to, or an event leads to a value that is not written.
    #[error("the value written to {name} is not the one that the events lead to")]
    Unexplained {
        /// The ref.
        name: String,
    },
    /// An event changes a ref but names none, or `change` does not fit `old` and `new`.
    #[error("event {position} of the commit does not say what it changes")]
    Change {
        /// Position in the commit, from 0.
        position: usize,
    },
}

impl CommitError {
    /// What an error of SQLite's means to a caller.
    pub(crate) fn of_sqlite(error: &rusqlite::Error) -> Self {
        let detail = error.to_string();
        match error.sqlite_error_code() {
            Some(ffi::ErrorCode::DiskFull) => CommitError::Full,
            Some(ffi::ErrorCode::DatabaseCorrupt | ffi::ErrorCode::NotADatabase) => {
                CommitError::Corrupt { detail }
            }
            Some(_) => CommitError::Io { detail },
            None => CommitError::Corrupt { detail },
        }
    }
}

/// Why one commit of a group does not go through.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Only this commit is at fault; what it wrote must be undone.
    Refused(CommitError),
    /// SQLite failed; the whole transaction must be undone.
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Failure::Sqlite(error)
    }
}

impl From<Invalid> for Failure {
    fn from(invalid: Invalid) -> Self {
        Failure::Refused(CommitError::Invalid(invalid))
    }
}

/// What the log counts for a body.
pub(crate) const fn log_bytes(body_bytes: u64, events: u64) -> u64 {
    body_bytes + events * ROW_OVERHEAD_BYTES
}

/// Where one commit's events went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Applied {
    pub(crate) first_sequence: u64,
    pub(crate) observed_at_us: i64,
}

/// Writes a commit and moves `position`. On failure both the transaction (to its savepoint) and `position` are the
/// caller's to restore.
pub(crate) fn apply(
    connection: &Connection,
    position: &mut Position,
    commit: &Commit,
    scratch: &mut Vec<u8>,
) -> Result<Applied, Failure> {
    check_numbering(&commit.events)?;
    let key = commit.repository;
    let observed_at_us = commit.observed_at_us.max(position.observed_at_us);
    let first_sequence = position.last + 1;
    let created_sequence = position.last + u64::from(!commit.events.is_empty());
    let ref_count = begin_repository(connection, position, commit, observed_at_us, created_sequence)?;
    write_events(connection, position, commit, observed_at_us, scratch)?;
    let ref_count = write_refs(connection, commit, ref_count, scratch)?;

    let some = (!commit.events.is_empty()).then_some(());
    let (set, signature) = match commit.signature {
        SignatureWrite::Keep => (false, None),
        SignatureWrite::Set(signature) => (true, signature.map(u64::cast_signed)),
    };
    connection.prepare_cached(row::REPOSITORY_TOUCH)?.execute((
        key,
        ref_count.cast_signed(),
        some.map(|()| observed_at_us),
        some.map(|()| position.last.cast_signed()),
        set,
        signature,
        commit.journal_position.as_deref(),
    ))?;
    if commit.repository_write == Some(RepositoryWrite::Delete) {
        connection.prepare_cached(row::REPOSITORY_DELETE)?.execute((key, position.last.cast_signed()))?;
    }
    Ok(Applied { first_sequence, observed_at_us })
}

/// Adds, moves or finds the repository; gives the number of its refs.
fn begin_repository(
    connection: &Connection,
    position: &mut Position,
    commit: &Commit,
    observed_at_us: i64,
    created_sequence: u64,
) -> Result<u64, Failure> {
    let key = commit.repository;
    let found = connection
        .prepare_cached(row::REPOSITORY_CHECK)?
        .query_row([key], |found| Ok((row::count(found, 0)?, found.get::<_, bool>(1)?)))
        .optional()?;
    match (&commit.repository_write, found) {
        (Some(RepositoryWrite::Create(new)), None) => {
            row::repository_insert(connection, key, new, observed_at_us, created_sequence)?;
            position.next_key = position.next_key.max(key + 1);
            Ok(0)
        }
        (Some(RepositoryWrite::Create(_)), Some(_)) => Err(Invalid::RepositoryExists { key }.into()),
        (_, None | Some((_, false))) => Err(Invalid::UnknownRepository { key }.into()),
        (None | Some(RepositoryWrite::Delete), Some((ref_count, true))) => Ok(ref_count),
        (Some(RepositoryWrite::Move { root, path }), Some((ref_count, true))) => {
            connection.prepare_cached(row::REPOSITORY_MOVE)?.execute((key, root, path))?;
            Ok(ref_count)
        }
        (
            Some(RepositoryWrite::Layout { object_format, ref_storage, bareness, identity }),
            Some((ref_count, true)),
        ) => {
            row::repository_layout(connection, key, *object_format, *ref_storage, *bareness, *identity)?;
            Ok(ref_count)
        }
    }
}

fn write_events(
    connection: &Connection,
    position: &mut Position,
    commit: &Commit,
    observed_at_us: i64,
    scratch: &mut Vec<u8>,
) -> Result<(), Failure> {
    if commit.events.is_empty() {
        return Ok(());
    }
    let mut insert = connection.prepare_cached(row::EVENT_INSERT)?;
    for event in &commit.events {
        let sequence = position.last + 1;
        let place = Place { sequence, repository: commit.repository };
        body::encode(scratch, place, observed_at_us, event);
        insert.execute((sequence.cast_signed(), commit.repository, &*scratch))?;
        position.last = sequence;
        position.log_bytes += log_bytes(scratch.len() as u64, 1);
    }
    position.observed_at_us = observed_at_us;
    Ok(())
}

/// Writes the refs, each judged against its row and the events that lead to it; gives their number.
fn write_refs(
    connection: &Connection,
    commit: &Commit,
    mut ref_count: u64,
    scratch: &mut Vec<u8>,
) -> Result<u64, Failure> {
    let key = commit.repository;
    let is_baseline = commit.baseline && matches!(commit.repository_write, Some(RepositoryWrite::Create(_)));
    let mut paths = paths(&commit.events)?;
    // A repository read for the first time: no row can be there, and no name comes twice.
    let all_new = ref_count == 0 && commit.refs.is_sorted_by(|left, right| left.name < right.name);
    let mut get = connection.prepare_cached(row::REF_GET)?;
    let mut insert = connection.prepare_cached(row::REF_INSERT)?;
    let mut update = connection.prepare_cached(row::REF_UPDATE)?;
    let mut delete = connection.prepare_cached(row::REF_DELETE)?;
    for write in &commit.refs {
        let before = if all_new { None } else { current(&mut get, key, &write.name)? };
        let after = write.state.as_ref().and_then(|state| state.target());
        let value_before = before.as_ref().and_then(Option::as_ref);
        match paths.remove(&write.name) {
            Some(path) => path.check(value_before, after, &write.name)?,
            None if value_before == after || is_baseline => {}
            None => return Err(Invalid::Unexplained { name: write.name.to_string() }.into()),
        }
        match (&write.state, before.is_some()) {
            (Some(state), exists) => {
                value::encode(scratch, state, write.peeled.as_ref());
                let statement = if exists { &mut update } else { &mut insert };
                statement.execute((key, write.name.as_bytes(), &*scratch))?;
                ref_count += u64::from(!exists);
            }
            (None, true) => {
                delete.execute((key, write.name.as_bytes()))?;
                ref_count = ref_count.saturating_sub(1);
            }
            (None, false) => {}
        }
    }
    // What is left must have come back to where it was.
    for (name, path) in paths {
        let before = current(&mut get, key, name)?;
        let value_before = before.as_ref().and_then(Option::as_ref);
        path.check(value_before, value_before, name)?;
    }
    Ok(ref_count)
}

/// The value that a ref's row holds: outer `None` where there is no row, inner where it is broken and never was good.
fn current(
    get: &mut Statement<'_>,
    key: RepositoryKey,
    name: &RefName,
) -> Result<Option<Option<Target>>, Failure> {
    let mut rows = get.query((key, name.as_bytes()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let value = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
    match value::decode(value) {
        Ok((state, _)) => Ok(Some(state.target().cloned())),
        Err(malformed) => {
            let detail = format!("the row of {name} of repository {key}: {malformed}");
            Err(Failure::Refused(CommitError::Corrupt { detail }))
        }
    }
}

/// From where to where a commit's events lead one ref.
struct Path<'a> {
    position: usize,
    old: Option<&'a Target>,
    new: Option<&'a Target>,
}

impl Path<'_> {
    fn check(&self, before: Option<&Target>, after: Option<&Target>, name: &RefName) -> Result<(), Invalid> {
        if self.old != before {
            Err(Invalid::Chain { position: self.position, name: name.to_string() })
        } else if self.new != after {
            Err(Invalid::Unexplained { name: name.to_string() })
        } else {
            Ok(())
        }
    }
}

fn paths(events: &[Event]) -> Result<HashMap<&RefName, Path<'_>>, Invalid> {
    let mut paths: HashMap<&RefName, Path<'_>> = HashMap::with_capacity(events.len());
    for (position, event) in events.iter().enumerate() {
        if event.change.is_none() {
            continue;
        }
        let (old, new) = (event.old.as_ref(), event.new.as_ref());
        let fits = RefChange::between(old, new) == event.change;
        let Some(name) = event.name.as_ref().filter(|_| fits) else {
            return Err(Invalid::Change { position });
        };
        let path = paths.entry(name).or_insert(Path { position, old, new: old });
        if path.new != old {
            return Err(Invalid::Chain { position, name: name.to_string() });
        }
        path.new = new;
    }
    Ok(paths)
}

fn check_numbering(events: &[Event]) -> Result<(), Invalid> {
    let mut rest = events;
    while let [first, ..] = rest {
        let position = events.len() - rest.len();
        let size = usize::try_from(first.size).unwrap_or(usize::MAX);
        let Some((transaction, later)) = rest.split_at_checked(size.max(1)) else {
            return Err(Invalid::Numbering { position });
        };
        for ((index, event), offset) in (0..).zip(transaction).zip(position..) {
            if event.index != index || event.size != first.size {
                return Err(Invalid::Numbering { position: offset });
            }
        }
        rest = later;
    }
    Ok(())
}
