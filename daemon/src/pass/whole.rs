//! A look at every ref of a repository.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use refwatch_core::{Look, ObjectId, RefName, RefState};
use refwatch_store::{ReadError, RepositoryKey};
use refwatch_watcher::layout;
use refwatch_watcher::scan::{self, Lock, Scan};
use refwatch_watcher::wake::{LOCKS_MAX, Pending, Whole};

use super::{PassError, Seen, journal, named, origin_of, state_of};
use crate::engine::{DOUBT, DOUBT_MAX, Engine, Job, Overlaid, Repository, State};

/// How long a whole look that saw locks waits before it looks again.
const SETTLE_STEP: Duration = Duration::from_millis(10);
/// How long a whole look waits for locks where notifications tell of them.
const SETTLE_NOTIFIED_MAX: Duration = Duration::from_millis(100);

/// Looks at everything.
pub(super) fn look(
    engine: &Arc<Engine>,
    repository: &Arc<Repository>,
    state: &mut State,
    pending: &Pending,
    why: Whole,
) -> Result<(), PassError> {
    state.polled = engine.must_poll(&state.layout);
    // Before the configuration is read.
    engine.watch(repository.key, state, Path::new(""));
    if let Some(hooks) = &mut state.hooks {
        hooks.watch_again();
    }
    let probed = state.probe();
    if engine.is_gone(repository, state, &probed) {
        return Ok(());
    }
    let layout = probed?;
    if state.is_another(&layout) {
        engine.replace(repository, state);
        return Ok(());
    }
    repository.lay_out(state, layout);
    state.probed = true;
    state.stacks.clear();
    state.parts = None;
    let mut job = Job::new(state, pending.since);
    journal::hear(engine, repository, state);
    let mut scan = scan(engine, repository.key, state)?;
    let first = !state.looked;
    let mut seen = compare(engine, repository, state, &scan)?;
    if state.create.is_none()
        && !seen.is_empty()
        && (is_settling(engine, repository, state, &scan, pending, why)
            || doubt(engine, repository, state, &seen, pending, why))
    {
        return Ok(());
    }
    state.waits_no_longer(|waits| {
        waits.doubted_whole = None;
        waits.is_unpacked = false;
        waits.doubted.clear();
        waits.mixed = None;
    });
    if seen.iter().any(|seen| seen.look.after.is_none()) {
        layout::probe(state.git_dir())?;
    }
    if !state.is_itself() {
        // Another one came to its path meanwhile: nothing of what was read is to be believed.
        engine.board.put_back_whole(repository.key, why, SETTLE_STEP);
        return Ok(());
    }
    if !scan.settled {
        // Replaced at every try: nothing is missing, but a transaction may have been seen in halves.
        engine.metrics.scan_retries.inc();
        engine.board.put_back_whole(repository.key, why, SETTLE_STEP);
    }
    engine.tell_skipped(state, &scan.skipped);
    if first {
        // Those that were broken before the start are no change, and still to be mended.
        engine.tell_broken(
            state,
            scan.refs.iter().filter_map(|(name, observed)| Some((name, observed.broken()?))),
        );
    }
    state.looked = true;
    state.has_settled();
    keep_locks(state, &scan);
    let origin = origin_of(why);
    if why == Whole::Sweep && !seen.is_empty() {
        engine.metrics.drift.add(seen.len() as u64);
        tracing::warn!(
            path = %state.git_dir().display(),
            refs = seen.len(),
            "the sweep found changes that no notification told of"
        );
    }
    // Until the job is on its way: what is known without events must be in the log before anybody lists it.
    let baseline = engine.baseline.read().unwrap_or_else(PoisonError::into_inner);
    if state.create.is_some() {
        job.discover(state, origin);
        if state.baseline && *baseline {
            job.take_as_known(std::mem::take(&mut seen));
        }
    }
    engine.note_layout(repository, state, &mut job);
    engine.is_well(repository, state);
    let signature = scan.signature.map(|signature| signature.0);
    if seen.is_empty() {
        job.sign(signature, state.signature);
    }
    let quiet = seen.is_empty();
    engine.conclude(repository, state, origin, seen, &BTreeSet::new(), job)?;
    drop(baseline);
    state.stacks = std::mem::take(&mut scan.stacks);
    state.parts = scan.parts.take();
    if quiet {
        state.signature = signature;
    }
    if first {
        engine.looked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
    Ok(())
}

fn scan(engine: &Engine, key: RepositoryKey, state: &mut State) -> Result<Scan, PassError> {
    let layout = state.layout.clone();
    let scan = scan::full(&layout, &mut |directory| {
        // The git directory itself is watched already.
        if !directory.as_os_str().is_empty() {
            engine.watch(key, state, directory);
        }
    })?;
    engine.metrics.refs_read.add(scan.refs.len() as u64);
    Ok(scan)
}

/// Compares what was read with what is known, in one walk over both.
fn compare(
    engine: &Engine,
    repository: &Repository,
    state: &State,
    scan: &Scan,
) -> Result<Vec<Seen>, ReadError> {
    let mut walk = Walk { scan, next_ref: 0, next_peeled: 0, seen: Vec::new() };
    if state.create.is_none() {
        // Overlay first, store second: what the writer takes out in between is in the store by then.
        let mut overlay: Vec<(RefName, Overlaid)> =
            repository.overlays().iter().map(|(name, overlaid)| (name.clone(), overlaid.clone())).collect();
        overlay.sort_by(|left, right| left.0.cmp(&right.0));
        let mut overlay = overlay.into_iter().peekable();
        engine.store.read()?.for_each_ref(repository.key, |name, known, peeled| {
            while let Some((new, overlaid)) = overlay.next_if(|(over, _)| *over < name) {
                walk.meet_overlaid(new, overlaid);
            }
            match overlay.next_if(|(over, _)| *over == name) {
                Some((_, overlaid)) => walk.meet_overlaid(name, overlaid),
                None => walk.meet(name, known, peeled),
            }
            ControlFlow::Continue(())
        })?;
        for (name, overlaid) in overlay {
            walk.meet_overlaid(name, overlaid);
        }
    }
    walk.pass_by(None);
    Ok(walk.seen)
}

struct Walk<'scan> {
    scan: &'scan Scan,
    next_ref: usize,
    next_peeled: usize,
    seen: Vec<Seen>,
}

