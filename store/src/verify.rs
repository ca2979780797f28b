//! Verifying the whole database: every promise that can be checked without the repositories.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;

use refwatch_core::{Event, RefName, Target};

use crate::body::{self, Place};
use crate::{ReadError, Reader, RepositoryKey, row, value};

/// A promise of the log that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// SQLite's own check of the file.
    Database {
        /// What it said.
        detail: String,
    },
    /// Events are missing.
    Gap {
        /// First sequence missing.
        first: u64,
        /// Last sequence missing.
        last: u64,
    },
    /// An event cannot be decoded.
    Undecodable {
        /// Its sequence.
        sequence: u64,
        /// What is wrong.
        detail: String,
    },
    /// An event's index or size does not continue its transaction, or another repository's event stands in between.
    Transaction {
        /// Its sequence.
        sequence: u64,
    },
    /// An event is older than the one before it.
    Time {
        /// Its sequence.
        sequence: u64,
    },
    /// An event's old value is not the previous event's new one.
    Chain {
        /// Its sequence.
        sequence: u64,
        /// The repository.
        repository: RepositoryKey,
        /// The ref, as text.
        name: String,
    },
    /// The current value of a ref is not the one that its last event gave it.
    Current {
        /// The repository.
        repository: RepositoryKey,
        /// The ref, as text; the event's sequence stands in for the name of a ref that is missing.
        name: Option<String>,
        /// The ref's last event, if one is kept.
        sequence: Option<u64>,
    },
    /// A ref's row cannot be decoded.
    Ref {
        /// The repository.
        repository: RepositoryKey,
        /// The ref, as text.
        name: String,
    },
    /// A repository's row cannot be decoded, is missing, or counts its refs wrongly.
    Repository {
        /// The repository.
        repository: RepositoryKey,
        /// What is wrong.
        detail: String,
    },
}

/// What was verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Events read.
    pub events: u64,
    /// Refs read.
    pub refs: u64,
    /// Repositories read.
    pub repositories: u64,
    /// Findings handed out.
    pub findings: u64,
}

impl Reader<'_> {
    /// Reads everything and hands out what does not hold: SQLite's own check, no gap between floor and last, each
    /// event decodes, transactions are whole and of one repository, times do not go back, each ref's old value is
    /// its previous new one, each current ref is what its last event made it, counts are right.
    ///
    /// Goes on after a finding unless `each` breaks off. Takes about 100 bytes of memory for each ref that the log
    /// names.
    ///
    /// # Errors
    /// [`ReadError`] when reading itself fails.
    pub fn verify(&self, each: impl FnMut(Finding) -> ControlFlow<()>) -> Result<Verified, ReadError> {
        let mut verifier = Verifier {
            reader: self,
            each,
            verified: Verified::default(),
            hasher: RandomState::new(),
            refs: HashMap::new(),
        };
        // Broken off or done: what was counted is true.
        verifier.run().map(|_| verifier.verified)
    }
}

/// What the log says of a ref, in a few bytes: names and values stand as 64-bit digests.
struct Said {
    value: Option<u64>,
    sequence: u64,
}

struct Verifier<'a, F> {
    reader: &'a Reader<'a>,
    each: F,
    verified: Verified,
    hasher: RandomState,
    refs: HashMap<(RepositoryKey, u64), Said>,
}

type Flow = Result<ControlFlow<()>, ReadError>;

/// Goes on unless the caller broke off.
macro_rules! go_on {
    ($flow:expr) => {
        if $flow.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    };
}

/// The transaction that the next event must continue.
#[derive(Clone, Copy)]
struct Open {
    repository: RepositoryKey,
    index: u32,
    size: u32,
}

