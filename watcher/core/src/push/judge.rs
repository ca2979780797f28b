//! Which updates of a push were carried out, and why the others were not: as far as records and the disk can tell.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::held::Push;
use super::{Disk, Life, Refused, Unread};
use crate::event::Stage;
use crate::journal::{Update, Value};
use crate::{RefName, RefState, Target};

/// A hook refused: stages `PRE_RECEIVE`, `UPDATE` and `REFERENCE_TRANSACTION`.
pub const HOOK_DECLINED: &str = "HOOK_DECLINED";

/// The ref does not hold the old value that the update named: stage `STALE_OLD_VALUE`.
pub const STALE_OLD_VALUE: &str = "STALE_OLD_VALUE";

/// A lock that the update needed was there before Git came to it, and still is: stage `LOCK`.
pub const LOCKED: &str = "LOCKED";

/// Git did not carry it out, and nothing tells why: stage `RECEIVE_PACK`. A caller that knows the repository's settings
/// or the commits may say more (a deletion denied, no fast-forward, refused by proc-receive).
pub const DECLINED_BY_GIT: &str = "DECLINED_BY_GIT";

/// Nothing of the push was carried out after another update of it was refused: stage `RECEIVE_PACK`. What an atomic
/// push leaves; inferred, and never said of a deletion, which Git may have denied by itself.
pub const ATOMIC_PUSH_FAILED: &str = "ATOMIC_PUSH_FAILED";

/// The push died of another update before it came to this one: stage `RECEIVE_PACK`.
pub const PUSH_ABORTED: &str = "PUSH_ABORTED";

/// Symbolic refs followed to a value: `SYMREF_MAXDEPTH` of Git's `refs/refs-internal.h`.
const SYMREFS_MAX: u32 = 5;

/// An update that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// What was asked for.
    pub update: Update,
    /// Where it was refused.
    pub stage: Stage,
    /// For programs: one of the tokens of this module.
    pub reason: &'static str,
    /// For people. Names the hook that refused and its exit status, where one did.
    pub message: String,
}