impl Walk<'_> {
    /// A ref whose value is on its way to the store.
    fn meet_overlaid(&mut self, name: RefName, overlaid: Overlaid) {
        if let Some(state) = overlaid.state {
            self.meet(name, state, overlaid.peeled);
        }
    }

    /// A ref that is known.
    fn meet(&mut self, name: RefName, known: RefState, peeled: Option<ObjectId>) {
        self.pass_by(Some(&name));
        let observed = match self.scan.refs.get(self.next_ref) {
            Some((found, observed)) if *found == name => {
                self.next_ref += 1;
                Some(observed.clone())
            }
            Some(_) | None => None,
        };
        let after_peeled = observed.as_ref().and_then(|_| self.peeled(self.next_ref - 1));
        let (after, broken) = state_of(observed);
        let look = Look::new(name, Some(known), after, true);
        if look.before != look.after {
            self.seen.push(Seen { look, before_peeled: peeled, after_peeled, broken });
        }
    }

    /// Refs that are not known, up to a name.
    fn pass_by(&mut self, until: Option<&RefName>) {
        while let Some((name, observed)) = self.scan.refs.get(self.next_ref) {
            if until.is_some_and(|until| name >= until) {
                return;
            }
            let after_peeled = self.peeled(self.next_ref);
            let (after, broken) = state_of(Some(observed.clone()));
            let look = Look::new(name.clone(), None, after, true);
            self.seen.push(Seen { look, before_peeled: None, after_peeled, broken });
            self.next_ref += 1;
        }
    }

    fn peeled(&mut self, index: usize) -> Option<ObjectId> {
        while let Some((at, oid)) = self.scan.peeled.get(self.next_peeled) {
            if *at == index {
                return Some(*oid);
            }
            if *at > index {
                return None;
            }
            self.next_peeled += 1;
        }
        None
    }
}

