//! Whether the daemon still turns, or should be restarted.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;

/// In place of a beat: the loop waits for work.
const RESTING: u64 = u64::MAX;

/// The loops that must keep turning, each with the longest time it may take for one turn.
///
/// A shared handle, cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Liveness(Arc<Mutex<BTreeMap<Cow<'static, str>, Loop>>>);

#[derive(Debug)]
struct Loop {
    started: Instant,
    beat_ms: Arc<AtomicU64>,
    limit: Duration,
}

/// One loop, and how long ago it last beat.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LoopReport {
    /// Whether the last beat is within the limit, or the loop rests.
    pub alive: bool,
    /// Whether it waits for work, and need not beat.
    pub resting: bool,
    /// Seconds since the last beat; 0 while it rests.
    pub beat_seconds_ago: f64,
    /// Seconds that may pass between two beats.
    pub limit_seconds: f64,
}

/// Whether the daemon still turns.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LivenessReport {
    /// Whether every loop has beaten within its limit, or rests.
    pub alive: bool,
    /// Every loop by name.
    pub loops: BTreeMap<Cow<'static, str>, LoopReport>,
}

impl Liveness {
    /// Expects a loop to beat at least every `limit` from now on; the registration is its first beat.
    ///
    /// A name that is taken is taken over, as by a loop that was restarted. Dropping the handle does not end the
    /// expectation, since a loop that panicked drops it too: only [`Heartbeat::finish`] does.
    pub fn register(&self, name: impl Into<Cow<'static, str>>, limit: Duration) -> Heartbeat {
        let name = name.into();
        let started = Instant::now();
        let beat_ms = Arc::new(AtomicU64::new(0));
        self.loops().insert(name.clone(), Loop { started, beat_ms: Arc::clone(&beat_ms), limit });
        Heartbeat { liveness: self.clone(), name, started, beat_ms }
    }

    /// Whether every loop has beaten within its limit, or rests.
    pub fn alive(&self) -> bool {
        self.report().alive
    }

    /// Every loop by name, and what follows from them.
    pub fn report(&self) -> LivenessReport {
        let loops = self.loops_at(Instant::now());
        LivenessReport { alive: loops.values().all(|report| report.alive), loops }
    }

    fn loops_at(&self, now: Instant) -> BTreeMap<Cow<'static, str>, LoopReport> {
        let report = |lap: &Loop| {
            let beat_ms = lap.beat_ms.load(Ordering::Relaxed);
            let resting = beat_ms == RESTING;
            let ago = if resting {
                Duration::ZERO
            } else {
                now.saturating_duration_since(lap.started + Duration::from_millis(beat_ms))
            };
            LoopReport {
                alive: ago <= lap.limit,
                resting,
                beat_seconds_ago: ago.as_secs_f64(),
                limit_seconds: lap.limit.as_secs_f64(),
            }
        };
        self.loops().iter().map(|(name, lap)| (name.clone(), report(lap))).collect()
    }

    fn loops(&self) -> MutexGuard<'_, BTreeMap<Cow<'static, str>, Loop>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The pulse of one loop; a beat costs one atomic store.
#[derive(Debug)]
pub struct Heartbeat {
    liveness: Liveness,
    name: Cow<'static, str>,
    started: Instant,
    beat_ms: Arc<AtomicU64>,
}

impl Heartbeat {
    /// Says that the loop turns.
    pub fn beat(&self) {
        self.beat_at(Instant::now());
    }

    /// Says that the loop waits for work, and is not expected to beat before it says so again.
    pub fn rest(&self) {
        self.beat_ms.store(RESTING, Ordering::Relaxed);
    }

    /// Says that the loop turned at that time: for who watches a loop that cannot say so itself.
    pub fn beat_at(&self, at: Instant) {
        let since_start = at.saturating_duration_since(self.started);
        self.beat_ms.store(u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Says that the loop ended as it should, and is no longer expected to beat.
    pub fn finish(self) {
        let mut loops = self.liveness.loops();
        if loops.get(&self.name).is_some_and(|lap| Arc::ptr_eq(&lap.beat_ms, &self.beat_ms)) {
            loops.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn alive_after(liveness: &Liveness, heartbeat_started: Instant, passed: Duration) -> bool {
        liveness.loops_at(heartbeat_started + passed)["sweep"].alive
    }

    #[test]
    fn a_loop_lives_as_long_as_it_beats() {
        let liveness = Liveness::default();
        let sweep = liveness.register("sweep", LIMIT);
        assert!(alive_after(&liveness, sweep.started, LIMIT));
        assert!(!alive_after(&liveness, sweep.started, LIMIT * 2));
        sweep.beat_at(sweep.started + LIMIT);
        assert!(alive_after(&liveness, sweep.started, LIMIT * 2));
        assert!(!alive_after(&liveness, sweep.started, LIMIT * 3));
    }

    #[test]
    fn a_loop_that_rests_is_alive_until_it_turns_and_stops() {
        let liveness = Liveness::default();
        let worker = liveness.register(format!("worker-{}", 0), LIMIT);
        let alive_after = |passed| liveness.loops_at(worker.started + passed)["worker-0"].alive;
        worker.rest();
        assert!(alive_after(LIMIT * 100));
        worker.beat_at(worker.started + LIMIT);
        assert!(alive_after(LIMIT * 2));
        assert!(!alive_after(LIMIT * 3));
    }

    #[test]
    fn a_loop_that_vanished_is_dead_and_one_that_finished_is_not() {
        let liveness = Liveness::default();
        let started = Instant::now();
        drop(liveness.register("sweep", LIMIT));
        assert!(!alive_after(&liveness, started, LIMIT * 2));
        liveness.register("sweep", LIMIT).finish();
        assert!(liveness.loops_at(started + LIMIT * 2).is_empty());
    }

    #[test]
    fn a_loop_that_was_replaced_cannot_finish_its_successor() {
        let liveness = Liveness::default();
        let first = liveness.register("sweep", LIMIT);
        let _second = liveness.register("sweep", LIMIT);
        first.finish();
        assert!(liveness.report().loops.contains_key("sweep"));
    }
}