/// Stage, reason and message of a refusal.
type Verdict = (Stage, &'static str, String);

/// What is known of a push that is over.
pub(super) struct Judged {
    /// What post-receive said.
    pub(super) accepted: Vec<Update>,
    /// What is known to be refused.
    pub(super) rejected: Vec<Rejected>,
    /// What was attempted and is in neither.
    pub(super) doubted: Vec<Update>,
    /// What is known to be carried out.
    pub(super) done: Vec<Update>,
    /// Some refs could not be read, and it mattered.
    pub(super) is_unread: bool,
}

/// Says what is known for certain: an event that is wrong is worse than one that is missing.
///
/// - Only post-receive says what was accepted. Where it said nothing, what the disk shows to be done may be another's
///   doing, and is doubted.
/// - Where it said nothing, what a transaction of the push recorded as committed is not told as refused: a later Git
///   lists refused refs there, and receive-pack may have been killed in between.
/// - Where the end of the push is unknown, only what a hook refused is told as refused.
pub(super) fn judge(push: &Push, life: Life, disk: &Disk<'_>) -> Judged {
    let attempted: &[Update] = push.attempted.as_ref().map_or(&[], |attempted| &attempted.updates);
    let done = match &push.accepted {
        Some(accepted) => Done::told(push, attempted, &accepted.updates),
        None => Done::seen(push, attempted, disk),
    };
    let trial = Trial::new(push, attempted, &done, disk);
    let (mut rejected, mut doubted) = (Vec::new(), Vec::new());
    let mut is_unread = false;
    for (at, update) in attempted.iter().enumerate() {
        let verdict = match done.updates[at] {
            Ok(true) if push.accepted.is_some() => continue,
            Ok(true) => Ok(None),
            Ok(false) => trial.verdict(at),
            Err(Unread) => Err(Unread),
        };
        is_unread |= verdict.is_err();
        match verdict {
            Ok(Some((stage, reason, message))) if is_certain(push, life, update, stage) => {
                rejected.push(Rejected { update: update.clone(), stage, reason, message });
            }
            Ok(_) | Err(Unread) => doubted.push(update.clone()),
        }
    }
    let accepted = push.accepted.as_ref().map_or(Vec::new(), |accepted| accepted.updates.clone());
    let done = if push.accepted.is_some() {
        accepted.clone()
    } else {
        done.of(attempted).filter(|update| push.has_committed(update)).cloned().collect()
    };
    rejected.extend(unannounced(push, attempted, &accepted));
    Judged { accepted, rejected, doubted, done, is_unread }
}

/// True where nothing speaks against a refusal.
fn is_certain(push: &Push, life: Life, update: &Update, stage: Stage) -> bool {
    let is_inferred = !matches!(stage, Stage::PreReceive | Stage::Update | Stage::ReferenceTransaction);
    push.accepted.is_some() || !(push.has_committed_any(&update.name) || life == Life::Unknown && is_inferred)
}

/// Refusals by `update` of what pre-receive did not list: it recorded nothing.
fn unannounced(push: &Push, attempted: &[Update], accepted: &[Update]) -> Vec<Rejected> {
    if push.update_refused.is_empty() {
        return Vec::new();
    }
    let known: BTreeSet<&Update> = attempted.iter().chain(accepted).collect();
    let unknown = push.update_refused.iter().filter(|(update, _)| !known.contains(update));
    let rejected = |(update, refused): (&Update, &Refused)| Rejected {
        update: update.clone(),
        stage: Stage::Update,
        reason: HOOK_DECLINED,
        message: said_by("update", refused),
    };
    unknown.map(rejected).collect()
}

/// Which attempted updates were carried out.
struct Done {
    /// One entry an attempted update.
    updates: Vec<Result<bool, Unread>>,
    /// What post-receive said accounts for updates that cannot be named.
    others: Others,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Others {
    None,
    Unnamed,
}

impl Done {
    /// By what post-receive said.
    fn told(push: &Push, attempted: &[Update], accepted: &[Update]) -> Self {
        let mut left: BTreeMap<&Update, usize> = BTreeMap::new();
        for update in accepted {
            *left.entry(update).or_default() += 1;
        }
        let mut updates: Vec<bool> = attempted.iter().map(|update| taken(&mut left, update)).collect();
        // The rest is the work of proc-receive: the same name with other values, or the same value under other names.
        let mut names: BTreeMap<&RefName, usize> = BTreeMap::new();
        let mut values: BTreeMap<&Value, usize> = BTreeMap::new();
        for (update, count) in &left {
            *names.entry(&update.name).or_default() += count;
        }
        for (done, update) in updates.iter_mut().zip(attempted) {
            *done = *done || (!push.is_refused(update) && taken(&mut names, &update.name));
        }
        for (update, _) in left.iter().filter(|(update, _)| names.contains_key(&update.name)) {
            *values.entry(&update.new).or_default() += 1;
        }
        for (done, update) in updates.iter_mut().zip(attempted) {
            let mut renamed = || update.new != Value::Zero && taken(&mut values, &update.new);
            *done = *done || (!push.is_refused(update) && renamed());
        }
        let others = if accepted.is_empty() || !values.is_empty() { Others::Unnamed } else { Others::None };
        Self { updates: updates.into_iter().map(Ok).collect(), others }
    }

    /// By what the disk shows, where post-receive said nothing: nothing was accepted, or receive-pack was killed, or the
    /// record was lost.
    fn seen(push: &Push, attempted: &[Update], disk: &Disk<'_>) -> Self {
        let done = |(at, update): (usize, &Update)| {
            if push.is_refused(update) {
                return Ok(false);
            }
            if push.was_killed_by_its_hook() && push.has_committed(update) {
                return Ok(true);
            }
            Ok(!push.claimed.contains(&at) && holds(&update.new, &update.name, disk)?)
        };
        Self { updates: attempted.iter().enumerate().map(done).collect(), others: Others::None }
    }

    fn of<'a>(&'a self, attempted: &'a [Update]) -> impl Iterator<Item = &'a Update> + 'a {
        attempted.iter().zip(&self.updates).filter(|(_, done)| **done == Ok(true)).map(|(update, _)| update)
    }
}

/// Takes one of what is counted, if there is one left.
fn taken<K: Ord>(left: &mut BTreeMap<K, usize>, key: K) -> bool {
    match left.get_mut(&key) {
        None => false,
        Some(1) => {
            left.remove(&key);
            true
        }
        Some(count) => {
            *count -= 1;
            true
        }
    }
}

/// Why updates of one push were not carried out.
struct Trial<'a> {
    push: &'a Push,
    attempted: &'a [Update],
    others: Others,
    /// The update that the whole push died of: none after it was tried.
    fatal: Option<usize>,
    /// The update with which an atomic push seems to have failed.
    culprit: Option<&'a Update>,
    disk: &'a Disk<'a>,
}

