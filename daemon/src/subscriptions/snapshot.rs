//! The refs as they were at one position, message by message.

use bytes::Bytes;
use prost::Message as _;
use refwatch_core::RefName;
use refwatch_proto::v1::{self, watch_events_response::Kind};
use refwatch_store::{ReadError, Reader, RepositoryRow};

use crate::filter::Filter;
use crate::log::Log;
use crate::wire;

/// Refs read in one go.
const PAGE_REFS: usize = 1_000;
/// Refs looked at in one step.
const STEP_REFS: usize = 16_000;
/// Repositories looked at in one step.
const STEP_REPOSITORIES: usize = 1_000;
/// Room in a message for what is neither repository nor ref, in bytes.
const FRAME_BYTES: usize = 32;

/// A walk through all refs that a filter lets pass, all as they were at the same position.
///
/// Each step reads with a reader of its own, so that a slow client holds none.
#[derive(Debug)]
pub(super) struct Walk {
    sequence: u64,
    repositories: Vec<RepositoryRow>,
    at: usize,
    after: Option<RefName>,
    pending: Vec<v1::Ref>,
    pending_bytes: usize,
    refs: u64,
}

/// True for a repository that was there at a position.
pub(crate) fn alive_at(row: &RepositoryRow, sequence: u64) -> bool {
    row.created_sequence <= sequence && row.deleted_sequence.is_none_or(|deleted| sequence < deleted)
}

impl Walk {
    /// Begins at the end of the log. Blocks.
    pub(super) fn begin(log: &Log, filter: &Filter) -> Result<Self, ReadError> {
        let reader = log.store().read()?;
        let sequence = reader.bounds().last;
        let mut repositories = reader.repositories()?;
        repositories.retain(|row| {
            let path = log.path_at(row.key, sequence);
            alive_at(row, sequence) && filter.passes_repository(row.uid, path.as_deref().unwrap_or(&row.path))
        });
        repositories.sort_by_key(|row| row.uid);
        Ok(Self {
            sequence,
            repositories,
            at: 0,
            after: None,
            pending: Vec::new(),
            pending_bytes: 0,
            refs: 0,
        })
    }

    /// The position that it shows.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The first message.
    pub(super) fn begin_message(&self) -> Bytes {
        let repository_count = self.repositories.len() as u64;
        wire::response(Kind::SnapshotBegin(v1::SnapshotBegin { sequence: self.sequence, repository_count }))
    }

    /// The last message.
    pub(super) fn end_message(&self, log: &Log) -> Bytes {
        wire::response(Kind::SnapshotEnd(v1::SnapshotEnd {
            cursor: log.encoder().cursor(self.sequence),
            repository_count: self.repositories.len() as u64,
            ref_count: self.refs,
        }))
    }

    /// True when all was read.
    pub(super) fn is_over(&self) -> bool {
        self.at >= self.repositories.len()
    }

    /// The next messages, of which there may be none yet. Blocks.
    ///
    /// # Errors
    /// [`ReadError::Expired`] when the position is retained no more.
    pub(super) fn step(
        &mut self,
        log: &Log,
        filter: &Filter,
        bytes_max: usize,
    ) -> Result<Vec<Bytes>, ReadError> {
        let reader = log.store().read()?;
        let mut messages = Vec::new();
        let (mut bytes, mut refs, mut repositories) = (0, 0, 0);
        while bytes < bytes_max && refs < STEP_REFS && repositories < STEP_REPOSITORIES && !self.is_over() {
            let made = messages.len();
            refs += self.page(log, &reader, filter, bytes_max, &mut messages)?;
            bytes += messages[made..].iter().map(Bytes::len).sum::<usize>();
            repositories += 1;
        }
        Ok(messages)
    }

    fn page(
        &mut self,
        log: &Log,
        reader: &Reader<'_>,
        filter: &Filter,
        bytes_max: usize,
        messages: &mut Vec<Bytes>,
    ) -> Result<usize, ReadError> {
        let row = &self.repositories[self.at];
        let page = reader.refs_page_at(self.sequence, row.key, self.after.as_ref(), PAGE_REFS)?;
        let repository = describe(log, row, self.sequence);
        let id = wire::hex16(row.uid);
        let format = row.object_format;
        let room = bytes_max.saturating_sub(repository.encoded_len() + FRAME_BYTES);
        let read = page.refs.len();
        for (name, state, peeled) in page.refs.iter().filter(|(name, _, _)| filter.passes_ref(name)) {
            let item = wire::snapshot_ref(&id, format, name, state, peeled.as_ref());
            let len = item.encoded_len();
            let len = len + 1 + prost::length_delimiter_len(len);
            if !self.pending.is_empty() && self.pending_bytes + len > room {
                messages.push(self.flush(&repository, false));
            }
            self.pending.push(item);
            self.pending_bytes += len;
        }
        self.after = page.next;
        if self.after.is_none() {
            messages.push(self.flush(&repository, true));
            self.at += 1;
        }
        Ok(read)
    }

    fn flush(&mut self, repository: &v1::Repository, last: bool) -> Bytes {
        let refs = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        self.refs += refs.len() as u64;
        wire::response(Kind::SnapshotRefs(v1::SnapshotRefs {
            repository: Some(repository.clone()),
            refs,
            last,
        }))
    }
}

/// A repository as it was called at a position.
fn describe(log: &Log, row: &RepositoryRow, sequence: u64) -> v1::Repository {
    // In this order: a path in the directory is a new one only after its move is known.
    let entry = log.directory().get(row.key);
    let then = log.path_at(row.key, sequence);
    match entry {
        Some(entry) => wire::repository(&entry, then.as_deref().unwrap_or(&entry.path), Some(row.ref_count)),
        None => wire::repository_of_row(row, then.as_deref().unwrap_or(&row.path)),
    }
}
