//! Random histories: what the store tells equals what a list in memory says.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use proptest::prelude::*;
use refwatch_core::{Event, EventType, ObjectId, Origin, RefName, RefState, Target};
use refwatch_store::{
    Commit, Logged, ReadError, RefEntry, RefWrite, RepositoryKey, RepositoryWrite, Retention, Store, open,
};

use crate::support::*;

const NAMES: [&str; 6] =
    ["HEAD", "refs/heads/a", "refs/heads/a-b", "refs/heads/b", "refs/tags/v1", "refs/x/y"];

#[derive(Clone, Debug)]
enum Op {
    Create,
    /// Which repository, and transactions of (ref, value) in one commit; value 0 deletes.
    Push(usize, Vec<Vec<(usize, u64)>>),
    Break(usize, usize),
    Repair(usize, usize),
    Delete(usize),
    /// Keeps what was observed within so many of the latest commits.
    Retain(i64),
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let change = (0..NAMES.len(), 0..5_u64);
    let transaction = prop::collection::vec(change, 1..5);
    prop_oneof![
        2 => Just(Op::Create),
        12 => (0..4_usize, prop::collection::vec(transaction, 1..3)).prop_map(|(at, push)| Op::Push(at, push)),
        2 => (0..4_usize, 0..NAMES.len()).prop_map(|(at, name)| Op::Break(at, name)),
        2 => (0..4_usize, 0..NAMES.len()).prop_map(|(at, name)| Op::Repair(at, name)),
        1 => (0..4_usize).prop_map(Op::Delete),
        1 => (0..12_i64).prop_map(Op::Retain),
        1 => Just(Op::Reopen),
    ]
}

type Refs = BTreeMap<RefName, (RefState, Option<ObjectId>)>;

/// Values: 4 is symbolic, the others direct; 3 is an annotated tag.
fn value(number: u64) -> Option<(Target, Option<ObjectId>)> {
    match number {
        0 => None,
        4 => Some((Target::Symbolic(name("refs/heads/a")), None)),
        3 => Some((direct(3), Some(oid(33)))),
        _ => Some((direct(number), None)),
    }
}

