//! Reads one table (Git's `Documentation/technical/reftable.adoc`, "File format"): all its refs in order, or one.
//!
//! Ref blocks come first, sorted by name; an index over them follows where there are more than a few. Blocks of logs,
//! which are deflated, are sorted by name and, of one name, the newest first. Blocks of objects serve another question. Only header and footer carry a checksum: what a block says is believed where it parses.

use std::os::fd::OwnedFd;

use refwatch_core::ObjectFormat;
use rustix::io::Errno;

use super::block::{Block, Order, Value, big_endian};
use crate::dir;
use crate::objects::inflate;

/// What is wrong with a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) offset: u64,
    pub(crate) reason: &'static str,
}

/// Why a table could not be read.
#[derive(Debug)]
pub(crate) enum TableError {
    Io(Errno),
    Bad(Bad),
}

impl From<Errno> for TableError {
    fn from(error: Errno) -> Self {
        TableError::Io(error)
    }
}

impl From<Bad> for TableError {
    fn from(bad: Bad) -> Self {
        TableError::Bad(bad)
    }
}

/// Tables up to this size, in bytes, are read at once and closed: a stack has many small ones, and few large ones.
const SMALL_BYTES_MAX: u64 = 32 << 10;
/// Bytes read to find out how long a block is, where the table does not say.
const BLOCK_BYTES_GUESS: u64 = 4 << 10;
/// Levels of an index; Git writes two for a million refs.
const INDEX_LEVELS_MAX: usize = 16;

/// Entries of one log that are read at once.
pub(crate) const LOGS_MAX: usize = 4096;

const MAGIC: &[u8] = b"REFT";
/// Header and footer sizes of version 1 and 2; version 2 adds the name of the hash function to both.
const SIZES: [(usize, usize); 2] = [(24, 68), (28, 72)];
/// Type and length of a block.
const BLOCK_HEADER: usize = 4;

/// Where the bytes of a table are.
#[derive(Debug)]
enum Source {
    Read(Vec<u8>),
    Open(OwnedFd),
}

/// Blocks of one kind, and the index over them.
#[derive(Clone, Copy, Debug)]
struct Section {
    kind: u8,
    start: u64,
    /// Where another section or the footer starts.
    end: u64,
    /// Where the topmost level of the index is; 0 where there is none.
    index: u64,
}

/// A table whose header and footer are sound.
#[derive(Debug)]
pub(crate) struct Table {
    source: Source,
    header: usize,
    /// Blocks are padded to this size; 0 when they are not.
    block_size: u64,
    /// Where the footer starts.
    end: u64,
    refs: Section,
    /// `None` where there are no logs.
    logs: Option<Section>,
    id_len: usize,
    /// The first and last update index of its records.
    pub(crate) updates: (u64, u64),
}

impl Table {
    /// Checks header and footer of an open file.
    pub(crate) fn open(file: OwnedFd, size: u64, format: ObjectFormat) -> Result<Self, TableError> {
        let bad = |offset, reason| Err(TableError::Bad(Bad { offset, reason }));
        let source = if size <= SMALL_BYTES_MAX {
            Source::Read(dir::read_whole(&file, size, SMALL_BYTES_MAX)?)
        } else {
            Source::Open(file)
        };
        let mut head = [0; SIZES[1].0];
        let size = if let Source::Read(bytes) = &source { bytes.len() as u64 } else { size };
        if size < (SIZES[0].0 + SIZES[0].1) as u64
            || read_at(&source, 0, &mut head)? != head.len()
            || !head.starts_with(MAGIC)
        {
            return bad(0, "not a table, or a cut one");
        }
        let (header, footer) = match head[4] {
            1 => SIZES[0],
            2 => SIZES[1],
            _ => return bad(4, "an unknown version"),
        };
        let found = match (head[4], &head[24..28]) {
            (1, _) | (_, b"sha1") => ObjectFormat::Sha1,
            (_, b"s256") => ObjectFormat::Sha256,
            _ => return bad(24, "an unknown hash function"),
        };
        if found != format {
            return bad(24, "object ids of another hash function than the repository's");
        }
        let Some(footer_start) = size.checked_sub(footer as u64).filter(|start| *start >= header as u64)
        else {
            return bad(0, "a cut table");
        };
        let mut tail = [0; SIZES[1].1];
        let tail = &mut tail[..footer];
        if read_at(&source, footer_start, tail)? != footer {
            return bad(footer_start, "a cut table");
        }
        let (checked, sum) = tail.split_at(footer - 4);
        if crc32fast::hash(checked).to_be_bytes() != sum || checked[..header] != head[..header] {
            return bad(footer_start, "the footer does not match its checksum or the header");
        }
        let number = |start: usize| long(&checked[start..start + 8]);
        // Ref index, objects (its low five bits are something else), object index, logs, log index.
        let [ref_index, objects, object_index, logs, log_index] =
            std::array::from_fn(|index| number(header + index * 8));
        let starts = [ref_index, objects >> 5, object_index, logs, log_index];
        let refs_end = starts.into_iter().filter(|start| *start > 0).min().unwrap_or(footer_start);
        if starts.into_iter().any(|start| start > footer_start) {
            return bad(footer_start, "a section beyond the end");
        }
        let updates = (number(8), number(16));
        if updates.0 > updates.1 {
            return bad(8, "update indices that fall");
        }
        let block_size = big_endian(&head[5..8]) as u64;
        let id_len = format.raw_len();
        let refs = Section { kind: b'r', start: 0, end: refs_end, index: ref_index };
        let mut table =
            Self { source, header, block_size, end: footer_start, refs, logs: None, id_len, updates };
        // Of a table of nothing but logs the footer does not say where they are.
        let start = if logs > 0 { Some(logs) } else { table.begins_with_logs()?.then_some(0) };
        let end = if log_index > 0 { log_index } else { footer_start };
        table.logs = start.map(|start| Section { kind: b'g', start, end, index: log_index });
        Ok(table)
    }

