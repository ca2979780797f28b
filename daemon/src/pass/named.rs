//! A look at the refs that wakes named: one small read each, however many refs the repository has.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use refwatch_core::{Look, ObjectId, Origin, RefName, RefState, RefStorage};
use refwatch_store::ReadError;
use refwatch_watcher::layout;
use refwatch_watcher::scan::{self, Observed};
use refwatch_watcher::wake::{Named, Pending, Wake};

use super::{PassError, Seen, state_of};
use crate::engine::{DOUBT, Engine, Job, Repository, State};

/// Names from which on they are read by several threads.
const READ_TOGETHER_MIN: usize = 2048;
/// Threads that read then.
const READERS: usize = 4;

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
    let mut directories: BTreeSet<Box<[u8]>> = pending.directories.clone();
    let mut names = Vec::with_capacity(pending.names.len());
    for (path, named) in &pending.names {
        match RefName::new(path) {
            Ok(name) => names.push((name, *named)),
            // `refs/heads` renamed away or into place is told like a file.
            Err(_) => {
                directories.insert(path.clone());
            }
        }
    }
    let readings = read(state, names)?;
    let mut judged = judge(engine, repository, state, readings)?;
    directories.append(&mut judged.unknown);
    let mut below = Vec::new();
    for directory in &directories {
        look_below(engine, repository, state, directory, &mut below, &mut judged.again)?;
    }
    let found = judge(engine, repository, state, below)?;
    judged.seen.extend(found.seen);
    judged.again.extend(found.again);
    if !judged.again.is_empty() {
        engine.board.put_back(repository.key, judged.again, DOUBT + Duration::from_millis(5));
    }
    let mut seen = judged.seen;
    seen.sort_by(|left, right| left.look.name.cmp(&right.look.name));
    seen.dedup_by(|later, earlier| later.look.name == earlier.look.name);
    if seen.is_empty() {
        return Ok(());
    }
    if seen.iter().any(|seen| seen.look.after.is_none()) {
        // The repository itself may be going.
        layout::probe(state.git_dir())?;
    }
    engine.conclude(repository, state, Origin::Notify, seen, job);
    Ok(())
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

/// Compares readings with what is known.
fn judge(
    engine: &Engine,
    repository: &Repository,
    state: &mut State,
    readings: Vec<Reading>,
) -> Result<Judged, ReadError> {
    let mut judged = Judged::default();
    engine.metrics.refs_read.add(readings.len() as u64);
    let known = known(engine, repository, &readings)?;
    for (reading, (before, before_peeled)) in readings.into_iter().zip(known) {
        let Reading { name, observed, named } = reading;
        if observed.is_none() && before.is_none() {
            judged.unknown.insert(name.into_bytes());
            continue;
        }
        let (after, broken) = state_of(observed);
        if is_doubtful(state, &name, before.as_ref(), after.as_ref(), named)
            && !state.has_doubted(&name, DOUBT)
        {
            judged.again.push((name.into_bytes(), named.unwrap_or_default()));
            continue;
        }
        state.doubted.remove(&name);
        let coalesced =
            named.is_none_or(|named| is_coalesced(engine, repository, state, &name, named, after.as_ref()));
        let look = Look::new(name, before, after, coalesced);
        if look.before != look.after {
            judged.seen.push(Seen { look, before_peeled, after_peeled: None, broken });
        }
    }
    Ok(judged)
}

/// The values that subscribers hold or will hold, in the order of the readings.
fn known(engine: &Engine, repository: &Repository, readings: &[Reading]) -> Result<Vec<Known>, ReadError> {
    // First the overlay, then the store, opened after: what left the overlay in between is in the store by then.
    let overlaid: Vec<_> = {
        let overlays = repository.overlays();
        readings
            .iter()
            .map(|reading| overlays.get(&reading.name).map(|over| (over.state.clone(), over.peeled)))
            .collect()
    };
    let mut reader = None;
    let mut known = Vec::with_capacity(readings.len());
    for (reading, overlaid) in readings.iter().zip(overlaid) {
        known.push(match overlaid {
            Some(overlaid) => overlaid,
            None => {
                let reader = match &mut reader {
                    Some(reader) => reader,
                    None => reader.insert(engine.store.read()?),
                };
                match reader.get_ref(repository.key, &reading.name)? {
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
fn is_only_packed(state: &State, name: &RefName) -> bool {
    state.layout.storage == RefStorage::Files && state.path_of(name).symlink_metadata().is_err()
}

/// Tells whether values between the last look and this one may have gone unseen.
///
/// One notification since the last look means one value. A second one may have come while this look was going on,
/// before or after the file was read: reading it again tells, since a value that is put in place anew differs.
fn is_coalesced(
    engine: &Engine,
    repository: &Repository,
    state: &State,
    name: &RefName,
    named: Named,
    after: Option<&RefState>,
) -> bool {
    if named.count > 1 {
        return true;
    }
    let Some(late) = engine.board.recall(repository.key, name.as_bytes()) else { return false };
    let now = scan::one(&state.layout, name).ok().flatten();
    let same = match (now, after) {
        (Some(Observed::Good(now)), Some(RefState::Good(after))) => now == *after,
        (Some(Observed::Broken(_)), Some(RefState::Broken { .. })) | (None, None) => true,
        (Some(_), _) | (None, Some(_)) => false,
    };
    if !same {
        engine.board.put_back(repository.key, vec![(name.as_bytes().into(), late)], Duration::ZERO);
    }
    same
}

/// Tells the board of a lock that was made before its directory was watched.
fn tell_of_lock(engine: &Engine, repository: &Repository, state: &State, lock: &Path) {
    let Some(name) = lock.as_os_str().as_bytes().strip_suffix(b".lock") else { return };
    engine.board.post(repository.key, Wake::Locked(name));
    if state.git_dir().join(lock).symlink_metadata().is_err() {
        // It went meanwhile, and that may have been told before.
        engine.board.post(repository.key, Wake::Unlocked(name));
    }
}

/// Reads what is below a directory of refs that came; of one that went, names what was below it.
fn look_below(
    engine: &Engine,
    repository: &Repository,
    state: &mut State,
    directory: &[u8],
    readings: &mut Vec<Reading>,
    again: &mut Vec<(Box<[u8]>, Named)>,
) -> Result<(), PassError> {
    let relative = Path::new(OsStr::from_bytes(directory));
    if state.git_dir().join(relative).symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        let layout = state.layout.clone();
        let scan = scan::subtree(&layout, relative, &mut |directory| engine.watch(state, directory))?;
        for lock in &scan.locks {
            tell_of_lock(engine, repository, state, &lock.path);
        }
        engine.tell_skipped(state, &scan.skipped);
        readings.extend(scan.refs.into_iter().map(|(name, observed)| Reading {
            name,
            observed: Some(observed),
            named: None,
        }));
        return Ok(());
    }
    let mut prefix = directory.to_vec();
    prefix.push(b'/');
    let mut gone: BTreeMap<Box<[u8]>, Named> = repository
        .overlays()
        .keys()
        .filter(|name| name.as_bytes().starts_with(&prefix))
        .map(|name| (name.as_bytes().into(), Named::default()))
        .collect();
    engine.store.read()?.for_each_ref_below(repository.key, &prefix, |name| {
        gone.insert(name.into_bytes(), Named::default());
        ControlFlow::Continue(())
    })?;
    again.extend(gone);
    Ok(())
}
