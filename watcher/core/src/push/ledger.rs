//! Keeps what the hooks of a push recorded until the push is over, and then tells what became of each update.
//!
//! No hook is told why an update was refused, and most refusals are told to none: what a push attempted and nothing
//! shows to be done was refused. What Git 2.47 leaves behind, measured on files and reftable (`-`: no such record;
//! pre-receive lists every update in all of them, in the order in which they are carried out):
//!
//! | refused by | update hook | reference-transaction | post-receive | told as |
//! |---|---|---|---|---|
//! | pre-receive | - | - | - | `PRE_RECEIVE` |
//! | hideRefs, denyDeletes, denyNonFastForwards, denyCurrentBranch, denyDeleteCurrent | not called | - | the others | `RECEIVE_PACK` |
//! | two names of one ref with different values | not called | - | the others | `RECEIVE_PACK` |
//! | proc-receive | not called | - | the others | `RECEIVE_PACK` |
//! | update | refuses | - | the others | `UPDATE` |
//! | update, atomic push | refuses; not called for later ones | - | - | `UPDATE`, the others `RECEIVE_PACK` |
//! | another old value | passes | - | the others | `STALE_OLD_VALUE`, by the value on disk |
//! | a lock that is still there | passes | as below | the others | `LOCK`, by the lock on disk |
//! | another lock, a directory in the way | passes | - (a locked `packed-refs`: `aborted 0 0 x`) | the others | `RECEIVE_PACK` |
//! | any of these three, atomic push | passes for all | - | - | that one as above, the others `RECEIVE_PACK` |
//! | reference-transaction | passes | `aborted old new x`, then nothing more | never, though earlier ones are done | `REFERENCE_TRANSACTION`, later ones `RECEIVE_PACK` |
//! | the same, deletion of a packed ref (files) | passes | `aborted 0 0 x` | never | `RECEIVE_PACK` |
//!
//! - `aborted 0 0 x` proves nothing: each deletion of a loose ref that succeeds leaves one too.
//! - A refusal by the reference-transaction hook kills receive-pack. So `aborted` with values proves a refusal, and that
//!   what was committed before stays although no post-receive tells of it.
//! - Of what cannot be told from these with certainty nothing is told: see `judge`.
//! - An atomic push cannot be proven: `x` refused by update and the rest dropped with it leaves what `x` refused by
//!   update and a deletion denied by Git leaves.
//! - A later Git lists refused refs as committed. So post-receive is believed before reference-transaction, and where
//!   there is no post-receive the value on disk is.
//! - proc-receive may carry an update out under other names, which then stand in post-receive in its place.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use super::held::{Push, claim, stated};
use super::judge::{Rejected, judge};
use super::{Disk, Life, Process, Record, Unreadable};
use crate::RefName;
use crate::journal::{Outcome, Transaction, Update};

/// Most pushes held, open or over: twice the records that one reading of the journal gives.
pub const PUSHES_MAX: usize = 8192;

/// Most updates held, of all pushes and kinds of records together: those of one push of some 300,000 refs, and about
/// 150 bytes each. Each record counts as one more.
pub const UPDATES_HELD_MAX: usize = 1 << 20;

/// The pushes of one repository whose outcome is not told yet.
///
/// Total and bounded by [`PUSHES_MAX`] and [`UPDATES_HELD_MAX`]: beyond, the oldest pushes are forgotten
/// ([`Ledger::forgotten`]), and of such a push only what is recorded later is told. The records of one push may come in
/// any order; transactions are explained by those that came before.
///
/// To close what is over: ask [`Ledger::open`] and find out which of the processes are gone, *then* read the journal to
/// its end, and then [`Ledger::close`]. A process found gone only after that may have recorded what was not read.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    grouping: Grouping,
    pushes: BTreeMap<Process, Push>,
    /// Pushes of processes whose number was given to the process of another push.
    replaced: Vec<Push>,
    held: usize,
    forgotten: u64,
}

