//! Which updates of a push were carried out, and why the others were not: as far as records and the disk can tell.

use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Refused;
use super::held::Push;
use crate::event::Stage;
use crate::journal::{Update, Value};
use crate::{RefName, Target};

/// A hook refused: stages `PRE_RECEIVE`, `UPDATE` and `REFERENCE_TRANSACTION`.
pub const HOOK_DECLINED: &str = "HOOK_DECLINED";

/// The ref does not hold the old value that the update named: stage `STALE_OLD_VALUE`.
pub const STALE_OLD_VALUE: &str = "STALE_OLD_VALUE";

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

/// What was carried out, and what was refused.
pub(super) fn judge(push: &Push, now: &dyn Fn(&RefName) -> Option<Target>) -> (Vec<Update>, Vec<Rejected>) {
    let attempted: &[Update] = push.attempted.as_ref().map_or(&[], |attempted| &attempted.updates);
    let done = match &push.accepted {
        Some(accepted) => Done::told(push, attempted, &accepted.updates),
        None => Done::seen(push, attempted, now),
    };
    let accepted = match &push.accepted {
        Some(accepted) => accepted.updates.clone(),
        None => done.of(attempted).cloned().collect(),
    };
    let trial = Trial::new(push, attempted, &done, now);
    let mut rejected: Vec<Rejected> = (0..attempted.len())
        .filter(|at| !done.updates[*at])
        .filter_map(|at| {
            let (stage, reason, message) = trial.verdict(at)?;
            Some(Rejected { update: attempted[at].clone(), stage, reason, message })
        })
        .collect();
    rejected.extend(unannounced(push, attempted, &accepted));
    (accepted, rejected)
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
    updates: Vec<bool>,
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
        Self { updates, others }
    }

    /// By what the disk shows, where post-receive said nothing: nothing was accepted, or receive-pack was killed, or the
    /// record was lost.
    fn seen(push: &Push, attempted: &[Update], now: &dyn Fn(&RefName) -> Option<Target>) -> Self {
        let done = |(at, update): (usize, &Update)| {
            let committed = || push.was_killed_by_its_hook() && push.has_committed(update);
            let shown = || holds(&update.new, &update.name, now) && !push.claimed.contains(&at);
            !push.is_refused(update) && (committed() || shown())
        };
        Self { updates: attempted.iter().enumerate().map(done).collect(), others: Others::None }
    }

    fn of<'a>(&'a self, attempted: &'a [Update]) -> impl Iterator<Item = &'a Update> + 'a {
        attempted.iter().zip(&self.updates).filter(|(_, done)| **done).map(|(update, _)| update)
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
    now: &'a dyn Fn(&RefName) -> Option<Target>,
}

impl<'a> Trial<'a> {
    fn new(
        push: &'a Push,
        attempted: &'a [Update],
        done: &Done,
        now: &'a dyn Fn(&RefName) -> Option<Target>,
    ) -> Self {
        let mut trial = Self { push, attempted, others: done.others, fatal: None, culprit: None, now };
        if push.was_killed_by_its_hook() {
            trial.fatal = attempted.iter().position(|update| push.has_aborted(update));
        }
        let nothing_done =
            push.accepted.is_none() && push.committed.is_empty() && !done.updates.contains(&true);
        // An atomic push ends at the first refusal by `update`.
        if nothing_done && push.update_refused.len() <= 1 {
            let refused = |update: &&Update| push.update_refused.contains_key(update);
            let stale = || attempted.iter().find(|update| trial.is_stale(update));
            trial.culprit = attempted.iter().find(refused).or_else(stale);
        }
        trial
    }

    /// `None` where nothing says that it was refused.
    fn verdict(&self, at: usize) -> Option<(Stage, &'static str, String)> {
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
        if let Some(fatal) = self.fatal.filter(|fatal| *fatal < at) {
            let name = &self.attempted[fatal].name;
            let message = format!("the reference-transaction hook refused {name}, which ended the push");
            return Some((Stage::ReceivePack, PUSH_ABORTED, message));
        }
        if self.others == Others::Unnamed || update.old == update.new {
            return None;
        }
        if self.is_stale(update) {
            let message = "the ref does not hold the old value that the update named".to_owned();
            return Some((Stage::StaleOldValue, STALE_OLD_VALUE, message));
        }
        if let Some(culprit) = self.culprit
            && update.new != Value::Zero
        {
            let name = &culprit.name;
            let message = format!("{name} was refused and nothing accepted, as an atomic push ends");
            return Some((Stage::ReceivePack, ATOMIC_PUSH_FAILED, message));
        }
        Some((Stage::ReceivePack, DECLINED_BY_GIT, "git did not carry it out".to_owned()))
    }

    fn is_stale(&self, update: &Update) -> bool {
        !holds(&update.old, &update.name, self.now)
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

/// True where the ref has this value. Updates of a symbolic ref name the values of the ref that it leads to.
fn holds(value: &Value, name: &RefName, now: &dyn Fn(&RefName) -> Option<Target>) -> bool {
    let mut target = now(name);
    if let Value::Symbolic(to) = value {
        return target.as_ref().and_then(Target::symbolic) == Some(to);
    }
    for _ in 0..SYMREFS_MAX {
        match target {
            Some(Target::Symbolic(to)) => target = now(&to),
            Some(Target::Direct(oid)) => return *value == Value::Oid(oid),
            None => return *value == Value::Zero,
        }
    }
    false
}
