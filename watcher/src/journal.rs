//! Reads what hooks recorded, from any position on and whatever is in the files.
//!
//! The format is that of `refwatch_hook::record`. Hooks append to `refwatch/journal` below the git directory; rotation
//! renames it to `journal.N`, with a greater number each time. Rotated files are read to their end first.
//!
//! **Architecture invariant:** no content is an error. What cannot be read is counted and passed over: records are
//! hints, and the refs tell the truth without them.

mod files;
mod parse;
mod position;
mod reading;
mod rotate;
mod saved;
mod walk;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use refwatch_core::ObjectFormat;
use refwatch_core::journal::Transaction;
use refwatch_core::push;
use refwatch_hook::record::RECORD_BYTES_MAX;
use rustix::io::Errno;

use crate::dir::{self, Links};
use crate::layout::Layout;
use files::Files;
pub use files::{FILES_MAX, WRITER_WAIT_MS_MAX};
pub use position::{MalformedPosition, POSITION_BYTES_MAX, Position};
use reading::Reading;
pub use rotate::{KEPT_BYTES_MAX, ROTATE_BYTES_MIN};
pub use saved::{SAVED_BYTES_MAX, Saved, Untold};

/// Bytes that one reading takes. Where the first record is longer, it is read all the same, and nothing else.
pub const READ_BYTES_MAX: usize = 8 << 20;

/// Most records that one reading gives.
pub const READ_RECORDS_MAX: usize = 4096;

/// Most bytes whose checksums one reading verifies in search of the next whole record behind a damaged one.
pub const SEARCH_BYTES_MAX: usize = 2 * RECORD_BYTES_MAX;

/// The journal of one repository, found once: whatever becomes of the path of the repository, what is read and removed is
/// its own.
///
/// Rotating is a rename of `journal` to `journal.N`, with N above all others there. A rotated file may be deleted once a
/// position lies in a later file; one that goes earlier takes its unread records with it, and [`Beginning::Lost`] says so.
#[derive(Debug)]
pub struct Journal {
    directory: OwnedFd,
    /// For messages.
    path: PathBuf,
    format: ObjectFormat,
}

/// What there is to read of a repository.
#[derive(Debug)]
pub enum Found {
    /// A place for records; there need be none.
    Journal(Journal),
    /// No place for records: hooks were not installed, or are removed.
    Nothing,
    /// The repository itself is not at its path. What hooks recorded went with it.
    Elsewhere,
}

/// What one reading gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whole records in the order of the files.
    pub records: Vec<Recorded>,
    /// Where to read on. Never moves over what may still become a record.
    pub next: Position,
    /// Where the reading began.
    pub beginning: Beginning,
    /// What is left to read.
    pub rest: Rest,
    /// What was passed over.
    pub passed_over: PassedOver,
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// What was recorded. Its time is that of the wall clock: unlike the monotonic one it goes on over a restart of the
    /// machine, and a journal may well be read after one.
    pub entry: Entry,
    /// Monotonic clock of the hook, in nanoseconds since the machine started.
    pub monotonic_ns: u64,
    /// The hook's process.
    pub pid: u32,
    /// Its parent, which is what the transactions of one push have in common.
    pub parent_pid: u32,
    /// When the parent started, in clock ticks since the machine did; 0 where that is not known.
    pub parent_start_ticks: u64,
    /// Where these numbers of processes mean something: [`process_space`] of the hook; 0 where that is not known.
    pub process_space: u64,
    /// The position right before this record.
    pub at: Position,
    /// The position right after this record.
    pub next: Position,
}

/// What one hook recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// `reference-transaction`, as `reconcile` takes it.
    Transaction(Transaction),
    /// `pre-receive`, `update` or `post-receive`.
    Push(push::Record),
}

impl Entry {
    /// Identity of the record, unique within the journal.
    pub const fn id(&self) -> u64 {
        match self {
            Entry::Transaction(transaction) => transaction.id,
            Entry::Push(record) => record.id,
        }
    }

    /// When it was recorded, in microseconds since 1970.
    pub const fn at_us(&self) -> u64 {
        match self {
            Entry::Transaction(transaction) => transaction.at_ns / 1000,
            Entry::Push(record) => record.at_us,
        }
    }
}

/// Where a reading began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// At the given position.
    Resumed,
    /// At the oldest file, as [`Position::oldest`] asks.
    Oldest,
    /// At the oldest file there is, since the one that the position was in is gone, or ends before it. What stood in
    /// between is lost, and what comes may have been read before.
    Lost,
}

