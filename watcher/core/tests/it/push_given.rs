//! Short ways to say what the hooks of pushes recorded.

use refwatch_core::journal::{Outcome, Transaction, Update};
use refwatch_core::push::{Closed, Disk, Ledger, Life, Process, Record, Said, Unread, Unreadable};
use refwatch_core::{RefName, RefState, Target};

use crate::given::record;

pub(crate) fn process(pid: u32) -> Process {
    Process { pid, start_ticks: u64::from(pid) * 100 }
}

/// A record by somebody without options.
pub(crate) fn said(pid: u32, id: u64, said: Said) -> Record {
    Record { at_us: id * 10, id, process: process(pid), said, actor: None, push_options: Vec::new() }
}

pub(crate) fn attempted(updates: Vec<Update>) -> Said {
    Said::Attempted { updates, refused: None }
}

pub(crate) fn transaction(id: u64, outcome: Outcome, updates: Vec<Update>) -> Transaction {
    Transaction { outcome, ..record(id * 10_000, id, updates) }
}

/// Closes what is over, by a disk that reads.
pub(crate) fn close(
    ledger: &mut Ledger,
    gone: &dyn Fn(Process) -> bool,
    now: &dyn Fn(&RefName) -> Option<Target>,
) -> Vec<Closed> {
    let life = |process| if gone(process) { Life::Ended } else { Life::Running };
    let state = |of: &RefName| Ok(now(of).map(RefState::Good));
    ledger.close(&life, &unlocked(&state), Unreadable::PutOff)
}

/// A disk without locks.
pub(crate) fn unlocked<'a>(state: &'a dyn Fn(&RefName) -> Result<Option<RefState>, Unread>) -> Disk<'a> {
    Disk { state, locked_since_us: &|_| None }
}
