//! How fast a caller may report.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::grpc::Digest;

/// Reports a second that a caller may make for ever.
pub(super) const REPORTS_PER_S: u32 = 1_000;
/// Reports that a caller who was silent may make at once.
pub(super) const BURST_REPORTS: u32 = 10_000;
/// Callers that are told apart; those beyond share one limit.
const CALLERS_MAX: usize = 1_024;

/// Who reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reporter {
    /// A user of this machine, by the Unix socket.
    User(u32),
    /// Whoever shows the token with this hash.
    Token(Digest),
    /// Whoever signs with the shared secret.
    Signed,
    /// Nobody that could be told apart.
    Others,
}

/// A token bucket a caller.
///
/// Of a bucket only the time is kept when it is full again: that is now for who is silent, and each report puts it
/// off by the time in which one report comes free.
#[derive(Debug, Default)]
pub(super) struct Limiter(HashMap<Reporter, Instant>);

impl Limiter {
    /// Takes that many reports of a caller.
    ///
    /// # Errors
    /// How long the caller has to wait until it may make as many. Nothing is taken then.
    pub(super) fn take(&mut self, reporter: Reporter, reports: u32, now: Instant) -> Result<(), Duration> {
        let reporter = self.admit(reporter, now);
        let full_at = self.0.get(&reporter).copied().unwrap_or(now).max(now) + time_of(reports);
        let over = full_at.duration_since(now).saturating_sub(time_of(BURST_REPORTS));
        if !over.is_zero() {
            return Err(over);
        }
        self.0.insert(reporter, full_at);
        Ok(())
    }

    /// The caller, or all others where there is no room for one more. Who has been silent needs no room.
    fn admit(&mut self, reporter: Reporter, now: Instant) -> Reporter {
        if self.0.len() < CALLERS_MAX || self.0.contains_key(&reporter) {
            return reporter;
        }
        self.0.retain(|_, full_at| *full_at > now);
        if self.0.len() < CALLERS_MAX { reporter } else { Reporter::Others }
    }
}

/// In which so many reports come free.
fn time_of(reports: u32) -> Duration {
    Duration::from_secs(1) / REPORTS_PER_S * reports
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_taken_and_then_a_thousand_a_second() {
        let mut limiter = Limiter::default();
        let (one, two) = (Reporter::User(1), Reporter::Token([7; 32]));
        let start = Instant::now();
        for _ in 0..10 {
            assert_eq!(limiter.take(one.clone(), 1_000, start), Ok(()));
        }
        assert_eq!(limiter.take(one.clone(), 250, start), Err(Duration::from_millis(250)));
        assert_eq!(limiter.take(two, 10_000, start), Ok(()), "nobody pays for another");
        let later = start + Duration::from_millis(250);
        assert_eq!(limiter.take(one.clone(), 250, later), Ok(()), "who waits as told is let in");
        assert_eq!(limiter.take(one.clone(), 1, later), Err(Duration::from_millis(1)));
        let rested = later + Duration::from_secs(3_600);
        assert_eq!(
            limiter.take(one.clone(), BURST_REPORTS, rested),
            Ok(()),
            "and no more than a burst is saved up"
        );
        assert!(limiter.take(one, 1, rested).is_err());
    }

    #[test]
    fn callers_beyond_those_told_apart_share_a_limit_and_the_silent_are_forgotten() {
        let mut limiter = Limiter::default();
        let start = Instant::now();
        for user in 0..2_000 {
            assert_eq!(limiter.take(Reporter::User(user), 8, start), Ok(()));
        }
        assert_eq!(limiter.0.len(), CALLERS_MAX + 1);
        assert!(
            limiter.take(Reporter::User(9_999), BURST_REPORTS, start).is_err(),
            "it is one of the others"
        );
        let rested = start + Duration::from_secs(60);
        assert_eq!(limiter.take(Reporter::User(9_999), BURST_REPORTS, rested), Ok(()));
        assert_eq!(limiter.0.len(), 1);
    }
}