/// What is left after a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing: all that is there was read.
    Nothing,
    /// More: a limit was reached. Read again at once.
    More,
    /// A record that is not all there yet, or never will be, or a hook that is about to append to a rotated file. Read
    /// again when something happens, or in a while.
    Unfinished,
}

/// What was passed over, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PassedOver {
    /// Records that end early: the disk was full, or a hook was killed as it wrote.
    pub torn: u64,
    /// Stretches that are no record, or one with a wrong checksum.
    pub corrupt: u64,
    /// Whole records of a version that a later hook writes.
    pub newer: u64,
    /// Whole records whose fields do not read, or that do not say what their hook is told.
    pub unparsable: u64,
    /// Records, given without updates, whose input was longer than a record takes.
    pub inputs_left_out: u64,
    /// Lines that are no update of a ref: left out of their records.
    pub lines_bad: u64,
    /// Lines about what refwatch does not follow, `ORIG_HEAD` and its like: left out of their records.
    pub lines_not_followed: u64,
}

/// The operating system refused. Nothing of it depends on what the files hold.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}", path = path.display())]
pub struct JournalError {
    /// What could not be read.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The space of process numbers that this process is in ([`refwatch_hook::space::own`]), looked up once.
pub fn process_space() -> u64 {
    static OWN: LazyLock<u64> = LazyLock::new(refwatch_hook::space::own);
    *OWN
}

impl Journal {
    /// Finds the journal of a repository.
    ///
    /// # Errors
    /// [`JournalError`] where it cannot be told what is there.
    pub fn find(layout: &Layout) -> Result<Found, JournalError> {
        let git_dir = dir::open_known(&layout.git_dir, layout.identity);
        let Some(git_dir) = git_dir.map_err(|error| failed(&layout.git_dir, error))? else {
            return Ok(Found::Elsewhere);
        };
        let path = layout.git_dir.join(refwatch_hook::DIRECTORY);
        match dir::open_below(&git_dir, refwatch_hook::DIRECTORY, Links::Follow) {
            Ok(directory) => Ok(Found::Journal(Self { directory, path, format: layout.format })),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(Found::Nothing),
            Err(error) => Err(failed(&path, error)),
        }
    }

    /// Reads from a position on: at most [`READ_RECORDS_MAX`] records and about [`READ_BYTES_MAX`] bytes. Reads files
    /// and locks rotated ones for a moment; writes nothing.
    ///
    /// A record that is still being written is waited for: [`Batch::next`] stays before it until it is whole, or
    /// until a whole one follows, or until the file was rotated and nobody writes to it any more. Where there are no
    /// files the batch is empty.
    ///
    /// # Errors
    /// [`JournalError`] where a file or the directory cannot be read.
    pub fn read(&self, from: &Position) -> Result<Batch, JournalError> {
        let mut files = Files::from(self, from)?;
        let next = match files.beginning {
            Beginning::Resumed => *from,
            Beginning::Oldest | Beginning::Lost => Position::oldest(),
        };
        let mut reading = Reading::new(self.format, files.beginning, next);
        while let Some(source) = files.next()? {
            if reading.file(source)? != Rest::Nothing {
                break;
            }
        }
        Ok(reading.finish())
    }

    /// Reads, as [`Journal::read`] does, what was read before and lies between two positions. With [`Rest::Nothing`] it has
    /// all of it, or all that is left.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub fn read_again(&self, from: &Position, until: &Position) -> Result<Batch, JournalError> {
        let mut batch = self.read(from)?;
        let mut is_in_last = from.file == until.file;
        let mut is_behind = |position: &Position| {
            let is_in_it = position.file == until.file;
            let is_behind = if is_in_it { position.offset > until.offset } else { is_in_last };
            is_in_last |= is_in_it;
            is_behind
        };
        if let Some(end) = batch.records.iter().position(|record| is_behind(&record.next)) {
            batch.records.truncate(end);
            (batch.next, batch.rest) = (*until, Rest::Nothing);
        } else if batch.next.file == until.file && batch.next.offset >= until.offset {
            (batch.next, batch.rest) = (*until, Rest::Nothing);
        } else if batch.rest == Rest::Unfinished {
            // What a hook is about to append was not read before.
            batch.rest = Rest::Nothing;
        }
        Ok(batch)
    }
}

fn failed(path: &Path, error: Errno) -> JournalError {
    JournalError { path: path.to_owned(), source: error.into() }
}

#[cfg(test)]
mod tests;