/// True when locks tell that a transaction is under way; the look is put off then, for a bounded time.
///
/// Where notifications tell of locks the board waits for them; this serves polling and overflow.
fn is_settling(
    engine: &Engine,
    repository: &Repository,
    state: &mut State,
    scan: &Scan,
    pending: &Pending,
    why: Whole,
) -> bool {
    let blind = state.polled || matches!(why, Whole::Overflow | Whole::Startup | Whole::Sweep | Whole::Retry);
    keep_locks(state, scan);
    if scan.locks.is_empty() || pending.unsettled {
        return false;
    }
    let settle_max = self::settle_max(engine, blind);
    let now = Instant::now();
    let is_young = |since: &mut Instant| now.duration_since(*since) < settle_max;
    let met = &mut state.waits().locks;
    // Those of a crash cost this wait once.
    let mut is_live = false;
    for lock in scan.locks.iter().take(LOCKS_MAX) {
        is_live |= is_young(met.entry(lock.clone()).or_insert(now));
    }
    // The board has waited for those that it was told of; these may be of a later transaction, and there may always be
    // a later one.
    if !is_live || !is_young(state.waits().settling.get_or_insert(now)) {
        return false;
    }
    engine.metrics.settle_waits.inc();
    engine.board.put_back_whole(repository.key, why, SETTLE_STEP);
    true
}

/// Forgets the locks that are there no longer.
fn keep_locks(state: &mut State, scan: &Scan) {
    state.waits_no_longer(|waits| {
        if !waits.locks.is_empty() {
            let there: BTreeSet<&Lock> = scan.locks.iter().collect();
            waits.locks.retain(|lock, _| there.contains(lock));
        }
    });
}

/// How long locks are waited for.
fn settle_max(engine: &Engine, blind: bool) -> Duration {
    let settle_max = engine.settings.watch.settle_max;
    if blind { settle_max } else { settle_max.min(SETTLE_NOTIFIED_MAX) }
}

/// True when deletions were seen that nothing announced; the look is repeated after a while, before they are believed.
fn doubt(
    engine: &Engine,
    repository: &Repository,
    state: &mut State,
    seen: &[Seen],
    pending: &Pending,
    why: Whole,
) -> bool {
    let is_packed = state.git_dir().join("packed-refs").exists();
    let packed_replaced = pending.packed && is_packed;
    let reftable = state.layout.storage == refwatch_watcher::layout::RefStorage::Reftable;
    let doubtful = |seen: &Seen| match (&seen.look.before, &seen.look.after) {
        (Some(_), None) => !packed_replaced && !reftable,
        (before, Some(RefState::Broken { .. })) => !before.as_ref().is_some_and(RefState::is_broken),
        // Its own file may have gone, so that an older value shows from `packed-refs`.
        (Some(RefState::Good(old)), Some(RefState::Good(new))) => {
            old != new && !packed_replaced && named::is_only_packed(state, &seen.look.name)
        }
        (None | Some(_), _) => false,
    };
    if !seen.iter().any(doubtful) {
        return false;
    }
    let now = Instant::now();
    let waits = state.waits();
    let since = now.duration_since(*waits.doubted_whole.get_or_insert(now));
    let went = pending.packed && !pending.packed_locked;
    waits.is_unpacked = !is_packed && (went || waits.is_unpacked);
    let goes_on = waits.is_unpacked || state.is_being_removed(DOUBT);
    if since >= DOUBT && (since >= DOUBT_MAX || !goes_on) {
        return false;
    }
    engine.board.put_back_whole(repository.key, why, DOUBT + Duration::from_millis(5));
    true
}
