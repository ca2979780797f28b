//! One pass: one look at one repository, from a wake to a commit.
//!
//! read journal → scan → reconcile → facts → describe → commit → announce
//!
//! The first three happen here, under the repository's lock; what they conclude goes to [`crate::engine`]'s `submit`
//! as a job, in order. A pass never waits for a commit, an object database that is slow, or a subscriber: the values
//! it concluded are kept as an overlay over the store until their commit is done.

mod journal;
mod named;
mod packed;
mod tables;
mod whole;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use refwatch_core::reconcile::reconcile;
use refwatch_core::{Look, ObjectId, Origin, RefName, RefState, RefStorage};
use refwatch_ops::metrics::PassKind;
use refwatch_store::{ReadError, RepositoryKey, RepositoryWrite};
use refwatch_watcher::layout::{Layout, ProbeError};
use refwatch_watcher::notify::WatchError;
use refwatch_watcher::scan::{BrokenReason, Observed, ScanError, Skipped};
use refwatch_watcher::wake::{Pending, Whole};

use crate::directory::{Health, Watched};
use crate::engine::{DOUBT, Engine, Job, Repository, State, Trouble, Unwritten, lock};
pub(crate) use journal::Hooks;

/// Jobs of one repository that may wait for an ancestry question.
const HELD_MAX: usize = 4096;
/// Broken refs of one look that are named in the log and on the status page.
const BROKEN_TOLD_MAX: usize = 20;

/// What a pass saw of one ref, with what only the scan knows.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) look: Look,
    /// What its tag named before.
    pub(crate) before_peeled: Option<ObjectId>,
    /// What its tag names now, where the scan tells: `packed-refs` does.
    pub(crate) after_peeled: Option<ObjectId>,
    pub(crate) broken: Option<BrokenReason>,
}

