//! Verifies the order of events, and drops those that came before.

use crate::v1::{EventFilter, GitEvent, SnapshotRefs};

use super::chain::Chains;

/// What is held against the contract.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verify {
    /// Order, log and transactions. That no event of a transaction is missing can be seen only where the filter has
    /// `include_internal` and nothing else.
    Order,
    /// These, and that each ref's old target is its last new one. Costs some 50 bytes a ref, for at most 1,000,000 refs:
    /// further ones are not verified. Where the filter hides changes or ends of repositories there is nothing to
    /// verify: with `types` that lack any of REF_UPDATED, REPOSITORY_DELETED and REPOSITORY_MOVED.
    #[default]
    Chains,
}

/// A promise of the contract that the server broke.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A sequence repeated or went back within one stream.
    #[error("event {sequence} came after {last}")]
    OutOfOrder {
        /// The event's.
        sequence: u64,
        /// The one before.
        last: u64,
    },
    /// An event of another log than the stream's.
    #[error("event {event_id} on a stream of the log {epoch}")]
    ForeignEvent {
        /// The event.
        event_id: String,
        /// The log.
        epoch: String,
    },
    /// A transaction without an end or a beginning, or of which another one's events lie in the midst.
    #[error("the transaction of event {event_id} is torn")]
    TornTransaction {
        /// The event.
        event_id: String,
    },
    /// An event's old target is not the ref's last new one: something in between is missing.
    #[error(
        "event {event_id} does not begin where the last one of {ref_name} in {repository_id} ended: one is missing"
    )]
    BrokenChain {
        /// The event.
        event_id: String,
        /// Its repository.
        repository_id: String,
        /// Its ref.
        ref_name: String,
    },
}

/// What was seen so far.
#[derive(Debug)]
pub(super) struct Order {
    /// Identity of the log.
    epoch: String,
    /// Last sequence handed out, over all streams of the epoch.
    last: u64,
    /// Last sequence of the present stream.
    last_of_stream: u64,
    /// Transaction of the last event of the present stream.
    transaction: Option<Extent>,
    /// The filter hides nothing, so no event of a transaction may be missing.
    whole: bool,
    chains: Option<Chains>,
}

/// Where a transaction lies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Extent {
    id: String,
    first: u64,
    size: u64,
}

impl Order {
    pub(super) fn new(verify: Verify, filter: Option<&EventFilter>) -> Self {
        let chains = verify == Verify::Chains && Chains::are_visible(filter);
        Self {
            epoch: String::new(),
            last: 0,
            last_of_stream: 0,
            transaction: None,
            whole: filter.is_some_and(hides_nothing),
            chains: chains.then(Chains::default),
        }
    }

    /// A stream began.
    pub(super) fn started(&mut self, epoch: &str) {
        if self.epoch != epoch {
            self.forget(epoch, 0);
        }
        self.last_of_stream = 0;
        self.transaction = None;
    }

    /// Another log goes on, or the same one before where it stood: a snapshot follows.
    pub(super) fn reset(&mut self, epoch: &str) {
        self.forget(epoch, 0);
    }

    /// A snapshot accounts for everything up to a sequence.
    pub(super) fn snapshot(&mut self, sequence: u64) {
        let epoch = std::mem::take(&mut self.epoch);
        self.forget(&epoch, sequence);
    }

    fn forget(&mut self, epoch: &str, sequence: u64) {
        epoch.clone_into(&mut self.epoch);
        self.last = sequence;
        self.last_of_stream = sequence;
        self.transaction = None;
        if let Some(chains) = &mut self.chains {
            *chains = Chains::default();
        }
    }

    /// Chains begin with what a snapshot brings.
    pub(super) fn refs(&mut self, part: &SnapshotRefs) {
        if let Some(chains) = &mut self.chains {
            chains.begin(part);
        }
    }

    /// The events that have not been handed out yet: at-least-once on the wire becomes exactly once.
    ///
    /// # Errors
    /// What the first event that breaks a promise breaks. Nothing is to be admitted any more then.
    pub(super) fn admit(&mut self, events: Vec<GitEvent>) -> Result<Vec<GitEvent>, Violation> {
        let mut fresh = Vec::with_capacity(events.len());
        for event in events {
            if event.sequence <= self.last_of_stream {
                return Err(Violation::OutOfOrder { sequence: event.sequence, last: self.last_of_stream });
            }
            if event.event_id.split_once('.').map(|(epoch, _)| epoch) != Some(self.epoch.as_str()) {
                let epoch = self.epoch.clone();
                return Err(Violation::ForeignEvent { event_id: event.event_id, epoch });
            }
            self.within(&event)?;
            self.last_of_stream = event.sequence;
            if event.sequence > self.last {
                if let Some(chains) = &mut self.chains {
                    chains.go_on(&event)?;
                }
                self.last = event.sequence;
                fresh.push(event);
            }
        }
        Ok(fresh)
    }

    /// The changes of one transaction are contiguous, so each event of it says the same of where it lies, whatever a
    /// filter hides between.
    fn within(&mut self, event: &GitEvent) -> Result<(), Violation> {
        let torn = || Violation::TornTransaction { event_id: event.event_id.clone() };
        let transaction = event.transaction.as_ref().ok_or_else(torn)?;
        let index = u64::from(transaction.index);
        let extent = Extent {
            id: transaction.id.clone(),
            // From 1: an index beyond the sequence would begin before the log.
            first: event.sequence.checked_sub(index).filter(|first| *first > 0).ok_or_else(torn)?,
            size: transaction.size.into(),
        };
        let follows = |last: &Extent| {
            *last == extent || (last.id != extent.id && last.first + last.size <= extent.first)
        };
        // What is missing within one shows at the next event, of the same or of another.
        let is_next = |last: &Extent| {
            if *last == extent {
                event.sequence == self.last_of_stream + 1
            } else {
                index == 0 && last.first + last.size == self.last_of_stream + 1
            }
        };
        let last = self.transaction.as_ref();
        let sound =
            index < extent.size && last.is_none_or(|last| follows(last) && (!self.whole || is_next(last)));
        if !sound {
            return Err(torn());
        }
        self.transaction = Some(extent);
        Ok(())
    }
}

fn hides_nothing(filter: &EventFilter) -> bool {
    filter.include_internal
        && EventFilter { include_internal: false, ..filter.clone() } == EventFilter::default()
}

#[cfg(test)]
mod tests;
