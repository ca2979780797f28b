//! A seeded simulation of a small Git under a watcher. A failure prints its seed: `REFWATCH_SEED=n` runs that alone.

use std::collections::{BTreeMap, BTreeSet};

use refwatch_core::journal::{Outcome, Transaction};
use refwatch_core::reconcile::{Emitted, Mark, Reconciled, reconcile_patiently};
use refwatch_core::{Look, Origin, RefName, RefState, Snapshot, Target};

use crate::fake_git::{FakeGit, Old, Op, REFS};
use crate::given::{Num, changes, direct, events, good, looks_after, reconciled, steps};

/// Seeds of a usual run; `REFWATCH_SEEDS=n` runs more.
const SEEDS: u64 = 300;
const OPS: usize = 40;
/// Observed changes that a late record may still explain.
const EMITTED_MAX: usize = 12;

/// SplitMix64.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).expect("a small number");
        usize::try_from((mixed ^ (mixed >> 31)) % limit).expect("a small number")
    }

    pub(crate) fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn num(&mut self) -> Num {
        Num::try_from(self.below(5)).expect("below 5")
    }

    fn of(&mut self) -> usize {
        self.below(REFS)
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[expect(clippy::print_stderr, reason = "the seed is what a failure is repeated with")]
pub(crate) fn each_seed(run: impl Fn(&mut Random) + std::panic::RefUnwindSafe) {
    let seeds = match number("REFWATCH_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("REFWATCH_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| run(&mut Random(seed)));
        if let Err(panic) = outcome {
            eprintln!("failed with REFWATCH_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// What a run's hooks report besides what happens, packing apart. Two of these together can spell, to the letter, a
/// history that was not: then the state is right, and the steps are one of the two.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lie {
    Unstated,
    Verify,
    Refused,
}

impl Lie {
    fn any(random: &mut Random) -> Self {
        [Lie::Unstated, Lie::Verify, Lie::Refused][random.below(3)]
    }
}

fn op(random: &mut Random, git: &FakeGit, lie: Lie) -> Op {
    let of = random.of();
    match random.below(12) {
        0 => Op::Pack,
        1 if lie == Lie::Verify => Op::Verify(of),
        2 => Op::Rewrite(of, Old::Stated),
        3 => Op::Abort(of, random.num()),
        4 if lie == Lie::Refused => {
            // Refused for a lock or a conflict with the right old value, or for a stale one. What it proposed is a
            // commit of its own: one that the ref has in fact before and after could as well have happened.
            let old = if random.one_in(2) { git.values[of].max(1) } else { 1 + random.num() };
            Op::Refuse(of, old, Num::try_from(10 + random.below(200)).expect("below 210"))
        }
        _ => {
            let sets = (0..=random.below(3)).map(|_| (random.of(), random.num())).collect();
            let old = if lie == Lie::Unstated && random.one_in(2) { Old::Unstated } else { Old::Stated };
            Op::Commit(sets, old)
        }
    }
}

/// Git is honest about order and completeness here, and lies as it always does: then every value is told.
#[test]
fn an_orderly_journal_tells_every_value_whatever_git_reports_besides() {
    each_seed(|random| {
        let lie = Lie::any(random);
        let mut git = FakeGit::new(std::array::from_fn(|_| random.num()));
        let mut before = git.values;
        let mut from = [0; REFS];
        for _ in 0..OPS {
            let next = op(random, &git, lie);
            git.run(&next);
            if !random.one_in(6) {
                continue;
            }
            let result = reconciled(&git.looks(&before), &git.journal, &[]);
            for (of, name) in git.names.iter().enumerate() {
                let had = &git.had[of][from[of]..];
                let mut expected: Vec<Option<Target>> =
                    git.told(of, from[of]).into_iter().map(direct).collect();
                let news = changes(&result, name).into_iter().map(|(_, new)| new);
                let mut found: Vec<Option<Target>> = std::iter::once(direct(had[0])).chain(news).collect();
                if lie == Lie::Verify {
                    // A deletion, a creation with the same value, then a `verify`: to the letter, a `verify` and
                    // a packing.
                    (expected, found) = (without_recreations(expected), without_recreations(found));
                }
                assert_eq!(found, expected, "{name} {:#?} {result:#?}", git.journal);
                from[of] = git.had[of].len() - 1;
            }
            assert!(steps(&result).iter().all(|step| step.origin == Origin::Hook && !step.coalesced));
            git.journal.clear();
            before = git.values;
        }
    });
}

fn without_recreations(values: Vec<Option<Target>>) -> Vec<Option<Target>> {
    let mut kept: Vec<Option<Target>> = Vec::new();
    for value in values {
        kept.push(value);
        if let [.., first, None, last] = &kept[..]
            && first == last
        {
            kept.truncate(kept.len() - 2);
        }
    }
    kept
}

/// A watcher as the daemon drives it: looks, what it emitted, what was deferred.
struct Watcher {
    state: Snapshot,
    emitted: Vec<Emitted>,
    deferred: Vec<Transaction>,
}

impl Watcher {
    fn pass(&mut self, git: &FakeGit, broken: &[bool; REFS], arrived: Vec<Transaction>) -> Reconciled {
        let looks: Vec<Look> = (0..REFS)
            .map(|of| {
                let seen = if broken[of] {
                    Some(RefState::Broken { last_good: None })
                } else {
                    good(git.values[of])
                };
                Look::new(git.names[of].clone(), self.state.get(&git.names[of]).cloned(), seen, false)
            })
            .collect();
        let again: Vec<u64> = self.deferred.iter().map(|record| record.id).collect();
        let mut journal = std::mem::take(&mut self.deferred);
        journal.extend(arrived);
        let mut result = reconciled(&looks, &journal, &self.emitted);
        result.give_up(&again);
        for event in events(&result) {
            self.state.apply(&event).expect("each event starts where the last ended");
        }
        assert_eq!(self.state, looks_after(&looks));
        for index in result.explained.iter().rev() {
            self.emitted.remove(*index);
        }
        let observed = steps(&result)
            .into_iter()
            .filter(|step| step.mark == Mark::Change && step.origin != Origin::Hook)
            .cloned();
        self.emitted.extend(observed.map(|step| Emitted { name: step.name, old: step.old, new: step.new }));
        let excess = self.emitted.len().saturating_sub(EMITTED_MAX);
        self.emitted.drain(..excess);
        self.deferred.clone_from(&result.deferred);
        result
    }
}

fn any_op(random: &mut Random, git: &FakeGit) -> Op {
    let of = random.of();
    match random.below(14) {
        0 => Op::Write(of, random.num()),
        1 => Op::Verify(of),
        2 => Op::Refuse(of, random.num(), random.num()),
        // Followed by a deletion, this is packing to the letter: so it is not in `op`.
        3 => Op::Rewrite(of, Old::Unstated),
        _ => {
            let lie = Lie::any(random);
            op(random, git, lie)
        }
    }
}

/// Records get lost, come late, come twice, come in another order; writers run no hooks; files break.
#[test]
fn a_journal_that_cannot_be_trusted_never_costs_state() {
    each_seed(|random| {
        let mut git = FakeGit::new(std::array::from_fn(|_| random.num()));
        let mut watcher = Watcher { state: Snapshot::default(), emitted: Vec::new(), deferred: Vec::new() };
        let mut broken = [false; REFS];
        let mut held: Vec<Transaction> = Vec::new();
        watcher.pass(&git, &broken, Vec::new());
        for _ in 0..OPS {
            let next = any_op(random, &git);
            git.run(&next);
            if random.one_in(10) {
                let of = random.of();
                broken[of] = !broken[of];
            }
            for mut record in std::mem::take(&mut git.journal) {
                record.at_ns += u64::try_from(random.below(40)).expect("a small number");
                match random.below(8) {
                    0 => {}
                    1 => held.extend([record.clone(), record]),
                    _ => held.push(record),
                }
            }
            if random.one_in(5) {
                let (arrived, later) = held.into_iter().partition(|_| !random.one_in(6));
                held = later;
                watcher.pass(&git, &broken, arrived);
            }
        }
        watcher.pass(&git, &broken, held);
        // Nothing happens any more: at most what was deferred is judged, and then all is quiet.
        watcher.pass(&git, &broken, Vec::new());
        let last = watcher.pass(&git, &broken, Vec::new());
        assert_eq!(last, Reconciled::default());
    });
}

/// Every record arrives, each one pass after its change was seen.
#[test]
fn hooks_that_always_come_late_tell_nothing_twice() {
    each_seed(|random| {
        let mut git = FakeGit::new(std::array::from_fn(|_| random.num()));
        let mut watcher = Watcher { state: Snapshot::default(), emitted: Vec::new(), deferred: Vec::new() };
        let broken = [false; REFS];
        watcher.pass(&git, &broken, Vec::new());
        watcher.emitted.clear();
        let mut late = Vec::new();
        let mut told_of: BTreeMap<usize, usize> = BTreeMap::new();
        for _ in 0..OPS {
            let of = random.of();
            git.run(&Op::Commit(vec![(of, random.num())], Old::Stated));
            let arrived = std::mem::replace(&mut late, std::mem::take(&mut git.journal));
            let result = watcher.pass(&git, &broken, arrived);
            *told_of.entry(of).or_default() += steps(&result).len();
        }
        for (of, count) in told_of {
            assert_eq!(count, git.had[of].len() - 1, "{:?}", git.had[of]);
        }
        assert!(git.journal.iter().all(|record| record.outcome == Outcome::Committed));
    });
}

/// A watcher that waits for records.
struct Patient {
    state: Snapshot,
    waiting: Vec<Transaction>,
}

impl Patient {
    fn pass(&mut self, git: &FakeGit, arrived: Vec<Transaction>) -> Reconciled {
        let look = |of: usize| {
            let name = &git.names[of];
            Look::new(name.clone(), self.state.get(name).cloned(), good(git.values[of]), false)
        };
        let looks: Vec<Look> = (0..REFS).map(look).collect();
        let mut journal = std::mem::take(&mut self.waiting);
        journal.extend(arrived);
        let patient: BTreeSet<RefName> = git.names.iter().cloned().collect();
        let result = reconcile_patiently(Origin::Sweep, &looks, &journal, &[], &patient);
        for event in events(&result) {
            self.state.apply(&event).expect("each event starts where the last ended");
        }
        for look in &looks {
            let short = result.short.iter().find(|short| short.name == look.name);
            let reached = short.map_or(look.after.clone(), |short| short.reached.clone().map(RefState::Good));
            assert_eq!(self.state.get(&look.name), reached.as_ref(), "{}", look.name);
        }
        self.waiting.extend(result.held.iter().chain(&result.deferred).cloned());
        result
    }
}

/// Records come late and in another order, over many looks. Who waits for them tells every value, each by its record,
/// and what was one transaction as one.
#[test]
fn who_is_patient_tells_every_value_by_its_record() {
    each_seed(|random| {
        let mut git = FakeGit::new([0; REFS]);
        let mut watcher = Patient { state: Snapshot::default(), waiting: Vec::new() };
        let (mut late, mut told, mut committed) = (Vec::new(), Vec::new(), Vec::new());
        let mut fresh: Num = 0;
        let mut waits = 0;
        for _ in 0..OPS {
            let mut sets = Vec::new();
            for _ in 0..=random.below(3) {
                fresh += 1;
                sets.push((random.of(), fresh));
            }
            git.run(&Op::Commit(sets, Old::Stated));
            for mut record in std::mem::take(&mut git.journal) {
                committed.push(record.clone());
                record.at_ns += u64::try_from(random.below(40)).expect("a small number");
                late.push(record);
            }
            if random.one_in(3) {
                let (arrived, later) = late.into_iter().partition(|_| random.one_in(2));
                late = later;
                let result = watcher.pass(&git, arrived);
                waits += result.short.len();
                told.extend(result.drafts);
            }
        }
        let result = watcher.pass(&git, late);
        assert_eq!((&result.short[..], &result.held[..], &result.deferred[..]), (&[][..], &[][..], &[][..]));
        told.extend(result.drafts);
        let by_record =
            |step: &refwatch_core::reconcile::Step| step.origin == Origin::Hook && !step.coalesced;
        assert!(told.iter().flat_map(|draft| &draft.steps).all(by_record), "{told:#?}");
        for (of, name) in git.names.iter().enumerate() {
            let steps = told.iter().flat_map(|draft| &draft.steps).filter(|step| step.name == *name);
            let values: Vec<_> = std::iter::once(None).chain(steps.map(|step| step.new.clone())).collect();
            let had: Vec<_> = git.had[of].iter().copied().map(direct).collect();
            assert_eq!(values, had, "{name}");
        }
        // Values are fresh each time, so that a step says which transaction it is of.
        let of_draft = |draft: &refwatch_core::reconcile::Draft| -> BTreeSet<(RefName, Option<Target>)> {
            draft.steps.iter().map(|step| (step.name.clone(), step.new.clone())).collect()
        };
        let drafts: BTreeSet<_> = told.iter().map(of_draft).collect();
        let of_record = |record: &Transaction| -> BTreeSet<(RefName, Option<Target>)> {
            let update = |update: &refwatch_core::journal::Update| match update.new {
                refwatch_core::journal::Value::Oid(oid) => (update.name.clone(), Some(Target::Direct(oid))),
                refwatch_core::journal::Value::Zero | refwatch_core::journal::Value::Symbolic(_) => {
                    unreachable!("only objects are set")
                }
            };
            record.updates.iter().map(update).collect()
        };
        assert_eq!(drafts, committed.iter().map(of_record).collect::<BTreeSet<_>>());
        assert!(waits > 0, "this seed never had to wait");
    });
}

/// Writers that state no old values set the same few again and again, in their order, and the last record may be missing at
/// a look. Who waits for it tells each value once, in that order.
#[test]
fn who_is_patient_tells_values_that_return_in_their_order() {
    each_seed(|random| {
        let mut git = FakeGit::new([0; REFS]);
        let mut watcher = Patient { state: Snapshot::default(), waiting: Vec::new() };
        let mut told = Vec::new();
        for _ in 0..OPS {
            let of = random.of();
            // One of three others than it has.
            let value = 1 + (git.values[of] + Num::try_from(random.below(3)).expect("below 3")) % 4;
            git.run(&Op::Commit(vec![(of, value)], Old::Unstated));
            if random.one_in(4) {
                let missing = git.journal.split_off(git.journal.len() - random.below(2));
                let arrived = std::mem::replace(&mut git.journal, missing);
                told.extend(watcher.pass(&git, arrived).drafts);
            }
        }
        let arrived = std::mem::take(&mut git.journal);
        told.extend(watcher.pass(&git, arrived).drafts);
        for (of, name) in git.names.iter().enumerate() {
            let steps = told.iter().flat_map(|draft| &draft.steps).filter(|step| step.name == *name);
            let values: Vec<_> = std::iter::once(None).chain(steps.map(|step| step.new.clone())).collect();
            let had: Vec<_> = git.had[of].iter().copied().map(direct).collect();
            assert_eq!(values, had, "{name}");
        }
    });
}