    fn begins_with_logs(&self) -> Result<bool, Errno> {
        let mut kind = [0];
        let there = read_at(&self.source, self.header as u64, &mut kind)? == 1;
        Ok(there && (self.header as u64) < self.end && kind == *b"g")
    }

    /// All refs in order of name.
    pub(crate) fn refs(&self) -> Refs<'_> {
        Refs {
            table: self,
            block: Block::default(),
            next: 0,
            left: true,
            position: 0,
            order: Order::First,
            name: Vec::new(),
            kind: 0,
            value: 0,
        }
    }

    /// What it says of one ref, with its update index: a block or two of each level of the index.
    pub(crate) fn find(&self, name: &[u8]) -> Result<Option<Found>, TableError> {
        let mut refs = self.refs();
        if self.refs.index > 0 {
            match self.find_block(&self.refs, name)? {
                Some(position) => refs.next = position,
                None => return Ok(None),
            }
        }
        refs.seek(name)
    }

    /// What its logs say of one ref after an update index, oldest first.
    pub(crate) fn logs_of(&self, name: &[u8], after: u64) -> Result<Vec<Log>, TableError> {
        let Some(section) = &self.logs else { return Ok(Vec::new()) };
        // The newest comes first: the index is in the key, turned round.
        let wanted = [name, &[0; 9]].concat();
        let found = if section.index > 0 { self.find_block(section, &wanted)? } else { Some(section.start) };
        let (mut logs, mut block, mut key) = (Vec::new(), Block::default(), Vec::new());
        let Some(mut at) = found else { return Ok(logs) };
        while at < section.end {
            let met = self.read_block(at, section.end, &mut block)?;
            match met.kind {
                b'g' => {}
                // The lower levels of an index, as behind refs.
                b'i' => break,
                _ => return Err(Bad { offset: at, reason: "not a log block" }.into()),
            }
            let (mut position, mut order) = (block.seek(&wanted)?, Order::First);
            while let Some(head) = block.read_key(position, &mut key, order)? {
                let mut input = block.input(head.value);
                let values =
                    input.log(head.kind, self.id_len).ok_or(block.bad(position, "a cut log record"))?;
                (position, order) = (input.position, Order::Rising);
                if key < wanted {
                    continue;
                }
                let index = key.strip_prefix(name).and_then(|rest| rest.strip_prefix(&[0]));
                let index = index.filter(|index| index.len() == 8).map(|index| u64::MAX - long(index));
                let Some(index) = index.filter(|index| *index > after && logs.len() < LOGS_MAX) else {
                    logs.reverse();
                    return Ok(logs);
                };
                logs.extend(values.map(|(old, new)| Log { index, old: old.into(), new: new.into() }));
            }
            at = met.next;
        }
        logs.reverse();
        Ok(logs)
    }

    /// The block that holds a key if any does. The topmost level of an index may be a few blocks long.
    fn find_block(&self, section: &Section, name: &[u8]) -> Result<Option<u64>, TableError> {
        let bad = |offset, reason| Err(TableError::Bad(Bad { offset, reason }));
        let (mut at, mut block) = (section.index, Block::default());
        let mut met = self.read_block(at, self.end, &mut block)?;
        if met.kind != b'i' {
            return bad(at, "not an index");
        }
        for level in 0..INDEX_LEVELS_MAX {
            let below = loop {
                if let Some(below) = below(&block, name)? {
                    break below;
                }
                at = met.next;
                if level > 0 || at >= self.end {
                    return Ok(None);
                }
                met = self.read_block(at, self.end, &mut block)?;
                if met.kind != b'i' {
                    return Ok(None);
                }
            };
            // What an index is over comes before it.
            if below >= at {
                return bad(at, "an index that leads nowhere");
            }
            at = below;
            met = self.read_block(at, self.end, &mut block)?;
            match met.kind {
                b'i' => {}
                kind if kind == section.kind && at < section.end => return Ok(Some(at)),
                _ => return bad(at, "an index that leads out of its section"),
            }
        }
        bad(at, "an index of too many levels")
    }

    /// Reads the block at a position and says where the next one is.
    fn read_block(&self, position: u64, end: u64, block: &mut Block) -> Result<Met, TableError> {
        let bad = |reason| TableError::Bad(Bad { offset: position, reason });
        let header = if position == 0 { self.header } else { 0 };
        let left = end.saturating_sub(position);
        let wanted = if self.block_size > 0 { self.block_size } else { BLOCK_BYTES_GUESS };
        // With the byte behind it, which says whether it is padded.
        let guess = usize::try_from(wanted.min(left)).map_err(|_| bad("a cut block"))?;
        block.start = position;
        block.bytes.resize(guess, 0);
        let got = read_at(&self.source, position, &mut block.bytes)?;
        if got < header + BLOCK_HEADER {
            return Err(bad("a cut block"));
        }
        let kind = block.bytes[header];
        if !matches!(kind, b'r' | b'i' | b'g') {
            return Ok(Met { kind, next: position });
        }
        let length = big_endian(&block.bytes[header + 1..header + BLOCK_HEADER]);
        if length < header + BLOCK_HEADER + 2 {
            return Err(bad("a cut block"));
        }
        if kind == b'g' {
            let deflated = self.inflate_block(header + BLOCK_HEADER, length, left, block)?;
            return Ok(Met { kind, next: position + deflated });
        }
        if length as u64 > left {
            return Err(bad("a cut block"));
        }
        // Padding is zeroes; a block that starts where this one ends is not aligned.
        let behind = block.bytes[..got].get(length).copied();
        let padded = (length as u64) < self.block_size && behind.is_some_and(|byte| byte == 0);
        let next = position + if padded { self.block_size } else { length as u64 };
        if length > got {
            block.bytes.resize(length, 0);
            if got + read_at(&self.source, position + got as u64, &mut block.bytes[got..])? != length {
                return Err(bad("a cut block"));
            }
        }
        block.bytes.truncate(length);
        block.lay_out(header + BLOCK_HEADER)?;
        Ok(Met { kind, next })
    }

    /// Inflates a log block whose header ends at `records`: `length` bytes then, with the header. Says how long it is
    /// in the table.
    fn inflate_block(
        &self,
        records: usize,
        length: usize,
        left: u64,
        block: &mut Block,
    ) -> Result<u64, TableError> {
        let bad = |reason| TableError::Bad(Bad { offset: block.start, reason });
        // What cannot be deflated grows by five bytes for every few thousand (RFC 1951, 3.2.4).
        let deflated_max = (length + length / 1000 + 64) as u64;
        let wanted = usize::try_from(deflated_max.min(left)).map_err(|_| bad("a cut block"))?;
        let mut deflated = vec![0; wanted];
        let got = read_at(&self.source, block.start, &mut deflated)?;
        let stream = deflated[..got].get(records..).ok_or(bad("a cut block"))?;
        block.bytes.resize(length, 0);
        block.bytes[..records].copy_from_slice(&deflated[..records]);
        let consumed =
            inflate(stream, &mut block.bytes[records..]).ok_or(bad("a log block that does not inflate"))?;
        block.lay_out(records)?;
        Ok((records + consumed) as u64)
    }
}

