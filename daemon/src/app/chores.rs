//! What has to be done now and then: readiness, gauges, retention, the watchdog.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use refwatch_ops::metrics::{RepositoryState, labels::Label as _};
use refwatch_ops::{CheckState, Liveness, Readiness};
use refwatch_store::Bounds;
use tokio_util::sync::CancellationToken;

use super::progress::{Progress, SHOWN_AFTER};
use super::supervisor::Supervisor;
use super::{Checks, page};
use crate::engine::Engine;

/// Between two rounds once the first scan is over, and before.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_FIRST: Duration = Duration::from_millis(20);
/// A loop that does not come round for so long is dead.
const BEAT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at what takes a while to count.
const GAUGES_INTERVAL: Duration = Duration::from_secs(10);

/// Runs until the drain begins.
pub(super) async fn run(
    engine: &Arc<Engine>,
    checks: Checks,
    readiness: &Readiness,
    liveness: &Liveness,
    drain: CancellationToken,
) {
    tokio::select! {
        () = rounds(engine, checks, readiness, liveness, &drain) => {}
        // Apart from the rounds, which it may outlast by far.
        () = retention(engine) => {}
    }
}

async fn rounds(
    engine: &Arc<Engine>,
    checks: Checks,
    readiness: &Readiness,
    liveness: &Liveness,
    drain: &CancellationToken,
) {
    let beat = liveness.register("chores", BEAT_MAX);
    let store = liveness.register("store-writer", engine.settings.watch.stuck_timeout);
    let began = Instant::now();
    let mut progress = Progress::default();
    let mut supervisor = Supervisor::default();
    let mut gauges_at = Instant::now();
    let mut told = false;
    loop {
        beat.beat();
        match engine.store.busy_for() {
            None => store.rest(),
            Some(busy) => store.beat_at(Instant::now().checked_sub(busy).unwrap_or(began)),
        }
        let alive = liveness.alive() && engine.is_alive();
        look(engine, &checks);
        let report = readiness.report();
        for (name, check) in &report.checks {
            engine.metrics.readiness.set(name, u64::from(check.state == CheckState::Ok));
        }
        if engine.scanned.load(Ordering::Acquire) {
            progress.finish();
            if supervisor.started() {
                set_gauges(engine);
                told = true;
            }
            supervisor.readiness(&report);
            set_bounds(engine);
        } else {
            let (done, all) = page::progress_of(engine);
            if began.elapsed() > SHOWN_AFTER {
                progress.show(done, all);
            }
            if alive {
                supervisor.starting(done, all);
            }
        }
        if alive {
            supervisor.alive();
        }
        if gauges_at.elapsed() >= GAUGES_INTERVAL {
            gauges_at = Instant::now();
            set_gauges(engine);
        }
        let interval = if told { INTERVAL } else { INTERVAL_FIRST };
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = drain.cancelled() => break,
        }
    }
    progress.finish();
    beat.finish();
    store.finish();
}

/// Drops what is too old or too much, as soon as the first scan is over, and for ever.
async fn retention(engine: &Arc<Engine>) {
    while !engine.scanned.load(Ordering::Acquire) {
        tokio::time::sleep(INTERVAL_FIRST).await;
    }
    loop {
        retain(engine).await;
        tokio::time::sleep(engine.settings.store.retention_interval).await;
    }
}

fn look(engine: &Engine, checks: &Checks) {
    match &*engine.store_failing.lock().unwrap_or_else(PoisonError::into_inner) {
        Some(message) => checks.store.failing(message.clone()),
        None => checks.store.ok(),
    }
    if !engine.is_alive() {
        checks.watcher.failing("a thread of the engine has ended; restart refwatch");
    } else if engine.notifier.as_ref().is_some_and(|notifier| !notifier.is_well()) {
        checks.watcher.failing("filesystem notifications have failed; restart refwatch");
    } else if let Some(root) = engine.roots.iter().find(|root| !root.is_there()) {
        checks.watcher.failing(format!("the root {} is not there", root.path.display()));
    } else {
        checks.watcher.ok();
    }
    if engine.scanned.load(Ordering::Acquire) {
        checks.first_scan.ok();
    }
}

/// Together, so that they never contradict each other.
fn set_bounds(engine: &Engine) {
    let Bounds { floor, last } = engine.store.bounds();
    engine.metrics.log_events.set((last + 1).saturating_sub(floor));
    engine.metrics.log_last_sequence.set(last);
    engine.metrics.log_floor_sequence.set(floor);
}

fn set_gauges(engine: &Engine) {
    let stats = engine.store.stats();
    let metrics = &engine.metrics;
    metrics.store_size_bytes.set(stats.database_bytes);
    metrics.store_wal_bytes.set(stats.wal_bytes);
    metrics.queue_depth.set("board", engine.board.depth() as u64);
    metrics.queue_depth.set("store", stats.queued_commits);
    let mut counts = [0; RepositoryState::ALL.len()];
    engine.directory.each(|entry| {
        if let Some(state) = page::state_of(entry) {
            counts[state.index()] += 1;
        }
    });
    for state in RepositoryState::ALL {
        metrics.repositories.set(*state, counts[state.index()]);
    }
}

async fn retain(engine: &Arc<Engine>) {
    let engine = Arc::clone(engine);
    let done = tokio::task::spawn_blocking(move || {
        let retained = engine.store.retain(crate::engine::now_us());
        if let Err(error) = &retained {
            tracing::error!(%error, "retention failed; it is tried again");
        }
        // Where it failed, some may have been forgotten before.
        if retained.is_ok_and(|retained| retained.repositories == 0) {
            return;
        }
        if let Err(error) = engine.forget_deleted() {
            tracing::error!(%error, "deleted repositories are kept in memory for now");
        }
    });
    if done.await.is_err() {
        tracing::error!("retention panicked");
    }
}
