//! How repositories were called before they moved.
//!
//! The log has no paths but in REPOSITORY_MOVED, which tells the one before. So the path at an event is the one that
//! the first move after it left, or the present one. What was published since the start is known; of what is older,
//! the log is looked through once, as far back as somebody reads.

use std::collections::HashMap;
use std::ops::{ControlFlow, Range};
use std::sync::{Mutex, PoisonError, RwLock};

use refwatch_core::EventType;
use refwatch_store::{Logged, ReadError, Reader, RepositoryKey};

/// Events looked through in one step.
const STEP_EVENTS: usize = 32_768;
/// Moves known from which on those before the floor are forgotten.
const MOVES_MAX: usize = 10_000;

/// Damaged events in a row that are passed over: more than a page of the database holds.
const DAMAGED_EVENTS_MAX: u32 = 256;

#[derive(Debug)]
pub(super) struct Moves {
    known: RwLock<Known>,
    /// Held while one looks through the log: damaged events that were met in a row.
    looking: Mutex<u32>,
}

#[derive(Debug)]
struct Known {
    /// Every move with this sequence or a later one is known.
    from: u64,
    count: usize,
    /// In order of sequence.
    by_key: HashMap<RepositoryKey, Vec<Move>>,
}

/// Sequence, and path before.
type Move = (u64, Box<[u8]>);

impl Moves {
    pub(super) fn known_after(last: u64) -> Self {
        let known = Known { from: last + 1, count: 0, by_key: HashMap::new() };
        Self { known: RwLock::new(known), looking: Mutex::default() }
    }

    /// Takes the moves among events that continue what is known.
    pub(super) fn learn(&self, events: &[Logged], floor: u64) {
        if !events.iter().any(is_move) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for logged in events {
            known.insert(logged);
        }
        if known.count > MOVES_MAX {
            for moves in known.by_key.values_mut() {
                moves.retain(|(sequence, _)| *sequence >= floor);
            }
            known.by_key.retain(|_, moves| !moves.is_empty());
            known.count = known.by_key.values().map(Vec::len).sum();
        }
    }

    /// Looks one step further back; true when every move after the position is known.
    pub(super) fn cover(&self, reader: &Reader<'_>, after: u64) -> Result<bool, ReadError> {
        if self.known_from() <= after + 1 {
            return Ok(true);
        }
        let mut damaged_events = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let from = self.known_from();
        if from <= after + 1 {
            return Ok(true);
        }
        let mut moves = Vec::new();
        let mut reached = None;
        let looked = reader.events_before(from, STEP_EVENTS, |logged| {
            if logged.sequence <= after {
                return ControlFlow::Break(());
            }
            reached = Some(logged.sequence);
            if is_move(&logged) {
                moves.push(logged);
            }
            ControlFlow::Continue(())
        });
        let from = match looked {
            // Where nothing is left to look through, everything is known.
            Ok(_) => reached.unwrap_or(0),
            // Not told here: whoever reads the events themselves meets it in its place, after the good ones.
            Err(ReadError::Corrupt { sequence: Some(damaged), .. })
                if reached.is_some() || *damaged_events < DAMAGED_EVENTS_MAX =>
            {
                damaged
            }
            Err(error) => return Err(error),
        };
        *damaged_events = if reached.is_some() { 0 } else { *damaged_events + 1 };
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        for logged in &moves {
            known.insert(logged);
        }
        known.from = from;
        Ok(known.from <= after + 1)
    }

    /// Path of a repository at a sequence, `None` for the present one, and the sequences it holds for.
    pub(super) fn path_at(&self, key: RepositoryKey, sequence: u64) -> (Option<Box<[u8]>>, Range<u64>) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let Some(moves) = known.by_key.get(&key) else { return (None, 0..u64::MAX) };
        let next = moves.partition_point(|(moved, _)| *moved <= sequence);
        let from = next.checked_sub(1).map_or(0, |before| moves[before].0);
        match moves.get(next) {
            Some((moved, path)) => (Some(path.clone()), from..*moved),
            None => (None, from..u64::MAX),
        }
    }

    fn known_from(&self) -> u64 {
        self.known.read().unwrap_or_else(PoisonError::into_inner).from
    }
}

impl Known {
    fn insert(&mut self, logged: &Logged) {
        let previous = logged.event.extra.as_deref().and_then(|extra| extra.previous.clone());
        let (true, Some(previous)) = (is_move(logged), previous) else { return };
        let moves = self.by_key.entry(logged.repository).or_default();
        if let Err(at) = moves.binary_search_by_key(&logged.sequence, |(sequence, _)| *sequence) {
            moves.insert(at, (logged.sequence, previous));
            self.count += 1;
        }
    }
}

fn is_move(logged: &Logged) -> bool {
    logged.event.kind == EventType::RepositoryMoved
}
