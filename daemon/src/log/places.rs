//! Who and where the repositories of stored events are.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use refwatch_store::{Logged, ReadError, Reader, RepositoryKey};

use super::Log;
use crate::wire::Place;

/// Places of the events that one reader reads, each looked up once for as long as its path holds.
pub(crate) struct Places<'a> {
    log: &'a Log,
    reader: &'a Reader<'a>,
    found: HashMap<RepositoryKey, (Range<u64>, Arc<Place>)>,
    /// The latest one, as events of one repository come in runs.
    latest: Option<(RepositoryKey, Range<u64>, Arc<Place>)>,
}

impl<'a> Places<'a> {
    pub(super) fn new(log: &'a Log, reader: &'a Reader<'a>) -> Self {
        Self { log, reader, found: HashMap::new(), latest: None }
    }

    /// The repository of an event, as it was called when the event happened.
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] where nobody knows the repository.
    pub(crate) fn of(&mut self, logged: &Logged) -> Result<&Place, ReadError> {
        let fits = |key: RepositoryKey, range: &Range<u64>| {
            key == logged.repository && range.contains(&logged.sequence)
        };
        if !self.latest.as_ref().is_some_and(|(key, range, _)| fits(*key, range)) {
            let known = self.found.get(&logged.repository);
            let (range, place) = match known.filter(|(range, _)| range.contains(&logged.sequence)) {
                Some(known) => known.clone(),
                None => {
                    let looked_up = self.look_up(logged)?;
                    self.found.insert(logged.repository, looked_up.clone());
                    looked_up
                }
            };
            self.latest = Some((logged.repository, range, place));
        }
        self.latest.as_ref().map(|(_, _, place)| &**place).ok_or_else(|| unknown(logged))
    }

    fn look_up(&self, logged: &Logged) -> Result<(Range<u64>, Arc<Place>), ReadError> {
        // In this order: a path in the directory is a new one only after its move is known.
        let entry = self.log.directory.get(logged.repository);
        let (path, range) = self.log.moves.path_at(logged.repository, logged.sequence);
        let (uid, now, format) = match entry {
            Some(entry) => (entry.uid, entry.path.clone(), entry.format),
            None => {
                let row = self.reader.repository(logged.repository)?.ok_or_else(|| unknown(logged))?;
                (row.uid, row.path.into(), row.object_format)
            }
        };
        Ok((range, Arc::new(Place::new(uid, &path.unwrap_or(now), format))))
    }
}

fn unknown(logged: &Logged) -> ReadError {
    ReadError::Corrupt {
        sequence: Some(logged.sequence),
        detail: format!("its repository {} is unknown", logged.repository),
    }
}
