//! How often an origin may fail to show valid credentials.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::peer::Origin;

/// Failures that an origin may make at once.
pub(super) const FAILURES_BURST: u32 = 20;
/// In which one more comes free.
const FAILURE_INTERVAL: Duration = Duration::from_secs(1);
/// Origins that are told apart; those beyond share one limit.
const ORIGINS_MAX: usize = 4_096;

/// A token bucket an origin, of which only the time is kept when it is full again.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<Origin, Instant>>);

impl Failures {
    /// How long an origin has to wait before its credentials are looked at again; `None` for not at all.
    pub(super) fn wait(&self, origin: Origin, now: Instant) -> Option<Duration> {
        let full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let origin = known(&full_at, origin);
        let full_at = full_at.get(&origin)?;
        let over = (*full_at + FAILURE_INTERVAL)
            .checked_duration_since(now)?
            .saturating_sub(FAILURE_INTERVAL * FAILURES_BURST);
        (!over.is_zero()).then_some(over)
    }

    /// Counts a failure.
    pub(super) fn count(&self, origin: Origin, now: Instant) {
        let mut full_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= ORIGINS_MAX {
            full_at.retain(|_, full_at| *full_at > now);
        }
        let origin = known(&full_at, origin);
        let at = full_at.entry(origin).or_insert(now);
        *at = (*at).max(now) + FAILURE_INTERVAL;
    }
}

/// The origin, or all others where there is no room for one more.
fn known(full_at: &HashMap<Origin, Instant>, origin: Origin) -> Origin {
    if full_at.len() < ORIGINS_MAX || full_at.contains_key(&origin) { origin } else { Origin::Others }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_burst_an_origin_waits_and_nobody_else() {
        let (failures, start) = (Failures::default(), Instant::now());
        let (one, two) = (Origin::User(1), Origin::User(2));
        for _ in 0..FAILURES_BURST {
            assert_eq!(failures.wait(one, start), None);
            failures.count(one, start);
        }
        assert_eq!(failures.wait(one, start), Some(FAILURE_INTERVAL));
        assert_eq!(failures.wait(two, start), None);
        let later = start + FAILURE_INTERVAL;
        assert_eq!(failures.wait(one, later), None, "one has come free");
        failures.count(one, later);
        assert!(failures.wait(one, later).is_some());
        assert_eq!(failures.wait(one, start + Duration::from_secs(3_600)), None);
    }

    #[test]
    fn origins_beyond_those_told_apart_share_a_limit() {
        let (failures, start) = (Failures::default(), Instant::now());
        for user in 0..2 * u32::try_from(ORIGINS_MAX).unwrap() {
            failures.count(Origin::User(user), start);
        }
        assert_eq!(failures.0.lock().unwrap().len(), ORIGINS_MAX + 1);
        assert!(failures.wait(Origin::User(u32::MAX), start).is_some());
        assert_eq!(failures.wait(Origin::User(0), start), None);
    }
}
