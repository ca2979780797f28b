//! A look at the refs that wakes named: one small read each, however many refs the repository has.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use refwatch_core::{Look, ObjectId, Origin, RefName, RefState, RefStorage};
use refwatch_store::ReadError;
use refwatch_watcher::layout;
use refwatch_watcher::notify::Notifier;
use refwatch_watcher::scan::{self, Observed};
use refwatch_watcher::wake::{Named, Pending, Wake, Whole};

use super::{PassError, Seen, journal, state_of};
use crate::engine::{DOUBT, Engine, Job, Repository, State};

/// Names from which on they are read by several threads.
const READ_TOGETHER_MIN: usize = 2048;
/// How long notifications that are behind are waited for.
const BEHIND_MAX: Duration = Duration::from_millis(200);
/// How long refs that were found in directories wait for what follows them.
const FOLLOWED_MAX: Duration = Duration::from_millis(100);
/// Threads that read then.
const READERS: usize = 4;
/// What counts for what nobody watched: more than one value.
const UNSEEN: u32 = 2;

/// What was read of one ref, before it is compared with what is known.
struct Reading {
    name: RefName,
    observed: Option<Observed>,
    /// What notifications told; `None` for a ref found in a directory that came: how often it was put in place
    /// before the directory was watched, nobody saw.
    named: Option<Named>,
}

/// The value of a ref that subscribers hold or will hold, and what its tag names.
type Known = (Option<RefState>, Option<ObjectId>);

/// What a look makes of its readings.
#[derive(Default)]
struct Judged {
    seen: Vec<Seen>,
    /// To be looked at again after a while.
    again: Vec<(Box<[u8]>, Named)>,
    /// Nothing is known under that name, and nothing is there: perhaps a directory of refs that went.
    unknown: BTreeSet<Box<[u8]>>,
}

/// Looks at the named refs and directories.
pub(super) fn look(
    engine: &Arc<Engine>,
    repository: &Arc<Repository>,
    state: &mut State,
    pending: &Pending,
) -> Result<(), PassError> {
    let job = Job::new(state, pending.since);
    journal::hear(engine, repository, state);
    let (mut below, mut gone) = (Vec::new(), BTreeSet::new());
    let (mut is_new, mut locked) = (false, false);
    for directory in pending.directories.keys() {
        let found = look_below(engine, repository, state, directory, &mut below)?;
        locked |= found.locked;
        if found.came {
            is_new |= state.waits().came.insert(directory.clone());
        } else {
            gone.insert(directory.clone());
        }
    }
    let is_open = if is_new || locked {
        is_settling(engine, state, locked)
    } else {
        is_followed(engine, repository, state, &below)
    };
    if is_open && !pending.unsettled {
        // Locks were made before the directory was watched, and other refs may have been put in place meanwhile: what
        // changed together is looked at together once all of that has been told.
        if let Some(notifier) = &engine.notifier {
            notifier.fence(Instant::now() + BEHIND_MAX);
        }
        engine.board.put_back_until_settled(
            repository.key,
            pending.names.clone(),
            pending.directories.clone(),
        );
        return Ok(());
    }
    state.has_settled();
    // Told like files: renamed away or into place.
    let mut renamed: BTreeSet<Box<[u8]>> = BTreeSet::new();
    let mut names = Vec::with_capacity(pending.names.len());
    for (path, named) in &pending.names {
        let mut named = *named;
        if pending.came_above(path) {
            named.count += UNSEEN;
        }
        match RefName::new(path) {
            Ok(name) => names.push((name, named)),
            Err(_) => drop(renamed.insert(path.clone())),
        }
    }
    if let Some(hooks) = &state.hooks {
        add(&mut names, hooks.names());
    }
    let readings = read(state, names)?;
    let mut judged = judge(engine, repository, state, readings, pending.losses)?;
    renamed.append(&mut judged.unknown);
    for directory in renamed.iter().filter(|renamed| !pending.directories.contains_key(*renamed)) {
        look_below(engine, repository, state, directory, &mut below)?;
    }
    let mut known = BTreeSet::new();
    // What was below one that was renamed went with it, also where another is in its place now.
    for directory in gone.union(&renamed) {
        known.append(&mut known_below(engine, repository, directory)?);
    }
    for reading in &below {
        known.remove(reading.name.as_bytes());
    }
    // Those that are named have been read since.
    below.retain(|reading| !pending.names.contains_key(reading.name.as_bytes()));
    known.retain(|name| !pending.names.contains_key(name));
    judged.again.extend(known.into_iter().map(|name| (name, Named::default())));
    let found = judge(engine, repository, state, below, pending.losses)?;
    judged.seen.extend(found.seen);
    judged.again.extend(found.again);
    let unjudged: BTreeSet<RefName> =
        judged.again.iter().filter_map(|(name, _)| RefName::new(name).ok()).collect();
    if !judged.again.is_empty() {
        engine.board.put_back(repository.key, judged.again, DOUBT + Duration::from_millis(5));
    }
    let mut seen = judged.seen;
    seen.sort_by(|left, right| left.look.name.cmp(&right.look.name));
    seen.dedup_by(|later, earlier| later.look.name == earlier.look.name);
    if seen.is_empty() && state.hooks.is_none() {
        return Ok(());
    }
    if seen.iter().any(|seen| seen.look.after.is_none()) {
        // The repository itself may be going.
        layout::probe(state.git_dir())?;
    }
    if !state.is_itself() {
        // Another one is at its path: a whole look finds out what became of this one.
        engine.board.put_back_whole(repository.key, Whole::Notified, Duration::ZERO);
        return Ok(());
    }
    engine.conclude(repository, state, Origin::Notify, seen, &unjudged, job)?;
    Ok(())
}

