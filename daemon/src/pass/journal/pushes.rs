//! Pushes of a repository that are not told yet, from the first record of their hooks on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use refwatch_core::RefName;
use refwatch_core::journal::Transaction;
use refwatch_core::push::{self, Closed, Disk, Grouping, Ledger, Life, Process, Unreadable};
use refwatch_hook::process::Stat;
use refwatch_watcher::journal::{
    Entry, Journal, JournalError, Position, Recorded, Rest, Untold, process_space,
};

use crate::engine::now_us;

/// How long after its last record a push is taken for over whose process cannot be looked up: it may be another
/// container's, or another machine's.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// How long a push waits to be judged by refs that cannot be read, before nothing is told of these.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// What is held of pushes.
#[derive(Debug)]
pub(super) struct Pushes {
    ledger: Ledger,
    /// Those that the ledger holds, or that are closing.
    begun: BTreeMap<Process, Begun>,
    /// Those that began so far.
    count: u64,
    /// What is to be read again before anything else is.
    again: Option<Again>,
    /// What is known of processes of open pushes, but for those that run.
    lives: BTreeMap<Process, Life>,
    /// Pushes that are over, until their last refs are told.
    closing: Vec<Closed>,
    /// Since when refs could not be read by which a push is to be judged.
    unread_since: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Rises in the order of the journal.
    number: u64,
    /// Before its first record.
    at: Position,
    /// Its process can be looked up here.
    is_visible: bool,
}

/// What of the journal is read again after a start, for the sake of pushes that were not told before it.
#[derive(Debug)]
struct Again {
    from: Position,
    until: Position,
    of: BTreeSet<Process>,
}

/// How far reading again came.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadAgain {
    Done,
    /// A limit was reached.
    More,
}

impl Pushes {
    pub(super) fn new(grouping: Grouping) -> Self {
        Self {
            ledger: Ledger::new(grouping),
            begun: BTreeMap::new(),
            count: 0,
            again: None,
            lives: BTreeMap::new(),
            closing: Vec::new(),
            unread_since: None,
        }
    }

    /// Has the records of pushes read again that were read up to a position and not told.
    pub(super) fn resume(&mut self, untold: Untold, until: Position) {
        if !untold.pushes.is_empty() {
            self.again = Some(Again { from: untold.from, until, of: untold.pushes.into_iter().collect() });
        }
    }

    /// What is to be read again after a restart.
    pub(super) fn untold(&self) -> Untold {
        let first = self.begun.values().min_by_key(|begun| begun.number);
        let from = self.again.as_ref().map(|again| again.from).or(first.map(|first| first.at));
        let again = self.again.iter().flat_map(|again| &again.of);
        let pushes: BTreeSet<Process> = again.chain(self.begun.keys()).copied().collect();
        from.map_or_else(Untold::default, |from| Untold { from, pushes: pushes.into_iter().collect() })
    }

    /// True where a push may be told later though nothing is recorded of it any more.
    pub(super) fn is_waiting(&self) -> bool {
        !self.ledger.is_empty() || self.again.is_some()
    }

    /// True for a ref that an open push attempts.
    pub(super) fn attempted(&self, name: &RefName) -> bool {
        self.ledger.attempted(name)
    }

    /// Refs that pushes may have changed which are over and not told.
    pub(super) fn names(&self) -> impl Iterator<Item = &RefName> {
        self.closing.iter().flat_map(Closed::perhaps_done).map(|update| &update.name)
    }

    pub(super) fn record(&mut self, record: push::Record, at: Position, space: u64) {
        self.count += 1;
        let begun = Begun { number: self.count, at, is_visible: false };
        let begun = self.begun.entry(record.process).or_insert(begun);
        begun.is_visible |= space != 0 && space == process_space();
        let forgotten = self.ledger.forgotten();
        self.ledger.record(record);
        self.forget_with_ledger(forgotten);
    }

    pub(super) fn explain(&mut self, process: Process, transaction: &mut Transaction) {
        let forgotten = self.ledger.forgotten();
        self.ledger.explain(process, transaction);
        self.forget_with_ledger(forgotten);
    }

    /// What the ledger has forgotten is never closed.
    fn forget_with_ledger(&mut self, forgotten: u64) {
        if self.ledger.forgotten() != forgotten {
            let closing: BTreeSet<Process> = self.closing.iter().map(|closed| closed.process).collect();
            self.begun.retain(|process, _| self.ledger.holds(*process) || closing.contains(process));
        }
    }