/// The block that the first key of an index block that is not before a name leads to.
fn below(block: &Block, name: &[u8]) -> Result<Option<u64>, Bad> {
    let (mut position, mut order, mut key) = (block.seek(name)?, Order::First, Vec::new());
    while let Some(head) = block.read_key(position, &mut key, order)? {
        let mut input = block.input(head.value);
        let below = input.varint().ok_or(block.bad(position, "a cut record"))?;
        if key.as_slice() >= name {
            return Ok(Some(below));
        }
        (position, order) = (input.position, Order::Rising);
    }
    Ok(None)
}

/// One entry of the log of a ref. Raw object ids; of a ref that was made or deleted, one is all zeroes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) index: u64,
    pub(crate) old: Box<[u8]>,
    pub(crate) new: Box<[u8]>,
}

/// A block that was met.
struct Met {
    kind: u8,
    next: u64,
}

/// What a table says of a ref that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Deleted,
    Direct(Box<[u8]>),
    Symbolic(Box<[u8]>),
}

impl Found {
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Found::Deleted => Value::Deleted,
            Found::Direct(id) => Value::Direct { id, peeled: None },
            Found::Symbolic(target) => Value::Symbolic(target),
        }
    }
}

/// A walk over the refs of a table.
pub(crate) struct Refs<'a> {
    table: &'a Table,
    block: Block,
    /// Where the next block is.
    next: u64,
    /// There may be a next block.
    left: bool,
    /// Where the next record is in the block.
    position: usize,
    order: Order,
    /// The name of the record that is met.
    pub(crate) name: Vec<u8>,
    kind: u8,
    value: usize,
}