impl<F: FnMut(Finding) -> ControlFlow<()>> Verifier<'_, F> {
    fn find(&mut self, finding: Finding) -> ControlFlow<()> {
        self.verified.findings += 1;
        (self.each)(finding)
    }

    fn run(&mut self) -> Flow {
        go_on!(self.database()?);
        go_on!(self.events()?);
        let counts = self.refs()?;
        let ControlFlow::Continue(counts) = counts else { return Ok(ControlFlow::Break(())) };
        self.repositories(counts)
    }

    fn database(&mut self) -> Flow {
        let connection = self.reader.connection();
        let mut check = connection.prepare("PRAGMA integrity_check")?;
        let mut rows = check.query(())?;
        while let Some(row) = rows.next()? {
            let detail: String = row.get(0)?;
            if detail != "ok" {
                go_on!(self.find(Finding::Database { detail }));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn events(&mut self) -> Flow {
        let bounds = self.reader.bounds();
        let mut select = self.reader.connection().prepare(row::EVENTS_AFTER)?;
        let mut rows = select.query((-1, -1))?;
        let mut expected = bounds.floor;
        let mut open = None;
        let mut latest_us = i64::MIN;
        while let Some(row) = rows.next()? {
            let place = Place { sequence: row::bits(row, 0)?, repository: row.get(1)? };
            let sequence = place.sequence;
            self.verified.events += 1;
            if sequence > expected {
                go_on!(self.find(Finding::Gap { first: expected, last: sequence - 1 }));
                open = None;
            } else if sequence < expected {
                let detail = "it lies below the floor".to_owned();
                go_on!(self.find(Finding::Undecodable { sequence, detail }));
            }
            expected = sequence + 1;
            let body = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            let (observed_at_us, event) = match body::decode(place, body) {
                Ok(decoded) => decoded,
                Err(malformed) => {
                    open = None;
                    go_on!(self.find(Finding::Undecodable { sequence, detail: malformed.to_string() }));
                    continue;
                }
            };
            if observed_at_us < latest_us {
                go_on!(self.find(Finding::Time { sequence }));
            }
            latest_us = observed_at_us;
            let (fits, next) = continues(open, place, &event);
            open = next;
            if !fits {
                go_on!(self.find(Finding::Transaction { sequence }));
            }
            go_on!(self.chain(place, &event));
        }
        if expected <= bounds.last {
            go_on!(self.find(Finding::Gap { first: expected, last: bounds.last }));
        }
        if open.is_some() {
            go_on!(self.find(Finding::Transaction { sequence: bounds.last }));
        }
        Ok(ControlFlow::Continue(()))
    }

    fn chain(&mut self, place: Place, event: &Event) -> ControlFlow<()> {
        let (Some(_), Some(name)) = (event.change, &event.name) else { return ControlFlow::Continue(()) };
        let Place { sequence, repository } = place;
        let old = self.digest(event.old.as_ref());
        let said = Said { value: self.digest(event.new.as_ref()), sequence };
        match self.refs.insert((repository, self.hasher.hash_one(name.as_bytes())), said) {
            Some(before) if before.value != old => {
                self.find(Finding::Chain { sequence, repository, name: name.to_string() })
            }
            _ => ControlFlow::Continue(()),
        }
    }

    fn digest(&self, target: Option<&Target>) -> Option<u64> {
        target.map(|target| self.hasher.hash_one(target))
    }

    /// Compares the current refs with the log, and counts them.
    fn refs(&mut self) -> Result<ControlFlow<(), HashMap<RepositoryKey, u64>>, ReadError> {
        let mut counts: HashMap<RepositoryKey, u64> = HashMap::new();
        let mut select = self.reader.connection().prepare(row::REFS_ALL)?;
        let mut rows = select.query(())?;
        while let Some(row) = rows.next()? {
            self.verified.refs += 1;
            let repository: RepositoryKey = row.get(0)?;
            *counts.entry(repository).or_default() += 1;
            let name = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let value = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
            let said = self.refs.remove(&(repository, self.hasher.hash_one(name)));
            let name = String::from_utf8_lossy(name).into_owned();
            let finding = match (value::decode(value), RefName::new(name_bytes(row)?)) {
                (Ok((state, _)), Ok(_)) => {
                    let now = self.digest(state.target());
                    let fits = match &said {
                        Some(said) => said.value == now,
                        // Known from the start, as a baseline, or from events that are retained no more.
                        None => true,
                    };
                    let sequence = said.map(|said| said.sequence);
                    (!fits).then_some(Finding::Current { repository, name: Some(name), sequence })
                }
                _ => Some(Finding::Ref { repository, name }),
            };
            if let Some(finding) = finding
                && self.find(finding).is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        let missing: Vec<_> = std::mem::take(&mut self.refs)
            .into_iter()
            .filter(|(_, said)| said.value.is_some())
            .map(|((repository, _), said)| (said.sequence, repository))
            .collect();
        for (sequence, repository) in missing {
            let finding = Finding::Current { repository, name: None, sequence: Some(sequence) };
            if self.find(finding).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(counts))
    }

    fn repositories(&mut self, mut counts: HashMap<RepositoryKey, u64>) -> Flow {
        let mut select = self.reader.connection().prepare(&row::repositories_sql())?;
        let mut rows = select.query(())?;
        while let Some(found) = rows.next()? {
            self.verified.repositories += 1;
            let key: RepositoryKey = found.get(0)?;
            let counted = counts.remove(&key).unwrap_or(0);
            let detail = match row::repository(found) {
                Err(error) => error.to_string(),
                // The refs of a deleted one are on their way out.
                Ok(repository) if repository.deleted_sequence.is_some() => continue,
                Ok(repository) if repository.ref_count == counted => continue,
                Ok(repository) => format!("it has {counted} refs and counts {}", repository.ref_count),
            };
            go_on!(self.find(Finding::Repository { repository: key, detail }));
        }
        for (repository, count) in counts {
            let detail = format!("it has {count} refs and no row");
            go_on!(self.find(Finding::Repository { repository, detail }));
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn name_bytes<'a>(row: &'a rusqlite::Row<'_>) -> Result<&'a [u8], ReadError> {
    Ok(row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?)
}

/// Whether an event continues the open transaction (or starts one), and what is open after it.
fn continues(open: Option<Open>, place: Place, event: &Event) -> (bool, Option<Open>) {
    let Event { index, size, .. } = *event;
    let fits = match open {
        Some(open) => open.repository == place.repository && open.size == size && open.index + 1 == index,
        None => index == 0 && size > 0,
    };
    let next = Open { repository: place.repository, index, size };
    (fits, (index.saturating_add(1) < size).then_some(next))
}