/// Why a pass could not be finished. Nothing was concluded; what was known stands.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PassError {
    #[error(transparent)]
    Scan(#[from] ScanError),
    #[error(transparent)]
    Probe(#[from] ProbeError),
    #[error(transparent)]
    Store(#[from] ReadError),
}

/// Looks at a repository for all that is pending.
pub(crate) fn run(engine: &Arc<Engine>, repository: &Arc<Repository>, pending: Pending) {
    let began = Instant::now();
    let mut state = repository.lock();
    if repository.failed.swap(false, Ordering::AcqRel) {
        engine.start_over(repository, &mut state);
    }
    if state.held.len() >= HELD_MAX {
        // Ancestry is behind; the refs are looked at again when it has caught up.
        engine.board.put_back_whole(repository.key, Whole::Notified, DOUBT);
        return;
    }
    if pending.unsettled {
        engine.metrics.settle_timeouts.inc();
    }
    let plan = plan(&state, &pending);
    engine.count(&pending);
    if !state.probed && !matches!(plan, Plan::Nothing | Plan::Whole { .. }) {
        match state.probe() {
            Ok(layout) if state.is_another(&layout) => {
                engine.board.put_back_whole(repository.key, Whole::Notified, Duration::ZERO);
                return;
            }
            Ok(layout) => {
                repository.lay_out(&mut state, layout);
                state.probed = true;
            }
            Err(_) if state.is_displaced() => {
                engine.board.put_back_whole(repository.key, Whole::Notified, Duration::ZERO);
                return;
            }
            Err(error) => {
                engine.in_trouble(repository, &mut state, &PassError::Probe(error));
                return;
            }
        }
    }
    let why = pending.whole.unwrap_or(Whole::Notified);
    let result = match plan {
        Plan::Nothing => return,
        Plan::Whole { why, .. } => whole::look(engine, repository, &mut state, &pending, why),
        Plan::Named => named::look(engine, repository, &mut state, &pending),
        Plan::Packed => packed::look(engine, repository, &mut state, pending),
        Plan::Tables => tables::look(engine, repository, &mut state, &pending, Whole::Notified),
        Plan::PolledTables => tables::poll(engine, repository, &mut state, &pending),
    };
    let kind = plan.kind();
    engine.metrics.passes.inc(kind);
    engine.metrics.pass_duration.observe(kind, began.elapsed());
    match result {
        Ok(()) => {}
        // Another one is at its path: a whole look finds out what became of this one.
        Err(_) if state.is_displaced() => {
            engine.board.put_back_whole(repository.key, why, Duration::ZERO);
        }
        Err(error) => engine.in_trouble(repository, &mut state, &error),
    }
}

#[derive(Clone, Copy, Debug)]
enum Plan {
    Nothing,
    Named,
    Packed,
    Tables,
    PolledTables,
    Whole { why: Whole, packed: bool },
}

impl Plan {
    fn kind(self) -> PassKind {
        match self {
            Plan::Nothing | Plan::Named | Plan::Tables => PassKind::Ref,
            Plan::Packed | Plan::Whole { packed: true, .. } => PassKind::Packed,
            Plan::PolledTables | Plan::Whole { why: Whole::Poll, .. } => PassKind::Poll,
            Plan::Whole { why: Whole::Sweep, .. } => PassKind::Sweep,
            Plan::Whole { why: Whole::Startup, .. } => PassKind::Startup,
            Plan::Whole { why: Whole::Notified | Whole::Overflow | Whole::Retry, .. } => PassKind::Full,
        }
    }
}

fn plan(state: &State, pending: &Pending) -> Plan {
    let notified = pending.packed || pending.config || pending.structure;
    let of_worktrees = pending.directories.keys().any(|directory| directory.starts_with(b"worktrees"));
    if !state.looked {
        Plan::Whole { why: pending.whole.unwrap_or(Whole::Notified), packed: false }
    } else if let Some(why) = pending.whole {
        let is_well = state.trouble.is_none() && !notified;
        if why == Whole::Poll && is_well && !state.stacks.is_empty() {
            Plan::PolledTables
        } else {
            Plan::Whole { why, packed: false }
        }
    } else if notified || of_worktrees || state.trouble.is_some() {
        let packed = pending.packed && !pending.config && !pending.structure;
        if packed && !of_worktrees && state.trouble.is_none() && state.parts.is_some() {
            Plan::Packed
        } else {
            Plan::Whole { why: Whole::Notified, packed }
        }
    } else if pending.is_empty() {
        Plan::Nothing
    } else if !state.stacks.is_empty() {
        // Whatever it is that woke: what tables say is told in their order.
        Plan::Tables
    } else if pending.tables || state.layout.storage == RefStorage::Reftable {
        Plan::Whole { why: Whole::Notified, packed: false }
    } else {
        Plan::Named
    }
}

/// How what a look found was noticed.
const fn origin_of(why: Whole) -> Origin {
    match why {
        Whole::Startup => Origin::Startup,
        Whole::Sweep | Whole::Poll | Whole::Retry => Origin::Sweep,
        Whole::Notified | Whole::Overflow => Origin::Notify,
    }
}

/// The state that a ref is in, as far as its own file tells.
fn state_of(observed: Option<Observed>) -> (Option<RefState>, Option<BrokenReason>) {
    match observed {
        None => (None, None),
        Some(Observed::Good(target)) => (Some(RefState::Good(target)), None),
        Some(Observed::Broken(reason)) => (Some(RefState::Broken { last_good: None }), Some(reason)),
    }
}

impl Engine {
    fn count(&self, pending: &Pending) {
        let wakes = &self.metrics.wakes;
        wakes.add("ref", pending.names.len() as u64);
        wakes.add("directory", pending.directories.len() as u64);
        wakes.add("packed_refs", u64::from(pending.packed));
        wakes.add("tables", u64::from(pending.tables));
        wakes.add("config", u64::from(pending.config));
        wakes.add("structure", u64::from(pending.structure));
        if let Some(whole) = pending.whole {
            wakes.inc(whole.as_str());
        }
    }

    /// Forgets what was concluded since the store's last word, because a commit failed.
    fn start_over(self: &Arc<Self>, repository: &Arc<Repository>, state: &mut State) {
        // What is on its way is answered before anything else is concluded; it is refused, or it follows from the
        // store's state.
        if self.store.flush().is_err() {
            return;
        }
        repository.failed.store(false, Ordering::Release);
        repository.overlays().clear();
        state.generation += 1;
        let held = std::mem::take(&mut state.held);
        lock(&self.failing)
            .entry(repository.key)
            .or_default()
            .extend(held.into_iter().filter_map(Job::into_unwritten));
        state.looked = false;
        state.stacks.clear();
        state.parts = None;
        state.signature = None;
        // What was taken from the journal is taken again.
        let row = self.store.read().and_then(|reader| reader.repository(repository.key)).ok().flatten();
        let saved = row.and_then(|row| Some((row.journal_position?, row.object_format)));
        state.hooks =
            saved.map(|(bytes, format)| Box::new(Hooks::from_saved(bytes, format, &self.settings.hooks)));
        let unwritten = lock(&self.failing).remove(&repository.key).unwrap_or_default();
        if repository.created.load(Ordering::Acquire) {
            let is_move = |unwritten: &Unwritten| matches!(unwritten.write, RepositoryWrite::Move { .. });
            let has_moved = unwritten.iter().any(is_move);
            let others = unwritten.into_iter().filter(|unwritten| !is_move(unwritten));
            // However often it moved: from where the log knows it to be, to where it is.
            let moved = has_moved.then(|| self.moved(repository.key, state)).flatten();
            for unwritten in moved.into_iter().chain(others) {
                let job = Job::of_unwritten(state, unwritten);
                self.hand_on(repository, state, job);
            }
        } else {
            state.create = self.creation_of(repository.key, state).map(Box::new);
        }
    }

    /// Derives what happened from what was seen, and hands it on to be described and committed. Refs in `unjudged` were
    /// looked at without a result.
    ///
    /// # Errors
    /// [`ReadError`]; nothing is concluded then.
    pub(crate) fn conclude(
        self: &Arc<Self>,
        repository: &Arc<Repository>,
        state: &mut State,
        origin: Origin,
        mut seen: Vec<Seen>,
        unjudged: &BTreeSet<RefName>,
        mut job: Job,
    ) -> Result<(), ReadError> {
        for seen in seen.iter().filter(|seen| seen.look.before.as_ref().is_some_and(RefState::is_broken)) {
            self.problems.resolve(&state.path_of(&seen.look.name));
        }
        self.tell_broken(state, seen.iter().filter_map(|seen| Some((&seen.look.name, seen.broken?))));
        let reconciled = match state.hooks.take() {
            Some(mut hooks) if state.create.is_none() => {
                let place = journal::Place { engine: self, repository, format: state.layout.format };
                let explained = journal::explain(&place, &mut hooks, origin, &mut seen, unjudged, &mut job);
                state.hooks = Some(hooks);
                explained?
            }
            hooks => {
                state.hooks = hooks;
                journal::skip(state, &mut job);
                let looks: Vec<Look> = seen.iter().map(|seen| seen.look.clone()).collect();
                reconcile(origin, &looks, &[], &[])
            }
        };
        for anomaly in &reconciled.anomalies {
            self.metrics.anomalies.inc(anomaly.kind.as_str());
        }
        if !reconciled.drafts.is_empty() {
            state.signature = None;
        }
        job.take(reconciled.drafts, seen);
        self.hand_on(repository, state, job);
        Ok(())
    }

    /// Names refs that cannot be read to whoever can mend them.
    fn tell_broken<'a>(&self, state: &State, broken: impl Iterator<Item = (&'a RefName, BrokenReason)>) {
        for (name, reason) in broken.take(BROKEN_TOLD_MAX) {
            self.problems
                .report(&state.path_of(name), format!("a broken ref: {reason}; its last good value is kept"));
        }
    }

    /// Names what lies among the refs and is none.
    fn tell_skipped(&self, state: &State, skipped: &[Skipped]) {
        for skipped in skipped {
            self.metrics.anomalies.inc("skipped_file");
            self.problems.report(&state.git_dir().join(&skipped.path), skipped.reason.to_string());
        }
    }

    /// Keeps what is known of a repository that cannot be looked at, and looks again later.
    pub(crate) fn in_trouble(&self, repository: &Repository, state: &mut State, error: &PassError) {
        let health = match error {
            PassError::Scan(ScanError::InFlux { .. }) | PassError::Probe(ProbeError::InFlux { .. }) => {
                Health::InFlux(error.to_string())
            }
            PassError::Scan(ScanError::Raced { .. }) => {
                self.metrics.scan_retries.inc();
                Health::InFlux(error.to_string())
            }
            PassError::Scan(_) | PassError::Probe(_) | PassError::Store(_) => {
                self.problems.report(state.git_dir(), error.to_string());
                Health::Unreadable(error.to_string())
            }
        };
        self.look_later(repository, state, health);
    }

    /// Says how a repository fares that could not be looked at, and looks again, the later the longer that lasts.
    pub(crate) fn look_later(&self, repository: &Repository, state: &mut State, health: Health) {
        let delay = Trouble::again(&mut state.trouble);
        // What waits for its record is seen again when the repository can be looked at.
        self.board.await_records(repository.key, None);
        self.directory.update(repository.key, |entry| entry.health = health);
        lock(&self.troubled).insert(repository.key);
        self.board.post_later(repository.key, Whole::Retry, delay);
    }

    /// True when notifications of a repository are not to be had, or not to be relied on.
    pub(crate) fn must_poll(&self, layout: &Layout) -> bool {
        // The kernel has one watch a directory, whatever its path: refs that are linked to are another's to watch.
        let is_link = || {
            let refs = layout.git_dir.join("refs").symlink_metadata();
            refs.is_ok_and(|refs| refs.file_type().is_symlink())
        };
        self.notifier.is_none() || refwatch_watcher::filesystem::is_remote(&layout.git_dir) || is_link()
    }

    /// Sees to it that a repository is polled from now on.
    pub(crate) fn poll_from_now_on(&self, key: RepositoryKey, state: &mut State) {
        state.polled = true;
        self.polled.write().unwrap_or_else(PoisonError::into_inner).insert(key);
        self.directory.update(key, |entry| entry.watched = Watched::Poll);
    }

    /// Watches one directory of a repository; what cannot be watched makes the repository a polled one.
    pub(crate) fn watch(&self, key: RepositoryKey, state: &mut State, directory: &Path) {
        let Some(notifier) = self.notifier.as_ref().filter(|_| !state.polled) else { return };
        match notifier.watch(&state.layout.git_dir.join(directory)) {
            Ok(()) | Err(WatchError::Gone { .. }) => {}
            Err(error @ (WatchError::Limit { .. } | WatchError::Other { .. })) => {
                self.metrics.watch_limit_reached.inc();
                self.problems.report(&state.layout.git_dir, error.to_string());
                self.poll_from_now_on(key, state);
            }
        }
    }

    /// Tells the log when a repository has become another kind, converted to reftable or with a working tree, or has another
    /// identity.
    fn note_layout(&self, repository: &Repository, state: &mut State, job: &mut Job) {
        let Layout { storage, format, bareness, .. } = state.layout;
        let known = self.directory.get(repository.key);
        let is_as_known = known
            .is_none_or(|known| (known.storage, known.format, known.bareness) == (storage, format, bareness));
        if is_as_known && !std::mem::take(&mut state.is_renumbered) {
            return;
        }
        self.directory.update(repository.key, |entry| {
            (entry.storage, entry.format, entry.bareness) = (storage, format, bareness);
        });
        if let Some(RepositoryWrite::Create(new)) = &mut job.write {
            (new.ref_storage, new.object_format, new.bareness) = (storage, format, bareness);
        } else {
            let identity = state.layout.identity;
            job.write = Some(RepositoryWrite::Layout {
                object_format: format,
                ref_storage: storage,
                bareness,
                identity,
            });
        }
    }

    /// Says that a repository is well, and how it is watched.
    pub(crate) fn is_well(&self, repository: &Repository, state: &mut State) {
        if state.trouble.take().is_some() {
            self.problems.resolve(state.git_dir());
            lock(&self.troubled).remove(&repository.key);
        }
        let watched = if state.polled { Watched::Poll } else { Watched::Notify };
        {
            let mut polled = self.polled.write().unwrap_or_else(PoisonError::into_inner);
            if state.polled {
                polled.insert(repository.key)
            } else {
                polled.remove(&repository.key)
            };
        }
        let now = crate::engine::now_us();
        self.directory.update(repository.key, |entry| {
            entry.health = Health::Ready;
            entry.watched = watched;
            entry.last_observed_us = now;
        });
    }
}