impl<'a> Trial<'a> {
    fn new(push: &'a Push, attempted: &'a [Update], done: &Done, disk: &'a Disk<'a>) -> Self {
        let mut trial = Self { push, attempted, others: done.others, fatal: None, culprit: None, disk };
        if push.was_killed_by_its_hook() {
            trial.fatal = attempted.iter().position(|update| push.has_aborted(update));
        }
        let nothing_done =
            push.accepted.is_none() && push.committed.is_empty() && !done.updates.contains(&Ok(true));
        // An atomic push ends at the first refusal by `update`.
        if nothing_done && push.update_refused.len() <= 1 {
            let refused = |update: &&Update| push.update_refused.contains_key(update);
            let stale = || attempted.iter().find(|update| trial.is_stale(update) == Ok(true));
            let locked = || attempted.iter().find(|update| trial.is_locked(update));
            trial.culprit = attempted.iter().find(refused).or_else(stale).or_else(locked);
        }
        trial
    }

    /// `None` where nothing says that it was refused.
    fn verdict(&self, at: usize) -> Result<Option<Verdict>, Unread> {
        let update = &self.attempted[at];
        if let Some(verdict) = self.by_hook(at) {
            return Ok(Some(verdict));
        }
        if self.others == Others::Unnamed || update.old == update.new {
            return Ok(None);
        }
        if self.is_locked(update) {
            let message = "another writer had locked the ref before, and has not let go since".to_owned();
            return Ok(Some((Stage::Lock, LOCKED, message)));
        }
        if self.is_stale(update)? {
            let message = "the ref does not hold the old value that the update named".to_owned();
            return Ok(Some((Stage::StaleOldValue, STALE_OLD_VALUE, message)));
        }
        if let Some(culprit) = self.culprit
            && update.new != Value::Zero
        {
            let name = &culprit.name;
            let message = format!("{name} was refused and nothing accepted, as an atomic push ends");
            return Ok(Some((Stage::ReceivePack, ATOMIC_PUSH_FAILED, message)));
        }
        Ok(Some((Stage::ReceivePack, DECLINED_BY_GIT, "git did not carry it out".to_owned())))
    }

    /// What hooks refused, and what was lost with it.
    fn by_hook(&self, at: usize) -> Option<Verdict> {
        let update = &self.attempted[at];
        if let Some(refused) = self.push.attempted.as_ref().and_then(|attempted| attempted.refused.as_ref()) {
            return Some((Stage::PreReceive, HOOK_DECLINED, said_by("pre-receive", refused)));
        }
        if let Some(refused) = self.push.update_refused.get(update) {
            return Some((Stage::Update, HOOK_DECLINED, said_by("update", refused)));
        }
        if self.push.has_aborted(update) {
            let message = "the reference-transaction hook refused the transaction".to_owned();
            return Some((Stage::ReferenceTransaction, HOOK_DECLINED, message));
        }
        let fatal = self.fatal.filter(|fatal| *fatal < at)?;
        let name = &self.attempted[fatal].name;
        let message = format!("the reference-transaction hook refused {name}, which ended the push");
        Some((Stage::ReceivePack, PUSH_ABORTED, message))
    }

    /// True for a lock older than the end of pre-receive: Git came to it later.
    fn is_locked(&self, update: &Update) -> bool {
        let Some(attempted) = &self.push.attempted else { return false };
        (self.disk.locked_since_us)(update).is_some_and(|since_us| since_us <= attempted.at_us)
    }

    fn is_stale(&self, update: &Update) -> Result<bool, Unread> {
        Ok(!holds(&update.old, &update.name, self.disk)?)
    }
}

fn said_by(hook: &str, refused: &Refused) -> String {
    let Refused { status, by } = refused;
    if by.is_empty() {
        format!("{hook} hook exited with status {status}")
    } else {
        format!("{hook} hook {by} exited with status {status}")
    }
}

/// True where the ref has this value. Updates of a symbolic ref name the values of the ref that it leads to. A ref that is
/// broken has none.
fn holds(value: &Value, name: &RefName, disk: &Disk<'_>) -> Result<bool, Unread> {
    let mut state = (disk.state)(name)?;
    if let Value::Symbolic(to) = value {
        return Ok(matches!(state, Some(RefState::Good(Target::Symbolic(found))) if found == *to));
    }
    for _ in 0..SYMREFS_MAX {
        match state {
            Some(RefState::Good(Target::Symbolic(to))) => state = (disk.state)(&to)?,
            Some(RefState::Good(Target::Direct(oid))) => return Ok(*value == Value::Oid(oid)),
            Some(RefState::Broken { .. }) => return Ok(false),
            None => return Ok(*value == Value::Zero),
        }
    }
    Ok(false)
}