/// Adds refs that are looked at because hooks told of them.
fn add(names: &mut Vec<(RefName, Named)>, mut more: BTreeMap<RefName, Named>) {
    for (name, named) in &mut *names {
        if let Some(more) = more.remove(name) {
            named.count += more.count;
            named.locked |= more.locked;
        }
    }
    names.extend(more);
}

/// Reads the files of refs; many of them by a few threads, since most of the time goes into opening files.
fn read(state: &State, names: Vec<(RefName, Named)>) -> Result<Vec<Reading>, PassError> {
    let layout = &state.layout;
    let read_each = |names: &[(RefName, Named)]| -> Result<Vec<Reading>, PassError> {
        let reading = |(name, named): &(RefName, Named)| {
            let observed = scan::one(layout, name)?;
            Ok(Reading { name: name.clone(), observed, named: Some(*named) })
        };
        names.iter().map(reading).collect()
    };
    if names.len() < READ_TOGETHER_MIN {
        return read_each(&names);
    }
    let mut readings = Vec::with_capacity(names.len());
    std::thread::scope(|scope| {
        let parts: Vec<_> =
            names.chunks(names.len().div_ceil(READERS)).map(|part| scope.spawn(|| read_each(part))).collect();
        for part in parts {
            readings.extend(part.join().expect("BUG: a reader of refs panicked")?);
        }
        Ok(readings)
    })
}

/// What a look met of later transactions than the one that it was for.
#[derive(Default)]
struct Met {
    /// A value of one was read.
    later: bool,
    /// Others of its values may not have been: then it is told whole or not at all.
    unfinished: bool,
}

/// Compares readings with what is known. `losses` were known when the look began.
fn judge(
    engine: &Engine,
    repository: &Repository,
    state: &mut State,
    readings: Vec<Reading>,
    losses: u64,
) -> Result<Judged, ReadError> {
    let mut judged = Judged::default();
    // What was put in place before it was read is told when this is over: by then a second value has shown itself.
    let named = readings.iter().any(|reading| reading.named.is_some());
    let fence = engine.notifier.as_ref().filter(|_| named).map(Notifier::begin_fence);
    engine.metrics.refs_read.add(readings.len() as u64);
    let known = known(engine, repository, readings.iter().map(|reading| &reading.name))?;
    let told =
        fence.is_none_or(|fence| fence.wait(Instant::now() + BEHIND_MAX)) && engine.board.losses() == losses;
    let until = Instant::now() + BEHIND_MAX;
    let mut met = Met::default();
    let mut counts = Vec::new();
    for (reading, (before, before_peeled)) in readings.into_iter().zip(known) {
        let Reading { name, observed, named } = reading;
        if observed.is_none() && before.is_none() {
            state.doubts_no_longer(&name);
            judged.unknown.insert(name.into_bytes());
            continue;
        }
        let (after, broken) = state_of(observed);
        if is_doubtful(state, &name, before.as_ref(), after.as_ref(), named) && !state.has_doubted(&name) {
            let named = named.unwrap_or(Named { count: UNSEEN, locked: false });
            judged.again.push((name.into_bytes(), named));
            continue;
        }
        state.doubts_no_longer(&name);
        let late = match named {
            Some(_) if told => late(engine, repository, state, &name, after.as_ref(), until, losses),
            Some(_) | None => Late::Nothing,
        };
        // The value that was read may be any of those but the last.
        let is_one_of_several = matches!(late, Late::Other { named } if named.count > 1);
        let late = match late {
            Late::Nothing => Named::default(),
            Late::Same { named, unfinished: open } => {
                met.later = true;
                met.unfinished |= open;
                named
            }
            Late::Other { named } => {
                met.later |= named.count > 1;
                met.unfinished = true;
                Named::default()
            }
        };
        let is_unseen = || {
            named.is_none_or(|named| named.count + late.count > 1 || !told)
                || engine.board.came_above(repository.key, name.as_bytes())
        };
        let coalesced = is_one_of_several || (before != after && is_unseen());
        let look = Look::new(name, before, after, coalesced);
        if look.before != look.after {
            let count = named.map_or(0, |named| named.count).saturating_add(late.count);
            counts.push(Named { count, locked: named.is_some_and(|named| named.locked) || late.locked });
            judged.seen.push(Seen { look, before_peeled, after_peeled: None, broken });
        }
    }
    let is_mixed = met.later && met.unfinished && !judged.seen.is_empty();
    if is_mixed && state.hooks.is_none() && state.may_be_mixed() {
        let seen = std::mem::take(&mut judged.seen).into_iter().map(|seen| seen.look.name.into_bytes());
        engine.board.put_back(repository.key, seen.zip(counts).collect(), Duration::ZERO);
    } else if named {
        // What directories hold is never mixed, and is judged after what is named.
        state.waits_no_longer(|waits| waits.mixed = None);
    }
    Ok(judged)
}

