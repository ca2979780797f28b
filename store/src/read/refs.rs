//! Refs as they were: the current rows, with later events undone.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use refwatch_core::{Event, EventType, ObjectId, RefName, RefState, Target};

use super::events::{corrupt, of_sqlite};
use super::{ReadError, Reader, ref_entry};
use crate::body::{self, Place};
use crate::{RefEntry, RefsPage, RepositoryKey, RepositoryRow, row};

/// Most refs of one page.
const PAGE_REFS_MAX: usize = 10_000;

impl Reader<'_> {
    /// Refs of a repository exactly as they were right after the event with this sequence, in order of name, from
    /// the first after `after`; `limit` at most (and never more than 10,000). Positions inside a transaction are
    /// taken as they come. A sequence above the snapshot's last stands for the last. Empty where the repository was
    /// not yet there or already gone.
    ///
    /// Values are exact; peeled ids are what the events tell. Whether a ref was broken is known from the events that mark it; a broken ref
    /// that was later deleted is given as good, with its last good value.
    ///
    /// Costs one look at the rows if the repository has not changed since; else it passes over the log after
    /// `sequence`. Memory is bounded by `limit`.
    ///
    /// # Errors
    /// [`ReadError::Expired`] when events after `sequence` are gone, [`ReadError::Corrupt`], [`ReadError::Io`].
    pub fn refs_page_at(
        &self,
        sequence: u64,
        key: RepositoryKey,
        after: Option<&RefName>,
        limit: usize,
    ) -> Result<RefsPage, ReadError> {
        self.check_kept(sequence)?;
        let limit = limit.clamp(1, PAGE_REFS_MAX);
        let Some(repository) = self.repository(key)?.filter(|repository| was_there(repository, sequence))
        else {
            return Ok(RefsPage::default());
        };
        let (rows, rows_end) = self.rows(key, after, limit)?;
        let mut past = Past { after, end: rows_end, names_max: limit, refs: BTreeMap::new() };
        if repository.last_sequence > sequence {
            self.undo(sequence, key, &mut past)?;
        }
        Ok(merge(rows, past, limit))
    }

    /// Current refs, and the name up to which they are all there are (`None`: to the end).
    fn rows(
        &self,
        key: RepositoryKey,
        after: Option<&RefName>,
        limit: usize,
    ) -> Result<(Vec<RefEntry>, Option<RefName>), ReadError> {
        let mut select = self.connection().prepare_cached(row::REFS_AFTER)?;
        let after = after.map_or([].as_slice(), RefName::as_bytes);
        let mut rows = select.query((key, after, limit.cast_signed() as i64))?;
        let mut refs = Vec::new();
        while let Some(row) = rows.next()? {
            refs.push(ref_entry(key, row, 0)?);
        }
        let end = if refs.len() < limit { None } else { refs.last().map(|(name, ..)| name.clone()) };
        Ok((refs, end))
    }

    fn undo(&self, sequence: u64, key: RepositoryKey, past: &mut Past<'_>) -> Result<(), ReadError> {
        let mut select = self.connection().prepare_cached(row::EVENTS_AFTER_OF)?;
        let mut rows = select.query((sequence.cast_signed(), key))?;
        // Events of other repositories are passed over: what is damaged is here or after.
        let mut next = sequence + 1;
        while let Some(row) = rows.next().map_err(|error| of_sqlite(error, next))? {
            let columns = || Ok((row::bits(row, 0)?, row.get_ref(1)?.as_blob()?));
            let (sequence, body) = columns().map_err(|error| of_sqlite(error, next))?;
            next = sequence + 1;
            let place = Place { sequence, repository: key };
            let (_, event) =
                body::decode(place, body).map_err(|malformed| corrupt(place.sequence, &malformed))?;
            past.undo(event);
        }
        Ok(())
    }
}