impl Refs<'_> {
    /// Goes to the next ref; false at the end.
    pub(crate) fn advance(&mut self) -> Result<bool, TableError> {
        while !self.advance_here()? {
            if !self.enter_next()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Goes to the next ref of this block; false at its end.
    fn advance_here(&mut self) -> Result<bool, TableError> {
        let Some(head) = self.block.read_key(self.position, &mut self.name, self.order)? else {
            return Ok(false);
        };
        (self.kind, self.value) = (head.kind, head.value);
        let mut input = self.block.input(head.value);
        if input.value(head.kind, self.table.id_len).is_none() {
            let reason = if head.kind > 3 { "an unknown kind of value" } else { "a cut record" };
            return Err(self.block.bad(self.position, reason).into());
        }
        (self.position, self.order) = (input.position, Order::Rising);
        Ok(true)
    }

    /// Reads the next block of refs; false where there is none.
    fn enter_next(&mut self) -> Result<bool, TableError> {
        let is_first = self.next == 0;
        if !self.left || self.next >= self.table.refs.end {
            return Ok(false);
        }
        let position = self.next;
        let met = self.table.read_block(position, self.table.refs.end, &mut self.block)?;
        match met.kind {
            b'r' => {
                self.next = met.next;
                self.position = self.block.first();
                Ok(true)
            }
            // The lower levels of an index (the footer names its top), or a table of nothing but logs, or of nothing.
            kind => {
                self.left = false;
                self.block = Block::default();
                self.position = 0;
                if kind == b'i' || is_first {
                    Ok(false)
                } else {
                    Err(Bad { offset: position, reason: "not a ref block" }.into())
                }
            }
        }
    }

    /// Looks for a name from the next block on. Without an index it may be in a later one.
    fn seek(mut self, name: &[u8]) -> Result<Option<Found>, TableError> {
        while self.enter_next()? {
            self.position = self.block.seek(name)?;
            self.order = Order::First;
            while self.advance_here()? {
                if self.name.as_slice() > name {
                    return Ok(None);
                }
                if self.name == name {
                    return Ok(Some(match self.record().1 {
                        Value::Deleted => Found::Deleted,
                        Value::Direct { id, .. } => Found::Direct(id.into()),
                        Value::Symbolic(target) => Found::Symbolic(target.into()),
                    }));
                }
            }
        }
        Ok(None)
    }

    /// The update index and value of the record that is met.
    pub(crate) fn record(&self) -> (u64, Value<'_>) {
        let value = self.block.input(self.value).value(self.kind, self.table.id_len);
        let (index, value) = value.expect("BUG: it was read when it was met");
        (self.table.updates.0.saturating_add(index), value)
    }
}

fn read_at(source: &Source, position: u64, buffer: &mut [u8]) -> Result<usize, Errno> {
    match source {
        Source::Read(bytes) => {
            let rest = usize::try_from(position).ok().and_then(|from| bytes.get(from..)).unwrap_or_default();
            let count = rest.len().min(buffer.len());
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        }
        Source::Open(file) => dir::read_at(file, buffer, position),
    }
}

fn long(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}
