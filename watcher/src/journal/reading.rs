//! One reading: file by file, step by step, within its limits.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use refwatch_core::ObjectFormat;
use refwatch_hook::record;

use super::files::Source;
use super::parse;
use super::walk::{self, Flawed, Next, Tail};
use super::{Batch, Beginning, JournalError, PassedOver, Position, Recorded, Rest};
use super::{READ_BYTES_MAX, READ_RECORDS_MAX, SEARCH_BYTES_MAX};

/// A reading under way.
pub(super) struct Reading {
    format: ObjectFormat,
    bytes_left: usize,
    search_bytes_left: usize,
    batch: Batch,
}

impl Reading {
    pub(super) fn new(format: ObjectFormat, beginning: Beginning, next: Position) -> Self {
        let batch = Batch {
            records: Vec::new(),
            next,
            beginning,
            rest: Rest::Nothing,
            passed_over: PassedOver::default(),
        };
        Self { format, bytes_left: READ_BYTES_MAX, search_bytes_left: SEARCH_BYTES_MAX, batch }
    }

    pub(super) fn finish(self) -> Batch {
        self.batch
    }

    /// Reads one file, from the position on if that is in it, and says what is left of it.
    pub(super) fn file(&mut self, source: Source) -> Result<Rest, JournalError> {
        self.batch.next = self.batch.next.within(source.identity);
        self.batch.rest = self.steps(source)?;
        Ok(self.batch.rest)
    }

    fn steps(&mut self, source: Source) -> Result<Rest, JournalError> {
        let Source { file, path, bytes, is_final, is_current, .. } = source;
        let failed = |source| JournalError { path: path.clone(), source };
        let end = if is_final { Tail::Final } else { Tail::Growing };
        let mut window = Window { bytes: Vec::new(), at: self.batch.next.offset, file, file_bytes: bytes };
        window.fill(self.bytes_left.max(record::HEADER_BYTES)).map_err(failed)?;
        loop {
            let rest = window.from(self.batch.next.offset);
            let tail = if window.end() < window.file_bytes { Tail::Further } else { end };
            if rest.is_empty() && tail != Tail::Further {
                return Ok(if is_final || is_current { Rest::Nothing } else { Rest::Unfinished });
            }
            if self.batch.records.len() == READ_RECORDS_MAX || self.search_bytes_left == 0 {
                return Ok(Rest::More);
            }
            match walk::next(rest, tail, &mut self.search_bytes_left) {
                Next::Whole(frame) => {
                    self.bytes_left = self.bytes_left.saturating_sub(frame.bytes());
                    let at = self.batch.next;
                    self.batch.next = at.after(frame.bytes());
                    self.take(frame, at);
                }
                Next::Skip { bytes, flawed } => {
                    self.bytes_left = self.bytes_left.saturating_sub(bytes);
                    self.count(flawed);
                    self.batch.next = self.batch.next.after(bytes);
                }
                Next::Amid { bytes, flawed } => {
                    self.bytes_left = self.bytes_left.saturating_sub(bytes);
                    self.count(flawed);
                    self.batch.next = self.batch.next.amid(bytes);
                }
                Next::Needs { bytes: needed } => {
                    // One record is looked at whatever its length, or there would be no getting past it.
                    let is_first = self.bytes_left == READ_BYTES_MAX;
                    if !is_first && needed > self.bytes_left {
                        return Ok(Rest::More);
                    }
                    window.at = self.batch.next.offset;
                    window.fill(needed.max(self.bytes_left)).map_err(failed)?;
                }
                Next::Wait => return Ok(Rest::Unfinished),
            }
        }
    }

    fn take(&mut self, frame: record::Frame<'_>, at: Position) {
        let passed_over = &mut self.batch.passed_over;
        if frame.version > record::VERSION {
            passed_over.newer += 1;
            return;
        }
        let Ok(record) = record::decode(frame.payload) else {
            passed_over.unparsable += 1;
            return;
        };
        let Some(entry) = parse::entry(&record, self.format, passed_over) else {
            passed_over.unparsable += 1;
            return;
        };
        self.batch.records.push(Recorded {
            entry,
            monotonic_ns: record.facts.monotonic_ns,
            pid: record.facts.pid,
            parent_pid: record.facts.parent_pid,
            parent_start_ticks: record.facts.parent_start_ticks,
            process_space: record.facts.process_space,
            at,
            next: self.batch.next,
        });
    }

    /// Counts a damaged stretch, once, however many readings it takes to get past it.
    const fn count(&mut self, flawed: Flawed) {
        if self.batch.next.is_amid {
            return;
        }
        match flawed {
            Flawed::Torn => self.batch.passed_over.torn += 1,
            Flawed::Corrupt => self.batch.passed_over.corrupt += 1,
        }
    }
}

/// A stretch of a file in memory.
struct Window {
    bytes: Vec<u8>,
    /// Where it begins in the file.
    at: u64,
    file: File,
    /// Length of the file when the reading began: what comes later is for the next one.
    file_bytes: u64,
}

impl Window {
    /// Reads some bytes from `at` on, or what is there of them.
    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        let there = self.file_bytes.saturating_sub(self.at);
        self.bytes.clear();
        self.bytes.resize(usize::try_from(there).map_or(bytes, |there| there.min(bytes)), 0);
        let mut filled = 0;
        while filled < self.bytes.len() {
            match self.file.read_at(&mut self.bytes[filled..], self.at + filled as u64) {
                // Somebody cut the file meanwhile.
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled < self.bytes.len() {
            self.bytes.truncate(filled);
            self.file_bytes = self.end();
        }
        Ok(())
    }

    const fn end(&self) -> u64 {
        self.at + self.bytes.len() as u64
    }

    fn from(&self, offset: u64) -> &[u8] {
        usize::try_from(offset - self.at).ok().and_then(|from| self.bytes.get(from..)).unwrap_or_default()
    }
}