/// The values that subscribers hold or will hold of some refs, in their order.
pub(super) fn known<'a>(
    engine: &Engine,
    repository: &Repository,
    names: impl ExactSizeIterator<Item = &'a RefName> + Clone,
) -> Result<Vec<Known>, ReadError> {
    // First the overlay, then the store, opened after: what left the overlay in between is in the store by then.
    let overlaid: Vec<_> = {
        let overlays = repository.overlays();
        names.clone().map(|name| overlays.get(name).map(|over| (over.state.clone(), over.peeled))).collect()
    };
    let mut reader = None;
    let mut known = Vec::with_capacity(names.len());
    for (name, overlaid) in names.zip(overlaid) {
        known.push(match overlaid {
            Some(overlaid) => overlaid,
            None => {
                let reader = match &mut reader {
                    Some(reader) => reader,
                    None => reader.insert(engine.store.read()?),
                };
                match reader.get_ref(repository.key, name)? {
                    Some((state, peeled)) => (Some(state), peeled),
                    None => (None, None),
                }
            }
        });
    }
    Ok(known)
}

/// True for what may be the beginning of the repository's own end, or of a file that is just being written.
fn is_doubtful(
    state: &State,
    name: &RefName,
    before: Option<&RefState>,
    after: Option<&RefState>,
    named: Option<Named>,
) -> bool {
    let locked = named.is_some_and(|named| named.locked);
    match (before, after) {
        (Some(_), None) => !locked,
        (before, Some(RefState::Broken { .. })) => !before.is_some_and(RefState::is_broken),
        // Its own file went, and an older value shows from `packed-refs`.
        (Some(RefState::Good(old)), Some(RefState::Good(new))) => {
            old != new && !locked && named.is_some() && is_only_packed(state, name)
        }
        (None | Some(_), _) => false,
    }
}

/// True when a ref has no file of its own: what was read of it comes from `packed-refs`.
pub(super) fn is_only_packed(state: &State, name: &RefName) -> bool {
    state.layout.storage == RefStorage::Files && state.path_of(name).symlink_metadata().is_err()
}

/// What came of a ref while a look at it was going on.
enum Late {
    Nothing,
    /// The value that was read. The ones that change with it may not have been there yet.
    Same {
        named: Named,
        unfinished: bool,
    },
    /// Another value, which is left for the next look. After more than one wake it may not have been the first.
    Other {
        named: Named,
    },
}

