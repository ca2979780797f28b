//! A voice for what a stranger can bring about: a log line at most now and then, with how many went unsaid.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<Voice>);

#[derive(Debug, Default)]
struct Voice {
    spoke: Option<Instant>,
    unsaid: u64,
}

impl Quiet {
    /// How many lines were left out since the last one, when it is time for one.
    pub(super) fn speak(&self) -> Option<u64> {
        self.speak_at(Instant::now())
    }

    fn speak_at(&self, now: Instant) -> Option<u64> {
        let mut voice = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if voice.spoke.is_some_and(|spoke| now.saturating_duration_since(spoke) < INTERVAL) {
            voice.unsaid += 1;
            return None;
        }
        voice.spoke = Some(now);
        Some(std::mem::take(&mut voice.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_now_and_then_and_counts_what_it_left_out() {
        let (quiet, start) = (Quiet::default(), Instant::now());
        assert_eq!(quiet.speak_at(start), Some(0));
        assert_eq!((quiet.speak_at(start), quiet.speak_at(start)), (None, None));
        assert_eq!(quiet.speak_at(start + INTERVAL), Some(2));
        assert_eq!(quiet.speak_at(start + 2 * INTERVAL), Some(0));
    }
}