/// Where a push that is over was held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Own,
    Replaced,
}

/// What changes are told by, where both are recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Grouping {
    /// Transactions of pushes.
    #[default]
    Transactions,
    /// Whole pushes: their transactions explain nothing.
    Pushes,
}

/// A push of which no record says that it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// The push.
    pub process: Process,
    /// Time of what it recorded last, in microseconds since 1970.
    pub last_us: u64,
}

/// What became of one push. Of what it attempted, each update is in one of `accepted`, `rejected` and `doubted`, unless
/// proc-receive carried it out in another way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The receive-pack that it was.
    pub process: Process,
    /// Who pushed.
    pub actor: Option<String>,
    /// Options of the push, in their order.
    pub push_options: Vec<String>,
    /// Those of `accepted` that change a ref, or where post-receive said nothing those attempted that a committed transaction
    /// of this push named and the disk shows to be done, as a transaction for `reconcile`; with [`Grouping::Transactions`]
    /// without what a committed transaction of this push named. A hint like every other.
    pub transaction: Option<Transaction>,
    /// What post-receive said, in its order. Empty also where its input was too long to be recorded.
    pub accepted: Vec<Update>,
    /// What is known to be refused, in the order of the attempt; then refusals by `update` that no pre-receive
    /// announced, by name.
    pub rejected: Vec<Rejected>,
    /// What was attempted and may have been carried out, or refused, or asked for no change: nothing is told of it.
    pub doubted: Vec<Update>,
}

impl Closed {
    /// Updates that the push may have carried out.
    pub fn perhaps_done(&self) -> impl Iterator<Item = &Update> {
        self.accepted.iter().chain(&self.doubted)
    }
}

impl Ledger {
    /// An empty ledger.
    pub fn new(grouping: Grouping) -> Self {
        Self { grouping, ..Self::default() }
    }

    /// True where nothing is held.
    pub fn is_empty(&self) -> bool {
        self.pushes.is_empty() && self.replaced.is_empty()
    }

    /// True for a push that is held.
    pub fn holds(&self, process: Process) -> bool {
        self.pushes.contains_key(&process) || self.replaced.iter().any(|push| push.process == process)
    }

    /// True where a push is over and was put off: see [`Unreadable::PutOff`].
    pub fn is_put_off(&self) -> bool {
        self.pushes.values().chain(&self.replaced).any(|push| push.is_put_off)
    }

    /// Takes up what a hook of a push recorded. A record that its push already has, by its id, is passed over.
    ///
    /// One receive-pack does one push: where a second pre-receive or post-receive comes, the process is another one with
    /// the same number and an unknown start, and the earlier push is over.
    pub fn record(&mut self, record: Record) {
        let Record { process, at_us, id, .. } = record;
        if self.replaced.iter().any(|push| push.process == process && push.ids.contains(&id)) {
            return;
        }
        if let Some(push) = self.pushes.get(&process) {
            if push.ids.contains(&id) {
                return;
            }
            if push.has_one_like(&record.said) {
                self.replaced.extend(self.pushes.remove(&process));
            }
        }
        let push = self.pushes.entry(process).or_insert_with(|| Push::new(process, at_us));
        let before = push.weight();
        push.take(record);
        self.held += push.weight() - before;
        self.forget_beyond(PUSHES_MAX, UPDATES_HELD_MAX);
    }

    /// Notes how a transaction of this process ended, and gives it the actor and the options of its push where it has
    /// none itself: the environment of reference-transaction tells no options. What it committed is not the doing of the
    /// pushes of other processes that are open. Take up the records of a reading before its transactions.
    pub fn explain(&mut self, process: Process, transaction: &mut Transaction) {
        let is_other = |push: &&mut Push| push.process != process && !push.is_over();
        let mut others = self.pushes.values_mut().filter(is_other).peekable();
        let mut grown = 0;
        if transaction.outcome == Outcome::Committed && others.peek().is_some() {
            let carried_out = stated(transaction).collect();
            for push in others {
                let before = push.weight();
                push.claim(&carried_out);
                grown += push.weight() - before;
            }
        }
        if let Some(push) = self.pushes.get_mut(&process) {
            let before = push.weight();
            push.explain(transaction);
            grown += push.weight() - before;
        }
        self.held += grown;
        self.forget_beyond(PUSHES_MAX, UPDATES_HELD_MAX);
    }