fn was_there(repository: &RepositoryRow, sequence: u64) -> bool {
    repository.created_sequence <= sequence
        && repository.deleted_sequence.is_none_or(|deleted| sequence < deleted)
}

/// What events tell of a ref's state before them.
#[derive(Debug, Default)]
struct Before {
    /// What the first change found: outer `None` while none was met.
    value: Option<Option<(Target, Option<ObjectId>)>>,
    /// What the first mark (or change) says.
    broken: Option<bool>,
}

/// The refs of a stretch of names that events touched, as they were before.
struct Past<'a> {
    after: Option<&'a RefName>,
    /// Last name of the stretch; `None` where it has no end.
    end: Option<RefName>,
    names_max: usize,
    refs: BTreeMap<RefName, Before>,
}

impl Past<'_> {
    fn undo(&mut self, event: Event) {
        let mark = if event.kind == EventType::RefBroken {
            Some(false)
        } else if event.kind == EventType::RefRepaired {
            Some(true)
        } else {
            None
        };
        if mark.is_none() && event.change.is_none() {
            return;
        }
        let Some(name) = event.name else { return };
        if self.after.is_some_and(|after| name <= *after) || self.end.as_ref().is_some_and(|end| name > *end)
        {
            return;
        }
        let before = match self.refs.entry(name) {
            Entry::Vacant(vacant) => vacant.insert(Before::default()),
            Entry::Occupied(occupied) => occupied.into_mut(),
        };
        if mark.is_some() {
            before.broken = before.broken.or(mark);
        }
        if event.change.is_some() && before.value.is_none() {
            before.value = Some(event.old.map(|target| (target, event.old_peeled)));
        }
        // The stretch shrinks to what a page can take; the rest is another page's.
        if self.refs.len() > self.names_max {
            self.refs.pop_last();
            self.end = self.refs.last_key_value().map(|(name, _)| name.clone());
        }
    }
}

/// Lays what was over what is, name by name.
fn merge(rows: Vec<RefEntry>, past: Past<'_>, limit: usize) -> RefsPage {
    let Past { end, mut refs, .. } = past;
    let mut page = RefsPage { refs: Vec::with_capacity(rows.len()), next: end.clone() };
    let mut rows =
        rows.into_iter().take_while(|(name, ..)| end.as_ref().is_none_or(|end| name <= end)).peekable();
    loop {
        let next_row = rows.peek().map(|(name, ..)| name);
        let gone = refs.first_key_value().map(|(name, _)| name);
        let entry = match (next_row, gone) {
            (None, None) => return page,
            (Some(row), Some(gone)) if row < gone => rows.next(),
            (Some(_), None) => rows.next(),
            (row, Some(gone)) => {
                let now = if row == Some(gone) { rows.next() } else { None };
                refs.pop_first().and_then(|(name, before)| before.lay_over(name, now))
            }
        };
        let Some(entry) = entry else { continue };
        if page.refs.len() == limit {
            page.next = page.refs.last().map(|(name, ..)| name.clone());
            return page;
        }
        page.refs.push(entry);
    }
}

impl Before {
    fn lay_over(self, name: RefName, now: Option<RefEntry>) -> Option<RefEntry> {
        let (was_broken, value) = match (self.value, now) {
            (Some(value), _) => (self.broken.unwrap_or(false), value),
            // Only marked since: the value is what it is now.
            (None, Some((_, state, peeled))) => {
                let broken = self.broken.unwrap_or_else(|| state.is_broken());
                (broken, state.target().cloned().map(|target| (target, peeled)))
            }
            (None, None) => (self.broken.unwrap_or(false), None),
        };
        match (was_broken, value) {
            (true, Some((target, peeled))) => {
                Some((name, RefState::Broken { last_good: Some(target) }, peeled))
            }
            (true, None) => Some((name, RefState::Broken { last_good: None }, None)),
            (false, Some((target, peeled))) => Some((name, RefState::Good(target), peeled)),
            (false, None) => None,
        }
    }
}
