//! Periodic looks: the sweep over everything, and polling where notifications are not to be had.

use std::path::Path;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use refwatch_ops::Heartbeat;
use refwatch_store::RepositoryKey;
use refwatch_watcher::journal::{Found, Journal};
use refwatch_watcher::signature;
use refwatch_watcher::wake::{Wake, Whole};

use super::{Engine, RETRY_LAST, State, lock};

/// How long a sweep waits for what notifications have told to be looked at.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// A walk over the roots may take this part of the time between two of them.
const WALK_SHARE: u32 = 20;

impl Engine {
    /// Runs the thread that looks at everything: at start, and every few minutes.
    pub(super) fn scan_and_sweep(self: &Arc<Self>, heart: &Heartbeat) {
        let began = Instant::now();
        self.first_scan(&|| heart.beat());
        // From here on it waits for threads that have hearts of their own.
        heart.rest();
        // As long as what was seen may wait for records, and a little longer.
        let patience = self.settings.hooks.wait_max.max(self.settings.watch.settle_max);
        while !self.board.quiesce(Instant::now() + patience + Duration::from_millis(200)) {
            if !self.pause(Duration::ZERO) {
                return;
            }
            if self.walk_wanted.swap(false, Ordering::Relaxed) {
                self.discover_all(&|| {});
            }
        }
        self.slow.quiesce(Instant::now() + Duration::from_secs(60));
        if self.store.flush().is_err() {
            return;
        }
        if !self.finish_baseline() {
            return;
        }
        self.scanned.store(true, Ordering::Release);
        tracing::info!(
            repositories = self.repositories().len(),
            took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "the first scan is over"
        );
        while self.pause(self.settings.watch.sweep_interval) {
            heart.beat();
            self.sweep(heart);
            heart.rest();
        }
    }

    /// Ends the time in which what is found is taken as known, on disk too; false when the engine is to stop first.
    fn finish_baseline(&self) -> bool {
        let was =
            std::mem::replace(&mut *self.baseline.write().unwrap_or_else(PoisonError::into_inner), false);
        if !was {
            return true;
        }
        // What was taken as known until now is written, or failed and is new when it is found again.
        if self.store.flush().is_err() {
            return false;
        }
        let mut told = false;
        while let Err(error) = self.store.finish_baseline() {
            if !told {
                tracing::error!(%error, "cannot write that the first scan is over; trying again");
                told = true;
            }
            if !self.pause(RETRY_LAST) {
                return false;
            }
        }
        self.log.set_baseline(false);
        true
    }

    /// Looks at everything: signatures first, and what differs in full.
    fn sweep(self: &Arc<Self>, heart: &Heartbeat) {
        let began = Instant::now();
        self.discover_all(&|| heart.beat());
        let mut differ: Vec<RepositoryKey> = Vec::new();
        for repository in self.repositories() {
            heart.beat();
            if self.differs(repository.key, Self::watch) {
                differ.push(repository.key);
            }
        }
        if !differ.is_empty() {
            // What a notification is about to tell is no drift.
            let deadline = Instant::now() + CATCH_UP_MAX;
            heart.rest();
            if let Some(notifier) = &self.notifier {
                notifier.fence(deadline);
            }
            self.board.quiesce(deadline);
            for key in differ {
                heart.beat();
                if self.differs(key, |_, _, _, _| {}) {
                    self.board.post(key, Wake::Whole(Whole::Sweep));
                }
            }
        }
        self.metrics.sweeps.inc();
        self.metrics.sweep_duration.observe(began.elapsed());
    }

    /// True when the files of a repository do not look as they did when all its refs were last read. `before_read` is
    /// told each directory first: a sweep watches them again, in case their watches went with what was above them.
    fn differs(
        &self,
        key: RepositoryKey,
        before_read: impl Fn(&Self, RepositoryKey, &mut State, &Path),
    ) -> bool {
        let Some(repository) = self.repository(key) else { return false };
        let mut state = repository.lock();
        if !state.looked || state.trouble.is_some() {
            return false;
        }
        let layout = state.layout.clone();
        let tell = &mut |directory: &Path| before_read(self, key, &mut state, directory);
        let now = signature::watched_signature(&layout, tell).ok().flatten();
        let is_news = match Journal::find(&layout) {
            Ok(Found::Journal(journal)) => state.hooks.as_ref().is_none_or(|hooks| hooks.has_news(&journal)),
            Ok(Found::Nothing | Found::Elsewhere) | Err(_) => false,
        };
        is_news || now.is_none() || now.map(|now| now.0) != state.signature
    }

    /// Runs the thread that polls.
    pub(super) fn poll(self: &Arc<Self>, heart: &Heartbeat) {
        let interval = self.settings.watch.poll_interval;
        let mut walked = Instant::now();
        let mut walk_took = Duration::ZERO;
        heart.rest();
        while self.pause(interval) {
            heart.beat();
            self.objects.close_idle();
            self.bury();
            if !self.scanned.load(Ordering::Acquire) {
                heart.rest();
                continue;
            }
            if self.roots_polled.load(Ordering::Relaxed)
                && (walked.elapsed() >= interval.max(walk_took * WALK_SHARE)
                    || self.walk_wanted.swap(false, Ordering::Relaxed))
            {
                walked = Instant::now();
                self.discover_all(&|| heart.beat());
                walk_took = walked.elapsed();
            }
            self.poll_repositories(None, &|| heart.beat());
            // Whether receive-pack has ended no notification tells.
            let pushing: Vec<RepositoryKey> = lock(&self.pushing).iter().copied().collect();
            for key in pushing {
                self.board.post(key, Wake::Journal);
            }
            heart.rest();
        }
    }

    /// Looks at once at what is polled.
    pub(super) fn poll_now(self: &Arc<Self>, only: Option<&[RepositoryKey]>) {
        if self.roots_polled.load(Ordering::Relaxed) && only.is_none() {
            self.discover_all(&|| ());
        }
        self.poll_repositories(only, &|| ());
    }

    fn poll_repositories(&self, only: Option<&[RepositoryKey]>, turns: &dyn Fn()) {
        let polled: Vec<RepositoryKey> = {
            let polled = self.polled.read().unwrap_or_else(PoisonError::into_inner);
            polled.iter().copied().filter(|key| only.is_none_or(|only| only.contains(key))).collect()
        };
        for key in polled {
            turns();
            let gone = || {
                self.repository(key).is_some_and(|repository| {
                    let state = repository.lock();
                    signature::signature(&state.layout).is_err()
                })
            };
            if self.differs(key, |_, _, _, _| {}) || gone() {
                self.board.post(key, Wake::Whole(Whole::Poll));
            }
        }
    }
}
