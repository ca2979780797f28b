//! Verifies the order of events, and drops those that came before.

use refwatch_proto::v1::GitEvent;

use super::Failure;

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Identity of the log.
    epoch: String,
    /// Last sequence handed out, over all streams of the epoch.
    last: u64,
    /// Last sequence of the present stream.
    last_of_stream: u64,
}

impl Order {
    /// A stream began.
    pub(super) fn started(&mut self, epoch: &str) {
        if self.epoch != epoch {
            epoch.clone_into(&mut self.epoch);
            self.last = 0;
        }
        self.last_of_stream = 0;
    }

    /// Another log goes on, or the same one before where it stood: a snapshot follows.
    pub(super) fn reset(&mut self, epoch: &str) {
        epoch.clone_into(&mut self.epoch);
        self.last = 0;
        self.last_of_stream = 0;
    }

    /// A snapshot accounts for everything up to a sequence.
    pub(super) fn snapshot(&mut self, sequence: u64) {
        self.last = sequence;
        self.last_of_stream = sequence;
    }

    /// The events that have not been handed out yet: at-least-once on the wire becomes exactly once.
    ///
    /// # Errors
    /// When a sequence repeats or goes back within a stream, or an event is of another log.
    pub(super) fn admit(&mut self, events: Vec<GitEvent>) -> Result<Vec<GitEvent>, Failure> {
        let mut fresh = Vec::with_capacity(events.len());
        for event in events {
            if event.sequence <= self.last_of_stream {
                let message = format!("event {} came after {}", event.sequence, self.last_of_stream);
                return Err(Failure::contract(message));
            }
            if event.event_id.split_once('.').map(|(epoch, _)| epoch) != Some(self.epoch.as_str()) {
                let message = format!("event {} on a stream of the log {}", event.event_id, self.epoch);
                return Err(Failure::contract(message));
            }
            self.last_of_stream = event.sequence;
            if event.sequence > self.last {
                self.last = event.sequence;
                fresh.push(event);
            }
        }
        Ok(fresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(epoch: &str, sequence: u64) -> GitEvent {
        GitEvent { event_id: format!("{epoch}.{sequence}"), sequence, ..GitEvent::default() }
    }

    fn sequences(events: &[GitEvent]) -> Vec<u64> {
        events.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn what_a_new_stream_repeats_is_dropped() {
        let mut order = Order::default();
        order.started("a");
        let first = order.admit(vec![event("a", 3), event("a", 7)]).expect("in order");
        assert_eq!(sequences(&first), [3, 7]);
        order.started("a");
        let second = order.admit(vec![event("a", 7), event("a", 9)]).expect("in order");
        assert_eq!(sequences(&second), [9]);
    }

    #[test]
    fn what_one_stream_repeats_is_refused() {
        let mut order = Order::default();
        order.started("a");
        assert!(order.admit(vec![event("a", 3), event("a", 3)]).is_err());
        order.started("a");
        assert!(order.admit(vec![event("a", 9), event("a", 8)]).is_err());
        order.started("a");
        assert!(order.admit(vec![event("b", 10)]).is_err());
    }

    #[test]
    fn another_log_starts_anew_and_a_snapshot_accounts_for_what_was_before() {
        let mut order = Order::default();
        order.started("a");
        assert!(order.admit(vec![event("a", 50)]).is_ok());
        order.reset("b");
        order.snapshot(4);
        assert_eq!(sequences(&order.admit(vec![event("b", 5)]).expect("in order")), [5]);
        assert!(order.admit(vec![event("b", 4)]).is_err());
    }
}
