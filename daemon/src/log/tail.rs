//! The newest segments, as many as the bounds allow.

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Recent, Segment, TAIL_BYTES_MAX, TAIL_EVENTS_MAX};

/// The end of the log, without a gap from `first` to `last`.
#[derive(Debug)]
pub(super) struct Tail {
    segments: VecDeque<Arc<Segment>>,
    /// Sequence of the oldest event held; `last + 1` when none is.
    first: u64,
    last: u64,
    bytes: usize,
    events: usize,
}

impl Tail {
    /// Holds nothing; the next event is the one after `last`.
    pub(super) fn after(last: u64) -> Self {
        Self { segments: VecDeque::new(), first: last + 1, last, bytes: 0, events: 0 }
    }

    /// Takes the events from `first` to `last`, of which the segments hold the last ones.
    pub(super) fn append(&mut self, first: u64, last: u64, segments: Vec<Arc<Segment>>) {
        let held_first = segments.first().map_or(last + 1, |segment| segment.first());
        if first != self.last + 1 || held_first != first {
            *self = Self::after(held_first - 1);
        }
        self.last = last;
        for segment in segments {
            self.bytes += segment.cost();
            self.events += segment.events().len();
            self.segments.push_back(segment);
        }
        while self.bytes > TAIL_BYTES_MAX || self.events > TAIL_EVENTS_MAX {
            let Some(oldest) = self.segments.pop_front() else { break };
            self.bytes -= oldest.cost();
            self.events -= oldest.events().len();
            self.first = oldest.last() + 1;
        }
    }

    /// What follows a position: about `events_max` events.
    pub(super) fn after_position(&self, after: u64, events_max: usize) -> Recent {
        if after >= self.last {
            return Recent::Nothing;
        }
        if after + 1 < self.first {
            return Recent::Older;
        }
        let start = self.segments.partition_point(|segment| segment.last() <= after);
        let mut events = 0;
        let wanted = self.segments.range(start..).take_while(|segment| {
            let room = events < events_max;
            events += segment.events().len();
            room
        });
        Recent::Segments(wanted.cloned().collect())
    }

    #[cfg(test)]
    pub(super) fn size(&self) -> (usize, usize) {
        (self.bytes, self.events)
    }
}
