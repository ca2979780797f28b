//! Bounds, with small ones in place of those that take minutes and gigabytes to reach.

use alloc::vec;

use super::*;
use crate::journal::{Outcome, Value};
use crate::push::{Refused, Said};
use crate::{ObjectId, RefName};

const HELD_MAX: usize = 60;

fn process(pid: u32) -> Process {
    Process { pid, start_ticks: 1 }
}

fn updates(count: u8) -> Vec<Update> {
    let update = |num: u8| Update {
        name: RefName::new(&[b"refs/heads/".as_slice(), &[b'a' + num % 26]].concat()).expect("a name"),
        old: Value::Zero,
        new: Value::Oid(ObjectId::Sha1([num + 1; 20])),
    };
    (0..count).map(update).collect()
}

fn record(pid: u32, id: u64, said: Said) -> Record {
    Record { at_us: id, id, process: process(pid), said, actor: None, push_options: Vec::new() }
}

fn attempted(pid: u32, id: u64, count: u8) -> Record {
    record(pid, id, Said::Attempted { updates: updates(count), refused: None })
}

fn weighed(ledger: &Ledger) -> usize {
    ledger.pushes.values().chain(&ledger.replaced).map(Push::weight).sum()
}

fn close(ledger: &mut Ledger, over: impl Fn(u32) -> bool) -> Vec<Closed> {
    let life = |process: Process| if over(process.pid) { Life::Ended } else { Life::Running };
    ledger.close(&life, &Disk { state: &|_| Ok(None), locked_since_us: &|_| None }, Unreadable::PutOff)
}

fn open(ledger: &Ledger) -> Vec<Process> {
    ledger.open().map(|open| open.process).collect()
}

#[test]
fn what_is_held_is_counted_to_the_last() {
    let mut ledger = Ledger::default();
    let mut id = 0;
    for round in 0..200_u32 {
        let pid = round % 7;
        id += 1;
        ledger.record(match round % 5 {
            0 | 1 => attempted(pid, id, 4),
            2 => record(pid, id, Said::Accepted { updates: updates(3) }),
            _ => {
                let refused = Refused { status: 1, by: "x".into() };
                let update = updates(5).swap_remove(usize::try_from(round % 4).expect("small"));
                record(pid, id, Said::UpdateRefused { update, refused })
            }
        });
        let outcome = if round % 3 == 0 { Outcome::Aborted } else { Outcome::Committed };
        let mut transaction =
            Transaction { at_ns: 0, id, outcome, actor: None, push_options: vec![], updates: updates(2) };
        ledger.explain(process(pid), &mut transaction);
        ledger.forget_beyond(4, HELD_MAX);
        assert_eq!(ledger.held, weighed(&ledger));
        assert!(ledger.held <= HELD_MAX && ledger.pushes.len() + ledger.replaced.len() <= 4, "{ledger:?}");
        if round % 11 == 0 {
            close(&mut ledger, |over| over == pid);
            assert_eq!(ledger.held, weighed(&ledger));
        }
    }
    assert!(ledger.forgotten() > 0);
    close(&mut ledger, |_| true);
    assert_eq!((ledger.held, ledger.pushes.len(), ledger.replaced.len()), (0, 0, 0));
}

#[test]
fn the_oldest_push_is_forgotten_first_and_only_what_comes_later_is_told_of_it() {
    let mut ledger = Ledger::default();
    for pid in 1..4 {
        ledger.record(attempted(pid, u64::from(pid), 20));
    }
    ledger.forget_beyond(PUSHES_MAX, HELD_MAX);
    assert_eq!((open(&ledger), ledger.forgotten()), (vec![process(2), process(3)], 1));
    ledger.record(record(1, 9, Said::Accepted { updates: updates(1) }));
    let closed = close(&mut ledger, |_| false);
    assert_eq!(closed.len(), 1);
    assert_eq!((&closed[0].accepted, closed[0].rejected.len()), (&updates(1), 0));
}

#[test]
fn one_push_too_large_is_forgotten_by_itself() {
    let mut ledger = Ledger::default();
    ledger.record(attempted(1, 1, 20));
    ledger.forget_beyond(PUSHES_MAX, 20);
    assert_eq!((ledger.open().count(), ledger.held, ledger.forgotten()), (0, 0, 1));
}

#[test]
fn no_more_pushes_are_held_than_the_limit() {
    let mut ledger = Ledger::default();
    let most = u32::try_from(PUSHES_MAX).expect("fits");
    for pid in 0..most + 3 {
        ledger.record(attempted(pid, u64::from(pid), 1));
    }
    assert_eq!((ledger.open().count(), ledger.forgotten()), (PUSHES_MAX, 3));
    assert_eq!(open(&ledger)[0], process(3));
}