    /// Reads what is to be read again, in at most so many readings. Nothing new may be read before that is done: the
    /// records of a push come in their order.
    pub(super) fn read_again(
        &mut self,
        journal: &Journal,
        readings_max: usize,
    ) -> Result<ReadAgain, JournalError> {
        for _ in 0..readings_max {
            let Some(again) = &mut self.again else { break };
            let batch = journal.read_again(&again.from, &again.until)?;
            let of = again.of.clone();
            let is_of = |record: &Recorded| of.contains(&process_of(record));
            let (records, transactions): (Vec<_>, Vec<_>) = batch
                .records
                .into_iter()
                .filter(is_of)
                .partition(|record| matches!(record.entry, Entry::Push(_)));
            for record in records.into_iter().chain(transactions) {
                let process = process_of(&record);
                match record.entry {
                    Entry::Push(push) => self.record(push, record.at, record.process_space),
                    Entry::Transaction(mut transaction) => self.explain(process, &mut transaction),
                }
            }
            match (&mut self.again, batch.rest) {
                (Some(again), Rest::More) => again.from = batch.next,
                _ => self.again = None,
            }
        }
        Ok(if self.again.is_some() { ReadAgain::More } else { ReadAgain::Done })
    }

    /// Finds out which processes of pushes have ended, before the journal is read: what they recorded is read then.
    pub(super) fn look_for_ended(&mut self) {
        let now_us = u64::try_from(now_us()).unwrap_or(0);
        self.lives.clear();
        for open in self.ledger.open() {
            let is_visible = self.begun.get(&open.process).is_some_and(|begun| begun.is_visible);
            let is_quiet = || Duration::from_micros(now_us.saturating_sub(open.last_us)) > QUIET_MAX;
            if is_visible {
                if !is_running(open.process) {
                    self.lives.insert(open.process, Life::Ended);
                }
            } else if is_quiet() {
                self.lives.insert(open.process, Life::Unknown);
            }
        }
    }

    /// Forgets which processes have ended: they may have recorded what was not read.
    pub(super) fn forget_ended(&mut self) {
        self.lives.clear();
    }

    /// Ends pushes that are over, and gives what they did as transactions.
    pub(super) fn close(&mut self, disk: &Disk<'_>) -> Vec<Transaction> {
        if self.again.is_some() {
            return Vec::new();
        }
        let unreadable = match self.unread_since {
            Some(since) if since.elapsed() >= UNREAD_MAX => Unreadable::Doubt,
            Some(_) | None => Unreadable::PutOff,
        };
        let lives = std::mem::take(&mut self.lives);
        let life = |process| lives.get(&process).copied().unwrap_or(Life::Running);
        let closed = self.ledger.close(&life, disk, unreadable);
        let put_off = self.ledger.is_put_off().then(Instant::now);
        self.unread_since = put_off.map(|now| self.unread_since.unwrap_or(now));
        let transactions = closed.iter().filter_map(|closed| closed.transaction.clone()).collect();
        self.closing.extend(closed);
        transactions
    }

    /// Takes out the pushes that are over and have changed none of the refs that are not told.
    pub(super) fn told(&mut self, is_untold: &dyn Fn(&RefName) -> bool) -> Vec<Closed> {
        let waits = |closed: &Closed| closed.perhaps_done().any(|update| is_untold(&update.name));
        let (waiting, told): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.closing).into_iter().partition(waits);
        self.closing = waiting;
        for Closed { process, .. } in &told {
            // Its number may have been given to another one that pushes.
            if !self.ledger.holds(*process) {
                self.begun.remove(process);
            }
        }
        told
    }
}

/// The process whose hook recorded.
pub(super) fn process_of(record: &Recorded) -> Process {
    Process { pid: record.parent_pid, start_ticks: record.parent_start_ticks }
}

/// True unless a process is known to have ended: its number is nobody's, or that of one that started at another time, or
/// it only waits to be asked for its status.
fn is_running(process: Process) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw) else {
        return false;
    };
    if rustix::process::test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return false;
    }
    // Where it cannot be read, as with `hidepid`, there is somebody all the same.
    Stat::of(process.pid).is_none_or(|stat| {
        !stat.has_ended() && (process.start_ticks == 0 || stat.start_ticks == process.start_ticks)
    })
}