    /// Pushes of which no record says that they are over, by process. Whether they still run is for the caller to see.
    pub fn open(&self) -> impl Iterator<Item = Open> + '_ {
        let open = self.pushes.values().filter(|push| !push.is_over());
        open.map(|push| Open { process: push.process, last_us: push.last_us })
    }

    /// True where a push that is open attempts this ref, and neither hook refused it so far.
    pub fn attempted(&self, name: &RefName) -> bool {
        self.pushes.values().any(|push| !push.is_over() && push.attempts(name))
    }

    /// Pushes forgotten so far because there were too many, or too many updates in them.
    pub const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Ends the pushes that are over, by the time of their first records: those accepted, those that pre-receive
    /// refused, and those whose process does not run. Such a one waits while another that still runs asks to set one of
    /// its refs to the same value; one whose refs cannot be read waits where that is asked for.
    ///
    /// Where a ref moved on after its update was refused for another reason, it is told as stale all the same.
    pub fn close(
        &mut self,
        life: &dyn Fn(Process) -> Life,
        disk: &Disk<'_>,
        unreadable: Unreadable,
    ) -> Vec<Closed> {
        let (mut over, mut open) = (Vec::new(), BTreeMap::new());
        for (process, push) in core::mem::take(&mut self.pushes) {
            if push.is_over() || life(process) != Life::Running {
                over.push(push);
            } else {
                open.insert(process, push);
            }
        }
        // While another push may yet say that it did the same, the disk does not tell which of the two did.
        loop {
            let waits = |push: &mut Push| !push.is_over() && open.values().any(|other| push.shares(other));
            let waiting: Vec<Push> = over.extract_if(.., waits).collect();
            if waiting.is_empty() {
                break;
            }
            open.extend(waiting.into_iter().map(|push| (push.process, push)));
        }
        // One that was replaced is over whatever became of the process that has its number now.
        let replaced = core::mem::take(&mut self.replaced);
        let mut over: Vec<(Push, Place)> = over
            .into_iter()
            .map(|push| (push, Place::Own))
            .chain(replaced.into_iter().map(|push| (push, Place::Replaced)))
            .collect();
        over.sort_by_key(|(push, _)| (push.at_us, push.process));
        claim(over.iter_mut().map(|(push, _)| push).collect(), open.values_mut());
        self.pushes = open;
        let mut closed = Vec::new();
        for (mut push, place) in over {
            let life = if place == Place::Replaced { Life::Ended } else { life(push.process) };
            let judged = judge(&push, life, disk);
            push.is_put_off = judged.is_unread && unreadable == Unreadable::PutOff;
            match place {
                _ if !push.is_put_off => closed.push(push.close(judged, self.grouping)),
                Place::Own => drop(self.pushes.insert(push.process, push)),
                Place::Replaced => self.replaced.push(push),
            }
        }
        self.held = self.pushes.values().chain(&self.replaced).map(Push::weight).sum();
        closed
    }

    fn forget_beyond(&mut self, pushes_max: usize, held_max: usize) {
        while self.held > held_max || self.pushes.len() + self.replaced.len() > pushes_max {
            let oldest = self.pushes.values().min_by_key(|push| (push.at_us, push.process));
            // What was replaced is over, and waits for the next `close` only: it goes last.
            let push = match oldest.map(|push| push.process) {
                Some(process) => self.pushes.remove(&process),
                None => self.replaced.pop(),
            };
            let Some(push) = push else { return };
            self.held -= push.weight();
            self.forgotten += 1;
        }
    }
}

#[cfg(test)]
mod tests;