/// Takes back the wakes of a ref that came while this look was going on, where they tell of the value that was read.
///
/// One notification since the last look means one value. A second one may have come before or after the file was read:
/// reading it again tells, since a value that is put in place anew differs. Notifications are waited for until then.
fn late(
    engine: &Engine,
    repository: &Repository,
    state: &State,
    name: &RefName,
    after: Option<&RefState>,
    until: Instant,
    losses: u64,
) -> Late {
    let Some((mut named, unfinished)) = engine.board.recall(repository.key, name.as_bytes()) else {
        return Late::Nothing;
    };
    let same = match (scan::one(&state.layout, name), after) {
        (Ok(Some(Observed::Good(now))), Some(RefState::Good(after))) => now == *after,
        (Ok(Some(Observed::Broken(_))), Some(RefState::Broken { .. })) | (Ok(None), None) => true,
        (Ok(Some(_)), _) | (Ok(None), Some(_)) | (Err(_), _) => false,
    };
    if same {
        return Late::Same { named, unfinished };
    }
    // The value now may be yet a later one, and the one that was read the one before: then that is told by now.
    let told = engine.notifier.as_ref().is_some_and(|notifier| notifier.fence(until))
        && engine.board.losses() == losses;
    named.count += u32::from(!told);
    if let Some((later, _)) = engine.board.recall(repository.key, name.as_bytes()) {
        named = Named { count: named.count + later.count, locked: later.locked };
    }
    engine.board.put_back(repository.key, vec![(name.as_bytes().into(), named)], Duration::ZERO);
    Late::Other { named }
}

/// Tells the board of a lock that was made before its directory was watched; whether it is still there and waited for.
fn tell_of_lock(engine: &Engine, repository: &Repository, state: &State, lock: &Path) -> bool {
    let Some(name) = lock.as_os_str().as_bytes().strip_suffix(b".lock") else { return false };
    let is_awaited = engine.board.find_lock(repository.key, name);
    let is_there = state.git_dir().join(lock).symlink_metadata().is_ok();
    if !is_there {
        // It went meanwhile, and that may have been told before.
        engine.board.post(repository.key, Wake::Unlocked(name));
    }
    is_awaited && is_there
}

/// True while more follows refs that were found in directories, which may belong to them: for a short time, since some
/// writers never pause.
fn is_followed(engine: &Engine, repository: &Repository, state: &mut State, below: &[Reading]) -> bool {
    if below.is_empty() {
        return false;
    }
    if let Some(notifier) = &engine.notifier {
        notifier.fence(Instant::now() + BEHIND_MAX);
    }
    !engine.board.is_quiet(repository.key)
        && state.waits().followed.get_or_insert_with(Instant::now).elapsed() < FOLLOWED_MAX
}

/// True while a look at directories that came is put off, as long as transactions may hold their locks.
fn is_settling(engine: &Engine, state: &mut State, locked: bool) -> bool {
    if locked {
        engine.metrics.settle_waits.inc();
    }
    state.waits().settling.get_or_insert_with(Instant::now).elapsed() < engine.settings.watch.settle_max
}

/// What is at the path of a directory of refs that came or went.
#[derive(Default)]
struct Below {
    came: bool,
    /// Locks are there: a transaction is under way.
    locked: bool,
}

/// Reads what is below a directory of refs that came.
fn look_below(
    engine: &Engine,
    repository: &Repository,
    state: &mut State,
    directory: &[u8],
    readings: &mut Vec<Reading>,
) -> Result<Below, PassError> {
    let relative = Path::new(OsStr::from_bytes(directory));
    if !state.git_dir().join(relative).symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        return Ok(Below::default());
    }
    let layout = state.layout.clone();
    let scan =
        scan::subtree(&layout, relative, &mut |directory| engine.watch(repository.key, state, directory))?;
    let mut locked = false;
    for lock in &scan.locks {
        locked |= tell_of_lock(engine, repository, state, &lock.path);
    }
    engine.tell_skipped(state, &scan.skipped);
    readings.extend(scan.refs.into_iter().map(|(name, observed)| Reading {
        name,
        observed: Some(observed),
        named: None,
    }));
    Ok(Below { came: true, locked })
}

/// The refs that are known below a directory.
fn known_below(
    engine: &Engine,
    repository: &Repository,
    directory: &[u8],
) -> Result<BTreeSet<Box<[u8]>>, ReadError> {
    let prefix = [directory, b"/"].concat();
    let mut overlaid: BTreeMap<Box<[u8]>, bool> = BTreeMap::new();
    for (name, over) in &*repository.overlays() {
        if name.as_bytes().starts_with(&prefix) {
            overlaid.insert(name.as_bytes().into(), over.state.is_some());
        }
    }
    engine.store.read()?.for_each_ref_below(repository.key, &prefix, |name| {
        // What is on its way to the store is newer.
        overlaid.entry(name.into_bytes()).or_insert(true);
        ControlFlow::Continue(())
    })?;
    let known = overlaid.into_iter().filter_map(|(name, is_there)| is_there.then_some(name)).collect();
    Ok(known)
}