struct World {
    place: Place,
    store: Option<Store>,
    log: Vec<Logged>,
    floor: u64,
    keys: Vec<(RepositoryKey, bool)>,
    /// Refs of every repository after each sequence, from 0.
    history: Vec<BTreeMap<RepositoryKey, Refs>>,
    clock: i64,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            place: Place::new(),
            store: None,
            log: Vec::new(),
            floor: 1,
            keys: Vec::new(),
            history: vec![BTreeMap::new()],
            clock: NOW_US,
        };
        world.reopen();
        world
    }

    fn reopen(&mut self) {
        self.store = None;
        let mut options = self.place.options();
        options.retention = Retention { age_us_max: Some(0), ..Retention::default() };
        let opened = open(options, NOW_US).unwrap();
        assert_eq!(opened.epoch_reason, None);
        self.store = Some(opened.store);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn refs(&self, key: RepositoryKey) -> Refs {
        self.history.last().unwrap().get(&key).cloned().unwrap_or_default()
    }

    fn alive(&self, at: usize) -> Option<RepositoryKey> {
        self.keys.get(at).filter(|(_, alive)| *alive).map(|(key, _)| *key)
    }

    /// Commits, with the refs after each of its events.
    fn commit(&mut self, mut commit: Commit, after_each: Vec<Option<Refs>>) {
        self.clock += 10;
        commit.observed_at_us = self.clock;
        let key = commit.repository;
        let logged = self.store().commit(commit).unwrap();
        assert_eq!(logged.len(), after_each.len());
        for (logged, refs) in logged.into_iter().zip(after_each) {
            let mut all = self.history.last().unwrap().clone();
            match refs {
                Some(refs) => all.insert(key, refs),
                None => all.remove(&key),
            };
            self.history.push(all);
            self.log.push(logged);
        }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Create if self.keys.len() < 4 => {
                let commit = creation(self.store());
                self.keys.push((commit.repository, true));
                self.commit(commit, vec![Some(Refs::new())]);
            }
            Op::Create => {}
            Op::Push(at, transactions) => {
                if let Some(key) = self.alive(at) {
                    self.push(key, transactions);
                }
            }
            Op::Break(at, which) => self.mark(at, which, EventType::RefBroken),
            Op::Repair(at, which) => self.mark(at, which, EventType::RefRepaired),
            Op::Delete(at) => {
                let Some(key) = self.alive(at) else { return };
                self.keys[at].1 = false;
                let commit = Commit {
                    repository_write: Some(RepositoryWrite::Delete),
                    events: vec![Event::of_repository(EventType::RepositoryDeleted, Origin::Sweep)],
                    ..Commit::new(key, 0)
                };
                self.commit(commit, vec![None]);
            }
            Op::Retain(commits) => {
                let now = self.clock - commits * 10;
                let floor = self.store().retain(now).unwrap().floor;
                let expected = self
                    .log
                    .iter()
                    .find(|event| event.observed_at_us >= now)
                    .map_or(self.log.len() as u64 + 1, |event| event.sequence);
                self.floor = self.floor.max(expected);
                assert_eq!(floor, self.floor);
            }
            Op::Reopen => self.reopen(),
        }
    }

    fn push(&mut self, key: RepositoryKey, transactions: Vec<Vec<(usize, u64)>>) {
        let mut refs = self.refs(key);
        let mut commit = Commit::new(key, 0);
        let mut after_each = Vec::new();
        for transaction in transactions {
            let mut events = Vec::new();
            for (which, number) in transaction {
                let name = name(NAMES[which]);
                let old =
                    refs.get(&name).and_then(|(state, peeled)| Some((state.target()?.clone(), *peeled)));
                let new = value(number);
                // A broken one is repaired first.
                if old == new || refs.get(&name).is_some_and(|(state, _)| state.is_broken()) {
                    continue;
                }
                let mut event = event(&name, old.clone().map(|old| old.0), new.clone().map(|new| new.0));
                event.old_peeled = old.and_then(|old| old.1);
                event.new_peeled = new.as_ref().and_then(|new| new.1);
                match new {
                    Some((target, peeled)) => refs.insert(name, (RefState::Good(target), peeled)),
                    None => refs.remove(&name),
                };
                events.push(event);
                after_each.push(Some(refs.clone()));
            }
            refwatch_core::event::number(&mut events);
            commit.events.extend(events);
        }
        let mut touched: Vec<_> = commit.events.iter().filter_map(|event| event.name.clone()).collect();
        touched.sort();
        touched.dedup();
        commit.refs = touched
            .into_iter()
            .map(|name| {
                let now = refs.get(&name).cloned();
                RefWrite { state: now.clone().map(|now| now.0), peeled: now.and_then(|now| now.1), name }
            })
            .collect();
        self.commit(commit, after_each);
    }

    fn mark(&mut self, at: usize, which: usize, kind: EventType) {
        let Some(key) = self.alive(at) else { return };
        let (name, mut refs) = (name(NAMES[which]), self.refs(key));
        let state = match (refs.get(&name), kind) {
            (Some((RefState::Good(target), peeled)), EventType::RefBroken) => {
                (RefState::Broken { last_good: Some(target.clone()) }, *peeled)
            }
            (Some((RefState::Broken { last_good: Some(target) }, peeled)), EventType::RefRepaired) => {
                (RefState::Good(target.clone()), *peeled)
            }
            _ => return,
        };
        refs.insert(name.clone(), state.clone());
        let commit = Commit {
            events: vec![Event { name: Some(name.clone()), ..Event::of_repository(kind, Origin::Notify) }],
            refs: vec![RefWrite { name, state: Some(state.0), peeled: state.1 }],
            ..Commit::new(key, 0)
        };
        self.commit(commit, vec![Some(refs)]);
    }

    fn check(&self) {
        let store = self.store();
        let last = self.log.len() as u64;
        let kept = &self.log[usize::try_from(self.floor).unwrap() - 1..];
        let bounds = store.bounds();
        assert_eq!((bounds.floor, bounds.last), (self.floor, last));
        assert_eq!(findings(store), []);
        for after in 0..=last {
            for limit in [1, 3, 1_000] {
                let expected = if after + 1 < self.floor {
                    Err(ReadError::Expired { floor: self.floor })
                } else {
                    let from = usize::try_from(after + 1 - self.floor).unwrap();
                    Ok(kept[from..].iter().take(limit).cloned().collect())
                };
                assert_eq!(events_after(store, after, limit), expected);
            }
        }
        self.check_backwards(kept);
        self.check_times(kept);
        for sequence in self.floor - 1..=last {
            for (key, _) in &self.keys {
                for limit in [1, 2, 100] {
                    self.check_refs(sequence, *key, limit);
                }
            }
        }
    }

    fn check_backwards(&self, kept: &[Logged]) {
        let reader = self.store().read().unwrap();
        for before in [0, 1, self.floor, self.floor + 3, u64::MAX] {
            for limit in [1, 4, 1_000] {
                let mut found = Vec::new();
                reader
                    .events_before(before, limit, |event| {
                        found.push(event);
                        ControlFlow::Continue(())
                    })
                    .unwrap();
                let expected = kept.iter().rev().filter(|event| event.sequence < before).take(limit);
                assert!(found.iter().eq(expected));
            }
        }
    }

    fn check_times(&self, kept: &[Logged]) {
        let reader = self.store().read().unwrap();
        for time in (NOW_US..=self.clock + 10).step_by(5) {
            let expected = kept.iter().find(|event| event.observed_at_us >= time);
            let expected = expected.map_or(self.log.len() as u64 + 1, |event| event.sequence);
            assert_eq!(reader.first_at_or_after(time).unwrap(), expected);
        }
    }

    fn check_refs(&self, sequence: u64, key: RepositoryKey, limit: usize) {
        let reader = self.store().read().unwrap();
        let mut found: Vec<RefEntry> = Vec::new();
        let mut after = None;
        for page in 0.. {
            assert!(page < 20, "pages come to an end");
            let page = reader.refs_page_at(sequence, key, after.as_ref(), limit).unwrap();
            assert!(page.refs.len() <= limit);
            found.extend(page.refs);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let at = &self.history[usize::try_from(sequence).unwrap()];
        let expected: Vec<RefEntry> = at
            .get(&key)
            .into_iter()
            .flatten()
            .map(|(name, (state, peeled))| (name.clone(), state.clone(), *peeled))
            .collect();
        assert_eq!(found, expected, "refs of {key} at {sequence}, {limit} a page");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn every_history_reads_back_as_it_was(ops in prop::collection::vec(op(), 1..40)) {
        let mut world = World::new();
        world.run(Op::Create);
        for op in ops {
            world.run(op);
        }
        world.check();
    }
}
